#!/usr/bin/env python3
"""An hour of a small simulated site: does a daemon that retrains all the time stay as it is?

    soak.py BIN FOLDER [--minutes 65] [--interval 20] [--speed 1440] [--backbone lightgcn]

SIMULATED: 400 items and 300 users of six planted tastes. Every five seconds come 50 interactions, one
event that becomes a dead letter, one new item (one in ten with a clip, the others with a title) and the
deletion of the oldest. The daemon is soak_daemon (beside BIN's others): metammfd whose wall clock runs
SPEED times as fast, so that one minute is a day at 1440; interactions and dead letters are kept for ten
such days, two retired models. It retrains INTERVAL real seconds after the last time; nobody asks it to.
Once a minute a reader comes (status, recommend); every ten seconds /metrics is read and a line of
FOLDER/soak.tsv is written.

Flat is: the median of the last third of the run is at most 5 % above that of the middle third; of
descriptors, which come and go with each retraining, the least of the last third is not above the
least of the middle third. The first third is for filling up. The store keeps for ever, by design, a row
for each model, each item that there ever was and each spool file: the tables of these are history_mb,
which is printed, and left out of what has to be flat; `kept` counts such rows.
Exit code 0 when all is flat and 100 retrainings were judged. Standard library only.
"""

import argparse
import json
import os
import pathlib
import random
import re
import signal
import sqlite3
import statistics
import subprocess
import time
import urllib.request

TASTES, USERS, ITEMS = 6, 300, 400
KEEP_DAYS, EVERY_S, SAMPLE_S, MB = 10, 5, 10, 1 << 20
WORDS = [["cat", "kitten", "purr"], ["noodle", "soup", "wok"], ["goal", "football", "keeper"],
         ["synth", "bass", "remix"], ["trail", "summit", "ridge"], ["chess", "gambit", "rook"]]
COLUMNS = ["seconds", "rss_mb", "anon_mb", "descriptors", "wal_mb", "store_mb", "models_mb",
           "versions", "interactions", "dead_letters", "history_mb", "rest_mb", "kept", "judged"]
HISTORY = ("model", "run_metric", "item", "item_position", "topic", "kafka_offset")
JUDGED = ["rss_mb", "anon_mb", "descriptors", "wal_mb", "rest_mb", "models_mb"]
SHOWN = ["store_mb", "history_mb"]


class Site:
    def __init__(self, a):
        self.a, self.random = a, random.Random(1)
        self.n_files = self.n_items = 0
        self.live = []
        self.dir = pathlib.Path(a.folder).resolve()
        for name in ("", "spool", "models", "media"):
            (self.dir / name).mkdir(parents=True, exist_ok=True)
        self.store, self.config = self.dir / "s.db", self.dir / "metammfd.conf"
        subprocess.run([f"{a.bin}/metammf-extract", "--make-clips", self.dir / "media", "12"],
                       check=True, stdout=subprocess.DEVNULL)
        self.clips = sorted((self.dir / "media").iterdir())
        self.config.write_text(f"""
            source = "spool";
            store = {{ path = "{self.store}"; model_dir = "{self.dir}/models";
                       keep_interactions_days = {KEEP_DAYS}; keep_dead_letters_days = {KEEP_DAYS};
                       keep_model_versions = 2; }};
            spool = {{ directory = "{self.dir}/spool"; keep_files = false; }};
            media = {{ roots = ["{self.dir}/media"]; }};
            http = {{ port = {a.port}; }};
            control = {{ socket = "{self.dir}/control.sock"; }};
            extract = {{ workers = 1; }};
            training = {{ interval_s = {a.interval}; min_new_interactions = 100; retry_s = 5;
                          min_users = 20; epochs = 4; backbone = "{a.backbone}"; }};
            """)

    def start(self):
        self.daemon = subprocess.Popen([f"{self.a.bin}/soak_daemon", self.config, str(self.a.speed)],
                                       stderr=open(self.dir / "log", "a"))

    def new_item(self):
        n = self.n_items
        self.n_items += 1
        self.live.append(n)
        event = {"item_id": f"v{n}",
                 "title": " ".join(self.random.choices(WORDS[n % TASTES], k=4)) + f" {n}"}
        if n % 10 == 0:
            event["media_uri"] = f"file://{self.clips[n // 10 % len(self.clips)]}"
        return event

    def interaction(self):
        user, item = self.random.randrange(USERS), self.random.choice(self.live)
        while item % TASTES != user % TASTES and self.random.random() < 0.9:
            item = self.random.choice(self.live)
        return {"user_id": f"u{user}", "item_id": f"v{item}"}

    def drop(self, events):
        self.n_files += 1
        part = self.dir / "part"
        part.write_text("".join(json.dumps(e) + "\n" for e in events))
        part.rename(self.dir / "spool" / f"{self.n_files:06}.ndjson")

    def move_on(self):
        events = [self.interaction() for _ in range(50)] + [self.new_item(), {"item_id": 7}]
        events.append({"type": "video.deleted", "item_id": f"v{self.live.pop(0)}"})
        self.drop(events)

    def look_in(self):
        for verb in (["status"], ["recommend", f"u{self.random.randrange(USERS)}"]):
            subprocess.run([f"{self.a.bin}/metammf", "--store", self.store, *verb], check=False,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def query(self, *statements):
        """The one number of each."""
        db = sqlite3.connect(f"file:{self.store}?mode=ro", uri=True, timeout=60)
        try:
            return [db.execute(s).fetchone()[0] for s in statements]
        finally:
            db.close()

    def results(self):
        """How many retrainings ended how."""
        page = urllib.request.urlopen(f"http://127.0.0.1:{self.a.port}/metrics", timeout=60).read().decode()
        return {k: int(v) for k, v in re.findall(r'metammf_retrain_total\{result="(\w+)"\} (\d+)', page)}

    def sample(self, seconds):
        status = pathlib.Path(f"/proc/{self.daemon.pid}/status").read_text()
        kb = lambda name: int(re.search(rf"^{name}:\s+(\d+)", status, re.M)[1])
        size = lambda path: os.path.getsize(path) / MB if os.path.exists(path) else 0
        folders = [d for d in (self.dir / "models").iterdir() if d.name.startswith("trained-")]
        # A folder may go while its files are counted.
        files = [os.path.join(d, f) for d, _, names in os.walk(self.dir / "models") for f in names]
        interactions, letters, kept, history, pages = self.query(
            "SELECT count(*) FROM interaction", "SELECT count(*) FROM dead_letter",
            "SELECT (SELECT count(*) FROM model) + (SELECT count(*) FROM kafka_offset) + "
            "(SELECT count(*) FROM item WHERE deleted = 1)",
            "SELECT sum(s.pgsize) FROM dbstat s JOIN sqlite_schema m ON m.name = s.name "
            f"WHERE m.tbl_name IN {HISTORY}",
            "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        ends = self.results()
        return dict(zip(COLUMNS, [
            round(seconds), kb("VmRSS") / 1024, kb("RssAnon") / 1024,
            len(os.listdir(f"/proc/{self.daemon.pid}/fd")), size(f"{self.store}-wal"),
            size(self.store), sum(size(f) for f in files), len(folders), interactions, letters,
            history / MB, (pages - history) / MB, kept, ends.get("published", 0) + ends.get("rejected", 0)]))


def run(site, minutes):
    """One sample every SAMPLE_S."""
    begun, samples = time.monotonic(), []
    ticks = int(minutes * 60 / EVERY_S)
    with open(site.dir / "soak.tsv", "w") as out:
        print(*COLUMNS, sep="\t", file=out, flush=True)
        for tick in range(1, ticks + 1):
            time.sleep(max(0, begun + tick * EVERY_S - time.monotonic()))
            if site.daemon.poll() is not None:
                raise SystemExit(f"the daemon is gone: {site.daemon.returncode}; see {site.dir}/log")
            site.move_on()
            if tick * EVERY_S % 60 == 0:
                site.look_in()
            if tick * EVERY_S % SAMPLE_S == 0:
                samples.append(site.sample(time.monotonic() - begun))
                print(*(f"{v:.3f}" if isinstance(v, float) else v for v in samples[-1].values()),
                      sep="\t", file=out, flush=True)
    return samples


def slope_per_hour(samples, name):
    x, y = [s["seconds"] / 3600 for s in samples], [s[name] for s in samples]
    mx, my = statistics.mean(x), statistics.mean(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y)) / (sum((a - mx) ** 2 for a in x) or 1)


def tell(samples):
    """The table by tenth of the run, the slopes; whether all is flat."""
    n = len(samples)
    print("medians by tenth of the run\n" + " ".join(f"{c:>12}" for c in COLUMNS))
    for k in range(10):
        part = samples[n * k // 10:n * (k + 1) // 10]
        print(" ".join(f"{statistics.median(s[c] for s in part):12.1f}" for c in COLUMNS))
    print(f"\n{'':12} {'middle third':>12} {'last third':>12} {'most':>8} {'per hour':>9}   verdict")
    flat = True
    for name in JUDGED + SHOWN:
        of, allowed = (min, 1) if name == "descriptors" else (statistics.median, 1.05)
        middle, last = (of([s[name] for s in samples[n * k // 3:n * (k + 1) // 3]]) for k in (1, 2))
        good = last <= middle * allowed
        flat &= good or name in SHOWN
        print(f"{name:12} {middle:12.2f} {last:12.2f} {max(s[name] for s in samples):8.1f} "
              f"{slope_per_hour(samples[n // 3:], name):+9.2f}   "
              f"{'' if name in SHOWN else 'flat' if good else 'GROWS'}")
    return flat


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("bin")
    p.add_argument("folder")
    p.add_argument("--minutes", type=float, default=65)
    p.add_argument("--interval", type=int, default=20, help="seconds between two retrainings")
    p.add_argument("--speed", type=int, default=1440, help="of the wall clock")
    p.add_argument("--backbone", default="lightgcn")
    p.add_argument("--port", type=int, default=9471, help="of /metrics")
    a = p.parse_args()
    site = Site(a)
    site.start()
    try:
        site.drop([site.new_item() for _ in range(ITEMS)])
        site.drop([site.interaction() for _ in range(2000)])
        samples = run(site, a.minutes)
        ends = site.results()
    finally:
        site.daemon.send_signal(signal.SIGTERM)
        code = site.daemon.wait(timeout=60)
    flat = tell(samples)
    n_judged = samples[-1]["judged"]
    days = samples[-1]["seconds"] * a.speed / 86400
    print(f"\n{samples[-1]['seconds'] / 60:.0f} minutes, {days:.0f} days of its wall clock; retrainings "
          f"{ends}; the daemon stopped with {code}; {'flat' if flat else 'NOT FLAT'}")
    raise SystemExit(0 if flat and n_judged >= 100 and code == 0 else 1)


if __name__ == "__main__":
    main()
