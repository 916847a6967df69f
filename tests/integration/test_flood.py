#!/usr/bin/env python3
"""A flood of poison events costs a bounded log: the first few of a reason, then counts. Nothing of it goes
uncounted.

    test_flood.py TOOLS

See processtest.py.
"""

import json
import re
import sqlite3
import unittest

from processtest import WithSite, wait_for

N = 50000


class Flood(WithSite):
    def count(self, sql):
        db = sqlite3.connect(f"file:{self.site.store}?mode=ro", uri=True)
        try:
            return db.execute(sql).fetchone()[0]
        finally:
            db.close()

    def test_poison_stream(self):
        self.site.start()
        quiet = len(self.site.read_log())
        broken = ('{"item_id": "v%d", "title": ' + '"' + "x" * 200 + '"', '{"item_id": %d}',
                  '{"item_id": "v%d", "title": "t", "tags": 7}', "\x1b]0;%d\x07\x9b31m not json")
        self.site.drop("poison.ndjson", [broken[i % 4] % i for i in range(N)])
        wait_for("dead letters", lambda: self.count("SELECT count(*) FROM dead_letter") == N)
        reasons = {r["reason"] for r in self.json("dlq", "list")}
        counted = sum(self.site.metric(f'metammf_dead_letters_total{{reason="{r}"}}')
                      for r in reasons)
        self.assertEqual(counted, N)
        self.assertEqual(self.site.metric('metammf_items_total{result="dead"}'), N)
        # many small files, each with a line of its own when it is done
        for i in range(300):
            self.site.drop(f"small-{i:03}.ndjson", [json.dumps({"item_id": f"s{i}", "title": "t"})])
        wait_for("the small files", lambda: self.count(
            "SELECT count(*) FROM item WHERE item_id LIKE 's%'") == 300)
        self.assertEqual(self.site.stop()[0], 0)

        log = self.site.read_log()
        self.assertLess(len(log) - quiet, 100_000)
        told = dict.fromkeys(reasons, 0)
        for reason in re.findall(r"dead letter, (\w+) \(", log):
            told[reason] += 1
        self.assertTrue(all(5 <= n <= 50 for n in told.values()), told)
        for n, reason in re.findall(r"(\d+) more dead letters with reason (\w+) in the last \d+ s; "
                                    r"the last was \S+/0@\d+", log):
            told[reason] += int(n)
        self.assertEqual(sum(told.values()), N, told)
        self.assertRegex(log, r"\d+ more spool files done in the last \d+ s; the last was small-")


if __name__ == "__main__":
    unittest.main(verbosity=2)
