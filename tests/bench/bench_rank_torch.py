#!/usr/bin/python3
"""Full ranking in PyTorch float32, one thread: CPU microseconds a user.

    bench_rank_torch.py blocks|naive PAIRS

PAIRS holds uint32 pairs (user, item) to mask. blocks: all users, 1,024 at a time, topk; naive: 1,000
users, one at a time, every item sorted.
"""

import sys
import time

import numpy as np
import torch

torch.set_num_threads(1)
HOW, PATH = sys.argv[1:3]
USERS, ITEMS, WIDTH, K, BLOCK = 55485, 5986, 64, 20, 1024

torch.manual_seed(1)
users, items = torch.rand(USERS, WIDTH) * 2 - 1, torch.rand(ITEMS, WIDTH) * 2 - 1
pairs = np.fromfile(PATH, dtype="<u4").reshape(-1, 2).astype(np.int64)
pairs = torch.from_numpy(pairs[np.argsort(pairs[:, 0], kind="stable")])
starts = torch.searchsorted(pairs[:, 0].contiguous(), torch.arange(USERS + 1))


def rank_blocks():
    for first in range(0, USERS, BLOCK):
        scores = users[first:first + BLOCK] @ items.T
        some = pairs[starts[first]:starts[min(first + BLOCK, USERS)]]
        scores[some[:, 0] - first, some[:, 1]] = -torch.inf
        scores.topk(K)
    return USERS


def rank_naive():
    for user in range(1000):
        scores = items @ users[user]
        scores[pairs[starts[user]:starts[user + 1], 1]] = -torch.inf
        scores.sort(descending=True)[1][:K]
    return 1000


best = 1e9
for _ in range(2):
    start = time.process_time()
    n = rank_blocks() if HOW == "blocks" else rank_naive()
    best = min(best, (time.process_time() - start) / n)
print(best * 1e6)
