#ifndef MMF_DAEMON_MODEL_FIRST_DAY_H
#define MMF_DAEMON_MODEL_FIRST_DAY_H

/* A user's list before any training, from what the store holds at this moment:
 *
 *   score_i = a_i/|a| + FIRST_DAY_CONTENT · b_i/|b| + w · p_i/|p|
 *
 *   a_i = Σ_{j ∈ R_u} W_ji   neighbours (fusion/model/neighbours.h)
 *   b_i = ĉ_u · c_i          content (fusion/model/columns.h), fitted to the items' features
 *   p_i = ln(1 + n_i)        n_i users have item i; w by the site's own interactions (first_day_weights.h)
 *
 * R_u are the items that the user has an edge with (store/kinds.h), |·| is the root mean square over the items
 * that can be listed and of which the part says anything: a deviation over all items would make the few
 * neighbours of a young site louder than whatever is popular. A user without items gets what most users have, of
 * equals the newest item. Listed is what has been published.
 *
 * It reads and fits everything for one list: for a site's first hundreds of users, not for one that serves.
 * Memory: twice the features, 256 directions of each modality, 40 bytes a pair, the neighbours, 800 bytes an item;
 * 2 GB at the bounds with 400 numbers an item. Figures: docs/measured/lists-quality.md. */

#include "config/err.h"
#include "daemon/model/because.h"
#include "daemon/model/first_day_weights.h"
#include "store/models.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FIRST_DAY_ITEMS_MAX = 200000, FIRST_DAY_INTERACTIONS_MAX = 20000000 };

enum first_day_part {
    FIRST_DAY_NEIGHBOURS,
    FIRST_DAY_COLUMNS,
    FIRST_DAY_POPULARITY,
    FIRST_DAY_PARTS
};

/* I items of the dataset. */
struct first_day {
    struct store_dataset d; /* without its features */
    bool personal;          /* the user has items; else score is ln(1 + n) */
    uint32_t *order;        /* (n_order) items that can be listed, best first */
    size_t n_order;
    float *part[FIRST_DAY_PARTS];     /* (I) as they are added */
    float *score;                     /* (I) their sum */
    uint32_t *n_users;                /* (I) */
    struct first_day_weights weights; /* of a personal list */
    struct because because;           /* of the user's items; rows of the dataset */
};

/* ERR_FATAL EX_NOINPUT: beyond the bounds, or nothing can be listed. */
int first_day_make(struct store *st, const char *user_id, struct first_day *ret_f,
                   struct err *err);
void first_day_done(struct first_day *f);

#endif
