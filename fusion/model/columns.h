#ifndef MMF_FUSION_MODEL_COLUMNS_H
#define MMF_FUSION_MODEL_COLUMNS_H

/* What an item's features say without any training, and what of it lies in a user: the content
 * signal (signals.h), linear columns of the published vectors.
 *
 *   y_m = z_m V_m diag(σ_m)^-½      z_m (F_m) a modality's standardised features, V_m its at most
 *                                   COLUMNS_KEPT strongest principal directions over the catalogue,
 *                                   σ_m their singular values, none below COLUMNS_FLOOR of the first
 *   x   = [y_v/|y_v| ‖ y_a/|y_a| ‖ y_t/|y_t|]    a modality that an item has not: zeros
 *   c   = x J / |x J|               J the strongest directions of the second moments of the x
 *   ĉ_u = Σ_{i∈R_u} c_i / |…|       R_u the items of user u
 *
 * Singular values to the power ½ stand between the features as they come (a few directions outvote
 * the rest) and whitening (noise counts as much as they do): the eigenvalue weighting p of Caron's
 * "Experiments with LSA Scoring" (2001).
 *
 * Legend: I items, n rows, F input columns, F_m of a modality, K_m kept directions of a modality,
 * K their sum, C columns. */

#include "config/err.h"
#include "config/modality.h"
#include "fusion/math/csr.h"

#include <stddef.h>
#include <stdint.h>

enum { COLUMNS_KEPT = 256 };
#define COLUMNS_FLOOR 1e-3

struct columns {
    int32_t modality_dim[MODALITY_COUNT]; /* F_m */
    size_t kept[MODALITY_COUNT];          /* K_m, 0 = a modality that nobody has */
    size_t K, C;
    float *project[MODALITY_COUNT]; /* (F_m, K_m), NULL where K_m is 0 */
    float *join;                    /* (K, C) */
};

/* X standardised, missing modalities zero; mask (I) of MODALITY_BITs. ret->C is the smaller of C and
 * K: 0 when the features of all items are the same. Deterministic for one number of BLAS threads.
 * ERR_RETRY without memory, ERR_FATAL EX_SOFTWARE when LAPACK gives up. */
int columns_fit(const float *X /* (I, F) */, const uint8_t *mask, size_t n_items,
                const int32_t modality_dim[MODALITY_COUNT], size_t C, struct columns *ret,
                struct err *err);
void columns_done(struct columns *columns);

/* ret_c of unit length, or zero for a row whose features say nothing. Each row is the same bytes
 * whatever is beside it, and the same that fuse.h gives for the same X. */
int columns_rows(const struct columns *columns, const float *X /* (n, F) */,
                 const uint8_t *mask /* (n) */, size_t n, float *ret_c /* (n, C) */,
                 struct err *err);
/* ĉ_u of all users; zero for one without items, or whose items say nothing. */
void columns_users(const struct csr *R /* users × items */, const float *c /* (I, C) */,
                   size_t C, float *ret_c /* (users, C) */);
/* To unit length; the zero vector stays. */
void columns_unit(float *c /* (C) */, size_t C);

/* Packed for serving; immutable, any number of threads may use one. The columns may go. */
struct columns_plan;
int columns_plan_new(const struct columns *columns, struct columns_plan **ret_plan,
                     struct err *err);
void columns_plan_free(struct columns_plan *plan); /* takes NULL */
/* Floats that a row of `parts` and one of the result need, padding included. */
size_t columns_plan_parts(const struct columns_plan *plan);
size_t columns_plan_width(const struct columns_plan *plan);

struct columns_block {
    size_t n;            /* <= GEMM_BLOCK_ROWS */
    const float *x;      /* (n, F), stride ldx: standardised */
    const uint8_t *mask; /* (n) */
    float *parts;        /* (n, K), stride ldp >= columns_plan_parts */
    float *c;            /* (n, C), stride ldc >= columns_plan_width: the result */
    float *scratch;      /* of gemm_run */
    size_t ldx, ldp, ldc;
};
void columns_plan_run(const struct columns_plan *plan, const struct columns_block *block);

#endif
