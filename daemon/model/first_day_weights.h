#ifndef MMF_DAEMON_MODEL_FIRST_DAY_WEIGHTS_H
#define MMF_DAEMON_MODEL_FIRST_DAY_WEIGHTS_H

/* How much popularity counts in the lists of first_day.h, by the site's own interactions: on some
 * young sites it is all that is known, on others it costs most of what content knows.
 *
 * Users with two items or more are taken, at most FIRST_DAY_USERS of them, seeded. In each of at
 * most FIRST_DAY_ROUNDS rounds every one of them loses another item that can be listed, all at
 * once; what the parts say is made again of what is left, and the lost item has a rank r (from 0)
 * among what could be listed to its user:
 *
 *   gain = 1 / log2(2 + r), 0 for r >= FIRST_DAY_CUT        NDCG of one item
 *
 * A user's is the mean over the rounds. A weight of popularity other than the prior is taken if
 * its users' gains are above the prior's by more than FIRST_DAY_ERRORS standard errors of the
 * mean difference, and of several the one with the largest mean. A hundred users do not tell
 * neighbouring weights apart, hence few weights, a rank far down that still counts, and a bar
 * above one error: docs/measured/lists-quality.md.
 *
 * Bounds: FIRST_DAY_LOST lost items, fewer where lost items × items would be above
 * FIRST_DAY_SCORES; nothing is tried of a store with more than FIRST_DAY_PAIRS interactions, or
 * with fewer than FIRST_DAY_USERS_MIN such users. */

#include "config/err.h"
#include "fusion/math/csr.h"
#include "fusion/math/team.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FIRST_DAY_CONTENT 0.3F
#define FIRST_DAY_POPULAR 0.3F /* the prior */
#define FIRST_DAY_ERRORS  2.0
enum {
    FIRST_DAY_TRIED = 4, /* weights beside the prior */
    FIRST_DAY_USERS_MIN = 20,
    FIRST_DAY_USERS = 300,
    FIRST_DAY_ROUNDS = 6,
    FIRST_DAY_LOST = 900,
    FIRST_DAY_CUT = 100,
    FIRST_DAY_SCORES = 30000000,
    FIRST_DAY_PAIRS = 100000
};

extern const float first_day_popular[FIRST_DAY_TRIED + 1]; /* the last one is the prior */

struct first_day_weights {
    float popularity;
    bool chosen;               /* not the prior */
    uint32_t n_users, n_pairs; /* that lost items, and how many in all; 0 = nothing was tried */
    double gain[FIRST_DAY_TRIED + 1]; /* the users' mean by each weight */
};

/* R (users, I); published (I); c (I, C) as columns_rows gives it. Any number of threads gives the
 * same. */
int first_day_weights_choose(const struct csr *R, const uint8_t *published, const float *c,
                             size_t C, struct team *team, struct first_day_weights *ret_w,
                             struct err *err);

/* What a part is divided by: its root mean square over the items that can be listed and of which it
 * says anything; 0 where there is none. */
double first_day_weights_unit(const float *part /* (n) */, const uint8_t *published, size_t n);

#endif
