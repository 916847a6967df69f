#ifndef MMF_FUSION_MODEL_FUSE_H
#define MMF_FUSION_MODEL_FUSE_H

/* The forward pass. W_i is never materialised (CP): h ← ((h A) ⊙ (s Cᵀ)) B + h M.
 *
 * Row independence: every output row is the same chain of fused multiply-adds whatever the batch,
 * so an item alone, first, last in 64 or in 10,000 gives equal bytes (gemm.h). One thread per
 * call; any number of threads may use one model, each with its own context. */

#include "config/err.h"
#include "fusion/model/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Forward pass only, as `metammf fuse` does it: X (B, F) used as it is → E (B, d_L), the last
 * layer's h. A model without fusion, or a row whose result is not finite: ERR_FATAL with
 * EX_DATAERR. */
int fuse_forward(const struct model *model, const float *X /* (B, F) */, size_t B,
                 float *ret_E /* (B, d_L) */, struct err *err);

/* An item's embedding as published for an item without interactions: standardise, zero missing
 * modalities, fuse, the fused half to its length, empty ID half, backbone without edges. mask (B) has
 * MODALITY_BITs; a row with mask 0, and every row of a model without fusion and without content
 * columns (model_has_features), gives the zero vector (the caller stores no_signal), as does an item
 * whose features give exactly zero.
 * ERR_FATAL with EX_SOFTWARE when a result is not finite.
 *
 * Backbone without edges: what backbone_NAME.c makes of [fused ‖ content ‖ 0] where every sum over
 * neighbours is zero.
 * A model that was trained with the item-item graph adds what the item borrows from its nearest
 * neighbours (similar.h).
 * A trained model brings what is shorter to its cold_length (cold.h).
 * A model with more signals scales that and adds the factors that the item's features suggest, if any, and its
 * content (signals.h);
 * without fusion the backbone's part is zero.
 * A model of the authors (no mmf.mean) is applied as they do: no standardising, no length. */
int fuse_items(const struct model *model, const float *X /* (B, F) */,
               const uint8_t *mask /* (B) */, size_t B, float *ret_E /* (B, D) */,
               struct err *err);

/* The same of items that have interactions by now, n_interactions (B), of which the model knows
 * nothing: they count for the length (cold.h) and for what content
 * and suggested factors weigh. NULL = none. */
int fuse_later_items(const struct model *model, const float *X, const uint8_t *mask,
                     const uint32_t *n_interactions, size_t B, float *ret_E, struct err *err);

/* e (D) is the zero vector, which stands for none. */
static inline bool fuse_is_zero(const float *e, int32_t D)
{
    for (int32_t j = 0; j < D; j++)
        if (e[j] != 0.0F)
            return false;
    return true;
}

/* The same with the caller's scratch memory, so that a loop over batches allocates nothing. A
 * context belongs to one thread and one model; max_rows is a hint, any B works. */
struct fuse_context;
int fuse_context_new(const struct model *model, size_t max_rows,
                     struct fuse_context **ret_context, struct err *err);
void fuse_context_free(struct fuse_context *context);
int fuse_forward_in(struct fuse_context *context, const float *X, size_t B, float *ret_E,
                    struct err *err);
int fuse_items_in(struct fuse_context *context, const float *X, const uint8_t *mask, size_t B,
                  float *ret_E, struct err *err);
/* Of one item with features X (F): the row itself (similar_row), at most fuse_similar_width items;
 * none for a model without it. */
size_t fuse_similar_width(const struct fuse_context *context);
int fuse_similar_in(struct fuse_context *context, const float *X, uint8_t mask,
                    uint32_t *ret_items, float *ret_values, size_t *ret_n, struct err *err);
/* What the features give alone, before the ID half and the backbone: [fused ‖ content] (B,
 * model_feature_width), the fused half at the length that the model says. What propagation over
 * edges starts from. */
int fuse_features_in(struct fuse_context *context, const float *X, const uint8_t *mask,
                     size_t B, float *ret_E, struct err *err);

/* What signals.h weighs of an item's features, [c ‖ m]: the content columns, of unit length or zero,
 * and the mapped factors. */
int fuse_columns_in(struct fuse_context *context, const float *X, const uint8_t *mask, size_t B,
                    float *ret_c /* (B, model_column_width) */, struct err *err);

/* How much of an item's fusion was generated for it: h W_i = h M + h ΔW_i, layer by layer, h being
 * the layer's input and ΔW_i what the meta information s_i makes of the layer's tensor. Static
 * fusion has generated = 0, a model without fusion no layer. */
struct fuse_norms {
    size_t n_layers;
    double common[MODEL_LAYERS_MAX];    /* ‖h M‖ */
    double generated[MODEL_LAYERS_MAX]; /* ‖h ΔW_i‖ */
};
/* Of one item, on the path of fuse_items. */
int fuse_norms(const struct model *model, const float *X /* (F) */, uint8_t mask,
               float *ret_s /* (S) */, struct fuse_norms *ret_norms, struct err *err);

#endif
