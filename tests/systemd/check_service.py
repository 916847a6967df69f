"""the unit as shipped, at work"""
import json
import pathlib
import stat

from machine import HERE, wait_for
from unit_site import CONF, N_CLIPS, N_ITEMS, STORE, UNIT, VIDEOS

N_TRIALS = 25  # of probe.py
WORKS = {"openat2", "write /var/lib/metammfd", "write /var/spool/metammfd"}


def starts(site):
    """systemctl waits for READY=1 (Type=notify)."""
    site.configure()
    site.machine.run("systemctl", "enable", "--now", UNIT)
    assert site.active() == "active" and site.show("SubState") == "running"
    assert site.show("NRestarts") == "0"


def says_its_state(site):
    """By STATUS=, /livez, and ready once it reads."""
    wait_for("STATUS= is heard", lambda: site.show("StatusText"))
    assert site.show("WatchdogUSec") == "1min", site.show("WatchdogUSec")
    assert "ok" in site.page("livez"), site.page("livez")
    wait_for("/readyz is 200", lambda: "ready" in site.page("readyz"))
    version = site.machine.output("metammfd", "--version").split()[-1]
    assert f'metammf_build_info{{version="{version}"}} 1' in site.page("metrics")


def decodes(site):
    """MP4, WebM, Matroska and MOV, out of the workers' sandbox inside the unit's: which needs openat2,
    landlock, seccomp, memfd and pidfd."""
    site.send_uploads()
    wait_for(f"{N_ITEMS} items have embeddings", lambda: site.ask(
        "SELECT count(*) FROM current_embedding") == str(N_ITEMS))
    for i in range(N_CLIPS):
        told = site.machine.output("metammf", "get", f"clip{i}", "--json", user="metammf")
        assert json.loads(told), told


def dead_letter_in_the_journal(site):
    """PRIORITY, SYSLOG_IDENTIFIER and our own fields; no path of the builder's."""
    site.send(VIDEOS, ['{"item_id": "poison", "title": 7}'])
    wait_for("the dead letter", lambda: site.ask("SELECT count(*) FROM dead_letter") == "1")
    entries = [json.loads(line) for line in site.journal("--output=json").splitlines()]
    ours = [e for e in entries if e.get("_COMM") == "metammfd"]
    letters = [e for e in ours if e.get("KAFKA_TOPIC") == VIDEOS]
    assert letters, "no entry has KAFKA_TOPIC"
    assert letters[0]["PRIORITY"] == "4" and letters[0]["KAFKA_OFFSET"].isdigit(), letters[0]
    assert {e["SYSLOG_IDENTIFIER"] for e in ours} == {"metammfd"}
    assert any(e["_TRANSPORT"] == "journal" for e in ours)
    where = {field: e[field] for e in ours for field in ("CODE_FILE", "CODE_FUNC", "CODE_LINE")
             if field in e}
    assert not where, f"the place in the source: {where}"


def trains(site):
    """The trainer's process too runs in the unit; its model is published."""
    site.send_clicks()
    name = 'metammf_retrain_total{result="published"}'
    wait_for("a retraining is published", lambda: site.metric(name) >= 1, 120)
    assert site.metric('metammf_retrain_total{result="failed"}') == 0
    trained = site.machine.output("metammf", "model", "list", user="metammf")
    site.machine.run("metammf", "recommend", "u1", user="metammf")
    assert trained


def reloads(site):
    """systemctl reload: a setting that a reload can change is in force, in the same process."""
    pid = site.main_pid()
    site.configure(more='log_level = "debug";\n')
    site.machine.run("systemctl", "reload", UNIT)
    wait_for("the log names the reload", lambda: "is in force" in site.journal("-n", "50"))
    assert site.main_pid() == pid and site.active() == "active"
    site.machine.write(CONF, "nonsense")
    site.machine.run("systemctl", "reload", UNIT, check=False)
    wait_for("the log names the error", lambda: "nonsense" in site.journal("-n", "20") or
             "syntax error" in site.journal("-n", "20"))
    assert site.main_pid() == pid and site.active() == "active"
    site.configure()
    site.machine.run("systemctl", "reload", UNIT)


def readers(site):
    """A member of the group reads and cannot write; somebody else cannot read."""
    m = site.machine
    m.run("useradd", "--groups", "metammf", "reader")
    m.run("useradd", "stranger")
    assert int(site.ask("SELECT count(*) FROM current_embedding", "reader")) >= N_ITEMS
    json.loads(m.output("metammf", "status", "--json", user="reader"))
    m.run("metammf", "similar", "clip0", user="reader")
    write = m.run("sqlite3", STORE, "DELETE FROM item", user="reader", check=False)
    assert write.returncode != 0 and "readonly" in write.stdout.replace("read-only", "readonly"), \
        write.stdout
    assert m.run("touch", "/var/lib/metammfd/mine", user="reader", check=False).returncode != 0
    read = m.run("sqlite3", "-readonly", STORE, "SELECT 1 FROM item", user="stranger", check=False)
    assert read.returncode != 0, "a stranger reads the store"


def modes(site):
    """Nothing of ours is for others; the store's files are for the group to read."""
    found = site.machine.output("find", "/var/lib/metammfd", "-printf",
                                "%m %u %g %y %p\n").splitlines()
    for line in found:
        mode, user, group, kind, path = line.split(maxsplit=4)
        bits = int(mode, 8)
        assert (user, group) == ("metammf", "metammf"), line
        if kind == "l":
            continue
        assert not bits & (stat.S_IRWXO | stat.S_ISUID | stat.S_ISGID), line
        assert not bits & stat.S_IWGRP, line


def confined(site):
    """What the kernel says of the process, and of the workers: filter, no new privileges, none held."""
    pids = site.machine.output("systemctl", "show", "--value", "--property=ControlGroup", UNIT)
    group = pathlib.Path("/sys/fs/cgroup" + pids, "cgroup.procs")
    for pid in site.machine.output("cat", group).split():
        status = dict(line.split(":\t", 1) for line in site.machine.output(
            "cat", f"/proc/{pid}/status").splitlines() if ":\t" in line)
        seen = (status["Seccomp"], status["NoNewPrivs"], int(status["CapEff"], 16),
                int(status["CapBnd"], 16))
        assert seen == ("2", "1", 0, 0), f"{status['Name']}: {seen}"


def walls(site):
    """probe.py as the service, in the unit: what the daemon needs works, the rest does not."""
    m = site.machine
    m.put(HERE / "probe.py", "/usr/local/lib/probe.py")
    since = m.output("date", "+%s.%N")
    site.drop_in("probe", "[Service]\nExecStartPre=/usr/bin/python3 -I /usr/local/lib/probe.py "
                 f"/var/lib/metammfd\nExecPaths={m.output('realpath', '/usr/bin/python3')}\n")
    m.run("systemctl", "restart", UNIT)
    site.drop_in("probe", None)
    said = dict(line.split(": ") for line in site.journal(
        f"--since=@{since}", "--output=cat", "--identifier=python3").splitlines())
    works = {name for name, what in said.items() if what == "ok"}
    assert works == WORKS and len(said) == N_TRIALS, said


def doctor(site):
    """All good, where the daemon itself is."""
    site.drop_in("doctor", "[Service]\nExecStartPre=/usr/bin/metammf doctor\n")
    since = site.machine.output("date", "+%s.%N")
    site.machine.run("systemctl", "restart", UNIT)
    site.drop_in("doctor", None)
    said = site.journal(f"--since=@{since}", "--output=cat", "--identifier=metammf")
    assert "media" in said and "✗" not in said, said


def without_openat2(site):
    """RestrictSUIDSGID=yes takes openat2 away (systemd 252): it says so, once. The unit must do
    without; were this to start, systemd would let the call through, and the unit could have it back."""
    assert site.show("RestrictSUIDSGID") == "no" and site.show("DynamicUser") == "no"
    site.stop()
    site.drop_in("suid", "[Service]\nRestrictSUIDSGID=yes\n")
    try:
        said = site.fails_to_start(78)
        assert "openat2" in said and "RestrictSUIDSGID" in said, said
    finally:
        site.drop_in("suid", None)
    site.start()


def checks(site):
    return [
        ("enabled and started; READY", starts),
        ("status, watchdog, /livez, /readyz, version in /metrics", says_its_state),
        ("decodes clips of four containers", decodes),
        ("journal: PRIORITY, SYSLOG_IDENTIFIER, own fields, no CODE_FILE", dead_letter_in_the_journal),
        ("trains once, publishes, recommends", trains),
        ("reload: new settings, bad settings, the same process", reloads),
        ("readers: the group reads, cannot write; others cannot read", readers),
        ("modes and owners of store and models", modes),
        ("every process: filter, no new privileges, no capability", confined),
        ("in the unit: openat2 works, no set-user-ID, no dropped program …", walls),
        ("doctor in the unit: all good", doctor),
        ("with RestrictSUIDSGID=yes: refused with its reason, once", without_openat2),
    ]
