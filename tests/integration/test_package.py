#!/usr/bin/env python3
"""The Debian package as systemd/README.md makes it: cpack has all that it needs, and what the unit
starts is in the package, where the unit looks for it.

usage: test_package.py BUILD_FOLDER
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SKIP = 77
WANTED = {"bin/metammfd", "bin/metammf", "libexec/metammf-extract",
          "lib/systemd/system/metammfd.service", "lib/sysusers.d/metammfd.conf",
          "share/metammfd/metammfd.conf",
          "share/doc/metammfd/docs/runbook.md", "share/metammfd/monitoring/metammfd.rules.yml",
          "share/metammfd/monitoring/metammfd.dashboard.json",
          # bash-completion loads the file that has the command's name
          "share/bash-completion/completions/metammf", "share/bash-completion/completions/metammfd"}


def run(*command, **kw):
    r = subprocess.run(list(map(str, command)), text=True, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, check=False, timeout=300, **kw)
    if r.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit status {r.returncode}\n{r.stdout}")
    return r.stdout


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    if not shutil.which("dpkg-deb"):
        print("skipped: dpkg-deb is not installed")
        return SKIP
    with tempfile.TemporaryDirectory() as folder:
        run("cpack", "-G", "DEB", "--config", build / "CPackConfig.cmake", "-B", folder, cwd=build)
        package, = pathlib.Path(folder).glob("metammfd_*.deb")
        version = run("dpkg-deb", "-f", package, "Version").strip()
        root = pathlib.Path(folder) / "root"
        run("dpkg-deb", "-x", package, root)
        depends = run("dpkg-deb", "-f", package, "Depends")
        unit, = root.rglob("metammfd.service")
        prefix = unit.parents[3]
        started = re.search(r"^ExecStart=(\S+)", unit.read_text(), re.MULTILINE)[1]
        faults = [f"not in the package: {name}" for name in sorted(WANTED)
                  if not (prefix / name).is_file()]
        if not (root / started.lstrip("/")).is_file():
            faults.append(f"the unit starts {started}, which is not in the package")
        faults += [f"Depends lacks {name}: {depends}" for name in ("librdkafka1", "libsqlite3-0")
                   if name not in depends]
        for path in (prefix / "bin/metammfd", prefix / "bin/metammf",
                     prefix / "libexec/metammf-extract"):
            said = run(path, "--version").split()[-1]
            if said != version:
                faults.append(f"{path.name} says {said}, the package {version}")
        print("\n".join(faults) or f"{package.name}: good, Depends: {depends.strip()}")
        return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
