#ifndef MMF_DAEMON_BASE_METRICS_H
#define MMF_DAEMON_BASE_METRICS_H

/* The process's metrics, in Prometheus' text format 0.0.4. Counters and histograms are kept
 * here (thread-safe); gauges are read from the pipeline and the source when /metrics is asked.
 * No item or user labels. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum metrics_stage { METRICS_QUEUE, METRICS_EXTRACT, METRICS_FUSE, METRICS_COMMIT };
enum metrics_result {
    METRICS_STORED,
    METRICS_DELETED,
    METRICS_NO_SIGNAL,
    METRICS_STALE,
    METRICS_DEAD
};

void metrics_event(const char *topic);         /* metammf_events_total{topic} */
void metrics_item(enum metrics_result result); /* metammf_items_total{result} */
void metrics_interactions_add(uint64_t n);     /* metammf_interactions_total */
/* metammf_users_forgotten_total, and interactions of theirs that came again:
 * metammf_interactions_dropped_total */
void metrics_forgotten(uint64_t n_users, uint64_t n_dropped);
uint64_t metrics_users_forgotten(void); /* so far */
/* Committed, repeated ones included, by kind: of those that have a factor in the settings
 * metammf_interactions_by_kind_total{kind}, of the others
 * metammf_interactions_of_unknown_kind_total{kind}, so that no flood of invented kinds takes the
 * place of a known one. */
void metrics_interaction_kind(const char *kind, bool is_known);
/* Series that are there from now on, with 0: an alert on increase() misses what is born above it. */
void metrics_expect_topic(const char *topic);
void metrics_expect_kind(const char *kind);
void metrics_stage_us(enum metrics_stage stage, int64_t us);
void metrics_queryable_us(int64_t us); /* upload (received) to committed */
void metrics_dead_letter(const char *reason);
void metrics_missing_modality(int modality);
/* Of an item that is stored although its media was read in part only:
 * metammf_flagged_items_total{flag} */
enum metrics_flag { METRICS_PARTIAL, METRICS_DEGRADED, METRICS_CAPPED, METRICS_RETIMED };
void metrics_item_flag(enum metrics_flag flag);
/* Of an item that is a row of its text, because nothing came of its media:
 * metammf_text_only_items_total{reason} */
void metrics_text_only(const char *reason);
/* metammf_retention_removed_total{kind}: n more were removed for good. */
enum metrics_retained {
    METRICS_RETAINED_INTERACTIONS,
    METRICS_RETAINED_DEAD_LETTERS,
    METRICS_RETAINED_VECTORS,
    METRICS_RETAINED_TRAININGS,
    METRICS_RETAINED_MODEL_FOLDERS,
    METRICS_RETAINED_SPOOL_FILES,
    METRICS_RETAINED
};
void metrics_retained(enum metrics_retained kind, uint64_t n);
/* metammf_event_warnings_total{warning}: n more events were read with it; 0 = it is there from now on. */
void metrics_event_warning(const char *warning, unsigned n);
uint64_t metrics_items(enum metrics_result result); /* so far */
uint64_t metrics_interactions(void);
/* Counters and histograms only; -1 when out is in error. */
int metrics_print(FILE *out);
/* For whoever prints gauges after them: HELP and TYPE lines. */
void metrics_head(FILE *out, const char *name, const char *type, const char *help);
/* A line without labels; value may be NaN, which means "unknown". */
void metrics_value(FILE *out, const char *name, double value);
/* Both, of a gauge. */
void metrics_gauge(FILE *out, const char *name, const char *help, double value);

#endif
