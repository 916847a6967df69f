#!/usr/bin/env python3
"""A model with all signals (trained, factors, content, mapped, neighbours) through what happens to a model: it is
interrupted and resumed, starts another one, makes way for one without signals and comes back, loses its rows to
retention, is backed up, loses users and items, follows interactions while a daemon runs; and catalogues that leave
a signal nothing to say.

    test_signals.py TOOLS
"""

import json
import pathlib
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import unittest

sys.argv.insert(2, sys.argv[1])  # both modules take the tools out of it
import processtest  # noqa: E402
import test_training  # noqa: E402
from processtest import TOOLS, wait_for  # noqa: E402

SIGNALS = {"trained", "factors", "content", "fade", "mapped", "neighbours"}
PLAIN = ("--factors", 0, "--content", 0, "--neighbours", "none")
ROWS = {"embedding": "rid, dim, checksum, state, vec", "user_embedding": "uid, dim, checksum, vec",
        "neighbour": "rid, checksum, unit, list", "neighbour_scale": "rid, scale", "signal": "name, weight"}


class World(test_training.World):
    """Stops by pairs that the store does not have, so that the model knows all it has."""

    def __init__(self, folder):
        super().__init__(folder)
        self.strangers = folder / "strangers.tsv"
        self.strangers.write_text("".join(f"{u}\t{i}\n" for u, i in self.valid[40:60]))

    def train(self, *args):
        return super().train("--valid", self.strangers, *args)

    def says(self, user="u7", k=test_training.ITEMS):
        return [(x["item_id"], x["score"], x["because"]) for x in
                self.run("recommend", user, "-k", k, "--json")]

    def signals(self):
        return dict(self.rows("SELECT name, weight FROM current_signal"))

    def neighbours(self):
        return {(j, i): w for j, i, w in self.rows("SELECT * FROM current_neighbour")}

    def model_rows(self, model_id):
        return {table: self.rows(f"SELECT {what} FROM {table} WHERE model_id = ? ORDER BY 1", model_id)
                for table, what in ROWS.items()}

    def verified(self):
        v = self.run("verify", "-n", test_training.ITEMS, "--json")
        return {x["vector"] for x in v["items"]}, v["differ"]


class Seams(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="mmf-signals-")
        self.addCleanup(folder.cleanup)
        self.w = World(pathlib.Path(folder.name))
        self.w.fill()

    def assert_whole(self, model_id, says):
        """The model is active with all that it had."""
        self.assertEqual(self.w.run("model", "show", "--json")["model_id"], model_id)
        self.assertEqual(set(self.w.signals()), SIGNALS)
        self.assertEqual(self.w.says(), says)
        self.assertEqual(self.w.verified(), ({"equal", "close"}, 0))
        because, w = self.w.run("explain", "i3", "--json")["because"], self.w.signals()
        faded = 1 + because["users"]
        self.assertAlmostEqual(because["mapped"], w["mapped"] / faded, places=5)
        self.assertAlmostEqual(because["content"], w["content"] + w["fade"] / faded, places=5)

    def age(self, model_id):
        """Its metrics know no signals, as those of an earlier version."""
        metrics = json.loads(self.w.rows("SELECT metrics FROM model WHERE model_id = ?", model_id)[0][0])
        for key in ("signals", "calibration"):
            metrics.pop(key, None)
        for key in ("factors", "content"):
            metrics["options"].pop(key)
        db = sqlite3.connect(self.w.db)
        with db:
            db.execute("UPDATE model SET metrics = ? WHERE model_id = ?", (json.dumps(metrics), model_id))
        db.close()

    def test_interrupted_and_resumed_is_the_same_model(self):
        state = self.w.dir / "state"
        whole = self.w.train("--epochs", 60, "--members", 2)
        args = [TOOLS / "metammf", "--store", self.w.db, "train", "--valid", self.w.strangers,
                "--threads", "1", "--members", "2", "--checkpoint", state, "--epochs"]
        p = subprocess.Popen([*args, "60"], stderr=subprocess.PIPE, text=True)
        p.stderr.readline()
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(300), 75, p.stderr.read())
        p.stderr.close()
        self.assertEqual(self.w.rows("SELECT count(*) FROM model"), [(1,)])
        resumed = self.w.train("--epochs", 60, "--members", 2, "--resume", state)
        sums = [self.w.rows("SELECT sha256 FROM model WHERE model_id = ?", m["model_id"])
                for m in (whole, resumed)]
        self.assertEqual(*sums)
        self.assertEqual(set(resumed["signals"]), SIGNALS - {"fade"})
        for what in ("signals", "valid"):
            self.assertEqual(resumed[what], whole[what])
        rows = [self.w.model_rows(m["model_id"]) for m in (whole, resumed)]
        for table in ROWS:
            self.assertTrue(rows[0][table], table)
            self.assertEqual(rows[0][table], rows[1][table], table)

    def test_warm_start_from_any_to_any(self):
        cold = self.w.train()
        first = cold["curve"][0]["loss"]
        lengths = {"--factors": 64, "--content": cold["options"]["content"], "--neighbours": 0}
        for option, numbers in lengths.items():
            without = self.w.train("--warm", option, "none" if option == "--neighbours" else 0)
            self.assertLess(without["curve"][0]["loss"], first)
            gone = {"--factors": {"factors", "mapped"}, "--content": {"content", "fade", "mapped"},
                    "--neighbours": {"neighbours"}}[option]
            self.assertEqual(set(self.w.signals()), SIGNALS - gone)
            self.assertEqual(without["options"]["dim"], cold["options"]["dim"] - numbers)
            self.assertEqual(self.w.verified(), ({"equal", "close"}, 0))
            again = self.w.train("--warm")
            self.assertLess(again["curve"][0]["loss"], first)
            self.assertEqual(again["options"]["dim"], cold["options"]["dim"])
            self.assert_whole(again["model_id"], self.w.says())
        self.w.train(*PLAIN)
        self.assertEqual(self.w.signals(), {})
        self.assertLess(self.w.train("--warm", "--members", 2)["curve"][0]["loss"], first)
        self.assertEqual(set(self.w.signals()), SIGNALS)

    def test_rollback_to_a_model_without_signals_and_back(self):
        plain = self.w.train(*PLAIN)["model_id"]
        self.age(plain)
        was = self.w.says()
        model = self.w.train()["model_id"]
        says, neighbours, signals = self.w.says(), self.w.neighbours(), self.w.signals()
        self.assertNotEqual([x[0] for x in says], [x[0] for x in was])
        self.w.run("model", "rollback")
        self.assertEqual((self.w.signals(), self.w.neighbours()), ({}, {}))
        self.assertEqual(self.w.says(), was)
        self.assertEqual(self.w.verified(), ({"equal", "close"}, 0))
        for retention in (False, True):
            if retention:
                db = sqlite3.connect(self.w.db)
                with db:  # what a model that is not active loses in time (store/retain.h)
                    for table in set(ROWS) - {"signal"}:
                        db.execute(f"DELETE FROM {table} WHERE model_id = ?", (model,))
                db.close()
                self.w.run("model", "promote", plain)
            self.w.run("model", "promote", model)
            self.assert_whole(model, says)
            self.assertEqual((self.w.neighbours(), self.w.signals()), (neighbours, signals))

    def test_backup_and_restore(self):
        plain = self.w.train(*PLAIN)["model_id"]
        was = self.w.says()
        model = self.w.train()["model_id"]
        says, neighbours = self.w.says(), self.w.neighbours()
        self.w.run("backup", self.w.dir / "backup")
        (self.w.dir / "elsewhere").mkdir()
        self.w.db = self.w.dir / "elsewhere" / "s.db"
        self.w.run("restore", self.w.dir / "backup")
        self.assert_whole(model, says)
        self.assertEqual(self.w.neighbours(), neighbours)
        self.w.run("model", "promote", plain)
        self.assertEqual(self.w.says(), was)
        self.w.run("model", "promote", model)
        self.assert_whole(model, says)
        self.assertLess(self.w.train("--warm")["curve"][0]["loss"], 1.2)
        self.assertEqual(set(self.w.signals()), SIGNALS)

    def test_a_folder_takes_all_of_them_to_another_store(self):
        out = self.w.dir / "out"
        self.w.train("--out", out)
        self.assertEqual(self.w.rows("SELECT count(*) FROM model"), [(0,)])
        model = self.w.run("model", "import", out, "--promote", "--json")["model_id"]
        says, neighbours = self.w.says(), self.w.neighbours()
        self.assert_whole(model, says)
        self.w.db = self.w.dir / "other.db"
        self.w.fill()
        model = self.w.run("model", "import", out, "--promote", "--json")["model_id"]
        self.assert_whole(model, says)
        self.assertEqual(self.w.neighbours(), neighbours)

    def test_forgotten_users_and_deleted_items_are_out_of_every_signal(self):
        plain = self.w.train(*PLAIN)["model_id"]
        model = self.w.train()["model_id"]
        self.assertTrue(self.w.run("recommend", "u3", "-k", 1, "--json")[0]["because"])
        done = self.w.run("forget", "u3", "--json")
        self.assertEqual((done["known"], done["clean"], done["vectors"]), (True, True, 2))
        item = self.w.says("u4", 1)[0][0]
        events = self.w.dir / "events.ndjson"
        events.write_text(json.dumps({"type": "video.deleted", "item_id": item}) + "\n")
        self.w.run("ingest", events)

        def check():
            self.assertIn('does not know user "u3"', self.w.run("recommend", "u3"))
            self.assertFalse([x for x in self.w.says("u3") if x[2]])
            self.assertFalse([x for x in self.w.neighbours() if item in x])
            for _, _, because in self.w.says("u4"):
                self.assertNotIn(item, because)
            self.assertNotIn(item, [x[0] for x in self.w.says("u4")])
            states, differ = self.w.verified()
            self.assertEqual((states - {"behind"}, differ), ({"equal", "close"}, 0))

        check()
        for other in (plain, model):
            self.w.run("model", "promote", other)
            check()
        self.w.train("--warm")
        check()
        self.assertEqual(self.w.verified(), ({"equal", "close"}, 0))
        self.assertEqual(set(self.w.signals()), SIGNALS)
        self.w.run("model", "promote", model)
        check()


class Catalogues(unittest.TestCase):
    """Items that leave content, or more, nothing to say."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="mmf-signals-")
        self.addCleanup(folder.cleanup)
        self.w = World(pathlib.Path(folder.name))

    def fill(self, n_items, pairs, features):
        ids, rows, tsv = (self.w.dir / n for n in ("few", "few.npy", "few.tsv"))
        ids.write_text("".join(f"i{n}\n" for n in range(n_items)))
        test_training.npy(rows, [features(n) for n in range(n_items)] or [[0.0]])
        given = ["--visual", rows] if features(0) else []
        self.w.run("import", "items", "--ids", ids, *given)
        tsv.write_text("".join(f"{u}\t{i}\n" for u, i in pairs))
        self.w.run("import", "interactions", tsv)

    def train(self, *args):
        return self.w.run("train", "--epochs", 3, "--threads", 1, "--json", *args)

    def check(self, signals, *states):
        self.assertEqual(set(self.w.signals()), signals)
        for user in ("u1", "nobody"):
            for _, score, _ in self.w.says(user):
                self.assertTrue(-1e6 < score < 1e6)
        self.assertEqual(self.w.verified(), (set(states), 0))
        for x in (x for m in self.w.vectors("current_embedding", "item_id").values() for x in m):
            self.assertTrue(-1e6 < x < 1e6)

    def test_one_item(self):
        self.fill(1, [(f"u{u}", "i0") for u in range(6)], lambda n: [1.0, 2.0])
        self.assertIn("no item is left for u1, who has seen all", self.w.run("recommend", "u1"))
        for more in ((), ("--warm", "--members", 2)):
            self.train(*more)
            self.check({"trained", "factors", "neighbours"}, "close")
            self.assertIn("no item is left for u1, who has seen all", self.w.run("recommend", "u1"))
            self.assertEqual(len(self.w.says("nobody")), 1)

    def test_items_without_features(self):
        pairs = [(f"u{u}", f"i{(u * 7 + k * 3) % 20}") for u in range(30) for k in range(5)]
        self.fill(22, pairs, lambda n: [])
        for more in ((), ("--warm", "--members", 2)):
            m = self.train(*more)
            self.assertEqual(m["options"]["fusion"], "none")
            self.check({"trained", "factors", "neighbours"}, "none")
            self.assertTrue(self.w.neighbours())

    # by the pairs that were held out its items are behind
    def test_features_that_are_all_alike(self):
        pairs = [(f"u{u}", f"i{(u * 7 + k * 3) % 20}") for u in range(30) for k in range(5)]
        self.fill(22, pairs, lambda n: [0.5, 0.5])
        self.train()
        self.check({"trained", "factors", "neighbours"}, "behind")

    def test_interactions_with_what_was_never_imported(self):
        tsv = self.w.dir / "few.tsv"
        tsv.write_text("".join(f"u{u}\ti{(u + k) % 9}\n" for u in range(30) for k in range(3)))
        self.w.run("import", "interactions", tsv)
        self.assertIn("no item that could be recommended", self.w.run("recommend", "u1", code=66))
        model = self.train()["model_id"]
        self.assertIn(f"model {model} has no vectors of items: nothing was imported",
                      self.w.run("recommend", "u1", code=66))


class Served(processtest.WithSite):
    """A daemon that takes interactions through its pipeline."""

    def query(self, sql, *args):
        db = sqlite3.connect(f"file:{self.site.store}?mode=ro", uri=True)
        try:
            return db.execute(sql, args).fetchall()
        finally:
            db.close()

    def fill(self):
        r = random.Random(5)
        (self.site.dir / "ids").write_text("".join(f"i{n}\n" for n in range(60)))
        test_training.npy(self.site.dir / "v.npy", [test_training.features(r, n, 8) for n in range(60)])
        with open(self.site.dir / "pairs.tsv", "w") as out:
            for u in range(40):
                liked = [i for i in range(59) if i % 3 == u % 3]
                out.writelines(f"u{u}\ti{i}\n" for i in r.sample(liked, 8))
        (self.site.dir / "none.tsv").write_text("somebody\ti1\n")
        self.verb(0, "import", "items", "--ids", "ids", "--visual", "v.npy")
        self.verb(0, "import", "interactions", "pairs.tsv")
        self.verb(0, "train", "--epochs", 3, "--threads", 1, "--valid", "none.tsv")

    def neighbours(self, item):
        return dict(self.query("SELECT neighbour_id, weight FROM current_neighbour WHERE item_id = ?", item))

    def vectors(self):
        return {i: struct.unpack(f"<{dim}f", vec) for i, dim, vec in
                self.query("SELECT item_id, dim, vec FROM current_embedding")}

    def take(self, name, *pairs):
        n = self.query("SELECT count(*) FROM interaction")[0][0]
        self.site.drop(name, [json.dumps({"user_id": u, "item_id": i, "ts": "2026-01-02T03:04:05Z"})
                              for u, i in pairs])
        wait_for("the interactions",
                 lambda: self.query("SELECT count(*) FROM interaction")[0][0] == n + len(pairs))
        wait_for("vectors and rows", lambda: self.query("SELECT count(*) FROM touch") == [(0,)])

    def test_rows_and_vectors_follow_what_comes(self):
        self.fill()
        self.assertEqual({s for s, in self.query("SELECT name FROM current_signal")}, SIGNALS)
        self.assertEqual(self.neighbours("i59"), {})
        before, weights = self.vectors(), self.query("SELECT * FROM current_signal")
        self.site.start()
        pairs = [(f"new{n}", i) for n in range(6) for i in ("i1", "i59")]  # together, unlike in looks
        self.take("a.ndjson", *pairs)
        self.assertGreater(self.neighbours("i59")["i1"], 0)
        self.assertGreater(self.neighbours("i1")["i59"], 0)
        self.assertEqual(self.query("SELECT * FROM current_signal"), weights)
        after = self.vectors()
        self.assertNotEqual(after["i59"], before["i59"])
        self.assertEqual(len(after["i59"]), len(before["i59"]))
        self.take("b.ndjson", ("late", "i1"))
        (row,) = [x for x in self.json("recommend", "late", "-k", 60) if x["item_id"] == "i59"]
        self.assertEqual(row["because"], ["i1"])
        self.assertGreater(row["signals"]["neighbours"], 0)
        rows = self.neighbours("i1")
        self.verb(0, "backup", self.site.dir / "backup")
        self.assertEqual(self.site.stop()[0], 0)
        self.site.start()
        self.assertEqual(self.neighbours("i1"), rows)
        self.take("c.ndjson", *[(f"more{n}", i) for n in range(3) for i in ("i1", "i59")])
        self.assertGreater(self.neighbours("i1")["i59"], rows["i59"])
        self.assertEqual(self.site.stop()[0], 0)
        v = self.json("verify", "-n", 60)
        self.assertEqual(v["differ"], 0)
        self.assertLessEqual({x["vector"] for x in v["items"]}, {"equal", "close", "behind"})


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
