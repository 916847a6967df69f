#!/usr/bin/python3
"""Plain LightGCN in PyTorch float32, one thread, on the split of `bench_lightgcn split FOLDER`.

    bench_lightgcn_torch.py train FOLDER [SEED …]    5 epochs; Recall@20 and NDCG@20 on `valid`
    bench_lightgcn_torch.py step FOLDER              CPU seconds of a training step

64 columns, 3 layers, mean of layers, N(0, 0.1), batch 2,048, one uniform negative a pair that its
user has not, softplus(negative - positive) + 1e-4 · ½ Σ |initial rows|² / batch, Adam 1e-3.
`step` propagates by torch.sparse.mm (COO), as public implementations do. `train` propagates by
embedding_bag, the same sums and more than ten times as fast, and says so: it is there for the figures,
not for the time.
"""

import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
WIDTH, LAYERS, BATCH, DECAY, EPOCHS, K = 64, 3, 2048, 1e-4, 5, 20
MODE, FOLDER = sys.argv[1:3]
train = np.fromfile(f"{FOLDER}/train", dtype="<u4").reshape(-1, 2).astype(np.int64)
valid = np.fromfile(f"{FOLDER}/valid", dtype="<u4").reshape(-1, 2).astype(np.int64)
USERS = int(max(train[:, 0].max(), valid[:, 0].max())) + 1
ITEMS = int(max(train[:, 1].max(), valid[:, 1].max())) + 1
NODES = USERS + ITEMS

source = torch.from_numpy(np.concatenate([train[:, 0], train[:, 1] + USERS]))
target = torch.from_numpy(np.concatenate([train[:, 1] + USERS, train[:, 0]]))
degree = torch.bincount(target, minlength=NODES).clamp(min=1).float()
matrix = torch.sparse_coo_tensor(torch.stack([target, source]),
                                 (degree[target] * degree[source]).rsqrt(),
                                 (NODES, NODES)).coalesce()
columns, values = matrix.indices()[1].contiguous(), matrix.values()
starts = torch.searchsorted(matrix.indices()[0].contiguous(), torch.arange(NODES))
keys = np.sort(train[:, 0] * ITEMS + train[:, 1])


class Bag(torch.autograd.Function):
    """The matrix is symmetric: backward is the same product."""

    @staticmethod
    def forward(ctx, x):
        return F.embedding_bag(columns, x, starts, mode="sum", per_sample_weights=values)

    @staticmethod
    def backward(ctx, dy):
        return F.embedding_bag(columns, dy.contiguous(), starts, mode="sum",
                               per_sample_weights=values)


def propagate(x):
    layers = [x]
    for _ in range(LAYERS):
        now = layers[-1]
        layers.append(torch.sparse.mm(matrix, now) if MODE == "step" else Bag.apply(now))
    return sum(layers) / len(layers)


def step(table, optimiser, users, positives, negatives):
    out = propagate(table)
    u, p, n = users, positives + USERS, negatives + USERS
    difference = (out[u] * (out[p] - out[n])).sum(1)
    rows = table[u].pow(2).sum() + table[p].pow(2).sum() + table[n].pow(2).sum()
    loss = F.softplus(-difference).mean() + DECAY * 0.5 * rows / len(u)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def draw_negatives(rng, users):
    items = rng.integers(ITEMS, size=len(users))
    while True:
        key = users * ITEMS + items
        at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
        bad = keys[at] == key
        if not bad.any():
            return items
        items[bad] = rng.integers(ITEMS, size=int(bad.sum()))


def evaluate(table):
    with torch.no_grad():
        out = propagate(table)
    seen, held = {}, {}
    for user, item in train:
        seen.setdefault(user, []).append(item)
    for user, item in valid:
        held.setdefault(user, set()).add(item)
    recall = ndcg = 0.0
    discount = 1 / np.log2(np.arange(2, K + 2))
    users = sorted(held)
    for first in range(0, len(users), 512):
        some = users[first:first + 512]
        scores = out[some] @ out[USERS:].T
        for row, user in enumerate(some):
            scores[row, seen.get(user, [])] = -np.inf
        for user, best in zip(some, scores.topk(K).indices.numpy()):
            hits = np.array([item in held[user] for item in best])
            recall += hits.sum() / len(held[user])
            ndcg += (hits * discount).sum() / discount[:min(K, len(held[user]))].sum()
    return recall / len(users), ndcg / len(users)


def batches(rng):
    order = rng.permutation(len(train))
    for first in range(0, len(order), BATCH):
        pairs = train[order[first:first + BATCH]]
        yield [torch.from_numpy(x) for x in
               (pairs[:, 0].copy(), pairs[:, 1].copy(), draw_negatives(rng, pairs[:, 0]))]


def start(seed):
    torch.manual_seed(seed)
    table = (torch.randn(NODES, WIDTH) * 0.1).requires_grad_(True)
    return table, torch.optim.Adam([table], lr=1e-3), np.random.default_rng(seed)


if MODE == "step":
    table, optimiser, rng = start(1)
    best = 1e9
    for batch, _ in zip(batches(rng), range(3)):
        before = time.process_time()
        step(table, optimiser, *batch)
        best = min(best, time.process_time() - before)
    print(best)
else:
    for seed in map(int, sys.argv[3:] or ["1", "2", "3"]):
        table, optimiser, rng = start(seed)
        for _ in range(EPOCHS):
            for batch in batches(rng):
                step(table, optimiser, *batch)
        print("seed %d: Recall@20 %.4f NDCG@20 %.4f" % (seed, *evaluate(table)), flush=True)
