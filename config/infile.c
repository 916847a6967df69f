#include "config/infile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
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

int infile_check(int fd, const char *name, int64_t *ret_bytes, struct err *err)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return err_open(err, EX_NOINPUT, name, errno);
    if ((flags & O_PATH) || (flags & O_ACCMODE) == O_WRONLY)
        return err_fatal(err, EX_NOPERM, "%s: its descriptor is not open for reading", name);
    return check_regular(fd, name, ret_bytes, err);
}

int infile_open(const char *path, int *ret_fd, int64_t *ret_bytes, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return err_open(err, EX_NOINPUT, path, errno);
    int status = check_regular(fd, path, ret_bytes, err);
    if (status != ERR_OK)
        (void)close(fd);
    else
        *ret_fd = fd;
    return status;
}
