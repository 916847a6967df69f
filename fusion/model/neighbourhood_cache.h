#ifndef MMF_FUSION_MODEL_NEIGHBOURHOOD_CACHE_H
#define MMF_FUSION_MODEL_NEIGHBOURHOOD_CACHE_H

/* Inside fusion/: the nodes that a neighbourhood has met. Each has a local number by its name, and
 * its edges, degree and input are asked for once. All of it may be forgotten at any time between two
 * calls of neighbourhood_vectors. */

#include "fusion/model/neighbourhood_source.h"

struct node {
    int64_t name;
    uint32_t *near; /* (degree) local numbers; NULL = not asked for, or none */
    float *own;     /* (width) an item's input */
    const float *x; /* (width) the input, of a user (E); NULL = not asked for */
    uint32_t degree;
    bool has_near, has_degree, unknown;
    uint32_t row, pass; /* its place in the order of that pass (neighbourhood_pass.h) */
};

struct neighbourhood_cache {
    struct neighbourhood_source source;
    size_t width;       /* of an item's input, E + A + C */
    struct node *nodes; /* (room) */
    uint32_t n_nodes, room;
    uint32_t *slots; /* (n_slots) local number + 1, 0 = free; open addressing */
    size_t n_slots, bytes;
    float *zeros; /* (width) */
};

/* Room for n elements of an array that grows: array is the address of its pointer. */
int neighbourhood_reserve(void *array, size_t *room, size_t n, size_t size, struct err *err);

int neighbourhood_cache_init(struct neighbourhood_cache *c,
                             const struct neighbourhood_source *source, size_t width,
                             struct err *err);
/* The local number of a name, a new one where there is none: moves nodes. */
int neighbourhood_cache_local(struct neighbourhood_cache *c, int64_t name, uint32_t *ret,
                              struct err *err);
/* NULL = never met. */
struct node *neighbourhood_cache_find(const struct neighbourhood_cache *c, int64_t name);
/* What has not been asked for yet, of the node with a local number: moves nodes. */
int neighbourhood_cache_edges(struct neighbourhood_cache *c, uint32_t i, struct err *err);
int neighbourhood_cache_degree(struct neighbourhood_cache *c, uint32_t i, struct err *err);
/* The inputs of n nodes. */
int neighbourhood_cache_inputs(struct neighbourhood_cache *c, const uint32_t *which, size_t n,
                               struct err *err);
void neighbourhood_cache_clear(struct neighbourhood_cache *c);
void neighbourhood_cache_done(struct neighbourhood_cache *c);

#endif
