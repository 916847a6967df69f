#ifndef MMF_DAEMON_MODEL_HOLDOUT_H
#define MMF_DAEMON_MODEL_HOLDOUT_H

/* The interactions that old and new model are judged by: of each user with HOLDOUT_LEAST_ITEMS
 * items or more, the newest share, at least one, of the pairs that the active model does not
 * know. It knows what it was trained on and what it was judged by: so neither model has seen
 * what is held out, and what one round is judged by, the next one is trained on. */

#include "config/err.h"
#include "store/models.h"

#include <stddef.h>
#include <stdint.h>

#define HOLDOUT_LEAST_ITEMS 5 /* of a user */

struct holdout {
    struct store_pair *pairs; /* (n_pairs) ascending */
    size_t n_pairs;
    size_t n_users;     /* with a pair held out */
    size_t n_qualified; /* users with HOLDOUT_LEAST_ITEMS items */
};

/* timed (n): distinct pairs, any order (it is sorted). known (n_known): any order, sorted too;
 * may be NULL. ERR_RETRY: no memory. */
int holdout_split(struct store_timed_pair *timed, size_t n, struct store_pair *known,
                  size_t n_known, int64_t percent, struct holdout *ret_h, struct err *err);
void holdout_done(struct holdout *h);

#endif
