#ifndef MMF_FUSION_MATH_KNN_H
#define MMF_FUSION_MATH_KNN_H

/* The item-item graph: each item's k nearest neighbours by cosine, modality by modality, over
 * standardised features; frozen while the model trains (Zhang et al., LATTICE, 2021, and FREEDOM,
 * 2023, after whom frozen is enough). Row i of modality m holds max(cosine, 0) scaled to sum 1;
 * the modalities that an item has are mixed by their weights, which are scaled to sum 1 for that
 * item. An item without features has an empty row. */

#include "config/err.h"
#include "config/modality.h"
#include "fusion/math/csr.h"

#include <stddef.h>
#include <stdint.h>

struct knn_options {
    uint32_t k;                   /* neighbours a modality */
    float weight[MODALITY_COUNT]; /* of a modality; > 0 */
    /* After each block of items of a modality, which is a matter of minutes in all for 10^5 items;
     * NULL = none. */
    void (*on_block)(void *arg, size_t n_done, size_t n_items);
    void *on_block_arg;
};

/* X (I, F) standardised, columns by modality_dim; mask (I) MODALITY_BITs. ret_S (I, I). */
int knn_build(const float *X, const uint8_t *mask, uint32_t n_items,
              const int32_t modality_dim[MODALITY_COUNT], const struct knn_options *options,
              struct csr *ret_S, struct err *err);

#endif
