#include "fusion/model/neighbourhood_cache.h"

#include "config/array.h"

#include <stdlib.h>
#include <string.h>

enum { ITEMS_AT_ONCE = 64 };

/* ---- memory -------------------------------------------------------------------------------- */

int neighbourhood_reserve(void *array, size_t *room, size_t n, size_t size, struct err *err)
{
    void **items = array, *more = array_reserve(*items, room, n, size);
    if (!more)
        return err_oom(err, "a neighbourhood");
    *items = more;
    return ERR_OK;
}

int neighbourhood_cache_init(struct neighbourhood_cache *c,
                             const struct neighbourhood_source *source, size_t width,
                             struct err *err)
{
    *c = (struct neighbourhood_cache){.source = *source, .width = width};
    c->zeros = calloc(width + 1, sizeof(float));
    return c->zeros ? ERR_OK : err_oom(err, "a neighbourhood");
}

void neighbourhood_cache_clear(struct neighbourhood_cache *c)
{
    for (uint32_t i = 0; i < c->n_nodes; i++) {
        free(c->nodes[i].near);
        free(c->nodes[i].own);
    }
    free(c->nodes);
    free(c->slots);
    c->nodes = NULL;
    c->slots = NULL;
    c->n_nodes = c->room = 0;
    c->n_slots = c->bytes = 0;
}

void neighbourhood_cache_done(struct neighbourhood_cache *c)
{
    neighbourhood_cache_clear(c);
    free(c->zeros);
}

/* ---- names to local numbers ----------------------------------------------------------------- */

static size_t hash(int64_t name)
{
    uint64_t x = (uint64_t)name * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(x ^ (x >> 32));
}

/* The slot of a name, or the free one where it belongs; n_slots is a power of two. */
static size_t find_slot(const struct neighbourhood_cache *c, int64_t name)
{
    size_t at = hash(name) & (c->n_slots - 1);
    while (c->slots[at] && c->nodes[c->slots[at] - 1].name != name)
        at = (at + 1) & (c->n_slots - 1);
    return at;
}

static int grow_slots(struct neighbourhood_cache *c, struct err *err)
{
    size_t n = c->n_slots ? 2 * c->n_slots : 1024;
    uint32_t *slots = calloc(n, sizeof(*slots));
    if (!slots)
        return err_oom(err, "a neighbourhood");
    free(c->slots);
    c->slots = slots;
    c->n_slots = n;
    for (uint32_t i = 0; i < c->n_nodes; i++)
        c->slots[find_slot(c, c->nodes[i].name)] = i + 1;
    return ERR_OK;
}

int neighbourhood_cache_local(struct neighbourhood_cache *c, int64_t name, uint32_t *ret,
                              struct err *err)
{
    int status = ERR_OK;
    if (2 * ((size_t)c->n_nodes + 1) > c->n_slots)
        status = grow_slots(c, err);
    if (status != ERR_OK)
        return status;
    size_t at = find_slot(c, name), room = c->room;
    if (!c->slots[at]) {
        status = neighbourhood_reserve(&c->nodes, &room, (size_t)c->n_nodes + 1,
                                       sizeof(*c->nodes), err);
        if (status != ERR_OK)
            return status;
        c->room = (uint32_t)room;
        c->nodes[c->n_nodes] = (struct node){.name = name};
        c->slots[at] = ++c->n_nodes;
    }
    *ret = c->slots[at] - 1;
    return ERR_OK;
}

struct node *neighbourhood_cache_find(const struct neighbourhood_cache *c, int64_t name)
{
    uint32_t at = c->n_slots ? c->slots[find_slot(c, name)] : 0;
    return at ? &c->nodes[at - 1] : NULL;
}

/* ---- edges and inputs ----------------------------------------------------------------------- */

int neighbourhood_cache_edges(struct neighbourhood_cache *c, uint32_t i, struct err *err)
{
    const int64_t *names;
    size_t n;
    if (c->nodes[i].has_near)
        return ERR_OK;
    int status = c->source.edges(c->source.arg, c->nodes[i].name, &names, &n, err);
    uint32_t *near = status == ERR_OK && n ? malloc(n * sizeof(*near)) : NULL;
    if (status == ERR_OK && n && !near)
        status = err_oom(err, "a neighbourhood");
    for (size_t e = 0; status == ERR_OK && e < n; e++)
        status = neighbourhood_cache_local(c, names[e], &near[e], err);
    if (status != ERR_OK) {
        free(near);
        return status;
    }
    struct node *v = &c->nodes[i]; /* neighbourhood_cache_local() may have moved them */
    v->near = near;
    v->degree = (uint32_t)n;
    v->has_near = v->has_degree = true;
    c->bytes += n * sizeof(*near);
    return ERR_OK;
}

int neighbourhood_cache_degree(struct neighbourhood_cache *c, uint32_t i, struct err *err)
{
    struct node *v = &c->nodes[i];
    int status =
        v->has_degree ? ERR_OK : c->source.degree(c->source.arg, v->name, &v->degree, err);
    v->has_degree = status == ERR_OK;
    return status;
}

static int load_some_items(struct neighbourhood_cache *c, const uint32_t *which, size_t n,
                           struct err *err)
{
    int64_t names[ITEMS_AT_ONCE] = {0};
    float *x = malloc(n * c->width * sizeof(*x) + 1);
    int status = x ? ERR_OK : err_oom(err, "a neighbourhood");
    for (size_t i = 0; i < n; i++)
        names[i] = c->nodes[which[i]].name;
    if (status == ERR_OK)
        status = c->source.items(c->source.arg, names, n, x, err);
    for (size_t i = 0; status == ERR_OK && i < n; i++) {
        struct node *v = &c->nodes[which[i]];
        if (!v->own) {
            v->own = malloc(c->width * sizeof(float) + 1);
            c->bytes += c->width * sizeof(float);
        }
        if (!v->own) {
            status = err_oom(err, "a neighbourhood");
            break;
        }
        memcpy(v->own, x + i * c->width, c->width * sizeof(float));
        v->x = v->own;
    }
    free(x);
    return status;
}

int neighbourhood_cache_inputs(struct neighbourhood_cache *c, const uint32_t *which, size_t n,
                               struct err *err)
{
    uint32_t wanted[ITEMS_AT_ONCE];
    size_t n_wanted = 0;
    int status = ERR_OK;
    for (size_t i = 0; status == ERR_OK && i < n; i++) {
        struct node *v = &c->nodes[which[i]];
        if (!v->x && neighbourhood_is_item(v->name)) {
            wanted[n_wanted++] = which[i];
        } else if (!v->x) {
            const float *x = c->source.user(c->source.arg, v->name);
            v->unknown = !x;
            v->x = x ? x : c->zeros;
        }
        if (n_wanted == ITEMS_AT_ONCE) {
            status = load_some_items(c, wanted, n_wanted, err);
            n_wanted = 0;
        }
    }
    return status == ERR_OK && n_wanted ? load_some_items(c, wanted, n_wanted, err) : status;
}
