#!/usr/bin/env python3
"""SECURITY.md names the test that tried each border: every row has one, and each is there, by the names that ctest
has, or by the file, and after a stroke by the case in its source.

    security.py ROOT BUILD_FOLDER
"""

import json
import pathlib
import re
import subprocess
import sys

TEST = re.compile(r"`((?:unit|integration|kafka|fuzz|lint|attack)\.\w+)(?:/(\w+))?`")
CHECK = re.compile(r"`(tests/\w+/\w+(?:\.py)?)(?:/(\w+))?`")


def sources(root, test):
    """Of a test by the name that ctest has for it."""
    label, name = test.split(".", 1)
    return [path.read_text(encoding="utf-8") for path in (root / "tests" / label).glob(f"test_{name}.*")]


def faults(root, names):
    text = (root / "SECURITY.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    if len(rows) < 15:
        yield f"only {len(rows)} borders"
    for row in rows:
        if not TEST.search(row.rsplit("|", 2)[1]) and not CHECK.search(row.rsplit("|", 2)[1]):
            yield f"no test: {row[2:60]}"
    for test, case in sorted(set(TEST.findall(text))):
        if test not in names:
            yield f"there is no test {test}"
        elif case and not any(re.search(rf"\b{case}\b", s) for s in sources(root, test)):
            yield f"{test} has no case {case}"
    for name, case in sorted(set(CHECK.findall(text))):
        path = root / name
        if not path.is_file():
            yield f"there is no {name}"
        elif case and not re.search(rf"^def {case}\b", path.read_text(encoding="utf-8"), re.MULTILINE):
            yield f"{name} has no check {case}"


def main():
    root, build = pathlib.Path(sys.argv[1]), sys.argv[2]
    listed = subprocess.run(["ctest", "--show-only=json-v1"], cwd=build, capture_output=True, text=True, check=True)
    found = list(faults(root, {test["name"] for test in json.loads(listed.stdout)["tests"]}))
    for fault in found:
        print(f"SECURITY.md: {fault}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
