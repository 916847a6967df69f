#ifndef MMF_FUSION_MATH_GRAPH_H
#define MMF_FUSION_MATH_GRAPH_H

/* The user-item graph and what propagates over it. Nodes are the users 0 … U-1, then the items U
 * … U+I-1; N = U+I; X is (N, D). The graph is symmetric: one structure, with a row for every
 * node, serves forward and backward.
 *
 *   LightGCN   Y = 1/(K+1) Σ_{k=0}^{K} Âᵏ X,  Â = D^-½ A D^-½   (He et al., SIGIR 2020, eq. 7-8);
 *              symmetric, so the same call propagates the gradient
 *   mean       Y_i = 1/|N_i| Σ_{j∈N_i} X_j  (SAGEConv's neighbour mean), and its adjoint
 *
 * A node without edges has a zero sum: under LightGCN it keeps X_i/(K+1).
 *
 * A loss touches few nodes: what is asked for can be limited to the rows of a set, and a gradient
 * that is zero outside a set costs only the edges into it. Both are exact. Rows are independent:
 * any number of threads gives the same bytes. */

#include "config/err.h"
#include "fusion/math/csr.h"
#include "fusion/math/team.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct graph {
    uint32_t n_users, n_items, n_nodes;
    struct csr adjacency; /* (N, N), symmetric, no values */
    float *rsqrt_degree;  /* (N), 0 for a node without edges */
    float *inv_degree;    /* (N), 0 likewise */
    float *scale;         /* (N), rsqrt_degree, but 1 for a node without edges */
};

int graph_new(const struct csr_pair *pairs /* user row, item row */, size_t n_pairs,
              uint32_t n_users, uint32_t n_items, struct graph *ret_g, struct err *err);
/* Room for g without some of its edges. */
int graph_new_like(const struct graph *g, struct graph *ret_room, struct err *err);
/* room, made like g, ← g without the edges of n pairs of its users and items; a pair that is none
 * of its edges changes nothing. The degrees are those that remain. */
void graph_without(const struct graph *g, const uint32_t *users, const uint32_t *items,
                   size_t n, struct graph *room);
void graph_done(struct graph *g);

/* A set of nodes. */
struct graph_rows {
    uint32_t n_nodes;
    uint32_t n;
    uint32_t *row; /* (n) ascending, once graph_rows_close was called */
    uint8_t *has;  /* (N) 1 = in the set */
};

int graph_rows_new(uint32_t n_nodes, struct graph_rows *ret_rows, struct err *err);
void graph_rows_clear(struct graph_rows *rows);
static inline void graph_rows_add(struct graph_rows *rows, uint32_t node)
{
    rows->has[node] = 1;
}
void graph_rows_close(struct graph_rows *rows);
void graph_rows_done(struct graph_rows *rows);

/* y_i = scale (self_i x_i + sum_i Σ_{j∈N_i} in_j q_j), a row at a time. */
struct graph_sum {
    const struct graph *g;
    size_t D;
    const float *Q;                   /* (N, D) what is summed */
    const float *in;                  /* (N), NULL = 1 */
    const struct graph_rows *sources; /* rows of Q that are not zero; NULL = all */
    const float *X;                   /* (N, D), NULL = no own term */
    const struct graph_rows *own;     /* rows of X that are not zero; NULL = all */
    const float *self;                /* (N), NULL = 1 */
    const float *sum;                 /* (N), NULL = 1 */
    float scale;
};
void graph_sum_row(const struct graph_sum *s, uint32_t i, float *ret_y /* (D) */);

/* Y (N, D): the rows of `rows`, NULL = all; X counts as zero outside `sources` (its memory there
 * is not read), NULL = nowhere. n_layers >= 1. work (N, D); Y, X and work are three arrays. */
void graph_lightgcn(const struct graph *g, uint32_t n_layers, const float *X, size_t D,
                    const struct graph_rows *sources, const struct graph_rows *rows,
                    struct team *team, float *Y, float *work);

/* Y (n_rows, D) += strength * S X, S with values (the item-item graph). Rows of S in [0, n_rows)
 * for which rows->has[first_node + row]; NULL = all. */
void graph_add_weighted(const struct csr *S, float strength, const float *X, size_t D,
                        const struct graph_rows *rows, uint32_t first_node, float *Y);
/* The adjoint: X's row of each column += strength * S_ij Y_i. */
void graph_add_weighted_backward(const struct csr *S, float strength, const float *dY, size_t D,
                                 const struct graph_rows *rows, uint32_t first_node, float *dX);

#endif
