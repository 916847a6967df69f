#ifndef MMF_FUSION_MATH_SPD_H
#define MMF_FUSION_MATH_SPD_H

/* Small systems of a symmetric positive definite matrix, as least squares make them thousands of:
 * sums of outer products of rows that lie anywhere, Cholesky's factor M = Uᵀ U, the solution.
 * Every element of a product and of U is one chain of fused multiply-adds in ascending order
 * (gemm.h), sums of a solution have an order of their own, so that all kernels and all machines give
 * the same bytes.
 * Legend: n rows w_s (d); a matrix of n' columns is (N, N) with N = spd_padded(n'), of which only
 * the upper triangle counts: what is below and beyond is written, too. */

#include "fusion/math/gemm.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    SPD_STEP = GEMM_FACTOR_ROWS, /* a factor's columns come in multiples of it */
    SPD_ALIGN = 32,              /* a multiple of SPD_STEP and of every kernel's width */
    SPD_DEPTH = 128, /* rows that spd_add_rows packs at a time: two panels fit in L1 */
};

static inline size_t spd_padded(size_t n)
{
    return (n + SPD_ALIGN - 1) / SPD_ALIGN * SPD_ALIGN;
}

/* M (D, D) += Σ_s w_s w_sᵀ, D = spd_padded(d). pack: D · SPD_DEPTH floats. */
void spd_add_rows(const struct gemm_kernel *kernel, const float *const *rows /* n of (d) */,
                  size_t n, size_t d, float *pack, float *M);
/* K (N, N) with k_st = Σ_a scale_a² w_sa w_ta, N = spd_padded(n). pack: N · d floats. */
void spd_products(const struct gemm_kernel *kernel, const float *const *rows /* n of (d) */,
                  size_t n, size_t d, const float *scale /* (d) */, float *pack, float *K);
/* M = Uᵀ U in place (Golub and Van Loan, "Matrix Computations", 4.2), n a multiple of SPD_STEP, and
 * inverse_k = 1 / u_kk (n). pack: 2 · SPD_STEP · ld floats. false: a pivot is not positive or not
 * finite. */
bool spd_factor(const struct gemm_kernel *kernel, float *M, size_t n, size_t ld, float *pack,
                float *ret_inverse);
/* b ← M⁻¹ b */
void spd_solve(const float *U, size_t n, size_t ld, const float *inverse, float *b /* (n) */);

#endif
