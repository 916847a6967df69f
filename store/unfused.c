/* An item's features as fusion takes them, what identifies them, and the items that a model has
 * still to fuse. */

#include "store/internal.h"

#include <stdlib.h>
#include <string.h>

uint64_t store_stamp_add(uint64_t stamp, int64_t checksum)
{
    stamp = (stamp ^ (uint64_t)checksum) * UINT64_C(0x9E3779B97F4A7C15);
    return stamp ? stamp : 1;
}

int store_item_stamp(struct store *st, int64_t rid, uint64_t *ret_stamp, struct err *err)
{
    struct query q = query_begin(st, SQL_STAMP);
    uint64_t stamp = 0;
    int status;

    query_int(&q, rid);
    while ((status = query_step(&q, "read an item's features", err)) == ERR_OK)
        stamp = store_stamp_add(stamp, query_column_int(&q, 0));
    query_end(&q);
    if (status != ERR_END)
        return status;
    *ret_stamp = stamp;
    return ERR_OK;
}

/* ---- items that a model has no vector of ------------------------------------------------- */

void store_features_free(struct store_features *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (int m = 0; m < MODALITY_COUNT; m++)
            free(rows[i].vec[m]);
    free(rows);
}

static int read_item_feature(struct query *q, struct store_features *f, struct err *err)
{
    char name[16];

    query_column_word(q, 3, name, sizeof name);
    for (int m = 0; m < MODALITY_COUNT; m++) {
        if (strcmp(name, modality_name((enum modality)m)) != 0)
            continue;
        query_column_word(q, 4, f->encoder_id[m], sizeof f->encoder_id[m]);
        return store_vector_column(q, 0, "feature", f->rid, &f->vec[m], &f->dim[m], err);
    }
    return ERR_OK;
}

int store_read_features(struct store *st, int64_t rid, struct store_features *f,
                        struct err *err)
{
    struct query q = query_begin(st, SQL_ITEM_FEATURES);
    int status;

    *f = (struct store_features){.rid = rid};
    query_int(&q, f->rid);
    while ((status = query_step(&q, "read an item's features", err)) == ERR_OK) {
        f->stamp = store_stamp_add(f->stamp, query_column_int(&q, 2));
        status = read_item_feature(&q, f, err);
        if (status != ERR_OK)
            break;
    }
    query_end(&q);
    return status == ERR_END ? ERR_OK : status;
}

static int list_unfused(struct store *st, int64_t model_id, int64_t after_rid, size_t max,
                        struct store_features *rows, size_t *ret_n, struct err *err)
{
    struct query q = query_begin(st, SQL_UNFUSED);
    size_t n = 0;
    int status;

    query_int(&q, model_id);
    query_int(&q, after_rid);
    query_int(&q, (int64_t)max);
    while ((status = query_step(&q, "find items to fuse", err)) == ERR_OK)
        rows[n++].rid = query_column_int(&q, 0);
    query_end(&q);
    *ret_n = n;
    return status == ERR_END ? ERR_OK : status;
}

int store_read_unfused(struct store *st, int64_t model_id, int64_t after_rid, size_t max,
                       bool with_vectors, struct store_features **ret_rows, size_t *ret_n,
                       struct err *err)
{
    struct store_features *rows = calloc(max + 1, sizeof *rows);
    size_t n = 0;

    if (!rows)
        return err_oom(err, "items to fuse");
    int status = list_unfused(st, model_id, after_rid, max, rows, &n, err);
    for (size_t i = 0; status == ERR_OK && i < n; i++)
        status = with_vectors ? store_read_features(st, rows[i].rid, &rows[i], err)
                              : store_item_stamp(st, rows[i].rid, &rows[i].stamp, err);
    if (status != ERR_OK) {
        store_features_free(rows, n);
        return status;
    }
    *ret_rows = rows;
    *ret_n = n;
    return ERR_OK;
}
