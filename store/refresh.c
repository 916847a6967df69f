/* Recomputed vectors and the touches that they answer, in one transaction.
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

/* Whether the item itself has changed after the vectors were made. */
static int changed_later(struct store *st, const struct store_recomputed *r, int64_t rid,
                         bool *ret_later, struct err *err)
{
    struct query q = query_begin(st, SQL_TOUCH_LATER);

    query_int(&q, r->snapshot_n);
    query_int(&q, rid);
    int status = query_row(&q, "look for a later change", err);
    *ret_later = status == ERR_OK;
    query_end(&q);
    return status == ERR_NONE ? ERR_OK : status;
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
    int status = query_row(&q, "look at a vector", err);
    *ret_gone = is_item && (status == ERR_NONE || query_column_int(&q, 0) != 0);
    *ret_same = false;
    if (status == ERR_OK) {
        size_t dim = (size_t)v->dim;
        query_column_word(&q, 2, stored, sizeof stored);
        *ret_same =
            query_column_int(&q, 1) == digest_checksum(v->vec + i * dim, dim * sizeof(float)) &&
            (!is_item || strcmp(stored, state) == 0);
        *ret_same |= is_item && r->edgeless && r->edgeless[i] && strcmp(stored, "warm") != 0;
    } else if (status != ERR_NONE) {
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

static int remove_user(struct store *st, int64_t model_id, int64_t uid, struct err *err)
{
    struct query q = query_begin(st, SQL_USER_GONE);

    query_int(&q, model_id);
    query_int(&q, uid);
    return query_run(&q, "remove a user's vector", err);
}

/* *ret_gone: it has a vector that its interactions alone have made, and is left alone otherwise. */
static int look_at_item(struct store *st, const struct store_recomputed *r, int64_t rid,
                        bool *ret_gone, struct err *err)
{
    struct query q = query_begin(st, SQL_RECOMPUTED_ITEM);
    char stored[8] = "";
    bool later = false;

    query_int(&q, r->model_id);
    query_int(&q, rid);
    int status = query_row(&q, "look at a vector", err);
    if (status != ERR_OK && status != ERR_NONE)
        return status;
    if (status == ERR_OK && query_column_int(&q, 0) == 0)
        query_column_word(&q, 2, stored, sizeof stored);
    query_end(&q);
    *ret_gone = strcmp(stored, "warm") == 0;
    status = *ret_gone ? changed_later(st, r, rid, &later, err) : ERR_OK;
    *ret_gone &= !later;
    return status;
}

static int remove_item(struct store *st, const struct store_recomputed *r, int64_t rid,
                       struct err *err)
{
    bool gone = false;
    int status = look_at_item(st, r, rid, &gone, err);

    if (status != ERR_OK || !gone)
        return status;
    struct query q = query_begin(st, SQL_EMBEDDING_GONE);
    query_int(&q, r->model_id);
    query_int(&q, rid);
    status = query_run(&q, "remove an item's vector", err);
    if (status != ERR_OK)
        return status;
    q = query_begin(st, SQL_ITEM_LOST);
    query_int(&q, rid);
    query_int(&q, ++st->seq);
    return query_run(&q, "mark an item as gone", err);
}

static int remove_gone(struct store *st, const struct store_recomputed *r, struct err *err)
{
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < r->n_gone[STORE_SIDE_ITEMS]; i++)
        status = remove_item(st, r, r->gone[STORE_SIDE_ITEMS][i], err);
    for (size_t i = 0; status == ERR_OK && i < r->n_gone[STORE_SIDE_USERS]; i++)
        status = remove_user(st, r->model_id, r->gone[STORE_SIDE_USERS][i], err);
    return status;
}

/* ERR_STALE: another model is active, or none. */
static int write_recomputed(struct store *st, const struct store_recomputed *r,
                            struct store_recomputed_result *result, struct err *err)
{
    struct store_model active = {0};
    bool more;
    int status = store_model_active(st, &active, err);

    store_model_done(&active);
    if (status == ERR_NONE || (status == ERR_OK && active.model_id != r->model_id))
        return ERR_STALE;
    if (status != ERR_OK)
        return status;
    st->now_us = clock_real_us();
    status = store_seq_read(st, err);
    if (status == ERR_OK)
        status = refresh_side(st, r, &r->items, result, err);
    if (status == ERR_OK)
        status = refresh_side(st, r, &r->users, result, err);
    if (status == ERR_OK)
        status = remove_gone(st, r, err);
    if (status == ERR_OK)
        status = store_write_neighbours(st, r->model_id, r->neighbours, r->n_neighbours, false,
                                        &result->n_rows_written, err);
    if (status == ERR_OK)
        status = store_drop_touches(st, r->done_n, SIZE_MAX, &more, err);
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
        status = store_neighbours_validate(r->neighbours, r->n_neighbours, err);
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
