#ifndef MMF_STORE_COPY_H
#define MMF_STORE_COPY_H

/* Copies of the whole store, and a copy in the place of the store.
 *
 * A store has a generation, 32 random digits in the public view store_generation. It comes with the
 * file, stays through restarts and upgrades, and is another one in each copy: seq and offsets of a copy
 * go on from where they were, so whoever follows them has to know that it is another store. */

#include "store/store.h"

#include <stdbool.h>

/* VACUUM INTO, by a writer or a reader; the target must not exist; it appears whole or not. The models
 * that its rows name are files of the model folder, and not in it. */
int store_snapshot(struct store *st, const char *path, struct err *err);

int store_generation(struct store *st, char ret_generation[STORE_GENERATION_BYTES],
                     struct err *err);
/* The text that meta keeps under a name, "" = none. */
int store_meta(struct store *st, const char *name, char *ret_text, size_t bytes,
               struct err *err);
/* Of when the copy was that this store was restored from, said once: by the first who asks and may
 * write. "" = it was not, or somebody has asked. */
int store_take_restored(struct store *st, char *ret_text, size_t bytes, struct err *err);
/* The version that this program reads and migrates to. */
int store_schema_version(void);

/* Whether the log of writes beside the file is that file's, as a start will ask; by the lock file. ERR_FATAL
 * EX_DATAERR: another file has been put there. A file that is not there, or without a log, is fine. */
int store_check_log(const char *path, struct err *err);

/* The place of a store, held by its lock: nobody writes there. */
struct store_place;
/* ERR_FATAL EX_TEMPFAIL while a process writes there; EX_CANTCREAT when a store, or a log of writes without
 * one, is there and `force` is false. */
int store_place_take(const char *path, bool force, struct store_place **ret_p, struct err *err);
/* `copy`, a file of the same folder that nobody has open, becomes the store: of `made`, with a new
 * generation. What was there goes to `aside` with its -wal and -shm, for a sound store as one file; at each moment
 * one whole file is under the store's name. *ret_aside: there was something. */
int store_place_put(struct store_place *p, const char *copy, const char *made,
                    const char *aside, bool *ret_aside, struct err *err);
void store_place_give(struct store_place *p); /* takes NULL */

#endif
