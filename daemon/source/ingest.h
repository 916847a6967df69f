#ifndef MMF_DAEMON_SOURCE_INGEST_H
#define MMF_DAEMON_SOURCE_INGEST_H

/* Bulk work on a running pipeline, for the control socket and for a command line that opened
 * the store itself: one NDJSON file (file_source.c), and dead letters tried again. Both wait
 * for the end and run on the caller's thread. One at a time in a process: a second one gets
 * ERR_RETRY EX_TEMPFAIL.
 *
 * A retried dead letter keeps its topic, partition, offset and role: what becomes of it says where it
 * came from. Only the ledger, which has finished with that position, follows it by a lane of its own.
 * It goes in the transaction that writes what became of it; one that fails again stays, with the new
 * reason, and is not published a second time. One whose item has a newer event from the same
 * partition is superseded and left alone, because a retry would put an old state back; so is
 * one whose bytes went with a user who is forgotten. */

#include "config/err.h"

#include <stdbool.h>
#include <stdint.h>

struct pipeline;

struct ingest_progress {
    int64_t done, total;
    const char *wait; /* why nothing moves, "" = it does */
};

/* Called about ten times a second; false = give up waiting (ERR_RETRY): what has been committed
 * stays. */
struct ingest_watch {
    bool (*progress)(void *ctx, const struct ingest_progress *now);
    void *ctx;
};

struct ingest_result {
    int64_t n_events;       /* lines in the file; dead letters taken up */
    int64_t n_already;      /* in the store from an earlier run */
    int64_t n_stored;       /* became a row, a delete, an interaction */
    int64_t n_dead_letters; /* new ones */
    int64_t n_superseded;   /* retry only */
    double seconds;
};

/* The file behind fd: a regular one, open for reading, whose offset is left alone (infile.h).
 * media_root may be NULL: the settings' roots. */
int ingest_file(struct pipeline *p, const char *store_path, int fd, const char *media_root,
                const struct ingest_watch *watch, struct ingest_result *ret_result,
                struct err *err);
/* id 0 = all of the reason, reason NULL = all. ERR_FATAL EX_NOINPUT when none matches. */
struct ingest_which {
    int64_t id;
    const char *reason;
    const char *media_root; /* as for ingest_file */
};
int ingest_retry(struct pipeline *p, const char *store_path, const struct ingest_which *which,
                 const struct ingest_watch *watch, struct ingest_result *ret_result,
                 struct err *err);

#endif
