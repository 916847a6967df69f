"""What a build calls itself (config/version.cmake): CHANGELOG.md's newest heading, and behind it which
state of the tree it is, so that dpkg sorts a later build higher.

usage: test_version.py SOURCE_FOLDER
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(sys.argv.pop(1)).resolve() / "config/version.cmake"
RELEASED = "# Changelog\n\n## [Unreleased]\n\n## [0.3.0] - 2026-12-01\n\n- A thing.\n\n## [0.2.0]\n\n- x\n"
UNRELEASED = RELEASED.replace("## [Unreleased]\n", "## [Unreleased]\n\n### Added\n\n- More.\n")


class Tree:
    """A source tree, in git from `commit` on; its clock moves a minute a commit."""

    def __init__(self, folder, changelog):
        self.folder, self.minutes = pathlib.Path(folder), 0
        self.write(changelog)

    def write(self, text, name="CHANGELOG.md"):
        (self.folder / name).write_text(text)

    def git(self, *words):
        date = f"2026-12-02T10:{self.minutes:02}:00+02:00"
        names = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
                 for what, value in (("NAME", "n"), ("EMAIL", "n@e.example"), ("DATE", date))}
        subprocess.run(["git", "-C", self.folder, *words], check=True, capture_output=True,
                       env={**os.environ, **names})

    def commit(self):
        if not (self.folder / ".git").exists():
            self.git("init", "-q")
        self.minutes += 1
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "m")

    def version(self, folder=None):
        return subprocess.run(["cmake", "-D", f"SOURCE={folder or self.folder}", "-P", SCRIPT],
                              check=True, capture_output=True, text=True).stdout.strip()


class Version(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def tree(self, changelog):
        return Tree(self.folder.name, changelog)

    def test_without_git(self):
        tree = self.tree(RELEASED)
        self.assertEqual(tree.version(), "0.3.0")
        tree.write(UNRELEASED)
        self.assertEqual(tree.version(), "0.3.0+unreleased")

    def test_a_release_is_the_commit_of_its_heading(self):
        tree = self.tree(RELEASED)
        tree.commit()
        self.assertEqual(tree.version(), "0.3.0")

    def test_the_commit_after_a_release_is_none(self):
        tree = self.tree(RELEASED)
        tree.commit()
        tree.write("x", "other")
        tree.commit()
        self.assertRegex(tree.version(), r"^0\.3\.0\+git20261202080200\.[0-9a-f]{7}$")

    def test_changes_without_a_commit_are_said(self):
        tree = self.tree(RELEASED)
        tree.commit()
        tree.write(RELEASED + "\n")
        self.assertRegex(tree.version(), r"^0\.3\.0\+git20261202080100\.[0-9a-f]{7}\.dirty$")

    def test_a_tree_within_another_repository_is_not_its(self):
        tree = self.tree(UNRELEASED)
        tree.commit()
        inner = pathlib.Path(self.folder.name) / "unpacked"
        inner.mkdir()
        (inner / "CHANGELOG.md").write_text(RELEASED)
        self.assertEqual(tree.version(inner), "0.3.0")

    def test_a_tree_of_another_user_is_read(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to give the tree away")
        tree = self.tree(UNRELEASED)
        tree.commit()
        before = tree.version()
        subprocess.run(["chown", "-R", "65534", self.folder.name], check=True)
        self.assertEqual(tree.version(), before)

    @unittest.skipUnless(shutil.which("dpkg"), "dpkg is not installed")
    def test_a_later_build_sorts_higher(self):
        tree = self.tree(RELEASED)
        tree.commit()
        seen = [tree.version()]
        for _ in range(3):
            tree.write(UNRELEASED)
            tree.commit()
            seen.append(tree.version())
        tree.write(UNRELEASED + "\n")
        seen += [tree.version(), "0.3.1", "0.4.0"]
        for earlier, later in zip(seen, seen[1:]):
            sorted_so = subprocess.run(["dpkg", "--compare-versions", earlier, "lt", later], check=False)
            self.assertEqual(sorted_so.returncode, 0, f"{earlier} is not below {later}")


if __name__ == "__main__":
    unittest.main()
