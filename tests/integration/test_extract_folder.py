#!/usr/bin/env python3
"""metammf extract on a folder: lines and arrays, the same whatever the number of workers, and the
same after kill -9 in the middle. Every shared clip ($MMF_SHARED_DATA), $MMF_RUNS (2) times, each
by a new process with another number of workers.

    test_extract_folder.py TOOLS
"""

import hashlib
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

TOOLS = pathlib.Path(sys.argv.pop(1)).resolve()
N_CLIPS = 16
N_FILES = N_CLIPS + 1  # and one that is none
SHARED = pathlib.Path(os.environ.get("MMF_SHARED_DATA") or
                      pathlib.Path(__file__).resolve().parents[3] / "shared" / "data")
MODALITIES = "visual", "acoustic", "textual"


def read_npy(path):
    """(shape, rows) of a version 1 file of float32."""
    data = path.read_bytes()
    assert data[:8] == b"\x93NUMPY\x01\x00", path
    (used,) = struct.unpack("<H", data[8:10])
    head = data[10:10 + used].decode()
    assert "'<f4'" in head and "False" in head and (10 + used) % 64 == 0, head
    rows, cols = (int(n) for n in re.search(r"\((\d+), (\d+)\)", head).groups())
    values = struct.unpack(f"<{rows * cols}f", data[10 + used:])
    return (rows, cols), [values[i * cols:(i + 1) * cols] for i in range(rows)]


def as_float32(values):
    return struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values))


class Folder(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="mmf-folder-"))
        cls.addClassCleanup(shutil.rmtree, cls.dir, ignore_errors=True)
        cls.media = cls.dir / "media"
        subprocess.run([TOOLS / "metammf-extract", "--make-clips", cls.media, str(N_CLIPS)],
                       check=True, capture_output=True)
        (cls.media / "zz").mkdir()
        (cls.media / "zz" / "broken.mp4").write_text("not a film\n")
        (cls.media / "zz" / ".hidden.mp4").write_text("not looked at\n")
        (cls.dir / "conf").write_text(f"""
            source = "spool";
            store = {{ path = "{cls.dir}/s.db"; }};
            media = {{ roots = ["{cls.media}"]; }};
            spool = {{ directory = "{cls.dir}"; }};
            """)
        cls.truth = cls.dir / "truth.ndjson"
        cls.run_extract(cls.media, "--out", cls.truth)

    @classmethod
    def command(cls, *args):
        return [TOOLS / "metammf", "--config", cls.dir / "conf", "extract", *map(str, args)]

    @classmethod
    def run_extract(cls, *args, code=0):
        r = subprocess.run(cls.command(*args), capture_output=True, timeout=300)
        assert r.returncode == code, (args, r.returncode, r.stderr)
        return r

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="mmf-out-")
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name) / "f.ndjson"
        self.part = self.out.with_name("f.ndjson.part")

    def copy_media(self):
        media = self.out.parent / "media"
        shutil.copytree(self.media, media)
        return media

    def kill_in_the_middle(self, n_lines, *args):
        """kill -9 once the journal holds more than n_lines lines."""
        with subprocess.Popen(self.command(*args), stderr=subprocess.DEVNULL) as p:
            until = time.monotonic() + 120
            while p.poll() is None and time.monotonic() < until:
                if self.part.exists() and self.part.read_bytes().count(b"\n") > n_lines:
                    break
                time.sleep(0.002)
            self.assertIsNone(p.poll(), "it ended before it could be killed")
            p.send_signal(signal.SIGKILL)

    def test_lines_are_in_order_and_hold_all(self):
        lines = [json.loads(line) for line in self.truth.read_text().splitlines()]
        self.assertEqual(len(lines), N_FILES)
        paths = [line["path"] for line in lines]
        self.assertEqual(paths, sorted(paths))
        self.assertEqual(lines[-1]["reason"], "media")
        for line in lines[:-1]:
            self.assertLessEqual({"coverage", "max_gap_ms", "n_keyframes", "partial",
                                  "degraded"}, set(line["flags"]))
            self.assertLessEqual({"visual"}, set(line["modalities"]))
        self.assertFalse(self.truth.with_name("truth.ndjson.part").exists())

    def test_same_bytes_whatever_the_workers(self):
        outputs = {self.run_extract(self.media, "-j", n).stdout for n in (1, 2, 5)}
        self.assertEqual(len(outputs), 1)
        printed = [json.loads(line) for line in outputs.pop().splitlines()]
        kept = [json.loads(line) for line in self.truth.read_text().splitlines()]
        for line in kept:
            del line["key"]
        self.assertEqual(printed, kept)

    @unittest.skipUnless(SHARED.is_dir(), f"no shared data at {SHARED}")
    def test_shared_clips_same_bytes_in_every_process(self):
        runs = int(os.environ.get("MMF_RUNS", 2))
        for folder in "videos", "corrupt":
            outputs = [self.run_extract(SHARED / folder, "-j", i % 4 + 1).stdout
                       for i in range(runs)]
            print(f"{folder}: {runs} processes of 1 to 4 workers, {len(outputs[0])} bytes, "
                  f"{len(set(outputs))} output(s), SHA-256 "
                  f"{hashlib.sha256(outputs[0]).hexdigest()[:16]}", flush=True)
            self.assertEqual(len(set(outputs)), 1)

    def test_killed_goes_on_and_ends_the_same(self):
        for n in (0, 4, 8):
            self.kill_in_the_middle(n, self.media, "--out", self.out)
            self.assertFalse(self.out.exists())
        with open(self.part, "ab") as f:
            f.write(b'{"path": "torn')
        r = self.run_extract(self.media, "--out", self.out)
        kept, total = map(int, re.search(rb"(\d+) of (\d+) files are there", r.stderr).groups())
        (done,) = re.search(rb"metammf: (\d+) files in", r.stderr).groups()
        self.assertGreater(kept, 8)
        self.assertEqual((kept + int(done), total), (N_FILES, N_FILES))
        self.assertEqual(self.out.read_bytes(), self.truth.read_bytes())
        self.assertFalse(self.part.exists())

    def test_complete_is_left_alone(self):
        shutil.copy(self.truth, self.out)
        before = self.out.stat()
        r = self.run_extract(self.media, "--out", self.out)
        self.assertIn(b"%d of %d files are there" % (N_FILES, N_FILES), r.stderr)
        self.assertEqual(self.out.stat().st_ino, before.st_ino)

    def test_only_what_changed_is_extracted_again(self):
        media = self.copy_media()
        self.run_extract(media, "--out", self.out)
        clips = sorted(media.glob("*.*"))
        shutil.copy(clips[1], clips[0])
        clips[2].unlink()
        shutil.copy(clips[3], media / "aa.mp4")
        r = self.run_extract(media, "--out", self.out)
        self.assertIn(b"metammf: 2 files in", r.stderr)
        again = self.out.with_name("again.ndjson")
        self.run_extract(media, "--out", again)
        self.assertEqual(self.out.read_bytes(), again.read_bytes())
        r = self.run_extract(media, "--out", self.out, "--title", "other words")
        self.assertNotIn(b"are there already", r.stderr)

    def test_damaged_lines_are_extracted_again(self):
        lines = self.truth.read_bytes().splitlines(keepends=True)
        lines[3] = lines[3][:50] + b"\0" * 50 + lines[3][100:]
        lines[5] = b"\n"
        self.out.write_bytes(b"".join(lines))
        r = self.run_extract(self.media, "--out", self.out)
        self.assertIn(b"metammf: 2 files in", r.stderr)
        self.assertEqual(self.out.read_bytes(), self.truth.read_bytes())

    def check_arrays(self, folder):
        lines = [json.loads(line) for line in self.truth.read_text().splitlines()]
        rows = [line for line in lines if "modalities" in line]
        ids = (folder / "ids.txt").read_text().splitlines()
        self.assertEqual(ids, [os.path.relpath(r["path"], self.media) for r in rows])
        shape, mask = read_npy(folder / "mask.npy")
        self.assertEqual(shape, (N_CLIPS, 3))
        for column, name in enumerate(MODALITIES):
            shape, vectors = read_npy(folder / f"{name}.npy")
            self.assertEqual(shape[0], N_CLIPS)
            for i, row in enumerate(rows):
                m = row["modalities"].get(name)
                self.assertEqual(mask[i][column], 1 if m else 0)
                self.assertEqual(vectors[i],
                                 as_float32(m["vec"]) if m else (0.0,) * shape[1])
        self.assertEqual((folder / "features.ndjson").read_bytes(), self.truth.read_bytes())
        self.assertEqual(len(list(folder.iterdir())), 6)

    def test_arrays_hold_what_the_lines_hold(self):
        folder = self.out.parent / "arrays"
        self.part = folder / "features.ndjson.part"
        self.kill_in_the_middle(5, self.media, "--npy", folder)
        self.run_extract(self.media, "--npy", folder)
        self.check_arrays(folder)
        (folder / "visual.npy").unlink()
        self.run_extract(self.media, "--npy", folder)
        self.check_arrays(folder)

    def test_arrays_can_be_imported(self):
        folder = self.out.parent / "arrays"
        self.run_extract(self.media, "--npy", folder)
        r = subprocess.run([TOOLS / "metammf", "--store", self.out.parent / "s.db", "import",
                            "items", "--ids", folder / "ids.txt", "--visual",
                            folder / "visual.npy", "--acoustic", folder / "acoustic.npy",
                            "--json"], capture_output=True, check=True)
        self.assertEqual(json.loads(r.stdout)["stored"], N_CLIPS)

    def test_bar_with_rate_and_time_left_on_a_terminal(self):
        ours, theirs = pty.openpty()
        with subprocess.Popen(self.command(self.media, "--out", self.out, "-j", 1),
                              stderr=theirs) as p:
            os.close(theirs)
            shown = b""
            while True:
                try:
                    chunk = os.read(ours, 4096)
                except OSError:
                    break
                if not chunk:
                    break
                shown += chunk
            self.assertEqual(p.wait(), 0)
        os.close(ours)
        self.assertRegex(shown, rb"\rextract \[#*\.+\] \d+/17  \d+ %  [\d.]+/s  \d+:\d\d left")
        self.assertRegex(shown, rb"\[#{20}\] 17/17  100 %")
        self.assertRegex(shown, rb"17 files in [\d.]+ s, [\d.]+ a second")

    def test_two_at_a_time_is_one_too_many(self):
        with subprocess.Popen(self.command(self.media, "--out", self.out, "-j", 1),
                              stderr=subprocess.DEVNULL) as p:
            while not self.part.exists() or not self.part.read_bytes():
                time.sleep(0.002)
            self.run_extract(self.media, "--out", self.out, code=75)
            self.assertEqual(p.wait(), 0)
        self.assertEqual(self.out.read_bytes(), self.truth.read_bytes())

    def test_workers_that_are_gone_end_the_run(self):
        site = self.dir / "gone"
        many = site / "many"
        many.mkdir(parents=True)
        for i in range(500):
            os.link(self.media / f"clip-{i % N_CLIPS:03d}.mp4", many / f"{i:03d}.mp4")
        worker = shutil.copy(TOOLS / "metammf-extract", site / "worker")
        conf = site / "conf"
        conf.write_text((self.dir / "conf").read_text() +
                        f'extract = {{ worker_path = "{worker}"; }};\n')
        out = site / "out.ndjson"
        p = subprocess.Popen([TOOLS / "metammf", "--config", conf, "extract", many, "--out", out],
                             stderr=subprocess.PIPE, text=True)
        self.addCleanup(p.kill)
        part = site / "out.ndjson.part"
        while not (part.exists() and part.stat().st_size > 0):
            self.assertIsNone(p.poll())
            time.sleep(0.01)
        os.unlink(worker)
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(p.pid)],
                                  capture_output=True, text=True).stdout.split()
        os.kill(int(children[0]), signal.SIGKILL)
        _, complaint = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 71, complaint)
        self.assertIn("no worker can be started", complaint)
        self.assertGreater(part.stat().st_size, 0)

    def test_odd_names(self):
        media = self.out.parent / "media"
        media.mkdir()
        clip = next(self.media.glob("*.mp4"))
        shutil.copy(clip, os.fsencode(media) + b"/caf\xe9.mp4")
        self.run_extract(media, "--npy", self.out.parent / "a")
        self.assertEqual((self.out.parent / "a" / "ids.txt").read_text(), "caf\\xe9.mp4\n")
        shutil.copy(clip, media / "two\nlines.mp4")
        self.run_extract(media, "--npy", self.out.parent / "a", code=65)
        self.run_extract(media, "--out", self.out)
        paths = [json.loads(line)["path"] for line in self.out.read_text().splitlines()]
        self.assertEqual(paths[1], f"{media}/two\nlines.mp4")

    def test_what_it_writes_is_no_media(self):
        media = self.copy_media()
        self.out, self.part = media / "f.ndjson", media / "f.ndjson.part"
        self.kill_in_the_middle(3, media, "--out", self.out)
        self.run_extract(media, "--out", self.out)
        again = self.run_extract(media, "--out", self.out)
        self.assertIn(b"%d of %d files are there" % (N_FILES, N_FILES), again.stderr)
        self.out.unlink()
        for _ in range(2):
            self.run_extract(media, "--npy", media / "arrays")
        self.assertEqual(len((media / "arrays" / "ids.txt").read_text().splitlines()), N_CLIPS)

    def test_wrong_use(self):
        clip = next(self.media.glob("*.mp4"))
        self.run_extract(clip, "--out", self.out, code=64)
        self.run_extract(self.media, "--out", self.out, "--npy", self.out.parent, code=64)
        self.run_extract(self.media / "zz", "--out", self.out, code=65)
        self.assertEqual(json.loads(self.out.read_text())["reason"], "media")
        self.run_extract(self.media, "--out", "/nonexistent/f.ndjson", code=74)


if __name__ == "__main__":
    unittest.main(verbosity=2)
