"""What the Kafka tests share: clusters, a feed with its ledger, and the daemon. Python's
standard library only.

The ledger is what the broker acknowledged: for each message its topic, partition and offset and
what must become of it. kafkaledger.py compares it with the database.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "kafka"))
import broker as real_broker  # noqa: E402
from ports import free_port  # noqa: E402, F401
from kafka_workload import (INTERACTIONS, VIDEOS, Message, b64, event, poison,  # noqa: E402,F401
                            workload)

DLQ = "videos.dlq"


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def wait_for(what, condition, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


def wait_moving(what, daemon, look, is_there, stall_seconds=60):
    """Waits until what look() sees is there, however slow the machine is; fails when it stands
    still."""
    last, since = None, time.monotonic()
    while not is_there(now := look()):
        daemon.check_alive()
        if now != last:
            last, since = now, time.monotonic()
        if time.monotonic() - since > stall_seconds:
            raise AssertionError(f"{what}: stands still for {stall_seconds} s at {now}\n"
                                 f"{daemon.log_tail()}")
        time.sleep(0.1)


def wait_for_end(daemon, ends):
    wait_moving(f"kafka_offset, the log ends at {ends}", daemon, daemon.offsets,
                lambda now: now == ends)


def wait_for_outbox(daemon, n=0):
    wait_moving(f"the outbox, {n} at last", daemon, lambda: outbox_length(daemon),
                lambda now: now <= n)


# ---- clusters ------------------------------------------------------------------------------

class MockCluster:
    """librdkafka's mock cluster (a simulation) in a process of its own."""

    name = "mock"

    def __init__(self, tools, brokers=1, spares=0):
        self.process = subprocess.Popen([tools / "mock_cluster", str(brokers), str(spares)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=real_broker.die_with_parent)
        self.bootstrap = self.process.stdout.readline().split()[1]

    def command(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if answer != "ok":
            raise RuntimeError(f"mock cluster: {text}: {answer}")

    def create_topic(self, topic, partitions):
        self.command(f"topic {topic} {partitions}")

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


class RealCluster:
    """Apache Kafka, one node."""

    name = "real"

    def __init__(self, tools, folder):
        self.tools = tools
        self.broker = real_broker.Broker(folder / "broker").start()
        self.bootstrap = self.broker.bootstrap

    def create_topic(self, topic, partitions, *configs):
        self.broker.create_topic(self.tools / "kafka_feed", topic, partitions, *configs)

    def close(self):
        self.broker.stop()


def open_cluster(kind, tools, folder):
    if kind == "mock":
        return MockCluster(tools)
    try:
        return RealCluster(tools, folder)
    except real_broker.Unavailable as error:
        real_broker.leave_unavailable(error)


# ---- the feed and its ledger ---------------------------------------------------------------

class Feed:
    """Produces messages in the background and learns where the broker put them."""

    def __init__(self, tools, bootstrap, messages, rate, folder):
        self.messages = messages
        ledger = folder / "ledger.ndjson"
        ledger.write_text("".join(m.line() + "\n" for m in messages))
        self.out_path = folder / "acks.ndjson"
        self.process = subprocess.Popen(
            [tools / "kafka_feed", "produce", bootstrap, str(rate)], stdin=open(ledger),
            stdout=open(self.out_path, "w"), preexec_fn=real_broker.die_with_parent)

    def running(self):
        return self.process.poll() is None

    def finish(self, seconds=600):
        if self.process.wait(seconds) != 0:
            raise AssertionError("the feed could not produce everything")
        for line in self.out_path.read_text().splitlines():
            ack = json.loads(line)
            message = self.messages[ack["n"]]
            assert message.offset is None and message.topic == ack["topic"]
            message.partition, message.offset = ack["partition"], ack["offset"]
        assert all(m.offset is not None for m in self.messages)


def log_ends(tools, bootstrap, topic):
    out = subprocess.run([tools / "kafka_feed", "ends", bootstrap, topic],
                         stdout=subprocess.PIPE, text=True, check=True, timeout=300).stdout
    return {(topic, int(p)): int(high) for p, _, high in
            (line.split() for line in out.splitlines()) if int(high) > 0}


def committed(tools, bootstrap, group, topic):
    """What Kafka was told, for lag tools: {(topic, partition): offset}."""
    out = subprocess.run([tools / "kafka_feed", "committed", bootstrap, group, topic],
                         stdout=subprocess.PIPE, text=True, check=True, timeout=300).stdout
    return {(topic, int(p)): int(offset) for p, offset in
            (line.split() for line in out.splitlines()) if int(offset) > 0}


def read_topic(tools, bootstrap, topic, n):
    out = subprocess.run([tools / "kafka_feed", "read", bootstrap, topic, str(n)],
                         stdout=subprocess.PIPE, text=True, timeout=300).stdout
    return [json.loads(line) for line in out.splitlines()]


# ---- the daemon ----------------------------------------------------------------------------

def descendants(pid):
    """The processes that pid has started, and theirs, as long as they run."""
    parents = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = path.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(path.parent.name)] = int(parent)
    found = {pid}
    while more := {p for p, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


CONFIG = """
source = "kafka";
log_level = "debug";
store = {{ path = "{folder}/store/metammf.db"; }};
media = {{ roots = ["{media_root}"]; }};
kafka = {{
    bootstrap_servers = "{bootstrap}";
    mode = "{mode}";
    group_id = "kill-test";
    video_topics = ["videos"];
    interaction_topics = ["interactions"];
    dlq_topic = "videos.dlq";
    start = "{start}";
    {kafka}
    properties = {{ {properties} }};
}};
extract = {{ workers = {workers}; worker_path = "{worker}"; require_sandbox = true; }};
queue = {{ items = {queue_items}; }};
http = {{ port = {port}; }};
training = {{ enabled = false; }};
control = {{ socket = "{control}"; }};
"""


class Daemon:
    """One store and its configuration; started, killed and started again."""

    def __init__(self, executable, tools, folder, bootstrap, mode, media_root, properties="",
                 fault=None, workers=1, start="beginning", queue_items=1000, kafka="",
                 port=0, control=""):
        self.executable, self.folder = executable, folder
        (folder / "store").mkdir(exist_ok=True)
        self.config = folder / "metammfd.conf"
        self.config.write_text(CONFIG.format(
            folder=folder, media_root=media_root, bootstrap=bootstrap, mode=mode,
            properties='session_timeout_ms = "6000"; ' + properties, workers=workers,
            worker=tools / "metammf-extract", start=start, queue_items=queue_items,
            kafka=kafka, port=port, control=control))
        self.db_path = folder / "store" / "metammf.db"
        self.env = {**os.environ, **({"MMF_FAULT": fault} if fault else {})}
        self.process = None
        self.n_starts = 0

    def start(self):
        log = open(self.folder / "daemon.log", "ab")
        log.write(f"---- start {self.n_starts}\n".encode())
        log.flush()
        self.process = subprocess.Popen([self.executable, "--config", self.config], stderr=log,
                                        stdout=log, env=self.env,
                                        preexec_fn=real_broker.die_with_parent)
        self.n_starts += 1

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def _terminate(self):
        """ThreadSanitizer's own thread blocks no signal, so the kernel would give a SIGTERM for
        the process to it, which ends the process: there the main thread is addressed."""
        if b"__tsan_init" in pathlib.Path(self.executable).read_bytes():
            tgkill, pid = 234, self.process.pid
            ctypes.CDLL(None).syscall(tgkill, pid, pid, signal.SIGTERM)
        else:
            self.process.send_signal(signal.SIGTERM)

    def stop(self, seconds=60):
        """SIGTERM; returns how long it took. Anything but exit 0 in time is a failure."""
        start = time.monotonic()
        self._terminate()
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"SIGTERM: not stopped within {seconds} s\n{self.log_tail()}")
        if code != 0:
            raise AssertionError(f"SIGTERM: exit status {code}\n{self.log_tail()}")
        return time.monotonic() - start

    def wait_log(self, text, seconds=60):
        """Until this start of the daemon has logged the text."""
        def is_there():
            self.check_alive()
            log = (self.folder / "daemon.log").read_text(errors="replace")
            return text in log.rpartition("---- start")[2]

        wait_for(f"\"{text}\" in the log", is_there, seconds)

    def check_alive(self):
        if self.process.poll() is not None:
            raise AssertionError(
                f"the daemon ended by itself with {self.process.returncode}\n{self.log_tail()}")

    def log_tail(self, n=40):
        lines = (self.folder / "daemon.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-n:])

    @contextlib.contextmanager
    def database(self, write=False):
        uri = f"file:{self.db_path}" + ("" if write else "?mode=ro")
        db = sqlite3.connect(uri, uri=True, timeout=10)
        try:
            yield db
            db.commit()
        finally:
            db.close()

    def offsets(self):
        if not self.db_path.exists():
            return {}
        try:
            with self.database() as db:
                return {(t, p): n for t, p, n in
                        db.execute("SELECT topic, partition, next_offset FROM kafka_offset")}
        except sqlite3.OperationalError:
            return {}

    def install_audit(self):
        """Starts the daemon once so that it makes its tables, then adds the triggers."""
        self.start()

        def has_tables():
            self.check_alive()
            try:
                with self.database() as db:
                    return db.execute("SELECT count(*) FROM sqlite_schema WHERE name = "
                                      "'active_model'").fetchone()[0] == 1 and \
                        db.execute("SELECT count(*) FROM active_model").fetchone()[0] == 1
            except sqlite3.OperationalError:
                return False

        wait_for("the store's tables", has_tables, 120)
        self.stop()
        with self.database(write=True) as db:
            db.executescript(AUDIT)


AUDIT = """
CREATE TABLE applied(topic TEXT, partition INTEGER, offset INTEGER, what TEXT);
CREATE TRIGGER applied_interaction AFTER INSERT ON interaction BEGIN
    INSERT INTO applied SELECT name, NEW.partition, NEW.offset, 'interaction'
    FROM topic WHERE topic_id = NEW.topic_id; END;
CREATE TRIGGER applied_dead AFTER INSERT ON dead_letter BEGIN
    INSERT INTO applied VALUES(NEW.topic, NEW.partition, NEW.offset, 'dead'); END;
CREATE TRIGGER applied_item_new AFTER INSERT ON item WHEN NEW.offset IS NOT NULL BEGIN
    INSERT INTO applied SELECT name, NEW.partition, NEW.offset,
    iif(NEW.deleted, 'delete', 'item') FROM topic WHERE topic_id = NEW.topic_id; END;
CREATE TRIGGER applied_item AFTER UPDATE OF offset ON item WHEN NEW.offset IS NOT NULL BEGIN
    INSERT INTO applied SELECT name, NEW.partition, NEW.offset,
    iif(NEW.deleted, 'delete', 'item') FROM topic WHERE topic_id = NEW.topic_id; END;
"""


def outbox_length(daemon):
    with daemon.database() as db:
        return db.execute("SELECT count(*) FROM dlq_outbox").fetchone()[0]


def make_clips(tools, folder, n):
    folder.mkdir(exist_ok=True)
    subprocess.run([tools / "metammf-extract", "--make-clips", folder, str(n)],
                   stdout=subprocess.DEVNULL, check=True)
    return sorted(folder.glob("*.mp4"))


def shared_data():
    """The folder of the shared test data; the test is skipped where it is absent."""
    folder = pathlib.Path(os.environ.get("MMF_SHARED_DATA") or
                          HERE.parent.parent.parent / "shared" / "data").resolve()
    if not (folder / "videos").is_dir():
        print(f"SKIPPED: no shared test data in {folder} (set MMF_SHARED_DATA)", flush=True)
        sys.exit(77)
    return folder


def work_folder():
    """A temporary folder; kept when $MMF_KEEP is set."""
    if os.environ.get("MMF_KEEP"):
        return contextlib.nullcontext(tempfile.mkdtemp(prefix="metammfd-kafka-"))
    return tempfile.TemporaryDirectory(prefix="metammfd-kafka-")
