/* Features made anew from the same media: which items need it, and what is written.
 *
 * A re-extraction is no event: the item's position, trail and texts stay. Its features are
 * replaced as a whole. Its vector under the active model is replaced when there is a new one and
 * the item is cold; a warm one's, which holds more than its features, follows by a touch
 * (touch.h). Vectors of other models stay: they were made of features of their own
 * encoders, and a rollback wants them. */

#include "store/internal.h"

#include "config/digest.h"

#include <stdlib.h>

/* 0 when there is no such item, or a deleted one. */
static int find_live(struct store *st, const char *item_id, int64_t *ret_rid, struct err *err)
{
    struct query q = query_begin(st, SQL_REEXTRACT_FIND);

    *ret_rid = 0;
    query_text(&q, item_id);
    int status = query_row(&q, "find an item", err);
    if (status == ERR_OK)
        *ret_rid = query_column_int(&q, 0);
    else if (status != ERR_NONE)
        return status;
    query_end(&q);
    return ERR_OK;
}

static int put_flags(struct store *st, int64_t rid, const char *flags_json, struct err *err)
{
    struct query q = query_begin(st, SQL_REEXTRACT_FLAGS);

    query_int(&q, rid);
    query_text(&q, flags_json);
    return query_run(&q, "write an item's flags", err);
}

/* Nothing is written, and seq stays, when the row is warm or has these very bytes. */
static int put_embedding(struct store *st, const struct store_reextraction *x, int64_t rid,
                         struct err *err)
{
    size_t bytes = (size_t)x->embedding.dim * sizeof(float);
    struct query q = query_begin(st, SQL_REEXTRACT_EMBEDDING);

    query_int(&q, x->model_id);
    query_int(&q, rid);
    query_int(&q, x->embedding.dim);
    query_int(&q, digest_checksum(x->embedding.vec, bytes));
    query_int(&q, st->seq + 1);
    query_us(&q, st->now_us);
    query_blob(&q, x->embedding.vec, bytes);
    int status = query_run(&q, "replace an embedding", err);
    if (status != ERR_OK)
        return err_wrap(err, "model %lld", (long long)x->model_id);
    if (store_changes(st) == 0)
        return ERR_OK;
    st->seq++;
    return store_put_item_state(st, rid, false, err);
}

int store_write_reextraction(struct store *st, const struct store_reextraction *x,
                             struct store_batch_result *r, struct err *err)
{
    int64_t rid = 0;
    int status = x->item_id ? find_live(st, x->item_id, &rid, err) : ERR_OK;

    if (status == ERR_OK && rid == 0) {
        r->n_stale++;
        return ERR_OK;
    }
    if (status == ERR_OK)
        status = store_replace_features(st, rid, x->feature, err);
    if (status == ERR_OK && x->flags_json)
        status = put_flags(st, rid, x->flags_json, err);
    if (status == ERR_OK && x->embedding.vec)
        status = put_embedding(st, x, rid, err);
    /* Features that the active model does not know would only take something away from a warm
     * item's vector: it keeps the one that it has. */
    if (status == ERR_OK && x->embedding.vec)
        status = store_touch(st, 0, rid, true, err);
    if (status != ERR_OK)
        return err_wrap(err, "item %s", x->item_id);
    r->n_reextracted++;
    return ERR_OK;
}

/* ---- which items ------------------------------------------------------------------------- */

static void bind_encoders(struct query *q, const char *const encoder_id[MODALITY_COUNT])
{
    for (int m = 0; m < MODALITY_COUNT; m++)
        query_text(q, encoder_id ? encoder_id[m] : NULL);
}

int store_count_stale(struct store *st, const char *const encoder_id[MODALITY_COUNT],
                      int64_t *ret_n, struct err *err)
{
    struct query q = query_begin(st, SQL_STALE_COUNT);

    bind_encoders(&q, encoder_id);
    int status = query_row(&q, "count stale items", err);
    if (status != ERR_OK)
        return status;
    *ret_n = query_column_int(&q, 0);
    query_end(&q);
    return ERR_OK;
}

int store_list_extractable(struct store *st, const char *const encoder_id[MODALITY_COUNT],
                           int64_t after_rid, size_t max, struct store_ref **ret_refs,
                           size_t *ret_n, struct err *err)
{
    struct query q = query_begin(st, SQL_EXTRACTABLE);

    bind_encoders(&q, encoder_id);
    query_int(&q, after_rid);
    query_int(&q, (int64_t)max);
    return query_refs(&q, max, "list items", ret_refs, ret_n, err);
}
