#ifndef MMF_DAEMON_IMPORT_IMPORT_H
#define MMF_DAEMON_IMPORT_IMPORT_H

/* Bulk data from files instead of events: items with their features, or interactions. By the command
 * line with a store of its own, or by the daemon with its sink's: the same code, the same result.
 *
 * The files come open and are read by offset, twice: once to check every line before the first row is
 * written, once to write. Rows go in as an event at (import:<sha256 of the files>, 0, place in the
 * file), a bounded block a transaction, so that importing the same files twice changes nothing, one
 * that was cut off goes on where it stopped, and a daemon's live events wait for one block at most.
 * Memory: one block, and for items the ids.
 *
 * Imported items get their embeddings at once when the active model was trained on their encoders,
 * otherwise when such a model is published. */

#include "config/err.h"
#include "config/modality.h"
#include "config/settings.h"
#include "store/writing.h"

#include <stdbool.h>
#include <stdint.h>

struct import_file {
    int fd;           /* < 0 = not given */
    const char *name; /* for messages, and for its separator */
};

struct import_request {
    bool items;
    struct import_file list;                  /* the ids, or the interactions */
    struct import_file array[MODALITY_COUNT]; /* items: .npy, row n of each is id n */
    const char *encoder;                      /* items: what made the features */
    const char *columns;                      /* interactions: see interaction_file.h; NULL */
    char separator;                           /* '\t', ',' or ';'; 0 = by the list's name */
    const struct settings *settings;          /* where the active model's file is */
    struct store_writer writer;
    bool (*progress)(void *ctx, int64_t done,
                     int64_t total); /* false = stop; NULL = unwatched */
    void *ctx;
};

struct import_result {
    bool items;
    int64_t n_lines;   /* with data */
    int64_t n_stored;  /* rows written */
    int64_t n_already; /* rows that were there, or were replaced by newer ones */
    int64_t n_dropped; /* interactions of users who are forgotten, said before that */
    int64_t n_new_items, n_new_users;
    int64_t n_header, n_blank; /* lines left out */
    int64_t n_ts, n_old_ts;    /* lines with a time; those before 2000 */
    char unread[256];          /* columns that a header names and nobody reads */
};

/* What of the request can be judged without its files: ERR_FATAL EX_USAGE. */
int import_check(const struct import_request *q, struct err *err);
/* ERR_FATAL EX_DATAERR with file:line and nothing written; ERR_RETRY EX_TEMPFAIL with how far it came
 * when it was stopped, or another import runs in this process: running it again is harmless. */
int import_run(const struct import_request *q, struct import_result *ret_result,
               struct err *err);

struct json_t;
struct json_t *import_json(const struct import_result *r); /* NULL = out of memory */
/* EX_SOFTWARE for what import_json does not make. */
int import_from_json(const struct json_t *json, struct import_result *ret_result,
                     struct err *err);

#endif
