#ifndef MMF_FUSION_TRAIN_CALIBRATE_H
#define MMF_FUSION_TRAIN_CALIBRATE_H

/* The weights of a model's signals, chosen on held-out pairs. A score is
 *
 *   score(u,i) = w_t T_ui/g_t + w_f F_ui/g_f + α C_ui/g_c
 *                + β/(1+n_i) ((1-μ) C_ui/g_c + μ M_ui/g_m) + w_n N_ui/g_n
 *
 * with T, F, C, M the dot products of the trained vectors, the factors, the content columns and the
 * factors that features suggest (mapping.h), N_ui = Σ_{j∈R_u} rows_ji · scale_i the neighbours, n_i
 * the users of item i. Weights of a linear combination, found by coordinate search on the metric
 * itself: Metzler and Croft, "Linear feature-based models for information retrieval", 2007
 * (coordinate ascent).
 *
 *   Unit         g_k: median over at most CALIBRATE_UNIT_USERS users of the standard deviation of
 *                the signal's row over all items (content: without the fade). Rows without any
 *                deviation say nothing and are left out. A signal without a row that says
 *                something has g_k = 0 and counts as absent.
 *   Grid         w_t = 1 - w_f ∈ {0, .25, .5, .75, 1}, w_n ∈ {0, .05, .1, .2, .3, .5, .8},
 *                α ∈ {0, .05, .1, .2, .4}, β ∈ {0, .25, .5, .75, 1, 1.5, 2, 3}, and
 *                μ ∈ {0, .25, .5, .75, 1} where content and mapped factors stand alone, else as
 *                the task says. An absent signal has weight 0, and its part of β goes to the other.
 *                Of w_t and w_f one alone is 1; without both w_n is 1.
 *   Objective    NDCG@20, the mean over the users with a test pair; an unknown or masked test item
 *                is a miss. Ranks are exact, ties by the lower row.
 *   Search       from the prior w_t = .5, w_n = .2, α = .1, β = .5, μ = .5 one coordinate after the
 *                other, at most three rounds. The surface is flat: a coordinate stands at its prior value
 *                unless another one gains, over the same users, more than one standard error of
 *                the paired differences; of those the best.
 *   Cold items   With cold items (n_i = 0) and content or mapped factors, of all (w_t, β) that lose
 *                at most 2 % of what was chosen: those with the highest recall of the cold pairs, where 30 users or
 *                more have some; else w_t as chosen and the largest β that loses at most 1 %. (A
 *                standard error as the limit would leave nothing for new items on a large site.)
 *   Few pairs    With fewer than CALIBRATE_USERS_MIN users or CALIBRATE_PAIRS_MIN pairs that can be
 *                hit (known, not masked) the prior is kept, and `from_prior` says so.
 *   Sample       At most CALIBRATE_USERS_MAX users with a test pair, drawn by the seed, and at most
 *                CALIBRATE_CELLS scores, if that leaves CALIBRATE_UNIT_USERS users or more.
 *
 * Legend: U users (rows of the task), I items, J items of the histories (I at most), D width. */

#include "config/err.h"
#include "fusion/math/csr.h"
#include "fusion/math/team.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CALIBRATE_K          20
#define CALIBRATE_USERS_MAX  4000
#define CALIBRATE_UNIT_USERS 500
#define CALIBRATE_USERS_MIN  100
#define CALIBRATE_PAIRS_MIN  200
#define CALIBRATE_CELLS      ((size_t)1 << 28) /* users × items that are scored */

enum calibrate_signal {
    CALIBRATE_TRAINED,
    CALIBRATE_FACTORS,
    CALIBRATE_CONTENT,
    CALIBRATE_MAPPED,
    CALIBRATE_LINEAR, /* the first four are linear */
    CALIBRATE_NEIGHBOURS = CALIBRATE_LINEAR,
    CALIBRATE_SIGNALS
};

const char *calibrate_signal_name(enum calibrate_signal signal); /* "trained" … "neighbours" */

struct calibrate_vectors {
    const float *users; /* (U, D) */
    const float *items; /* (I, D), unscaled */
    uint32_t D;         /* 0 = absent */
};

struct calibrate_task {
    uint32_t n_users; /* >= 1; a user without test pairs serves the units alone */
    uint32_t n_items; /* 1 … INT32_MAX */
    struct calibrate_vectors linear[CALIBRATE_LINEAR];
    float mapped_share;             /* μ beside other signals than content and the mapped */
    const struct csr *history;      /* (U, J) items of each user; NULL = no neighbours */
    const struct csr *rows;         /* (J, I) */
    const float *scale;             /* (I); NULL = 1 */
    const uint32_t *n_interactions; /* (I) */
    const struct csr *seen;         /* (U, I) masked pairs of each row; NULL = none */
    const size_t *test_start;       /* (U + 1) */
    const uint32_t *test_item;      /* (test_start[U]) item rows or EVALUATE_UNKNOWN */
    struct team *team;              /* NULL = one thread; any number gives the same bytes */
    uint64_t seed;
};

struct calibrate_weights {
    float trained, factors, neighbours;
    float content, fade; /* α, β (1-μ) */
    float mapped;        /* β μ */
};

struct calibrate_figures {
    double recall, ndcg; /* at 20, over the users that were looked at */
    double recall_cold;  /* of the cold pairs (n_i = 0 or unknown) among all items */
};

struct calibrate_result {
    bool has[CALIBRATE_SIGNALS]; /* given, and its unit is above 0 */
    float unit[CALIBRATE_SIGNALS];
    struct calibrate_weights weight;
    struct calibrate_weights
        scale; /* weight / unit: what stands in vectors, before neighbours */
    bool from_prior;
    uint32_t n_users;               /* looked at */
    uint32_t n_users_all;           /* with a test pair in the task: more = a sample */
    size_t n_pairs, n_pairs_usable; /* of the users looked at; known and not masked */
    uint32_t n_users_cold;          /* of n_users, with a cold pair */
    uint32_t n_tried;               /* settings of the search */
    struct calibrate_figures all;   /* with `weight` */
    struct calibrate_figures prior; /* with the prior */
    double ndcg_error;              /* standard error of all.ndcg */
    /* A signal that is absent has figures of 0. Without w_t, w_f is 1, and the other way round.
     * Content alone is without the fade, the mapped factors alone are with it. */
    struct calibrate_figures without[CALIBRATE_SIGNALS], alone[CALIBRATE_SIGNALS];
    double seconds;
};

/* Inputs are finite, and their sizes and rows in range (the caller has seen to it). ERR_RETRY without
 * memory. All of *ret_result but `seconds` is the same in every run. */
int calibrate_run(const struct calibrate_task *task, struct calibrate_result *ret_result,
                  struct err *err);

#endif
