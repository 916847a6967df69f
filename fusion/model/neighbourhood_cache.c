/* The nodes that a neighbourhood has met: their local numbers by name, edges, degrees and inputs, each
 * asked for once. All of it is a cache and may be forgotten at any time between two calls. */

#include "fusion/model/neighbourhood_internal.h"

#include "fusion/model/model_internal.h"

#include <stdlib.h>
#include <string.h>

enum { ITEMS_AT_ONCE = 64 };

/* ---- memory -------------------------------------------------------------------------------- */

int neighbourhood_reserve(void *array, size_t *room, size_t n, size_t size, struct err *err)
{
    void **p = array, *more;
    size_t want = *room ? *room : 64;
    if (n <= *room)
        return ERR_OK;
    while (want < n)
        want *= 2;
    more = reallocarray(*p, want, size);
    if (!more)
        return err_oom(err, "a neighbourhood");
    *p = more;
    *room = want;
    return ERR_OK;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

const float *neighbourhood_identities(const struct model *model, bool items, size_t *ret_n,
                                      size_t *ret_width)
{
    const struct model_tensor *t = model_tensor(model, "%s", items ? "item_E" : "user");
    *ret_n = t ? t->shape[0] : 0;
    *ret_width = t && t->n_dims == 2 ? t->shape[1] : 0;
    return t && t->n_dims == 2 ? t->data : NULL;
}

static float *transposed(const struct model_tensor *W)
{
    size_t out = W->shape[0], in = W->shape[1];
    float *t = malloc(out * in * sizeof(*t));
    for (size_t o = 0; t && o < out; o++)
        for (size_t i = 0; i < in; i++)
            t[i * out + o] = W->data[o * in + i];
    return t;
}

static int read_conv(const struct model *model, int c, struct conv *conv, struct err *err)
{
    const struct model_tensor *l = model_tensor(model, "conv%d.lin_l.weight", c + 1);
    const struct model_tensor *r = model_tensor(model, "conv%d.lin_r.weight", c + 1);
    *conv = (struct conv){.in = l->shape[1],
                          .out = l->shape[0],
                          .l = transposed(l),
                          .r = transposed(r),
                          .bias = model_tensor(model, "conv%d.lin_l.bias", c + 1)->data};
    return conv->l && conv->r ? ERR_OK : err_oom(err, "a neighbourhood");
}

int neighbourhood_new(const struct model *model, const struct neighbourhood_source *source,
                      float strength, struct neighbourhood **ret_h, struct err *err)
{
    const struct model_shape *s = model_shape(model);
    struct neighbourhood *h = calloc(1, sizeof(*h));
    if (!h)
        return err_oom(err, "a neighbourhood");
    h->source = *source;
    h->backbone = s->backbone;
    h->hops = (uint32_t)s->hops;
    h->E = model_feature_width(s) + (size_t)s->id_dim;
    h->D = (size_t)s->D;
    h->strength = strength;
    h->cold_length = s->cold_length;
    int status = ERR_OK;
    for (int c = 0; c < 2 && status == ERR_OK && s->backbone == BACKBONE_SAGE; c++)
        status = read_conv(model, c, &h->conv[c], err);
    h->zeros = calloc(h->E + 1, sizeof(float));
    h->mean = calloc(max_size(h->E, h->conv[0].out) + 1, sizeof(float));
    if (status == ERR_OK && (!h->zeros || !h->mean))
        status = err_oom(err, "a neighbourhood");
    if (status != ERR_OK) {
        neighbourhood_free(h);
        return status;
    }
    *ret_h = h;
    return ERR_OK;
}

void neighbourhood_clear(struct neighbourhood *h)
{
    for (uint32_t i = 0; i < h->n_nodes; i++) {
        free(h->nodes[i].near);
        free(h->nodes[i].own);
    }
    free(h->nodes);
    free(h->slots);
    h->nodes = NULL;
    h->slots = NULL;
    h->n_nodes = h->room = 0;
    h->n_slots = h->bytes = 0;
}

void neighbourhood_free(struct neighbourhood *h)
{
    if (!h)
        return;
    neighbourhood_clear(h);
    for (int c = 0; c < 2; c++) {
        free(h->conv[c].l);
        free(h->conv[c].r);
    }
    free(h->order);
    free(h->row);
    free(h->layer[0]);
    free(h->layer[1]);
    free(h->zeros);
    free(h->mean);
    free(h->Z);
    free(h);
}

size_t neighbourhood_bytes(const struct neighbourhood *h)
{
    return h->bytes + h->room * sizeof(*h->nodes) + h->n_slots * sizeof(*h->slots);
}

size_t neighbourhood_edges(const struct neighbourhood *h)
{
    return h->n_edges;
}

/* ---- names to local numbers ----------------------------------------------------------------- */

static size_t hash(int64_t name)
{
    uint64_t x = (uint64_t)name * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(x ^ (x >> 32));
}

/* The slot of a name, or the free one where it belongs; n_slots is a power of two. */
static size_t find_slot(const struct neighbourhood *h, int64_t name)
{
    size_t at = hash(name) & (h->n_slots - 1);
    while (h->slots[at] && h->nodes[h->slots[at] - 1].name != name)
        at = (at + 1) & (h->n_slots - 1);
    return at;
}

static int grow_slots(struct neighbourhood *h, struct err *err)
{
    size_t n = h->n_slots ? 2 * h->n_slots : 1024;
    uint32_t *slots = calloc(n, sizeof(*slots));
    if (!slots)
        return err_oom(err, "a neighbourhood");
    free(h->slots);
    h->slots = slots;
    h->n_slots = n;
    for (uint32_t i = 0; i < h->n_nodes; i++)
        h->slots[find_slot(h, h->nodes[i].name)] = i + 1;
    return ERR_OK;
}

int neighbourhood_local(struct neighbourhood *h, int64_t name, uint32_t *ret, struct err *err)
{
    int status = ERR_OK;
    if (2 * ((size_t)h->n_nodes + 1) > h->n_slots)
        status = grow_slots(h, err);
    if (status != ERR_OK)
        return status;
    size_t at = find_slot(h, name), room = h->room;
    if (!h->slots[at]) {
        status = neighbourhood_reserve(&h->nodes, &room, (size_t)h->n_nodes + 1,
                                       sizeof(*h->nodes), err);
        if (status != ERR_OK)
            return status;
        h->room = (uint32_t)room;
        h->nodes[h->n_nodes] = (struct node){.name = name};
        h->slots[at] = ++h->n_nodes;
    }
    *ret = h->slots[at] - 1;
    return ERR_OK;
}

struct node *neighbourhood_find(struct neighbourhood *h, int64_t name)
{
    uint32_t at = h->n_slots ? h->slots[find_slot(h, name)] : 0;
    return at ? &h->nodes[at - 1] : NULL;
}

void neighbourhood_forget(struct neighbourhood *h, int64_t name)
{
    struct node *v = neighbourhood_find(h, name);
    if (!v)
        return;
    if (v->near)
        h->bytes -= v->degree * sizeof(*v->near);
    free(v->near);
    v->near = NULL;
    v->has_near = v->has_degree = false;
}

void neighbourhood_forget_input(struct neighbourhood *h, int64_t name)
{
    struct node *v = neighbourhood_find(h, name);
    if (v)
        v->x = NULL;
}

static uint32_t known_degree(const struct neighbourhood *h, int64_t name)
{
    const struct node *v = &h->nodes[h->slots[find_slot(h, name)] - 1];
    return v->has_degree ? v->degree : UINT32_MAX;
}

size_t neighbourhood_near(struct neighbourhood *h, int64_t name, size_t max, int64_t *ret_nodes)
{
    const struct node *v = neighbourhood_find(h, name);
    size_t n = 0;
    for (uint32_t e = 0; max && v && v->has_near && e < v->degree; e++) {
        int64_t other = h->nodes[v->near[e]].name;
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

/* ---- edges and inputs ----------------------------------------------------------------------- */

int neighbourhood_load_edges(struct neighbourhood *h, uint32_t i, struct err *err)
{
    const int64_t *names;
    size_t n;
    if (h->nodes[i].has_near)
        return ERR_OK;
    int status = h->source.edges(h->source.arg, h->nodes[i].name, &names, &n, err);
    uint32_t *near = status == ERR_OK && n ? malloc(n * sizeof(*near)) : NULL;
    if (status == ERR_OK && n && !near)
        status = err_oom(err, "a neighbourhood");
    for (size_t e = 0; status == ERR_OK && e < n; e++)
        status = neighbourhood_local(h, names[e], &near[e], err);
    if (status != ERR_OK) {
        free(near);
        return status;
    }
    struct node *v = &h->nodes[i]; /* neighbourhood_local() may have moved them */
    v->near = near;
    v->degree = (uint32_t)n;
    v->has_near = v->has_degree = true;
    h->bytes += n * sizeof(*near);
    return ERR_OK;
}

int neighbourhood_load_degree(struct neighbourhood *h, uint32_t i, struct err *err)
{
    struct node *v = &h->nodes[i];
    int status =
        v->has_degree ? ERR_OK : h->source.degree(h->source.arg, v->name, &v->degree, err);
    v->has_degree = status == ERR_OK;
    return status;
}

static int load_some_items(struct neighbourhood *h, const uint32_t *which, size_t n,
                           struct err *err)
{
    int64_t names[ITEMS_AT_ONCE] = {0};
    float *x = malloc(n * h->E * sizeof(*x) + 1);
    int status = x ? ERR_OK : err_oom(err, "a neighbourhood");
    for (size_t i = 0; i < n; i++)
        names[i] = h->nodes[which[i]].name;
    if (status == ERR_OK)
        status = h->source.items(h->source.arg, names, n, x, err);
    for (size_t i = 0; status == ERR_OK && i < n; i++) {
        struct node *v = &h->nodes[which[i]];
        if (!v->own) {
            v->own = malloc(h->E * sizeof(float) + 1);
            h->bytes += h->E * sizeof(float);
        }
        if (!v->own) {
            status = err_oom(err, "a neighbourhood");
            break;
        }
        memcpy(v->own, x + i * h->E, h->E * sizeof(float));
        v->x = v->own;
    }
    free(x);
    return status;
}

/* The inputs of the first n nodes of the order. */
int neighbourhood_load_inputs(struct neighbourhood *h, size_t n, struct err *err)
{
    uint32_t wanted[ITEMS_AT_ONCE];
    size_t n_wanted = 0;
    int status = ERR_OK;
    for (size_t i = 0; status == ERR_OK && i < n; i++) {
        struct node *v = &h->nodes[h->order[i]];
        if (!v->x && neighbourhood_is_item(v->name)) {
            wanted[n_wanted++] = h->order[i];
        } else if (!v->x) {
            const float *x = h->source.user(h->source.arg, v->name);
            v->unknown = !x;
            v->x = x ? x : h->zeros;
        }
        if (n_wanted == ITEMS_AT_ONCE) {
            status = load_some_items(h, wanted, n_wanted, err);
            n_wanted = 0;
        }
    }
    return status == ERR_OK && n_wanted ? load_some_items(h, wanted, n_wanted, err) : status;
}
