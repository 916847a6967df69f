/* What a forgotten user leaves goes in pieces, so that the writer is never away for long; a crash between
 * two goes on with the next (table erasing: stage, and how far).
 *
 *   INTERACTIONS  with a touch for each item: whoever keeps edges in memory hears of it (touch.h)
 *   TOUCHES       what waits for a refresh names the item alone
 *   TRAINING      a model's training pairs: the user's become (0, 0), as those of what is gone
 *   LETTERS       dead letters that name the user (naming.c) keep reason and position alone
 *   OUTBOX        what waits for the DLQ topic, likewise
 *   USER          vectors that came meanwhile, the user's row, the row of erasing: the last place that
 *                 held the id
 *
 * Bytes: with secure_delete SQLite overwrites what it removes. That leaves copies that it made when it
 * split pages of the index of users (measured: 2 ids of 6,000), and the log of writes; store_wipe is for
 * these. */

#include "store/internal.h"

#include "config/clock.h"

#include <assert.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define META_WIPE "wipe_due" /* 'index': the index of users, then the log; 'log': that alone */
enum { LETTERS_MAX = 500, LETTERS_BYTES = 4 << 20, BUSY_MS = 5000 };

enum stage { INTERACTIONS, TOUCHES, TRAINING, LETTERS, OUTBOX, USER };

struct job {
    int64_t n, uid, at;
    enum stage stage;
    unsigned char hash[DIGEST_BYTES];
    char *user_id;
    int64_t n_interactions, n_vectors, n_pairs, n_letters; /* of this piece */
};

/* ERR_NONE: nothing has to go. */
static int next_job(struct store *st, struct job *ret_j, struct err *err)
{
    struct query q = query_begin(st, SQL_ERASING_NEXT);
    int status = query_row(&q, "look for what has to go", err);
    void *hash = NULL;
    size_t bytes = 0;

    if (status != ERR_OK)
        return status;
    *ret_j = (struct job){.n = query_column_int(&q, 0),
                          .uid = query_column_int(&q, 3),
                          .stage = (enum stage)query_column_int(&q, 4),
                          .at = query_column_int(&q, 5)};
    status = query_column_blob(&q, 1, &hash, &bytes, err);
    if (status == ERR_OK)
        status = query_column_text(&q, 2, &ret_j->user_id, err);
    if (status == ERR_OK && bytes == sizeof ret_j->hash)
        memcpy(ret_j->hash, hash, bytes);
    free(hash);
    query_end(&q);
    if (ret_j->uid == 0 && ret_j->stage < LETTERS) /* the store knows them from letters alone */
        ret_j->stage = LETTERS;
    return status;
}

static void next_stage(struct job *j)
{
    j->stage++;
    j->at = 0;
}

/* ---- rows ---------------------------------------------------------------------------------- */

static int erase_interactions(struct store *st, struct job *j, size_t max, struct err *err)
{
    struct query q = query_begin(st, SQL_ERASE_TOUCH);

    query_int(&q, j->uid);
    query_int(&q, (int64_t)max);
    query_us(&q, st->now_us);
    int status = query_run(&q, "touch the items of a forgotten user", err);
    if (status != ERR_OK)
        return status;
    q = query_begin(st, SQL_ERASE_INTERACTION);
    query_int(&q, j->uid);
    query_int(&q, (int64_t)max);
    status = query_run(&q, "remove a user's interactions", err);
    if (status != ERR_OK)
        return status;
    j->n_interactions = store_changes(st);
    if ((size_t)j->n_interactions < max)
        next_stage(j);
    return ERR_OK;
}

static int run_with_uid(struct store *st, enum sql_id id, int64_t uid, struct err *err)
{
    struct query q = query_begin(st, id);

    query_int(&q, uid);
    return query_run(&q, "remove what is left of a user", err);
}

static int erase_touches(struct store *st, struct job *j, struct err *err)
{
    next_stage(j);
    return run_with_uid(st, SQL_ERASE_TOUCHED, j->uid, err);
}

/* ---- training pairs ------------------------------------------------------------------------ */

/* The pairs [first, last) of the BLOB. */
static int write_pairs(struct store *st, int64_t model_id, const struct store_pair *pairs,
                       size_t first, size_t last, struct err *err)
{
    sqlite3_blob *blob = NULL;
    size_t bytes = (last - first) * sizeof *pairs;
    int rc = sqlite3_blob_open(st->db, "main", "model_training", "pairs", model_id, 1, &blob);

    if (rc == SQLITE_OK)
        rc = sqlite3_blob_write(blob, pairs + first, (int)bytes, (int)(first * sizeof *pairs));
    int status = rc == SQLITE_OK ? ERR_OK : store_fail(st, err, "change training pairs");
    (void)sqlite3_blob_close(blob);
    return status;
}

static int write_checksum(struct store *st, int64_t model_id, const struct store_pair *pairs,
                          size_t n, struct err *err)
{
    struct query q = query_begin(st, SQL_TRAINED_CHECKSUM);

    query_int(&q, model_id);
    query_int(&q, digest_checksum(pairs, n * sizeof *pairs));
    return query_run(&q, "change training pairs", err);
}

/* In place, so that a large BLOB costs what is read of it. */
static int erase_pairs(struct store *st, struct job *j, int64_t model_id,
                       struct store_pair *pairs, size_t n, struct err *err)
{
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < n; i++) {
        size_t first = i;

        for (; i < n && pairs[i].uid == j->uid; i++)
            pairs[i] = (struct store_pair){0, 0};
        if (i > first)
            status = write_pairs(st, model_id, pairs, first, i, err);
        j->n_pairs += (int64_t)(i - first);
    }
    return status == ERR_OK && j->n_pairs ? write_checksum(st, model_id, pairs, n, err)
                                          : status;
}

/* Damaged ones go altogether: the model's folder gives them back (candidate.h). */
static int erase_training(struct store *st, struct job *j, struct err *err)
{
    struct query q = query_begin(st, SQL_ERASE_MODEL);
    struct store_pair *pairs = NULL;
    size_t n = 0;

    query_int(&q, j->at);
    int status = query_row(&q, "look for training pairs", err);
    if (status == ERR_NONE) {
        next_stage(j);
        return ERR_OK;
    }
    if (status != ERR_OK)
        return status;
    j->at = query_column_int(&q, 0);
    query_end(&q);
    struct err why;
    status = store_get_training(st, j->at, &pairs, &n, &why);
    if (status == ERR_OK)
        status = erase_pairs(st, j, j->at, pairs, n, err);
    else if (status == ERR_FATAL && why.exit_code == EX_DATAERR)
        status = run_with_uid(st, SQL_ERASE_TRAINING, j->at, err);
    else if (err)
        *err = why;
    free(pairs);
    return status;
}

/* ---- dead letters -------------------------------------------------------------------------- */

struct letters {
    int64_t ids[LETTERS_MAX];
    size_t n, n_rows, bytes;
    int64_t last;
};

static int look_at_letter(const struct query *q, const struct job *j, struct letters *l,
                          struct err *err)
{
    const void *headers = sqlite3_column_blob(q->stmt, 3);
    struct store_header *decoded = NULL;
    size_t n_headers = 0;
    struct naming x = {.key = sqlite3_column_blob(q->stmt, 1),
                       .value = sqlite3_column_blob(q->stmt, 2),
                       .key_bytes = (size_t)sqlite3_column_bytes(q->stmt, 1),
                       .value_bytes = (size_t)sqlite3_column_bytes(q->stmt, 2),
                       .error = (const char *)sqlite3_column_text(q->stmt, 4),
                       .key_is_item = query_column_int(q, 5) != 0};
    int status = store_headers_decode(headers, (size_t)sqlite3_column_bytes(q->stmt, 3),
                                      &decoded, &n_headers, err);

    if (status == ERR_RETRY)
        return status;
    x.headers = decoded;
    x.n_headers = n_headers;
    l->last = query_column_int(q, 0);
    l->bytes += x.key_bytes + x.value_bytes + (size_t)sqlite3_column_bytes(q->stmt, 3);
    l->n_rows++;
    /* headers that do not parse are damage: whom they name is not known */
    if (status != ERR_OK || naming_is(&x, j->user_id))
        l->ids[l->n++] = l->last;
    free(decoded);
    return ERR_OK;
}

static int look_at_letters(struct store *st, const struct job *j, struct letters *l,
                           struct err *err)
{
    struct query q =
        query_begin(st, j->stage == LETTERS ? SQL_ERASE_LETTERS : SQL_ERASE_OUTBOX);
    int status = ERR_OK;

    query_int(&q, j->at);
    query_int(&q, LETTERS_MAX);
    while (status == ERR_OK && l->bytes < LETTERS_BYTES) {
        status = query_step(&q, "look through dead letters", err);
        if (status == ERR_OK)
            status = look_at_letter(&q, j, l, err);
    }
    query_end(&q);
    return status;
}

static int erase_letters(struct store *st, struct job *j, struct err *err)
{
    struct letters *l = calloc(1, sizeof *l);
    int status = l ? look_at_letters(st, j, l, err) : err_oom(err, "dead letters");

    if (status == ERR_OK || status == ERR_END) {
        bool last = status == ERR_END && l->n_rows < LETTERS_MAX;

        status = ERR_OK;
        for (size_t i = 0; status == ERR_OK && i < l->n; i++) {
            struct query q =
                query_begin(st, j->stage == LETTERS ? SQL_ERASED_LETTER : SQL_ERASED_OUTBOX);
            query_int(&q, l->ids[i]);
            query_text(&q, STORE_LETTER_ERASED);
            query_int(&q, store_letter_checksum(NULL, 0, "", 0, NULL, 0));
            status = query_run(&q, "take a name out of a dead letter", err);
        }
        j->n_letters = (int64_t)l->n;
        j->at = l->n_rows ? l->last : j->at;
        if (last)
            next_stage(j);
    }
    free(l);
    return status;
}

/* ---- the user's row ------------------------------------------------------------------------ */

static int put_wipe(struct store *st, const char *what, struct err *err)
{
    struct query q = query_begin(st, SQL_META_SET);

    query_text(&q, META_WIPE);
    query_text(&q, what);
    return query_run(&q, "note that the file has to be wiped", err);
}

static int erase_user(struct store *st, struct job *j, struct err *err)
{
    int status = ERR_OK;

    if (j->uid) {
        status = run_with_uid(st, SQL_ERASE_VECTORS, j->uid, err);
        j->n_vectors = status == ERR_OK ? store_changes(st) : 0;
        st->seq += j->n_vectors;
        if (status == ERR_OK)
            status = run_with_uid(st, SQL_ERASE_USER, j->uid, err);
    }
    if (status == ERR_OK)
        status = run_with_uid(st, SQL_ERASING_DELETE, j->n, err);
    return status == ERR_OK ? put_wipe(st, "index", err) : status;
}

/* ---- a piece ------------------------------------------------------------------------------- */

static int keep_place(struct store *st, const struct job *j, struct err *err)
{
    struct query q = query_begin(st, SQL_ERASING_MOVE);

    query_int(&q, j->n);
    query_int(&q, j->stage);
    query_int(&q, j->at);
    int status = query_run(&q, "note how far an erasure is", err);
    if (status != ERR_OK)
        return status;
    q = query_begin(st, SQL_FORGOTTEN_ADD);
    query_blob(&q, j->hash, sizeof j->hash);
    query_int(&q, j->n_interactions);
    query_int(&q, j->n_vectors);
    query_int(&q, j->n_pairs);
    query_int(&q, j->n_letters);
    return query_run(&q, "count what has gone", err);
}

static int run_stage(struct store *st, struct job *j, size_t max, struct err *err)
{
    switch (j->stage) {
    case INTERACTIONS:
        return erase_interactions(st, j, max, err);
    case TOUCHES:
        return erase_touches(st, j, err);
    case TRAINING:
        return erase_training(st, j, err);
    case LETTERS:
    case OUTBOX:
        return erase_letters(st, j, err);
    case USER:
        return erase_user(st, j, err);
    }
    return err_fatal(err, EX_DATAERR, "store %s: table erasing, row %lld: stage %d", st->path,
                     (long long)j->n, (int)j->stage);
}

static int run_piece(struct store *st, struct job *j, size_t max, struct err *err)
{
    int status = store_begin(st, err);

    if (status != ERR_OK)
        return status;
    st->now_us = clock_real_us();
    status = store_seq_read(st, err);
    if (status == ERR_OK)
        status = run_stage(st, j, max, err);
    if (status == ERR_OK)
        status = keep_place(st, j, err);
    if (status == ERR_OK)
        status = store_seq_write(st, err);
    return store_finish(st, status, err);
}

/* SQLite would look for the user in every model's vectors, which no index leads to: 1 s and more. That
 * none is left is seen to above. */
static int run_last_piece(struct store *st, struct job *j, size_t max, struct err *err)
{
    int status = store_exec(st, "PRAGMA foreign_keys=OFF", "set the pragmas", err);

    if (status == ERR_OK)
        status = run_piece(st, j, max, err);
    int again = store_exec(st, "PRAGMA foreign_keys=ON", "set the pragmas",
                           status == ERR_OK ? err : NULL);
    return status == ERR_OK ? again : status;
}

static int report(struct store *st, const struct job *j, struct store_erased *ret,
                  struct err *err)
{
    struct store_forgotten row = {0};
    int status = store_forgotten_find(st, j->hash, &row, err);

    *ret = (struct store_erased){.done = true,
                                 .n_interactions = row.n_interactions,
                                 .n_vectors = row.n_vectors,
                                 .n_pairs = row.n_pairs,
                                 .n_letters = row.n_letters};
    digest_print(j->hash, STORE_HASH_SHOWN, ret->hash);
    return status == ERR_NONE ? ERR_OK : status;
}

int store_erase(struct store *st, size_t max_rows, struct store_erased *ret_erased,
                bool *ret_more, struct err *err)
{
    struct job j = {0};

    assert(st->mode == STORE_WRITE);
    *ret_erased = (struct store_erased){0};
    *ret_more = false;
    if (st->erase_settled)
        return ERR_OK;
    int status = next_job(st, &j, err);
    if (status == ERR_NONE) {
        st->erase_settled = true;
        return ERR_OK;
    }
    bool is_last = j.stage == USER;
    if (status == ERR_OK)
        status =
            is_last ? run_last_piece(st, &j, max_rows, err) : run_piece(st, &j, max_rows, err);
    if (status == ERR_OK && is_last)
        status = report(st, &j, ret_erased, err);
    *ret_more = true;
    free(j.user_id);
    return status;
}

int store_is_erased(struct store *st, const unsigned char hash[DIGEST_BYTES], bool *ret_erased,
                    struct err *err)
{
    struct query q = query_begin(st, SQL_ERASING_OF);

    query_blob(&q, hash, DIGEST_BYTES);
    int status = query_row(&q, "look for what has to go", err);
    *ret_erased = status == ERR_NONE;
    query_end(&q);
    return status == ERR_NONE ? ERR_OK : status;
}

/* ---- the bytes ----------------------------------------------------------------------------- */

/* ERR_NONE: nothing is due. */
static int read_wipe(struct store *st, char ret_what[8], struct err *err)
{
    struct query q = query_begin(st, SQL_META_FIND);

    query_text(&q, META_WIPE);
    int status = query_row(&q, "look whether the file has to be wiped", err);
    if (status == ERR_OK)
        query_column_word(&q, 0, ret_what, 8);
    query_end(&q);
    return status;
}

static int empty_log(struct store *st, bool *ret_clean, struct err *err)
{
    (void)sqlite3_busy_timeout(st->db, 0); /* whoever reads is not waited for */
    int rc = sqlite3_wal_checkpoint_v2(st->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    int status = rc == SQLITE_OK || (rc & 0xff) == SQLITE_BUSY
                     ? ERR_OK
                     : store_fail(st, err, "empty the log of writes");
    (void)sqlite3_busy_timeout(st->db, BUSY_MS);
    *ret_clean = rc == SQLITE_OK;
    return status;
}

int store_wipe(struct store *st, bool *ret_clean, struct err *err)
{
    char what[8] = "";
    int status = read_wipe(st, what, err);

    assert(st->mode == STORE_WRITE);
    *ret_clean = status == ERR_NONE;
    if (status != ERR_OK)
        return status == ERR_NONE ? ERR_OK : status;
    if (strcmp(what, "index") == 0) {
        status = store_exec(st, "REINDEX user", "write the index of users anew", err);
        if (status == ERR_OK)
            status = put_wipe(st, "log", err);
    }
    if (status == ERR_OK)
        status = empty_log(st, ret_clean, err);
    if (status != ERR_OK || !*ret_clean)
        return status;
    struct query q = query_begin(st, SQL_META_DROP);
    query_text(&q, META_WIPE);
    return query_run(&q, "note that the file is wiped", err);
}
