#include "fusion/model/neighbourhood.h"

#include "fusion/math/gemm.h"
#include "fusion/model/backbone.h"
#include "fusion/model/cold.h"
#include "fusion/model/internal.h"
#include "fusion/model/neighbourhood_pass.h"
#include "fusion/model/signals.h"

#include <stdlib.h>
#include <string.h>

const float *neighbourhood_identities(const struct model *model, bool items, size_t *ret_n,
                                      size_t *ret_width)
{
    const struct model_tensor *t = model_tensor(model, "%s", items ? "item_E" : "user");
    *ret_n = t ? t->shape[0] : 0;
    *ret_width = t && t->n_dims == 2 ? t->shape[1] : 0;
    return t && t->n_dims == 2 ? t->data : NULL;
}

int neighbourhood_new(const struct model *model, const struct neighbourhood_source *source,
                      float strength, struct neighbourhood **ret_h, struct err *err)
{
    const struct model_shape *s = &model->shape;
    struct neighbourhood *h = calloc(1, sizeof(*h));
    if (!h)
        return err_oom(err, "a neighbourhood");
    h->backbone = backbone_of(s->backbone);
    h->hops = (uint32_t)s->hops;
    h->E = model_feature_width(s) + (size_t)s->id_dim;
    h->B = (size_t)s->B;
    h->A = (size_t)s->factor_dim;
    h->C = (size_t)s->column_dim;
    h->D = (size_t)s->D;
    h->model = model;
    h->strength = strength;
    h->cold_length = s->cold_length;
    int status =
        neighbourhood_cache_init(&h->cache, source, h->E + h->A + model_column_width(s), err);
    if (status == ERR_OK && signals_fold(model, &h->fold)) {
        h->fold_scratch = gemm_alloc(fold_scratch(&h->fold));
        status = h->fold_scratch ? ERR_OK : err_oom(err, "a neighbourhood");
    }
    if (status == ERR_OK && h->backbone->begin)
        status = h->backbone->begin(h, model, err);
    if (status != ERR_OK) {
        neighbourhood_free(h);
        return status;
    }
    *ret_h = h;
    return ERR_OK;
}

void neighbourhood_free(struct neighbourhood *h)
{
    if (!h)
        return;
    neighbourhood_cache_done(&h->cache);
    free(h->own);
    free(h->order);
    free(h->row);
    free(h->layer[0]);
    free(h->layer[1]);
    free(h->Z);
    free(h->fold_scratch);
    free(h->fold_row);
    free(h);
}

/* ---- what is kept ---------------------------------------------------------------------------- */

size_t neighbourhood_bytes(const struct neighbourhood *h)
{
    const struct neighbourhood_cache *c = &h->cache;
    return c->bytes + c->room * sizeof(*c->nodes) + c->n_slots * sizeof(*c->slots);
}

size_t neighbourhood_edges(const struct neighbourhood *h)
{
    return h->n_edges;
}

void neighbourhood_clear(struct neighbourhood *h)
{
    neighbourhood_cache_clear(&h->cache);
}

void neighbourhood_forget(struct neighbourhood *h, int64_t name)
{
    struct node *v = neighbourhood_cache_find(&h->cache, name);
    if (!v)
        return;
    if (v->near)
        h->cache.bytes -= v->degree * sizeof(*v->near);
    free(v->near);
    v->near = NULL;
    v->has_near = v->has_degree = false;
}

void neighbourhood_forget_input(struct neighbourhood *h, int64_t name)
{
    struct node *v = neighbourhood_cache_find(&h->cache, name);
    if (v)
        v->x = NULL;
}

int neighbourhood_look_around(struct neighbourhood *h, int64_t name, struct err *err)
{
    uint32_t i;
    int status = neighbourhood_cache_local(&h->cache, name, &i, err);
    if (status == ERR_OK)
        status = neighbourhood_cache_edges(&h->cache, i, err);
    for (uint32_t e = 0; status == ERR_OK && e < h->cache.nodes[i].degree; e++)
        status = neighbourhood_cache_degree(&h->cache, h->cache.nodes[i].near[e], err);
    return status;
}

static uint32_t known_degree(const struct neighbourhood *h, int64_t name)
{
    const struct node *v = neighbourhood_cache_find(&h->cache, name);
    return v->has_degree ? v->degree : UINT32_MAX;
}

size_t neighbourhood_near(struct neighbourhood *h, int64_t name, size_t max, int64_t *ret_nodes)
{
    const struct node *v = neighbourhood_cache_find(&h->cache, name);
    size_t n = 0;
    for (uint32_t e = 0; max && v && v->has_near && e < v->degree; e++) {
        int64_t other = h->cache.nodes[v->near[e]].name;
        uint32_t degree = known_degree(h, other);
        if (n == max && degree >= known_degree(h, ret_nodes[n - 1]))
            continue;
        size_t at = n < max ? n++ : n - 1;
        for (; at > 0 && known_degree(h, ret_nodes[at - 1]) > degree; at--)
            ret_nodes[at] = ret_nodes[at - 1];
        ret_nodes[at] = other;
    }
    return n;
}

/* ---- vectors --------------------------------------------------------------------------------- */

/* Z of the wanted and similar nodes. */
static int propagate(struct neighbourhood *h, struct err *err)
{
    int status =
        neighbourhood_reserve(&h->Z, &h->Z_room, h->prefix[0] * h->B + 1, sizeof(float), err);
    if (status == ERR_OK)
        status =
            neighbourhood_reserve(&h->row, &h->row_room, h->n_order + 1, sizeof(*h->row), err);
    if (status == ERR_OK)
        status = neighbourhood_pass_inputs(h, err);
    for (size_t i = 0; status == ERR_OK && i < h->n_order; i++)
        h->row[i] = neighbourhood_pass_node(h, i)->x;
    return status == ERR_OK ? h->backbone->pass(h, err) : status;
}

static int add_similar(struct neighbourhood *h, int64_t name, float *y, struct err *err)
{
    const struct neighbourhood_source *source = &h->cache.source;
    const int64_t *near;
    const float *values;
    size_t n = 0;
    int status = source->similar(source->arg, name, &near, &values, &n, err);
    for (size_t e = 0; status == ERR_OK && e < n; e++) {
        const float *z = h->Z + neighbourhood_cache_find(&h->cache, near[e])->row * h->B;
        float weight = h->strength * values[e];
        for (size_t j = 0; j < h->B; j++)
            y[j] += weight * z[j];
    }
    return status;
}

/* What lies beside e⁰ in an item's input. */
static const float *factors_of(const struct neighbourhood *h, uint32_t item)
{
    return h->cache.nodes[item].x + h->E;
}
static const float *content_of(const struct neighbourhood *h, uint32_t item)
{
    return factors_of(h, item) + h->A;
}

static bool is_zero(const float *v, size_t n)
{
    for (size_t j = 0; j < n; j++)
        if (v[j] != 0)
            return false;
    return true;
}

/* The fold of those of a user's items that have factors. */
static int fold_items(struct neighbourhood *h, const struct node *v, float *ret_p,
                      struct err *err)
{
    size_t n = 0;
    int status = neighbourhood_reserve(&h->fold_row, &h->fold_room, (size_t)v->degree + 1,
                                       sizeof(*h->fold_row), err);
    for (uint32_t e = 0; status == ERR_OK && e < v->degree; e++) {
        const float *row = factors_of(h, v->near[e]);
        if (!is_zero(row, h->A))
            h->fold_row[n++] = row;
    }
    return status == ERR_OK ? fold_user(&h->fold, h->fold_row, n, h->fold_scratch, ret_p, err)
                            : status;
}

static void sum_content(const struct neighbourhood *h, const struct node *v, float *ret_c)
{
    memset(ret_c, 0, h->C * sizeof(*ret_c));
    for (uint32_t e = 0; e < v->degree; e++) {
        const float *c = content_of(h, v->near[e]);
        for (size_t j = 0; j < h->C; j++)
            ret_c[j] += c[j];
    }
    columns_unit(ret_c, h->C);
}

/* y (D), which begins with the backbone's. */
static int add_signals(struct neighbourhood *h, const struct node *v, float *y, struct err *err)
{
    int status = ERR_OK;
    if (neighbourhood_is_item(v->name)) {
        uint32_t item = (uint32_t)(v - h->cache.nodes);
        const struct signals_row row = {.backbone = y,
                                        .factors = factors_of(h, item),
                                        .content = content_of(h, item),
                                        .mapped = content_of(h, item) + h->C,
                                        .n_interactions = v->degree};
        signals_item(h->model, &row, y);
        return ERR_OK;
    }
    if (h->A > 0)
        status = fold_items(h, v, y + h->B, err);
    if (status == ERR_OK && h->C > 0)
        sum_content(h, v, y + h->B + h->A);
    return status;
}

int neighbourhood_vectors(struct neighbourhood *h, const int64_t *nodes, size_t n,
                          size_t max_edges, float *ret_vec, uint32_t *ret_degree,
                          bool *ret_too_big, struct err *err)
{
    int status = neighbourhood_pass_order(h, nodes, n, max_edges, err);
    *ret_too_big = h->n_edges > max_edges;
    if (status != ERR_OK || *ret_too_big)
        return status;
    status = propagate(h, err);
    for (size_t i = 0; status == ERR_OK && i < n; i++) {
        const struct node *v = neighbourhood_cache_find(&h->cache, nodes[i]);
        float *y = ret_vec + i * h->D;
        memcpy(y, h->Z + v->row * h->B, h->B * sizeof(*y));
        ret_degree[i] = v->degree;
        if (h->cache.source.similar && neighbourhood_is_item(nodes[i]))
            status = add_similar(h, nodes[i], y, err);
        if (neighbourhood_is_item(nodes[i]))
            cold_lengthen(y, h->B, h->cold_length, v->degree);
        if (status == ERR_OK)
            status = add_signals(h, v, y, err);
    }
    return status;
}
