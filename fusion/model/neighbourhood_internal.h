#ifndef MMF_FUSION_MODEL_NEIGHBOURHOOD_INTERNAL_H
#define MMF_FUSION_MODEL_NEIGHBOURHOOD_INTERNAL_H

/* Inside fusion/: the nodes that a neighbourhood has met. neighbourhood_cache.c keeps them,
 * neighbourhood.c propagates over them. */

#include "fusion/model/neighbourhood.h"

#include <stdbool.h>

#define NEIGHBOURHOOD_HOPS_MAX 16

struct node {
    int64_t name;
    uint32_t *near; /* (degree) local numbers; NULL = not asked for, or none */
    float *own;     /* (E) an item's input */
    const float *x; /* (E) the input, NULL = not asked for */
    uint32_t degree, row, pass;
    bool has_near, has_degree, unknown;
};

struct conv {
    size_t in, out;
    float *l, *r; /* (in, out) transposed */
    const float *bias;
};

struct neighbourhood {
    struct neighbourhood_source source;
    enum backbone_kind backbone;
    uint32_t hops;
    size_t E, D;
    float strength, cold_length;
    struct conv conv[2];

    struct node *nodes; /* (room) */
    uint32_t n_nodes, room, pass;
    uint32_t *slots; /* (n_slots) local number + 1, 0 = free; open addressing */
    size_t n_slots, bytes, n_edges;

    uint32_t *order; /* (n_order) local numbers, breadth first */
    size_t n_order, order_room;
    size_t prefix[NEIGHBOURHOOD_HOPS_MAX + 2]; /* nodes within k hops */
    const float **row;                         /* (n_order) the current layer's row of a node */
    size_t row_room;
    float *layer[2]; /* two layers of propagation */
    size_t layer_room[2];
    float *zeros; /* (E) */
    float *mean;  /* sage: (widest input of a convolution) of a node's neighbours */
    float *Z;     /* (wanted and similar, D) */
    size_t Z_room;
};

/* Room for n elements of an array that grows: array is the address of its pointer. */
int neighbourhood_reserve(void *array, size_t *room, size_t n, size_t size, struct err *err);
/* The local number of a name, a new one where there is none: moves nodes. */
int neighbourhood_local(struct neighbourhood *h, int64_t name, uint32_t *ret, struct err *err);
/* NULL = never met. */
struct node *neighbourhood_find(struct neighbourhood *h, int64_t name);
/* What has not been asked for yet, of the node with a local number: moves nodes. */
int neighbourhood_load_edges(struct neighbourhood *h, uint32_t i, struct err *err);
int neighbourhood_load_degree(struct neighbourhood *h, uint32_t i, struct err *err);
/* The inputs of the first n nodes of the order. */
int neighbourhood_load_inputs(struct neighbourhood *h, size_t n, struct err *err);

#endif
