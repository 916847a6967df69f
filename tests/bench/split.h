#ifndef MMF_TESTS_BENCH_SPLIT_H
#define MMF_TESTS_BENCH_SPLIT_H

/* Pairs held out of training so that they look like a real later day: one a user, drawn without
 * replacement with weight deg(user)^-1 deg(item)^-0.35 among the users of two pairs and more. A
 * uniform split puts most of its weight on the few users with hundreds of pairs, and popularity
 * alone wins there. */

#include "fusion/math/csr.h"
#include "fusion/math/rng.h"

/* ret_held (n_pairs) 1 for n_held of them, fewer when there are not so many users. */
void split_hold_out(const struct csr_pair *pairs, size_t n_pairs, uint32_t n_users,
                    uint32_t n_items, uint32_t n_held, struct rng *rng, uint8_t *ret_held);

#endif
