#!/usr/bin/env python3
"""What somebody on call has: metrics, alert rules, dashboard, runbook.

    test_monitoring.py TOOLS [Metrics|Promtool]

Metrics: a daemon on a mock cluster, with items, interactions and a training. Every series of a
known label is there from the start; whatever a rule or a panel asks for is in the real /metrics, by
name, label and value; every alert has its section in the runbook, and what a section names exists.
Promtool: Prometheus' own promtool accepts the rules, their tests, the queries of the dashboard, and
the metrics. It is $MMF_PROMTOOL, build/tools/promtool (.ci/lib.sh fetches it) or the installed one; without
any, exit status 77, or 1 under MMF_REQUIRE_PROMTOOL. See processtest.py.
"""

import json
import os
import pathlib
import random
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from processtest import TOOLS, Site, wait_for
import kafkatest as kt

ROOT = pathlib.Path(__file__).resolve().parents[2]
MONITORING = ROOT / "systemd" / "monitoring"
RULES = (MONITORING / "metammfd.rules.yml").read_text()
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
ADDED = {"job", "instance"}  # by the scrape
OPEN = {"metammf_interactions_of_unknown_kind_total"}  # whatever kinds come
PATHS = [os.environ.get("MMF_PROMTOOL"), str(ROOT / "build/tools/promtool"), shutil.which("promtool")]
PROMTOOL = next((p for p in PATHS if p and os.access(p, os.X_OK)), None)


def alerts():
    """{alert: (expression, runbook_url)}"""
    found = {}
    for block in RULES.split("- alert: ")[1:]:
        name = block.split("\n", 1)[0].strip()
        expr = re.search(r"^ {8}expr: (?:\|\n((?: {10}.*\n)+)|(.*)\n)", block, re.M)
        found[name] = (" ".join((expr[1] or expr[2]).split()),
                       re.search(r"runbook_url: (\S+)", block)[1])
    return found


def panels():
    """(title, query, legend) of each query of the dashboard, variables replaced as Grafana does"""
    board = json.loads((MONITORING / "metammfd.dashboard.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".+")
            assert "$" not in query, query
            yield panel["title"], query, target["legendFormat"]


def parse(text):
    """/metrics: {series name: [labels]}, {metric: type}"""
    series, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            types[name] = kind
        elif not line.startswith("#"):
            name, labels = re.match(r"(\w+)(?:\{(.*)\})? \S+$", line).groups()
            series.setdefault(name, []).append(dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"',
                                                               labels or "")))
    return series, types


def selectors(query):
    """(name, [(label, operator, value)]) of each series that a query asks for"""
    for name, inside in re.findall(r"\b(up|(?:metammf|process)_\w+)(?:\{([^}]*)\})?", query):
        yield name, re.findall(r'(\w+)\s*(=~|=)\s*"([^"]*)"', inside)


class MonitoredSite(Site):
    """A daemon on a mock cluster that trains as soon as there is something."""

    def __init__(self):
        self.cluster = kt.MockCluster(TOOLS)
        super().__init__(n_clips=1)
        for topic, n in ((kt.VIDEOS, 3), (kt.INTERACTIONS, 2), ("videos.metammfd.dlq", 1)):
            self.cluster.create_topic(topic, n)

    def write_config(self, extra=""):
        super().write_config(f"""
            kafka = {{ bootstrap_servers = "{self.cluster.bootstrap}"; mode = "assign"; }};
            extract = {{ workers = 1; }};
            training = {{ interval_s = 1; min_new_interactions = 40; min_users = 20; retry_s = 1;
                         epochs = 2; backbone = "mf"; holdout_percent = 20; }};""")
        self.config.write_text(self.config.read_text().replace('source = "spool"', 'source = "kafka"'))

    def ingest(self, lines):
        file = self.dir / "events.ndjson"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return self.metammf("ingest", file)

    def close(self):
        super().close()
        self.cluster.close()


class Metrics(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.site = MonitoredSite()
        cls.addClassCleanup(cls.site.close)
        cls.site.start()
        wait_for("ready", lambda: cls.site.metric("metammf_ready") == 1)
        cls.early, cls.types = parse(cls.site.http("/metrics")[1])
        cls.traffic(cls.site)
        wait_for("a model's figures and the lag of each partition", lambda: (
            "metammf_eval_ndcg{" in (text := cls.site.http("/metrics")[1]) and
            text.count("metammf_partition_lag_records{") == 5))
        cls.text = cls.site.http("/metrics")[1]
        cls.late, _ = parse(cls.text)

    @staticmethod
    def traffic(site):
        """Items of words alone, one with a clip, events of no use, and enough interactions."""
        dice, now = random.Random(7), time.time()
        words = [["cat", "purr", "paw"], ["noodle", "soup", "wok"], ["goal", "keeper", "penalty"]]
        items = [{"item_id": f"v{i}", "title": " ".join(dice.choices(words[i % 3], k=3))}
                 for i in range(30)]
        pairs = [{"user_id": f"u{u}", "item_id": f"v{(u + 3 * k) % 30}", "kind": "watch",
                  "ts": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + k - 100))}
                 for u in range(40) for k in range(8)]
        clip = site.event(site.clips[0])
        broken = [{"item_id": 7.5}, {"item_id": "x", "title": "t", "tags": 7},
                  {"item_id": "y", "title": "t", "media_uri": "file:///etc/passwd"}]
        assert site.ingest(items + [clip] + pairs).returncode == 0
        site.ingest(broken)
        site.ingest([{"user_id": "u1", "item_id": "v2", "kind": "a-kind-of-ours"}])

    def test_alert_needs_are_there_and_true(self):
        site, value = self.site, self.site.metric
        disk = os.statvfs(site.store)
        self.assertEqual(value("metammf_ready"), 1)
        self.assertEqual(value("metammf_commit_failing_seconds"), 0)
        self.assertLess(abs(time.time() - value("metammf_last_commit_timestamp_seconds")), 3600)
        self.assertEqual(value("metammf_store_bytes"), site.store.stat().st_size)
        self.assertGreaterEqual(value("metammf_store_wal_bytes"), 0)
        self.assertLess(abs(value("metammf_store_free_bytes") - disk.f_bavail * disk.f_frsize), 1e10)
        self.assertEqual(value("metammf_assigned_partitions"), 5)
        self.assertEqual(value("metammf_consumer_lag_records"), 0)
        wait_for("the letters to be counted", lambda: value("metammf_dead_letters_stored") == 3)
        wait_for("the letters to be published", lambda: value("metammf_dead_letters_waiting") == 0)
        self.assertGreaterEqual(value('metammf_retrain_total{result="published"}'), 1)
        ended = value('metammf_retrain_timestamp_seconds{result="published"}')
        self.assertLess(abs(time.time() - ended), 3600)
        self.assertEqual(value("process_open_fds") > 10, True)
        self.assertGreater(value("process_max_fds"), value("process_open_fds"))
        self.assertGreater(value("process_resident_memory_bytes"), 1e6)
        self.assertGreater(value("process_cpu_seconds_total"), 0)
        started = time.time() - value("process_start_time_seconds")
        self.assertTrue(0 < started < 3600, started)

    def took_ms(self, path, n):
        """Of n requests, sorted."""
        times = []
        for _ in range(n):
            start = time.perf_counter()
            self.assertEqual(self.site.http(path)[0], 200)
            times.append(1e3 * (time.perf_counter() - start))
        return sorted(times)

    def test_probes_are_answered_beside_slow_clients(self):
        """Figures are told, not judged: the answer has to come within the client's 10 s."""
        times = self.took_ms("/metrics", 50)
        print(f"a scrape: {len(self.text) / 1e3:.1f} kB, median {times[25]:.1f} ms", flush=True)
        stop = threading.Event()
        slow = [socket.create_connection(("127.0.0.1", self.site.port)) for _ in range(40)]

        def feed():
            while not stop.wait(0.1):
                for s in slow:
                    try:
                        s.send(b"G")
                    except OSError:
                        pass  # it has been cut

        thread = threading.Thread(target=feed)
        thread.start()
        try:
            times = self.took_ms("/livez", 50)
        finally:
            stop.set()
            thread.join()
            for s in slow:
                s.close()
        print(f"/livez beside 40 slow clients: median {times[25]:.1f} ms, "
              f"slowest {times[-1]:.1f} ms", flush=True)

    def test_commits_that_fail_show(self):
        db = sqlite3.connect(self.site.store, timeout=60, isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        try:
            feed = threading.Thread(target=self.site.ingest, args=([{"item_id": "late", "title": "t"}],))
            feed.start()
            wait_for("failing", lambda: self.site.metric("metammf_commit_failing_seconds") > 0)
            self.assertEqual(self.site.metric("metammf_ready"), 0)
        finally:
            db.execute("ROLLBACK")
            db.close()
        wait_for("commits", lambda: self.site.metric("metammf_commit_failing_seconds") == 0 and
                 self.site.metric("metammf_ready") == 1)
        feed.join()

    def test_counters_are_there_from_the_start(self):
        counters = {n for n, kind in self.types.items() if kind == "counter"}
        self.assertEqual(counters - set(self.early), OPEN)
        for name in counters - OPEN:
            born = [labels for labels in self.late[name] if labels not in self.early[name]]
            self.assertEqual(born, [], name)
        values = {name: {v for labels in self.early[name] for v in labels.values()}
                  for name in counters - OPEN}
        self.assertEqual(values["metammf_events_total"], {kt.VIDEOS, kt.INTERACTIONS, "file"})
        self.assertLessEqual({"watch", "like", "dislike"}, values["metammf_interactions_by_kind_total"])
        sources = [p.read_text() for f in ("daemon", "extract") for p in (ROOT / f).rglob("*.c")]
        reasons = {r for text in sources for r in re.findall(r'err_skip\(\s*[^,]+,\s*"(\w+)"', text)}
        self.assertEqual(values["metammf_dead_letters_total"], reasons | {"internal"})
        self.assertEqual(values["metammf_retrain_failures_total"],
                         {"daemon", "failed", "crashed", "hung", "late", "stopped"})

    def test_every_metric_has_words(self):
        for name in self.types:
            self.assertRegex(self.text, rf"(?m)^# HELP {name} \S.*\.$")

    def check_query(self, where, query):
        """Each series that is asked for exists, with each label and each value."""
        grouped = {word.strip() for inside in re.findall(r"\b(?:by|on) \(([^)]*)\)", query)
                   for word in inside.split(",")}
        known = set(ADDED)
        for name, matchers in selectors(query):
            if name == "up":
                continue
            self.assertIn(name, self.late, where)
            rows = self.late[name]
            known |= {label for labels in rows for label in labels}
            for label, operator, value in matchers:
                if label in ADDED:
                    continue
                for one in value.split("|") if operator == "=~" else [value]:
                    self.assertTrue(any(re.fullmatch(one, labels.get(label, "")) for labels in rows),
                                    f"{where}: no series {name} with {label}={one}")
        self.assertLessEqual(grouped, known, where)
        return grouped or known

    def test_rules_ask_for_what_there_is(self):
        for name, (query, _) in alerts().items():
            self.check_query(name, query)

    def test_panels_ask_for_what_there_is(self):
        titles = []
        for title, query, legend in panels():
            titles.append(title)
            labels = self.check_query(title, query)
            self.assertLessEqual(set(re.findall(r"\{\{(\w+)\}\}", legend)), labels, title)
        self.assertGreater(len(titles), 30)

    def test_runbook_has_a_section_for_each_alert(self):
        sections = re.split(r"(?m)^## ", RUNBOOK)[1:]
        self.assertEqual([s.split("\n", 1)[0] for s in sections], list(alerts()))
        for section in sections:
            name = section.split("\n", 1)[0]
            self.assertEqual(re.findall(r"(?m)^\*\*([\w ]+)\.\*\*", section),
                             ["Means", "See", "Do", "Can wait"], name)
            self.assertIn("`", section.split("**See.**")[1].split("**Do.**")[0], name)
            self.assertEqual(alerts()[name][1],
                             f"file:///usr/share/doc/metammfd/docs/runbook.md#{name.lower()}")

    def test_runbook_names_what_there_is(self):
        for name in set(re.findall(r"\b(?:metammf|process)_\w+", RUNBOOK)):
            self.assertTrue(name in self.types, name)
        helps = {}
        for verb, rest in re.findall(r"`metammf (\w+)([^`]*)`", RUNBOOK):
            if verb not in helps:
                shown = self.site.metammf(verb, "--help", store=False)
                self.assertEqual(shown.returncode, 0, verb)
                helps[verb] = shown.stdout
            for option in re.findall(r"--[\w-]+", rest):
                self.assertIn(option, helps[verb], f"metammf {verb}{rest}")
            for word in re.findall(r"^ ([a-z]\w+)", rest):
                self.assertRegex(helps[verb], rf"\b{word}\b", f"metammf {verb}{rest}")
        conf, keys, group = (ROOT / "config" / "metammfd.conf").read_text(), set(), ""
        for line in conf.splitlines():
            group = (re.match(r"(\w+) = \{", line) or [None, group])[1]
            key = re.match(r"    #?(\w+) = ", line)
            keys |= {f"{group}.{key[1]}"} if key else set()
        groups = "|".join({k.split(".")[0] for k in keys})
        for key in set(re.findall(rf"`((?:{groups})\.\w+)[` ]", RUNBOOK)):
            self.assertIn(key, keys)


@unittest.skipUnless(PROMTOOL, "no promtool")
class Promtool(unittest.TestCase):
    def promtool(self, *args, **kw):
        r = subprocess.run([PROMTOOL, *args], text=True, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, timeout=300, check=False, **kw)
        self.assertEqual(r.returncode, 0, r.stdout)
        return r.stdout

    def test_rules(self):
        said = self.promtool("check", "rules", str(MONITORING / "metammfd.rules.yml"))
        self.assertIn(f"{len(alerts())} rules found", said)

    def test_rules_fire_when_they_should(self):
        self.promtool("test", "rules", str(MONITORING / "metammfd.rules.test.yml"))
        tests = (MONITORING / "metammfd.rules.test.yml").read_text()
        self.assertEqual(re.findall(r"- name: (Metammf\w+)", tests), list(alerts()))

    def test_panels_parse(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            file.write("groups: [{name: panels, rules: [\n" + ",\n".join(
                json.dumps({"record": f"panel:{i}", "expr": query})
                for i, (_, query, _) in enumerate(panels())) + "]}]\n")
            file.flush()
            self.promtool("check", "rules", file.name)

    def test_metrics(self):
        site = MonitoredSite()
        self.addCleanup(site.close)
        site.start()
        wait_for("ready", lambda: site.metric("metammf_ready") == 1)
        self.promtool("check", "metrics", input=site.http("/metrics")[1])


if __name__ == "__main__":
    if "Promtool" in sys.argv and not PROMTOOL:
        print("skipped: no promtool: bash -c '. .ci/lib.sh; fetch_promtool' puts Debian's into build/tools")
        sys.exit(1 if os.environ.get("MMF_REQUIRE_PROMTOOL") else 77)
    unittest.main(verbosity=2)
