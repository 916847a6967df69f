/* The kernel of last resort: C's fmaf, which is exact on every machine (an instruction where
 * there is one, glibc's software otherwise). Same chains, same bits, slow. */

#include "fusion/math/gemm_kernels.h"

#include <float.h>
#include <math.h>

#define WIDTH 16
#define ROWS  4

/* x[i][s] is at x[i * ldx + s * step]. */
static void tile_rows(size_t n_rows, const float *x, size_t ldx, size_t step, const float *w,
                      size_t k, float *y, size_t ldy, bool resume)
{
    for (size_t i = 0; i < n_rows; i++) {
        float acc[WIDTH] = {0};

        for (size_t n = 0; resume && n < WIDTH; n++)
            acc[n] = y[i * ldy + n];
        for (size_t s = 0; s < k; s++) {
            for (size_t n = 0; n < WIDTH; n++)
                acc[n] = fmaf(x[i * ldx + s * step], w[s * WIDTH + n], acc[n]);
        }
        for (size_t n = 0; n < WIDTH; n++)
            y[i * ldy + n] = acc[n];
    }
}

static void tile(size_t n_rows, const float *x, size_t ldx, const float *w, size_t k, float *y,
                 size_t ldy, bool resume)
{
    tile_rows(n_rows, x, ldx, 1, w, k, y, ldy, resume);
}

static void full(const float *x, const float *w, size_t k, float *y, size_t ldy, bool resume)
{
    tile_rows(ROWS, x, 1, ROWS, w, k, y, ldy, resume);
}

static bool above(const float *x, const float *w, size_t k, const float *limit,
                  uint32_t *ret_hits, float *ret_y)
{
    uint32_t any = 0;

    full(x, w, k, ret_y, WIDTH, false);
    for (size_t i = 0; i < ROWS; i++) {
        ret_hits[i] = 0;
        for (size_t n = 0; n < WIDTH; n++)
            ret_hits[i] |= (uint32_t)(ret_y[i * WIDTH + n] > limit[i]) << n;
        any |= ret_hits[i];
    }
    return any != 0;
}

static void row(const float *x, const float *w, size_t k, size_t n_panels, float *y,
                bool resume)
{
    for (size_t p = 0; p < n_panels; p++)
        tile(1, x, k, w + p * k * WIDTH, k, y + p * WIDTH, WIDTH, resume);
}

static void panels(size_t n_rows, size_t n_cols, const float *a, const float *b, size_t k,
                   float *y, size_t ldy, bool resume)
{
    for (size_t i = 0; i < n_rows; i++) {
        for (size_t n = 0; n < n_cols; n++) {
            float sum = resume ? y[i * ldy + n] : 0.0f;

            for (size_t s = 0; s < k; s++)
                sum = fmaf(a[s * WIDTH + i], b[s * WIDTH + n], sum);
            y[i * ldy + n] = sum;
        }
    }
}

static bool factor(float *m, size_t ldm, size_t n_cols, float *ret_inverse)
{
    for (size_t k = 0; k < GEMM_FACTOR_ROWS; k++) {
        float *row_k = m + k * ldm, pivot = row_k[k];

        if (!(pivot > 0.0f && pivot <= FLT_MAX))
            return false;
        ret_inverse[k] = 1.0f / sqrtf(pivot);
        for (size_t j = 0; j < n_cols; j++)
            row_k[j] *= ret_inverse[k];
        for (size_t i = k + 1; i < GEMM_FACTOR_ROWS; i++) {
            for (size_t j = 0; j < n_cols; j++)
                m[i * ldm + j] = fmaf(-row_k[i], row_k[j], m[i * ldm + j]);
        }
    }
    return true;
}

const struct gemm_kernel gemm_kernel_scalar = {.name = "scalar",
                                               .width = WIDTH,
                                               .rows = ROWS,
                                               .depth = 256,
                                               .tile = tile,
                                               .full = full,
                                               .above = above,
                                               .row = row,
                                               .panels = panels,
                                               .factor = factor};
