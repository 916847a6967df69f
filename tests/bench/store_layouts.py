#!/usr/bin/env python3
"""Table layouts that the store could have, measured: `store_layouts.py FOLDER`.

CPU time per inserted row (100 a transaction, WAL), bytes a row, and for the embeddings a scan in
row order and one get. The first line of each block is what store/schema.c has."""

import os
import sqlite3
import sys
import time

COLUMNS = ("part INTEGER NOT NULL, off INTEGER NOT NULL, uid INTEGER, rid INTEGER, kind TEXT, "
           "weight REAL, ts REAL")
EMBEDDING = ("m INTEGER NOT NULL, rid INTEGER NOT NULL, dim INTEGER NOT NULL, checksum INTEGER, "
             "state TEXT NOT NULL, seq INTEGER NOT NULL, updated REAL NOT NULL, "
             "vec BLOB NOT NULL CHECK(length(vec) = 4*dim)")
LAYOUTS = [
    ("interaction: topic interned, WITHOUT ROWID", 1,
     f"CREATE TABLE t(topic INTEGER NOT NULL, {COLUMNS}, PRIMARY KEY(topic, part, off)) "
     "STRICT, WITHOUT ROWID"),
    ("interaction: topic interned, rowid + index", 1,
     f"CREATE TABLE t(topic INTEGER NOT NULL, {COLUMNS}, UNIQUE(topic, part, off)) STRICT"),
    ("interaction: topic as text, WITHOUT ROWID", "videos.interactions",
     f"CREATE TABLE t(topic TEXT NOT NULL, {COLUMNS}, PRIMARY KEY(topic, part, off)) "
     "STRICT, WITHOUT ROWID"),
    ("interaction: topic as text, rowid + index", "videos.interactions",
     f"CREATE TABLE t(topic TEXT NOT NULL, {COLUMNS}, UNIQUE(topic, part, off)) STRICT"),
    ("embedding: (model, rid) WITHOUT ROWID", None,
     f"CREATE TABLE t({EMBEDDING}, PRIMARY KEY(m, rid)) STRICT, WITHOUT ROWID; "
     "CREATE INDEX s ON t(m, seq)"),
    ("embedding: rowid + index", None,
     f"CREATE TABLE t({EMBEDDING}, UNIQUE(m, rid)) STRICT; CREATE INDEX s ON t(m, seq)"),
]


def rows_of(topic):
    if topic is None:
        return [(1, i + 1, 64, i * 7919, "cold", i, 1e12, os.urandom(256))
                for i in range(200_000)]
    return [(topic, i % 8, i, i * 7 % 20_011, i * 31 % 50_021, "watch", 1.0, 1e12 + i)
            for i in range(500_000)]


def measure(path, name, topic, ddl):
    rows = rows_of(topic)
    marks = ",".join("?" * len(rows[0]))
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.executescript(ddl)
    start = time.process_time()
    for i in range(0, len(rows), 100):
        db.execute("BEGIN")
        db.executemany(f"INSERT INTO t VALUES({marks}) ON CONFLICT DO NOTHING", rows[i:i + 100])
        db.execute("COMMIT")
    insert_us = (time.process_time() - start) * 1e6 / len(rows)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    line = f"{name:44s} {insert_us:5.1f} us/row {os.path.getsize(path) / len(rows):5.0f} bytes/row"
    if topic is None:
        start = time.process_time()
        for _ in db.execute("SELECT rid, vec FROM t WHERE m = 1 ORDER BY rid"):
            pass
        line += f"  scan {(time.process_time() - start) * 1e3:.0f} ms"
    print(line)
    db.close()
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.unlink(path + suffix)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: store_layouts.py FOLDER")
    for name, topic, ddl in LAYOUTS:
        measure(os.path.join(sys.argv[1], "layouts.db"), name, topic, ddl)


main()
