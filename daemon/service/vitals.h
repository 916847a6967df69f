#ifndef MMF_DAEMON_SERVICE_VITALS_H
#define MMF_DAEMON_SERVICE_VITALS_H

/* What the process shows of itself, gathered from the pipeline, the source and health.h: the
 * gauges of /metrics, /livez and /readyz, the STATUS line of sd_notify, the control socket's
 * `status`. Everything is asked for when it is needed; nothing is kept but the model's age and
 * the number of stale items.
 * Thread-safe once vitals_init has returned; pipeline and source must outlive the last call. */

#include "config/settings.h"
#include "daemon/pipeline/source.h"
#include "daemon/service/store_vitals.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json_t;
struct pipeline;
struct publish;
struct retrain;

struct vitals {
    struct pipeline *pipeline;
    _Atomic(struct source *) source;            /* NULL until it is started */
    _Atomic(struct publish *) letters;          /* NULL = none */
    _Atomic(struct retrain *) retrain;          /* NULL = none */
    const char *store_path;                     /* borrowed */
    int64_t started_us, started_mono_us;        /* wall clock, monotonic */
    _Atomic int64_t model_id, model_created_us; /* by vitals_tick */
    _Atomic int64_t n_stale, stale_at_us;       /* counted at a scrape, at most once a minute */
    struct store_vitals rows;
};

void vitals_init(struct vitals *v, const struct settings *s, struct pipeline *p);
/* From the main thread now and then: looks up the model when it has changed. */
void vitals_tick(struct vitals *v);

bool vitals_live(struct vitals *v, char *ret_why, size_t why_bytes);
/* Live, not failed, the source connected and nothing in a known wait. */
bool vitals_ready(struct vitals *v, char *ret_why, size_t why_bytes);
/* Counters, histograms and gauges. */
void vitals_metrics(struct vitals *v, FILE *out);
/* "lag 12, 3 decoding, model 7 ndcg 0.180, next retrain in 12 min", then the waits. */
void vitals_line(struct vitals *v, char *ret_text, size_t bytes);
/* A new object, NULL when memory is out. */
struct json_t *vitals_json(struct vitals *v);

#endif
