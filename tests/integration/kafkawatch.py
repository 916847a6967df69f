"""What a running daemon says of itself: /readyz, status, /metrics, as one look."""

import json
import re
import subprocess
import time
import urllib.error
import urllib.request

import kafkatest as kt


class Look:
    """ready (bool), why (text of /readyz), states, lag, warning, detail, metrics (name → value)."""

    def __init__(self, ready, why, source, metrics):
        self.ready, self.why, self.metrics = ready, why, metrics
        self.source = source or {}
        self.states = {k: n for k, n in self.source.get("states", {}).items() if n}
        self.lag = self.source.get("lag")
        self.warning, self.detail = self.source.get("warning", ""), self.source.get("detail", "")

    def line(self):
        states = ", ".join(f"{n} {k}" for k, n in self.states.items()) or "-"
        return f"{'ready' if self.ready else 'NOT READY'} | {states} | lag {self.lag} | {self.why}"


def get(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def parse(text):
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"([a-z_]+(?:\{[^}]*\})?) (\S+)", line)
        if match:
            found[match[1]] = float(match[2])
    return found


class Watch:
    def __init__(self, tools, daemon, port):
        self.tools, self.daemon, self.port = tools, daemon, port

    def look(self):
        code, why = get(self.port, "/readyz")
        metrics = parse(get(self.port, "/metrics")[1])
        done = subprocess.run([self.tools / "metammf", "--config", self.daemon.config, "--json",
                               "status"], stdout=subprocess.PIPE, text=True, timeout=60)
        status = json.loads(done.stdout) if done.stdout else {}
        return Look(code == 200, why.strip(), (status.get("daemon") or {}).get("source"), metrics)

    def until(self, what, condition, seconds=60):
        """Looks until the condition holds; returns that look."""
        until, look = time.monotonic() + seconds, None
        while time.monotonic() < until:
            self.daemon.check_alive()
            look = self.look()
            if condition(look):
                kt.say(f"{what}: {look.line()}")
                return look
            time.sleep(0.2)
        raise AssertionError(f"not within {seconds} s: {what}; last: {look.line()}\n"
                             f"{self.daemon.log_tail(15)}")


def options_for(folder, port):
    """What kafkatest.Daemon needs to be watched."""
    return {"port": port, "control": folder / "control"}
