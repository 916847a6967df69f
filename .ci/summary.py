#!/usr/bin/env python3
"""Says what a ctest run came to: each failure's output, the reason of each skip, the counts.

usage: summary.py JUNIT_XML; exits 1 when a test failed or none passed.
"""
import os
import re
import sys
import xml.etree.ElementTree as ElementTree

TAIL_LINES = 60


def output_of(case):
    return (case.findtext("system-out") or "").splitlines()


def reason_of(lines):
    """The sentence that a skipped test printed: a line with the word, else its last line."""
    said = [l.strip() for l in lines if l.strip() and not l.startswith("[")]
    for line in said:
        if re.search(r"skip", line, re.IGNORECASE):
            return line
    return said[-1] if said else "no reason was printed"


def inner_skips(lines):
    """cmocka's skip() inside a test that went on: (case, the line printed before)."""
    for number, line in enumerate(lines):
        found = re.match(r"\[\s+SKIPPED\s+\] (\w+)$", line)
        if found and "test(s)" not in line and not any(
                found.group(1) in l for l in lines[:number] if "SKIPPED" in l):
            before = [l.strip() for l in lines[:number] if l.strip()]
            yield found.group(1), before[-1] if before and not before[-1].startswith(
                "[ RUN") else "no reason was printed"


def main():
    path = sys.argv[1]
    if not os.path.isfile(path):
        print("ctest left no report: nothing was tested")
        print("0 passed, 1 failed, 0 skipped")
        return 1
    passed, failed, skips = 0, [], []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name, lines = case.get("name"), output_of(case)
        if case.find("failure") is not None or case.get("status") == "fail":
            failed.append(name)
            print(f"\n──── FAILED: {name}")
            print("\n".join(lines[-TAIL_LINES:]))
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            skips.append((name, reason_of(lines)))
        else:
            passed += 1
            skips += [(f"{name}: {inner}", why) for inner, why in inner_skips(lines)]
    print()
    for name, why in skips:
        print(f"skipped {name}: {why}")
    for name in failed:
        print(f"failed  {name}")
    good = not failed and passed > 0
    print("VERDICT: " + ("all tests that ran passed" if good else "NOT good"))
    print(f"{passed} passed, {len(failed)} failed, {len(skips)} skipped")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
