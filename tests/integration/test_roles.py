#!/usr/bin/env python3
"""Each verb by each role: a reader of the store, an operator, a stranger, each a user of his own; and what
root's command line leaves behind.

    test_roles.py TOOLS

The folders are as the package has them (systemd/metammfd.tmpfiles, the unit). Needs root, to become others;
exits 77 without. See processtest.py.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess

from processtest import TOOLS, WithSite, main_as_others, wait_for

# ids that nobody has; the first is the daemon's user and its group, whose members read
DAEMON, READER, OPERATOR, HAND, STRANGER, ADMIN_GROUP = range(64221, 64227)
GROUPS = {"reader": [DAEMON], "operator": [DAEMON, ADMIN_GROUP], "hand": [ADMIN_GROUP],
          "stranger": []}
USERS = {"reader": READER, "operator": OPERATOR, "hand": HAND, "stranger": STRANGER}

# What a role gets, by exit code: 77 = the control socket refuses; 65 and 66 come of what is in the store: its only
# letter is rubbish again, its model knows no users. A hand is of the operators' group alone.
YES, NO = (0, 0, None, None), (77, 0, 0, None)
VERBS = [  # arguments; reader, operator, hand, stranger (None = any fault)
    (["status"], *YES),
    (["get", "v0"], *YES),
    (["similar", "v0"], *YES),
    (["explain", "v0"], *YES),
    (["recommend", "u1"], *YES),
    (["export", "embeddings", "--out", "@/e.npy", "--ids", "@/e.txt"], *YES),
    (["report", "--out", "@/r.html"], *YES),
    (["snapshot", "@/copy.db"], *YES),
    (["backup", "@/backup"], *YES),
    (["model", "list"], *YES),
    (["model", "show"], *YES),
    (["dlq", "list"], *YES),
    (["dlq", "show", "1"], *YES),
    (["verify"], *YES),
    (["doctor"], 0, 0, 77, 77),
    (["settings"], 0, 0, 0, 0),  # the file, which all may read
    (["top", "--once"], *NO),
    (["ingest", "@/events.ndjson"], *NO),
    (["import", "interactions", "@/clicks.tsv"], *NO),
    (["dlq", "retry", "--all"], 77, 65, 65, None),
    (["reextract", "v0"], 77, 0, 0, None),
    (["model", "pin", "1"], *NO),
    (["model", "unpin"], *NO),
    (["forget", "u1"], *NO),
    (["train", "--now"], *NO),
    (["dlq", "purge", "--all"], *NO),
]


class OfOthers(WithSite):
    def setUp(self):
        site = self.site
        os.chmod(site.dir, 0o755)
        self.programs = site.dir / "bin"
        if not self.programs.exists():
            self.programs.mkdir()
            for name in ("metammfd", "metammf", "metammf-extract"):
                shutil.copy2(TOOLS / name, self.programs / name)
        self.state, self.run = (site.dir / f"{self.id().split('.')[-1]}-{n}" for n in ("state", "run"))
        for path, mode, group in ((self.state, 0o750, DAEMON), (self.run, 0o2750, ADMIN_GROUP),
                                  (site.spool, 0o2770, ADMIN_GROUP)):
            path.mkdir(exist_ok=True)
            os.chown(path, DAEMON, group)
            os.chmod(path, mode)
        site.store, self.socket = self.state / "s.db", self.run / "control.sock"
        site.write_config(f'extract = {{ worker_path = "{self.programs}/metammf-extract"; }};')
        site.config.write_text(site.config.read_text().replace(f"{site.dir}/control.sock",
                                                               str(self.socket)))

    def start(self):
        site = self.site
        site.log = open(site.dir / "log", "ab")
        site.daemon = subprocess.Popen(
            [self.programs / "metammfd", "--config", site.config], stderr=site.log, user=DAEMON,
            group=DAEMON, extra_groups=[ADMIN_GROUP], umask=0o027, cwd="/")
        wait_for("the daemon ready", lambda: site.daemon.poll() is not None or self.answers())
        self.assertIsNone(site.daemon.poll(), site.read_log())

    def answers(self):
        r = self.as_user(0, [], "status", "--json")
        return r.returncode == 0 and (json.loads(r.stdout)["daemon"] or {}).get("ready")

    def as_user(self, uid, groups, *args):
        return subprocess.run([self.programs / "metammf", "--config", self.site.config, *map(str, args)],
                              user=uid, group=uid, extra_groups=groups, cwd="/", text=True,
                              capture_output=True, timeout=300, umask=0o022)

    def as_root(self, *args):
        r = self.as_user(0, [], *args)
        self.assertEqual(r.returncode, 0, f"{args}: {r.stdout}{r.stderr}")
        return r.stdout

    def of(self, role, *args):
        return self.as_user(USERS[role], GROUPS[role], *args)

    def events(self, path, n, prefix="v"):
        lines = [json.dumps({"item_id": f"{prefix}{i}", "title": f"clip {i}"}) for i in range(n)]
        path.write_text("\n".join([*lines, json.dumps({"user_id": "u1", "item_id": f"{prefix}0"}),
                                   "rubbish", ""]))


class Roles(OfOthers):
    def own_folder(self, role):
        folder = self.site.dir / f"of-{role}"
        folder.mkdir(exist_ok=True)
        os.chown(folder, USERS[role], USERS[role])
        self.events(folder / "events.ndjson", 2, role)
        (folder / "clicks.tsv").write_text("u2\tv1\n")
        return folder

    def test_each_verb_of_each_role(self):
        self.events(self.site.dir / "first.ndjson", 3)
        self.start()
        self.assertEqual((self.socket.stat().st_gid, self.socket.stat().st_mode & 0o777),
                         (ADMIN_GROUP, 0o660))
        self.as_root("ingest", self.site.dir / "first.ndjson")
        folders = {role: self.own_folder(role) for role in USERS}
        print("\nexit codes".ljust(52), *(role.rjust(8) for role in USERS))
        for args, *expected in VERBS:
            got = []
            for role, code in zip(USERS, expected):
                with self.subTest(verb=" ".join(args), role=role):
                    r = self.of(role, *(a.replace("@", str(folders[role])) for a in args))
                    got.append(r.returncode)
                    said = f"{args} {role}: {r.returncode}, {r.stdout}{r.stderr}"
                    if code is None:
                        self.assertNotEqual(r.returncode, 0, said)
                    else:
                        self.assertEqual(r.returncode, code, said)
                    if code == 77 and args != ["doctor"]:
                        self.assertIn(f"member of group {ADMIN_GROUP}", r.stderr)
            print(" ".join(args).ljust(51), *(str(code).rjust(8) for code in got))
        self.what_a_reader_sees()
        self.what_a_reader_may_not_write()
        self.busy()

    def what_a_reader_sees(self):
        text = self.of("reader", "status").stdout
        self.assertIn(f"up, pid {self.site.daemon.pid} holds the store", text)
        self.assertIn(f"member of group {ADMIN_GROUP}", text)
        told = json.loads(self.of("reader", "status", "--json").stdout)
        self.assertEqual((told["daemon"], told["writer_pid"]), (None, self.site.daemon.pid))
        self.assertIn("control socket", told["daemon_error"])
        checks = {c["check"]: c for c in
                  json.loads(self.of("reader", "doctor", "--json").stdout)["checks"]}
        self.assertEqual(checks["daemon"]["verdict"], "note")
        self.assertIn(f"group {ADMIN_GROUP} may operate", checks["operators"]["detail"])
        self.assertIn(f"group {DAEMON} may read", checks["readers"]["detail"])

    def what_a_reader_may_not_write(self):
        for folder in (self.state, self.run, self.site.spool):
            for role in ("reader", "stranger"):
                r = subprocess.run(["/usr/bin/touch", folder / "x.ndjson"], user=USERS[role],
                                   group=USERS[role], extra_groups=GROUPS[role], cwd="/",
                                   capture_output=True)
                self.assertNotEqual(r.returncode, 0, f"{role} wrote into {folder}")

    def busy(self):
        """All connections are taken: the daemon is busy, and not down."""
        idle = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(8)]
        for s in idle:
            s.connect(str(self.socket))
        r = self.of("operator", "status")
        self.assertRegex(r.stdout, r"daemon +busy: control: too many connections")
        r = self.of("operator", "top", "--once")
        self.assertEqual(r.returncode, 75)
        self.assertIn("too many connections", r.stderr)
        for s in idle:
            s.close()
        wait_for("a free connection", self.answers)


class Root(OfOthers):
    """What root's command line leaves in a folder of the daemon's user, who goes on with it."""

    def owners(self):
        return {str(p.relative_to(self.state)): (p.lstat().st_uid, p.lstat().st_gid,
                                                 oct(p.lstat().st_mode & 0o047))
                for p in pathlib.Path(self.state).rglob("*")}

    def test_files_of_root(self):
        secret = self.site.dir / "only-root.ndjson"
        self.events(secret, 3)
        with secret.open("a") as f:  # and a clip that root alone may read
            f.write(json.dumps(self.site.event(self.site.clips[0], "clip")) + "\n")
        for path in (secret, self.site.media / self.site.clips[0]["file"]):
            os.chmod(path, 0o600)
        self.as_root("ingest", secret)
        self.as_root("get", "clip")
        rows = self.site.dir / "rows.tsv"
        rows.write_text("".join(f"u{u}\tv{(u + i) % 3}\n" for u in range(6) for i in range(2)))
        self.as_root("import", "interactions", rows)
        self.as_root("train", "--fusion", "none", "--epochs", "1", "--dim", "4")
        self.assertEqual(self.as_user(0, [], "dlq", "retry", "--all").returncode, 65)
        self.as_root("model", "rollback")
        self.as_root("forget", "u1")
        self.as_root("reextract", "v0")
        self.as_root("dlq", "purge", "--all")
        copy = self.site.dir / "copy-of-root"
        self.as_root("backup", copy)
        self.assertEqual(copy.stat().st_uid, 0)  # a place of root's choice
        self.as_root("restore", copy, "--force")
        found = self.owners()
        self.assertIn("s.db.lock", found)
        self.assertTrue(any(name.endswith("model.safetensors") for name in found), found)
        for name, owner in found.items():
            self.assertEqual(owner, (DAEMON, DAEMON, "0o40"), name)
        for verb in (["explain", "v0"], ["verify"], ["model", "list"]):  # of the trained model
            r = self.of("reader", *verb)
            self.assertEqual(r.returncode, 0, f"{verb}: {r.stdout}{r.stderr}")
        doctor = json.loads(self.as_root("doctor", "--json"))
        checks = {c["check"]: c for c in doctor["checks"]}
        self.assertEqual(checks["writing"]["verdict"], "good", checks["writing"])
        self.assertIn(str(DAEMON), checks["writing"]["detail"])
        self.start()
        self.assertEqual(self.site.stop()[0], 0)
        self.spoiled()

    def spoiled(self):
        """A lock file of root: it is named, with its owner, by doctor as root and by the daemon."""
        lock = self.state / "s.db.lock"
        os.chown(lock, 0, 0)
        os.chmod(lock, 0o644)
        r = self.as_user(0, [], "doctor", "--json")
        self.assertEqual(r.returncode, 77)
        check = next(c for c in json.loads(r.stdout)["checks"] if c["check"] == "writing")
        self.assertEqual(check["verdict"], "bad")
        self.assertIn(f"{lock}: mode 0644 of root", check["detail"])
        for command in (["metammfd", "--config", self.site.config],
                        ["metammf", "--store", self.site.store, "dlq", "purge", "--all"]):
            r = subprocess.run([self.programs / command[0], *command[1:]], user=DAEMON, group=DAEMON,
                               extra_groups=[], cwd="/", capture_output=True, text=True, timeout=60)
            self.assertEqual(r.returncode, 77, r.stderr)
            self.assertIn(f"{lock} belongs to root (uid 0), and this runs as uid {DAEMON}", r.stderr)


if __name__ == "__main__":
    main_as_others()
