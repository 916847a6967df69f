#ifndef MMF_DAEMON_RETRAIN_SCHEDULE_H
#define MMF_DAEMON_RETRAIN_SCHEDULE_H

/* When the next retraining is due. Pure: the caller brings both clocks and the counts, and tells
 * how each training ended.
 *
 *   asked for (SIGUSR1, metammf train --now)                  now, even in quiet hours
 *   new_interactions arrived since the last training          now
 *   interval_s since the last one, min_new_interactions new   now
 *   no model has been trained yet, min_new_interactions new   now
 *
 * each not in quiet hours and not before a failure's pause is over: retry_s, doubled with each
 * failure in a row, at most a day. A training that was refused by the gate is no failure. While
 * one runs nothing else is due; what was asked for meanwhile comes after it.
 *
 * Durations are on the monotonic clock, so that a jump of the wall clock neither starts nor
 * stops anything; the wall clock tells the quiet hours only. */

#include "config/settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum retrain_end {
    RETRAIN_PUBLISHED,
    RETRAIN_REJECTED,
    RETRAIN_FAILED,
    RETRAIN_NOT_NOW /* too little data, or the model is pinned: looked at again after retry_s */
};

struct retrain_schedule {
    bool trained; /* the active model was trained */
    bool asked, running;
    int64_t last_us;       /* end of the last training, monotonic */
    int64_t not_before_us; /* after a failure or too little data */
    unsigned n_failures;   /* in a row */
    int64_t n_new;         /* interactions since the last training began */
    int64_t n_at_start;    /* of these, when the one under way began */
};

struct retrain_now {
    int64_t mono_us;
    int minute_of_day; /* local time, for the quiet hours */
};

/* age_us: since the active model was trained, < 0 or trained false = never; n_new: interactions
 * since then. */
void retrain_schedule_init(struct retrain_schedule *r, const struct retrain_now *now,
                           bool trained, int64_t age_us, int64_t n_new);
void retrain_schedule_count(struct retrain_schedule *r, int64_t n_more);
/* Runs at the next look; a request during a training is kept. */
void retrain_schedule_ask(struct retrain_schedule *r);
bool retrain_schedule_is_due(const struct retrain_schedule *r, const struct settings *s,
                             const struct retrain_now *now);
void retrain_schedule_begin(struct retrain_schedule *r);
void retrain_schedule_end(struct retrain_schedule *r, const struct settings *s,
                          const struct retrain_now *now, enum retrain_end how);
/* "next retrain in 12 min", "next retrain after 400 more interactions", … for the status line. */
void retrain_schedule_line(const struct retrain_schedule *r, const struct settings *s,
                           const struct retrain_now *now, char *ret_text, size_t bytes);

#endif
