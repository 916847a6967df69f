/* Any bytes as an .npy file. */

#include "fusion/file/npy.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    int fd = memfd_create("array", MFD_CLOEXEC);
    char path[32];
    struct npy npy;

    if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes)
        abort();
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (npy_read(path, &npy, NULL) == ERR_OK)
        npy_done(&npy);
    close(fd);
    return 0;
}
