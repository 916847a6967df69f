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
 *
 * The second line is the generation of the store (copy.c), so that a log of writes that was left beside
 * another file is known for what it is.
 */

#include "config/account.h"
#include "store/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define MARK_BYTES 128
#define GENERATION "generation "

long store_writer_pid(const char *path)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    char *real = realpath(path, NULL), *name = NULL, text[32];
    long pid = STORE_WRITER_HIDDEN;

    if (asprintf(&name, "%s.lock", real ? real : path) < 0)
        name = NULL;
    free(real);
    int fd = name ? open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (fd < 0 && name && errno == ENOENT)
        pid = STORE_WRITER_NONE;
    free(name);
    if (fd < 0)
        return pid;
    bool known = fcntl(fd, F_OFD_GETLK, &lock) == 0;
    if (known && lock.l_type == F_UNLCK) {
        pid = STORE_WRITER_NONE;
    } else if (known) {
        ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        pid = strtol(text, NULL, 10);
        pid = pid > 0 ? pid : STORE_WRITER_UNKNOWN;
    }
    (void)close(fd);
    return pid;
}

int store_denied(const char *what, const char *path, int code, struct err *err)
{
    char folder[PATH_MAX], owner[ACCOUNT_BYTES], self[ACCOUNT_BYTES];
    struct stat info;

    if (err_is_shortage(code))
        return err_retry(err, EX_OSERR, "%s %s: open: %s", what, path, strerror(code));
    (void)snprintf(folder, sizeof(folder), "%s", path);
    bool is_there = lstat(folder, &info) == 0;
    if (!is_there)
        is_there = stat(dirname(folder), &info) == 0;
    if (code != EACCES || !is_there)
        return err_fatal(
            err, err_exit_code(code, EX_IOERR),
            "%s %s: open: %s; its folder must exist, and the folder and what is in "
            "it must belong to uid %u, which runs this",
            what, path, strerror(code), (unsigned)geteuid());
    if (info.st_uid == geteuid())
        return err_fatal(err, EX_NOPERM, "%s %s: open: %s: mode %04o of %s: chmod u+rw", what,
                         path, strerror(code), info.st_mode & 07777u, folder);
    return err_fatal(err, EX_NOPERM,
                     "%s %s: open: %s: %s belongs to %s, and this runs as %s: run it as the "
                     "former, or chown what is there to the latter",
                     what, path, strerror(code), folder, account_user(info.st_uid, owner),
                     account_user(geteuid(), self));
}

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

/* One line, and the generation where it is known. */
static bool write_lines(int fd, const char *line, const char *generation)
{
    char text[2 * MARK_BYTES];
    int n = snprintf(text, sizeof text, "%s%s%s%s", line, generation[0] ? GENERATION : "",
                     generation, generation[0] ? "\n" : "");

    return ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)n, 0) == n;
}

int store_lock_note(const char *path, int fd, const char *generation, struct err *err)
{
    char pid[32];

    (void)snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (!write_lines(fd, pid, generation))
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

static void parse_generation(const char *text, char ret_generation[STORE_GENERATION_BYTES])
{
    const char *line = strchr(text, '\n');

    ret_generation[0] = '\0';
    if (line && strncmp(line + 1, GENERATION, strlen(GENERATION)) == 0)
        (void)sscanf(line + 1 + strlen(GENERATION), "%32[0-9a-f]", ret_generation);
}

static int lock_begin(const char *path, int fd, struct store_lock *lock, struct err *err)
{
    char left[2 * MARK_BYTES] = "", now[MARK_BYTES];
    ssize_t n = pread(fd, left, sizeof left - 1, 0);

    left[n > 0 ? n : 0] = '\0';
    describe(path, now);
    lock->as_left = now[0] != '\0' && strncmp(left, now, strlen(now)) == 0;
    parse_generation(left, lock->generation);
    return store_lock_note(path, fd, lock->generation, err);
}

void store_lock_read(const char *path, char ret_generation[STORE_GENERATION_BYTES])
{
    char name[PATH_MAX], text[2 * MARK_BYTES] = "";

    (void)snprintf(name, sizeof name, "%s.lock", path);
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0) {
        (void)!read(fd, text, sizeof text - 1);
        (void)close(fd);
    }
    parse_generation(text, ret_generation);
}

void store_lock_give(const char *path, int fd, bool is_sound, const char *generation)
{
    char mark[MARK_BYTES] = "";

    if (is_sound)
        describe(path, mark);
    if (mark[0] != '\0')
        (void)!write_lines(fd, mark, generation); /* without it the next start looks closely */
    (void)close(fd);
}

void store_lock_clear(int fd)
{
    (void)!ftruncate(fd, 0); /* a pid says no more than that nobody ended in good order */
    (void)close(fd);
}

int store_lock_take(const char *path, struct store_lock *ret_lock, struct err *err)
{
    struct store_lock taken = {.fd = -1};
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char *name = NULL;

    if (asprintf(&name, "%s.lock", path) < 0)
        return err_oom(err, "store: name the lock file");
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    int open_errno = errno, status = ERR_OK;
    if (fd < 0)
        status = store_denied("store lock", name, open_errno, err);
    free(name);
    if (fd < 0)
        return status;
    if (fcntl(fd, F_OFD_SETLK, &lock) != 0)
        status = errno == EAGAIN || errno == EACCES
                     ? lock_held(path, fd, err)
                     : err_fatal(err, EX_IOERR,
                                 "store lock %s.lock: lock: %s; the store needs a local disk",
                                 path, strerror(errno));
    else
        status = lock_begin(path, fd, &taken, err);
    if (status != ERR_OK) {
        (void)close(fd);
        return status;
    }
    taken.fd = fd;
    *ret_lock = taken;
    return ERR_OK;
}
