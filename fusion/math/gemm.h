#ifndef MMF_FUSION_MATH_GEMM_H
#define MMF_FUSION_MATH_GEMM_H

/* Y = X W for inference, with rows that do not depend on what is computed beside them.
 *
 * Every element y_bn is ONE chain of fused multiply-adds over k = 0 … K-1 in that order, starting
 * from 0 (or from the old y_bn): y ← fma(x_bk, w_kn, y). A chain is never split, so neither the
 * batch, nor the place of a row in it, nor the vector width, nor the blocking changes a bit; a
 * stored and reloaded partial sum is the same float. The three kernels (AVX-512, AVX2 with FMA,
 * C's fmaf) therefore agree byte for byte, and so do two machines.
 *
 * W is packed once, at model load: panels of `width` columns, k-major, the last panel padded with
 * zero columns. One row reads each weight once and in order (DRAM-bound); many rows keep a panel
 * in L1 and a block of X, copied to tiles, in L2. Training has OpenBLAS (blas.h), whose rows may
 * depend on the batch.
 *
 * Immutable after gemm_pack; any number of threads may read one matrix. */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gemm_kernel {
    const char *name; /* "avx512", "avx2", "scalar" */
    size_t width;     /* columns of a panel */
    size_t rows;      /* rows of a full tile */
    size_t depth;     /* k steps of a block: depth * width floats stay in L1 */
    /* n_rows <= rows of Y (·, width) from X (·, k) and one panel's part w (k, width). */
    void (*tile)(size_t n_rows, const float *x, size_t ldx, const float *w, size_t k, float *y,
                 size_t ldy, bool resume);
    /* The same for `rows` rows, element (i, s) at x[s * rows + i]. */
    void (*full)(const float *x, const float *w, size_t k, float *y, size_t ldy, bool resume);
    /* `rows` rows against one panel, x as for `full`: bit n of hits[i] says that column n is above
     * limit[i]. The scores y (rows, width) are written when there is any, else false. */
    bool (*above)(const float *x, const float *w, size_t k, const float *limit,
                  uint32_t *ret_hits, float *ret_y);
    /* One row against n_panels whole panels, w (n_panels, k, width). */
    void (*row)(const float *x, const float *w, size_t k, size_t n_panels, float *y,
                bool resume);
    /* Y (n_rows, n_cols) = the first n_rows columns of a, transposed, times the first n_cols of b;
     * a and b are panels (k, width), or begin at column width/2 of one when n_cols is no more. Columns
     * of Y up to the next multiple of width/2 may be written. */
    void (*panels)(size_t n_rows, size_t n_cols, const float *a, const float *b, size_t k,
                   float *y, size_t ldy, bool resume);
    /* GEMM_FACTOR_ROWS steps of spd.h's factorisation: the rows of m from their diagonal element on,
     * n_cols a multiple of GEMM_FACTOR_ROWS; 1 / u_kk of each. false: a pivot is not positive or not
     * finite. What is below the diagonal is spoilt. */
    bool (*factor)(float *m, size_t ldm, size_t n_cols, float *ret_inverse);
};

#define GEMM_FACTOR_ROWS 16

/* The fastest that this processor runs. */
const struct gemm_kernel *gemm_kernel_best(void);
/* By name, for tests; NULL when unknown or when this processor lacks it. */
const struct gemm_kernel *gemm_kernel_find(const char *name);

struct gemm_matrix {
    const struct gemm_kernel *kernel;
    size_t K, N, n_panels;
    float *panels; /* (n_panels, K, width), in huge pages where the system gives them */
};

/* Makes room for (K, N), all zero. kernel NULL = best. ERR_RETRY without memory. */
int gemm_new(size_t K, size_t N, const struct gemm_kernel *kernel, struct gemm_matrix *ret_W,
             struct err *err);
/* Copies a part w (K, n_cols), element (k, n) at w[k * step_k + n * step_n], to the columns from
 * first_col on. */
void gemm_pack(struct gemm_matrix *W, size_t first_col, const float *w, size_t n_cols,
               size_t step_k, size_t step_n);
/* Both, for the transpose of w (N, K) with row stride ldw, as torch's Linear holds it. */
int gemm_new_rows(const float *w, size_t N, size_t K, size_t ldw, struct gemm_matrix *ret_W,
                  struct err *err);
#define GEMM_BLOCK_ROWS 192
#define GEMM_DEPTH_MAX  384
/* Floats that gemm_run needs beside its operands when B is not below the kernel's rows. */
#define GEMM_SCRATCH (GEMM_BLOCK_ROWS * GEMM_DEPTH_MAX)

/* Y (B, N) with row stride ldy >= gemm_padded(W): the padding is written too. resume: add to Y.
 * X (B, K) with row stride ldx. X and Y do not overlap. */
void gemm_run(const struct gemm_matrix *W, const float *X, size_t ldx, size_t B, float *Y,
              size_t ldy, bool resume, float *scratch /* GEMM_SCRATCH */);
/* N rounded up to whole panels. */
size_t gemm_padded(const struct gemm_matrix *W);
void gemm_done(struct gemm_matrix *W);

/* n zeroed floats on a cache line, from 2 MB on at a 2 MB boundary with huge pages asked for;
 * freed by free(). NULL when out of memory. */
float *gemm_alloc(size_t n);

#endif
