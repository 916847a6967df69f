#!/usr/bin/env python3
"""Files that are made to cost much, and what they cost.

    attack.py make --out DIR [--seed N] [--count K] [--from I] [--to J] [--kind PREFIX] [--full]
    attack.py run  --bin BUILD/bin [the same options] [--mutations K] [--report FILE] [--lines FILE]
    attack.py kinds

`make` writes files I … J-1 of a series of K: file i depends on the seed, i and the kinds alone.
`run` makes them in a temporary folder, in parts, feeds them to a sandboxed worker with a title each
(attack_jobs), and prints a table by kind. It fails when a job took more than 11 s of CPU (half of --cpu and a second),
is no row, or an honest worker was called a breaker of the protocol. --mutations K adds mutations of whole clips and of attack files.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import kinds_header  # noqa: F401 (registers)
import kinds_picture  # noqa: F401
import kinds_sound  # noqa: F401
from bases import Bases
from kinds import KINDS, Draw

PART = 40  # files on the disk at a time


def chosen(options):
    names = [k for k in sorted(KINDS) if k.startswith(options.kind)]
    absent = [k for k in names if not all(map(options.bases.has, KINDS[k][2]))]
    if absent:
        print(f"left out, for want of ffmpeg's encoders: {' '.join(absent)}", file=sys.stderr)
    return [k for k in names if k not in absent]


def make_one(options, index, names, reach=None):
    """(name, bytes, what was drawn)."""
    kind = names[index % len(names)]
    function, extension, _ = KINDS[kind]
    d = Draw(f"{options.seed}/{index}/{kind}", options.bases, options.reach if reach is None else reach, options.full)
    data = function(d)
    return f"{index:05d}-{kind}.{extension}", data, d


def write_series(options, folder, first, last, names):
    for i in range(first, last):
        name, data, d = make_one(options, i, names)
        (folder / name).write_bytes(data)
        yield folder / name, d


def mutate(options, folder, first, last, bases):
    subprocess.run([options.bin / "mutate_files", folder, str(options.seed), str(first), str(last)],
                   input="".join(f"{b}\n" for b in bases), text=True, check=True)
    return sorted(folder.glob("*-mutated_*"))


class Worker:
    """attack_jobs, kept running."""

    def __init__(self, tools, cpu_s):
        self.process = subprocess.Popen([tools / "attack_jobs", str(cpu_s)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)

    def job(self, path):
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"attack_jobs ended at {path} with {self.process.wait()}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        return self.process.wait()


def kind_of(name):
    kind = name.split("-", 1)[1].split(".")[0]
    return kind if "mutated" not in kind else kind.split("_of_")[0]


def cpu_max_ms(cpu_s):
    """Half of what a job may cost, and the second to which the kernel rounds; a worker's start matters where the limit
    is small."""
    return cpu_s * 500 + (1000 if cpu_s >= 20 else 1300)


def faults_of(r, cpu_s):
    found = []
    if r["cpu_ms"] > cpu_max_ms(cpu_s):
        found.append(f"{r['cpu_ms'] / 1000:.1f} s of CPU")
    if r["outcome"] != "row":
        found.append(f"no row: {r['reason']}: {r['text']}")
    if r["reason"] == "worker_reply":
        found.append("an honest worker is called a breaker of the protocol")
    return found


class Report:
    def __init__(self, options):
        self.cpu_s = options.cpu
        self.by_kind = collections.defaultdict(list)
        self.bad, self.lines, self.began = [], options.lines and open(options.lines, "w"), time.time()

    def add(self, result, path, drawn, size):
        result.update(file=path.name, drawn=drawn, bytes=size)
        self.by_kind[kind_of(path.name)].append(result)
        if self.lines:
            print(json.dumps(result), file=self.lines, flush=True)
        for fault in faults_of(result, self.cpu_s):
            self.bad.append(f"{path.name} ({size} bytes, {drawn}): {fault}")
            print(f"FAULT {self.bad[-1]}", flush=True)

    def table(self):
        head = ("kind", "files", "rows", "dead", "reasons", "CPU s max", "CPU s sum", "RSS MB max", "lost")
        yield "| " + " | ".join(head) + " |"
        yield "|" + "---|" * len(head)
        every = [r for results in self.by_kind.values() for r in results]
        for kind, results in sorted(self.by_kind.items()) + [("all", every)]:
            reasons = collections.Counter(r["reason"] for r in results if r["reason"])
            rows = sum(r["outcome"] == "row" for r in results)
            yield "| " + " | ".join(map(str, (
                kind, len(results), rows, len(results) - rows,
                ", ".join(f"{k} {n}" for k, n in sorted(reasons.items())) or "–",
                f"{max(r['cpu_ms'] for r in results) / 1000:.2f}",
                f"{sum(r['cpu_ms'] for r in results) / 1000:.1f}",
                max(r["rss_kb"] for r in results) // 1024, sum(r["lost"] for r in results)))) + " |"


def run(options):
    names, report = chosen(options), Report(options)
    worker = Worker(options.bin, options.cpu)
    with tempfile.TemporaryDirectory(prefix="mmf-attack-") as where:
        folder = pathlib.Path(where)
        for first in range(options.first, options.last, PART):
            for path, d in write_series(options, folder, first, min(first + PART, options.last), names):
                report.add(worker.job(path), path, d.said, path.stat().st_size)
                path.unlink()
        if options.mutations:
            run_mutations(options, worker, report, folder)
    worker.close()
    text = "\n".join(report.table())
    print(text)
    if options.report:
        pathlib.Path(options.report).write_text(text + "\n")
    print(f"{sum(map(len, report.by_kind.values()))} files in {time.time() - report.began:.0f} s, "
          f"{len(report.bad)} faults")
    return 1 if report.bad else 0


def run_mutations(options, worker, report, folder):
    """Of whole clips, and of attack files of little cost."""
    (folder / "bases").mkdir()
    bases = options.bases.clips()
    names = chosen(options)
    for i in range(len(names)):
        name, data, _ = make_one(options, i, names, 0.3)
        if len(data) < 1 << 20:
            (folder / "bases" / name).write_bytes(data)
            bases.append(folder / "bases" / name)
    for first in range(0, options.mutations, PART):
        for path in mutate(options, folder, first, min(first + PART, options.mutations), bases):
            report.add(worker.job(path), path, {}, path.stat().st_size)
            path.unlink()


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("make", "run", "kinds"))
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--bin", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, help="one of each kind unless given")
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--to", dest="last", type=int)
    parser.add_argument("--kind", default="", help="only kinds that begin so")
    parser.add_argument("--full", action="store_true", help="everything at full strength")
    parser.add_argument("--reach", type=float, default=1.0, help="how far sizes go: 0 the least, 1 the greatest")
    parser.add_argument("--cpu", type=int, default=20, help="extract.cpu_seconds: at 2, jobs are stopped ten times "
                        "sooner, and many more of them in the middle of something")
    parser.add_argument("--mutations", type=int, default=0)
    parser.add_argument("--report")
    parser.add_argument("--cache", default=pathlib.Path(tempfile.gettempdir()) / "mmf-attack-bases",
                        help="where films of ffmpeg's are kept")
    parser.add_argument("--lines")
    options = parser.parse_args()
    options.bases = Bases(options.cache)
    if options.last is None:
        options.last = options.count or len(chosen(options))
    return options


def main():
    options = parse()
    if options.verb == "kinds":
        print("\n".join(chosen(options)))
        return 0
    if options.verb == "run":
        return run(options)
    options.out.mkdir(parents=True, exist_ok=True)
    for path, d in write_series(options, options.out, options.first, options.last, chosen(options)):
        print(path, path.stat().st_size, json.dumps(d.said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
