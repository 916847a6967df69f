"""A machine of its own for the tests: systemd as process 1 in its own namespaces, on an overlay of this
machine's root, or of another. Nothing of the host is changed, and all of it ends with the driver.
"""
import ctypes
import os
import pathlib
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
PR_SET_PDEATHSIG = 1
CGROUP = "metammf-test-"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root",
               "DEBIAN_FRONTEND": "noninteractive", "TERM": "dumb", "SYSTEMD_PAGER": "",
               "SYSTEMD_COLORS": "0"}


class CannotRun(Exception):
    """The machine does not let the test run; the text says why."""


def wait_for(what, condition, seconds=60, every_s=0.1):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(every_s)
    raise AssertionError(f"not within {seconds} s: {what}")


def cgroup_root():
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.split()[0] == "cgroup2":
            return pathlib.Path(fields.split()[4])
    raise CannotRun("no cgroup2 is mounted")


def remove_cgroup(folder):
    """With the groups below it, once their processes are gone."""
    def try_once():
        for path, _, _ in os.walk(folder, topdown=False):
            try:
                os.rmdir(path)
            except OSError:
                pass
        return not folder.exists()
    wait_for(f"{folder} is empty", try_once, 20)


def remove_left_over(root):
    """Of runs that were killed."""
    for folder in root.glob(CGROUP + "*"):
        if not pathlib.Path("/proc", folder.name.removeprefix(CGROUP)).exists():
            remove_cgroup(folder)


class Machine:
    def __init__(self, lower="/"):
        self.lower = lower
        if os.geteuid() != 0:
            raise CannotRun("it needs root: it mounts file systems and starts a systemd of its own")
        if not pathlib.Path(lower, "usr/lib/systemd/systemd").exists():
            raise CannotRun(f"systemd is not installed in {lower}")
        root = cgroup_root()
        remove_left_over(root)
        self.cgroup = root / f"{CGROUP}{os.getpid()}"
        self.init = None
        try:
            self.cgroup.mkdir()
        except OSError as error:
            raise CannotRun(f"no cgroup can be made: {error}") from error
        try:
            self.boot()
        except BaseException:
            self.close()
            raise

    def boot(self):
        def enter():
            (self.cgroup / "cgroup.procs").write_text("0")
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        hear, say = os.pipe()
        with os.fdopen(hear) as answer:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork",
                 "--kill-child=KILL", sys.executable, "-B", HERE / "boot.py", str(say),
                 self.lower],
                preexec_fn=enter, pass_fds=[say], start_new_session=True, stdin=subprocess.DEVNULL)
            os.close(say)
            self.init = answer.readline().strip()
        if not self.init:
            raise CannotRun("the namespaces, or their mounts, cannot be made here (see above)")
        wait_for("systemd is up", lambda: self.output(
            "systemctl", "is-system-running", check=False) in ("running", "degraded"))

    def command(self, *words, user=None):
        inside = ["nsenter", f"--target={self.init}", "--mount", "--pid", "--uts", "--ipc", "--net",
                  "--cgroup", "env", "-i", "-C", "/", *(f"{k}={v}" for k, v in ENVIRONMENT.items())]
        if user:
            inside += ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        return inside + [str(word) for word in words]

    def popen(self, *words, **kw):
        return subprocess.Popen(self.command(*words), text=True, start_new_session=True, **kw)

    def run(self, *words, user=None, check=True, seconds=120, stdin=None):
        """In the machine; standard error comes with the output."""
        given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(self.command(*words, user=user), text=True, errors="replace",
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                              timeout=seconds, start_new_session=True, **given)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, words))}: exit status {done.returncode}\n"
                                 f"{done.stdout}")
        return done

    def output(self, *words, **kw):
        return self.run(*words, **kw).stdout.strip()

    def version(self):
        return self.output("systemctl", "--version").split()[1]

    def write(self, path, text, mode=0o644):
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"', "sh",
                 path, f"{mode:o}", stdin=text)

    def put(self, source, path):
        """A file of this machine, such as an executable."""
        with open(source, "rb") as f:
            subprocess.run(self.command("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1" && '
                                        'chmod 755 "$1"', "sh", path), stdin=f, check=True)

    def close(self):
        if self.init is not None:
            self.process.kill()  # and with it process 1, and with that all the others
            self.process.wait()
        if self.cgroup.exists():
            remove_cgroup(self.cgroup)
