#!/usr/bin/env python3
"""What runs and what the file says: reload, `metammf settings`, a number of workers that changes, a file
with a fault in it.

    test_settings.py TOOLS

See processtest.py.
"""

import json
import signal
import unittest

from processtest import WithSite, wait_for

IN_FORCE = "{} is in force, and nothing waits for a restart"
WAITS = "takes effect at the next restart only: {}\n"


class Reload(WithSite):
    """One daemon; the steps run in order."""

    def test_reload(self):
        self.n_log = 0
        self.site.write_config("extract = { workers = 2; };")
        self.site.start()
        for step in (self.a_change_is_named_until_the_restart, self.taken_back_nothing_waits,
                     self.settings_tell, self.workers, self.a_broken_file, self.stopped):
            with self.subTest(step.__name__):
                step()

    def configure(self, extra="", port=None):
        self.site.write_config("extract = { workers = 2; };" + extra)
        if port:
            text = self.site.config.read_text().replace(f"port = {self.site.port}", f"port = {port}")
            self.site.config.write_text(text)

    def reload(self):
        """What the log says of it."""
        n, before = self.site.notify.count("READY=1"), len(self.site.read_log())
        self.site.daemon.send_signal(signal.SIGHUP)
        wait_for("READY=1", lambda: self.site.notify.count("READY=1") > n)
        return self.site.read_log()[before:]

    def settings(self, *args):
        return self.json("settings", *args, store=["--config", self.site.config])

    def text(self, *args):
        return self.verb(0, "settings", *args, store=["--config", self.site.config]).stdout

    def a_change_is_named_until_the_restart(self):
        self.assertIn(IN_FORCE.format(self.site.config), self.reload())
        self.configure('spool = { keep_files = false; }; log_level = "debug";', port=1)
        for _ in range(2):  # the same file again: what runs has not changed
            self.assertIn(WAITS.format("spool.keep_files, http.port"), self.reload())
        self.assertEqual(self.site.http("/livez")[0], 200)

    def taken_back_nothing_waits(self):
        self.configure()
        self.assertIn(IN_FORCE.format(self.site.config), self.reload())

    def settings_tell(self):
        s = self.settings()
        self.assertEqual((s["file"], s["daemon"]), (str(self.site.config), True))
        self.assertNotIn("file_error", s)
        self.assertEqual({row["waits"] for row in s["settings"].values()}, {""})
        self.assertIn("nothing waits", self.text())
        self.configure('log_level = "debug"; queue = { items = 77; };'
                       ' kafka = { properties = { sasl_password = "hunter2"; }; };')
        s = self.settings()["settings"]
        self.assertEqual(s["log_level"], {"running": '"info"', "file": '"debug"', "default": '"info"',
                                          "effect": "reload", "waits": "reload"})
        self.assertEqual((s["queue.items"]["running"], s["queue.items"]["file"],
                          s["queue.items"]["waits"]), ("1000", "77", "restart"))
        self.assertEqual(s["kafka.properties"]["file"], '{ sasl_password = "***"; }')
        self.reload()
        s = self.settings()["settings"]
        self.assertEqual((s["log_level"]["running"], s["log_level"]["waits"]), ('"debug"', ""))
        self.assertEqual((s["queue.items"]["running"], s["queue.items"]["waits"]),
                         ("1000", "restart"))
        text = self.text()
        self.assertRegex(text, r'queue.items +1000\n +77, in the file, takes effect at the next restart')
        self.assertIn('"***"', text)
        self.assertIn("2 wait", text)
        self.assertNotIn("hunter2", text + json.dumps(s) + self.site.read_log())
        self.assertNotIn("store.batch_ms", text)
        self.assertIn("store.batch_ms", self.text("--all"))
        self.configure()
        self.reload()

    def workers(self):
        def total():
            w = self.json("status")["daemon"]["workers"]
            return w["total"]
        self.assertEqual(total(), 2)
        for n in (5, 1, 2):
            self.site.write_config(f"extract = {{ workers = {n}; }};")
            self.assertIn("nothing waits", self.reload())
            wait_for(f"{n} workers", lambda: total() == n)
            name = f"w{n}"
            lines = [json.dumps(self.site.event(c, f"{name}-{i}")) for i, c in
                     enumerate(self.site.clips)]
            self.site.drop(f"{name}.ndjson", lines)
            wait_for("the clips stored", lambda: not (self.site.spool / f"{name}.ndjson").exists())
            for i in range(len(lines)):
                self.verb(0, "get", f"{name}-{i}")
        self.assertEqual(self.json("status")["counts"]["dead_letters"], 0)
        self.assertIn("extract.workers: 1 from now on, 5 before", self.site.read_log())

    def a_broken_file(self):
        """Who reads goes on by the rest of the file; who writes does not."""
        good = self.site.config.read_text()
        for broken in (good + "nonsense = 1;", "queue = { items = 0; };" + good, good + "http = {"):
            self.site.config.write_text(broken)
            config = ["--config", self.site.config]
            for verb in (["status"], ["get", "w1-0"], ["similar", "w1-0"], ["explain", "w1-0"],
                         ["dlq", "list"], ["model", "list"], ["settings"]):
                r = self.verb(0, *verb, store=config)
                self.assertIn(f"{self.site.config}:", r.stderr, verb)
            self.assertIn(f"pid {self.site.daemon.pid}",
                          self.verb(0, "status", store=config).stdout)
            told = self.settings()
            self.assertTrue(told["daemon"])
            self.assertIn(f"{self.site.config}:", told["file_error"])
            self.assertIsNone(told["settings"]["queue.items"]["file"])
            self.assertEqual(told["settings"]["queue.items"]["running"], "1000")
            self.verb(78, "dlq", "purge", "--all", store=config)
            self.assertIn("the old settings stay in force", self.reload())
        self.site.config.write_text(good)

    def stopped(self):
        self.assertEqual(self.site.stop()[0], 0)
        s = self.settings()
        self.assertFalse(s["daemon"])
        self.assertEqual((s["settings"]["extract.workers"]["running"],
                          s["settings"]["extract.workers"]["file"]), (None, "2"))
        self.assertIn("down: this is the file alone", self.text())


if __name__ == "__main__":
    unittest.main(verbosity=2)
