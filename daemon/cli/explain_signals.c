/* What an item's row of neighbours says, and what the signals count for it. */
#include "daemon/cli/explain.h"

#include "daemon/cli/weights.h"
#include "fusion/model/signals.h"
#include "store/models.h"
#include "store/reading.h"
#include "store/touch.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

void explain_signals_done(struct explain_signals *s)
{
    json_decref(s->weights);
    free(s->rows);
    *s = (struct explain_signals){0};
}

/* rows has room for k. */
static void add_row(struct explain_signals *s, size_t k, const char *item_id, double weight)
{
    size_t at = s->n;

    while (at > 0 && s->rows[at - 1].weight < weight)
        at--;
    if (at == k)
        return;
    s->n += s->n < k;
    memmove(s->rows + at + 1, s->rows + at, (s->n - 1 - at) * sizeof *s->rows);
    s->rows[at] = (struct explain_row){item_id, weight};
}

/* Names, vectors, neighbours and scales are all by rid. */
static void fill_rows(struct explain_signals *s, const struct store_names *names,
                      const struct store_matrix *all, const struct store_neighbours *row,
                      const struct store_neighbours *scales, double factor, size_t k)
{
    size_t vector = 0, neighbour = 0, scale = 0, n = row->start[1];

    for (size_t i = 0; i < names->n && vector < all->n_rows && neighbour < n; i++) {
        bool listed = strcmp(names->name[i], all->item_id[vector]) == 0;
        const char *item_id = all->item_id[vector];

        vector += listed;
        while (neighbour < n && row->rids[neighbour] < names->id[i])
            neighbour++;
        if (!listed || neighbour == n || row->rids[neighbour] != names->id[i])
            continue;
        while (scale < scales->n_rows && scales->rid[scale] < names->id[i])
            scale++;
        if (scale == scales->n_rows || scales->rid[scale] != names->id[i])
            continue;
        double weight = factor * (double)row->values[neighbour] * scales->scale[scale];
        if (weight > 0)
            add_row(s, k, item_id, weight);
    }
}

static int read_rows(struct store *st, int64_t model_id, int64_t rid,
                     const struct store_matrix *all, size_t k, struct explain_signals *s,
                     struct err *err)
{
    double factor = json_number_value(json_object_get(s->weights, "neighbours"));
    struct store_neighbours row = {0}, scales = {0};
    struct store_names names = {0};
    int r = store_read_neighbour_rows(st, model_id, &rid, 1, &row, err);

    if (r == ERR_OK && row.n_rows)
        r = store_read_neighbour_scales(st, model_id, &scales, err);
    if (r == ERR_OK && row.n_rows)
        r = store_read_names(st, STORE_SIDE_ITEMS, &names, err);
    if (r == ERR_OK && row.n_rows) {
        s->rows = calloc(k + 1, sizeof *s->rows);
        r = s->rows ? ERR_OK : err_oom(err, "an item's neighbours");
    }
    if (r == ERR_OK && row.n_rows)
        fill_rows(s, &names, all, &row, &scales, factor, k);
    store_names_done(&names);
    store_neighbours_done(&row);
    store_neighbours_done(&scales);
    return r;
}

int explain_signals_read(struct store *st, int64_t model_id, const struct model *model,
                         int64_t rid, const struct store_matrix *all, size_t k,
                         struct explain_signals *ret_s, struct err *err)
{
    struct explain_signals s = {0};
    int r = weights_read(st, model_id, &s.weights, err);

    if (r == ERR_OK)
        r = store_read_degree(st, STORE_SIDE_ITEMS, rid, &s.n_users, err);
    if (r == ERR_OK && model && model_shape(model)->column_dim > 0)
        s.content = (double)signals_content(signals_of(model), s.n_users);
    if (r == ERR_OK && model && model_shape(model)->mapped_dim > 0)
        s.mapped = (double)signals_mapped(signals_of(model), s.n_users);
    if (r == ERR_OK)
        r = read_rows(st, model_id, rid, all, k, &s, err);
    if (r == ERR_OK)
        *ret_s = s;
    else
        explain_signals_done(&s);
    return r;
}

json_t *explain_signals_json(const struct explain_signals *s)
{
    json_t *array = json_array();

    for (size_t i = 0; i < s->n; i++)
        (void)json_array_append_new(array,
                                    json_pack("{s:s, s:f}", "item_id", s->rows[i].item_id,
                                              "weight", s->rows[i].weight));
    return json_pack("{s:O, s:I, s:f, s:f, s:o}", "signals", s->weights, "users",
                     (json_int_t)s->n_users, "content", s->content, "mapped", s->mapped,
                     "recommends", array);
}
