#include "daemon/model/training_signals.h"

#include "config/clock.h"
#include "fusion/model/neighbours.h"
#include "fusion/model/signals.h"
#include "fusion/train/als.h"
#include "fusion/train/evaluate.h"
#include "fusion/train/mapping_fit.h"
#include "fusion/train/trainee.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* ---- the held-out pairs, user by user ---------------------------------------------------------- */

struct held_out {
    uint32_t n_users;
    uint32_t *user; /* (n_users) row of the training */
    size_t *start;  /* (n_users + 1) */
    uint32_t *item;
    struct csr history, seen; /* (n_users, I) what they have; and what no list may hold */
};

static void held_out_done(struct held_out *h)
{
    free(h->user);
    free(h->start);
    free(h->item);
    csr_done(&h->history);
    csr_done(&h->seen);
}

/* Of pairs (user, item), those of the held-out users, in their numbering. */
struct picked {
    struct csr_pair *pairs;
    size_t n;
    const uint32_t *row_of; /* (U) UINT32_MAX = nobody */
};

static void pick(struct picked *p, uint32_t user, uint32_t item)
{
    if (p->row_of[user] != UINT32_MAX)
        p->pairs[p->n++] = (struct csr_pair){p->row_of[user], item};
}

static int held_out_masks(struct held_out *h, const struct training_data *t, struct err *err)
{
    uint32_t *row_of = malloc((t->d.n_users + 1) * sizeof *row_of);
    struct picked p = {malloc((t->n_train + t->d.n_against + 1) * sizeof *p.pairs), 0, row_of};
    int r = row_of && p.pairs ? ERR_OK : err_oom(err, "the held-out pairs");

    for (size_t u = 0; r == ERR_OK && u < t->d.n_users; u++)
        row_of[u] = UINT32_MAX;
    for (uint32_t u = 0; r == ERR_OK && u < h->n_users; u++)
        row_of[h->user[u]] = u;
    for (size_t i = 0; r == ERR_OK && i < t->n_train; i++)
        pick(&p, t->train[i].row, t->train[i].col);
    const uint32_t n_items = (uint32_t)t->d.n_items;
    if (r == ERR_OK)
        r = csr_from_pairs(p.pairs, p.n, h->n_users, n_items, &h->history, err);
    for (size_t i = 0; r == ERR_OK && i < t->d.n_against; i++)
        pick(&p, t->d.against[i][0], t->d.against[i][1]);
    if (r == ERR_OK)
        r = csr_from_pairs(p.pairs, p.n, h->n_users, n_items, &h->seen, err);
    free(row_of);
    free(p.pairs);
    return r;
}

/* The first of those who are trained on, without a pair: by them signals are brought to one measure. */
static void take_anybody(struct held_out *h, const struct training_data *t)
{
    for (size_t i = 0; i < t->n_train && h->n_users < CALIBRATE_UNIT_USERS; i++)
        if (i == 0 || t->train[i].row != t->train[i - 1].row)
            h->user[h->n_users++] = t->train[i].row;
}

/* Of t->valid, which is in the order of the users, as t->train is. */
static int held_out_init(struct held_out *h, const struct training_data *t, struct err *err)
{
    const size_t room = t->n_valid > CALIBRATE_UNIT_USERS ? t->n_valid : CALIBRATE_UNIT_USERS;

    h->user = malloc(room * sizeof *h->user);
    h->start = calloc(room + 1, sizeof *h->start);
    h->item = malloc((t->n_valid + 1) * sizeof *h->item);
    if (!h->user || !h->start || !h->item)
        return err_oom(err, "the held-out pairs");
    for (size_t i = 0; i < t->n_valid; i++) {
        if (i == 0 || t->valid[i].row != t->valid[i - 1].row) {
            h->start[h->n_users] = i;
            h->user[h->n_users++] = t->valid[i].row;
        }
        h->item[i] = t->valid[i].col;
    }
    if (!t->n_valid)
        take_anybody(h, t);
    h->start[h->n_users] = t->n_valid;
    return held_out_masks(h, t, err);
}

/* Their rows of a matrix. */
static float *rows_of(const struct held_out *h, const float *users, size_t width)
{
    float *rows = malloc((h->n_users * width + 1) * sizeof *rows);

    for (uint32_t u = 0; rows && u < h->n_users; u++)
        memcpy(rows + u * width, users + h->user[u] * width, width * sizeof *rows);
    return rows;
}

/* ---- the signals ----------------------------------------------------------------------------- */

struct fit {
    const struct training_signals_task *task;
    struct held_out held;
    struct team *team;
    uint8_t *warm; /* (I) */
    struct csr R;  /* (U, I) the training pairs */
    struct als als;
    struct columns columns;
    float *content_items, *content_users; /* (I, C), (U, C) */
    struct mapping_fit mapping;
    float *mapped_items; /* (I, A) */
    float ridge;
    uint32_t n_sweeps; /* of a factorisation */
    bool stopped;      /* by the caller's sweep */
    struct training_signals s;
};

static void fit_done(struct fit *f)
{
    held_out_done(&f->held);
    team_free(f->team);
    free(f->warm);
    csr_done(&f->R);
    als_done(&f->als);
    columns_done(&f->columns);
    free(f->content_items);
    free(f->content_users);
    mapping_fit_done(&f->mapping);
    free(f->mapped_items);
}

static int begin(struct fit *f, struct err *err)
{
    const struct training_data *t = f->task->t;
    int r = held_out_init(&f->held, t, err);

    if (r == ERR_OK)
        r = team_new(f->task->threads, &f->team, err);
    if (r == ERR_OK)
        r = csr_from_pairs(t->train, t->n_train, (uint32_t)t->d.n_users, (uint32_t)t->d.n_items,
                           &f->R, err);
    f->warm = malloc(t->d.n_items + 1);
    if (r == ERR_OK && !f->warm)
        r = err_oom(err, "the signals");
    for (size_t i = 0; r == ERR_OK && i < t->d.n_items; i++)
        f->warm[i] = f->task->trainee->n_interactions[i] > 0;
    return r;
}

/* NDCG@20 of the factors alone. */
static int judge_factors(const struct fit *f, const struct als *als, double *ret_ndcg,
                         struct err *err)
{
    static const uint32_t cut = 20;
    float *users = rows_of(&f->held, als->users, als->d);
    struct evaluate_result figures;
    const struct evaluate_task task = {.users = users,
                                       .items = als->items,
                                       .n_users = f->held.n_users,
                                       .n_items = als->n_items,
                                       .D = als->d,
                                       .seen = &f->held.seen,
                                       .item_warm = f->warm,
                                       .test_start = f->held.start,
                                       .test_item = f->held.item,
                                       .cuts = &cut,
                                       .n_cuts = 1,
                                       .team = f->team};
    int r = users ? evaluate_run(&task, &figures, err) : err_oom(err, "the factors");

    free(users);
    if (r == ERR_OK)
        *ret_ndcg = figures.at[EVALUATE_OVERALL][0].ndcg;
    return r;
}

static bool on_sweep(void *arg, uint32_t sweep)
{
    struct fit *f = arg;
    const struct training_request *r = f->task->r;

    f->stopped = r->sweep && !r->sweep(r->arg, f->s.n_tried + 1, sweep, f->n_sweeps);
    return !f->stopped;
}

static void begin_stage(const struct fit *f, const char *what)
{
    const struct training_request *r = f->task->r;

    if (r->stage)
        r->stage(r->arg, what);
}

/* What was trained is in the checkpoint, if there is one. */
static int interrupted(const struct training_request *r, struct err *err)
{
    return err_retry(err, EX_TEMPFAIL, "training interrupted while it made its factors%s%s",
                     r->checkpoint ? ": go on with --resume " : "",
                     r->checkpoint ? r->checkpoint : "");
}

/* Kept when it is the best so far. */
static int try_factors(struct fit *f, float c, double *best, bool *ret_better, struct err *err)
{
    const struct training_request *req = f->task->r;
    struct als_options o;
    struct als als;
    double ndcg = 0;
    char what[64];

    (void)snprintf(what, sizeof what, "factorisation %u, penalty %g", f->s.n_tried + 1,
                   (double)c);
    begin_stage(f, what);
    als_options_init(&o);
    f->n_sweeps = o.sweeps;
    o.progress = on_sweep;
    o.arg = f;
    o.d = (uint32_t)req->options->factors;
    o.c = c;
    o.seed = (uint64_t)req->options->seed;
    o.threads = f->task->threads;
    int r = als_train(&o, &f->R, &als, err);
    if (r == ERR_OK && f->stopped) {
        als_done(&als);
        return interrupted(req, err);
    }
    if (r == ERR_OK && f->task->t->n_valid) {
        r = judge_factors(f, &als, &ndcg, err);
        if (r != ERR_OK)
            als_done(&als);
    }
    if (r != ERR_OK)
        return r;
    f->s.n_tried++;
    *ret_better = f->s.n_tried == 1 || ndcg > *best;
    if (*ret_better) {
        als_done(&f->als);
        f->als = als;
        f->s.c = c;
        *best = ndcg;
    } else {
        als_done(&als);
    }
    return ERR_OK;
}

/* The penalty that the held-out pairs like best, of steps by √2 from the prior on: more than the
 * others that als.h fixes, it differs between data sets. */
static int fit_factors(struct fit *f, struct err *err)
{
    static const float up[] = {.5F, .7F, 1.0F}, down[] = {.25F, .175F};
    double best = 0;
    bool better;
    int r = try_factors(f, .35F, &best, &better, err);
    bool rose = false;

    better = f->task->t->n_valid > 0;
    for (size_t i = 0; r == ERR_OK && better && i < sizeof up / sizeof up[0]; i++) {
        r = try_factors(f, up[i], &best, &better, err);
        rose |= better;
    }
    better = f->task->t->n_valid > 0 && !rose;
    for (size_t i = 0; r == ERR_OK && better && i < sizeof down / sizeof down[0]; i++)
        r = try_factors(f, down[i], &best, &better, err);
    f->s.factor_dim = f->als.d;
    f->s.has[CALIBRATE_FACTORS] = r == ERR_OK;
    return r;
}

static int fit_content(struct fit *f, struct err *err)
{
    const struct training_data *t = f->task->t;
    const struct trainee *trainee = f->task->trainee;

    begin_stage(f, "content");
    int r = columns_fit(trainee->X, t->d.mask, t->d.n_items, trainee->o.shape.modality_dim,
                        (size_t)f->task->r->options->content, &f->columns, err);
    size_t C = f->columns.C;

    if (r != ERR_OK || !C)
        return r;
    f->content_items = malloc((t->d.n_items * C + 1) * sizeof *f->content_items);
    f->content_users = malloc((t->d.n_users * C + 1) * sizeof *f->content_users);
    if (!f->content_items || !f->content_users)
        return err_oom(err, "the content columns");
    r = columns_rows(&f->columns, trainee->X, t->d.mask, t->d.n_items, f->content_items, err);
    if (r == ERR_OK)
        columns_users(&f->R, f->content_items, C, f->content_users);
    f->s.column_dim = (uint32_t)C;
    f->s.has[CALIBRATE_CONTENT] = r == ERR_OK;
    return r;
}

/* What the features say of the factors: where it says something, and beside content. */
static int fit_mapping(struct fit *f, struct err *err)
{
    const struct training_data *t = f->task->t;
    const struct trainee *trainee = f->task->trainee;
    const struct mapping_fit_task task = {.X = trainee->X,
                                          .mask = t->d.mask,
                                          .warm = f->warm,
                                          .Y = f->als.items,
                                          .n_items = t->d.n_items,
                                          .F = (size_t)trainee->o.shape.F,
                                          .A = f->als.d};

    begin_stage(f, "mapped factors");
    int r = mapping_fit(&task, &f->mapping, err);

    if (r != ERR_OK)
        return r;
    f->s.mapping = (struct training_mapping){
        .lambda = f->mapping.lambda, .error = f->mapping.error, .n_items = f->mapping.n_fitted};
    if (!f->mapping.mapping.A)
        return ERR_OK;
    f->mapped_items = malloc((t->d.n_items * f->als.d + 1) * sizeof *f->mapped_items);
    if (!f->mapped_items)
        return err_oom(err, "the mapped factors");
    f->s.has[CALIBRATE_MAPPED] = true;
    return mapping_rows(&f->mapping.mapping, trainee->X, t->d.mask, t->d.n_items,
                        f->mapped_items, err);
}

static int fit_neighbours(struct fit *f, struct err *err)
{
    begin_stage(f, "neighbours");
    int r = neighbours_build(&f->R, NULL, f->team, &f->s.neighbours, &f->s.neighbour_scale,
                             &f->ridge, err);
    f->s.n_neighbours = r == ERR_OK ? f->s.neighbours.nnz : 0;
    f->s.has[CALIBRATE_NEIGHBOURS] = r == ERR_OK;
    return r;
}

/* ---- their weights --------------------------------------------------------------------------- */

/* Lists do not change by a factor on all of it: what was trained keeps the length that its options
 * give it, unless a signal of tiny numbers would need more than a model may say. */
static void rescale(struct calibrate_weights *scale)
{
    const bool says = scale->trained > 0 || scale->factors > 0;
    const float largest = fmaxf(fmaxf(scale->factors, scale->neighbours),
                                fmaxf(fmaxf(scale->content, scale->fade), scale->mapped));
    const float by =
        fmaxf(scale->trained > 0 ? scale->trained : 1, largest / (SIGNALS_SCALE_MAX / 2));

    scale->trained = says ? scale->trained / by : 1; /* of vectors that are all alike */
    scale->factors /= by;
    scale->neighbours /= by;
    scale->content /= by;
    scale->fade /= by;
    scale->mapped /= by;
}

/* How much of what a new item has is the mapped factors': every item counts as new, and has the
 * factors that the features of the others suggest. */
static int choose_mapped_share(struct fit *f, struct calibrate_task task, struct err *err)
{
    uint32_t *nobody = calloc(task.n_items + (size_t)1, sizeof *nobody);
    struct calibrate_result alone;

    if (!nobody)
        return err_oom(err, "the mapped factors");
    task.linear[CALIBRATE_TRAINED] = (struct calibrate_vectors){0};
    task.linear[CALIBRATE_FACTORS] = (struct calibrate_vectors){0};
    task.linear[CALIBRATE_MAPPED].items = f->mapping.left_out;
    task.history = NULL;
    task.n_interactions = nobody;
    int r = calibrate_run(&task, &alone, err);
    free(nobody);
    if (r != ERR_OK)
        return r;
    const struct calibrate_weights *w = &alone.weight;
    const float all = w->content + w->fade + w->mapped;
    f->s.mapping.share = all > 0 ? w->mapped / all : 0;
    return ERR_OK;
}

static int choose_weights(struct fit *f, const float *backbone, size_t B, struct err *err)
{
    const struct training_data *t = f->task->t;
    const size_t U = t->d.n_users, A = f->als.d, C = f->columns.C;
    float *trained = rows_of(&f->held, backbone, B);
    float *factors = rows_of(&f->held, f->als.users ? f->als.users : backbone, A);
    float *content = rows_of(&f->held, f->content_users ? f->content_users : backbone, C);
    struct calibrate_task task = {
        .n_users = f->held.n_users,
        .n_items = (uint32_t)t->d.n_items,
        .linear = {[CALIBRATE_TRAINED] = {trained, backbone + U * B, (uint32_t)B},
                   [CALIBRATE_FACTORS] = {factors, f->als.items, (uint32_t)A},
                   [CALIBRATE_CONTENT] = {content, f->content_items, (uint32_t)C},
                   [CALIBRATE_MAPPED] = {factors, f->mapped_items,
                                         f->mapped_items ? (uint32_t)A : 0}},
        .history = f->s.has[CALIBRATE_NEIGHBOURS] ? &f->held.history : NULL,
        .rows = &f->s.neighbours,
        .scale = f->s.neighbour_scale,
        .n_interactions = f->task->trainee->n_interactions,
        .seen = &f->held.seen,
        .test_start = f->held.start,
        .test_item = f->held.item,
        .team = f->team,
        .seed = (uint64_t)f->task->r->options->seed};
    int r = trained && factors && content ? ERR_OK : err_oom(err, "the weights of the signals");

    if (r == ERR_OK && f->mapped_items)
        r = choose_mapped_share(f, task, err);
    task.mapped_share = f->s.mapping.share;
    if (r == ERR_OK)
        r = calibrate_run(&task, &f->s.chosen, err);

    free(trained);
    free(factors);
    free(content);
    if (r == ERR_OK)
        rescale(&f->s.chosen.scale);
    return r;
}

/* ---- into the model ---------------------------------------------------------------------------- */

static int put(struct fit *f, struct model *model, float **vectors, struct err *err)
{
    const struct training_data *t = f->task->t;
    const struct trainee *trainee = f->task->trainee;
    const struct calibrate_weights *w = &f->s.chosen.scale;
    const struct signals weights = {.trained = w->trained,
                                    .factors = w->factors,
                                    .content = w->content,
                                    .fade = w->fade,
                                    .neighbours = w->neighbours,
                                    .ridge = f->ridge,
                                    .mapped = w->mapped};
    const struct signals_tensors tensors = {.columns = &f->columns,
                                            .mapping =
                                                w->mapped > 0 ? &f->mapping.mapping : NULL,
                                            .mean = trainee->mean,
                                            .std_dev = trainee->std_dev,
                                            .factors = f->als.items,
                                            .n_items = t->d.n_items,
                                            .fold = f->als.items ? &f->als.fold : NULL};
    const struct signals_parts parts = {.n_users = t->d.n_users,
                                        .n_items = t->d.n_items,
                                        .backbone = *vectors,
                                        .factor_users = f->als.users,
                                        .factor_items = f->als.items,
                                        .content_users = f->content_users,
                                        .content_items = f->content_items,
                                        .mapped_items = f->mapped_items,
                                        .n_interactions = trainee->n_interactions};
    float *joined = NULL;
    int r = signals_put(model, &weights, &tensors, err);

    if (r == ERR_OK)
        r = signals_join(model, &parts, &joined, err);
    if (r != ERR_OK)
        return r;
    free(*vectors);
    *vectors = joined;
    return ERR_OK;
}

/* Rows that count for nothing are not published. */
static void drop_neighbours(struct training_signals *s)
{
    csr_done(&s->neighbours);
    free(s->neighbour_scale);
    s->neighbours = (struct csr){0};
    s->neighbour_scale = NULL;
}

int training_signals_add(const struct training_signals_task *task, struct model *model,
                         float **vectors, struct training_signals *ret_s, struct err *err)
{
    const struct settings_training_options *o = task->r->options;
    const size_t B = (size_t)model_shape(model)->D;
    const int64_t start_us = clock_mono_us();
    struct fit f = {.task = task, .s.has[CALIBRATE_TRAINED] = true};
    int r = ERR_OK;

    if (!o->factors && !o->content && !o->neighbours)
        return ERR_OK;
    r = begin(&f, err);

    if (r == ERR_OK && o->factors)
        r = fit_factors(&f, err);
    if (r == ERR_OK && o->content && task->trainee->o.shape.fusion != FUSION_NONE)
        r = fit_content(&f, err);
    if (r == ERR_OK && f.columns.C && f.als.d)
        r = fit_mapping(&f, err);
    if (r == ERR_OK && o->neighbours)
        r = fit_neighbours(&f, err);
    if (r == ERR_OK) {
        begin_stage(&f, "weights of the signals");
        r = choose_weights(&f, *vectors, B, err);
    }
    if (r == ERR_OK)
        r = put(&f, model, vectors, err);
    if (r == ERR_OK && f.s.chosen.scale.neighbours <= 0)
        drop_neighbours(&f.s);
    f.s.seconds = (double)(clock_mono_us() - start_us) * 1e-6;
    fit_done(&f);
    if (r == ERR_OK)
        *ret_s = f.s;
    else
        training_signals_done(&f.s);
    return r;
}

void training_signals_done(struct training_signals *s)
{
    drop_neighbours(s);
    *s = (struct training_signals){0};
}

/* ---- metrics.json ------------------------------------------------------------------------------ */

static json_t *figures_json(const struct calibrate_figures *x)
{
    return json_pack("{s:f, s:f, s:f}", "recall_20", x->recall, "ndcg_20", x->ndcg,
                     "recall_20_cold", x->recall_cold);
}

static json_t *signal_json(const struct training_signals *s, enum calibrate_signal signal)
{
    const struct calibrate_result *x = &s->chosen;
    const float weights[] = {x->weight.trained, x->weight.factors, x->weight.content,
                             x->weight.mapped, x->weight.neighbours};
    const float scales[] = {x->scale.trained, x->scale.factors, x->scale.content,
                            x->scale.mapped, x->scale.neighbours};
    json_t *object =
        json_pack("{s:f, s:f, s:o, s:o}", "weight", (double)weights[signal], "scale",
                  (double)scales[signal], "alone", figures_json(&x->alone[signal]), "without",
                  figures_json(&x->without[signal]));

    if (signal == CALIBRATE_CONTENT)
        (void)json_object_update_new(
            object, json_pack("{s:f, s:f, s:i}", "fade_weight", (double)x->weight.fade, "fade",
                              (double)x->scale.fade, "numbers", (int)s->column_dim));
    if (signal == CALIBRATE_MAPPED)
        (void)json_object_update_new(
            object, json_pack("{s:f, s:f, s:f, s:I}", "share", (double)s->mapping.share,
                              "lambda", (double)s->mapping.lambda, "error_left_out",
                              s->mapping.error, "items", (json_int_t)s->mapping.n_items));
    if (signal == CALIBRATE_FACTORS)
        (void)json_object_update_new(object,
                                     json_pack("{s:f, s:i, s:i}", "c", (double)s->c, "numbers",
                                               (int)s->factor_dim, "tried", (int)s->n_tried));
    if (signal == CALIBRATE_NEIGHBOURS)
        (void)json_object_set_new(object, "entries", json_integer((json_int_t)s->n_neighbours));
    return object;
}

struct json_t *training_signals_json(const struct training_signals *s)
{
    json_t *object = json_object();

    for (int k = 0; object && k < CALIBRATE_SIGNALS; k++)
        if (s->has[k])
            (void)json_object_set_new(object, calibrate_signal_name((enum calibrate_signal)k),
                                      signal_json(s, (enum calibrate_signal)k));
    return object;
}

struct json_t *training_signals_choice_json(const struct training_signals *s)
{
    const struct calibrate_result *x = &s->chosen;

    return json_pack("{s:b, s:i, s:i, s:I, s:i, s:o, s:f, s:f}", "from_prior", x->from_prior,
                     "users", (int)x->n_users, "users_held_out", (int)x->n_users_all, "pairs",
                     (json_int_t)x->n_pairs_usable, "tried", (int)x->n_tried, "all",
                     figures_json(&x->all), "ndcg_20_error", x->ndcg_error, "seconds",
                     s->seconds);
}
