"""two groups: who reads, who operates; what root leaves behind; what a reload takes up"""
import json

from machine import wait_for
from unit_site import CONF, STORE, UNIT

SOCKET, SPOOL, ADMIN = "/run/metammfd/control.sock", "/var/spool/metammfd", "metammf-admin"


def folders(site):
    """The folder guards the socket; set-group-ID gives it its group, though the unit may change no owner
    and no mode."""
    found = site.machine.output("stat", "-c", "%a %U %G %n", "/run/metammfd", SOCKET, SPOOL,
                                "/var/lib/metammfd", STORE).splitlines()
    assert found == [f"2750 metammf {ADMIN} /run/metammfd", f"660 metammf {ADMIN} {SOCKET}",
                     f"2770 metammf {ADMIN} {SPOOL}", "750 metammf metammf /var/lib/metammfd",
                     f"640 metammf metammf {STORE}"], found


def reader_only_reads(site):
    """And is told what he cannot be told."""
    m = site.machine
    m.run("useradd", "--groups", "metammf", "a-reader")
    told = json.loads(m.output("metammf", "status", "--json", user="a-reader"))
    assert told["daemon"] is None and told["writer_pid"] == site.main_pid(), told
    for verb in (["dlq", "purge", "--all"], ["model", "pin", "1"], ["train", "--now"]):
        done = m.run("metammf", *verb, user="a-reader", check=False)
        assert done.returncode == 77 and ADMIN in done.stdout, f"{verb}: {done.stdout}"
    for folder in ("/run/metammfd", SPOOL, "/var/lib/metammfd"):
        assert m.run("touch", f"{folder}/x", user="a-reader", check=False).returncode != 0, folder


def operator_operates(site):
    m = site.machine
    m.run("useradd", "--groups", f"metammf,{ADMIN}", "an-operator")
    told = json.loads(m.output("metammf", "status", "--json", user="an-operator"))
    assert told["daemon"]["pid"] == site.main_pid(), told
    m.run("metammf", "dlq", "purge", "--all", user="an-operator")
    m.run("metammf", "doctor", "--fast", user="an-operator")
    assert m.run("touch", "/var/lib/metammfd/x", user="an-operator", check=False).returncode != 0


def workers_change(site):
    """By systemctl reload; and what waits for a restart is named until it is taken back."""
    m = site.machine
    shipped = m.output("cat", CONF)
    settings = lambda: json.loads(m.output("metammf", "settings", "--json"))["settings"]  # noqa: E731
    try:
        m.write(CONF, shipped.replace("workers = 2", "workers = 3") + "\nqueue = { items = 77; };\n")
        m.run("systemctl", "reload", UNIT)
        wait_for("3 workers", lambda: site.metric('metammf_workers{state="idle"}') +
                 site.metric('metammf_workers{state="busy"}') == 3)
        assert (settings()["queue.items"]["running"], settings()["queue.items"]["waits"]) == (
            "1000", "restart"), settings()["queue.items"]
        assert "next restart only: queue.items" in site.journal("-n", "20")
    finally:
        m.write(CONF, shipped + "\n")
        m.run("systemctl", "reload", UNIT)
    wait_for("nothing waits", lambda: "nothing waits for a restart" in site.journal("-n", "20"))
    site.decodes_a_clip()


def root_leaves_it_usable(site):
    """An ingest and a training by root while the daemon is down."""
    m = site.machine
    site.stop()
    m.write("/srv/only-root.ndjson", '{"item_id": "of-root", "title": "by hand"}\n', 0o600)
    m.run("metammf", "ingest", "/srv/only-root.ndjson")
    m.run("metammf", "train", "--fusion", "none", "--epochs", "1", "--no-promote", seconds=300)
    m.run("metammf", "doctor", "--fast", check=False)  # of a daemon that is down
    owners = set(m.output("find", "/var/lib/metammfd", "-printf", "%u:%g\n").split())
    assert owners == {"metammf:metammf"}, owners
    site.start()
    site.decodes_a_clip()


def checks(site):
    return [
        ("folders of socket and spool: group metammf-admin", folders),
        ("a reader reads, asks the daemon for nothing, feeds no spool", reader_only_reads),
        ("an operator operates, and writes no file of the store", operator_operates),
        ("a reload: workers change, what waits is named until it is taken back", workers_change),
        ("root's command line leaves what the daemon can use", root_leaves_it_usable),
    ]
