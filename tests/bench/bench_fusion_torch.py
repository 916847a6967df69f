#!/usr/bin/python3
"""The factorised forward pass in PyTorch float32, one thread: microseconds an item.

    bench_fusion_torch.py dense|cp ROWS
"""

import sys
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(1)
KIND, ROWS = sys.argv[1], int(sys.argv[2])
FEATURES, SIGNAL, RANK, WIDTHS = 2276, 5, 16, [2276, 1024, 512, 256, 32]

torch.manual_seed(1)
x = torch.randn(ROWS, FEATURES)
w0, w2 = torch.randn(FEATURES, FEATURES) * 0.02, torch.randn(SIGNAL, FEATURES) * 0.02
layers = []
for rows, cols in zip(WIDTHS, WIDTHS[1:]):
    extra = RANK if KIND == "cp" else SIGNAL * cols
    layers.append((torch.randn(rows, cols + extra) * 0.02, torch.randn(RANK, cols),
                   torch.randn(RANK, SIGNAL), cols))


def forward():
    s = F.linear(torch.relu(F.linear(x, w0)), w2)
    h = x
    for n, (weights, B, C, cols) in enumerate(layers):
        y = h @ weights
        if KIND == "cp":
            h = y[:, :cols] + (y[:, cols:] * (s @ C.T)) @ B
        else:
            h = y[:, :cols] + torch.einsum("bk,bko->bo", s, y[:, cols:].view(ROWS, SIGNAL, cols))
        if n + 1 < len(layers):
            h = F.leaky_relu(h, 0.01)
    return h


with torch.no_grad():
    best = 1e9
    for _ in range(2 if ROWS > 1024 else 5 if ROWS > 64 else 15):
        start = time.thread_time()
        forward()
        best = min(best, time.thread_time() - start)
print(best / ROWS * 1e6)
