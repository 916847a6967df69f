"""the drop-ins of the documentation"""
import pathlib

from unit_site import PROPERTIES, UNIT

EXAMPLES = "/usr/share/doc/metammfd/examples"


def site_conf(site):
    """LoadCredential=, SupplementaryGroups=, IPAddressAllow=: the secret is read, and the media of that
    group only."""
    m = site.machine
    m.run("groupadd", "media")
    m.write("/etc/metammfd/secrets/kafka-password", "hunter2", 0o600)
    m.run("chgrp", "-R", "media", "/srv/media")
    m.run("chmod", "-R", "o-rwx", "/srv/media")
    # A mechanism that is not used reads its secret all the same.
    site.configure(PROPERTIES + ' sasl_username = "metammfd"; '
                   'sasl_password = "@credential:kafka-password";')
    site.drop_in("site", m.output("cat", f"{EXAMPLES}/site.conf") + "\n")
    m.run("systemctl", "restart", UNIT)
    assert "203.0.113.0/24" in site.show("IPAddressAllow")
    site.decodes_a_clip()
    assert "hunter2" not in site.journal(), "the secret is in the journal"
    environment = m.output("cat", f"/proc/{site.main_pid()}/environ")
    assert "hunter2" not in environment


def credential_missing(site):
    """The file of the secret is not there: systemd says that it is the credentials (243), and does not
    try for ever."""
    m = site.machine
    m.run("mv", "/etc/metammfd/secrets/kafka-password", "/srv/kept")
    site.stop()
    said = site.fails_to_start(243)
    assert "credentials" in said.lower(), said
    m.run("mv", "/srv/kept", "/etc/metammfd/secrets/kafka-password")


def away(site):
    """Without the drop-in it starts as before."""
    site.as_shipped()
    site.decodes_a_clip()


BY_NAME = {"site.conf": [("LoadCredential, group of the media, network", site_conf),
                         ("the credential's file is missing: 243, once", credential_missing),
                         ("without it again", away)]}


def known(site, name):
    assert name in BY_NAME, f"no check for the drop-in {name}: write one here"


def checks(site):
    folder = pathlib.Path(__file__).resolve().parents[2] / "systemd/examples"
    names = sorted(path.name for path in folder.glob("*.conf") if "# Drop-in" in path.read_text())
    out = []
    for name in names:
        out.append((f"{name} has checks", lambda s, name=name: known(s, name)))
        out += [(f"{name}: {what}", function) for what, function in BY_NAME.get(name, [])]
    return out
