#ifndef MMF_FUSION_MODEL_COLD_H
#define MMF_FUSION_MODEL_COLD_H

/* How long an item's vector is when it is published. Scores are products, propagation over few edges
 * gives short vectors (LightGCN, CP: items that nobody has .76 of the mean length, the most popular
 * one 4.1), and an item without interactions would be in nobody's list however well it fits. So an
 * item with n interactions is at least length / sqrt(1 + n) long: optimism that fades as evidence
 * comes in, as the bonus of UCB does (Auer, Cesa-Bianchi and Fischer, 2002). Its direction, and with
 * it every cosine, stays. What other vectors are made of (layers, the item-item graph) is never
 * lengthened. A training takes 1.25 mean lengths (trainee_options_init); a model file says its own,
 * and those of earlier versions say others. docs/design/fusion/214-cold-length.md */

#include "config/err.h"

#include <stddef.h>
#include <stdint.h>

struct model;

/* Of what the backbone gives, before signals.h scales it: D here is model_shape.B.
 * y (D); the zero vector, which stands for none, stays; length 0 = as it is. */
void cold_lengthen(float *y, size_t D, float length, uint32_t n_interactions);

/* Y (n, D), n_interactions (n), mask (n) of MODALITY_BITs. */
struct cold_items {
    size_t n, D;
    float *Y;
    const uint32_t *n_interactions;
    const uint8_t *mask;
};
/* Of the items with interactions; 0 when there is none. */
float cold_mean_length(const struct cold_items *items);
/* All but those without interactions and features: nothing but an identity that nobody trained. */
void cold_lengthen_items(const struct cold_items *items, float length);

/* The shape's cold_length from the metadata mmf.cold_length, 0 without. ERR_FATAL EX_DATAERR for
 * what is no length. */
int cold_derive(struct model *m, struct err *err);

#endif
