"""the restore drill: backed up under load, restored on an empty machine, as docs/backup.md says"""
import json
import pathlib
import re
import time

from machine import wait_for
from unit_site import CONF, UNIT, VIDEOS, WORDS

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs/backup.md"
FOLDER = "/var/backups/metammf"
N_ITEMS = 1000
VECTORS = "SELECT item_id, hex(vec) FROM current_embedding ORDER BY item_id"


def units(text):
    """The units that the document shows: path → text."""
    return dict(re.findall(r"`(/etc/systemd/system/[\w.-]+)`.*?\n```ini\n(.*?)```", text, re.S))


def trained(site):
    """A thousand items, and a trained model beside the first one."""
    site.as_shipped()
    site.send(VIDEOS, [{"item_id": f"many{i}", "title": f"{WORDS[i % len(WORDS)]} {i}"}
                       for i in range(N_ITEMS)])
    wait_for("a thousand items", lambda: int(site.ask(
        "SELECT count(*) FROM current_embedding WHERE item_id GLOB 'many*'")) == N_ITEMS, 120)
    wait_for("a trained model is active", lambda: int(site.ask("SELECT model_id FROM active_model")) > 1,
             120)


def backed_up(site):
    """By the document's own unit, while events come in."""
    m = site.machine
    found = units(DOCUMENT.read_text(encoding="utf-8"))
    assert sorted(path.rsplit(".", 1)[1] for path in found) == ["service", "timer"], sorted(found)
    for path, text in found.items():
        m.write(path, text)
        said = m.output("systemd-analyze", "verify", path)
        assert "metammf-backup" not in said, said
    m.run("systemctl", "daemon-reload")
    m.run("install", "-d", "-o", "metammf", "-g", "metammf", "-m", "0750", FOLDER)
    load = site.feed(VIDEOS, [{"item_id": f"load{i}", "title": f"under load {i}"} for i in range(400)], 100)
    wait_for("the load is there", lambda: site.ask(
        "SELECT count(*) FROM current_embedding WHERE item_id GLOB 'load*'") != "0")
    m.run("systemctl", "start", "metammf-backup.service")
    assert load.poll() is None, "the load was over before the backup"
    load.wait(60)
    site.backup, = m.output("find", FOLDER, "-mindepth", "1", "-maxdepth", "1", "-type", "d").split()
    m.run("test", "-e", f"{FOLDER}/forgotten.txt")
    manifest = json.loads(m.output("cat", f"{site.backup}/manifest.json"))
    assert manifest, manifest
    m.run("cp", "-a", site.backup, "/srv/backup")  # "copy the folders to another machine"


def restored(site):
    """On a machine without anything of ours; the daemon is ready after it."""
    m = site.machine
    m.run("apt-get", "purge", "-y", "metammfd")
    m.run("rm", "-rf", FOLDER)
    site.install()
    site.configure()
    started = time.monotonic()
    m.run("metammf", "-c", CONF, "restore", "/srv/backup")
    m.run("systemctl", "enable", "--now", UNIT)
    wait_for("ready", lambda: "ready" in site.page("readyz"))
    site.figures["restore"] = f"{time.monotonic() - started:.1f} s"
    owners = set(m.output("find", "/var/lib/metammfd", "-mindepth", "1", "-printf", "%u:%g\n").split())
    assert owners == {"metammf:metammf"}, owners


def same_bytes(site):
    """Each vector of the backup, after the events since then have been read again; then what was on
    its way when it was made."""
    m = site.machine
    store = m.output("find", "/srv/backup", "-name", "*.db")
    before = dict(line.split("|") for line in m.output(
        "sqlite3", "-readonly", f"file:{store}?immutable=1", VECTORS).splitlines())
    assert len(before) >= N_ITEMS, len(before)
    wait_for("all of the load", lambda: site.ask(
        "SELECT count(*) FROM current_embedding WHERE item_id GLOB 'load*'") == "400", 120)
    after = dict(line.split("|") for line in site.ask(VECTORS).splitlines())
    differ = [item for item in before if after.get(item) != before[item]]
    assert not differ, f"{len(differ)} of {len(before)} differ: {differ[:5]}"
    site.decodes_a_clip()


def rolls_back(site):
    """To a model whose file came with the backup."""
    old = site.ask("SELECT model_id FROM active_model")
    site.machine.run("metammf", "model", "rollback")
    wait_for("another model is active", lambda: site.ask("SELECT model_id FROM active_model") != old)
    wait_for("all vectors are of that model", lambda: site.ask(
        "SELECT count(*) FROM current_embedding WHERE model_id != (SELECT model_id FROM active_model)")
        == "0")
    site.decodes_a_clip()
    assert site.active() == "active"


def checks(site):
    return [
        ("a thousand items and a trained model", trained),
        ("backed up under load by the document's unit and timer", backed_up),
        ("restored on an empty machine, ready", restored),
        ("vectors byte for byte; what came meanwhile is read again", same_bytes),
        ("rolls back to the model before", rolls_back),
    ]
