#!/usr/bin/env python3
"""Backup and restore, and a daemon whose model is lost: every case with the text that says what to do.

    test_backup.py TOOLS

The drill in the small stands in restore_drill.py. See processtest.py.
"""

import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import unittest

from processtest import TOOLS, Site, wait_for
from restore_drill import (Load, active, check_files, query, training_settings, vectors)

READER, GROUP, OWNER = 64212, 64211, 64213  # ids that nobody has
NO_TRAINING = "training = { enabled = false; };\nextract = { workers = 1; };"


class Here(Site):
    def __init__(self):
        super().__init__(n_clips=1)
        self.write_config(NO_TRAINING)
        self.load = Load(self)

    def fill(self, items=40):
        self.load.put_items(items)
        wait_for("items", lambda: self.store.exists() and self.count("current_embedding") == items)

    def count(self, what):
        try:
            return query(self.store, f"SELECT count(*) FROM {what}")[0][0]
        except sqlite3.Error:
            return -1  # not made yet

    def ready(self):
        return self.http("/readyz")[0] == 200

    def here(self):
        return ["--config", self.config]


class Case(unittest.TestCase):
    template = None

    def setUp(self):
        self.site = Here()
        self.addCleanup(self.site.close)

    def run_verb(self, code, *args, store=True, text=None, site=None):
        r = (site or self.site).metammf(*args, store=store)
        self.assertEqual(r.returncode, code, f"{args}: {r.stdout}{r.stderr}")
        if text:
            self.assertRegex(r.stdout + r.stderr, text)
        return r

    def json(self, *args, **how):
        return json.loads(self.run_verb(0, *args, "--json", **how).stdout)

    def trained(self):
        """A site with two trained models, at rest: stopped. Made once, each case has a copy."""
        if not Case.template:
            Case.template = Here()
            unittest.addModuleCleanup(Case.template.close)
            self.train(Case.template)
        there, here = Case.template, self.site
        for path in there.dir.iterdir():
            if path == there.store or path.name.startswith(("trained-", "untrained-")):
                copy = shutil.copytree if path.is_dir() else shutil.copy2
                copy(path, here.dir / path.name)
        shutil.copytree(there.spool, here.spool, dirs_exist_ok=True)
        here.load.n_files, here.load.n_items, here.load.step = (
            there.load.n_files, there.load.n_items, there.load.step)

    def train(self, s):
        s.start()
        s.fill()
        s.load.put_interactions(6)
        wait_for("interactions", lambda: s.count("interaction_log") == 360)
        for seed in 1, 2:
            self.json("train", "--epochs", 2, "--threads", 1, "--seed", seed, store=s.here(), site=s)
        wait_for("refresh", lambda: s.count("touch") == 0)
        self.assertEqual(s.stop()[0], 0)

    def backup(self, name="b"):
        folder = self.site.dir / name
        self.json("backup", folder)
        return folder


class Backups(Case):
    def test_what_is_in_it_and_where_it_goes(self):
        self.trained()
        folder = self.backup()
        check_files(folder)
        self.assertEqual(folder.stat().st_mode & 0o7777, 0o750)
        manifest = json.loads((folder / "manifest.json").read_text())
        self.assertEqual((manifest["schema_version"], manifest["active_model"], manifest["missing"]),
                         (query(self.site.store, "PRAGMA user_version")[0][0], 3, []))
        self.assertEqual(sorted(manifest["models"]), [1, 2, 3])
        self.assertTrue(manifest["offsets"])  # of the spool here
        # a new folder only, and one that is empty is as good
        self.run_verb(74, "backup", folder, text="it is there and not empty: give a new name")
        (self.site.dir / "file").write_text("x")
        self.run_verb(74, "backup", self.site.dir / "file", text="give a new name")
        (self.site.dir / "empty").mkdir()
        check_files(self.backup("empty"))
        self.run_verb(74, "backup", self.site.dir / "no" / "b", text="No such file or directory")
        self.run_verb(64, "backup", text="into which folder")
        self.assertEqual([p.name for p in self.site.dir.glob("*.part")], [])
        # what a killed one has left goes
        (self.site.dir / "again.part" / "models" / "x").mkdir(parents=True)
        check_files(self.backup("again"))

    def test_a_snapshot_says_what_it_is_not(self):
        self.trained()
        s, copy = self.site, self.site.dir / "copy.db"
        self.run_verb(0, "snapshot", copy, text="the store alone, without its models: metammf backup")
        self.run_verb(0, "snapshot", "--help", text="It is no backup")
        self.run_verb(65, "restore", copy, store=["--store", s.dir / "new" / "s.db"],
                      text="it is a file, as `metammf snapshot` writes")
        self.assertFalse((s.dir / "new").exists())

    def test_a_disk_that_is_full_leaves_nothing(self):
        if os.geteuid() != 0:
            self.skipTest("only root can mount a small disk")
        self.trained()
        disk = self.site.dir / "disk"
        disk.mkdir()
        bytes_needed = self.site.store.stat().st_size
        for size in 64 << 10, bytes_needed + (32 << 10):  # in the store, in the models
            r = subprocess.run(["unshare", "-m", "sh", "-c",
                                f"mount -t tmpfs -o size={size} none {disk} && "
                                f"{TOOLS}/metammf --store {self.site.store} backup {disk}/b; "
                                f"code=$?; ls -A {disk}; exit $code"],
                               capture_output=True, text=True)
            if "permission denied" in r.stderr.lower() or "unshare" in r.stderr:
                self.skipTest(r.stderr.strip())
            self.assertEqual((r.returncode, r.stdout), (74, ""), r.stderr)
            self.assertRegex(r.stderr, "no room on its disk: free some|No space left on device")

    def test_a_reader_of_the_group_needs_no_socket(self):
        if os.geteuid() != 0:
            self.skipTest("only root can become another user")
        os.umask(0o027)
        self.addCleanup(os.umask, 0o022)
        s = self.site
        state = s.dir / "state"
        state.mkdir()
        os.chown(state, 0, GROUP)
        os.chmod(state, 0o2750)
        s.store = state / "s.db"
        s.write_config(NO_TRAINING)
        os.chmod(s.dir, 0o755)
        self.train(s)
        s.start()
        out = s.dir / "out"
        out.mkdir()
        os.chown(out, READER, READER)
        r = subprocess.run([TOOLS / "metammf", "--store", s.store, "backup", out / "b"], user=READER,
                           group=READER, extra_groups=[GROUP], cwd="/", capture_output=True, text=True)
        self.assertEqual(r.returncode, 0, r.stderr)
        check_files(out / "b")
        s.stop()

    def test_a_model_that_is_missing(self):
        self.trained()
        files = self.files()
        os.rename(files[2], self.site.dir / "kept")
        r = self.run_verb(0, "backup", self.site.dir / "without", text="model 2 is not in the backup: .*it is not there")
        manifest = json.loads((self.site.dir / "without" / "manifest.json").read_text())
        self.assertEqual([m["model_id"] for m in manifest["missing"]], [2], r.stderr)
        self.assertNotIn(2, manifest["models"])
        os.rename(files[3], self.site.dir / "kept3")
        self.run_verb(66, "backup", self.site.dir / "b",
                      text="active model 3: .*: it is not there: put it back, or train a new one; "
                           "`metammf snapshot` copies the store alone")
        self.assertFalse((self.site.dir / "b").exists())

    def test_a_link_is_not_followed(self):
        """Who writes to the model folder does not choose what root copies."""
        self.trained()
        secret = self.site.dir / "secret"
        secret.write_text("hunter2")
        folder = self.files()[3].parent
        (folder / "more").symlink_to(secret)
        copy = self.backup()
        self.assertFalse(any(b"hunter2" in p.read_bytes() for p in copy.rglob("*") if p.is_file()))
        db = sqlite3.connect(self.site.store)
        db.execute("UPDATE model SET file = '../' || file WHERE model_id = 2")
        db.commit()
        db.close()
        self.run_verb(0, "backup", self.site.dir / "c", text="model 2 is not in the backup")
        folder.rename(folder.with_name("elsewhere"))
        folder.symlink_to("elsewhere")
        self.run_verb(74, "backup", self.site.dir / "d", text="Not a directory|symbolic links")

    def files(self):
        return {m: self.site.dir / f for m, f in query(self.site.store, "SELECT model_id, file FROM model")}


class Restores(Case):
    def setUp(self):
        super().setUp()
        self.trained()
        self.folder = self.backup()
        self.new = self.site.dir / "new"
        self.there = ["--store", self.new / "s.db"]

    def refused(self, code, text, *args, folder=None, there=None):
        self.run_verb(code, "restore", *args, folder or self.folder, store=there or self.there, text=text)

    def assert_untouched(self):
        self.assertFalse(self.new.exists())

    def spoil(self, name, how):
        copy = self.site.dir / "spoilt"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder, copy)
        how(next(copy.glob(name)))
        return copy

    def test_a_backup_that_is_not_whole(self):
        def cut(p):
            os.truncate(p, p.stat().st_size - 1)

        def flip(p):
            data = bytearray(p.read_bytes())
            data[len(data) // 2] ^= 1
            p.write_bytes(data)
        for name in "metammf.db", "models/trained-*/model.safetensors", "models/trained-*/users.npy":
            self.refused(65, "is damaged: its SHA-256 is not the one in manifest.json: take another backup",
                         folder=self.spoil(name, flip))
            self.refused(65, "is damaged", folder=self.spoil(name, cut))
            self.refused(66, "is missing: take another backup", folder=self.spoil(name, os.unlink))
        self.refused(66, "no manifest.json in it: it is no backup, or not a whole one",
                     folder=self.spoil("manifest.json", os.unlink))
        self.refused(65, "manifest.json is damaged", folder=self.spoil("manifest.json", cut))
        self.refused(66, "No such file", folder=self.site.dir / "none")
        self.refused(65, "is damaged", folder=self.spoil("metammf.db", lambda p: (
            p.rename(self.site.dir / "away"), p.symlink_to(self.site.dir / "away"))))
        self.assert_untouched()

    def rewrite(self, **values):
        def how(p):
            manifest = json.loads(p.read_text())
            manifest.update({k: v for k, v in values.items() if k != "name"})
            if "name" in values:
                manifest["files"][values["name"]] = {"bytes": 1, "sha256": "0" * 64}
            p.write_text(json.dumps(manifest))
        return self.spoil("manifest.json", how)

    def test_a_manifest_that_means_something_else(self):
        self.refused(78, r"schema version 99 is newer than this program's \d+: install metammfd 9.9, which "
                     "wrote it, or a later one", folder=self.rewrite(schema_version=99, version="9.9"))
        self.refused(78, "another form than this program's: install", folder=self.rewrite(format=2))
        for name in ("../x", "/etc/passwd", "models/../../x", "models/.hidden", "models/a/b/c", "other",
                     "models/", "models//x"):
            self.refused(65, "is no name of a backup", folder=self.rewrite(name=name))
        self.assert_untouched()

    def test_into_a_new_folder(self):
        report = self.json("restore", self.folder, store=self.there)
        self.assertEqual((report["active_model"], report["aside"]), (3, []))
        wanted = vectors(self.folder / "metammf.db", immutable=True)
        self.assertEqual(vectors(self.new / "s.db"), wanted)
        self.assertTrue(wanted)
        self.run_verb(0, "doctor", store=self.there, text="model 3: trained-.* read, its SHA-256 fits")
        self.assertEqual({p.stat().st_mode & 0o7777 for p in self.new.rglob("*") if p.is_file()}, {0o640})
        # there is one now
        self.refused(74, "there is one already: --force sets it aside, or give another path")
        # readers see that it is another one
        (old,), = query(self.site.store, "SELECT generation FROM store_generation")
        (now,), = query(self.new / "s.db", "SELECT generation FROM store_generation")
        (copy,), = query(self.folder / "metammf.db", "SELECT generation FROM store_generation", immutable=True)
        self.assertEqual(len({old, now, copy}), 3)
        self.run_verb(0, "model", "rollback", store=self.there)
        self.assertEqual(active(self.new / "s.db"), 2)

    def test_models_in_a_folder_of_their_own(self):
        config = self.site.dir / "other.conf"
        config.write_text(f'source = "spool"; spool = {{ directory = "{self.site.spool}"; }};'
                          f'store = {{ path = "{self.new}/s.db"; model_dir = "{self.site.dir}/m"; }};')
        self.run_verb(0, "restore", self.folder, store=["-c", config], text="as of 20..-..-..T")
        self.assertEqual({p.name for p in (self.site.dir / "m").iterdir()},
                         {p.name for p in (self.folder / "models").iterdir()})
        self.run_verb(0, "doctor", "--fast", store=["--config", config], text="model 3")

    def test_over_what_is_there(self):
        s = self.site
        s.start()
        self.refused(75, "stop the daemon first: .*process .* is writing to it", "--force", there=s.here())
        s.load.put_items(5)
        wait_for("more items", lambda: s.count("current_embedding") == 45)
        s.stop(signal.SIGKILL)  # what came last is in the -wal alone
        self.assertTrue(pathlib.Path(f"{s.store}-wal").stat().st_size > 0)
        self.refused(74, "--force", there=s.here())
        r = self.run_verb(0, "restore", "--force", self.folder, store=s.here(), text="what was there is now")
        self.assertIn("read again", r.stdout)
        aside, = (p for p in s.dir.glob("s.db.before-*Z"))
        for end in "-wal", "-shm":
            self.assertFalse(pathlib.Path(f"{s.store}{end}").exists())
        self.assertEqual(query(aside, "SELECT count(*) FROM current_embedding"), [(45,)])
        self.assertEqual(s.count("current_embedding"), 40)
        s.start()
        self.assertIn("this store is a backup of 20", s.read_log())
        wait_for("ready", s.ready)
        s.stop()
        said = s.read_log().count("this store is a backup of")
        s.start()
        s.stop()
        self.assertEqual(s.read_log().count("this store is a backup of"), said)  # once

    def test_a_disk_that_is_full_leaves_the_old_store(self):
        if os.geteuid() != 0:
            self.skipTest("only root can mount a small disk")
        self.new.mkdir()
        sizes = [-(-p.stat().st_size // 4096) * 4096 for p in self.folder.rglob("*")]
        size = sum(sizes) + (self.folder / "metammf.db").stat().st_size // 2  # once, not twice
        r = subprocess.run(["unshare", "-m", "sh", "-c",
                            f"mount -t tmpfs -o size={size} none {self.new} && "
                            f"{TOOLS}/metammf --store {self.new}/s.db restore {self.folder} || exit 9;"
                            f"{TOOLS}/metammf --store {self.new}/s.db restore --force {self.folder};"
                            f"code=$?; ls -A {self.new}; exit $code"], capture_output=True, text=True)
        if r.returncode == 1 and "unshare" in r.stderr:
            self.skipTest(r.stderr.strip())
        self.assertEqual(r.returncode, 74, r.stderr)
        self.assertIn("No space left on device", r.stderr)
        left = {name for name in r.stdout.split() if name.startswith((".", "s.db"))}
        self.assertEqual(left, {"s.db", "s.db.lock"})

    def test_a_damaged_store_is_set_aside(self):
        s = self.site
        s.store.write_bytes(b"rubbish" * 1000)
        self.run_verb(0, "restore", "--force", self.folder, store=s.here())
        self.assertEqual(s.count("current_embedding"), 40)
        s.start()
        s.stop()

    def test_by_root_for_the_daemon(self):
        if os.geteuid() != 0:
            self.skipTest("only root has others' files")
        self.new.mkdir()
        os.chown(self.new, OWNER, GROUP)
        self.run_verb(0, "restore", self.folder, store=self.there)
        for path in self.new.rglob("*"):
            self.assertEqual((path.stat().st_uid, path.stat().st_gid), (OWNER, GROUP), path)
        os.chmod(self.site.dir, 0o755)
        r = subprocess.run([TOOLS / "metammf", *map(str, self.there), "model", "rollback"], user=OWNER,
                           group=GROUP, extra_groups=[], cwd="/", capture_output=True, text=True)
        self.assertEqual(r.returncode, 0, r.stderr)

    def test_by_root_into_folders_that_are_missing(self):
        if os.geteuid() != 0:
            self.skipTest("only root has others' files")
        self.new.mkdir()
        os.chown(self.new, OWNER, GROUP)
        config = self.site.dir / "other.conf"
        config.write_text(f'source = "spool"; spool = {{ directory = "{self.site.spool}"; }};'
                          f'store = {{ path = "{self.new}/deep/s.db"; model_dir = "{self.new}/models"; }};')
        self.run_verb(0, "restore", self.folder, store=["-c", config])
        for path in self.new.rglob("*"):
            self.assertEqual((path.stat().st_uid, path.stat().st_gid), (OWNER, GROUP), path)

    def elsewhere(self):
        """A folder on another file system, and a link to a store in it."""
        here = os.stat(self.site.dir).st_dev
        others = [d for d in ("/dev/shm", "/var/tmp", "/tmp")
                  if os.access(d, os.W_OK) and os.stat(d).st_dev != here]
        if not others:
            self.skipTest("no other file system here")
        folder = pathlib.Path(tempfile.mkdtemp(dir=others[0]))
        self.addCleanup(shutil.rmtree, folder)
        self.new.mkdir()
        (self.new / "s.db").symlink_to(folder / "real.db")
        return folder

    def test_twice_in_a_second(self):
        """What the second sets aside had the name of the first, and the old store went with the copy."""
        s = self.site
        for _ in range(4):
            self.run_verb(0, "restore", "--force", self.folder, store=s.here())
        self.assertEqual([s.count("current_embedding")] +
                         [query(p, "SELECT count(*) FROM current_embedding")[0][0]
                          for p in s.dir.glob("s.db.before-*Z")], [40] * 5)
        self.assertFalse((s.dir / "s.db.restoring").exists())

    def test_through_a_link_to_another_disk(self):
        folder = self.elsewhere()
        self.run_verb(0, "restore", self.folder, store=["--store", folder / "real.db"])
        self.run_verb(0, "restore", "--force", self.folder, store=self.there, text="what was there is now")
        self.assertTrue((self.new / "s.db").is_symlink())
        self.assertEqual(query(self.new / "s.db", "SELECT count(*) FROM current_embedding"), [(40,)])
        self.assertEqual(len(list(folder.glob("real.db.before-*Z"))), 1)

    def test_a_link_of_another_user_is_refused(self):
        """Who owns the store's folder does not choose which file root replaces, or writes to."""
        if os.geteuid() != 0:
            self.skipTest("only root has others' files")
        folder = self.elsewhere()
        (folder / "real.db").write_text("root's own")
        os.chown(self.new, OWNER, GROUP)
        self.refused(77, "it is a link of uid", "--force")
        (self.site.dir / "more").write_text('{"item_id": "x", "title": "y"}\n')
        self.run_verb(77, "ingest", self.site.dir / "more", store=self.there, text="give the path that it leads to")
        self.assertEqual([p.name for p in folder.iterdir()], ["real.db"])
        self.assertEqual((folder / "real.db").read_text(), "root's own")

    def test_a_snapshot_over_a_killed_store(self):
        """The copy is put over the store, -wal is forgotten."""
        s = self.site
        copy = s.dir / "copy.db"
        self.run_verb(0, "snapshot", copy)
        s.start()
        s.load.put_items(5)
        wait_for("more items", lambda: s.count("current_embedding") == 45)
        s.stop(signal.SIGKILL)
        shutil.copyfile(copy, s.store)
        r = subprocess.run([TOOLS / "metammfd", "--config", s.config], capture_output=True, text=True,
                           timeout=60)
        self.assertEqual(r.returncode, 65, r.stderr)
        self.assertIn(f"another file has been put here, but {s.store}-wal is of the old one: remove "
                      f"{s.store}-wal and {s.store}-shm", r.stderr)
        self.run_verb(65, "doctor", "--fast", store=s.here(), text="another file has been put here")
        self.run_verb(65, "backup", s.dir / "mixed", text="another file has been put here")
        for end in "-wal", "-shm":
            os.unlink(f"{s.store}{end}")
        s.start()
        self.assertEqual(s.count("current_embedding"), 40)
        s.stop()

    def test_before_there_is_a_model(self):
        alone = self.site.dir / "alone.db"
        clicks = self.site.dir / "clicks.tsv"
        clicks.write_text("u1\tv1\n")
        self.run_verb(0, "import", "interactions", clicks, store=["--store", alone])
        self.run_verb(0, "backup", self.site.dir / "early", store=["--store", alone], text="0 models")
        self.run_verb(0, "restore", self.site.dir / "early", store=self.there, text="no model yet")
        self.assertEqual(query(self.new / "s.db", "SELECT count(*) FROM interaction_log"), [(1,)])


class Lost(Case):
    """The file of the active model is missing or damaged. The daemon ended with 65 or 66, every 2 s."""

    def setUp(self):
        super().setUp()
        self.trained()
        (file,), = query(self.site.store, "SELECT file FROM model WHERE state = 'active'")
        self.file = self.site.dir / file
        self.kept = self.site.dir / "kept"
        shutil.copyfile(self.file, self.kept)

    def assert_lost(self):
        s = self.site
        why = "no model, new items wait without vectors: model 3"
        wait_for("the reason", lambda: why in s.http("/readyz")[1])  # once the source is connected
        self.assertEqual(s.http("/readyz")[0], 503)
        self.assertEqual(s.metric("metammf_model_loaded"), 0)
        wait_for("the status line", lambda: s.notify.matching("put its file back|put the file back"))
        self.assertIn("what is stored is served", s.read_log())

    def put_back(self):
        part = self.file.with_name("part")
        shutil.copyfile(self.kept, part)
        os.rename(part, self.file)

    def damage(self, how):
        size = self.file.stat().st_size
        if how == "missing":
            self.file.unlink()
        elif how == "cut":
            os.truncate(self.file, size // 2)
        elif how == "zeros":
            self.file.write_bytes(bytes(size))
        else:
            data = bytearray(self.file.read_bytes())
            data[size // 2] ^= 1
            self.file.write_bytes(data)

    def test_doctor_opens_what_the_start_needs(self):
        for how, code in (("missing", 66), ("cut", 65), ("zeros", 65), ("a bit", 65)):
            with self.subTest(how):
                self.damage(how)
                r = self.run_verb(code, "doctor", "--json", store=self.site.here())
                check, = (c for c in json.loads(r.stdout)["checks"] if c["check"] == "model")
                self.assertEqual(check["verdict"], "bad")
                self.assertIn("model 3", check["detail"])
                self.assertIn("metammf restore", check["next"])
                self.put_back()
        self.run_verb(0, "doctor", store=self.site.here(), text="model 3: trained-")

    def test_serves_what_is_stored_until_the_file_is_back(self):
        for how in "missing", "cut":
            with self.subTest(how):
                self.serve_without(how)

    def serve_without(self, how):
        s = self.site
        n = s.count("current_embedding")
        before = vectors(s.store)
        self.damage(how)
        s.start()
        self.assert_lost()
        s.load.put_items(5)
        wait_for("new items", lambda: s.count("item WHERE deleted = 0") == n + 5)
        self.assertEqual(vectors(s.store), before)
        s.load.put([{"item_id": "v1", "title": f"published again, {how}"}])
        wait_for("its vector gone", lambda: s.count("current_embedding") == n - 1)
        self.run_verb(66, "get", f"v{n}", text="no_signal")
        self.run_verb(66, "reextract", "--all", store=s.here(), text="no model to fuse new features with")
        self.put_back()
        wait_for("ready", s.ready)
        wait_for("their vectors", lambda: s.count("current_embedding") == n + 5)
        wait_for("their states", lambda: s.count("item WHERE state = 'no_signal'") == 0)
        self.assertEqual(query(s.store, "SELECT item_id FROM change WHERE op = 'delete'"), [])
        self.assertEqual(s.metric("metammf_model_loaded"), 1)
        s.load.put_items(1)
        wait_for("the next one", lambda: s.count("current_embedding") == n + 6)
        s.stop()

    def test_who_was_forgotten_meanwhile(self):
        """The folder that is put back is of an earlier day; nobody else would look into it again."""
        s, folder = self.site, self.file.parent
        kept = s.dir / "folder"
        shutil.copytree(folder, kept)
        self.file.unlink()
        s.start()
        self.assert_lost()
        self.run_verb(66, "forget", "u1", store=s.here(), text="put its files back, or remove")
        shutil.rmtree(folder)
        self.run_verb(0, "forget", "u1", store=s.here())
        shutil.copytree(kept, folder)
        wait_for("ready", s.ready)
        wait_for("the folder without u1", lambda: "u1" not in (folder / "users.txt").read_text().split())
        s.stop()
        # and by hand, with no daemon to see it
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        everybody = s.dir / "forgotten.txt"
        everybody.write_text(self.run_verb(0, "forget", "--list").stdout)
        self.run_verb(0, "forget", "--from", everybody, store=s.here())
        self.assertNotIn("u1", (folder / "users.txt").read_text().split())

    def test_back_while_nobody_ran(self):
        s = self.site
        self.damage("missing")
        s.start()
        s.load.put_items(5)
        wait_for("new items", lambda: s.count("item WHERE deleted = 0") == 45)
        s.stop()
        self.put_back()
        s.start()
        wait_for("their vectors", lambda: s.count("current_embedding") == 45)
        wait_for("ready", s.ready)
        s.stop()

    def test_trains_a_new_one(self):
        """Without a new interaction: what the lost one knew is enough."""
        s = self.site
        shutil.rmtree(self.file.parent)
        s.write_config(training_settings() + "\nextract = { workers = 1; };")
        s.load.put_items(5)
        s.start()
        wait_for("another model", lambda: active(s.store) > 3)
        wait_for("ready", s.ready)
        wait_for("all vectors", lambda: s.count("current_embedding") == 45)
        self.assertEqual({v[2] for v in vectors(s.store)}, {active(s.store)})
        s.stop()
        self.run_verb(0, "doctor", "--fast", store=["--store", s.store], text=f"model {active(s.store)}: ")

    def test_rolled_back(self):
        s = self.site
        self.damage("a bit")
        s.start()
        self.assert_lost()
        s.load.put_items(5)
        wait_for("new items", lambda: s.count("item WHERE deleted = 0") == 45)
        self.run_verb(0, "model", "rollback", store=s.here())
        wait_for("ready", s.ready)
        self.assertEqual((active(s.store), s.count("current_embedding")), (2, 45))
        self.run_verb(65, "model", "promote", 3, store=s.here(), text="put the file back")
        s.stop()

    def test_trained_by_hand(self):
        s = self.site
        self.damage("zeros")
        s.start()
        self.assert_lost()
        self.json("train", "--epochs", 2, "--threads", 1, store=s.here())
        wait_for("ready", s.ready)
        self.assertEqual(active(s.store), 4)
        s.stop()

    def test_ingest_without_a_daemon(self):
        s = self.site
        self.damage("missing")
        (s.dir / "more").write_text(json.dumps({"item_id": "late", "title": "a cat"}) + "\n")
        self.run_verb(0, "ingest", s.dir / "more", text="new items wait without vectors until then")
        self.run_verb(66, "get", "late", text="items of late wait for a model, since the file of model 3 is lost")
        self.run_verb(66, "doctor", "--fast", text="✗ model")
        self.put_back()
        s.start()
        wait_for("its vector", lambda: s.count("current_embedding") == 41)
        s.stop()

    def test_a_store_without_its_models(self):
        """A snapshot, put into a new folder."""
        s = self.site
        copy = s.dir / "alone" / "s.db"
        copy.parent.mkdir()
        self.run_verb(0, "snapshot", copy)
        self.run_verb(66, "doctor", "--fast", store=["--store", copy], text="✗ model")
        s.store = copy
        s.write_config(NO_TRAINING)
        s.start()
        self.assert_lost()
        self.assertEqual(s.count("current_embedding"), 40)
        s.stop()


if __name__ == "__main__":
    unittest.main()
