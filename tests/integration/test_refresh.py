#!/usr/bin/env python3
"""A trained model serves, interactions come in through the spool: strangers get vectors, cold items
get warm, recommend changes, a kill -9 in between loses none; what an upload's way to its row costs
while vectors are refreshed is printed.

    test_refresh.py TOOLS
"""

import json
import random
import sqlite3
import statistics
import struct
import sys
import unittest

from processtest import WithSite, wait_for

ITEMS, USERS, TASTES, DIM = 60, 40, 3, 8
COLD = ITEMS - 1


def npy(path, rows):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(rows)}, {DIM}), }}"
    head += " " * (63 - (10 + len(head)) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() +
                     b"".join(struct.pack(f"<{DIM}f", *r) for r in rows))


def interaction(user, item):
    return json.dumps({"user_id": user, "item_id": item, "ts": "2026-01-02T03:04:05Z"})


class Refresh(WithSite):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        site, r = cls.site, random.Random(5)
        (site.dir / "ids").write_text("".join(f"i{n}\n" for n in range(ITEMS)))
        npy(site.dir / "v.npy", [[r.gauss(3.0 if j % TASTES == n % TASTES else 0, 1)
                                  for j in range(DIM)] for n in range(ITEMS)])
        with open(site.dir / "pairs.tsv", "w") as out:
            for u in range(USERS):
                liked = [i for i in range(COLD) if i % TASTES == u % TASTES]
                out.writelines(f"u{u}\ti{i}\n" for i in r.sample(liked, 8))
        for args in (("import", "items", "--ids", "ids", "--visual", "v.npy"),
                     ("import", "interactions", "pairs.tsv"),
                     ("train", "--epochs", "3", "--threads", "1")):
            done = site.metammf(*args)
            assert done.returncode == 0, f"{args}: {done.stderr}"

    def rows(self, sql, *args):
        db = sqlite3.connect(f"file:{self.site.store}?mode=ro", uri=True)
        try:
            return db.execute(sql, args).fetchall()
        finally:
            db.close()

    def one(self, sql, *args):
        return self.rows(sql, *args)[0][0]

    def settled(self):
        return wait_for("all touches settled",
                        lambda: self.one("SELECT count(*) FROM touch") == 0)

    def has_vector(self, user):
        return self.one("SELECT count(*) FROM current_user_embedding WHERE user_id = ?", user)

    def top(self, user):
        return [row["item_id"] for row in self.json("recommend", user, "-k", "5")]

    def test_1_interactions_move_what_is_served(self):
        self.site.start()
        self.settled()
        before, seq = self.top("stranger"), self.one("SELECT seq FROM counter")
        n = self.one("SELECT count(*) FROM interaction")
        cold = f"i{COLD}"
        state = "SELECT state FROM current_embedding WHERE item_id = ?"
        self.assertEqual(self.one(state, cold), "cold")
        self.assertFalse(self.has_vector("stranger"))
        self.site.drop("a.ndjson", [interaction("stranger", "i1"), interaction("u1", cold),
                                    interaction("stranger", "i4")])
        wait_for("all three", lambda: self.one("SELECT count(*) FROM interaction") == n + 3)
        wait_for("a stranger's vector", lambda: self.has_vector("stranger"))
        wait_for("a warm item", lambda: self.one(state, cold) == "warm")
        self.settled()
        self.assertGreater(self.one("SELECT seq FROM counter"), seq)
        self.assertEqual(self.rows("SELECT op FROM change WHERE seq > ? AND item_id = ?", seq,
                                   cold), [("upsert",)])
        after = self.top("stranger")
        self.assertNotEqual(after, before)
        self.assertTrue({"i1", "i4"}.isdisjoint(after))
        liked = [int(i[1:]) % TASTES for i in after]
        self.assertGreaterEqual(liked.count(1), 4, after)
        wait_for("the thread's own count", lambda: self.site.metric("metammf_refresh_touches") == 0)
        self.assertEqual(self.site.metric("metammf_refresh_staleness_seconds"), 0)
        self.assertGreaterEqual(self.site.metric("metammf_refresh_vectors_total"), 4)
        self.assertGreaterEqual(self.site.metric("metammf_refresh_rows_total"), 1)
        self.assertEqual(self.json("status")["refresh"], {"touches": 0, "staleness_s": 0.0})

    def test_2_kill_loses_no_touch(self):
        for n in range(5):
            names = [f"k{n}.{u}" for u in range(40)]
            self.site.drop(f"k{n}.ndjson", [interaction(u, f"i{random.randrange(ITEMS)}")
                                            for u in names])
            wait_for("some interactions", lambda: self.one(
                "SELECT count(*) FROM user WHERE user_id GLOB ?", f"k{n}.*"))
            self.site.daemon.kill()
            self.site.daemon.wait()
            self.site.start()
            wait_for("all of them", lambda: self.one(
                "SELECT count(*) FROM current_user_embedding WHERE user_id GLOB ?",
                f"k{n}.*") == 40)
        self.settled()

    def queryable_ms(self, prefix):
        """From arrival to row, less the extraction."""
        return statistics.median(r[0] for r in self.rows(
            "SELECT queryable_ms - received_ms - extract_ms FROM item WHERE item_id GLOB ?",
            prefix + "*"))

    def upload(self, prefix, n=15):
        """One at a time."""
        for i in range(n):
            clip = self.site.clips[i % len(self.site.clips)]
            self.site.drop(f"{prefix}{i}.ndjson",
                           [json.dumps(self.site.event(clip, f"{prefix}{i}"))])
            wait_for("a row", lambda: self.rows(
                "SELECT 1 FROM item WHERE item_id = ? AND queryable_ms > 0", f"{prefix}{i}"))
        return self.queryable_ms(prefix)

    def test_3_uploads_while_vectors_are_refreshed(self):
        idle = self.upload("idle")
        r = random.Random(3)
        self.site.drop("flood.ndjson", [interaction(f"f{r.randrange(3000)}",
                                                    f"i{r.randrange(ITEMS)}")
                                        for _ in range(20000)])
        wait_for("the flood", lambda: self.one("SELECT count(*) FROM interaction") > 20000)
        busy = self.upload("busy")
        waiting = self.one("SELECT count(*) FROM touch")
        print(f"upload to row less extraction, median of 15: {idle:.1f} ms idle, {busy:.1f} ms "
              f"while vectors are refreshed ({waiting} touches still waited at the end)",
              flush=True)
        self.assertEqual(self.site.stop()[0], 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
