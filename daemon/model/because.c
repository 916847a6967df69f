#include "daemon/model/because.h"

#include <stdlib.h>
#include <string.h>

void because_done(struct because *b)
{
    csr_done(&b->history);
    csr_done(&b->rows);
    free(b->scale);
    free(b->from);
    *b = (struct because){0};
}

static int read_weight(struct store *st, int64_t model_id, float *ret_weight, struct err *err)
{
    struct store_signal *signals = NULL;
    size_t n = 0;
    int status = store_read_signals(st, model_id, &signals, &n, err);

    if (status != ERR_OK)
        return status;
    *ret_weight = 0;
    for (size_t i = 0; i < n; i++)
        if (strcmp(signals[i].name, "neighbours") == 0)
            *ret_weight = (float)signals[i].weight;
    free(signals);
    return ERR_OK;
}

static int compare_rids(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static uint32_t row_of(const struct store_rows *items, int64_t rid)
{
    const int64_t *at = items->n_rows
                            ? bsearch(&rid, items->id, items->n_rows, sizeof rid, compare_rids)
                            : NULL;

    return at ? (uint32_t)(at - items->id) : RANK_NONE;
}

static int fill_rows(const struct store_neighbours *x, const struct store_rows *items,
                     struct because *b, struct err *err)
{
    size_t nnz = 0;
    int status = csr_new((uint32_t)x->n_rows, (uint32_t)items->n_rows, x->start[x->n_rows],
                         &b->rows, err);

    if (status != ERR_OK)
        return status;
    b->rows.value = calloc(b->rows.nnz + 1, sizeof *b->rows.value);
    b->from = calloc(x->n_rows + 1, sizeof *b->from);
    if (!b->rows.value || !b->from)
        return err_oom(err, "neighbours of a user's items");
    for (size_t j = 0; j < x->n_rows; j++) {
        b->rows.start[j] = nnz;
        b->from[j] = row_of(items, x->rid[j]);
        for (size_t k = x->start[j]; k < x->start[j + 1]; k++) {
            uint32_t row = row_of(items, x->rids[k]);

            if (row == RANK_NONE)
                continue;
            b->rows.col[nnz] = row;
            b->rows.value[nnz++] = x->values[k];
        }
    }
    b->rows.start[x->n_rows] = nnz;
    b->rows.nnz = nnz;
    return ERR_OK;
}

static int fill_history(struct because *b, struct err *err)
{
    int status = csr_new(1, b->rows.n_rows, b->rows.n_rows, &b->history, err);

    if (status != ERR_OK)
        return status;
    b->history.start[0] = 0;
    b->history.start[1] = b->rows.n_rows;
    for (uint32_t j = 0; j < b->rows.n_rows; j++)
        b->history.col[j] = j;
    return ERR_OK;
}

/* Both are by rid. */
static int fill_scales(struct store *st, int64_t model_id, const struct store_rows *items,
                       struct because *b, struct err *err)
{
    struct store_neighbours all = {0};
    int status = store_read_neighbour_scales(st, model_id, &all, err);

    if (status != ERR_OK)
        return status;
    b->scale = calloc(items->n_rows + 1, sizeof *b->scale);
    status = b->scale ? ERR_OK : err_oom(err, "scales of neighbours");
    for (size_t i = 0, k = 0; status == ERR_OK && i < items->n_rows; i++) {
        while (k < all.n_rows && all.rid[k] < items->id[i])
            k++;
        if (k < all.n_rows && all.rid[k] == items->id[i])
            b->scale[i] = (float)all.scale[k];
    }
    store_neighbours_done(&all);
    return status;
}

int because_read(struct store *st, int64_t model_id, const int64_t *history, size_t n,
                 const struct store_rows *items, struct because *ret_b, struct err *err)
{
    struct store_neighbours x = {0};
    struct because b = {0};
    int status = read_weight(st, model_id, &b.weight, err);

    if (status == ERR_OK && b.weight != 0 && n) /* NOLINT: what is stored as 0 */
        status = store_read_neighbour_rows(st, model_id, history, n, &x, err);
    if (status == ERR_OK && x.n_rows) {
        status = fill_rows(&x, items, &b, err);
        if (status == ERR_OK)
            status = fill_history(&b, err);
        if (status == ERR_OK)
            status = fill_scales(st, model_id, items, &b, err);
    }
    store_neighbours_done(&x);
    if (status == ERR_OK)
        *ret_b = b;
    else
        because_done(&b);
    return status;
}

struct rank_extra because_extra(const struct because *b)
{
    return (struct rank_extra){&b->history, &b->rows, b->scale, b->weight};
}

static void add_part(struct because_part *p, uint32_t from, double part)
{
    size_t at = p->n;

    p->sum += part;
    if (part <= 0 || from == RANK_NONE)
        return;
    while (at > 0 && p->part[at - 1] < part)
        at--;
    if (at == BECAUSE_MAX)
        return;
    p->n += p->n < BECAUSE_MAX;
    for (size_t i = p->n - 1; i > at; i--) {
        p->from[i] = p->from[i - 1];
        p->part[i] = p->part[i - 1];
    }
    p->from[at] = from;
    p->part[at] = part;
}

int because_parts(const struct because *b, const uint32_t *rows, size_t n,
                  struct because_part *ret_parts, struct err *err)
{
    memset(ret_parts, 0, n * sizeof *ret_parts);
    if (!b->rows.nnz || !n)
        return ERR_OK;
    uint32_t *place = malloc(b->rows.n_cols * sizeof *place);
    if (!place)
        return err_oom(err, "the reasons of a list");
    memset(place, 0xff, b->rows.n_cols * sizeof *place);
    for (uint32_t i = 0; i < n; i++)
        place[rows[i]] = i;
    for (size_t h = 0; h < b->history.nnz; h++) {
        uint32_t j = b->history.col[h];

        for (size_t k = b->rows.start[j]; k < b->rows.start[j + 1]; k++) {
            uint32_t i = b->rows.col[k];

            if (place[i] != UINT32_MAX)
                add_part(&ret_parts[place[i]], b->from[j],
                         (double)b->weight * (double)b->scale[i] * (double)b->rows.value[k]);
        }
    }
    free(place);
    return ERR_OK;
}
