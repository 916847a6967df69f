#ifndef MMF_FUSION_MODEL_CONTENT_H
#define MMF_FUSION_MODEL_CONTENT_H

/* The content columns of an item: what its features say without any training, so that an item that
 * nobody has seen has something to be recommended by.
 *
 *   c = scale (x P) / |x P|        x (F) standardised, missing modalities zero
 *   P = V diag(power)^-1/2         the C directions along which the x of the catalogue are longest,
 *                                  each brought to the same power
 *
 * They stand beside the fused half in an item's input and are frozen; a user's are zero. LightGCN
 * then gives a user Σ c_i / sqrt(d_u d_i) over its items, and the product of the two joins the
 * learned one. Legend: I items, F input columns, C content columns. */

#include "config/err.h"
#include "fusion/model/model.h"

#include <stddef.h>

/* ret_P (F, C), C <= F. Deterministic for one number of BLAS threads. */
int content_fit(const float *X /* (I, F) */, size_t n_items, size_t F, size_t C, float *ret_P,
                struct err *err);
void content_rows(const float *X /* (n, F) */, size_t n, size_t F, const float *P, size_t C,
                  float scale, float *ret_c /* (n, C) */);
/* Rows of x P to length `scale`; a zero row stays. */
void content_scale(float *c, size_t C, float scale);

/* The shape's content_dim and content_scale from the tensor mmf.content (F, C) and the metadata
 * mmf.content_scale; after the layers. ERR_FATAL EX_DATAERR for what does not fit. */
int content_derive(struct model *model, struct err *err);

#endif
