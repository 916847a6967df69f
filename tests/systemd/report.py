"""The table of checks: one line each, and with a failure what explains it."""
import contextlib
import subprocess
import textwrap
import time

TEXT_MAX = 6000


class Report:
    def __init__(self):
        self.passed = self.failed = 0
        self.explain = lambda: ""  # what to print below a failure: the unit's journal

    def line(self, verdict, name, note=""):
        if verdict == "ok":
            self.passed += 1
        else:
            self.failed += 1
        print(f"{verdict:6}  {name}{note}", flush=True)

    @contextlib.contextmanager
    def check(self, name):
        started = time.monotonic()
        try:
            yield
        except (AssertionError, subprocess.SubprocessError, OSError, LookupError, ValueError) as error:
            self.line("FAILED", name)
            for text in (str(error) or repr(error), self.explain()):
                print(textwrap.indent(text[-TEXT_MAX:], " " * 8), flush=True)
            raise Failed from error
        self.line("ok", name, f"  ({time.monotonic() - started:.1f} s)")

    def run(self, site, chapter):
        """The checks of a chapter, in their order: (name, function of the site). They build on each
        other, so what follows a failure is not tried, and counts as failed."""
        print(f"--- {chapter.__doc__.splitlines()[0]}")
        rest = list(chapter.checks(site))
        while rest:
            name, function = rest.pop(0)
            try:
                with self.check(name):
                    function(site)
            except Failed:
                for name, _ in rest:
                    self.line("FAILED", name, ": not tried after that")
                return

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


class Failed(Exception):
    """A check has failed and said so."""
