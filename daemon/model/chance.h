#ifndef MMF_DAEMON_MODEL_CHANCE_H
#define MMF_DAEMON_MODEL_CHANCE_H

/* How much of the difference of two models on the same held-out interactions is chance. Pure: where
 * each held-out item stands in its user's list under either model, in; standard errors out. Compared
 * are pairs, not means: what is hard for both models cancels.
 *
 *   by users   users are drawn, each with all of its interactions
 *   by both    users and items are drawn (Cameron, Gelbach and Miller, 2011): where few items hold
 *              many interactions, as cold ones do, another seed moves whole items, which users
 *              alone do not show
 *
 * Legend: U users, P held-out interactions, I items. */

#include "config/err.h"

#include <stddef.h>
#include <stdint.h>

struct chance_pairs {
    size_t n_users, n_items;
    const size_t *start;          /* (U + 1) a user's interactions */
    const uint32_t *item;         /* (P) */
    const uint32_t *before, *now; /* (P) positions from 1; RANK_NONE = not in this slice */
};

/* Of the difference of the two means over users of NDCG@k. */
int chance_ndcg_by_users(const struct chance_pairs *p, uint32_t k, double *ret_error,
                         struct err *err);
int chance_ndcg_by_both(const struct chance_pairs *p, uint32_t k, double *ret_error,
                        struct err *err);

/* The geometric mean of the positions, each user weighing the same; it sees what moves below the
 * 20th place as well, and so tells models apart that NDCG@20 does not. */
struct chance_ranks {
    double before, now;
    double error; /* standard error of log(now / before), by users */
};
int chance_rank(const struct chance_pairs *p, struct chance_ranks *ret, struct err *err);

#endif
