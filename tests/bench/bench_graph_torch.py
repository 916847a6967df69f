#!/usr/bin/python3
"""The graph part of a training step in PyTorch float32, one thread: CPU seconds.

    bench_graph_torch.py EDGES sage|lightgcn coo|gather USERS ITEMS BATCH

EDGES holds uint32 pairs (user, item). coo: torch.sparse.mm; gather: x[source] and index_add.
"""

import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

torch.set_num_threads(1)
PATH, BACKBONE, FORM = sys.argv[1:4]
USERS, ITEMS, BATCH = map(int, sys.argv[4:7])
NODES, WIDTH, HOPS = USERS + ITEMS, 64, 3

torch.manual_seed(1)
edges = torch.from_numpy(np.fromfile(PATH, dtype="<u4").reshape(-1, 2).astype(np.int64))
source = torch.cat([edges[:, 0], edges[:, 1] + USERS])
target = torch.cat([edges[:, 1] + USERS, edges[:, 0]])
degree = torch.bincount(target, minlength=NODES).clamp(min=1).float()
if BACKBONE == "sage":
    weight = 1 / degree[target]
else:
    weight = (degree[target] * degree[source]).rsqrt()
matrix = torch.sparse_coo_tensor(torch.stack([target, source]), weight, (NODES, NODES)).coalesce()


def aggregate(x):
    if FORM == "coo":
        return torch.sparse.mm(matrix, x)
    if BACKBONE == "sage":  # sum, then divide: what a mean aggregation does
        y = torch.zeros_like(x).index_add(0, target, x[source])
        return y / degree[:, None]
    return torch.zeros_like(x).index_add(0, target, x[source] * weight[:, None])


x = (torch.rand(NODES, WIDTH) * 0.1).requires_grad_(True)
convs = [[(torch.randn(*shape) * 0.1).requires_grad_(True) for shape in
          ((WIDTH, WIDTH), (WIDTH,), (WIDTH, WIDTH))] for _ in range(2)]


def forward():
    if BACKBONE == "lightgcn":
        layers = [x]
        for _ in range(HOPS):
            layers.append(aggregate(layers[-1]))
        return torch.stack(layers, 1).mean(1)
    h = x
    for n, (left, bias, right) in enumerate(convs):
        h = F.linear(aggregate(h), left, bias) + F.linear(h, right)
        h = F.dropout(F.leaky_relu(h, 0.01), 0.5) if n == 0 else F.dropout(h, 0.2)
    return h


def step():
    pick = edges[torch.randint(len(edges), (BATCH,))]
    negative = torch.randint(ITEMS, (BATCH,))
    out = forward()
    user = out[pick[:, 0]]
    difference = (user * (out[pick[:, 1] + USERS] - out[negative + USERS])).sum(1)
    F.softplus(-difference).mean().backward()


best = 1e9
for _ in range(4):
    start = time.process_time()
    step()
    best = min(best, time.process_time() - start)
print(best)
