#!/usr/bin/env python3
"""Somebody else of the store's group reads: by `sqlite3 -readonly` and by Python with mode=ro, while
the daemon runs, after it has stopped, after it was killed; who is not of the group does not.

    test_other_user.py TOOLS

Needs root, to become others; exits 77 without. See processtest.py.
"""

import os
import signal
import subprocess

from processtest import WithSite, main_as_others, wait_for

GROUP, READER, STRANGER = 64201, 64202, 64203  # ids that nobody has
QUERY = "SELECT count(*), min(length(vec) = 4*dim) FROM current_embedding"
PYTHON = ("import sqlite3, sys; print('|'.join(map(str, sqlite3.connect("
          "f'file:{sys.argv[1]}?mode=ro', uri=True).execute(sys.argv[2]).fetchone())))")


class OtherUser(WithSite):
    def setUp(self):
        """As the unit has it: StateDirectoryMode=0750, UMask=0027, a group of the store's own."""
        os.chmod(self.site.dir, 0o755)
        folder = self.site.dir / "state"
        folder.mkdir(mode=0o750)
        os.chown(folder, 0, GROUP)
        os.chmod(folder, 0o2750)  # the daemon runs as root here: its files take the folder's group
        self.site.store = folder / "s.db"
        self.site.write_config()
        self.addCleanup(os.umask, os.umask(0o027))

    def read(self, user, groups):
        """What both programs print, or None."""
        answers = []
        for command in (["sqlite3", "-readonly", self.site.store, QUERY],
                        ["/usr/bin/python3", "-c", PYTHON, self.site.store, QUERY]):
            r = subprocess.run(command, user=user, group=user, extra_groups=groups, cwd="/",
                               capture_output=True, text=True)
            answers.append(r.stdout.strip() if r.returncode == 0 else None)
        return answers

    def check(self, n):
        self.assertEqual(self.read(READER, [GROUP]), [f"{n}|1"] * 2)
        self.assertEqual(self.read(STRANGER, []), [None] * 2)

    def fill(self, name, n):
        self.site.drop(f"{name}.ndjson",
                       [f'{{"item_id": "{name}{i}", "title": "clip {i}"}}' for i in range(n)])
        wait_for("the events done", lambda: not (self.site.spool / f"{name}.ndjson").exists())

    def test_reads_up_stopped_and_killed(self):
        self.site.start()
        self.fill("a", 3)
        self.check(3)
        self.assertEqual(self.site.stop()[0], 0)
        self.check(3)
        self.site.start()
        self.fill("b", 2)
        self.check(5)
        self.site.stop(signal.SIGKILL)
        self.check(5)


if __name__ == "__main__":
    main_as_others()
