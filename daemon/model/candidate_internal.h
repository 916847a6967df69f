#ifndef MMF_DAEMON_MODEL_CANDIDATE_INTERNAL_H
#define MMF_DAEMON_MODEL_CANDIDATE_INTERNAL_H

/* Between candidate.c, candidate_publish.c and candidate_activate.c. */

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

/* Users who were forgotten after the store was read for it (metrics.read_us, read_forgettings; all, when
 * the time is not said): no name, no vector, no pairs, and the bytes of those files go. *ret_changed: there were some. */
int candidate_forget(struct candidate *c, struct store *reader, bool *ret_changed,
                     struct err *err);

/* The c->n_pairs training pairs by uid and rid, 0 for an item or user that is gone.
 * free(*ret_pairs). */
int candidate_name_pairs(const struct candidate *c, struct store *reader,
                         struct store_pair **ret_pairs, struct err *err);

#endif
