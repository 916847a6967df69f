#!/usr/bin/env python3
"""The command line without a daemon: every verb's exit code and the shape of its --json.

    test_verbs.py TOOLS

See processtest.py.
"""

import contextlib
import hashlib
import json
import pathlib
import re
import sqlite3
import struct
import unittest

from processtest import WithSite, free_port


class Verbs(WithSite):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.events = cls.site.dir / "events.ndjson"
        cls.events.write_text("".join(
            json.dumps({**cls.site.event(c), "media_uri": c["file"]}) + "\n"
            for c in cls.site.clips) + "rubbish\n")
        r = cls.site.metammf("ingest", cls.events, "--media-root", cls.site.media, "--json")
        assert r.returncode == 0, r.stderr
        cls.ingested = json.loads(r.stdout)

    def config(self):
        return ["--config", self.site.config]

    def test_ingest(self):
        self.assertEqual((self.ingested["events"], self.ingested["stored"],
                          self.ingested["dead_letters"]), (4, 3, 1))
        self.verb(66, "ingest", "/nonexistent.ndjson")
        self.verb(64, "ingest")
        self.verb(66, "ingest", self.events, "--media-root", "/nonexistent")

    def test_get(self):
        e = self.json("get", "clip-000")
        self.assertEqual(set(e), {"item_id", "dim", "vec", "state", "model_id", "seq"})
        with contextlib.closing(
                sqlite3.connect(f"file:{self.site.store}?mode=ro", uri=True)) as db:
            (blob,) = db.execute(
                "SELECT vec FROM current_embedding WHERE item_id = 'clip-000'").fetchone()
        stored = struct.unpack(f"<{e['dim']}f", blob)
        self.assertEqual(tuple(struct.unpack("f", struct.pack("f", x))[0] for x in e["vec"]),
                         stored)
        self.verb(66, "get", "nobody")
        self.verb(64, "get")
        self.verb(64, "get", "a", "b")

    def test_similar(self):
        rows = self.json("similar", "clip-000", "-k", 2)
        self.assertEqual([set(r) for r in rows], [{"item_id", "score"}] * 2)
        self.assertGreaterEqual(rows[0]["score"], rows[1]["score"])
        self.assertNotIn("clip-000", [r["item_id"] for r in rows])
        self.assertEqual(len(self.json("similar", "clip-000", "-k", 100)), 2)
        self.verb(66, "similar", "nobody")
        self.verb(64, "similar", "clip-000", "-k", "0")
        self.verb(64, "similar", "clip-000", "-k", "x")

    def test_status(self):
        s = self.json("status")
        self.assertIsNone(s["daemon"])
        self.assertEqual(s["counts"]["embeddings"], 3)
        self.assertEqual(s["dead_letters"], {"bad_json": 1})
        self.assertEqual(s["model"]["origin"], "seeded")
        self.assertEqual((s["counts"]["cold"], s["counts"]["warm"], s["counts"]["stale"]),
                         (3, 0, 0))
        self.assertEqual((s["models"], s["last_training"], s["pinned"]), ({"active": 1}, None, None))
        self.assertGreater(s["disk"]["free_bytes"], 0)
        self.assertIn("down", self.verb(0, "status").stdout)

    def test_a_long_dlq(self):
        poison = self.site.dir / "poison.ndjson"
        poison.write_text("poison\n" * 130)
        store = ["--store", self.site.dir / "poison.db"]
        self.verb(0, "ingest", poison, store=store)
        self.assertEqual(len(self.json("dlq", "list", store=store)), 130)
        self.assertEqual(len(self.json("dlq", "list", "-n", 7, store=store)), 7)
        shown = self.verb(0, "dlq", "list", store=store)
        self.assertEqual((len(shown.stdout.splitlines()), "-n" in shown.stderr), (100, True))
        self.assertEqual(self.verb(0, "dlq", "list", "-n", 130, store=store).stderr, "")

    def test_dlq(self):
        (letter,) = self.json("dlq", "list")
        self.assertLessEqual({"id", "topic", "partition", "offset", "reason", "error",
                              "value_b64"}, set(letter))
        self.assertEqual(letter["value_b64"], "cnViYmlzaA==")
        self.assertEqual(self.json("dlq", "show", letter["id"])["reason"], "bad_json")
        self.assertEqual(self.json("dlq", "list", "--reason", "media"), [])
        self.verb(66, "dlq", "show", 999)
        for usage in (["dlq"], ["dlq", "shout"], ["dlq", "show"], ["dlq", "purge"],
                      ["dlq", "list", "-n", "0"], ["dlq", "list", "--damaged"],
                      ["dlq", "purge", "--damaged", "--all"]):
            self.verb(64, *usage)

    def test_a_hostile_letter(self):
        """Nothing that a stranger wrote is obeyed by a terminal: not the name of a header either."""
        path = self.site.dir / "hostile.db"
        store = ["--store", path]
        poison = self.site.dir / "hostile.ndjson"
        osc = "\x1b]0;pwned\x07"
        title = self.site.dir / "title.ndjson"
        title.write_text('{"item_id": "red", "title": "\\u009b31m red \\u009d0;t \\u001b[2J"}\n')
        self.verb(0, "ingest", title, store=store)
        shown = self.verb(0, "explain", "red", store=store).stdout
        self.assertIn("31m red", shown)
        self.assertNotRegex(shown, "[\x00-\x09\x0b-\x1f\x7f-\x9f]")
        poison.write_bytes(b'{"item_id": "v1", "title": 7, "x": "\xc2\x9b31m"}\n' + b"x" * 3000 +
                           "é".encode() * 3000 + b"\n")
        self.verb(0, "ingest", poison, store=store)
        value, key, name = "\x9b31m \x9d0;t\x9c".encode() + b"\x9b\xff\x00z", b"k\x1b[2J", (
            "evil" + osc + "\x9b2J")
        headers = struct.pack("<I", 1) + b"".join(
            struct.pack("<I", len(part)) + part for part in (name.encode(), (osc + "v").encode()))

        def part(data):
            return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") if data else 0

        def rotl(x, n):
            return (x << n | x >> (64 - n)) & (1 << 64) - 1

        checksum = part(value) ^ rotl(part(key), 1) ^ rotl(part(headers), 2)
        checksum -= (checksum >> 63) << 64
        db = sqlite3.connect(path)
        with db:
            db.execute("UPDATE dead_letter SET key = ?, value = ?, headers = ?, checksum = ?, "
                       "item_id = 'v1', error = ? WHERE id = 1",
                       (key, value, headers, checksum, "was\x9b31m " + osc))
        db.close()
        for args in (["list"], ["show", 1], ["show", 1, "--full"]):
            shown = self.verb(0, "dlq", *args, store=store).stdout
            self.assertEqual([c for c in shown if c != "\n" and (c < " " or "\x7f" <= c < "\xa0")],
                             [], shown)
            self.assertIn("v1", shown)
            self.assertIn("k [2J", shown)
        self.assertIn("evil ]0;pwned  2J", shown)
        self.assertIn("31m", shown)

        short = self.verb(0, "dlq", "show", 2, store=store).stdout
        self.assertLess(len(short), 3000)
        self.assertIn("(7000 more bytes: --full or --json shows them)", short)
        whole = self.verb(0, "dlq", "show", 2, "--full", store=store).stdout
        self.assertIn("x" * 3000 + "é" * 3000 + "\n", whole)
        db = sqlite3.connect(path)
        with db:  # by an older version, which cut errors in the middle of a character
            db.execute("UPDATE dead_letter SET error = CAST(x'61c3' AS TEXT) WHERE id = 2")
        db.close()
        letters = self.json("dlq", "list", store=store)
        self.assertEqual({letter["id"]: letter["error"] for letter in letters}[2], "a?")
        self.assertEqual(self.json("dlq", "show", 2, store=store)["error"], "a?")
        failed = self.verb(65, "dlq", "retry", 2, store=store)
        self.assertIn("1 dead letters", failed.stdout)
        self.assertIn("every retry failed", failed.stderr)

    def test_a_click_is_not_overtaken_by_its_video(self):
        store = ["--store", self.site.dir / "clicks.db"]
        mended, events = self.site.dir / "mended.conf", self.site.dir / "clicks.ndjson"
        mended.write_text('events = { interaction = { weight = "/none"; }; };')
        events.write_text('{"user_id": "u", "item_id": "v", "weight": "2"}\n'
                          '{"type": "video.published", "item_id": "v", "lang": "no way"}\n'
                          '{"item_id": "v", "title": "a cat"}\n')
        self.verb(0, "ingest", events, store=store)
        retried = self.json("dlq", "retry", "--all", store=[f"--config={mended}", *store])
        self.assertEqual((retried["stored"], retried["superseded"], retried["dead_letters"]),
                         (1, 1, 0))

    def test_extract(self):
        clip = self.site.media / self.site.clips[0]["file"]
        one = self.json("extract", clip, "--title", "a cat", store=self.config())
        self.assertEqual(set(one["modalities"]), {"visual", "acoustic", "textual"})
        for m in one["modalities"].values():
            self.assertEqual(len(m["vec"]), m["dim"])
        self.assertIn("coverage", one["flags"])
        lines = self.verb(0, "extract", self.site.media, store=self.config()).stdout.splitlines()
        paths = [json.loads(line)["path"] for line in lines]
        self.assertEqual(paths, sorted(paths))
        self.assertEqual(len(paths), 3)
        serial = self.verb(0, "extract", self.site.media, "-j", 1, store=self.config())
        for a, b in zip(lines, serial.stdout.splitlines(), strict=True):
            a, b = json.loads(a), json.loads(b)
            self.assertEqual((a["modalities"], a["flags"]), (b["modalities"], b["flags"]))
        self.verb(66, "extract", "/nonexistent", store=self.config())
        self.verb(65, "extract", self.events, store=self.config())
        self.verb(0, "extract", "--explain", store=False)
        layout = self.json("extract", "--explain", store=[])
        doc = (pathlib.Path(__file__).parents[2] / "docs" / "extraction.md").read_text()
        for name, what in layout.pop("flags").items():
            self.assertIn(f"| `{name}` | {what} |\n", doc)
        notes = "".join(f"| `{name}` | {n['flag'] and '`' + n['flag'] + '`'} | {n['what']} |\n"
                        for name, n in layout.pop("notes").items())
        self.assertIn(notes + "\n", doc, "the table of notes in docs/extraction.md is another")
        for name, modality in layout.items():
            self.assertEqual(modality["dim"], sum(b["dim"] for b in modality["blocks"]), name)
        self.verb(64, "extract", store=False)

    def test_fuse(self):
        model = next(self.site.dir.glob("*.safetensors"))
        with open(model, "rb") as f:
            header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        columns = header["mlp_signal.0.weight"]["shape"][1]
        x, e = self.site.dir / "x.npy", self.site.dir / "e.npy"

        def write(path, rows, cols):
            head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {cols}), }}"
            head = head.ljust(117) + "\n"
            path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) +
                             head.encode() + struct.pack("<f", 0.25) * (rows * cols))

        write(x, 2, columns)
        self.verb(0, "fuse", "--model", model, "--features", x, "--out", e, store=False)
        self.assertIn(b"(2, 32)", e.read_bytes()[:128])
        write(x, 2, columns + 1)
        self.verb(65, "fuse", "--model", model, "--features", x, "--out", e, store=False)
        self.verb(66, "fuse", "--model", "/none", "--features", x, "--out", e, store=False)
        self.verb(64, "fuse", "--model", model, store=False)

    def test_doctor(self):
        d = self.json("doctor", store=self.config())
        self.assertTrue(d["ok"])
        self.assertEqual({frozenset(c) for c in d["checks"]},
                         {frozenset({"check", "verdict", "detail", "next"})})
        disk, = (c for c in d["checks"] if c["check"] == "disk")
        self.assertRegex(disk["detail"], r"^/.*: [\d.]+ GB free$")
        broken = self.site.dir / "broken.conf"
        broken.write_text("nonsense = 1;\n")
        r = self.site.metammf("doctor", "--json", store=["--config", broken])
        self.assertEqual(r.returncode, 78)
        self.assertFalse(json.loads(r.stdout)["ok"])
        away = self.site.dir / "away.conf"
        away.write_text(self.site.config.read_text().replace('"spool"', '"kafka"', 1) +
                        f'kafka = {{ bootstrap_servers = "127.0.0.1:{free_port()}"; }};')
        self.assertEqual(self.site.metammf("doctor", store=["--config", away]).returncode, 69)

    def test_damage_is_found(self):
        copy = self.site.dir / "copy.db"
        self.verb(0, "snapshot", copy)
        with contextlib.closing(sqlite3.connect(copy)) as db, db:
            db.execute("UPDATE embedding SET vec = zeroblob(length(vec)) WHERE rid = "
                       "(SELECT rid FROM item WHERE item_id = 'clip-000')")
        self.assertEqual(self.site.metammf("doctor", store=["--store", copy]).returncode, 65)
        self.verb(65, "get", "clip-000", store=["--store", copy])

    def test_errors(self):
        self.assertIn('did you mean "status"?', self.verb(64, "statsu").stderr)
        self.verb(64, store=False)
        self.verb(64, "--nonsense", store=False)
        self.verb(66, "status", store=["--store", "/nonexistent.db"])
        self.verb(78, "status", store=["--config", "/nonexistent.conf"])
        foreign = self.site.dir / "foreign.db"
        with contextlib.closing(sqlite3.connect(foreign)) as db, db:
            db.execute("CREATE TABLE t(x)")
        self.verb(78, "status", store=["--store", foreign])

    def test_help_teaches(self):
        listed = re.findall(r"^  (\w+)  +\S", self.verb(0, "--help", store=False).stdout, re.M)
        for verb in [v for v in listed if v != "metammf"]:
            text = self.verb(0, verb, "--help", store=False).stdout
            self.assertRegex(text, r"Examples?:\n", verb)
        self.assertIn("doctor", listed)


if __name__ == "__main__":
    unittest.main(verbosity=2)
