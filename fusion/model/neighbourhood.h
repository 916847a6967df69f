#ifndef MMF_FUSION_MODEL_NEIGHBOURHOOD_H
#define MMF_FUSION_MODEL_NEIGHBOURHOOD_H

/* The vectors of a few nodes, exactly as trainee_forward makes them over the whole graph (to 1e-5,
 * sums being in another order), from their neighbourhood alone: what one new edge costs depends on
 * who is around it, not on the size of the catalogue. Legend as in trainee.h: E width of a node's
 * input e⁰, D of its vector, K hops of the backbone.
 *
 *   Z_i of the nodes within K hops of i, as backbone_NAME.c says. A user whom the model does not
 *   know is a node with input zero, and propagation gives it what its items are; under mf, which
 *   has none, it gets the mean of their inputs
 *   item-item graph: Y_i = Z_i + strength Σ_j S_ij Z_j, for items only
 *   an item that is still shorter than cold.h wants is brought to that length
 *
 * Edges and inputs are asked for once and kept until they are forgotten: whoever changes the graph
 * says so. Not thread-safe. */

#include "config/err.h"
#include "fusion/model/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A node is named by its side and id: 2·uid for users, 2·rid + 1 for items. */
static inline int64_t neighbourhood_user(int64_t uid)
{
    return 2 * uid;
}
static inline int64_t neighbourhood_item(int64_t rid)
{
    return 2 * rid + 1;
}
static inline bool neighbourhood_is_item(int64_t node)
{
    return node & 1;
}
static inline int64_t neighbourhood_id(int64_t node)
{
    return node >> 1;
}

/* The model's identities, item_E or user: (*ret_n, *ret_width), NULL = it has none. */
const float *neighbourhood_identities(const struct model *model, bool items, size_t *ret_n,
                                      size_t *ret_width);

/* What is returned by pointer belongs to the source and lives until its next call. */
struct neighbourhood_source {
    void *arg;
    /* The nodes on the other side, each once. */
    int (*edges)(void *arg, int64_t node, const int64_t **ret_nodes, size_t *ret_n,
                 struct err *err);
    int (*degree)(void *arg, int64_t node, uint32_t *ret_degree, struct err *err);
    /* e⁰ of n items: ret_x (n, E), all of it. */
    int (*items)(void *arg, const int64_t *nodes, size_t n, float *ret_x, struct err *err);
    /* e⁰ (E) of a user, which lives as long as the neighbourhood; NULL = not in the model. */
    const float *(*user)(void *arg, int64_t node);
    /* An item's row of the item-item graph; NULL = the model has none. */
    int (*similar)(void *arg, int64_t node, const int64_t **ret_nodes, const float **ret_values,
                   size_t *ret_n, struct err *err);
};

struct neighbourhood;

/* The model must outlive it. strength: of the item-item graph. */
int neighbourhood_new(const struct model *model, const struct neighbourhood_source *source,
                      float strength, struct neighbourhood **ret_h, struct err *err);
/* ret_vec (n, D), ret_degree (n). Zeros for a node without any signal. *ret_too_big: more than
 * max_edges edges would be looked at; neither is filled, fewer nodes at a time may do. */
int neighbourhood_vectors(struct neighbourhood *h, const int64_t *nodes, size_t n,
                          size_t max_edges, float *ret_vec, uint32_t *ret_degree,
                          bool *ret_too_big, struct err *err);
/* Edges looked at by the last call, the same one counted for each layer. */
size_t neighbourhood_edges(const struct neighbourhood *h);
/* At most max neighbours of a node whose edges have been asked for, those with the fewest edges
 * first: an edge weighs 1/sqrt of the degrees of its ends, so what a change at one end does to the
 * other is largest there. Returns how many. */
size_t neighbourhood_near(struct neighbourhood *h, int64_t node, size_t max,
                          int64_t *ret_nodes);
void neighbourhood_forget(struct neighbourhood *h, int64_t node);       /* its edges */
void neighbourhood_forget_input(struct neighbourhood *h, int64_t node); /* its e⁰ */
size_t neighbourhood_bytes(const struct neighbourhood *h);
void neighbourhood_clear(struct neighbourhood *h);
void neighbourhood_free(struct neighbourhood *h); /* takes NULL */

#endif
