#!/usr/bin/env python3
"""A file that is found but gives nothing is a row of its text, and says so wherever one looks; without
text, and when the file is not there, it is a dead letter.

    test_text_rows.py TOOLS

See processtest.py.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import unittest

from processtest import WithSite, wait_for

BROKEN = b"not a film " * 100


class TextRows(WithSite):
    def setUp(self):
        self.path = self.site.dir / f"{self.id().rsplit('.', 1)[1]}.db"
        self.store = ["--store", self.path]
        self.events = self.site.dir / "events.ndjson"
        (self.site.media / "broken.mp4").write_bytes(BROKEN)
        (self.site.media / "large.mp4").touch()
        os.truncate(self.site.media / "large.mp4", 513 << 20)  # media.max_bytes and a little; a hole
        (self.site.media / "film.mp4").unlink(missing_ok=True)
        shutil.copy(self.site.media / self.site.clips[0]["file"], self.site.media / "film.mp4")

    def ingest(self, *events):
        self.events.write_text("".join(json.dumps(e) + "\n" for e in events))
        return self.json("ingest", self.events, "--media-root", self.site.media, store=self.store)

    def rows(self, query):
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as db:
            return db.execute(query).fetchall()

    def modalities(self, item_id):
        shown = self.json("explain", item_id, store=self.store)
        return {name for name, m in shown["modalities"].items() if m["present"]}, shown["flags"]

    def test_row_or_dead_letter(self):
        done = self.ingest({"item_id": "told", "media_uri": "broken.mp4", "title": "a cat"},
                           {"item_id": "mute", "media_uri": "broken.mp4"},
                           {"item_id": "wordless", "media_uri": "broken.mp4", "title": "..."},
                           {"item_id": "gone", "media_uri": "gone.mp4", "title": "a cat"},
                           {"item_id": "large", "media_uri": "large.mp4", "title": "a cat"},
                           {"item_id": "large and mute", "media_uri": "large.mp4"},
                           {"item_id": "large and hashed", "media_uri": "large.mp4", "title": "a cat",
                            "sha256": "0" * 64})
        self.assertEqual((done["stored"], done["dead_letters"]), (3, 4))
        letters = self.rows("SELECT item_id, reason FROM dead_letter ORDER BY item_id")
        self.assertEqual(letters, [("gone", "media_missing"), ("large and mute", "media_too_big"),
                                   ("mute", "media"), ("wordless", "media")])
        for item in ("large", "large and hashed"):
            have, flags = self.modalities(item)
            self.assertEqual((have, flags["reason"]), ({"textual"}, "media_too_big"))
        have, flags = self.modalities("told")
        self.assertEqual((have, flags["reason"], flags["notes"]), ({"textual"}, "media", []))
        shown = self.verb(0, "explain", "told", store=self.store).stdout
        self.assertRegex(shown, r"reason +media  The file cannot be opened")

    def test_a_reextraction_keeps_what_is_stored(self):
        self.ingest({"item_id": "film", "media_uri": "film.mp4", "title": "a cat"},
                    {"item_id": "told", "media_uri": "broken.mp4", "title": "a cat"})
        self.assertEqual(self.modalities("film")[0], {"visual", "acoustic", "textual"})
        before = self.rows("SELECT item_id, flags FROM item ORDER BY item_id")
        (self.site.media / "film.mp4").write_bytes(BROKEN)
        settings = ["--config", self.site.config, *self.store]
        roots = ["--media-root", self.site.media]
        failed = self.verb(65, "reextract", "film", *roots, store=settings)
        self.assertIn("media", failed.stdout + failed.stderr)
        self.assertIn("the stored features stay", failed.stdout + failed.stderr)
        self.verb(0, "reextract", "told", *roots, store=settings)  # had nothing of its media to lose
        self.assertEqual(self.rows("SELECT item_id, flags FROM item ORDER BY item_id"), before)
        self.assertEqual(self.modalities("film")[0], {"visual", "acoustic", "textual"})
        # Another event of it is another matter: this is the film now.
        self.ingest({"item_id": "film", "media_uri": "film.mp4", "title": "a cat"})
        have, flags = self.modalities("film")
        self.assertEqual((have, flags["reason"]), ({"textual"}, "media"))
        # An update of its text keeps that.
        self.ingest({"type": "video.updated", "item_id": "film", "title": "two cats"})
        have, flags = self.modalities("film")
        self.assertEqual((have, flags["reason"]), ({"textual"}, "media"))

    def test_extract(self):
        broken, config = self.site.media / "broken.mp4", ["--config", self.site.config]
        said = self.verb(0, "extract", broken, "--title", "a cat", store=config).stdout
        self.assertIn("media: ", said)
        self.assertIn("of the text alone", said)
        told = self.json("extract", broken, "--title", "a cat", store=config)
        self.assertEqual((set(told["modalities"]), told["flags"]["reason"]), ({"textual"}, "media"))
        self.assertTrue(told["media_error"].startswith("media: open"))
        self.assertNotIn("reason", told)
        self.verb(65, "extract", broken, store=config)
        self.verb(66, "extract", self.site.media / "gone.mp4", "--title", "a cat", store=config)
        folder = self.site.dir / "folder"
        folder.mkdir(exist_ok=True)
        (folder / "a.mp4").write_bytes(BROKEN)
        line = json.loads(self.verb(0, "extract", folder, "--title", "a cat", store=config).stdout)
        self.assertEqual(line["flags"]["reason"], "media")
        self.verb(65, "extract", folder, store=config)

    def test_daemon_counts_and_logs_it(self):
        series = 'metammf_text_only_items_total{reason="media"}'
        self.site.start()
        self.addCleanup(self.site.stop)
        self.assertEqual(self.site.metric(series), 0)
        self.site.drop("broken.ndjson", [json.dumps(
            {"item_id": "told", "title": "a cat", "media_uri": f"file://{self.site.media}/broken.mp4"})])
        wait_for("the row of text", lambda: self.site.metric(series) == 1)
        self.assertEqual(self.site.metric('metammf_dead_letters_total{reason="media"}'), 0)
        self.assertRegex(self.site.read_log(), "item told .*: media: media: open .*: the row is of "
                                               "the text alone")


if __name__ == "__main__":
    unittest.main(verbosity=2)
