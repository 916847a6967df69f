#include "daemon/refresh/graph.h"

#include "config/array.h"
#include "daemon/model/feature_row.h"
#include "fusion/model/fuse.h"
#include "fusion/model/item_graph.h"

#include <stdlib.h>
#include <string.h>

/* A row that was made here. */
struct later {
    int64_t rid;
    size_t n;
    uint32_t *items;
    float *values;
};

struct refresh_graph {
    struct item_graph graph;
    int64_t *rids;       /* (I) by row, 0 = not in the store any more */
    struct later *later; /* (n_later) ascending rids */
    size_t n_later, room;
    uint32_t *items; /* (width) and so the following: of the last answer */
    float *values;
    int64_t *nodes;
};

float refresh_graph_strength(const struct refresh_graph *g)
{
    return g->graph.strength;
}

void refresh_graph_free(struct refresh_graph *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_later; i++) {
        free(g->later[i].items);
        free(g->later[i].values);
    }
    free(g->rids);
    free(g->later);
    free(g->items);
    free(g->values);
    free(g->nodes);
    free(g);
}

/* ---- opening ----------------------------------------------------------------------------------- */

int refresh_graph_open(struct refresh_world *w, struct refresh_graph **ret_graph,
                       struct err *err)
{
    struct item_graph graph;
    bool has;
    int status = item_graph_read(w->active.model, &has, &graph, err);

    *ret_graph = NULL;
    if (status != ERR_OK || !has)
        return status;
    struct refresh_graph *g = calloc(1, sizeof(*g));
    size_t made = w->fuse ? fuse_similar_width(w->fuse) : 0;
    size_t width = graph.width > made ? graph.width : made;
    if (!g)
        return err_oom(err, "the item-item graph");
    g->graph = graph;
    g->rids = calloc(graph.n_items + 1, sizeof(*g->rids));
    g->items = calloc(width, sizeof(*g->items));
    g->values = calloc(width, sizeof(*g->values));
    g->nodes = calloc(width, sizeof(*g->nodes));
    if (!g->rids || !g->items || !g->values || !g->nodes)
        status = err_oom(err, "the item-item graph");
    for (size_t i = 0; status == ERR_OK && i < w->items.n; i++)
        g->rids[w->items.rows[i].row] = w->items.rows[i].id;
    if (status != ERR_OK) {
        refresh_graph_free(g);
        return status;
    }
    *ret_graph = g;
    return ERR_OK;
}

/* ---- rows ---------------------------------------------------------------------------------------- */

/* Where a rid is, or belongs. */
static size_t find_later(const struct refresh_graph *g, int64_t rid)
{
    size_t first = 0, last = g->n_later;

    while (first < last) {
        size_t middle = first + (last - first) / 2;

        if (g->later[middle].rid < rid)
            first = middle + 1;
        else
            last = middle;
    }
    return first;
}

static int keep(struct refresh_graph *g, size_t at, int64_t rid, size_t n, struct err *err)
{
    struct later row = {.rid = rid, .n = n};

    struct later *later = array_reserve(g->later, &g->room, g->n_later + 1, sizeof(*later));

    if (!later)
        return err_oom(err, "the item-item graph");
    g->later = later;
    row.items = malloc(n * sizeof(*row.items) + 1);
    row.values = malloc(n * sizeof(*row.values) + 1);
    if (!row.items || !row.values) {
        free(row.items);
        free(row.values);
        return err_oom(err, "the item-item graph");
    }
    memcpy(row.items, g->items, n * sizeof(*row.items));
    memcpy(row.values, g->values, n * sizeof(*row.values));
    memmove(g->later + at + 1, g->later + at, (g->n_later - at) * sizeof(*g->later));
    g->later[at] = row;
    g->n_later++;
    return ERR_OK;
}

/* Of an item that the model does not know: into g->items and g->values. */
static int later_row(struct refresh_world *w, int64_t rid, size_t *ret_n, struct err *err)
{
    struct refresh_graph *g = w->graph;
    size_t at = find_later(g, rid);
    uint8_t mask = 0;

    *ret_n = 0;
    if (at < g->n_later && g->later[at].rid == rid) {
        *ret_n = g->later[at].n;
        memcpy(g->items, g->later[at].items, *ret_n * sizeof(*g->items));
        memcpy(g->values, g->later[at].values, *ret_n * sizeof(*g->values));
        return ERR_OK;
    }
    if (!w->fuse)
        return ERR_OK;
    int status =
        feature_row_read(w->reader, rid, model_shape(w->active.model), w->X, &mask, err);
    if (status == ERR_OK)
        status = fuse_similar_in(w->fuse, w->X, mask, g->items, g->values, ret_n, err);
    return status == ERR_OK ? keep(g, at, rid, *ret_n, err) : status;
}

int refresh_graph_row(struct refresh_world *w, int64_t node, const int64_t **ret_nodes,
                      const float **ret_values, size_t *ret_n, struct err *err)
{
    struct refresh_graph *g = w->graph;
    const struct refresh_row *known = refresh_rows_find(&w->items, neighbourhood_id(node));
    size_t n = 0, kept = 0;
    int status = ERR_OK;

    if (known)
        n = item_graph_row(&g->graph, known->row, g->items, g->values);
    else
        status = later_row(w, neighbourhood_id(node), &n, err);
    for (size_t i = 0; status == ERR_OK && i < n; i++) {
        if (!g->rids[g->items[i]])
            continue;
        g->values[kept] = g->values[i];
        g->nodes[kept++] = neighbourhood_item(g->rids[g->items[i]]);
    }
    *ret_nodes = g->nodes;
    *ret_values = g->values;
    *ret_n = kept;
    return status;
}

void refresh_graph_forget(struct refresh_graph *g, int64_t rid)
{
    size_t at = g ? find_later(g, rid) : 0;

    if (!g || at == g->n_later || g->later[at].rid != rid)
        return;
    free(g->later[at].items);
    free(g->later[at].values);
    g->n_later--;
    memmove(g->later + at, g->later + at + 1, (g->n_later - at) * sizeof(*g->later));
}
