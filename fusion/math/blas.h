#ifndef MMF_FUSION_MATH_BLAS_H
#define MMF_FUSION_MATH_BLAS_H

/* OpenBLAS's products, for training: rows may depend on what is computed beside them (inference has
 * gemm.h). Matrices are row-major, ldx is the number of floats from one row of X to the next. Each
 * function is one call of OpenBLAS, so that results are its bytes; the rest of the project links it
 * only by way of these. */

#include <stddef.h>

/* Y (m, n) = X (m, k) · W (k, n) + beta·Y */
void blas_mul(size_t m, size_t n, size_t k, const float *X, size_t ldx, const float *W,
              size_t ldw, float beta, float *Y, size_t ldy);
/* Y (m, n) = X (m, k) · W (n, k)ᵀ + beta·Y */
void blas_mul_wt(size_t m, size_t n, size_t k, const float *X, size_t ldx, const float *W,
                 size_t ldw, float beta, float *Y, size_t ldy);
/* Y (m, n) += X (k, m)ᵀ · W (k, n) */
void blas_add_xt(size_t m, size_t n, size_t k, const float *X, size_t ldx, const float *W,
                 size_t ldw, float *Y, size_t ldy);

/* The same for one row, by the product of a matrix and a vector. */
void blas_mul_row(size_t n, size_t k, const float *x, const float *W, size_t ldw, float beta,
                  float *y);
void blas_mul_wt_row(size_t n, size_t k, const float *x, const float *W, size_t ldw, float beta,
                     float *y);
/* Y (m, n) += x (m) w (n)ᵀ */
void blas_add_outer(size_t m, size_t n, const float *x, const float *w, float *Y, size_t ldy);

/* The upper triangle of G (n, n) = scale X (m, n)ᵀ X; the rest of G is left alone. */
void blas_moments(size_t n, size_t m, float scale, const float *X, float *G);

/* Threads of a product, for the whole process. */
void blas_set_threads(unsigned n);

#endif
