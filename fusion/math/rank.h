#ifndef MMF_FUSION_MATH_RANK_H
#define MMF_FUSION_MATH_RANK_H

/* Full ranking: the k best items of every user among all items, the seen ones masked, ties by the
 * lower item row. Exact: a tile of scores is compared with each user's threshold while it is in
 * L1 and forgotten; the (users × items) matrix never exists. Legend: U users, I items, D width of
 * the vectors. A product is one chain of fused multiply-adds (gemm.h), so a result does not depend
 * on the users beside it. */

#include "config/err.h"
#include "fusion/math/csr.h"
#include "fusion/math/gemm.h"

#include <stddef.h>
#include <stdint.h>

#define RANK_NONE UINT32_MAX /* fills a list that has fewer than k items */

/* The items' side, packed once: vectors (I, D). */
int rank_pack(const float *items /* (I, D) */, size_t n_items, size_t D,
              struct gemm_matrix *ret_items, struct err *err);

/* What items that a user has say about others, beside the product of the vectors:
 *
 *   score(u, i) = users_u · items_i + (weight · scale_i) · Σ_{j ∈ history_u} rows_ji
 *
 * The sum is made in the order of j and rounded to float at each step; an item that no row of the
 * history names has the bytes of its product alone. Shapes are asserted, ranges are the caller's. */
struct rank_extra {
    const struct csr *history; /* (·, J) rows as those of the mask; values are not read */
    const struct csr *rows;    /* (J, I) */
    const float *scale;        /* (I), NULL = 1 */
    float weight;              /* 0 = as if there were no extra part */
};

/* mask: row of user → seen items (NULL = none), rows as `users`; first_row is added to the row
 * when looking there and into the history, so that a slice of users can be ranked. extra NULL =
 * none, as are a history or rows without `start`. ret_items (U, k), ret_scores (U, k) or NULL. One
 * thread. */
int rank_topk(const struct gemm_matrix *items, const float *users /* (U, D) */, size_t n_users,
              const struct csr *mask, uint32_t first_row, const struct rank_extra *extra,
              uint32_t k, uint32_t *ret_items, float *ret_scores, struct err *err);

/* Where test items stand among all: 1 + how many unmasked items come before, ties by the lower row.
 * start (U + 1), item (start[U]) the test items of each user. out (I): 1 = does not compete, NULL =
 * all do. RANK_NONE for a test item that is RANK_NONE, masked or out. */
int rank_positions(const struct gemm_matrix *items, const float *users /* (U, D) */,
                   size_t n_users, const struct csr *mask, const struct rank_extra *extra,
                   const uint8_t *out, const size_t *start, const uint32_t *item,
                   uint32_t *ret_position, struct err *err);

#endif
