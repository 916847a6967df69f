/* Models: which there are, which one is active or pinned, and how they learned.
 *
 * The flip is one transaction: active_model names the new model and carries the flip's seq,
 * from then on every current embedding has at least that seq. Items that lose their embedding
 * with the flip are marked as gone (change.op = 'delete'), so a reader that follows `change`
 * drops them; items that have one again are unmarked. */

#include "store/internal.h"

#include "config/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define META_PINNED  "pinned_model"
#define META_UNFUSED "unfused_model"

static const char *const origin_names[] = {"seeded", "trained", "imported"};

void store_model_done(struct store_model *m)
{
    free(m->encoder_ids);
    free(m->metrics);
    m->encoder_ids = NULL;
    m->metrics = NULL;
}

int store_model_add(struct store *st, struct store_model *m, struct err *err)
{
    struct query q = query_begin(st, SQL_MODEL_INSERT);

    assert(st->mode == STORE_WRITE);
    query_int_or_null(&q, m->parent_id);
    query_us(&q, m->created_us ? m->created_us : clock_real_us());
    query_text(&q, origin_names[m->origin]);
    query_text(&q, m->backbone);
    query_text(&q, m->fusion);
    query_text(&q, m->file);
    query_text(&q, m->sha256);
    query_text(&q, m->encoder_ids);
    query_text(&q, m->metrics);
    int status = query_row(&q, "insert a model", err);
    if (status != ERR_OK)
        return status;
    int64_t model_id = query_column_int(&q, 0);
    status = query_run(&q, "insert a model", err);
    if (status != ERR_OK)
        return status;
    m->model_id = model_id;
    (void)strcpy(m->state, "candidate");
    return ERR_OK;
}

static int model_read(const struct query *q, struct store_model *m, struct err *err)
{
    char origin[16];

    *m = (struct store_model){.model_id = query_column_int(q, 0),
                              .parent_id = query_column_int(q, 1),
                              .created_us = (int64_t)(query_column_real(q, 2) * 1000.0 + 0.5),
                              .retired_us = (int64_t)(query_column_real(q, 11) * 1000.0 + 0.5)};
    query_column_word(q, 3, origin, sizeof origin);
    for (int i = STORE_MODEL_SEEDED; i <= STORE_MODEL_IMPORTED; i++) {
        if (strcmp(origin, origin_names[i]) == 0)
            m->origin = (enum store_model_origin)i;
    }
    query_column_word(q, 4, m->state, sizeof m->state);
    query_column_word(q, 5, m->backbone, sizeof m->backbone);
    query_column_word(q, 6, m->fusion, sizeof m->fusion);
    query_column_word(q, 7, m->file, sizeof m->file);
    query_column_word(q, 8, m->sha256, sizeof m->sha256);
    int status = query_column_text(q, 9, &m->encoder_ids, err);
    if (status == ERR_OK)
        status = query_column_text(q, 10, &m->metrics, err);
    if (status != ERR_OK)
        store_model_done(m);
    return status;
}

static int model_step(struct query *q, struct store_model *ret_m, struct err *err)
{
    struct store_model m;
    int status = query_row(q, "read a model", err);

    if (status != ERR_OK)
        return status;
    status = model_read(q, &m, err);
    query_end(q);
    if (status == ERR_OK)
        *ret_m = m;
    return status;
}

int store_model_active(struct store *st, struct store_model *ret_m, struct err *err)
{
    struct query q = query_begin(st, SQL_MODEL_ACTIVE);

    return model_step(&q, ret_m, err);
}

int store_model_get(struct store *st, int64_t model_id, struct store_model *ret_m,
                    struct err *err)
{
    struct query q = query_begin(st, SQL_MODEL_GET);

    query_int(&q, model_id);
    return model_step(&q, ret_m, err);
}

int store_model_previous(struct store *st, int64_t *ret_model_id, struct err *err)
{
    struct query q = query_begin(st, SQL_MODEL_PREVIOUS);
    int status = query_row(&q, "find the previous model", err);

    if (status != ERR_OK)
        return status;
    *ret_model_id = query_column_int(&q, 0);
    query_end(&q);
    return ERR_OK;
}

static int models_read(struct query *q, struct store_model **rows, size_t *n, struct err *err)
{
    int status;

    while ((status = query_step(q, "list models", err)) == ERR_OK) {
        struct store_model *p = store_grow(*rows, *n, sizeof *p);

        if (!p)
            return err_oom(err, "list models");
        *rows = p;
        status = model_read(q, &p[*n], err);
        if (status != ERR_OK)
            return status;
        ++*n;
    }
    return status;
}

int store_model_list(struct store *st, size_t max, struct store_model **ret_rows, size_t *ret_n,
                     struct err *err)
{
    struct query q = query_begin(st, SQL_MODEL_LIST);
    struct store_model *rows = NULL;
    size_t n = 0;

    query_int(&q, max > INT64_MAX ? INT64_MAX : (int64_t)max);
    int status = models_read(&q, &rows, &n, err);
    query_end(&q);
    if (status != ERR_END) {
        for (size_t i = 0; i < n; i++)
            store_model_done(&rows[i]);
        free(rows);
        return status;
    }
    *ret_rows = rows;
    *ret_n = n;
    return ERR_OK;
}

int store_model_set_state(struct store *st, int64_t model_id, const char *state,
                          const char *metrics, struct err *err)
{
    struct query q = query_begin(st, SQL_MODEL_SET_STATE);

    assert(st->mode == STORE_WRITE);
    query_int(&q, model_id);
    query_text(&q, state);
    query_text(&q, metrics);
    int status = query_run(&q, "set a model's state", err);
    if (status == ERR_OK && store_changes(st) == 0)
        return err_fatal(err, EX_DATAERR,
                         "store %s: model %lld: not a candidate; see `metammf model list`",
                         st->path, (long long)model_id);
    return status;
}

static int run_with(struct store *st, enum sql_id id, int64_t a, int64_t b, int64_t c, int n,
                    struct err *err)
{
    const int64_t v[] = {a, b, c};
    struct query q = query_begin(st, id);

    for (int i = 0; i < n; i++)
        query_int(&q, v[i]);
    return query_run(&q, "flip the active model", err);
}

static int retire_others(struct store *st, int64_t model_id, struct err *err)
{
    struct query q = query_begin(st, SQL_MODEL_RETIRE);

    query_int(&q, model_id);
    query_us(&q, clock_real_us());
    return query_run(&q, "retire the active model", err);
}

static int set_active(struct store *st, int64_t model_id, struct err *err)
{
    struct query q = query_begin(st, SQL_ACTIVE_SET);

    query_int(&q, model_id);
    query_int(&q, ++st->seq);
    query_us(&q, clock_real_us());
    return query_run(&q, "flip the active model", err);
}

static int flip(struct store *st, int64_t old_id, int64_t model_id, struct err *err)
{
    int status = store_seq_read(st, err);

    if (status == ERR_OK)
        status = retire_others(st, model_id, err);
    if (status == ERR_OK)
        status = run_with(st, SQL_MODEL_SET_ACTIVE, model_id, 0, 0, 1, err);
    if (status == ERR_OK)
        status = set_active(st, model_id, err);
    if (status == ERR_OK)
        status = run_with(st, SQL_FLIP_GONE, old_id, model_id, st->seq, 3, err);
    if (status == ERR_OK)
        status = run_with(st, SQL_FLIP_BACK, model_id, 0, 0, 1, err);
    if (status == ERR_OK)
        status = run_with(st, SQL_FLIP_STATE, model_id, 0, 0, 1, err);
    return status == ERR_OK ? store_seq_write(st, err) : status;
}

int store_model_mended(struct store *st, struct err *err)
{
    struct store_model m = {0};
    int status = store_begin(st, err);

    if (status != ERR_OK)
        return status;
    status = store_model_active(st, &m, err);
    if (status == ERR_OK)
        status = run_with(st, SQL_FLIP_BACK, m.model_id, 0, 0, 1, err);
    if (status == ERR_OK)
        status = run_with(st, SQL_FLIP_STATE, m.model_id, 0, 0, 1, err);
    store_model_done(&m);
    return store_finish(st, status, err);
}

/* The id of the active model, 0 = none; ERR_FATAL when model_id does not exist. */
static int find_models(struct store *st, int64_t model_id, int64_t *ret_old_id, struct err *err)
{
    struct store_model m = {0};
    int status = store_model_get(st, model_id, &m, err);

    store_model_done(&m);
    if (status == ERR_NONE)
        return err_fatal(err, EX_DATAERR,
                         "store %s: model %lld: no such model; see `metammf model list`",
                         st->path, (long long)model_id);
    if (status != ERR_OK)
        return status;
    m = (struct store_model){0};
    status = store_model_active(st, &m, err);
    *ret_old_id = m.model_id;
    store_model_done(&m);
    return status == ERR_NONE ? ERR_OK : status;
}

/* The writer waits for it: 0.5 s between two models of 300,000 items, and 2.5 s more where
 * item.state changes in every row. */
int store_model_activate(struct store *st, int64_t model_id, struct err *err)
{
    int64_t old_id = 0;
    int status = store_begin(st, err);

    if (status != ERR_OK)
        return status;
    status = find_models(st, model_id, &old_id, err);
    if (status == ERR_OK && old_id != model_id)
        status = flip(st, old_id, model_id, err);
    return store_finish(st, status, err);
}

/* ---- the learning curve ------------------------------------------------------------------- */

static int put_points(struct store *st, int64_t model_id, const struct store_metric *points,
                      size_t n, struct err *err)
{
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < n; i++) {
        struct query q = query_begin(st, SQL_CURVE_PUT);

        query_int(&q, model_id);
        query_int(&q, points[i].epoch);
        query_text(&q, points[i].name);
        query_real(&q, points[i].value);
        query_us(&q, clock_real_us());
        status = query_run(&q, "write a learning curve", err);
    }
    return status;
}

int store_put_curve(struct store *st, int64_t model_id, const struct store_metric *points,
                    size_t n, struct err *err)
{
    assert(st->mode == STORE_WRITE);
    int status = store_begin(st, err);

    if (status != ERR_OK)
        return status;
    status = put_points(st, model_id, points, n, err);
    return store_finish(st, status, err);
}

int store_get_curve(struct store *st, int64_t model_id, struct store_metric **ret_points,
                    size_t *ret_n, struct err *err)
{
    struct query q = query_begin(st, SQL_CURVE_GET);
    struct store_metric *points = NULL;
    size_t n = 0;
    int status;

    query_int(&q, model_id);
    while ((status = query_step(&q, "read a learning curve", err)) == ERR_OK) {
        struct store_metric *more = store_grow(points, n, sizeof *points);

        if (!more) {
            status = err_oom(err, "a learning curve");
            break;
        }
        points = more;
        points[n].epoch = (uint32_t)query_column_int(&q, 0);
        query_column_word(&q, 1, points[n].name, sizeof points[n].name);
        points[n++].value = query_column_real(&q, 2);
    }
    query_end(&q);
    if (status != ERR_END) {
        free(points);
        return status;
    }
    *ret_points = points;
    *ret_n = n;
    return ERR_OK;
}

/* ---- ids of models that meta keeps under a name --------------------------------------------- */

int store_get_model_note(struct store *st, const char *name, int64_t *ret_model_id,
                         struct err *err)
{
    struct query q = query_begin(st, SQL_META_FIND);

    *ret_model_id = 0;
    query_text(&q, name);
    int status = query_row(&q, "read the id of a model", err);
    if (status == ERR_OK)
        *ret_model_id = query_column_int(&q, 0);
    else if (status != ERR_NONE)
        return err_wrap(err, "%s", name);
    query_end(&q);
    return ERR_OK;
}

int store_put_model_note(struct store *st, const char *name, int64_t model_id, struct err *err)
{
    struct query q = query_begin(st, SQL_META_SET);
    char text[24];

    (void)snprintf(text, sizeof text, "%lld", (long long)model_id);
    query_text(&q, name);
    query_text(&q, text);
    int status = query_run(&q, "note the id of a model", err);
    return status == ERR_OK ? ERR_OK : err_wrap(err, "%s", name);
}

int store_pin_model(struct store *st, int64_t model_id, struct err *err)
{
    assert(st->mode == STORE_WRITE);
    return store_put_model_note(st, META_PINNED, model_id, err);
}

int store_pinned_model(struct store *st, int64_t *ret_model_id, struct err *err)
{
    return store_get_model_note(st, META_PINNED, ret_model_id, err);
}

int store_put_unfused(struct store *st, int64_t model_id, struct err *err)
{
    assert(st->mode == STORE_WRITE);
    return store_put_model_note(st, META_UNFUSED, model_id, err);
}

int store_get_unfused(struct store *st, int64_t *ret_model_id, struct err *err)
{
    return store_get_model_note(st, META_UNFUSED, ret_model_id, err);
}
