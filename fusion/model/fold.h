#ifndef MMF_FUSION_MODEL_FOLD_H
#define MMF_FUSION_MODEL_FOLD_H

/* One user's vector from the vectors of its items, in closed form, when the items are given: what
 * implicit alternating least squares (fusion/train/als.h) publishes for every user, so that a user
 * who comes later, or takes one item more, has the vector of the training to the byte.
 * Legend: d width, n items y_s (d) of the user, I items of the training.
 *
 *   v = argmin Σ_s (v·y_s - 1)² + a0 Σ_i (v·y_i)² + λ (n + a0 I) |v|²
 *     = (diag(power) + λ n 1 + Σ_s y_s y_sᵀ)⁻¹ Σ_s y_s       power = diag(a0 YᵀY + λ a0 I 1)
 *
 * (Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", 2008, eq. 4;
 * Rendle et al., "Revisiting the Performance of iALS on Item Recommendation Benchmarks", 2022.)
 * The training turns all vectors into the basis in which YᵀY is diagonal, which changes no
 * score, so that the Gram matrix is d numbers and a short history costs n² d instead of d³: with W
 * (n, d) the items and B = diag(power) + λ n 1, v = B⁻¹ Wᵀ (1 + W B⁻¹ Wᵀ)⁻¹ 1 (Woodbury).
 *
 * The same bytes on every machine (spd.h); no BLAS. Immutable; any number of threads may read it. */

#include "config/err.h"

#include <stddef.h>
#include <stdint.h>

enum { FOLD_WIDTH_MAX = 1024 };

struct fold {
    uint32_t d;
    float lambda;       /* > 0 */
    const float *power; /* (d) > 0 */
};

/* Of a fold that comes from a file: ERR_FATAL EX_DATAERR for what is out of range. */
int fold_check(const struct fold *f, struct err *err);
/* Floats that fold_user needs beside its operands, which it may leave as they are. */
size_t fold_scratch(const struct fold *f);
/* The order of the rows shows in the last digits: ascending, as a training has them. A user without
 * items has the zero vector. scratch: on a cache line is fastest (gemm_alloc); what it holds does
 * not matter. ERR_FATAL EX_DATAERR when the numbers of the rows overflow. */
int fold_user(const struct fold *f, const float *const *rows /* n of (d) */, size_t n,
              float *scratch, float *ret_v /* (d) */, struct err *err);

#endif
