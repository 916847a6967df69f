#include "daemon/model/holdout.h"

#include <stdbool.h>
#include <stdlib.h>

static int compare_ids(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int compare_pairs(const void *a, const void *b)
{
    const struct store_pair *x = a, *y = b;

    return x->uid != y->uid ? compare_ids(x->uid, y->uid) : compare_ids(x->rid, y->rid);
}

/* By user, the newest first; ties by item, so that the split does not depend on the order. */
static int compare_timed(const void *a, const void *b)
{
    const struct store_timed_pair *x = a, *y = b;

    if (x->uid != y->uid)
        return compare_ids(x->uid, y->uid);
    if (x->ts_ms != y->ts_ms)
        return x->ts_ms > y->ts_ms ? -1 : 1;
    return compare_ids(y->rid, x->rid);
}

static bool is_known(const struct store_pair *known, size_t n_known, struct store_pair pair)
{
    return n_known && bsearch(&pair, known, n_known, sizeof(pair), compare_pairs);
}

/* The pairs of one user, (n) from `first` on, the newest first. */
static void split_user(const struct store_timed_pair *first, size_t n,
                       const struct store_pair *known, size_t n_known, int64_t percent,
                       struct holdout *h)
{
    size_t n_before = h->n_pairs, n_new;

    if (n < HOLDOUT_LEAST_ITEMS)
        return;
    h->n_qualified++;
    for (size_t i = 0; i < n; i++) {
        struct store_pair pair = {first[i].uid, first[i].rid};

        if (!is_known(known, n_known, pair))
            h->pairs[h->n_pairs++] = pair;
    }
    n_new = h->n_pairs - n_before;
    if (n_new == 0)
        return;
    h->n_users++;
    h->n_pairs = n_before + (n_new * (size_t)percent + 99) / 100;
}

int holdout_split(struct store_timed_pair *timed, size_t n, struct store_pair *known,
                  size_t n_known, int64_t percent, struct holdout *ret_h, struct err *err)
{
    struct holdout h = {.pairs = malloc((n + 1) * sizeof(*h.pairs))};

    if (!h.pairs)
        return err_oom(err, "the held-out interactions");
    if (n)
        qsort(timed, n, sizeof(*timed), compare_timed);
    if (n_known)
        qsort(known, n_known, sizeof(*known), compare_pairs);
    for (size_t first = 0, next; first < n; first = next) {
        for (next = first + 1; next < n && timed[next].uid == timed[first].uid;)
            next++;
        split_user(timed + first, next - first, known, n_known, percent, &h);
    }
    qsort(h.pairs, h.n_pairs, sizeof(*h.pairs), compare_pairs);
    *ret_h = h;
    return ERR_OK;
}

void holdout_done(struct holdout *h)
{
    free(h->pairs);
    *h = (struct holdout){0};
}
