#!/usr/bin/env python3
"""kill -9 at random points; then the ledger against the database.

    test_kill.py TOOLS --cluster mock|real --mode assign|group [--kills N] [--messages N]
                 [--seed N] [--fault offsets-first|no-key]

TOOLS is the folder of the executables (build/…/bin). While a feed produces N messages (uploads,
a few with real clips, re-uploads, tombstones, interactions, duplicates, 5 % poison), the daemon
is killed N times at seeded random moments and started again. At the end it has to come to rest
with every message applied exactly once: see kafkatest.py.

--fault runs metammfd-faulty, whose transaction is taken apart (fault_store.c): the test then
passes only if the comparison finds the loss (offsets-first) or the duplicates (no-key). A kill
has to fall into the gap for that: a run whose kills all missed it is repeated with other moments.
$MMF_KILLS overrides --kills, $MMF_KEEP keeps the folder. Exit 77: skipped, with a word why.
"""

import argparse
import os
import pathlib
import random
import sys
import time

import kafkaledger as ledger
import kafkatest as kt

PARTITIONS = 4
CONTROL_RUNS = 4


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("tools", type=pathlib.Path)
    parser.add_argument("--cluster", choices=("mock", "real"), default="mock")
    parser.add_argument("--mode", choices=("assign", "group"), default="assign")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--messages", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fault", choices=("offsets-first", "no-key"))
    options = parser.parse_args()
    options.kills = int(os.environ.get("MMF_KILLS", options.kills))
    options.messages = options.messages or max(1000, 250 * options.kills)
    options.tools = options.tools.resolve()
    return options


def live(daemon, rng, mode):
    """Lets the daemon live for a random time: one life in four any time from the first moment
    on; the others until it has stored something, and then up to 0.6 s into the work. A member
    of a group that was killed keeps its partitions for session.timeout.ms = 6 s."""
    before = daemon.offsets()
    if rng.random() < 0.25:
        time.sleep(rng.uniform(0.05, 1.0))
    else:
        until = time.monotonic() + (5.0 if mode == "assign" else 20.0)
        delay = rng.uniform(0.0, 0.6)
        while daemon.offsets() == before and time.monotonic() < until:
            daemon.check_alive()
            time.sleep(0.01)
        time.sleep(delay)
    return before


def kill_again_and_again(daemon, feed, options, rng):
    n_busy = 0
    for n in range(options.kills):
        daemon.start()
        before = live(daemon, rng, options.mode)
        daemon.check_alive()
        daemon.kill()
        n_busy += daemon.offsets() != before
        if (n + 1) % 10 == 0 or n + 1 == options.kills:
            kt.say(f"{n + 1} kills, {sum(daemon.offsets().values())} events in the store, "
                   f"feed {'runs' if feed.running() else 'done'}")
    return n_busy


def come_to_rest(daemon, ends, options):
    daemon.start()
    kt.wait_for_end(daemon, ends)
    kt.wait_for_outbox(daemon)
    return daemon.stop()


def judge(options, report, n_busy, repeated):
    kt.say(f"{options.cluster} {options.mode}: {options.kills} kills ({n_busy} lives had "
           f"stored something), {options.messages} events: {report.n_lost} lost, "
           f"{report.n_duplicated} duplicated; DLQ topic: {repeated} published again")
    for fault in report.faults[:10]:
        kt.say(f"  {fault}")
    if options.fault is None:
        return 0 if report.good else 1
    found = report.n_lost if options.fault == "offsets-first" else report.n_duplicated
    kt.say(f"negative control {options.fault}: " +
           ("detected, as it must be" if found else "NOT detected: the test is blind"))
    return 0 if found else 1


def run(options, folder):
    rng = random.Random(options.seed)
    cluster = kt.open_cluster(options.cluster, options.tools, folder)
    try:
        for topic, partitions in ((kt.VIDEOS, PARTITIONS), (kt.INTERACTIONS, PARTITIONS),
                                  (kt.DLQ, 1)):
            cluster.create_topic(topic, partitions)
        media = folder / "media"
        clips = kt.make_clips(options.tools, media, 4)
        messages = kt.workload(options.seed, options.messages, clips, media)
        executable = "metammfd-faulty" if options.fault else "metammfd"
        daemon = kt.Daemon(options.tools / executable, options.tools, folder, cluster.bootstrap,
                           options.mode, media, fault=options.fault)
        daemon.install_audit()
        mean = 1.1 if options.mode == "assign" else 8.0  # seconds a life
        rate = options.messages / (mean * options.kills)
        feed = kt.Feed(options.tools, cluster.bootstrap, messages, rate, folder)
        n_busy = kill_again_and_again(daemon, feed, options, rng)
        feed.finish()
        ends = {}
        for topic in (kt.VIDEOS, kt.INTERACTIONS):
            ends.update(kt.log_ends(options.tools, cluster.bootstrap, topic))
        seconds = come_to_rest(daemon, ends, options)
        kt.say(f"at rest; SIGTERM took {seconds:.1f} s")
        report = ledger.compare(daemon, messages, ends)
        repeated = 0
        if options.fault is None:
            repeated = ledger.compare_dlq_topic(options.tools, cluster.bootstrap, messages, report)
        return judge(options, report, n_busy, repeated)
    finally:
        cluster.close()


def main():
    options = parse()
    for _ in range(CONTROL_RUNS if options.fault else 1):
        with kt.work_folder() as folder:
            code = run(options, pathlib.Path(folder))
        if code != 1:
            break
        options.seed += 1
    return code


if __name__ == "__main__":
    sys.exit(main())
