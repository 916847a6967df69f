#!/usr/bin/env python3
"""What it costs that a pair is an edge while its strength is above 0: four ways to know that, on the
same interactions, against the distinct pairs that were edges before.

    store_strength.py FOLDER [INTERACTIONS]

CPU time, the best of three. `join` is what store/sql.c has.
"""

import pathlib
import random
import sqlite3
import sys
import time

FACTORS = {"watch": 1, "view": 1, "like": 1, "share": 1, "save": 1, "comment": 1, "impression": 0,
           "dislike": -1, "skip": -.5, "hide": -1, "report": -3, "unlike": -1}
KINDS = ["watch"] * 6 + ["impression"] * 2 + ["like", "skip", "dislike", "share"]
TABLE = """
CREATE TABLE interaction(topic_id INTEGER NOT NULL, partition INTEGER NOT NULL,
 offset INTEGER NOT NULL, uid INTEGER NOT NULL, rid INTEGER NOT NULL, kind TEXT NOT NULL,
 weight REAL NOT NULL, ts_ms REAL NOT NULL{more}, PRIMARY KEY(topic_id, partition, offset))
 STRICT, WITHOUT ROWID;
CREATE TABLE item(rid INTEGER PRIMARY KEY, deleted INTEGER NOT NULL) STRICT;
CREATE INDEX item_deleted ON item(rid) WHERE deleted = 1;
CREATE TABLE interaction_kind(kind TEXT PRIMARY KEY, n INTEGER NOT NULL, factor REAL, was REAL)
 STRICT, WITHOUT ROWID;
"""
INDICES = """
CREATE INDEX interaction_user ON interaction(uid, rid{more});
CREATE INDEX interaction_item ON interaction(rid, uid{more});
"""
TRIGGER = """
CREATE TRIGGER interaction_came AFTER INSERT ON interaction BEGIN
 INSERT INTO interaction_kind(kind, n) VALUES(new.kind, 1) ON CONFLICT DO UPDATE SET n = n + 1; END;
"""
PAIR = """
CREATE TABLE pair(uid INTEGER NOT NULL, rid INTEGER NOT NULL, n INTEGER NOT NULL,
 strength REAL NOT NULL, PRIMARY KEY(uid, rid)) STRICT, WITHOUT ROWID;
CREATE INDEX pair_item ON pair(rid, uid, strength);
"""
LIVE = ("NOT EXISTS(SELECT 1 FROM item i INDEXED BY item_deleted WHERE i.rid = x.rid "
        "AND i.deleted = 1)")
KIND = "LEFT JOIN interaction_kind k ON k.kind = x.kind"
COUNTS = ("CASE WHEN k.factor < 0 THEN k.factor * abs(x.weight) ELSE coalesce(k.factor, "
          "(SELECT factor FROM interaction_kind WHERE kind = ''), 1.0) * x.weight END")
INSERT = "INSERT INTO interaction VALUES(1, ?, ?, ?, ?, ?, ?, ?{more})"


def summed(join, what):
    having = f"HAVING sum({what}) > 1e-9"
    return {
        "all pairs": f"SELECT count(*) FROM (SELECT x.uid, x.rid FROM interaction x {join} WHERE "
                     f"{LIVE} GROUP BY x.uid, x.rid {having})",
        "items of a user": f"SELECT x.rid FROM interaction x {join} WHERE x.uid = ?1 AND {LIVE} "
                           f"GROUP BY x.rid {having} ORDER BY x.rid",
        "users of an item": f"SELECT x.uid FROM interaction x {join} WHERE x.rid = ?1 "
                            f"GROUP BY x.uid {having} ORDER BY x.uid",
        "degree of an item": f"SELECT count(*) FROM (SELECT 1 FROM interaction x {join} "
                             f"WHERE x.rid = ?1 GROUP BY x.uid {having})"}


WAYS = {
    "distinct": {
        "all pairs": f"SELECT count(*) FROM (SELECT DISTINCT x.uid, x.rid FROM interaction x WHERE {LIVE})",
        "items of a user": f"SELECT DISTINCT x.rid FROM interaction x WHERE x.uid = ?1 AND {LIVE} "
                           "ORDER BY x.rid",
        "users of an item": "SELECT DISTINCT uid FROM interaction WHERE rid = ?1 ORDER BY uid",
        "degree of an item": "SELECT count(DISTINCT uid) FROM interaction WHERE rid = ?1"},
    "join": summed(KIND, COUNTS),
    "score": summed("", "x.score"),
    "pair": {
        "all pairs": f"SELECT count(*) FROM pair x WHERE x.strength > 1e-9 AND {LIVE}",
        "items of a user": f"SELECT x.rid FROM pair x WHERE x.uid = ?1 AND x.strength > 1e-9 AND {LIVE}",
        "users of an item": "SELECT x.uid FROM pair x WHERE x.rid = ?1 AND x.strength > 1e-9",
        "degree of an item": "SELECT count(*) FROM pair WHERE rid = ?1 AND strength > 1e-9"}}


def events(n, users, items):
    r = random.Random(1)
    for i in range(n):
        yield (i % 4, i, 1 + int(users * r.random() ** 2), 1 + int(items * r.random() ** 3),
               KINDS[r.randrange(len(KINDS))], 1.0 if r.random() < .7 else round(r.random(), 3),
               1.7e12 + i)


def fill(db, way, n, users, items):
    score = way == "score"
    db.executescript(TABLE.format(more=", score REAL NOT NULL" if score else ""))
    db.executemany("INSERT INTO item VALUES(?, ?)", ((i, i % 50 == 0) for i in range(1, items + 1)))
    db.executemany("INSERT INTO interaction_kind VALUES(?, 0, ?, NULL)", FACTORS.items())
    if way == "pair":
        db.executescript(PAIR)
    else:
        db.executescript(INDICES.format(more={"join": ", kind, weight", "score": ", score"}.get(way, "")))
    if way == "join":
        db.executescript(TRIGGER)
    batch, spent = [], 0.0
    for e in events(n, users, items):
        batch.append(e + (FACTORS[e[4]] * e[5],) if score else e)
        if len(batch) == 100:
            spent += write(db, way, batch)
            batch = []
    return spent / n


def write(db, way, batch):
    start = time.process_time()
    db.executemany(INSERT.format(more=", ?" if way == "score" else ""), batch)
    if way == "pair":
        db.executemany("INSERT INTO pair VALUES(?, ?, 1, ?) ON CONFLICT DO UPDATE SET n = n + 1, "
                       "strength = strength + excluded.strength",
                       [(e[2], e[3], FACTORS[e[4]] * e[5]) for e in batch])
    db.commit()
    return time.process_time() - start


def cost(db, sql, of, n):
    best = 1e9
    for _ in range(3):
        start = time.process_time()
        for i in range(n):
            db.execute(sql, (1 + i * 7919 % of,) if "?1" in sql else ()).fetchall()
        best = min(best, (time.process_time() - start) / n)
    return best


def main():
    folder = pathlib.Path(sys.argv[1])
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    users, items = max(n // 20, 10), max(n // 40, 10)
    print(f"SQLite {sqlite3.sqlite_version}, {n} interactions, {users} users, {items} items")
    for way, queries in WAYS.items():
        path = folder / f"strength-{way}.db"
        db = sqlite3.connect(path)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=OFF")
        db.execute("PRAGMA cache_size=-64000")
        insert = fill(db, way, n, users, items)
        size = db.execute("PRAGMA page_count").fetchone()[0] * 4096 / n
        figures = [cost(db, queries["all pairs"], 1, 1),
                   cost(db, queries["items of a user"], users, 2000),
                   cost(db, queries["users of an item"], items, 2000),
                   cost(db, queries["degree of an item"], items, 2000),
                   cost(db, queries["degree of an item"], 1, 5)]
        print(f"{way:9} insert {insert * 1e6:5.1f} us, {size:4.0f} bytes a row; all pairs "
              f"{figures[0]:.2f} s; items of a user {figures[1] * 1e6:.1f} us, users of an item "
              f"{figures[2] * 1e6:.1f} us, degree of an item {figures[3] * 1e6:.1f} us, of the most "
              f"popular one {figures[4] * 1e3:.2f} ms", flush=True)
        db.close()
        for file in folder.glob(f"strength-{way}.db*"):
            file.unlink()


if __name__ == "__main__":
    main()
