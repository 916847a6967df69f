/* Counters and histograms of the process, in Prometheus' text format 0.0.4.
 *
 * Thread: any. A plain counter is one relaxed atomic; a counter with an open label (topic,
 * reason) is a small table under a mutex, bounded so that hostile topic or reason names cannot
 * grow it: what does not fit is counted under "other". file:<sha256> topics share one label,
 * because every ingested file would add a time series for ever.
 *
 * A scrape is not one instant over all metrics; each histogram's _count is the sum of its
 * buckets as printed, so every line of one histogram agrees with the others.
 *
 * Example: metrics_queryable_us(12000) raises the buckets from le="0.02" up, _count, and adds
 * 0.012 to _sum.
 */
#include "daemon/base/metrics.h"

#include "config/modality.h"
#include "config/text.h"
#include "daemon/base/reasons.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#define METRICS_BUCKETS     16
#define METRICS_LABELS      32  /* of those that strangers choose */
#define METRICS_KINDS       128 /* of those that the settings name */
#define METRICS_LABEL_BYTES 256 /* the longest name of a topic has 249 */

/* Upper bounds; everything above is +Inf. The design's goal, 20 ms besides extraction, and the
 * deadline of an item, some 10 s, both fall on a bound. */
static const int64_t bounds_us[METRICS_BUCKETS] = {
    500,    1000,   2000,    5000,    10000,   20000,    50000,    100000,
    200000, 500000, 1000000, 2000000, 5000000, 10000000, 30000000, 60000000};

struct histogram {
    atomic_uint_least64_t bucket[METRICS_BUCKETS + 1];
    atomic_uint_least64_t sum_us;
};

struct labelled {
    pthread_mutex_t mutex;
    size_t n, room;
    char name[METRICS_KINDS][METRICS_LABEL_BYTES];
    uint64_t value[METRICS_KINDS];
};
#define LABELLED(max)                                                                          \
    {                                                                                          \
        .mutex = PTHREAD_MUTEX_INITIALIZER, .room = (max)                                      \
    }

static const char *const stage_names[] = {"queue", "extract", "fuse", "commit"};
static const char *const result_names[] = {"stored", "deleted", "no_signal", "stale", "dead"};
static const char *const flag_names[] = {"partial", "degraded", "capped", "retimed"};
static const char *const retained_names[METRICS_RETAINED] = {
    "interactions", "dead_letters", "vectors", "trainings", "model_folders", "spool_files"};
#define METRICS_STAGES  (sizeof(stage_names) / sizeof(stage_names[0]))
#define METRICS_RESULTS (sizeof(result_names) / sizeof(result_names[0]))
#define METRICS_FLAGS   (sizeof(flag_names) / sizeof(flag_names[0]))

static struct labelled events = LABELLED(METRICS_LABELS);
static struct labelled warnings = LABELLED(METRICS_LABELS);
static struct labelled dead_letters = LABELLED(METRICS_LABELS);
static struct labelled text_only = LABELLED(METRICS_LABELS);
static struct labelled known_kinds = LABELLED(METRICS_KINDS);
static struct labelled unknown_kinds = LABELLED(METRICS_LABELS);
static struct histogram stages[METRICS_STAGES];
static struct histogram queryable;
static atomic_uint_least64_t results[METRICS_RESULTS];
static atomic_uint_least64_t interactions, users_forgotten, interactions_dropped;
static atomic_uint_least64_t missing[MODALITY_COUNT], flagged[METRICS_FLAGS];
static atomic_uint_least64_t retained[METRICS_RETAINED];

static void count(atomic_uint_least64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t value_of(atomic_uint_least64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void histogram_add(struct histogram *h, int64_t us)
{
    size_t i = 0;

    if (us < 0) /* the wall clock was set back between two stamps */
        us = 0;
    while (i < METRICS_BUCKETS && us > bounds_us[i])
        i++;
    count(&h->bucket[i], 1);
    count(&h->sum_us, (uint64_t)us);
}

/* The slot of `name`, a new one while there is room, else the last one, named "other". */
static size_t labelled_slot(struct labelled *l, const char *name, size_t name_bytes)
{
    for (size_t i = 0; i < l->n; i++)
        if (strncmp(l->name[i], name, name_bytes) == 0 && l->name[i][name_bytes] == '\0')
            return i;
    if (l->n == l->room)
        return l->room - 1;
    if (l->n == l->room - 1) {
        name = "other";
        name_bytes = strlen(name);
    }
    memcpy(l->name[l->n], name, name_bytes);
    l->name[l->n][name_bytes] = '\0';
    l->value[l->n] = 0;
    return l->n++;
}

static void labelled_add(struct labelled *l, const char *name, size_t name_bytes, uint64_t n)
{
    /* Made fit here, so that no two slots print the same series. */
    char value[METRICS_LABEL_BYTES];

    text_format(value, sizeof(value), "%.*s", (int)name_bytes, name);
    pthread_mutex_lock(&l->mutex);
    l->value[labelled_slot(l, value, strlen(value))] += n;
    pthread_mutex_unlock(&l->mutex);
}

void metrics_event(const char *topic)
{
    labelled_add(&events, topic, strncmp(topic, "file:", 5) == 0 ? 4 : strlen(topic), 1);
}

void metrics_event_warning(const char *warning, unsigned n)
{
    labelled_add(&warnings, warning, strlen(warning), n);
}

void metrics_retained(enum metrics_retained kind, uint64_t n)
{
    count(&retained[kind], n);
}

void metrics_item(enum metrics_result result)
{
    count(&results[result], 1);
}

uint64_t metrics_items(enum metrics_result result)
{
    return value_of(&results[result]);
}

void metrics_interactions_add(uint64_t n)
{
    count(&interactions, n);
}

void metrics_forgotten(uint64_t n_users, uint64_t n_dropped)
{
    count(&users_forgotten, n_users);
    count(&interactions_dropped, n_dropped);
}

uint64_t metrics_users_forgotten(void)
{
    return value_of(&users_forgotten);
}

void metrics_interaction_kind(const char *kind, bool is_known)
{
    labelled_add(is_known ? &known_kinds : &unknown_kinds, kind, strlen(kind), 1);
}

uint64_t metrics_interactions(void)
{
    return value_of(&interactions);
}

void metrics_stage_us(enum metrics_stage stage, int64_t us)
{
    histogram_add(&stages[stage], us);
}

void metrics_queryable_us(int64_t us)
{
    histogram_add(&queryable, us);
}

void metrics_dead_letter(const char *reason)
{
    labelled_add(&dead_letters, reason, strlen(reason), 1);
}

void metrics_missing_modality(int modality)
{
    if (modality >= 0 && modality < MODALITY_COUNT)
        count(&missing[modality], 1);
}

void metrics_text_only(const char *reason)
{
    labelled_add(&text_only, reason, strlen(reason), 1);
}

void metrics_item_flag(enum metrics_flag flag)
{
    count(&flagged[flag], 1);
}

void metrics_expect_topic(const char *topic)
{
    labelled_add(&events, topic, strlen(topic), 0);
}

void metrics_expect_kind(const char *kind)
{
    labelled_add(&known_kinds, kind, strlen(kind), 0);
}

void metrics_head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_value(FILE *out, const char *name, double value)
{
    if (isnan(value)) /* printf's spelling is not Prometheus' */
        fprintf(out, "%s NaN\n", name);
    else
        fprintf(out, "%s %.15g\n", name, value);
}

void metrics_gauge(FILE *out, const char *name, const char *help, double value)
{
    metrics_head(out, name, "gauge", help);
    metrics_value(out, name, value);
}

/* A label's value, one line already, escaped. */
static void print_label(FILE *out, const char *value)
{
    for (const char *c = value; *c; c++) {
        if (*c == '\\' || *c == '"')
            fputc('\\', out);
        fputc(*c, out);
    }
}

static void print_labelled(FILE *out, struct labelled *l, const char *name, const char *label)
{
    pthread_mutex_lock(&l->mutex);
    for (size_t i = 0; i < l->n; i++) {
        fprintf(out, "%s{%s=\"", name, label);
        print_label(out, l->name[i]);
        fprintf(out, "\"} %" PRIu64 "\n", l->value[i]);
    }
    pthread_mutex_unlock(&l->mutex);
}

/* `label` is "" or `stage="extract"`. */
static void print_histogram(FILE *out, struct histogram *h, const char *name, const char *label)
{
    const char *comma = *label ? "," : "";
    const char *open = *label ? "{" : "", *close = *label ? "}" : "";
    uint64_t n = 0;

    for (size_t i = 0; i < METRICS_BUCKETS; i++) {
        n += value_of(&h->bucket[i]);
        fprintf(out, "%s_bucket{%s%sle=\"%g\"} %" PRIu64 "\n", name, label, comma,
                (double)bounds_us[i] / 1e6, n);
    }
    n += value_of(&h->bucket[METRICS_BUCKETS]);
    fprintf(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, label, comma, n);
    fprintf(out, "%s_sum%s%s%s %.6f\n", name, open, label, close,
            (double)value_of(&h->sum_us) / 1e6);
    fprintf(out, "%s_count%s%s%s %" PRIu64 "\n", name, open, label, close, n);
}

static void expect_reasons(void)
{
    for (size_t i = 0; i < n_reasons; i++) {
        labelled_add(&dead_letters, reasons[i].name, strlen(reasons[i].name), 0);
        if (reasons[i].of_media)
            labelled_add(&text_only, reasons[i].name, strlen(reasons[i].name), 0);
    }
}

static void print_counters(FILE *out)
{
    expect_reasons();
    metrics_head(out, "metammf_events_total", "counter", "Events received, by topic.");
    print_labelled(out, &events, "metammf_events_total", "topic");
    metrics_head(out, "metammf_items_total", "counter", "Video events finished, by result.");
    for (size_t i = 0; i < METRICS_RESULTS; i++)
        fprintf(out, "metammf_items_total{result=\"%s\"} %" PRIu64 "\n", result_names[i],
                value_of(&results[i]));
    metrics_head(out, "metammf_interactions_total", "counter", "Interactions stored.");
    fprintf(out, "metammf_interactions_total %" PRIu64 "\n", value_of(&interactions));
    metrics_head(out, "metammf_users_forgotten_total", "counter",
                 "Users forgotten by user.deleted, a tombstone or metammf forget.");
    fprintf(out, "metammf_users_forgotten_total %" PRIu64 "\n", value_of(&users_forgotten));
    metrics_head(out, "metammf_interactions_dropped_total", "counter",
                 "Interactions that came again after their user was forgotten.");
    fprintf(out, "metammf_interactions_dropped_total %" PRIu64 "\n",
            value_of(&interactions_dropped));
    metrics_head(out, "metammf_interactions_by_kind_total", "counter",
                 "Interactions committed, of the kinds in interactions.kinds, repeated ones "
                 "included.");
    print_labelled(out, &known_kinds, "metammf_interactions_by_kind_total", "kind");
    metrics_head(out, "metammf_interactions_of_unknown_kind_total", "counter",
                 "The same of other kinds, which count by interactions.default.");
    print_labelled(out, &unknown_kinds, "metammf_interactions_of_unknown_kind_total", "kind");
    metrics_head(out, "metammf_dead_letters_total", "counter", "Dead letters, by reason.");
    print_labelled(out, &dead_letters, "metammf_dead_letters_total", "reason");
    metrics_head(out, "metammf_event_warnings_total", "counter",
                 "Events that were read although something was not as it should be, by what.");
    print_labelled(out, &warnings, "metammf_event_warnings_total", "warning");
    metrics_head(out, "metammf_retention_removed_total", "counter",
                 "What retention removed for good, by kind.");
    for (size_t i = 0; i < METRICS_RETAINED; i++)
        fprintf(out, "metammf_retention_removed_total{kind=\"%s\"} %" PRIu64 "\n",
                retained_names[i], value_of(&retained[i]));
    metrics_head(out, "metammf_missing_modality_total", "counter",
                 "Items stored without a modality.");
    for (int m = 0; m < MODALITY_COUNT; m++)
        fprintf(out, "metammf_missing_modality_total{modality=\"%s\"} %" PRIu64 "\n",
                modality_name((enum modality)m), value_of(&missing[m]));
    metrics_head(
        out, "metammf_flagged_items_total", "counter",
        "Items stored although their media was read in part only: ended early, over the "
        "budget, over a cap, without usable times.");
    for (size_t i = 0; i < METRICS_FLAGS; i++)
        fprintf(out, "metammf_flagged_items_total{flag=\"%s\"} %" PRIu64 "\n", flag_names[i],
                value_of(&flagged[i]));
    metrics_head(out, "metammf_text_only_items_total", "counter",
                 "Items stored by their text alone, because nothing came of their media, by "
                 "reason.");
    print_labelled(out, &text_only, "metammf_text_only_items_total", "reason");
}

int metrics_print(FILE *out)
{
    print_counters(out);
    metrics_head(out, "metammf_stage_duration_seconds", "histogram",
                 "Time an item spent in a stage: waiting, extraction, fusion, commit.");
    for (size_t i = 0; i < METRICS_STAGES; i++) {
        char label[32];

        snprintf(label, sizeof(label), "stage=\"%s\"", stage_names[i]);
        print_histogram(out, &stages[i], "metammf_stage_duration_seconds", label);
    }
    metrics_head(out, "metammf_upload_to_queryable_seconds", "histogram",
                 "From the event's arrival to its committed row.");
    print_histogram(out, &queryable, "metammf_upload_to_queryable_seconds", "");
    return ferror(out) ? -1 : 0;
}
