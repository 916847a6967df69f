#ifndef MMF_FUSION_TRAIN_CHECKPOINT_H
#define MMF_FUSION_TRAIN_CHECKPOINT_H

/* A training between two epochs, as a file: what goes on from it ends with the bytes that the
 * uninterrupted one ends with, on the same build and number of threads. Weights, Adam's moments
 * and step, the generator, the order of the pairs, the best weights, the curve. Each part has a
 * checksum; the key says by which options and data it was made. */

#include "config/err.h"
#include "fusion/train/train.h"

#include <stddef.h>
#include <stdint.h>

struct checkpoint {
    struct trainee *t;
    uint32_t *order; /* (n_order) */
    size_t n_order;
    float *best;    /* (t->n_weights) */
    uint32_t epoch; /* the last one that was finished */
    uint32_t since; /* epochs since the last point of the curve */
    double loss;    /* their sum */
    double seconds; /* of training so far */
    uint32_t best_epoch;
    struct evaluate_result valid; /* of the best weights */
    struct train_point *curve;    /* (n_points); allocated by checkpoint_load */
    size_t n_points;
};

/* Options and data in one number. max_epochs and threads are not in it: a training may be
 * prolonged, and go on with another number of threads (then not to the same bytes). */
uint64_t checkpoint_key(const struct train_options *o, const struct trainee_data *data,
                        const struct csr_pair *valid, size_t n_valid);
int checkpoint_save(const char *path, const struct checkpoint *c, uint64_t key,
                    struct err *err);
/* t, order, n_order and best are the caller's memory, filled here. ERR_FATAL: EX_NOINPUT when
 * there is no such file, EX_DATAERR for one that is damaged or of another training; then the
 * memory may be half filled. */
int checkpoint_load(const char *path, struct checkpoint *c, uint64_t key, struct err *err);
/* Whether the file is a checkpoint at all, of whatever training. */
bool checkpoint_is(const char *path);

#endif
