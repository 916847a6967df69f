/* One breadth-first pass from the wanted nodes gives an order in which the nodes within k hops are a
 * prefix. Layer k of the propagation is needed exactly for the nodes within K - k hops: a shorter
 * prefix each time, made from the one before, so that shared neighbourhoods are computed once.
 *
 * Example, lightgcn with 2 hops, wanted u1: order [u1 | its items | their users]; e⁰ of all, e¹ of
 * u1 and its items, e² of u1. */

#include "fusion/model/neighbourhood_internal.h"

#include "fusion/model/cold.h"

#include <math.h>
#include <string.h>

#define SLOPE 0.01F /* of LeakyReLU */

/* ---- the order ------------------------------------------------------------------------------ */

static int append(struct neighbourhood *h, uint32_t i, struct err *err)
{
    struct node *v = &h->nodes[i];
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
    int status = neighbourhood_local(h, name, &i, err);
    return status == ERR_OK ? append(h, i, err) : status;
}

/* The wanted nodes, then what their rows of the item-item graph name. */
static int begin_order(struct neighbourhood *h, const int64_t *nodes, size_t n, struct err *err)
{
    int status = ERR_OK;
    if (++h->pass == 0) { /* no node may seem to be of this pass */
        for (uint32_t i = 0; i < h->n_nodes; i++)
            h->nodes[i].pass = 0;
        h->pass = 1;
    }
    h->n_order = h->n_edges = 0;
    for (size_t i = 0; status == ERR_OK && i < n; i++)
        status = append_name(h, nodes[i], err);
    for (size_t i = 0; status == ERR_OK && i < n && h->source.similar; i++) {
        const int64_t *near;
        const float *values;
        size_t n_near = 0;
        if (!neighbourhood_is_item(nodes[i]))
            continue;
        status = h->source.similar(h->source.arg, nodes[i], &near, &values, &n_near, err);
        for (size_t e = 0; status == ERR_OK && e < n_near; e++)
            status = append_name(h, near[e], err);
    }
    h->prefix[0] = h->n_order;
    return status;
}

/* Nodes within one hop more than those of the order up to `end`. */
static int widen(struct neighbourhood *h, size_t end, size_t max_edges, struct err *err)
{
    int status = ERR_OK;
    for (size_t i = 0; status == ERR_OK && i < end; i++) {
        status = neighbourhood_load_edges(h, h->order[i], err);
        const struct node *v = &h->nodes[h->order[i]];
        h->n_edges += status == ERR_OK ? v->degree : 0;
        if (status == ERR_OK && h->n_edges > max_edges)
            return ERR_END;
        const uint32_t *near = v->near;
        uint32_t degree = v->degree;
        for (uint32_t e = 0; status == ERR_OK && e < degree; e++)
            status = append(h, near[e], err);
    }
    return status;
}

static int make_order(struct neighbourhood *h, const int64_t *nodes, size_t n, size_t max_edges,
                      struct err *err)
{
    int status = begin_order(h, nodes, n, err);
    for (uint32_t k = 0; status == ERR_OK && k < h->hops; k++) {
        status = widen(h, h->prefix[k], max_edges, err);
        h->prefix[k + 1] = h->n_order;
    }
    /* lightgcn weighs an edge by the degrees of both ends. */
    size_t n_degrees = h->backbone == BACKBONE_LIGHTGCN ? h->n_order : h->prefix[0];
    for (size_t i = 0; status == ERR_OK && i < n_degrees; i++)
        status = neighbourhood_load_degree(h, h->order[i], err);
    return status;
}

/* ---- propagation ---------------------------------------------------------------------------- */

static float rsqrt_degree(const struct node *v)
{
    return v->degree ? 1 / sqrtf((float)v->degree) : 0;
}

/* acc (n) = Σ over neighbours of scale · their row. */
static void gather(const struct neighbourhood *h, const struct node *v, bool weighs, size_t n,
                   float *acc)
{
    memset(acc, 0, n * sizeof(*acc));
    for (uint32_t e = 0; e < v->degree; e++) {
        const struct node *w = &h->nodes[v->near[e]];
        const float *x = h->row[w->row];
        float scale = weighs ? rsqrt_degree(w) : 1;
        for (size_t j = 0; j < n; j++)
            acc[j] += scale * x[j];
    }
}

static void add(float *to, const float *from, size_t n)
{
    for (size_t j = 0; j < n; j++)
        to[j] += from[j];
}

/* Z (wanted, E): the mean of the layers. */
static int lightgcn(struct neighbourhood *h, struct err *err)
{
    size_t n = h->prefix[0], E = h->E;
    for (size_t i = 0; i < n; i++)
        memcpy(h->Z + i * E, h->row[i], E * sizeof(float));
    for (uint32_t k = 1; k <= h->hops; k++) {
        size_t n_rows = h->prefix[h->hops - k];
        int status = neighbourhood_reserve(&h->layer[k & 1], &h->layer_room[k & 1],
                                           n_rows * E + 1, sizeof(float), err);
        if (status != ERR_OK)
            return status;
        float *to = h->layer[k & 1];
        for (size_t i = 0; i < n_rows; i++) {
            const struct node *v = &h->nodes[h->order[i]];
            float scale = rsqrt_degree(v);
            gather(h, v, true, E, to + i * E);
            for (size_t j = 0; j < E; j++)
                to[i * E + j] *= scale;
        }
        for (size_t i = 0; i < n_rows; i++)
            h->row[i] = to + i * E;
        for (size_t i = 0; i < n; i++)
            add(h->Z + i * E, h->row[i], E);
    }
    for (size_t i = 0; i < n * E; i++)
        h->Z[i] *= 1 / (float)(h->hops + 1);
    return ERR_OK;
}

/* y (out) += x (in) W, W transposed. */
static void multiply_add(const float *x, size_t in, const float *W, size_t out, float *y)
{
    for (size_t i = 0; i < in; i++)
        for (size_t o = 0; o < out; o++)
            y[o] += x[i] * W[i * out + o];
}

static void convolve(const struct neighbourhood *h, int c, size_t n_rows, float *to)
{
    const struct conv *conv = &h->conv[c];
    float *mean = h->mean;
    for (size_t i = 0; i < n_rows; i++) {
        const struct node *v = &h->nodes[h->order[i]];
        float *y = to + i * conv->out;
        gather(h, v, false, conv->in, mean);
        for (size_t j = 0; j < conv->in && v->degree; j++)
            mean[j] /= (float)v->degree;
        memcpy(y, conv->bias, conv->out * sizeof(*y));
        multiply_add(mean, conv->in, conv->l, conv->out, y);
        multiply_add(h->row[i], conv->in, conv->r, conv->out, y);
    }
}

static int sage(struct neighbourhood *h, struct err *err)
{
    size_t n_rows = h->prefix[1], width = h->conv[0].out;
    int status = neighbourhood_reserve(&h->layer[0], &h->layer_room[0], n_rows * width + 1,
                                       sizeof(float), err);
    if (status != ERR_OK)
        return status;
    convolve(h, 0, n_rows, h->layer[0]);
    for (size_t i = 0; i < n_rows * width; i++)
        h->layer[0][i] = h->layer[0][i] > 0 ? h->layer[0][i] : SLOPE * h->layer[0][i];
    for (size_t i = 0; i < n_rows; i++)
        h->row[i] = h->layer[0] + i * width;
    convolve(h, 1, h->prefix[0], h->Z);
    return ERR_OK;
}

/* The mean of an unknown user's items: their inputs come after everything else in the order. */
static int fold_in(struct neighbourhood *h, size_t i, float *z, struct err *err)
{
    int status = neighbourhood_load_edges(h, h->order[i], err);
    const struct node *v = &h->nodes[h->order[i]];
    for (uint32_t e = 0; status == ERR_OK && e < v->degree; e++)
        status = append(h, v->near[e], err);
    if (status == ERR_OK)
        status = neighbourhood_load_inputs(h, h->n_order, err);
    v = &h->nodes[h->order[i]];
    memset(z, 0, h->E * sizeof(*z));
    for (uint32_t e = 0; status == ERR_OK && e < v->degree; e++)
        add(z, h->nodes[v->near[e]].x, h->E);
    for (size_t j = 0; j < h->E && v->degree; j++)
        z[j] /= (float)v->degree;
    h->n_edges += v->degree;
    return status;
}

static int mf(struct neighbourhood *h, struct err *err)
{
    int status = ERR_OK;
    for (size_t i = 0; status == ERR_OK && i < h->prefix[0]; i++) {
        const struct node *v = &h->nodes[h->order[i]];
        if (v->unknown && !neighbourhood_is_item(v->name))
            status = fold_in(h, i, h->Z + i * h->E, err);
        else
            memcpy(h->Z + i * h->E, v->x, h->E * sizeof(float));
    }
    return status;
}

static int backbone(struct neighbourhood *h, struct err *err)
{
    int status =
        neighbourhood_reserve(&h->Z, &h->Z_room, h->prefix[0] * h->D + 1, sizeof(float), err);
    if (status == ERR_OK)
        status =
            neighbourhood_reserve(&h->row, &h->row_room, h->n_order + 1, sizeof(*h->row), err);
    if (status == ERR_OK)
        status = neighbourhood_load_inputs(h, h->n_order, err);
    for (size_t i = 0; status == ERR_OK && i < h->n_order; i++)
        h->row[i] = h->nodes[h->order[i]].x;
    if (status != ERR_OK)
        return status;
    return h->backbone == BACKBONE_LIGHTGCN ? lightgcn(h, err)
           : h->backbone == BACKBONE_SAGE   ? sage(h, err)
                                            : mf(h, err);
}

static int add_similar(struct neighbourhood *h, int64_t name, float *y, struct err *err)
{
    const int64_t *near;
    const float *values;
    size_t n = 0;
    int status = h->source.similar(h->source.arg, name, &near, &values, &n, err);
    for (size_t e = 0; status == ERR_OK && e < n; e++) {
        const float *z = h->Z + neighbourhood_find(h, near[e])->row * h->D;
        float weight = h->strength * values[e];
        for (size_t j = 0; j < h->D; j++)
            y[j] += weight * z[j];
    }
    return status;
}

int neighbourhood_vectors(struct neighbourhood *h, const int64_t *nodes, size_t n,
                          size_t max_edges, float *ret_vec, uint32_t *ret_degree,
                          struct err *err)
{
    int status = make_order(h, nodes, n, max_edges, err);
    if (status == ERR_OK)
        status = backbone(h, err);
    for (size_t i = 0; status == ERR_OK && i < n; i++) {
        const struct node *v = neighbourhood_find(h, nodes[i]);
        float *y = ret_vec + i * h->D;
        memcpy(y, h->Z + v->row * h->D, h->D * sizeof(*y));
        ret_degree[i] = v->degree;
        if (h->source.similar && neighbourhood_is_item(nodes[i]))
            status = add_similar(h, nodes[i], y, err);
        if (neighbourhood_is_item(nodes[i]))
            cold_lengthen(y, h->D, h->cold_length, v->degree);
    }
    return status;
}
