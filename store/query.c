/* Statements, transactions, and SQLite's result codes as ours. */

#include "store/internal.h"

#include <assert.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static int fail(struct store *st, int rc, struct err *err, const char *what)
{
    const char *text = sqlite3_errmsg(st->db);
    int kind = rc & 0xff;
    int code = kind == SQLITE_CANTOPEN ? sqlite3_system_errno(st->db) : 0;
    if (err_is_shortage(code))
        return err_retry(err, EX_OSERR, "store %s: %s: %s (%d)", st->path, what, strerror(code),
                         rc);
    if (kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB || kind == SQLITE_IOERR)
        st->is_sound = false;
    switch (kind) {
    case SQLITE_FULL:
        return err_retry(err, EX_IOERR,
                         "store %s: %s: %s (%d); free space on that disk, then it goes on",
                         st->path, what, text, rc);
    case SQLITE_IOERR:
        return err_retry(err, EX_IOERR,
                         "store %s: %s: %s (%d); see the kernel's log for that disk, the write "
                         "can be tried again",
                         st->path, what, text, rc);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
    case SQLITE_INTERRUPT:
        return err_retry(err, EX_TEMPFAIL,
                         "store %s: %s: %s (%d); another process holds the file, try again",
                         st->path, what, text, rc);
    case SQLITE_NOMEM:
        return err_oom(err, what);
    case SQLITE_CORRUPT:
        return err_fatal(err, EX_DATAERR,
                         "store %s: %s: %s (%d); run `metammf verify`, or restore a backup",
                         st->path, what, text, rc);
    case SQLITE_NOTADB:
        return err_fatal(err, EX_CONFIG, "store %s: %s: %s (%d); give another path", st->path,
                         what, text, rc);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY:
        return err_fatal(
            err, EX_IOERR,
            "store %s: %s: %s (%d); check owner and mode of the file and its folder", st->path,
            what, text, rc);
    default:
        return err_fatal(err, EX_SOFTWARE, "store %s: %s: %s (%d); please report this",
                         st->path, what, text, rc);
    }
}

int store_fail(struct store *st, struct err *err, const char *what)
{
    return fail(st, sqlite3_extended_errcode(st->db), err, what);
}

int store_exec(struct store *st, const char *sql, const char *what, struct err *err)
{
    if (sqlite3_exec(st->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return store_fail(st, err, what);
    return ERR_OK;
}

int store_begin(struct store *st, struct err *err)
{
    struct query q = query_begin(st, SQL_BEGIN_WRITE);

    assert(st->mode == STORE_WRITE);
    return query_run(&q, "begin a transaction", err);
}

int store_commit(struct store *st, struct err *err)
{
    struct query q = query_begin(st, SQL_COMMIT);

    return query_run(&q, "commit", err);
}

/* After an error SQLite may have rolled back by itself. store_open has prepared the statement, so
 * that little can fail here; what does is made up for before the next use of the handle, which
 * would otherwise see rows that were never committed. (Found by unit_store_fault: rolling back had
 * needed memory, and the handle stayed in its transaction.) */
void store_rollback(struct store *st)
{
    st->topic[0] = '\0';
    st->knows_forgotten = st->erase_settled = false;
    st->rollback_due = false;
    if (sqlite3_get_autocommit(st->db))
        return;
    struct query q = query_begin(st, SQL_ROLLBACK);
    (void)query_run(&q, "roll back", NULL);
    st->rollback_due = !sqlite3_get_autocommit(st->db);
}

int store_finish(struct store *st, int status, struct err *err)
{
    if (status == ERR_OK)
        status = store_commit(st, err);
    if (status != ERR_OK)
        store_rollback(st);
    return status;
}

int64_t store_changes(const struct store *st)
{
    return sqlite3_changes64(st->db);
}

int store_read_begin(struct store *st, struct err *err)
{
    struct query q = query_begin(st, SQL_BEGIN_READ);

    return query_run(&q, "begin to read", err);
}

void store_read_end(struct store *st)
{
    store_rollback(st);
}

struct query query_begin(struct store *st, enum sql_id id)
{
    struct query q = {.st = st, .rc = SQLITE_OK};

    if (st->rollback_due)
        store_rollback(st);
    if (st->rollback_due) {
        q.rc = SQLITE_NOMEM;
        return q;
    }
    if (!st->stmt[id])
        q.rc = sqlite3_prepare_v3(st->db, store_sql[id], -1, SQLITE_PREPARE_PERSISTENT,
                                  &st->stmt[id], NULL);
    q.stmt = st->stmt[id];
    return q;
}

void query_int(struct query *q, int64_t v)
{
    if (q->rc == SQLITE_OK)
        q->rc = sqlite3_bind_int64(q->stmt, ++q->n_bound, v);
}

static void query_null(struct query *q)
{
    if (q->rc == SQLITE_OK)
        q->rc = sqlite3_bind_null(q->stmt, ++q->n_bound);
}

void query_int_or_null(struct query *q, int64_t v)
{
    if (v)
        query_int(q, v);
    else
        query_null(q);
}

void query_real(struct query *q, double v)
{
    if (q->rc == SQLITE_OK)
        q->rc = sqlite3_bind_double(q->stmt, ++q->n_bound, v);
}

void query_us(struct query *q, int64_t us)
{
    if (us)
        query_real(q, (double)us / 1000.0);
    else
        query_null(q);
}

void query_text(struct query *q, const char *s)
{
    if (!s)
        query_null(q);
    else if (q->rc == SQLITE_OK)
        q->rc = sqlite3_bind_text64(q->stmt, ++q->n_bound, s, strlen(s), SQLITE_STATIC,
                                    SQLITE_UTF8);
}

/* NULL data is NULL; zero bytes are an empty BLOB. */
void query_blob(struct query *q, const void *data, size_t bytes)
{
    if (!data)
        query_null(q);
    else if (q->rc == SQLITE_OK)
        q->rc = sqlite3_bind_blob64(q->stmt, ++q->n_bound, data, bytes, SQLITE_STATIC);
}

int query_step(struct query *q, const char *what, struct err *err)
{
    if (q->rc == SQLITE_OK) {
        int rc = sqlite3_step(q->stmt);

        if (rc == SQLITE_ROW)
            return ERR_OK;
        if (rc == SQLITE_DONE)
            return ERR_END;
        q->rc = rc;
    }
    int status = fail(q->st, q->rc, err, what);
    query_end(q);
    return status;
}

int query_row(struct query *q, const char *what, struct err *err)
{
    int status = query_step(q, what, err);

    if (status != ERR_END)
        return status;
    query_end(q);
    return ERR_NONE;
}

int query_run(struct query *q, const char *what, struct err *err)
{
    int status;

    do
        status = query_step(q, what, err);
    while (status == ERR_OK);
    if (status != ERR_END)
        return status;
    query_end(q);
    return ERR_OK;
}

/* The bound pointers are the caller's, so they go with the query. */
void query_end(struct query *q)
{
    if (!q->stmt)
        return;
    (void)sqlite3_reset(q->stmt); /* repeats the step's error, already reported */
    (void)sqlite3_clear_bindings(q->stmt);
    q->stmt = NULL;
}

int64_t query_column_int(const struct query *q, int i)
{
    return sqlite3_column_int64(q->stmt, i);
}

double query_column_real(const struct query *q, int i)
{
    return sqlite3_column_double(q->stmt, i);
}

/* SQLite gives NULL both for NULL and when memory is out. */
int query_column_text(const struct query *q, int i, char **ret_s, struct err *err)
{
    const unsigned char *s = sqlite3_column_text(q->stmt, i);
    int type = sqlite3_column_type(q->stmt, i);

    *ret_s = s ? strdup((const char *)s) : NULL;
    if (!*ret_s && (s || type != SQLITE_NULL))
        return err_oom(err, "read a text of the store");
    return ERR_OK;
}

int query_column_blob(const struct query *q, int i, void **ret_data, size_t *ret_bytes,
                      struct err *err)
{
    const void *data = sqlite3_column_blob(q->stmt, i);
    size_t bytes = (size_t)sqlite3_column_bytes(q->stmt, i);

    *ret_data = NULL;
    *ret_bytes = bytes;
    if (sqlite3_column_type(q->stmt, i) == SQLITE_NULL)
        return ERR_OK;
    *ret_data = malloc(bytes + 1);
    if (!*ret_data || (!data && bytes))
        return err_oom(err, "read a BLOB of the store");
    if (bytes)
        memcpy(*ret_data, data, bytes);
    return ERR_OK;
}

void query_column_word(const struct query *q, int i, char *ret, size_t ret_bytes)
{
    const unsigned char *s = sqlite3_column_text(q->stmt, i);

    ret[0] = '\0';
    if (s)
        (void)strncat(ret, (const char *)s, ret_bytes - 1);
}

void store_refs_free(struct store_ref *refs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(refs[i].item_id);
    free(refs);
}

int query_refs(struct query *q, size_t max, const char *what, struct store_ref **ret_refs,
               size_t *ret_n, struct err *err)
{
    struct store_ref *refs = calloc(max + 1, sizeof *refs);
    size_t n = 0;
    int status = refs ? ERR_OK : err_oom(err, what);

    while (status == ERR_OK && (status = query_step(q, what, err)) == ERR_OK) {
        refs[n].rid = query_column_int(q, 0);
        status = query_column_text(q, 1, &refs[n++].item_id, err);
    }
    query_end(q);
    if (status != ERR_END) {
        store_refs_free(refs, n);
        return status;
    }
    *ret_refs = refs;
    *ret_n = n;
    return ERR_OK;
}

void *store_grow(void *p, size_t n, size_t size)
{
    if (n & (n - 1))
        return p;
    return reallocarray(p, n ? 2 * n : 1, size);
}
