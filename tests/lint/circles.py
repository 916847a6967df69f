#!/usr/bin/env python3
"""No circle of object files: an object that needs another, which needs the first by way of others,
cannot be understood, tested or moved alone. Reads the objects of the wings in a build by nm.

usage: circles.py BUILD_FOLDER    prints each circle, exits 1 on any
"""
import json
import pathlib
import re
import subprocess
import sys


def symbols(files):
    """object -> (symbols that it defines, symbols that it needs)"""
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


def main():
    sys.setrecursionlimit(10000)
    build = pathlib.Path(sys.argv[1])
    commands = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    outputs = [re.search(r" -o (\S+)", c["command"]).group(1) for c in commands]
    objects = symbols([str(build / o) for o in outputs if "/CMakeFiles/mmf_" in o])
    owner = {s: o for o, (defined, _) in objects.items() for s in defined}
    graph = {o: {owner[s] for s in needed if s in owner} - {o} for o, (_, needed) in objects.items()}
    found = circles(graph)
    for circle in found:
        print("a circle: " + ", ".join(circle))
        for one in circle:
            for other in sorted(graph[one] & set(circle)):
                print(f"  {one} needs of {other}: "
                      f"{', '.join(sorted(objects[one][1] & objects[other][0]))}")
    print(f"{len(objects)} objects, {len(found)} circles")
    return 1 if found or not objects else 0


if __name__ == "__main__":
    sys.exit(main())
