#!/usr/bin/env python3
"""metammf import and export: what arrives in the store, twice the same, and the exit codes.

    test_import.py TOOLS
"""

import hashlib
import json
import pathlib
import sqlite3
import struct
import subprocess
import sys
import tempfile
import unittest

TOOLS = pathlib.Path(sys.argv.pop(1)).resolve()


def npy(path, rows):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(rows)}, {len(rows[0])}), }}"
    head += " " * (63 - (10 + len(head)) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() +
                     b"".join(struct.pack(f"<{len(r)}f", *r) for r in rows))


class Import(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="mmf-import-")
        self.addCleanup(self.folder.cleanup)
        self.dir = pathlib.Path(self.folder.name)
        self.ids, self.visual, self.clicks = (self.dir / n for n in ("ids", "v.npy", "c.tsv"))
        self.ids.write_text("a\nb\nü\n")
        npy(self.visual, [[1, 2], [3, 4], [5, 6]])
        self.clicks.write_text("u1\ta\nu2\tb\t12.5\nu2\tnew\r\n")

    def run_verb(self, code, *args):
        r = subprocess.run([TOOLS / "metammf", "--store", self.dir / "s.db", "import", *args],
                           capture_output=True, text=True)
        self.assertEqual(r.returncode, code, r.stderr)
        return json.loads(r.stdout) if "--json" in args else r.stderr

    def items(self, code=0, *more):
        return self.run_verb(code, "items", "--ids", self.ids, "--visual", self.visual, *more)

    def rows(self, sql):
        db = sqlite3.connect(self.dir / "s.db")
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()

    def test_twice_changes_nothing(self):
        self.assertEqual(self.items(0, "--json"), {"lines": 3, "stored": 3, "already": 0})
        self.assertEqual(self.items(0, "--json"), {"lines": 3, "stored": 0, "already": 3})
        self.assertEqual(self.rows("SELECT item_id, encoder_id, vec FROM item JOIN feature "
                                   "USING(rid) ORDER BY rid")[2],
                         ("ü", "import:npy:2", struct.pack("<2f", 5, 6)))
        for stored in (3, 0):
            r = self.run_verb(0, "interactions", self.clicks, "--json")
            self.assertEqual(r["stored"], stored)
        log = self.rows("SELECT user_id, item_id, offset, ts_ms FROM interaction_log "
                        "ORDER BY offset")
        self.assertEqual([row[:3] for row in log], [("u1", "a", 0), ("u2", "b", 1),
                                                    ("u2", "new", 2)])
        self.assertEqual(log[1][3], 12500)
        self.assertEqual(self.rows("SELECT state FROM item WHERE item_id = 'new'"),
                         [("no_features",)])

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
