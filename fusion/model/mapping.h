#ifndef MMF_FUSION_MODEL_MAPPING_H
#define MMF_FUSION_MODEL_MAPPING_H

/* Factors that an item's features suggest: an affine map from the standardised features of an item to
 * the factors that its interactions would give it (signals.h), for as long as it has few.
 *
 *   m_i = x_i W + b      x_i the features, a missing modality zero; an item without any has m_i = 0
 *
 * (Gantner, Drumond, Freudenthaler, Rendle, Schmidt-Thieme, "Learning Attribute-to-Feature Mappings
 * for Cold-Start Recommendations", 2010; fitted by fusion/train/mapping_fit.h.)
 * Legend: n rows, F features, A factors. */

#include "config/err.h"

#include <stddef.h>
#include <stdint.h>

struct mapping {
    size_t F, A;   /* A 0 = none */
    float *weight; /* (F, A) */
    float *bias;   /* (A) */
};

void mapping_done(struct mapping *mapping);

/* Packed for serving; immutable, any number of threads may use one. The bias must outlive it. */
struct mapping_plan;
int mapping_plan_new(const struct mapping *mapping, struct mapping_plan **ret_plan,
                     struct err *err);
void mapping_plan_free(struct mapping_plan *plan); /* takes NULL */
/* Floats that a row of the result needs, padding included. */
size_t mapping_plan_width(const struct mapping_plan *plan);
/* n <= GEMM_BLOCK_ROWS rows; scratch of gemm_run. Each row is the same bytes whatever is beside it. */
void mapping_plan_run(const struct mapping_plan *plan, const float *x /* (n, F) */, size_t ldx,
                      const uint8_t *mask /* (n) */, size_t n, float *ret_m /* (n, A) */,
                      size_t ldm, float *scratch);

/* The same bytes as by a plan, of many rows. */
int mapping_rows(const struct mapping *mapping, const float *X /* (n, F) */,
                 const uint8_t *mask /* (n) */, size_t n, float *ret_m /* (n, A) */,
                 struct err *err);

#endif
