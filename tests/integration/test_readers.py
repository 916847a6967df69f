#!/usr/bin/env python3
"""Verbs that look closely: explain, verify, reextract, top; without a daemon and with one.

    test_readers.py TOOLS

See processtest.py and readertest.py.
"""

import collections
import contextlib
import fcntl
import hashlib
import json
import os
import pty
import random
import signal
import struct
import subprocess
import termios
import threading
import time
import unittest

from processtest import TOOLS, WithSite, wait_for
from readertest import Readers, sql


class Explain(Readers):
    def test_an_item_with_everything(self):
        e = self.json("explain", "clip-000", "-k", 2)
        self.assertLessEqual({"item_id", "state", "embedding", "model", "source", "trail",
                              "modalities", "missing", "fusion", "neighbours", "flags"}, set(e))
        self.assertEqual(e["missing"], [])
        self.assertAlmostEqual(sum(m["share"] for m in e["modalities"].values()), 1, 5)
        for m in e["modalities"].values():
            self.assertGreater(m["moved"], 0)
            self.assertTrue(m["used"] and m["built_in"])
        self.assertEqual(len(e["fusion"]["layers"]), 4)
        for layer in e["fusion"]["layers"]:
            self.assertGreater(layer["common"], layer["generated"])
            self.assertGreater(layer["generated"], 0)
        self.assertEqual(len(e["fusion"]["s"]), 5)
        self.assertEqual(e["neighbours"], self.json("similar", "clip-000", "-k", 2))
        self.assertTrue(e["source"]["topic"].startswith("file:"))
        self.assertEqual((e["source"]["partition"], e["source"]["offset"]), (0, 0))
        t = e["trail"]
        self.assertLess(0, t["received_us"])
        self.assertLessEqual(t["received_us"], t["extracted_us"])
        self.assertLessEqual(t["extracted_us"], t["queryable_us"])
        self.assertAlmostEqual(e["embedding"]["updated_ms"], t["queryable_us"] / 1000, delta=60000)
        self.assertEqual(e["flags"]["n_frames"], 8)

    def test_the_text_says_the_same(self):
        text = self.verb(0, "explain", "clip-000").stdout
        for word in ("visual", "acoustic", "textual", "generated", "neighbours", "queryable"):
            self.assertIn(word, text)

    def test_missing_modalities(self):
        e = self.json("explain", "text-only")
        self.assertEqual(e["missing"], ["visual", "acoustic"])
        self.assertAlmostEqual(e["modalities"]["textual"]["share"], 1)
        self.assertAlmostEqual(e["modalities"]["textual"]["moved"], 1)
        self.assertIsNone(e["flags"])
        text = self.verb(0, "explain", "text-only").stdout
        self.assertIn("missing", text)
        self.assertNotIn("\x1b[31m", text)

    def test_another_encoder_is_not_used(self):
        store = self.copy("foreign-encoder.db")
        sql(store, "UPDATE feature SET encoder_id = 'other-1' WHERE modality = 'acoustic'")
        e = self.json("explain", "clip-001", store=["--store", store])
        self.assertEqual(e["missing"], ["acoustic"])
        acoustic = e["modalities"]["acoustic"]
        self.assertEqual((acoustic["present"], acoustic["used"], acoustic["built_in"]),
                         (True, False, False))
        self.assertIn("not the model's encoder",
                      self.verb(0, "explain", "clip-001", store=["--store", store]).stdout)

    def test_items_without_a_vector(self):
        e = self.json("explain", "clicked-only")
        self.assertIsNone(e["embedding"])
        self.assertIsNone(e["source"]["topic"])
        self.assertEqual((e["state"], e["neighbours"], e["fusion"]["layers"]),
                         ("no_features", [], []))
        self.verb(0, "explain", "clicked-only")
        self.assertIn("deleted", self.verb(66, "explain", "gone").stderr)
        self.verb(66, "explain", "nobody")
        self.verb(64, "explain")
        self.verb(64, "explain", "clip-000", "-k", "0")

    def test_damage_is_named(self):
        store = self.copy("damaged.db")
        sql(store, "UPDATE feature SET vec = zeroblob(length(vec)) WHERE modality = 'visual'")
        self.assertIn("feature", self.verb(65, "explain", "clip-000",
                                           store=["--store", store]).stderr)


class Verify(Readers):
    def verify(self, code, *args, store=None):
        r = self.verb(code, "verify", "--media-root", self.site.media, "--json", *args,
                      store=["--store", store] if store else True)
        return {i["item_id"]: (i["features"], i["vector"])
                for i in json.loads(r.stdout)["items"]}

    def test_what_is_stored_comes_out_again(self):
        self.assertEqual(self.verify(0), dict.fromkeys(
            ["clip-000", "clip-001", "clip-002", "text-only"], ("equal", "equal")))
        text = self.verb(0, "verify", "--media-root", self.site.media).stdout
        self.assertRegex(text, "features +4 equal\nvector +4 equal\n")

    def test_the_sample_follows_the_seed(self):
        one, two = self.verify(0, "-n", 2, "--seed", 5), self.verify(0, "-n", 2, "--seed", 5)
        self.assertEqual((len(one), list(one)), (2, list(two)))
        self.assertEqual(self.verify(0, "clicked-only"), {"clicked-only": ("none", "none")})
        self.verb(66, "verify", "nobody")
        self.verb(64, "verify", "-n", "0")

    def test_one_wrong_bit_is_found(self):
        store = self.copy("wrong.db")
        (vec,) = sql(store, "SELECT f.vec FROM feature f JOIN item i USING(rid) WHERE "
                     "modality = 'acoustic' AND item_id = 'clip-001'")[0]
        wrong = bytearray(vec)
        wrong[2] ^= 0x80
        checksum = int.from_bytes(hashlib.sha256(wrong).digest()[:8], "big", signed=True)
        sql(store, "UPDATE feature SET vec = ?, checksum = ? WHERE vec = ?", bytes(wrong),
            checksum, vec)
        found = self.verify(65, store=store)
        self.assertEqual(found.pop("clip-001"), ("differs", "differs"))
        self.assertEqual(set(found.values()), {("equal", "equal")})

    def test_media_that_is_gone_or_elsewhere(self):
        clip = self.site.media / self.site.clips[2]["file"]
        clip.rename(self.site.dir / clip.name)
        try:
            self.assertEqual(self.verify(0, "clip-002"), {"clip-002": ("gone", "equal")})
        finally:
            (self.site.dir / clip.name).rename(clip)
        outside = self.verb(0, "verify", "clip-002", "--json")
        self.assertEqual(json.loads(outside.stdout)["items"][0]["features"], "unread")

    def test_media_over_a_limit_that_was_lowered(self):
        """What is stored is no less right for it."""
        config = self.site.dir / "lowered.conf"
        was = self.site.config.read_text()
        config.write_text(was.replace("media = { ", "media = { max_bytes = 1024; "))
        self.assertNotEqual(config.read_text(), was)
        for item, found in (("clip-001", "unread"), ("text-only", "equal")):
            (row,) = self.json("verify", "--media-root", self.site.media, item,
                               store=["--config", config])["items"]
            self.assertEqual((row["features"], "max_bytes" in row["detail"]),
                             (found, found == "unread"), row)

    def test_stale_features_and_kept_vectors(self):
        store = self.copy("stale.db")
        sql(store, "UPDATE feature SET encoder_id = 'old-1' WHERE modality = 'visual'")
        self.assertEqual(self.verify(0, "clip-000", store=store),
                         {"clip-000": ("stale", "kept")})


class Top(WithSite):
    def config(self):
        return ["--config", self.site.config]

    def on_terminal(self, *args):
        """Started on a pseudo-terminal; returns the process and its screen as a growing list."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        child = subprocess.Popen([TOOLS / "metammf", *self.config(), "top", *args],
                                 stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        seen = []

        def read():
            with contextlib.suppress(OSError):
                while data := os.read(ours, 65536):
                    seen.append(data.decode())
            os.close(ours)

        threading.Thread(target=read, daemon=True).start()
        return child, seen

    def test_without_a_daemon(self):
        self.site.start()
        self.site.stop()
        self.verb(75, "top", "--once", "-d", 100, store=self.config())
        self.verb(64, "top", "x", store=self.config())
        self.verb(64, "top", "-d", "1", store=self.config())

    def test_once_and_lines(self):
        self.site.start()
        try:
            self.site.drop("t.ndjson", [json.dumps(self.site.event(c)) for c in self.site.clips] +
                           ["rubbish"])
            wait_for("four events", lambda: self.json("top", "--once", "-d", 100,
                     store=self.config())["latency_since_start"]["queryable"] and self.json(
                     "top", "--once", "-d", 100, store=self.config())["totals"]["stored"] >= 3)
            t = self.json("top", "--once", "-d", 100, store=self.config())
            self.assertEqual(t["totals"], {"events": 4, "stored": 3, "no_signal": 0, "deleted": 0,
                                           "dead": 1, "interactions": 0})
            self.assertEqual(t["dead_letters"], {"bad_json": 1})
            self.assertEqual((t["stale"], t["latency"]["queryable"]), (0, None))
            q = t["latency_since_start"]["queryable"]
            self.assertEqual(q["n"], 3)
            self.assertTrue(0 < q["p50"] <= q["p90"] <= q["p99"])
            self.assertEqual(t["daemon"]["model"]["id"], 1)
            lines = subprocess.Popen([TOOLS / "metammf", *self.config(), "top", "-d", "100"],
                                     stdout=subprocess.PIPE, text=True)
            for _ in range(3):
                self.assertRegex(lines.stdout.readline(),
                                 r"ready, lag .*0\.0 events/s.*model 1\n")
            lines.send_signal(signal.SIGINT)
            self.assertEqual(lines.wait(10), 0)
            lines.stdout.close()
        finally:
            self.site.stop()

    def test_a_terminal_follows_the_daemon(self):
        child, seen = self.on_terminal("-d", "100")
        wait_for("a screen", lambda: "waiting for one" in "".join(seen))
        self.site.start()
        try:
            wait_for("figures", lambda: "upload to query" in "".join(seen))
        finally:
            self.site.stop()
        del seen[:]
        wait_for("the end seen", lambda: "waiting for one" in "".join(seen))
        child.send_signal(signal.SIGINT)
        self.assertEqual(child.wait(10), 0)
        # The first screen and the cursor are given back.
        wait_for("the terminal", lambda: "".join(seen).endswith("\x1b[?25h\x1b[?1049l"))


class Reextract(WithSite):
    """A site of its own: these change the store."""

    def setUp(self):
        if not self.site.store.exists():
            self.ingest([{**self.site.event(c), "sha256": None} for c in self.site.clips] + [
                {"item_id": "text-only", "title": "a title"}])
        for clip in self.site.clips:
            if (self.site.dir / clip["file"]).exists():
                (self.site.dir / clip["file"]).rename(self.site.media / clip["file"])
        self.verb(0, "reextract", "--all", "--rate", 0, store=self.config())

    def ingest(self, events):
        path = self.site.dir / "e.ndjson"
        path.write_text("".join(
            json.dumps({k: v for k, v in e.items() if v is not None}) + "\n" for e in events))
        self.verb(0, "ingest", path, store=self.config())

    def config(self):
        return ["--config", self.site.config]

    def sql(self, statement, *values):
        return sql(self.site.store, statement, *values)

    def make_stale(self, where="1"):
        self.sql(f"UPDATE feature SET encoder_id = 'old-1' WHERE modality = 'visual' AND {where}")

    def rows(self):
        """All that a re-extraction must not change, vectors included."""
        return self.sql("SELECT item_id, state, topic_id, partition, offset, title, received_ms, "
                        "extracted_ms, queryable_ms, deleted FROM item ORDER BY rid"), self.sql(
                        "SELECT item_id, hex(vec), seq FROM current_embedding ORDER BY item_id")

    def features(self):
        return self.sql("SELECT rid, modality, encoder_id, dim, hex(vec) FROM feature "
                        "ORDER BY rid, modality")

    def stale(self):
        return self.json("status", store=self.config())["counts"]["stale"]

    def test_stale_items_are_made_anew_byte_for_byte(self):
        rows, features = self.rows(), self.features()
        self.assertEqual(self.stale(), 0)
        self.make_stale()
        self.sql("UPDATE feature SET vec = zeroblob(length(vec)), checksum = 0 WHERE rid = "
                 "(SELECT min(rid) FROM item WHERE media_uri IS NOT NULL)")  # text overtakes media
        self.assertEqual(self.stale(), 3)
        self.assertIn("3 items have features of another version",
                      self.verb(0, "status", store=self.config()).stdout)
        r = self.json("reextract", "--rate", 0, store=self.config())
        self.assertEqual((r["selected"], r["done"], r["kept"], r["gone"], r["failed"]),
                         (3, 3, 0, 0, 0))
        self.assertEqual((self.rows(), self.features(), self.stale()), (rows, features, 0))
        self.assertEqual(self.json("dlq", "list"), [])

    def test_named_items_and_those_after_one(self):
        self.make_stale()
        (middle,) = self.sql("SELECT item_id FROM item WHERE media_uri IS NOT NULL "
                             "ORDER BY rid LIMIT 1 OFFSET 1")[0]
        r = self.json("reextract", middle, store=self.config())
        self.assertEqual((r["selected"], r["done"], self.stale()), (1, 1, 2))
        r = self.json("reextract", "--after", middle, "--rate", 0, store=self.config())
        self.assertEqual((r["done"], self.stale()), (1, 1))
        r = self.json("reextract", "--all", "--rate", 0, store=self.config())
        self.assertEqual((r["selected"], r["done"], self.stale()), (4, 4, 0))
        self.verb(66, "reextract", "--after", "nobody", store=self.config())
        self.verb(64, "reextract", "--all", "clip-001", store=self.config())
        r = self.verb(65, "reextract", "nobody", "--json", store=self.config())
        self.assertEqual(json.loads(r.stdout)["failures"][0]["reason"], "no_item")

    def test_media_that_is_gone_is_reported_and_the_item_kept(self):
        rows = self.rows()
        self.make_stale()
        gone = self.site.clips[1]["file"]
        (self.site.media / gone).rename(self.site.dir / gone)
        r = self.json("reextract", "--rate", 0, store=self.config())
        self.assertEqual((r["done"], r["gone"], r["failed"]), (2, 1, 0))
        self.assertEqual([f["item_id"] for f in r["failures"]], ["clip-001"])
        self.assertEqual((self.rows(), self.stale()), (rows, 1))
        self.assertEqual(self.json("dlq", "list"), [])
        # Only below the roots, whoever asks.
        r = self.json("reextract", store=True)
        self.assertEqual((r["done"], r["failures"][0]["reason"]), (0, "media_path"))

    def test_a_model_of_other_encoders_keeps_its_vectors(self):
        """As after an upgrade of the encoders, before a model is trained on the new features."""
        rows = self.rows()
        model = next(self.site.dir.glob("*.safetensors"))
        old, (digest,) = model.read_bytes(), self.sql("SELECT sha256 FROM model")[0]
        visual = self.sql("SELECT encoder_id FROM feature WHERE modality = 'visual'")[0][0]
        other = visual[:-1] + ("0" if visual[-1] != "0" else "1")
        new = old.replace(visual.encode(), other.encode())
        self.assertNotEqual(new, old)
        try:
            model.write_bytes(new)
            self.sql("UPDATE model SET sha256 = ?", hashlib.sha256(new).hexdigest())
            self.sql("UPDATE feature SET encoder_id = ? WHERE modality = 'visual'", other)
            self.assertEqual(self.stale(), 3)
            r = self.json("reextract", "--rate", 0, store=self.config())
            self.assertEqual((r["done"], r["kept"]), (3, 3))
            self.assertEqual((self.rows(), self.stale()), (rows, 0))
        finally:
            model.write_bytes(old)
            self.sql("UPDATE model SET sha256 = ?", digest)

    def test_by_the_daemon_within_the_rate(self):
        rows = self.rows()
        self.make_stale()
        self.site.start()
        try:
            self.assertEqual(self.site.metric("metammf_stale_items"), 3)
            started = time.monotonic()
            r = self.json("reextract", "--rate", 2, store=self.config())
            self.assertGreater(time.monotonic() - started, 0.95)  # three items: two steps
            self.assertEqual((r["selected"], r["done"]), (3, 3))
            self.assertEqual((self.rows(), self.stale()), (rows, 0))
            self.verb(65, "reextract", "nobody", store=self.config())
            # A client that goes away in the middle: the rest waits for the next one.
            self.make_stale()
            client = subprocess.Popen([TOOLS / "metammf", "--config", self.site.config,
                                       "reextract", "--rate", "1"], stderr=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL)
            wait_for("the first item", lambda: self.stale() < 3)
            client.kill()
            client.wait()
            wait_for("the daemon to notice", lambda: self.site.metammf(
                "reextract", "--rate", 0, store=self.config()).returncode == 0)
            self.assertEqual((self.rows(), self.stale()), (rows, 0))
        finally:
            self.assertEqual(self.site.stop()[0], 0)


class Trained(WithSite):
    """A model trained on imported features: warm items have a graph behind their vectors."""
    ITEMS, USERS = 60, 40

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        r = random.Random(3)

        def write(name, dim):
            head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({cls.ITEMS}, {dim}), }}"
            head = head.ljust(117) + "\n"
            (cls.site.dir / name).write_bytes(
                b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() +
                b"".join(struct.pack("<f", r.gauss(0, 1)) for _ in range(cls.ITEMS * dim)))

        write("v.npy", 8)
        write("a.npy", 6)
        (cls.site.dir / "ids").write_text("".join(f"i{n}\n" for n in range(cls.ITEMS)))
        pairs = [f"u{u}\ti{i}\n" for u in range(cls.USERS)
                 for i in r.sample(range(cls.ITEMS - 5), 8)]  # five stay cold
        (cls.site.dir / "train.tsv").write_text("".join(pairs))
        (cls.site.dir / "valid.tsv").write_text("u1\ti3\nu2\ti58\n")
        for args in (("import", "items", "--ids", "ids", "--visual", "v.npy", "--acoustic",
                      "a.npy"), ("import", "interactions", "train.tsv")):
            result = cls.site.metammf(*args)
            assert result.returncode == 0, result.stderr

    def check(self, backbone):
        self.verb(0, "train", "--backbone", backbone, "--epochs", 4, "--valid", "valid.tsv")
        items = json.loads(self.verb(0, "verify", "-n", 100, "--json").stdout)["items"]
        words = collections.Counter(i["vector"] for i in items)
        self.assertEqual(set(words) - {"equal", "close"}, set(), words)
        self.assertGreaterEqual(words["equal"], 5)
        cold = [i["vector"] for i in items if i["item_id"] in {f"i{n}" for n in range(55, 60)}]
        self.assertEqual(cold, ["equal"] * 5)
        e = self.json("explain", "i1")
        self.assertEqual((e["state"], e["model"]["backbone"]), ("warm", backbone))
        self.assertEqual(e["missing"], ["textual"])
        self.assertIn("this item has some", self.verb(0, "explain", "i1").stdout)

    def test_graph(self):
        self.check("lightgcn")
        (vec,) = sql(self.site.store, "SELECT vec FROM current_embedding WHERE item_id = 'i1'")[0]
        wrong = struct.pack("<f", struct.unpack("<f", vec[:4])[0] + 0.01) + vec[4:]
        checksum = int.from_bytes(hashlib.sha256(wrong).digest()[:8], "big", signed=True)
        sql(self.site.store, "UPDATE embedding SET vec = ?, checksum = ? WHERE vec = ?", wrong,
            checksum, vec)
        r = self.verb(65, "verify", "i1", "--json")
        self.assertEqual(json.loads(r.stdout)["items"][0]["vector"], "differs")

    def test_two_convolutions(self):
        self.check("sage")

    def test_no_graph(self):
        self.check("mf")

    def test_the_report_has_its_curve(self):
        self.verb(0, "train", "--epochs", 3, "--valid", "valid.tsv")
        status = self.json("status")
        self.assertGreater(status["counts"]["warm"], 0)
        self.assertEqual(status["last_training"]["model_id"], status["model"]["id"])
        self.assertGreaterEqual(status["model"]["ndcg_20"], 0)
        self.assertIn("NDCG@20", self.verb(0, "status").stdout)
        r = self.json("report")
        self.assertTrue(r["curve"]["points"])
        self.assertIn("loss", r["curve"]["points"][-1])
        self.assertIsInstance(r["models"][-1]["ndcg"], float)
        self.assertEqual({p["state"] for p in r["map"]["points"]}, {"cold", "warm"})
        self.assertIsNone(r["latency"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
