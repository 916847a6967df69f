#ifndef MMF_EXTRACT_MEDIA_VEC_H
#define MMF_EXTRACT_MEDIA_VEC_H

/* What turns raw descriptors into blocks that weigh comparably: signed square root (tames
 * single large values), centring, and unit length times the block's weight. */

#include "config/modality.h"

#include <stddef.h>

/* x ← sign(x) √|x| */
void vec_root(float *x, size_t n);
/* x ← x − mean(x) */
void vec_centre(float *x, size_t n);
/* Brings each block of layout_blocks(m) to its weight, then the whole to length 1. */
void vec_weigh(enum modality m, float *vec);
/* Mean and population deviation of n_rows rows of n numbers, stride floats apart. */
void vec_mean_dev(const float *rows, size_t n_rows, size_t stride, size_t n, float *ret_mean,
                  float *ret_dev);

#endif
