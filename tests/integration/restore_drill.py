#!/usr/bin/env python3
"""The restore drill: a site with items, trained, backed up under load and at rest, restored elsewhere, started
there, compared byte for byte, rolled back. It prints the seconds of each step.

    restore_drill.py TOOLS [ITEMS]      1000 items

See processtest.py.
"""

import hashlib
import json
import pathlib
import sqlite3
import sys
import threading
import time

sys.dont_write_bytecode = True
from processtest import Site, wait_for  # noqa: E402

WORDS = [["cat", "kitten", "purr", "whiskers", "paw"], ["noodle", "soup", "spicy", "wok", "rice"],
         ["goal", "football", "penalty", "striker", "keeper"], ["synth", "bass", "remix", "drum", "dj"]]
N_TOPICS, N_USERS = 4, 60
# What a round needs to come by itself and soon.
TRAINING = {"interval_s": 1, "min_new_interactions": 40, "min_users": 20, "retry_s": 1, "epochs": 3,
            "backbone": '"mf"', "tolerance_percent": 100, "cold_tolerance_percent": 100,
            "rank_tolerance_percent": 100}


def training_settings(**more):
    values = {**TRAINING, **more}
    return "training = { " + "".join(f"{k} = {v}; " for k, v in values.items()) + "};"


def query(store, sql, immutable=False):
    mode = "immutable=1" if immutable else "mode=ro"
    db = sqlite3.connect(f"file:{store}?{mode}", uri=True, timeout=60)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def vectors(store, **how):
    return query(store, "SELECT 'item', item_id, model_id, vec FROM current_embedding UNION ALL "
                 "SELECT 'user', user_id, model_id, vec FROM current_user_embedding ORDER BY 1, 2", **how)


def active(store):
    return query(store, "SELECT model_id FROM active_model")[0][0]


class Load:
    """Items and interactions, file after file, until it is stopped."""

    def __init__(self, site):
        self.site, self.n_files, self.n_items, self.step = site, 0, 0, 0
        self.over = threading.Event()
        self.thread = None

    def put(self, lines):
        self.n_files += 1
        self.site.drop(f"{self.n_files:06}.ndjson", [json.dumps(line) for line in lines])

    def put_items(self, n):
        self.put({"item_id": f"v{i}", "title": f"{' '.join(WORDS[i % N_TOPICS][i % 3:][:3])} {i}"}
                 for i in range(self.n_items, self.n_items + n))
        self.n_items += n

    def put_interactions(self, n):
        """n of each user, with items of the user's own topic that it has not seen."""
        now = time.time()
        mine = self.n_items // N_TOPICS
        self.put({"user_id": f"u{u}", "item_id": f"v{(u * 7 + k) % mine * N_TOPICS + u % N_TOPICS}",
                  "ts": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + k - 1000))}
                 for k in range(self.step, self.step + n) for u in range(N_USERS))
        self.step += n

    def n_waiting(self):
        """Files that the daemon has not read to their end."""
        return sum(1 for _ in pathlib.Path(self.site.spool).glob("*.ndjson"))

    def run(self):
        """As fast as a slow build keeps up with."""
        while not self.over.wait(0.2):
            if self.n_waiting() < 4:
                self.put_items(20)
                self.put_interactions(1)

    def start(self):
        self.over.clear()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def stop(self):
        self.over.set()
        self.thread.join()


def done(site, *args):
    r = site.metammf(*args, "--json")
    assert r.returncode == 0, f"metammf {args}: {r.returncode}: {r.stdout}{r.stderr}"
    return json.loads(r.stdout)


def check_files(folder):
    """Each file of a backup is what its list says, and there is no other."""
    folder = pathlib.Path(folder)
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    there = {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}
    assert there == {*listed, "manifest.json"}, there ^ {*listed, "manifest.json"}
    for name, row in listed.items():
        data = (folder / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (row["bytes"], row["sha256"]), name
        assert (folder / name).stat().st_mode & 0o7777 == 0o640, name


def train_twice(site, load, items):
    load.put_items(items)
    wait_for("items", lambda: query(site.store, "SELECT count(*) FROM current_embedding")[0][0] == items)
    for _ in range(2):
        before = active(site.store)
        load.put_interactions(6)
        wait_for("a training", lambda: active(site.store) != before)


def back_up_under_load(site, load, folder):
    """Backups while items come, until a training has flipped the model meanwhile; the last one."""
    first, n, longest = active(site.store), 0, 0
    load.start()
    try:
        until = time.monotonic() + 300
        while active(site.store) == first or n < 2:
            assert time.monotonic() < until, "no training flipped the model"
            n += 1
            at = time.monotonic()
            done(site, "backup", f"{folder}/load-{n}")
            longest = max(longest, time.monotonic() - at)
            check_files(f"{folder}/load-{n}")
    finally:
        load.stop()
    print(f"{n} backups under load, the longest {longest:.2f} s, model {first} → {active(site.store)}")
    return f"{folder}/load-{n}"


def at_rest(site, load):
    """Nothing waits: not in the spool, not for refresh, which looks at what came since the training after a
    start, before there is a touch of it: its vectors have been the same for two seconds."""
    seen = []

    def quiet():
        status = done(site, "status")
        seen.append(vectors(site.store))
        return (load.n_waiting() == 0 and sum(status["daemon"]["queue"].values()) == 0 and
                query(site.store, "SELECT count(*) FROM touch")[0][0] == 0 and
                len(seen) > 1 and seen[-2] == seen[-1])
    wait_for("rest", quiet, every_s=2)


def restore(there, folder):
    """In a place where nothing is yet."""
    at = time.monotonic()
    report = done(there, "restore", folder)
    print(f"restored in {time.monotonic() - at:.2f} s: {report['counts']['items']} items, models "
        f"{report['models']}, active {report['active_model']}")
    wanted = vectors(f"{folder}/metammf.db", immutable=True)
    assert vectors(there.store) == wanted and wanted, "vectors differ"
    at = time.monotonic()
    there.start()
    wait_for("ready", there.ready)
    print(f"ready in {time.monotonic() - at:.2f} s")
    return wanted


def roll_back(there):
    """As often as there are earlier models."""
    was = active(there.store)
    at = time.monotonic()
    done(there, "model", "rollback")
    now = active(there.store)
    assert now < was and {v[2] for v in vectors(there.store)} == {now}, (was, now)
    print(f"rolled back from model {was} to {now} in {time.monotonic() - at:.2f} s")


def drill(here, there, folder, items=1000):
    """here has nothing yet and trains by training_settings(); `there` has nothing yet and does not train. Both
    are stopped. At the end both run."""
    load = Load(here)
    here.start()
    at = time.monotonic()
    train_twice(here, load, items)
    print(f"{items} items, trained twice: {time.monotonic() - at:.1f} s")
    under_load = back_up_under_load(here, load, folder)
    restore(there, under_load)
    there.stop()

    here.rest()
    at_rest(here, load)
    done(here, "backup", f"{folder}/rest")
    check_files(f"{folder}/rest")
    report = done(there, "restore", "--force", f"{folder}/rest")
    assert len(report["aside"]) == 1, report["aside"]
    there.start()
    wait_for("ready", there.ready)
    assert vectors(there.store) == vectors(here.store), "vectors differ"
    print(f"{len(vectors(there.store))} vectors are the same bytes here and there")
    roll_back(there)


class Folder(Site):
    def ready(self):
        return self.http("/readyz")[0] == 200

    def rest(self):
        """Without training from now on."""
        self.stop()
        self.write_config("training = { enabled = false; };\nextract = { workers = 1; };")
        self.start()


def main():
    items = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    here, there = Folder(n_clips=1), Folder(n_clips=1)
    try:
        here.write_config(training_settings() + "\nextract = { workers = 1; };")
        there.write_config("training = { enabled = false; };\nextract = { workers = 1; };")
        there.store = there.dir / "s.db"
        drill(here, there, str(here.dir), items)
    finally:
        for site in here, there:
            site.close()
    print("restore drill: passed")


if __name__ == "__main__":
    main()
