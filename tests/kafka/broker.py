#!/usr/bin/env python3
"""A real Apache Kafka broker for the tests: one node, KRaft, free ports, a throw-away log.

    broker.py fetch            fetch the jars (Maven Central, once; kept in the cache folder)
    broker.py start DIR        format DIR, start, print "bootstrap 127.0.0.1:PORT" and "pid N"
    broker.py stop DIR         stop what `start` started
    broker.py run COMMAND…     start, run COMMAND with $MMF_BOOTSTRAP set, stop; its exit status

The cache is $MMF_KAFKA_CACHE, or ${XDG_CACHE_HOME:-~/.cache}/metammfd-kafka. Where java or mvn
is missing the exit status is 77 (skipped) with a word why, or 1 under MMF_REQUIRE_BROKER=1.
Python's standard library only; other tests import Broker from here.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

from ports import free_port

HERE = pathlib.Path(__file__).resolve().parent
KAFKA_VERSION = "3.9.1"
START_SECONDS = 90


class Unavailable(Exception):
    """The broker cannot be had on this machine; the text says why."""


def leave_unavailable(error):
    """Ends the process as a skip, or as a failure where a broker is demanded."""
    if os.environ.get("MMF_REQUIRE_BROKER") == "1":
        print(f"FAILED: MMF_REQUIRE_BROKER=1 and no real broker: {error}", flush=True)
        sys.exit(1)
    print(f"SKIPPED: no real broker: {error}", flush=True)
    sys.exit(77)


def cache_folder():
    chosen = os.environ.get("MMF_KAFKA_CACHE")
    if chosen:
        return pathlib.Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "metammfd-kafka"


def fetch():
    """The folder with the jars. Safe against a second caller: a rename publishes it."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is not installed (Debian: apt-get install "
                              "openjdk-17-jre-headless maven)")
    final = cache_folder() / f"kafka-{KAFKA_VERSION}"
    if final.is_dir():
        return final
    part = cache_folder() / f"kafka-{KAFKA_VERSION}.{os.getpid()}"
    part.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "pom.xml", part / "pom.xml")
    print(f"fetching Apache Kafka {KAFKA_VERSION} from Maven Central into {final}", flush=True)
    done = subprocess.run(
        ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={part}"],
        cwd=part, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    if done.returncode != 0 or not list(part.glob("kafka_2.13-*.jar")):
        shutil.rmtree(part, ignore_errors=True)
        raise Unavailable(f"mvn could not fetch it: {done.stdout.strip()[-800:]}")
    try:
        part.rename(final)
    except OSError:  # somebody else was first
        shutil.rmtree(part, ignore_errors=True)
    return final


def die_with_parent():
    """In the child: a broker must not outlive the test that started it."""
    import ctypes
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM)


class Broker:
    """One broker under `folder`. start, stop, kill and start again keep its ports and log."""

    name = "real"

    def __init__(self, folder, extra=(), detached=False):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lib = fetch()
        self.process = None
        self.port, self.controller_port = free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.extra = list(extra)
        self.detached = detached
        self._configure()
        self._format()

    def _java(self, *arguments):
        return ["java", "-Xmx512m", "-cp", f"{self.folder}:{self.lib}/*", *arguments]

    def _configure(self):
        lines = [
            "process.roles=broker,controller",
            "node.id=1",
            f"controller.quorum.voters=1@localhost:{self.controller_port}",
            f"listeners=PLAINTEXT://127.0.0.1:{self.port},"
            f"CONTROLLER://127.0.0.1:{self.controller_port}",
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}",
            "inter.broker.listener.name=PLAINTEXT",
            "controller.listener.names=CONTROLLER",
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            f"log.dirs={self.folder}/log",
            "offsets.topic.replication.factor=1",
            "offsets.topic.num.partitions=4",
            "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1",
            "group.initial.rebalance.delay.ms=0",
            "group.min.session.timeout.ms=1000",
            "auto.create.topics.enable=false",
            *self.extra,
        ]
        (self.folder / "s.properties").write_text("\n".join(lines) + "\n")
        (self.folder / "log4j.properties").write_text(
            "log4j.rootLogger=WARN, out\n"
            "log4j.appender.out=org.apache.log4j.ConsoleAppender\n"
            "log4j.appender.out.layout=org.apache.log4j.PatternLayout\n"
            "log4j.appender.out.layout.ConversionPattern=%d %p %c: %m%n\n")

    def _format(self):
        tool = self._java("kafka.tools.StorageTool")
        uuid = subprocess.run([*tool, "random-uuid"], stdout=subprocess.PIPE, text=True,
                              check=True).stdout.split()[-1]
        subprocess.run([*tool, "format", "-t", uuid, "-c", self.folder / "s.properties"],
                       stdout=subprocess.DEVNULL, check=True)

    def start(self):
        out = open(self.folder / "broker.out", "ab")
        self.process = subprocess.Popen(
            self._java("kafka.Kafka", str(self.folder / "s.properties")), stdout=out,
            stderr=subprocess.STDOUT, preexec_fn=None if self.detached else die_with_parent)
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            with socket.socket() as s:
                s.settimeout(1)
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.1)
        tail = (self.folder / "broker.out").read_text(errors="replace")[-2000:]
        self.kill()
        raise RuntimeError(f"the broker did not start: {tail}")

    def create_topic(self, feed, topic, partitions, *configs):
        """By kafka_feed; the broker may need a moment after its port is open."""
        for attempt in range(30):
            done = subprocess.run([feed, "create", self.bootstrap, topic, str(partitions),
                                   *configs], stderr=subprocess.PIPE, text=True)
            if done.returncode == 0:
                return
            time.sleep(0.5)
        raise RuntimeError(f"create topic {topic}: {done.stderr}")

    def _end(self, how):
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def stop(self):
        self._end(signal.SIGTERM)

    def kill(self):
        self._end(signal.SIGKILL)


def start_detached(folder):
    broker = Broker(folder, detached=True).start()
    (broker.folder / "pid").write_text(f"{broker.process.pid}\n")
    print(f"bootstrap {broker.bootstrap}\npid {broker.process.pid}", flush=True)


def stop_detached(folder):
    pid = int((pathlib.Path(folder) / "pid").read_text())
    os.kill(pid, signal.SIGTERM)
    for _ in range(300):
        if not pathlib.Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)


def run(command):
    import tempfile
    with tempfile.TemporaryDirectory(prefix="metammfd-broker-") as folder:
        broker = Broker(folder).start()
        try:
            return subprocess.run(
                command, env={**os.environ, "MMF_BOOTSTRAP": broker.bootstrap}).returncode
        finally:
            broker.stop()


def main(arguments):
    verb = arguments[0] if arguments else ""
    try:
        if verb == "fetch":
            print(fetch())
        elif verb == "start" and len(arguments) == 2:
            start_detached(arguments[1])
        elif verb == "stop" and len(arguments) == 2:
            stop_detached(arguments[1])
        elif verb == "run" and len(arguments) > 1:
            return run(arguments[1:])
        else:
            print(__doc__, file=sys.stderr)
            return 64
    except Unavailable as error:
        leave_unavailable(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
