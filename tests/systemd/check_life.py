"""the unit is killed, hangs, stops"""
import re

from unit_site import UNIT


def watchdog(site):
    """A daemon that stands still is started anew."""
    site.as_shipped()
    site.drop_in("watchdog", "[Service]\nWatchdogSec=3s\n")
    site.machine.run("systemctl", "restart", UNIT)
    pid = site.main_pid()
    site.machine.run("kill", "-STOP", pid)
    site.restart_after("a process that stands still", pid)
    assert re.search("[Ww]atchdog timeout", site.journal("-n", "100")), "it was not the watchdog"
    site.drop_in("watchdog", None)
    site.machine.run("systemctl", "restart", UNIT)


def killed(site):
    """kill -9: started anew, nothing lost, and it decodes."""
    before = site.ask("SELECT count(*) FROM current_embedding")
    pid = site.main_pid()
    site.machine.run("kill", "-KILL", pid)
    site.restart_after("kill -9", pid)
    assert site.ask("SELECT count(*) FROM current_embedding") == before
    site.decodes_a_clip()


def worker_killed(site):
    """One of its workers is not the daemon's end (OOMPolicy=continue, replaced)."""
    pid = site.main_pid()
    site.machine.run("pkill", "-KILL", "-u", "metammf", "-n", "metammf-extract")
    site.decodes_a_clip()
    assert site.main_pid() == pid


def stops(site):
    """With work in flight, in good order and not at the end of systemd's patience."""
    for _ in range(8):
        site.send_late_clip()
    site.stop()
    assert site.machine.output("pgrep", "-u", "metammf", check=False) == "", "processes are left"


def goes_on(site):
    """What was in flight is done after the next start."""
    site.start()
    site.decodes_a_clip()


def checks(site):
    return [
        ("watchdog: SIGSTOP, started anew", watchdog),
        ("kill -9: started anew, nothing lost, decodes", killed),
        ("a worker is killed: the daemon goes on", worker_killed),
        ("stops in time with work in flight, leaves no process", stops),
        ("goes on after the next start", goes_on),
    ]
