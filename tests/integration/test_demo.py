#!/usr/bin/env python3
"""`metammf demo`, twice, and the three lines that it prints.

    test_demo.py TOOLS [N]

TOOLS is the folder of the executables (build/…/bin), N how many clips (12).
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

TOOLS = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 else "build/dev/bin").resolve()
N_CLIPS = int(sys.argv.pop(1)) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 12


class Demo(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="mmf-demo-")
        self.addCleanup(shutil.rmtree, self.dir, True)

    def run_demo(self, *args, tmp=None):
        return subprocess.run([TOOLS / "metammf", "demo", "--clips", str(N_CLIPS), *args],
                              text=True, capture_output=True, timeout=300,
                              env={**os.environ, "TMPDIR": tmp or self.dir})

    def check(self, r):
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
        self.assertNotIn("✗", r.stdout)
        self.assertNotIn("\033", r.stdout, "colour without a terminal")
        self.assertEqual(r.stdout.count("fused, committed, queryable"), N_CLIPS)
        self.assertIn(f"{N_CLIPS} embeddings + 6 interactions + 1 dead letter", r.stdout)
        self.assertIn("stopped cleanly", r.stdout)
        lines = r.stdout.strip().splitlines()[-3:]
        for line, wanted in zip(lines, ("sqlite3 -readonly", "python3", "similar clip-000"),
                                strict=True):
            self.assertIn(wanted, line)
            if line.startswith("sqlite3") and not shutil.which("sqlite3"):
                print("skipped: no sqlite3 tool for the first line")
                continue
            out = subprocess.run(line, shell=True, text=True, capture_output=True, timeout=60)
            self.assertEqual(out.returncode, 0, line + "\n" + out.stderr)
            self.assertEqual(len(out.stdout.strip().splitlines()), min(3, N_CLIPS - 1),
                             out.stdout)
        return lines

    def test_twice_and_the_lines_work(self):
        started = time.monotonic()
        first = self.check(self.run_demo())
        print(f"\nmetammf demo with {N_CLIPS} clips: {time.monotonic() - started:.1f} s")
        self.assertEqual(first, self.check(self.run_demo()))
        left = set(os.listdir(pathlib.Path(self.dir) / "metammf-demo"))
        self.assertNotIn("control.sock", left)
        self.assertIn("demo.db", left)

    def test_foreign_folder_is_refused(self):
        victim = pathlib.Path(self.dir) / "victim"
        victim.mkdir()
        (victim / "demo.db").write_text("precious")
        (pathlib.Path(self.dir) / "metammf-demo").symlink_to(victim)
        r = self.run_demo()
        self.assertEqual(r.returncode, 74, r.stdout + r.stderr)
        self.assertIn("--dir", r.stderr)
        self.assertEqual((victim / "demo.db").read_text(), "precious")
        r = self.run_demo("--dir", self.dir + "/it's")
        self.assertEqual(r.returncode, 64)
        self.assertFalse(os.path.exists(self.dir + "/it's"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
