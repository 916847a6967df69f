#!/usr/bin/env python3
"""A simulated site: real features and real interactions of micro-videos, played to a real daemon.

    simulate_site.py BIN DATA FOLDER [--steps 6] [--epochs 40] [--backbone lightgcn] [--late 20]
                     [--members 1]

SIMULATED: the interactions of DATA/trn.tsv carry no times, and the file is sorted by user and item;
they are played in one seeded shuffled order. LATE % of the items, chosen by a seeded draw, are
uploaded at an even pace during the stream; an interaction with an item that is not there yet waits for its upload. Items come from arrays
(site_daemon, beside the daemon), everything else is the daemon's own: the spool, the sink, the
schedule, the trainer, the gate, the flip.

After each retraining DATA/val.tsv is evaluated by `metammf eval`; nothing of it enters the store.
Prints a table and writes FOLDER/site.tsv and FOLDER/site.svg. Standard library only.
"""

import argparse
import itertools
import json
import pathlib
import random
import re
import sqlite3
import subprocess
import time


GROUP = 20  # items uploaded at a time


def read_pairs(path):
    return [line.rstrip("\n").split("\t")[:2] for line in open(path, encoding="utf-8")]


class Site:
    def __init__(self, a):
        self.a, self.n_files = a, 0
        self.dir = pathlib.Path(a.folder)
        self.dir.mkdir(parents=True, exist_ok=True)
        (self.dir / "spool").mkdir(exist_ok=True)
        self.store, self.config = self.dir / "s.db", self.dir / "metammfd.conf"
        self.ids = self.dir / "ids.txt"
        self.n_items = 6710
        self.ids.write_text("".join(f"{i}\n" for i in range(self.n_items)))
        pairs = read_pairs(pathlib.Path(a.data) / "trn.tsv")
        random.Random(2).shuffle(pairs)
        late = random.Random(1).sample(range(self.n_items), self.n_items * a.late // 100)
        self.stream = self.place_uploads(pairs, late)
        self.first = [i for i in range(self.n_items) if i not in set(late)]

    def place_uploads(self, pairs, late):
        """[("upload", items) or ("see", user, item)], with waiting interactions behind uploads."""
        every, there = len(pairs) / len(late), {str(i) for i in range(self.n_items)} - {str(i) for i in late}
        stream, waiting, due, n = [], {}, iter(late), 0
        for k, (user, item) in enumerate(pairs):
            if n * every <= k and n < len(late):
                group = [str(i) for i in itertools.islice(due, GROUP)]
                n += len(group)
                there.update(group)
                stream.append(("upload", group))
                stream += [("see", u, new) for new in group for u in waiting.pop(new, [])]
            if item in there:
                stream.append(("see", user, item))
            else:
                waiting.setdefault(item, []).append(user)
        return stream

    def write_config(self, n_new):
        a = self.a
        self.config.write_text(f"""
            source = "spool";
            store = {{ path = "{self.store}"; keep_model_versions = 2; }};
            spool = {{ directory = "{self.dir}/spool"; keep_files = false; }};
            media = {{ roots = ["{self.dir}"]; }};
            http = {{ port = 0; }};
            control = {{ socket = "{self.dir}/control.sock"; }};
            extract = {{ workers = 1; }};
            training = {{ interval_s = 0; new_interactions = {n_new}; min_new_interactions = {n_new};
                          retry_s = 20; epochs = {a.epochs}; backbone = "{a.backbone}";
                          item_graph = "{a.item_graph}"; members = {a.members}; nice = {a.nice}; heartbeat_s = 1800; min_cold_pairs = 100; }};
            """)

    def start(self):
        data = pathlib.Path(self.a.data)
        self.daemon = subprocess.Popen(
            [f"{self.a.bin}/site_daemon", self.config, self.ids, data / "image_feat.npy",
             data / "audio_feat.npy"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=open(self.dir / "log", "a"))

    def put(self, items):
        for i in range(0, len(items), 500):
            self.daemon.stdin.write("put " + " ".join(map(str, items[i:i + 500])) + "\n")

    def upload(self, items):
        self.daemon.stdin.write("upload " + " ".join(items) + "\n")
        self.daemon.stdin.flush()
        return json.loads(self.daemon.stdout.readline())

    def see(self, events):
        self.n_files += 1
        part = self.dir / "part"
        now = int(time.time())
        part.write_text("".join(json.dumps(
            {"user_id": u, "item_id": i, "ts": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))})
            + "\n" for u, i in events))
        part.rename(self.dir / "spool" / f"{self.n_files:06}.ndjson")

    def query(self, sql):
        db = sqlite3.connect(f"file:{self.store}?mode=ro", uri=True, timeout=60)
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()

    def eval(self):
        out = subprocess.run([f"{self.a.bin}/metammf", "--store", self.store, "eval", "--test",
                              pathlib.Path(self.a.data) / "val.tsv", "--json"], check=True,
                             capture_output=True, text=True).stdout
        return json.loads(out)

    def ends(self):
        """How the retrainings so far ended: (published, refused, failed)."""
        log = (self.dir / "log").read_text()
        return (len(re.findall("retraining: model .* is published", log)),
                len(re.findall("retraining: model .* is refused", log)),
                len(re.findall("retraining: failed", log)))


def run_step(site, events, late):
    """Plays events; late gets a line of figures for each upload."""
    run = []
    for event in events:
        if event[0] == "see":
            run.append(event[1:])
            continue
        if run:
            site.see(run)
            run = []
        late.append(site.upload(event[1]))
    if run:
        site.see(run)


def wait_for_retraining(site, n_before, patience_s):
    until = time.monotonic() + patience_s
    while sum(site.ends()) <= n_before:
        if time.monotonic() > until or site.daemon.poll() is not None:
            raise SystemExit(f"no retraining within {patience_s} s; see {site.dir}/log")
        time.sleep(0.5)


def figures(site, step, late):
    e = site.eval()
    trained = [u for u in late if u["embedded"] and u["model"] > 1]
    return {"step": step, "model": site.query("SELECT model_id FROM active_model")[0][0],
            "items": site.query("SELECT count(*) FROM current_embedding")[0][0],
            "interactions": site.query("SELECT count(*) FROM interaction")[0][0],
            "ndcg_20": e["overall"]["20"]["ndcg"], "recall_20": e["overall"]["20"]["recall"],
            "cold_recall_20": e["cold"]["20"]["recall"],
            "cold_only_recall_20": e["cold_only"]["20"]["recall"],
            "late": sum(u["embedded"] for u in trained),
            "shown_1s": sum(u["shown"] for u in trained if u["ready_s"] <= 1),
            "fresh_1s": sum(u["fresh"] for u in trained if u["ready_s"] <= 1)}


def panel(rows, top, title, lines):
    """One diagram: a line a figure over the interactions that were played."""
    high = max(r[k] for r in rows for k, _, _ in lines) or 1
    x = lambda i: 70 + 540 * i / max(1, len(rows) - 1)
    y = lambda v: top + 190 - 170 * v / high
    out = [f'<text x="70" y="{top + 8}" font-weight="bold">{title}</text>']
    for k in range(5):
        v = high * k / 4
        out.append(f'<line x1="70" x2="610" y1="{y(v):.0f}" y2="{y(v):.0f}" stroke="#ddd"/>'
                   f'<text x="62" y="{y(v) + 4:.0f}" text-anchor="end">{v:.3f}</text>')
    for n, (key, colour, name) in enumerate(lines):
        points = [(x(i), y(r[key])) for i, r in enumerate(rows)]
        out.append('<polyline points="' + " ".join(f"{a:.0f},{b:.0f}" for a, b in points) +
                   f'" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{a:.0f}" cy="{b:.0f}" r="3" fill="{colour}"/>' for a, b in points]
        out.append(f'<text x="{70 + n * 270}" y="{top + 232}" fill="{colour}">{name}</text>')
    out += [f'<text x="{x(i):.0f}" y="{top + 208}" text-anchor="middle">{r["interactions"]:,}</text>'
            for i, r in enumerate(rows)]
    return "".join(out)


def svg(rows, path):
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="660" height="560" font-family="sans-serif" '
        'font-size="12"><rect width="660" height="560" fill="white"/><text x="70" y="24" '
        'font-size="14">Simulated site: real features and interactions, a played order</text>' +
        panel(rows, 50, "All items", [("ndcg_20", "#b00", "validation NDCG@20"),
                                      ("recall_20", "#06c", "validation Recall@20")]) +
        panel(rows, 300, "Items without interactions",
              [("cold_only_recall_20", "#080", "cold Recall@20 among cold items"),
               ("cold_recall_20", "#a50", "cold Recall@20 among all items")]) +
        '<text x="340" y="552" text-anchor="middle">interactions played</text></svg>\n')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("bin", "data", "folder"):
        p.add_argument(name)
    p.add_argument("--steps", type=int, default=6)
    p.add_argument("--epochs", type=int, default=40, help="at most; early stopping ends them")
    p.add_argument("--backbone", default="lightgcn")
    p.add_argument("--item-graph", default="knn")
    p.add_argument("--members", type=int, default=1, help="trainings whose mean is a model")
    p.add_argument("--late", type=int, default=20, help="per cent of the items")
    p.add_argument("--nice", type=int, default=10, help="of the trainer")
    p.add_argument("--patience", type=int, default=1800, help="seconds for one retraining")
    a = p.parse_args()
    site = Site(a)
    n_see = sum(e[0] == "see" for e in site.stream)
    site.write_config(n_see // a.steps - 200)
    site.start()
    site.put(site.first)
    rows, late = [], []
    cut = [len(site.stream) * k // a.steps for k in range(a.steps + 1)]
    for k in range(a.steps):
        n_before = sum(site.ends())
        run_step(site, site.stream[cut[k]:cut[k + 1]], late)
        wait_for_retraining(site, n_before, a.patience)
        rows.append(figures(site, k + 1, late))
        rows[-1]["ends"] = site.ends()
        print(json.dumps(rows[-1]), flush=True)
    site.daemon.stdin.close()
    site.daemon.wait()
    keys = [k for k in rows[0] if k != "ends"]
    (site.dir / "site.tsv").write_text("\t".join(keys) + "\n" + "".join(
        "\t".join(f"{r[k]:.4f}" if isinstance(r[k], float) else str(r[k]) for k in keys) + "\n"
        for r in rows))
    svg(rows, site.dir / "site.svg")
    print((site.dir / "site.tsv").read_text())
    last, ready = rows[-1], sorted(u["ready_s"] for u in late)
    print(f"an upload of {GROUP} could be recommended after {ready[len(ready) // 2]:.3f} s in the "
          f"median, {ready[-1]:.3f} s at most")
    print(f"published, refused, failed: {site.ends()}; {last['late']} late items with features under "
          f"a trained model, within one second of their upload {last['shown_1s']} of them in "
          f"somebody's top 20, {last['fresh_1s']} with recommend --fresh 2")


if __name__ == "__main__":
    main()
