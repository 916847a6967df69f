#!/usr/bin/python3
"""Golden dumps: the published MetaMMF architecture in PyTorch float64, forward and gradients.

Written in our own words from the paper and from the names and shapes that the authors' state_dict
has; each item's weight matrix is materialised, as the paper defines it, so that the dumps test the
factorised forms. Needs python3-torch and python3-numpy (Debian 12: 1.13, 1.24).

    ./make_golden.py [DIRECTORY]        writes the folders described in README.md

Deterministic: seeded, float64, one thread; running it again gives the same bytes.
"""

import json
import os
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

FEATURES, SIGNAL, RANK = 14, 5, 4
WIDTHS = [FEATURES, 10, 7, 4]
ID_DIM = 4
ITEMS, USERS = 9, 6


def save_safetensors(path, tensors):
    """float64 tensors, row-major, in the given order."""
    header, data, at = {}, [], 0
    for name, value in tensors.items():
        array = np.ascontiguousarray(value.detach().numpy(), dtype="<f8")
        header[name] = {"dtype": "F64", "shape": list(array.shape),
                        "data_offsets": [at, at + array.nbytes]}
        data.append(array.tobytes())
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % 64)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def xavier(generator, *shape):
    """Uniform, with a bound larger than Xavier's so that the item-specific part is felt."""
    fan = shape[0] + shape[-1]
    bound = 2.0 * (6.0 / fan) ** 0.5
    return (torch.rand(*shape, generator=generator) * 2 - 1) * bound


def make_parameters(kind, backbone, generator):
    """A state_dict under the authors' names. The bottom of a GCN checkpoint has 'fus.'."""
    p = {}
    if kind != "static":
        p["mlp_signal.0.weight"] = xavier(generator, FEATURES, FEATURES)
        p["mlp_signal.0.bias"] = xavier(generator, FEATURES)
        p["mlp_signal.2.weight"] = xavier(generator, SIGNAL, FEATURES)
        p["mlp_signal.2.bias"] = xavier(generator, SIGNAL)
    p["item_E"] = xavier(generator, ITEMS, ID_DIM)
    for n in range(1, len(WIDTHS)):
        rows, cols = WIDTHS[n - 1], WIDTHS[n]
        if kind.startswith("cp"):
            p[f"layer_{n}.A"] = xavier(generator, rows, RANK)
            p[f"layer_{n}.B"] = xavier(generator, RANK, cols)
            shape = (RANK * SIGNAL, 1) if kind == "cp_collapsed" else (RANK, SIGNAL)
            p[f"layer_{n}.C"] = xavier(generator, *shape)
        if kind == "dense":
            p[f"layer_{n}.T_1"] = xavier(generator, SIGNAL, rows * cols) * 3
        p[f"layer_{n}.M_1"] = xavier(generator, rows, cols)
    width = WIDTHS[-1] + ID_DIM
    if backbone == "sage":
        for n, (rows, cols) in enumerate([(6, width), (5, 6)], start=1):
            p[f"conv{n}.lin_l.weight"] = xavier(generator, rows, cols)
            p[f"conv{n}.lin_l.bias"] = xavier(generator, rows)
            p[f"conv{n}.lin_r.weight"] = xavier(generator, rows, cols)
    p["user"] = xavier(generator, USERS, width)
    for value in p.values():
        value.requires_grad_(True)
    return p


def generated_part(p, kind, n, s):
    """The item-specific matrices of layer n: (B, in, out)."""
    rows, cols = WIDTHS[n - 1], WIDTHS[n]
    if kind == "static":
        return torch.zeros(s.shape[0], rows, cols)
    if kind == "dense":
        return torch.einsum("bk,kio->bio", s, p[f"layer_{n}.T_1"].reshape(SIGNAL, rows, cols))
    A, B, C = (p[f"layer_{n}.{x}"] for x in "ABC")
    if kind == "cp":
        return torch.einsum("ir,ro,rk,bk->bio", A, B, C, s)
    # The authors' code: every (r, k) scales the whole product A B, and the sum runs over r.
    gates = torch.einsum("rk,bk->b", C.reshape(RANK, SIGNAL), s)
    return gates[:, None, None] * (A @ B)[None]


def fuse(p, kind, x):
    """s (B, S) and the h of every layer, the last one without activation."""
    s = torch.zeros(x.shape[0], 0)
    if kind != "static":
        z = torch.relu(x @ p["mlp_signal.0.weight"].T + p["mlp_signal.0.bias"])
        s = z @ p["mlp_signal.2.weight"].T + p["mlp_signal.2.bias"]
    layers, h = [], x
    for n in range(1, len(WIDTHS)):
        W = generated_part(p, kind, n, s) + p[f"layer_{n}.M_1"][None]
        h = torch.einsum("bi,bio->bo", h, W)
        if n + 1 < len(WIDTHS):
            h = F.leaky_relu(h, 0.01)
        layers.append(h)
    return s, layers


def mean_of_neighbours(nodes, edges):
    """edges (E, 2) as user, item: both directions, mean, zero for a node without any."""
    n = nodes.shape[0]
    adjacency = torch.zeros(n, n)
    for user, item in edges:
        adjacency[user, USERS + item] += 1
        adjacency[USERS + item, user] += 1
    degree = adjacency.sum(1, keepdim=True).clamp(min=1)
    return (adjacency / degree) @ nodes


def lightgcn(nodes, edges, hops):
    n = nodes.shape[0]
    adjacency = torch.zeros(n, n)
    for user, item in edges:
        adjacency[user, USERS + item] += 1
        adjacency[USERS + item, user] += 1
    root = adjacency.sum(1).clamp(min=1).rsqrt()
    adjacency = root[:, None] * adjacency * root[None, :]
    layers = [nodes]
    for _ in range(hops):
        layers.append(adjacency @ layers[-1])
    return sum(layers) / len(layers)


def propagate(p, backbone, nodes, edges):
    if backbone == "mf":
        return nodes
    if backbone == "lightgcn":
        return lightgcn(nodes, edges, 2)
    for n in (1, 2):
        nodes = (mean_of_neighbours(nodes, edges) @ p[f"conv{n}.lin_l.weight"].T
                 + p[f"conv{n}.lin_l.bias"] + nodes @ p[f"conv{n}.lin_r.weight"].T)
        if n == 1:
            nodes = F.leaky_relu(nodes, 0.01)
    return nodes


def make_case(folder, kind, backbone, unit_length, seed):
    generator = torch.Generator().manual_seed(seed)
    p = make_parameters(kind, backbone, generator)
    x = torch.randn(ITEMS, FEATURES, generator=generator)
    x[ITEMS - 1, 8:] = 0  # a missing modality
    # User 5 and items 6 … 8 have no edge.
    edges = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 5), (4, 1)]
    triples = [(0, 0, 6), (0, 1, 7), (1, 2, 3), (2, 3, 8), (3, 4, 0), (4, 5, 2), (5, 6, 1)]

    s, layers = fuse(p, kind, x)
    fused = layers[-1]
    if unit_length:
        fused = fused / fused.norm(dim=1, keepdim=True)
    nodes = torch.cat([p["user"], torch.cat([fused, p["item_E"]], dim=1)])
    out = propagate(p, backbone, nodes, edges)
    users, items = out[:USERS], out[USERS:]
    u, i, j = (torch.tensor(column) for column in zip(*triples))
    difference = (users[u] * (items[i] - items[j])).sum(1)
    results = {"s": s, "fused": fused, "users": users, "items": items, "difference": difference}
    # Every item as a new one: no ID half, no edge.
    new = torch.cat([fused, torch.zeros(ITEMS, ID_DIM)], dim=1)
    results["cold_items"] = propagate(p, backbone, torch.cat([p["user"], new]), [])[USERS:]
    for n, h in enumerate(layers, start=1):
        results[f"h{n}"] = h
    losses = {"softplus": F.softplus(-difference).mean(),
              "reference": -torch.log(torch.sigmoid(difference) + 1e-10).mean()}
    names = list(p)
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, [p[k] for k in names], retain_graph=True)
        results[f"loss.{name}"] = loss.reshape(1)
        for key, gradient in zip(names, gradients):
            results[f"grad.{name}.{key}"] = gradient

    os.makedirs(folder, exist_ok=True)
    prefix = {k: (k if k.startswith(("conv", "user")) or backbone != "sage" else "fus." + k)
              for k in names}
    save_safetensors(os.path.join(folder, "model.safetensors"),
                     {prefix[k]: p[k] for k in names})
    save_safetensors(os.path.join(folder, "results.safetensors"), results)
    np.save(os.path.join(folder, "features.npy"), x.numpy())
    for name, pairs in (("edges.tsv", edges), ("triples.tsv", triples)):
        with open(os.path.join(folder, name), "w") as text:
            text.writelines("\t".join(map(str, pair)) + "\n" for pair in pairs)


def main():
    base = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    seed = 20230801
    for kind in ("static", "dense", "cp", "cp_collapsed"):
        for backbone in ("mf", "sage"):
            make_case(os.path.join(base, f"{kind}_{backbone}"), kind, backbone, False, seed)
            seed += 1
    make_case(os.path.join(base, "cp_lightgcn_unit"), "cp", "lightgcn", True, seed)
    make_case(os.path.join(base, "cp_sage_unit"), "cp", "sage", True, seed + 1)


if __name__ == "__main__":
    main()
