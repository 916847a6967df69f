/* The AVX2 + FMA kernel: 6 x 16 tiles, 12 accumulators of 16 registers. This file alone is
 * compiled for AVX2; gemm.c calls it after asking the processor. */

#include "fusion/math/gemm_kernels.h"

#include <immintrin.h>

#define VEC            __m256
#define VW             8
#define NV             2
#define MR             6
#define NG             4
#define VZERO()        _mm256_setzero_ps()
#define VLOAD(p)       _mm256_loadu_ps(p)
#define VSTORE(p, v)   _mm256_storeu_ps(p, v)
#define VBCAST(p)      _mm256_broadcast_ss(p)
#define VFMA(a, b, c)  _mm256_fmadd_ps(a, b, c)
#define VFNMA(a, b, c) _mm256_fnmadd_ps(a, b, c)
#define VMUL(a, b)     _mm256_mul_ps(a, b)
#define VABOVE(a, b)   _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ))
#include "fusion/math/gemm_kernel.inc"

static void tile(size_t n_rows, const float *x, size_t ldx, const float *w, size_t k, float *y,
                 size_t ldy, bool resume)
{
    switch (n_rows) {
    case 1:
        tile_rows(1, x, ldx, 1, w, k, y, ldy, resume);
        break;
    case 2:
        tile_rows(2, x, ldx, 1, w, k, y, ldy, resume);
        break;
    case 3:
        tile_rows(3, x, ldx, 1, w, k, y, ldy, resume);
        break;
    case 4:
        tile_rows(4, x, ldx, 1, w, k, y, ldy, resume);
        break;
    case 5:
        tile_rows(5, x, ldx, 1, w, k, y, ldy, resume);
        break;
    default:
        tile_rows(6, x, ldx, 1, w, k, y, ldy, resume);
        break;
    }
}

const struct gemm_kernel gemm_kernel_avx2 = {.name = "avx2",
                                             .width = NR,
                                             .rows = MR,
                                             .depth = 384,
                                             .tile = tile,
                                             .full = full,
                                             .above = above,
                                             .row = row,
                                             .panels = panels,
                                             .factor = factor};
