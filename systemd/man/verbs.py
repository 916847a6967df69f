#!/usr/bin/env python3
"""metammf(1): the verbs with their options, the common options and the exit codes, as the program's own --help has
them. A test compares, `ninja pages` writes.

    verbs.py METAMMF PAGE           exit status 1 and the first line that differs, if one does
    verbs.py --write METAMMF PAGE
"""

import re

import pages
from pages import help_of, option, options, roff


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


def verbs(metammf, lines):
    start = lines.index("Verbs:")
    out = []
    for line in lines[start + 1:lines.index("", start)]:
        out += section(metammf, line.split()[0])
    text = "\n".join(out) + "\n"
    return re.sub(r"(\.PP\n)+(?=\.(PP|SS|nf))", "", text).splitlines()


def blocks_and_faults(_page, metammf):
    lines = help_of(metammf)
    return {"verbs": verbs(metammf, lines), "options": options(lines), "exits": pages.exits(lines)}, []


if __name__ == "__main__":
    pages.main(blocks_and_faults)
