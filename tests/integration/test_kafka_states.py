#!/usr/bin/env python3
"""What each partition is doing, and that the daemon says so: nothing latched, nothing silent.

    test_kafka_states.py TOOLS CASE [--seed N]

Mock cluster (a simulation): empty_partitions, group_denied, topic_denied, killed_member, no_broker,
                             assign_refused
Real broker:                 late_topic_assign, late_topic_group, no_dlq_topic, transactions,
                             anew_stopped, anew_running, anew_shorter, not_anew
"""

import math
import sys

import kafkatest as kt
import kafkawatch as kw
from kafkacase import PARTITIONS, Case, run
from test_kafka_faults import APIS
from test_kafka_start import clicks

GROUP_AUTHORIZATION_FAILED, TOPIC_AUTHORIZATION_FAILED = 30, 29
N = 2 * PARTITIONS


def watched(options, folder, kind, mode, **more):
    """A case whose daemon can be watched, and the watch."""
    port = kt.free_port()
    case = Case(options, folder, kind, mode, seed_daemon=False,
                **kw.options_for(folder, port), **more)
    return case, kw.Watch(options.tools, case.daemon, port)


def feed(case, messages):
    kt.Feed(case.options.tools, case.cluster.bootstrap, messages, 0, case.folder).finish()


def metric(state):
    return f'metammf_partitions{{state="{state}"}}'


def empty_partitions(options, folder):
    """Partitions without any record do not hide the lag of the others."""
    case, watch = watched(options, folder, "mock", "assign")
    feed(case, [m for m in clicks(200)][:1])
    case.daemon.start()
    watch.until("all caught up, all but one of them empty", lambda l: l.ready and
                l.states == {"caught_up": N} and l.lag == 0 and
                l.metrics["metammf_consumer_lag_records"] == 0 and
                l.metrics[metric("caught_up")] == N and l.metrics[metric("denied")] == 0)
    case.daemon.stop()
    return 0


def group_denied(options, folder):
    """The group is refused: a named wait, not ready, no lag 0; it ends by itself."""
    case, watch = watched(options, folder, "mock", "group")
    feed(case, clicks(20))
    case.cluster.command(f"errors {APIS['JoinGroup']} {GROUP_AUTHORIZATION_FAILED} 4000")
    case.daemon.start()
    look = watch.until("the group denied", lambda l: "denied" in l.states and not l.ready and
                       "Group authorization failed" in l.why and l.lag == -1)
    assert math.isnan(look.metrics["metammf_consumer_lag_records"])
    case.cluster.command(f"clear {APIS['JoinGroup']}")
    look = watch.until("the group given", lambda l: l.ready and l.states == {"caught_up": N})
    assert look.lag == 0
    case.daemon.stop()
    return 0


def topic_denied(options, folder):
    """READ is taken and given again, without an event: the wait ends with the broker's answer."""
    case, watch = watched(options, folder, "mock", "assign")
    case.daemon.start()
    watch.until("caught up", lambda l: l.ready and l.states == {"caught_up": N})
    case.cluster.command(f"errors {APIS['Fetch']} {TOPIC_AUTHORIZATION_FAILED} 4000")
    watch.until("READ taken", lambda l: not l.ready and l.states.get("denied") == N and
                "denied" in l.why)
    case.cluster.command(f"clear {APIS['Fetch']}")
    watch.until("READ given", lambda l: l.ready and l.states == {"caught_up": N})
    case.daemon.stop()
    return 0


def killed_member(options, folder):
    """After a kill -9 the group waits for the session of the dead member: said, not ready."""
    case, watch = watched(options, folder, "mock", "group")
    case.daemon.start()
    watch.until("caught up", lambda l: l.ready and l.states == {"caught_up": N}, 90)
    case.daemon.kill()
    feed(case, clicks(50))
    case.daemon.start()
    watch.until("waiting for the group", lambda l: "rebalance" in l.states and
                not l.ready and l.lag == -1)
    watch.until("all read", lambda l: l.ready and l.states == {"caught_up": N} and l.lag == 0, 90)
    case.daemon.stop()
    return 0


def no_broker(options, folder):
    """Nobody listens, a name that does not resolve: not ready, with librdkafka's own reason."""
    for bootstrap, reason in ((f"127.0.0.1:{kt.free_port()}", "refused"),
                              ("broker.invalid:9092", "resolve")):
        port = kt.free_port()
        daemon = kt.Daemon(options.tools / "metammfd", options.tools, folder, bootstrap, "group",
                           folder, **kw.options_for(folder, port))
        daemon.start()
        watch = kw.Watch(options.tools, daemon, port)
        watch.until(bootstrap, lambda l: not l.ready and "no broker" in l.why and
                    reason in l.why.lower())
        daemon.stop()
    return 0


def assign_refused(options, folder):
    """librdkafka refuses an incremental assignment (faked: 2.0.2 cannot do these): it is tried again."""
    case, watch = watched(options, folder, "mock", "group")
    feed(case, clicks(40))
    case.daemon.executable = options.tools / "metammfd-faulty"
    case.daemon.env["MMF_FAULT"] = "assign"
    case.daemon.start()
    case.daemon.wait_log("refused by the test")
    watch.until("all read", lambda l: l.ready and l.states == {"caught_up": N} and l.lag == 0, 60)
    with case.daemon.database() as db:
        assert db.execute("SELECT count(*) FROM interaction").fetchone()[0] == 40
    case.daemon.stop()
    return 0


def late_topic(options, folder, mode):
    """A topic that is made after the other is named as missing, and read soon after."""
    case, watch = watched(options, folder, "real", mode)
    delete(case, kt.INTERACTIONS)
    case.daemon.start()
    watch.until("one topic missing", lambda l: not l.ready and kt.INTERACTIONS in l.why and
                l.states == {"unknown_topic": 1, "caught_up": PARTITIONS}, 90)
    case.cluster.create_topic(kt.INTERACTIONS, PARTITIONS)
    feed(case, clicks(20))
    watch.until("the topic is there", lambda l: l.ready and l.states == {"caught_up": N} and
                sum(n for (t, _), n in case.daemon.offsets().items()
                    if t == kt.INTERACTIONS) == 20, 30)
    case.daemon.stop()
    return 0


def delete(case, topic):
    kt.subprocess.run([case.options.tools / "kafka_feed", "delete", case.cluster.bootstrap, topic],
                      check=True)


def late_topic_assign(options, folder):
    return late_topic(options, folder, "assign")


def late_topic_group(options, folder):
    return late_topic(options, folder, "group")


def no_dlq_topic(options, folder):
    """No DLQ topic and a bad event: ready, with a warning that ends when the topic is made."""
    case, watch = watched(options, folder, "real", "group", dlq=False)
    case.daemon.start()
    feed(case, [kt.Message(kt.VIDEOS, b"p", b"\xff", "dead", reason="bad_json")])
    watch.until("no DLQ topic", lambda l: kt.DLQ in l.warning and l.ready and
                l.metrics["metammf_source_warning"] == 1, 90)
    case.cluster.create_topic(kt.DLQ, 1)
    watch.until("the DLQ topic is there", lambda l: l.warning == "" and l.ready)
    case.daemon.stop()
    return 0


def transact(case, n, end, *seconds):
    return kt.subprocess.Popen([case.options.tools / "kafka_feed", "transact",
                                case.cluster.bootstrap, kt.INTERACTIONS, str(n), end, *seconds],
                               stdout=kt.subprocess.PIPE, text=True)


def transactions(options, folder):
    """Committed, aborted and open transactions: the lag is what can be read; markers and aborted
    records are passed over durably, so that their removal is no gap after a restart."""
    case, watch = watched(options, folder, "real", "assign")
    case.daemon.start()
    watch.until("caught up", lambda l: l.ready and l.states == {"caught_up": N}, 90)
    assert transact(case, 10, "commit").wait(90) == 0
    watch.until("10 committed", lambda l: l.states == {"caught_up": N} and l.lag == 0 and
                case.daemon.offsets() == {(kt.INTERACTIONS, 0): 11})
    assert transact(case, 1000, "abort").wait(90) == 0
    watch.until("1000 aborted", lambda l: l.states == {"caught_up": N} and l.lag == 0 and
                case.daemon.offsets() == {(kt.INTERACTIONS, 0): 1012})
    left = transact(case, 5, "leave", "12")
    left.stdout.readline()
    watch.until("a transaction left open", lambda l: l.states.get("transaction") == 1 and
                l.ready and l.lag == 0 and "open transaction" in l.warning)
    left.wait(60)
    watch.until("its end", lambda l: l.states == {"caught_up": N} and l.warning == "" and
                case.daemon.offsets() == {(kt.INTERACTIONS, 0): 1018})
    case.daemon.stop()
    kt.subprocess.run([options.tools / "kafka_feed", "truncate", case.cluster.bootstrap,
                       kt.INTERACTIONS, "0", "1018"], check=True)
    case.daemon.start()
    watch.until("restarted after retention", lambda l: l.ready and l.states == {"caught_up": N} and
                l.lag == 0, 90)
    feed(case, [kt.Message(kt.INTERACTIONS, b"u", kt.event(user_id="u", item_id="i", kind="like"),
                           "interaction")])
    watch.until("going on", lambda l: l.lag == 0 and sum(case.daemon.offsets().values()) == 1019)
    case.daemon.stop()
    with case.daemon.database() as db:
        n_gaps, n = (db.execute(f"SELECT count(*) FROM {t}").fetchone()[0]
                     for t in ("data_gap", "interaction_log"))
    kt.say(f"real transactions: {n} of 11 interactions, {n_gaps} gaps")
    return 0 if (n, n_gaps) == (11, 0) else 1


# ---- a topic made anew ---------------------------------------------------------------------

def interactions(daemon):
    """So many of the topic as it is, and of the one before."""
    with daemon.database() as db:
        rows = db.execute("SELECT topic = ?, count(*) FROM interaction_log GROUP BY 1",
                          (kt.INTERACTIONS,)).fetchall()
    return dict(rows).get(1, 0), dict(rows).get(0, 0)


def gaps(daemon):
    with daemon.database() as db:
        return db.execute("SELECT from_offset, to_offset FROM data_gap WHERE topic = ? "
                          "ORDER BY partition", (kt.INTERACTIONS,)).fetchall()


def remake(case, n, first):
    """The topic is deleted and made anew, with n clicks; so many records of each partition."""
    delete(case, kt.INTERACTIONS)
    kt.wait_for("the topic to go", lambda: not gone_ends(case), 60)
    case.cluster.create_topic(kt.INTERACTIONS, PARTITIONS)
    feed(case, clicks(n, first))


def gone_ends(case):
    done = kt.subprocess.run([case.options.tools / "kafka_feed", "ends", case.cluster.bootstrap,
                              kt.INTERACTIONS], stdout=kt.subprocess.PIPE,
                             stderr=kt.subprocess.DEVNULL, text=True)
    return done.returncode == 0 and done.stdout != ""


def read_100(options, folder, mode):
    case, watch = watched(options, folder, "real", mode,
                          kafka='topic_made_anew = "beginning";')
    feed(case, clicks(100))
    case.daemon.start()
    watch.until("100 read", lambda l: l.ready and l.states == {"caught_up": N} and
                interactions(case.daemon) == (100, 0), 90)
    return case, watch


def end_anew(case, watch, n, n_twice=0):
    """All of the new topic, and of the old one; beside that so many as were read of the new one
    before it was seen to be one."""
    def is_read():
        new, old = interactions(case.daemon)
        return new == n and 100 <= old <= 100 + n_twice

    look = watch.until("the new topic read", lambda l: l.ready and l.states == {"caught_up": N} and
                       is_read() and l.lag == 0, 120)
    kt.say(f"interactions of the new topic and of the old: {interactions(case.daemon)}")
    assert look.metrics["metammf_data_gaps_total"] == PARTITIONS, look.metrics
    found = gaps(case.daemon)
    assert len(found) == PARTITIONS and all(a == b > 0 for a, b in found), found
    case.daemon.stop()
    case.daemon.start() # and it stays so
    watch.until("after a restart", lambda l: l.ready and l.states == {"caught_up": N} and
                is_read(), 90)
    case.daemon.stop()
    assert gaps(case.daemon) == found
    return 0


def anew_stopped(options, folder):
    """Deleted and made anew with more events than before, while the daemon is down. It ends with
    78 and says what to do; by the setting it reads all of the new topic."""
    case, watch = read_100(options, folder, "assign")
    case.daemon.stop()
    remake(case, 200, 100)
    more = kw.options_for(folder, watch.port)
    case.daemon = watch.daemon = case.make_daemon(**more)
    for _ in range(2):
        case.daemon.start()
        assert case.daemon.process.wait(90) == 78, case.daemon.log_tail()
        log = case.daemon.log_tail()
        assert "made anew" in log and "topic_made_anew" in log, log
        assert interactions(case.daemon) == (100, 0) and len(gaps(case.daemon)) == PARTITIONS
    case.daemon = watch.daemon = case.make_daemon(kafka='topic_made_anew = "beginning";', **more)
    case.daemon.start()
    return end_anew(case, watch, 200)


def anew_running(options, folder):
    """The same while it runs, in a group, so quickly that no fetch finds the topic missing."""
    case, watch = read_100(options, folder, "group")
    remake(case, 200, 100)
    return end_anew(case, watch, 200, n_twice=200)


def anew_shorter(options, folder):
    """The same with fewer events, while it runs."""
    case, watch = read_100(options, folder, "assign")
    remake(case, 40, 100)
    watch.until("noticed", lambda l: l.states.get("made_anew", 0) > 0 and not l.ready)
    return end_anew(case, watch, 40)


def not_anew(options, folder):
    """Restarts, a log cut below or above the last stored record, a grown topic: no alarm."""
    case, watch = read_100(options, folder, "assign")
    ends = case.ends()
    for p in range(PARTITIONS):
        cut = ends[(kt.INTERACTIONS, p)] - (p % 2)
        kt.subprocess.run([options.tools / "kafka_feed", "truncate", case.cluster.bootstrap,
                           kt.INTERACTIONS, str(p), str(cut)], check=True)
    case.daemon.stop()
    case.daemon.start()
    watch.until("nothing amiss", lambda l: l.ready and l.states == {"caught_up": N}, 90)
    feed(case, clicks(50, 100))
    watch.until("50 more", lambda l: interactions(case.daemon) == (150, 0) and l.lag == 0)
    case.daemon.stop()
    assert gaps(case.daemon) == []
    return 0


CASES = {f.__name__: f for f in (empty_partitions, group_denied, topic_denied, killed_member,
                                 no_broker, assign_refused, late_topic_assign, late_topic_group, no_dlq_topic,
                                 transactions, anew_stopped, anew_running, anew_shorter,
                                 not_anew)}

if __name__ == "__main__":
    sys.exit(run(CASES))
