#ifndef MMF_DAEMON_IMPORT_INTERNAL_H
#define MMF_DAEMON_IMPORT_INTERNAL_H

#include "config/digest.h"
#include "daemon/import/import.h"

/* How much one transaction holds: the sink's live events wait for it. */
enum { IMPORT_ITEMS = 250, IMPORT_INTERACTIONS = 1000 };

struct import {
    const struct import_request *q;
    struct import_result result;
    char topic[80];
    int64_t now_us, total, told_us;
    int64_t written_us; /* the list's, at the latest when what has no time was said */
};

/* ERR_RETRY when the watcher wants no more; at most ten times a second. `done` of `total` lines. */
int import_tell(struct import *im, int64_t done, struct err *err);
/* As one transaction. ERR_STALE: model_id is not the active model any more (0 = there was none, < 0 =
 * it does not matter), and nothing is written. */
int import_write(struct import *im, const struct store_op *ops, size_t n, int64_t model_id,
                 struct err *err);
/* Of the file's bytes; as import_tell when the watcher wants no more. */
int import_digest(struct import *im, const struct import_file *file,
                  char ret_hex[DIGEST_HEX_BYTES], struct err *err);

int import_interactions(struct import *im, struct err *err);
int import_items(struct import *im, struct err *err);

#endif
