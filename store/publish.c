/* A trained model's vectors, beside those of the active one. Blocks of rows, each one transaction:
 * readers see nothing of it before store_model_activate flips; a crash between two blocks leaves
 * a candidate with a part of its vectors, which nobody reads. */

#include "store/internal.h"

#include "config/clock.h"
#include "config/digest.h"

#include <assert.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

int store_vectors_validate(const struct store_vectors *v, struct err *err)
{
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < v->n; i++) {
        const struct store_vector one = {v->vec + i * (size_t)v->dim, v->dim, NULL};
        char row[32];

        (void)snprintf(row, sizeof row, "row %lld", (long long)v->ids[i]);
        status = store_vector_validate(&one, false, "published vector", row, err);
    }
    return status;
}

/* ERR_STALE: the item has other features than the vector was made of. */
static int check_stamp(struct store *st, const struct store_vectors *v, size_t i,
                       struct err *err)
{
    uint64_t stamp;

    if (!v->stamp)
        return ERR_OK;
    int status = store_item_stamp(st, v->ids[i], &stamp, err);
    return status == ERR_OK && stamp != v->stamp[i] ? ERR_STALE : status;
}

int store_publish_row(struct store *st, const struct store_vectors *v, size_t i,
                      struct err *err)
{
    int status = check_stamp(st, v, i, err);

    if (status != ERR_OK)
        return status == ERR_STALE ? ERR_OK : status;
    size_t bytes = (size_t)v->dim * sizeof(float);
    const float *vec = v->vec + i * (size_t)v->dim;
    bool is_item = v->side == STORE_SIDE_ITEMS;
    struct query q = query_begin(st, is_item ? SQL_PUBLISH_ITEM : SQL_PUBLISH_USER);

    query_int(&q, v->model_id);
    query_int(&q, v->ids[i]);
    query_int(&q, v->dim);
    query_int(&q, digest_checksum(vec, bytes));
    query_int(&q, ++st->seq);
    query_us(&q, st->now_us);
    query_blob(&q, vec, bytes);
    if (is_item) {
        query_text(&q, v->warm && v->warm[i] ? "warm" : "cold");
        query_int(&q, v->only_missing);
    }
    return query_run(&q, "publish a vector", err);
}

int store_publish_vectors(struct store *st, const struct store_vectors *v, struct err *err)
{
    assert(st->mode == STORE_WRITE);
    int status = store_vectors_validate(v, err);

    if (status == ERR_OK)
        status = store_begin(st, err);
    if (status != ERR_OK)
        return status;
    st->now_us = clock_real_us();
    status = store_seq_read(st, err);
    for (size_t i = 0; status == ERR_OK && i < v->n; i++)
        status = store_publish_row(st, v, i, err);
    if (status == ERR_OK)
        status = store_seq_write(st, err);
    return store_finish(st, status, err);
}

/* ---- reading them back ------------------------------------------------------------------- */

void store_rows_done(struct store_rows *r)
{
    for (size_t i = 0; i < r->n_rows; i++)
        free(r->name[i]);
    free(r->id);
    free(r->name);
    free(r->vec);
    free(r->warm);
    *r = (struct store_rows){0};
}

static int reserve_row(struct store_rows *r, struct err *err)
{
    int64_t *id = store_grow(r->id, r->n_rows, sizeof *id);
    if (!id)
        return err_oom(err, "a model's vectors");
    r->id = id;
    char **name = store_grow(r->name, r->n_rows, sizeof *name);
    if (!name)
        return err_oom(err, "a model's vectors");
    r->name = name;
    float *vec = store_grow(r->vec, r->n_rows, (size_t)r->dim * sizeof *vec);
    if (!vec)
        return err_oom(err, "a model's vectors");
    r->vec = vec;
    uint8_t *warm = store_grow(r->warm, r->n_rows, sizeof *warm);
    if (!warm)
        return err_oom(err, "a model's vectors");
    r->warm = warm;
    return ERR_OK;
}

static int add_row(struct query *q, const char *table, struct store_rows *r, struct err *err)
{
    int64_t id = query_column_int(q, 3);
    int32_t dim = (int32_t)query_column_int(q, 0);
    int status = store_vector_verify(q, 0, table, id, err);

    if (status != ERR_OK)
        return status;
    if (r->n_rows && dim != r->dim)
        return err_fatal(
            err, EX_DATAERR,
            "store %s: table %s, row %lld: dimension %d, the others have %d; restore a "
            "backup",
            q->st->path, table, (long long)id, dim, r->dim);
    r->dim = dim;
    status = reserve_row(r, err);
    if (status == ERR_OK)
        status = query_column_text(q, 4, &r->name[r->n_rows], err);
    if (status != ERR_OK)
        return status;
    r->id[r->n_rows] = id;
    r->warm[r->n_rows] = query_column_int(q, 5) != 0;
    memcpy(r->vec + r->n_rows * (size_t)dim, sqlite3_column_blob(q->stmt, 1),
           (size_t)dim * sizeof(float));
    r->n_rows++;
    return ERR_OK;
}

int store_read_vectors(struct store *st, int64_t model_id, enum store_side side,
                       struct store_rows *ret_rows, struct err *err)
{
    bool is_item = side == STORE_SIDE_ITEMS;
    struct store_rows r = {0};
    struct query q = query_begin(st, is_item ? SQL_MATRIX_ROWS : SQL_USER_ROWS);
    int status;

    query_int(&q, model_id);
    while ((status = query_step(&q, "read a model's vectors", err)) == ERR_OK) {
        status = add_row(&q, is_item ? "embedding" : "user_embedding", &r, err);
        if (status != ERR_OK)
            break;
    }
    query_end(&q);
    if (status != ERR_END) {
        store_rows_done(&r);
        return status;
    }
    *ret_rows = r;
    return ERR_OK;
}

int store_count_vectors(struct store *st, int64_t model_id, enum store_side side,
                        int64_t *ret_n, struct err *err)
{
    struct query q = query_begin(st, side == STORE_SIDE_ITEMS ? SQL_COUNT_ITEM_VECTORS
                                                              : SQL_COUNT_USER_VECTORS);
    query_int(&q, model_id);
    int status = query_row(&q, "count a model's vectors", err);
    if (status != ERR_OK)
        return status;
    *ret_n = query_column_int(&q, 0);
    query_end(&q);
    return ERR_OK;
}

/* ---- what a model was trained on --------------------------------------------------------- */

_Static_assert(sizeof(struct store_pair) == 16, "a pair is two int64 without padding");

int store_put_training(struct store *st, int64_t model_id, const struct store_pair *pairs,
                       size_t n, struct err *err)
{
    assert(st->mode == STORE_WRITE);
    size_t bytes = n * sizeof *pairs;
    struct query q = query_begin(st, SQL_TRAINED_PUT);

    query_int(&q, model_id);
    query_int(&q, digest_checksum(n ? (const void *)pairs : "", bytes));
    query_blob(&q, n ? (const void *)pairs : "", bytes);
    return query_run(&q, "write a model's training pairs", err);
}

int store_get_training(struct store *st, int64_t model_id, struct store_pair **ret_pairs,
                       size_t *ret_n, struct err *err)
{
    struct query q = query_begin(st, SQL_TRAINED_GET);
    void *data = NULL;
    size_t bytes = 0;

    query_int(&q, model_id);
    int status = query_row(&q, "read a model's training pairs", err);
    if (status != ERR_OK)
        return status;
    status = query_column_blob(&q, 0, &data, &bytes, err);
    if (status == ERR_OK && digest_checksum(data ? data : "", bytes) != query_column_int(&q, 1))
        status = err_fatal(err, EX_DATAERR,
                           "store %s: table model_training, model %lld: the checksum does not "
                           "fit; restore a backup",
                           st->path, (long long)model_id);
    query_end(&q);
    if (status != ERR_OK) {
        free(data);
        return status;
    }
    *ret_pairs = data;
    *ret_n = bytes / sizeof **ret_pairs;
    return ERR_OK;
}
