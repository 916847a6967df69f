#ifndef MMF_FUSION_MODEL_NEIGHBOURHOOD_H
#define MMF_FUSION_MODEL_NEIGHBOURHOOD_H

/* The vectors of a few nodes, exactly as trainee_forward makes them over the whole graph (to 1e-5,
 * sums being in another order), from their neighbourhood alone: what one new edge costs depends on
 * who is around it, not on the size of the catalogue. Legend as in trainee.h: E width of a node's
 * input e⁰, B of the backbone's vector, D of the published one, K hops of the backbone.
 *
 *   Z_i of the nodes within K hops of i, as backbone_NAME.c says. A user whom the model does not
 *   know is a node with input zero, and propagation gives it what its items are; under mf, which
 *   has none, it gets the mean of their inputs
 *   item-item graph: Y_i = Z_i + strength Σ_j S_ij Z_j, for items only
 *   an item that is still shorter than cold.h wants is brought to that length
 *   signals.h: an item's Y is scaled and its factors and content put beside it, those of a user
 *   are made of its items, as far as they have any
 *
 * Edges and inputs are asked for once and kept until they are forgotten: whoever changes the graph
 * says so. Not thread-safe. */

#include "config/err.h"
#include "fusion/model/model.h"
#include "fusion/model/neighbourhood_source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The model's identities, item_E or user: (*ret_n, *ret_width), NULL = it has none. */
const float *neighbourhood_identities(const struct model *model, bool items, size_t *ret_n,
                                      size_t *ret_width);

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
/* Asks for the edges of a node and the degrees of who is there, where they are not known. */
int neighbourhood_look_around(struct neighbourhood *h, int64_t node, struct err *err);
void neighbourhood_forget(struct neighbourhood *h, int64_t node);       /* its edges */
void neighbourhood_forget_input(struct neighbourhood *h, int64_t node); /* its e⁰ */
size_t neighbourhood_bytes(const struct neighbourhood *h);
void neighbourhood_clear(struct neighbourhood *h);
void neighbourhood_free(struct neighbourhood *h); /* takes NULL */

#endif
