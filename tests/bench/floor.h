#ifndef MMF_TESTS_BENCH_FLOOR_H
#define MMF_TESTS_BENCH_FLOOR_H

/* What a trained model must beat on items without interactions: the content neighbour. An item's
 * score for a user is its best similarity to an item of the user's, the mean over the modalities
 * of the cosine of standardised features. */

#include "fusion/math/csr.h"

#include <stdint.h>

/* Recall@20 (mean over users) of `test` pairs, ranked among all items but the user's own and among
 * the hidden ones alone. X (n_items, F) raw, the first `visual` columns one modality, the others
 * another. history: the training pairs. Needs 4·n_items² bytes. */
void floor_content(const float *X, uint32_t n_items, uint32_t F, uint32_t visual,
                   const struct csr *history, const struct csr *test, const uint8_t *is_hidden,
                   double *ret_all, double *ret_hidden);

#endif
