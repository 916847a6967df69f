#include "config/infile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

int infile_open(const char *path, int *ret_fd, int64_t *ret_bytes, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat info;

    if (fd < 0 || fstat(fd, &info) != 0) {
        int cause = errno;
        if (fd >= 0)
            (void)close(fd);
        return err_open(err, EX_NOINPUT, path, cause);
    }
    if (!S_ISREG(info.st_mode)) {
        (void)close(fd);
        return err_fatal(err, EX_DATAERR, "%s: not a regular file", path);
    }
    *ret_fd = fd;
    *ret_bytes = info.st_size;
    return ERR_OK;
}
