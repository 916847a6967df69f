/* The flip, and before it the vectors that the model still lacks.
 *
 * Items come and change while a model is trained, and while its vectors are written. So: fuse what
 * is missing with a reader, block by block, as often as that finds much; then, on the writer's
 * thread and therefore between two batches, fuse the few that came since, and flip. Items to which
 * the model gives no vector (no modality of its encoders) are remembered by rid and stamp, and not
 * tried again. */
#include "daemon/model/candidate_internal.h"

#include "config/array.h"
#include "config/log.h"
#include "daemon/base/health.h"
#include "daemon/model/active_model.h"
#include "daemon/model/feature_row.h"
#include "daemon/model/loaded.h"
#include "fusion/model/fuse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* LAST_NEW: fused one by one on the writer's thread, some 20 ms each beside 100,000 items of an
 * item-item graph. */
enum { BLOCK = 256, LAST_MAX = 1024, LAST_NEW = 32, ROUNDS_MAX = 100 };

struct hopeless {
    int64_t rid;
    uint64_t stamp;
};

struct activation {
    const struct candidate_target *t;
    int64_t model_id;
    struct model *model;       /* of loaded.h */
    struct hopeless *hopeless; /* (n_hopeless) by rid; rewritten by each round */
    size_t n_hopeless, room;
    bool more; /* the last call found too many to fuse at once */
    bool flipped;
};

/* ---- fusing a block ------------------------------------------------------------------------ */

struct fused {
    const struct activation *a;
    const struct store_features *rows;
    size_t n;
    float *X, *E; /* (n, F), (n, D) */
    uint8_t *mask;
    int64_t *ids; /* of the rows that have a vector, E moved together */
    uint64_t *stamp;
    size_t n_vectors;
};

static void fused_done(struct fused *f)
{
    free(f->X);
    free(f->E);
    free(f->mask);
    free(f->ids);
    free(f->stamp);
}

static int fuse_block(struct fused *f, struct err *err)
{
    const struct model_shape *shape = model_shape(f->a->model);
    size_t F = (size_t)shape->F, D = (size_t)shape->D;

    f->X = calloc(f->n * F + 1, sizeof *f->X);
    f->E = calloc(f->n * D + 1, sizeof *f->E);
    f->mask = calloc(f->n + 1, 1);
    f->ids = calloc(f->n + 1, sizeof *f->ids);
    f->stamp = calloc(f->n + 1, sizeof *f->stamp);
    if (!f->X || !f->E || !f->mask || !f->ids || !f->stamp)
        return err_oom(err, "items to fuse");
    for (size_t i = 0; i < f->n; i++)
        f->mask[i] = feature_row_stored(shape, &f->rows[i], f->X + i * F);
    int r = fuse_items(f->a->model, f->X, f->mask, f->n, f->E, err);
    for (size_t i = 0; r == ERR_OK && i < f->n; i++) {
        if (fuse_is_zero(f->E + i * D, shape->D))
            continue;
        f->ids[f->n_vectors] = f->rows[i].rid;
        f->stamp[f->n_vectors] = f->rows[i].stamp;
        memmove(f->E + f->n_vectors++ * D, f->E + i * D, D * sizeof *f->E);
    }
    return r;
}

static int write_fused(struct store *st, void *arg, struct err *err)
{
    const struct fused *f = arg;
    const struct store_vectors v = {.model_id = f->a->model_id,
                                    .side = STORE_SIDE_ITEMS,
                                    .ids = f->ids,
                                    .vec = f->E,
                                    .n = f->n_vectors,
                                    .dim = model_shape(f->a->model)->D,
                                    .stamp = f->stamp};

    return store_publish_vectors(st, &v, err);
}

/* ---- rounds with a reader ------------------------------------------------------------------ */

static int remember_hopeless(struct activation *a, const struct fused *f, struct err *err)
{
    size_t next = 0;

    for (size_t i = 0; i < f->n; i++) {
        if (next < f->n_vectors && f->ids[next] == f->rows[i].rid) {
            next++;
            continue;
        }
        struct hopeless *more =
            array_reserve(a->hopeless, &a->room, a->n_hopeless + 1, sizeof *more);
        if (!more)
            return err_oom(err, "items to fuse");
        a->hopeless = more;
        a->hopeless[a->n_hopeless++] = (struct hopeless){f->rows[i].rid, f->rows[i].stamp};
    }
    return ERR_OK;
}

/* *ret_last: the last rid seen, 0 = there was none. */
static int fuse_next(struct activation *a, int64_t after, int64_t *ret_last, size_t *n_fused,
                     struct err *err)
{
    struct store_features *rows = NULL;
    struct fused f = {.a = a};
    int r = store_read_unfused(a->t->reader, a->model_id, after, BLOCK, true, &rows, &f.n, err);

    if (r != ERR_OK)
        return r;
    f.rows = rows;
    *ret_last = f.n ? rows[f.n - 1].rid : 0;
    r = fuse_block(&f, err);
    if (r == ERR_OK)
        r = remember_hopeless(a, &f, err);
    if (r == ERR_OK && f.n_vectors)
        r = store_work(&a->t->writer, write_fused, &f, err);
    *n_fused += f.n_vectors;
    fused_done(&f);
    store_features_free(rows, f.n);
    return r;
}

static int fuse_round(struct activation *a, struct err *err)
{
    size_t n_fused = 0;
    int64_t last = 0;
    int r;

    a->n_hopeless = 0;
    do {
        r = fuse_next(a, last, &last, &n_fused, err);
        if (r == ERR_OK && a->t->progress && !a->t->progress(a->t->ctx, n_fused, 0))
            r = err_retry(err, EX_TEMPFAIL, "activation of a model: interrupted");
    } while (r == ERR_OK && last);
    return r;
}

/* ---- the last ones and the flip, on the writer's thread ------------------------------------ */

static int compare_hopeless(const void *a, const void *b)
{
    const struct hopeless *x = a, *y = b;

    if (x->rid != y->rid)
        return x->rid < y->rid ? -1 : 1;
    return (x->stamp > y->stamp) - (x->stamp < y->stamp);
}

static bool is_hopeless(const struct activation *a, const struct store_features *row)
{
    const struct hopeless key = {row->rid, row->stamp};

    return a->n_hopeless &&
           bsearch(&key, a->hopeless, a->n_hopeless, sizeof key, compare_hopeless);
}

/* Those that came since the last round, one by one: there are few. */
static int fuse_one(struct activation *a, struct store *st, int64_t rid, struct err *err)
{
    struct store_features *row = NULL;
    struct fused f = {.a = a};
    int r = store_read_unfused(st, a->model_id, rid - 1, 1, true, &row, &f.n, err);

    if (r != ERR_OK)
        return r;
    f.rows = row;
    r = fuse_block(&f, err);
    if (r == ERR_OK && f.n_vectors)
        r = write_fused(st, &f, err);
    fused_done(&f);
    store_features_free(row, f.n);
    return r;
}

static int fuse_last(struct activation *a, struct store *st, struct err *err)
{
    size_t n = 0, n_new = 0, max = a->n_hopeless + LAST_MAX;
    struct store_features *rows = NULL;
    int r = store_read_unfused(st, a->model_id, 0, max, false, &rows, &n, err);

    if (r != ERR_OK)
        return r;
    for (size_t i = 0; i < n; i++)
        n_new += !is_hopeless(a, &rows[i]);
    a->more = n == max || n_new > LAST_NEW;
    for (size_t i = 0; r == ERR_OK && !a->more && i < n; i++) {
        health_tick(HEALTH_SINK); /* in the daemon this is the sink's thread */
        if (!is_hopeless(a, &rows[i]))
            r = fuse_one(a, st, rows[i].rid, err);
    }
    health_tick(HEALTH_SINK);
    store_features_free(rows, n);
    return r;
}

static int check_pin(const struct activation *a, struct store *st, struct err *err)
{
    int64_t pinned = 0;
    int r = a->t->unless_pinned ? store_pinned_model(st, &pinned, err) : ERR_OK;

    return r == ERR_OK && pinned != 0
               ? err_retry(err, EX_TEMPFAIL,
                           "model %lld was pinned meanwhile: model %lld is not activated",
                           (long long)pinned, (long long)a->model_id)
               : r;
}

static int finish(struct store *st, void *arg, struct err *err)
{
    struct activation *a = arg;
    int r = check_pin(a, st, err);

    if (r == ERR_OK)
        r = fuse_last(a, st, err);
    if (r != ERR_OK || a->more)
        return r;
    r = store_model_activate(st, a->model_id, err);
    a->flipped = r == ERR_OK;
    return r;
}

/* ---- what was published once -------------------------------------------------------------- */

static int count(struct store *st, int64_t model_id, size_t *ret_items, size_t *ret_users,
                 struct err *err)
{
    int64_t items = 0, users = 0;
    int r = store_count_vectors(st, model_id, STORE_SIDE_ITEMS, &items, err);

    if (r == ERR_OK)
        r = store_count_vectors(st, model_id, STORE_SIDE_USERS, &users, err);
    *ret_items = (size_t)items;
    *ret_users = (size_t)users;
    return r;
}

static size_t count_vectors(const float *vec, size_t n, int32_t dim)
{
    size_t vectors = 0;

    for (size_t i = 0; i < n; i++)
        vectors += !fuse_is_zero(vec + i * (size_t)dim, dim);
    return vectors;
}

struct training {
    int64_t n_forgettings; /* when the pairs were named */
    int64_t model_id;
    struct store_pair *pairs;
    size_t n;
};

static int write_training(struct store *st, void *arg, struct err *err)
{
    const struct training *t = arg;
    int64_t n = 0;
    int r = store_forgettings(st, &n, err);

    if (r == ERR_OK && n != t->n_forgettings)
        return ERR_STALE;
    return r != ERR_OK ? r : store_put_training(st, t->model_id, t->pairs, t->n, err);
}

/* Again, when somebody was forgotten meanwhile: the pairs may name them. */
static int write_pairs(const struct activation *a, struct candidate *c, struct err *err)
{
    struct training t = {.model_id = a->model_id};
    bool changed;
    int r;

    do {
        free(t.pairs);
        t.pairs = NULL;
        r = store_forgettings(a->t->reader, &t.n_forgettings, err);
        if (r == ERR_OK)
            r = candidate_forget(c, a->t->reader, &changed, err);
        if (r == ERR_OK)
            r = candidate_name_pairs(c, a->t->reader, &t.pairs, err);
        t.n = c->n_pairs;
        if (r == ERR_OK)
            r = store_work(&a->t->writer, write_training, &t, err);
    } while (r == ERR_STALE);
    free(t.pairs);
    return r;
}

/* Without them the next gate would judge the model by pairs that it was trained on. */
static int put_back_training(const struct activation *a, struct candidate *c, struct err *err)
{
    struct store_pair *pairs = NULL;
    size_t n = 0;
    int r = store_get_training(a->t->reader, a->model_id, &pairs, &n, err);

    free(pairs);
    return r == ERR_NONE ? write_pairs(a, c, err) : r;
}

/* What refresh has written stays. */
static int put_back_neighbours(const struct activation *a, const struct candidate *c,
                               struct candidate_publication *p, struct err *err)
{
    int64_t n = 0;
    int r = store_count_neighbours(a->t->reader, a->model_id, &n, err);

    return r == ERR_OK && (size_t)n < candidate_count_neighbours(c)
               ? candidate_put_neighbours(c, a->t, p, err)
               : r;
}

/* Vectors, neighbours and training pairs that retention has taken away, and what a crash kept from
 * being published. */
static int put_back(const struct activation *a, struct candidate *c, struct err *err)
{
    struct candidate_publication p = {
        .model_id = a->model_id, .side = STORE_SIDE_ITEMS, .only_missing = true};
    size_t items = 0, users = 0;
    bool changed;
    int r = candidate_forget(c, a->t->reader, &changed, err);

    if (r == ERR_OK)
        r = put_back_training(a, c, err);
    if (r == ERR_OK)
        r = count(a->t->reader, a->model_id, &items, &users, err);
    if (r == ERR_OK && items < count_vectors(c->items, c->n_items, c->dim))
        r = candidate_put_vectors(c, a->t, &p, err);
    p.side = STORE_SIDE_USERS;
    if (r == ERR_OK && users < count_vectors(c->users, c->n_users, c->dim))
        r = candidate_put_vectors(c, a->t, &p, err);
    return r == ERR_OK ? put_back_neighbours(a, c, &p, err) : r;
}

/* A model of the store with the files of its folder. Without these its items are fused from their
 * features, as if cold; without the model's file there is no activation, even when another thread
 * has that model in memory, for the next start would find none. */
static int read_files(struct activation *a, const struct store_model *row, struct candidate *c,
                      struct err *err)
{
    struct err why;
    int r = candidate_of_model(a->t->settings, row, c, &why);

    if (r == ERR_OK)
        return ERR_OK;
    if (r == ERR_RETRY) {
        if (err)
            *err = why;
        return r;
    }
    bool damaged = r == ERR_FATAL; /* ERR_NONE: it never had a folder */
    r = active_model_load(row, a->t->settings, &c->model, err);
    (void)snprintf(c->sha256, sizeof c->sha256, "%s", row->sha256);
    if (r == ERR_OK && damaged)
        log_warning("model %lld: %s; its items are fused anew, its users may lack vectors",
                    (long long)a->model_id, why.text);
    return r;
}

/* From here on it is everybody's who serves it. */
static int give_model(struct activation *a, struct candidate *c, struct err *err)
{
    a->model = loaded_find(a->model_id, c->sha256);
    if (a->model)
        return ERR_OK;
    int r = loaded_add(a->model_id, c->sha256, c->model, err);
    if (r == ERR_OK) {
        a->model = c->model;
        c->model = NULL;
    }
    return r;
}

/* Retention would take the vectors of a retired model away again while they are put back. */
static int keep_vectors(struct store *st, void *arg, struct err *err)
{
    (void)err;
    store_keep_model(st, *(const int64_t *)arg);
    return ERR_OK;
}

/* A model of other features than the store's would take every vector away. */
static int check_fits(const struct activation *a, struct err *err)
{
    struct store_model active = {0};
    size_t items = 0, users = 0;
    int r = store_model_active(a->t->reader, &active, err);
    int64_t model_id = active.model_id;

    store_model_done(&active);
    if (r != ERR_OK)
        return r == ERR_NONE ? ERR_OK : r;
    r = count(a->t->reader, model_id, &items, &users, err);
    if (r != ERR_OK || items == 0)
        return r;
    r = count(a->t->reader, a->model_id, &items, &users, err);
    return r == ERR_OK && items == 0
               ? err_fatal(err, EX_DATAERR,
                           "model %lld: its %d columns fit no item's features, nothing would "
                           "have a vector; model %lld stays active",
                           (long long)a->model_id, (int)model_shape(a->model)->F,
                           (long long)model_id)
               : r;
}

/* c with a model alone: the other files of its folder are not to be had. */
static int complete(struct activation *a, struct candidate *c, struct err *err)
{
    bool has_files = c->n_items > 0;
    int r = give_model(a, c, err);

    if (r == ERR_OK)
        r = store_work(&a->t->writer, keep_vectors, &a->model_id, err);
    if (r == ERR_OK && has_files)
        r = put_back(a, c, err);
    a->more = true;
    for (int round = 0; r == ERR_OK && a->more; round++) {
        if (round == ROUNDS_MAX)
            return err_retry(err, EX_TEMPFAIL,
                             "model %lld: items come faster than they can be fused",
                             (long long)a->model_id);
        r = fuse_round(a, err);
        if (r == ERR_OK)
            r = check_fits(a, err);
        if (r == ERR_OK)
            r = store_work(&a->t->writer, finish, a, err);
    }
    return r;
}

static int activate(struct activation *a, struct candidate *c, struct err *err)
{
    int r = complete(a, c, err);

    (void)store_work(&a->t->writer, keep_vectors, &(int64_t){0}, NULL);
    if (a->flipped)
        loaded_leave(a->model); /* for the sink, which looks between two batches */
    else
        loaded_release(a->model);
    free(a->hopeless);
    return r;
}

int candidate_promote(struct candidate *c, const struct candidate_target *t, struct err *err)
{
    struct activation a = {.t = t, .model_id = c->model_id};

    return activate(&a, c, err);
}

/* From the model's files. */
static int activate_row(const struct candidate_target *t, const struct store_model *row,
                        struct err *err)
{
    struct activation a = {.t = t, .model_id = row->model_id};
    struct candidate c = {0};
    int r = read_files(&a, row, &c, err);

    if (r == ERR_OK)
        r = activate(&a, &c, err);
    candidate_done(&c);
    return r;
}

int candidate_activate(const struct candidate_target *t, int64_t model_id, struct err *err)
{
    struct store_model row = {0};
    int r = store_model_get(t->reader, model_id, &row, err);

    if (r == ERR_NONE)
        return err_fatal(err, EX_NOINPUT, "no model %lld: see metammf model list",
                         (long long)model_id);
    if (r == ERR_OK && strcmp(row.state, "active") != 0)
        r = activate_row(t, &row, err);
    store_model_done(&row);
    return r;
}

int candidate_mend(const struct candidate_target *t, struct err *err)
{
    struct store_model row = {0};
    int r = store_model_active(t->reader, &row, err);

    if (r == ERR_OK)
        r = activate_row(t, &row, err);
    store_model_done(&row);
    return r;
}
