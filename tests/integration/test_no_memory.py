#!/usr/bin/env python3
"""The command line while one allocation fails, or all from one on: nothing dies by a signal, what ends well has
said all, and what fails has a text. And a daemon while one in 10,000 fails: everything is stored once, nothing is
a dead letter.

    test_no_memory.py TOOLS

fail_alloc.so lies beside the tools. Of each verb's allocations $MMF_FAILURES are tried (25), spread over all. See
processtest.py.
"""

import concurrent.futures
import json
import os
import shutil
import subprocess
import unittest

from processtest import TOOLS, WithSite, wait_for

VERBS = [
    ["status"], ["status", "--json"], ["explain", "a"], ["explain", "a", "--json"], ["get", "a", "--json"],
    ["similar", "a"], ["recommend", "u1"], ["model", "list", "--json"], ["model", "show", "2"], ["dlq", "list"],
    ["dlq", "list", "--json"], ["dlq", "show", "1", "--json"], ["report", "--out", "OUT"], ["report", "--json"],
    ["export", "embeddings", "--out", "OUT", "--ids", "OUT.ids"], ["event", "explain", "EVENTS"],
    ["event", "explain", "EVENTS", "--json"], ["snapshot", "OUT.db"], ["forget", "--list"],
    ["backup", "OUT"], ["settings", "--all", "--json"],
]
N_TRIES = int(os.environ.get("MMF_FAILURES", "25"))


class NoMemory(WithSite):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.events = cls.site.dir / "events.ndjson"
        lines = [{"item_id": i, "title": f"a title of {i}", "tags": ["x", i]} for i in "abcdefgh"]
        lines += [{"user_id": f"u{n}", "item_id": i} for n in range(8) for i in "abcdefgh"[n % 3::2]]
        cls.events.write_text("".join(json.dumps(line) + "\n" for line in lines) + "rubbish\n")
        for verb in (["ingest", cls.events], ["train", "--epochs", "1"]):
            r = cls.site.metammf(*verb)
            assert r.returncode == 0, r.stderr

    def run_verb(self, verb, name, **env):
        out = self.site.dir / name
        verb = [w.replace("OUT", str(out)).replace("EVENTS", str(self.events)) for w in verb]
        r = subprocess.run([TOOLS / "metammf", "--store", self.site.store, *verb], capture_output=True, timeout=60,
                           env={**os.environ, "LD_PRELOAD": str(TOOLS / "fail_alloc.so"), **env})
        for path in self.site.dir.glob(name + "*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return r

    def try_one(self, verb, good, at, more):
        r = self.run_verb(verb, f"out-{verb[0]}-{at}-{len(more)}-", MMF_FAIL_AT=str(at), **more)
        what = f"{verb} with allocation {at}{' and all after it' if more else ''} failing: {r.returncode}"
        if r.returncode < 0:
            return f"{what}: died"
        if r.returncode == 0 and self.said(r) != self.said(good):
            return f"{what}: not all was said: {r.stdout[-300:]!r}"
        if r.returncode != 0 and not r.stderr.strip():
            return f"{what}: no text"
        return None

    @staticmethod
    def said(r):
        """Times, sizes of the disk and what they move; lines are left."""
        return len(r.stdout.splitlines()), len(r.stdout) // 200

    def test_every_verb(self):
        faults = []
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for verb in VERBS:
                count = self.site.dir / "count"
                good = self.run_verb(verb, "good", MMF_FAIL_COUNT=str(count))
                self.assertEqual(good.returncode, 0, (verb, good.stderr))
                n = int(count.read_text())
                tries = sorted({1 + n * i // N_TRIES for i in range(N_TRIES)})
                jobs = [pool.submit(self.try_one, verb, good, at, more) for at in tries
                        for more in ({}, {"MMF_FAIL_ON": "1"})]
                faults += [j.result() for j in jobs if j.result()]
        self.assertEqual(faults, [], f"{len(faults)} faults:\n" + "\n".join(faults[:60]))

    def test_daemon(self):
        site, n = self.site, 600
        scarce = site.dir / "scarce"
        self.addCleanup(setattr, site, "store", site.store)
        site.store = site.dir / "daemon.db"
        site.write_config("store = { retry_ms = 100; };")
        site.start(LD_PRELOAD=str(TOOLS / "fail_alloc.so"), MMF_FAIL_EVERY="10000", MMF_FAIL_WHEN=str(scarce))
        events = [{"item_id": f"v{i}", "title": f"title {i}", "tags": ["a", "b"]} for i in range(n)]
        events += [{"type": "video.updated", "item_id": f"v{i}", "title": f"new {i}"} for i in range(0, n, 5)]
        events += [{"user_id": f"u{i % 30}", "item_id": f"v{i}"} for i in range(n)]
        scarce.touch()
        site.drop("a.ndjson", map(json.dumps, events))

        def done():
            self.assertIsNone(site.daemon.poll(), site.read_log())
            return not any(site.spool.glob("*.ndjson"))

        wait_for("all events", done)
        scarce.unlink()
        status = json.loads(site.metammf("status", "--json").stdout)
        self.assertEqual((status["counts"]["items"], status["counts"]["interactions"], status["dead_letters"]),
                         (n, n, {}), site.read_log())
        self.assertEqual(json.loads(site.metammf("explain", "v5", "--json").stdout)["title"], "new 5")
        self.assertEqual(site.stop()[0], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
