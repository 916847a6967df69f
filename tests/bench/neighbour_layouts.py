#!/usr/bin/env python3
"""Layouts that the store could have for neighbours: `neighbour_layouts.py FOLDER [ITEMS [NAME]]`.

ITEMS (100,000) rows of 100 neighbours each. For each layout, or those with NAME in theirs: megabytes; CPU seconds to publish all (512
rows a transaction, WAL); CPU milliseconds to write 100 rows anew, as refresh does, to read 50 rows and to
read the scales of all items; and what the view takes, by SQL alone, for the 50 and for all. The line with an
asterisk is what store/schema.c has."""

import json
import math
import os
import random
import sqlite3
import struct
import sys
import time

NEIGHBOURS, BLOCK, READ, ANEW = 100, 512, 50, 100
KEY = "model_id INTEGER NOT NULL, rid INTEGER NOT NULL"
SCALE = "CREATE TABLE scale(%s, scale REAL NOT NULL, PRIMARY KEY(model_id, rid)) STRICT, WITHOUT ROWID;" % KEY
OF_JSON = ("SELECT n.rid, CAST(e.key AS INTEGER), e.value * s.scale FROM t n CROSS JOIN json_each(n.list) e"
           " CROSS JOIN scale s ON s.model_id = n.model_id AND s.rid = CAST(e.key AS INTEGER) WHERE n.model_id = 1")
# A float32 of 4 little-endian bytes in SQL: hexadecimal digits to an integer, then sign, exponent, mantissa.
DIGIT = "(instr('0123456789ABCDEF', substr(h, %d, 1)) - 1)"
WORD = " + ".join("%s * %d" % (DIGIT % (i + 1), 1 << s)
                  for i, s in enumerate((4, 0, 12, 8, 20, 16, 28, 24)))
OF_BLOB = ("WITH RECURSIVE c(k) AS (VALUES(0) UNION ALL SELECT k + 1 FROM c WHERE k < 99),"
           " b(rid, h, r) AS (SELECT n.rid, hex(substr(n.list, 12 * k + 9, 4)), hex(substr(n.list, 12 * k + 1, 4))"
           " FROM t n CROSS JOIN c WHERE n.model_id = 1%s),"
           " i(rid, w, r) AS (SELECT rid, " + WORD + ", r FROM b),"
           " j(rid, w, other) AS (SELECT rid, w, " + WORD.replace("substr(h,", "substr(r,") + " FROM i)"
           " SELECT j.rid, other, (1 - 2 * (w >> 31)) * (8388608 + (w & 8388607)) * pow(2, ((w >> 23) & 255) - 150)"
           " * s.scale FROM j CROSS JOIN scale s ON s.model_id = 1 AND s.rid = j.other")


def rows_of(n_items):
    draw = random.Random(1)
    for rid in range(1, n_items + 1):
        others = sorted(draw.sample(range(1, n_items + 1), NEIGHBOURS))
        yield rid, [(o, struct.unpack("<f", struct.pack("<f", draw.gauss(0.0005, 0.001)))[0]) for o in others]


def text_of(pairs):
    return "{" + ",".join('"%d":%.9g' % p for p in pairs) + "}"


def whole_of(pairs):
    scale = 2.0 ** (24 - math.frexp(max(abs(v) for _, v in pairs))[1])
    return "{" + ",".join('"%d":%d' % (o, round(v * scale)) for o, v in pairs) + "}"


def blob_of(pairs):
    return b"".join(struct.pack("<qf", *p) for p in pairs)


class Layout:
    def __init__(self, name, ddl, view, encode, decode):
        self.name, self.ddl, self.view, self.encode, self.decode = name, ddl, view, encode, decode

    def put(self, db, rid, row):
        if self.encode:
            db.execute("INSERT OR REPLACE INTO t(model_id, rid, list) VALUES(1, ?, ?)", (rid, row))
        else:
            db.execute("DELETE FROM t WHERE model_id = 1 AND rid = ?", (rid,))
            db.executemany("INSERT INTO t VALUES(1, ?, ?, ?)", row)

    def get(self, db, rid):
        if self.encode:
            return self.decode(db.execute("SELECT list FROM t WHERE model_id = 1 AND rid = ?", (rid,)).fetchone()[0])
        return db.execute("SELECT neighbour, value FROM t WHERE model_id = 1 AND rid = ?", (rid,)).fetchall()


LAYOUTS = [
    Layout("pairs, WITHOUT ROWID",
           f"CREATE TABLE t({KEY}, neighbour INTEGER NOT NULL, value REAL NOT NULL,"
           " PRIMARY KEY(model_id, rid, neighbour)) STRICT, WITHOUT ROWID",
           "SELECT n.rid, n.neighbour, n.value * s.scale FROM t n CROSS JOIN scale s ON s.model_id = n.model_id"
           " AND s.rid = n.neighbour WHERE n.model_id = 1", None, None),
    Layout("JSON, whole *",
           f"CREATE TABLE t({KEY}, unit REAL NOT NULL DEFAULT 1e-9, list TEXT NOT NULL, UNIQUE(model_id, rid)) STRICT",
           OF_JSON.replace("e.value *", "e.value * n.unit *"), whole_of, json.loads),
    Layout("JSON, WITHOUT ROWID",
           f"CREATE TABLE t({KEY}, list TEXT NOT NULL, PRIMARY KEY(model_id, rid)) STRICT, WITHOUT ROWID",
           OF_JSON, text_of, json.loads),
    Layout("JSON, rowid + index", f"CREATE TABLE t({KEY}, list TEXT NOT NULL, UNIQUE(model_id, rid)) STRICT",
           OF_JSON, text_of, json.loads),
    Layout("BLOB, WITHOUT ROWID",
           f"CREATE TABLE t({KEY}, list BLOB NOT NULL, PRIMARY KEY(model_id, rid)) STRICT, WITHOUT ROWID",
           OF_BLOB, blob_of, lambda b: list(struct.iter_unpack("<qf", b))),
    Layout("BLOB, rowid + index", f"CREATE TABLE t({KEY}, list BLOB NOT NULL, UNIQUE(model_id, rid)) STRICT",
           OF_BLOB, blob_of, lambda b: list(struct.iter_unpack("<qf", b))),
]


def publish(db, layout, n_items):
    seconds, block = 0.0, []
    for rid, pairs in rows_of(n_items):
        block.append((rid, layout.encode(pairs) if layout.encode else [(rid, o, v) for o, v in pairs]))
        if len(block) == BLOCK or rid == n_items:
            start = time.process_time()
            db.execute("BEGIN")
            for row in block:
                layout.put(db, *row)
                db.execute("INSERT OR REPLACE INTO scale VALUES(1, ?, 0.5)", row[:1])
            db.execute("COMMIT")
            seconds += time.process_time() - start
            block = []
    return seconds


def timed(fn):
    start = time.process_time()
    fn()
    return (time.process_time() - start) * 1e3


def anew(db, layout, n_items, some):
    rows = []
    draw = random.Random(3)
    for rid in some:
        pairs = sorted((o, draw.random()) for o in draw.sample(range(1, n_items + 1), NEIGHBOURS))
        rows.append((rid, layout.encode(pairs) if layout.encode else [(rid, o, v) for o, v in pairs]))

    def write():
        db.execute("BEGIN")
        for row in rows:
            layout.put(db, *row)
        db.execute("COMMIT")
    return timed(write)


def view_of(layout, some):
    where = " AND n.rid IN (%s)" % ",".join(map(str, some)) if some else ""
    return layout.view % where if "%s" in layout.view else layout.view + where


def measure(path, layout, n_items):
    draw = random.Random(2)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    db.executescript(layout.ddl + ";" + SCALE)
    seconds = publish(db, layout, n_items)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    megabytes = os.path.getsize(path) / 1e6
    some = draw.sample(range(1, n_items + 1), READ)
    write = anew(db, layout, n_items, draw.sample(range(1, n_items + 1), ANEW))
    read = min(timed(lambda: [layout.get(db, rid) for rid in some]) for _ in range(5))
    scales = min(timed(lambda: db.execute("SELECT rid, scale FROM scale").fetchall()) for _ in range(3))
    few = min(timed(lambda: db.execute(view_of(layout, some)).fetchall()) for _ in range(3))
    every = 0 if "RECURSIVE" in layout.view else timed(
        lambda: [0 for _ in db.execute(view_of(layout, []))]) / 1e3
    print(f"{layout.name:24s} {megabytes:6.0f} MB  publish {seconds:5.1f} s  100 anew {write:5.1f} ms  50 rows"
          f" {read:5.1f} ms  scales {scales:4.0f} ms  view of 50 {few:6.1f} ms"
          + (f"  of all {every:5.1f} s" if every else ""), flush=True)
    db.close()
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.unlink(path + suffix)


def main():
    if len(sys.argv) not in (2, 3, 4):
        sys.exit("usage: neighbour_layouts.py FOLDER [ITEMS [NAME]]")
    n_items = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    for layout in LAYOUTS:
        if len(sys.argv) > 3 and sys.argv[3] not in layout.name:
            continue
        measure(os.path.join(sys.argv[1], "layouts.db"), layout, n_items)


main()
