#include "fusion/file/outfile.h"

#include "config/infile.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* Of a descriptor, a name that can be linked. */
#define PROC_FD      "/proc/self/fd/"
#define OUTFILE_MODE 0644 /* less the umask */

/* -1 where the file system or the folder does not want it, or nothing could name it later. */
static int open_unnamed(const char *path)
{
    char *copy = access(PROC_FD, X_OK) == 0 ? strdup(path) : NULL;
    int fd = copy ? open(dirname(copy), O_TMPFILE | O_WRONLY | O_CLOEXEC, OUTFILE_MODE) : -1;

    free(copy);
    return fd;
}

/* Not by mkostemp, whose mode asks for a chmod, which the unit refuses. The process and a number make the
 * name ours; a file that is there was left by a kill. */
static int open_named(struct outfile *out)
{
    static atomic_uint number;

    if (asprintf(&out->temp, "%s.%d-new%u", out->path, (int)getpid(),
                 atomic_fetch_add(&number, 1)) < 0) {
        out->temp = NULL;
        return -1;
    }
    (void)unlink(out->temp);
    int fd =
        open(out->temp, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, OUTFILE_MODE);
    if (fd < 0) { /* nothing was made under that name */
        int fault = errno;
        free(out->temp);
        out->temp = NULL;
        errno = fault;
    }
    return fd;
}

int outfile_open(const char *path, struct outfile *ret_out, struct err *err)
{
    struct outfile out = {.fd = -1, .path = strdup(path)};

    if (out.path == NULL)
        return err_oom(err, "name of an output file");
    out.fd = open_unnamed(path);
    if (out.fd < 0)
        out.fd = open_named(&out);
    if (out.fd >= 0) {
        *ret_out = out;
        return ERR_OK;
    }
    int fault = errno;
    outfile_abort(&out);
    if (err_is_shortage(fault))
        return err_retry(err, EX_OSERR, "write %s: %s", path, strerror(fault));
    if (fault == ENOSPC || fault == EDQUOT || fault == EIO)
        return err_retry(err, EX_IOERR, "write %s: %s", path, strerror(fault));
    return err_fatal(err, EX_CANTCREAT,
                     "write %s: %s; check that its folder is there and "
                     "writable",
                     path, strerror(fault));
}

int outfile_write(struct outfile *out, const void *data, size_t bytes, struct err *err)
{
    const char *from = data;

    while (bytes > 0) {
        ssize_t n = write(out->fd, from, bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_retry(err, EX_IOERR, "write %s: %s", out->path, strerror(errno));
        from += n;
        bytes -= (size_t)n;
    }
    return ERR_OK;
}

int outfile_sync_folder(const char *dir, struct err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int status = ERR_OK;

    if (fd < 0 || fsync(fd) != 0)
        status = err_retry(err, EX_IOERR, "sync the folder %s: %s", dir, strerror(errno));
    if (fd >= 0)
        (void)close(fd); /* read-only: nothing is lost */
    return status;
}

static int sync_parent(const char *path, struct err *err)
{
    char *copy = strdup(path);
    int status = copy ? outfile_sync_folder(dirname(copy), err)
                      : err_oom(err, "name of an output folder");

    free(copy);
    return status;
}

/* A link cannot replace a file, a rename can: a name for the moment between the two. The process and
 * the descriptor make it ours; one that is there was left by a kill. */
static int name_it(struct outfile *out)
{
    char from[32], *name;

    if (asprintf(&name, "%s.%d-%d", out->path, (int)getpid(), out->fd) < 0)
        return -1;
    (void)snprintf(from, sizeof(from), PROC_FD "%d", out->fd);
    int r = linkat(AT_FDCWD, from, AT_FDCWD, name, AT_SYMLINK_FOLLOW);
    if (r != 0 && errno == EEXIST && unlink(name) == 0)
        r = linkat(AT_FDCWD, from, AT_FDCWD, name, AT_SYMLINK_FOLLOW);
    int fault = errno;
    if (r == 0)
        out->temp = name;
    else
        free(name);
    errno = fault;
    return r;
}

int outfile_commit(struct outfile *out, struct err *err)
{
    int status, fault = 0;

    if (fsync(out->fd) != 0 || (out->temp == NULL && name_it(out) != 0))
        fault = errno;
    if (close(out->fd) != 0 && fault == 0)
        fault = errno;
    out->fd = -1;
    if (fault == 0 && rename(out->temp, out->path) != 0)
        fault = errno;
    if (fault != 0)
        return err_retry(err, EX_IOERR, "write %s: %s", out->path, strerror(fault));
    free(out->temp);
    out->temp = NULL;
    status = sync_parent(out->path, err);
    free(out->path);
    out->path = NULL;
    return status;
}

void outfile_abort(struct outfile *out)
{
    if (out->fd >= 0)
        (void)close(out->fd); /* the file is about to go */
    if (out->temp != NULL)
        (void)unlink(out->temp);
    free(out->temp);
    free(out->path);
    *out = (struct outfile){.fd = -1};
}

int outfile_put(const char *path, const void *data, size_t bytes, struct err *err)
{
    struct outfile out;
    int status = outfile_open(path, &out, err);

    if (status != ERR_OK)
        return status;
    status = outfile_write(&out, data, bytes, err);
    if (status == ERR_OK)
        status = outfile_commit(&out, err);
    outfile_abort(&out);
    return status;
}

enum { COPY_BYTES = 1 << 20 };

static int copy_all(int in, const char *from, struct outfile *out, struct err *err)
{
    char *buffer = malloc(COPY_BYTES);
    int status = buffer == NULL ? err_oom(err, "copying a file") : ERR_OK;
    struct stat info;
    off_t at = 0;
    ssize_t n = 1;

    if (status == ERR_OK && fstat(in, &info) != 0)
        status = err_retry(err, EX_IOERR, "read %s: %s", from, strerror(errno));
    while (status == ERR_OK && n != 0 && at < info.st_size) {
        off_t left = info.st_size - at; /* and no more, should it grow */
        n = pread(in, buffer, left < COPY_BYTES ? (size_t)left : COPY_BYTES, at);
        at += n > 0 ? n : 0;
        if (n > 0)
            status = outfile_write(out, buffer, (size_t)n, err);
        else if (n < 0 && errno != EINTR)
            status = err_retry(err, EX_IOERR, "read %s: %s", from, strerror(errno));
    }
    free(buffer);
    return status;
}

int outfile_copy_fd(int in, const char *from, const char *to, struct err *err)
{
    struct outfile out;
    int status = outfile_open(to, &out, err);

    if (status != ERR_OK)
        return status;
    status = copy_all(in, from, &out, err);
    if (status == ERR_OK)
        status = outfile_commit(&out, err);
    outfile_abort(&out);
    return status;
}

int outfile_copy(const char *from, const char *to, struct err *err)
{
    int64_t bytes;
    int in, status = infile_open(from, &in, &bytes, err);

    if (status != ERR_OK)
        return status;
    status = outfile_copy_fd(in, from, to, err);
    (void)close(in); /* read-only: nothing is lost */
    return status;
}
