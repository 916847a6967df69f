#!/usr/bin/env python3
"""What a site does to its Kafka, and what the daemon says of it second by second.

    test_kafka_situations.py TOOLS SITUATION [--table FILE]   or `all`

One broker with SASL, TLS and ACLs (tests/kafka/secure.py). Once a second /readyz, status, metrics,
and as often as it answers `metammf doctor`, are asked; --table writes what they said as Markdown.
Each situation ends with every event stored, and fails when the daemon was silent about it.
"""

import argparse
import contextlib
import json
import pathlib
import subprocess
import sys
import threading
import time

import kafkatest as kt
import kafkawatch as kw

sys.path.insert(0, str(kt.HERE.parent / "kafka"))
import secure  # noqa: E402

SASL = ('security_protocol = "sasl_plaintext"; sasl_mechanisms = "PLAIN"; '
        f'sasl_username = "{secure.USER}"; sasl_password = "%s"; ')


class Place:
    """The broker, and a folder; topics of each situation have its name."""

    def __init__(self, tools, folder):
        self.tools, self.folder = tools, folder
        self.broker = secure.SecureBroker(folder / "broker").start()

    def feed(self, *arguments, **more):
        return subprocess.run([self.tools / "kafka_feed", arguments[0], self.broker.bootstrap,
                               *map(str, arguments[1:])], check=True,
                              stdout=subprocess.DEVNULL, **more)

    def acl(self, what, kind, name):
        self.feed("acl", what, kind, name, secure.USER)


class Situation:
    """A daemon, its topics and the record of what it says."""

    def __init__(self, place, name, partitions=1, mode="group", bootstrap=None, folder=None, make=True,
                 **more):
        self.place, self.name = place, name
        self.videos, self.clicks, self.dlq = (f"{name}.{t}" for t in ("videos", "clicks", "dlq"))
        if make:
            for topic, n in ((self.videos, 1), (self.clicks, partitions), (self.dlq, 1)):
                place.broker.create_topic(place.tools / "kafka_feed", topic, n,
                                          "max.message.bytes=125829120")
        folder = folder or place.folder / name
        folder.mkdir(exist_ok=True)
        port = kt.free_port()
        self.daemon = kt.Daemon(place.tools / "metammfd", place.tools, folder,
                                bootstrap or place.broker.bootstrap, mode, folder,
                                **kw.options_for(folder, port), **more)
        text = self.daemon.config.read_text()
        for old, new in (('["videos"]', f'["{self.videos}"]'), ('"videos.dlq"', f'"{self.dlq}"'),
                         ('["interactions"]', f'["{self.clicks}"]'), ("kill-test", name)):
            text = text.replace(old, new)
        self.daemon.config.write_text(text)
        self.watch = kw.Watch(place.tools, self.daemon, port)
        self.rows, self.n_sent, self.start_s = [], 0, time.monotonic()
        self.doctor, self.ended = "", threading.Event()
        self.threads = [threading.Thread(target=f) for f in (self.look_on, self.ask_doctor)]
        for thread in self.threads:
            thread.start()

    # ---- the record

    def look_on(self):
        while not self.ended.wait(1):
            look = self.watch.look()
            said = (look.ready, look.line(), look.warning, self.doctor,
                    look.metrics.get("metammf_consumer_lag_records"))
            self.rows.append((time.monotonic() - self.start_s, "says", said))

    def ask_doctor(self):
        while not self.ended.wait(1):
            done = subprocess.run([self.place.tools / "metammf", "--config", self.daemon.config,
                                   "--json", "doctor", "--fast"], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True)
            with contextlib.suppress(ValueError):
                checks = [c for c in json.loads(done.stdout)["checks"]
                          if c["check"] in ("broker", "topic", "group", "dlq")]
                bad = [f"{c['check']}: {c['detail']}" for c in checks if c["verdict"] != "good"]
                self.doctor = "; ".join(bad) or "✓"

    def note(self, text):
        kt.say(f"{self.name}: {text}")
        self.rows.append((time.monotonic() - self.start_s, "done", text))

    # ---- what is done

    def send(self, n, topic=None):
        """n clicks; each of them must be in the store in the end."""
        topic = topic or self.clicks
        lines = "".join(json.dumps({
            "topic": topic, "key_b64": kt.b64(f"u{k}".encode()),
            "value_b64": kt.b64(kt.event(user_id=f"u{k}", item_id=f"i{k % 7}", kind="watch"))}) + "\n"
            for k in range(self.n_sent, self.n_sent + n))
        self.place.feed("produce", input=lines, text=True)
        self.n_sent += n

    def stored(self, name=None):
        if not self.daemon.db_path.exists():
            return 0
        with self.daemon.database() as db:
            return db.execute("SELECT count(*) FROM interaction_log WHERE topic = ?",
                              (name or self.clicks,)).fetchone()[0]

    def until(self, what, condition, seconds=90):
        def is_there():
            self.daemon.check_alive()
            look = self.watch.look()
            return condition(look)
        kt.wait_for(what, is_there, seconds)
        self.note(what)

    def all_read(self, what="every event stored, ready, lag 0", seconds=90):
        self.until(what, lambda l: l.ready and l.lag == 0 and self.stored() == self.n_sent, seconds)

    def finish(self, stop=True):
        time.sleep(2)
        self.ended.set()
        for thread in self.threads:
            thread.join()
        if stop:
            self.daemon.stop()


# ---- the situations --------------------------------------------------------------------------

def grow(place):
    """Partitions 1 → 3 under start = "end", live."""
    s = Situation(place, "grow", start="end")
    s.daemon.start()
    s.until("started, nothing there", lambda l: l.ready and l.states == {"caught_up": 2})
    s.send(20)
    s.all_read("20 stored")
    place.feed("grow", s.clicks, 3)
    s.note("partitions 1 → 3")
    for _ in range(20):
        s.send(3)
        time.sleep(0.5)
    s.all_read(f"all {s.n_sent} stored, 4 partitions", 30)
    return s


def takeover(place):
    """kill -9 of a member of two; the other one takes over."""
    a = Situation(place, "takeover", partitions=4, start="end")
    (place.folder / "takeover-b").mkdir()
    a.daemon.start()
    a.until("the first member reads all", lambda l: l.ready and l.states == {"caught_up": 5})
    b = Situation(place, "takeover", partitions=4, start="end", folder=place.folder / "takeover-b",
                  make=False)
    b.daemon.start()
    b.until("the second has its share", lambda l: l.ready and 0 < l.states.get("caught_up", 0) < 5)
    a.send(40)
    time.sleep(3)
    a.daemon.kill()
    a.finish(stop=False)
    b.note("the first member killed -9")
    a.send(40)

    def places():
        found = set()
        for daemon in (a.daemon, b.daemon):
            with daemon.database() as db:
                found |= set(db.execute("SELECT partition, offset FROM interaction_log"))
        return len(found)
    b.until("each of 80 events in a store", lambda l: l.ready and places() == a.n_sent and
            l.states == {"caught_up": 5})
    a.daemon.start()
    b.note("the first member starts again")
    b.until("both have a share", lambda l: l.ready and 0 < l.states.get("caught_up", 0) < 5)
    a.daemon.stop()
    return b


def remade(place, name, n_new):
    s = Situation(place, name, kafka='topic_made_anew = "beginning";')
    s.daemon.start()
    s.send(100)
    s.all_read("100 stored")
    place.feed("delete", s.clicks)
    s.note("topic deleted")
    s.until("said", lambda l: not l.ready and "unknown_topic" in l.states)
    place.broker.create_topic(place.tools / "kafka_feed", s.clicks, 1)
    s.n_sent = 0
    s.send(n_new)
    s.note(f"made anew with {n_new}")
    s.all_read(f"all {n_new} of the new topic stored", 120)
    assert len(s.daemon_gaps()) > 0
    return s


def daemon_gaps(self):
    with self.daemon.database() as db:
        return db.execute("SELECT * FROM data_gap").fetchall()


Situation.daemon_gaps = daemon_gaps


def anew_longer(place):
    """A topic deleted and made anew with more events, topic_made_anew = "beginning"."""
    return remade(place, "anew-longer", 200)


def anew_shorter(place):
    """A topic deleted and made anew with fewer events, topic_made_anew = "beginning"."""
    return remade(place, "anew-shorter", 40)


def secured(place, name, password=secure.PASSWORD, topic=True, group=True, **more):
    s = Situation(place, name, bootstrap=place.broker.sasl, properties=SASL % password, **more)
    for wanted, kind, what in ((True, "topic", s.videos), (True, "topic", s.dlq), (topic, "topic", s.clicks),
                               (group, "group", s.name)):
        if wanted:
            place.acl("allow", kind, what)
    return s


def acl_topic(place):
    """READ on a topic taken and given while it runs."""
    s = secured(place, "acl-topic")
    s.daemon.start()
    s.send(10)
    s.all_read("10 stored")
    place.acl("forget", "topic", s.clicks)
    s.note("READ on clicks taken")
    s.until("said", lambda l: not l.ready and l.states.get("denied") == 1)
    s.send(5)
    time.sleep(5)
    place.acl("allow", "topic", s.clicks)
    s.note("READ given")
    s.all_read("15 stored, ready")
    place.acl("forget", "topic", s.clicks)
    s.note("READ taken again, no event comes")
    s.until("said", lambda l: not l.ready and l.states.get("denied") == 1)
    place.acl("allow", "topic", s.clicks)
    s.note("READ given")
    s.all_read("ready again without an event")
    return s


def acl_group(place):
    """READ on the group denied at the start, then given; taken while it runs, then given."""
    s = secured(place, "acl-group", group=False)
    s.send(10)
    s.daemon.start()
    s.until("said", lambda l: not l.ready and "denied" in l.states and
            "Group authorization failed" in l.why)
    time.sleep(5)
    place.acl("allow", "group", s.name)
    s.note("READ on the group given")
    s.all_read("10 stored")
    place.acl("forget", "group", s.name)
    s.note("READ on the group taken")
    s.send(5)
    time.sleep(12)
    place.acl("allow", "group", s.name)
    s.note("READ on the group given")
    s.all_read("15 stored")
    return s


def password(place):
    """A wrong SASL password."""
    s = secured(place, "password", password="wrong-staple")
    s.daemon.start()
    s.until("said", lambda l: not l.ready and "invalid" in l.why.lower())
    s.until("doctor says so", lambda l: "invalid" in s.doctor.lower())
    assert "wrong-staple" not in (s.daemon.log_tail(1000) + s.doctor)
    return s


def certificate(place):
    """The broker's certificate has expired."""
    s = Situation(place, "certificate", bootstrap=place.broker.tls, properties=(
        'security_protocol = "ssl"; '
        f'ssl_ca_location = "{place.broker.certificate}"; '))
    s.daemon.start()
    s.until("said", lambda l: not l.ready and "certificate" in l.why.lower())
    s.until("doctor says so", lambda l: "certificate" in s.doctor.lower())
    return s


def large(place):
    """A message of 110 MB, above receive.message.max.bytes; deleted by its owner afterwards."""
    s = Situation(place, "large")
    s.daemon.start()
    s.send(10)
    s.all_read("10 stored")
    place.feed("big", s.clicks, 110000000)
    s.note("a message of 110 MB at offset 10")
    s.send(5)
    s.until("said", lambda l: not l.ready and l.states.get("too_large") == 1 and
            "receive_message_max_bytes" in l.why, 120)
    time.sleep(5)
    place.feed("truncate", s.clicks, 0, 11)
    s.note("deleted up to 11")
    s.all_read("15 stored", 120)
    assert len(s.daemon_gaps()) == 1 # the deleted one
    return s


def transactions(place):
    """1,000 records aborted, then a transaction left open for 15 s."""
    s = Situation(place, "transactions")
    s.daemon.start()
    s.send(10)
    s.all_read("10 stored")
    place.feed("transact", s.clicks, 1000, "abort")
    s.note("1,000 records aborted")
    s.all_read("lag 0", 30)
    left = subprocess.Popen([place.tools / "kafka_feed", "transact", place.broker.bootstrap,
                             s.clicks, "5", "leave", "15"], stdout=subprocess.PIPE, text=True)
    left.stdout.readline()
    s.note("5 records in a transaction left open")
    s.send(5)
    s.until("said", lambda l: "open transaction" in l.warning)
    left.wait(60)
    s.note("the transaction ended (aborted)")
    s.all_read("15 stored")
    assert s.daemon_gaps() == []
    return s


SITUATIONS = {f.__name__: f for f in (grow, takeover, anew_longer, anew_shorter, acl_topic, acl_group,
                                      password, certificate, large, transactions)}


# ---- the table ---------------------------------------------------------------------------------

def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def table(name, s):
    """What was said, equal seconds in one row."""
    lines = [f"\n### {SITUATIONS[name].__doc__.strip()}\n",
             "| s | done, or /readyz | partitions, lag | why, warning | doctor |", "|---|---|---|---|---|"]
    last = None
    for at, kind, what in sorted(s.rows):
        if kind == "done":
            lines.append(f"| {at:.0f} | **{cell(what)}** | | | |")
            last = None
            continue
        ready, line, warning, doctor, lag = what
        _, states, lag_text, why = line.split(" | ", 3)
        row = (f"{'ready' if ready else 'not ready'} | {states}; {lag_text} | "
               f"{cell('' if ready else why)}{'; ' if warning and not ready else ''}{cell(warning)} | "
               f"{cell(doctor)}")
        if row != last:
            lines.append(f"| {at:.0f} | {row} |")
        last = row
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tools", type=pathlib.Path)
    parser.add_argument("situation", choices=[*SITUATIONS, "all"])
    parser.add_argument("--table", type=pathlib.Path)
    options = parser.parse_args()
    names = list(SITUATIONS) if options.situation == "all" else [options.situation]
    with kt.work_folder() as folder:
        try:
            place = Place(options.tools.resolve(), pathlib.Path(folder))
        except kt.real_broker.Unavailable as error:
            kt.real_broker.leave_unavailable(error)
        try:
            for name in names:
                s = SITUATIONS[name](place)
                s.finish()
                kt.say(f"{name}: {s.stored()} stored")
                if options.table:
                    with open(options.table, "a") as out:
                        out.write(table(name, s))
        finally:
            place.broker.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
