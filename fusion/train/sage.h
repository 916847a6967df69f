#ifndef MMF_FUSION_TRAIN_SAGE_H
#define MMF_FUSION_TRAIN_SAGE_H

/* SAGEConv with the mean of the neighbours (Hamilton et al., NIPS 2017; PyTorch Geometric's
 * layer), forward and backward. Weights as PyTorch's (out, in), in one block of 2·out·in + out
 * floats: [W_l | W_r | b].
 *
 *   y_i = W_l mean_{j∈N_i} x_j + b + W_r x_i
 *   V = A D^-1 dY;   dX = V W_l + dY W_r;   dW_l = Vᵀ X;   dW_r = dYᵀ X;   db = Σ_i dy_i
 *
 * The second line needs one pass over the edges and no stored means. Rows are made in blocks that
 * stay in L2; sums over rows are taken in fixed groups, so that the number of threads does not
 * change a bit. */

#include "fusion/math/graph.h"

struct sage_conv {
    const struct graph *g;
    struct team *team; /* NULL = one thread */
    size_t in, out;
    const float *w;
    float *dw;     /* as w; backward adds to it */
    float *work;   /* sage_work_floats(in, out) */
    bool leaky;    /* LeakyReLU(0.01) after it */
    float dropout; /* share of the outputs set to zero, the others scaled by 1/(1 - dropout) */
    uint64_t seed; /* of the dropout of this step */
    uint8_t *kept; /* (N, out) which outputs were kept: from forward to backward */
};

size_t sage_work_floats(size_t in, size_t out);

/* Y (N, out): the rows of `rows`, NULL = all. */
void sage_forward(const struct sage_conv *c, const float *X, const struct graph_rows *rows,
                  float *Y);
/* dY (N, out) counts as zero outside `rows` (NULL = nowhere) and is overwritten by the gradient
 * before dropout and activation; Y as forward left it. dX (N, in), every row. */
void sage_backward(const struct sage_conv *c, const float *X, const float *Y,
                   const struct graph_rows *rows, float *dY, float *dX);

#endif
