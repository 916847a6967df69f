#include "config/infile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sysexits.h>
#include <unistd.h>

static int check_regular(int fd, const char *name, int64_t *ret_bytes, struct err *err)
{
    struct stat info;

    if (fstat(fd, &info) != 0)
        return err_open(err, EX_NOINPUT, name, errno);
    if (!S_ISREG(info.st_mode))
        return err_fatal(err, EX_DATAERR, "%s: not a regular file", name);
    *ret_bytes = info.st_size;
    return ERR_OK;
}

/* Their numbers: linux/magic.h. */
static bool is_no_storage(int fd)
{
    static const unsigned long kinds[] = {
        PROC_SUPER_MAGIC, SYSFS_MAGIC,        DEBUGFS_MAGIC,  TRACEFS_MAGIC,
        SECURITYFS_MAGIC, CGROUP_SUPER_MAGIC, BPF_FS_MAGIC,   CGROUP2_SUPER_MAGIC,
        FUSE_SUPER_MAGIC, SELINUX_MAGIC,      PSTOREFS_MAGIC, EFIVARFS_MAGIC,
        BINFMTFS_MAGIC,   NSFS_MAGIC,
    };
    struct statfs info;

    if (fstatfs(fd, &info) != 0)
        return true;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if ((unsigned long)info.f_type == kinds[i])
            return true;
    return false;
}

int infile_check(int fd, const char *name, int64_t *ret_bytes, struct err *err)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return err_open(err, EX_NOINPUT, name, errno);
    if ((flags & O_PATH) || (flags & O_ACCMODE) == O_WRONLY)
        return err_fatal(err, EX_NOPERM, "%s: its descriptor is not open for reading", name);
    int status = check_regular(fd, name, ret_bytes, err);
    if (status == ERR_OK && is_no_storage(fd))
        return err_fatal(
            err, EX_DATAERR,
            "%s: it lies on /proc, /sys, FUSE or the like: copy it to a disk first", name);
    return status;
}

static int open_regular(int dir_fd, const char *name, int flags, int *ret_fd,
                        int64_t *ret_bytes, struct err *err)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags);

    if (fd < 0)
        return err_open(err, EX_NOINPUT, name, errno);
    int status = check_regular(fd, name, ret_bytes, err);
    if (status != ERR_OK)
        (void)close(fd);
    else
        *ret_fd = fd;
    return status;
}

int infile_open(const char *path, int *ret_fd, int64_t *ret_bytes, struct err *err)
{
    return open_regular(AT_FDCWD, path, 0, ret_fd, ret_bytes, err);
}

int infile_open_at(int dir_fd, const char *name, int *ret_fd, int64_t *ret_bytes,
                   struct err *err)
{
    return open_regular(dir_fd, name, O_NOFOLLOW, ret_fd, ret_bytes, err);
}

static int read_all(int fd, const char *path, char *data, size_t bytes, struct err *err)
{
    for (size_t at = 0; at < bytes;) {
        ssize_t n = read(fd, data + at, bytes - at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_retry(err, EX_IOERR, "%s: read: %s", path, strerror(errno));
        if (n == 0)
            return err_fatal(err, EX_DATAERR, "%s: cut short while it was read", path);
        at += (size_t)n;
    }
    return ERR_OK;
}

int infile_read(const char *path, int64_t max_bytes, char **ret_data, size_t *ret_bytes,
                struct err *err)
{
    int64_t bytes = 0;
    int fd = -1, status = infile_open(path, &fd, &bytes, err);

    if (status != ERR_OK)
        return status;
    char *data = bytes <= max_bytes ? malloc((size_t)bytes + 1) : NULL;
    if (bytes > max_bytes)
        status = err_fatal(err, EX_DATAERR, "%s: %lld bytes, more than such a file has", path,
                           (long long)bytes);
    else
        status = data ? read_all(fd, path, data, (size_t)bytes, err) : err_oom(err, path);
    (void)close(fd); /* read-only: nothing is lost */
    if (status != ERR_OK) {
        free(data);
        return status;
    }
    data[bytes] = '\0';
    *ret_data = data;
    *ret_bytes = (size_t)bytes;
    return ERR_OK;
}
