#!/usr/bin/env python3
"""What strangers write (titles, ids, tags, names of files and columns, bytes that are no text) gets through
every verb, the log, STATUS, the probes, the metrics and the report: nothing of it is obeyed by a terminal,
turns a line around or breaks UTF-8 anywhere, and --json says it whole.

    test_hostile_text.py TOOLS

See processtest.py.
"""

import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import unittest
import urllib.parse

from processtest import TOOLS, WithSite, wait_for

# C0 but the end of a line, DEL, C1, U+061C, marks, separators, embeddings, overrides, isolates
UNSEEN = {*range(0, 10), *range(11, 32), *range(0x7f, 0xa0), 0x61c, 0x200e, 0x200f,
          *range(0x2028, 0x202f), *range(0x2066, 0x206a)}

# Valid text, as an event's field may have it.
TEXTS = ["\x1b]0;pwned\x07", "\x9b2J\x9d0;t\x9c", "a\x7fb", "one\ntwo\r\x08\t", "\u202egnp.exe\u202c",
         "\u2066x\u2069\u200e\u200f\u061c", "line\u2028par\u2029end", "\0nul", "\ufeff\u200bz",
         "<script>&\"'", "%s%n%x", "€" * 70 + "\U0001f408", "\"} 1\nmetammf_x{a=\""]
# Bytes that are none: alone, overlong, surrogates, cut.
BYTES = [b"\x9b31m", b"\xff\xfe", b"\xc0\xaf", b"\xe0\x80\x9b", b"\xed\xa0\xbd\xed\xb0\x88",
         b"\xf0\x9f\x90", b"\xf4\x90\x80\x80"]
# What an id may hold.
ID_TEXTS = ["\u202eon", "\u2066x\u2069", "\u200e\u200f\u061c", "l\u2028\u2029", "<b>&\"'", "%s%n"]


def lines(*events):
    return b"".join((e if isinstance(e, bytes) else json.dumps(e).encode()) + b"\n" for e in events)


class Hostile(WithSite):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        site = cls.site
        cls.folder = os.fsencode(site.dir) + b"/st\xe9\xe2\x80\xaere" # a setting has no control characters
        os.mkdir(cls.folder)
        cls.store = cls.folder + b"/s.db"
        cls.events = cls.folder + b"/e\n\xe2\x80\xae.ndjson"
        cls.ids = ["v" + t for t in ID_TEXTS] + [f"t{i}" for i in range(len(TEXTS))]
        videos = [{"item_id": i, "title": t, "description": t, "tags": [t, "x" + t], "lang": "en"}
                  for i, t in zip(cls.ids, ID_TEXTS + TEXTS)]
        users = ["u" + t for t in ID_TEXTS]
        clicks = [{"user_id": u, "item_id": i, "ts": f"2026-01-01T00:00:{n:02}Z"}
                  for n, (u, i) in enumerate((u, i) for u in users for i in cls.ids[:8])]
        poison = [{"item_id": "bad" + t, "title": 7, t: t} for t in TEXTS]
        poison += [{"item_id": t, "media_uri": t, "sha256": t, "type": t, "lang": t} for t in TEXTS]
        poison += [{"item_id": "m" + t, "media_uri": "file:///nowhere/" + urllib.parse.quote(t)}
                   for t in ID_TEXTS]
        poison += [{"user_id": "u" + t, "item_id": "t0", "kind": t, "weight": t} for t in TEXTS]
        poison += TEXTS + [b"{\"item_id\": \"" + b + b"\", \"title\": 1" for b in BYTES] + BYTES
        poison += [b"{\"item_id\": \"m" + b + b"\", \"media_uri\": \"file:///x" + b + b"\"}" for b in BYTES]
        pathlib.Path(os.fsdecode(cls.events)).write_bytes(lines(*videos, *clicks, *poison))
        cls.n_events = len(videos) + len(clicks) + len(poison)
        cls.users = users
        cls.titles = dict(zip(cls.ids, ID_TEXTS + TEXTS))
        cls.run_raw("ingest", cls.events)
        cls.run_raw("train", "--epochs", "1")
        cls.letters = json.loads(cls.run_raw("dlq", "list", "--json").stdout)

    @classmethod
    def run_raw(cls, *args, store=None):
        return subprocess.run([TOOLS / "metammf", "--store", store or cls.store, *args], capture_output=True,
                              timeout=120, cwd=cls.site.dir)

    def harmless(self, what, data):
        text = data.decode("utf-8") if isinstance(data, bytes) else data  # raises when it is none
        found = sorted({hex(ord(c)) for c in text if ord(c) in UNSEEN})
        self.assertEqual(found, [], f"{what}: {text[:2000]!r}")
        return text

    def said(self, code, *args, **kw):
        """Both streams of a verb; its standard output."""
        r = self.run_raw(*args, **kw)
        self.assertEqual(r.returncode, code, f"{args}: {r.stdout} {r.stderr}")
        self.harmless(f"{args}, stderr", r.stderr)
        return self.harmless(args, r.stdout)

    def both(self, code, *args, **kw):
        """As text, and as JSON, which is returned."""
        self.said(code, *args, **kw)
        return json.loads(self.said(code, *args, "--json", **kw)) if code == 0 else None

    def test_letters(self):
        self.assertGreater(len(self.letters), 40)
        for letter in self.letters:
            self.harmless(letter, letter["error"])
            shown = self.both(0, "dlq", "show", str(letter["id"]))
            self.assertEqual(shown, letter)
        self.both(0, "dlq", "list")
        text = self.said(0, "dlq", "list", "-n", "500")
        self.assertEqual(len(text.splitlines()), len(self.letters))

    def test_items(self):
        for i in self.ids:
            self.assertEqual(self.both(0, "get", i)["item_id"], i)
            told = self.both(0, "explain", i)
            self.assertEqual(told["item_id"], i)
            want = self.titles[i].replace("\0", "\ufffd")
            self.assertEqual(told["title"], want)
        rows = self.both(0, "similar", self.ids[0], "-k", "100")
        self.assertLessEqual({r["item_id"] for r in rows}, set(self.ids))
        self.assertEqual(len(self.said(0, "similar", self.ids[0], "-k", "100").splitlines()), len(rows))
        for text in TEXTS:
            if "\0" not in text:
                self.both(66, "get", "no" + text)
                self.both(66, "explain", "no" + text)

    def test_users(self):
        for u in self.users:
            rows = self.both(0, "recommend", u, "-k", "100", "--with-seen")
            self.assertLessEqual({r["item_id"] for r in rows}, set(self.ids))
        self.both(0, "recommend", "nobody\u202e")
        self.both(0, "forget", "nobody\u202e")

    def test_reextraction(self):
        """A program finds the item by what is said of it."""
        for i in ("r\u202e" + "é" * 126, "r\u2066", b"r\xff"):
            r = self.run_raw("reextract", i, "--json")
            self.assertEqual(r.returncode, 65, r)
            (failure,) = json.loads(self.harmless("reextract", r.stdout))["failures"]
            self.assertEqual(failure["item_id"], "r?" if isinstance(i, bytes) else i)
            self.said(65, "reextract", i)

    def test_the_store(self):
        self.both(0, "status")
        self.both(0, "model", "list")
        self.both(0, "model", "show", "2")
        self.said(0, "verify", "-n", "100")
        out = self.folder + b"/r\xe2\x80\xae\xe9.html"
        self.said(0, "report", "--out", out)
        page = self.harmless("report", pathlib.Path(os.fsdecode(out)).read_bytes())
        self.assertNotIn("<script>", page)
        for n, more in enumerate(([], ["--json"])):
            path = self.folder + b"/x\x1b\xc2\x9b\xe2\x80\xae\xe9%d" % n
            for verb in (["export", "embeddings", "--out", path, "--ids", path + b".txt"],
                         ["snapshot", path + b".db"], ["model", "export", "2", path + b".st"]):
                self.said(0, *verb, *more)

    def test_backup(self):
        for n, more in enumerate(([], ["--json"])):
            path = self.folder + b"/b\x1b\xc2\x9b\xe2\x80\xae\xe9%d" % n
            made = self.said(0, "backup", path, *more)
            back = self.said(0, "restore", path, *more, store=self.folder + b"/back\xe2\x80\xae%d/s.db" % n)
            if more:
                self.assertIn("/b", json.loads(made)["path"])
                self.assertIn("/back", json.loads(back)["store"])
            self.said(0, "restore", path, "--force", *more, store=self.folder + b"/back\xe2\x80\xae%d/s.db" % n)
            pathlib.Path(os.fsdecode(path + b"/manifest.json")).write_text("{\"a\\u001b\\u009b\\u202e\": ")
            r = self.run_raw("restore", path, *more, store=self.folder + b"/nowhere%d/s.db" % n)
            self.assertNotEqual(r.returncode, 0)
            self.harmless("restore", r.stderr)

    def test_explained_events(self):
        self.assertEqual(len(self.said(0, "event", "explain", self.events).splitlines()), self.n_events)
        told = self.said(0, "event", "explain", self.events, "--json").splitlines()
        self.assertEqual(json.loads(told[0])["item_id"], self.ids[0])
        self.assertEqual(len([json.loads(line) for line in told]), self.n_events)

    def test_retries(self):
        copy = self.folder + b"/copy.db"
        self.said(0, "snapshot", copy)
        self.both(65, "dlq", "retry", "--all", store=copy)

    def test_what_is_not_there(self):
        for text in TEXTS:
            if "\0" not in text:
                for verb in (["ingest"], ["import", "items"], ["import", "interactions"], ["extract"]):
                    r = self.run_raw(*verb, "/none/" + text)
                    self.assertNotEqual(r.returncode, 0)
                    self.harmless(verb, r.stderr)
        for name in BYTES:
            r = self.run_raw("ingest", b"/none/" + name)
            self.harmless("ingest", r.stderr)
            self.harmless("status", self.run_raw("status", store=b"/none/" + name).stderr)

    def test_files(self):
        """Names of columns, of files and of clips."""
        copy = self.folder + b"/import.db"
        table = self.folder + b"/t\x1b\xe2\x80\xae.csv"
        for header in TEXTS:
            if "\n" not in header and "\0" not in header:
                name = header.replace('"', '""')
                pathlib.Path(os.fsdecode(table)).write_bytes(
                    f'user,item,"{name}"\nu1,v1,"{name}"\n'.encode())
                for more in ([], ["--json"]):
                    r = self.run_raw("import", "interactions", table, *more, store=copy)
                    self.harmless("import", r.stdout)
                    self.harmless("import", r.stderr)
        media = self.folder + b"/clips"
        os.mkdir(media)
        clip = self.site.media / self.site.clips[0]["file"]
        for name in (b"a\x1b[31m", b"b\xe2\x80\xae", b"c\xc2\x9b", b"d\xe9", b"e\n"):
            os.link(clip, media + b"/" + name + b".mp4")
        r = self.run_raw("extract", media)
        self.assertEqual([json.loads(line).get("reason") for line in
                          self.harmless("extract", r.stdout).splitlines()], [None] * 5)
        self.harmless("extract", r.stderr)
        self.said(0, "extract", media + b"/a\x1b[31m.mp4")

    def test_daemon(self):
        """Log, STATUS, probes, metrics and what asks the daemon, under a store and a spool with such names."""
        site = self.site
        site.start()
        try:
            name = site.spool / "n\x1b[31m\u202e\x9b.ndjson"
            part = site.dir / "part"
            part.write_bytes(pathlib.Path(os.fsdecode(self.events)).read_bytes())
            part.rename(name)
            wait_for("the file", lambda: not name.exists())
            wait_for("all", lambda: site.metric("metammf_in_flight") == 0)
            for path in ("/metrics", "/readyz", "/livez"):
                self.harmless(path, site.http(path)[1])
            series = [line.rsplit(" ", 1)[0] for line in site.http("/metrics")[1].splitlines()
                      if not line.startswith("#")]
            self.assertEqual(len(series), len(set(series)))
            config = ["--config", str(site.config)]
            for verb in (["status"], ["top", "--once", "-d", "100"], ["doctor"], ["dlq", "list"],
                         ["settings"], ["settings", "--all"]):
                for more in ([], ["--json"]):
                    r = subprocess.run([TOOLS / "metammf", *config, *verb, *more], capture_output=True,
                                       timeout=120, cwd=site.dir)
                    self.assertEqual(r.returncode, 0, (verb, r.stdout, r.stderr))
                    self.harmless(verb, r.stdout)
                    self.harmless(verb, r.stderr)
        finally:
            site.stop()
        self.harmless("log", (site.dir / "log").read_bytes())
        with site.notify.lock:
            for message in site.notify.seen:
                self.harmless("notify", message)


if __name__ == "__main__":
    unittest.main(verbosity=2)
