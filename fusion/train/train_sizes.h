#ifndef MMF_FUSION_TRAIN_TRAIN_SIZES_H
#define MMF_FUSION_TRAIN_TRAIN_SIZES_H

/* Sizes for data that nobody has tuned a model for. */

#include "fusion/model/model.h"

#include <stddef.h>
#include <stdint.h>

/* Widths of the fusion network for F columns, ending in `out` (the fused half): powers of two from
 * F/2 down, at most 1024 and at most three before the last, which at the paper's F = 2276 gives
 * the paper's 1024, 512, 256, 32, and at F = 128 the 64, 32 that cost 1/30 of those. */
void train_widths(int32_t F, int32_t out, struct model_shape *shape);
/* Pairs a step: the paper's 3,000, fewer where an epoch would have less than 16 steps. */
uint32_t train_batch(size_t n_pairs);

#endif
