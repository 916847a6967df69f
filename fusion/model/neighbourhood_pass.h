#ifndef MMF_FUSION_MODEL_NEIGHBOURHOOD_PASS_H
#define MMF_FUSION_MODEL_NEIGHBOURHOOD_PASS_H

/* Inside fusion/: one pass over a neighbourhood, and what the backbones' passes are made of.
 *
 * A breadth-first walk from the wanted nodes gives an order in which the nodes within k hops are a
 * prefix. Layer k of the propagation is needed exactly for the nodes within hops - k: a shorter
 * prefix each time, made from the one before, so that shared neighbourhoods are computed once.
 *
 * Example, lightgcn with 2 hops, wanted u1: order [u1 | its items | their users]; e⁰ of all, e¹ of
 * u1 and its items, e² of u1. */

#include "fusion/model/fold.h"
#include "fusion/model/neighbourhood_cache.h"

#define NEIGHBOURHOOD_HOPS_MAX 16

struct neighbourhood {
    struct neighbourhood_cache cache;
    const struct model *model;
    const struct backbone *backbone;
    void *own; /* the backbone's, of `begin` */
    uint32_t hops;
    size_t E, B, A, C, D; /* as in shape.h; E of a backbone's input */
    float strength, cold_length;

    uint32_t pass;
    size_t n_edges;  /* looked at in this pass */
    uint32_t *order; /* (n_order) local numbers, breadth first */
    size_t n_order, order_room;
    size_t prefix[NEIGHBOURHOOD_HOPS_MAX + 2]; /* nodes within k hops */
    const float **row;                         /* (n_order) the current layer's row of a node */
    size_t row_room;
    float *layer[2]; /* two layers of propagation */
    size_t layer_room[2];
    float *Z; /* (wanted and similar, B) */
    size_t Z_room;
    struct fold fold; /* of users, with factors */
    float *fold_scratch;
    const float **fold_row; /* the items of one fold */
    size_t fold_room;
};

/* Given up, with h->n_edges above max_edges, when more of them would be looked at. */
int neighbourhood_pass_order(struct neighbourhood *h, const int64_t *nodes, size_t n,
                             size_t max_edges, struct err *err);
/* One node more at the end of the order, if it is not in it. */
int neighbourhood_pass_append(struct neighbourhood *h, uint32_t i, struct err *err);
/* The inputs of all nodes of the order. */
int neighbourhood_pass_inputs(struct neighbourhood *h, struct err *err);
/* Room for n floats in layer[which]. */
int neighbourhood_pass_layer(struct neighbourhood *h, int which, size_t n, struct err *err);
/* acc (n) = Σ over the node's neighbours of their row, weighed: by 1/sqrt of their degree. */
void neighbourhood_pass_gather(const struct neighbourhood *h, const struct node *v,
                               bool weighed, size_t n, float *acc);
/* 1/sqrt of a node's degree, 0 without edges. */
float neighbourhood_pass_rsqrt(const struct node *v);

/* The i-th node of the order; until something is appended or loaded. */
static inline const struct node *neighbourhood_pass_node(const struct neighbourhood *h,
                                                         size_t i)
{
    return &h->cache.nodes[h->order[i]];
}

#endif
