#ifndef MMF_FUSION_MODEL_SIMILAR_H
#define MMF_FUSION_MODEL_SIMILAR_H

/* The item-item graph at inference: a new item's row of it, and what the item borrows by it. The
 * rows of the items that the model was trained with: item_graph.h.
 *
 *   Y = Z + strength Σ_j S_j Z_j      (knn.h; in training the rows of S are frozen)
 *
 * The model file keeps what a row is made of: for every item with features its standardised
 * features, each modality at unit length, and its Z, the vector before the item-item graph. An item
 * that is itself among them (cold at the training, or re-fused) does not borrow from itself: one
 * row with the very same features is passed over, which a re-upload under another id is as well.
 *
 * Tensors, legend as in trainee.h: mmf.knn.x (n, F), mmf.knn.z (n, B), mmf.knn.item (n); metadata mmf.knn "k strength
 * weight weight weight". Rows are independent, as everything in fuse.h. */

#include "config/err.h"
#include "fusion/math/knn.h"
#include "fusion/model/model.h"

#include <stddef.h>
#include <stdint.h>

struct similar; /* immutable; any number of threads */

/* *ret_s NULL: the model has no item-item graph. ERR_FATAL EX_DATAERR for tensors that do not fit.
 * The tensors stay the model's. */
int similar_new(const struct model *model, struct similar **ret_s, struct err *err);
void similar_free(struct similar *s); /* takes NULL */
/* E_i += strength Σ_j S_ij Z_j for n items: x rows standardised, missing modalities zero, stride
 * ldx; E rows of stride lde. */
int similar_add(const struct similar *s, const float *x, size_t ldx, const uint8_t *mask,
                size_t n, float *E, size_t lde, struct err *err);
/* The row itself: at most similar_width items (rows of item_E, each once) and their values. None for a model
 * from before the file kept whose rows x is. */
int similar_row(const struct similar *s, const float *x, uint8_t mask, uint32_t *ret_items,
                float *ret_values, size_t *ret_n, struct err *err);
size_t similar_width(const struct similar *s);
/* What a training leaves: rows of n_items items, of which those with a mask are kept. */
struct similar_items {
    const struct model_shape *shape;
    const struct knn_options *knn;
    float strength;
    uint32_t n_items;
    const uint8_t *mask; /* (n_items) of MODALITY_BITs */
    const float *X;      /* (n_items, F) standardised */
    const float *Z;      /* (n_items, B) before the item-item graph */
    size_t B;
};
/* Into a model that is being built. */
int similar_export(const struct similar_items *items, struct model *model, struct err *err);

#endif
