#include "daemon/service/vitals.h"

#include "config/clock.h"
#include "config/text.h"
#include "config/version.h"
#include "daemon/base/health.h"
#include "daemon/base/json_field.h"
#include "daemon/base/metrics.h"
#include "daemon/base/process.h"
#include "daemon/base/steady.h"
#include "daemon/pipeline/pipeline.h"
#include "daemon/publish/publish.h"
#include "daemon/retrain/retrain.h"
#include "daemon/source/reextract.h"
#include "store/models.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STALE_EVERY_US INT64_C(60000000)

/* One look at both, so that the lines of one answer agree. */
struct look {
    struct pipeline_status p;
    struct source_status s;
    const char *source_name;   /* NULL = not started */
    struct source_part *parts; /* (n_parts), the first of n_all; NULL = none, or no memory */
    size_t n_parts, n_all;
    bool has_parts;       /* a source that has partitions: Kafka */
    uint64_t n_published; /* dead letters that the broker took */
};

static void look_at(struct vitals *v, struct look *ret)
{
    struct source *src = atomic_load(&v->source);
    struct publish *letters = atomic_load(&v->letters);

    memset(ret, 0, sizeof(*ret));
    pipeline_status(v->pipeline, &ret->p);
    ret->s.lag_records = -1;
    if (src) {
        ret->source_name = src->ops->name;
        src->ops->status(src, &ret->s);
    }
    if (letters)
        ret->n_published = publish_count(letters);
}

/* What is shown partition by partition; free(ret->parts). */
static void look_at_parts(struct vitals *v, struct look *ret)
{
    struct source *src = atomic_load(&v->source);

    if (!src || !src->ops->parts)
        return;
    ret->has_parts = true;
    ret->parts = calloc(SOURCE_PARTS_SHOWN, sizeof(*ret->parts));
    if (!ret->parts)
        return;
    ret->n_all = src->ops->parts(src, ret->parts, SOURCE_PARTS_SHOWN);
    ret->n_parts = ret->n_all < SOURCE_PARTS_SHOWN ? ret->n_all : SOURCE_PARTS_SHOWN;
}

void vitals_init(struct vitals *v, const struct settings *s, struct pipeline *p)
{
    memset(v, 0, sizeof(*v));
    v->pipeline = p;
    v->store_path = s->store.path;
    v->started_us = clock_real_us();
    v->started_mono_us = clock_mono_us();
    v->stale_at_us = -STALE_EVERY_US;
    store_vitals_init(&v->rows, s->store.path);
}

void vitals_tick(struct vitals *v)
{
    struct pipeline_status p;
    struct store_model m = {0};
    struct store *st;

    pipeline_status(v->pipeline, &p);
    if (p.model_id == 0 || p.model_id == atomic_load(&v->model_id))
        return;
    if (store_open(v->store_path, STORE_READ, &st, NULL) != ERR_OK)
        return; /* a gauge only: the next tick tries again */
    if (store_model_get(st, p.model_id, &m, NULL) == ERR_OK) {
        atomic_store(&v->model_created_us, m.created_us);
        atomic_store(&v->model_id, p.model_id);
        store_model_done(&m);
    }
    store_close(st);
}

bool vitals_live(struct vitals *v, char *ret_why, size_t why_bytes)
{
    (void)v;
    return health_ok(ret_why, why_bytes);
}

bool vitals_ready(struct vitals *v, char *ret_why, size_t why_bytes)
{
    struct look l;
    char waits[256];

    if (!health_ok(ret_why, why_bytes))
        return false;
    look_at(v, &l);
    health_waits(waits, sizeof(waits));
    if (l.p.failed)
        text_format(ret_why, why_bytes, "pipeline failed: %s", l.p.err.text);
    else if (!l.source_name)
        text_format(ret_why, why_bytes, "starting: the source is not open yet");
    else if (l.s.failed)
        text_format(ret_why, why_bytes, "source %s failed%s%s", l.source_name,
                    l.s.detail[0] ? ": " : "", l.s.detail);
    else if (!l.s.connected)
        text_format(ret_why, why_bytes, "source %s not connected%s%s", l.source_name,
                    l.s.detail[0] ? ": " : "", l.s.detail);
    else if (waits[0])
        text_format(ret_why, why_bytes, "waiting: %s", waits);
    else if (l.p.wait[0])
        text_format(ret_why, why_bytes, "waiting: %s", l.p.wait);
    else if (l.p.model_lost[0])
        text_format(ret_why, why_bytes, "no model, new items wait without vectors: %s",
                    l.p.model_lost);
    else
        return true;
    return false;
}

static void counter(FILE *out, const char *name, const char *help, uint64_t value)
{
    metrics_head(out, name, "counter", help);
    fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static void print_pipeline(FILE *out, const struct pipeline_status *p)
{
    metrics_head(out, "metammf_queue_depth", "gauge", "Items waiting, by queue.");
    fprintf(out, "metammf_queue_depth{queue=\"work\"} %zu\n", p->n_work);
    fprintf(out, "metammf_queue_depth{queue=\"done\"} %zu\n", p->n_done);
    metrics_gauge(out, "metammf_in_flight", "Events received and not yet committed.",
                  (double)p->n_in_flight);
    metrics_head(out, "metammf_workers", "gauge", "Extraction workers, by state.");
    fprintf(out, "metammf_workers{state=\"busy\"} %u\n", p->pool.n_busy);
    fprintf(out, "metammf_workers{state=\"idle\"} %u\n", p->pool.n_workers - p->pool.n_busy);
    counter(out, "metammf_worker_spawns_total", "Workers started.", p->pool.n_spawned);
    metrics_head(out, "metammf_worker_deaths_total", "counter",
                 "Workers lost: killed at their deadline, or died by themselves.");
    fprintf(out, "metammf_worker_deaths_total{cause=\"deadline\"} %" PRIu64 "\n",
            p->pool.n_killed_deadline);
    fprintf(out, "metammf_worker_deaths_total{cause=\"died\"} %" PRIu64 "\n", p->pool.n_died);
    metrics_gauge(
        out, "metammf_commit_failing_seconds",
        "For how long commits have failed: disk full, store locked, no memory; 0 = they do "
        "not.",
        (double)p->failing_us / 1e6);
    metrics_gauge(out, "metammf_sandboxed", "1 when seccomp is in force in every worker.",
                  p->pool.sandboxed ? 1 : 0);
}

static void print_refresh(FILE *out, const struct refresh_status *r)
{
    metrics_gauge(
        out, "metammf_refresh_touches",
        "Interactions that came or were removed, and item changes, that no vector holds yet.",
        (double)r->n_touches);
    metrics_gauge(out, "metammf_refresh_staleness_seconds",
                  "Age of the oldest of them, 0 without any.", r->staleness_s);
    counter(out, "metammf_refresh_vectors_total", "Vectors made anew between trainings.",
            r->n_vectors);
    counter(out, "metammf_refresh_unchanged_total", "Vectors made anew without a change.",
            r->n_same);
    counter(out, "metammf_refresh_rows_total",
            "Rows of neighbours made anew between trainings, those that changed.", r->n_rows);
    counter(
        out, "metammf_refresh_too_big_total",
        "Vectors and rows of neighbours left to the next training: above refresh.max_edges.",
        r->n_too_big);
    counter(out, "metammf_refresh_edges_total", "Edges looked at.", r->n_edges);
    counter(out, "metammf_refresh_passes_total", "Transactions of refreshed vectors.",
            r->n_passes);
    metrics_head(out, "metammf_refresh_seconds_total", "counter",
                 "Time spent making vectors anew, writing not included.");
    fprintf(out, "metammf_refresh_seconds_total %.6f\n", r->seconds);
}

/* The names of topics need no escape. */
static void print_parts(FILE *out, const struct look *l)
{
    metrics_gauge(
        out, "metammf_consumer_lag_records",
        "Records that can be read and are not stored, over all assigned partitions; NaN while "
        "nothing is known.",
        l->s.lag_records >= 0 ? (double)l->s.lag_records : (double)NAN);
    metrics_gauge(out, "metammf_assigned_partitions", "Partitions that this daemon reads.",
                  l->s.n_partitions);
    metrics_head(out, "metammf_partitions", "gauge", "Partitions, by what each is doing.");
    for (int i = 0; i < SOURCE_PART_STATES; i++)
        fprintf(out, "metammf_partitions{state=\"%s\"} %u\n",
                source_part_state_name((enum source_part_state)i), l->s.n_in_state[i]);
    metrics_head(out, "metammf_partition_lag_records", "gauge",
                 "Records that can be read and are not stored, of the first 100 partitions.");
    for (size_t i = 0; i < l->n_parts; i++) {
        const struct source_part *part = &l->parts[i];

        if (part->partition >= 0 && part->lag >= 0)
            fprintf(out,
                    "metammf_partition_lag_records{topic=\"%s\",partition=\"%d\"} %" PRId64
                    "\n",
                    part->topic, (int)part->partition, part->lag);
    }
}

static void print_source(FILE *out, const struct look *l)
{
    metrics_gauge(out, "metammf_source_connected",
                  "1 when the broker answers or the folder is there.", l->s.connected ? 1 : 0);
    metrics_gauge(out, "metammf_source_paused", "1 while back-pressure holds the source.",
                  l->s.paused ? 1 : 0);
    if (l->has_parts)
        print_parts(out, l);
    metrics_gauge(out, "metammf_source_warning",
                  "1 while something else than reading is held up: metammf status says what.",
                  l->s.warning[0] ? 1 : 0);
    counter(out, "metammf_rebalances_total", "Assignments and revocations of partitions.",
            l->s.n_rebalances);
    counter(out, "metammf_data_gaps_total", "Holes found in the log.", l->s.n_gaps);
    counter(out, "metammf_repeated_messages_total", "Messages delivered again and dropped.",
            l->s.n_repeats);
    counter(out, "metammf_dlq_published_total", "Dead letters that the broker took.",
            l->n_published);
}

/* Counting walks an index: not at each scrape, and not on the main thread. */
static int64_t count_stale(struct vitals *v)
{
    int64_t now_us = clock_mono_us(), n = 0;
    struct store *st;

    if (now_us < atomic_load(&v->stale_at_us) + STALE_EVERY_US)
        return atomic_load(&v->n_stale);
    if (store_open(v->store_path, STORE_READ, &st, NULL) != ERR_OK)
        return atomic_load(&v->n_stale);
    if (reextract_count_stale(st, pipeline_encoders(v->pipeline), &n, NULL) == ERR_OK) {
        atomic_store(&v->n_stale, n);
        atomic_store(&v->stale_at_us, now_us);
    }
    store_close(st);
    return atomic_load(&v->n_stale);
}

static void print_identity(FILE *out, struct vitals *v, const struct pipeline_status *p)
{
    int64_t created_us = atomic_load(&v->model_created_us);

    metrics_gauge(
        out, "metammf_model_loaded",
        "0 while the active model's file is missing or damaged: new items get no vectors.",
        p->model_lost[0] ? 0 : 1);
    metrics_head(out, "metammf_model_info", "gauge", "The active model.");
    if (p->model_id)
        fprintf(out,
                "metammf_model_info{model_id=\"%" PRId64 "\",trained=\"%s\",dim=\"%d\"} 1\n",
                p->model_id, p->model_trained ? "true" : "false", p->dim);
    if (created_us > 0)
        metrics_gauge(out, "metammf_model_age_seconds", "Since the active model was made.",
                      (double)(clock_real_us() - created_us) / 1e6);
    metrics_gauge(out, "metammf_stale_items",
                  "Items with features of another version of the encoders.",
                  (double)count_stale(v));
    metrics_head(out, "metammf_build_info", "gauge", "The running build.");
    fprintf(out, "metammf_build_info{version=\"%s\"} 1\n", version_text);
}

static void print_retention(FILE *out)
{
    char why[128];

    steady_wait(why, sizeof(why));
    metrics_gauge(
        out, "metammf_retention_waits",
        "1 while age cannot be told because the clock jumped: metammf status says more.",
        why[0] ? 1 : 0);
}

void vitals_metrics(struct vitals *v, FILE *out)
{
    struct look l;
    char why[256];

    look_at(v, &l);
    if (metrics_print(out) != 0)
        return;
    metrics_gauge(out, "metammf_ready", "1 while /readyz answers 200.",
                  vitals_ready(v, why, sizeof(why)) ? 1 : 0);
    look_at_parts(v, &l);
    print_pipeline(out, &l.p);
    print_refresh(out, &l.p.refresh);
    print_source(out, &l);
    store_vitals_print(&v->rows, l.p.committed_us, out);
    free(l.parts);
    print_identity(out, v, &l.p);
    print_retention(out);
    retrain_metrics(atomic_load(&v->retrain), out);
    process_metrics(out, v->started_us);
}

void vitals_line(struct vitals *v, char *ret_text, size_t bytes)
{
    struct look l;
    char lag[32] = "unknown", waits[160], retrain[256], model[48] = "no model";
    const char *wait = waits;

    look_at(v, &l);
    health_waits(waits, sizeof(waits));
    if (!waits[0])
        wait = l.p.wait[0]         ? l.p.wait
               : !l.s.connected    ? l.s.detail
               : l.p.model_lost[0] ? l.p.model_lost
                                   : "";
    if (l.s.lag_records >= 0)
        snprintf(lag, sizeof(lag), "%" PRId64, l.s.lag_records);
    retrain_line(atomic_load(&v->retrain), retrain, sizeof(retrain));
    if (l.p.model_id)
        snprintf(model, sizeof(model), "model %" PRId64 "%s", l.p.model_id,
                 l.p.model_trained ? "" : " untrained");
    text_format(ret_text, bytes, "lag %s, %u decoding, %s%s%s%s", lag, l.p.pool.n_busy, model,
                retrain, wait[0] ? "; " : "", wait);
}

static json_t *json_states(const struct source_status *s)
{
    json_t *states = json_object();

    for (int i = 0; i < SOURCE_PART_STATES; i++)
        json_object_set_new(states, source_part_state_name((enum source_part_state)i),
                            json_integer(s->n_in_state[i]));
    return states;
}

static json_t *json_parts(const struct look *l)
{
    json_t *parts = json_array();

    for (size_t i = 0; i < l->n_parts; i++) {
        const struct source_part *part = &l->parts[i];

        json_array_append_new(
            parts, json_pack("{s:s, s:i, s:s, s:I, s:I, s:s}", "topic", part->topic,
                             "partition", (int)part->partition, "state",
                             source_part_state_name(part->state), "lag", (json_int_t)part->lag,
                             "next_offset", (json_int_t)part->next_offset, "why", part->why));
    }
    return parts;
}

static json_t *json_source(const struct look *l)
{
    return json_pack("{s:s, s:b, s:b, s:b, s:i, s:I, s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I}",
                     "name", l->source_name ? l->source_name : "none", "connected",
                     l->s.connected, "paused", l->s.paused, "failed", l->s.failed, "partitions",
                     (int)l->s.n_partitions, "lag", (json_int_t)l->s.lag_records, "detail",
                     l->s.detail, "warning", l->s.warning, "states", json_states(&l->s),
                     "parts", json_parts(l), "rebalances", (json_int_t)l->s.n_rebalances,
                     "gaps", (json_int_t)l->s.n_gaps, "repeats", (json_int_t)l->s.n_repeats,
                     "dlq_published", (json_int_t)l->n_published);
}

static json_t *json_workers(const struct pool_stats *p)
{
    return json_pack("{s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:b}", "total", (int)p->n_workers,
                     "busy", (int)p->n_busy, "jobs", (json_int_t)p->n_jobs, "spawned",
                     (json_int_t)p->n_spawned, "recycled", (json_int_t)p->n_recycled,
                     "killed_deadline", (json_int_t)p->n_killed_deadline, "died",
                     (json_int_t)p->n_died, "sandboxed", p->sandboxed);
}

struct json_t *vitals_json(struct vitals *v)
{
    struct look l;
    char why[256] = "", waits[256], retention[128];
    bool live = health_ok(why, sizeof(why));
    bool ready = live && vitals_ready(v, why, sizeof(why));

    look_at(v, &l);
    look_at_parts(v, &l);
    health_waits(waits, sizeof(waits));
    steady_wait(retention, sizeof(retention));
    struct stat store = {.st_ino = 0};
    (void)stat(v->store_path, &store);
    json_t *source = json_source(&l);
    free(l.parts);
    return json_pack(
        "{s:s, s:o, s:[I, I], s:i, s:f, s:b, s:b, s:s, s:s, s:o, s:{s:I, s:I, s:I}, s:o,"
        " s:{s:I, s:b, s:i, s:s}, s:o, s:s}",
        "version", version_text, "store", json_of_text(v->store_path), "store_file",
        (json_int_t)store.st_dev, (json_int_t)store.st_ino, "pid", (int)getpid(), "uptime_s",
        (double)(clock_mono_us() - v->started_mono_us) / 1e6, "live", live, "ready", ready,
        "why", why, "wait", waits[0] ? waits : l.p.wait, "source", source, "queue", "work",
        (json_int_t)l.p.n_work, "done", (json_int_t)l.p.n_done, "in_flight",
        (json_int_t)l.p.n_in_flight, "workers", json_workers(&l.p.pool), "model", "id",
        (json_int_t)l.p.model_id, "trained", l.p.model_trained, "dim", (int)l.p.dim, "lost",
        l.p.model_lost, "training", retrain_json(atomic_load(&v->retrain)), "retention_wait",
        retention);
}
