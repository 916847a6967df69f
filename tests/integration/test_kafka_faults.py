#!/usr/bin/env python3
"""What Kafka does to a consumer, and what must become of it.

    test_kafka_faults.py TOOLS CASE [--count N] [--seed N]

Mock cluster (a simulation): no_memory, broker_down, errors, dlq_errors, rebalance, back_pressure,
                             sigterm, other_cluster, tls
Real broker:                 restart, gap, gap_memory, no_dlq_topic, dlq_awkward, recreated

Each case ends with the ledger against the database (kafkaledger.py), unless it must end the
daemon.
--count is the number of faults, where a case has more than one; $MMF_FAULTS_COUNT overrides it.
"""

import base64
import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import kafkaledger as ledger
import kafkatest as kt
from kafkacase import PARTITIONS, Case, run

# Kafka protocol: API keys, and error codes that a broker may answer; -195 hangs up.
APIS = {"Fetch": 1, "ListOffsets": 2, "Metadata": 3, "OffsetCommit": 8, "OffsetFetch": 9,
        "FindCoordinator": 10, "JoinGroup": 11, "Heartbeat": 12, "SyncGroup": 14,
        "ApiVersion": 18}
PRODUCER_APIS = {"Produce": 0, "InitProducerId": 22, "Metadata": 3, "ApiVersion": 18}
CODES = [-195, 1, 3, 5, 6, 7, 9, 13, 14, 15, 16, 22, 25, 27, 56, 74, 78]


# ---- on the mock cluster -------------------------------------------------------------------

def no_memory(options, folder):
    """One allocation in 10,000 of the daemon's fails (fail_alloc.c): nothing is lost, nothing is there twice,
    and no event that is good becomes a dead letter."""
    case = Case(options, folder, "mock", "group", messages=300 * options.count)
    scarce = folder / "scarce"
    case.daemon.env.update(LD_PRELOAD=str(options.tools / "fail_alloc.so"), MMF_FAIL_EVERY="10000",
                           MMF_FAIL_WHEN=str(scarce))
    case.daemon.start()
    feed = case.feed(rate=300)
    kt.wait_for("the first events", lambda: case.daemon.offsets(), 120)
    scarce.touch()
    feed.finish()
    case.wait_until_stored(case.ends())
    kt.wait_for_outbox(case.daemon)
    scarce.unlink()
    return case.finish("without memory now and then")


def broker_down(options, folder):
    """The broker goes away and comes back; afterwards events flow again within 30 s. Answers take
    a while, so that some are under way when it goes."""
    case = Case(options, folder, "mock", "assign", messages=150 * options.count)
    case.daemon.start()
    feed = case.feed(rate=100)
    slowest = 0.0
    for _ in range(options.count):
        time.sleep(case.rng.uniform(0.2, 1.0))
        case.cluster.command("rtt -1 50")
        time.sleep(0.1)
        case.cluster.command("down -1")
        case.cluster.command("rtt -1 0")
        time.sleep(case.rng.uniform(0.1, 1.5))
        before = case.daemon.offsets()
        case.cluster.command("up -1")
        start = time.monotonic()
        if feed.running():
            kt.wait_for("events after the broker came back",
                        lambda: case.daemon.offsets() != before, 30)
            slowest = max(slowest, time.monotonic() - start)
    feed.finish()
    return case.finish(f"{options.count} times down and up (consuming again after at most "
                       f"{slowest:.1f} s)")


def inject(case, apis):
    """Error answers: API × code × position, drawn by the seed. The daemon stays up."""
    for _ in range(case.options.count):
        api, code = case.rng.choice(list(apis)), case.rng.choice(CODES)
        time.sleep(case.rng.uniform(0.05, 0.6))
        case.cluster.command(f"errors {apis[api]} {code} {case.rng.randint(1, 3)}")
        case.daemon.check_alive()
    for number in apis.values():  # what nobody asked for must not meet the comparison
        case.cluster.command(f"clear {number}")


def errors(options, folder):
    """The consumer's requests are refused while events come in."""
    case = Case(options, folder, "mock", "group", messages=25 * options.count)
    case.daemon.start()
    feed = case.feed(rate=60)
    inject(case, APIS)
    feed.finish()
    return case.finish(f"{options.count} error answers")


def dlq_errors(options, folder):
    """The requests of the dead-letter producer are refused."""
    case = Case(options, folder, "mock", "assign")
    case.messages = [kt.poison(case.rng, n, folder) for n in range(100 * options.count)]
    case.feed(rate=0).finish()
    case.daemon.start()
    inject(case, PRODUCER_APIS)
    return case.finish(f"{options.count} error answers to the dead-letter producer")


def rebalance(options, folder):
    """Other members join and leave the group while work is in flight."""
    case = Case(options, folder, "mock", "group", messages=600 * options.count)
    case.daemon.start()
    feed = case.feed(rate=100)
    n_seen = 0
    for _ in range(options.count):
        joined = subprocess.run(
            [options.tools / "kafka_feed", "join", case.cluster.bootstrap, "kill-test",
             f"{kt.VIDEOS},{kt.INTERACTIONS}", str(case.rng.uniform(4.0, 7.0))],
            stdout=subprocess.PIPE, text=True, check=True)
        n_seen += int(joined.stdout) > 0
        case.daemon.check_alive()
    feed.finish()
    log = (folder / "daemon.log").read_text(errors="replace")
    n_assigned = log.count("partitions assigned")
    if n_seen == 0 or n_assigned < 2:
        raise AssertionError(f"no rebalance happened: {n_seen} seen, {n_assigned} assignments")
    return case.finish(f"{options.count} members came and went ({n_seen} got partitions, "
                       f"{n_assigned} assignments)")


def back_pressure(options, folder):
    """The worker stands still while more clips come in than are begun (256) and queued: pause,
    and resume when it goes on; nothing lost, and what librdkafka delivers twice after a resume is
    dropped."""
    clips = kt.make_clips(options.tools, folder / "media", 4)
    case = Case(options, folder, "mock", "assign", queue_items=60)
    case.messages = [kt.Message(kt.VIDEOS, f"i{n}".encode(), kt.event(
        item_id=f"i{n}", title=f"clip {n}", media_uri=f"file://{case.rng.choice(clips)}"),
        "item", item_id=f"i{n}", title=f"clip {n}") for n in range(400)]
    case.daemon.start()
    case.daemon.wait_log("partitions assigned")
    workers = kt.descendants(case.daemon.process.pid)
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    case.feed(rate=0).finish()
    case.daemon.wait_log("partitions paused", 25)  # before the first clip's deadline of 30 s
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    case.wait_until_stored(case.ends())
    case.daemon.wait_log("partitions resumed")
    return case.finish("back-pressure: paused, resumed")


def sigterm(options, folder):
    """SIGTERM under load, with the broker up and down: stopped within 10 s, nothing lost."""
    case = Case(options, folder, "mock", "assign", messages=100 * options.count)
    feed = case.feed(rate=100)
    slowest = 0.0
    for n in range(options.count):
        case.daemon.start()
        time.sleep(case.rng.uniform(0.3, 1.2))
        if n % 2 == 1:
            case.cluster.command("down -1")
            time.sleep(case.rng.uniform(0.0, 0.5))
        slowest = max(slowest, case.daemon.stop(10))
        if n % 2 == 1:
            case.cluster.command("up -1")
    feed.finish()
    case.daemon.start()
    return case.finish(f"{options.count} SIGTERMs, half with the broker down (stopped within "
                       f"{slowest:.1f} s)")


def other_cluster(options, folder):
    """Another cluster than the store's: exit 78, nothing is read."""
    case = Case(options, folder, "mock", "assign", messages=100)
    case.feed(rate=0).finish()
    case.daemon.start()
    case.wait_until_stored(case.ends())
    case.daemon.stop()
    before = case.daemon.offsets()
    stranger = kt.MockCluster(options.tools, spares=1)
    for topic in (kt.VIDEOS, kt.INTERACTIONS):
        stranger.create_topic(topic, PARTITIONS)
    case.daemon.config.write_text(case.daemon.config.read_text().replace(
        case.cluster.bootstrap, stranger.bootstrap))
    case.daemon.start()
    code = case.daemon.process.wait(30)
    stranger.close()
    kt.say(f"mock other cluster: exit {code}")
    return 0 if code == 78 and case.daemon.offsets() == before else 1


# ---- on the real broker --------------------------------------------------------------------

def tls(options, folder):
    """security_protocol = "ssl" makes the first bytes on the wire a TLS handshake."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        daemon = kt.Daemon(options.tools / "metammfd", options.tools, folder,
                           f"127.0.0.1:{server.getsockname()[1]}", "assign", folder,
                           properties='security_protocol = "ssl"; ')
        daemon.start()
        connection, _ = server.accept()
        with connection:
            connection.settimeout(60)
            first = connection.recv(6)
        daemon.stop()
    good = first[:2] == b"\x16\x03" and first[5:6] == b"\x01"
    kt.say(f"a listener instead of a broker: first bytes {first.hex()}, "
           f"{'a ClientHello' if good else 'no TLS'}")
    return 0 if good else 1


def restart(options, folder):
    """The broker is restarted (every second time by kill -9) while a feed produces."""
    case = Case(options, folder, "real", "group", messages=600 * options.count)
    case.daemon.start()
    feed = case.feed(rate=80)
    slowest = 0.0
    for n in range(options.count):
        time.sleep(case.rng.uniform(1.0, 3.0))
        case.cluster.broker.kill() if n % 2 else case.cluster.broker.stop()
        before = case.daemon.offsets()
        case.cluster.broker.start()
        start = time.monotonic()
        kt.wait_for("events after the restart",
                    lambda: case.daemon.offsets() != before or not feed.running(), 30)
        slowest = max(slowest, time.monotonic() - start)
    feed.finish()
    return case.finish(f"{options.count} restarts (consuming again after at most "
                       f"{slowest:.1f} s)")


def gap(options, folder, fault=None):
    """Retention overtakes us: the hole becomes a data_gap row, then we go on."""
    case = Case(options, folder, "real", "assign", messages=400)
    daemon = case.daemon
    daemon.start()
    first, rest = case.messages[:200], case.messages[200:]
    kt.Feed(options.tools, case.cluster.bootstrap, first, 0, folder).finish()
    case.wait_until_stored(case.ends())
    daemon.stop()
    begin = case.ends()
    kt.Feed(options.tools, case.cluster.bootstrap, rest, 0, folder).finish()
    end = case.ends()
    where = max(end, key=lambda w: end[w] - begin.get(w, 0))
    low = (begin[where] + end[where]) // 2
    subprocess.run([options.tools / "kafka_feed", "truncate", case.cluster.bootstrap, where[0],
                    str(where[1]), str(low)], check=True)
    if fault:
        daemon.executable, daemon.env["MMF_FAULT"] = options.tools / "metammfd-faulty", fault
    daemon.start()
    case.wait_until_stored(end)
    daemon.stop()
    case.messages = [m for m in case.messages if (m.topic, m.partition) != where or
                     not begin[where] <= m.offset < low]
    report = ledger.Report()
    with daemon.database() as db:
        gaps = db.execute("SELECT topic, partition, from_offset, to_offset FROM data_gap"
                          ).fetchall()
        ledger.compare_applied(db, case.messages, report)
    report.check(gaps == [(*where, begin[where], low)], f"data_gap {gaps}")
    kt.say(f"real gap: {gaps}; of the rest {report.n_lost} lost, {report.n_duplicated} "
           f"duplicated {report.faults}")
    return 0 if report.good else 1


def gap_memory(options, folder):
    """The same when the ledger has no memory for the gap's entry at first."""
    return gap(options, folder, fault="gap-memory")


def no_dlq_topic(options, folder):
    """No DLQ topic: the dead letters wait in the outbox, the events go on; then it appears."""
    case = Case(options, folder, "real", "assign", messages=300, dlq=False)
    case.daemon.start()
    case.feed(rate=0).finish()
    case.wait_until_stored(case.ends())
    n_dead = sum(m.becomes == "dead" for m in case.messages)
    time.sleep(3)
    n_waiting = kt.outbox_length(case.daemon)
    if n_waiting != n_dead:
        raise AssertionError(f"{n_waiting} dead letters wait, not {n_dead}")
    case.cluster.create_topic(kt.DLQ, 1)
    return case.finish(f"no DLQ topic: {n_waiting} dead letters waited")


def awkward_letters(rng, n):
    """Dead letters, every third too large for a DLQ topic of 3,000 bytes a batch; three by their
    headers."""
    messages = []
    for number in range(n):
        value = b"\xff" + rng.randbytes(6000 if number % 3 == 0 else 400)
        headers = [("big", rng.randbytes(6000))] if number in (5, 10, 11) else []
        messages.append(kt.Message(kt.VIDEOS, f"p{number}".encode(), value, "dead", headers,
                                   reason="bad_json"))
    return messages


def check_awkward(records, messages, damaged):
    """Everything but the damaged one is there, cut only where it has to be."""
    by_place = {(m.topic, m.partition, m.offset): m for m in messages}
    seen, faults = set(), []
    for record in records:
        headers = {n: base64.b64decode(v) for n, v in record["headers"]}
        where = (headers["__connect.errors.topic"].decode(),
                 int(headers["__connect.errors.partition"]),
                 int(headers["__connect.errors.offset"]))
        seen.add(where)
        m = by_place[where]
        is_large = len(m.value) > 3000 or bool(m.headers)
        if is_large != ("metammf.value.bytes" in headers):
            faults.append(f"{where}: {len(m.value)} bytes, headers {sorted(headers)}")
        if not is_large and base64.b64decode(record["value_b64"]) != m.value:
            faults.append(f"{where}: not the original bytes")
    return faults + ([] if seen == by_place.keys() - {damaged} else
                     [f"{len(seen)} places, not {len(by_place) - 1}"])


def dlq_awkward(options, folder):
    """Letters that the DLQ topic does not take as they are, and one that the disk has damaged:
    each is published as far as possible, the damaged one named, and none holds up the others."""
    case = Case(options, folder, "real", "assign", dlq=False)
    case.messages = awkward_letters(case.rng, 60)
    case.daemon.start()
    case.feed(rate=0).finish()
    case.wait_until_stored(case.ends())
    case.daemon.stop()
    with contextlib.closing(sqlite3.connect(case.daemon.db_path)) as db, db:
        damaged = db.execute("SELECT id, topic, partition, offset FROM dlq_outbox "
                             "ORDER BY id LIMIT 1 OFFSET 7").fetchone()
        db.execute("UPDATE dlq_outbox SET value = x'00' WHERE id = ?", damaged[:1])
    case.cluster.create_topic(kt.DLQ, 1, "max.message.bytes=3000")
    case.daemon.start()
    kt.wait_for_outbox(case.daemon, 1)
    case.daemon.stop()
    faults = check_awkward(kt.read_topic(options.tools, case.cluster.bootstrap, kt.DLQ, 59),
                           case.messages, damaged[1:])
    if f"dead letter {damaged[0]}:" not in (folder / "daemon.log").read_text(errors="replace"):
        faults.append("the damaged letter is not named in the log")
    kt.say(f"real, a DLQ topic of 3,000 bytes: 60 dead letters, 1 damaged, {faults or 'good'}")
    return 1 if faults else 0


def recreated(options, folder):
    """A topic that was deleted and made anew: exit 78 instead of taking new events for old."""
    case = Case(options, folder, "real", "assign", messages=300)
    case.daemon.start()
    case.feed(rate=0).finish()
    case.wait_until_stored(case.ends())
    case.daemon.stop()
    subprocess.run([options.tools / "kafka_feed", "delete", case.cluster.bootstrap, kt.VIDEOS],
                   check=True)
    time.sleep(2)
    case.cluster.create_topic(kt.VIDEOS, PARTITIONS)
    case.daemon.start()
    start = time.monotonic()
    code = case.daemon.process.wait(90)
    kt.say(f"real recreated topic: exit {code} after {time.monotonic() - start:.0f} s")
    return 0 if code == 78 and "made anew" in case.daemon.log_tail() else 1


CASES = {f.__name__: f for f in (
    no_memory, broker_down, errors, dlq_errors, rebalance, back_pressure, sigterm, other_cluster, tls, restart,
    gap, gap_memory, no_dlq_topic, dlq_awkward, recreated)}

if __name__ == "__main__":
    sys.exit(run(CASES))
