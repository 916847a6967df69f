"""What verbs.py and daemon.py share: roff, an executable's own help, and the blocks of a page that are written from
it. A block begins with the line .\\" BEGIN NAME and ends with .\\" END NAME."""

import os
import re
import subprocess
import sys

STAYS_OUT = ("-?, --help", "--usage", "-V, --version")


def roff(text):
    """A '-' alone would be a hyphen, which nobody can copy into a shell. Every formatter reads ASCII."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = "".join(c if ord(c) < 128 else f"\\[u{ord(c):04X}]" for c in text)
    return "\\&" + text if text[:1] in (".", "'") else text


def settings_bold(text):
    """Of text that went through roff: the names of settings."""
    return re.sub(r"\b(?:events|extract|http|interactions|kafka|media|refresh|spool|store|training)\.[a-z_]{3,}\b",
                  r"\\fB\g<0>\\fR", text)


def help_of(*command):
    env = {**os.environ, "ARGP_HELP_FMT": "rmargin=5000,opt-doc-col=60", "LC_ALL": "C.UTF-8"}
    return subprocess.run([*command, "--help"], env=env, capture_output=True, text=True,
                          check=True).stdout.splitlines()


def tagged(name, text):
    """A name and what it means."""
    return [".TP", f".B {roff(name)}", settings_bold(roff(text))]


def option(line):
    names, _, doc = line.strip().partition("  ")
    return tagged(names, doc.strip())


def options(lines):
    return [line for text in lines if re.match(r" +-", text) and not text.strip().startswith(STAYS_OUT)
            for line in option(text)]


def exit_codes(lines):
    """(number, meaning) of "Exit codes: 0 done, 64 usage, …" in a help, and what follows as sentences."""
    text = next(line for line in lines if line.startswith("Exit codes: "))[len("Exit codes: "):]
    first, _, rest = text.partition(". ")
    codes = re.findall(r"(\d+) ((?:(?!, \d).)+?)(?:, (?=\d)|, others|\.?$)", first)
    return [(int(number), what) for number, what in codes], rest


def exits(lines):
    codes, rest = exit_codes(lines)
    out = [line for number, what in codes for line in tagged(str(number), what[:1].upper() + what[1:] + ".")]
    return out + [".PP", roff("Others are as in sysexits.h. " + rest)]


def put(page, name, lines):
    begin, end = f'.\\" BEGIN {name}\n', f'.\\" END {name}\n'
    start = page.index(begin) + len(begin)
    return page[:start] + "".join(line + "\n" for line in lines) + page[page.index(end):]


def run(path, blocks, faults, write):
    """Writes the blocks of the page, or says where it is not what they are, and the faults beside."""
    with open(path, encoding="utf-8") as f:
        old = new = f.read()
    for name, lines in blocks.items():
        new = put(new, name, lines)
    if write:
        if new != old:
            with open(path, "w", encoding="utf-8") as f:
                f.write(new)
        return 0
    for number, (a, b) in enumerate(zip(old.splitlines() + [None], new.splitlines() + [None]), 1):
        if a != b:
            faults = [f"line {number}: has {a!r}, should be {b!r}: ninja pages", *faults]
            break
    for fault in faults:
        print(f"{path}: {fault}")
    return 1 if faults else 0


def main(blocks_and_faults):
    write = sys.argv[1:2] == ["--write"]
    *args, path = sys.argv[1 + write:]
    with open(path, encoding="utf-8") as f:
        page = f.read()
    sys.exit(run(path, *blocks_and_faults(page, *args), write))
