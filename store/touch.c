/* Touches and recomputed vectors. A touch is a line of an append-only table, written in the
 * transaction of what it tells of and deleted in the transaction of the vectors that answer it:
 * about 1 µs on the way in, and a crash at any point leaves it there.
 *
 * Example: u1 watches v1 → interaction, touch 7 (u1, v1) → a reader that sees touches up to 7
 * computes both vectors → one transaction: two vectors, touches up to 7 gone. A new video v1 that
 * came in between is touch 8: v1's vector is then left alone, touch 8 stays. */

#include "store/internal.h"

#include "config/clock.h"
#include "config/digest.h"

#include <assert.h>
#include <string.h>

#define META_REFRESHED "refresh_model"

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
    int status = query_step(&q, "count touches", err);

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

static int drop(struct store *st, int64_t n, size_t max_rows, struct err *err)
{
    struct query q = query_begin(st, SQL_TOUCH_DELETE);

    query_int(&q, n);
    query_int(&q, max_rows > INT64_MAX ? INT64_MAX : (int64_t)max_rows);
    return query_run(&q, "settle touches", err);
}

int store_drop_touches(struct store *st, int64_t n, size_t max_rows, bool *ret_more,
                       struct err *err)
{
    int status = drop(st, n, max_rows, err);

    if (status == ERR_OK)
        *ret_more = store_changes(st) >= (int64_t)max_rows;
    return status;
}

/* ---- refreshed vectors -------------------------------------------------------------------- */

/* Whether the item itself has changed after the vectors were made. */
static int changed_later(struct store *st, const struct store_recomputed *r, int64_t rid,
                         bool *ret_later, struct err *err)
{
    struct query q = query_begin(st, SQL_TOUCH_LATER);

    query_int(&q, r->snapshot_n);
    query_int(&q, rid);
    int status = query_step(&q, "look for a later change", err);
    *ret_later = status == ERR_OK;
    query_end(&q);
    return status == ERR_END ? ERR_OK : status;
}

/* What is there of a row: *ret_gone when nothing may be written, *ret_same when it would not
 * change. */
static int look_at_row(struct store *st, const struct store_recomputed *r,
                       const struct store_vectors *v, size_t i, bool *ret_gone, bool *ret_same,
                       struct err *err)
{
    bool is_item = v->side == STORE_SIDE_ITEMS;
    const char *state = v->warm && v->warm[i] ? "warm" : "cold";
    char stored[8];
    struct query q = query_begin(st, is_item ? SQL_RECOMPUTED_ITEM : SQL_RECOMPUTED_USER);

    query_int(&q, r->model_id);
    query_int(&q, v->ids[i]);
    int status = query_step(&q, "look at a vector", err);
    *ret_gone = is_item && (status == ERR_END || query_column_int(&q, 0) != 0);
    *ret_same = false;
    if (status == ERR_OK) {
        size_t dim = (size_t)v->dim;
        query_column_word(&q, 2, stored, sizeof stored);
        *ret_same =
            query_column_int(&q, 1) == digest_checksum(v->vec + i * dim, dim * sizeof(float)) &&
            (!is_item || strcmp(stored, state) == 0);
    } else if (status != ERR_END) {
        return status;
    }
    query_end(&q);
    return is_item && !*ret_gone ? changed_later(st, r, v->ids[i], ret_gone, err) : ERR_OK;
}

static int refresh_side(struct store *st, const struct store_recomputed *r,
                        const struct store_vectors *v, struct store_recomputed_result *result,
                        struct err *err)
{
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < v->n; i++) {
        bool gone, same;

        status = look_at_row(st, r, v, i, &gone, &same, err);
        if (status != ERR_OK)
            return status;
        result->n_unchanged += same && !gone;
        if (gone || same)
            continue;
        status = store_publish_row(st, v, i, err);
        if (status == ERR_OK && v->side == STORE_SIDE_ITEMS)
            status = store_put_item_state(st, v->ids[i], v->warm && v->warm[i], err);
        result->n_written++;
    }
    return status;
}

static int write_recomputed(struct store *st, const struct store_recomputed *r,
                            struct store_recomputed_result *result, struct err *err)
{
    struct store_model active = {0};
    int status = store_model_active(st, &active, err);

    store_model_done(&active);
    if (status != ERR_OK || active.model_id != r->model_id)
        return status == ERR_OK ? ERR_END : status;
    st->now_us = clock_real_us();
    status = store_seq_read(st, err);
    if (status == ERR_OK)
        status = refresh_side(st, r, &r->items, result, err);
    if (status == ERR_OK)
        status = refresh_side(st, r, &r->users, result, err);
    if (status == ERR_OK)
        status = drop(st, r->done_n, SIZE_MAX, err);
    return status == ERR_OK ? store_seq_write(st, err) : status;
}

int store_write_recomputed(struct store *st, const struct store_recomputed *r,
                           struct store_recomputed_result *ret_result, struct err *err)
{
    struct store_recomputed_result result = {0};

    assert(st->mode == STORE_WRITE);
    int status = store_vectors_validate(&r->items, err);
    if (status == ERR_OK)
        status = store_vectors_validate(&r->users, err);
    if (status == ERR_OK)
        status = store_begin(st, err);
    if (status != ERR_OK)
        return status;
    status = store_finish(st, write_recomputed(st, r, &result, err), err);
    if (status == ERR_OK)
        *ret_result = result;
    return status;
}

/* ---- the model that the touches belong to ------------------------------------------------- */

int store_refresh_model(struct store *st, int64_t *ret_model_id, struct err *err)
{
    return store_get_model_note(st, META_REFRESHED, ret_model_id, err);
}

int store_set_refresh_model(struct store *st, int64_t model_id, struct err *err)
{
    return store_put_model_note(st, META_REFRESHED, model_id, err);
}
