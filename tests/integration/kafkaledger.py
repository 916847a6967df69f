"""What the log holds against what the database and the dead-letter topic hold.

The database is right when every ledger entry was applied exactly once and nothing else is there.
"Applied" is counted by triggers that the test puts on the daemon's tables (kafkatest.AUDIT): they
write (topic, partition, offset) into `applied`, inside the daemon's transaction.
"""

import base64
import collections
import copy
import math
import struct

import kafkatest as kt


def resent(tools, bootstrap, messages, ends):
    """The mock cluster does not know a batch that an idempotent producer sends again because its
    answer was lost: the log holds it twice, and only one offset was acknowledged. What the log
    holds counts, so these copies belong to the ledger too. A record that is no copy, or a log
    that cannot be read to its ends, is an error."""
    acknowledged = {(m.topic, m.partition, m.offset) for m in messages}
    originals = {(m.topic, m.partition, kt.b64(m.key), kt.b64(m.value)): m for m in messages}
    copies, n_read = [], 0
    for topic in (kt.VIDEOS, kt.INTERACTIONS):
        for record in kt.read_topic(tools, bootstrap, topic, 0):
            n_read += 1
            where = (topic, record["partition"], record["offset"])
            if where in acknowledged:
                continue
            original = originals.get((topic, record["partition"], record["key_b64"],
                                      record["value_b64"]))
            if original is None:
                raise AssertionError(f"{where} is in the log, and nobody produced it")
            again = copy.copy(original)
            again.offset = record["offset"]
            copies.append(again)
    if n_read != sum(ends.values()):
        raise AssertionError(f"{n_read} records read of the log that ends at {ends}")
    return copies


class Report:
    def __init__(self):
        self.n_lost = self.n_duplicated = 0
        self.faults = []

    def check(self, good, text):
        if not good:
            self.faults.append(text)

    @property
    def good(self):
        return not self.faults and self.n_lost == 0 and self.n_duplicated == 0


def compare_applied(db, messages, report):
    expected = {(m.topic, m.partition, m.offset): m for m in messages}
    assert len(expected) == len(messages)
    seen = collections.Counter()
    for topic, partition, offset, what in db.execute("SELECT * FROM applied"):
        where = (topic.split("#")[0], partition, offset)
        seen[where] += 1
        message = expected.get(where)
        report.check(message is not None, f"applied, but never produced: {where}")
        if message:
            report.check(message.becomes == what, f"{where} became {what}, not "
                                                  f"{message.becomes}")
    report.n_lost = sum(1 for where in expected if seen[where] == 0)
    report.n_duplicated = sum(count - 1 for count in seen.values() if count > 1)


def compare_items(db, messages, report):
    last = {}
    for m in messages:
        if m.becomes in ("item", "delete"):
            item_id = m.details["item_id"]
            if item_id not in last or m.offset > last[item_id].offset:
                last[item_id] = m
    live = {i for i, m in last.items() if m.becomes == "item"}
    rows = {i: (title, deleted) for i, title, deleted in db.execute(
        "SELECT item_id, title, deleted FROM item WHERE offset IS NOT NULL")}
    report.check(rows.keys() == last.keys(), "items: not the expected ids")
    for item_id in live & rows.keys():
        report.check(rows[item_id] == (last[item_id].details["title"], 0),
                     f"item {item_id}: {rows[item_id]}")
    report.check({i for i, (_, deleted) in rows.items() if deleted} == last.keys() - live,
                 "deleted items: not the expected ids")
    compare_embeddings(db, live, report)


def compare_embeddings(db, live, report):
    n = 0
    for item_id, dim, vec in db.execute("SELECT item_id, dim, vec FROM current_embedding"):
        n += 1
        report.check(item_id in live, f"embedding of {item_id}, which is not live")
        values = struct.unpack(f"<{dim}f", vec) if len(vec) == 4 * dim else ()
        report.check(values and all(map(math.isfinite, values)) and any(values),
                     f"embedding of {item_id}: {len(vec)} bytes for {dim} floats, or not "
                     f"finite, or zero")
    report.check(n == len(live), f"{n} embeddings for {len(live)} live items")


def compare_dead_letters(db, messages, report):
    dead = {(m.topic, m.partition, m.offset): m for m in messages if m.becomes == "dead"}
    rows = db.execute("SELECT topic, partition, offset, reason, key, value FROM dead_letter")
    found = set()
    for topic, partition, offset, reason, key, value in rows:
        where = (topic.split("#")[0], partition, offset)
        found.add(where)
        m = dead.get(where)
        report.check(m is not None, f"dead letter of a good event: {where} {reason}")
        if m:
            report.check((key, value) == (m.key, m.value), f"dead letter {where}: not the "
                                                           f"original bytes")
            report.check(reason.startswith(m.details["reason"]),
                         f"dead letter {where}: {reason}, not {m.details['reason']}")
    report.check(found == dead.keys(), f"{len(found)} dead letters, not {len(dead)}")
    report.check(db.execute("SELECT count(*) FROM data_gap").fetchone()[0] == 0, "data gaps")


def compare_dlq_topic(tools, bootstrap, messages, report):
    """At least once: every dead letter is in the topic with key, value and headers."""
    dead = {(m.topic, m.partition, m.offset): m for m in messages if m.becomes == "dead"}
    seen = collections.Counter()
    for record in kt.read_topic(tools, bootstrap, kt.DLQ, len(dead)):
        headers = {n: base64.b64decode(v) for n, v in record["headers"]}
        where = (headers["__connect.errors.topic"].decode(),
                 int(headers["__connect.errors.partition"]),
                 int(headers["__connect.errors.offset"]))
        seen[where] += 1
        m = dead.get(where)
        report.check(m is not None, f"DLQ topic: {where} is no dead letter")
        if m and "metammf.value.bytes" in headers:  # too large for the DLQ topic
            report.check(m.details["reason"] == "too_big" and record["value_b64"] == "" and
                         int(headers["metammf.value.bytes"]) == len(m.value),
                         f"DLQ topic: {where}: its value is missing")
        elif m:
            report.check((record["key_b64"], record["value_b64"]) ==
                         (kt.b64(m.key), kt.b64(m.value)),
                         f"DLQ topic: {where}: not the original bytes")
            report.check(all(headers.get(n) == v for n, v in m.headers) and
                         headers["__connect.errors.exception.class.name"].decode()
                         .startswith(m.details["reason"]) and
                         headers["__connect.errors.exception.message"] and
                         headers["__connect.errors.stage"],
                         f"DLQ topic: {where}: headers {headers}")
    report.check(seen.keys() == dead.keys(),
                 f"DLQ topic: {len(seen)} dead letters, not {len(dead)}")
    return sum(seen.values()) - len(seen)


def compare(daemon, messages, ends):
    report = Report()
    with daemon.database() as db:
        compare_applied(db, messages, report)
        compare_items(db, messages, report)
        compare_dead_letters(db, messages, report)
        n = db.execute("SELECT count(*) FROM interaction").fetchone()[0]
    wanted = sum(m.becomes == "interaction" for m in messages)
    report.check(n == wanted, f"{n} interactions, not {wanted}")
    report.check(daemon.offsets() == ends, f"kafka_offset {daemon.offsets()} is not the end of "
                                           f"the log {ends}")
    return report
