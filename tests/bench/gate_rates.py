#!/usr/bin/env python3
"""How often the gate refuses a model that is as good as the active one, and how often it refuses
worse ones.

    gate_rates.py BIN DATA FOLDER [--share 100] [--seeds 20] [--spoiled 10] [--active 5] [--epochs 0]
                  [-- train's options]

On a seeded draw of --share % of DATA/trn.tsv (which is sorted by item, so its order says nothing), a
tenth of each user's, drawn as well, held out where there are five or more: one training for each
seed, all with the same data. Each is made the active model in turn, and `metammf judge` compares
with it

    the --active seeds after it, around the end
                         retrainings of equal quality: what is refused is refused wrongly

and, when it is one of the first --active,

    mildly worse ones    80 % of the data, drawn for each, and half the epochs
    shuffled             one whose interactions are shuffled
    cold only            the active one with the last layer of its fusion negated, and what a cold
                         item borrows from others; what it publishes for warm items is kept

--epochs 0: train's own, stopped early by the held-out pairs; half the epochs is then half of the
median best epoch. A trained folder that is there is used again.

DATA "planted" makes a site of its own: 2,000 users and 800 items of 12 tastes, features of 2 × 16
that hint at the taste, 24 interactions a user, nine in ten of them within its taste: which item of
a taste is chance, so that little is lost with a fifth of the data. DATA "factors": 5,000 users and
1,000 items of 8 numbers each, 20 interactions a user drawn by the product of the two, features that
hint at the item's numbers: every interaction tells something.
"""

import argparse
import hashlib
import json
import math
import operator
import pathlib
import random
import shutil
import struct
import subprocess

FEATURES = ("image_feat.npy", "audio_feat.npy")


def run(*args):
    r = subprocess.run([str(a) for a in args], capture_output=True, text=True)
    if r.returncode:
        raise SystemExit(f"{args}: {r.stderr}")
    return r.stdout


def split(pairs):
    by_user = {}
    for user, item in pairs:
        by_user.setdefault(user, []).append(item)
    train, held = [], []
    for user, items in by_user.items():
        n = max(1, len(items) // 10) if len(items) >= 5 else 0
        held += [(user, i) for i in items[len(items) - n:]]
        train += [(user, i) for i in items[:len(items) - n]]
    return train, held


def npy(path, rows):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(rows)}, {len(rows[0])}), }}"
    head += " " * (63 - (10 + len(head)) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() +
                     b"".join(struct.pack(f"<{len(r)}f", *r) for r in rows))


def planted(r, folder):
    """(items, interactions) of tastes that features tell."""
    n_items, tastes, pairs = 800, 12, set()
    for name in FEATURES:
        centre = [[r.gauss(0, 1) for _ in range(16)] for _ in range(tastes)]
        npy(folder / name, [[x + r.gauss(0, 3) for x in centre[i % tastes]] for i in range(n_items)])
    for user in range(2000):
        own = [i for i in range(n_items) if i % tastes == user % tastes]
        for _ in range(24):
            item = r.choice(own) if r.random() < .9 else r.randrange(n_items)
            pairs.add((user, item))
    return n_items, pairs


def factors(r, folder):
    """The same of items and users that are points: exp(product) is the chance of an interaction."""
    n_items, n, pairs = 1000, 8, set()
    items = [[r.gauss(0, 1) for _ in range(n)] for _ in range(n_items)]
    for name in FEATURES:
        view = [[r.gauss(0, 1) / n ** .5 for _ in range(n)] for _ in range(16)]
        npy(folder / name, [[sum(map(operator.mul, row, item)) + r.gauss(0, 2) for row in view]
                            for item in items])
    liked = [r.gauss(0, .5) for _ in range(n_items)]
    for user in range(5000):
        own = [r.gauss(0, 1) for _ in range(n)]
        chance = [math.exp(sum(map(operator.mul, own, item)) + x) for item, x in zip(items, liked)]
        pairs.update((user, item) for item in r.choices(range(n_items), chance, k=20))
    return n_items, pairs


GENERATED = {"planted": planted, "factors": factors}


def write(path, pairs):
    path.write_text("".join(f"{u}\t{i}\n" for u, i in pairs))
    return path


class Bench:
    def __init__(self, a):
        self.a, self.dir, self.n_items = a, pathlib.Path(a.folder), 6710
        self.dir.mkdir(parents=True, exist_ok=True)
        if a.data in GENERATED:
            make, a.data = GENERATED[a.data], self.dir / "site"
            a.data.mkdir(exist_ok=True)
            self.n_items, pairs = make(random.Random(3), a.data)
            write(a.data / "trn.tsv", sorted(pairs))
        pairs = [line.split("\t")[:2] for line in
                 (pathlib.Path(a.data) / "trn.tsv").read_text().split("\n") if line]
        random.Random(2).shuffle(pairs)
        self.train, self.held = split(pairs[:len(pairs) * a.share // 100])
        self.heldout = write(self.dir / "held.tsv", self.held)
        # Items of which nothing is in the training are cold by themselves; more, so that their
        # figure has some weight: every tenth held-out item leaves the training altogether.
        cold = set(sorted({i for _, i in self.held})[::10])
        self.train = [p for p in self.train if p[1] not in cold]

    def store(self, name, pairs):
        path = self.dir / name / "s.db"
        path.parent.mkdir(exist_ok=True)
        ids = self.dir / "ids.txt"
        ids.write_text("".join(f"{i}\n" for i in range(self.n_items)))
        data = pathlib.Path(self.a.data)
        m = f"{self.a.bin}/metammf"
        run(m, "--store", path, "import", "items", "--ids", ids, "--visual",
            data / "image_feat.npy", "--acoustic", data / "audio_feat.npy")
        run(m, "--store", path, "import", "interactions", write(path.parent / "in.tsv", pairs))
        return path

    def fit(self, store, name, seed, epochs):
        out = self.dir / name
        if not (out / "metrics.json").exists():
            run(f"{self.a.bin}/metammf", "--store", store, "train", "--valid", self.heldout,
                "--seed", seed, "--threads", 1, "--out", out,
                *(["--epochs", epochs] if epochs else []), *self.a.options)
        return out

    def spoil(self, name, pairs, seed, epochs):
        """A training on other pairs than the store's."""
        if not (self.dir / name / "metrics.json").exists():
            other = self.store(name + "-store", pairs + self.held)
            self.fit(other, name, seed, epochs)
            shutil.rmtree(other.parent)
        return self.dir / name

    def activate(self, store, candidate):
        run(f"{self.a.bin}/metammf", "--store", store, "model", "import", candidate, "--promote")

    def judge(self, store, candidate):
        return json.loads(run(f"{self.a.bin}/metammf", "--store", store, "judge", candidate,
                              self.heldout))


def spoil_fusion(good, out):
    """What cold items are made of negated; vectors, and with them all but the cold figure, stay."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(good, out)
    path = out / "model.safetensors"
    data = bytearray(path.read_bytes())
    n, = struct.unpack("<Q", data[:8])
    head = json.loads(data[8:8 + n])
    layers = [k for k in head if k.endswith("M_1")]
    for name in [max(layers)] + [k for k in head if k == "mmf.knn.z"]:
        first, last = head[name]["data_offsets"]
        for at in range(8 + n + first, 8 + n + last, 4):
            data[at + 3] ^= 0x80
    path.write_bytes(data)
    metrics = json.loads((out / "metrics.json").read_text())
    metrics["files"]["model.safetensors"] = hashlib.sha256(data).hexdigest()
    (out / "metrics.json").write_text(json.dumps(metrics))
    return out


def loss(g, what):
    old, new = g["active"][what], g["candidate"][what]
    return 100 * (old - new) / old if old else 0.0


def spread(values):
    mean = sum(values) / len(values)
    return mean, (sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1)) ** 0.5


def lower(g):
    return 100 * (g["candidate"]["rank"] / g["active"]["rank"] - 1)


def show(name, verdicts):
    """One line: what was refused and why, and what it was worse by."""
    by = {v: sum(g["verdict"] == v for g in verdicts) for v in ("overall", "cold")}
    by_rank = sum("rank" in g["why"] for g in verdicts)
    print(f"{name}: refused {by['overall'] + by['cold']} of {len(verdicts)} (overall "
          f"{by['overall']}, of these {by_rank} by positions; cold {by['cold']})")
    for what, error, text in (("ndcg_20", "error", "NDCG@20"),
                              ("cold_ndcg_20", "cold_error", "NDCG@20 of cold items")):
        mean, sd = spread([loss(g, what) for g in verdicts])
        two = spread([200 * g[error] / g["active"][what] for g in verdicts])[0]
        print(f"    {text} {spread([g['candidate'][what] for g in verdicts])[0]:.4f}, worse by "
              f"{mean:.1f} ± {sd:.1f} %, two standard errors are {two:.1f} %")
    mean, sd = spread([lower(g) for g in verdicts])
    two = spread([200 * g["rank_error"] for g in verdicts])[0]
    print(f"    positions lower by {mean:.1f} ± {sd:.1f} %, two standard errors are {two:.1f} %",
          flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("bin", "data", "folder"):
        p.add_argument(name)
    p.add_argument("--share", type=int, default=100)
    p.add_argument("--seeds", type=int, default=20)
    p.add_argument("--spoiled", type=int, default=10)
    p.add_argument("--active", type=int, default=5)
    p.add_argument("--epochs", type=int, default=0)
    p.add_argument("options", nargs="*")
    a = p.parse_args()
    b = Bench(a)
    store = b.store("equal", b.train + b.held)
    print(f"{len(b.train)} pairs to train on, {len(b.held)} held out of "
          f"{len({u for u, _ in b.held})} users", flush=True)
    good = [b.fit(store, f"c{seed}", seed, a.epochs) for seed in range(1, a.seeds + 1)]
    best = sorted(json.loads((c / "metrics.json").read_text())["best_epoch"] for c in good)
    half = max(1, (a.epochs or best[len(best) // 2]) // 2)
    print(f"best epochs {best[0]} to {best[-1]}; half the epochs is {half}", flush=True)
    mild = [b.spoil(f"w{seed}", random.Random(seed).sample(b.train, len(b.train) * 8 // 10),
                    100 + seed, half) for seed in range(1, a.spoiled + 1)]
    items = [i for _, i in b.train]
    random.Random(1).shuffle(items)
    shuffled = b.spoil("shuffled", [(u, i) for (u, _), i in zip(b.train, items)], 77, a.epochs)
    verdicts = {"equal quality": [], "80 % of the data, half the epochs": [], "shuffled": [],
                "cold only": []}
    for n, active in enumerate(good):
        b.activate(store, active)
        equal = [good[(n + 1 + k) % len(good)] for k in range(min(a.active, len(good) - 1))]
        worse = [mild, [shuffled], [spoil_fusion(active, b.dir / "cold")]] if n < a.active else []
        for name, candidates in zip(verdicts, [equal, *worse]):
            verdicts[name] += [b.judge(store, c) for c in candidates]
    for name, found in verdicts.items():
        show(name, found)


if __name__ == "__main__":
    main()
