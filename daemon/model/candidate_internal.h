#ifndef MMF_DAEMON_MODEL_CANDIDATE_INTERNAL_H
#define MMF_DAEMON_MODEL_CANDIDATE_INTERNAL_H

/* Between candidate.c and candidate_*.c. */

#include "daemon/model/candidate.h"

/* Lets go of the bytes of its files. */
void candidate_drop_files(struct candidate *c);
/* Of those that name users: they are written from the arrays then. */
void candidate_drop_user_files(struct candidate *c);

struct candidate_publication {
    int64_t model_id;
    enum store_side side;
    bool only_missing;
    size_t done; /* rows so far, for the progress */
};
/* The vectors of one side, block by block. */
int candidate_put_vectors(const struct candidate *c, const struct candidate_target *t,
                          struct candidate_publication *p, struct err *err);

/* ---- candidate_neighbours.c: neighbours and what the signals count ------------------------ */

/* The file's bytes, which are c's from then on: what is wrong with them, NULL = nothing. After c->n_items is
 * known. */
const char *candidate_cut_neighbours(struct candidate *c, char *data, size_t bytes);
/* Whole or not at all; takes the file away when c has no neighbours. */
int candidate_write_neighbours(const char *path, const struct candidate *c, struct err *err);
/* What is wrong with metrics.signals, NULL = nothing. */
const char *candidate_check_signals(const struct json_t *metrics);
/* The weights of metrics.signals, one row a number that counts; free(*ret_signals). */
int candidate_signals(const struct json_t *metrics, struct store_signal **ret_signals,
                      size_t *ret_n, struct err *err);
/* Rows of c that say something. */
size_t candidate_count_neighbours(const struct candidate *c);
/* All of them into the store, block by block, less the items that it does not know; without any nothing
 * happens. */
int candidate_put_neighbours(const struct candidate *c, const struct candidate_target *t,
                             struct candidate_publication *p, struct err *err);
/* How many rows there are to publish, for the progress. */
size_t candidate_n_rows(const struct candidate *c);

/* Users who were forgotten after the store was read for it (metrics.read_us, read_forgettings; all, when
 * the time is not said): no name, no vector, no pairs, and the bytes of those files go. *ret_changed: there were some. */
int candidate_forget(struct candidate *c, struct store *reader, bool *ret_changed,
                     struct err *err);

/* The c->n_pairs training pairs by uid and rid, 0 for an item or user that is gone.
 * free(*ret_pairs). */
int candidate_name_pairs(const struct candidate *c, struct store *reader,
                         struct store_pair **ret_pairs, struct err *err);

#endif
