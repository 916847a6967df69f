#ifndef MMF_DAEMON_SOURCE_NDJSON_H
#define MMF_DAEMON_SOURCE_NDJSON_H

/* Lines of a file, numbered from 0, bounded in length. Empty lines are counted and left out; a
 * carriage return before the newline is cut off; a last line without a newline is a line. Of an
 * over-long line only the first bytes are kept, the rest is read past. */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NDJSON_HEAD_BYTES ((size_t)4096) /* kept of a line that is too long */

struct ndjson;

struct ndjson_line {
    const char *text; /* until the next call; not NUL-terminated */
    size_t n_bytes;
    int64_t number;
    bool too_long;      /* text holds the first NDJSON_HEAD_BYTES bytes only */
    int64_t full_bytes; /* of the whole line */
};

/* Borrows fd, which is read from its current position. */
int ndjson_open(int fd, int64_t bytes, size_t max_line_bytes, struct ndjson **ret_reader,
                struct err *err);
/* ERR_END after the last line; ERR_RETRY on a read error. */
int ndjson_next(struct ndjson *reader, struct ndjson_line *ret_line, struct err *err);
void ndjson_close(struct ndjson *reader); /* takes NULL */

#endif
