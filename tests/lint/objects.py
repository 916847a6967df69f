#!/usr/bin/env python3
"""What the objects of the wings need of each other, by nm over a build:

- No circle: an object that needs another, which needs the first by way of others, cannot be
  understood, tested or moved alone.
- No symbol from above: a wing takes symbols of itself and of what it uses, directly or by way of
  others (mmf_wing in the CMakeLists), so that it links without the rest.

usage: objects.py BUILD_FOLDER [ROOT]   prints each fault, exits 1 on any
       objects.py --self-test           plants both kinds and sees them found
"""
import json
import os
import pathlib
import re
import subprocess
import sys

import lint


def symbols(build):
    """object "FOLDER/file.c" -> (symbols that it defines, symbols that it needs)"""
    commands = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    outputs = [re.search(r" -o (\S+)", c["command"]).group(1) for c in commands]
    files = [str(build / o) for o in outputs if "/CMakeFiles/mmf_" in o]
    objects = {}
    out = subprocess.run(["nm", "-A", "-g", *files], capture_output=True, text=True, check=True)
    for line in out.stdout.splitlines():
        path, _, rest = line.partition(":")
        name = re.sub(r"^.*/(\w+)/CMakeFiles/mmf_\w+\.dir/(.*)\.o$", r"\1/\2", path)
        defined, needed = objects.setdefault(name, (set(), set()))
        kind, symbol = rest.split()[-2:]
        (needed if kind in "Uw" else defined).add(symbol)
    return objects


def circles(graph):
    """Strongly connected components of more than one node (Tarjan, SIAM J. Computing 1972)."""
    number, low, stack, found = {}, {}, [], []

    def visit(node):
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in number:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], number[other])
        if low[node] == number[node]:
            circle = stack[stack.index(node):]
            del stack[stack.index(node):]
            if len(circle) > 1:
                found.append(sorted(circle))

    for node in sorted(graph):
        if node not in number:
            visit(node)
    return found


def faults(objects, wings):
    owner = {s: o for o, (defined, _) in objects.items() for s in defined}
    graph = {o: {owner[s] for s in needed if s in owner} - {o} for o, (_, needed) in objects.items()}

    def why(one, other):
        return ", ".join(sorted(objects[one][1] & objects[other][0]))

    for circle in circles(graph):
        yield "a circle: " + ", ".join(circle) + "".join(
            f"\n  {one} needs of {other}: {why(one, other)}"
            for one in circle for other in sorted(graph[one] & set(circle)))
    for one in sorted(graph):
        for other in sorted(graph[one]):
            if wings.of(other) not in wings.below(wings.of(one)):
                yield f"{one} needs of {other}, which its wing does not use: {why(one, other)}"


class Planted:
    """Two wings: b uses a."""

    @staticmethod
    def of(path):
        return os.path.dirname(path)

    @staticmethod
    def below(wing):
        return {"b": {"a", "b"}, "a": {"a"}}[wing]


def self_test():
    objects = {"a/low.c": ({"low"}, {"malloc"}), "b/high.c": ({"high"}, {"low", "twin"}),
               "b/twin.c": ({"twin"}, {"high"}), "a/up.c": ({"up"}, {"high"})}
    found = list(faults(objects, Planted))
    expected = ["a circle: b/high.c, b/twin.c", "a/up.c needs of b/high.c, which its wing"]
    good = len(found) == 2 and all(f.startswith(e) for f, e in zip(found, expected))
    print("2 planted faults found" if good else f"found {found}")
    return 0 if good else 1


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    root = sys.argv[2] if len(sys.argv) > 2 else os.path.join(os.path.dirname(__file__), "..", "..")
    sys.setrecursionlimit(10000)
    objects = symbols(pathlib.Path(sys.argv[1]))
    found = list(faults(objects, lint.Wings(root, lint.tracked(root))))
    print("\n".join(found + [f"{len(objects)} objects, {len(found)} faults"]))
    return 1 if found or not objects else 0


if __name__ == "__main__":
    sys.exit(main())
