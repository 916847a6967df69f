#ifndef MMF_FUSION_TRAIN_EVALUATE_H
#define MMF_FUSION_TRAIN_EVALUATE_H

/* Precision, Recall, HR and NDCG at k by full ranking, as the authors define them: P, R and NDCG
 * are means over the users with a test item in the slice, IDCG over min(k, that user's test
 * items); HR = Σ hits / Σ test pairs. Four slices:
 *
 *   overall    every test pair                        ranked among all items
 *   warm       the item has a training pair            ranked among all items
 *   cold       the item has none in this model         ranked among all items
 *   cold_only  the same pairs as cold                  ranked among the cold items
 *
 * Legend: U users, I items, D width. */

#include "config/err.h"
#include "fusion/math/csr.h"
#include "fusion/math/rank.h"
#include "fusion/math/team.h"

#include <stddef.h>
#include <stdint.h>

#define EVALUATE_CUTS_MAX 8
#define EVALUATE_K_MAX    1000
#define EVALUATE_UNKNOWN  UINT32_MAX /* a test item that the model does not know: a miss */

enum evaluate_slice {
    EVALUATE_OVERALL,
    EVALUATE_WARM,
    EVALUATE_COLD,
    EVALUATE_COLD_ONLY,
    EVALUATE_SLICES
};

const char *evaluate_slice_name(enum evaluate_slice slice); /* "overall" … "cold_only" */

struct evaluate_figures {
    double precision, recall, hr, ndcg;
};

struct evaluate_result {
    uint32_t n_cuts;
    uint32_t cut[EVALUATE_CUTS_MAX];
    struct evaluate_figures at[EVALUATE_SLICES][EVALUATE_CUTS_MAX];
    size_t n_users[EVALUATE_SLICES], n_pairs[EVALUATE_SLICES];
    size_t n_unknown_items; /* test pairs whose item is EVALUATE_UNKNOWN */
};

struct evaluate_task {
    const float *users; /* (n_users, D): one row for each user of the test */
    const float *items; /* (n_items, D) */
    uint32_t n_users, n_items, D;
    const struct csr *seen; /* (n_users, n_items) masked pairs of each row; NULL = none */
    const struct rank_extra *extra; /* history (n_users, J), rows (J, n_items); NULL = none */
    const uint8_t *item_warm;       /* (n_items) 1 = the item has a training pair */
    const size_t *test_start;       /* (n_users + 1) */
    const uint32_t *test_item;      /* (test_start[n_users]) item rows or EVALUATE_UNKNOWN */
    const uint32_t *cuts;           /* (n_cuts) ascending, 1 … EVALUATE_K_MAX */
    uint32_t n_cuts;
    struct team *team; /* NULL = one thread; any number gives the same bytes */
};

int evaluate_run(const struct evaluate_task *task, struct evaluate_result *ret_result,
                 struct err *err);

#endif
