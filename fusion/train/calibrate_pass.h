#ifndef MMF_FUSION_TRAIN_CALIBRATE_PASS_H
#define MMF_FUSION_TRAIN_CALIBRATE_PASS_H

/* What several settings of the weights are worth for each user of a calibration, in one pass over the
 * scores.
 *
 * A block of users at a time, a chunk of items at a time, the most interacted items first: the
 * signals' scores of the chunk are made once, each setting combines them and counts, for each
 * test item, the items above it. A test item with CALIBRATE_K above it in every setting is a
 * miss in all of them, and a user with misses alone takes no part in the chunks that follow; most
 * users are gone after the first ones. The ranks are exact all the same, ties by the item's row.
 *
 * A block writes memory of its own, so any number of threads gives the same bytes.
 * Legend: U users, I items, D width, P test pairs, S settings. A place is an item's position in the
 * order of the chunks. */

#include "fusion/math/gemm.h"
#include "fusion/train/calibrate.h"

#define CALIBRATE_PASS_SETTINGS 16 /* S at most */

/* Sorted and packed once for all passes. Immutable, but for `has`: the caller strikes out a signal that
 * says nothing, and no pass computes it any more. */
struct calibrate_pass {
    const struct calibrate_task *task;
    bool has[CALIBRATE_SIGNALS];
    uint32_t n_users, *user;                    /* (U) rows of the task that are looked at */
    uint32_t *item_at, *place_of;               /* (I) */
    float *fade;                                /* (I) 1/(1+n_i), by place */
    struct gemm_matrix items[CALIBRATE_LINEAR]; /* rows by place */
    struct csr seen;                            /* (U, I) by place */
    size_t *start;                              /* (U + 1) */
    uint32_t *place; /* (P) of the test items, UINT32_MAX = a sure miss */
    uint8_t *cold;   /* (P) */
    float *score;    /* (P, CALIBRATE_SIGNALS) of each signal, by enum calibrate_signal */
    size_t n_usable; /* pairs that are no sure miss */
    uint32_t n_users_usable; /* users with such a pair */
    uint32_t block;          /* users of a block */
};

/* The users of `user` (rows of the task with a test pair, ascending); takes over the array, also when
 * it fails. The task must outlive the pass. ERR_RETRY without memory. */
int calibrate_pass_open(const struct calibrate_task *task, uint32_t *user, uint32_t n_users,
                        struct calibrate_pass *ret_pass, struct err *err);
void calibrate_pass_close(struct calibrate_pass *pass);

/* The standard deviation of each signal's row over all items, for any rows of the task. */
int calibrate_pass_deviations(const struct calibrate_pass *pass, const uint32_t *user,
                              uint32_t n_users,
                              float *ret_deviation /* (n_users, CALIBRATE_SIGNALS) */,
                              struct err *err);

struct calibrate_outcome {
    double ndcg, recall;
    double recall_cold; /* 0 for a user without cold pairs */
};
/* settings: weight / unit, as in calibrate_result.scale; an absent signal's are 0. */
int calibrate_pass_run(const struct calibrate_pass *pass,
                       const struct calibrate_weights *settings, size_t n_settings,
                       struct calibrate_outcome *ret_outcome /* (S, U) */, struct err *err);

#endif
