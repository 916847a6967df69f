#!/usr/bin/env python3
"""The ten largest files of the project's C and Python code, and the ten largest C functions.

usage: largest.py [N]     N of each instead of ten
"""
import os
import re
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
NOT_NAMES = {"__attribute__", "format", "printf"}


def functions(lines):
    """(lines of the body, name): a body is from a '{' to the next '}' in the first column."""
    start, head = None, ""
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line.startswith("}"):
            if start is not None:
                names = [n for n in re.findall(r"(\w+)\s*\(", head) if n not in NOT_NAMES]
                yield number - start - 1, names[0] if names else "?"
            start, head = None, ""
        elif start is None:
            head = head + " " + line if line[:1] in (" ", "\t") else line


def main():
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    out = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "*.c", "*.h", "*.inc", "*.py"],
                         capture_output=True, check=True).stdout
    files, bodies = [], []
    for name in filter(None, out.decode().split("\0")):
        with open(os.path.join(ROOT, name), encoding="utf-8") as f:
            lines = f.read().splitlines()
        files.append((len(lines), name))
        if not name.endswith(".py"):
            bodies += [(n, f"{name} {function}") for n, function in functions(lines)]
    for title, rows in (("files", files), ("functions", bodies)):
        print(f"{min(most, len(rows))} largest of {len(rows)} {title}, in lines:")
        for n, name in sorted(rows, reverse=True)[:most]:
            print(f"{n:6} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
