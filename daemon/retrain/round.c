#include "daemon/retrain/round.h"

#include "config/log.h"
#include "config/text.h"
#include "daemon/base/paths.h"
#include "daemon/model/candidate.h"
#include "daemon/model/forget.h"
#include "daemon/model/holdout.h"
#include "daemon/model/models.h"
#include "daemon/retrain/files.h"

#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { MODELS_MAX = 10000 };

struct round {
    const struct retrain_round *r;
    const struct settings *s;
    struct retrain_outcome *o;
    struct store *st; /* a reader */
    struct retrain_paths paths;
    struct store_read_mark split; /* before the store was read for it */
    struct store_model active;    /* model_id 0 = none */
    size_t n_known;               /* pairs that the next round's split will know */
    bool has_figures;
    bool is_concluded; /* the outcome says how it ended */
};

/* ---- the words of the children, and the record in the store ------------------------------- */

static json_t *figures_json(const struct gate_figures *f)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "ndcg_10", f->ndcg_10, "ndcg_20",
                     f->ndcg_20, "recall_20", f->recall_20, "cold_ndcg_20", f->cold_ndcg_20,
                     "cold_recall_20", f->cold_recall_20, "rank", f->rank);
}

json_t *retrain_gate_json(const struct gate_case *c, const struct gate_decision *d,
                          size_t n_known)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:o, s:o}", "verdict",
                     gate_verdict_name(d->verdict), "why", d->why, "active_id",
                     (json_int_t)c->active_id, "users", (json_int_t)c->n_users, "pairs",
                     (json_int_t)c->n_pairs, "cold_pairs", (json_int_t)c->n_cold_pairs,
                     "known_pairs", (json_int_t)n_known, "error", c->error, "cold_error",
                     c->cold_error, "rank_error", c->rank_error, "active",
                     figures_json(&c->active), "candidate", figures_json(&c->candidate));
}

static double figure(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);

    return json_is_number(v) ? json_number_value(v) : -1; /* which the gate refuses */
}

static struct gate_figures figures_of(const json_t *object)
{
    return (struct gate_figures){
        figure(object, "ndcg_10"),        figure(object, "ndcg_20"),
        figure(object, "recall_20"),      figure(object, "cold_ndcg_20"),
        figure(object, "cold_recall_20"), figure(object, "rank")};
}

/* What the judge printed, back. False when it is not such a line. */
static bool figures_parse(const char *line, struct gate_case *ret_case)
{
    json_t *root = json_loads(line, 0, NULL);
    const json_t *candidate = json_object_get(root, "candidate");
    const json_t *active = json_object_get(root, "active");
    bool ok = json_is_object(candidate) && json_is_object(active);

    if (ok)
        *ret_case = (struct gate_case){
            .active_id = json_integer_value(json_object_get(root, "active_id")),
            .active = figures_of(active),
            .candidate = figures_of(candidate),
            .n_users = (size_t)json_integer_value(json_object_get(root, "users")),
            .n_pairs = (size_t)json_integer_value(json_object_get(root, "pairs")),
            .n_cold_pairs = (size_t)json_integer_value(json_object_get(root, "cold_pairs")),
            .error = figure(root, "error"),
            .cold_error = figure(root, "cold_error"),
            .rank_error = figure(root, "rank_error")};
    json_decref(root);
    return ok;
}

static bool is_ours(const struct store_model *m)
{
    json_t *metrics = m->metrics ? json_loads(m->metrics, 0, NULL) : NULL;
    bool ours = json_is_object(json_object_get(metrics, "gate"));

    json_decref(metrics);
    return ours;
}

/* Why a candidate goes, NULL = it stays. *n_waiting: those of others that are newer. */
static const char *leftover(const struct store_model *m, const struct settings *s,
                            int64_t pinned, int64_t *n_waiting)
{
    if (strcmp(m->state, "candidate") != 0 || m->model_id == pinned)
        return NULL;
    if (is_ours(m))
        return "its publication was interrupted";
    if ((*n_waiting)++ < s->store.keep_model_versions || !retrain_files_is_old(m->created_us))
        return NULL;
    return "nobody has promoted it and newer ones wait";
}

int retrain_reject_leftovers(struct store *st, void *arg, struct err *err)
{
    const struct settings *s = arg;
    struct store_model *models = NULL;
    int64_t n_waiting = 0, pinned = 0;
    size_t n = 0;
    int r = store_pinned_model(st, &pinned, err);

    if (r == ERR_OK)
        r = store_model_list(st, MODELS_MAX, &models, &n, err);
    for (size_t i = 0; i < n; i++) {
        const char *why = leftover(&models[i], s, pinned, &n_waiting);

        if (r == ERR_OK && why) {
            r = store_model_set_state(st, models[i].model_id, "rejected", NULL, err);
            log_notice("model %" PRId64 ": %s; it is removed", models[i].model_id, why);
        }
        store_model_done(&models[i]);
    }
    free(models);
    return r;
}

static void on_tick(void *arg)
{
    struct round *r = arg;

    r->r->tick(r->r->arg);
}

/* ---- the split ---------------------------------------------------------------------------- */

static void conclude(struct round *r, enum retrain_end end, const char *text)
{
    r->o->end = end;
    text_format(r->o->why, sizeof(r->o->why), "%s", text);
    r->is_concluded = true;
}

/* Every pair that the active model was trained on or judged by. ERR_NONE comes twice, of the pairs
 * and of the folder, and both mean that it was not trained here: then it knows none, like one that is lost. */
static int read_known(struct round *r, struct store_pair **pairs, size_t *n, struct err *err)
{
    char dir[PATH_MAX], path[PATH_MAX];

    if (r->r->lost)
        return ERR_OK;
    int status = store_get_training(r->st, r->active.model_id, pairs, n, err);

    if (status == ERR_OK)
        status = candidate_folder(r->s, &r->active, dir, err);
    if (status == ERR_OK)
        status = paths_join(dir, "holdout.tsv", path, err);
    if (status != ERR_OK)
        return status == ERR_NONE ? ERR_OK : status;
    return retrain_files_read(path, r->st, pairs, n, err);
}

static bool has_enough(struct round *r, const struct holdout *h)
{
    size_t least = (size_t)r->s->training.min_users;
    char text[160];

    if (h->n_qualified >= least && h->n_users >= least)
        return true;
    if (h->n_qualified < least)
        (void)snprintf(text, sizeof(text), "need %zu users with %d interactions, have %zu",
                       least, HOLDOUT_LEAST_ITEMS, h->n_qualified);
    else
        (void)snprintf(text, sizeof(text),
                       "need %zu users with interactions that model %" PRId64
                       " does not know, have %zu",
                       least, r->active.model_id, h->n_users);
    conclude(r, RETRAIN_NOT_NOW, text);
    return false;
}

static int keep_holdout(struct round *r, const struct holdout *h, struct err *err)
{
    int status = retrain_files_begin(r->s, &r->paths, err);

    return status == ERR_OK ? retrain_files_write(r->paths.holdout, r->st, h, err) : status;
}

/* Concludes the round when there is too little data. */
static int split(struct round *r, struct err *err)
{
    struct store_timed_pair *timed = NULL;
    struct store_pair *known = NULL;
    struct holdout h = {0};
    size_t n = 0, n_known = 0;
    int status = store_read_mark(r->st, &r->split, err);

    if (status == ERR_OK)
        status = store_read_timed_pairs(r->st, &timed, &n, err);
    on_tick(r); /* each of these takes seconds when there are many interactions */
    if (status == ERR_OK)
        status = read_known(r, &known, &n_known, err);
    on_tick(r);
    if (status == ERR_OK)
        status =
            holdout_split(timed, n, known, n_known, r->s->training.holdout_percent, &h, err);
    on_tick(r);
    if (status == ERR_OK && has_enough(r, &h))
        status = keep_holdout(r, &h, err);
    r->n_known = n;
    free(timed);
    free(known);
    holdout_done(&h);
    return status;
}

/* ---- the children ------------------------------------------------------------------------- */

static void on_progress(void *arg, const char *line)
{
    struct round *r = arg;

    r->r->show(r->r->arg, line);
}

static void on_figures(void *arg, const char *line)
{
    struct round *r = arg;

    r->has_figures |= figures_parse(line, &r->o->figures);
}

static int run_child(struct round *r, const char *const *argv,
                     void (*line)(void *arg, const char *line), struct err *err)
{
    const struct settings *s = r->s;
    struct trainer_options o = {.argv = argv,
                                .nice = (int)s->training.nice,
                                .threads = s->training.options.threads,
                                .memory_bytes = s->training.memory_bytes,
                                .cpu_seconds = s->training.cpu_seconds,
                                .heartbeat_ms = s->training.heartbeat_s * 1000,
                                .deadline_ms = s->training.deadline_s * 1000,
                                .stop_fd = r->r->stop_fd,
                                .line = line,
                                .tick = on_tick,
                                .arg = r};

    return trainer_run(&o, &r->o->trainer, err);
}

/* The child's settings are the daemon's, not what the file of settings says by now. */
static int train(struct round *r, const char *trainer, struct err *err)
{
    char seed[24];
    const char *const argv[] = {
        trainer, "--config", r->paths.settings, "train", "--as-configured",  "--seed",
        seed,    "--valid",  r->paths.holdout,  "--out", r->paths.candidate, NULL};

    (void)snprintf(seed, sizeof(seed), "%" PRIu64,
                   ((uint64_t)r->s->training.options.seed + (uint64_t)r->r->seed_offset) &
                       INT64_MAX);
    r->r->show(r->r->arg, "training");
    return run_child(r, argv, on_progress, err);
}

static int judge(struct round *r, const char *trainer, struct err *err)
{
    const char *const argv[] = {trainer,
                                "--config",
                                r->paths.settings,
                                "judge",
                                r->paths.candidate,
                                r->paths.holdout,
                                r->r->lost ? "--alone" : NULL,
                                NULL};

    r->r->show(r->r->arg, "judging");
    int status = run_child(r, argv, on_figures, err);
    if (status == ERR_OK && !r->has_figures)
        status = err_retry(err, EX_SOFTWARE, "%s judge: no figures", trainer);
    return status;
}

/* ---- publishing or refusing --------------------------------------------------------------- */

static bool go_on(void *ctx, size_t done, size_t total)
{
    struct round *r = ctx;
    struct pollfd stop = {.fd = r->r->stop_fd, .events = POLLIN};

    (void)done;
    (void)total;
    r->r->tick(r->r->arg);
    return poll(&stop, 1, 0) <= 0;
}

static bool may_wait(void *arg)
{
    return go_on(arg, 0, 0);
}

static int put_gate(struct candidate *c, const struct round *r, struct err *err)
{
    json_t *gate = retrain_gate_json(&r->o->figures, &r->o->decision, r->n_known);

    if (json_object_set_new(c->metrics, "gate", gate) == 0 &&
        json_object_set_new(c->metrics, "parent", json_integer(r->active.model_id)) == 0)
        return ERR_OK;
    return err_oom(err, "a model's figures");
}

static int write_refusal(struct store *st, void *arg, struct err *err)
{
    struct store_model *row = arg;
    int status = store_model_add(st, row, err);

    return status == ERR_OK
               ? store_model_set_state(st, row->model_id, "rejected", row->metrics, err)
               : status;
}

/* The row alone: no file, no vectors. */
static int refuse(struct round *r, struct candidate *c, struct err *err)
{
    struct store_model row = {.parent_id = r->active.model_id};
    int status = candidate_describe(c, &row, err);

    if (status == ERR_OK)
        status = store_work(&r->r->writer, write_refusal, &row, err);
    r->o->model_id = row.model_id;
    store_model_done(&row);
    return status;
}

static int publish(struct round *r, struct candidate *c, struct err *err)
{
    struct candidate_target t = {.settings = r->s,
                                 .reader = r->st,
                                 .writer = r->r->writer,
                                 .progress = go_on,
                                 .ctx = r,
                                 .unless_pinned = true};

    bool changed;

    r->r->show(r->r->arg, "publishing");
    if (!models_lock(may_wait, r))
        return err_retry(err, EX_TEMPFAIL, "publication of a model: stopped");
    int status = candidate_publish(c, &t, err);
    if (status == ERR_OK)
        status = forget_in_pairs(r->paths.holdout, r->st, &r->split, &changed, err);
    if (status == ERR_OK)
        status = retrain_files_keep(&r->paths, c->dir, err);
    if (status == ERR_OK)
        status = candidate_promote(c, &t, err);
    models_unlock();
    if (status == ERR_OK)
        r->o->model_id = c->model_id;
    return status;
}

/* ERR_OK once the store says what came of it. */
static int decide(struct round *r, struct err *err)
{
    struct candidate c;
    int64_t pinned = 0;
    int status = store_pinned_model(r->st, &pinned, err);

    if (status == ERR_OK)
        status = candidate_read(r->paths.candidate, &c, err);
    if (status != ERR_OK)
        return status;
    r->o->figures.pinned = pinned != 0;
    r->o->judged = true;
    gate_decide(&r->o->figures, r->s, &r->o->decision);
    bool passed = r->o->decision.verdict == GATE_PASS;
    status = put_gate(&c, r, err);
    if (status == ERR_OK)
        status = passed ? publish(r, &c, err) : refuse(r, &c, err);
    candidate_done(&c);
    if (status == ERR_OK)
        conclude(r, passed ? RETRAIN_PUBLISHED : RETRAIN_REJECTED, r->o->decision.why);
    return status;
}

/* ---- the whole ---------------------------------------------------------------------------- */

static int open_store(struct round *r, struct err *err)
{
    int status = store_open(r->s->store.path, STORE_READ, &r->st, err);

    if (status != ERR_OK)
        return status;
    status = store_model_active(r->st, &r->active, err);
    return status == ERR_NONE ? ERR_OK : status;
}

/* Concludes the round when the model is pinned. */
static int check_pin(struct round *r, struct err *err)
{
    int64_t pinned = 0;
    char text[96];
    int status = store_pinned_model(r->st, &pinned, err);

    if (status != ERR_OK || pinned == 0)
        return status;
    (void)snprintf(text, sizeof(text), "model %" PRId64 " is pinned", pinned);
    conclude(r, RETRAIN_NOT_NOW, text);
    return ERR_OK;
}

/* Until something fails or the round is concluded. */
static int run(struct round *r, struct err *err)
{
    char trainer[PATH_MAX];
    int status;

    if ((status = open_store(r, err)) != ERR_OK || (status = check_pin(r, err)) != ERR_OK ||
        r->is_concluded ||
        (status = store_work(&r->r->writer, retrain_reject_leftovers, (void *)(uintptr_t)r->s,
                             err)) != ERR_OK ||
        (status = paths_trainer(r->s, trainer, err)) != ERR_OK ||
        (status = split(r, err)) != ERR_OK || r->is_concluded ||
        (status = train(r, trainer, err)) != ERR_OK ||
        (status = judge(r, trainer, err)) != ERR_OK)
        return status;
    return decide(r, err);
}

void retrain_round_run(const struct retrain_round *r, struct retrain_outcome *ret_outcome)
{
    struct round round = {.r = r, .s = r->settings, .o = ret_outcome};
    struct err err = {0};

    *ret_outcome = (struct retrain_outcome){.end = RETRAIN_FAILED, .trainer = TRAINER_DONE};
    int status = run(&round, &err);
    if (status != ERR_OK)
        conclude(&round, RETRAIN_FAILED, err.text);
    if (round.st && ret_outcome->end == RETRAIN_PUBLISHED && models_lock(may_wait, &round)) {
        retrain_files_collect(r->settings, round.st);
        models_unlock();
    }
    retrain_files_clear(r->settings);
    store_model_done(&round.active);
    store_close(round.st);
}
