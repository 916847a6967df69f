#include "fusion/model/neighbourhood_pass.h"

#include "fusion/model/backbone.h"

#include <math.h>
#include <string.h>

/* ---- the order ------------------------------------------------------------------------------ */

int neighbourhood_pass_append(struct neighbourhood *h, uint32_t i, struct err *err)
{
    struct node *v = &h->cache.nodes[i];
    if (v->pass == h->pass)
        return ERR_OK;
    int status = neighbourhood_reserve(&h->order, &h->order_room, h->n_order + 1,
                                       sizeof(*h->order), err);
    if (status != ERR_OK)
        return status;
    v->pass = h->pass;
    v->row = (uint32_t)h->n_order;
    h->order[h->n_order++] = i;
    return ERR_OK;
}

static int append_name(struct neighbourhood *h, int64_t name, struct err *err)
{
    uint32_t i;
    int status = neighbourhood_cache_local(&h->cache, name, &i, err);
    return status == ERR_OK ? neighbourhood_pass_append(h, i, err) : status;
}

/* The wanted nodes, then what their rows of the item-item graph name. */
static int begin_order(struct neighbourhood *h, const int64_t *nodes, size_t n, struct err *err)
{
    const struct neighbourhood_source *source = &h->cache.source;
    int status = ERR_OK;
    if (++h->pass == 0) { /* no node may seem to be of this pass */
        for (uint32_t i = 0; i < h->cache.n_nodes; i++)
            h->cache.nodes[i].pass = 0;
        h->pass = 1;
    }
    h->n_order = h->n_edges = 0;
    for (size_t i = 0; status == ERR_OK && i < n; i++)
        status = append_name(h, nodes[i], err);
    for (size_t i = 0; status == ERR_OK && i < n && source->similar; i++) {
        const int64_t *near;
        const float *values;
        size_t n_near = 0;
        if (!neighbourhood_is_item(nodes[i]))
            continue;
        status = source->similar(source->arg, nodes[i], &near, &values, &n_near, err);
        for (size_t e = 0; status == ERR_OK && e < n_near; e++)
            status = append_name(h, near[e], err);
    }
    h->prefix[0] = h->n_order;
    return status;
}

/* Nodes within one hop of those of the order from `first` to `end`, until there are too many edges. */
static int widen(struct neighbourhood *h, size_t first, size_t end, size_t max_edges,
                 struct err *err)
{
    int status = ERR_OK;
    for (size_t i = first; status == ERR_OK && i < end; i++) {
        status = neighbourhood_cache_edges(&h->cache, h->order[i], err);
        const struct node *v = neighbourhood_pass_node(h, i);
        h->n_edges += status == ERR_OK ? v->degree : 0;
        if (h->n_edges > max_edges)
            return status;
        const uint32_t *near = v->near;
        uint32_t degree = v->degree;
        for (uint32_t e = 0; status == ERR_OK && e < degree; e++)
            status = neighbourhood_pass_append(h, near[e], err);
    }
    return status;
}

/* Without propagation a wanted user is still what its items are in the other signals. */
static int widen_users(struct neighbourhood *h, size_t max_edges, struct err *err)
{
    int status = ERR_OK;
    for (size_t i = 0; status == ERR_OK && i < h->prefix[0]; i++)
        if (!neighbourhood_is_item(neighbourhood_pass_node(h, i)->name))
            status = widen(h, i, i + 1, max_edges, err);
    return status;
}

int neighbourhood_pass_order(struct neighbourhood *h, const int64_t *nodes, size_t n,
                             size_t max_edges, struct err *err)
{
    int status = begin_order(h, nodes, n, err);
    for (uint32_t k = 0; status == ERR_OK && k < h->hops; k++) {
        status = widen(h, 0, h->prefix[k], max_edges, err);
        if (h->n_edges > max_edges)
            return status;
        h->prefix[k + 1] = h->n_order;
    }
    if (status == ERR_OK && h->hops == 0 && h->A + h->C > 0)
        status = widen_users(h, max_edges, err);
    if (h->n_edges > max_edges)
        return status;
    size_t n_degrees = h->backbone->weighs ? h->n_order : h->prefix[0];
    for (size_t i = 0; status == ERR_OK && i < n_degrees; i++)
        status = neighbourhood_cache_degree(&h->cache, h->order[i], err);
    return status;
}

/* ---- layers --------------------------------------------------------------------------------- */

int neighbourhood_pass_inputs(struct neighbourhood *h, struct err *err)
{
    return neighbourhood_cache_inputs(&h->cache, h->order, h->n_order, err);
}

int neighbourhood_pass_layer(struct neighbourhood *h, int which, size_t n, struct err *err)
{
    return neighbourhood_reserve(&h->layer[which], &h->layer_room[which], n + 1, sizeof(float),
                                 err);
}

float neighbourhood_pass_rsqrt(const struct node *v)
{
    return v->degree ? 1 / sqrtf((float)v->degree) : 0;
}

void neighbourhood_pass_gather(const struct neighbourhood *h, const struct node *v,
                               bool weighed, size_t n, float *acc)
{
    memset(acc, 0, n * sizeof(*acc));
    for (uint32_t e = 0; e < v->degree; e++) {
        const struct node *w = &h->cache.nodes[v->near[e]];
        const float *x = h->row[w->row];
        float scale = weighed ? neighbourhood_pass_rsqrt(w) : 1;
        for (size_t j = 0; j < n; j++)
            acc[j] += scale * x[j];
    }
}
