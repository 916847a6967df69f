#include "daemon/retrain/schedule.h"

#include "config/text.h"

#include <inttypes.h>
#include <stdio.h>

#define US_PER_S     INT64_C(1000000)
#define PAUSE_MAX_US (86400 * US_PER_S)

void retrain_schedule_init(struct retrain_schedule *r, const struct retrain_now *now,
                           bool trained, int64_t age_us, int64_t n_new)
{
    *r = (struct retrain_schedule){.trained = trained && age_us >= 0,
                                   .last_us = now->mono_us - (age_us > 0 ? age_us : 0),
                                   .not_before_us = INT64_MIN,
                                   .n_new = n_new > 0 ? n_new : 0};
}

void retrain_schedule_count(struct retrain_schedule *r, int64_t n_more)
{
    r->n_new += n_more;
}

void retrain_schedule_ask(struct retrain_schedule *r)
{
    r->asked = true;
}

static bool is_quiet(const struct settings *s, int minute_of_day)
{
    int from, to;

    if (!settings_hours_parse(s->training.quiet_hours, &from, &to))
        return false;
    if (from <= to)
        return minute_of_day >= from && minute_of_day < to;
    return minute_of_day >= from || minute_of_day < to;
}

/* When the interval is over; INT64_MAX = never by time. */
static int64_t interval_end(const struct retrain_schedule *r, const struct settings *s)
{
    if (!r->trained)
        return INT64_MIN;
    return s->training.interval_s ? r->last_us + s->training.interval_s * US_PER_S : INT64_MAX;
}

static bool enough_at_once(const struct retrain_schedule *r, const struct settings *s)
{
    return s->training.new_interactions && r->n_new >= s->training.new_interactions;
}

bool retrain_schedule_is_due(const struct retrain_schedule *r, const struct settings *s,
                             const struct retrain_now *now)
{
    if (r->running)
        return false;
    if (r->asked)
        return true;
    if (!s->training.enabled || now->mono_us < r->not_before_us ||
        is_quiet(s, now->minute_of_day))
        return false;
    return enough_at_once(r, s) ||
           (r->n_new >= s->training.min_new_interactions && now->mono_us >= interval_end(r, s));
}

void retrain_schedule_begin(struct retrain_schedule *r)
{
    r->running = true;
    r->asked = false;
    r->n_at_start = r->n_new;
}

static int64_t pause_us(const struct retrain_schedule *r, const struct settings *s)
{
    int64_t us = s->training.retry_s * US_PER_S;

    for (unsigned i = 1; i < r->n_failures && us < PAUSE_MAX_US; i++)
        us *= 2;
    return us < PAUSE_MAX_US ? us : PAUSE_MAX_US;
}

void retrain_schedule_end(struct retrain_schedule *r, const struct settings *s,
                          const struct retrain_now *now, enum retrain_end how)
{
    bool judged = how == RETRAIN_PUBLISHED || how == RETRAIN_REJECTED;

    r->running = false;
    r->n_failures = how == RETRAIN_FAILED ? r->n_failures + 1 : 0;
    r->not_before_us = judged ? INT64_MIN : now->mono_us + pause_us(r, s);
    if (!judged)
        return;
    r->trained = r->trained || how == RETRAIN_PUBLISHED;
    r->last_us = now->mono_us;
    r->n_new -= r->n_at_start;
    if (how == RETRAIN_REJECTED && !r->trained)
        r->not_before_us = now->mono_us + pause_us(r, s);
}

static void print_wait(int64_t us, char *ret_text, size_t bytes)
{
    int64_t s = (us + US_PER_S - 1) / US_PER_S;

    if (s < 120)
        (void)snprintf(ret_text, bytes, "next retrain in %" PRId64 " s", s);
    else if (s < 7200)
        (void)snprintf(ret_text, bytes, "next retrain in %" PRId64 " min", (s + 59) / 60);
    else
        (void)snprintf(ret_text, bytes, "next retrain in %" PRId64 " h", (s + 3599) / 3600);
}

static void print_missing(const struct retrain_schedule *r, const struct settings *s,
                          bool by_time, char *ret_text, size_t bytes)
{
    int64_t at_once = s->training.new_interactions, least = s->training.min_new_interactions;
    int64_t wanted = by_time && (!at_once || least < at_once) ? least : at_once;

    if (wanted)
        (void)snprintf(ret_text, bytes, "next retrain after %" PRId64 " more interactions",
                       wanted - r->n_new);
    else
        (void)snprintf(ret_text, bytes, "retrains on request only");
}

void retrain_schedule_line(const struct retrain_schedule *r, const struct settings *s,
                           const struct retrain_now *now, char *ret_text, size_t bytes)
{
    int64_t end_us = interval_end(r, s);
    bool by_time = end_us != INT64_MAX;
    bool enough =
        enough_at_once(r, s) || (by_time && r->n_new >= s->training.min_new_interactions);
    int64_t at_us = enough_at_once(r, s) ? INT64_MIN : end_us;

    if (at_us < r->not_before_us)
        at_us = r->not_before_us;
    if (r->running)
        (void)snprintf(ret_text, bytes, "retraining");
    else if (r->asked)
        (void)snprintf(ret_text, bytes, "retrains now");
    else if (!s->training.enabled)
        (void)snprintf(ret_text, bytes, "retrains on request only");
    else if (!enough)
        print_missing(r, s, by_time, ret_text, bytes);
    else if (at_us > now->mono_us)
        print_wait(at_us - now->mono_us, ret_text, bytes);
    else if (is_quiet(s, now->minute_of_day))
        text_format(ret_text, bytes, "next retrain after the quiet hours %s",
                    s->training.quiet_hours);
    else
        (void)snprintf(ret_text, bytes, "retrains now"); /* with the thread's next look */
}
