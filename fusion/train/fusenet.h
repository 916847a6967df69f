#ifndef MMF_FUSION_TRAIN_FUSENET_H
#define MMF_FUSION_TRAIN_FUSENET_H

/* The fusion network while it trains: forward and backward of meta information extractor and meta
 * fusion learner, in batches by OpenBLAS (inference is fuse.h). Legend: B rows, F input columns, H
 * hidden units of the extractor, S meta information, R CP rank, d_0 = F … d_L widths.
 *
 *   s  = ReLU(x W0 + b0) W2 + b2                       (paper eq. 4; mlp_signal)
 *   s  = gain (s - mean s) / deviation of s            over the batch, when meta_gain > 0: the
 *                                                      generated part is a pure deviation from M
 *                                                      and of a size that training cannot blow up
 *                                                      (left alone: to a mean of 20, when an item's
 *                                                      own s made no difference to the lists)
 *   y  = h M + Σ_k s_k (h T_k)                         dense (eq. 7, W_i never materialised)
 *   y  = h M + ((h A) ⊙ (s Cᵀ)) Bᵣ                     CP (eq. 10-12, the same sum, factorised)
 *   h' = LeakyReLU(y, 0.01), none after the last layer
 *
 * What multiplies the same h is one matrix, so a layer is one GEMM: [M | T_1 … T_S] or [M | A];
 * the first layer's carries the extractor's W0 as well: [M | … | W0]. Weights and gradients live
 * in two flat arrays of n_weights floats that the owner gives (the optimiser walks over them).
 *
 * The only large memory is Z, one product a layer: h takes the place of its columns h M, and
 * backward puts the gradient of every column where the column was. */

#include "config/err.h"
#include "fusion/model/model.h"

#include <stddef.h>

struct fusenet_layer {
    size_t in, out;
    size_t n_cols;    /* columns of `cat` */
    size_t cat;       /* offset of [M | generated | W0] (in, n_cols) */
    size_t generated; /* first generated column = out */
    size_t B, C;      /* CP: offsets of B (R, out) and C (R, S) */
};

enum { FUSENET_BLOCK = 1024 }; /* rows whose dh is made at a time */

struct fusenet {
    struct model_shape shape;
    size_t H;
    size_t n_weights;
    struct fusenet_layer layer[MODEL_LAYERS_MAX];
    size_t hidden;     /* first column of W0 in layer 1's cat */
    size_t b0, W2, b2; /* offsets: (H), (H, S), (S) */

    float meta_gain; /* 0 = the extractor's s as it is; otherwise batches are the catalogue */

    float *w, *g; /* (n_weights) weights, gradients: the owner's */

    size_t max_rows;             /* rows that the workspace holds */
    float *workspace;            /* one block, carved below */
    size_t ld[MODEL_LAYERS_MAX]; /* floats between rows of Z */
    float *Z[MODEL_LAYERS_MAX];  /* (B, n_cols) h·cat; [0, out) becomes the layer's h */
    float *G[MODEL_LAYERS_MAX];  /* (B, R) s Cᵀ */
    float *Q[MODEL_LAYERS_MAX];  /* (B, R) (h A) ⊙ G */
    float *s, *ds, *dQ;          /* (B, S), (B, S), (B, R) */
    double *mean, *scale;        /* (S) of the last forward: s = (raw - mean) scale */
    float *dh;                   /* (FUSENET_BLOCK, widest) a block of rows of dh */
    float *W2t;                  /* (S, H) */
};

/* Lays out the weights of a network of this shape (fusion static, dense or CP). */
void fusenet_init(struct fusenet *net, const struct model_shape *shape);
/* Room for batches of up to max_rows rows. */
int fusenet_reserve(struct fusenet *net, size_t max_rows, struct err *err);
/* Multiplies T or C: how much of the start is item-specific (Xavier makes it tiny for T). */
void fusenet_scale_item_specific(struct fusenet *net, float scale);

/* Keeps what backward needs. X (B, F) must stay as it is until then. */
void fusenet_forward(struct fusenet *net, const float *X /* (B, F) */, size_t B,
                     float *ret_E /* (B, d_L) */);
/* Adds the gradients of every weight to g. Uses up what forward kept: once for each forward. */
void fusenet_backward(struct fusenet *net, const float *X /* (B, F) */, size_t B,
                      const float *dE /* (B, d_L) */);

/* To and from a model's tensors; the normalisation of s by the last forward, if any, is folded into W2 and
 * b2 (names of model/internal.h). */
struct model;
int fusenet_export(const struct fusenet *net, struct model *model, struct err *err);
int fusenet_import(struct fusenet *net, const struct model *model, struct err *err);
void fusenet_done(struct fusenet *net);

#endif
