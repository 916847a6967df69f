"""What the tests of reading verbs share: one site whose store they copy before they change it."""

import contextlib
import json
import sqlite3
import unittest

from processtest import Site, WithSite


def sql(path, statement, *values):
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        return db.execute(statement, values).fetchall()


class Readers(WithSite):
    """One site for all classes: they change copies of its store only."""

    @classmethod
    def setUpClass(cls):
        if hasattr(Readers, "site"):
            return
        Readers.site = Site()
        unittest.addModuleCleanup(Readers.site.close)
        Readers.events = cls.site.dir / "events.ndjson"
        cls.ingest(Readers.events, [
            *({**cls.site.event(c), "media_uri": c["file"]} for c in cls.site.clips),
            {"item_id": "text-only", "title": "a title\x1b[31m and nothing else"},
            {"item_id": "gone", "media_uri": cls.site.clips[0]["file"]},
            {"type": "video.deleted", "item_id": "gone"},
            {"user_id": "u1", "item_id": "clicked-only"}])

    @classmethod
    def ingest(cls, path, events):
        path.write_text("".join(json.dumps(e) + "\n" for e in events))
        r = cls.site.metammf("ingest", path, "--media-root", cls.site.media, "--json")
        assert r.returncode == 0, r.stderr
        assert json.loads(r.stdout)["dead_letters"] == 0, r.stdout

    def copy(self, name):
        """A store of its own for a test that changes it; with its models beside it."""
        path = self.site.dir / name
        self.verb(0, "snapshot", path)
        return path
