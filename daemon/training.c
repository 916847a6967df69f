#include "daemon/training.h"

#include "daemon/active_model.h"
#include "daemon/candidate.h"
#include "daemon/evaluation.h"
#include "fusion/fuse.h"
#include "fusion/train_sizes.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { DIM = 64 };

/* ---- choices ------------------------------------------------------------------------------- */

unsigned training_processors(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n < 1 ? 1 : n > 64 ? 64 : (unsigned)n;
}

/* Half of the learned numbers are identity, half fused; content columns come beside them. */
static void choose_widths(const struct training_request *r, int32_t F,
                          struct model_shape *shape)
{
    int32_t dim = r->dim > 0 ? (int32_t)r->dim : DIM;

    shape->id_dim = dim;
    if (shape->fusion == FUSION_NONE)
        return;
    shape->id_dim = dim / 2;
    shape->content_dim = (int32_t)r->content;
    train_widths(F, dim / 2, shape);
}

/* What nobody chose stays as fusion/ has it by default (trainee_options_init). */
static void choose_shape(const struct training_request *r, const struct training_data *t,
                         struct model_shape *shape)
{
    if (r->fusion >= 0 || !t->F)
        shape->fusion = r->fusion >= 0 ? (enum fusion_kind)r->fusion : FUSION_NONE;
    if (r->backbone >= 0)
        shape->backbone = (enum backbone_kind)r->backbone;
    shape->hops = shape->backbone == BACKBONE_LIGHTGCN ? (int32_t)r->layers : 0;
    memcpy(shape->modality_dim, t->d.dim, sizeof shape->modality_dim);
    memcpy(shape->encoder_id, t->d.encoder_id, sizeof shape->encoder_id);
    choose_widths(r, t->F, shape);
}

/* Options of fusion/ from the request and the data: every choice is made here. */
static int choose(const struct training_request *r, const struct training_data *t,
                  struct train_options *ret_o, struct err *err)
{
    struct train_options o;

    train_options_init(&o);
    choose_shape(r, t, &o.model.shape);
    o.model.seed = r->seed;
    o.model.item_graph = r->item_graph >= 0
                             ? r->item_graph == 1
                             : o.model.item_graph && o.model.shape.fusion != FUSION_NONE;
    o.model.threads = r->threads ? r->threads : training_processors();
    if (r->lr >= 0)
        o.model.lr = (float)r->lr;
    if (r->decay >= 0)
        o.model.decay = (float)r->decay;
    if (r->id_dropout >= 0)
        o.model.id_dropout = (float)r->id_dropout;
    o.model.negatives = (uint32_t)r->negatives;
    if (r->cold_length_percent >= 0)
        o.model.cold_length = (float)r->cold_length_percent / 100;
    o.checkpoint = r->checkpoint;
    o.resume = r->resume;
    o.model.knn.on_block = r->graph;
    o.model.knn.on_block_arg = r->arg;
    o.on_step = r->step;
    o.on_step_arg = r->arg;
    o.max_epochs = r->epochs > 0 ? (uint32_t)r->epochs : TRAINING_EPOCHS;
    o.batch = r->batch > 0 ? (uint32_t)r->batch : train_batch(t->n_train);
    if (!t->F && (o.model.shape.fusion != FUSION_NONE || o.model.item_graph))
        return err_fatal(err, EX_DATAERR,
                         "no item has features: import items with features, or train with "
                         "--fusion none --item-graph none");
    *ret_o = o;
    return ERR_OK;
}

/* ---- where to start from ------------------------------------------------------------------- */

struct start {
    struct store_model row; /* the active model */
    struct model *model;    /* warm: what to start from */
    struct candidate files; /* its folder: whose rows it holds */
    uint32_t *user_map, *item_map;
};

static void start_done(struct start *s)
{
    store_model_done(&s->row);
    model_free(s->model);
    candidate_done(&s->files);
    free(s->user_map);
    free(s->item_map);
}

/* Row here → row there by name. */
static int map_rows(char *const *here, size_t n, char *const *there, size_t n_there,
                    uint32_t **ret_map, struct err *err)
{
    struct tsv_index index;
    uint32_t *map = calloc(n + 1, sizeof *map);
    int r = map ? tsv_index_new(there, n_there, &index, err) : err_oom(err, "a warm start");

    if (r != ERR_OK) {
        free(map);
        return r;
    }
    for (size_t i = 0; i < n; i++)
        map[i] = tsv_index_find(&index, here[i]);
    tsv_index_done(&index);
    *ret_map = map;
    return ERR_OK;
}

/* A model without its folder (seeded, imported) gives its network, but no rows. */
static int load_warm(struct start *s, const struct settings *settings,
                     const struct training_data *t, struct err *err)
{
    char dir[PATH_MAX];
    int r = active_model_load(&s->row, settings, &s->model, err);

    if (r == ERR_OK)
        r = candidate_folder(settings, &s->row, dir, err);
    if (r == ERR_OK)
        r = candidate_read(dir, &s->files, err);
    if (r != ERR_OK && r != ERR_END)
        return r;
    r = map_rows(t->d.user_id, t->d.n_users, s->files.user_id, s->files.n_users, &s->user_map,
                 err);
    return r == ERR_OK ? map_rows(t->d.item_id, t->d.n_items, s->files.item_id,
                                  s->files.n_items, &s->item_map, err)
                       : r;
}

static int find_start(struct store *reader, const struct settings *settings,
                      const struct training_request *r, const struct training_data *t,
                      struct start *s, struct err *err)
{
    int status = store_model_active(reader, &s->row, err);

    if (status == ERR_END)
        return ERR_OK;
    return status == ERR_OK && r->warm ? load_warm(s, settings, t, err) : status;
}

/* ---- what is published --------------------------------------------------------------------- */

static uint8_t *mark_users(const struct training_data *t)
{
    uint8_t *has = calloc(t->d.n_users + 1, 1);

    for (size_t i = 0; has && i < t->n_train; i++)
        has[t->train[i].row] = 1;
    return has;
}

static uint8_t *mark_items(const struct training_data *t)
{
    uint8_t *warm = calloc(t->d.n_items + 1, 1);

    for (size_t i = 0; warm && i < t->n_train; i++)
        warm[t->train[i].col] = 1;
    return warm;
}

/* An item without a training pair has no identity, as one that arrives tomorrow has none. */
static void forget_cold(struct trainee *t, const uint8_t *warm)
{
    size_t id = (size_t)t->o.shape.id_dim;

    for (size_t i = 0; i < t->data->n_items; i++)
        if (!warm[i])
            memset(t->w + t->item + i * id, 0, id * sizeof *t->w);
    trainee_forward(t);
}

/* The same items by the path that new ones take, so that both have the same bytes. */
static int fuse_cold(const struct training_data *t, const struct model *model,
                     const uint8_t *warm, float *items /* (I, D) */, struct err *err)
{
    const struct model_shape *shape = model_shape(model);
    size_t F = (size_t)t->F, D = (size_t)shape->D;
    struct fuse_context *context = NULL;
    int r = ERR_OK;

    if (shape->fusion == FUSION_NONE)
        return ERR_OK;
    r = fuse_context_new(model, 1, &context, err);
    for (size_t i = 0; r == ERR_OK && i < t->d.n_items; i++)
        if (!warm[i])
            r = fuse_items_in(context, t->X + i * F, &t->d.mask[i], 1, items + i * D, err);
    fuse_context_free(context);
    return r;
}

struct result {
    struct model *model;
    float *items, *users; /* (I, D), (U, D) */
    float *mean;          /* (D) of the users with a training pair */
    uint32_t (*pair)[2];
};

static void result_done(struct result *x)
{
    model_free(x->model);
    free(x->items);
    free(x->users);
    free(x->mean);
    free(x->pair);
}

static int take_vectors(const struct training_data *t, struct trainee *trainee,
                        const uint8_t *warm, const uint8_t *has, struct result *x,
                        struct err *err)
{
    size_t D = trainee->D, U = t->d.n_users, I = t->d.n_items;

    x->items = malloc((I * D + 1) * sizeof *x->items);
    x->users = malloc((U * D + 1) * sizeof *x->users);
    x->mean = calloc(D + 1, sizeof *x->mean);
    x->pair = calloc(t->n_train + 1, sizeof *x->pair);
    if (!x->items || !x->users || !x->mean || !x->pair)
        return err_oom(err, "the vectors to publish");
    memcpy(x->users, trainee->out, U * D * sizeof *x->users);
    memcpy(x->items, trainee->out + U * D, I * D * sizeof *x->items);
    evaluation_mean(x->users, has, U, (int32_t)D, x->mean);
    for (size_t u = 0; u < U; u++)
        if (!has[u])
            memset(x->users + u * D, 0, D * sizeof *x->users);
    for (size_t i = 0; i < t->n_train; i++) {
        x->pair[i][0] = t->train[i].row;
        x->pair[i][1] = t->train[i].col;
    }
    return fuse_cold(t, x->model, warm, x->items, err);
}

static int make_result(const struct training_data *t, struct trainee *trainee, struct result *x,
                       struct err *err)
{
    uint8_t *warm = mark_items(t), *has = mark_users(t);
    int r = warm && has ? ERR_OK : err_oom(err, "the vectors to publish");

    if (r == ERR_OK) {
        forget_cold(trainee, warm);
        r = trainee_export(trainee, &x->model, err);
    }
    if (r == ERR_OK)
        r = take_vectors(t, trainee, warm, has, x, err);
    free(warm);
    free(has);
    return r;
}

/* ---- metrics.json -------------------------------------------------------------------------- */

static json_t *options_json(const struct train_options *o, const struct trainee *trainee)
{
    const struct model_shape *s = &trainee->o.shape;
    json_t *widths = json_array();

    for (int32_t n = 1; trainee->n_fused && n <= s->L; n++)
        (void)json_array_append_new(widths, json_integer(s->width[n]));
    return json_pack(
        "{s:s, s:s, s:s, s:i, s:i, s:i, s:o, s:i, s:i, s:i, s:f, s:f, s:f, s:i, s:i}", "fusion",
        fusion_kind_name(s->fusion), "backbone", backbone_kind_name(s->backbone), "item_graph",
        o->model.item_graph ? "knn" : "none", "dim", (int)s->D, "content", (int)s->content_dim,
        "layers", (int)s->hops, "widths", widths, "batch", (int)o->batch, "epochs",
        (int)o->max_epochs, "negatives", (int)trainee->o.negatives, "lr", (double)o->model.lr,
        "decay", (double)o->model.decay, "id_dropout", (double)o->model.id_dropout,
        "cold_length_percent", (int)lroundf(100 * trainee->o.cold_length), "threads",
        (int)o->model.threads);
}

static json_t *curve_json(const struct train_result *result)
{
    json_t *curve = json_array();

    for (size_t i = 0; curve && i < result->n_points; i++) {
        const struct train_point *p = &result->curve[i];

        (void)json_array_append_new(
            curve, json_pack("{s:i, s:f, s:f, s:f, s:f, s:f}", "epoch", (int)p->epoch, "loss",
                             p->loss, "recall_20", p->recall, "ndcg_20", p->ndcg, "ndcg_10",
                             p->ndcg_10, "seconds", p->seconds));
    }
    return curve;
}

static json_t *encoders_json(const struct model_shape *shape)
{
    json_t *object = json_object();

    for (int m = 0; object && m < MODALITY_COUNT; m++)
        if (shape->modality_dim[m])
            (void)json_object_set_new(object, modality_name((enum modality)m),
                                      json_string(shape->encoder_id[m]));
    return object;
}

static json_t *mean_json(const struct result *x, size_t D)
{
    json_t *array = json_array();

    for (size_t j = 0; array && j < D; j++)
        (void)json_array_append_new(array, json_real((double)x->mean[j]));
    return array;
}

struct run {
    const struct training_request *r;
    bool stopped; /* by the caller's progress */
    struct training_data data;
    struct train_options o;
    struct start start;
    struct train_result trained;
    struct result result;
};

static json_t *metrics_json(const struct run *run)
{
    const struct training_data *t = &run->data;
    const struct train_result *x = &run->trained;
    json_t *seed = json_integer((json_int_t)run->r->seed);

    return json_pack("{s:o, s:o, s:o, s:I, s:i, s:i, s:f, s:I, s:I, s:I, s:I, s:o, s:o}",
                     "options", options_json(&run->o, x->trainee), "seed", seed, "encoder_ids",
                     encoders_json(&x->trainee->o.shape), "parent",
                     (json_int_t)run->start.row.model_id, "epochs", (int)x->n_epochs,
                     "best_epoch", (int)x->best_epoch, "seconds", x->seconds, "n_items",
                     (json_int_t)t->d.n_items, "n_users", (json_int_t)t->d.n_users, "n_pairs",
                     (json_int_t)t->n_train, "n_valid_pairs", (json_int_t)t->n_test, "curve",
                     curve_json(x), "no_history", mean_json(&run->result, x->trainee->D));
}

/* "valid": the figures that `metammf eval` gives for the published vectors. */
static int judge(const struct run *run, const struct candidate *c, struct err *err)
{
    static const uint32_t cuts[] = {10, 20};
    struct evaluation e;
    struct evaluation_result figures;
    int r = run->data.n_test ? evaluation_of_candidate(c, &e, err) : ERR_END;

    if (r != ERR_OK)
        return r == ERR_END ? ERR_OK : r;
    r = evaluation_run(&e, run->data.test, run->data.n_test, cuts, 2, run->o.model.threads,
                       &figures, err);
    evaluation_done(&e);
    if (r == ERR_OK && json_object_set_new(c->metrics, "valid", evaluation_json(&figures)) != 0)
        r = err_oom(err, "a candidate's metrics");
    return r;
}

static int write_candidate(struct run *run, const char *dir, struct json_t **ret_metrics,
                           struct err *err)
{
    const struct training_data *t = &run->data;
    const struct result *x = &run->result;
    struct candidate c = {.model = x->model,
                          .n_items = t->d.n_items,
                          .n_users = t->d.n_users,
                          .n_pairs = t->n_train,
                          .dim = (int32_t)run->trained.trainee->D,
                          .item_id = t->d.item_id,
                          .user_id = t->d.user_id,
                          .items = x->items,
                          .users = x->users,
                          .stamp = t->d.stamp,
                          .pair = x->pair,
                          .metrics = metrics_json(run)};
    int r = c.metrics ? judge(run, &c, err) : err_oom(err, "a candidate's metrics");

    if (r == ERR_OK)
        r = candidate_write(dir, &c, err);
    if (r == ERR_OK)
        *ret_metrics = c.metrics;
    else
        json_decref(c.metrics);
    return r;
}

/* ---- all of it ----------------------------------------------------------------------------- */

static bool watch(void *arg, uint32_t epoch, const struct train_point *point)
{
    struct run *run = arg;

    run->stopped = run->r->progress && !run->r->progress(run->r->arg, epoch, point);
    return !run->stopped;
}

static int train(struct run *run, struct err *err)
{
    const struct training_data *t = &run->data;
    const struct start *s = &run->start;
    struct trainee_data data = {.X = t->X,
                                .mask = t->d.mask,
                                .n_users = (uint32_t)t->d.n_users,
                                .n_items = (uint32_t)t->d.n_items,
                                .pairs = t->train,
                                .n_pairs = t->n_train};
    const struct train_warm warm = {s->model, s->user_map, s->item_map};

    train_set_blas_threads(run->o.model.threads);
    int r = train_run(&run->o, &data, t->valid, t->n_valid, s->model ? &warm : NULL, watch, run,
                      &run->trained, err);
    if (r == ERR_OK && run->stopped)
        return err_retry(err, EX_TEMPFAIL, "training interrupted after epoch %u%s%s",
                         run->trained.n_epochs,
                         run->r->checkpoint ? ": go on with --resume " : "",
                         run->r->checkpoint ? run->r->checkpoint : "");
    return r == ERR_OK ? make_result(t, run->trained.trainee, &run->result, err) : r;
}

int training_run(struct store *reader, const struct settings *s,
                 const struct training_request *r, const char *dir, struct json_t **ret_metrics,
                 struct err *err)
{
    struct run run = {.r = r};
    int status = training_data_read(reader, r, &run.data, err);

    if (status == ERR_OK)
        status = choose(r, &run.data, &run.o, err);
    if (status == ERR_OK)
        status = find_start(reader, s, r, &run.data, &run.start, err);
    if (status == ERR_OK)
        status = train(&run, err);
    if (status == ERR_OK)
        status = write_candidate(&run, dir, ret_metrics, err);
    train_result_done(&run.trained);
    result_done(&run.result);
    start_done(&run.start);
    training_data_done(&run.data);
    return status;
}
