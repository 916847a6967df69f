#!/usr/bin/env python3
"""metammfd(8). Written from what the program and its sources say: its options and exit codes, the fields of events
(config/schemas/), the reasons of dead letters, the metrics. Compared with them: public views and their columns,
variables of the environment, signals, fields of the journal, exit codes that the unit does not start again.

    daemon.py METAMMF METAMMFD ROOT PAGE           exit status 1 and what differs or is missing
    daemon.py --write METAMMF METAMMFD ROOT PAGE
"""

import json
import os
import pathlib
import re
import sqlite3
import subprocess
import tempfile

import pages
from pages import help_of, roff, tagged

TEXTS = r'((?:"(?:[^"\\]|\\.)*"\s*)+)'
METRIC = re.compile(r'\b(?:counter|metrics_head|metrics_gauge)\('
                    r'\s*out,\s*"((?:metammf|process)_\w+)",\s*'
                    r'(?:"(?:gauge|counter|histogram)",\s*)?' + TEXTS)
LABELS = re.compile(r'(metammf_\w+)\{(\w+=.*?)\}|'
                    r'print_labelled\(out, &\w+, "(metammf_\w+)", "(\w+)"\)', re.S)
REASON = re.compile(r'\{"(\w+)",\s*' + TEXTS + r'(?:,\s*OF_\w+)?\}')
EXITS = {"EX_USAGE": 64, "EX_DATAERR": 65, "EX_NOINPUT": 66, "EX_UNAVAILABLE": 69, "EX_SOFTWARE": 70,
         "EX_OSERR": 71, "EX_CANTCREAT": 73, "EX_IOERR": 74, "EX_TEMPFAIL": 75, "EX_NOPERM": 77, "EX_CONFIG": 78}


def sources(root, *folders):
    return {path: path.read_text(encoding="utf-8") for folder in folders
            for path in sorted((root / folder).rglob("*.c"))}


def joined(texts):
    return "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', texts))


def metrics(texts):
    help_of_metric, labels = {}, {}
    for text in texts.values():
        for name, words in METRIC.findall(text):
            help_of_metric[name] = joined(words)
        for name, pairs, plain, label in LABELS.findall(text):
            found = re.findall(r"(\w+)=", pairs) if name else [label]
            labels.setdefault(name or plain, found)
    return [line for name in sorted(help_of_metric)
            for line in tagged(name + ("{" + ", ".join(labels[name]) + "}" if name in labels else ""),
                               help_of_metric[name])]


def reasons(root):
    return {name: joined(words) for name, words in REASON.findall(
        (root / "daemon/base/reasons.c").read_text(encoding="utf-8"))}


def plain(number):
    return f"{number:,.0f}" if float(number).is_integer() else str(number)


def field(name, about, required):
    names = {"string": "text", "integer": "whole number", "number": "number", "array": "list", "null": None}
    types = about["type"] if isinstance(about["type"], list) else [about["type"]]
    said = [" or ".join(names[t] for t in types if names[t])]
    if "maxLength" in about:
        said.append(f"at most {plain(about['maxLength'])} bytes")
    if "minimum" in about:
        said.append(f"{plain(about['minimum'])} to {plain(about['maximum'])}")
    if name in required:
        said.append("required")
    elif "default" in about:
        said.append(f"default {about['default']}")
    return [".TP", f".BR {roff(name)} \" ({roff(', '.join(said))})\"",
            pages.settings_bold(roff(about["description"]))]


def fields(root, which):
    schema = json.loads((root / f"config/schemas/{which}-event.schema.json").read_text(encoding="utf-8"))
    return [line for name, about in schema["properties"].items()
            for line in field(name, about, schema["required"])]


def views(metammf):
    """Each with its columns, of a store that the program has made."""
    with tempfile.TemporaryDirectory() as folder:
        pairs, store = os.path.join(folder, "p.tsv"), os.path.join(folder, "s.db")
        with open(pairs, "w", encoding="utf-8") as f:
            f.write("u\ti\n")
        subprocess.run([metammf, "--store", store, "import", "interactions", pairs], check=True,
                       capture_output=True)
        db = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY name")]
        found = {name: [row[1] for row in db.execute(f"PRAGMA table_info({name})")] for name in names}
        db.close()
        return found


def part(page, head):
    start = page.index(f".SH {head}\n")
    return page[start:page.index("\n.SH", start + 1)]


def view_faults(page, metammf):
    text = part(page, "VIEWS")
    told = dict(re.findall(r"^\.TP\n\.B (\w+)\n([a-z_, ]+)", text, re.MULTILINE))
    for name, columns in views(metammf).items():
        if told.pop(name, "").strip() != ", ".join(columns):
            yield f"the columns of the view {name} are {', '.join(columns)}"
    yield from (f"there is no view {name}" for name in told)


def reason_faults(root, code):
    given = {r for text in code.values() for r in re.findall(r'err_skip\(\s*err,\s*"(\w+)"', text)}
    table, all_code = reasons(root), "".join(text for path, text in code.items() if path.name != "reasons.c")
    yield from (f"daemon/base/reasons.c lacks {name}" for name in sorted(given - set(table)))
    yield from (f"daemon/base/reasons.c: nothing gives the reason {name}" for name in table
                if f'"{name}"' not in all_code)


def word_faults(page, root, code):
    variables = {v for text in code.values() for v in re.findall(r'getenv\("(\w+)"\)', text)}
    journal = {name for text in code.values() for name in re.findall(r'\{"([A-Z][A-Z_]+)", ', text)}
    service = (root / "daemon/service/service.c").read_text(encoding="utf-8")
    signals = set(re.findall(r"SIG\w+", re.search(r"signals\[\] = \{(.*?)\}", service)[1]))
    for what, words, head in (("variable", variables, "ENVIRONMENT"), ("field of the journal", journal, "LOG"),
                              ("signal", signals, "SIGNALS")):
        yield from (f"{head}: the {what} {word} is missing" for word in sorted(words)
                    if not re.search(rf"\b{word}\b", part(page, head)))


def exit_faults(root, code, daemon_help, metammf_help):
    """The help is where the pages have them from."""
    codes, rest = pages.exit_codes(daemon_help)
    unit = (root / "systemd/metammfd.service.in").read_text(encoding="utf-8")
    down = {int(n) for n in re.search(r"^RestartPreventExitStatus=(.*)", unit, re.MULTILINE)[1].split() if int(n) < 128}
    if down != {int(n) for n in re.findall(r"\b\d+\b", rest)}:
        yield f"metammfd --help: the unit stays down after {sorted(down)}"
    known = {number for number, _ in codes} | {number for number, _ in pages.exit_codes(metammf_help)[0]}
    used = {name for text in code.values() for name in re.findall(r"\bEX_[A-Z]+\b", text)}
    yield from (f"no help names the exit code {EXITS[name]}, {name}" for name in sorted(used & set(EXITS))
                if EXITS[name] not in known)


def blocks_and_faults(page, metammf, metammfd, root):
    root = pathlib.Path(root)
    code = sources(root, "config", "store", "daemon", "extract")
    daemon_help, metammf_help = help_of(metammfd), help_of(metammf)
    blocks = {"options": pages.options(daemon_help), "exits": pages.exits(daemon_help),
              "video": fields(root, "video"), "interaction": fields(root, "interaction"),
              "user": fields(root, "user"), "metrics": metrics(sources(root, "daemon")),
              "reasons": [line for name, what in reasons(root).items() for line in tagged(name, what)]}
    return blocks, [*view_faults(page, metammf), *reason_faults(root, code), *word_faults(page, root, code),
                    *exit_faults(root, code, daemon_help, metammf_help)]


if __name__ == "__main__":
    pages.main(blocks_and_faults)
