/* Who goes with whom: each question is a range of an index, whatever the size of the store. */

#include "store/internal.h"

#include "config/array.h"

#include <stdlib.h>
#include <string.h>

static int add_id(struct store_ids *ids, int64_t id, struct err *err)
{
    int64_t *more = array_reserve(ids->ids, &ids->room, ids->n + 1, sizeof *more);

    if (!more)
        return err_oom(err, "a list of neighbours");
    ids->ids = more;
    ids->ids[ids->n++] = id;
    return ERR_OK;
}

static int read_ids(struct store *st, enum sql_id sql, int64_t id, struct store_ids *ids,
                    struct err *err)
{
    struct query q = query_begin(st, sql);
    int status;

    ids->n = 0;
    query_int(&q, id);
    while ((status = query_step(&q, "read neighbours", err)) == ERR_OK) {
        status = add_id(ids, query_column_int(&q, 0), err);
        if (status != ERR_OK)
            break;
    }
    query_end(&q);
    return status == ERR_END ? ERR_OK : status;
}

int store_read_neighbours(struct store *st, enum store_side side, int64_t id,
                          struct store_ids *ids, struct err *err)
{
    return read_ids(st, side == STORE_SIDE_USERS ? SQL_ITEMS_OF_USER : SQL_USERS_OF_ITEM, id,
                    ids, err);
}

int store_read_cold(struct store *st, int64_t model_id, struct store_ids *ids, struct err *err)
{
    return read_ids(st, SQL_COLD_ITEMS, model_id, ids, err);
}

static int read_pairs(struct store *st, enum sql_id sql, struct store_pair **ret_pairs,
                      size_t *ret_n, struct err *err)
{
    struct query q = query_begin(st, sql);
    struct store_pair *pairs = NULL;
    size_t n = 0;
    int status;

    while ((status = query_step(&q, "read interactions", err)) == ERR_OK) {
        struct store_pair *more = store_grow(pairs, n, sizeof *pairs);

        if (!more) {
            status = err_oom(err, "the store's interactions");
            break;
        }
        pairs = more;
        pairs[n].uid = query_column_int(&q, 0);
        pairs[n++].rid = query_column_int(&q, 1);
    }
    query_end(&q);
    if (status != ERR_END) {
        free(pairs);
        return status;
    }
    *ret_pairs = pairs;
    *ret_n = n;
    return ERR_OK;
}

int store_read_pairs(struct store *st, struct store_pair **ret_pairs, size_t *ret_n,
                     struct err *err)
{
    return read_pairs(st, SQL_PAIRS, ret_pairs, ret_n, err);
}

int store_read_against(struct store *st, struct store_pair **ret_pairs, size_t *ret_n,
                       struct err *err)
{
    return read_pairs(st, SQL_PAIRS_AGAINST, ret_pairs, ret_n, err);
}

/* Counted, not stored: a stored degree would be written with each interaction, a deletion would
 * have to write those of all its users, and a look-up would still be a page
 * (docs/design/store/311-deleted-items.md). */
int store_read_degree(struct store *st, enum store_side side, int64_t id, uint32_t *ret_degree,
                      struct err *err)
{
    struct query q =
        query_begin(st, side == STORE_SIDE_USERS ? SQL_DEGREE_OF_USER : SQL_DEGREE_OF_ITEM);

    query_int(&q, id);
    int status = query_row(&q, "count neighbours", err);
    if (status == ERR_OK)
        *ret_degree = (uint32_t)query_column_int(&q, 0);
    query_end(&q);
    return status;
}

/* ---- all degrees ---------------------------------------------------------------------------- */

static int count_edge(struct store_degrees *d, enum store_side side, int64_t id,
                      struct err *err)
{
    size_t at = (size_t)id, n = d->n[side];

    if (at >= n) {
        size_t room = at < 1024 ? 1024 : 2 * at;
        uint32_t *more = reallocarray(d->of[side], room, sizeof *more);

        if (!more)
            return err_oom(err, "the store's degrees");
        memset(more + n, 0, (room - n) * sizeof *more);
        d->of[side] = more;
        d->n[side] = room;
    }
    d->of[side][at]++;
    return ERR_OK;
}

int store_read_degrees(struct store *st, size_t max_users, struct store_degrees *d,
                       bool *ret_more, struct err *err)
{
    struct query q = query_begin(st, SQL_PAIRS_AFTER);
    size_t n_users = 0;
    int status;

    *ret_more = false;
    query_int(&q, d->after_uid);
    while ((status = query_step(&q, "count edges", err)) == ERR_OK) {
        int64_t uid = query_column_int(&q, 0), rid = query_column_int(&q, 1);

        *ret_more = uid != d->after_uid && n_users++ == max_users;
        if (*ret_more)
            break;
        d->after_uid = uid;
        status = count_edge(d, STORE_SIDE_USERS, uid, err);
        if (status == ERR_OK)
            status = count_edge(d, STORE_SIDE_ITEMS, rid, err);
        if (status != ERR_OK)
            break;
    }
    query_end(&q);
    return status == ERR_END ? ERR_OK : status;
}

void store_degrees_done(struct store_degrees *d)
{
    free(d->of[0]);
    free(d->of[1]);
    *d = (struct store_degrees){0};
}
