#include "daemon/refresh/rebase.h"

#include "config/array.h"
#include "config/log.h"

#include <stdlib.h>
#include <string.h>

enum { SLICE = 500, DROP = 5000 };

/* An id may be there several times until `settle`. */
static int add(struct store_ids *l, int64_t id, struct err *err)
{
    int64_t *ids = array_reserve(l->ids, &l->room, l->n + 1, sizeof(*ids));

    if (!ids)
        return err_oom(err, "what a model was not trained on");
    l->ids = ids;
    l->ids[l->n++] = id;
    return ERR_OK;
}

static int by_value(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* Ascending, each once. */
static void settle(struct store_ids *l)
{
    size_t n = 0;

    if (l->n)
        qsort(l->ids, l->n, sizeof(*l->ids), by_value);
    for (size_t i = 0; i < l->n; i++)
        if (n == 0 || l->ids[n - 1] != l->ids[i])
            l->ids[n++] = l->ids[i];
    l->n = n;
}

static int by_pair(const void *a, const void *b)
{
    const struct store_pair *x = a, *y = b;

    return x->uid != y->uid ? (x->uid > y->uid) - (x->uid < y->uid)
                            : (x->rid > y->rid) - (x->rid < y->rid);
}

struct rebase {
    struct store_ids users, items;
    struct store_pair *pairs, *trained;
    size_t n_pairs, n_trained;
    int64_t snapshot_n;
};

/* Both sides of the pairs that are in one list only. */
static int compare(struct rebase *b, struct err *err)
{
    size_t i = 0, j = 0;
    int status = ERR_OK;

    while (status == ERR_OK && (i < b->n_pairs || j < b->n_trained)) {
        int order = i == b->n_pairs     ? 1
                    : j == b->n_trained ? -1
                                        : by_pair(&b->pairs[i], &b->trained[j]);
        const struct store_pair *only = order < 0 ? &b->pairs[i] : &b->trained[j];

        if (order && only->uid)
            status = add(&b->users, only->uid, err);
        if (status == ERR_OK && order && only->rid)
            status = add(&b->items, only->rid, err);
        i += order <= 0;
        j += order >= 0;
    }
    return status;
}

/* Items that the model met after its training: their vectors are those of items without edges. */
static int add_strangers(struct rebase *b, struct refresh_world *w, struct err *err)
{
    int status = store_read_cold(w->reader, w->active.model_id, &w->ids, err);

    for (size_t i = 0; status == ERR_OK && i < w->ids.n; i++) {
        uint32_t degree = 0;

        status = store_read_degree(w->reader, STORE_SIDE_ITEMS, w->ids.ids[i], &degree, err);
        if (status == ERR_OK && degree)
            status = add(&b->items, w->ids.ids[i], err);
    }
    return status;
}

static int gather(struct rebase *b, struct refresh_world *w, struct err *err)
{
    struct store_backlog backlog = {0};
    int status = store_touch_backlog(w->reader, &backlog, err);

    b->snapshot_n = backlog.last_n;
    if (status ==
        ERR_OK) /* what came while the world was opened; its touches go with this one's */
        status = refresh_world_catch_up(w, b->snapshot_n, err);
    if (status == ERR_OK)
        status = store_read_pairs(w->reader, &b->pairs, &b->n_pairs, err);
    if (status == ERR_OK)
        status =
            store_get_training(w->reader, w->active.model_id, &b->trained, &b->n_trained, err);
    if (status != ERR_OK && status != ERR_NONE)
        return status;
    if (b->n_trained)
        qsort(b->trained, b->n_trained, sizeof(*b->trained), by_pair);
    status = compare(b, err);
    if (status == ERR_OK)
        status = add_strangers(b, w, err);
    settle(&b->users);
    settle(&b->items);
    return status;
}

/* ---- on the thread of the writing store -------------------------------------------------------- */

struct slice {
    struct store_pair touches[SLICE];
    size_t n;
    int64_t snapshot_n, model_id;
    bool more;
};

static int add_slice(struct store *st, void *arg, struct err *err)
{
    const struct slice *s = arg;

    return store_add_touches(st, s->touches, s->n, err);
}

static int drop_slice(struct store *st, void *arg, struct err *err)
{
    struct slice *s = arg;

    return store_drop_touches(st, s->snapshot_n, DROP, &s->more, err);
}

static int finish(struct store *st, void *arg, struct err *err)
{
    const struct slice *s = arg;

    return store_set_refresh_model(st, s->model_id, err);
}

/* A touch carries a user and an item: the lists side by side. */
static int write_all(const struct rebase *b, const struct refresh_options *o, struct slice *s,
                     struct err *err)
{
    size_t n = b->users.n > b->items.n ? b->users.n : b->items.n;
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < n; i += SLICE) {
        s->n = n - i < SLICE ? n - i : SLICE;
        for (size_t j = 0; j < s->n; j++)
            s->touches[j] = (struct store_pair){i + j < b->users.n ? b->users.ids[i + j] : 0,
                                                i + j < b->items.n ? b->items.ids[i + j] : 0};
        status = store_work(&o->writer, add_slice, s, err);
    }
    s->more = true;
    while (status == ERR_OK && s->more)
        status = store_work(&o->writer, drop_slice, s, err);
    return status == ERR_OK ? store_work(&o->writer, finish, s, err) : status;
}

/* The comparison holds 32 bytes an interaction while it lasts. */
int refresh_rebase(struct refresh_world *w, const struct refresh_options *o, struct err *err)
{
    struct rebase b = {0};
    struct slice s = {.model_id = w->active.model_id};
    int64_t done_id = 0;
    int status = store_refresh_model(w->reader, &done_id, err);

    if (status != ERR_OK || done_id == w->active.model_id)
        return status;
    status = store_read_begin(w->reader, err);
    if (status == ERR_OK)
        status = gather(&b, w, err);
    store_read_end(w->reader);
    s.snapshot_n = b.snapshot_n;
    if (status == ERR_OK)
        status = write_all(&b, o, &s, err);
    if (status == ERR_OK && b.users.n + b.items.n)
        log_info("refresh: model %lld: %zu users and %zu items have interactions that it was "
                 "not trained on",
                 (long long)w->active.model_id, b.users.n, b.items.n);
    free(b.users.ids);
    free(b.items.ids);
    free(b.pairs);
    free(b.trained);
    return status;
}
