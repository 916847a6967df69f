/* LightGCN: the mean of layers 0 … hops of propagation, each the sum over the neighbours with an edge
 * weighed by 1/sqrt of the degrees of its ends (He et al., SIGIR 2020). Without edges layers 1 … hops
 * are zero, and the mean is the input divided by hops + 1: an item without any is short beside the
 * others (cold.h). */

#include "fusion/model/backbone.h"
#include "fusion/model/fuse_plan.h"
#include "fusion/model/internal.h"
#include "fusion/model/neighbourhood_pass.h"

#include <string.h>

static int derive(struct model *m, size_t E, size_t *ret_B, struct err *err)
{
    int32_t hops = model_number(m, "mmf.hops", NEIGHBOURHOOD_HOPS_MAX);

    m->shape.hops = hops == -1 ? 3 : hops;
    *ret_B = E;
    return m->shape.hops >= 1 ? ERR_OK
                              : model_wrong(m, "mmf.hops", "is not a number from 1 to 16", err);
}

static void alone(const struct fuse_plan *plan, const struct fuse_rows *rows)
{
    const size_t features = model_feature_width(rows->shape); /* the ID half is zero */
    const float layers = (float)(rows->shape->hops + 1);

    (void)plan;
    for (size_t b = 0; b < rows->n; b++)
        for (size_t i = 0; i < features; i++)
            rows->h[b * rows->ld + i] /= layers;
}

static void propagate(const struct neighbourhood *h, size_t n_rows, float *to)
{
    for (size_t i = 0; i < n_rows; i++) {
        const struct node *v = neighbourhood_pass_node(h, i);
        float *y = to + i * h->E, scale = neighbourhood_pass_rsqrt(v);
        neighbourhood_pass_gather(h, v, true, h->E, y);
        for (size_t j = 0; j < h->E; j++)
            y[j] *= scale;
    }
}

static int pass(struct neighbourhood *h, struct err *err)
{
    size_t n = h->prefix[0], E = h->E;
    for (size_t i = 0; i < n; i++)
        memcpy(h->Z + i * E, h->row[i], E * sizeof(float));
    for (uint32_t k = 1; k <= h->hops; k++) {
        size_t n_rows = h->prefix[h->hops - k];
        int status = neighbourhood_pass_layer(h, k & 1, n_rows * E, err);
        if (status != ERR_OK)
            return status;
        propagate(h, n_rows, h->layer[k & 1]);
        for (size_t i = 0; i < n_rows; i++)
            h->row[i] = h->layer[k & 1] + i * E;
        for (size_t i = 0; i < n * E; i++)
            h->Z[i] += h->layer[k & 1][i];
    }
    for (size_t i = 0; i < n * E; i++)
        h->Z[i] *= 1 / (float)(h->hops + 1);
    return ERR_OK;
}

const struct backbone backbone_lightgcn = {.name = "lightgcn",
                                           .vector = TENSOR_NODE,
                                           .weighs = true,
                                           .derive = derive,
                                           .alone = alone,
                                           .pass = pass};
