#ifndef MMF_FUSION_MATH_GRAPH_KERNELS_H
#define MMF_FUSION_MATH_GRAPH_KERNELS_H

/* Inside fusion/: the loop over a row's edges, which graph.c chooses by what the processor has.
 * acc (D) += Σ_e in[col_e] X[col_e], in NULL = 1; additions in the order of the edges, no fused
 * multiply-add: every kernel gives the same bytes. col may be read up to `n_ahead` entries behind
 * n_edges, to ask for their rows ahead of time. */

#include <stddef.h>
#include <stdint.h>

typedef void graph_gather(const uint32_t *col, size_t n_edges, size_t n_ahead, const float *in,
                          const float *X, size_t D, float *acc);

graph_gather graph_gather_scalar;
#if defined(__x86_64__)
graph_gather graph_gather_avx2;
#endif

#endif
