/* Touches. A touch is a line of an append-only table, written in the transaction of what it tells of
 * and deleted in the transaction of the vectors that answer it (refresh.c): about 1 µs on the way in,
 * and a crash at any point leaves it there. */

#include "store/internal.h"

#include "config/clock.h"

int store_touch(struct store *st, int64_t uid, int64_t rid, bool item_changed, struct err *err)
{
    struct query q = query_begin(st, SQL_TOUCH_INSERT);

    query_int_or_null(&q, uid);
    query_int_or_null(&q, rid);
    query_int(&q, item_changed);
    query_us(&q, st->now_us);
    return query_run(&q, "note a touch", err);
}

int store_read_touches(struct store *st, int64_t after_n, size_t max,
                       struct store_touch *ret_touches, size_t *ret_n, struct err *err)
{
    struct query q = query_begin(st, SQL_TOUCH_LIST);
    size_t n = 0;
    int status;

    query_int(&q, after_n);
    query_int(&q, (int64_t)max);
    while ((status = query_step(&q, "read touches", err)) == ERR_OK && n < max) {
        ret_touches[n] = (struct store_touch){.n = query_column_int(&q, 0),
                                              .uid = query_column_int(&q, 1),
                                              .rid = query_column_int(&q, 2),
                                              .item_changed = query_column_int(&q, 3) != 0,
                                              .ts_ms = query_column_real(&q, 4),
                                              .edge_gone = query_column_int(&q, 5) != 0};
        n++;
    }
    query_end(&q);
    *ret_n = n;
    return status == ERR_END ? ERR_OK : status;
}

int store_touch_backlog(struct store *st, struct store_backlog *ret_backlog, struct err *err)
{
    struct query q = query_begin(st, SQL_TOUCH_BACKLOG);
    int status = query_row(&q, "count touches", err);

    if (status != ERR_OK)
        return status;
    int64_t first_n = query_column_int(&q, 0), last_n = query_column_int(&q, 1);
    *ret_backlog = (struct store_backlog){.n_touches = last_n ? last_n - first_n + 1 : 0,
                                          .oldest_ms = query_column_real(&q, 2),
                                          .last_n = last_n};
    query_end(&q);
    return ERR_OK;
}

int store_add_touches(struct store *st, const struct store_pair *touches, size_t n,
                      struct err *err)
{
    int status = store_begin(st, err);

    if (status != ERR_OK)
        return status;
    st->now_us = clock_real_us();
    for (size_t i = 0; status == ERR_OK && i < n; i++)
        status = store_touch(st, touches[i].uid, touches[i].rid, false, err);
    return store_finish(st, status, err);
}

int store_drop_touches(struct store *st, int64_t n, size_t max_rows, bool *ret_more,
                       struct err *err)
{
    int64_t max = max_rows > INT64_MAX ? INT64_MAX : (int64_t)max_rows;
    struct query q = query_begin(st, SQL_TOUCH_DELETE);

    query_int(&q, n);
    query_int(&q, max);
    int status = query_run(&q, "settle touches", err);
    if (status == ERR_OK)
        *ret_more = store_changes(st) >= max;
    return status;
}
