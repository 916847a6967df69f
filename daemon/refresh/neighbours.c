#include "daemon/refresh/neighbours.h"

#include "config/array.h"
#include "fusion/model/neighbours.h"
#include "fusion/model/signals.h"

#include <stdlib.h>
#include <string.h>

static int reserve(struct refresh_neighbours *x, size_t n_rows, struct err *err)
{
    size_t n = n_rows * neighbours_defaults.n_max;
    struct store_neighbour_row *rows =
        array_reserve(x->rows, &x->rows_room, n_rows, sizeof(*rows));
    x->rows = rows ? rows : x->rows;
    int64_t *rids = array_reserve(x->rids, &x->rids_room, n, sizeof(*rids));
    x->rids = rids ? rids : x->rids;
    float *values = array_reserve(x->values, &x->values_room, n, sizeof(*values));
    x->values = values ? values : x->values;
    return rows && rids && values ? ERR_OK : err_oom(err, "items' neighbours");
}

/* at: where the row's part of rids and values begins. */
static void keep(struct refresh_neighbours *x, int64_t node, const struct neighbours_row *row,
                 size_t at)
{
    for (size_t k = 0; k < row->n; k++)
        x->rids[at + k] = neighbourhood_id(row->items[k]);
    memcpy(x->values + at, row->values, row->n * sizeof(*x->values));
    x->rows[x->n++] = (struct store_neighbour_row){.rid = neighbourhood_id(node),
                                                   .scale = (double)row->scale,
                                                   .rids = x->rids + at,
                                                   .values = x->values + at,
                                                   .n = row->n};
}

int refresh_neighbours_make(struct refresh_world *w, const int64_t *nodes, size_t n,
                            size_t max_edges, size_t max_bytes, struct refresh_neighbours *ret,
                            struct err *err)
{
    size_t n_pairs = 0;

    ret->n = ret->n_too_big = ret->n_edges = 0;
    if (!w->neighbours || n == 0)
        return ERR_OK;
    int status = reserve(ret, n, err);
    for (size_t i = 0; status == ERR_OK && i < n; i++) {
        struct neighbours_row row;
        bool too_big;

        if (!neighbourhood_is_item(nodes[i]))
            continue;
        status = neighbours_row(w->neighbours, nodes[i], signals_of(w->active.model)->ridge,
                                max_edges, &row, &too_big, err);
        if (status != ERR_OK)
            break;
        ret->n_edges += neighbours_edges(w->neighbours);
        ret->n_too_big += too_big;
        if (!too_big) {
            keep(ret, nodes[i], &row, n_pairs);
            n_pairs += row.n;
        }
        refresh_world_trim(w, max_bytes);
    }
    return status;
}

void refresh_neighbours_done(struct refresh_neighbours *x)
{
    free(x->rows);
    free(x->rids);
    free(x->values);
    *x = (struct refresh_neighbours){0};
}
