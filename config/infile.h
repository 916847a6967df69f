#ifndef MMF_CONFIG_INFILE_H
#define MMF_CONFIG_INFILE_H

/* A file that somebody else named or opened, to be read whole: a regular one, because a FIFO would make
 * us wait for its writer and a device may have no end. */

#include "config/err.h"

#include <stddef.h>
#include <stdint.h>

/* ERR_FATAL EX_NOINPUT: it cannot be opened (ERR_RETRY for want of descriptors or memory);
 * EX_DATAERR: it is no regular file. close(*ret_fd). */
int infile_open(const char *path, int *ret_fd, int64_t *ret_bytes, struct err *err);
/* The same of a name in a folder, not through a link. */
int infile_open_at(int dir_fd, const char *name, int *ret_fd, int64_t *ret_bytes,
                   struct err *err);
/* The whole file, read once, and a NUL behind it; free(*ret_data). ERR_FATAL as infile_open, or EX_DATAERR
 * for more than max_bytes, or one that became shorter meanwhile; ERR_RETRY EX_IOERR: a read failed. */
int infile_read(const char *path, int64_t max_bytes, char **ret_data, size_t *ret_bytes,
                struct err *err);
/* As infile_open, of a descriptor that somebody else has opened. It must be open for reading, since O_PATH and
 * O_WRONLY do not show that he may read it, and lie on a file system of the kernel's own with data:
 * /proc and its like judge each read by the reader's rights, and a FUSE server may never answer.
 * EX_NOPERM, EX_DATAERR. `name` is for messages. */
int infile_check(int fd, const char *name, int64_t *ret_bytes, struct err *err);

#endif
