/* What one video event does to item, feature and embedding.
 *
 * An item's row remembers the position (topic, partition, offset) of the event it comes from,
 * and stays when the item is deleted: an older event of that partition changes nothing,
 * whatever the order in which events finish. An event of another partition takes over (events
 * of one item normally share a partition, by key), and the position it displaces moves to
 * item_position, so that the same file ingested again is stale as well.
 *
 * Embeddings of an item under other models describe its old features, so they go when it is
 * replaced; whoever activates such a model fuses what is missing.
 */

#include "store/internal.h"

#include "config/array.h"
#include "config/digest.h"

#include <stdlib.h>

struct item_row {
    int64_t rid; /* 0 = no row */
    bool positioned;
    int64_t topic_id, offset;
    int32_t partition;
};

static int item_find(struct store *st, const char *item_id, struct item_row *row,
                     struct err *err)
{
    struct query q = query_begin(st, SQL_ITEM_FIND);

    *row = (struct item_row){0};
    query_text(&q, item_id);
    int status = query_row(&q, "find an item", err);
    if (status == ERR_OK) {
        row->rid = query_column_int(&q, 0);
        row->topic_id = query_column_int(&q, 1);
        row->positioned = row->topic_id != 0;
        row->partition = (int32_t)query_column_int(&q, 2);
        row->offset = query_column_int(&q, 3);
    } else if (status != ERR_NONE) {
        return status;
    }
    query_end(&q);
    return ERR_OK;
}

/* Whether the event at pos has been applied, or overtaken by one of its own partition. */
static int position_is_stale(struct store *st, const struct item_row *row, int64_t topic_id,
                             const struct store_position *pos, bool *ret_stale, struct err *err)
{
    *ret_stale = false;
    if (!row->positioned)
        return ERR_OK;
    if (row->topic_id == topic_id && row->partition == pos->partition) {
        *ret_stale = row->offset >= pos->offset;
        return ERR_OK;
    }
    struct query q = query_begin(st, SQL_POSITION_FIND);
    query_int(&q, row->rid);
    query_int(&q, topic_id);
    query_int(&q, pos->partition);
    int status = query_row(&q, "find an item's position", err);
    if (status == ERR_OK)
        *ret_stale = query_column_int(&q, 0) >= pos->offset;
    else if (status != ERR_NONE)
        return status;
    query_end(&q);
    return ERR_OK;
}

/* Keeps the position that an event of another partition displaces. */
static int position_keep(struct store *st, const struct item_row *row, int64_t topic_id,
                         const struct store_position *pos, struct err *err)
{
    if (!row->positioned || (row->topic_id == topic_id && row->partition == pos->partition))
        return ERR_OK;
    struct query q = query_begin(st, SQL_POSITION_KEEP);
    query_int(&q, row->rid);
    query_int(&q, row->topic_id);
    query_int(&q, row->partition);
    query_int(&q, row->offset);
    return query_run(&q, "keep an item's position", err);
}

static int remember_rid(struct store *st, int64_t rid, struct err *err)
{
    int64_t *rids = array_reserve(st->rids, &st->cap_rids, st->n_rids + 1, sizeof *rids);

    if (!rids)
        return err_oom(err, "store: list the items of a batch");
    st->rids = rids;
    st->rids[st->n_rids++] = rid;
    return ERR_OK;
}

static int clear_features(struct store *st, int64_t rid, struct err *err)
{
    struct query q = query_begin(st, SQL_FEATURE_CLEAR);

    query_int(&q, rid);
    return query_run(&q, "remove an item's features", err);
}

/* Features and embeddings of a row; *ret_had whether there was an embedding. */
static int clear_vectors(struct store *st, int64_t rid, bool *ret_had, struct err *err)
{
    int status = clear_features(st, rid, err);

    if (status != ERR_OK)
        return status;
    struct query q = query_begin(st, SQL_EMBEDDING_CLEAR);
    query_int(&q, rid);
    status = query_run(&q, "remove an item's embeddings", err);
    if (status == ERR_OK)
        *ret_had = store_changes(st) > 0;
    return status;
}

static int mark_gone(struct store *st, int64_t rid, struct err *err)
{
    struct query q = query_begin(st, SQL_ITEM_GONE);

    query_int(&q, rid);
    query_int(&q, ++st->seq);
    return query_run(&q, "mark an item as gone", err);
}

/* The fifteen columns that insert and update share, then the item's id or its row. */
static int put_item(struct store *st, const struct store_video *v, int64_t topic_id,
                    int64_t rid, int64_t *ret_rid, struct err *err)
{
    struct query q = query_begin(st, rid ? SQL_ITEM_UPDATE : SQL_ITEM_INSERT);

    query_text(&q, v->media_uri);
    query_text(&q, v->sha256);
    query_text(&q, v->title);
    query_text(&q, v->description);
    query_text(&q, v->lang);
    query_text(&q, v->tags_json);
    query_text(&q, v->flags_json);
    query_text(&q, v->embedding.vec ? "cold" : "no_signal");
    query_int(&q, topic_id);
    query_int(&q, v->pos.partition);
    query_int(&q, v->pos.offset);
    query_us(&q, v->published_us);
    query_us(&q, v->received_us);
    query_us(&q, v->extracted_us);
    query_us(&q, v->extract_us);
    *ret_rid = rid;
    if (rid) {
        query_int(&q, rid);
        return query_run(&q, "replace an item", err);
    }
    query_text(&q, v->item_id);
    int status = query_row(&q, "insert an item", err);
    if (status != ERR_OK)
        return status;
    *ret_rid = query_column_int(&q, 0);
    return query_run(&q, "insert an item", err);
}

static int put_features(struct store *st, int64_t rid,
                        const struct store_vector feature[MODALITY_COUNT], struct err *err)
{
    for (int m = 0; m < MODALITY_COUNT; m++) {
        const struct store_vector *f = &feature[m];
        size_t bytes = (size_t)f->dim * sizeof(float);

        if (!f->vec)
            continue;
        struct query q = query_begin(st, SQL_FEATURE_INSERT);
        query_int(&q, rid);
        query_text(&q, modality_name((enum modality)m));
        query_text(&q, f->encoder_id);
        query_int(&q, f->dim);
        query_int(&q, digest_checksum(f->vec, bytes));
        query_blob(&q, f->vec, bytes);
        int status = query_run(&q, "insert a feature", err);
        if (status != ERR_OK)
            return status;
    }
    return ERR_OK;
}

int store_replace_features(struct store *st, int64_t rid,
                           const struct store_vector feature[MODALITY_COUNT], struct err *err)
{
    int status = clear_features(st, rid, err);

    return status == ERR_OK ? put_features(st, rid, feature, err) : status;
}

static int put_embedding(struct store *st, const struct store_video *v, int64_t rid,
                         struct err *err)
{
    size_t bytes = (size_t)v->embedding.dim * sizeof(float);
    struct query q = query_begin(st, SQL_EMBEDDING_INSERT);

    query_int(&q, v->model_id);
    query_int(&q, rid);
    query_int(&q, v->embedding.dim);
    query_int(&q, digest_checksum(v->embedding.vec, bytes));
    query_int(&q, ++st->seq);
    query_us(&q, st->now_us);
    query_blob(&q, v->embedding.vec, bytes);
    int status = query_run(&q, "insert an embedding", err);
    if (status != ERR_OK)
        return err_wrap(err, "model %lld", (long long)v->model_id);
    return ERR_OK;
}

static int put_video(struct store *st, const struct store_video *v, const struct item_row *row,
                     int64_t topic_id, struct err *err)
{
    bool had = false;
    int64_t rid = row->rid;
    int status = ERR_OK;

    if (rid) {
        status = position_keep(st, row, topic_id, &v->pos, err);
        if (status == ERR_OK)
            status = clear_vectors(st, rid, &had, err);
    }
    if (status == ERR_OK)
        status = put_item(st, v, topic_id, rid, &rid, err);
    if (status == ERR_OK)
        status = put_features(st, rid, v->feature, err);
    if (status == ERR_OK && v->embedding.vec)
        status = put_embedding(st, v, rid, err);
    else if (status == ERR_OK && had)
        status = mark_gone(st, rid, err);
    if (status == ERR_OK)
        status = store_touch(st, 0, rid, true, err);
    return status == ERR_OK ? remember_rid(st, rid, err) : status;
}

int store_write_video(struct store *st, const struct store_video *v,
                      struct store_batch_result *r, struct err *err)
{
    struct item_row row;
    int64_t topic_id = 0;
    bool stale = false;
    int status = store_topic_id(st, v->pos.topic, &topic_id, err);

    if (status == ERR_OK)
        status = item_find(st, v->item_id, &row, err);
    if (status == ERR_OK)
        status = position_is_stale(st, &row, topic_id, &v->pos, &stale, err);
    if (status == ERR_OK && stale) {
        r->n_stale++;
        return ERR_OK;
    }
    if (status == ERR_OK)
        status = put_video(st, v, &row, topic_id, err);
    if (status != ERR_OK)
        return err_wrap(err, "item %s", v->item_id);
    if (row.positioned)
        r->n_updated++;
    else
        r->n_inserted++;
    return ERR_OK;
}

static int put_tombstone(struct store *st, const struct store_delete *d, int64_t topic_id,
                         struct err *err)
{
    struct query q = query_begin(st, SQL_ITEM_TOMBSTONE);

    query_text(&q, d->item_id);
    query_int(&q, topic_id);
    query_int(&q, d->pos.partition);
    query_int(&q, d->pos.offset);
    return query_run(&q, "insert a deleted item", err);
}

static int put_delete(struct store *st, const struct store_delete *d,
                      const struct item_row *row, int64_t topic_id, struct err *err)
{
    bool had = false;
    int status = position_keep(st, row, topic_id, &d->pos, err);

    if (status == ERR_OK)
        status = clear_vectors(st, row->rid, &had, err);
    if (status == ERR_OK && had)
        status = mark_gone(st, row->rid, err);
    if (status != ERR_OK)
        return status;
    struct query q = query_begin(st, SQL_ITEM_DELETE);
    query_int(&q, row->rid);
    query_int(&q, topic_id);
    query_int(&q, d->pos.partition);
    query_int(&q, d->pos.offset);
    status = query_run(&q, "delete an item", err);
    return status == ERR_OK ? store_touch(st, 0, row->rid, true, err) : status;
}

int store_write_delete(struct store *st, const struct store_delete *d,
                       struct store_batch_result *r, struct err *err)
{
    struct item_row row;
    int64_t topic_id = 0;
    bool stale = false;
    int status = store_topic_id(st, d->pos.topic, &topic_id, err);

    if (status == ERR_OK)
        status = item_find(st, d->item_id, &row, err);
    if (status == ERR_OK)
        status = position_is_stale(st, &row, topic_id, &d->pos, &stale, err);
    if (status == ERR_OK && stale) {
        r->n_stale++;
        return ERR_OK;
    }
    if (status == ERR_OK)
        status = row.rid ? put_delete(st, d, &row, topic_id, err)
                         : put_tombstone(st, d, topic_id, err);
    if (status != ERR_OK)
        return err_wrap(err, "item %s", d->item_id);
    r->n_deleted++;
    return ERR_OK;
}

int store_put_item_state(struct store *st, int64_t rid, bool warm, struct err *err)
{
    struct query q = query_begin(st, SQL_ITEM_STATE);

    query_int(&q, rid);
    query_text(&q, warm ? "warm" : "cold");
    return query_run(&q, "set an item's state", err);
}

int store_item_rid(struct store *st, const char *item_id, int64_t *ret_rid, struct err *err)
{
    struct item_row row;
    int status = item_find(st, item_id, &row, err);

    if (status != ERR_OK)
        return status;
    if (row.rid) {
        *ret_rid = row.rid;
        return ERR_OK;
    }
    struct query q = query_begin(st, SQL_ITEM_UNKNOWN);
    query_text(&q, item_id);
    status = query_row(&q, "insert an unknown item", err);
    if (status != ERR_OK)
        return status;
    *ret_rid = query_column_int(&q, 0);
    st->n_new_items++;
    return query_run(&q, "insert an unknown item", err);
}
