/* The writer's lock, and what it says of the last writer.
 *
 * One process writes. It holds an open file description lock (F_OFD_SETLK) on <path>.lock, in
 * which its pid stands for the error message of the next one. The lock is not on the database
 * itself: POSIX locks of a process vanish when any descriptor of the file is closed, and SQLite
 * needs its own.
 *
 * A writer that ends in good order leaves device, inode, size and time of the database there
 * instead. The next one that finds the file just so need not read all of it before it starts; one
 * that finds a pid (a crash, a power cut) or another file (a snapshot put back) does.
 */

#include "store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define MARK_BYTES 128

static int lock_held(const char *path, int fd, struct err *err)
{
    char pid[32] = "";
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);

    pid[n > 0 ? n : 0] = '\0';
    pid[strcspn(pid, "\n")] = '\0';
    return err_fatal(err, EX_TEMPFAIL,
                     "store %s: process %s is writing to it (lock %s.lock); use its control "
                     "socket, or stop it",
                     path, pid[0] ? pid : "?", path);
}

static int lock_write_pid(const char *path, int fd, struct err *err)
{
    char pid[32];
    int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());

    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)n, 0) != n)
        return err_retry(err, EX_IOERR,
                         "store lock %s.lock: write the pid: %s; free space or "
                         "check the disk",
                         path, strerror(errno));
    return ERR_OK;
}

/* "left DEV INODE BYTES MTIME", empty when there is no such file. */
static void describe(const char *path, char ret_text[MARK_BYTES])
{
    struct stat s;

    ret_text[0] = '\0';
    if (stat(path, &s) == 0)
        (void)snprintf(ret_text, MARK_BYTES, "left %llu %llu %lld %lld.%09ld\n",
                       (unsigned long long)s.st_dev, (unsigned long long)s.st_ino,
                       (long long)s.st_size, (long long)s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
}

static int lock_begin(const char *path, int fd, bool *ret_as_left, struct err *err)
{
    char left[MARK_BYTES] = "", now[MARK_BYTES];
    ssize_t n = pread(fd, left, sizeof left - 1, 0);

    left[n > 0 ? n : 0] = '\0';
    describe(path, now);
    *ret_as_left = now[0] != '\0' && strcmp(left, now) == 0;
    return lock_write_pid(path, fd, err);
}

void store_lock_give(const char *path, int fd, bool is_sound)
{
    char mark[MARK_BYTES] = "";

    if (is_sound)
        describe(path, mark);
    if (mark[0] != '\0' && ftruncate(fd, 0) == 0)
        (void)!pwrite(fd, mark, strlen(mark), 0); /* without it the next start looks closely */
    (void)close(fd);
}

int store_lock_take(const char *path, int *ret_fd, bool *ret_as_left, struct err *err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char *name = NULL;

    if (asprintf(&name, "%s.lock", path) < 0)
        return err_oom(err, "store: name the lock file");
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    int open_errno = errno;
    free(name);
    if (fd < 0 && err_is_shortage(open_errno))
        return err_retry(err, EX_OSERR, "store lock %s.lock: open: %s", path,
                         strerror(open_errno));
    if (fd < 0)
        return err_fatal(
            err, err_exit_code(open_errno, EX_IOERR),
            "store lock %s.lock: open: %s; its folder must exist, and the folder and what "
            "is in it must belong to uid %u, which runs this",
            path, strerror(open_errno), (unsigned)geteuid());
    int status = ERR_OK;
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0)
        status = errno == EAGAIN || errno == EACCES
                     ? lock_held(path, fd, err)
                     : err_fatal(err, EX_IOERR,
                                 "store lock %s.lock: lock: %s; the store needs a local disk",
                                 path, strerror(errno));
    else
        status = lock_begin(path, fd, ret_as_left, err);
    if (status != ERR_OK) {
        (void)close(fd);
        return status;
    }
    *ret_fd = fd;
    return ERR_OK;
}
