#ifndef MMF_STORE_STORE_H
#define MMF_STORE_STORE_H

/* The store: one SQLite file, one writer, any number of readers. A batch is ONE transaction:
 * rows, dead letters and the next offsets stand or fall together, and every insert is idempotent
 * on (topic, partition, offset), so a batch written twice changes nothing.
 *
 * STORE_WRITE takes <path>.lock (open file description lock) for the life of the handle and is
 * the only connection that writes and checkpoints (SQLite before 3.51.3 may corrupt a WAL that
 * two connections reset at once). STORE_READ opens read-only and never checkpoints. A handle
 * belongs to one thread. What a call fills is the caller's, and freed as the call says.
 *
 *   writing.h   what events leave behind, dead letters, upkeep: STORE_WRITE
 *   models.h    models, what trains them, their vectors: the functions that write say so
 *   reading.h   items, vectors, counts, letters, reports: either handle
 *   touch.h     what incremental refresh asks and writes
 *   kinds.h     what interactions count
 *   copy.h      a copy of the whole, and a copy in the place of the store */

#include "config/err.h"

#include <stddef.h>

struct store;

#define STORE_GENERATION_BYTES 33 /* 32 digits and a NUL */

enum store_mode { STORE_READ, STORE_WRITE };

/* STORE_WRITE creates the file and migrates. ERR_FATAL: EX_TEMPFAIL (75) when another process
 * holds the lock (its pid in the text), EX_CONFIG (78) for a newer schema or a foreign file,
 * EX_NOINPUT (66) when a reader finds no file. */
int store_open(const char *path, enum store_mode mode, struct store **ret_st, struct err *err);
void store_close(struct store *st); /* takes NULL; leaves -wal and -shm for readers */

enum {
    STORE_WRITER_NONE = 0,
    STORE_WRITER_UNKNOWN = -1, /* somebody */
    STORE_WRITER_HIDDEN = -2   /* the lock cannot be looked at */
};
/* Who writes to the store at `path`, by its lock, which whoever may read the store may look at: a process
 * id, or one of these. */
long store_writer_pid(const char *path);

/* A header of a Kafka message, of a dead letter. */
struct store_header {
    const char *name;
    const void *value;
    size_t value_bytes;
};

enum store_side { STORE_SIDE_ITEMS, STORE_SIDE_USERS };

#endif
