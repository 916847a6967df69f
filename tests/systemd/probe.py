"""Tries, as the service and within the walls of its unit, what must work and what must not. A line each:
the name, then "ok" or the errno's name.

usage: probe.py FOLDER    the state folder
"""
import ctypes
import errno
import mmap
import os
import pathlib
import socket
import struct
import sys

SYS_OPENAT2, SYS_IO_URING_SETUP, SYS_KEYCTL = 437, 425, {"x86_64": 250, "aarch64": 219}
RESOLVE_BENEATH = 8
WRITABLE = ("/var/lib/metammfd", "/var/spool/metammfd", "/run/metammfd", "/tmp", "/var/tmp", "/dev/shm")
READ_ONLY = ("/", "/run", "/usr/lib", "/usr/bin/metammfd", "/usr/bin/metammf", "/usr/libexec/metammf-extract")
folder = pathlib.Path(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)


def call(number, *args):
    if libc.syscall(number, *args) < 0:
        raise OSError(ctypes.get_errno(), "")


def openat2():
    how = struct.pack("QQQ", os.O_RDONLY | os.O_CLOEXEC, 0, RESOLVE_BENEATH)
    call(SYS_OPENAT2, os.open(folder, os.O_PATH), b".", how, ctypes.c_size_t(len(how)))


def set_user_id_with_contents():
    """Made with the bit, then written to: the bit has to be gone."""
    path = folder / "probe-suid"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o6711)
    try:
        os.write(fd, b"#!")
        if not os.fstat(fd).st_mode & 0o6000:
            raise OSError(errno.EPERM, "")
    finally:
        os.close(fd)
        path.unlink()


def change_mode():
    path = folder / "probe-mode"
    path.write_text("x")
    try:
        os.chmod(path, 0o4711)
    finally:
        path.unlink()


def execute_in(where):
    path = pathlib.Path(where, "probe-program")
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o755))
    path.write_bytes(pathlib.Path("/usr/bin/true").read_bytes())
    child = os.fork()
    if child == 0:
        try:
            os.execv(path, ["true"])
        except OSError as error:
            os._exit(error.errno)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    path.unlink()
    if status != 0:
        raise OSError(status, "")


def writable_mount(path):
    """Whatever the modes of its files are."""
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, "")


def write_to(path):
    with open(path, "w", encoding="ascii"):
        pass


def read_the_credentials_of_root():
    pathlib.Path("/etc/shadow").read_bytes()


def writable_code():
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def packets():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()


def io_uring():
    call(SYS_IO_URING_SETUP, 1, bytes(120))


def namespaces():
    if libc.unshare(0x10000000) < 0:  # CLONE_NEWUSER
        raise OSError(ctypes.get_errno(), "")


TRIALS = {
    "openat2": openat2, "write /var/lib/metammfd": lambda: write_to(folder / "probe-file"),
    "write /var/spool/metammfd": lambda: write_to("/var/spool/metammfd/.probe"),
    "set-user-ID with contents": set_user_id_with_contents, "chmod": change_mode,
    **{f"execute in {where}": lambda where=where: execute_in(where) for where in WRITABLE},
    **{f"writable mount of {path}": lambda path=path: writable_mount(path) for path in READ_ONLY},
    "writable code": writable_code,
    "write /usr": lambda: write_to("/usr/probe"), "write /etc": lambda: write_to("/etc/metammfd/probe"),
    "read /etc/shadow": read_the_credentials_of_root, "list /home": lambda: os.listdir("/home"),
    "packet socket": packets, "io_uring": io_uring, "user namespace": namespaces,
}

for name, trial in TRIALS.items():
    try:
        trial()
        print(f"{name}: ok")
    except OSError as error:
        print(f"{name}: {errno.errorcode.get(error.errno, error.errno)}")
for left in (folder / "probe-file", pathlib.Path("/var/spool/metammfd/.probe")):
    left.unlink(missing_ok=True)
