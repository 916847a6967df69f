#!/usr/bin/env python3
"""How long a live event takes to be in the store beside an import of N interactions, and without one; then
the import alone, time and memory.

    import_beside.py TOOLS [N]

See tests/integration/processtest.py.
"""

import json
import os
import pathlib
import random
import sqlite3
import subprocess
import sys
import time

N = int(sys.argv.pop(2)) if len(sys.argv) > 2 else 1000000
sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration"))
import processtest  # noqa: E402  (takes TOOLS from sys.argv)


def latencies(site, tag, n=40):
    found = []
    for i in range(n):
        item = f"{tag}{i}"
        start = time.monotonic()
        site.drop(f"{item}.ndjson", [json.dumps({"item_id": item, "title": "t"})])
        while True:
            db = sqlite3.connect(f"file:{site.store}?mode=ro", uri=True)
            there = db.execute("SELECT 1 FROM item WHERE item_id = ?", (item,)).fetchone()
            db.close()
            if there:
                break
            time.sleep(0.002)
        found.append((time.monotonic() - start) * 1000)
        time.sleep(0.05)
    found.sort()
    print(f"{tag}: p50 {found[n // 2]:.0f} ms, p90 {found[n * 9 // 10]:.0f} ms, "
          f"max {found[-1]:.0f} ms")


def main():
    r = random.Random(1)
    site = processtest.Site()
    path = site.dir / "pairs.tsv"
    with open(path, "w", encoding="utf-8") as out:
        for i in range(N):
            out.write(f"u{r.randrange(50000)}\tv{r.randrange(20000)}\t{1700000000 + i}\n")
    site.start()
    latencies(site, "without")
    p = subprocess.Popen([processtest.TOOLS / "metammf", "--store", site.store, "import",
                          "interactions", path], stderr=subprocess.DEVNULL)
    time.sleep(3)
    latencies(site, "beside")
    print("the import still ran:", p.poll() is None)
    p.terminate()
    p.wait()
    site.stop()
    start = time.monotonic()
    p = subprocess.Popen([processtest.TOOLS / "metammf", "--store", site.dir / "alone.db",
                          "import", "interactions", path], stderr=subprocess.DEVNULL)
    usage = os.wait4(p.pid, 0)[2]
    print(f"alone: {N} lines in {time.monotonic() - start:.1f} s, {usage.ru_maxrss / 1024:.0f} MB")
    site.close()


main()
