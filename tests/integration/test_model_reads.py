#!/usr/bin/env python3
"""How often a round reads model files, all processes together: the trainer, the judge, the daemon
and its threads. A file of a model may be large, and what was checked must be what is used.

    test_model_reads.py TOOLS

count_reads.c counts, preloaded. See test_retrain.py for the site.
"""

import signal
import unittest

from processtest import TOOLS, wait_for
from test_retrain import N_ITEMS, SPOILED, RetrainSite

OF_A_CANDIDATE = 3  # its trainer, its judge, the daemon
OF_THE_ACTIVE = 2  # the trainer, which starts from it, and the judge


class ModelReads(unittest.TestCase):
    def setUp(self):
        self.site = RetrainSite()
        self.addCleanup(self.site.close)
        self.log, self.n_seen = self.site.dir / "reads", 0

    def new_reads(self):
        """[(name beneath the store's folder, bytes read / bytes)], one for each opening."""
        lines = self.log.read_text().splitlines()
        new, self.n_seen = lines[self.n_seen:], len(lines)
        found = [line.split(" ", 2) for line in new]
        return [(name.removesuffix(" (deleted)").removeprefix(f"{self.site.dir}/"),
                 int(n) / int(size)) for n, size, name in found]

    def active_file(self):
        return self.site.query("SELECT file FROM model WHERE state = 'active'")[0][0]

    def wait_taken_over(self):
        """By the sink, as the status says, and by the refresh, as the store says."""
        s, model = self.site, self.site.model()
        wait_for("the sink", lambda: f'metammf_model_info{{model_id="{model}",' in s.http("/metrics")[1])
        wait_for("the refresh", lambda: s.query(
            "SELECT value FROM meta WHERE name = 'refresh_model'") == [(str(model),)])

    def check(self, what, reads, most):
        opened, times = len(reads), sum(times for _, times in reads)
        print(f"{what}: opened {opened} times, read {times:.2f} times")
        self.assertGreater(times, 0.99, what)
        self.assertLessEqual((opened, round(times, 2)), (most, most), what)

    def check_round(self, result, first, last):
        s, active = self.site, self.active_file()
        n = s.results(result)
        s.put_interactions(first, last)
        s.wait_result(result, n + 1)
        self.wait_taken_over()
        reads = self.new_reads()
        self.check(f"the candidate, {result}", [r for r in reads if r[0] != active], OF_A_CANDIDATE)
        if "trained-" in active:
            self.check("the active model", [r for r in reads if r[0] == active], OF_THE_ACTIVE)

    def test_rounds(self):
        s = self.site
        s.start(LD_PRELOAD=str(TOOLS / "count_reads.so"), MMF_READS=str(self.log))
        s.put_items(N_ITEMS)
        wait_for("items", lambda: len(s.vectors()) == N_ITEMS)
        self.wait_taken_over()
        self.assertGreater(len(self.new_reads()), 0, "nothing is counted")
        self.check_round("published", 0, 6)
        self.check_round("published", 6, 8)
        trainer = s.dir / "trainer"
        trainer.write_text(SPOILED.replace("TRAINER", repr(str(TOOLS / "metammf"))))
        trainer.chmod(0o755)
        s.configure(trainer_path=f'"{trainer}"', tolerance_percent=5)
        s.daemon.send_signal(signal.SIGHUP)
        wait_for("the reload", lambda: s.notify.count("RELOADING=1"))
        self.check_round("rejected", 8, 10)


if __name__ == "__main__":
    unittest.main()
