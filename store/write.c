/* The batch: one BEGIN IMMEDIATE transaction of rows, dead letters, gaps and next offsets.
 *
 * Everything that could be wrong with the rows themselves is looked at before BEGIN, so that a
 * fault of the caller writes nothing. After BEGIN only the world can fail (disk full, I/O
 * error, memory); then the transaction is rolled back, the same connection stays usable and the
 * caller comes again with the same batch. A COMMIT that fails after its frames reached the WAL
 * may turn out to have happened after a crash: every insert is idempotent on its position, so
 * the second try changes nothing.
 *
 * Example: [video v1 at videos/3@41, dead letter at videos/3@42] with next offset 43 → item, 3
 * features, embedding, dead_letter, dlq_outbox and kafka_offset(videos, 3, 43) appear at once.
 */

#include "store/internal.h"

#include "config/clock.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include <sysexits.h>

static int validate_vectors(const struct store_vector feature[MODALITY_COUNT],
                            const struct store_vector *embedding, const char *item_id,
                            struct err *err)
{
    int status = ERR_OK;

    for (int m = 0; status == ERR_OK && m < MODALITY_COUNT; m++) {
        assert(!feature[m].vec || feature[m].encoder_id);
        if (feature[m].vec)
            status = store_vector_validate(&feature[m], true, modality_name((enum modality)m),
                                           item_id, err);
    }
    if (status == ERR_OK && embedding->vec)
        status = store_vector_validate(embedding, false, "embedding", item_id, err);
    return status;
}

static int validate_op(const struct store_op *op, struct err *err)
{
    switch (op->kind) {
    case STORE_OP_VIDEO:
        assert(op->video->item_id && op->video->pos.topic);
        return validate_vectors(op->video->feature, &op->video->embedding, op->video->item_id,
                                err);
    case STORE_OP_REEXTRACTION:
        return validate_vectors(op->reextraction->feature, &op->reextraction->embedding,
                                op->reextraction->item_id, err);
    case STORE_OP_INTERACTION:
        if (!isfinite(op->interaction->weight))
            return err_fatal(err, EX_SOFTWARE,
                             "store: interaction of user %s with item %s: the weight is not "
                             "finite; nothing written",
                             op->interaction->user_id, op->interaction->item_id);
        return ERR_OK;
    case STORE_OP_DELETE:
    case STORE_OP_DEAD_LETTER:
    case STORE_OP_GAP:
    case STORE_OP_FORGET:
        return ERR_OK;
    }
    return err_fatal(err, EX_SOFTWARE, "store: operation of unknown kind %d; nothing written",
                     (int)op->kind);
}

static int user_id(struct store *st, const char *name, int64_t *ret_uid, struct err *err)
{
    struct query q = query_begin(st, SQL_USER_FIND);

    query_text(&q, name);
    int status = query_row(&q, "find a user", err);
    if (status == ERR_NONE) {
        q = query_begin(st, SQL_USER_INSERT);
        query_text(&q, name);
        status = query_row(&q, "insert a user", err);
        st->n_new_users++;
    }
    if (status != ERR_OK)
        return status;
    *ret_uid = query_column_int(&q, 0);
    return query_run(&q, "insert a user", err);
}

/* What counts for nothing moves no vector: a site may send ten impressions for one view. */
static int touch_counted(struct store *st, const struct store_interaction *x, int64_t uid,
                         int64_t rid, struct err *err)
{
    struct query q = query_begin(st, SQL_TOUCH_COUNTED);

    query_int(&q, uid);
    query_int(&q, rid);
    query_us(&q, st->now_us);
    query_text(&q, x->kind ? x->kind : STORE_KIND_DEFAULT);
    query_real(&q, x->weight);
    return query_run(&q, "note a touch", err);
}

static int write_interaction(struct store *st, const struct store_interaction *x,
                             struct store_batch_result *r, struct err *err)
{
    int64_t topic_id = 0;
    int64_t uid = 0;
    int64_t rid = 0;
    bool drops = false;
    int status = store_drops(st, x->user_id, strlen(x->user_id),
                             x->said_us ? x->said_us : x->ts_us, &drops, err);

    r->n_dropped += drops;
    if (status == ERR_OK && drops)
        return ERR_OK;
    if (status == ERR_OK)
        status = store_topic_id(st, x->pos.topic, &topic_id, err);
    if (status == ERR_OK)
        status = user_id(st, x->user_id, &uid, err);
    if (status == ERR_OK)
        status = store_item_rid(st, x->item_id, &rid, err);
    if (status != ERR_OK)
        return err_wrap(err, "interaction of user %s with item %s", x->user_id, x->item_id);
    struct query q = query_begin(st, SQL_INTERACTION_INSERT);
    query_int(&q, topic_id);
    query_int(&q, x->pos.partition);
    query_int(&q, x->pos.offset);
    query_int(&q, uid);
    query_int(&q, rid);
    query_text(&q, x->kind ? x->kind : STORE_KIND_DEFAULT);
    query_real(&q, x->weight);
    query_real(&q, (double)x->ts_us / 1000.0);
    status = query_run(&q, "insert an interaction", err);
    if (status != ERR_OK)
        return err_wrap(err, "interaction of user %s with item %s", x->user_id, x->item_id);
    if (store_changes(st) == 0) {
        r->n_stale++;
        return ERR_OK;
    }
    r->n_interactions++;
    return touch_counted(st, x, uid, rid, err);
}

/* The eleven columns that dead_letter and dlq_outbox share. */
static struct query letter_query(struct store *st, enum sql_id id,
                                 const struct store_dead_letter *d, size_t headers_bytes)
{
    const void *headers = d->n_headers ? st->scratch : NULL;
    struct query q = query_begin(st, id);

    query_text(&q, d->pos.topic);
    query_text(&q, d->reason);
    query_text(&q, d->error);
    query_text(&q, d->stage);
    query_int(&q, d->pos.partition);
    query_int(&q, d->pos.offset);
    query_real(&q, (double)(d->ts_us ? d->ts_us : st->now_us) / 1000.0);
    query_blob(&q, d->key, d->key_bytes);
    query_blob(&q, d->value, d->value_bytes);
    query_blob(&q, headers, headers_bytes);
    query_int(&q, store_letter_checksum(d->key, d->key_bytes, d->value, d->value_bytes, headers,
                                        headers_bytes));
    return q;
}

static int keep_letter(struct store *st, const struct store_dead_letter *d,
                       size_t headers_bytes, struct err *err)
{
    struct query q = letter_query(st, SQL_DEAD_LETTER_INSERT, d, headers_bytes);

    query_text(&q, d->item_id);
    query_text(&q, d->role);
    query_us(&q, d->said_us);
    return query_run(&q, "insert a dead letter", err);
}

static int put_in_outbox(struct store *st, const struct store_dead_letter *d,
                         size_t headers_bytes, struct err *err)
{
    struct query q = letter_query(st, SQL_OUTBOX_INSERT, d, headers_bytes);

    query_text(&q, d->dlq_topic);
    return query_run(&q, "put a dead letter into the outbox", err);
}

/* Another try failed: the row says why it did now. ERR_NONE: it was purged or erased meanwhile. */
static int renew_letter(struct store *st, const struct store_dead_letter *letter, int64_t id,
                        struct err *err)
{
    struct store_dead_letter copy = *letter, *d = &copy;
    int status = store_letter_forget(st, d, err);

    if (status != ERR_OK)
        return status;
    struct query q = query_begin(st, SQL_DEAD_LETTER_RENEW);

    query_int(&q, id);
    query_text(&q, d->reason);
    query_text(&q, d->error);
    query_text(&q, d->stage);
    query_real(&q, (double)(d->ts_us ? d->ts_us : st->now_us) / 1000.0);
    query_text(&q, d->item_id);
    status = query_run(&q, "renew a dead letter", err);
    return status == ERR_OK && store_changes(st) == 0 ? ERR_NONE : status;
}

static int write_dead_letter(struct store *st, const struct store_dead_letter *letter,
                             struct store_batch_result *r, struct err *err)
{
    struct store_dead_letter copy = *letter, *d = &copy;
    size_t headers_bytes = 0;
    int status = store_letter_forget(st, d, err);

    if (status == ERR_OK && d->n_headers)
        status = store_headers_encode(st, d->headers, d->n_headers, &headers_bytes, err);
    if (status == ERR_OK)
        status = keep_letter(st, d, headers_bytes, err);
    if (status == ERR_OK && store_changes(st) == 0) {
        r->n_stale++;
        return ERR_OK;
    }
    if (status == ERR_OK && d->dlq_topic)
        status = put_in_outbox(st, d, headers_bytes, err);
    if (status != ERR_OK)
        return err_wrap(err, "dead letter %s/%d@%lld", d->pos.topic, d->pos.partition,
                        (long long)d->pos.offset);
    r->n_dead_letters++;
    return ERR_OK;
}

static int write_gap(struct store *st, const struct store_gap *g, struct err *err)
{
    if (g->from_offset == g->to_offset) /* only the offset moves */
        return ERR_OK;
    struct query q = query_begin(st, SQL_GAP_INSERT);

    query_text(&q, g->topic);
    query_int(&q, g->partition);
    query_int(&q, g->from_offset);
    query_int(&q, g->to_offset);
    query_us(&q, st->now_us);
    return query_run(&q, "insert a gap", err);
}

static int write_row(struct store *st, const struct store_op *op, struct store_batch_result *r,
                     struct err *err)
{
    switch (op->kind) {
    case STORE_OP_VIDEO:
        return store_write_video(st, op->video, r, err);
    case STORE_OP_DELETE:
        return store_write_delete(st, op->del, r, err);
    case STORE_OP_INTERACTION:
        return write_interaction(st, op->interaction, r, err);
    case STORE_OP_DEAD_LETTER:
        return write_dead_letter(st, op->dead_letter, r, err);
    case STORE_OP_GAP:
        return write_gap(st, op->gap, err);
    case STORE_OP_REEXTRACTION:
        return store_write_reextraction(st, op->reextraction, r, err);
    case STORE_OP_FORGET:
        return store_write_forget(st, op->forget, r, err);
    }
    return ERR_OK;
}

static int write_op(struct store *st, const struct store_op *op, struct store_batch_result *r,
                    struct err *err)
{
    int status;

    if (op->letter_id == 0)
        return write_row(st, op, r, err);
    if (op->kind == STORE_OP_DEAD_LETTER) {
        status = renew_letter(st, op->dead_letter, op->letter_id, err);
        r->n_dead_letters += status == ERR_OK;
        return status == ERR_NONE ? write_row(st, op, r, err) : status;
    }
    int64_t n;
    status = write_row(st, op, r, err);
    return status == ERR_OK ? store_dead_letters_purge(st, op->letter_id, NULL, 0, &n, err)
                            : status;
}

static int write_offset(struct store *st, const struct store_offset *o, struct err *err)
{
    struct query q = query_begin(st, SQL_OFFSET_UPSERT);

    query_text(&q, o->topic);
    query_int(&q, o->partition);
    query_int(&q, o->next_offset);
    query_us(&q, st->now_us);
    if (o->record_digest != 0) { /* else NULL: the one before stays */
        query_int(&q, o->record_offset);
        query_int(&q, o->record_digest);
    }
    int status = query_run(&q, "move an offset", err);
    return status == ERR_OK ? ERR_OK : err_wrap(err, "%s/%d", o->topic, o->partition);
}

/* The last thing before COMMIT: from then on the items can be queried. */
static int stamp_items(struct store *st, int64_t queryable_us, struct err *err)
{
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < st->n_rids; i++) {
        struct query q = query_begin(st, SQL_ITEM_QUERYABLE);

        query_int(&q, st->rids[i]);
        query_us(&q, queryable_us);
        status = query_run(&q, "stamp an item", err);
    }
    return status;
}

static int write_rows(struct store *st, const struct store_op *ops, size_t n_ops,
                      const struct store_offset *offsets, size_t n_offsets,
                      struct store_batch_result *r, struct err *err)
{
    st->n_rids = 0;
    st->n_new_users = st->n_new_items = 0;
    st->now_us = clock_real_us();
    int status = store_seq_read(st, err);

    for (size_t i = 0; status == ERR_OK && i < n_ops; i++)
        status = write_op(st, &ops[i], r, err);
    for (size_t i = 0; status == ERR_OK && i < n_offsets; i++)
        status = write_offset(st, &offsets[i], err);
    if (status == ERR_OK)
        status = store_seq_write(st, err);
    r->queryable_us = clock_real_us();
    return status == ERR_OK ? stamp_items(st, r->queryable_us, err) : status;
}

int store_write_batch(struct store *st, const struct store_op *ops, size_t n_ops,
                      const struct store_offset *offsets, size_t n_offsets,
                      struct store_batch_result *ret_result, struct err *err)
{
    struct store_batch_result r = {0};
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < n_ops; i++)
        status = validate_op(&ops[i], err);
    if (status == ERR_OK)
        status = store_begin(st, err);
    if (status != ERR_OK)
        return status;
    status = write_rows(st, ops, n_ops, offsets, n_offsets, &r, err);
    int64_t commit_start_us = clock_mono_us();
    if (status == ERR_OK)
        status = store_commit(st, err);
    if (status != ERR_OK) {
        store_rollback(st);
        return status;
    }
    r.commit_us = clock_mono_us() - commit_start_us;
    r.n_new_users = st->n_new_users;
    r.n_new_items = st->n_new_items;
    *ret_result = r;
    return ERR_OK;
}
