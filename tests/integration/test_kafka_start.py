#!/usr/bin/env python3
"""Where reading begins, and as what: start = end, partitions that come later, roles of topics.

    test_kafka_start.py TOOLS CASE [--seed N]

Mock cluster (a simulation): start_end, takeover, roles, forget, restored
Real broker:                 grow_assign, grow_group
"""

import signal
import subprocess
import sys
import time

import kafkaledger as ledger
import kafkatest as kt
from kafkacase import PARTITIONS, Case, run


def start_end(options, folder):
    """start = end: what is there already is not read; a kill before the first event does not
    move the place."""
    case = Case(options, folder, "mock", "assign", messages=200, seed_daemon=False)
    old = kt.Feed(options.tools, case.cluster.bootstrap, kt.workload(2, 300, [], folder), 0,
                  folder)
    old.finish()
    before = case.ends()
    case.daemon = case.make_daemon(start="end")
    case.daemon.start()

    def has_begun():
        case.daemon.check_alive()
        return case.daemon.offsets() == before
    kt.wait_for("the end of the log as first offsets", has_begun, 120)
    case.daemon.kill()
    case.feed(rate=0).finish()
    with case.daemon.database(write=True) as db:
        db.executescript(kt.AUDIT)
    case.daemon.start()
    case.wait_until_stored(case.ends())
    case.daemon.stop()
    report = ledger.Report()
    with case.daemon.database() as db:
        ledger.compare_applied(db, case.messages, report)
    kt.say(f"mock start=end: {report.n_lost} lost, {report.n_duplicated} duplicated")
    return 0 if report.good else 1


def clicks(n, first=0):
    return [kt.Message(kt.INTERACTIONS, f"u{k}".encode(),
                       kt.event(user_id=f"u{k}", item_id=f"i{k % 7}", kind="watch"),
                       "interaction") for k in range(first, first + n)]


def stored_clicks(*daemons):
    """(partition, offset) of the interactions in any of the stores."""
    found = set()
    for daemon in daemons:
        with daemon.database() as db:
            found |= set(db.execute("SELECT partition, offset FROM interaction_log"))
    return found


def takeover(options, folder):
    """Two daemons of one group, start = end: one joins, the other is killed, while events come in.
    Each event is in some store: what is taken over begins at the group's position."""
    case = Case(options, folder, "mock", "group", seed_daemon=False)
    a, b = ((folder / name) for name in "ab")
    a.mkdir(), b.mkdir()
    a, b = (case.make_daemon(folder=f, start="end") for f in (a, b))
    a.start()
    kt.wait_for("the first daemon's places", lambda: len(a.offsets()) == 2 * PARTITIONS, 120)
    case.messages = clicks(700)
    feed = case.feed(rate=40)
    time.sleep(1)
    b.start()
    b.wait_log("partitions assigned")
    time.sleep(2)
    a.kill()
    feed.finish()
    wanted = {(m.partition, m.offset) for m in case.messages}
    kt.wait_moving("events in the two stores", b, lambda: len(stored_clicks(a, b)),
                   lambda n: n >= len(wanted))
    b.stop()
    n_lost = len(wanted - stored_clicks(a, b))
    kt.say(f"mock takeover: {len(wanted)} events, {n_lost} in no store, "
           f"{len(stored_clicks(a))} in the first, {len(stored_clicks(b))} in the second")
    return 0 if n_lost == 0 and stored_clicks(a) and stored_clicks(b) else 1


def grow(options, folder, mode, properties=""):
    """Partitions are added to a topic under start = end: theirs are read from the beginning, the
    rest of the topic from where it ended at first contact, after a restart too."""
    case = Case(options, folder, "real", mode, seed_daemon=False)
    before = kt.Feed(options.tools, case.cluster.bootstrap, clicks(100), 0, folder)
    before.finish()
    ends = case.ends()
    case.daemon = case.make_daemon(start="end", properties=properties)
    case.daemon.start()
    kt.wait_for("the end of the log as first offsets",
                lambda: {w: n for w, n in case.daemon.offsets().items() if n} == ends, 120)
    subprocess.run([options.tools / "kafka_feed", "grow", case.cluster.bootstrap,
                    kt.INTERACTIONS, str(PARTITIONS + 2)], check=True)
    case.messages = clicks(300, first=100)
    case.feed(rate=0).finish()
    wanted = {(m.partition, m.offset) for m in case.messages}
    assert {p for p, _ in wanted} == set(range(PARTITIONS + 2))
    kt.wait_moving("the events of every partition", case.daemon,
                   lambda: len(stored_clicks(case.daemon)), lambda n: n >= len(wanted), 120)
    case.daemon.stop()
    found = stored_clicks(case.daemon)
    kt.say(f"real {mode}, {PARTITIONS} partitions and 2 more: {len(wanted - found)} of "
           f"{len(wanted)} lost, {len(found - wanted)} from before the first contact")
    return 0 if found == wanted else 1


def grow_assign(options, folder):
    return grow(options, folder, "assign")


def grow_group(options, folder):
    return grow(options, folder, "group", 'topic_metadata_refresh_interval_ms = "2000"; ')


def upload(**fields):
    return kt.Message(kt.VIDEOS, fields["item_id"].encode(), kt.event(**fields), "item")


def titles(daemon):
    with daemon.database() as db:
        return dict(db.execute("SELECT item_id, title FROM item WHERE deleted = 0"))


def send_and_wait(case, messages):
    kt.Feed(case.options.tools, case.cluster.bootstrap, messages, 0, case.folder).finish()
    ends = case.ends()
    kt.wait_moving(f"kafka_offset, the log ends at {ends}", case.daemon, case.daemon.offsets,
                   lambda now: ends.items() <= now.items())


def retry_all(case):
    """By the command line, which knows nothing of topics; how many dead letters there are then."""
    r = subprocess.run([case.options.tools / "metammf", "--store", case.daemon.db_path, "dlq",
                        "retry", "--all"], capture_output=True, text=True)
    assert r.returncode in (0, 65), r.stderr  # 65: every one failed again
    with case.daemon.database() as db:
        return db.execute("SELECT count(*), count(DISTINCT reason), min(reason) "
                          "FROM dead_letter").fetchone()


def roles(options, folder):
    """What a bare event is depends on its topic. A click without a user and a user's tombstone
    erase no video: not at first, not by a retry of the dead letters, not when the settings that
    were reloaded no longer name the topic."""
    case = Case(options, folder, "mock", "assign", seed_daemon=False)
    kept = {"42": "kept", "v3": "kept", "t8": "with uploader"}
    case.daemon.start()
    send_and_wait(case, [upload(item_id="42", title="kept"), upload(item_id="v3", title="kept"),
                         upload(item_id="t8", title="with uploader", user_id="owner5")])
    assert titles(case.daemon) == kept, titles(case.daemon)

    wrong = [kt.Message(kt.INTERACTIONS, b"", kt.event(item_id="v3", kind="watch", weight=1.0),
                        "dead"),
             kt.Message(kt.INTERACTIONS, b"42", None, "dead"),
             kt.Message(kt.VIDEOS, b"v3", kt.event(user_id="u1", item_id="v3", kind="watch"),
                        "dead")]
    send_and_wait(case, wrong)
    assert titles(case.daemon) == kept, titles(case.daemon)
    case.daemon.stop()
    letters = retry_all(case)
    assert letters == (3, 1, "bad_schema") and titles(case.daemon) == kept, letters

    settings = case.daemon.config.read_text()
    case.daemon.start()
    case.daemon.wait_log("partitions assigned")
    case.daemon.config.write_text(settings.replace('interaction_topics = ["interactions"]',
                                                   'interaction_topics = ["clicks"]'))
    case.daemon.process.send_signal(signal.SIGHUP)
    case.daemon.wait_log("kafka.interaction_topics")
    send_and_wait(case, [kt.Message(kt.INTERACTIONS, b"v3", None, "dead")])
    case.daemon.stop()
    letters = retry_all(case)
    assert letters == (4, 1, "bad_schema") and titles(case.daemon) == kept, letters
    with case.daemon.database(write=True) as db:  # as a version wrote them that kept no roles
        db.execute("UPDATE dead_letter SET role = NULL")
    letters = retry_all(case)  # the click that came to the wrong topic is one by its fields
    assert letters == (3, 1, "bad_schema") and titles(case.daemon) == kept, letters
    with case.daemon.database() as db:
        topics = {t for (t,) in db.execute("SELECT topic FROM kafka_offset UNION SELECT name FROM topic "
                                           "UNION SELECT topic FROM dead_letter")}
        n_published = db.execute("SELECT count(*) FROM dlq_outbox").fetchone()[0]
    assert topics == {kt.VIDEOS, kt.INTERACTIONS}, topics
    assert n_published <= 4, n_published  # a retry that fails is not published again
    kt.say("mock roles: three videos as they were, four dead letters, retried thrice")
    return 0


def forget(options, folder):
    """A user is forgotten by user.deleted, and by a tombstone where the settings say so; the log read again from its beginning brings nothing of them back, and takes nothing of a user
    who came again."""
    case = Case(options, folder, "mock", "assign", seed_daemon=False)
    config = case.daemon.config
    config.write_text(config.read_text() + 'interactions = { tombstones = "forget"; };\n')
    case.daemon.start()
    send_and_wait(case, clicks(6))
    gone = kt.event(type="user.deleted", user_id="u0")
    send_and_wait(case, [kt.Message(kt.INTERACTIONS, b"u0", gone, "forget"),
                         kt.Message(kt.INTERACTIONS, b"u1", gone.replace(b"u0", b"u1"), "forget"),
                         kt.Message(kt.INTERACTIONS, b"u2", None, "forget")])
    wait_users(case, {"u3", "u4", "u5"})
    send_and_wait(case, clicks(1))
    wait_users(case, {"u0", "u3", "u4", "u5"})
    before = kept(case)
    case.daemon.stop()
    with case.daemon.database(write=True) as db:  # as if the offsets had been set back
        db.execute("DELETE FROM kafka_offset")
    case.daemon.start()
    ends = case.ends()
    kt.wait_moving("the log, read again", case.daemon, case.daemon.offsets,
                   lambda now: ends.items() <= now.items())
    case.daemon.stop()
    with case.daemon.database() as db:
        dropped, letters = db.execute("SELECT sum(dropped), (SELECT count(*) FROM dead_letter) "
                                      "FROM forgotten").fetchone()
    same = kept(case) == before
    kt.say(f"mock forget: three users, {dropped} of their events dropped when they came again, "
           f"{letters} dead letters, the others {'as they were' if same else 'CHANGED'}")
    return 0 if same and dropped == 3 and letters == 0 else 1


def kept(case):
    with case.daemon.database() as db:
        return set(db.execute("SELECT partition, offset, user_id, item_id FROM interaction_log"))


def wait_users(case, users):
    kt.wait_moving(f"users {sorted(users)}", case.daemon,
                   lambda: {row[2] for row in kept(case)}, lambda now: now == users)


def metammf(case, *args):
    r = subprocess.run([case.options.tools / "metammf", "--store", case.daemon.db_path, *args],
                       capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    return r.stdout


def generation(case):
    with case.daemon.database() as db:
        return db.execute("SELECT generation FROM store_generation").fetchone()[0]


def restored(options, folder):
    """An older backup in the place of the store: offsets go back, and what the cluster still has is read
    again, once. Beside another cluster: exit 78, and what to do."""
    case = Case(options, folder, "mock", "assign", seed_daemon=False)
    case.daemon.start()
    send_and_wait(case, clicks(60))
    metammf(case, "backup", folder / "backup")  # while it runs
    old, before = kept(case), generation(case)
    send_and_wait(case, clicks(60, first=60))
    wanted, ends = kept(case), case.ends()
    case.daemon.stop()
    said = metammf(case, "restore", "--force", folder / "backup")
    assert "of Kafka cluster" in said and "read again" in said, said
    assert kept(case) == old != wanted and generation(case) != before
    case.daemon.start()
    case.daemon.wait_log("offsets go back to then")
    kt.wait_moving("what came since", case.daemon, case.daemon.offsets,
                   lambda now: ends.items() <= now.items())
    case.daemon.stop()
    same = kept(case) == wanted

    stranger = kt.MockCluster(options.tools, spares=1)
    options.on_exit.callback(stranger.close)
    for topic in (kt.VIDEOS, kt.INTERACTIONS):
        stranger.create_topic(topic, PARTITIONS)
    case.daemon.config.write_text(case.daemon.config.read_text().replace(
        case.cluster.bootstrap, stranger.bootstrap))
    case.daemon.start()
    code = case.daemon.process.wait(60)
    log = case.daemon.log_tail()
    same = same and code == 78 and "use the store's cluster, or a new store" in log and (
        kept(case) == wanted)
    kt.say(f"mock restored: {len(old)} interactions in the backup, {len(wanted)} after the replay"
           f"{'' if same else ': NOT the same'}")
    return 0 if same else 1


CASES = {f.__name__: f for f in (start_end, takeover, roles, forget, restored, grow_assign, grow_group)}

if __name__ == "__main__":
    sys.exit(run(CASES))
