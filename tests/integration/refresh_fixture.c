#include "refresh_fixture.h"

#include "daemon/model/candidate.h"
#include "fusion/math/gemm.h"
#include "fusion/math/rng.h"
#include "fusion/model/internal.h"
#include "fusion/model/item_graph.h"
#include "fusion/model/neighbours.h"
#include "fusion/model/signals.h"
#include "fusion/train/als.h"
#include "store/kinds.h"
#include "store/reading.h"

#include <jansson.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { BATCH = 500 };

/* ---- the store ------------------------------------------------------------------------------- */

void fixture_open(struct refresh_fixture *f)
{
    *f = (struct refresh_fixture){0};
    strcpy(f->folder, "/tmp/mmf-refresh-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof(f->path), "%s/store.db", f->folder);
    snprintf(f->dir, sizeof(f->dir), "%s/out", f->folder);
    pthread_mutex_init(&f->lock, NULL);
    refresh_ok(f, settings_init(&f->s));
    refresh_ok(f, settings_set(&f->s, "store.path", f->path, &f->err));
    refresh_ok(f, settings_set(&f->s, "store.retry_ms", "100", &f->err));
    refresh_ok(f, settings_set(&f->s, "refresh.interval_ms", "1", &f->err));
    refresh_ok(f, settings_set(&f->s, "refresh.rate", "100000", &f->err));
    refresh_ok(f, store_open(f->path, STORE_WRITE, &f->st, &f->err));
}

void fixture_close(struct refresh_fixture *f)
{
    char command[128];

    fixture_stop(f);
    store_close(f->st);
    settings_done(&f->s);
    pthread_mutex_destroy(&f->lock);
    snprintf(command, sizeof(command), "rm -r %s", f->folder);
    assert_int_equal(system(command), 0);
}

static void write_ops(struct refresh_fixture *f, const struct store_op *ops, size_t n)
{
    struct store_batch_result r;

    pthread_mutex_lock(&f->lock);
    refresh_ok(f, store_write_batch(f->st, ops, n, NULL, 0, &r, &f->err));
    pthread_mutex_unlock(&f->lock);
    if (f->refresh)
        refresh_wake(f->refresh);
}

struct item_row {
    char name[24];
    float visual[REFRESH_VISUAL], acoustic[REFRESH_ACOUSTIC];
    struct store_video v;
};

static void make_item(struct refresh_fixture *f, size_t i, struct item_row *row)
{
    struct rng rng;

    rng_init(&rng, 1000 + i);
    rng_fill(&rng, row->visual, REFRESH_VISUAL, 1);
    rng_fill(&rng, row->acoustic, REFRESH_ACOUSTIC, 3);
    snprintf(row->name, sizeof(row->name), "i%zu", i);
    row->v = (struct store_video){.pos = {"videos", 0, f->offset++}, .item_id = row->name};
    row->v.feature[MODALITY_VISUAL] =
        (struct store_vector){row->visual, REFRESH_VISUAL, "import:v:12"};
    if (i % 5) /* some are silent */
        row->v.feature[MODALITY_ACOUSTIC] =
            (struct store_vector){row->acoustic, REFRESH_ACOUSTIC, "import:a:4"};
}

void fixture_items(struct refresh_fixture *f, size_t first, size_t n)
{
    static struct item_row rows[BATCH];
    static struct store_op ops[BATCH];

    for (size_t at = 0; at < n; at += BATCH) {
        size_t m = n - at < BATCH ? n - at : BATCH;

        for (size_t i = 0; i < m; i++) {
            make_item(f, first + at + i, &rows[i]);
            ops[i] = (struct store_op){.kind = STORE_OP_VIDEO, .video = &rows[i].v};
        }
        write_ops(f, ops, m);
    }
}

static struct store_interaction click(struct refresh_fixture *f, const char *user,
                                      const char *item)
{
    int64_t offset = f->offset++;

    return (struct store_interaction){.pos = {"clicks", 0, offset},
                                      .user_id = user,
                                      .item_id = item,
                                      .weight = 1,
                                      .ts_us = offset + 1};
}

void fixture_interact(struct refresh_fixture *f, const char *user, const char *item)
{
    struct store_interaction x = click(f, user, item);

    write_ops(f, &(struct store_op){.kind = STORE_OP_INTERACTION, .interaction = &x}, 1);
}

void fixture_react(struct refresh_fixture *f, const char *user, const char *item,
                   const char *kind, double weight)
{
    struct store_interaction x = click(f, user, item);

    x.kind = kind;
    x.weight = weight;
    write_ops(f, &(struct store_op){.kind = STORE_OP_INTERACTION, .interaction = &x}, 1);
}

void fixture_pairs(struct refresh_fixture *f, const uint32_t (*pairs)[2], size_t n)
{
    static struct store_interaction x[BATCH];
    static struct store_op ops[BATCH];
    static char names[BATCH][2][16];

    for (size_t first = 0; first < n; first += BATCH) {
        size_t m = n - first < BATCH ? n - first : BATCH;

        for (size_t i = 0; i < m; i++) {
            snprintf(names[i][0], sizeof(names[i][0]), "u%u", pairs[first + i][0]);
            snprintf(names[i][1], sizeof(names[i][1]), "i%u", pairs[first + i][1]);
            x[i] = click(f, names[i][0], names[i][1]);
            ops[i] = (struct store_op){.kind = STORE_OP_INTERACTION, .interaction = &x[i]};
        }
        write_ops(f, ops, m);
    }
}

void fixture_delete(struct refresh_fixture *f, const char *item)
{
    struct store_delete d = {{"videos", 0, f->offset++}, item};

    write_ops(f, &(struct store_op){.kind = STORE_OP_DELETE, .del = &d}, 1);
}

void fixture_fill(struct refresh_fixture *f)
{
    uint32_t pairs[FIXTURE_PAIRS][2];

    fixture_open(f);
    fixture_items(f, 0, FIXTURE_ITEMS);
    for (uint32_t i = 0; i < FIXTURE_PAIRS; i++) {
        pairs[i][0] = i * 7 % FIXTURE_USERS;
        pairs[i][1] = i * i * 11 % (FIXTURE_ITEMS - 2); /* the last two have none */
    }
    fixture_pairs(f, pairs, FIXTURE_PAIRS);
}

void fixture_factors(struct refresh_fixture *f, double dislike, double like)
{
    const struct store_factor of[] = {{"dislike", dislike}, {"impression", 0}, {"like", like}};
    struct store_factors_result result;

    pthread_mutex_lock(&f->lock);
    refresh_ok(f,
               store_set_factors(f->st, &(struct store_factors){of, 3, 1.0}, &result, &f->err));
    pthread_mutex_unlock(&f->lock);
    if (f->refresh)
        refresh_wake(f->refresh);
}

int64_t fixture_count(struct refresh_fixture *f, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    sqlite3 *db;
    int64_t n = -1;

    assert_int_equal(sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    if (sqlite3_step(stmt) == SQLITE_ROW)
        n = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return n;
}

/* ---- models ------------------------------------------------------------------------------------ */

void fixture_read_data(struct refresh_fixture *f, struct fixture_whole *w)
{
    struct store_dataset *d = &w->data;
    size_t at = 0, F = 0;

    pthread_mutex_lock(&f->lock);
    refresh_ok(f, store_read_dataset(f->st, d, &f->err));
    pthread_mutex_unlock(&f->lock);
    for (int m = 0; m < MODALITY_COUNT; m++)
        F += (size_t)d->dim[m];
    w->X = calloc(d->n_items * F + 1, sizeof(float));
    w->pairs = calloc(d->n_pairs + 1, sizeof(*w->pairs));
    assert_true(w->X && w->pairs);
    for (int m = 0; m < MODALITY_COUNT; m++) {
        size_t D = (size_t)d->dim[m];

        for (size_t i = 0; i < d->n_items && D; i++)
            memcpy(w->X + i * F + at, d->feature[m] + i * D, D * sizeof(float));
        at += D;
    }
    for (size_t i = 0; i < d->n_pairs; i++)
        w->pairs[i] = (struct csr_pair){d->pair[i][0], d->pair[i][1]};
    w->td = (struct trainee_data){.X = w->X,
                                  .mask = d->mask,
                                  .n_users = (uint32_t)d->n_users,
                                  .n_items = (uint32_t)d->n_items,
                                  .pairs = w->pairs,
                                  .n_pairs = d->n_pairs};
}

static struct trainee_options options(enum fusion_kind fusion, enum backbone_kind backbone,
                                      bool item_graph, uint64_t seed)
{
    struct trainee_options o;

    trainee_options_init(&o);
    o.seed = seed;
    o.shape.fusion = fusion;
    o.shape.backbone = backbone;
    o.shape.L = 2;
    o.shape.width[1] = 10;
    o.shape.width[2] = 6;
    o.shape.R = 3;
    o.shape.modality_dim[MODALITY_VISUAL] = REFRESH_VISUAL;
    o.shape.modality_dim[MODALITY_ACOUSTIC] = REFRESH_ACOUSTIC;
    strcpy(o.shape.encoder_id[MODALITY_VISUAL], "import:v:12");
    strcpy(o.shape.encoder_id[MODALITY_ACOUSTIC], "import:a:4");
    o.item_graph = item_graph;
    o.knn.k = 4;
    return o;
}

static int write_directly(void *ctx, store_work_fn *work, void *arg, struct err *err)
{
    struct refresh_fixture *f = ctx;

    pthread_mutex_lock(&f->lock);
    f->n_writes++;
    int status = f->n_failures > 0 ? err_retry(err, EX_IOERR, "a disk that is full")
                                   : work(f->st, arg, err);
    f->n_failures -= f->n_failures > 0;
    pthread_mutex_unlock(&f->lock);
    return status;
}

void fixture_activate(struct refresh_fixture *f, int64_t model_id)
{
    struct store *reader;

    refresh_ok(f, store_open(f->path, STORE_READ, &reader, &f->err));
    struct candidate_target target = {
        .settings = &f->s, .reader = reader, .writer = {write_directly, f}};
    refresh_ok(f, candidate_activate(&target, model_id, &f->err));
    store_close(reader);
    f->model_id = model_id;
    if (f->refresh)
        refresh_wake(f->refresh);
}

static void publish(struct refresh_fixture *f)
{
    struct store *reader;
    struct candidate c;

    refresh_ok(f, store_open(f->path, STORE_READ, &reader, &f->err));
    struct candidate_target target = {
        .settings = &f->s, .reader = reader, .writer = {write_directly, f}};
    refresh_ok(f, candidate_read(f->dir, &c, &f->err));
    refresh_ok(f, candidate_publish(&c, &target, &f->err));
    int64_t model_id = c.model_id;
    candidate_done(&c);
    store_close(reader);
    fixture_activate(f, model_id);
}

struct csr fixture_edges(struct refresh_fixture *f, const struct fixture_whole *w)
{
    struct csr R;

    refresh_ok(f, csr_from_pairs(w->pairs, w->data.n_pairs, (uint32_t)w->data.n_users,
                                 (uint32_t)w->data.n_items, &R, &f->err));
    return R;
}

static void add_neighbours(struct refresh_fixture *f, const struct fixture_whole *w,
                           struct csr *ret_rows, float **ret_scale, struct signals *weights)
{
    struct csr R = fixture_edges(f, w);

    refresh_ok(f,
               neighbours_build(&R, NULL, NULL, ret_rows, ret_scale, &weights->ridge, &f->err));
    weights->neighbours = 0.5F;
    csr_done(&R);
}

static void add_signals(struct refresh_fixture *f, const struct fixture_whole *w,
                        struct signals *weights, struct model *model)
{
    const struct trainee *t = w->t;
    struct csr R = fixture_edges(f, w);
    struct columns columns;
    struct als_options o;
    struct als als;

    als_options_init(&o);
    o.d = 5;
    refresh_ok(f, als_train(&o, &R, &als, &f->err));
    refresh_ok(f, columns_fit(t->X, t->data->mask, t->data->n_items, t->o.shape.modality_dim, 4,
                              &columns, &f->err));
    const struct signals_tensors tensors = {.columns = &columns,
                                            .mean = t->mean,
                                            .std_dev = t->std_dev,
                                            .factors = als.items,
                                            .n_items = t->data->n_items,
                                            .fold = &als.fold};
    weights->trained = 0.8F;
    weights->factors = 2;
    weights->content = 0.3F;
    weights->fade = 1.5F;
    refresh_ok(f, signals_put(model, weights, &tensors, &f->err));
    als_done(&als);
    columns_done(&columns);
    csr_done(&R);
}

/* The model's factors of the items that there are, zeros for those that it does not know, and the
 * folds of their users, behind them. */
static float *fold_all(struct refresh_fixture *f, const struct fixture_whole *w,
                       const struct model *model, const uint32_t *items, const struct csr *R)
{
    size_t I = w->data.n_items, n, A;
    const float *factors = signals_factors(model, &n, &A),
                **rows = calloc(I + 1, sizeof(*rows));
    float *y = calloc((I + w->data.n_users) * A + 1, sizeof(*y));
    struct fold fold;

    assert_true(rows && y);
    for (size_t i = 0; i < I && factors; i++)
        if (!items || items[i] != UINT32_MAX)
            memcpy(y + i * A, factors + (items ? items[i] : i) * A, A * sizeof(*y));
    if (signals_fold(model, &fold)) {
        float *scratch = gemm_alloc(fold_scratch(&fold));

        assert_non_null(scratch);
        for (uint32_t u = 0; u < w->data.n_users; u++) {
            size_t n_rows = 0;

            for (size_t e = R->start[u]; e < R->start[u + 1]; e++)
                if (y[R->col[e] * A] != 0)
                    rows[n_rows++] = y + R->col[e] * A;
            refresh_ok(f, fold_user(&fold, rows, n_rows, scratch, y + (I + u) * A, &f->err));
        }
        free(scratch);
    }
    free(rows);
    return y;
}

/* w->vectors from t->out; items: the model's rows of those that there are, NULL = the same. */
static void join_signals(struct refresh_fixture *f, struct fixture_whole *w,
                         const struct model *model, const uint32_t *items)
{
    size_t U = w->data.n_users, I = w->data.n_items, C = (size_t)model_shape(model)->column_dim;
    float *content = calloc((U + I) * C + 1, sizeof(*content));
    struct csr R = fixture_edges(f, w);
    float *factors = fold_all(f, w, model, items, &R);
    struct columns columns;

    assert_non_null(content);
    if (C > 0) {
        signals_columns(model, &columns);
        refresh_ok(f,
                   columns_rows(&columns, w->t->X, w->data.mask, I, content + U * C, &f->err));
        columns_users(&R, content + U * C, C, content);
    }
    const struct signals_parts parts = {
        .n_users = U,
        .n_items = I,
        .backbone = w->t->out,
        .factor_users = factors + I * (size_t)model_shape(model)->factor_dim,
        .factor_items = factors,
        .content_users = content,
        .content_items = content + U * C,
        .n_interactions = w->t->n_interactions};
    refresh_ok(f, signals_join(model, &parts, &w->vectors, &f->err));
    w->D = (size_t)model_shape(model)->D;
    free(factors);
    free(content);
    csr_done(&R);
}

void fixture_train(struct refresh_fixture *f, enum fusion_kind fusion,
                   enum backbone_kind backbone, bool item_graph, uint64_t seed)
{
    struct trainee_options o = options(fusion, backbone, item_graph, seed);
    struct fixture_whole w = {0};
    struct model *model;

    if (f->width)
        o.shape.width[2] = f->width;

    fixture_read_data(f, &w);
    refresh_ok(f, trainee_new(&o, &w.td, &w.t, &f->err));
    trainee_forward(w.t);
    refresh_ok(f, trainee_export(w.t, &model, &f->err));
    struct signals weights = {.trained = 1};
    struct csr rows = {0};
    float *scale = NULL;
    if (f->neighbours)
        add_neighbours(f, &w, &rows, &scale, &weights);
    if (f->signals)
        add_signals(f, &w, &weights, model);
    else if (f->neighbours)
        refresh_ok(f, signals_put(model, &weights, &(struct signals_tensors){0}, &f->err));
    join_signals(f, &w, model, NULL);
    struct candidate c = {.model = model,
                          .n_items = w.data.n_items,
                          .n_users = w.data.n_users,
                          .n_pairs = w.data.n_pairs,
                          .dim = (int32_t)w.D,
                          .item_id = w.data.item_id,
                          .user_id = w.data.user_id,
                          .items = w.vectors + w.data.n_users * w.D,
                          .users = w.vectors,
                          .stamp = w.data.stamp,
                          .pair = w.data.pair,
                          .neighbours = rows,
                          .neighbour_scale = scale,
                          .metrics = json_pack("{s:{s:{s:f}}}", "signals", "neighbours",
                                               "scale", (double)weights.neighbours)};
    refresh_ok(f, candidate_write(f->dir, &c, &f->err));
    json_decref(c.metrics);
    csr_done(&rows);
    free(scale);
    model_free(model);
    fixture_whole_done(&w);
    publish(f);
}

/* ---- the thread ------------------------------------------------------------------------------------ */

void fixture_news(struct refresh_fixture *f)
{
    fixture_items(f, 30, 1);
    /* In one transaction: a vector is made anew when its own node is touched, so that u99's would
     * otherwise be of the time before u3 met i30. */
    fixture_pairs(f, (const uint32_t[][2]){{3, 7}, {99, 7}, {3, 30}, {4, 28}}, 4);
    fixture_settle(f);
}

void fixture_start(struct refresh_fixture *f)
{
    struct refresh_options o = {.settings = &f->s, .writer = {write_directly, f}};

    refresh_ok(f, refresh_open(&o, &f->refresh, &f->err));
}

void fixture_stop(struct refresh_fixture *f)
{
    refresh_close(f->refresh);
    f->refresh = NULL;
}

void fixture_settle(struct refresh_fixture *f)
{
    assert_true(refresh_drain(f->refresh, 300000));
}

/* ---- the whole pass ---------------------------------------------------------------------------------- */

static uint32_t *map_names(char *const *names, size_t n, char *const *from, size_t n_from)
{
    uint32_t *map = malloc((n + 1) * sizeof(*map));

    assert_non_null(map);
    for (size_t i = 0, j = 0; i < n; i++) { /* both in the order of their ids in the store */
        while (j < n_from && strcmp(from[j], names[i]) != 0)
            j++;
        map[i] = j < n_from ? (uint32_t)j : UINT32_MAX;
        j = j < n_from ? j : 0;
    }
    return map;
}

static void forget_strangers(struct trainee *t, const uint32_t *users, const uint32_t *items)
{
    size_t id = (size_t)t->o.shape.id_dim;

    for (size_t u = 0; u < t->data->n_users; u++)
        if (users[u] == UINT32_MAX)
            memset(t->w + t->user + u * t->E, 0, t->E * sizeof(float));
    for (size_t i = 0; i < t->data->n_items; i++)
        if (items[i] == UINT32_MAX)
            memset(t->w + t->item + i * id, 0, id * sizeof(float));
}

/* The model's statistics, not those of the items that there are now. */
static void standardise(struct trainee *t, const struct model *model)
{
    const struct model_tensor *mean = model_tensor(model, "mmf.mean");
    const struct model_tensor *std = model_tensor(model, "mmf.std");
    size_t F = (size_t)t->o.shape.F;

    for (size_t i = 0; mean && i < t->data->n_items; i++)
        for (size_t j = 0; j < F; j++) {
            unsigned bit = j < REFRESH_VISUAL ? MODALITY_BIT(MODALITY_VISUAL)
                                              : MODALITY_BIT(MODALITY_ACOUSTIC);
            t->X[i * F + j] = t->data->mask[i] & bit
                                  ? (t->data->X[i * F + j] - mean->data[j]) / std->data[j]
                                  : 0;
        }
}

void fixture_read_active(struct refresh_fixture *f, struct model **ret_model,
                         struct candidate *ret_c)
{
    struct store_model row = {0};
    char dir[PATH_MAX];

    pthread_mutex_lock(&f->lock);
    refresh_ok(f, store_model_get(f->st, f->model_id, &row, &f->err));
    pthread_mutex_unlock(&f->lock);
    refresh_ok(f, candidate_folder(&f->s, &row, dir, &f->err));
    store_model_done(&row);
    refresh_ok(f, candidate_read(dir, ret_c, &f->err));
    *ret_model = ret_c->model;
}

/* knn_build over the model's items, in their order, and one more, whose row this is. */
static size_t later_row(struct trainee *t, const uint32_t *from, size_t n_from, uint32_t more,
                        const struct knn_options *o, uint32_t *ret_cols, float *ret_values)
{
    struct csr S;
    size_t F = (size_t)t->o.shape.F;
    float *X = calloc((n_from + 1) * F, sizeof(*X));
    uint8_t *mask = calloc(n_from + 1, 1);

    assert_true(X && mask);
    for (size_t i = 0; i <= n_from; i++) {
        size_t row = i < n_from ? from[i] : more;
        memcpy(X + i * F, t->X + row * F, F * sizeof(*X));
        mask[i] = t->data->mask[row];
    }
    assert_int_equal(
        knn_build(X, mask, (uint32_t)n_from + 1, t->o.shape.modality_dim, o, &S, NULL), ERR_OK);
    size_t n = csr_degree(&S, (uint32_t)n_from);
    memcpy(ret_cols, S.col + S.start[n_from], n * sizeof(*ret_cols));
    memcpy(ret_values, S.value + S.start[n_from], n * sizeof(*ret_values));
    csr_done(&S);
    free(X);
    free(mask);
    return n;
}

/* Y = Z + strength S Z: the model's own rows, and one of its own for each later item. */
static void add_item_graph(struct trainee *t, const struct model *model, const uint32_t *items,
                           size_t n_from)
{
    size_t I = t->data->n_items, D = t->D;
    float *y = t->out + t->data->n_users * D, *Z = malloc(I * D * sizeof(*Z));
    uint32_t *from = calloc(n_from + 1, sizeof(*from));
    struct item_graph graph;
    bool has;

    assert_true(Z && from);
    assert_int_equal(item_graph_read(model, &has, &graph, NULL), ERR_OK);
    memcpy(Z, y, I * D * sizeof(*Z));
    for (uint32_t i = 0; i < I; i++)
        if (items[i] != UINT32_MAX)
            from[items[i]] = i;
    for (uint32_t i = 0; has && i < I; i++) {
        uint32_t cols[256];
        float values[256];
        size_t n;

        if (items[i] != UINT32_MAX)
            n = item_graph_row(&graph, items[i], cols, values);
        else
            n = later_row(t, from, n_from, i, &graph.knn, cols, values);
        for (size_t e = 0; e < n; e++)
            for (size_t j = 0; j < D; j++)
                y[i * D + j] += graph.strength * values[e] * Z[from[cols[e]] * D + j];
    }
    free(Z);
    free(from);
}

void fixture_whole(struct refresh_fixture *f, struct fixture_whole *w)
{
    struct candidate c;
    struct model *model;

    *w = (struct fixture_whole){0};
    fixture_read_data(f, w);
    fixture_read_active(f, &model, &c);
    const struct model_shape *shape = model_shape(model);
    struct trainee_options o = options(shape->fusion, shape->backbone, false, 1);
    o.meta_gain = o.cold_length = 0; /* the file has the one folded in, and says the other */
    refresh_ok(f, trainee_new(&o, &w->td, &w->t, &f->err));
    uint32_t *users = map_names(w->data.user_id, w->data.n_users, c.user_id, c.n_users);
    uint32_t *items = map_names(w->data.item_id, w->data.n_items, c.item_id, c.n_items);
    refresh_ok(f, trainee_warm_start(w->t, model, users, items, &f->err));
    forget_strangers(w->t, users, items);
    standardise(w->t, model);
    trainee_forward(w->t);
    add_item_graph(w->t, model, items, c.n_items);
    const struct cold_items published = trainee_items(w->t);
    cold_lengthen_items(&published, shape->cold_length);
    join_signals(f, w, model, items);
    free(users);
    free(items);
    candidate_done(&c);
}

void fixture_whole_done(struct fixture_whole *w)
{
    trainee_free(w->t);
    free(w->vectors);
    store_dataset_done(&w->data);
    free(w->X);
    free(w->pairs);
    *w = (struct fixture_whole){0};
}

static const float *whole_row(const struct fixture_whole *w, const char *name)
{
    bool item = name[0] == 'i';
    size_t n = item ? w->data.n_items : w->data.n_users;
    char *const *names = item ? w->data.item_id : w->data.user_id;

    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return w->vectors + (i + (item ? w->data.n_users : 0)) * w->D;
    fail_msg("%s is not in the data", name);
    return NULL;
}

double fixture_difference(struct refresh_fixture *f, const struct fixture_whole *w,
                          const char *name)
{
    const float *want = whole_row(w, name);
    struct store_embedding e = {0};
    double worst = 0, scale = 0;

    pthread_mutex_lock(&f->lock);
    int status = name[0] == 'i' ? store_get_embedding(f->st, name, &e, &f->err)
                                : store_get_user_vector(f->st, name, &e.vec, &e.dim, &f->err);
    pthread_mutex_unlock(&f->lock);
    for (size_t j = 0; status == ERR_OK && j < w->D; j++) {
        scale = fmax(scale, fabs((double)want[j]));
        worst = fmax(worst, fabs((double)want[j] - (double)e.vec[j]));
    }
    store_embedding_done(&e);
    return status == ERR_OK ? worst / scale : -1;
}

/* ---- rows of neighbours ------------------------------------------------------------------------- */
