#!/usr/bin/env python3
"""A peer of the control socket, of the daemon's group and another user, gains no rights over files:
what it hands over is read as it was opened, never opened again, never waited for; nothing is written
where it says.

    test_peer.py TOOLS

The daemon runs as a user of its own here. Needs root, to become others; exits 77 without. See
processtest.py.
"""

import json
import os
import pathlib
import shutil
import subprocess
import time

from processtest import TOOLS, WithSite, main_as_others, wait_for

DAEMON, PEER = 64211, 64212  # ids that nobody has
SECRET = "kafka-password=hunter2"

# REQUEST FLAGS SOCKET PATH…: opens the paths, hands them over with the request, prints the answer.
ASK = """
import json, os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(20)
s.connect(sys.argv[3])
fds = [os.open(path, int(sys.argv[2])) for path in sys.argv[4:]]
socket.send_fds(s, [sys.argv[1].encode()], fds)
while True:
    answer = json.loads(s.recv(1 << 16))
    if "progress" not in answer:
        break
print(json.dumps(answer))
"""


class Peer(WithSite):
    def setUp(self):
        site = self.site
        os.chmod(site.dir, 0o755)
        programs = site.dir / "bin"
        programs.mkdir()
        for name in ("metammfd", "metammf-extract"):
            shutil.copy2(TOOLS / name, programs / name)
        self.state = site.dir / "state"
        self.state.mkdir(mode=0o750)
        site.store = self.state / "s.db"
        site.write_config(f'extract = {{ worker_path = "{programs}/metammf-extract"; }};')
        for path in (self.state, site.spool):
            os.chown(path, DAEMON, DAEMON)
        self.socket = self.state / "control.sock"
        site.config.write_text(site.config.read_text().replace(f"{site.dir}/control.sock",
                                                               str(self.socket)))
        log = open(site.dir / "log", "ab")
        site.daemon = subprocess.Popen([programs / "metammfd", "--config", site.config],
                                       stderr=log, user=DAEMON, group=DAEMON, extra_groups=[],
                                       umask=0o027, cwd="/")
        site.log = log
        wait_for("the control socket", lambda: self.socket.exists() or
                 site.daemon.poll() is not None)
        self.assertIsNone(site.daemon.poll(), site.read_log())
        wait_for("an answer", lambda: self.ask("status", user=0)["ok"])

    def ask(self, command, flags=os.O_RDONLY, paths=(), user=PEER, **more):
        """Of a user who is of the daemon's group."""
        r = subprocess.run(
            ["/usr/bin/python3", "-c", ASK, json.dumps({"command": command, **more}),
             str(int(flags)), self.socket, *paths],
            user=user, group=user, extra_groups=[DAEMON], cwd="/", capture_output=True, text=True,
            timeout=120)
        self.assertEqual(r.returncode, 0, r.stderr)
        return json.loads(r.stdout)

    def refused(self, words, *args, **kw):
        start = time.monotonic()
        answer = self.ask(*args, **kw)
        self.assertFalse(answer["ok"], answer)
        self.assertIn(words, answer["error"])
        self.assertLess(time.monotonic() - start, 10)
        return answer

    def file_of(self, user, name, text, mode=0o600):
        folder = self.site.dir / f"of-{user}"
        folder.mkdir(mode=0o755, exist_ok=True)
        path = folder / name
        path.write_text(text)
        os.chown(path, user, user)
        os.chmod(path, mode)
        return path

    def dead_letters(self):
        return self.json("dlq", "list")

    def test_peer_gains_nothing(self):
        secret = self.file_of(DAEMON, "secret", SECRET + "\n")
        self.refused("not open for reading", "ingest", os.O_PATH, [secret])
        self.refused("not open for reading", "model_import", os.O_PATH, [secret])
        self.refused("not open for reading", "model_publish", os.O_PATH, [secret] * 8)
        self.refused("must come with the request", "ingest")
        clicks = {"kind": "interactions", "names": ["clicks.tsv"]}
        items = {"kind": "items", "names": ["ids", "v.npy"], "modalities": ["visual"]}
        self.refused("clicks.tsv: its descriptor is not open for reading", "import", os.O_PATH, [secret], **clicks)
        self.refused("not open for reading", "import", os.O_PATH, [secret] * 2, **items)
        self.refused("must come with the request", "import", **clicks)
        self.refused("each file needs its name", "import", os.O_RDONLY, [secret], user=0,
                     kind="items")
        self.refused("each at most once", "import", os.O_RDONLY, [secret] * 3, user=0,
                     kind="items", names=["i", "a", "b"], modalities=["visual", "visual"])
        self.refused("items or interactions", "import", os.O_RDONLY, [secret], user=0)
        self.refused("/proc", "import", os.O_RDONLY, [f"/proc/{self.site.daemon.pid}/stat"],
                     **clicks)
        self.refused("not a regular file", "model_publish", os.O_RDONLY, [secret.parent])

        own = self.file_of(PEER, "write-only", "", 0o200)
        self.refused("not open for reading", "ingest", os.O_WRONLY, [own])

        self.refused("/proc", "ingest", os.O_RDONLY, [f"/proc/{self.site.daemon.pid}/stat"])
        sparse = self.file_of(PEER, "sparse", "")
        os.truncate(sparse, 1 << 40)
        self.refused("more than such a file has", "model_import", os.O_RDONLY, [sparse])
        self.refused("more than such a file has", "model_publish", os.O_RDONLY, [sparse] * 8)
        # behind a good header, on a disk that has room for what such a file may be
        os.truncate(sparse, (8 << 30) + 1)
        model = next(self.state.glob("untrained-*.safetensors"))
        os.chmod(model, 0o644)
        os.chmod(self.state, 0o755)
        small = self.file_of(PEER, "small", "")
        files = [model, sparse, *[small] * 6]
        self.refused("more than such a file has", "model_publish", os.O_RDONLY, files)

        fifo = secret.parent / "fifo"
        os.mkfifo(fifo)
        os.chown(fifo, PEER, PEER)
        for flags in (os.O_RDONLY | os.O_NONBLOCK, os.O_PATH):
            self.refused("not open for reading" if flags == os.O_PATH else "not a regular file",
                         "import", flags, [fifo], **clicks)
            for _ in range(6):  # of 8 connections at a time, none is kept busy
                self.refused("not open for reading" if flags == os.O_PATH else
                             "not a regular file", "ingest", flags, [fifo])
        self.assertEqual(self.dead_letters(), [])

        for target in (self.site.spool / "x.ndjson", secret.parent / "copy.db"):
            answer = self.refused("root and the daemon's own user", "snapshot", path=str(target))
            self.assertEqual(answer["exit_code"], 77)
            self.assertFalse(target.exists())
        for user in (0, DAEMON):
            target = self.state / f"copy-{user}.db"
            self.assertTrue(self.ask("snapshot", user=user, path=str(target))["ok"])
            self.assertTrue(target.exists())

        # whether a folder is there that the peer may not look into: the same words
        hidden = self.site.dir / "hidden"
        (hidden / "there").mkdir(parents=True)
        os.chown(hidden, DAEMON, DAEMON)
        os.chmod(hidden, 0o700)
        for root in (hidden / "there", hidden / "absent"):
            answer = self.refused("is not below media.roots", "dlq_retry", media_root=str(root))
            self.assertEqual(answer["exit_code"], 78)

        # what the peer may read and the daemon may not
        events = self.file_of(PEER, "events", '{"item_id": "p", "title": "of the peer"}\n')
        answer = self.ask("ingest", os.O_RDONLY, [events])
        self.assertEqual((answer["ok"], answer["result"]["stored"]), (True, 1), answer)
        rows = self.file_of(PEER, "clicks", "u1\tp\n")
        answer = self.ask("import", os.O_RDONLY, [rows], **clicks)
        self.assertEqual((answer["ok"], answer["result"]["stored"]), (True, 1), answer)
        left = [p.name for p in pathlib.Path(self.state).iterdir() if p.name.startswith(".metammf-train")]
        self.assertEqual(left, [])
        code, seconds = self.site.stop()
        self.assertEqual(code, 0)
        self.assertLess(seconds, 8)


if __name__ == "__main__":
    main_as_others()
