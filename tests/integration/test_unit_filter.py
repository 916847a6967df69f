"""The shipped unit's SystemCallFilter, applied to the whole demo and to a retraining: it must be
enough for daemon, workers, trainer and command line, and it must be a filter.

usage: test_unit_filter.py GENERATED_UNIT BIN_FOLDER
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

SKIP = 77


def members(group):
    """The calls of a group, groups inside it included."""
    out = subprocess.run(["systemd-analyze", "syscall-filter", group], check=True, text=True,
                         capture_output=True).stdout
    names = set()
    for line in out.splitlines()[1:]:
        word = re.sub(r"\x1b\[[0-9;]*m", "", line).strip()  # systemd 255 colours what is no terminal
        if word.startswith("@"):
            names |= members(word)
        elif word and not word.startswith("#"):
            names.add(word)
    return names


def allowed_calls(unit):
    """As systemd reads the lines: the first is an allow list, later ones add or, with ~, take."""
    with open(unit, encoding="utf-8") as f:
        text = f.read()
    lines = re.findall(r"^SystemCallFilter=(~?)(.*)$", text, re.MULTILINE)
    names = members("@default")
    for take, words in lines:
        for word in words.split():
            calls = members(word) if word.startswith("@") else {word}
            names = names - calls if take else names | calls
    # Since systemd 250 these answer openat2 with ENOSYS: the filter cannot look into its struct.
    if re.search(r"^(RestrictSUIDSGID|DynamicUser)=(yes|true|on|1)$", text, re.MULTILINE):
        names = names - {"openat2"}
    return names


def doctor_names_who(folder, names):
    """Without openat2 nothing can be decoded: whoever runs doctor there learns who takes it."""
    doctor = [os.path.join(sys.argv[2], "metammf"), "--store", os.path.join(folder, "s.db"),
              "doctor"]
    run = run_filtered(folder, names - {"openat2"}, doctor)
    good = run.returncode == 78 and all(
        word in run.stdout for word in ("openat2", "not the kernel", "RestrictSUIDSGID"))
    if not good:
        print(run.stdout, f"doctor without openat2: exit status {run.returncode}", sep="\n")
    return good


def run_filtered(folder, names, command):
    path = os.path.join(folder, "allowed")
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(sorted(names)) + "\n")
    filtered = os.path.join(sys.argv[2], "filtered")
    return subprocess.run([filtered, path, *command], text=True, timeout=240, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def main():
    if shutil.which("systemd-analyze") is None:
        print("skipped: systemd-analyze is not installed")
        return SKIP
    names = allowed_calls(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TMPDIR"] = folder
        demo = [os.path.join(sys.argv[2], "metammf"), "demo", "--dir", os.path.join(folder, "d")]
        run = run_filtered(folder, names, demo)
        print(run.stdout[-4000:])
        if run.returncode != 0:
            print(f"the demo under the unit's filter: exit status {run.returncode}")
            return 1
        train = [sys.executable, os.path.join(os.path.dirname(__file__), "test_retrain.py"),
                 sys.argv[2], "Once"]
        run = run_filtered(folder, names, train)
        print(run.stdout[-1000:])
        if run.returncode != 0:
            print(f"a retraining under the unit's filter: exit status {run.returncode}")
            return 1
        # Without what the workers need to confine themselves, it must not go through.
        shutil.rmtree(os.path.join(folder, "d"), ignore_errors=True)
        run = run_filtered(folder, names - {"seccomp"}, demo)
        if run.returncode == 0:
            print("the demo went through although the filter forbids seccomp")
            return 1
        if not doctor_names_who(folder, names):
            return 1
        mount = run_filtered(folder, names, ["unshare", "--mount", "true"])
        if mount.returncode == 0:
            print("the filter lets unshare(2) through")
            return 1
    print(f"{len(names)} calls allowed; the demo and a retraining went through under them")
    return 0


if __name__ == "__main__":
    sys.exit(main())
