#!/usr/bin/env python3
"""metammf import beside a running daemon: the same rows, vectors and summary as without one; live events
go on; what is cut off in the middle says how far it came, and goes on.

    test_import_daemon.py TOOLS

See processtest.py.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import unittest

from processtest import TOOLS, WithSite, wait_for

N_BIG = int(os.environ.get("MMF_LINES", 400000))  # more than an import has done when it is interrupted


def npy(path, rows):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(rows)}, {len(rows[0])}), }}"
    head += " " * (63 - (10 + len(head)) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() +
                     b"".join(struct.pack(f"<{len(r)}f", *r) for r in rows))


class ImportBesideDaemon(WithSite):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.dir = cls.site.dir
        r = random.Random(3)
        for name, first, n in (("old", 0, 60), ("new", 40, 600)):
            (cls.dir / f"{name}.ids").write_text("".join(f"i{first + k}\n" for k in range(n)))
            npy(cls.dir / f"{name}.npy", [[r.gauss(0, 1) for _ in range(8)] for _ in range(n)])
        (cls.dir / "old.tsv").write_text("".join(
            f"u{r.randrange(20)}\ti{r.randrange(50)}\n" for _ in range(600)))
        (cls.dir / "new.csv").write_text("user_id,item_id,kind,rating,note,ts\n" + "".join(
            f'"u{r.randrange(40)}",i{r.randrange(700)},like,{r.randrange(5)},"a, b",'
            f"{1700000000 + k}\n" for k in range(5000)))

    def offline(self, store, *args, code=0):
        r = subprocess.run([TOOLS / "metammf", "--store", store, *map(str, args)],
                           capture_output=True, text=True, cwd=self.dir)
        self.assertEqual(r.returncode, code, f"{args}: {r.stderr}")
        return json.loads(r.stdout) if "--json" in args else r.stdout + r.stderr

    def rows(self, sql, store=None):
        db = sqlite3.connect(f"file:{store or self.site.store}?mode=ro", uri=True)
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()

    def tearDown(self):
        if self.site.daemon:
            self.site.stop()

    def new_data(self, name):
        items = ["items", "--ids", self.dir / f"{name}.ids", "--visual", self.dir / f"{name}.npy"]
        return items, ["interactions", self.dir / ("new.csv" if name == "new" else "old.tsv")]

    def test_1_same_as_offline(self):
        for args in self.new_data("old"):
            self.offline(self.site.store, "import", *args)
        self.offline(self.site.store, "train", "--epochs", 2, "--threads", 1, "--fusion", "static")
        copy = self.dir / "copy"
        copy.mkdir()
        shutil.copy2(self.site.store, copy / "s.db")
        for path in self.dir.glob("trained-*"):
            shutil.copytree(path, copy / path.name)
        self.site.start()
        for args in self.new_data("new"):
            live = self.json("import", *args)
            self.assertEqual(live, self.offline(copy / "s.db", "import", *args, "--json"))
            self.assertEqual(live["stored"], live["lines"])
            self.assertEqual(self.json("import", *args)["already"], live["lines"])
        for sql in ("SELECT item_id, state = 'no_features', topic, partition, offset FROM item i"
                    " LEFT JOIN topic USING(topic_id) ORDER BY 1",
                    "SELECT item_id, modality, encoder_id, vec FROM item JOIN feature USING(rid)"
                    " ORDER BY 1, 2",
                    "SELECT * FROM interaction_log ORDER BY topic, offset"):
            if "LEFT JOIN" in sql:
                sql = sql.replace(", topic,", ", name,")
            live, copied = self.rows(sql), self.rows(sql, copy / "s.db")
            self.assertGreater(len(live), 600)
            self.assertEqual(live, copied)
        # vectors: those of items without interactions stay; a daemon refreshes the others
        cold = ("SELECT item_id, vec FROM item i JOIN embedding e USING(rid) WHERE NOT EXISTS("
                "SELECT 1 FROM interaction x WHERE x.rid = i.rid) ORDER BY 1")
        live, copied = self.rows(cold), self.rows(cold, copy / "s.db")
        self.assertEqual([i for i, _ in live], [i for i, _ in copied])
        self.assertEqual(live, copied)
        every = "SELECT count(*) FROM current_embedding"
        self.assertEqual(self.rows(every), self.rows(every, copy / "s.db"))
        self.assertGreaterEqual(self.rows(every)[0][0], 640)
        self.site.stop()
        # its vectors follow the imported interactions as those of an offline import do
        self.site.start()
        wait_for("refresh", lambda: self.rows("SELECT count(*) FROM touch")[0][0] == 0)

    def big(self, name, users):
        path = self.dir / name
        if not path.exists():
            path.write_text("".join(f"{users}{i % 5000}\tv{i % 7000}\n" for i in range(N_BIG)))
        return path

    def begin(self, path):
        p = subprocess.Popen([TOOLS / "metammf", "--store", self.site.store, "import",
                              "interactions", path], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        count = "SELECT count(*) FROM interaction WHERE uid > 20"
        before = self.rows(count)[0][0]
        wait_for("the first block", lambda: self.rows(count)[0][0] > before or
                 p.poll() is not None)
        return p

    def test_2_live_events_go_on(self):
        self.site.start()
        p = self.begin(self.big("a.tsv", "a"))
        self.site.drop("live.ndjson", [json.dumps({"item_id": "live", "title": "a live one"})])
        wait_for("the live event", lambda: self.rows(
            "SELECT 1 FROM item WHERE item_id = 'live' AND state <> 'no_features'"))
        self.assertIsNone(p.poll(), "the live event came after the import")
        out, errors = p.communicate()
        self.assertEqual(p.returncode, 0, errors)
        self.assertIn(f"{N_BIG} lines, {N_BIG} stored, 0 were there already", out)

    def test_2_what_is_dropped_is_counted(self):
        self.site.start()
        self.verb(0, "forget", "gone")
        path = self.dir / "gone.csv"
        path.write_text("user_id,item_id,ts\ngone,v1,1700000000\n")
        self.assertEqual(self.json("import", "interactions", path)["dropped"], 1)
        self.assertEqual(self.site.metric("metammf_interactions_dropped_total"), 1)
        self.assertEqual(self.json("status")["forgotten"]["dropped"], 1)

    def test_3_interrupted_says_how_far(self):
        self.site.start()
        path = self.big("b.tsv", "b")
        p = self.begin(path)
        again = self.verb(75, "import", "interactions", self.dir / "old.tsv")
        self.assertIn("another import is running", again.stderr)
        p.send_signal(signal.SIGINT)
        errors = p.communicate()[1]
        self.assertEqual(p.returncode, 75, errors)
        self.assertRegex(errors, rf"stopped after about \d+ of {N_BIG} lines")
        wait_for("the daemon's word", lambda: "stopped after" in self.site.read_log())

        p = self.begin(path)
        self.assertEqual(self.site.stop()[0], 0)
        errors = p.communicate()[1]
        self.assertEqual(p.returncode, 75, errors)
        self.site.start()
        r = self.json("import", "interactions", path)
        self.assertEqual(r["stored"] + r["already"], N_BIG)
        self.assertGreater(r["already"], 0)
        self.assertEqual(self.rows("SELECT count(*) FROM interaction x JOIN user USING(uid) "
                                   "WHERE user_id LIKE 'b%'"), [(N_BIG,)])

    def test_4_bad_input_writes_nothing(self):
        self.site.start()
        before = self.rows("SELECT count(*) FROM interaction")
        bad = self.dir / "bad.tsv"
        bad.write_text("u1\ta\n" * 5000 + "u1\ta\t4.5\n")
        said = self.verb(65, "import", "interactions", bad).stderr
        self.assertIn('bad.tsv:5001: the third column has no name, and "4.5"', said)
        self.assertIn(os.fspath(bad), said)
        short = self.dir / "short.npy"
        npy(short, [[1, 2]])
        self.assertIn("but", self.verb(65, "import", "items", "--ids", self.dir / "new.ids",
                                       "--visual", short).stderr)
        short.write_bytes(b"\x93NUMPY")
        self.verb(65, "import", "items", "--ids", self.dir / "new.ids", "--visual", short)
        self.verb(64, "import", "interactions", bad, "--columns", "x")
        self.assertEqual(self.rows("SELECT count(*) FROM interaction"), before)


if __name__ == "__main__":
    unittest.main(verbosity=2)
