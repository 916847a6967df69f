#!/usr/bin/env python3
"""Forgetting a person: by the command line with and without the daemon, by user.deleted. What is left of
them is looked for in every byte of the store, its log of writes, the models' folders and the daemon's
log; what comes again of them is dropped, what is new counts.

    test_forget.py TOOLS

See processtest.py.
"""

import contextlib
import fnmatch
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import time
import unittest

import test_retrain
from processtest import TOOLS, WithSite, wait_for

USERS = [f"person-{u:02}-4711" for u in range(8)]


class ByDaemon(WithSite):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.site.start()
        cls.items = [c["file"].rsplit(".", 1)[0] for c in cls.site.clips]
        lines = [json.dumps(cls.site.event(c)) for c in cls.site.clips]
        lines += clicks(USERS, cls.items, "2026-01-0{}T00:00:00Z")
        lines += [json.dumps({"user_id": USERS[0], "item_id": "v", "weight": "a lot"})]
        cls.site.drop("first.ndjson", lines)
        wait_for("interactions",
                 lambda: counts(cls.site)["interactions"] == len(USERS) * len(cls.items))
        wait_for("a dead letter", lambda: counts(cls.site)["dead_letters"] == 1)
        wait_for("the clips", lambda: counts(cls.site)["embeddings"] == len(cls.items))
        trained = cls.site.metammf("train", "--epochs", 1, "--dim", 16, "--threads", 1, "--json")
        assert trained.returncode == 0, trained.stderr

    def test_all_of_it(self):
        n = len(self.items)
        gone, later, event = USERS[:3]
        self.assertEqual(rows_of(self.site, gone), (n, 1))
        was = vector_of(self.site, gone)
        self.assertTrue(where(self.site, gone))
        done = self.json("forget", gone)
        self.assertEqual((done["interactions"], done["dead_letters"], done["folders"]), (n, 1, 1))
        self.assertEqual((done["known"], done["clean"]), (True, True))
        self.assertTrue(done["vectors"] >= 1 and done["training_pairs"] >= 1, done)
        self.assertEqual(rows_of(self.site, gone), (0, 0))
        self.assertEqual(where(self.site, gone), [])
        self.assertTrue(where(self.site, later))
        log = self.site.read_log()
        self.assertRegex(log, rf"forgot a user \(hash {done['hash']}\): {n} interactions")

        # what was said until then comes again, in another file; what is new counts
        old = clicks([gone], self.items, "2026-01-0{}T00:00:00Z") + ["{}"]
        self.site.drop("again.ndjson", old)
        wait_for("what is dropped", lambda: status(self.site)["forgotten"]["dropped"] == n)
        self.assertEqual(self.site.metric("metammf_interactions_dropped_total"), n)
        self.assertEqual(rows_of(self.site, gone), (0, 0))
        text = self.verb(0, "status").stdout
        self.assertRegex(text, rf"forgotten +1 users; {n} interactions of theirs came again")
        self.assertEqual(where(self.site, gone), [])

        # by an event, while the daemon runs: rows, then files
        self.site.drop("user.ndjson", [json.dumps({"type": "user.deleted", "user_id": event}),
                                       json.dumps({"type": "user.deleted", "item_id": "v"})])
        wait_for("rows", lambda: status(self.site)["forgotten"] ==
                 {"users": 2, "dropped": n, "erasing": 0})
        wait_for("every byte", lambda: not where(self.site, event))
        self.assertEqual(counts(self.site)["dead_letters"], 3)
        self.assertEqual(self.site.metric("metammf_users_forgotten_total"), 2)
        self.assertEqual(counts(self.site)["users"], len(USERS) - 2)

        # back again, and still there when the old model is promoted once more
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
        self.site.drop("back.ndjson", clicks([gone], self.items, now))
        wait_for("the user who is back", lambda: counts(self.site)["users"] == len(USERS) - 1)
        trained = self.json("model", "show")["model_id"]
        self.verb(0, "train", "--epochs", 1, "--dim", 16, "--threads", 1)
        self.assertEqual(rows_of(self.site, gone), (n, 1))
        with database(self.site.store, write=True) as db:  # as retention does
            db.execute("DELETE FROM user_embedding WHERE model_id = ?", (trained,))
            db.execute("DELETE FROM model_training WHERE model_id = ?", (trained,))
        self.verb(0, "model", "promote", trained)
        self.assertEqual(rows_of(self.site, later), (n, 1))
        self.assertEqual(rows_of(self.site, gone)[0], n)
        self.assertNotEqual(vector_of(self.site, gone), was)  # none, or a refresh's of what is new
        self.assertNotIn(event, self.site.read_log())
        self.assertNotIn(later, self.site.read_log())

    def test_usage(self):
        self.verb(64, "forget")
        self.verb(64, "forget", "a", "b")
        self.verb(64, "forget", "a", "--list")
        self.verb(64, "forget", "a\nb")
        done = self.json("forget", "nobody-4711")
        self.assertEqual((done["known"], done["interactions"]), (False, 0))
        self.verb(75, "forget", "--from", "/dev/null")


class Alone(WithSite):
    """Without a daemon."""

    def setUp(self):
        self.dir = self.site.dir / self._testMethodName
        self.dir.mkdir()
        self.store = ["--store", self.dir / "s.db"]
        events = self.dir / "e.ndjson"
        events.write_text("\n".join(clicks(USERS, ["v1", "v2"], "2026-01-0{}T00:00:00Z")))
        self.verb(0, "ingest", events, store=self.store)

    def test_forget(self):
        done = self.json("forget", USERS[0], store=self.store)
        self.assertEqual((done["interactions"], done["clean"]), (2, True))
        self.assertFalse(holds(self.dir, USERS[0], "s.db*"))
        self.assertTrue(holds(self.dir, USERS[1], "s.db*"))
        again = self.json("forget", USERS[0], store=self.store)
        self.assertEqual((again["known"], again["hash"]), (False, done["hash"]))
        self.verb(66, "forget", "a", store=["--store", self.dir / "none.db"])

    def test_a_letter_that_named_the_user_is_not_retried(self):
        bad = self.dir / "bad.ndjson"
        bad.write_text(json.dumps({"user_id": USERS[0], "item_id": "v", "weight": "a"}))
        self.verb(0, "ingest", bad, store=self.store)
        self.assertEqual(self.json("forget", USERS[0], store=self.store)["dead_letters"], 1)
        (x,) = self.json("dlq", "list", store=self.store)
        self.assertEqual((x["reason"], x["value_b64"], x["key_b64"]), ("bad_schema", "", None))
        retried = self.json("dlq", "retry", x["id"], store=self.store)
        self.assertEqual((retried["superseded"], retried["dead_letters"]), (1, 0))
        self.assertIn("erased", self.verb(0, "dlq", "show", x["id"], store=self.store).stdout)

    def test_a_letter_is_no_younger_for_being_retried(self):
        """What names nobody that can be found, of an event without a time: neither a try that fails nor a
        try that succeeds after the forgetting brings the user back."""
        bad = self.dir / "bad.ndjson"
        bad.write_text("\n".join(json.dumps({"viewer": {"id": u}, "clip": "v1", "heft": "a"})
                                 for u in (7, 8)))
        os.utime(bad, (1750000000, 1750000000))
        ahead = self.dir / "ahead.ndjson"
        ahead.write_text(json.dumps({"viewer": {"id": 6}, "clip": "v1", "heft": "a"}))
        os.utime(ahead, (time.time() + 3600,) * 2)  # written by a clock that runs ahead
        site = [self.mapped("heft"), *self.store]
        for path in (bad, ahead):
            self.verb(0, "ingest", path, store=site)
        for user in (6, 7):
            self.verb(0, "forget", user, store=site)
        self.verb(65, "dlq", "retry", "--all", store=site)
        site[0] = self.mapped("none")
        self.verb(0, "dlq", "retry", "--all", store=site)
        with database(self.dir / "s.db") as db:
            self.assertEqual(db.execute("SELECT user_id, ts_ms FROM interaction_log WHERE user_id "
                                        "IN ('6', '7', '8')").fetchall(), [("8", 1750000000000)])

    def mapped(self, weight):
        conf = self.dir / "mapped.conf"
        conf.write_text('events = { interaction = { user_id = "/viewer/id"; item_id = "/clip"; '
                        f'weight = "/{weight}"; }}; }};')
        return f"--config={conf}"

    def test_a_reader_that_holds_the_log_up_is_told_of(self):
        with database(self.dir / "s.db") as db:
            db.execute("BEGIN")
            db.execute("SELECT * FROM user").fetchone()
            r = self.verb(0, "forget", USERS[0], "--json", store=self.store)
            self.assertFalse(json.loads(r.stdout)["clean"])
            self.assertIn("a reader holds", r.stderr)
        self.assertTrue(self.json("forget", USERS[1], store=self.store)["clean"])
        self.assertFalse(holds(self.dir, USERS[0], "s.db*"))

    def test_an_older_copy_learns_what_was_forgotten_since(self):
        old, listed = ["--store", self.dir / "old.db"], self.dir / "forgotten.txt"
        self.verb(0, "snapshot", old[1], store=self.store)
        self.verb(0, "forget", USERS[0], store=self.store)
        self.verb(0, "forget", "nobody-4711", store=self.store)
        text = self.verb(0, "forget", "--list", store=self.store).stdout
        self.assertEqual(len(text.splitlines()), 3)
        listed.write_text(text)
        self.assertEqual(len(self.json("forget", "--list", store=self.store)["forgotten"]), 2)
        self.assertEqual(self.json("forget", "--from", listed, store=old),
                         {"listed": 2, "forgotten": 1})
        self.assertFalse(holds(self.dir, USERS[0], "old.db*"))
        self.assertEqual(self.json("forget", "--from", listed, store=old),
                         {"listed": 2, "forgotten": 0})
        other = ["--store", self.dir / "other.db"]
        self.verb(0, "ingest", self.dir / "e.ndjson", store=other)
        self.assertIn("no copy of the same", self.verb(65, "forget", "--from", listed,
                                                       store=other).stderr)
        listed.write_text(text + "rubbish\n")
        self.assertIn(":4:", self.verb(65, "forget", "--from", listed, store=old).stderr)
        self.verb(66, "forget", "--from", "/none", store=old)

    def test_a_kill_half_way_goes_on_later(self):
        events = self.dir / "many.ndjson"
        events.write_text("\n".join(clicks(USERS[:1], [f"v{i}" for i in range(12000)],
                                           "2026-01-01T00:00:00Z")))
        self.verb(0, "ingest", events, store=self.store)
        p = subprocess.Popen([TOOLS / "metammf", *map(str, self.store), "forget", USERS[0]])
        wait_for("a piece", lambda: p.poll() is not None or erasing(self.dir / "s.db"))
        p.kill()
        p.wait()
        self.verb(0, "forget", USERS[1], store=self.store)
        with database(self.dir / "s.db") as db:
            self.assertEqual(db.execute("SELECT count(*), count(DISTINCT user_id) FROM "
                                        "interaction_log").fetchone(),
                             (2 * len(USERS) - 4, len(USERS) - 2))
            self.assertEqual(db.execute("SELECT count(*) FROM erasing").fetchone(), (0,))
        self.assertFalse(holds(self.dir, USERS[0], "s.db*"))


class WhileATrainingRuns(unittest.TestCase):
    """The candidate is there and names the user; judge and publication come afterwards."""

    TRAINER = """#!/bin/sh
case "$*" in *" train "*) ;; *) exec METAMMF "$@" ;; esac
METAMMF "$@" || exit
touch SITE/trained
while [ ! -e SITE/go ]; do sleep 0.05; done
"""

    def test_a_candidate_loses_who_was_forgotten(self):
        site = test_retrain.RetrainSite()
        self.addCleanup(site.close)
        trainer = site.dir / "trainer"
        trainer.write_text(self.TRAINER.replace("METAMMF", str(TOOLS / "metammf"))
                           .replace("SITE", str(site.dir)))
        trainer.chmod(0o755)
        site.configure(trainer_path=f'"{trainer}"', interval_s=3600)
        site.start()
        site.put_items(test_retrain.N_ITEMS)
        site.put_interactions(0, 6)
        n = 6 * test_retrain.N_USERS
        wait_for("interactions", lambda: counts(site)["interactions"] == n)
        site.daemon.send_signal(signal.SIGUSR1)
        wait_for("a candidate", lambda: (site.dir / "trained").exists())
        folder = site.dir / ".metammf-retraining"
        self.assertIn("u0\n", (folder / "candidate" / "users.txt").read_text())
        self.assertIn("u0\t", (folder / "holdout.tsv").read_text())

        # forgotten, and back before the candidate is published
        r = site.metammf("forget", "u0")
        self.assertEqual(r.returncode, 0, r.stderr)
        site.put([{"user_id": "u0", "item_id": "v0", "ts": "2100-01-01T00:00:00Z"}])
        wait_for("the user who is back", lambda: rows_of(site, "u0")[0] == 1)
        (site.dir / "go").touch()
        site.wait_result("published", 1)
        (published,) = site.dir.glob("trained-*")
        names = (published / "users.txt").read_text().splitlines()
        self.assertEqual(len(names), test_retrain.N_USERS)
        self.assertNotIn("u0", names)
        self.assertIn("u1", names)
        self.assertNotRegex((published / "holdout.tsv").read_text(), "(?m)^u0\t")
        with database(site.store) as db:
            (users,) = db.execute("SELECT count(*) FROM user_embedding e JOIN model m ON "
                                  "m.model_id = e.model_id WHERE m.origin = 'trained' AND "
                                  "e.uid NOT IN (SELECT uid FROM user)").fetchone()
        self.assertEqual(users, 0)
        self.assertEqual(site.results("failed"), 0)


def clicks(users, items, when):
    return [json.dumps({"user_id": u, "item_id": i, "ts": when.format(k % 9 + 1)})
            for u in users for k, i in enumerate(items)]


def status(site):
    return json.loads(site.metammf("status", "--json").stdout)


def counts(site):
    return status(site)["counts"]


@contextlib.contextmanager
def database(path, write=False):
    uri = f"file:{path}" + ("" if write else "?mode=ro")
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=10)) as db, db:
        yield db


def rows_of(site, user):
    """Interactions, and current vectors."""
    with database(site.store) as db:
        return db.execute("SELECT (SELECT count(*) FROM interaction_log WHERE user_id = ?1), "
                          "(SELECT count(*) FROM current_user_embedding WHERE user_id = ?1)",
                          (user,)).fetchone()


def vector_of(site, user):
    with database(site.store) as db:
        return db.execute("SELECT vec FROM current_user_embedding WHERE user_id = ?",
                          (user,)).fetchone()


def erasing(path):
    with database(path) as db:
        return db.execute("SELECT count(*) FROM erasing").fetchone()[0] > 0


def holds(folder, text, pattern):
    found = []
    for path, _, names in os.walk(folder):  # what goes away meanwhile holds nothing
        for name in fnmatch.filter(names, pattern):
            with contextlib.suppress(FileNotFoundError):
                file = pathlib.Path(path, name)
                if file.is_file() and text.encode() in file.read_bytes():
                    found.append(str(file))
    return found


def where(site, text):
    """The files below the site's folder that hold the text; not the spool's, which are the site's own."""
    return [p for p in holds(site.dir, text, "*") if "/spool/" not in p]


if __name__ == "__main__":
    unittest.main(verbosity=2)
