#include "fusion/math/blas.h"

#include <cblas.h>

void blas_mul(size_t m, size_t n, size_t k, const float *X, size_t ldx, const float *W,
              size_t ldw, float beta, float *Y, size_t ldy)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)n, (int)k, 1, X,
                (int)ldx, W, (int)ldw, beta, Y, (int)ldy);
}

void blas_mul_wt(size_t m, size_t n, size_t k, const float *X, size_t ldx, const float *W,
                 size_t ldw, float beta, float *Y, size_t ldy)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)n, (int)k, 1, X, (int)ldx,
                W, (int)ldw, beta, Y, (int)ldy);
}

void blas_add_xt(size_t m, size_t n, size_t k, const float *X, size_t ldx, const float *W,
                 size_t ldw, float *Y, size_t ldy)
{
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)m, (int)n, (int)k, 1, X, (int)ldx,
                W, (int)ldw, 1, Y, (int)ldy);
}

void blas_mul_row(size_t n, size_t k, const float *x, const float *W, size_t ldw, float beta,
                  float *y)
{
    cblas_sgemv(CblasRowMajor, CblasTrans, (int)k, (int)n, 1, W, (int)ldw, x, 1, beta, y, 1);
}

void blas_mul_wt_row(size_t n, size_t k, const float *x, const float *W, size_t ldw, float beta,
                     float *y)
{
    cblas_sgemv(CblasRowMajor, CblasNoTrans, (int)n, (int)k, 1, W, (int)ldw, x, 1, beta, y, 1);
}

void blas_add_outer(size_t m, size_t n, const float *x, const float *w, float *Y, size_t ldy)
{
    cblas_sger(CblasRowMajor, (int)m, (int)n, 1, x, 1, w, 1, Y, (int)ldy);
}

void blas_moments(size_t n, size_t m, float scale, const float *X, float *G)
{
    cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, (int)n, (int)m, scale, X, (int)n, 0, G,
                (int)n);
}

void blas_set_threads(unsigned n)
{
    openblas_set_num_threads((int)n);
}
