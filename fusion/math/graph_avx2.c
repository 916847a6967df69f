/* The AVX2 loop over a row's edges. This file alone is compiled for AVX2; graph.c calls it after
 * asking the processor. The row being made stays in registers, 64 floats at a time. */

#include "fusion/math/graph_kernels.h"

#include <immintrin.h>

enum { AHEAD = 12 };

#define INLINE static inline __attribute__((always_inline))

INLINE void gather(const uint32_t *col, size_t n_edges, size_t n_ahead, const float *in,
                   const float *X, size_t D, const int nv, float *acc)
{
    __m256 a[8];
#pragma GCC unroll 8
    for (int v = 0; v < nv; v++)
        a[v] = _mm256_loadu_ps(acc + 8 * v);
    for (size_t e = 0; e < n_edges; e++) {
        const float *x = X + (size_t)col[e] * D;
        if (e + AHEAD < n_edges + n_ahead) {
            const float *next = X + (size_t)col[e + AHEAD] * D;
#pragma GCC unroll 4
            for (int v = 0; v < nv; v += 2)
                __builtin_prefetch(next + 8 * v);
        }
        if (in) {
            __m256 s = _mm256_broadcast_ss(in + col[e]);
#pragma GCC unroll 8
            for (int v = 0; v < nv; v++)
                a[v] = _mm256_add_ps(a[v], _mm256_mul_ps(s, _mm256_loadu_ps(x + 8 * v)));
        } else {
#pragma GCC unroll 8
            for (int v = 0; v < nv; v++)
                a[v] = _mm256_add_ps(a[v], _mm256_loadu_ps(x + 8 * v));
        }
    }
#pragma GCC unroll 8
    for (int v = 0; v < nv; v++)
        _mm256_storeu_ps(acc + 8 * v, a[v]);
}

void graph_gather_avx2(const uint32_t *col, size_t n_edges, size_t n_ahead, const float *in,
                       const float *X, size_t D, float *acc)
{
    size_t d = 0;
    for (; D - d >= 64; d += 64)
        gather(col, n_edges, n_ahead, in, X + d, D, 8, acc + d);
    for (; D - d >= 32; d += 32)
        gather(col, n_edges, n_ahead, in, X + d, D, 4, acc + d);
    for (; D - d >= 8; d += 8)
        gather(col, n_edges, n_ahead, in, X + d, D, 1, acc + d);
    for (size_t e = 0; e < n_edges && d < D; e++) {
        const float *x = X + (size_t)col[e] * D;
        float s = in ? in[col[e]] : 1;
        for (size_t i = d; i < D; i++)
            acc[i] += s * x[i];
    }
}
