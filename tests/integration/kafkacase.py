"""A case of the Kafka tests: a cluster, a daemon, a feed, and which case to run."""

import argparse
import contextlib
import os
import pathlib
import random

import kafkaledger as ledger
import kafkatest as kt

PARTITIONS = 4


class Case:
    """A cluster, a daemon and a feed; `finish` compares."""

    def __init__(self, options, folder, kind, mode, messages=1000, rate=150, dlq=True,
                 brokers=1, seed_daemon=True, **more):
        self.options, self.folder, self.kind, self.mode = options, folder, kind, mode
        self.rng = random.Random(options.seed)
        self.cluster = (kt.MockCluster(options.tools, brokers) if kind == "mock"
                        else kt.open_cluster("real", options.tools, folder))
        options.on_exit.callback(self.cluster.close)
        self.cluster.create_topic(kt.VIDEOS, PARTITIONS)
        self.cluster.create_topic(kt.INTERACTIONS, PARTITIONS)
        if dlq:
            self.cluster.create_topic(kt.DLQ, 1)
        self.messages = kt.workload(options.seed, messages, [], folder)
        self.daemon = self.make_daemon(**more)
        if seed_daemon:
            self.daemon.install_audit()
        self.rate = rate

    def make_daemon(self, folder=None, **more):
        tools = self.options.tools
        return kt.Daemon(tools / "metammfd", tools, folder or self.folder,
                         self.cluster.bootstrap, self.mode, self.folder, **more)

    def feed(self, rate=None):
        return kt.Feed(self.options.tools, self.cluster.bootstrap, self.messages,
                       self.rate if rate is None else rate, self.folder)

    def ends(self):
        ends = {}
        for topic in (kt.VIDEOS, kt.INTERACTIONS):
            ends.update(kt.log_ends(self.options.tools, self.cluster.bootstrap, topic))
        return ends

    def wait_until_stored(self, ends):
        kt.wait_for_end(self.daemon, ends)

    def finish(self, what):
        ends = self.ends()
        self.wait_until_stored(ends)
        kt.wait_for_outbox(self.daemon)
        self.daemon.stop()
        tools, bootstrap = self.options.tools, self.cluster.bootstrap
        copies = (ledger.resent(tools, bootstrap, self.messages, ends) if self.kind == "mock"
                  else [])
        messages = self.messages + copies
        report = ledger.compare(self.daemon, messages, ends)
        repeated = ledger.compare_dlq_topic(tools, bootstrap, messages, report)
        kt.say(f"{self.kind} {what}: {len(self.messages)} events ({len(copies)} sent again by the "
               f"producer), {report.n_lost} lost, {report.n_duplicated} duplicated, "
               f"{repeated} published again")
        for fault in report.faults[:10]:
            kt.say(f"  {fault}")
        return 0 if report.good else 1


def run(cases):
    """TOOLS CASE [--count N] [--seed N]; the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("tools", type=pathlib.Path)
    parser.add_argument("case", choices=cases)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.count = int(os.environ.get("MMF_FAULTS_COUNT", options.count))
    options.tools = options.tools.resolve()
    with kt.work_folder() as folder, contextlib.ExitStack() as options.on_exit:
        return cases[options.case](options, pathlib.Path(folder))
