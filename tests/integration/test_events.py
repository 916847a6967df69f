#!/usr/bin/env python3
"""What events mean: many, in every form that sites write them in, against an oracle.

    test_events.py TOOLS all|none|debezium|outbox|own [--seed N]

Mock cluster (a simulation). One daemon for each setting of events.preset, and one with a mapping of its
own; each reads its own forms mixed with bare events and CloudEvents, on topics of both kinds, and about
one in twenty is broken. What each event must become, eventoracle.py knows from how it made it. The
database is compared in full and in both directions, and `metammf event explain` where an event needs
neither headers nor a key. $MMF_EVENTS is how many events there are in all runs together.
"""

import collections
import datetime
import json
import os
import random
import subprocess
import sys
import time

import eventoracle as oracle
import kafkaledger as ledger
import kafkatest as kt
from kafkacase import run as run_case

N_EVENTS = int(os.environ.get("MMF_EVENTS", 4000))


# ---- what the database holds -------------------------------------------------------------------

def stored_items(db):
    rows = {}
    for row in db.execute(
            "SELECT i.item_id, i.title, i.description, i.tags, i.lang, i.sha256, i.published_ms, "
            "i.flags, i.deleted, i.media_uri, t.name, i.partition, i.offset "
            "FROM item i LEFT JOIN topic t USING(topic_id)"):
        item_id, title, description, tags, lang, sha256, ms, flags, deleted, uri, *where = row
        rows[item_id] = {
            "title": title, "description": description, "tags": json.loads(tags) if tags else None,
            "lang": lang, "sha256": sha256, "published_at": None if ms is None else ms * 1000,
            "cut": set(json.loads(flags or "{}").get("cut", ())), "deleted": bool(deleted),
            "where": None if where[0] is None else (where[0].split("#")[0], *where[1:]),
            "media_uri": uri}
    return rows


class Stored:
    """A snapshot of a store, so that it can be compared more than once."""

    def __init__(self, daemon):
        with daemon.database() as db:
            self.items = stored_items(db)
            self.interactions = {
                (t.split("#")[0], p, o): rest for t, p, o, *rest in db.execute(
                    "SELECT topic, partition, offset, user_id, item_id, kind, weight, ts_ms "
                    "FROM interaction_log")}
            self.dead = {
                (t.split("#")[0], p, o): rest for t, p, o, *rest in db.execute(
                    "SELECT topic, partition, offset, reason, error, key, value, role "
                    "FROM dead_letter")}
            self.embedded = {i for i, in db.execute("SELECT item_id FROM current_embedding")}
            self.gaps = db.execute("SELECT count(*) FROM data_gap").fetchone()[0]


# ---- comparison --------------------------------------------------------------------------------

def same_time(us, ms_or_us):
    return (us is None and ms_or_us is None) or \
        (us is not None and ms_or_us is not None and abs(us - ms_or_us) < 1)


def differences_of_items(expected, stored):
    for item_id in sorted(expected.items.keys() | stored.items.keys()):
        want, got = expected.items.get(item_id), stored.items.get(item_id)
        if got is None:
            yield f"item {item_id!r}: not stored; expected {want}"
        elif want is None:
            if item_id not in expected.only_clicked:
                yield f"item {item_id!r}: nothing named it; stored {got}"
            elif got["where"] or got["deleted"] or any(got[f] for f in oracle.FIELDS):
                yield f"item {item_id!r}: only interactions name it; stored {got}"
        elif got["where"] != want["where"] or got["deleted"] != want["deleted"]:
            yield f"item {item_id!r}: expected {want}, stored {got}"
        elif not want["deleted"]:
            for name in oracle.FIELDS + ("cut",):
                good = same_time(want.get(name), got[name]) if name == "published_at" else \
                    want.get(name) == got[name]
                if not good:
                    yield (f"item {item_id!r} of {want['where']}: {name}: expected "
                           f"{want.get(name)!r}, stored {got[name]!r}")


def differences_of_embeddings(expected, stored):
    live = {i for i, row in expected.items.items() if not row["deleted"] and
            (row.get("title") or row.get("tags") or row.get("description"))}
    for item_id in sorted(live ^ stored.embedded):
        yield f"item {item_id!r}: embedding {'is missing' if item_id in live else 'of no text'}"


def differences_of_interactions(expected, stored, began_us):
    for where in sorted(expected.interactions.keys() | stored.interactions.keys()):
        want, got = expected.interactions.get(where), stored.interactions.get(where)
        if got is None or want is None:
            yield f"interaction {where}: expected {want}, stored {got}"
            continue
        *texts, us = want
        now_us = time.time() * 1e6
        good_time = began_us <= got[4] * 1000 <= now_us if us is None else \
            same_time(us, got[4] * 1000)
        if texts != got[:4] or not good_time:
            yield f"interaction {where}: expected {want}, stored {got}"


def differences_of_dead_letters(expected, stored):
    for where in sorted(expected.dead.keys() | stored.dead.keys()):
        event, got = expected.dead.get(where), stored.dead.get(where)
        if got is None:
            yield f"{where} {event.form} {event.breakage}: no dead letter: {event.value!r:.300}"
        elif event is None:
            yield f"{where}: a dead letter of a good event: {got[0]}: {got[1]}: {got[3]!r:.500}"
        else:
            reason, error, key, value, role = got
            if reason != event.reason or event.says not in error:
                yield (f"{where} {event.form} {event.breakage}: expected {event.reason} with "
                       f"\"{event.says}\", got {reason}: {error}: {event.value!r:.300}")
            if (key or None, value) != (event.key or None, event.value) or role != event.topic:
                yield f"{where}: not the original bytes, or role {role}"


def differences(expected, stored, began_us):
    found = [*differences_of_items(expected, stored),
             *differences_of_embeddings(expected, stored),
             *differences_of_interactions(expected, stored, began_us),
             *differences_of_dead_letters(expected, stored)]
    return found + ([f"{stored.gaps} data gaps"] if stored.gaps else [])


def prove_that_it_can_fail(expected, stored, began_us):
    """One wrong expectation of each kind is one difference: so it is for each kind."""
    live = next(i for i, row in expected.items.items() if not row["deleted"] and row["title"])
    gone = next(i for i, row in expected.items.items() if row["deleted"])
    click = next(w for w, x in expected.interactions.items() if x[4] is not None)
    letter = expected.dead[next(iter(expected.dead))]
    row, clicks = expected.items[live], expected.interactions
    plants = [
        (row, "title", row["title"] + "x"), (row, "published_at", 1), (row, "tags", ["planted"]),
        (row, "lang", "planted"), (row, "deleted", True), (row, "cut", {"planted"}),
        (expected.items[gone], "deleted", False),
        *[(clicks, click, clicks[click][:k] + (("x", "x", "x", 0.125, 1)[k],) +
           clicks[click][k + 1:]) for k in range(5)],
        (letter.__dict__, "reason", "bad_luck"), (letter.__dict__, "says", "planted"),
    ]
    for place, name, wrong in plants:
        right, place[name] = place[name], wrong
        found = differences(expected, stored, began_us)
        place[name] = right
        assert found, f"the oracle did not see {name} = {wrong!r}"
    for place in (expected.items, clicks, expected.dead):
        name = next(iter(place))
        right = place.pop(name)
        assert differences(expected, stored, began_us), f"the oracle did not miss {name}"
        place[name] = right
    return len(plants) + 3


# ---- metammf event explain ---------------------------------------------------------------------

def time_text(us):
    at = datetime.datetime.fromtimestamp(us // 1000000, datetime.timezone.utc)
    return at.strftime("%Y-%m-%d %H:%M:%S")


def explained_as(event):
    """What the line must say."""
    if event.meaning == "dead":
        return {"meaning": "dead", "reason": event.reason}
    fields = {n: v for n, v in event.fields.items() if n not in ("published_at", "ts")}
    if "tags" in fields:
        fields["tags"] = fields["tags"] or []
    if event.time_us is not None and event.meaning != "deleted":
        fields["ts" if event.meaning == "interaction" else "published_at"] = \
            time_text(event.time_us)
    return {"meaning": event.meaning, "item_id": event.item_id, "user_id": event.user_id,
            "reason": None, "error": None, "warnings": sorted(event.warnings),
            "fields": {} if event.meaning == "deleted" else fields}


def differences_of_explain(options, daemon, folder, events):
    n, found = 0, []
    for role in (kt.VIDEOS, kt.INTERACTIONS):
        asked = [e for e in events if e.topic == role and e.is_plain]
        path = folder / f"{role}.ndjson"
        path.write_bytes(b"".join(e.value + b"\n" for e in asked))
        out = subprocess.run([options.tools / "metammf", "--config", daemon.config, "event",
                              "explain", path, "--role", role, "--json"], check=True,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=300).stdout
        answers = [json.loads(line) for line in out.splitlines()]
        if [a["line"] for a in answers] != list(range(1, len(asked) + 1)):
            found.append(f"explain: {len(answers)} lines for {len(asked)} events")
        for event, answer in zip(asked, answers):
            n += 1
            want = explained_as(event)
            got = {name: answer[name] for name in want}
            if "warnings" in got:
                got["warnings"] = sorted(got["warnings"])
            if got != want or (event.says and event.says not in answer["error"]):
                found.append(f"explain {event.form} {event.breakage or ''}: expected {want}, got "
                             f"{answer}: {event.value!r:.500}")
    return n, found


def check_that_a_terminal_is_safe(options, folder):
    """U+009B begins a sequence of control as ESC [ does."""
    path = folder / "terminal.ndjson"
    path.write_text(json.dumps({"item_id": "v1", "title": "a\x9b31m\x1b[31m\x7f"},
                               ensure_ascii=False) + "\n")
    out = subprocess.run([options.tools / "metammf", "event", "explain", path, "--role", "videos"],
                         check=True, stdout=subprocess.PIPE, timeout=60).stdout.decode()
    assert "a 31m" in out and not any(c in out for c in "\x9b\x1b\x7f"), repr(out)


# ---- a run -------------------------------------------------------------------------------------

def make_daemon(options, cluster, folder, preset):
    daemon = kt.Daemon(options.tools / "metammfd", options.tools, folder, cluster.bootstrap,
                       "assign", folder)
    settings = daemon.config.read_text().replace('log_level = "debug"', 'log_level = "info"')
    daemon.config.write_text(settings + oracle.SETTINGS[preset])
    return daemon


def feed(options, cluster, daemon, events, folder):
    """Produces the events, learns their offsets and waits until they are stored; what the producer sent
    again is added. A portion at a time: the mock cluster keeps 5 MiB of a partition."""
    for first in range(0, len(events), 5000):
        kt.Feed(options.tools, cluster.bootstrap, events[first:first + 5000], 0, folder).finish()
        ends = {}
        for topic in (kt.VIDEOS, kt.INTERACTIONS):
            ends.update(kt.log_ends(options.tools, cluster.bootstrap, topic))
        kt.wait_for_end(daemon, ends)
    copies = []
    if sum(ends.values()) != len(events):
        copies = ledger.resent(options.tools, cluster.bootstrap, events, ends)
    return events + copies


def count(what):
    for name, n in sorted(collections.Counter(what).items(), key=lambda pair: -pair[1]):
        kt.say(f"  {n:7}  {name}")


def run_preset(options, folder, preset, n):
    began_us = time.time() * 1e6
    events = oracle.generate(preset, random.Random(f"{options.seed} {preset}"), n)
    cluster = kt.MockCluster(options.tools)
    options.on_exit.callback(cluster.close)
    for topic, partitions in ((kt.VIDEOS, oracle.PARTITIONS), (kt.INTERACTIONS,
                                                               oracle.PARTITIONS), (kt.DLQ, 1)):
        cluster.create_topic(topic, partitions)
    daemon = make_daemon(options, cluster, folder, preset)
    daemon.start()
    sent = feed(options, cluster, daemon, events, folder)
    daemon.stop()

    expected, stored = oracle.Expected(sent), Stored(daemon)
    found = differences(expected, stored, began_us)
    n_explained, more = differences_of_explain(options, daemon, folder, events)
    found += more
    if not found:
        n_plants = prove_that_it_can_fail(expected, stored, began_us)
        kt.say(f"{preset}: {n_plants} planted faults found")
    kt.say(f"{preset}: {len(sent)} events, {n_explained} of them explained: "
           f"{sum(not r['deleted'] for r in expected.items.values())} items, "
           f"{sum(r['deleted'] for r in expected.items.values())} deleted ones, "
           f"{len(expected.interactions)} interactions, {len(expected.dead)} dead letters; "
           f"{len(found)} differences")
    for text in found[:10]:
        kt.say(f"  {text}")
    return events, found


def run_presets(presets):
    def run_them(options, folder):
        check_that_a_terminal_is_safe(options, folder)
        events, found = [], []
        for preset in presets:
            own = folder / preset
            own.mkdir()
            more, differing = run_preset(options, own, preset, N_EVENTS // len(presets))
            events, found = events + more, found + differing
        kt.say("forms of the good ones:")
        count((e.form for e in events if not e.breakage))
        kt.say("meanings:")
        count((e.meaning for e in events))
        kt.say("tolerated:")
        count((w for e in events if not e.breakage for w in e.warnings | e.notes))
        kt.say("breakages:")
        count((e.breakage for e in events if e.breakage))
        kt.say(f"{len(events)} events, {sum(e.meaning == 'dead' for e in events)} of them broken in "
               f"{len({e.breakage for e in events} - {None})} ways: {len(found)} differences")
        return 1 if found else 0
    return run_them


CASES = {"all": run_presets(list(oracle.SETTINGS)),
         **{preset: run_presets([preset]) for preset in oracle.SETTINGS}}

if __name__ == "__main__":
    sys.exit(run_case(CASES))
