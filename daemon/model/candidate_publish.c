/* A candidate into the model folder and the store, without touching what is served. */
#include "daemon/model/candidate.h"

#include "config/digest.h"
#include "daemon/base/paths.h"
#include "daemon/model/candidate_internal.h"
#include "fusion/file/outfile.h"
#include "fusion/model/fuse.h"
#include "store/reading.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum { BLOCK = 512 }; /* rows a transaction: some milliseconds of the writer's time */

/* ---- files -------------------------------------------------------------------------------- */

/* Its files → <model folder>/trained-<12 of the digest>/. A folder of that name holds the same model:
 * its files are written again, because they may be what a crash left. */
static int install(struct candidate *c, const struct settings *s, struct store_model *row,
                   struct err *err)
{
    char dir[PATH_MAX], path[PATH_MAX], name[32];
    int r = paths_model_dir(s, dir, err);

    if (r != ERR_OK)
        return r;
    (void)snprintf(name, sizeof name, CANDIDATE_FOLDER "%.*s", CANDIDATE_DIGITS, c->sha256);
    (void)snprintf(row->file, sizeof row->file, "%s/%s", name, candidate_files[0]);
    r = paths_join(dir, name, path, err);
    if (r != ERR_OK)
        return r;
    assert(c->file[0].data); /* else they would be made anew, with other digests */
    r = candidate_write(path, c, err);
    candidate_drop_files(c);
    (void)snprintf(c->dir, sizeof c->dir, "%s", path);
    return r == ERR_OK ? outfile_sync_folder(dir, err) : r;
}

int candidate_folder(const struct settings *s, const struct store_model *m,
                     char ret_dir[PATH_MAX], struct err *err)
{
    const char *slash = strchr(m->file, '/');
    char name[sizeof m->file];

    if (!slash)
        return ERR_NONE;
    (void)snprintf(name, sizeof name, "%.*s", (int)(slash - m->file), m->file);
    return paths_model_file(s, name, ret_dir, err);
}

int candidate_of_model(const struct settings *s, const struct store_model *m,
                       struct candidate *ret_c, struct err *err)
{
    char dir[PATH_MAX];
    int r = candidate_folder(s, m, dir, err);

    if (r == ERR_OK)
        r = candidate_look(dir, ret_c, err);
    if (r != ERR_OK)
        return r;
    if (strcmp(ret_c->sha256, m->sha256) == 0)
        return ERR_OK;
    candidate_done(ret_c);
    return err_fatal(err, EX_DATAERR, "%s: its model's sha256 is not that of model %lld", dir,
                     (long long)m->model_id);
}

/* ---- rows --------------------------------------------------------------------------------- */

/* One block, on the thread of the writing store. */
struct block {
    const struct candidate *c;
    const struct candidate_publication *p;
    size_t first, n;
};

/* Gathers the rows that have an id and a vector. */
static void gather(const struct block *b, const int64_t *found, struct store_vectors *v,
                   int64_t *ids, float *vec, uint8_t *warm, uint64_t *stamp)
{
    const struct candidate *c = b->c;
    size_t D = (size_t)c->dim;
    bool items = b->p->side == STORE_SIDE_ITEMS;

    for (size_t i = 0; i < b->n; i++) {
        size_t row = b->first + i;
        const float *x = (items ? c->items : c->users) + row * D;

        if (!found[i] || fuse_is_zero(x, c->dim))
            continue;
        ids[v->n] = found[i];
        memcpy(vec + v->n * D, x, D * sizeof *x);
        warm[v->n] = items ? c->warm[row] : 0;
        stamp[v->n++] = items ? c->stamp[row] : 0;
    }
}

/* One who was forgotten since, and may be back, is somebody else. */
static int leave_out_forgotten(struct store *st, const struct block *b, char *const *names,
                               int64_t *found, struct err *err)
{
    unsigned char gone[BLOCK];
    bool any;
    struct store_read_mark mark = candidate_read_mark(b->c);
    int r = store_find_forgotten(st, names, b->n, &mark, gone, &any, err);

    for (size_t i = 0; r == ERR_OK && any && i < b->n; i++)
        if (gone[i])
            found[i] = 0;
    return r;
}

static int write_rows(struct store *st, void *arg, struct err *err)
{
    const struct block *b = arg;
    bool items = b->p->side == STORE_SIDE_ITEMS;
    int64_t found[BLOCK], ids[BLOCK];
    uint8_t warm[BLOCK];
    uint64_t stamp[BLOCK];
    float *vec = malloc(BLOCK * (size_t)b->c->dim * sizeof *vec);
    struct store_vectors v = {.model_id = b->p->model_id,
                              .side = b->p->side,
                              .ids = ids,
                              .vec = vec,
                              .warm = warm,
                              .dim = b->c->dim,
                              .stamp = items ? stamp : NULL,
                              .only_missing = b->p->only_missing};
    char **names = (items ? b->c->item_id : b->c->user_id) + b->first;

    if (!vec)
        return err_oom(err, "a block of vectors");
    int r = store_find_ids(st, b->p->side, names, b->n, found, err);
    if (r == ERR_OK && !items)
        r = leave_out_forgotten(st, b, names, found, err);
    if (r == ERR_OK) {
        gather(b, found, &v, ids, vec, warm, stamp);
        r = store_publish_vectors(st, &v, err);
    }
    free(vec);
    return r;
}

int candidate_put_vectors(const struct candidate *c, const struct candidate_target *t,
                          struct candidate_publication *p, struct err *err)
{
    size_t n = p->side == STORE_SIDE_ITEMS ? c->n_items : c->n_users;
    size_t total = candidate_n_rows(c);
    int r = ERR_OK;

    for (size_t i = 0; r == ERR_OK && i < n; i += BLOCK) {
        struct block b = {c, p, i, n - i < BLOCK ? n - i : BLOCK};

        r = store_work(&t->writer, write_rows, &b, err);
        p->done += b.n;
        if (r == ERR_OK && t->progress && !t->progress(t->ctx, p->done, total))
            r = err_retry(err, EX_TEMPFAIL, "publication of a model: interrupted");
    }
    return r;
}

/* ---- the model's row ----------------------------------------------------------------------- */

struct insertion {
    struct candidate *c;
    int64_t n_forgettings; /* when the pairs were named */
    struct store_model *row;
    struct store_pair *pairs;
    struct store_metric *curve;
    size_t n_curve;
    struct store_signal *signals;
    size_t n_signals;
};

static int insert_model(struct store *st, void *arg, struct err *err)
{
    struct insertion *i = arg;
    int64_t n = 0;
    int r = store_forgettings(st, &n, err);

    if (r == ERR_OK && n != i->n_forgettings)
        return ERR_STALE;
    if (r == ERR_OK)
        r = store_model_add(st, i->row, err);
    if (r == ERR_OK)
        r = store_put_training(st, i->row->model_id, i->pairs, i->c->n_pairs, err);
    if (r == ERR_OK)
        r = store_put_signals(st, i->row->model_id, i->signals, i->n_signals, err);
    return r == ERR_OK ? store_put_curve(st, i->row->model_id, i->curve, i->n_curve, err) : r;
}

int candidate_name_pairs(const struct candidate *c, struct store *reader,
                         struct store_pair **ret_pairs, struct err *err)
{
    int64_t *rids = calloc(c->n_items + 1, sizeof *rids);
    int64_t *uids = calloc(c->n_users + 1, sizeof *uids);
    struct store_pair *pairs = calloc(c->n_pairs + 1, sizeof *pairs);
    int r = rids && uids && pairs ? ERR_OK : err_oom(err, "a model's training pairs");

    if (r == ERR_OK)
        r = store_find_ids(reader, STORE_SIDE_ITEMS, c->item_id, c->n_items, rids, err);
    if (r == ERR_OK)
        r = store_find_ids(reader, STORE_SIDE_USERS, c->user_id, c->n_users, uids, err);
    for (size_t i = 0; r == ERR_OK && i < c->n_pairs; i++)
        pairs[i] = (struct store_pair){uids[c->pair[i][0]], rids[c->pair[i][1]]};
    free(rids);
    free(uids);
    if (r == ERR_OK)
        *ret_pairs = pairs;
    else
        free(pairs);
    return r;
}

/* "curve": [{"epoch": 2, "loss": …, …}] → one metric a number. */
static int read_curve(const struct candidate *c, struct insertion *i, struct err *err)
{
    const json_t *curve = json_object_get(c->metrics, "curve");
    json_t *point, *value;
    const char *name;
    size_t at, room = 1;

    json_array_foreach(curve, at, point) room += json_object_size(point);
    i->curve = calloc(room, sizeof *i->curve);
    if (!i->curve)
        return err_oom(err, "a learning curve");
    json_array_foreach(curve, at, point)
    {
        json_int_t epoch = json_integer_value(json_object_get(point, "epoch"));

        json_object_foreach(point, name, value)
        {
            struct store_metric *m = &i->curve[i->n_curve];

            if (!json_is_number(value) || strcmp(name, "epoch") == 0)
                continue;
            *m = (struct store_metric){.epoch = (uint32_t)epoch,
                                       .value = json_number_value(value)};
            (void)snprintf(m->name, sizeof m->name, "%.31s", name);
            i->n_curve++;
        }
    }
    return ERR_OK;
}

int candidate_describe(const struct candidate *c, struct store_model *row, struct err *err)
{
    json_t *metrics = json_copy(c->metrics); /* shallow */
    const json_t *encoders = json_object_get(c->metrics, "encoder_ids");
    const struct model_shape *shape = model_shape(c->model);

    json_object_del(metrics, "curve");
    json_object_del(metrics, "files");
    row->metrics = json_dumps(metrics, JSON_COMPACT | JSON_REAL_PRECISION(9));
    row->encoder_ids = encoders ? json_dumps(encoders, JSON_COMPACT) : NULL;
    json_decref(metrics);
    if (!row->metrics || (encoders && !row->encoder_ids))
        return err_oom(err, "a model's metrics");
    (void)snprintf(row->sha256, sizeof row->sha256, "%s", c->sha256);
    row->origin = STORE_MODEL_TRAINED;
    (void)snprintf(row->backbone, sizeof row->backbone, "%s",
                   backbone_kind_name(shape->backbone));
    (void)snprintf(row->fusion, sizeof row->fusion, "%s", fusion_kind_name(shape->fusion));
    return ERR_OK;
}

/* A parent that the store does not know (a folder from elsewhere) is left out. */
static int find_parent(const struct candidate *c, struct store *reader, struct store_model *row,
                       struct err *err)
{
    struct store_model parent = {0};
    int64_t id = (int64_t)json_integer_value(json_object_get(c->metrics, "parent"));

    if (id <= 0)
        return ERR_OK;
    int r = store_model_get(reader, id, &parent, err);
    store_model_done(&parent);
    if (r == ERR_OK)
        row->parent_id = id;
    return r == ERR_NONE ? ERR_OK : r;
}

/* Again, when somebody was forgotten meanwhile: the pairs may name them. */
static int insert(struct insertion *i, const struct candidate_target *t, struct err *err)
{
    bool changed;
    int r;

    do {
        free(i->pairs);
        i->pairs = NULL;
        r = store_forgettings(t->reader, &i->n_forgettings, err);
        if (r == ERR_OK)
            r = candidate_forget(i->c, t->reader, &changed, err);
        if (r == ERR_OK)
            r = candidate_name_pairs(i->c, t->reader, &i->pairs, err);
        if (r == ERR_OK)
            r = store_work(&t->writer, insert_model, i, err);
    } while (r == ERR_STALE);
    return r;
}

static int reject(struct store *st, void *arg, struct err *err)
{
    return store_model_set_state(st, *(int64_t *)arg, "rejected", NULL, err);
}

static int put_all(const struct candidate *c, const struct candidate_target *t,
                   struct store_model *row, struct err *err)
{
    struct candidate_publication p = {.model_id = row->model_id, .side = STORE_SIDE_ITEMS};
    int r = candidate_put_vectors(c, t, &p, err);

    p.side = STORE_SIDE_USERS;
    if (r == ERR_OK)
        r = candidate_put_vectors(c, t, &p, err);
    if (r == ERR_OK)
        r = candidate_put_neighbours(c, t, &p, err);
    if (r != ERR_OK)
        (void)store_work(&t->writer, reject, &row->model_id, NULL);
    return r;
}

int candidate_publish(struct candidate *c, const struct candidate_target *t, struct err *err)
{
    struct store_model row = {0};
    struct insertion i = {.c = c, .row = &row};
    bool changed;
    int r = candidate_describe(c, &row, err);

    if (r == ERR_OK)
        r = candidate_forget(c, t->reader, &changed, err);
    if (r == ERR_OK)
        r = install(c, t->settings, &row, err);
    if (r == ERR_OK)
        r = find_parent(c, t->reader, &row, err);
    if (r == ERR_OK)
        r = read_curve(c, &i, err);
    if (r == ERR_OK)
        r = candidate_signals(c->metrics, &i.signals, &i.n_signals, err);
    if (r == ERR_OK)
        r = insert(&i, t, err);
    if (r == ERR_OK)
        r = put_all(c, t, &row, err);
    if (r == ERR_OK)
        c->model_id = row.model_id;
    free(i.pairs);
    free(i.curve);
    free(i.signals);
    store_model_done(&row);
    return r;
}
