#include "config/clock.h"
#include "daemon/base/processors.h"
#include "daemon/model/training_internal.h"
#include "daemon/model/training_signals.h"

#include "daemon/model/evaluation.h"
#include "fusion/math/blas.h"
#include "fusion/model/fuse.h"
#include "fusion/train/checkpoint.h"
#include "fusion/train/ensemble.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { MEMBERS_FLOATS_MAX = 1 << 28 };

/* ---- choices ------------------------------------------------------------------------------- */

/* Half of the learned numbers are identity, half fused. */
static void choose_widths(const struct settings_training_options *o, int32_t F,
                          struct model_shape *shape)
{
    shape->id_dim = (int32_t)o->dim;
    if (shape->fusion == FUSION_NONE)
        return;
    shape->id_dim = (int32_t)o->dim / 2;
    train_widths(F, (int32_t)o->dim / 2, shape);
}

static void choose_shape(const struct settings_training_options *o,
                         const struct training_data *t, struct model_shape *shape)
{
    if (o->fusion != SETTINGS_CHOOSE)
        shape->fusion = (enum fusion_kind)fusion_kind_parse(settings_fusion_words[o->fusion]);
    else if (!t->F)
        shape->fusion = FUSION_NONE;
    shape->backbone =
        (enum backbone_kind)backbone_kind_parse(settings_backbone_words[o->backbone]);
    shape->hops = (int32_t)o->layers;
    memcpy(shape->modality_dim, t->d.dim, sizeof shape->modality_dim);
    memcpy(shape->encoder_id, t->d.encoder_id, sizeof shape->encoder_id);
    choose_widths(o, t->F, shape);
}

/* Of an ensemble's tensors T (ensemble.h), zeros included; known before hours are spent. */
static int check_members(const struct settings_training_options *o, int32_t F,
                         const struct model_shape *s, struct err *err)
{
    const double n = (double)o->members, S = MODEL_S;
    double in = F, floats = 0;

    for (int32_t l = 1; l <= s->L; in = n * s->width[l++])
        floats += n * S * in * n * s->width[l];
    if (s->fusion != FUSION_DENSE || n == 1 || floats <= MEMBERS_FLOATS_MAX)
        return ERR_OK;
    return err_fatal(
        err, EX_USAGE,
        "%d members of dense fusion with %d columns would be %.1f GB of tensors as "
        "one model: take fewer, or --fusion cp",
        (int)n, (int)F, floats * sizeof(float) / 1e9);
}

/* Options of fusion/ from ours and the data: every choice is made here. */
static int choose(const struct training_request *r, const struct training_data *t,
                  struct train_options *ret_o, struct err *err)
{
    const struct settings_training_options *told = r->options;
    struct train_options o;

    train_options_init(&o);
    choose_shape(told, t, &o.model.shape);
    o.model.seed = (uint64_t)told->seed;
    o.model.item_graph = told->item_graph == SETTINGS_CHOOSE
                             ? o.model.shape.fusion != FUSION_NONE
                             : told->item_graph == SETTINGS_ITEM_GRAPH_KNN;
    o.model.threads = told->threads > 0 ? (unsigned)told->threads : processors_online();
    o.model.lr = (float)told->lr;
    o.model.decay = (float)told->decay;
    o.model.id_dropout = (float)told->id_dropout;
    o.model.negatives = told->negatives > 0 ? (uint32_t)told->negatives : 0;
    o.model.knn.on_block = r->graph;
    o.model.knn.on_block_arg = r->arg;
    o.on_step = r->step;
    o.on_step_arg = r->arg;
    o.max_epochs = (uint32_t)told->epochs;
    o.batch = told->batch > 0 ? (uint32_t)told->batch : train_batch(t->n_train);
    if (!t->F && (o.model.shape.fusion != FUSION_NONE || o.model.item_graph))
        return err_fatal(err, EX_DATAERR,
                         "no item has features: import items with features, or train with "
                         "--fusion none --item-graph none");
    *ret_o = o;
    return check_members(told, t->F, &o.model.shape, err);
}

/* ---- what is published --------------------------------------------------------------------- */

static uint8_t *mark_users(const struct training_data *t)
{
    uint8_t *has = calloc(t->d.n_users + 1, 1);

    for (size_t i = 0; has && i < t->n_train; i++)
        has[t->train[i].row] = 1;
    return has;
}

/* Items without a training pair by the path that new ones take, so that both have the same
 * bytes. */
static int fuse_cold(const struct training_data *t, const struct model *model,
                     const uint32_t *n_interactions, float *items /* (I, D) */, struct err *err)
{
    const struct model_shape *shape = model_shape(model);
    size_t F = (size_t)t->F, D = (size_t)shape->D;
    struct fuse_context *context = NULL;
    int r = ERR_OK;

    if (!model_has_features(shape))
        return ERR_OK;
    r = fuse_context_new(model, 1, &context, err);
    for (size_t i = 0; r == ERR_OK && i < t->d.n_items; i++)
        if (n_interactions[i] == 0)
            r = fuse_items_in(context, t->X + i * F, &t->d.mask[i], 1, items + i * D, err);
    fuse_context_free(context);
    return r;
}

struct result {
    struct model *model;
    float *vectors; /* (U + I, D) users, then items */
    float *mean;    /* (D) of the users with a training pair */
    uint32_t (*pair)[2];
    struct training_signals signals;
};

static void result_done(struct result *x)
{
    model_free(x->model);
    free(x->vectors);
    free(x->mean);
    free(x->pair);
    training_signals_done(&x->signals);
}

/* Users without a training pair have none to publish. */
static void take_users(const struct training_data *t, const uint8_t *has, size_t D,
                       struct result *x)
{
    evaluation_mean(x->vectors, has, t->d.n_users, (int32_t)D, x->mean);
    for (size_t u = 0; u < t->d.n_users; u++)
        if (!has[u])
            memset(x->vectors + u * D, 0, D * sizeof *x->vectors);
    for (size_t i = 0; i < t->n_train; i++) {
        x->pair[i][0] = t->train[i].row;
        x->pair[i][1] = t->train[i].col;
    }
}

static int make_result(const struct training_request *r, const struct training_data *t,
                       struct ensemble *members, const struct train_result *last,
                       struct result *x, struct err *err)
{
    const struct training_signals_task task = {
        .r = r, .t = t, .trainee = last->trainee, .threads = last->trainee->o.threads};
    uint8_t *has = mark_users(t);
    int status = ensemble_join(members, last->trainee, &x->model, &x->vectors, err);

    if (status == ERR_OK)
        status = training_signals_add(&task, x->model, &x->vectors, &x->signals, err);
    if (status == ERR_OK)
        status = ensemble_prepare(x->model, err);
    size_t D = status == ERR_OK ? (size_t)model_shape(x->model)->D : 0;
    x->mean = calloc(D + 1, sizeof *x->mean);
    x->pair = calloc(t->n_train + 1, sizeof *x->pair);
    if (status == ERR_OK && (!has || !x->mean || !x->pair))
        status = err_oom(err, "the vectors to publish");
    if (status == ERR_OK) {
        take_users(t, has, D, x);
        status = fuse_cold(t, x->model, last->trainee->n_interactions,
                           x->vectors + t->d.n_users * D, err);
    }
    free(has);
    return status;
}

/* ---- metrics.json -------------------------------------------------------------------------- */

static json_t *options_json(const struct train_options *o, const struct trainee *trainee,
                            const struct model_shape *joined)
{
    const struct model_shape *s = &trainee->o.shape;
    json_t *widths = json_array();

    for (int32_t n = 1; trainee->n_fused && n <= s->L; n++)
        (void)json_array_append_new(widths, json_integer(s->width[n]));
    return json_pack(
        "{s:s, s:s, s:s, s:i, s:i, s:i, s:o, s:i, s:i, s:i, s:f, s:f, s:f, s:i, s:i, s:i}",
        "fusion", fusion_kind_name(s->fusion), "backbone", backbone_kind_name(s->backbone),
        "item_graph", o->model.item_graph ? "knn" : "none", "dim", (int)joined->D, "members",
        (int)joined->members, "layers", (int)s->hops, "widths", widths, "batch", (int)o->batch,
        "epochs", (int)o->max_epochs, "negatives", (int)trainee->o.negatives, "lr",
        (double)o->model.lr, "decay", (double)o->model.decay, "id_dropout",
        (double)o->model.id_dropout, "threads", (int)o->model.threads, "factors",
        (int)joined->factor_dim, "content", (int)joined->column_dim);
}

/* Epochs count on from one member to the next. */
static json_t *curve_json(const struct train_point *points, size_t n)
{
    json_t *curve = json_array();

    for (size_t i = 0; curve && i < n; i++) {
        const struct train_point *p = &points[i];

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
    bool stopped;                /* by the caller's progress */
    struct store_read_mark read; /* before the store was read */
    struct training_data data;
    struct train_options o;
    struct training_start start;
    struct ensemble members;
    struct csr item_graph;     /* built by the first */
    struct train_result last;  /* of the last member */
    struct train_point *curve; /* (n_points) of all of them */
    size_t n_points;
    uint32_t n_epochs;   /* of all of them */
    uint32_t best_epoch; /* of the first */
    bool at_bound;       /* one of them ended there */
    double seconds;
    struct result result;
};

static json_t *metrics_json(const struct run *run)
{
    const struct training_data *t = &run->data;
    const struct model_shape *joined = model_shape(run->result.model);
    json_t *seed = json_integer((json_int_t)run->r->options->seed);

    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:I, s:i, s:i, s:s, s:f, s:I, s:I, s:I, s:I, s:o, s:o}",
        "signals", training_signals_json(&run->result.signals), "calibration",
        training_signals_choice_json(&run->result.signals), "options",
        options_json(&run->o, run->last.trainee, joined), "seed", seed, "encoder_ids",
        encoders_json(joined), "parent", (json_int_t)run->start.row.model_id, "epochs",
        (int)run->n_epochs, "best_epoch", (int)run->best_epoch, "ended_by",
        run->at_bound ? "epochs" : "gain", "seconds", run->seconds, "n_items",
        (json_int_t)t->d.n_items, "n_users", (json_int_t)t->d.n_users, "n_pairs",
        (json_int_t)t->n_train, "n_valid_pairs", (json_int_t)t->n_test, "curve",
        curve_json(run->curve, run->n_points), "no_history",
        mean_json(&run->result, (size_t)joined->D));
}

/* "valid": the figures that `metammf eval` gives for the published vectors. */
static int judge(const struct run *run, const struct candidate *c, struct err *err)
{
    static const uint32_t cuts[] = {10, 20};
    struct evaluation e;
    struct evaluation_result figures;

    if (!run->data.n_test)
        return ERR_OK;
    int r = evaluation_of_candidate(c, run->data.d.against, run->data.d.n_against, &e, err);
    if (r != ERR_OK)
        return r;
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
    const size_t D = (size_t)model_shape(x->model)->D;
    struct candidate c = {.model = x->model,
                          .n_items = t->d.n_items,
                          .n_users = t->d.n_users,
                          .n_pairs = t->n_train,
                          .dim = model_shape(x->model)->D,
                          .item_id = t->d.item_id,
                          .user_id = t->d.user_id,
                          .items = x->vectors + t->d.n_users * D,
                          .users = x->vectors,
                          .stamp = t->d.stamp,
                          .pair = x->pair,
                          .neighbours = x->signals.neighbours,
                          .neighbour_scale = x->signals.neighbour_scale,
                          .metrics = metrics_json(run)};
    bool fits = json_object_set_new(c.metrics, "read_us", json_integer(run->read.us)) == 0 &&
                json_object_set_new(c.metrics, "read_forgettings",
                                    json_integer(run->read.n_forgettings)) == 0;
    int r = fits ? judge(run, &c, err) : err_oom(err, "a candidate's metrics");

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

static uint32_t n_members(const struct training_request *r)
{
    return (uint32_t)r->options->members;
}

/* Each member has a checkpoint of its own: FILE, FILE.2, FILE.3 … */
static int member_checkpoint(const struct training_request *r, uint32_t member,
                             char ret_path[PATH_MAX], struct err *err)
{
    int n = member ? snprintf(ret_path, PATH_MAX, "%s.%u", r->checkpoint, member + 1)
                   : snprintf(ret_path, PATH_MAX, "%s", r->checkpoint);

    return n >= 0 && n < PATH_MAX
               ? ERR_OK
               : err_fatal(err, EX_USAGE, "checkpoint %s: the name is too long", r->checkpoint);
}

/* Before hours are spent: a file that is no checkpoint is nobody's to replace, and what an earlier
 * training left would be gone on with after this one is interrupted. */
static int prepare_checkpoints(const struct training_request *r, struct err *err)
{
    char path[PATH_MAX];
    int status = ERR_OK;

    for (uint32_t m = 1; r->checkpoint && status == ERR_OK && m < n_members(r); m++) {
        status = member_checkpoint(r, m, path, err);
        if (status != ERR_OK || access(path, F_OK) != 0)
            continue;
        if (!checkpoint_is(path))
            status =
                err_fatal(err, EX_CANTCREAT,
                          "%s would be the checkpoint of training %u, but is something else: "
                          "move it, or give --checkpoint another name",
                          path, m + 1);
        else if (!r->resume)
            (void)unlink(path);
    }
    return status;
}

/* The member's curve behind those before it. */
static int add_curve(struct run *run, struct err *err)
{
    const struct train_result *x = &run->last;
    size_t n = run->n_points + x->n_points;
    struct train_point *curve = realloc(run->curve, (n + 1) * sizeof *curve);

    if (!curve)
        return err_oom(err, "the learning curve");
    run->curve = curve;
    for (size_t i = 0; i < x->n_points; i++) {
        struct train_point *p = &curve[run->n_points++];

        *p = x->curve[i];
        p->epoch += run->n_epochs;
        p->seconds += run->seconds;
    }
    run->n_epochs += x->n_epochs;
    run->at_bound = run->at_bound || x->end == TRAIN_AT_BOUND;
    run->seconds += x->seconds;
    return ERR_OK;
}

static int interrupted(const struct run *run, uint32_t member, struct err *err)
{
    const char *checkpoint = run->r->checkpoint;
    char which[32] = "";

    if (n_members(run->r) > 1)
        (void)snprintf(which, sizeof which, " %u of %u", member + 1, n_members(run->r));
    return err_retry(err, EX_TEMPFAIL, "training%s interrupted after epoch %u%s%s", which,
                     run->last.n_epochs, checkpoint ? ": go on with --resume " : "",
                     checkpoint ? checkpoint : "");
}

static int train_member(struct run *run, uint32_t member, const struct trainee_data *data,
                        struct err *err)
{
    const struct training_data *t = &run->data;
    const struct training_request *r = run->r;
    struct train_options o = run->o;
    struct train_warm warm;
    char path[PATH_MAX];
    bool warms;

    o.model.seed = ensemble_seed((uint64_t)r->options->seed, member);
    train_result_done(&run->last);
    int status = r->checkpoint ? member_checkpoint(r, member, path, err) : ERR_OK;
    if (status == ERR_OK && r->checkpoint) {
        o.checkpoint = path; /* a later member's may not be there yet */
        o.resume = r->resume && (member == 0 || access(path, F_OK) == 0);
    }
    if (status == ERR_OK)
        status = training_start_member(&run->start, member, &warms, &warm, err);
    if (status == ERR_OK && r->member)
        r->member(r->arg, member);
    if (status == ERR_OK)
        status = train_run(&o, data, t->valid, t->n_valid, warms ? &warm : NULL, watch, run,
                           &run->last, err);
    if (status != ERR_OK)
        return status;
    if (run->stopped)
        return interrupted(run, member, err);
    if (member == 0) {
        run->best_epoch = run->last.best_epoch;
        run->item_graph = trainee_take_item_graph(run->last.trainee);
    }
    status = ensemble_add(&run->members, run->last.trainee, err);
    return status == ERR_OK ? add_curve(run, err) : status;
}

static int train(struct run *run, struct err *err)
{
    const struct training_data *t = &run->data;
    struct trainee_data data = {.X = t->X,
                                .mask = t->d.mask,
                                .n_users = (uint32_t)t->d.n_users,
                                .n_items = (uint32_t)t->d.n_items,
                                .pairs = t->train,
                                .n_pairs = t->n_train,
                                .strength = t->strength};
    int r = prepare_checkpoints(run->r, err);

    blas_set_threads(run->o.model.threads);
    for (uint32_t member = 0; r == ERR_OK && member < n_members(run->r); member++) {
        data.item_graph = member > 0 && run->item_graph.nnz ? &run->item_graph : NULL;
        r = train_member(run, member, &data, err);
    }
    return r == ERR_OK ? make_result(run->r, t, &run->members, &run->last, &run->result, err)
                       : r;
}

int training_run(struct store *reader, const struct settings *s,
                 const struct training_request *r, const char *dir, struct json_t **ret_metrics,
                 struct err *err)
{
    struct run run = {.r = r};
    int status = store_read_mark(reader, &run.read, err);

    if (status == ERR_OK)
        status = training_data_read(reader, r, &run.data, err);
    if (status == ERR_OK)
        status = choose(r, &run.data, &run.o, err);
    if (status == ERR_OK)
        status = training_start_find(reader, s, r, &run.data, &run.start, err);
    if (status == ERR_OK)
        status = train(&run, err);
    if (status == ERR_OK && r->stage)
        r->stage(r->arg, "figures of what is published");
    if (status == ERR_OK)
        status = write_candidate(&run, dir, ret_metrics, err);
    train_result_done(&run.last);
    csr_done(&run.item_graph);
    ensemble_done(&run.members);
    free(run.curve);
    result_done(&run.result);
    training_start_done(&run.start);
    training_data_done(&run.data);
    return status;
}
