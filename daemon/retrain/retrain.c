#include "daemon/retrain/retrain.h"

#include "config/clock.h"
#include "config/log.h"
#include "config/text.h"
#include "config/wake.h"
#include "daemon/base/health.h"
#include "daemon/base/metrics.h"
#include "daemon/base/paths.h"
#include "daemon/model/candidate.h"
#include "daemon/model/forget.h"
#include "daemon/model/models.h"
#include "daemon/pipeline/pipeline.h"
#include "daemon/retrain/files.h"
#include "daemon/retrain/round.h"

#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

enum { TICK_MS = 1000, HEALTH_LIMIT_MS = 30000, N_RESULTS = 4, N_VERDICTS = 5 };
enum { N_CAUSES = TRAINER_STOPPED + 1 };
enum { FORGET_REST = 20, AGAIN_US = 60000000 };

static const char *const result_names[N_RESULTS] = {"published", "rejected", "failed",
                                                    "not_now"};

struct retrain {
    const struct settings *(*settings)(void *arg);
    void *arg;
    struct pipeline *pipeline;
    pthread_t thread;
    int wake_fd, stop_fd;
    bool stopped;

    /* the thread's own */
    uint64_t n_counted; /* of metrics_interactions */
    int64_t seed_offset;
    uint64_t n_forgotten;  /* of metrics_users_forgotten: folders have been looked through */
    int64_t forget_due_us; /* monotonic: not before */
    int64_t model_id, newest_id; /* the active one; the newest of those that were */
    bool unfused;                /* items may have been stored while there was no model */
    bool lost; /* there is none now; the next: the file that was looked at last */
    struct stat lost_file;
    int64_t mend_due_us; /* monotonic: not before */

    pthread_mutex_t lock; /* around all that follows */
    struct retrain_schedule schedule;
    char doing[128]; /* of the round under way */
    struct retrain_outcome last;
    bool has_last;
    double ndcg_10, ndcg_20; /* of the active model when it was accepted, < 0 = unknown */
    double cold_ndcg_20;
    uint64_t n_results[N_RESULTS], n_rejected[N_VERDICTS], n_failed[N_CAUSES];
    int64_t ended_us[N_RESULTS]; /* the last that ended so, wall clock, 0 = none */
};

/* ---- what others see ---------------------------------------------------------------------- */

static struct retrain_now look_at_clocks(void)
{
    time_t s = (time_t)(clock_real_us() / 1000000);
    struct tm tm;

    localtime_r(&s, &tm);
    return (struct retrain_now){clock_mono_us(), tm.tm_hour * 60 + tm.tm_min};
}

/* With the lock held. */
static void print_state(struct retrain *t, char *ret_text, size_t bytes)
{
    struct retrain_now now = look_at_clocks();

    if (t->schedule.running)
        text_format(ret_text, bytes, "retraining: %s", t->doing);
    else
        retrain_schedule_line(&t->schedule, t->settings(t->arg), &now, ret_text, bytes);
}

void retrain_line(struct retrain *t, char *ret_text, size_t bytes)
{
    char state[192], ndcg[32] = "";

    ret_text[0] = '\0';
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    print_state(t, state, sizeof(state));
    if (t->ndcg_20 >= 0)
        (void)snprintf(ndcg, sizeof(ndcg), " ndcg %.3f", t->ndcg_20);
    bool waits = t->has_last && t->last.end == RETRAIN_NOT_NOW && !t->schedule.running;
    text_format(ret_text, bytes, "%s, %s", ndcg, waits ? t->last.why : state);
    pthread_mutex_unlock(&t->lock);
}

static json_t *last_json(const struct retrain *t)
{
    const struct retrain_outcome *o = &t->last;
    json_t *last = t->has_last ? json_pack("{s:s, s:s, s:I}", "result", result_names[o->end],
                                           "why", o->why, "model_id", (json_int_t)o->model_id)
                               : json_null();

    if (t->has_last && o->judged)
        json_object_set_new(last, "gate", retrain_gate_json(&o->figures, &o->decision, 0));
    return last;
}

struct json_t *retrain_json(struct retrain *t)
{
    char state[192];

    if (!t)
        return json_null();
    pthread_mutex_lock(&t->lock);
    print_state(t, state, sizeof(state));
    json_t *root =
        json_pack("{s:s, s:b, s:I, s:f, s:o}", "state", state, "running", t->schedule.running,
                  "new_interactions", (json_int_t)t->schedule.n_new, "ndcg_20", t->ndcg_20,
                  "last", last_json(t));
    pthread_mutex_unlock(&t->lock);
    return root;
}

static void print_ndcg(FILE *out, const char *k, const char *split, double value)
{
    if (value >= 0)
        fprintf(out, "metammf_eval_ndcg{k=\"%s\",split=\"%s\"} %.9g\n", k, split, value);
}

static void print_ends(const struct retrain *t, FILE *out)
{
    metrics_head(
        out, "metammf_retrain_failures_total", "counter",
        "Retrainings that failed, by how their child process ended; daemon: by a fault of "
        "disk, store or settings around it.");
    for (int i = 0; i < N_CAUSES; i++)
        fprintf(out, "metammf_retrain_failures_total{cause=\"%s\"} %" PRIu64 "\n",
                i == TRAINER_DONE ? "daemon" : trainer_end_name((enum trainer_end)i),
                t->n_failed[i]);
    metrics_head(
        out, "metammf_retrain_timestamp_seconds", "gauge",
        "When the last retraining with this result ended, since the epoch; 0 = none since "
        "the start.");
    for (int i = 0; i < N_RESULTS; i++)
        fprintf(out, "metammf_retrain_timestamp_seconds{result=\"%s\"} %.3f\n", result_names[i],
                (double)t->ended_us[i] / 1e6);
}

void retrain_metrics(struct retrain *t, FILE *out)
{
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    metrics_head(out, "metammf_retrain_total", "counter", "Retrainings ended, by result.");
    for (int i = 0; i < N_RESULTS; i++)
        fprintf(out, "metammf_retrain_total{result=\"%s\"} %" PRIu64 "\n", result_names[i],
                t->n_results[i]);
    metrics_head(out, "metammf_model_rejected_total", "counter",
                 "New models that the gate refused, by reason.");
    for (int i = GATE_OVERALL; i < N_VERDICTS; i++)
        fprintf(out, "metammf_model_rejected_total{reason=\"%s\"} %" PRIu64 "\n",
                gate_verdict_name((enum gate_verdict)i), t->n_rejected[i]);
    print_ends(t, out);
    metrics_head(out, "metammf_eval_ndcg", "gauge",
                 "NDCG of the active model on held-out interactions when it was accepted.");
    print_ndcg(out, "10", "overall", t->ndcg_10);
    print_ndcg(out, "20", "overall", t->ndcg_20);
    print_ndcg(out, "20", "cold_only", t->cold_ndcg_20);
    metrics_head(out, "metammf_retraining", "gauge", "1 while a retraining is under way.");
    fprintf(out, "metammf_retraining %d\n", t->schedule.running);
    metrics_head(out, "metammf_new_interactions", "gauge",
                 "Interactions since the last training began.");
    fprintf(out, "metammf_new_interactions %" PRId64 "\n", t->schedule.n_new);
    pthread_mutex_unlock(&t->lock);
}

void retrain_ask(struct retrain *t)
{
    pthread_mutex_lock(&t->lock);
    retrain_schedule_ask(&t->schedule);
    pthread_mutex_unlock(&t->lock);
    wake_set(t->wake_fd);
}

/* ---- where it starts from ----------------------------------------------------------------- */

static double figure(const json_t *gate, const char *name)
{
    const json_t *v = json_object_get(json_object_get(gate, "candidate"), name);

    return json_is_number(v) ? json_number_value(v) : -1;
}

/* Of a model that was trained by hand: on its own held-out pairs. */
static double trained_figure(const json_t *metrics, const char *k)
{
    const json_t *valid = json_object_get(json_object_get(metrics, "valid"), "overall");
    const json_t *v = json_object_get(json_object_get(valid, k), "ndcg");

    return json_is_number(v) ? json_number_value(v) : -1;
}

/* What the store says about the active model. */
struct past {
    struct store_model m; /* less its texts */
    double ndcg_10, ndcg_20, cold_ndcg_20;
    int64_t known, n_new; /* pairs at its split, -1 = not said; interactions since */
};

static void read_record(const struct store_model *m, struct past *past)
{
    json_t *metrics = m->metrics ? json_loads(m->metrics, 0, NULL) : NULL;
    const json_t *gate = json_object_get(metrics, "gate");
    const json_t *known = json_object_get(gate, "known_pairs");

    past->known = json_is_integer(known) ? json_integer_value(known) : -1;
    past->ndcg_10 = gate ? figure(gate, "ndcg_10") : trained_figure(metrics, "10");
    past->ndcg_20 = gate ? figure(gate, "ndcg_20") : trained_figure(metrics, "20");
    past->cold_ndcg_20 = figure(gate, "cold_ndcg_20");
    json_decref(metrics);
}

static int count_new(struct store *st, const struct store_model *m, int64_t known,
                     int64_t *ret_n, struct err *err)
{
    struct store_timed_pair *timed = NULL;
    struct store_pair *pairs = NULL;
    size_t n = 0, n_trained = 0;
    int r = store_read_timed_pairs(st, &timed, &n, err);

    free(timed);
    if (r == ERR_OK && known < 0) {
        r = store_get_training(st, m->model_id, &pairs, &n_trained, err);
        free(pairs);
        known = (int64_t)n_trained;
    }
    *ret_n = (int64_t)n - known;
    return r == ERR_NONE ? ERR_OK : r;
}

/* ERR_NONE: no model is active yet. */
static int read_past(struct store *st, struct past *past, struct err *err)
{
    int r = store_model_active(st, &past->m, err);

    if (r != ERR_OK)
        return r;
    read_record(&past->m, past);
    store_model_done(&past->m);
    return count_new(st, &past->m, past->known, &past->n_new, err);
}

/* The schedule goes by the newest model that was ever active: a rollback starts nothing. */
static void take_past(struct retrain *t, const struct past *past)
{
    struct retrain_now now = look_at_clocks();
    int64_t age_us = clock_real_us() - past->m.created_us;
    bool asked = t->schedule.asked;

    t->model_id = past->m.model_id;
    t->ndcg_10 = past->ndcg_10;
    t->ndcg_20 = past->ndcg_20;
    t->cold_ndcg_20 = past->cold_ndcg_20;
    if (past->m.model_id <= t->newest_id) /* not by their times: the clock may have gone back */
        return;
    t->newest_id = past->m.model_id;
    t->seed_offset = past->m.model_id; /* so that a seed is not taken twice */
    retrain_schedule_init(&t->schedule, &now, past->m.origin == STORE_MODEL_TRAINED,
                          age_us > 0 ? age_us : 0, past->n_new);
    t->schedule.asked = asked;
}

static void look_at_past(struct retrain *t, struct store *st)
{
    struct past past = {0};
    struct err err;
    int r = read_past(st, &past, &err);

    if (r == ERR_OK) {
        pthread_mutex_lock(&t->lock);
        take_past(t, &past);
        pthread_mutex_unlock(&t->lock);
    } else if (r != ERR_NONE) { /* none: there is no active model yet */
        log_warning("retraining: %s", err.text);
    }
}

/* Somebody has trained, promoted or rolled back by hand. */
static void follow_model(struct retrain *t)
{
    struct pipeline_status p;
    struct store *st;

    pipeline_status(t->pipeline, &p);
    if (p.model_id == 0 || p.model_id == t->model_id ||
        store_open(t->settings(t->arg)->store.path, STORE_READ, &st, NULL) != ERR_OK)
        return;
    t->model_id = p.model_id;
    look_at_past(t, st);
    store_close(st);
}

static bool is_stopping(struct retrain *t)
{
    struct pollfd fd = {.fd = t->stop_fd, .events = POLLIN};

    return poll(&fd, 1, 0) > 0;
}

static bool is_going_on(void *arg)
{
    return !is_stopping(arg);
}

/* Folders of models may name users who were forgotten. A folder is written anew for that, so the next look
 * comes no sooner than FORGET_REST of its times. */
static void look_at_forgotten(struct retrain *t)
{
    struct candidate_target target = {.settings = t->settings(t->arg),
                                      .writer = pipeline_writer(t->pipeline)};
    uint64_t n = metrics_users_forgotten();
    int64_t start_us = clock_mono_us(), n_folders = 0;
    struct err err;

    if (n == t->n_forgotten || start_us < t->forget_due_us)
        return;
    int r = store_open(target.settings->store.path, STORE_READ, &target.reader, &err);
    if (r == ERR_OK && models_lock(is_going_on, t)) {
        r = forget_in_files(&target, &n_folders, &err);
        models_unlock();
    }
    store_close(target.reader);
    if (r != ERR_OK)
        log_warning("forgetting a user: %s: tried again", err.text);
    else
        t->n_forgotten = n;
    int64_t now_us = clock_mono_us(), rest_us = FORGET_REST * (now_us - start_us);
    t->forget_due_us = now_us + (r != ERR_OK && rest_us < AGAIN_US ? AGAIN_US : rest_us);
}

/* ---- a model whose file was lost ----------------------------------------------------------- */

/* Whether there is another file than at the last look. */
static bool file_changed(struct retrain *t, struct store *st)
{
    struct store_model row = {0};
    struct stat now = {0};
    char path[PATH_MAX];

    if (store_model_active(st, &row, NULL) == ERR_OK &&
        paths_model_file(t->settings(t->arg), row.file, path, NULL) == ERR_OK)
        (void)stat(path, &now);
    store_model_done(&row);
    bool changed = now.st_ino != t->lost_file.st_ino || now.st_size != t->lost_file.st_size ||
                   now.st_mtim.tv_sec != t->lost_file.st_mtim.tv_sec ||
                   now.st_mtim.tv_nsec != t->lost_file.st_mtim.tv_nsec;
    t->lost_file = now;
    return changed && now.st_ino;
}

/* What was put back may be of an earlier day, and name users who were forgotten since. */
static int clear_unfused(struct store *st, void *arg, struct err *err)
{
    int r = store_model_mended(st, err);

    (void)arg;
    if (r == ERR_OK)
        r = store_put_unfused(st, 0, err);
    return r == ERR_OK ? store_forgotten_again(st, err) : r;
}

/* With the file, or another model, what was stored without vectors gets them. */
static void mend(struct retrain *t, struct store *st, bool tells)
{
    struct candidate_target target = {
        .settings = t->settings(t->arg), .reader = st, .writer = pipeline_writer(t->pipeline)};
    struct err err;

    if (!models_lock(is_going_on, t))
        return;
    int r = candidate_mend(&target, &err);
    if (r == ERR_OK)
        r = store_work(&target.writer, clear_unfused, NULL, &err);
    models_unlock();
    if (r == ERR_OK)
        t->n_forgotten = UINT64_MAX;
    t->unfused = r != ERR_OK && r != ERR_NONE;
    t->mend_due_us = t->unfused ? clock_mono_us() + AGAIN_US : 0;
    if (t->unfused && tells)
        log_warning("a model's file that is back: %s", err.text);
}

static void ask_for_a_new_one(struct retrain *t)
{
    const struct settings *s = t->settings(t->arg);

    pthread_mutex_lock(&t->lock);
    if (s->training.enabled && !t->schedule.running &&
        clock_mono_us() >= t->schedule.not_before_us)
        retrain_schedule_ask(&t->schedule);
    pthread_mutex_unlock(&t->lock);
}

static void look_at_lost(struct retrain *t)
{
    struct pipeline_status p;
    struct store *st;

    pipeline_status(t->pipeline, &p);
    bool was_lost = t->lost;
    t->lost = p.model_lost[0] != '\0';
    if ((!t->lost && !t->unfused) ||
        store_open(t->settings(t->arg)->store.path, STORE_READ, &st, NULL) != ERR_OK)
        return;
    t->unfused = true;
    if (t->lost)
        ask_for_a_new_one(t);
    if (t->lost ? file_changed(t, st) : clock_mono_us() >= t->mend_due_us)
        mend(t, st, was_lost || !t->lost); /* the first look: the start has told it */
    store_close(st);
}

/* Leftovers of a crash, then what the store knows. An error here is told; the thread goes on. */
static void begin(struct retrain *t)
{
    const struct settings *s = t->settings(t->arg);
    struct store *st;
    struct err err;

    err_clear(&err);
    retrain_files_clear(s);
    if (pipeline_write(t->pipeline, retrain_reject_leftovers, (void *)(uintptr_t)s, &err) !=
            ERR_OK ||
        store_open(s->store.path, STORE_READ, &st, &err) != ERR_OK) {
        log_warning("retraining: %s", err.text);
        return;
    }
    if (models_lock(is_going_on, t)) {
        retrain_files_collect(s, st);
        models_unlock();
    }
    look_at_past(t, st);
    int64_t unfused = 0;
    t->unfused = store_get_unfused(st, &unfused, &err) == ERR_OK && unfused;
    store_close(st);
}

/* ---- rounds ------------------------------------------------------------------------------- */

static void show(void *arg, const char *what)
{
    struct retrain *t = arg;

    log_debug("retraining: %s", what);
    pthread_mutex_lock(&t->lock);
    text_format(t->doing, sizeof(t->doing), "%s", what); /* whatever a child prints */
    pthread_mutex_unlock(&t->lock);
}

static void count(struct retrain *t)
{
    uint64_t n = metrics_interactions();

    pthread_mutex_lock(&t->lock);
    retrain_schedule_count(&t->schedule, (int64_t)(n - t->n_counted));
    pthread_mutex_unlock(&t->lock);
    t->n_counted = n;
}

static void tick(void *arg)
{
    health_tick(HEALTH_TRAINER);
    count(arg);
}

static void tell(const struct retrain_outcome *o)
{
    switch (o->end) {
    case RETRAIN_PUBLISHED:
        log_notice("retraining: model %" PRId64 " is published: %s", o->model_id, o->why);
        break;
    case RETRAIN_REJECTED:
        log_warning("retraining: model %" PRId64 " is refused (%s): %s", o->model_id,
                    gate_verdict_name(o->decision.verdict), o->why);
        break;
    case RETRAIN_NOT_NOW:
        log_info("retraining: not now: %s", o->why);
        break;
    case RETRAIN_FAILED:
        log_error("retraining: failed%s%s: %s; the active model stays",
                  o->trainer == TRAINER_DONE ? "" : ", trainer ",
                  o->trainer == TRAINER_DONE ? "" : trainer_end_name(o->trainer), o->why);
        break;
    }
}

static void take_outcome(struct retrain *t, const struct retrain_outcome *o)
{
    struct retrain_now now = look_at_clocks();

    t->last = *o;
    t->has_last = true;
    t->n_results[o->end]++;
    t->ended_us[o->end] = clock_real_us();
    if (o->end == RETRAIN_FAILED)
        t->n_failed[o->trainer]++;
    if (o->end == RETRAIN_REJECTED)
        t->n_rejected[o->decision.verdict]++;
    if (o->end == RETRAIN_PUBLISHED) {
        t->ndcg_10 = o->figures.candidate.ndcg_10;
        t->ndcg_20 = o->figures.candidate.ndcg_20;
        t->cold_ndcg_20 = o->figures.candidate.cold_ndcg_20;
        t->model_id = o->model_id;
        t->newest_id = o->model_id;
    }
    retrain_schedule_end(&t->schedule, t->settings(t->arg), &now, o->end);
}

static void run_round(struct retrain *t)
{
    const struct retrain_round round = {.settings = t->settings(t->arg),
                                        .writer = pipeline_writer(t->pipeline),
                                        .stop_fd = t->stop_fd,
                                        .seed_offset = t->seed_offset++,
                                        .lost = t->lost,
                                        .show = show,
                                        .tick = tick,
                                        .arg = t};
    struct retrain_outcome outcome;

    pthread_mutex_lock(&t->lock);
    retrain_schedule_begin(&t->schedule);
    (void)snprintf(t->doing, sizeof(t->doing), "looking at the interactions");
    pthread_mutex_unlock(&t->lock);
    health_start(HEALTH_TRAINER, HEALTH_LIMIT_MS);
    retrain_round_run(&round, &outcome);
    health_stop(HEALTH_TRAINER);
    if (!is_stopping(t))
        tell(&outcome);
    pthread_mutex_lock(&t->lock);
    take_outcome(t, &outcome);
    pthread_mutex_unlock(&t->lock);
}

static bool is_due(struct retrain *t)
{
    struct retrain_now now = look_at_clocks();

    pthread_mutex_lock(&t->lock);
    bool due = retrain_schedule_is_due(&t->schedule, t->settings(t->arg), &now);
    pthread_mutex_unlock(&t->lock);
    return due;
}

static void *retrain_main(void *arg)
{
    struct retrain *t = arg;
    struct pollfd fds[] = {{.fd = t->stop_fd, .events = POLLIN},
                           {.fd = t->wake_fd, .events = POLLIN}};

    begin(t);
    while (!is_stopping(t)) {
        count(t);
        follow_model(t);
        look_at_forgotten(t);
        look_at_lost(t);
        if (is_due(t))
            run_round(t);
        else if (poll(fds, 2, TICK_MS) > 0 && fds[1].revents)
            wake_clear(t->wake_fd);
    }
    return NULL;
}

/* ---- opening and closing ------------------------------------------------------------------ */

static void retrain_free(struct retrain *t)
{
    if (t->wake_fd >= 0)
        close(t->wake_fd);
    if (t->stop_fd >= 0)
        close(t->stop_fd);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

int retrain_open(const struct settings *(*settings)(void *arg), void *arg, struct pipeline *p,
                 struct retrain **ret_t, struct err *err)
{
    struct retrain *t = calloc(1, sizeof(*t));

    if (!t)
        return err_oom(err, "retraining");
    t->settings = settings;
    t->arg = arg;
    t->pipeline = p;
    t->ndcg_10 = t->ndcg_20 = t->cold_ndcg_20 = -1;
    t->n_counted = metrics_interactions();
    t->n_forgotten = UINT64_MAX; /* what was left when the daemon stopped */
    struct retrain_now now = look_at_clocks();
    retrain_schedule_init(&t->schedule, &now, false, -1, 0);
    pthread_mutex_init(&t->lock, NULL);
    t->wake_fd = t->stop_fd = -1;
    int status = wake_open("retraining", &t->wake_fd, err);
    if (status == ERR_OK)
        status = wake_open("retraining", &t->stop_fd, err);
    int code = status == ERR_OK ? pthread_create(&t->thread, NULL, retrain_main, t) : 0;
    if (code)
        status = err_retry(err, EX_OSERR, "retraining: start its thread: %s", strerror(code));
    if (status == ERR_OK)
        *ret_t = t;
    else
        retrain_free(t);
    return status;
}

void retrain_stop(struct retrain *t)
{
    if (!t || t->stopped)
        return;
    wake_set(t->stop_fd);
    pthread_join(t->thread, NULL);
    t->stopped = true;
}

void retrain_close(struct retrain *t)
{
    retrain_stop(t);
    if (t)
        retrain_free(t);
}
