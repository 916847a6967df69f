/* Matrix factorisation: a node's vector is its input. A user whom the model does not know is the mean
 * of the inputs of its items (Paterek, KDD Cup 2007: a user is what it has watched). */

#include "fusion/model/backbone.h"
#include "fusion/model/neighbourhood_pass.h"

#include <string.h>

/* The items come after everything else in the order. */
static int fold_in(struct neighbourhood *h, size_t i, float *z, struct err *err)
{
    int status = neighbourhood_cache_edges(&h->cache, h->order[i], err);
    const struct node *v = neighbourhood_pass_node(h, i);
    for (uint32_t e = 0; status == ERR_OK && e < v->degree; e++)
        status = neighbourhood_pass_append(h, v->near[e], err);
    if (status == ERR_OK)
        status = neighbourhood_pass_inputs(h, err);
    v = neighbourhood_pass_node(h, i);
    memset(z, 0, h->E * sizeof(*z));
    for (uint32_t e = 0; status == ERR_OK && e < v->degree; e++) {
        const float *x = h->cache.nodes[v->near[e]].x;
        for (size_t j = 0; j < h->E; j++)
            z[j] += x[j];
    }
    for (size_t j = 0; j < h->E && v->degree; j++)
        z[j] /= (float)v->degree;
    h->n_edges += v->degree;
    return status;
}

static int pass(struct neighbourhood *h, struct err *err)
{
    int status = ERR_OK;
    for (size_t i = 0; status == ERR_OK && i < h->prefix[0]; i++) {
        const struct node *v = neighbourhood_pass_node(h, i);
        if (v->unknown && !neighbourhood_is_item(v->name))
            status = fold_in(h, i, h->Z + i * h->E, err);
        else
            memcpy(h->Z + i * h->E, v->x, h->E * sizeof(float));
    }
    return status;
}

const struct backbone backbone_mf = {.name = "mf", .vector = TENSOR_NODE, .pass = pass};
