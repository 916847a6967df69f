"""Process 1 of the test machine: makes its root from the machine's own, leaves that behind and becomes
systemd. It runs in namespaces of its own (machine.py), so that every mount goes with the last process.

usage: boot.py FD LOWER    FD: the descriptor on which it says its process id, as the host sees it;
LOWER: the root to be seen through the overlay
"""
import ctypes
import os
import pathlib
import shutil
import subprocess
import sys
import uuid

BASE = pathlib.Path("/mnt")  # every Debian has it; what is mounted here the host does not see
ROOT = BASE / "root"
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9),
           "tty": (5, 0)}
# What would reach the host's kernel past the namespaces: capabilities(7) 16, 17, 25, 34.
DROPPED = {"CAP_SYS_MODULE": 16, "CAP_SYS_RAWIO": 17, "CAP_SYS_TIME": 25, "CAP_SYSLOG": 34}
PR_CAPBSET_DROP = 24
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
MNT_DETACH = 2
libc = ctypes.CDLL(None, use_errno=True)


def mount(kind, where, options=""):
    subprocess.run(["mount", "-t", kind, *(["-o", options] if options else []), kind, where],
                   check=True)


def make_root(lower):
    """Seen through an overlay: what is written goes to memory."""
    mount("tmpfs", BASE, "mode=0755,size=75%")
    for name in ("upper", "work", "root"):
        (BASE / name).mkdir()
    mount("overlay", ROOT, f"lowerdir={lower},upperdir={BASE}/upper,workdir={BASE}/work")
    if not (ROOT / "usr/bin/dpkg").exists():
        sys.exit("/usr is a file system of its own: not provided for")


def make_kernel_folders():
    mount("proc", ROOT / "proc")
    for path in (ROOT / "proc/sys", ROOT / "proc/sysrq-trigger"):  # of the whole machine
        if path.exists():
            subprocess.run(["mount", "--bind", path, path], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
    mount("sysfs", ROOT / "sys", "ro")
    mount("cgroup2", ROOT / "sys/fs/cgroup")
    mount("tmpfs", ROOT / "dev", "mode=0755")
    for name, (major, minor) in DEVICES.items():
        os.mknod(ROOT / "dev" / name, 0o020666, os.makedev(major, minor))
        os.chmod(ROOT / "dev" / name, 0o666)
    for name in ("pts", "shm"):
        (ROOT / "dev" / name).mkdir()
    mount("devpts", ROOT / "dev/pts", "newinstance,ptmxmode=0666")
    os.symlink("pts/ptmx", ROOT / "dev/ptmx")
    os.symlink("/proc/self/fd", ROOT / "dev/fd")
    mount("tmpfs", ROOT / "dev/shm", "mode=1777")
    mount("tmpfs", ROOT / "run", "mode=0755")
    mount("tmpfs", ROOT / "tmp", "mode=1777")


def empty(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def make_bare():
    """Nothing that this machine has been told to start, and no package or account of ours."""
    for name in ("etc/systemd/system", *(f"etc/rc{n}.d" for n in "0123456S")):
        empty(ROOT / name)
    shutil.rmtree(ROOT / "var/log/journal", ignore_errors=True)  # the journal is in memory
    # man-db's index of all this machine's pages takes longer than everything else here.
    for name in ("usr/sbin/policy-rc.d", "etc/fstab", "var/lib/man-db/auto-update"):
        (ROOT / name).unlink(missing_ok=True)
    # An empty one would be a first boot, at which systemd enables all that it finds.
    (ROOT / "etc/machine-id").write_text(uuid.uuid4().hex + "\n")
    (ROOT / "etc/hostname").write_text("metammf-test\n")
    subprocess.run("dpkg -P metammfd; userdel metammf; groupdel metammf; groupdel metammf-admin; rm -rf /etc/metammfd "
                   "/var/lib/metammfd /var/spool/metammfd /srv", shell=True, check=False,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   preexec_fn=lambda: os.chroot(ROOT))
    (ROOT / "srv").mkdir()


def leave_old_root():
    os.chdir(ROOT)
    if libc.syscall(SYS_PIVOT_ROOT[os.uname().machine], b".", b".") != 0:
        sys.exit(f"pivot_root: {os.strerror(ctypes.get_errno())}")
    if libc.umount2(b".", MNT_DETACH) != 0:
        sys.exit(f"umount2: {os.strerror(ctypes.get_errno())}")
    os.chdir("/")
    # As on a machine: a service's credentials are mounted by a helper, and have to come through.
    subprocess.run(["mount", "--make-rshared", "/"], check=True)


def main():
    say = int(sys.argv[1])
    own_id = os.readlink("/proc/self")  # still the host's proc
    make_root(sys.argv[2])
    make_kernel_folders()
    make_bare()
    for number in DROPPED.values():
        libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
    leave_old_root()
    os.write(say, own_id.encode() + b"\n")
    os.close(say)
    os.umask(0o022)
    os.execve("/lib/systemd/systemd", ["systemd", "--unit=multi-user.target", "--show-status=no"],
              {"container": "metammf-test", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})


if __name__ == "__main__":
    main()
