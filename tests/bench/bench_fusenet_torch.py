#!/usr/bin/python3
"""The fusion network in PyTorch float32, one thread: CPU seconds of a forward pass (as in training,
with what backward needs) and of forward and backward together.

    bench_fusenet_torch.py dense|cp|dense-reference|cp-reference ROWS

dense, cp: the factorised form. …-reference: the published architecture, W_i made for each item.
"""

import sys
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(1)
KIND, ROWS = sys.argv[1].split("-")[0], int(sys.argv[2])
REFERENCE = sys.argv[1].endswith("-reference")
FEATURES, SIGNAL, RANK, WIDTHS = 2276, 5, 16, [2276, 1024, 512, 256, 32]

torch.manual_seed(1)


def weights(*shape):
    return (torch.randn(*shape) * 0.02).requires_grad_(True)


x = torch.randn(ROWS, FEATURES)
w0, b0, w2, b2 = (weights(FEATURES, FEATURES), weights(FEATURES), weights(SIGNAL, FEATURES),
                  weights(SIGNAL))
layers = []
for rows, cols in zip(WIDTHS, WIDTHS[1:]):
    if REFERENCE and KIND == "dense":
        layers.append((weights(rows, cols), weights(SIGNAL, rows * cols)))
    elif REFERENCE:
        layers.append((weights(rows, cols), weights(rows, RANK), weights(RANK, cols),
                       weights(RANK, SIGNAL)))
    else:
        extra = RANK if KIND == "cp" else SIGNAL * cols
        layers.append((weights(rows, cols + extra), weights(RANK, cols), weights(RANK, SIGNAL)))


def layer(h, s, n):
    rows, cols = WIDTHS[n], WIDTHS[n + 1]
    if REFERENCE:
        M, *rest = layers[n]
        if KIND == "dense":
            generated = (s @ rest[0]).view(ROWS, rows, cols)
        else:
            generated = torch.einsum("ir,ro,rk,bk->bio", *rest, s)
        return torch.bmm(h[:, None, :], generated + M)[:, 0, :]
    W, B, C = layers[n]
    y = h @ W
    if KIND == "cp":
        return y[:, :cols] + (y[:, cols:] * (s @ C.T)) @ B
    return y[:, :cols] + torch.einsum("bk,bko->bo", s, y[:, cols:].view(ROWS, SIGNAL, cols))


def forward():
    s = F.linear(torch.relu(F.linear(x, w0, b0)), w2, b2)
    h = x
    for n in range(len(layers)):
        h = layer(h, s, n)
        if n + 1 < len(layers):
            h = F.leaky_relu(h, 0.01)
    return h


best_forward = best_both = 1e9
for _ in range(2 if ROWS > 1024 or REFERENCE else 4 if ROWS > 64 else 9):
    start = time.process_time()
    h = forward()
    middle = time.process_time()
    h.backward(h.detach())
    best_both = min(best_both, time.process_time() - start)
    best_forward = min(best_forward, middle - start)
    del h
print(best_forward, best_both)
