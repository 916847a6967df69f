#!/usr/bin/env python3
"""metammf import and export: what arrives in the store, twice the same, and the exit codes.

    test_import.py TOOLS
"""

import hashlib
import json
import os
import pathlib
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import unittest

TOOLS = pathlib.Path(sys.argv.pop(1)).resolve()


def npy(path, rows):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(rows)}, {len(rows[0])}), }}"
    head += " " * (63 - (10 + len(head)) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() +
                     b"".join(struct.pack(f"<{len(r)}f", *r) for r in rows))


NOTHING = {"kind": "items", "lines": 0, "stored": 0, "already": 0, "dropped": 0, "new_items": 0, "new_users": 0,
           "skipped": {"header": 0, "blank": 0}, "with_time": 0, "before_2000": 0,
           "columns_not_read": ""}


class Import(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="mmf-import-")
        self.addCleanup(self.folder.cleanup)
        self.dir = pathlib.Path(self.folder.name)
        self.ids, self.visual, self.clicks = (self.dir / n for n in ("ids", "v.npy", "c.tsv"))
        self.ids.write_text("a\nb\nü\n")
        npy(self.visual, [[1, 2], [3, 4], [5, 6]])
        self.clicks.write_text("u1\ta\nu2\tb\t1700000000.5\nu2\tnew\r\n")

    def run_verb(self, code, *args):
        r = subprocess.run([TOOLS / "metammf", "--store", self.dir / "s.db", "import", *args],
                           capture_output=True, text=True)
        self.assertEqual(r.returncode, code, r.stderr)
        return json.loads(r.stdout) if "--json" in args else r.stdout + r.stderr

    def items(self, code=0, *more):
        return self.run_verb(code, "items", "--ids", self.ids, "--visual", self.visual, *more)

    def rows(self, sql):
        db = sqlite3.connect(self.dir / "s.db")
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()

    def test_twice_changes_nothing(self):
        self.assertEqual(self.items(0, "--json"), {**NOTHING, "lines": 3, "stored": 3,
                                                   "new_items": 3})
        self.assertEqual(self.items(0, "--json"), {**NOTHING, "lines": 3, "already": 3})
        self.assertEqual(self.rows("SELECT item_id, encoder_id, vec FROM item JOIN feature "
                                   "USING(rid) ORDER BY rid")[2],
                         ("ü", "import:npy:2", struct.pack("<2f", 5, 6)))
        for stored, new_items, new_users in ((3, 1, 2), (0, 0, 0)):
            r = self.run_verb(0, "interactions", self.clicks, "--json")
            self.assertEqual(r, {**NOTHING, "kind": "interactions", "lines": 3,
                                 "stored": stored, "already": 3 - stored,
                                 "new_items": new_items, "new_users": new_users,
                                 "with_time": 1})
        log = self.rows("SELECT user_id, item_id, offset, ts_ms FROM interaction_log "
                        "ORDER BY offset")
        self.assertEqual([row[:3] for row in log], [("u1", "a", 0), ("u2", "b", 1),
                                                    ("u2", "new", 2)])
        self.assertEqual(log[1][3], 1700000000500)
        self.assertEqual(self.rows("SELECT state FROM item WHERE item_id = 'new'"),
                         [("no_features",)])

    def log(self):
        return self.rows("SELECT user_id, item_id, kind, weight, ts_ms FROM interaction_log "
                         "ORDER BY offset")

    def write(self, name, data):
        path = self.dir / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    def test_conventions_of_spreadsheets(self):
        """What was stored as part of the ids: BOM, header, quotation marks."""
        self.items()
        r = self.run_verb(0, "interactions", self.write(
            "x.csv", '\ufeff"user_id","video_id","rating","genre","timestamp"\r\n'
            '"u1","a","-1.5","x, y","1700000000"\r\n\r\nu2,"ü",2,"",1700000000250\r\n'), "--json")
        self.assertEqual(r, {**NOTHING, "kind": "interactions", "lines": 2, "stored": 2,
                             "new_users": 2, "skipped": {"header": 1, "blank": 1},
                             "with_time": 2, "columns_not_read": "genre"})
        self.assertEqual(self.log(), [("u1", "a", "watch", -1.5, 1700000000000),
                                      ("u2", "ü", "watch", 2, 1700000000250)])
        self.assertEqual(self.rows("SELECT count(*) FROM item"), [(3,)])

    def test_ids_with_bom_and_header(self):
        """The first video's features were never found by its id."""
        self.write("ids", "\ufeffa\r\nb\r\nü\r\n\r\n")
        self.assertEqual(self.items(0, "--json")["skipped"], {"header": 0, "blank": 1})
        self.assertEqual(self.rows("SELECT item_id FROM item ORDER BY rid"),
                         [("a",), ("b",), ("ü",)])
        self.write("ids", "item_id\nc\nd\ne\n")
        self.assertEqual(self.items(0, "--json")["skipped"], {"header": 1, "blank": 0})
        self.ids = self.write("q.csv", '"Video ID"\n"f,1"\n"g"\nh\n')
        self.items()
        self.assertEqual(self.rows("SELECT item_id FROM item ORDER BY rid")[3:],
                         [(i,) for i in ("c", "d", "e", "f,1", "g", "h")])
        self.ids = self.write("ids", "item_id\na\nb\n")
        self.assertIn("2 ids below a header line", self.items(65))
        for bad, words in (("a\n\nb\nc\n", "ids:3: an empty line stands before this one"),
                           ('"a"\nb\nc\n', "ids:1: the id \"\"a\"\" begins with a quotation mark"),
                           ("a \nb\nc\n", "ids:1: the id \"a \" begins or ends with a blank"),
                           ("a\tx\nb\nc\n", "ids:1: 2 fields where one id is expected")):
            self.write("ids", bad)
            self.assertIn(words, self.items(65))

    def test_a_rating_is_no_time(self):
        ratings = self.write("r.tsv", "u1\ta\t4.5\nu2\tb\t3\n")
        said = self.run_verb(65, "interactions", ratings)
        self.assertIn('r.tsv:1: the third column has no name, and "4.5" is not a time', said)
        self.assertIn("--columns user_id,item_id,weight", said)
        self.assertFalse((self.dir / "s.db").exists())
        self.run_verb(0, "interactions", ratings, "--columns", "user_id,item_id,weight")
        self.assertEqual([row[:4] for row in self.log()], [("u1", "a", "watch", 4.5),
                                                           ("u2", "b", "watch", 3)])
        r = self.run_verb(0, "interactions", ratings, "--columns", "user_id,item_id,weight",
                          "--json")
        self.assertEqual((r["stored"], r["already"]), (0, 2))
        r = self.run_verb(0, "interactions", ratings, "--columns", "User,video,rating", "--json")
        self.assertEqual((r["stored"], r["already"]), (0, 2))
        pairs = self.write("p.tsv", "u1\ta\nu2\tb\n")
        self.run_verb(0, "interactions", pairs)
        r = self.run_verb(0, "interactions", pairs, "--columns", "user,item", "--json")
        self.assertEqual((r["stored"], r["already"]), (0, 2))
        old = self.run_verb(0, "interactions", ratings, "--columns", "user_id,item_id,ts")
        self.assertIn("every time in the file is before the year 2000", old)
        self.run_verb(64, "interactions", ratings, "--columns", "user_id,stars")
        self.run_verb(64, "interactions", ratings, "--separator", "pipe")

    def test_times_as_text(self):
        self.run_verb(0, "interactions", self.write(
            "t.csv", "u1,a,2026-01-02T03:04:05Z\nu2,b,1767323045000\nu3,b,\n"))
        self.assertEqual([row[4] for row in self.log()][:2], [1767323045000] * 2)
        self.assertIn("is not a time", self.run_verb(65, "interactions", self.write(
            "u.csv", "u1,a,2026-01-02\n")))
        self.assertIn("nor like 2026", self.run_verb(65, "interactions", self.write(
            "v.csv", "user,item,ts\nu1,a,yesterday\n")))

    def test_blanks_are_refused(self):
        said = self.run_verb(65, "interactions", self.write("b.csv", "u0,v0\nu1, v1\n"))
        self.assertIn('b.csv:2: the item " v1" begins or ends with a blank: remove it', said)
        said = self.run_verb(65, "interactions", self.write("q.tsv", '"u1"\t"v1"\n'))
        self.assertIn("--separator comma", said)
        self.run_verb(0, "interactions", self.write("s.txt", 'u1;"v1"\n'), "--separator",
                      "semicolon")
        self.assertEqual([row[:2] for row in self.log()], [("u1", "v1")])

    def test_who_is_forgotten_does_not_come_back(self):
        """By a line's time; where it has none, by the file's."""
        def verb(*args):
            r = subprocess.run([TOOLS / "metammf", "--store", self.dir / "s.db", *args],
                               capture_output=True, text=True)
            self.assertEqual(r.returncode, 0, r.stderr)
        old = self.write("old.tsv", "gone\ta\nstays\ta\n")
        self.run_verb(0, "interactions", old)
        verb("forget", "gone")
        os.utime(old, (time.time() - 3600,) * 2)
        again = self.write("again.csv", "user,item,ts\ngone,b,1700000000\ngone,c,4000000000\n")
        said = self.run_verb(0, "interactions", self.write("other.tsv", "x\ty\n"))
        self.assertNotIn("dropped", said)
        os.utime(self.write("copy.tsv", "gone\ta\nstays\td\n"), (time.time() - 3600,) * 2)
        r = self.run_verb(0, "interactions", self.dir / "copy.tsv", "--json")
        self.assertEqual((r["stored"], r["dropped"]), (1, 1))
        self.assertIn("dropped: 1 lines of users who are forgotten",
                      self.run_verb(0, "interactions", again))  # the other is said later
        self.assertCountEqual([row[:2] for row in self.log()],
                              [("stays", "a"), ("x", "y"), ("gone", "c"), ("stays", "d")])

    def test_ends_by_signal_and_goes_on(self):
        n = 200000
        big = self.write("big.tsv", "".join(f"u{i % 5000}\tv{i % 7000}\n" for i in range(n)))
        p = subprocess.Popen([TOOLS / "metammf", "--store", self.dir / "s.db", "import",
                              "interactions", big], stderr=subprocess.PIPE, text=True)
        for _ in range(6000):
            try:
                if self.rows("SELECT count(*) FROM interaction_log")[0][0]:
                    break
            except sqlite3.Error:
                pass
            time.sleep(0.01)
        p.send_signal(signal.SIGINT)
        said = p.communicate()[1]
        if p.returncode:  # it may have been done by then
            self.assertEqual(p.returncode, 75, said)
            self.assertRegex(said, r"stopped after \d+ of 200000 lines, which are stored")
        r = self.run_verb(0, "interactions", big, "--json")
        self.assertEqual(r["stored"] + r["already"], n)
        self.assertEqual(self.rows("SELECT count(*) FROM interaction_log"), [(n,)])

    def export(self, code, *args):
        r = subprocess.run([TOOLS / "metammf", "--store", self.dir / "s.db", "export", *args,
                            "--json"], capture_output=True, text=True)
        self.assertEqual(r.returncode, code, r.stderr)
        return r.stdout

    def test_export(self):
        out, ids = self.dir / "e.npy", self.dir / "out.txt"
        self.export(64)
        self.export(64, "embeddings", "--out", out)
        self.export(66, "embeddings", "--out", out, "--ids", ids)
        self.items()
        self.export(66, "embeddings", "--out", out, "--ids", ids)
        vec = struct.pack("<2f", 1, -2)
        checksum = struct.unpack(">q", hashlib.sha256(vec).digest()[:8])[0]
        db = sqlite3.connect(self.dir / "s.db")
        with db:
            db.execute("INSERT INTO model(model_id, created_ms, origin, state, backbone, fusion,"
                       " file, sha256) VALUES(1, 1, 'trained', 'active', 'mf', 'cp', 'f', 's')")
            db.execute("INSERT INTO active_model VALUES(1, 1, 1, 1)")
            db.execute("INSERT INTO embedding VALUES(1, 3, 2, ?, 'warm', 1, 1, ?)",
                       (checksum, vec))
        db.close()
        self.assertEqual(json.loads(self.export(0, "embeddings", "--out", out, "--ids", ids)),
                         {"rows": 1, "dim": 2, "model_id": 1})
        self.assertEqual(ids.read_text(), "ü\n")
        self.assertEqual(out.read_bytes()[-8:], vec)

    def test_bad_input_writes_nothing(self):
        self.run_verb(64)
        self.run_verb(64, "items")
        self.run_verb(66, "interactions", "/nonexistent")
        self.clicks.write_text("u1\ta\nu2 b\n")
        self.assertIn(":2:", self.run_verb(65, "interactions", self.clicks))
        self.ids.write_text("a\nb\n")
        self.assertIn("2 ids", self.items(65))
        self.ids.write_bytes(b"a\n\xff\nc\n")
        self.items(65)
        for bad in ("a\tb", "x" * 257):
            self.ids.write_text(f"a\n{bad}\nc\n")
            self.assertIn(":2:", self.items(65))
        self.ids.write_text("b\na\nb\n")
        self.assertIn('"b"', self.items(65))
        self.ids.write_text("a\nb\nc\n")
        npy(self.visual, [[1, 2], [3, float("nan")], [5, 6]])
        self.assertIn("row 1", self.items(65))
        self.assertFalse((self.dir / "s.db").exists())


if __name__ == "__main__":
    unittest.main()
