#ifndef MMF_DAEMON_MODEL_FEATURE_ROW_H
#define MMF_DAEMON_MODEL_FEATURE_ROW_H

/* An item's features as a model's input: x = [visual ‖ acoustic ‖ textual], zeros for a modality
 * that is missing, or made by another encoder than the model's. The one place where it is decided
 * what a model can use. */

#include "config/err.h"
#include "config/modality.h"
#include "fusion/model/model.h"
#include "store/models.h"

#include <stdint.h>

/* One modality's vector, borrowed from whoever has it. */
struct feature_part {
    const float *vec; /* (dim), NULL = missing */
    int32_t dim;
    const char *encoder_id;
};

/* Fills x (F); returns the MODALITY_BITs that are there. */
uint8_t feature_row(const struct model_shape *shape,
                    const struct feature_part part[MODALITY_COUNT], float *x);
/* The same of one item as the store holds it. */
uint8_t feature_row_stored(const struct model_shape *shape, const struct store_features *f,
                           float *x);
/* And read from there; the mask is zero for an item without features. */
int feature_row_read(struct store *st, int64_t rid, const struct model_shape *shape, float *x,
                     uint8_t *ret_mask, struct err *err);

#endif
