#include "daemon/model/evaluation.h"

#include "config/array.h"
#include "daemon/base/processors.h"
#include "daemon/model/training.h"
#include "fusion/model/fuse.h"
#include "store/touch.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

void evaluation_mean(const float *vec, const uint8_t *has, size_t n, int32_t dim, float *ret)
{
    size_t D = (size_t)dim, count = 0;

    for (size_t j = 0; j < D; j++)
        ret[j] = 0;
    for (size_t i = 0; i < n; i++)
        count += has[i] != 0;
    for (size_t j = 0; j < D && count; j++) {
        double sum = 0;

        for (size_t i = 0; i < n; i++)
            sum += has[i] ? (double)vec[i * D + j] : 0;
        ret[j] = (float)(sum / (double)count);
    }
}

/* ---- whose vectors ------------------------------------------------------------------------- */

static int mark_vectors(struct evaluation *e, struct err *err)
{
    size_t D = (size_t)e->dim;

    e->item_has = calloc(e->n_items + 1, 1);
    e->user_has = calloc(e->n_users + 1, 1);
    if (!e->item_has || !e->user_has)
        return err_oom(err, "an evaluation");
    for (size_t i = 0; i < e->n_items; i++)
        e->item_has[i] = !fuse_is_zero(e->items + i * D, e->dim);
    for (size_t i = 0; i < e->n_users; i++)
        e->user_has[i] = !fuse_is_zero(e->users + i * D, e->dim);
    if (!e->no_history && !(e->no_history = calloc(D + 1, sizeof *e->no_history)))
        return err_oom(err, "an evaluation");
    return ERR_OK;
}

int evaluation_of_candidate(const struct candidate *c, uint32_t (*against)[2], size_t n_against,
                            struct evaluation *ret_e, struct err *err)
{
    struct evaluation e = {.candidate = c,
                           .dim = c->dim,
                           .n_items = c->n_items,
                           .n_users = c->n_users,
                           .n_pairs = c->n_pairs,
                           .items = c->items,
                           .users = c->users,
                           .pair = c->pair,
                           .against = against,
                           .n_against = n_against,
                           .neighbours = c->neighbours,
                           .neighbour_scale = c->neighbour_scale,
                           .neighbour_weight = candidate_neighbour_weight(c->metrics),
                           .history = c->pair,
                           .n_history = c->n_pairs,
                           .no_history = candidate_no_history(c->metrics, c->dim)};
    bool has_mean = e.no_history != NULL;
    int r = mark_vectors(&e, err);

    if (r == ERR_OK)
        r = tsv_index_new(c->item_id, c->n_items, &e.item_index, err);
    if (r == ERR_OK)
        r = tsv_index_new(c->user_id, c->n_users, &e.user_index, err);
    if (r != ERR_OK) {
        evaluation_done(&e);
        return r;
    }
    if (!has_mean)
        evaluation_mean(e.users, e.user_has, e.n_users, e.dim, e.no_history);
    *ret_e = e;
    return ERR_OK;
}

static int find_model(struct store *st, int64_t model_id, struct store_model *ret_m,
                      struct err *err)
{
    int r = model_id ? store_model_get(st, model_id, ret_m, err)
                     : store_model_active(st, ret_m, err);

    if (r == ERR_NONE && model_id)
        return err_fatal(err, EX_NOINPUT, "no model %lld: see metammf model list",
                         (long long)model_id);
    return r == ERR_NONE ? err_fatal(err, EX_NOINPUT, "no model yet: see metammf train --help")
                         : r;
}

/* Ids as rows; pairs of items without a vector are left out. */
static int find_rows(const struct evaluation *e, const struct store_pair *pairs, size_t n,
                     uint32_t (**ret_rows)[2], size_t *ret_n, struct err *err)
{
    uint32_t(*rows)[2] = calloc(n + 1, sizeof *rows);

    if (!rows)
        return err_oom(err, "an evaluation");
    for (size_t i = 0; i < n; i++) {
        size_t user = array_find(e->user_rows.id, e->user_rows.n_rows, pairs[i].uid);
        size_t item = array_find(e->item_rows.id, e->item_rows.n_rows, pairs[i].rid);

        if (item == e->item_rows.n_rows)
            continue;
        rows[*ret_n][0] = (uint32_t)user;
        rows[(*ret_n)++][1] = (uint32_t)item;
    }
    *ret_rows = rows;
    return ERR_OK;
}

/* Their columns as rows of the items that have a vector. */
static int number_neighbours(struct evaluation *e, const struct store_neighbours *x,
                             struct err *err)
{
    struct csr *to = &e->neighbours;
    size_t nnz = x->n_rows ? x->start[x->n_rows] : 0, n = 0;
    int r = csr_new((uint32_t)x->n_rows, (uint32_t)e->n_items, nnz, to, err);

    e->neighbour_scale = calloc(e->n_items + 1, sizeof *e->neighbour_scale);
    if (r == ERR_OK && !(to->value = malloc((nnz + 1) * sizeof *to->value)))
        r = err_oom(err, "an evaluation");
    if (r != ERR_OK || !e->neighbour_scale)
        return r == ERR_OK ? err_oom(err, "an evaluation") : r;
    for (size_t j = 0; j < x->n_rows; j++) {
        size_t row = array_find(e->item_rows.id, e->n_items, x->rid[j]);

        if (row < e->n_items)
            e->neighbour_scale[row] = (float)x->scale[j];
        for (size_t k = x->start[j]; k < x->start[j + 1]; k++) {
            size_t item = array_find(e->item_rows.id, e->n_items, x->rids[k]);

            if (item == e->n_items)
                continue;
            to->col[n] = (uint32_t)item;
            to->value[n++] = x->values[k];
        }
        to->start[j + 1] = n;
    }
    to->nnz = n;
    return ERR_OK;
}

/* An item without a vector is recommended to nobody, and yet says something about others. */
static int find_history(struct evaluation *e, const struct store_neighbours *x,
                        const struct store_pair *pairs, size_t n, struct err *err)
{
    e->history = calloc(n + 1, sizeof *e->history);
    if (!e->history)
        return err_oom(err, "an evaluation");
    for (size_t i = 0; i < n; i++) {
        size_t user = array_find(e->user_rows.id, e->user_rows.n_rows, pairs[i].uid);
        size_t row = array_find(x->rid, x->n_rows, pairs[i].rid);

        if (user == e->user_rows.n_rows || row == x->n_rows)
            continue;
        e->history[e->n_history][0] = (uint32_t)user;
        e->history[e->n_history++][1] = (uint32_t)row;
    }
    return ERR_OK;
}

static int take_neighbours(struct evaluation *e, struct store *st,
                           const struct store_pair *pairs, size_t n, struct err *err)
{
    struct store_neighbours x = {0};

    if (e->neighbour_weight == 0)
        return ERR_OK;
    int r = store_read_neighbour_all(st, e->model_id, &x, err);
    if (r == ERR_OK && x.n_rows)
        r = number_neighbours(e, &x, err);
    if (r == ERR_OK && x.n_rows)
        r = find_history(e, &x, pairs, n, err);
    store_neighbours_done(&x);
    return r;
}

/* Pairs of users or items without a vector mask nothing, but a pair makes its item warm. */
static int take_pairs(struct evaluation *e, struct store *st, struct err *err)
{
    struct store_pair *pairs = NULL;
    size_t n = 0;
    int r = store_get_training(st, e->model_id, &pairs, &n, err);

    if (r == ERR_OK || r == ERR_NONE)
        r = find_rows(e, pairs, n, &e->pair, &e->n_pairs, err);
    if (r == ERR_OK)
        r = take_neighbours(e, st, pairs, n, err);
    free(pairs);
    pairs = NULL;
    if (r == ERR_OK)
        r = store_read_against(st, &pairs, &n, err);
    if (r == ERR_OK)
        r = find_rows(e, pairs, n, &e->against, &e->n_against, err);
    free(pairs);
    return r;
}

static int take_rows(struct evaluation *e, struct store *st, struct err *err)
{
    int r = store_read_vectors(st, e->model_id, STORE_SIDE_ITEMS, &e->item_rows, err);

    if (r == ERR_OK)
        r = store_read_vectors(st, e->model_id, STORE_SIDE_USERS, &e->user_rows, err);
    if (r == ERR_OK && !e->item_rows.n_rows)
        r = err_fatal(err, EX_NOINPUT,
                      "model %lld has no vectors in this store: metammf model promote %lld "
                      "makes them",
                      (long long)e->model_id, (long long)e->model_id);
    if (r != ERR_OK)
        return r;
    e->items = e->item_rows.vec;
    e->users = e->user_rows.vec;
    e->n_items = e->item_rows.n_rows;
    e->n_users = e->user_rows.n_rows;
    e->dim = e->item_rows.dim;
    if (e->n_users && e->user_rows.dim != e->dim)
        return err_fatal(err, EX_DATAERR,
                         "model %lld: vectors of users have %d numbers, those of items %d",
                         (long long)e->model_id, e->user_rows.dim, e->dim);
    return ERR_OK;
}

static int fill_from_model(struct evaluation *e, struct store *st, const struct store_model *m,
                           struct err *err)
{
    int r = take_rows(e, st, err);
    json_t *metrics = m->metrics ? json_loads(m->metrics, 0, NULL) : NULL;

    e->neighbour_weight = candidate_neighbour_weight(metrics);
    if (r == ERR_OK)
        e->no_history = candidate_no_history(metrics, e->dim);
    json_decref(metrics);
    if (r == ERR_OK)
        r = take_pairs(e, st, err);
    bool has_mean = e->no_history != NULL;
    if (r == ERR_OK)
        r = mark_vectors(e, err);
    if (r == ERR_OK && !has_mean)
        evaluation_mean(e->users, e->user_has, e->n_users, e->dim, e->no_history);
    if (r == ERR_OK)
        r = tsv_index_new(e->item_rows.name, e->n_items, &e->item_index, err);
    return r == ERR_OK ? tsv_index_new(e->user_rows.name, e->n_users, &e->user_index, err) : r;
}

int evaluation_of_model(struct store *st, int64_t model_id, struct evaluation *ret_e,
                        struct err *err)
{
    struct store_model m = {0};
    int r = find_model(st, model_id, &m, err);

    if (r != ERR_OK)
        return r;
    struct evaluation e = {.model_id = m.model_id};
    r = fill_from_model(&e, st, &m, err);
    store_model_done(&m);
    if (r == ERR_OK)
        *ret_e = e;
    else
        evaluation_done(&e);
    return r;
}

void evaluation_done(struct evaluation *e)
{
    if (!e->candidate) {
        free(e->pair);
        free(e->against);
        csr_done(&e->neighbours);
        free(e->neighbour_scale);
        free(e->history);
    }
    store_rows_done(&e->item_rows);
    store_rows_done(&e->user_rows);
    tsv_index_done(&e->item_index);
    tsv_index_done(&e->user_index);
    free(e->no_history);
    free(e->item_has);
    free(e->user_has);
    *e = (struct evaluation){0};
}

/* ---- a test -------------------------------------------------------------------------------- */

struct test_row {
    uint32_t user;    /* row of the task */
    uint32_t item;    /* row of the model, or EVALUATE_UNKNOWN */
    const char *name; /* of an unknown item, so that each counts once */
};

struct test {
    size_t n, n_users;
    struct tsv_index names; /* of the test's users */
    char **name;            /* (n_users) */
    struct test_row *rows;  /* (n) by user, item */
    uint32_t *user_row;     /* (n_users) row in the model, UINT32_MAX = none */
    float *vec;             /* (n_users, D) */
    size_t *start;          /* (n_users + 1) */
    uint32_t *item;         /* (n) */
    uint8_t *warm;          /* (I) */
    struct csr seen;
    uint32_t *compact; /* (I) model row → row among the items with a vector */
    float *items;      /* those */
    uint32_t n_items;
    struct csr history,
        neighbours; /* (n_users, J), (J, n_items); of J those that a history names */
    float *scale;   /* (n_items) */
};

static void test_done(struct test *t)
{
    tsv_index_done(&t->names);
    free(t->name);
    free(t->rows);
    free(t->user_row);
    free(t->vec);
    free(t->start);
    free(t->item);
    free(t->warm);
    free(t->compact);
    free(t->items);
    csr_done(&t->seen);
    csr_done(&t->history);
    csr_done(&t->neighbours);
    free(t->scale);
}

static int compare_rows(const void *a, const void *b)
{
    const struct test_row *x = a, *y = b;

    if (x->user != y->user)
        return x->user < y->user ? -1 : 1;
    if (x->item != y->item)
        return x->item < y->item ? -1 : 1;
    return x->name && y->name ? strcmp(x->name, y->name) : 0;
}

/* The distinct names of the test's users, in the order of the names. */
static int name_users(struct test *t, const struct tsv_pair *pairs, size_t n, struct err *err)
{
    struct tsv_index all;
    char **names = calloc(n + 1, sizeof *names);
    int r = names ? ERR_OK : err_oom(err, "an evaluation");

    for (size_t i = 0; r == ERR_OK && i < n; i++)
        names[i] = (char *)(uintptr_t)pairs[i].user;
    if (r == ERR_OK)
        r = tsv_index_new(names, n, &all, err);
    if (r != ERR_OK) {
        free(names);
        return r;
    }
    for (size_t i = 0; i < n; i++)
        if (!i || strcmp(all.sorted[i].name, all.sorted[i - 1].name) != 0)
            names[t->n_users++] = (char *)(uintptr_t)all.sorted[i].name;
    tsv_index_done(&all);
    t->name = names;
    return tsv_index_new(t->name, t->n_users, &t->names, err);
}

static int reserve(struct test *t, const struct evaluation *e, size_t n, struct err *err)
{
    size_t D = (size_t)e->dim;

    t->rows = calloc(n + 1, sizeof *t->rows);
    t->user_row = calloc(t->n_users + 1, sizeof *t->user_row);
    t->vec = calloc(t->n_users * D + 1, sizeof *t->vec);
    t->start = calloc(t->n_users + 2, sizeof *t->start);
    t->item = calloc(n + 1, sizeof *t->item);
    t->warm = calloc(e->n_items + 1, 1);
    t->compact = calloc(e->n_items + 1, sizeof *t->compact);
    t->items = calloc(e->n_items * D + 1, sizeof *t->items);
    if (!t->rows || !t->user_row || !t->vec || !t->start || !t->item || !t->warm ||
        !t->compact || !t->items)
        return err_oom(err, "an evaluation");
    return ERR_OK;
}

/* Items without a vector do not compete. */
static void compact_items(struct test *t, const struct evaluation *e)
{
    size_t D = (size_t)e->dim;

    for (size_t i = 0; i < e->n_items; i++) {
        t->compact[i] = e->item_has[i] ? t->n_items : EVALUATE_UNKNOWN;
        if (e->item_has[i])
            memcpy(t->items + t->n_items++ * D, e->items + i * D, D * sizeof *t->items);
    }
    for (size_t i = 0; i < e->n_pairs; i++)
        if (t->compact[e->pair[i][1]] != EVALUATE_UNKNOWN)
            t->warm[t->compact[e->pair[i][1]]] = 1;
}

static void find_users(struct test *t, const struct evaluation *e,
                       struct evaluation_result *result)
{
    size_t D = (size_t)e->dim;

    for (size_t u = 0; u < t->n_users; u++) {
        uint32_t row = tsv_index_find(&e->user_index, t->name[u]);
        bool known = row != UINT32_MAX && e->user_has[row];

        t->user_row[u] = row;
        result->n_unknown_users += !known;
        memcpy(t->vec + u * D, known ? e->users + row * D : e->no_history, D * sizeof *t->vec);
    }
}

static void sort_pairs(struct test *t, const struct evaluation *e, const struct tsv_pair *pairs,
                       size_t n, struct evaluation_result *result)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t row = tsv_index_find(&e->item_index, pairs[i].item);
        uint32_t item = row == UINT32_MAX ? EVALUATE_UNKNOWN : t->compact[row];

        t->rows[i] = (struct test_row){tsv_index_find(&t->names, pairs[i].user), item,
                                       item == EVALUATE_UNKNOWN ? pairs[i].item : NULL};
    }
    qsort(t->rows, n, sizeof *t->rows, compare_rows);
    for (size_t i = 0; i < n; i++) {
        if (i && compare_rows(&t->rows[i], &t->rows[i - 1]) == 0)
            continue;
        t->item[t->n++] = t->rows[i].item;
        t->start[t->rows[i].user + 1] = t->n;
        result->n_unknown_items += t->rows[i].item == EVALUATE_UNKNOWN;
    }
}

/* Those of them that are of the test's users. */
static void add_masked(const struct test *t, const uint32_t *row_of, uint32_t (*of)[2],
                       size_t n, struct csr_pair *pairs, size_t *n_pairs)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t item = t->compact[of[i][1]], user = row_of[of[i][0]];

        if (user != UINT32_MAX && item != EVALUATE_UNKNOWN)
            pairs[(*n_pairs)++] = (struct csr_pair){user, item};
    }
}

static int mask_pairs(struct test *t, const struct evaluation *e, const uint32_t *row_of,
                      struct err *err)
{
    struct csr_pair *pairs = malloc((e->n_pairs + e->n_against + 1) * sizeof *pairs);
    size_t n = 0;

    if (!pairs)
        return err_oom(err, "an evaluation");
    add_masked(t, row_of, e->pair, e->n_pairs, pairs, &n);
    add_masked(t, row_of, e->against, e->n_against, pairs, &n);
    int r = csr_from_pairs(pairs, n, (uint32_t)t->n_users, t->n_items, &t->seen, err);
    free(pairs);
    return r;
}

static int add_history(struct test *t, const struct evaluation *e, const uint32_t *row_of,
                       struct err *err)
{
    struct csr_pair *pairs = malloc((e->n_history + 1) * sizeof *pairs);
    size_t n = 0;

    if (!pairs)
        return err_oom(err, "an evaluation");
    for (size_t i = 0; i < e->n_history; i++) {
        uint32_t user = row_of[e->history[i][0]];

        if (user != UINT32_MAX)
            pairs[n++] = (struct csr_pair){user, e->history[i][1]};
    }
    int r =
        csr_from_pairs(pairs, n, (uint32_t)t->n_users, e->neighbours.n_rows, &t->history, err);
    free(pairs);
    return r;
}

/* Of the rows that a history names, the columns that compete. */
static int compact_neighbours(struct test *t, const struct evaluation *e, struct err *err)
{
    const struct csr *from = &e->neighbours;
    struct csr *to = &t->neighbours;
    uint8_t *named = calloc(from->n_rows + 1, 1);
    size_t n = 0;
    int r = named ? csr_new(from->n_rows, t->n_items, from->nnz, to, err)
                  : err_oom(err, "an evaluation");

    t->scale = calloc(t->n_items + 1, sizeof *t->scale);
    if (r == ERR_OK)
        to->value = malloc((from->nnz + 1) * sizeof *to->value);
    if (r == ERR_OK && (!t->scale || !to->value))
        r = err_oom(err, "an evaluation");
    for (size_t i = 0; r == ERR_OK && i < t->history.nnz; i++)
        named[t->history.col[i]] = 1;
    for (size_t i = 0; r == ERR_OK && i < e->n_items; i++)
        if (t->compact[i] != EVALUATE_UNKNOWN)
            t->scale[t->compact[i]] = e->neighbour_scale[i];
    for (uint32_t j = 0; r == ERR_OK && j < from->n_rows; j++) {
        for (size_t k = from->start[j]; named[j] && k < from->start[j + 1]; k++) {
            if (t->compact[from->col[k]] == EVALUATE_UNKNOWN)
                continue;
            to->col[n] = t->compact[from->col[k]];
            to->value[n++] = from->value[k];
        }
        to->start[j + 1] = n;
    }
    to->nnz = n;
    free(named);
    return r;
}

/* What depends on whom the model knows of the test's users. */
static int add_pairs(struct test *t, const struct evaluation *e, struct err *err)
{
    uint32_t *row_of = malloc((e->n_users + 1) * sizeof *row_of);

    if (!row_of)
        return err_oom(err, "an evaluation");
    for (size_t u = 0; u <= e->n_users; u++)
        row_of[u] = UINT32_MAX;
    for (uint32_t u = 0; u < t->n_users; u++)
        if (t->user_row[u] != UINT32_MAX)
            row_of[t->user_row[u]] = u;
    int r = mask_pairs(t, e, row_of, err);
    if (r == ERR_OK && e->neighbours.start) {
        r = add_history(t, e, row_of, err);
        if (r == ERR_OK)
            r = compact_neighbours(t, e, err);
    }
    free(row_of);
    return r;
}

static int prepare(struct test *t, const struct evaluation *e, const struct tsv_pair *pairs,
                   size_t n, struct evaluation_result *result, struct err *err)
{
    int r = name_users(t, pairs, n, err);

    if (r == ERR_OK)
        r = reserve(t, e, n, err);
    if (r != ERR_OK)
        return r;
    compact_items(t, e);
    find_users(t, e, result);
    sort_pairs(t, e, pairs, n, result);
    return add_pairs(t, e, err);
}

int evaluation_run(const struct evaluation *e, const struct tsv_pair *test, size_t n,
                   const uint32_t *cuts, uint32_t n_cuts, unsigned threads,
                   struct evaluation_result *ret, struct err *err)
{
    struct evaluation_result result = {0};
    struct test t = {0};
    struct team *team = NULL;
    int r = prepare(&t, e, test, n, &result, err);

    if (r == ERR_OK)
        r = team_new(threads ? threads : processors_online(), &team, err);
    if (r == ERR_OK) {
        const struct rank_extra extra = {&t.history, &t.neighbours, t.scale,
                                         e->neighbour_weight};
        const struct evaluate_task task = {.users = t.vec,
                                           .items = t.items,
                                           .n_users = (uint32_t)t.n_users,
                                           .n_items = t.n_items,
                                           .D = (uint32_t)e->dim,
                                           .seen = &t.seen,
                                           .extra = e->neighbours.start ? &extra : NULL,
                                           .item_warm = t.warm,
                                           .test_start = t.start,
                                           .test_item = t.item,
                                           .cuts = cuts,
                                           .n_cuts = n_cuts,
                                           .team = team};

        result.n_users = t.n_users;
        result.n_pairs = t.n;
        r = evaluate_run(&task, &result.figures, err);
    }
    team_free(team);
    test_done(&t);
    if (r == ERR_OK)
        *ret = result;
    return r;
}

/* ---- as JSON ------------------------------------------------------------------------------- */

static json_t *slice_json(const struct evaluate_result *f, enum evaluate_slice slice)
{
    json_t *object = json_object();

    for (uint32_t i = 0; object && i < f->n_cuts; i++) {
        const struct evaluate_figures *x = &f->at[slice][i];
        char k[16];

        (void)snprintf(k, sizeof k, "%u", f->cut[i]);
        (void)json_object_set_new(object, k,
                                  json_pack("{s:f, s:f, s:f, s:f}", "precision", x->precision,
                                            "recall", x->recall, "hr", x->hr, "ndcg", x->ndcg));
    }
    return object;
}

struct json_t *evaluation_json(const struct evaluation_result *r)
{
    json_t *object = json_object();

    for (int s = 0; object && s < EVALUATE_SLICES; s++)
        (void)json_object_set_new(object, evaluate_slice_name((enum evaluate_slice)s),
                                  slice_json(&r->figures, (enum evaluate_slice)s));
    if (object)
        (void)json_object_update_new(
            object,
            json_pack("{s:I, s:I, s:I, s:I}", "users", (json_int_t)r->n_users, "pairs",
                      (json_int_t)r->n_pairs, "unknown_users", (json_int_t)r->n_unknown_users,
                      "unknown_items", (json_int_t)r->n_unknown_items));
    return object;
}
