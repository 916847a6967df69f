#!/usr/bin/env python3
"""From imported files to recommendations: train, eval, recommend, model, and back again.

Data is generated: three tastes, items whose features tell their taste, users who mostly keep to
one. eval and recommend are held to a naive Python version over the store's public views.

    test_training.py TOOLS
"""

import hashlib
import json
import math
import os
import pathlib
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import unittest

TOOLS = pathlib.Path(sys.argv.pop(1)).resolve()
USERS, ITEMS, TASTES = 60, 90, 3
THREADS = os.environ.get("MMF_THREADS", "1")  # any number gives the same bytes


def npy(path, rows):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(rows)}, {len(rows[0])}), }}"
    head += " " * (63 - (10 + len(head)) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() +
                     b"".join(struct.pack(f"<{len(r)}f", *r) for r in rows))


def features(r, item, dim):
    return [r.gauss(3.0 if j % TASTES == item % TASTES else 0.0, 1.0) for j in range(dim)]


class World:
    """Items i0 … of which the last two have no interactions; users u0 …"""

    def __init__(self, folder):
        r = random.Random(7)
        self.dir, self.db = folder, folder / "s.db"
        ids = [f"i{n}" for n in range(ITEMS)]
        (folder / "ids").write_text("".join(f"{i}\n" for i in ids))
        npy(folder / "v.npy", [features(r, n, 8) for n in range(ITEMS)])
        npy(folder / "a.npy", [features(r, n, 6) for n in range(ITEMS)])
        pairs = []
        for u in range(USERS):
            liked = [i for i in range(ITEMS - 2) if i % TASTES == u % TASTES]
            pairs += [(f"u{u}", f"i{i}") for i in r.sample(liked, 12)]
        r.shuffle(pairs)
        held, kept = pairs[:80], pairs[80:]
        (folder / "train.tsv").write_text("".join(f"{u}\t{i}\n" for u, i in kept + held[:40]))
        self.valid = held + [("stranger", "i1"), ("u1", "no such item"), ("u2", "i89")]
        (folder / "valid.tsv").write_text("".join(f"{u}\t{i}\n" for u, i in self.valid))
        self.kept = set(kept)

    def run(self, *args, code=0):
        r = subprocess.run([TOOLS / "metammf", "--store", self.db, *map(str, args)],
                           capture_output=True, text=True)
        if r.returncode != code:
            raise AssertionError(f"{args}: exit {r.returncode}: {r.stderr}")
        return json.loads(r.stdout) if "--json" in args else r.stdout + r.stderr

    def fill(self):
        self.run("import", "items", "--ids", self.dir / "ids", "--visual", self.dir / "v.npy",
                 "--acoustic", self.dir / "a.npy", "--encoder", "made")
        self.run("import", "interactions", self.dir / "train.tsv")

    def train(self, *args):
        return self.run("train", "--valid", self.dir / "valid.tsv", "--epochs", 4, "--json",
                        "--threads", THREADS, *args)

    def rows(self, sql, *args):
        db = sqlite3.connect(f"file:{self.db}?mode=ro", uri=True)
        try:
            return db.execute(sql, args).fetchall()
        finally:
            db.close()

    def vectors(self, view, name):
        return {row[0]: struct.unpack(f"<{row[1]}f", row[2]) for row in
                self.rows(f"SELECT {name}, dim, vec FROM {view}")}

    def trained_on(self, model_id):
        blob = self.rows("SELECT pairs FROM model_training WHERE model_id = ?", model_id)[0][0]
        users = dict(self.rows("SELECT uid, user_id FROM user"))
        items = dict(self.rows("SELECT rid, item_id FROM item"))
        return {(users[u], items[i]) for u, i in struct.iter_unpack("<qq", blob)}


def dot(a, b):
    return sum(x * y for x, y in zip(a, b))


def mean(rows):
    return [sum(x) / len(rows) for x in zip(*rows)]


class Oracle:
    """The definitions of fusion/train/evaluate.h, naively."""

    def __init__(self, world, model_id):
        self.items = world.vectors("current_embedding", "item_id")
        self.users = world.vectors("current_user_embedding", "user_id")
        self.order = [r[0] for r in world.rows("SELECT item_id FROM item ORDER BY rid")]
        self.seen = world.trained_on(model_id)
        self.warm = {i for _, i in self.seen}
        self.stranger = mean(list(self.users.values()))
        weight = dict(world.rows("SELECT name, weight FROM current_signal")).get("neighbours", 0)
        self.says = {}  # what having an item adds to the scores of others
        for item, other, value in world.rows("SELECT * FROM current_neighbour"):
            self.says.setdefault(item, []).append((other, weight * value))

    def scores(self, user, history=None):
        """history: of recommend it is today's, of eval that of the training."""
        vec = self.users.get(user, self.stranger)
        scores = {i: dot(vec, x) for i, x in self.items.items()}
        if history is None:
            history = {i for u, i in self.seen if u == user}
        for item in history:
            for other, value in self.says.get(item, []):
                if other in scores:
                    scores[other] += value
        return scores

    def ranking(self, user, allowed, history=None):
        scores = self.scores(user, history)
        names = [i for i in self.order if i in self.items and allowed(i) and
                 (user, i) not in self.seen]
        return sorted(names, key=lambda i: -scores[i])

    def figures(self, pairs, keep, allowed, k):
        wanted = {}
        for user, item in set(pairs):
            if keep(item):
                wanted.setdefault(user, set()).add(item)
        sums, hits_all = [0.0, 0.0, 0.0], 0
        for user, items in wanted.items():
            top = self.ranking(user, allowed)[:k]
            gains = [1 / math.log2(at + 2) for at, i in enumerate(top) if i in items]
            ideal = sum(1 / math.log2(at + 2) for at in range(min(k, len(items))))
            hits_all += len(gains)
            for at, x in enumerate((len(gains) / k, len(gains) / len(items),
                                    sum(gains) / ideal)):
                sums[at] += x / len(wanted)
        total = sum(map(len, wanted.values()))
        return dict(zip(("precision", "recall", "ndcg"), sums), hr=hits_all / total)


class Training(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="mmf-training-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.w = World(pathlib.Path(cls.folder.name))
        cls.w.fill()
        cls.first = cls.w.train("--backbone", "lightgcn")

    def setUp(self):
        if self.active() != self.first["model_id"]:
            self.w.run("model", "promote", self.first["model_id"])

    def active(self):
        return self.w.rows("SELECT model_id FROM active_model")[0][0]

    def assert_figures(self, got, want, what):
        for name, value in want.items():
            self.assertAlmostEqual(got[name], value, places=5, msg=f"{what} {name}")

    def test_eval_equals_oracle(self):
        e = self.w.run("eval", "--test", self.w.dir / "valid.tsv", "--k", "5,20", "--json")
        csv = self.w.dir / "valid.csv"  # the same, as spreadsheets write it, and what nobody liked
        csv.write_text('\ufeffitem_id,user_id,rating\r\n' + "".join(
            f'"{i}",{u},1\r\n' for u, i in self.w.valid) + 'i1,u3,-1\r\n')
        self.assertEqual(self.w.run("eval", "--test", csv, "--k", "5,20", "--json"), e)
        self.assertIn("1 lines of weight 0 or less", self.w.run("eval", "--test", csv))
        o = Oracle(self.w, self.first["model_id"])
        everything, cold = (lambda i: True), (lambda i: i not in o.warm)
        slices = {"overall": (everything, everything), "cold": (cold, everything),
                  "warm": (lambda i: i in o.warm, everything), "cold_only": (cold, cold)}
        for name, (keep, allowed) in slices.items():
            for k in (5, 20):
                self.assert_figures(e[name][str(k)],
                                    o.figures(self.w.valid, keep, allowed, k), f"{name} {k}")
        self.assertEqual(e["users"], len({u for u, _ in self.w.valid}))
        self.assertEqual((e["unknown_users"], e["unknown_items"]), (1, 1))
        self.assertEqual(e["overall"]["20"], self.first["valid"]["overall"]["20"])

    def test_valid_pairs_stay_out(self):
        known = {(u, i) for u, i in
                 self.w.rows("SELECT user_id, item_id FROM interaction_log")}
        self.assertEqual(self.w.trained_on(self.first["model_id"]), self.w.kept)
        self.assertFalse({("stranger", "i1"), ("u2", "i89")} & known)

    def test_taste_is_learned(self):
        self.assertGreater(self.first["valid"]["overall"]["20"]["recall"], 0.4)
        epochs = [r[0] for r in self.w.rows(
            "SELECT epoch FROM run_metric WHERE model_id = ? AND name = 'ndcg_20'",
            self.first["model_id"])]
        self.assertEqual(epochs, [2, 4])

    def test_recommend_masks_what_was_seen(self):
        o = Oracle(self.w, self.first["model_id"])
        seen = {i for u, i in self.w.rows("SELECT user_id, item_id FROM interaction_log")
                if u == "u3"}
        got = self.w.run("recommend", "u3", "-k", 30, "--json")
        want = [i for i in o.ranking("u3", lambda i: i not in seen, seen)][:30]
        self.assertEqual([x["item_id"] for x in got], want)
        self.assertAlmostEqual(got[0]["score"], o.scores("u3", seen)[want[0]], places=5)
        got = self.w.run("recommend", "nobody", "-k", 3, "--json")
        self.assertIn('the model does not know user "nobody"',
                      self.w.run("recommend", "nobody", "-k", 3))
        self.assertEqual([x["item_id"] for x in got],
                         o.ranking("nobody", lambda i: True)[:3])

    def test_recommend_keeps_places_for_items_without_interactions(self):
        o = Oracle(self.w, self.first["model_id"])
        seen = {i for u, i in self.w.rows("SELECT user_id, item_id FROM interaction_log")
                if u == "u3"}
        cold = {i for i, in self.w.rows("SELECT item_id FROM current_embedding WHERE state = 'cold'")}
        order = [i for i in o.ranking("u3", lambda i: i not in seen, seen)]
        self.assertGreater(len(cold), 3)
        for k in (5, 30, len(order)):
            for n in (0, 1, 3, len(cold)):
                fresh = [i for i in order if i in cold][:min(n, k)]
                earned = [i for i in order[:k] if i in cold]
                rest = fresh[len(earned):]
                warm = [i for i in order[:k] if i not in cold]
                kept = set(earned + warm[:max(0, len(warm) - len(rest))])
                got = self.w.run("recommend", "u3", "-k", k, "--fresh", n, "--json")
                self.assertEqual([x["item_id"] for x in got],
                                 [i for i in order[:k] if i in kept] + rest)

    def test_promote_and_rollback(self):
        before = self.w.vectors("current_embedding", "item_id")
        second = self.w.train("--fusion", "static", "--backbone", "mf", "--no-promote")
        self.assertEqual(self.active(), self.first["model_id"])
        self.assertEqual(self.w.run("model", "promote", second["model_id"], "--json"),
                         {"model_id": second["model_id"], "active": True})
        self.assertNotEqual(self.w.vectors("current_embedding", "item_id"), before)
        self.w.run("model", "rollback")
        self.assertEqual(self.w.vectors("current_embedding", "item_id"), before)
        states = {m["model_id"]: m["state"] for m in self.w.run("model", "list", "--json")}
        self.assertEqual(states[second["model_id"]], "retired")
        self.w.run("model", "promote", 4711, code=66)

    def test_rollback_without_vectors(self):
        """As after retention: they come back from the model's folder."""
        before = self.w.vectors("current_embedding", "item_id")
        users = self.w.vectors("current_user_embedding", "user_id")
        self.w.train("--seed", 2)
        db = sqlite3.connect(self.w.db)
        with db:
            for table in ("embedding", "user_embedding"):
                db.execute(f"DELETE FROM {table} WHERE model_id = ?",
                           (self.first["model_id"],))
        db.close()
        self.w.run("model", "rollback", self.first["model_id"])
        self.assertEqual(self.w.vectors("current_embedding", "item_id"), before)
        self.assertEqual(self.w.vectors("current_user_embedding", "user_id"), users)

    def test_new_items_go_through_the_active_model(self):
        r = random.Random(99)
        new, visual, acoustic = (self.w.dir / n for n in ("new", "nv.npy", "na.npy"))
        new.write_text("fresh\nodd\n")
        npy(visual, [features(r, n, 8) for n in range(2)])
        npy(acoustic, [features(r, n, 6) for n in range(2)])
        self.w.run("import", "items", "--ids", new, "--visual", visual, "--acoustic", acoustic,
                   "--encoder", "made")
        got = self.w.run("get", "fresh", "--json")
        self.assertEqual((got["state"], got["dim"], got["model_id"]),
                         ("cold", self.first["options"]["dim"], self.first["model_id"]))
        other = self.w.train("--seed", 3, "--no-promote")["model_id"]
        self.w.run("model", "promote", other)
        self.assertEqual(self.w.run("get", "odd", "--json")["model_id"], other)

    def test_lengths_follow_one_rule(self):
        """i89 has no interactions: nothing but a fused half of length 1, lengthened where there is a graph."""
        args = ("--content", 0, "--factors", 0)
        self.w.train("--backbone", "mf", "--item-graph", "none", *args)
        self.assertAlmostEqual(math.hypot(*self.w.vectors("current_embedding", "item_id")["i89"]), 1,
                               places=4)
        self.w.train("--backbone", "lightgcn", *args)
        items = self.w.vectors("current_embedding", "item_id")
        warm = [math.hypot(*items[i]) for i in {i for _, i in self.w.kept}]
        self.assertGreater(math.hypot(*items["i89"]), 1.2 * sum(warm) / len(warm))
        for gone in ("--cold-length", "--fused-length"):
            self.w.run("train", gone, "150", code=64)

    def test_what_follows_the_epochs_is_told(self):
        said = self.w.run("train", "--valid", self.w.dir / "valid.tsv", "--epochs", 2, "--threads", 1,
                          "--no-promote").splitlines()
        at = [next(n for n, line in enumerate(said) if line.startswith(stage)) for stage in
              ("epoch 2/2", "factorisation 1, penalty 0.35", "factorisation 2, ", "content", "mapped factors", "neighbours",
               "weights of the signals", "figures of what is published")]
        self.assertEqual(at, sorted(at))

    def test_as_configured_is_what_the_daemon_trains(self):
        conf = self.w.dir / "trained.conf"
        conf.write_text(f'store = {{ path = "{self.w.db}"; }};\ntraining = {{ backbone = "mf"; '
                        'members = 2; seed = 9; warm_start = false; };\n')
        runs = {"configured": ("--config", conf, "train", "--as-configured"),
                "told": ("train", "--backbone", "mf", "--members", 2, "--seed", 9),
                "not asked": ("--config", conf, "train"),
                "told otherwise": ("--config", conf, "train", "--as-configured", "--fusion", "none")}
        metrics, models = {}, {}
        for name, words in runs.items():
            out = self.w.dir / name
            self.w.run(*words, "--threads", 1, "--epochs", 3, "--out", out)
            metrics[name] = json.loads((out / "metrics.json").read_text())
            models[name] = (out / "model.safetensors").read_bytes()
        self.assertEqual(models["configured"], models["told"])
        self.assertEqual(metrics["configured"]["options"], metrics["told"]["options"])
        self.assertEqual(metrics["not asked"]["options"]["backbone"], "lightgcn")
        self.assertEqual(metrics["not asked"]["seed"], 1)
        options = metrics["told otherwise"]["options"]
        self.assertEqual((options["fusion"], options["item_graph"], options["backbone"]),
                         ("none", "none", "mf"))

    def test_identity_only_gives_new_items_nothing(self):
        m = self.w.train("--fusion", "none", "--backbone", "mf")
        self.assertEqual(m["options"]["dim"], 32 + 64)  # and the factors
        items = self.w.vectors("current_embedding", "item_id")
        self.assertEqual(set(items), {i for _, i in self.w.kept})
        self.w.run("get", "i89", code=66)
        e = self.w.run("eval", "--test", self.w.dir / "valid.tsv", "--json")
        self.assertEqual(e["cold"]["20"]["recall"], 0)

    def test_same_seed_same_file(self):
        for backbone in ("sage", "mf"):
            digests = [self.w.train("--seed", 5, "--backbone", backbone, "--no-promote")
                       for _ in range(2)]
            sums = [self.w.rows("SELECT sha256 FROM model WHERE model_id = ?", d["model_id"])
                    for d in digests]
            self.assertEqual(sums[0], sums[1])

    def test_resume_ends_as_if_never_interrupted(self):
        state = self.w.dir / "state"
        for fusion, backbone, more in (("cp", "lightgcn", ("--content", 5)),
                                       ("cp", "lightgcn", ("--members", 2)),
                                       ("dense", "sage", ("--content", 0))):
            args = ("--fusion", fusion, "--backbone", backbone, *more, "--no-promote", "--epochs")
            whole = self.w.train(*args, 7)
            for epochs in (3, 4):
                self.w.train(*args, epochs, "--checkpoint", state)
                resumed = self.w.train(*args, 7, "--resume", state)
                sums = self.w.rows("SELECT sha256 FROM model WHERE model_id IN (?, ?)",
                                   whole["model_id"], resumed["model_id"])
                self.assertEqual(sums[0], sums[1])
                self.assertEqual(whole["valid"], resumed["valid"])
                self.assertEqual([p["epoch"] for p in resumed["curve"]],
                                 [p["epoch"] for p in whole["curve"]])
            damaged = state.read_bytes()
            state.write_bytes(damaged[:-9])
            self.w.run("train", "--resume", state, "--threads", 1, "--epochs", 9, "--valid",
                       self.w.dir / "valid.tsv", *args[:6], code=65)
        self.w.run("train", "--resume", "/nonexistent", code=66)

    def test_resume_of_members(self):
        state, second = self.w.dir / "state", self.w.dir / "state.2"
        for epochs in (200, 3):  # until both stop by themselves; to an end between two validations
            for seed in (1, 2):
                args = ("--members", 2, "--no-promote", "--epochs", epochs, "--seed", seed)
                whole = self.w.train(*args, "--checkpoint", state)
                self.assertEqual(whole["epochs"] < 2 * epochs, epochs == 200)
                self.assertEqual(whole["ended_by"], "gain" if epochs == 200 else "epochs")
                for gone in ([], [second]):  # nothing left to do; the second one from its start
                    for file in gone:
                        file.unlink()
                    resumed = self.w.train(*args, "--resume", state)
                    self.assertEqual(resumed["epochs"], whole["epochs"])
                    self.assertEqual(resumed["ended_by"], whole["ended_by"])
                    self.assertEqual(resumed["best_epoch"], whole["best_epoch"])
                    self.assertEqual(resumed["valid"], whole["valid"])
                    self.assertEqual(*[[(p["epoch"], p["ndcg_20"]) for p in m["curve"]]
                                       for m in (resumed, whole)])
        self.w.train("--epochs", 1, "--no-promote", "--checkpoint", state)
        self.assertTrue(second.exists())  # nothing of a training of one

    def test_checkpoints_of_others_are_left_alone(self):
        state, second = self.w.dir / "its", self.w.dir / "its.2"
        second.write_text("mine")
        for more in ("--checkpoint", "--resume"):
            self.w.run("train", "--members", 2, "--epochs", 1, "--no-promote", more, state, code=74)
        self.assertEqual(second.read_text(), "mine")
        second.unlink()
        self.w.train("--members", 2, "--epochs", 1, "--no-promote", "--checkpoint", state)
        self.assertTrue(second.exists())
        state.unlink()
        state.mkdir()  # the first member cannot keep its state, but the second's old one is gone
        with self.assertRaises(AssertionError):
            self.w.train("--members", 2, "--epochs", 1, "--no-promote", "--checkpoint", state)
        self.assertFalse(second.exists())

    def test_members_are_one_model(self):
        one = self.w.train("--seed", 3, "--no-promote")
        m = self.w.train("--seed", 3, "--members", 3)
        self.assertEqual((m["options"]["members"], m["options"]["dim"]),
                         (3, one["options"]["dim"] + 2 * 32))
        losses = [[p["loss"] for p in x["curve"]][:len(one["curve"])] for x in (one, m)]
        self.assertEqual(losses[0], losses[1])
        self.assertGreater(m["epochs"], one["epochs"])
        epochs = [p["epoch"] for p in m["curve"]]
        self.assertEqual(epochs, sorted(set(epochs)))
        self.assertEqual({len(v) for v in self.w.vectors("current_embedding", "item_id").values()},
                         {m["options"]["dim"]})
        self.assertEqual(self.w.run("eval", "--test", self.w.dir / "valid.tsv", "--json")
                         ["overall"], m["valid"]["overall"])
        warm = self.w.train("--members", 2, "--warm", "--epochs", 2)
        self.assertLess(warm["curve"][0]["loss"], m["curve"][0]["loss"])

    def test_members_are_refreshed_as_they_were_trained(self):
        strangers = self.w.dir / "strangers.tsv"  # no pair of the store is left out
        strangers.write_text("".join(f"{u}\t{i}\n" for u, i in self.w.valid[40:60]))
        for backbone in ("lightgcn", "sage", "mf"):
            for fusion in ("static", "dense", "cp"):
                self.w.train("--members", 3, "--valid", strangers, "--backbone", backbone,
                             "--fusion", fusion, "--epochs", 2)
                verified = self.w.run("verify", "-n", 90, "--json")
                self.assertLessEqual({i["vector"] for i in verified["items"]}, {"equal", "close"})
                self.assertEqual(len(verified["items"]), 90)

    def test_files_export_and_import(self):
        out, file = self.w.dir / "out", self.w.dir / "m.safetensors"
        self.w.train("--out", out, "--item-graph", "knn")
        self.assertEqual(self.active(), self.first["model_id"])
        m = self.w.run("model", "import", out, "--promote", "--json")
        self.assertEqual(self.active(), m["model_id"])
        self.w.run("model", "export", file)
        self.assertEqual(file.read_bytes(), (out / "model.safetensors").read_bytes())
        again = self.w.run("model", "import", file, "--promote", "--json")["model_id"]
        self.assertEqual(len(self.w.vectors("current_embedding", "item_id")),
                         self.w.rows("SELECT count(*) FROM item WHERE state <> 'no_features'")
                         [0][0])
        shown = self.w.run("model", "show", again, "--json")
        self.assertEqual((shown["origin"], shown["state"]), ("imported", "active"))
        file.write_bytes(file.read_bytes().replace(b"import:made:", b"import:else:"))
        before = self.w.vectors("current_embedding", "item_id")
        self.assertIn("stays active", self.w.run("model", "import", file, "--promote", code=65))
        self.assertEqual(self.active(), again)
        self.assertEqual(self.w.vectors("current_embedding", "item_id"), before)
        (out / "items.npy").write_bytes(b"")
        self.w.run("model", "import", out, code=65)

    def test_pin(self):
        self.w.run("model", "pin")
        rows = {m["model_id"]: m["pinned"] for m in self.w.run("model", "list", "--json")}
        self.assertEqual([m for m, p in rows.items() if p], [self.first["model_id"]])
        self.w.run("model", "unpin")

    def test_wrong_arguments(self):
        for args in (["train", "--backbone", "gcn"], ["train", "--dim", "7"], ["model"],
                     ["train", "x"], ["eval"], ["recommend"], ["model", "import"],
                     ["eval", "--test", "f", "--k", "0"]):
            self.w.run(*args, code=64)
        self.w.run("train", "--valid", "/nonexistent", code=66)
        self.w.run("eval", "--test", "/nonexistent", code=66)
        self.w.run("eval", "--model", 4711, "--test", self.w.dir / "valid.tsv", code=66)
        (self.w.dir / "bad").write_text("no tab here\n")
        self.w.run("train", "--valid", self.w.dir / "bad", code=65)
        self.w.run("eval", "--test", self.w.dir / "bad", code=65)


class Neighbours(unittest.TestCase):
    """What items say about one another is planted: rows of neighbours with values of either sign."""

    ONE = 2.0 ** -20  # the unit of the planted values

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="mmf-training-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.w = World(pathlib.Path(cls.folder.name))
        cls.w.fill()
        cls.model_id = cls.w.train()["model_id"]
        cls.plant(random.Random(5))

    @classmethod
    def plant(cls, r):
        items = cls.w.rows("SELECT rid, item_id FROM item ORDER BY rid")
        cls.name, cls.rid = dict(items), {i: rid for rid, i in items}
        cls.weight, cls.value = 0.75, {}
        cls.scale = {rid: r.uniform(0.5, 2) for rid, _ in items[:-2]}  # of those with interactions
        db = sqlite3.connect(cls.w.db)
        with db:
            for table in ("neighbour", "neighbour_scale", "signal"):
                db.execute(f"DELETE FROM {table} WHERE model_id = ?", (cls.model_id,))
            for rid, scale in cls.scale.items():
                others = sorted(r.sample([x for x in cls.scale if x != rid], 12))
                row = {x: r.randrange(-200000, 1 << 20) for x in others}
                cls.value.update({(rid, x): v * cls.ONE for x, v in row.items()})
                text = json.dumps(row, separators=(",", ":"))
                sum64 = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)
                db.execute("INSERT INTO neighbour(model_id, rid, checksum, unit, list) VALUES"
                           "(?, ?, ?, ?, ?)", (cls.model_id, rid, sum64, cls.ONE, text))
                db.execute("INSERT INTO neighbour_scale VALUES(?, ?, ?)", (cls.model_id, rid, scale))
            db.executemany("INSERT INTO signal VALUES(?, ?, ?)",
                           [(cls.model_id, "neighbours", cls.weight), (cls.model_id, "trained", 1)])
        db.close()

    def history(self, user):
        return sorted(self.rid[i] for (i,) in self.w.rows(
            "SELECT DISTINCT item_id FROM interaction_log WHERE user_id = ?", user))

    def parts(self, user):
        """{item: {item of the user: what it adds}}"""
        parts = {i: {} for i in self.rid}
        for j in self.history(user):
            for i in self.scale:
                if (j, i) in self.value:
                    parts[self.name[i]][self.name[j]] = (
                        self.weight * self.value[j, i] * self.scale[i])
        return parts

    def want(self, vec, user, seen):
        o = Oracle(self.w, self.model_id)
        parts = self.parts(user)
        vectors = {i: dot(vec or o.stranger, o.items[i]) for i in o.items if i not in seen}
        return parts, vectors, sorted(
            vectors, key=lambda i: -(vectors[i] + sum(parts[i].values())))

    def assert_list(self, got, vec, user, seen):
        parts, vectors, order = self.want(vec, user, seen)
        self.assertEqual([x["item_id"] for x in got], order[:len(got)])
        for x in got:
            mine = parts[x["item_id"]]
            best = sorted((j for j in mine if mine[j] > 0), key=lambda j: -mine[j])[:3]
            self.assertEqual(x["because"], best)
            self.assertAlmostEqual(x["signals"]["neighbours"], sum(mine.values()), places=4)
            self.assertAlmostEqual(x["signals"]["vectors"], vectors[x["item_id"]], places=4)
            self.assertAlmostEqual(x["score"], sum(x["signals"].values()), places=4)

    def test_recommend_adds_what_the_users_items_say(self):
        o = Oracle(self.w, self.model_id)
        seen = {self.name[j] for j in self.history("u3")}
        got = self.w.run("recommend", "u3", "-k", ITEMS, "--json")
        self.assertEqual(len(got), ITEMS - len(seen))
        self.assert_list(got, o.users["u3"], "u3", seen)
        self.assertNotEqual([x["item_id"] for x in got][:30],
                            o.ranking("u3", lambda i: i not in seen)[:30])
        shown = self.w.run("recommend", "u3", "-k", 1, "--why")
        self.assertIn(f'{got[0]["item_id"]}  because of {", ".join(got[0]["because"])}', shown)
        self.assertNotIn("because", self.w.run("recommend", "u3"))
        fresh = self.w.run("recommend", "u3", "-k", 5, "--fresh", 2, "--json")
        self.assertEqual([x["because"] for x in fresh if x["item_id"] in ("i88", "i89")],
                         [[]] * sum(x["item_id"] in ("i88", "i89") for x in fresh))

    def test_recommend_newcomers_by_the_mean_and_their_items(self):
        clicks = self.w.dir / "late.tsv"
        clicks.write_text("late\ti3\nlate\ti6\n")
        self.w.run("import", "interactions", clicks)
        got = self.w.run("recommend", "late", "-k", 10, "--json")
        self.assertIn('does not know user "late"', self.w.run("recommend", "late"))
        self.assertIn("neighbours of 2 items", self.w.run("recommend", "late"))
        self.assert_list(got, None, "late", {"i3", "i6"})
        clicks.write_text("u5\ti6\n")  # an interaction counts at once
        before = set(self.history("u5"))
        self.w.run("import", "interactions", clicks)
        self.assertEqual(set(self.history("u5")) - before, {self.rid["i6"]})
        self.assert_list(self.w.run("recommend", "u5", "-k", 10, "--json"),
                         Oracle(self.w, self.model_id).users["u5"], "u5",
                         {self.name[j] for j in self.history("u5")})

    def test_the_example_of_the_docs_reproduces_recommend(self):
        text = (pathlib.Path(__file__).parents[2] / "docs/store.md").read_text()
        code = text.split("runs this text -->\n```python\n", 1)[1].split("```", 1)[0]
        example = self.w.dir / "example.py"
        example.write_text(code)
        for user in ("u3", "u10", "u59"):
            r = subprocess.run([sys.executable, example, self.w.db, user], capture_output=True,
                               text=True)
            self.assertEqual((r.returncode, r.stderr), (0, ""))
            got = [line.split("\t") for line in r.stdout.splitlines()]
            want = self.w.run("recommend", user, "--json")
            self.assertEqual([i for _, i in got], [x["item_id"] for x in want])
            for (score, _), x in zip(got, want):
                self.assertAlmostEqual(float(score), x["score"], places=4)

    def test_explain_and_eval_say_what_counts(self):
        b = self.w.run("explain", "i3", "-k", 4, "--json")["because"]
        row = {i: self.weight * v * self.scale[i]
               for (j, i), v in self.value.items() if j == self.rid["i3"] and v > 0}
        best = sorted(row, key=lambda i: -row[i])[:4]
        self.assertEqual([x["item_id"] for x in b["recommends"]], [self.name[i] for i in best])
        for x, i in zip(b["recommends"], best):
            self.assertAlmostEqual(x["weight"], row[i], places=5)
        self.assertEqual(b["signals"], {"neighbours": self.weight, "trained": 1})
        self.assertEqual(b["users"], self.w.rows(
            "SELECT count(DISTINCT user_id) FROM interaction_log WHERE item_id = 'i3'")[0][0])
        shown = self.w.run("explain", "i3")
        self.assertIn("signals      neighbours 0.75, trained 1\n", shown)
        self.assertIn("of it are recommended", shown)
        test = self.w.dir / "valid.tsv"
        self.assertEqual(self.w.run("eval", "--test", test, "--json")["signals"], b["signals"])
        self.assertIn("lists of: neighbours 0.75, trained 1\n", self.w.run("eval", "--test", test))


class FirstDay(unittest.TestCase):
    """Lists before any training."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="mmf-training-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.w = World(pathlib.Path(cls.folder.name))
        cls.w.fill()

    def test_a_user_with_items(self):
        got = self.w.run("recommend", "u4", "-k", 20, "--json")
        seen = {i for i, in self.w.rows(
            "SELECT item_id FROM interaction_log WHERE user_id = 'u4'")}
        self.assertEqual(len(got), 20)
        self.assertFalse(seen & {x["item_id"] for x in got})
        self.assertGreater(sum(int(x["item_id"][1:]) % TASTES == 4 % TASTES for x in got), 15)
        for x in got:
            self.assertEqual(set(x), {"item_id", "score", "signals", "because", "first_day"})
            self.assertIs(x["first_day"], True)
            self.assertAlmostEqual(x["score"], sum(x["signals"].values()), places=5)
            self.assertLessEqual(set(x["because"]), seen)
        self.assertTrue(got[0]["because"])
        shown = self.w.run("recommend", "u4", "-k", 1, "--why")
        self.assertRegex(shown, r"no trained model knows users yet .* \(weight [0-9.]+, .* "
                                r"[0-9]+ held-out interactions of 60 users\)")
        self.assertIn(f'{got[0]["item_id"]}  because of {", ".join(got[0]["because"])}', shown)
        fresh = self.w.run("recommend", "u4", "-k", 3, "--fresh", 2, "--json")
        self.assertEqual({x["item_id"] for x in fresh[1:]}, {"i88", "i89"})

    def test_a_user_without_items_gets_what_most_have_then_the_newest(self):
        users = dict.fromkeys((f"i{n}" for n in range(ITEMS)), 0)
        users.update(self.w.rows("SELECT item_id, count(DISTINCT user_id) FROM interaction_log "
                                 "GROUP BY item_id"))
        got = self.w.run("recommend", "nobody", "-k", ITEMS, "--json")
        self.assertEqual([x["item_id"] for x in got],
                         sorted(users, key=lambda i: (-users[i], -int(i[1:]))))
        self.assertIn("the most popular first", self.w.run("recommend", "nobody"))
        for x in got:
            self.assertAlmostEqual(x["score"], math.log1p(users[x["item_id"]]), places=5)


class Interrupted(unittest.TestCase):
    def test_sigterm_leaves_the_store_alone(self):
        with tempfile.TemporaryDirectory(prefix="mmf-training-") as folder:
            w = World(pathlib.Path(folder))
            w.run("train", code=66)
            w.fill()
            state = w.dir / "state"
            args = ["train", "--valid", w.dir / "valid.tsv", "--fusion", "none", "--threads",
                    "1", "--json", "--epochs"]
            p = subprocess.Popen([TOOLS / "metammf", "--store", w.db, *args, "1000000",
                                  "--checkpoint", state], stderr=subprocess.PIPE, text=True)
            p.stderr.readline()
            p.send_signal(signal.SIGTERM)
            self.assertEqual(p.wait(300), 75, p.stderr.read())
            p.stderr.close()
            self.assertEqual(w.rows("SELECT count(*) FROM model"), [(0,)])
            self.assertEqual([f.name for f in pathlib.Path(folder).glob(".metammf-train-*")], [])
            done = w.run(*args, 40, "--resume", state)
            self.assertEqual(w.run(*args, 40)["curve"][0]["ndcg_20"],
                             done["curve"][0]["ndcg_20"])


class TikTok(unittest.TestCase):
    """A short run on real data, when it is there."""

    def test_short_run(self):
        data = pathlib.Path(__file__).parents[2] / "../shared/data/tiktok"
        data = pathlib.Path(os.environ.get("MMF_SHARED_DATA", data.parent)) / "tiktok"
        if not (data / "trn.tsv").exists():
            self.skipTest("no shared data")
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="mmf-training-") as folder:
            w = World(pathlib.Path(folder))
            ids = w.dir / "tiktok"
            ids.write_text("".join(f"{n}\n" for n in range(6710)))
            w.run("import", "items", "--ids", ids, "--visual", data / "image_feat.npy",
                  "--acoustic", data / "audio_feat.npy")
            w.run("import", "interactions", data / "trn.tsv")
            m = w.run("train", "--fusion", "none", "--epochs", 4, "--valid", data / "val.tsv",
                      "--json")
            self.assertGreater(m["valid"]["overall"]["20"]["recall"], 0.02)
            self.assertEqual(m["n_pairs"], 59541)
        print(f"tiktok: recall@20 {m['valid']['overall']['20']['recall']:.4f} after 4 epochs, "
              f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    unittest.main()
