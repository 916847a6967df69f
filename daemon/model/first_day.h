#ifndef MMF_DAEMON_MODEL_FIRST_DAY_H
#define MMF_DAEMON_MODEL_FIRST_DAY_H

/* A user's list before any training, from what the store holds at this moment:
 *
 *   score_i = a_i/σ_a + FIRST_DAY_CONTENT · b_i/σ_b + FIRST_DAY_POPULAR · p_i/σ_p
 *
 *   a_i = Σ_{j ∈ R_u} W_ji   neighbours (fusion/model/neighbours.h), rows of the user's items alone
 *   b_i = ĉ_u · c_i          content (fusion/model/columns.h), fitted to the items' features
 *   p_i = ln(1 + n_i)        n_i users have item i
 *
 * R_u are the items that the user has an edge with (store/kinds.h), σ the deviation over the items that can
 * be listed; a part that is the same for all of them counts for nothing. A user without items gets what most
 * users have, of equals the newest item. Listed is what has been published.
 *
 * It reads and fits everything for one list: for the first hundreds of users, not for a site that serves.
 * Memory: twice the features, their 256 strongest directions a modality, 32 bytes a pair; 1.5 GB at the bounds with
 * 400 numbers an item. The weights: docs/measured/lists-quality.md. */

#include "config/err.h"
#include "daemon/model/because.h"
#include "store/models.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FIRST_DAY_CONTENT 0.3F
#define FIRST_DAY_POPULAR 0.3F
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
    float *part[FIRST_DAY_PARTS]; /* (I) as they are added */
    float *score;                 /* (I) their sum */
    uint32_t *n_users;            /* (I) */
    struct because because;       /* of the user's items; rows of the dataset */
};

/* ERR_FATAL EX_NOINPUT: beyond the bounds, or nothing can be listed. */
int first_day_make(struct store *st, const char *user_id, struct first_day *ret_f,
                   struct err *err);
void first_day_done(struct first_day *f);

#endif
