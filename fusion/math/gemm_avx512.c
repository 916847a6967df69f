/* The AVX-512 kernel: 12 x 32 tiles, 24 accumulators of 32 registers. This file alone is
 * compiled for AVX-512F; gemm.c calls it after asking the processor. A tile of fewer rows is done
 * in pieces of 8, 4, 2 and 1, which changes no chain. */

#include "fusion/math/gemm_kernels.h"

#include <immintrin.h>

#define VEC            __m512
#define VW             16
#define NV             2
#define MR             12
#define NG             4
#define VZERO()        _mm512_setzero_ps()
#define VLOAD(p)       _mm512_loadu_ps(p)
#define VSTORE(p, v)   _mm512_storeu_ps(p, v)
#define VBCAST(p)      _mm512_set1_ps(*(p))
#define VFMA(a, b, c)  _mm512_fmadd_ps(a, b, c)
#define VFNMA(a, b, c) _mm512_fnmadd_ps(a, b, c)
#define VMUL(a, b)     _mm512_mul_ps(a, b)
#define VABOVE(a, b)   _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ)
#include "fusion/math/gemm_kernel.inc"

static void tile(size_t n_rows, const float *x, size_t ldx, const float *w, size_t k, float *y,
                 size_t ldy, bool resume)
{
    while (n_rows > 0) {
        size_t n = n_rows >= 12 ? 12 : n_rows >= 8 ? 8 : n_rows >= 4 ? 4 : n_rows >= 2 ? 2 : 1;

        if (n == 12)
            tile_rows(12, x, ldx, 1, w, k, y, ldy, resume);
        else if (n == 8)
            tile_rows(8, x, ldx, 1, w, k, y, ldy, resume);
        else if (n == 4)
            tile_rows(4, x, ldx, 1, w, k, y, ldy, resume);
        else if (n == 2)
            tile_rows(2, x, ldx, 1, w, k, y, ldy, resume);
        else
            tile_rows(1, x, ldx, 1, w, k, y, ldy, resume);
        n_rows -= n;
        x += n * ldx;
        y += n * ldy;
    }
}

const struct gemm_kernel gemm_kernel_avx512 = {.name = "avx512",
                                               .width = NR,
                                               .rows = MR,
                                               .depth = 384, /* 3 % of a batch over 192 */
                                               .tile = tile,
                                               .full = full,
                                               .above = above,
                                               .row = row,
                                               .panels = panels,
                                               .factor = factor};
