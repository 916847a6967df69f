#ifndef MMF_FUSION_TRAIN_MAPPING_FIT_H
#define MMF_FUSION_TRAIN_MAPPING_FIT_H

/* Ridge regression from the features of the items with interactions to their factors:
 *
 *   (W, b) = argmin Σ_i |x_i W + b - y_i|² + λ |W|²        over items i with a factor row, all alike
 *
 * in the basis of at most MAPPING_DIRECTIONS principal directions of the x, with the λ of
 * {n 10^(k/2), k = -4 … 4} whose error is the smallest when each item is left out in turn, which has a
 * closed form: y_i - m_i^(-i) = (y_i - m_i) / (1 - h_i), h_i = 1/n + Σ_k z_ik² / (e_k + λ) (Allen,
 * "The Relationship between Variable Selection and Data Augmentation and a Method for Prediction",
 * 1974, PRESS). Legend: I items, n of them fitted, F features, A factors. */

#include "config/err.h"
#include "fusion/model/mapping.h"

#include <stddef.h>
#include <stdint.h>

enum { MAPPING_DIRECTIONS = 512, MAPPING_ITEMS_MIN = 20 };
/* What a mapping of n items has to explain of the variance, GAIN_MIN + CHANCE / n: of several λ the
 * best one explains a little by chance, the more the fewer items there are. */
#define MAPPING_GAIN_MIN .01
#define MAPPING_CHANCE   3.0

struct mapping_fit_task {
    const float *X;      /* (I, F) standardised, missing modalities zero */
    const uint8_t *mask; /* (I) of MODALITY_BITs; an item without any is not fitted */
    const uint8_t *warm; /* (I) 1 = it has a factor row */
    const float *Y;      /* (I, A) */
    size_t n_items, F, A;
};

struct mapping_fit {
    struct mapping mapping; /* A 0: it explains too little, or too few items */
    float *left_out; /* (I, A) m_i^(-i) of the fitted items, m_i of the others; NULL with A 0 */
    size_t n_fitted;
    float lambda;
    /* Of the items left out, as a share of the variance: 1 = as good as the mean. */
    double error;
};

/* Deterministic for one number of BLAS threads. ERR_RETRY without memory, ERR_FATAL EX_SOFTWARE when
 * LAPACK gives up. */
int mapping_fit(const struct mapping_fit_task *task, struct mapping_fit *ret, struct err *err);
void mapping_fit_done(struct mapping_fit *fit);

#endif
