#!/usr/bin/env python3
"""Rules of the house that a compiler does not check; prints "path:line: fault", exits 1 on any.

usage: lint.py [ROOT]      check the tree
       lint.py --self-test plant one fault of each kind in a scratch tree and see it found
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

THIRD_PARTY = [  # headers, the one room that may include them
    (r"librdkafka/", "daemon/kafka/"),
    (r"curl/", "daemon/media/"),
    (r"microhttpd\.h", "daemon/http/"),
    (r"systemd/", "daemon/service/"),
    (r"jansson\.h", "daemon/"),
    (r"(libav[a-z]+|libsw[a-z]+)/", "extract/media/"),
    (r"utf8proc\.h", "extract/media/"),
    (r"seccomp\.h", "extract/worker/"),
    (r"(cblas|cblas-openblas|f77blas|lapacke?)\.h|openblas", "fusion/math/"),
    (r"sqlite3(ext)?\.h", "store/"),
    (r"libconfig\.h", "config/"),
    (r"openssl/", "config/"),
    (r"cmocka\.h", "tests/"),
]
WING = re.compile(r"^mmf_wing\(([\w/]+)\s+SOURCES\s+([^()]*?)\)", re.M)
MAX_FOLDER_FILES = 50
MAX_FILE_LINES = 700  # a file is one subject; it is not split only to be short
MAX_FUNCTION_LINES = 80
# Put together, so that this file does not find itself.
LEFT_OVER = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")
MACHINE_PATH = re.compile("/" + r"(work/(main|shared)|home/[a-z]|root/|tmp/(brief|build))")
# What strangers wrote, printed: a statement of daemon/cli/ (the demo shows its own clips), less its strings,
# what passes a filter, and what is only asked for.
PRINTED = re.compile(r'\bf?(?:printf|puts)\((?:[^;"]|"(?:[^"\\]|\\.)*")*\);')
FILTERED = re.compile(r'"(?:[^"\\]|\\.)*"|\b(?:cli_text|cli_field|strlen|strcmp)\((?:[^()]|\([^()]*\))*\)')
FOREIGN = re.compile(r"(?<!\*)\b(?:json_field_text|json_string_value)\(|"
                     r"(?:->|\.)(?:item_id|user_id|topic|error|title|unread)\b(?! *\?)")
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')


def tracked(root):
    """Paths of the project's files: as git sees them, or all where there is no git."""
    try:
        out = subprocess.run(["git", "-C", root, "ls-files", "-z", "--cached", "--others",
                              "--exclude-standard"], capture_output=True, check=True).stdout
        names = sorted(set(out.decode().split("\0")) - {""})
    except (OSError, subprocess.CalledProcessError):
        names = []
        for folder, subfolders, files in os.walk(root):
            subfolders[:] = [d for d in subfolders if d not in (".git", "build", "__pycache__")]
            names += [os.path.relpath(os.path.join(folder, f), root) for f in files]
    return [n for n in sorted(names) if os.path.isfile(os.path.join(root, n))]


def read_lines(root, name):
    """The lines of a text file, None for a binary one."""
    with open(os.path.join(root, name), "rb") as f:
        data = f.read()
    if b"\0" in data:
        return None
    return data.decode("utf-8", "replace").splitlines()


class Wings:
    """The rooms as the CMakeLists declare them: mmf_wing(FOLDER SOURCES … USES … LIBRARIES …)."""

    def __init__(self, root, names):
        self.uses = {}  # folder -> folders whose headers it may include
        self.faults = []
        for name in sorted((n for n in names if os.path.basename(n) == "CMakeLists.txt"),
                           key=lambda n: n.count("/")):
            text = "\n".join(read_lines(root, name))
            for found in WING.finditer(text):
                words = re.split(r"\bUSES\b|\bLIBRARIES\b", found.group(2))
                has_uses = re.search(r"\bUSES\b", found.group(2))
                self.uses[found.group(1)] = words[1].split() if has_uses else []
        for wing in self.uses:
            self.faults += [(wing, used) for used in self.uses[wing] if wing in self.below(used)]

    def below(self, wing):
        """The wing and all that it may reach, whatever the order of their declarations."""
        seen, left = set(), [wing]
        while left:
            one = left.pop()
            if one not in seen:
                seen.add(one)
                left += self.uses.get(one, [])
        return seen

    def of(self, path):
        folder = os.path.dirname(path)
        while folder and folder not in self.uses:
            folder = os.path.dirname(folder)
        return folder


def check_include(wings, name, number, kind, header):
    is_test = name.startswith("tests/")
    if kind == '"' and not is_test:
        wing, source = wings.of(name), wings.of(header)
        if not source:
            yield number, f'"{header}" is in no wing: write the path from the top'
        elif source != wing and source not in wings.uses.get(wing, []):
            yield number, f'"{header}": {wing}/ may use only {" ".join(wings.uses.get(wing, []))}'
    for pattern, owner in THIRD_PARTY:
        if not re.match(pattern, header):
            continue
        if name.endswith(".h") and not is_test:
            yield number, f"<{header}>: no third-party include in a header"
        elif not name.startswith((owner, "tests/")):
            yield number, f"<{header}>: only in {owner}"


def check_functions(lines):
    """A function's body is from a '{' to the next '}' in the first column."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line.startswith("}") and start is not None:
            if number - start - 1 > MAX_FUNCTION_LINES:
                yield start, f"function of {number - start - 1} lines, at most {MAX_FUNCTION_LINES}"
            start = None


def check_code(wings, name, lines):
    for number, line in enumerate(lines, 1):
        found = INCLUDE.match(line)
        if found:
            yield from check_include(wings, name, number, found.group(1), found.group(2))
    yield from check_functions(lines)
    yield from check_printed(name, lines)


def check_printed(name, lines):
    if not name.startswith("daemon/cli/") or name.startswith("daemon/cli/demo/"):
        return
    text = "\n".join(lines)
    for found in PRINTED.finditer(text):
        foreign = FOREIGN.search(FILTERED.sub("", found.group(0)))
        if foreign:
            number = text.count("\n", 0, found.start()) + 1
            yield number, f"{foreign.group(0)} is printed as it came: cli_text (daemon/cli/cli.h)"


def check_text(name, lines):
    for number, line in enumerate(lines, 1):
        for pattern, fault in ((LEFT_OVER, "unfinished work"), (MACHINE_PATH, "a machine's path")):
            found = pattern.search(line)
            if found:
                yield number, f"{fault}: {found.group(0)}"
    is_source = name.endswith((".c", ".h", ".py", ".sh", ".sql"))
    if is_source and len(lines) > MAX_FILE_LINES:
        yield len(lines), f"{len(lines)} lines, at most {MAX_FILE_LINES}"


def check_folders(wings, names):
    """A README each, no crowd, and beside wings nothing but what describes them."""
    tops = {n.split("/")[0] for n in names if "/" in n and not n.startswith(".")}
    for folder in sorted(tops | {""}):
        path = os.path.join(folder, "README.md")
        if path not in names:
            yield path, 1, "missing"
    for folder in sorted({os.path.dirname(n) for n in names} - {""}):
        files = [n for n in names if os.path.dirname(n) == folder]
        if len(files) > MAX_FOLDER_FILES and not folder.startswith("tests"):
            yield folder, 1, f"{len(files)} files, at most {MAX_FOLDER_FILES}"
    for name in names:
        folder = os.path.dirname(name)
        has_wings = any(w.startswith(folder + "/") for w in wings.uses) if folder else False
        if has_wings and folder not in wings.uses and not re.search(
                r"/(CMakeLists\.txt|README\.md)$", name):
            yield name, 1, f"in no wing of {folder}/"


def check_wings(root, wings, names):
    for wing, used in wings.faults:
        yield "CMakeLists.txt", 1, f"a circle: {wing} uses {used}, which uses {wing}"
    page = "docs/architecture.md"
    if page not in names:
        return
    told = {}
    for number, line in enumerate(read_lines(root, page), 1):
        cells = [c.strip() for c in line.strip("|").split("|")]
        wing = cells[0].strip("`")
        if len(cells) == 3 and wing in wings.uses:
            told[wing] = number
            uses = set(re.findall(r"[\w/]+", cells[2])) - {"none"}
            if uses != set(wings.uses[wing]):
                yield page, number, f"{wing} uses {' '.join(wings.uses[wing]) or 'nothing'}"
    for wing in wings.uses:
        if wing not in told:
            yield page, 1, f"{wing} is missing from the table of wings"


def check_links(root, names):
    """Links between pages lead to files that are there."""
    folders = {os.path.dirname(n) for n in names}
    folders |= {os.path.dirname(f) for f in folders} | {""}
    for name in names:
        if not name.endswith(".md"):
            continue
        for number, line in enumerate(read_lines(root, name), 1):
            for link in re.findall(r"\]\(([^)\s]+)\)", line):
                target = link.split("#")[0]
                if not target or re.match(r"[a-z]+:", target):
                    continue
                path = os.path.normpath(os.path.join(os.path.dirname(name), target))
                if path not in names and path not in folders:
                    yield name, number, f"no such file: {link}"


def check_circles(root, names):
    """No header that includes itself by way of others. (Circles of objects: objects.py.)"""
    graph = {}
    for name in names:
        if name.endswith(".h"):
            includes = [INCLUDE.match(line) for line in read_lines(root, name)]
            graph[name] = [i.group(2) for i in includes if i and i.group(1) == '"']
    for start in graph:
        seen, left = set(), list(graph[start])
        while left:
            one = left.pop()
            if one == start:
                yield start, 1, "includes itself by way of others"
                break
            if one in graph and one not in seen:
                seen.add(one)
                left += graph[one]


def check_format(root, names):
    code = [n for n in names if n.endswith((".c", ".h"))]
    if shutil.which("clang-format") is None:
        print("skipped: clang-format is not installed, the layout was not checked")
        return
    if not code or not os.path.isfile(os.path.join(root, ".clang-format")):
        return
    out = subprocess.run(["clang-format", "--dry-run", *code], cwd=root, text=True,
                         capture_output=True, check=False)
    seen = set()
    for line in (out.stdout + out.stderr).splitlines():
        found = re.match(r"([^:]+):(\d+):\d+: (?:warning|error)", line)
        if found and found.group(1) not in seen:
            seen.add(found.group(1))
            yield found.group(1), int(found.group(2)), "not as clang-format writes it"


def check(root):
    names = tracked(root)
    wings = Wings(root, names)
    faults = []
    for name in names:
        lines = read_lines(root, name)
        if lines is None and not name.startswith("tests/"):
            faults.append((name, 1, "a binary file: packages and builds do not belong here"))
        if lines is None or name == "LICENSE":
            continue
        faults += [(name, *f) for f in check_text(name, lines)]
        if name.endswith((".c", ".h")):
            faults += [(name, *f) for f in check_code(wings, name, lines)]
    faults += check_folders(wings, names)
    faults += check_wings(root, wings, names)
    faults += check_links(root, names)
    faults += check_circles(root, names)
    faults += check_format(root, names)
    return len(names), faults


PLANTED = {  # path: its text, and the fault that has to be found there
    "store/a.c": ('#include "fusion/model/model.h"\n', "may use only config"),
    "daemon/base/up.c": ('#include "daemon/kafka/source.h"\n', "may use only config"),
    "daemon/kafka/nowhere.c": ('#include "beside.h"\n', "in no wing"),
    "daemon/loose.c": ("int loose;\n", "in no wing of daemon/"),
    "daemon/base/b.c": ("#include <librdkafka/rdkafka.h>\n", "only in daemon/kafka/"),
    "daemon/kafka/http.c": ("#include <microhttpd.h>\n", "only in daemon/http/"),
    "store/c.h": ("#include <sqlite3.h>\n", "no third-party include in a header"),
    "fusion/model/d.c": ("#include <sqlite3.h>\n", "only in store/"),
    "fusion/model/e.c": ("void e(void)\n{\n" + "    ;\n" * 81 + "}\n", "function of 81 lines"),
    "fusion/model/f.c": ("int f;\n" * 701, "701 lines, at most"),
    "store/g.c": ("/* " + "TO" + "DO */\n", "unfinished work"),
    "store/h.c": ('const char *h = "/' + 'work/main";\n', "a machine's path"),
    "store/tool.deb": ("!<arch>\0", "a binary file"),
    "daemon/cli/said.c": ('void s(void)\n{\n    printf("%s; (%s)\\n",\n           cli_text(a->title), a->topic);\n}\n',
                         "->topic is printed as it came"),
    "store/round.h": ('#include "store/trip.h"\n', "includes itself"),
    "store/trip.h": ('#include "store/round.h"\n', "includes itself"),
    "fusion/CMakeLists.txt": ("mmf_wing(fusion/model\n    SOURCES d.c\n    USES config)\n", None),
    "daemon/CMakeLists.txt": (
        "mmf_wing(daemon/base SOURCES b.c USES config)\nmmf_wing(daemon/cli SOURCES said.c)\n"
        "mmf_wing(daemon/kafka SOURCES x.c\n    USES config store daemon/base\n"
        "    LIBRARIES PkgConfig::RDKAFKA)\n"
        "mmf_wing(daemon/egg SOURCES y.c USES daemon/hen)\n"
        "mmf_wing(daemon/hen SOURCES y.c USES daemon/egg)\n", None),
    "CMakeLists.txt": ("mmf_wing(config SOURCES a.c)\nmmf_wing(store SOURCES a.c USES config)\n",
                       "a circle: daemon/egg uses daemon/hen"),
    "docs/architecture.md": ("| `config` | text | none |\n| `store` | rows | config, daemon/base |\n",
                             "store uses config"),
    "docs/broken.md": ("[here](broken.md#x) [away](https://example.org) [gone](gone.md)\n",
                       "no such file: gone.md"),
    "systemd/README.md": (None, "missing"),
    "systemd/i": ("x\n", None),
    "daemon/egg": (None, f"51 files, at most {MAX_FOLDER_FILES}"),
}
PLANTED.update({f"daemon/egg/{n}.txt": ("x\n", None) for n in range(51)})
CLEAN = {
    "daemon/cli/tame.c": 'void t(void)\n{\n    printf("%s.topic", cli_text(a->topic ? a->topic : ""));\n'
                         '    puts(a->title ? "titled" : "");\n}\n',
    "daemon/kafka/x.c": '#include <librdkafka/rdkafka.h>\n#include "store/store.h"\n',
    "daemon/kafka/in/y.c": '#include "daemon/kafka/x.h"\n#include "daemon/base/x.h"\n',
    "tests/unit/t.c": '#include <cmocka.h>\n#include <sqlite3.h>\n#include "beside.h"\n',
    "tests/fuzz/seeds/x": "seed\0",
    "fusion/model/z.c": "void z(void)\n{\n" + "    ;\n" * 80 + "}\n",
}


def self_test():
    missed = []
    with tempfile.TemporaryDirectory() as root:
        for name, text in [(n, t[0]) for n, t in PLANTED.items()] + list(CLEAN.items()):
            if text is None:
                continue
            os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
            with open(os.path.join(root, name), "w", encoding="utf-8") as f:
                f.write(text)
        planted = [(name, fault) for name, (_, fault) in PLANTED.items() if fault]
        if shutil.which("clang-format") is not None:
            shutil.copy(os.path.join(os.path.dirname(__file__), "..", "..", ".clang-format"), root)
            with open(os.path.join(root, "store/a.c"), "a", encoding="utf-8") as f:
                f.write("int   a ;\n")
            planted.append(("store/a.c", "not as clang-format"))
        faults = check(root)[1]
    for name, fault in planted:
        if not any(f[0] == name and fault in f[2] for f in faults):
            missed.append(f"{name}: {fault}")
    missed += [f"{f[0]}: wrongly {f[2]}" for f in faults if f[0] in CLEAN]
    print("\n".join(missed) or f"{len(planted)} planted faults found")
    return 1 if missed else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..", "..")
    n_files, faults = check(root)
    for name, line, fault in faults:
        print(f"{name}:{line}: {fault}")
    print(f"{n_files} files, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
