#ifndef MMF_FUSION_FILE_OUTFILE_H
#define MMF_FUSION_FILE_OUTFILE_H

/* A file that appears whole or not at all: written without a name in the same folder (O_TMPFILE), so
 * that a kill leaves nothing behind; fsynced, named, renamed, the folder fsynced. A file system that
 * has no such files gets a temporary name at once. Failures are ERR_RETRY with EX_IOERR (a full disk may be
 * emptied), a missing folder ERR_FATAL with EX_CANTCREAT. One owner; outfile_abort after any
 * failure, which is harmless after outfile_commit. */

#include "config/err.h"

#include <stddef.h>

struct outfile {
    int fd;     /* -1 = closed */
    char *path; /* the final name */
    char *temp; /* NULL = without a name */
};

int outfile_open(const char *path, struct outfile *ret_out, struct err *err);
int outfile_write(struct outfile *out, const void *data, size_t bytes, struct err *err);
int outfile_commit(struct outfile *out, struct err *err);
void outfile_abort(struct outfile *out);
/* All of it at once: open, write, commit. */
int outfile_put(const char *path, const void *data, size_t bytes, struct err *err);
/* A whole file; `from` as infile_open takes it. */
int outfile_copy(const char *from, const char *to, struct err *err);
/* The same from a descriptor, whose offset is left alone; `from` is for messages. */
int outfile_copy_fd(int in, const char *from, const char *to, struct err *err);
/* A name that was made in a folder is durable once the folder is. */
int outfile_sync_folder(const char *dir, struct err *err);

#endif
