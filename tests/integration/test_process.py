#!/usr/bin/env python3
"""The process around the pipeline: metammfd with source = "spool".

    test_process.py TOOLS

What is checked: the daemon's own command line, sd_notify messages on a socket of the test's own,
/livez, /readyz, /metrics, the spool, SIGHUP with a good and a bad file, the control socket,
SIGTERM, kill -9. See processtest.py.
"""

import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
import unittest

from processtest import TOOLS, WithSite, free_port, wait_for


class Settings(WithSite):
    def daemon(self, *args):
        return subprocess.run([TOOLS / "metammfd", *map(str, args)], capture_output=True, text=True)

    def test_check_and_print(self):
        good = self.daemon("--config", self.site.config, "--check-config")
        self.assertEqual(good.returncode, 0, good.stderr)
        printed = self.daemon("--config", self.site.config, "--print-config")
        self.assertEqual(printed.returncode, 0)
        again = self.site.dir / "printed.conf"
        again.write_text(printed.stdout)
        self.assertEqual(self.daemon("--config", again, "--print-config").stdout, printed.stdout)
        changed = self.daemon("--config", self.site.config, "--print-config", "--changed").stdout
        self.assertIn(f'path = "{self.site.store}";', changed)
        self.assertNotIn("batch_rows", changed)
        again.write_text(changed)
        self.assertEqual(self.daemon("--config", again, "--print-config").stdout, printed.stdout)
        self.assertEqual(self.daemon("--config", again, "--changed").returncode, 64)

    def test_print_needs_no_credential_and_shows_no_secret(self):
        conf = self.site.dir / "secret.conf"
        conf.write_text('kafka = { properties = { sasl_password = "hunter2"; '
                        'ssl_key_password = "@credential:absent"; }; };\n'
                        f'store = {{ path = "{self.site.dir}/secret.db"; }};\n'
                        'control = { socket = ""; }; http = { port = 0; };\n')
        printed = self.daemon("--config", conf, "--print-config")
        self.assertEqual(printed.returncode, 0, printed.stderr)
        self.assertIn("@credential:absent", printed.stdout)
        self.assertNotIn("hunter2", printed.stdout + printed.stderr)
        checked = self.daemon("--config", conf, "--check-config")
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertIn("1 credential was not read", checked.stdout)
        started = self.daemon("--config", conf)
        self.assertEqual(started.returncode, 78)
        self.assertIn("CREDENTIALS_DIRECTORY", started.stderr)

    def test_bad_settings_exit_78_with_the_line(self):
        bad = self.site.dir / "bad.conf"
        bad.write_text('source = "spool";\nstore = { pathh = "/x"; };\n')
        for args in (["--check-config"], []):
            r = self.daemon("--config", bad, *args)
            self.assertEqual(r.returncode, 78)
            self.assertIn(f"{bad}:2", r.stderr)
            self.assertIn("path", r.stderr)

    def test_usage_exits_64(self):
        self.assertEqual(self.daemon("--nonsense").returncode, 64)
        self.assertEqual(self.daemon("word").returncode, 64)
        self.assertEqual(self.daemon("--help").returncode, 0)


class Daemon(WithSite):
    """One daemon through its life; the steps depend on each other and run in order."""

    def test_life(self):
        for step in (self.start, self.health, self.spool, self.metrics, self.errors_over_http,
                     self.verbs_with_daemon, self.reload_good, self.reload_bad, self.second,
                     self.control_garbage, self.stop, self.after_stop, self.killed):
            with self.subTest(step.__name__):
                step()

    def start(self):
        self.site.start(WATCHDOG_USEC="1000000")
        wait_for("WATCHDOG=1", lambda: self.site.notify.count("WATCHDOG=1") >= 2)
        wait_for("STATUS", lambda: self.site.notify.matching(r"^STATUS=lag .*decoding, model 1"))

    def health(self):
        self.assertEqual(self.site.http("/livez"), (200, "ok\n"))
        wait_for("/readyz", lambda: self.site.http("/readyz") == (200, "ready\n"))

    def spool(self):
        lines = [json.dumps(self.site.event(c)) for c in self.site.clips]
        lines += ['{"user_id": "u1", "item_id": "clip-000"}', "rubbish",
                  json.dumps({"item_id": "gone", "media_uri": "file:///etc/passwd"})]
        self.site.drop("one.ndjson", lines)
        wait_for("six events", lambda: self.json("status")["counts"]["dead_letters"] == 2 and
                 self.json("status")["counts"]["embeddings"] == 3 and
                 self.json("status")["counts"]["interactions"] == 1)

    def metrics(self):
        status, body = self.site.http("/metrics")
        self.assertEqual(status, 200)
        for line in body.splitlines():
            self.assertRegex(line, r'^(# (HELP|TYPE) \S+ .+|[a-z_]+(\{([a-z_]+="[^"]*",?)+\})? '
                                   r'[-+0-9.e]+)$')
        self.assertEqual(self.site.metric('metammf_items_total{result="stored"}'), 3)
        self.assertEqual(self.site.metric("metammf_interactions_total"), 1)
        self.assertEqual(self.site.metric('metammf_dead_letters_total{reason="bad_json"}'), 1)
        self.assertGreaterEqual(self.site.metric("metammf_upload_to_queryable_seconds_count"), 3)
        self.assertEqual(
            self.site.metric('metammf_stage_duration_seconds_count{stage="extract"}'), 3)
        self.assertEqual(self.site.metric('metammf_queue_depth{queue="work"}'), 0)
        self.assertIn('metammf_model_info{model_id="1",trained="false",dim="64"} 1', body)
        self.assertIn("metammf_build_info{version=", body)
        wait_for("model age", lambda: self.site.metric("metammf_model_age_seconds") is not None)

    def errors_over_http(self):
        self.assertEqual(self.site.http("/nope")[0], 404)
        self.assertEqual(self.site.http("/metrics", "POST")[0], 405)
        self.assertEqual(self.site.http("/livez", "DELETE")[0], 405)
        self.assertEqual(self.site.http("/livez", "HEAD"), (200, ""))

    def verbs_with_daemon(self):
        daemon = self.json("status")["daemon"]
        self.assertEqual(daemon["pid"], self.site.daemon.pid)
        self.assertTrue(daemon["ready"])
        self.assertEqual(daemon["source"]["name"], "spool")
        # the lock is the daemon's: the file goes through the control socket
        events = self.site.dir / "more.ndjson"
        events.write_text(json.dumps({**self.site.event(self.site.clips[0], "v9"),
                                      "media_uri": "clip-000.mp4"}) + "\nbad\n")
        result = self.json("ingest", events, "--media-root", self.site.media)
        self.assertEqual((result["events"], result["stored"], result["dead_letters"]), (2, 1, 1))
        again = self.json("ingest", events, "--media-root", self.site.media)
        self.assertEqual((again["already"], again["stored"], again["dead_letters"]), (2, 0, 0))
        self.assertEqual(self.json("get", "v9")["item_id"], "v9")
        failed = self.verb(65, "dlq", "retry", "--reason", "bad_json", "--json")
        self.assertEqual(json.loads(failed.stdout)["dead_letters"], 2)
        self.assertIn("every retry failed", failed.stderr)
        ids = [d["id"] for d in self.json("dlq", "list", "--reason", "bad_json")]
        self.assertEqual(len(ids), 2)
        self.assertEqual(self.json("dlq", "purge", ids[0]), {"purged": 1})
        self.verb(66, "dlq", "purge", ids[0])
        self.assertEqual(self.json("dlq", "purge", "--damaged"), {"purged": 0})
        self.verb(66, "dlq", "retry", ids[0])
        snapshot = self.site.dir / "snapshot.db"
        self.assertGreater(self.json("snapshot", snapshot)["bytes"], 4096)
        self.assertEqual(
            self.json("get", "v9", store=["--store", snapshot])["vec"], self.json("get", "v9")["vec"])
        self.verb(74, "snapshot", snapshot)
        doctor = self.json("doctor", store=["--config", self.site.config])
        self.assertTrue(doctor["ok"], doctor)
        checks = {c["check"]: c["verdict"] for c in doctor["checks"]}
        for name in ("settings", "daemon", "store", "contents", "worker", "media", "spool"):
            self.assertEqual(checks[name], "good", doctor)

    def reload_good(self):
        n = self.site.notify.count("READY=1")
        self.site.write_config('log_level = "debug";')
        self.site.daemon.send_signal(signal.SIGHUP)
        wait_for("RELOADING, READY", lambda: self.site.notify.count("READY=1") > n)
        self.assertTrue(self.site.notify.matching(r"^RELOADING=1$"))
        self.assertTrue(self.site.notify.matching(r"^MONOTONIC_USEC=\d+$"))
        self.assertIn("is in force", self.site.read_log())

    def reload_bad(self):
        n = self.site.notify.count("READY=1")
        self.site.write_config("nonsense = 1;")
        self.site.daemon.send_signal(signal.SIGHUP)
        wait_for("READY", lambda: self.site.notify.count("READY=1") > n)
        wait_for("log", lambda: "the old settings stay in force" in self.site.read_log())
        self.assertRegex(self.site.read_log(), re.escape(str(self.site.config)) + r":\d+")
        # what cannot change is named
        self.site.write_config()
        text = self.site.config.read_text().replace(f"port = {self.site.port}", "port = 1")
        self.site.config.write_text(text)
        self.site.daemon.send_signal(signal.SIGHUP)
        wait_for("log", lambda: re.search(r"next restart only: .*http\.port",
                                          self.site.read_log()))
        # and so is what the workers were started with
        self.site.write_config()
        text = self.site.config.read_text().replace("media = {", "media = { max_bytes = 1073741824;")
        self.site.config.write_text(text)
        self.site.daemon.send_signal(signal.SIGHUP)
        wait_for("log", lambda: re.search(r"next restart only: media\.max_bytes",
                                          self.site.read_log()))
        self.site.write_config()
        self.assertEqual(self.site.http("/livez")[0], 200)

    def second(self):
        """Another daemon on the same store must not start: 75, with the pid that has it."""
        r = subprocess.run([TOOLS / "metammfd", "--config", self.site.config], text=True,
                           capture_output=True, timeout=30)
        self.assertEqual(r.returncode, 75, r.stderr)
        self.assertIn(str(self.site.daemon.pid), r.stderr)
        self.assertEqual(self.site.http("/livez")[0], 200)

    def ask(self, packet):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.settimeout(10)
            s.connect(str(self.site.dir / "control.sock"))
            try:
                s.send(packet)
            except BrokenPipeError:
                pass  # refused: the reason waits to be received
            return json.loads(s.recv(65536))

    def control_garbage(self):
        self.assertEqual(os.stat(self.site.dir / "control.sock").st_mode & 0o777, 0o660)
        for packet in (b"\xff\xfe", b"{", b"[]", b'{"command": 7}', b'{"command": "nope"}',
                       b'{"command": "ingest"}', b'{"command": "snapshot", "path": "rel"}',
                       b"x" * 60000):
            answer = self.ask(packet)
            self.assertFalse(answer["ok"], packet[:40])
            self.assertEqual(answer["exit_code"], 64, answer)
        self.assertTrue(self.ask(b'{"command": "status"}')["ok"])
        self.assertTrue(self.ask(b'{"command": "reload"}')["ok"])
        idle = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(12)]
        for s in idle:
            s.connect(str(self.site.dir / "control.sock"))
        busy = self.ask(b'{"command": "status"}')
        self.assertEqual((busy["ok"], busy["exit_code"]), (False, 75))
        for s in idle:
            s.close()
        wait_for("a free slot", lambda: self.ask(b'{"command": "status"}')["ok"])

    def stop(self):
        code, seconds = self.site.stop()
        self.assertEqual(code, 0, self.site.read_log())
        self.assertLess(seconds, 10)
        self.assertEqual(self.site.notify.count("STOPPING=1"), 1)
        self.assertFalse((self.site.dir / "control.sock").exists())
        self.assertFalse(os.path.lexists(f"{self.site.store}.control"))

    def after_stop(self):
        self.assertIsNone(self.json("status")["daemon"])
        self.assertEqual(self.json("get", "v9")["state"], "cold")

    def killed(self):
        """kill -9 leaves socket and link behind; the next start takes over."""
        self.site.start()
        self.site.stop(signal.SIGKILL)
        self.assertTrue((self.site.dir / "control.sock").exists())
        self.assertIsNone(self.json("status")["daemon"])
        self.site.start()
        self.assertEqual(self.json("status")["daemon"]["pid"], self.site.daemon.pid)
        self.assertEqual(self.json("status")["counts"]["embeddings"], 4)
        self.assertEqual(self.site.stop(signal.SIGINT)[0], 0)


class ShortOfDescriptors(WithSite):
    def cpu_s(self):
        """Of the main thread."""
        pid = self.site.daemon.pid
        fields = pathlib.Path(f"/proc/{pid}/task/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def lowest_free_fd(self):
        """Whatever threads open for a moment: the lowest of many looks."""
        lowest = []
        for _ in range(50):
            used = {int(fd) for fd in os.listdir(f"/proc/{self.site.daemon.pid}/fd")}
            lowest.append(min(set(range(len(used) + 1)) - used))
            time.sleep(0.01)
        return min(lowest)

    def test_a_client_that_waits_costs_nothing(self):
        site = self.site
        site.start()
        pid = site.daemon.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (self.lowest_free_fd(), before[1]))
        client = subprocess.Popen([TOOLS / "metammf", "--store", site.store, "status"],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(client.kill)
        time.sleep(0.3)
        cpu_s = self.cpu_s()
        time.sleep(1)
        cpu_s = self.cpu_s() - cpu_s
        self.assertIsNone(client.poll())
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        out, complaint = client.communicate(timeout=60)
        self.assertEqual(client.returncode, 0, complaint)
        self.assertIn("ready", out)
        self.assertLess(cpu_s, 0.25)
        self.assertEqual(site.stop()[0], 0)


class ClockAhead(WithSite):
    """A start with the clock two years ahead: the same as a store that lies two years behind it."""

    JUMP_US = 730 * 86400 * 10 ** 6

    def test_what_is_old_waits(self):
        site = self.site
        site.write_config("store = { keep_interactions_days = 365; };")
        site.start()
        site.drop("one.ndjson", ['{"user_id": "u1", "item_id": "clip-000"}', "rubbish"])
        wait_for("both", lambda: self.json("status")["counts"]["dead_letters"] == 1 and
                 self.json("status")["counts"]["interactions"] == 1)
        self.assertEqual(self.json("status")["daemon"]["retention_wait"], "")
        for kind in ("interactions", "dead_letters", "vectors", "trainings"):
            self.assertEqual(
                site.metric(f'metammf_retention_removed_total{{kind="{kind}"}}'), 0)
        self.assertEqual(site.stop()[0], 0)
        with contextlib.closing(sqlite3.connect(site.store)) as db, db:
            for table in ("interaction", "dead_letter"):
                db.execute(f"UPDATE {table} SET ts_ms = ts_ms - ?", (self.JUMP_US / 1000,))
            db.execute("UPDATE meta SET value = CAST(value AS INTEGER) - ? WHERE name = 'clock_us'",
                       (self.JUMP_US,))
        site.start()
        wait_for("retention", lambda: "retention waits: the clock jumped ahead by 730 days"
                 in site.read_log())
        status = self.json("status")
        self.assertEqual((status["counts"]["interactions"], status["counts"]["dead_letters"]), (1, 1))
        self.assertIn("jumped ahead by 730 days", status["daemon"]["retention_wait"])
        self.assertIn("\nretention    waits: the clock jumped", self.verb(0, "status").stdout)
        self.assertEqual(site.metric("metammf_retention_waits"), 1)
        said = self.verb(75, "dlq", "purge", "--all", "--older-than", "30").stderr
        self.assertIn("jumped ahead by 730 days", said)
        self.assertEqual(site.stop()[0], 0)
        # nor by the command line's clock alone, with no daemon that knows another
        said = self.verb(75, "dlq", "purge", "--all", "--older-than", "30").stderr
        self.assertIn("by this clock alone", said)
        self.assertEqual(self.json("dlq", "purge", "--all")["purged"], 1)


class BrokerAway(WithSite):
    def test_starts_waits_and_stops_in_time(self):
        """READY does not wait for the broker; /readyz does; SIGTERM takes less than 10 s."""
        site = self.site
        text = site.config.read_text().replace('source = "spool"', 'source = "kafka"')
        site.config.write_text(
            text + f'kafka = {{ bootstrap_servers = "127.0.0.1:{free_port()}"; }};')
        site.start()
        self.assertEqual(site.http("/livez")[0], 200)
        self.assertEqual(site.http("/readyz")[0], 503)
        wait_for("the status line", lambda: site.notify.matching(r"^STATUS=lag unknown"))
        status = self.json("status")["daemon"]
        self.assertFalse(status["source"]["connected"])
        self.assertFalse(status["ready"])
        code, seconds = site.stop()
        self.assertEqual(code, 0, site.read_log())
        self.assertLess(seconds, 10)
        print(f"stopped in {seconds:.2f} s with the broker away")


class WorkersThatHang(WithSite):
    def test_livez_is_answered_while_a_start_of_the_workers_hangs(self):
        """It may last 10 s, and a part that is silent for 5 s counts as hung."""
        site = self.site
        worker = site.dir / "metammf-extract"
        shutil.copy(TOOLS / "metammf-extract", worker)
        site.write_config(f'extract = {{ worker_path = "{worker}"; workers = 1; }};')
        site.start()
        forks = [int(pid) for children in pathlib.Path(f"/proc/{site.daemon.pid}/task").glob("*/children")
                 for pid in children.read_text().split()]
        worker.unlink()
        worker.write_text("#!/bin/sh\nexec sleep 1000\n")
        worker.chmod(0o755)
        for pid in forks:
            os.kill(pid, signal.SIGKILL)

        def told():
            self.assertEqual(site.http("/livez"), (200, "ok\n"))
            return site.http("/readyz") == (503, "waiting: no worker can be started\n")

        wait_for("no worker can be started", told)
        site.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
