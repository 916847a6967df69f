/* Kafka's side of the store: offsets, the cluster's id, dead letters and their outbox.
 *
 * The outbox holds its own copy of a dead letter until the DLQ topic has it, so that purging
 * the local rows never takes back what has still to be published. */

#include "store/internal.h"

#include "config/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#define PURGE_ROWS 64 /* of the outbox, looked at together */

int store_next_offset(struct store *st, const char *topic, int32_t partition, int64_t *ret_next,
                      struct err *err)
{
    struct query q = query_begin(st, SQL_OFFSET_FIND);

    query_text(&q, topic);
    query_int(&q, partition);
    int status = query_row(&q, "read an offset", err);
    if (status == ERR_OK)
        *ret_next = query_column_int(&q, 0);
    query_end(&q);
    return status;
}

int store_last_record(struct store *st, const char *topic, int32_t partition,
                      int64_t *ret_offset, int64_t *ret_digest, struct err *err)
{
    struct query q = query_begin(st, SQL_OFFSET_RECORD);

    query_text(&q, topic);
    query_int(&q, partition);
    int status = query_row(&q, "read the last record of a partition", err);
    if (status != ERR_OK)
        return status;
    *ret_offset = query_column_int(&q, 0);
    *ret_digest = query_column_int(&q, 1);
    query_end(&q);
    return ERR_OK;
}

static int rename_in(struct store *st, enum sql_id id, const char *topic, const char *name,
                     struct err *err)
{
    struct query q = query_begin(st, id);

    query_text(&q, topic);
    query_text(&q, name);
    return query_run(&q, "rename a topic that was made anew", err);
}

static int at_now(struct store *st, enum sql_id id, const char *topic, struct err *err)
{
    struct query q = query_begin(st, id);

    query_text(&q, topic);
    query_us(&q, clock_real_us());
    return query_run(&q, "note a topic that was made anew", err);
}

/* '@' is in no topic's name. */
static int begin_topic_again(struct store *st, const char *topic, struct err *err)
{
    char name[STORE_TOPIC_BYTES + 32], time[32] = "";
    time_t now = (time_t)(clock_real_us() / 1000000);
    struct tm utc;

    (void)strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    (void)snprintf(name, sizeof name, "%s@%s", topic, time);
    int status = rename_in(st, SQL_ANEW_TOPIC, topic, name, err);
    if (status == ERR_OK)
        status = rename_in(st, SQL_ANEW_LETTERS, topic, name, err);
    return status == ERR_OK ? at_now(st, SQL_ANEW_OFFSETS, topic, err) : status;
}

int store_topic_made_anew(struct store *st, const char *topic, bool begin_again,
                          struct err *err)
{
    int status = store_begin(st, err);

    if (status != ERR_OK)
        return status;
    st->topic[0] = '\0'; /* its number is another one's now */
    status = at_now(st, SQL_ANEW_GAPS, topic, err);
    if (status == ERR_OK && begin_again)
        status = begin_topic_again(st, topic, err);
    return store_finish(st, status, err);
}

int store_knows_topic(struct store *st, const char *topic, bool *ret_known, struct err *err)
{
    struct query q = query_begin(st, SQL_OFFSET_OF_TOPIC);

    query_text(&q, topic);
    int status = query_row(&q, "look for a topic's offsets", err);
    if (status != ERR_OK && status != ERR_NONE)
        return status;
    *ret_known = status == ERR_OK;
    query_end(&q);
    return ERR_OK;
}

/* ERR_NONE before the first contact. */
static int cluster_find(struct store *st, char **ret_id, struct err *err)
{
    struct query q = query_begin(st, SQL_META_FIND);

    *ret_id = NULL;
    query_text(&q, "cluster_id");
    int status = query_row(&q, "read the cluster's id", err);
    if (status == ERR_OK)
        status = query_column_text(&q, 0, ret_id, err);
    query_end(&q);
    return status;
}

static int cluster_remember(struct store *st, const char *cluster_id, struct err *err)
{
    if (st->mode == STORE_READ)
        return ERR_OK;
    struct query q = query_begin(st, SQL_META_INSERT);
    query_text(&q, "cluster_id");
    query_text(&q, cluster_id);
    return query_run(&q, "remember the cluster's id", err);
}

int store_check_cluster(struct store *st, const char *cluster_id, struct err *err)
{
    char *known = NULL;
    int status = cluster_find(st, &known, err);

    assert(cluster_id);
    if (status == ERR_NONE)
        return cluster_remember(st, cluster_id, err);
    if (status == ERR_OK && strcmp(known, cluster_id) != 0)
        status =
            err_fatal(err, EX_CONFIG,
                      "store %s: its offsets belong to Kafka cluster %s, but the broker is of "
                      "cluster %s; use the store's cluster, or a new store; a copy that was "
                      "restored beside "
                      "another cluster stays of its own (docs/backup.md)",
                      st->path, known, cluster_id);
    free(known);
    return status;
}

static void letter_done(struct store_letter *l)
{
    free(l->topic);
    free(l->reason);
    free(l->error);
    free(l->stage);
    free(l->item_id);
    free(l->role);
    free(l->dlq_topic);
    free(l->key);
    free(l->value);
    free(l->headers);
}

void store_letters_free(struct store_letter *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        letter_done(&rows[i]);
    free(rows);
}

bool store_letter_is_erased(const struct store_letter *l)
{
    return !l->key && l->value && l->value_bytes == 0 && !l->headers &&
           strcmp(l->error, STORE_LETTER_ERASED) == 0;
}

static int letter_headers(const struct query *q, struct store_letter *l, struct err *err)
{
    void *headers = NULL;
    size_t headers_bytes = 0;
    int status = query_column_blob(q, 9, &headers, &headers_bytes, err);

    if (status == ERR_OK)
        l->damaged = store_letter_checksum(l->key, l->key_bytes, l->value, l->value_bytes,
                                           headers, headers_bytes) != query_column_int(q, 10);
    if (status == ERR_OK && !l->damaged)
        status = store_headers_decode(headers, headers_bytes, &l->headers, &l->n_headers, err);
    free(headers);
    return status;
}

static int letter_read(const struct query *q, struct store_letter *l, struct err *err)
{
    char **const texts[] = {&l->topic, &l->reason, &l->error, &l->stage};
    int status = ERR_OK;

    *l = (struct store_letter){
        .partition = (int32_t)query_column_int(q, 4),
        .offset = query_column_int(q, 5),
        .ts_us = (int64_t)(query_column_real(q, 6) * 1000.0 + 0.5),
        .id = query_column_int(q, 11),
        .said_us = (int64_t)(query_column_real(q, 15) * 1000.0 + 0.5),
    };
    for (int i = 0; status == ERR_OK && i < 4; i++)
        status = query_column_text(q, i, texts[i], err);
    if (status == ERR_OK)
        status = query_column_blob(q, 7, &l->key, &l->key_bytes, err);
    if (status == ERR_OK)
        status = query_column_blob(q, 8, &l->value, &l->value_bytes, err);
    if (status == ERR_OK)
        status = letter_headers(q, l, err);
    if (status == ERR_OK)
        status = query_column_text(q, 12, &l->item_id, err);
    if (status == ERR_OK)
        status = query_column_text(q, 13, &l->dlq_topic, err);
    if (status == ERR_OK)
        status = query_column_text(q, 14, &l->role, err);
    return status;
}

static int letters_read(struct query *q, struct store_letter **ret_rows, size_t *ret_n,
                        struct err *err)
{
    struct store_letter *rows = NULL;
    size_t n = 0;
    int status;

    while ((status = query_step(q, "read dead letters", err)) == ERR_OK) {
        struct store_letter *more = store_grow(rows, n, sizeof *rows);

        if (!more) {
            status = err_oom(err, "read dead letters");
            break;
        }
        rows = more;
        status = letter_read(q, &rows[n++], err); /* freed below when it fails half-way */
        if (status != ERR_OK)
            break;
    }
    query_end(q);
    if (status != ERR_END) {
        store_letters_free(rows, n);
        return status;
    }
    *ret_rows = rows;
    *ret_n = n;
    return ERR_OK;
}

int store_outbox_read(struct store *st, int64_t after_id, size_t max,
                      struct store_letter **ret_rows, size_t *ret_n, struct err *err)
{
    struct query q = query_begin(st, SQL_OUTBOX_LIST);

    query_int(&q, after_id);
    query_int(&q, (int64_t)max);
    return letters_read(&q, ret_rows, ret_n, err);
}

int store_outbox_delete(struct store *st, const int64_t *ids, size_t n, struct err *err)
{
    int status = store_begin(st, err);

    if (status != ERR_OK)
        return status;
    for (size_t i = 0; status == ERR_OK && i < n; i++) {
        struct query q = query_begin(st, SQL_OUTBOX_DELETE);

        query_int(&q, ids[i]);
        status = query_run(&q, "remove from the outbox", err);
    }
    return store_finish(st, status, err);
}

int store_outbox_purge_damaged(struct store *st, int64_t *ret_n, struct err *err)
{
    int64_t ids[PURGE_ROWS], after_id = 0, n_purged = 0;
    size_t n = PURGE_ROWS;
    int status = ERR_OK;

    while (status == ERR_OK && n == PURGE_ROWS) {
        struct store_letter *rows;
        size_t n_ids = 0;

        status = store_outbox_read(st, after_id, PURGE_ROWS, &rows, &n, err);
        if (status != ERR_OK)
            return status;
        for (size_t i = 0; i < n; i++) {
            after_id = rows[i].id;
            if (rows[i].damaged)
                ids[n_ids++] = rows[i].id;
        }
        store_letters_free(rows, n);
        status = n_ids ? store_outbox_delete(st, ids, n_ids, err) : ERR_OK;
        n_purged += (int64_t)n_ids;
    }
    if (status == ERR_OK)
        *ret_n = n_purged;
    return status;
}

static int letters_check(struct store *st, const struct store_letter *rows, size_t n,
                         struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (rows[i].damaged)
            return err_fatal(err, EX_DATAERR,
                             "store %s: dead letter %lld: the checksum does not fit its bytes; "
                             "restore a backup, or purge it",
                             st->path, (long long)rows[i].id);
    return ERR_OK;
}

int store_dead_letters(struct store *st, int64_t id, const char *reason, size_t max,
                       struct store_letter **ret_rows, size_t *ret_n, struct err *err)
{
    struct query q = query_begin(st, SQL_DEAD_LETTER_LIST);
    struct store_letter *rows = NULL;
    size_t n = 0;

    query_int(&q, id);
    query_text(&q, reason);
    query_int(&q, max > INT64_MAX ? INT64_MAX : (int64_t)max);
    int status = letters_read(&q, &rows, &n, err);
    if (status == ERR_OK)
        status = letters_check(st, rows, n, err);
    if (status != ERR_OK) {
        store_letters_free(rows, n);
        return status;
    }
    *ret_rows = rows;
    *ret_n = n;
    return ERR_OK;
}

int store_dead_letters_purge(struct store *st, int64_t id, const char *reason,
                             int64_t before_us, int64_t *ret_n, struct err *err)
{
    struct query q = query_begin(st, SQL_DEAD_LETTER_PURGE);

    assert(st->mode == STORE_WRITE);
    query_int(&q, id);
    query_text(&q, reason);
    query_us(&q, before_us);
    int status = query_run(&q, "purge dead letters", err);
    if (status == ERR_OK)
        *ret_n = store_changes(st);
    return status;
}
