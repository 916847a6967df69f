#ifndef MMF_FUSION_MODEL_CONTENT_H
#define MMF_FUSION_MODEL_CONTENT_H

/* The content columns of models that earlier versions trained, which go on being served; content is
 * columns beside the backbone's vectors now (columns.h, docs/design/fusion/226-signals-as-columns.md).
 *
 *   c = scale (x P) / |x P|        x (F) standardised, missing modalities zero; P is in the file
 *
 * They stand beside the fused half in an item's input; a user's are zero. LightGCN
 * then gives a user Σ c_i / sqrt(d_u d_i) over its items, and the product of the two joins the
 * learned one. Legend: F input columns, C content columns. */

#include "config/err.h"
#include "fusion/model/model.h"

#include <stddef.h>

/* Rows of x P to length `scale`; a zero row stays. */
void content_scale(float *c, size_t C, float scale);

/* The shape's content_dim and content_scale from the tensor mmf.content (F, C) and the metadata
 * mmf.content_scale; after the layers. ERR_FATAL EX_DATAERR for what does not fit. */
int content_derive(struct model *model, struct err *err);

#endif
