#include "config/wake.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sysexits.h>
#include <unistd.h>

int wake_open(const char *who, int *ret_fd, struct err *err)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return err_retry(err, EX_OSERR, "%s: eventfd: %s: raise LimitNOFILE", who,
                         strerror(errno));
    *ret_fd = fd;
    return ERR_OK;
}

void wake_set(int fd)
{
    (void)!write(fd, &(uint64_t){1}, sizeof(uint64_t));
}

void wake_clear(int fd)
{
    (void)!read(fd, &(uint64_t){0}, sizeof(uint64_t));
}
