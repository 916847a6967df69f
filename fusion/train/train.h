#ifndef MMF_FUSION_TRAIN_TRAIN_H
#define MMF_FUSION_TRAIN_TRAIN_H

/* The training loop: epochs of shuffled batches, validation by full ranking every few epochs, the
 * end when NDCG@20 hardly grows any more, the best weights kept. An epoch is one pass over the
 * pairs, so that what is counted in epochs follows the data and not the size of a step. Seeded: the
 * same options, data and number of threads give the same model. Legend as in trainee.h.
 *
 * With b(e) the best NDCG@20 up to epoch e, the training ends at epoch e when
 *
 *   b(e) <= (1 + least_gain) b(e - patience)
 *
 * or at max_epochs, whichever comes first. */

#include "config/err.h"
#include "fusion/train/evaluate.h"
#include "fusion/train/trainee.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A new field that changes what is learned also belongs in checkpoint_key (checkpoint.c). */
struct train_options {
    struct trainee_options model;
    uint32_t max_epochs;
    uint32_t batch;          /* pairs a step */
    uint32_t evaluate_every; /* epochs */
    uint32_t patience;       /* epochs, see above */
    float least_gain;        /* relative; 0 = any gain counts */
    /* Validation ranks for so many of the users, evenly spread; 0 = for all. */
    uint32_t valid_users;
    const char *checkpoint; /* the file that keeps the state (checkpoint.h); NULL = none */
    double checkpoint_s;    /* seconds between two; also at the end and when stopped */
    bool resume;            /* start from that file; it must be there */
    /* After each step, a sign of life: an epoch may take long. Counts from 1; NULL = none. */
    void (*on_step)(void *arg, uint32_t epoch, size_t step, size_t n_steps);
    void *on_step_arg;
};

/* 200 epochs of 3,000 pairs a step; `metammf train` has its own (config/settings_table.c, train_batch). */
void train_options_init(struct train_options *o);

/* Sizes for data that nobody has tuned a model for. Widths of the fusion network for F columns,
 * ending in `out` (the fused half): powers of two from F/2 down, at most 1024 and at most three
 * before the last, which at the paper's F = 2276 gives the paper's 1024, 512, 256, 32, and at
 * F = 128 the 64, 32 that cost 1/30 of those. */
void train_widths(int32_t F, int32_t out, struct model_shape *shape);
/* Pairs a step: 16 steps an epoch, within 64 and 32,768 pairs. A step costs a pass over the whole
 * graph, however many pairs it has (docs/design/fusion/221-sizes-nobody-chose.md). */
uint32_t train_batch(size_t n_pairs);

/* One point of the learning curve. */
struct train_point {
    uint32_t epoch;
    double loss;         /* mean over the epochs since the last point */
    double recall, ndcg; /* at 20 on the validation pairs, 0 without any */
    double ndcg_10;
    double seconds; /* since the start */
    bool best;      /* better than every point before */
};

/* After each epoch (point NULL between validations); false stops the training there. */
typedef bool train_progress(void *arg, uint32_t epoch, const struct train_point *point);

enum train_end {
    TRAIN_AT_BOUND,   /* max_epochs */
    TRAIN_HAS_ENOUGH, /* gains were too small */
    TRAIN_GIVEN_UP,   /* by progress */
};

struct train_result {
    struct trainee *trainee;   /* holds the best weights; out (N, D) is up to date */
    struct train_point *curve; /* (n_points) */
    size_t n_points;
    uint32_t best_epoch, n_epochs;
    enum train_end end;
    /* Of the best weights, for valid_users; n_cuts 0 without validation pairs. */
    struct evaluate_result valid;
    double seconds;
};

/* Another model to start from; a map's row there, UINT32_MAX = new (trainee_warm_start). */
struct train_warm {
    const struct model *from;
    const uint32_t *user_map, *item_map;
};

/* valid: pairs (user row, item row) held out, not in data->pairs; n_valid 0 = train max_epochs.
 * warm may be NULL; with it the training starts there, rows by the maps. */
int train_run(const struct train_options *o, const struct trainee_data *data,
              const struct csr_pair *valid, size_t n_valid, const struct train_warm *warm,
              train_progress *progress, void *arg, struct train_result *ret_result,
              struct err *err);
/* Evaluates what trainee->out holds on test pairs: item rows may be EVALUATE_UNKNOWN. */
int train_evaluate(const struct trainee *t, const struct csr_pair *test, size_t n_test,
                   const uint32_t *cuts, uint32_t n_cuts, struct evaluate_result *ret_result,
                   struct err *err);
void train_result_done(struct train_result *r);

#endif
