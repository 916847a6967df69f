#!/usr/bin/env python3
"""What an interaction counts, from the event to the list: kinds, weights, signs, a reload, and items
that nobody has published.

    test_kinds.py TOOLS

See processtest.py.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import unittest

from processtest import TOOLS, WithSite, wait_for

USERS, ITEMS = 40, 24


class Store:
    """Users like items of the first half; what they think of the second half is up to the test."""

    def __init__(self, like=None):
        """like: a copy of it. Two stores of the same events may number the items in another order."""
        self.folder = tempfile.TemporaryDirectory(prefix="mmf-kinds-")
        self.dir = pathlib.Path(self.folder.name)
        self.db, self.n, self.config = self.dir / "s.db", 0, None
        if like:
            self.liked, self.other, self.n = like.liked, like.other, like.n
            shutil.copytree(like.dir, self.dir, dirs_exist_ok=True)
            (self.dir / "s.db.lock").unlink()
            return
        r = random.Random(3)
        self.liked = [(f"u{u}", f"a{i}") for u in range(USERS)
                      for i in r.sample(range(ITEMS // 2), 6)]
        self.other = [(f"u{u}", f"b{i}") for u in range(USERS)
                      for i in r.sample(range(ITEMS // 2), 6)]
        self.ingest([{"type": "video.published", "item_id": f"{x}{i}", "title": f"{x} {i} clip"}
                     for x in "ab" for i in range(ITEMS // 2)])

    def run(self, *args, code=0):
        conf = ["--config", self.config] if self.config else []
        r = subprocess.run([TOOLS / "metammf", *conf, "--store", self.db, *map(str, args)],
                           capture_output=True, text=True,
                           env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
        if r.returncode != code:
            raise AssertionError(f"{args}: exit {r.returncode}: {r.stderr}")
        return json.loads(r.stdout) if "--json" in args else r.stdout + r.stderr

    def ingest(self, events):
        self.n += 1
        file = self.dir / f"{self.n}.ndjson"
        file.write_text("".join(json.dumps(e) + "\n" for e in events))
        self.run("ingest", file)

    def react(self, pairs, **fields):
        self.ingest([{"user_id": u, "item_id": i, "ts": "2026-01-01T00:00:00Z", **fields}
                     for u, i in pairs])

    def train(self):
        return self.run("train", "--epochs", 4, "--dim", 8, "--seed", 5, "--threads", 1, "--json")

    def rows(self, sql):
        db = sqlite3.connect(f"file:{self.db}?mode=ro", uri=True)
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()

    def users(self):
        return dict(self.rows("SELECT user_id, vec FROM current_user_embedding"))

    def list(self, user, *args):
        return [x["item_id"] for x in self.run("recommend", user, "-k", ITEMS, "--json", *args)]

    def close(self):
        self.folder.cleanup()


class Kinds(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.first = Store()
        cls.addClassCleanup(cls.first.close)
        cls.first.react(cls.first.liked, kind="watch")

    def store(self, **fields):
        s = Store(self.first)
        self.addCleanup(s.close)
        if fields:
            s.react(s.other, **fields)
        s.train()
        return s

    def test_what_is_no_like_trains_nothing(self):
        """The first made other vectors out of the same interactions, whatever their sign."""
        without = self.store()
        liked = self.store(kind="watch", weight=1)
        self.assertNotEqual(liked.users(), without.users())
        for fields in ({"kind": "watch", "weight": -1}, {"kind": "watch", "weight": 0},
                       {"kind": "dislike", "weight": 1}, {"kind": "dislike", "weight": -1},
                       {"kind": "impression"}):
            with self.subTest(**fields):
                s = self.store(**fields)
                self.assertEqual(s.users(), without.users())
                self.assertEqual(s.rows("SELECT item_id FROM item WHERE state = 'warm' "
                                        "AND item_id LIKE 'b%'"), [])

    def test_disliked_is_in_no_list(self):
        s = self.store(kind="dislike", weight=-1)
        disliked = {i for u, i in s.other if u == "u3"}
        liked = {i for u, i in s.liked if u == "u3"}
        self.assertEqual(set(s.list("u3")) & (disliked | liked), set())
        seen = set(s.list("u3", "--with-seen"))
        self.assertEqual(seen & disliked, set())
        self.assertLessEqual(liked, seen)

    def test_what_was_only_shown_may_be_shown_again(self):
        s = self.store(kind="impression")
        self.assertLessEqual({i for u, i in s.other if u == "u3"}, set(s.list("u3")))

    def test_status_says_what_counts(self):
        s = self.store(kind="dislike", weight=-1)
        s.react([("u1", "a1")], kind="sneeze")
        x = s.run("status", "--json")["interactions"]
        kinds = {k["kind"]: (k["n"], k["factor"], k["known"]) for k in x["kinds"]}
        self.assertEqual(kinds, {"watch": (len(s.liked), 1, True),
                                 "dislike": (len(s.other), -1, True), "sneeze": (1, 1, False)})
        self.assertEqual(x["default"], 1)
        edges = len(set(s.liked) | {("u1", "a1")})
        self.assertEqual(x["pairs"], {"all": edges + len(s.other), "edges": edges,
                                      "against": len(s.other), "estimated": False})
        text = s.run("status")
        self.assertIn("dislike 240 (×-1)", text)
        self.assertIn("sneeze 1 (×1, a kind without a setting)", text)
        self.assertIn(f"{edges} count, 240 count against the item", text)

    def test_settings_of_a_file_stay_when_a_command_has_none(self):
        s = Store()
        self.addCleanup(s.close)
        conf = s.dir / "c.conf"
        conf.write_text('interactions = { kinds = { sneeze = -1.0; }; };')
        s.config = conf
        s.react([("u1", "a1")], kind="sneeze")
        s.config = None
        s.react([("u2", "a1")], kind="sneeze")
        self.assertEqual(s.run("status", "--json")["interactions"]["pairs"]["against"], 2)

    def test_unpublished_items_are_recommended_to_nobody(self):
        s = Store()
        self.addCleanup(s.close)
        s.react(s.liked, kind="watch")
        s.react([(f"u{u}", "typo") for u in range(USERS)], kind="watch")
        for again in range(2):
            s.train()
            self.assertNotIn("typo", s.list("stranger"))
            self.assertNotIn("typo", s.list("u1", "--with-seen"))
            self.assertEqual(s.rows("SELECT * FROM current_embedding WHERE item_id = 'typo'"), [])
        self.assertEqual(s.run("status", "--json")["counts"]["unpublished"], 1)
        self.assertIn("1 of them are known from interactions alone", s.run("status"))
        s.run("model", "rollback")
        self.assertEqual(s.rows("SELECT * FROM current_embedding WHERE item_id = 'typo'"), [])
        s.run("get", "typo", code=66)
        s.run("similar", "typo", code=66)
        s.run("export", "embeddings", "--out", s.dir / "e.npy", "--ids", s.dir / "e.txt")
        self.assertNotIn("typo", (s.dir / "e.txt").read_text().split())
        s.ingest([{"type": "video.published", "item_id": "typo", "title": "found after all"}])
        s.train()
        self.assertIn("typo", s.list("stranger"))
        self.assertEqual(s.rows("SELECT state FROM current_embedding WHERE item_id = 'typo'"),
                         [("warm",)])


class Daemon(WithSite):
    """A reload takes effect on what is stored."""

    def test_reload(self):
        site = self.site
        site.start()
        names = [c["file"].rsplit(".", 1)[0] for c in site.clips]
        lines = [json.dumps(site.event(c)) for c in site.clips]
        lines += [json.dumps({"user_id": f"u{u}", "item_id": i, "kind": kind,
                              "ts": "2026-01-01T00:00:00Z"})
                  for u in range(6) for i, kind in zip(names, ("watch", "glance", "sneeze"))]
        lines += [json.dumps({"user_id": "u1", "item_id": "typo", "kind": "watch",
                              "ts": "2026-01-01T00:00:00Z"})]
        site.drop("first.ndjson", lines)
        self.wait_pairs("all of them", edges=19, against=0)
        wait_for("the clips", lambda: self.json("status")["counts"]["embeddings"] == len(names))
        self.json("train", "--epochs", 2, "--dim", 16, "--threads", 1)
        self.assertEqual(self.state(names[1]), "warm")
        metrics = site.http("/metrics")[1]
        self.assertIn('metammf_interactions_by_kind_total{kind="watch"} 7', metrics)
        self.assertIn('metammf_interactions_of_unknown_kind_total{kind="glance"} 6', metrics)

        site.write_config("interactions = { kinds = { glance = 0.0; sneeze = -1.0; }; };")
        site.daemon.send_signal(signal.SIGHUP)
        self.wait_pairs("the new factors", edges=7, against=6)
        wait_for("vectors that follow", lambda: self.state(names[1]) == "cold")
        self.assertIn("12 pairs of a user and an item became one that counts, or ceased",
                      site.read_log())
        self.assertNotIn("typo", [x["item_id"] for x in self.json("recommend", "stranger")])

        site.write_config("interactions = { kinds = { glance = 0.25; }; };")
        site.daemon.send_signal(signal.SIGHUP)
        self.wait_pairs("and back", edges=19, against=0)
        wait_for("vectors that follow", lambda: self.state(names[1]) == "warm")

        site.write_config("interactions = { kinds = { glance = 2000.0; }; };")
        site.daemon.send_signal(signal.SIGHUP)
        wait_for("a refusal", lambda: "glance is 2000: must be" in site.read_log())

    def state(self, item):
        return self.json("get", item)["state"]

    def wait_pairs(self, what, **wanted):
        def there():
            pairs = self.json("status")["interactions"]["pairs"]
            return all(pairs[k] == n for k, n in wanted.items())
        wait_for(what, there)


if __name__ == "__main__":
    unittest.main()
