"""What the tests of the process and of the command line share: a site with clips, settings and a
store, run by the executables in sys.argv[1] (build/…/bin). Standard library only, loopback only.
$MMF_KEEP keeps the folder.
"""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "kafka"))
from ports import free_port  # noqa: E402

TOOLS = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 else "build/dev/bin").resolve()
PATIENCE_S = 300


def wait_for(what, condition, patience_s=PATIENCE_S, every_s=0.05):
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(every_s)
    raise AssertionError(f"{what}: not within {patience_s} s")


class Notifications:
    """A NOTIFY_SOCKET: what systemd would have heard."""

    def __init__(self, path):
        self.path, self.seen, self.lock = path, [], threading.Lock()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.bind(str(path))
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        while True:
            try:
                message = self.socket.recv(4096).decode()
            except OSError:
                return
            with self.lock:
                self.seen.append(message)

    def count(self, line):
        with self.lock:
            return sum(line in message.split("\n") for message in self.seen)

    def matching(self, pattern):
        with self.lock:
            return [m for m in self.seen if re.search(pattern, m, re.M)]


class Site:
    """A folder with clips, settings and a store; one daemon at a time."""

    def __init__(self, n_clips=3):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mmf-process-"))
        self.media, self.spool = self.dir / "media", self.dir / "spool"
        self.spool.mkdir()
        self.store, self.config = self.dir / "s.db", self.dir / "metammfd.conf"
        self.port, self.daemon = free_port(), None
        out = subprocess.run([TOOLS / "metammf-extract", "--make-clips", self.media,
                              str(n_clips)], check=True, capture_output=True, text=True)
        self.clips = [json.loads(line) for line in out.stdout.splitlines()]
        self.notify = Notifications(self.dir / "notify.sock")
        self.write_config()

    def write_config(self, extra=""):
        self.config.write_text(f"""
            source = "spool";
            store = {{ path = "{self.store}"; }};
            media = {{ roots = ["{self.media}"]; }};
            spool = {{ directory = "{self.spool}"; }};
            http = {{ port = {self.port}; }};
            control = {{ socket = "{self.dir}/control.sock"; }};
            {"" if "training" in extra else "training = { enabled = false; };"}
            {extra}
            """)

    def start(self, **env):
        self.log = open(self.dir / "log", "ab")
        self.daemon = subprocess.Popen(
            [TOOLS / "metammfd", "--config", self.config], stderr=self.log,
            env={**os.environ, "NOTIFY_SOCKET": str(self.notify.path), **env})
        n_ready = self.notify.count("READY=1")
        wait_for("READY=1", lambda: self.notify.count("READY=1") > n_ready or
                 self.daemon.poll() is not None)
        assert self.daemon.poll() is None, self.read_log()

    def read_log(self):
        return (self.dir / "log").read_text(errors="replace")

    def stop(self, how=signal.SIGTERM):
        self.daemon.send_signal(how)
        started = time.monotonic()
        code = self.daemon.wait(timeout=60)
        self.log.close()
        self.daemon = None
        return code, time.monotonic() - started

    def close(self):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()
        if self.daemon:
            self.log.close()
        self.notify.socket.close()
        if "MMF_KEEP" in os.environ:
            print(f"kept: {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def http(self, path, method="GET"):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        c.request(method, path)
        r = c.getresponse()
        body = r.read().decode()
        c.close()
        return r.status, body

    def metric(self, line):
        found = re.search("^" + re.escape(line) + r" (\S+)$", self.http("/metrics")[1], re.M)
        return float(found[1]) if found else None

    def event(self, clip, item_id=None):
        return {"item_id": item_id or pathlib.Path(clip["file"]).stem, "title": clip["title"],
                "media_uri": f"file://{self.media}/{clip['file']}"}

    def drop(self, name, lines):
        part = self.dir / (name + ".part")
        part.write_text("".join(line + "\n" for line in lines))
        part.rename(self.spool / name)

    def metammf(self, *args, store=True):
        head = ["--store", str(self.store)] if store is True else store or []
        return subprocess.run([TOOLS / "metammf", *head, *map(str, args)], text=True,
                              capture_output=True, timeout=600, cwd=self.dir)


class WithSite(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = Site()
        cls.addClassCleanup(cls.site.close)

    def verb(self, code, *args, **kw):
        r = self.site.metammf(*args, **kw)
        self.assertEqual(r.returncode, code, f"{args}: {r.stdout}{r.stderr}")
        if code:
            self.assertTrue(r.stderr.strip(), f"{args}: silent failure")
        return r

    def json(self, *args, **kw):
        return json.loads(self.verb(0, *args, "--json", **kw).stdout)


def main_as_others():
    """unittest.main for cases that become other users; exits 77 where nobody can."""
    if os.geteuid() != 0:
        print("skipped: only root can become another user")
        sys.exit(77)
    if not os.access("/usr/bin/python3", os.X_OK):
        print("skipped: no /usr/bin/python3, which others may run")
        sys.exit(77)
    unittest.main(verbosity=2)
