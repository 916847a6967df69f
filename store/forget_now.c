/* Forgetting somebody outside a batch: by a person's word, or by the list of a newer copy of this
 * store. */

#include "store/internal.h"

#include "config/clock.h"

#include <stdlib.h>
#include <string.h>

enum { USERS = 10000 };

int store_forget(struct store *st, const char *user_id, unsigned char ret_hash[DIGEST_BYTES],
                 struct err *err)
{
    struct store_forget f = {.user_id = user_id, .at_us = clock_real_us()};
    struct store_op op = {.kind = STORE_OP_FORGET, .forget = &f};
    struct store_batch_result result;
    int64_t until_us = 0;
    int status = store_forget_know(st, err);

    if (status != ERR_OK)
        return status;
    store_forget_hash(st, user_id, strlen(user_id), ret_hash);
    status = store_forgotten_until(st, ret_hash, &until_us, err);
    if (until_us >= f.at_us) /* the clock was set back: this one is later all the same */
        f.at_us = until_us + 1;
    return status == ERR_OK ? store_write_batch(st, &op, 1, NULL, 0, &result, err) : status;
}

/* ---- a list from a newer copy -------------------------------------------------------------- */

static int by_hash(const void *a, const void *b)
{
    const struct store_forgotten *x = a, *y = b;

    return memcmp(x->hash, y->hash, sizeof x->hash);
}

static const struct store_forgotten *
find_listed(struct store *st, const struct store_forgotten *rows, size_t n, const char *user_id)
{
    struct store_forgotten key = {.forgotten_us = 0};

    store_forget_hash(st, user_id, strlen(user_id), key.hash);
    return n ? bsearch(&key, rows, n, sizeof *rows, by_hash) : NULL;
}

/* The next users that the store knows, at most USERS: those of the list are forgotten. */
static int forget_page(struct store *st, const struct store_forgotten *rows, size_t n,
                       int64_t *after, int64_t *n_known, struct err *err)
{
    struct query q = query_begin(st, SQL_USERS_AFTER);
    struct store_ref *users = NULL;
    struct store_batch_result r = {0};
    size_t n_users = 0;

    query_int(&q, *after);
    query_int(&q, USERS);
    int status = query_refs(&q, USERS, "read users", &users, &n_users, err);
    if (status != ERR_OK)
        return status;
    *after = n_users ? users[n_users - 1].rid : 0;
    for (size_t i = 0; status == ERR_OK && i < n_users; i++) {
        const struct store_forgotten *row = find_listed(st, rows, n, users[i].item_id);
        struct store_forget f = {.user_id = users[i].item_id,
                                 .at_us = row ? row->forgotten_us : 0};
        struct store_op op = {.kind = STORE_OP_FORGET, .forget = &f};

        if (row)
            status = store_write_batch(st, &op, 1, NULL, 0, &r, err);
        *n_known += row && status == ERR_OK ? (int64_t)r.n_forgotten : 0;
    }
    store_refs_free(users, n_users);
    return status;
}

/* Those whom the store does not know: what comes of older events is dropped. */
static int put_listed(struct store *st, const struct store_forgotten *rows, size_t n,
                      struct err *err)
{
    int status = store_begin(st, err);

    if (status != ERR_OK)
        return status;
    for (size_t i = 0; status == ERR_OK && i < n; i++) {
        int64_t until_us = 0;

        status = store_forgotten_until(st, rows[i].hash, &until_us, err);
        if (status == ERR_OK && until_us < rows[i].forgotten_us)
            status = store_put_forgotten(st, rows[i].hash, rows[i].forgotten_us, err);
    }
    if (status == ERR_OK) /* whoever gives a list has put something older back */
        status = store_forgotten_again(st, err);
    return store_finish(st, status, err);
}

int store_forget_listed(struct store *st, const struct store_forgotten *rows, size_t n,
                        int64_t *ret_n, struct err *err)
{
    struct store_forgotten *sorted = calloc(n + 1, sizeof *sorted);
    int64_t after = 0, n_known = 0;
    int status = sorted ? store_forget_know(st, err) : err_oom(err, "who is forgotten");

    if (status == ERR_OK && n) {
        memcpy(sorted, rows, n * sizeof *rows);
        qsort(sorted, n, sizeof *sorted, by_hash);
    }
    do {
        if (status == ERR_OK)
            status = forget_page(st, sorted, n, &after, &n_known, err);
    } while (status == ERR_OK && after);
    if (status == ERR_OK)
        status = put_listed(st, sorted, n, err);
    free(sorted);
    *ret_n = n_known;
    return status;
}
