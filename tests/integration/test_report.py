#!/usr/bin/env python3
"""metammf report: the page is well-formed, needs nothing from elsewhere, escapes hostile names, and
says clearly what a store has nothing for.

    test_report.py TOOLS

See readertest.py.
"""

import html.parser
import json
import unittest

from readertest import Readers, sql

HOSTILE = """<script>alert(1)</script>"'&\x1b[31m<img src=x onerror=alert(2)>\u202e"""


class Page(html.parser.HTMLParser):
    """Checks that tags nest and that nothing comes from elsewhere; collects the text."""
    EMPTY = {"meta"}

    def __init__(self, text):
        super().__init__()
        self.stack, self.faults, self.text, self.tags = [], [], "", []
        self.feed(text)
        self.close()
        self.faults += [f"open: {t}" for t in self.stack]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.stack.append(tag)
        self.faults += [f"{tag} {k}={v}" for k, v in attrs
                        if k in ("src", "href", "xlink:href") or k.startswith("on")]

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.stack or self.stack.pop() != tag:
            self.faults.append(f"/{tag}")

    def handle_data(self, data):
        if "style" not in self.stack:
            self.text += data


class Report(Readers):
    def page(self, *args, store=None):
        out = self.site.dir / "report.html"
        self.verb(0, "report", "--out", out, *args, store=["--store", store] if store else True)
        text = out.read_text()
        page = Page(text)
        self.assertEqual(page.faults, [])
        self.assertNotRegex(text, r"(?i)<script|javascript:|@import|url\(|nan\b")
        self.assertIn(("html", {"lang": "en"}), page.tags)
        ids = [a["id"] for _, a in page.tags if "id" in a]
        self.assertEqual(len(ids), len(set(ids)))
        for _, attributes in page.tags:  # every drawing has a title and a description
            for name in attributes.get("aria-labelledby", "").split():
                self.assertIn(name, ids)
        return page

    def test_a_store_without_a_trained_model(self):
        page = self.page()
        for words in ("No model has been trained yet", "no model in this store was trained",
                      "4 items of 4", "None is kept: every event became a row", "None: no offset",
                      "visual", "acoustic", "textual"):
            self.assertIn(words, page.text)
        self.assertGreaterEqual(sum(t == "table" for t, _ in page.tags), 5)
        self.verb(64, "report")
        self.verb(64, "report", "--out", "r.html", "x")
        self.verb(74, "report", "--out", "/nonexistent/r.html")

    def test_an_empty_store(self):
        store = self.copy("empty.db")
        for table in ("embedding", "feature", "interaction", "item_position", "item",
                      "active_model", "model", "kafka_offset"):
            sql(store, f"DELETE FROM {table}")
        page = self.page(store=store)
        for words in ("None yet: the daemon makes one", "No item has a vector yet",
                      "No item has features", "No item has come", "Nothing has been read yet"):
            self.assertIn(words, page.text)

    def fill(self, store):
        """Models with figures, one of them rejected, dead letters, a gap, hostile names."""
        for i, (state, ndcg, cold) in enumerate([("retired", .1, .02), ("rejected", .05, .01),
                                                 ("retired", .12, .03)], 2):
            metrics = {"gate": {"verdict": "pass", "why": HOSTILE, "candidate":
                                {"ndcg_20": ndcg, "cold_ndcg_20": cold}},
                       "valid": {"warm": {"20": {"ndcg": ndcg + .01}}}}
            sql(store, "INSERT INTO model(model_id, parent_id, created_ms, origin, state, backbone,"
                " fusion, file, sha256, metrics) VALUES(?, 1, ?, 'trained', ?, 'mf', 'cp', 'f', '',"
                " ?)", i, 1.8e12 + i, state, json.dumps(metrics))
            for epoch in (2, 4, 6):
                for name in ("loss", "ndcg_20"):
                    sql(store, "INSERT INTO run_metric VALUES(?, ?, ?, ?, 0)", i, epoch, name,
                        .5 / epoch)
        sql(store, "INSERT INTO model(created_ms, origin, state, backbone, fusion, file, sha256, "
            "metrics) VALUES(1.9e12, 'imported', 'retired', 'mf', 'cp', 'f', '', 'no JSON')")
        sql(store, "UPDATE item SET item_id = ? WHERE item_id = 'clip-000'", HOSTILE)
        sql(store, "INSERT INTO dead_letter(topic, partition, offset, reason, error, stage, ts_ms, "
            "checksum) VALUES(?, 0, 1, ?, 'x', 'parse', 0, 0)", HOSTILE, HOSTILE[:40])
        sql(store, "INSERT INTO data_gap VALUES(?, 1, 10, 20, 1.8e12)", HOSTILE)
        sql(store, "INSERT INTO kafka_offset(topic, partition, next_offset, updated_ms) "
            "VALUES(?, 1, 20, 1.8e12)", HOSTILE)

    def test_a_full_history_and_hostile_names(self):
        store = self.copy("history.db")
        self.fill(store)
        page = self.page(store=store)
        for words in ("rejected candidate", "overall", "cold items", "validation NDCG@20",
                      "training loss", "rejected", "0.1200", HOSTILE[:-1].replace("\x1b", " ")):
            self.assertIn(words, page.text)
        self.assertNotRegex(page.text, "[\x1b\u202e]")
        rings = [a for t, a in page.tags if t == "circle" and a.get("class") == "ring"]
        self.assertEqual(len(rings), 3 + 1)  # overall, warm, cold, and the legend's
        cold = [a for t, a in page.tags if t == "circle" and a.get("class") == "cold"]
        self.assertEqual(len(cold), 4 + 1)

    def test_the_numbers_for_programs(self):
        store = self.copy("numbers.db")
        self.fill(store)
        r = self.json("report", store=["--store", store])
        self.assertEqual([m["ndcg"] for m in r["models"]], [None, .1, .05, .12, None])
        self.assertEqual([m["ndcg_cold"] for m in r["models"]], [None, .02, .01, .03, None])
        self.assertEqual((r["active_model"], r["curve"]["model_id"]), (1, 4))
        self.assertEqual([p["epoch"] for p in r["curve"]["points"]], [2, 4, 6])
        self.assertEqual(len(r["map"]["points"]), 4)
        self.assertAlmostEqual(sum(m["share"] for m in r["contributions"]["modalities"].values()),
                               1, 5)
        self.assertEqual(r["latency"]["n"], 4)
        self.assertEqual(sum(b["n"] for b in r["latency"]["bins"]), 4)
        self.assertEqual(r["dead_letters"], {HOSTILE[:40]: 1})
        again = self.json("report", store=["--store", store])
        self.assertEqual(again["map"], r["map"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
