/* Who is forgotten, and what is not taken in again because of it.
 *
 * Of a person who is forgotten the store keeps an HMAC-SHA-256 of the id and a time. The key is random,
 * made once a store, and goes with every copy of it (snapshots): so a list of the newer copy can be
 * applied to an older one. Whoever has key and id can find the row, nobody can read the id from it.
 *
 * What was said until that time is dropped whenever it comes again: a log that is read anew, a spool that
 * is put back. What is said later counts, for a user may come back; under a new uid, since uids are
 * never given twice (meta.last_uid): memory, files and BLOBs that still hold the old one mean nobody.
 *
 * Example: user.deleted of u1 at 12:00 → row (hash of u1, 12:00), u1's vectors and name gone, a row of
 * `erasing`. erase.c does the rest in pieces. The click of 11:58 that is read again is dropped; the click
 * of 12:07 makes a new user u1. */

#include "store/internal.h"

#include "config/array.h"
#include "config/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>

#define META_KEY         "forget_key"
#define META_FORGETTINGS "forgettings"
enum { TEXTS_MAX = 20000 };

/* ---- the key ------------------------------------------------------------------------------- */

static int meta_text(struct store *st, const char *name, char *ret, size_t bytes,
                     struct err *err)
{
    struct query q = query_begin(st, SQL_META_FIND);

    query_text(&q, name);
    int status = query_row(&q, "read what the store keeps of forgetting", err);
    if (status != ERR_OK)
        return status;
    query_column_word(&q, 0, ret, bytes);
    query_end(&q);
    return ERR_OK;
}

static int put_key(struct store *st, struct err *err)
{
    unsigned char key[DIGEST_BYTES];
    char hex[DIGEST_HEX_BYTES];

    if (getrandom(key, sizeof key, 0) != (ssize_t)sizeof key)
        return err_retry(err, EX_OSERR, "store %s: random bytes: %s", st->path,
                         strerror(errno));
    digest_print(key, sizeof key, hex);
    struct query q = query_begin(st, SQL_META_INSERT);
    query_text(&q, META_KEY);
    query_text(&q, hex);
    return query_run(&q, "make the key of what is forgotten", err);
}

int store_forget_key_make(struct store *st, struct err *err)
{
    char hex[DIGEST_HEX_BYTES];
    int status = meta_text(st, META_KEY, hex, sizeof hex, err);

    return status == ERR_NONE ? put_key(st, err) : status;
}

static int read_key(struct store *st, struct err *err)
{
    char hex[DIGEST_HEX_BYTES] = "";
    int status = meta_text(st, META_KEY, hex, sizeof hex, err);

    if (status == ERR_OK && !digest_parse(hex, st->forget_key))
        status = ERR_NONE;
    return status == ERR_NONE
               ? err_fatal(err, EX_DATAERR,
                           "store %s: meta has no forget_key; restore a backup", st->path)
               : status;
}

static int64_t us_of(double ms)
{
    return (int64_t)(ms * 1000.0 + 0.5);
}

int store_forget_know(struct store *st, struct err *err)
{
    if (st->knows_forgotten)
        return ERR_OK;
    int status = read_key(st, err);
    if (status != ERR_OK)
        return status;
    struct query q = query_begin(st, SQL_FORGOTTEN_LATEST);
    status = query_row(&q, "read who is forgotten", err);
    if (status != ERR_OK)
        return status;
    st->latest_us = us_of(query_column_real(&q, 0));
    query_end(&q);
    st->knows_forgotten = st->mode == STORE_WRITE; /* what a reader knows is old at once */
    return ERR_OK;
}

void store_forget_hash(const struct store *st, const char *user_id, size_t n,
                       unsigned char ret_hash[DIGEST_BYTES])
{
    digest_keyed(st->forget_key, sizeof st->forget_key, user_id, n, ret_hash);
}

int store_forget_key_name(struct store *st, char ret_name[STORE_HASH_TEXT], struct err *err)
{
    unsigned char hash[DIGEST_BYTES];
    int status = read_key(st, err);

    if (status != ERR_OK)
        return status;
    store_forget_hash(st, "", 0, hash);
    digest_print(hash, STORE_HASH_SHOWN, ret_name);
    return ERR_OK;
}

/* ---- the rows ------------------------------------------------------------------------------ */

static int take_row(const struct query *q, struct store_forgotten *f, struct err *err)
{
    void *hash = NULL;
    size_t bytes = 0;
    int status = query_column_blob(q, 0, &hash, &bytes, err);

    *f = (struct store_forgotten){.forgotten_us = us_of(query_column_real(q, 1)),
                                  .in_files = query_column_int(q, 2) != 0,
                                  .n_interactions = query_column_int(q, 3),
                                  .n_vectors = query_column_int(q, 4),
                                  .n_pairs = query_column_int(q, 5),
                                  .n_letters = query_column_int(q, 6),
                                  .n_dropped = query_column_int(q, 7)};
    if (status == ERR_OK && bytes == sizeof f->hash)
        memcpy(f->hash, hash, bytes);
    free(hash);
    return status;
}

int store_forgotten_find(struct store *st, const unsigned char hash[DIGEST_BYTES],
                         struct store_forgotten *ret_f, struct err *err)
{
    struct query q = query_begin(st, SQL_FORGOTTEN_FIND);

    query_blob(&q, hash, DIGEST_BYTES);
    int status = query_row(&q, "look for who is forgotten", err);
    if (status != ERR_OK)
        return status;
    status = take_row(&q, ret_f, err);
    query_end(&q);
    return status;
}

int store_forgotten_list(struct store *st, struct store_forgotten **ret_rows, size_t *ret_n,
                         struct err *err)
{
    struct query q = query_begin(st, SQL_FORGOTTEN_LIST);
    struct store_forgotten *rows = NULL;
    size_t n = 0, room = 0;
    int status;

    while ((status = query_step(&q, "list who is forgotten", err)) == ERR_OK) {
        struct store_forgotten *more = array_reserve(rows, &room, n + 1, sizeof *rows);

        rows = more ? more : rows;
        status = more ? take_row(&q, &rows[n], err) : err_oom(err, "who is forgotten");
        if (status != ERR_OK)
            break;
        n++;
    }
    query_end(&q);
    if (status != ERR_END) {
        free(rows);
        return status;
    }
    *ret_rows = rows;
    *ret_n = n;
    return ERR_OK;
}

/* ERR_OK; *ret_us 0 when that is nobody. */
int store_forgotten_until(struct store *st, const unsigned char hash[DIGEST_BYTES],
                          int64_t *ret_us, struct err *err)
{
    struct query q = query_begin(st, SQL_FORGOTTEN_FIND);

    *ret_us = 0;
    query_blob(&q, hash, DIGEST_BYTES);
    int status = query_row(&q, "look for who is forgotten", err);
    if (status == ERR_OK)
        *ret_us = us_of(query_column_real(&q, 1));
    query_end(&q);
    return status == ERR_NONE ? ERR_OK : status;
}

int store_forgotten_sums(struct store *st, struct store_forgotten_sums *ret_sums,
                         struct err *err)
{
    struct query q = query_begin(st, SQL_FORGOTTEN_SUMS);
    int status = query_row(&q, "count who is forgotten", err);

    if (status != ERR_OK)
        return status;
    *ret_sums = (struct store_forgotten_sums){query_column_int(&q, 0), query_column_int(&q, 1),
                                              query_column_int(&q, 2)};
    query_end(&q);
    return ERR_OK;
}

int store_forgettings(struct store *st, int64_t *ret_n, struct err *err)
{
    char text[24];
    int status = meta_text(st, META_FORGETTINGS, text, sizeof text, err);

    *ret_n = status == ERR_OK ? strtoll(text, NULL, 10) : 0;
    return status == ERR_NONE ? ERR_OK : status;
}

int store_forgotten_filed(struct store *st, int64_t n_forgettings, struct err *err)
{
    int64_t n = 0;
    int status = store_forgettings(st, &n, err);

    if (status != ERR_OK || n != n_forgettings) /* somebody else came meanwhile */
        return status;
    struct query q = query_begin(st, SQL_FORGOTTEN_FILES);
    return query_run(&q, "note that files are looked through", err);
}

int store_forgotten_again(struct store *st, struct err *err)
{
    struct query q = query_begin(st, SQL_FORGOTTEN_AGAIN);

    return query_run(&q, "note that files are to be looked through", err);
}

/* ---- forgetting ---------------------------------------------------------------------------- */

int store_put_forgotten(struct store *st, const unsigned char hash[DIGEST_BYTES], int64_t at_us,
                        struct err *err)
{
    struct query q = query_begin(st, SQL_FORGOTTEN_PUT);

    query_blob(&q, hash, DIGEST_BYTES);
    query_us(&q, at_us);
    int status = query_run(&q, "note who is forgotten", err);
    if (status != ERR_OK)
        return status;
    q = query_begin(st, SQL_META_COUNT_UP);
    query_text(&q, META_FORGETTINGS);
    status = query_run(&q, "count who is forgotten", err);
    if (status == ERR_OK && at_us > st->latest_us)
        st->latest_us = at_us;
    return status;
}

/* Of the user that has this uid now: vectors, and the name. */
static int take_user(struct store *st, int64_t uid, int64_t *ret_vectors, struct err *err)
{
    static const enum sql_id steps[] = {SQL_LAST_UID, SQL_ERASE_RENAME, SQL_ERASE_VECTORS};
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < sizeof steps / sizeof steps[0]; i++) {
        struct query q = query_begin(st, steps[i]);

        query_int(&q, uid);
        status = query_run(&q, "forget a user", err);
    }
    *ret_vectors = status == ERR_OK ? store_changes(st) : 0;
    st->seq += *ret_vectors;
    return status;
}

static int put_erasing(struct store *st, const unsigned char hash[DIGEST_BYTES],
                       const char *user_id, int64_t uid, int64_t n_vectors, struct err *err)
{
    struct query q = query_begin(st, SQL_ERASING_INSERT);

    query_blob(&q, hash, DIGEST_BYTES);
    query_text(&q, user_id);
    query_int_or_null(&q, uid);
    int status = query_run(&q, "note what has to go", err);
    if (status != ERR_OK || n_vectors == 0)
        return status;
    q = query_begin(st, SQL_FORGOTTEN_ADD);
    query_blob(&q, hash, DIGEST_BYTES);
    query_int(&q, 0);
    query_int(&q, n_vectors);
    query_int(&q, 0);
    query_int(&q, 0);
    return query_run(&q, "count what has gone", err);
}

int store_write_forget(struct store *st, const struct store_forget *f,
                       struct store_batch_result *r, struct err *err)
{
    unsigned char hash[DIGEST_BYTES];
    int64_t until_us = 0, uid = 0, n_vectors = 0;
    char *name = (char *)(uintptr_t)f->user_id;
    int status = store_forget_know(st, err);

    if (status != ERR_OK)
        return status;
    store_forget_hash(st, f->user_id, strlen(f->user_id), hash);
    status = store_forgotten_until(st, hash, &until_us, err);
    if (status == ERR_OK && until_us >= f->at_us) {
        r->n_stale++;
        return ERR_OK;
    }
    if (status == ERR_OK)
        status = store_put_forgotten(st, hash, f->at_us, err);
    if (status == ERR_OK)
        status = store_find_ids(st, STORE_SIDE_USERS, &name, 1, &uid, err);
    if (status == ERR_OK && uid)
        status = take_user(st, uid, &n_vectors, err);
    if (status == ERR_OK)
        status = put_erasing(st, hash, f->user_id, uid, n_vectors, err);
    st->erase_settled = false;
    r->n_forgotten++;
    return status;
}

/* ---- what comes again ---------------------------------------------------------------------- */

int store_drops(struct store *st, const char *user_id, size_t n, int64_t said_us,
                bool *ret_drops, struct err *err)
{
    unsigned char hash[DIGEST_BYTES];
    int64_t until_us = 0;
    int status = store_forget_know(st, err);

    *ret_drops = false;
    if (status != ERR_OK || said_us > st->latest_us || st->latest_us == 0)
        return status;
    store_forget_hash(st, user_id, n, hash);
    status = store_forgotten_until(st, hash, &until_us, err);
    if (status != ERR_OK || until_us == 0 || said_us > until_us)
        return status;
    *ret_drops = true;
    struct query q = query_begin(st, SQL_FORGOTTEN_DROPPED);
    query_blob(&q, hash, sizeof hash);
    return query_run(&q, "count what is dropped", err);
}

struct look {
    struct store *st;
    int64_t said_us;
    size_t n_texts;
    int status;
    struct err *err;
};

static bool is_forgotten(void *ctx, const char *text, size_t bytes)
{
    struct look *look = ctx;
    unsigned char hash[DIGEST_BYTES];
    int64_t until_us = 0;

    if (look->status != ERR_OK || ++look->n_texts > TEXTS_MAX)
        return false;
    store_forget_hash(look->st, text, bytes, hash);
    look->status = store_forgotten_until(look->st, hash, &until_us, look->err);
    return look->status == ERR_OK && until_us != 0 && look->said_us <= until_us;
}

int store_letter_forget(struct store *st, struct store_dead_letter *d, struct err *err)
{
    struct look look = {.st = st, .said_us = d->said_us, .err = err};
    int status = store_forget_know(st, err);

    if (status != ERR_OK || d->said_us == 0 || st->latest_us == 0 || d->said_us > st->latest_us)
        return status;
    const struct naming x = {.key = d->key,
                             .value = d->value,
                             .key_bytes = d->key_bytes,
                             .value_bytes = d->value_bytes,
                             .headers = d->headers,
                             .n_headers = d->n_headers,
                             .error = d->error,
                             .key_is_item = d->role && strcmp(d->role, "videos") == 0};
    if (naming_walk(&x, is_forgotten, &look)) {
        d->key = NULL;
        d->value = "";
        d->key_bytes = d->value_bytes = d->n_headers = 0;
        d->item_id = NULL;
        d->error = STORE_LETTER_ERASED;
    }
    return look.status;
}

int store_read_mark(struct store *st, struct store_read_mark *ret_mark, struct err *err)
{
    ret_mark->us = clock_real_us();
    return store_forgettings(st, &ret_mark->n_forgettings, err);
}

/* Whether a name that was read then is one who is gone. */
static int is_gone_since(struct store *st, const char *name, const struct store_read_mark *mark,
                         bool *ret_gone, struct err *err)
{
    unsigned char hash[DIGEST_BYTES];
    struct query q = query_begin(st, SQL_FORGOTTEN_FIND);

    *ret_gone = false;
    store_forget_hash(st, name, strlen(name), hash);
    query_blob(&q, hash, DIGEST_BYTES);
    int status = query_row(&q, "look for who is forgotten", err);
    if (status == ERR_OK)
        *ret_gone = us_of(query_column_real(&q, 1)) >= mark->us ||
                    (mark->n_forgettings >= 0 && query_column_int(&q, 8) > mark->n_forgettings);
    query_end(&q);
    return status == ERR_NONE ? ERR_OK : status;
}

int store_find_forgotten(struct store *st, char *const *names, size_t n,
                         const struct store_read_mark *mark, unsigned char *ret_gone,
                         bool *ret_any, struct err *err)
{
    int64_t n_forgettings = 0;
    int status = store_forget_know(st, err);

    *ret_any = false;
    memset(ret_gone, 0, n);
    if (status == ERR_OK)
        status = store_forgettings(st, &n_forgettings, err);
    if (status != ERR_OK || st->latest_us == 0 ||
        (st->latest_us < mark->us &&
         (mark->n_forgettings < 0 || n_forgettings <= mark->n_forgettings)))
        return status;
    for (size_t i = 0; status == ERR_OK && i < n; i++) {
        bool gone = false;

        if (!names[i])
            continue;
        status = is_gone_since(st, names[i], mark, &gone, err);
        ret_gone[i] = gone;
        *ret_any |= gone;
    }
    return status;
}
