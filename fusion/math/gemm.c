#include "fusion/math/gemm.h"

#include "fusion/math/gemm_kernels.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

const struct gemm_kernel *gemm_kernel_best(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return &gemm_kernel_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &gemm_kernel_avx2;
#endif
    return &gemm_kernel_scalar;
}

const struct gemm_kernel *gemm_kernel_find(const char *name)
{
    if (strcmp(name, "scalar") == 0)
        return &gemm_kernel_scalar;
#if defined(__x86_64__)
    if (strcmp(name, "avx2") == 0 && __builtin_cpu_supports("avx2") &&
        __builtin_cpu_supports("fma"))
        return &gemm_kernel_avx2;
    if (strcmp(name, "avx512") == 0 && __builtin_cpu_supports("avx512f"))
        return &gemm_kernel_avx512;
#endif
    return NULL;
}

float *gemm_alloc(size_t n_floats)
{
    size_t bytes, align = 64;
    float *data;

    if (n_floats > (SIZE_MAX - HUGE_PAGE_BYTES) / sizeof(float))
        return NULL;
    bytes = n_floats * sizeof(float);
    if (bytes >= HUGE_PAGE_BYTES)
        align = HUGE_PAGE_BYTES;
    bytes = (bytes + align - 1) / align * align;
    data = aligned_alloc(align, bytes == 0 ? align : bytes);
    if (data == NULL)
        return NULL;
    /* Advice: without huge pages the result is the same, only slower. */
    if (align == HUGE_PAGE_BYTES)
        (void)madvise(data, bytes, MADV_HUGEPAGE);
    memset(data, 0, bytes);
    return data;
}

int gemm_new(size_t K, size_t N, const struct gemm_kernel *kernel, struct gemm_matrix *ret_W,
             struct err *err)
{
    struct gemm_matrix W = {.kernel = kernel != NULL ? kernel : gemm_kernel_best()};
    size_t n;

    assert(K >= 1 && N >= 1);
    W.K = K;
    W.N = N;
    W.n_panels = (N + W.kernel->width - 1) / W.kernel->width;
    if (__builtin_mul_overflow(W.n_panels * W.kernel->width, K, &n) ||
        (W.panels = gemm_alloc(n)) == NULL)
        return err_oom(err, "packed weights of the model");
    *ret_W = W;
    return ERR_OK;
}

void gemm_pack(struct gemm_matrix *W, size_t first_col, const float *w, size_t n_cols,
               size_t step_k, size_t step_n)
{
    const size_t width = W->kernel->width;

    assert(first_col + n_cols <= W->N);
    for (size_t n = 0; n < n_cols; n++) {
        size_t col = first_col + n;
        float *out = W->panels + col / width * W->K * width + col % width;

        for (size_t k = 0; k < W->K; k++)
            out[k * width] = w[k * step_k + n * step_n];
    }
}

int gemm_new_rows(const float *w, size_t N, size_t K, size_t ldw, struct gemm_matrix *ret_W,
                  struct err *err)
{
    int status = gemm_new(K, N, NULL, ret_W, err);

    if (status == ERR_OK)
        gemm_pack(ret_W, 0, w, N, 1, ldw);
    return status;
}

size_t gemm_padded(const struct gemm_matrix *W)
{
    return W->n_panels * W->kernel->width;
}

/* Whole tiles of X (n_rows, ldx), k columns: element (i, s) of a tile at s * rows + i. Without
 * the copy large batches run at 0.80 of sgemm's speed instead of 1.0
 * (docs/measured/fusion-kernels.md). */
static void copy_tiles(const float *X, size_t ldx, size_t n_rows, size_t rows, size_t k,
                       float *ret_tiles)
{
    for (size_t b = 0; b < n_rows; b++) {
        const float *x = X + b * ldx;
        float *to = ret_tiles + b / rows * rows * k + b % rows;

        for (size_t s = 0; s < k; s++)
            to[s * rows] = x[s];
    }
}

/* One block: n_rows of X, k columns from k0 on, all panels. */
static void run_block(const struct gemm_matrix *W, const float *X, size_t ldx, size_t n_rows,
                      float *Y, size_t ldy, size_t k0, size_t k, bool resume, float *scratch)
{
    const struct gemm_kernel *kernel = W->kernel;
    const size_t width = kernel->width, rows = kernel->rows;
    const size_t whole = n_rows / rows * rows;

    copy_tiles(X + k0, ldx, whole, rows, k, scratch);
    for (size_t p = 0; p < W->n_panels; p++) {
        const float *w = W->panels + (p * W->K + k0) * width;
        float *y = Y + p * width;

        for (size_t b = 0; b < whole; b += rows)
            kernel->full(scratch + b * k, w, k, y + b * ldy, ldy, resume);
        if (whole < n_rows)
            kernel->tile(n_rows - whole, X + whole * ldx + k0, ldx, w, k, y + whole * ldy, ldy,
                         resume);
    }
}

void gemm_run(const struct gemm_matrix *W, const float *X, size_t ldx, size_t B, float *Y,
              size_t ldy, bool resume, float *scratch)
{
    const struct gemm_kernel *kernel = W->kernel;

    assert(ldy >= gemm_padded(W));
    if (B == 1) {
        kernel->row(X, W->panels, W->K, W->n_panels, Y, resume);
        return;
    }
    for (size_t b = 0; b < B; b += GEMM_BLOCK_ROWS) {
        size_t n_rows = B - b < GEMM_BLOCK_ROWS ? B - b : GEMM_BLOCK_ROWS;
        size_t step = n_rows < kernel->rows ? W->K : kernel->depth;

        for (size_t k0 = 0; k0 < W->K; k0 += step)
            run_block(W, X + b * ldx, ldx, n_rows, Y + b * ldy, ldy, k0,
                      W->K - k0 < step ? W->K - k0 : step, resume || k0 > 0, scratch);
    }
}

void gemm_done(struct gemm_matrix *W)
{
    free(W->panels);
    memset(W, 0, sizeof(*W));
}
