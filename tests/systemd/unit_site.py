"""A site on the test machine: a Kafka (librdkafka's mock cluster), clips, settings, users, and what the
checks ask of its daemon."""
import base64
import json
import re
import subprocess

from machine import wait_for

UNIT = "metammfd.service"
TOOLS = "/srv/tools"
STORE = "/var/lib/metammfd/metammf.db"
CONF = "/etc/metammfd/metammfd.conf"
DROP_INS = f"/etc/systemd/system/{UNIT}.d"
VIDEOS, CLICKS, DEAD = "videos", "interactions", "videos.metammfd.dlq"
N_CLIPS, N_TEXTS, N_USERS = 4, 44, 44
N_ITEMS = N_CLIPS + N_TEXTS
WORDS = ["cat kitten purr whiskers", "noodle soup wok rice", "goal penalty striker keeper",
         "synth bass remix drum"]
# As shipped but for what a site sets: the media are in the folder of the default, the brokers are
# asked for by the setting. A member that was killed is missed for the session's time.
SETTINGS = """kafka = {{
    bootstrap_servers = "{bootstrap}";
    properties = {{ {properties} }};
}};
extract = {{ workers = 2; }};
training = {{
    interval_s = 1; min_new_interactions = {clicks}; min_users = 20; retry_s = 1;
    backbone = "mf"; epochs = 5;
}};
"""
PROPERTIES = 'session_timeout_ms = "6000"; heartbeat_interval_ms = "1000";'


def b64(text):
    return base64.b64encode(text.encode()).decode()


class Site:
    def __init__(self, machine, tools, deb):
        self.machine, self.deb, self.deb_there = machine, deb, "/srv/metammfd.deb"
        self.figures = {}
        machine.put(deb, self.deb_there)
        for name in ("mock_cluster", "kafka_feed"):
            machine.put(tools / name, f"{TOOLS}/{name}")
        self.cluster = machine.popen(f"{TOOLS}/mock_cluster", "1", stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE)
        self.bootstrap = self.cluster.stdout.readline().split()[1]
        for topic, partitions in ((VIDEOS, 3), (CLICKS, 2), (DEAD, 1)):
            self.cluster.stdin.write(f"topic {topic} {partitions}\n")
            self.cluster.stdin.flush()
            assert self.cluster.stdout.readline().strip() == "ok"
        self.n_late = 0
        self.make_clips()

    def make_clips(self):
        """Of several containers and codecs, two seconds each, readable for everybody."""
        m = self.machine
        m.run("mkdir", "-p", "/srv/media")
        for i, name in enumerate(("a.mp4", "b.webm", "c.mkv", "d.mov")):
            codec = "libvpx" if name.endswith("webm") else "libx264"
            m.run("ffmpeg", "-v", "error", "-f", "lavfi", "-i",
                  f"testsrc2=size=160x120:rate=15:duration=2,hue=h={90 * i}", "-f", "lavfi", "-i",
                  f"sine=frequency={300 * (i + 1)}:duration=2", "-c:v", codec, "-pix_fmt", "yuv420p",
                  "-shortest", f"/srv/media/{name}")
        self.clips = ["a.mp4", "b.webm", "c.mkv", "d.mov"]

    def install(self):
        """As a site does it: apt, which asks nothing; there is no network, so all that it needs is there."""
        self.machine.run("apt-get", "install", "-y", self.deb_there)

    def installed(self):
        return self.machine.output("dpkg-query", "-W", "-f=${db:Status-Status}", "metammfd",
                                   check=False) == "installed"

    def configure(self, properties=PROPERTIES, more=""):
        self.machine.write(CONF, SETTINGS.format(
            bootstrap=self.bootstrap, properties=properties, clicks=N_USERS * 6) + more)

    def drop_in(self, name, text):
        """Written, or with None removed; systemd is told."""
        path = f"{DROP_INS}/{name}.conf"
        if text is None:
            self.machine.run("rm", "-f", path)
        else:
            self.machine.write(path, text)
        self.machine.run("systemctl", "daemon-reload")

    # ---- events ----

    def feed(self, topic, values, rate):
        """So many messages a second, in the background; 0 is as fast as it goes."""
        lines = [json.dumps({"topic": topic, "partition": -1, "value_b64": b64(
            value if isinstance(value, str) else json.dumps(value))}) for value in values]
        process = self.machine.popen(f"{TOOLS}/kafka_feed", "produce", self.bootstrap, rate,
                                     stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        process.stdin.write("\n".join(lines) + "\n")
        process.stdin.close()
        return process

    def send(self, topic, values):
        status = self.feed(topic, values, 0).wait(120)
        assert status == 0, f"kafka_feed: exit status {status}"

    def send_uploads(self):
        self.send(VIDEOS, [{"item_id": f"clip{i}", "title": f"clip {i}",
                            "media_uri": f"file:///srv/media/{clip}"}
                           for i, clip in enumerate(self.clips)])
        self.send(VIDEOS, [{"item_id": f"text{i}", "title": f"{WORDS[i % len(WORDS)]} {i}"}
                           for i in range(N_TEXTS)])

    def send_clicks(self):
        """Each user likes one kind of text."""
        self.send(CLICKS, [{"user_id": f"u{u}", "item_id": f"text{(u + 4 * (u // 4 + k)) % N_TEXTS}"}
                           for u in range(N_USERS) for k in range(6)])

    def send_late_clip(self):
        """One more clip; its id."""
        self.n_late += 1
        self.send(VIDEOS, [{"item_id": f"late{self.n_late}", "title": "one more",
                            "media_uri": f"file:///srv/media/{self.clips[self.n_late % 4]}"}])
        return f"late{self.n_late}"

    def decodes_a_clip(self):
        """A clip that is sent now becomes a row with an embedding; which needs a worker."""
        item = self.send_late_clip()
        wait_for(f"{item} has an embedding", lambda: self.ask(
            f"SELECT count(*) FROM current_embedding WHERE item_id = '{item}'") == "1")

    # ---- what the daemon says and what the store holds ----

    def ask(self, sql, user="metammf"):
        return self.machine.output("sqlite3", "-readonly", "-cmd", ".timeout 20000", STORE, sql,
                                   user=user)

    def show(self, name):
        return self.machine.output("systemctl", "show", "--value", f"--property={name}", UNIT)

    def active(self):
        return self.show("ActiveState")

    def main_pid(self):
        return int(self.show("MainPID"))

    def page(self, path):
        return self.machine.output("python3", "-c", "import sys, urllib.request\nprint(urllib.request."
                                   "urlopen(sys.argv[1], timeout=20).read().decode())",
                                   f"http://127.0.0.1:9464/{path}", check=False)

    def metric(self, name):
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.page("metrics"), re.M)
        return float(found[1]) if found else 0.0

    def journal(self, *options):
        self.machine.run("journalctl", "--sync")
        return self.machine.output("journalctl", "--unit", UNIT, "--no-pager", *options)

    def as_shipped(self):
        """Running, without a drop-in, whatever was before."""
        m = self.machine
        m.run("rm", "-rf", DROP_INS)
        m.run("chmod", "-R", "o+rX", "/srv/media")
        m.run("systemctl", "daemon-reload")
        self.configure()
        m.run("systemctl", "stop", UNIT, check=False)
        self.start()

    def explain(self):
        """Below a failure."""
        return self.journal("--lines=30", "--output=short-precise")

    def start(self):
        self.machine.run("systemctl", "reset-failed", UNIT, check=False)
        self.machine.run("systemctl", "start", UNIT)

    def stop(self):
        """In good order: not killed at the end of systemd's patience."""
        self.machine.run("systemctl", "stop", UNIT)
        assert (self.show("Result"), self.show("ExecMainStatus"), self.active()) == (
            "success", "0", "inactive"), self.machine.output("systemctl", "status", UNIT, check=False)

    def restart_after(self, what, old_pid):
        """systemd has started the daemon anew after `what`, and it is ready."""
        wait_for(f"another process after {what}", lambda: self.active() == "active" and
                 self.main_pid() not in (0, old_pid))

    def fails_to_start(self, status):
        """A start that fails with `status`, and is not tried again; what the log says of it."""
        m = self.machine
        m.run("systemctl", "reset-failed", UNIT, check=False)
        since = m.output("date", "+%s.%N")
        if m.run("systemctl", "start", UNIT, check=False).returncode == 0:
            raise AssertionError("it starts")
        assert self.active() == "failed", f"after the failed start it is {self.active()}"
        assert self.show("ExecMainStatus") == str(status), self.show("ExecMainStatus")
        assert self.show("NRestarts") == "0", f"{self.show('NRestarts')} restarts"
        return self.journal(f"--since=@{since}", "--output=cat")
