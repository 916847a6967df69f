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

FOLDERS = {  # folder -> folders whose headers it may include
    "config": {"config"},
    "extract": {"config", "extract"},
    "fusion": {"config", "fusion"},
    "store": {"config", "store"},
    "daemon": {"config", "extract", "fusion", "store", "daemon"},
    "tests": {"config", "extract", "fusion", "store", "daemon", "tests"},
}
THIRD_PARTY = [  # headers, the paths that may include them, in words
    (r"librdkafka/", r"(daemon/kafka_[^/]*\.c|tests/.*)$", "daemon/kafka_*.c and tests/"),
    (r"(jansson\.h|microhttpd\.h|systemd/)", r"(daemon|tests)/", "daemon/ and tests/"),
    (r"(libav[a-z]+|libsw[a-z]+)/", r"(extract|tests)/", "extract/ and tests/"),
    (r"utf8proc\.h", r"extract/", "extract/"),
    (r"seccomp\.h", r"(extract|tests)/", "extract/ and tests/"),
    (r"(cblas|cblas-openblas|f77blas|lapacke?)\.h|openblas", r"(fusion|tests)/",
     "fusion/ and tests/"),
    (r"sqlite3(ext)?\.h", r"(store|tests)/", "store/ and tests/"),
    (r"libconfig\.h", r"config/", "config/"),
    (r"openssl/", r"(config|tests)/", "config/ and tests/"),
    (r"cmocka\.h", r"tests/", "tests/"),
]
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 80
# Put together, so that this file does not find itself.
LEFT_OVER = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3]) + r")\b")
MACHINE_PATH = re.compile("/" + r"(work/(main|shared)|home/[a-z]|root/|tmp/(brief|build))")
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


def check_include(name, number, kind, header):
    folder = name.split("/")[0]
    if kind == '"':
        source = header.split("/")[0]
        beside = "/" not in header and folder == "tests"
        if folder in FOLDERS and source not in FOLDERS[folder] and not beside:
            yield number, f'"{header}": {folder}/ may include only {sorted(FOLDERS[folder])}'
    for pattern, allowed, words in THIRD_PARTY:
        if not re.match(pattern, header):
            continue
        if name.endswith(".h") and folder != "tests":
            yield number, f"<{header}>: no third-party include in a header"
        elif not re.match(allowed, name):
            yield number, f"<{header}>: only in {words}"


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


def check_code(name, lines):
    for number, line in enumerate(lines, 1):
        found = INCLUDE.match(line)
        if found:
            yield from check_include(name, number, found.group(1), found.group(2))
    yield from check_functions(lines)


def check_text(name, lines):
    for number, line in enumerate(lines, 1):
        for pattern, fault in ((LEFT_OVER, "unfinished work"), (MACHINE_PATH, "a machine's path")):
            found = pattern.search(line)
            if found:
                yield number, f"{fault}: {found.group(0)}"
    is_source = name.endswith((".c", ".h", ".py", ".sh", ".sql"))
    if is_source and len(lines) > MAX_FILE_LINES:
        yield len(lines), f"{len(lines)} lines, at most {MAX_FILE_LINES}"


def check_readmes(names):
    folders = {n.split("/")[0] for n in names if "/" in n and not n.startswith(".")}
    for folder in sorted(folders | {""}):
        path = os.path.join(folder, "README.md")
        if path not in names:
            yield path, 1, "missing"


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
    faults = []
    for name in names:
        lines = read_lines(root, name)
        if lines is None or name == "LICENSE":
            continue
        faults += [(name, *f) for f in check_text(name, lines)]
        if name.endswith((".c", ".h")):
            faults += [(name, *f) for f in check_code(name, lines)]
    faults += check_readmes(names)
    faults += check_format(root, names)
    return len(names), faults


PLANTED = {
    "store/a.c": ('#include "fusion/model/model.h"\n', "may include only"),
    "daemon/b.c": ("#include <librdkafka/rdkafka.h>\n", "only in daemon/kafka_"),
    "store/c.h": ("#include <sqlite3.h>\n", "no third-party include in a header"),
    "fusion/d.c": ("#include <sqlite3.h>\n", "only in store/"),
    "fusion/e.c": ("void e(void)\n{\n" + "    ;\n" * 81 + "}\n", "function of 81 lines"),
    "fusion/f.c": ("int f;\n" * 501, "501 lines, at most"),
    "extract/g.c": ("/* " + "TO" + "DO */\n", "unfinished work"),
    "extract/h.c": ('const char *h = "/' + 'work/main";\n', "a machine's path"),
    "systemd/i": ("x\n", None),
}
CLEAN = {
    "daemon/kafka_x.c": '#include <librdkafka/rdkafka.h>\n#include "store/store.h"\n',
    "tests/unit/t.c": '#include <cmocka.h>\n#include <sqlite3.h>\n#include "beside.h"\n',
    "fusion/z.c": "void z(void)\n{\n" + "    ;\n" * 80 + "}\n",
}


def self_test():
    missed = []
    with tempfile.TemporaryDirectory() as root:
        for name, text in [(n, t[0]) for n, t in PLANTED.items()] + list(CLEAN.items()):
            os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
            with open(os.path.join(root, name), "w", encoding="utf-8") as f:
                f.write(text)
        if shutil.which("clang-format") is not None:
            shutil.copy(os.path.join(os.path.dirname(__file__), "..", "..", ".clang-format"), root)
            with open(os.path.join(root, "store/a.c"), "a", encoding="utf-8") as f:
                f.write("int   a ;\n")
            PLANTED["store/a.c#"] = ("", "not as clang-format")
        faults = check(root)[1]
    for name, (_, fault) in PLANTED.items():
        path = name.rstrip("#") if fault else "systemd/README.md"
        if not any(f[0] == path and (fault or "missing") in f[2] for f in faults):
            missed.append(f"{path}: {fault or 'missing'}")
    missed += [f"{f[0]}: wrongly {f[2]}" for f in faults if f[0] in CLEAN]
    print("\n".join(missed) or f"{len(PLANTED)} planted faults found")
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
