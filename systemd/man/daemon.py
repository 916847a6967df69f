#!/usr/bin/env python3
"""What metammfd(8) says of the sources: the table METRICS, with each metric's own help, is written from
them; every reason of a dead letter, public view and variable of the environment must be named.

    daemon.py ROOT PAGE           exit status 1 and what differs or is missing
    daemon.py --write ROOT PAGE
"""

import pathlib
import re
import sys

HEAD, NEXT = ".SH METRICS\n", ".SH ENVIRONMENT\n"
TEXTS = r'((?:"(?:[^"\\]|\\.)*"\s*)+)'
METRIC = re.compile(r'\b(?:gauge|counter|metrics_head|metrics_gauge)\('
                    r'\s*out,\s*"((?:metammf|process)_\w+)",\s*'
                    r'(?:"(?:gauge|counter|histogram)",\s*)?' + TEXTS)
LABELS = re.compile(r'(metammf_\w+)\{(\w+=.*?)\}|'
                    r'print_labelled\(out, &\w+, "(metammf_\w+)", "(\w+)"\)', re.S)


def sources(root, *folders):
    return {path: path.read_text(encoding="utf-8") for folder in folders
            for path in sorted((root / folder).rglob("*.c"))}


def roff(text):
    return text.replace("\\", "\\e").replace("-", "\\-")


def metrics_table(texts):
    help_of, labels = {}, {}
    for text in texts.values():
        for name, words in METRIC.findall(text):
            help_of[name] = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', words))
        for name, pairs, plain, label in LABELS.findall(text):
            found = re.findall(r"(\w+)=", pairs) if name else [label]
            labels.setdefault(name or plain, found)
    rows = []
    for name in sorted(help_of):
        shown = name + ("{" + ", ".join(labels[name]) + "}" if name in labels else "")
        rows += [f"{shown}|T{{", roff(help_of[name]), "T}"]
    return "\n".join([".TS", "tab(|);", "l l", "l lx.", "Name|What it is", "_", *rows, ".TE"]) + "\n"


def missing(root, page):
    code = sources(root, "daemon", "extract")
    reasons = {r for text in code.values() for r in re.findall(r'err_skip\(\s*err,\s*"(\w+)"', text)}
    schema = (root / "store/schema.c").read_text(encoding="utf-8")
    views = set(re.findall(r"CREATE VIEW (\w+)", schema))
    variables = {v for text in sources(root, "daemon", "config").values()
                 for v in re.findall(r'getenv\("(\w+)"\)', text)}
    for what, words in (("reason", reasons), ("view", views), ("variable", variables)):
        for word in sorted(words):
            if not re.search(rf"\b{word}\b", page):
                yield f"the {what} {word} is missing"


def main():
    write = sys.argv[1:2] == ["--write"]
    root, path = map(pathlib.Path, sys.argv[-2:])
    old = path.read_text(encoding="utf-8")
    table = metrics_table(sources(root, "daemon"))
    start = old.index(".TS\n", old.index(HEAD))
    new = old[:start] + table + old[old.index(NEXT):]
    if write:
        path.write_text(new, encoding="utf-8")
        return 0
    faults = list(missing(root, old))
    if new != old:
        line = next(i for i, (a, b) in enumerate(zip(old.splitlines() + [""],
                                                     new.splitlines() + [""]), 1) if a != b)
        faults.append(f"line {line}: METRICS is not what the sources say: ninja pages")
    for fault in faults:
        print(f"{path}: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
