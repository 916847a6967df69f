"""the package is installed"""
import re
import shutil
import subprocess

from unit_site import STORE, UNIT

EXPOSURE_MAX = 1.5


def lintian(deb):
    """Without errors or warnings."""
    assert shutil.which("lintian"), "lintian is not installed"
    done = subprocess.run(["lintian", "--allow-root", "--fail-on=error,warning", deb], text=True,
                          capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def install(site):
    """As a site does it; it asks nothing, and every dependency has a name."""
    site.install()
    assert site.installed(), "it is not installed"


def one_version(site):
    """The package and the three executables say the same."""
    package = site.machine.output("dpkg-query", "-W", "-f=${Version}", "metammfd")
    for name in ("/usr/bin/metammfd", "/usr/bin/metammf", "/usr/libexec/metammf-extract"):
        said = site.machine.output(name, "--version").split()[-1]
        assert said == package, f"{name} says {said}, the package is {package}"


def neither_enabled_nor_started(site):
    assert site.machine.output("systemctl", "is-enabled", UNIT, check=False) == "disabled"
    assert site.active() == "inactive"


def account_and_folders(site):
    m = site.machine
    assert m.output("id", "-gn", "metammf") == "metammf"
    m.run("getent", "group", "metammf-admin")
    for path, wanted in (("/var/spool/metammfd", "2770 metammf metammf-admin"),
                         ("/run/metammfd", "2750 metammf metammf-admin"),
                         ("/etc/metammfd/metammfd.conf", "644 root root")):
        found = m.output("stat", "-c", "%a %U %G", path)
        assert found == wanted, f"{path}: {found}"


def documents(site):
    """Manual pages that man finds, and whatever else somebody without the tree needs."""
    m = site.machine
    for page in ("metammf.1", "metammfd.conf.5", "metammfd.8", "metammf-extract.8"):
        m.run("gzip", "-t", f"/usr/share/man/man{page[-1]}/{page}.gz")
    for name in ("copyright", "changelog.gz", "README.md", "CHANGELOG.md", "docs/events.md",
                 "docs/reading.md", "docs/runbook.md", "systemd/README.md", "examples/metammfd.conf"):
        m.run("test", "-s", f"/usr/share/doc/metammfd/{name}")
    said = m.output("sh", "-c", "zcat /usr/share/doc/metammfd/changelog.gz >/tmp/changelog && "
                    "dpkg-parsechangelog --all -l /tmp/changelog")
    assert "dpkg-parsechangelog: warning" not in said, said[:500]


def verify(site):
    """systemd-analyze finds nothing to say about the unit as installed."""
    said = site.machine.output("systemd-analyze", "verify", "--man=no", UNIT)
    assert UNIT not in said, said


def exposure(site):
    said = site.machine.output("systemd-analyze", "security", "--no-pager", UNIT)
    figure = re.search(r"Overall exposure level.*?: ([0-9.]+)", said)[1]
    site.figures["exposure"] = figure
    assert float(figure) <= EXPOSURE_MAX, said


def before_the_first_start(site):
    """The settings are checked, and nothing is made that the daemon could not write to."""
    site.configure()
    site.machine.run("metammfd", "--check-config")
    assert site.machine.run("test", "-e", STORE, check=False).returncode != 0


def checks(site):
    return [
        ("apt installs the package", install),
        ("one version: package and executables", one_version),
        ("the unit is neither enabled nor started", neither_enabled_nor_started),
        ("account, groups, folders and settings with their modes", account_and_folders),
        ("manual pages, copyright, changelog, documents", documents),
        ("systemd-analyze verify says nothing", verify),
        (f"exposure at most {EXPOSURE_MAX}", exposure),
        ("settings are checked before the first start", before_the_first_start),
        ("lintian says nothing", lambda s: lintian(s.deb)),
    ]
