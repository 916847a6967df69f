/* Retention, checks.
 *
 * Retention removes a bounded number of rows in one transaction, so that the writer is never
 * away for long; the caller comes again while there is more. Of the models, the newest
 * `model_versions` retired ones keep their vectors and neighbours (a rollback to them is one flip) and the pairs
 * that they were trained on; rejected ones keep none. Rows of `model` itself stay: they are the
 * history. */

#include "config/clock.h"
#include "store/internal.h"

#include <assert.h>
#include <sqlite3.h>
#include <string.h>
#include <sysexits.h>

#define META_CLOCK "clock_us"

/* Runs one bounded DELETE, takes what it removed off *left and counts it in *n. */
static int retain_run(struct query *q, size_t *left, int64_t *n, struct err *err)
{
    int status = query_run(q, "remove old rows", err);

    if (status == ERR_OK) {
        *left -= (size_t)store_changes(q->st);
        *n += store_changes(q->st);
    }
    return status;
}

static int retain_older(struct store *st, enum sql_id id, int64_t days, int64_t now_us,
                        size_t *left, int64_t *n, struct err *err)
{
    if (days <= 0 || *left == 0)
        return ERR_OK;
    struct query q = query_begin(st, id);
    query_us(&q, now_us - days * CLOCK_DAY_US);
    query_int(&q, (int64_t)*left);
    return retain_run(&q, left, n, err);
}

/* Before they go: whoever keeps edges in memory has to hear of it (touch.h). */
static int touch_ends(struct store *st, int64_t days, int64_t now_us, size_t n, struct err *err)
{
    if (days <= 0)
        return ERR_OK;
    struct query q = query_begin(st, SQL_RETAIN_TOUCH);
    query_us(&q, now_us - days * CLOCK_DAY_US);
    query_int(&q, (int64_t)n);
    query_us(&q, now_us);
    return query_run(&q, "touch the ends of old interactions", err);
}

static int retain_of_model(struct store *st, enum sql_id id, int64_t model_id, size_t *left,
                           int64_t *n, struct err *err)
{
    if (*left == 0)
        return ERR_OK;
    struct query q = query_begin(st, id);
    query_int(&q, model_id);
    query_int(&q, (int64_t)*left);
    return retain_run(&q, left, n, err);
}

void store_keep_model(struct store *st, int64_t model_id)
{
    assert(st->mode == STORE_WRITE);
    st->kept_model_id = model_id;
}

/* The first model that has something to lose; ERR_NONE when there is none. */
static int retain_find(struct store *st, int64_t model_versions, int64_t *ret_model_id,
                       struct err *err)
{
    struct query q = query_begin(st, SQL_RETAIN_MODELS);

    query_int(&q, model_versions);
    query_int(&q, st->kept_model_id);
    int status = query_row(&q, "find old models", err);
    if (status == ERR_OK)
        *ret_model_id = query_column_int(&q, 0);
    query_end(&q);
    return status;
}

static int retain_models(struct store *st, int64_t model_versions, size_t *left,
                         int64_t removed[STORE_RETAINED + 1], struct err *err)
{
    static const struct {
        enum sql_id id;
        enum store_retained kind;
    } steps[] = {{SQL_RETAIN_EMBEDDING, STORE_RETAINED_VECTORS},
                 {SQL_RETAIN_USER_EMBEDDING, STORE_RETAINED_VECTORS},
                 {SQL_RETAIN_NEIGHBOUR, STORE_RETAINED_VECTORS},
                 {SQL_RETAIN_NEIGHBOUR_SCALE, STORE_RETAINED},
                 {SQL_RETAIN_TRAINING, STORE_RETAINED_TRAININGS}};
    int64_t model_id = 0;
    int status = ERR_OK;

    while (status == ERR_OK && model_versions > 0 && *left > 0) {
        status = retain_find(st, model_versions, &model_id, err);
        for (size_t i = 0; status == ERR_OK && i < sizeof steps / sizeof steps[0]; i++)
            status =
                retain_of_model(st, steps[i].id, model_id, left, &removed[steps[i].kind], err);
    }
    return status == ERR_NONE ? ERR_OK : status;
}

int store_retain(struct store *st, const struct store_retention *r, int64_t now_us,
                 size_t max_rows, bool *ret_more, struct err *err)
{
    int64_t n[STORE_RETAINED + 1] = {0}; /* the last one: rows that go with others */
    size_t left = max_rows;
    int status = store_begin(st, err);

    if (status != ERR_OK)
        return status;
    status = touch_ends(st, r->interactions_days, now_us, left, err);
    if (status == ERR_OK)
        status = retain_older(st, SQL_RETAIN_INTERACTION, r->interactions_days, now_us, &left,
                              &n[STORE_RETAINED_INTERACTIONS], err);
    if (status == ERR_OK)
        status = retain_older(st, SQL_RETAIN_DEAD_LETTER, r->dead_letters_days, now_us, &left,
                              &n[STORE_RETAINED_DEAD_LETTERS], err);
    if (status == ERR_OK)
        status = retain_models(st, r->model_versions, &left, n, err);
    if (status == ERR_OK)
        status = store_commit(st, err);
    if (status != ERR_OK) {
        store_rollback(st);
        return status;
    }
    for (int i = 0; r->removed && i < STORE_RETAINED; i++)
        r->removed[i] += n[i];
    *ret_more = left == 0;
    return ERR_OK;
}

/* The same way as a model's id is kept (model.c): digits of a number. */
int store_clock(struct store *st, int64_t *ret_us, struct err *err)
{
    return store_get_model_note(st, META_CLOCK, ret_us, err);
}

int store_put_clock(struct store *st, int64_t us, struct err *err)
{
    assert(st->mode == STORE_WRITE);
    return store_put_model_note(st, META_CLOCK, us, err);
}

int store_quick_check(struct store *st, struct err *err)
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(st->db, "PRAGMA quick_check(1)", -1, &stmt, NULL);
    int status = ERR_OK;

    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    const char *found = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
    if (rc != SQLITE_ROW)
        status = store_fail(st, err, "quick_check");
    else if (!found)
        status = err_oom(err, "store: quick_check");
    else if (strcmp(found, "ok") != 0)
        status = err_fatal(err, EX_DATAERR,
                           "store %s: quick_check: %s; restore a backup, or ingest again into "
                           "a new store",
                           st->path, found);
    sqlite3_finalize(stmt);
    return status;
}

static int check_letter(const struct query *q, const char *table, int64_t id, struct err *err)
{
    const void *part[3];
    size_t bytes[3];

    for (int i = 0; i < 3; i++) {
        part[i] = sqlite3_column_blob(q->stmt, i);
        bytes[i] = (size_t)sqlite3_column_bytes(q->stmt, i);
        if (!part[i] && sqlite3_column_type(q->stmt, i) == SQLITE_BLOB)
            part[i] = ""; /* SQLite gives NULL for an empty BLOB */
    }
    if (store_letter_checksum(part[0], bytes[0], part[1], bytes[1], part[2], bytes[2]) !=
        query_column_int(q, 3))
        return err_fatal(err, EX_DATAERR,
                         "store %s: table %s, row %lld: the checksum does not fit the bytes; "
                         "restore a backup, or purge that row",
                         q->st->path, table, (long long)id);
    return ERR_OK;
}

static int check_table(struct store *st, enum sql_id id, const char *table, int64_t *n,
                       struct err *err)
{
    struct query q = query_begin(st, id);
    bool letters = id == SQL_CHECK_DEAD_LETTER || id == SQL_CHECK_OUTBOX;
    const char *list;
    int status;

    while ((status = query_step(&q, "check a table", err)) == ERR_OK) {
        int64_t rid = query_column_int(&q, letters ? 4 : 3);

        if (id == SQL_CHECK_NEIGHBOUR)
            status = store_neighbours_verify(&q, rid, &list, err);
        else
            status = letters ? check_letter(&q, table, rid, err)
                             : store_vector_verify(&q, 0, table, rid, err);
        if (status != ERR_OK)
            break;
        ++*n;
    }
    query_end(&q);
    return status == ERR_END ? ERR_OK : status;
}

int store_check(struct store *st, int64_t *ret_n_blobs, struct err *err)
{
    int64_t n = 0;
    int status = store_quick_check(st, err);

    if (status == ERR_OK)
        status = check_table(st, SQL_CHECK_FEATURE, "feature", &n, err);
    if (status == ERR_OK)
        status = check_table(st, SQL_CHECK_EMBEDDING, "embedding", &n, err);
    if (status == ERR_OK)
        status = check_table(st, SQL_CHECK_USER_EMBEDDING, "user_embedding", &n, err);
    if (status == ERR_OK)
        status = check_table(st, SQL_CHECK_NEIGHBOUR, "neighbour", &n, err);
    if (status == ERR_OK)
        status = check_table(st, SQL_CHECK_DEAD_LETTER, "dead_letter", &n, err);
    if (status == ERR_OK)
        status = check_table(st, SQL_CHECK_OUTBOX, "dlq_outbox", &n, err);
    if (status == ERR_OK)
        *ret_n_blobs = n;
    return status;
}
