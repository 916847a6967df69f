#ifndef MMF_FUSION_MODEL_FUSE_PLAN_H
#define MMF_FUSION_MODEL_FUSE_PLAN_H

/* Inside fusion/: a model's weights packed for the forward pass. What multiplies the same input is
 * one matrix, so that the input is read once:
 *   layer 1   x · [M | factors | W0ᵀ]   W0 is the MLP's first matrix (H columns)
 *   layer n   h · [M | factors]         factors: CP A (R columns), dense T_1 … T_S (S·out columns)
 * Immutable after model_prepare; points into the model's tensors. */

#include "fusion/math/gemm.h"
#include "fusion/model/columns.h"
#include "fusion/model/model.h"
#include "fusion/model/similar.h"

#include <stddef.h>

struct fuse_layer {
    size_t in, out;
    size_t factors;       /* columns after M: R, S·out or 0 */
    struct gemm_matrix W; /* (in, out + factors [+ H]) */
    struct gemm_matrix B; /* CP: (R, out) */
    float *C;             /* CP: (R, S), the collapsed form expanded */
};

struct fuse_linear {
    struct gemm_matrix W; /* (in, out) */
    const float *bias;    /* (out) */
};

enum { FUSE_OWN_MAX = 2 };

struct fuse_plan {
    size_t S, R, H; /* H = hidden units of the MLP, 0 without one */
    size_t n_layers;
    struct fuse_layer layers[MODEL_LAYERS_MAX];
    struct gemm_matrix W2;                /* (H, S) */
    const float *b0, *b2;                 /* (H), (S) */
    const float *mean, *std;              /* (F), NULL without statistics */
    struct fuse_linear own[FUSE_OWN_MAX]; /* the backbone's; K = 0 where it has fewer */
    struct gemm_matrix content;           /* (F, C), K = 0 without content columns */
    struct columns_plan *columns_plan;    /* content of signals.h, NULL = none */
    struct mapping_plan *mapping_plan;    /* of signals.h, NULL = none */
    struct similar *similar;              /* the item-item graph, NULL = none */
    size_t columns;                       /* the widest row of a product, padded */
    size_t hidden;                        /* the widest h, padded */
};

void fuse_plan_free(struct fuse_plan *plan);

/* n <= GEMM_BLOCK_ROWS items on their way through a backbone. */
struct fuse_rows {
    const struct model_shape *shape;
    size_t n, ld;   /* floats from one row to the next, at least plan->hidden */
    float *h, *e;   /* (n, ld) what goes in and comes out; as much beside it */
    float *scratch; /* of gemm_run */
};

#endif
