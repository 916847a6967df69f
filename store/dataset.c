/* What a training reads: everything in one read transaction, so that ids, features and pairs are
 * of the same moment. Ids are looked up by binary search in the ascending rids. */

#include "store/internal.h"
#include "store/kinds.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

void store_dataset_done(struct store_dataset *d)
{
    for (size_t i = 0; i < d->n_items; i++)
        free(d->item_id[i]);
    for (size_t i = 0; i < d->n_users; i++)
        free(d->user_id[i]);
    for (int m = 0; m < MODALITY_COUNT; m++)
        free(d->feature[m]);
    free(d->item_rid);
    free(d->user_uid);
    free(d->item_id);
    free(d->user_id);
    free(d->published);
    free(d->pair);
    free(d->strength);
    free(d->against);
    free(d->mask);
    free(d->stamp);
    *d = (struct store_dataset){0};
}

/* Rows of (id, name) and, of items, whether they are published; published NULL = not wanted. */
static int read_names(struct store *st, enum sql_id sql, int64_t **ids, char ***names,
                      uint8_t **published, size_t *n, struct err *err)
{
    struct query q = query_begin(st, sql);
    int status;

    while ((status = query_step(&q, "read ids", err)) == ERR_OK) {
        int64_t *more_ids = store_grow(*ids, *n, sizeof **ids);
        char **more_names = more_ids ? store_grow(*names, *n, sizeof **names) : NULL;
        uint8_t *flags = published ? store_grow(*published, *n, 1) : NULL;

        *ids = more_ids ? more_ids : *ids;
        *names = more_names ? more_names : *names;
        if (flags) {
            *published = flags;
            flags[*n] = query_column_int(&q, 2) != 0;
        }
        status = more_names && (flags || !published)
                     ? query_column_text(&q, 1, &(*names)[*n], err)
                     : err_oom(err, "the store's ids");
        if (status != ERR_OK)
            break;
        (*ids)[(*n)++] = query_column_int(&q, 0);
    }
    query_end(&q);
    return status == ERR_END ? ERR_OK : status;
}

/* Row of an id, n when it is not there. */
static size_t find_row(const int64_t *ids, size_t n, int64_t id)
{
    size_t first = 0, last = n;

    while (first < last) {
        size_t middle = first + (last - first) / 2;

        if (ids[middle] < id)
            first = middle + 1;
        else
            last = middle;
    }
    return first < n && ids[first] == id ? first : n;
}

static float capped(double strength)
{
    double most = STORE_STRENGTH_MAX;

    return (float)(strength > most ? most : strength < -most ? -most : strength);
}

/* To the edges, or to those that count against the item. */
static int add_pair(struct store_dataset *d, size_t user, size_t item, double strength,
                    struct err *err)
{
    bool is_edge = strength > 0;
    uint32_t(**pairs)[2] = is_edge ? &d->pair : &d->against;
    size_t *n = is_edge ? &d->n_pairs : &d->n_against;
    float *strengths = is_edge ? store_grow(d->strength, *n, sizeof *strengths) : NULL;

    if (is_edge && !strengths)
        return err_oom(err, "the store's interactions");
    if (is_edge)
        d->strength = strengths;
    void *more = store_grow(*pairs, *n, sizeof **pairs);
    if (!more)
        return err_oom(err, "the store's interactions");
    *pairs = more;
    if (is_edge)
        d->strength[*n] = capped(strength);
    (*pairs)[*n][0] = (uint32_t)user;
    (*pairs)[(*n)++][1] = (uint32_t)item;
    return ERR_OK;
}

static int read_pairs(struct store *st, struct store_dataset *d, struct err *err)
{
    struct query q = query_begin(st, SQL_DATASET_PAIRS);
    int status;

    while ((status = query_step(&q, "read interactions", err)) == ERR_OK) {
        size_t user = find_row(d->user_uid, d->n_users, query_column_int(&q, 0));
        size_t item = find_row(d->item_rid, d->n_items, query_column_int(&q, 1));

        if (user == d->n_users || item == d->n_items)
            continue;
        status = add_pair(d, user, item, query_column_real(&q, 2), err);
        if (status != ERR_OK)
            break;
    }
    query_end(&q);
    return status == ERR_END ? ERR_OK : status;
}

/* ERR_NONE when nobody has this modality. */
static int newest_encoder(struct store *st, struct store_dataset *d, enum modality m,
                          struct err *err)
{
    struct query q = query_begin(st, SQL_FEATURE_NEWEST);

    query_text(&q, modality_name(m));
    int status = query_row(&q, "find the newest encoder", err);
    if (status != ERR_OK)
        return status;
    query_column_word(&q, 0, d->encoder_id[m], sizeof d->encoder_id[m]);
    d->dim[m] = (int32_t)query_column_int(&q, 1);
    query_end(&q);
    return ERR_OK;
}

static int read_feature_rows(struct query *q, struct store_dataset *d, enum modality m,
                             struct err *err)
{
    size_t dim = (size_t)d->dim[m];
    int status;

    while ((status = query_step(q, "read features", err)) == ERR_OK) {
        int64_t rid = query_column_int(q, 3);
        size_t row = find_row(d->item_rid, d->n_items, rid);

        status = store_vector_verify(q, 0, "feature", rid, err);
        if (status != ERR_OK)
            return status;
        if (row == d->n_items)
            continue;
        memcpy(d->feature[m] + row * dim, sqlite3_column_blob(q->stmt, 1), dim * sizeof(float));
        d->mask[row] |= (uint8_t)MODALITY_BIT(m);
    }
    return status == ERR_END ? ERR_OK : status;
}

static int read_features(struct store *st, struct store_dataset *d, enum modality m,
                         struct err *err)
{
    int status = newest_encoder(st, d, m, err);

    if (status != ERR_OK)
        return status == ERR_NONE ? ERR_OK : status;
    d->feature[m] = calloc(d->n_items + 1, (size_t)d->dim[m] * sizeof(float));
    if (!d->feature[m])
        return err_oom(err, "the store's features");
    struct query q = query_begin(st, SQL_FEATURE_ROWS);
    query_text(&q, modality_name(m));
    query_text(&q, d->encoder_id[m]);
    query_int(&q, d->dim[m]);
    status = read_feature_rows(&q, d, m, err);
    query_end(&q);
    return status;
}

static int read_stamps(struct store *st, struct store_dataset *d, struct err *err)
{
    struct query q = query_begin(st, SQL_DATASET_STAMPS);
    int status;

    d->stamp = calloc(d->n_items + 1, sizeof *d->stamp);
    if (!d->stamp) {
        query_end(&q);
        return err_oom(err, "the store's features");
    }
    while ((status = query_step(&q, "read features", err)) == ERR_OK) {
        size_t row = find_row(d->item_rid, d->n_items, query_column_int(&q, 0));

        if (row < d->n_items)
            d->stamp[row] = store_stamp_add(d->stamp[row], query_column_int(&q, 1));
    }
    query_end(&q);
    return status == ERR_END ? ERR_OK : status;
}

static int read_all(struct store *st, struct store_dataset *d, struct err *err)
{
    int status = read_names(st, SQL_DATASET_ITEMS, &d->item_rid, &d->item_id, &d->published,
                            &d->n_items, err);

    if (status == ERR_OK)
        status = read_names(st, SQL_DATASET_USERS, &d->user_uid, &d->user_id, NULL, &d->n_users,
                            err);
    if (status == ERR_OK)
        status = read_pairs(st, d, err);
    d->mask = calloc(d->n_items + 1, 1);
    if (status == ERR_OK && !d->mask)
        status = err_oom(err, "the store's features");
    for (int m = 0; status == ERR_OK && m < MODALITY_COUNT; m++)
        status = read_features(st, d, (enum modality)m, err);
    return status == ERR_OK ? read_stamps(st, d, err) : status;
}

int store_read_dataset(struct store *st, struct store_dataset *ret_d, struct err *err)
{
    struct store_dataset d = {0};
    int status = store_read_begin(st, err);

    if (status != ERR_OK)
        return status;
    status = read_all(st, &d, err);
    store_read_end(st);
    if (status != ERR_OK) {
        store_dataset_done(&d);
        return status;
    }
    *ret_d = d;
    return ERR_OK;
}

void store_names_done(struct store_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->name[i]);
    free(names->name);
    free(names->id);
    *names = (struct store_names){0};
}

int store_read_names(struct store *st, enum store_side side, struct store_names *ret_names,
                     struct err *err)
{
    struct store_names names = {0};
    int status =
        read_names(st, side == STORE_SIDE_ITEMS ? SQL_DATASET_ITEMS : SQL_DATASET_USERS,
                   &names.id, &names.name, NULL, &names.n, err);

    if (status == ERR_OK)
        *ret_names = names;
    else
        store_names_done(&names);
    return status;
}

int store_read_timed_pairs(struct store *st, struct store_timed_pair **ret_pairs, size_t *ret_n,
                           struct err *err)
{
    struct query q = query_begin(st, SQL_TIMED_PAIRS);
    struct store_timed_pair *pairs = NULL;
    size_t n = 0;
    int status;

    while ((status = query_step(&q, "read interactions", err)) == ERR_OK) {
        struct store_timed_pair *more = store_grow(pairs, n, sizeof *pairs);

        if (!more) {
            status = err_oom(err, "the store's interactions");
            break;
        }
        pairs = more;
        pairs[n++] = (struct store_timed_pair){query_column_int(&q, 0), query_column_int(&q, 1),
                                               query_column_real(&q, 2)};
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
