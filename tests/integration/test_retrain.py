#!/usr/bin/env python3
"""Retraining by itself: a real daemon, its real trainer, items and interactions with planted
preferences over the spool.

    test_retrain.py TOOLS

What is checked: several retrainings without anybody's doing, readers that poll meanwhile, items
that come meanwhile; a trainer that is fed with shuffled interactions is refused and changes no
byte; one that crashes or hangs costs a log line; kill -9 of daemon and trainer at random moments
leaves one valid active model. $MMF_KILLS sets how many (6). Everything here is generated.
"""

import hashlib
import json
import os
import pathlib
import random
import signal
import sqlite3
import struct
import sys
import threading
import time
import unittest

from processtest import TOOLS, Site, wait_for

N_TOPICS, N_USERS, N_ITEMS = 4, 48, 48
KILLS = int(os.environ.get("MMF_KILLS", "6"))
WORDS = [["cat", "kitten", "purr", "whiskers", "paw"], ["noodle", "soup", "spicy", "wok", "rice"],
         ["goal", "football", "penalty", "striker", "keeper"], ["synth", "bass", "remix", "drum", "dj"]]

SPOILED = """#!/usr/bin/env python3
# The real trainer on a copy of the store in which users and items are shuffled, at a high rate.
import os, random, re, sqlite3, subprocess, sys
args = sys.argv[1:]
if "train" in args:
    settings = open(args[args.index("--config") + 1]).read()
    store = re.search(r'^    path = "(.*)"', settings, re.M)[1]
    copy = os.path.join(os.path.dirname(store), "spoiled.db")
    if os.path.exists(copy):
        os.unlink(copy)
    subprocess.run([TRAINER, "--store", store, "snapshot", copy], check=True,
                   stdout=subprocess.DEVNULL)
    db = sqlite3.connect(copy)
    rids = [r for r, in db.execute("SELECT rid FROM interaction ORDER BY topic_id, partition, offset")]
    random.Random(1).shuffle(rids)
    keys = db.execute("SELECT topic_id, partition, offset FROM interaction").fetchall()
    db.executemany("UPDATE interaction SET rid = ? WHERE topic_id = ? AND partition = ? AND offset = ?",
                   [(r, *k) for r, k in zip(rids, keys)])
    db.commit()
    db.close()
    args += ["--store", copy, "--lr", "0.1"]  # a warm start must not survive it
os.execv(TRAINER, [TRAINER, *args])
"""


class RetrainSite(Site):
    """Users like one topic each and, in the order of a shuffled list, see its items."""

    def __init__(self):
        super().__init__(n_clips=1)
        self.random = random.Random(7)
        self.n_files = self.n_items = 0
        self.taste = []
        for u in range(N_USERS):
            own = [i for i in range(N_ITEMS) if i % N_TOPICS == u % N_TOPICS]
            self.random.shuffle(own)
            self.taste.append(own)
        self.configure()

    def configure(self, **more):
        values = {"interval_s": 1, "min_new_interactions": 40, "min_users": 20, "retry_s": 1,
                  "epochs": 6, "backbone": '"mf"', "holdout_percent": 20, "heartbeat_s": 60,
                  "tolerance_percent": 100, "cold_tolerance_percent": 100, **more}
        self.write_config("training = { " + "".join(f"{k} = {v}; " for k, v in values.items()) +
                          "};\nextract = { workers = 1; };\n"
                          'kafka = { properties = { sasl_password = "hunter2"; }; };')

    def put(self, lines):
        self.n_files += 1
        self.drop(f"{self.n_files:06}.ndjson", [json.dumps(line) for line in lines])

    def put_items(self, n):
        items = range(self.n_items, self.n_items + n)
        self.put({"item_id": f"v{i}", "title": " ".join(
            self.random.choices(WORDS[i % N_TOPICS], k=4)) + f" {i}"} for i in items)
        self.n_items += n

    def put_interactions(self, first, last):
        now = time.time()
        self.put({"user_id": f"u{u}", "item_id": f"v{own[k]}",
                  "ts": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + k - 100))}
                 for k in range(first, last) for u, own in enumerate(self.taste))

    def query(self, sql):
        db = sqlite3.connect(f"file:{self.store}?mode=ro", uri=True, timeout=30)
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()

    def vectors(self):
        return sorted(self.query("SELECT item_id, vec FROM current_embedding"))

    def results(self, result):
        return int(self.metric(f'metammf_retrain_total{{result="{result}"}}') or 0)

    def wait_result(self, result, n):
        wait_for(f"{n} retrainings {result}", lambda: self.results(result) >= n, 300)

    def model(self):
        return self.query("SELECT model_id FROM active_model")[0][0]

    def child(self):
        """The daemon's trainer, None when there is none now."""
        for task in pathlib.Path(f"/proc/{self.daemon.pid}/task").glob("*/children"):
            try:
                for pid in task.read_text().split():
                    words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                    if b"train" in words or b"judge" in words:
                        return int(pid)
            except OSError:
                pass
        return None


class Poll(threading.Thread):
    """A reader that never stops: what it sees must always be of one model."""

    def __init__(self, site):
        super().__init__(daemon=True)
        self.site, self.n, self.models, self.fault, self.over = site, 0, set(), None, False

    def run(self):
        try:
            while not self.over:
                rows = self.site.query("SELECT model_id, count(*), min(dim), max(dim) FROM "
                                       "current_embedding GROUP BY model_id")
                if len(rows) > 1 or rows and rows[0][2] != rows[0][3]:
                    self.fault = f"a mixture: {rows}"
                    return
                self.models.update(r[0] for r in rows)
                self.n += 1
        except sqlite3.Error as e:
            self.fault = repr(e)


class Retrain(unittest.TestCase):
    """Steps that depend on each other, with one daemon."""

    def setUp(self):
        self.site = RetrainSite()
        self.addCleanup(self.site.close)

    def assert_whole(self):
        """One active model, its file and every vector good, every item with features in it."""
        s = self.site
        self.assertEqual(s.query("SELECT count(*) FROM model WHERE state = 'active'"), [(1,)])
        self.assertEqual(s.query("SELECT count(*) FROM item i WHERE deleted = 0 AND EXISTS(SELECT "
                                 "1 FROM feature f WHERE f.rid = i.rid) AND NOT EXISTS(SELECT 1 "
                                 "FROM current_embedding c WHERE c.item_id = i.item_id)"), [(0,)])
        for vec, checksum in s.query("SELECT e.vec, e.checksum FROM embedding e JOIN active_model a "
                                     "ON a.model_id = e.model_id"):
            self.assertEqual(struct.unpack(">q", hashlib.sha256(vec).digest()[:8])[0], checksum)
        (file, digest), = s.query("SELECT file, sha256 FROM model WHERE state = 'active'")
        self.assertEqual(hashlib.sha256((s.dir / file).read_bytes()).hexdigest(), digest)

    def test_life(self):
        self.site.start()
        for step in (self.too_little_data, self.three_by_itself, self.status_tells,
                     self.spoiled_is_refused, self.crash_and_hang, self.pinned, self.on_request,
                     self.what_nobody_wants_goes):
            with self.subTest(step.__name__):
                step()

    def too_little_data(self):
        s = self.site
        s.put_items(N_ITEMS)
        wait_for("items", lambda: len(s.vectors()) == N_ITEMS)
        s.put_interactions(0, 1)
        wait_for("a look at the data", lambda: s.results("not_now") >= 1)
        wait_for("the reason", lambda: s.notify.matching("need 20 users with 5 interactions, have 0"))
        self.assertEqual(s.model(), 1)

    def three_by_itself(self):
        s, poll = self.site, Poll(self.site)
        poll.start()
        s.put_interactions(1, 6)
        s.wait_result("published", 1)
        for n, (first, last) in enumerate(((6, 8), (8, 10)), 2):
            s.put_interactions(first, last)
            s.put_items(4)
            s.wait_result("published", n)
        wait_for("all items", lambda: len(s.vectors()) == s.n_items)
        poll.over = True
        poll.join()
        self.assertIsNone(poll.fault)
        self.assertGreaterEqual(len(poll.models), 2)
        print(f"{poll.n} reads while {sorted(poll.models)} were active")
        self.assert_whole()
        self.assertEqual(s.query("SELECT count(*) FROM current_user_embedding"), [(N_USERS,)])
        self.assertGreater(s.query("SELECT count(*) FROM item WHERE state = 'warm'")[0][0], 0)

    def status_tells(self):
        s = self.site
        wait_for("STATUS", lambda: s.notify.matching(r"^STATUS=lag .*model \d+ ndcg 0\.\d+, next "))
        status = json.loads(s.metammf("status", "--json").stdout)
        last = status["daemon"]["training"]["last"]
        self.assertEqual(last["gate"]["verdict"], "pass")
        self.assertIn("NDCG@20", last["why"])
        self.assertIn("training ", s.metammf("status").stdout)
        self.assertGreater(s.metric('metammf_eval_ndcg{k="20",split="overall"}'), 0)
        self.assertEqual(s.metric('metammf_retrain_total{result="failed"}'), 0)

    def use_trainer(self, text, **more):
        path = self.site.dir / "trainer"
        path.write_text(text.replace("TRAINER", repr(str(TOOLS / "metammf"))))
        path.chmod(0o755)
        self.site.configure(trainer_path=f'"{path}"', **more)
        self.site.daemon.send_signal(signal.SIGHUP)
        wait_for("the reload", lambda: self.site.notify.count("RELOADING=1") > self.n_reloads)
        self.n_reloads = self.site.notify.count("RELOADING=1")

    n_reloads = 0

    def spoiled_is_refused(self):
        s = self.site
        self.use_trainer(SPOILED, tolerance_percent=5)
        before, model = s.vectors(), s.model()
        s.put_interactions(10, 11)
        s.wait_result("rejected", 1)
        self.assertEqual([v[0] for v in s.vectors()], [v[0] for v in before])
        self.assertEqual(s.model(), model)
        metrics, = s.query("SELECT metrics FROM model WHERE state = 'rejected'")
        gate = json.loads(metrics[0])["gate"]
        self.assertEqual(gate["verdict"], "overall")
        self.assertLess(gate["candidate"]["ndcg_20"], gate["active"]["ndcg_20"])
        self.assertEqual(s.metric('metammf_model_rejected_total{reason="overall"}'), 1)
        self.assertIn("is refused (overall): NDCG@20", s.read_log())

    def crash_and_hang(self):
        s = self.site
        before, n = s.vectors(), s.results("failed")
        words, told, mode = s.dir / "words", s.dir / "told", s.dir / "mode"
        options = {"members": 3, "seed": 17}
        self.use_trainer(f"#!/bin/sh\necho \"$@\" > {words}\ncp \"$2\" {told}\n"
                         f"stat -c %a \"$2\" > {mode}\nkill -9 $$\n", **options)
        s.daemon.send_signal(signal.SIGUSR1)
        s.wait_result("failed", n + 1)
        self.assertRegex(words.read_text(), "^--config .* train --as-configured --seed [0-9]+ ")
        for name, value in {"epochs": 6, **options}.items():
            self.assertIn(f"    {name} = {value}; #", told.read_text())
        self.assertIn('sasl_password = "***";', told.read_text())
        self.assertEqual(mode.read_text(), "600\n")  # the site's own file may be as private
        self.assertIn("failed, trainer crashed", s.read_log())
        self.use_trainer("#!/bin/sh\necho working\nsleep 1000\n", heartbeat_s=1)
        s.daemon.send_signal(signal.SIGUSR1)
        wait_for("the kill", lambda: "trainer hung" in s.read_log())
        self.assertEqual(s.vectors(), before)
        self.assertEqual(s.http("/livez")[0], 200)

    def pinned(self):
        s, model = self.site, self.site.model()
        s.configure()
        self.verb("model", "pin", model)
        n = s.results("not_now")
        s.daemon.send_signal(signal.SIGHUP)
        s.daemon.send_signal(signal.SIGUSR1)
        wait_for("the reason", lambda: "is pinned" in json.loads(
            s.metammf("status", "--json").stdout)["daemon"]["training"]["last"]["why"])
        self.assertGreater(s.results("not_now"), n)
        asked = s.metammf("train", "--now")
        self.assertEqual((asked.returncode, "pinned" in asked.stderr), (75, True), asked.stderr)
        self.verb("model", "unpin")

    def verb(self, *args):
        r = self.site.metammf(*args)
        self.assertEqual(r.returncode, 0, r.stderr)
        return r

    def on_request(self):
        s = self.site
        n = s.results("published")
        s.put_interactions(11, 12)
        self.verb("train", "--now")
        s.wait_result("published", n + 1)
        self.assert_whole()

    def what_nobody_wants_goes(self):
        """At the start: old folders of a killed training, old candidates but for the newest three."""
        s, week = self.site, 8 * 86400
        s.stop()
        others = {"train-videos": week, "trained-by-others": week}
        folders = {".metammf-train-abcdef": week, ".metammf-train-ghijkl": 0,
                   "trained-0123456789ab": week, **others}
        db = sqlite3.connect(s.store)
        for n in range(5):
            folders[f"trained-old{n}"] = week
            db.execute("INSERT INTO model(created_ms, origin, state, backbone, fusion, file, sha256) "
                       "VALUES (?, 'trained', 'candidate', 'mf', 'cp', ?, '')",
                       ((time.time() - week) * 1000, f"trained-old{n}/model.safetensors"))
        db.commit()
        db.close()
        for name, age in folders.items():
            (s.dir / name).mkdir()
            (s.dir / name / "model.safetensors").touch()
            os.utime(s.dir / name, (time.time() - age,) * 2)
        s.start()
        kept = sorted([".metammf-train-ghijkl", *others, *(f"trained-old{n}" for n in (2, 3, 4))])
        wait_for("the folders", lambda: [n for n in sorted(folders) if (s.dir / n).exists()] == kept)
        self.assertEqual(s.query("SELECT state, count(*) FROM model WHERE file GLOB 'trained-old*' "
                                 "GROUP BY state ORDER BY state"), [("candidate", 3), ("rejected", 2)])
        self.assert_whole()


class Once(Retrain):
    """One training: what test_unit_filter.py runs under the unit's system call filter."""

    def setUp(self):
        if "Once" not in sys.argv:
            self.skipTest("the others train more often")
        super().setUp()

    def test_life(self):
        s = self.site
        s.start()
        s.put_items(N_ITEMS)
        s.put_interactions(0, 5)
        s.wait_result("published", 1)
        self.assert_whole()
        print(s.query("SELECT model_id, origin, backbone FROM model WHERE state = 'active'"))


class Kills(Retrain):
    """kill -9 of the daemon or of its trainer while it trains, judges, publishes."""

    def test_life(self):
        s = self.site
        s.configure(min_users=5, min_new_interactions=1, interval_s=0)
        s.start()
        s.put_items(N_ITEMS)
        s.put_interactions(0, 5)
        wait_for("items", lambda: len(s.vectors()) == N_ITEMS)
        s.wait_result("published", 1)
        self.rest = [[i for i in range(N_ITEMS) if i not in own[:5]] for own in s.taste]
        self.n = {"daemon": 0, "trainer": 0, "publication": 0}
        for n in range(KILLS):
            with self.subTest(n):
                self.see_more()
                s.daemon.send_signal(signal.SIGUSR1)
                (self.kill_at_any_time, self.kill_while_it_publishes, self.kill_trainer)[n % 3]()
                wait_for("all items", lambda: len(s.vectors()) == N_ITEMS)
                self.assert_whole()
        print(f"kills: {self.n}; models {s.query('SELECT state, count(*) FROM model GROUP BY state')}")
        self.assertTrue(all(self.n.values()) or KILLS < 3, self.n)

    def see_more(self):
        """Eight users see something new, so that there is something to judge by."""
        s = self.site
        n = self.n_interactions() + 8
        users = s.random.sample([u for u in range(N_USERS) if self.rest[u]], 8)
        s.put({"user_id": f"u{u}", "item_id": f"v{self.rest[u].pop()}"} for u in users)
        wait_for("the interactions", lambda: self.n_interactions() == n)

    def n_interactions(self):
        return self.site.query("SELECT count(*) FROM interaction")[0][0]

    def kill_trainer(self):
        """At once, or while it works; what was seen is still new to the next round."""
        s, n = self.site, self.site.results("failed")
        child = wait_for("the trainer", s.child, every_s=0.001)
        time.sleep(s.random.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        self.n["trainer"] += 1
        s.wait_result("failed", n + 1)

    def kill_daemon(self, what):
        s = self.site
        s.stop(signal.SIGKILL)
        self.n[what] += 1
        self.assertEqual(s.query("SELECT count(*) FROM model m JOIN active_model a ON a.model_id = "
                                 "m.model_id WHERE m.state = 'active'"), [(1,)])
        s.start()

    def kill_at_any_time(self):
        time.sleep(self.site.random.uniform(0, 2))
        self.kill_daemon("daemon")

    def kill_while_it_publishes(self):
        """As soon as the new model's row is there, or some milliseconds later."""
        s = self.site
        last = s.query("SELECT max(model_id) FROM model")
        wait_for("a model", lambda: s.query("SELECT max(model_id) FROM model") != last,
                 every_s=0.001)
        time.sleep(s.random.uniform(0, 0.05))
        self.kill_daemon("publication")


if __name__ == "__main__":
    unittest.main()
