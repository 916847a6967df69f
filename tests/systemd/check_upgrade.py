"""upgrade, downgrade, removal, purge"""
import re

from unit_site import CONF, STORE, UNIT

OURS = ("/var/lib/metammfd", "/var/spool/metammfd", "/run/metammfd", CONF,
        "/usr/lib/systemd/system/metammfd.service")
LINK = f"/etc/systemd/system/multi-user.target.wants/{UNIT}"


def later_package(site, suffix):
    """The package once more, as a higher version with other settings shipped."""
    m = site.machine
    m.run("rm", "-rf", "/srv/later")
    m.run("dpkg-deb", "-R", site.deb_there, "/srv/later")
    m.run("sed", "-i", rf"s/^Version: .*/&{suffix}/", "/srv/later/DEBIAN/control")
    m.run("sh", "-c", "find /srv/later -path '*/metammfd/metammfd.conf' -exec sed -i '$a # later' {} +")
    m.run("dpkg-deb", "-b", "-Znone", "/srv/later", f"/srv/later{suffix}.deb")
    return f"/srv/later{suffix}.deb"


def runs_the_installed_one(site):
    exe = site.machine.output("readlink", f"/proc/{site.main_pid()}/exe")
    assert exe == "/usr/bin/metammfd", f"what runs is {exe}"


def same_version(site):
    site.as_shipped()
    pid = site.main_pid()
    site.machine.run("apt-get", "install", "-y", "--reinstall", site.deb_there)
    site.restart_after("a reinstallation", pid)
    runs_the_installed_one(site)


def between(site):
    """Unpacked and not configured yet, as in a large upgrade: the old daemon goes on decoding."""
    pid = site.main_pid()
    site.machine.run("dpkg", "--unpack", later_package(site, "+1"))
    assert site.main_pid() == pid and site.active() == "active"
    site.decodes_a_clip()
    site.machine.run("dpkg", "--configure", "metammfd")
    site.restart_after("the upgrade", pid)
    runs_the_installed_one(site)
    site.decodes_a_clip()


def keeps_settings(site):
    """A site's settings are its own, though others are shipped; and nothing was asked."""
    said = site.machine.output("cat", CONF)
    assert site.bootstrap in said and "# later" not in said, said


def stopped_stays(site):
    site.stop()
    site.machine.run("dpkg", "-i", later_package(site, "+2"))
    assert site.active() == "inactive"
    assert site.machine.output("systemctl", "is-enabled", UNIT) == "enabled"


def newer_store(site):
    """The store of a later version: refused in plain words, once; with its own version it starts."""
    m = site.machine
    version = int(site.ask("PRAGMA user_version"))
    m.run("sqlite3", STORE, f"PRAGMA user_version = {version + 1}", user="metammf")
    said = site.fails_to_start(78)
    assert re.search(rf"schema version {version + 1} is newer than this program's {version}", said), said
    m.run("sqlite3", STORE, f"PRAGMA user_version = {version}", user="metammf")
    site.start()
    site.decodes_a_clip()


def removed(site):
    """Stopped; settings, store and account stay."""
    m = site.machine
    site.items = site.ask("SELECT count(*) FROM current_embedding")
    m.run("apt-get", "remove", "-y", "metammfd")
    assert site.active() == "inactive"
    assert m.output("pgrep", "-u", "metammf", check=False) == "", "processes are left"
    m.run("test", "-e", CONF, "-a", "-e", STORE)
    m.run("id", "metammf")


def installed_after_removal(site):
    """As it was: enabled, its rows, decoding."""
    m = site.machine
    site.install()
    assert m.output("systemctl", "is-enabled", UNIT) == "enabled"
    site.start()
    assert site.ask("SELECT count(*) FROM current_embedding") == site.items
    site.decodes_a_clip()


def purged(site):
    """While it runs. Nothing of ours is left, no link that dangles, and nobody was asked."""
    m = site.machine
    m.write("/etc/metammfd/secrets/own", "secret", 0o600)
    m.run("apt-get", "purge", "-y", "metammfd")
    left = [path for path in (*OURS, LINK) if m.run(
        "sh", "-c", f"test -e {path} -o -L {path}", check=False).returncode == 0]
    assert not left, f"left: {left}"
    assert m.output("pgrep", "-f", "/usr/bin/metammfd", check=False) == "", "it runs"
    for kind, name in (("passwd", "metammf"), ("group", "metammf"), ("group", "metammf-admin")):
        assert m.run("getent", kind, name, check=False).returncode != 0, f"{kind}: {name}"
    dangling = m.output("find", "/etc/systemd", "/var/lib/systemd", "-name", "*metammfd*", "-not",
                        "-path", "*.service.d*")
    assert not dangling, dangling
    m.run("test", "-e", "/etc/metammfd/secrets/own")  # which is the site's


def installed_anew(site):
    m = site.machine
    site.install()
    assert m.output("systemctl", "is-enabled", UNIT, check=False) == "disabled"
    site.configure()
    site.start()
    site.decodes_a_clip()
    site.stop()


def checks(site):
    return [
        ("the same version again: what runs is the installed one", same_version),
        ("upgrade: decodes between unpack and restart; then the new one", between),
        ("upgrade: the site's settings are kept", keeps_settings),
        ("upgrade: what was stopped stays so, enabled", stopped_stays),
        ("the store of a later version is refused, once", newer_store),
        ("removed: stopped, data kept", removed),
        ("installed after a removal: as before", installed_after_removal),
        ("purged while it runs: nothing of ours is left", purged),
        ("installed after a purge: starts", installed_anew),
    ]
