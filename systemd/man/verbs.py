#!/usr/bin/env python3
"""The section VERBS of metammf(1), as the verbs' own --help has it. A test compares, `ninja pages` writes.

    verbs.py METAMMF PAGE           exit status 1 and the first line that differs, if one does
    verbs.py --write METAMMF PAGE
"""

import os
import re
import subprocess
import sys

HEAD, NEXT = ".SH VERBS\n", ".SH OPTIONS\n"


def help_of(metammf, *verb):
    env = {**os.environ, "ARGP_HELP_FMT": "rmargin=5000,opt-doc-col=60", "LC_ALL": "C.UTF-8"}
    return subprocess.run([metammf, *verb, "--help"], env=env, capture_output=True, text=True,
                          check=True).stdout.splitlines()


def roff(text):
    """A '-' alone would be a hyphen, which nobody can copy into a shell."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def option(line):
    names, _, doc = line.strip().partition("  ")
    return [".TP", f".B {roff(names)}", roff(doc.strip())]


def paragraphs(lines):
    """Prose, and examples, which are indented."""
    out, example = [], False
    for line in lines:
        if line.startswith("  ") != example and line:
            example = not example
            out.append(".nf" if example else ".fi")
        out.append(roff(line) if line else ".PP" if not example else "")
    return out + [".fi"] * example


def section(metammf, name):
    lines = help_of(metammf, name)
    first_option = next(i for i, line in enumerate(lines) if not line)
    common = lines.index(" Common options:")
    usage, about = [], []
    for line in lines[:first_option]:
        (about if usage and not re.match(r" +or: ", line) else usage).append(line)
    out = [f'.SS "{name}"']
    for line in usage:
        synopsis = re.sub(r"^(Usage:| +or:) +", "", line).replace(" [OPTION...]", "")
        out += [f".B {roff(synopsis)}", ".br"]
    out[-1] = ".PP"
    out += [roff(line) for line in about]
    for line in lines[first_option:common]:
        if re.match(r" +-", line):
            out += option(line)
        elif line.strip():
            out += [".PP", roff(line.strip())]
    end = next(i for i, line in enumerate(lines) if line.startswith("Mandatory or optional"))
    rest = lines[end + 1:]
    while rest and not rest[0]:
        rest.pop(0)
    return out + [".PP"] + paragraphs(rest)


def page(metammf):
    lines = help_of(metammf)
    start = lines.index("Verbs:")
    verbs = [line.split()[0] for line in lines[start + 1:lines.index("", start)]]
    out = []
    for verb in verbs:
        out += section(metammf, verb)
    text = "\n".join(out) + "\n"
    return re.sub(r"(\.PP\n)+(?=\.(PP|SS|nf))", "", text)


def main():
    write = sys.argv[1:2] == ["--write"]
    metammf, path = sys.argv[-2:]
    with open(path, encoding="utf-8") as f:
        old = f.read()
    start, end = old.index(HEAD) + len(HEAD), old.index(NEXT)
    new = old[:start] + page(metammf) + old[end:]
    if write:
        if new != old:
            with open(path, "w", encoding="utf-8") as f:
                f.write(new)
        return 0
    for number, (a, b) in enumerate(zip(old.splitlines() + [None], new.splitlines() + [None]), 1):
        if a != b:
            print(f"{path}:{number}: has {a!r}, the verbs' help {b!r}: ninja pages")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
