#ifndef MMF_CONFIG_INFILE_H
#define MMF_CONFIG_INFILE_H

/* A file that somebody else named or opened, to be read whole: a regular one, because a FIFO would make
 * us wait for its writer and a device may have no end. */

#include "config/err.h"

#include <stdint.h>

/* ERR_FATAL EX_NOINPUT: it cannot be opened (ERR_RETRY for want of descriptors or memory); EX_DATAERR: it is no regular file. close(*ret_fd). */
int infile_open(const char *path, int *ret_fd, int64_t *ret_bytes, struct err *err);
/* The same of a descriptor that somebody else has opened: it must be open for reading, since O_PATH
 * and O_WRONLY do not show that he may read it. `name` is for messages. */
int infile_check(int fd, const char *name, int64_t *ret_bytes, struct err *err);

#endif
