/* plan.h. Everything is O(K · packets), on a few thousand packets: microseconds beside
 * decoding.
 *
 * Retiming. Timestamps are of no use when one is missing, when they span more than half a day,
 * when they stand still, or when one hole swallows most of the span of a clip with many frames
 * (a single corrupt timestamp would push every target into the void). Then packet i is at
 * i · nominal_frame_us, in decode order. */

#include "extract/media/plan.h"

#include <stdlib.h>
#include <string.h>

#define SPAN_MAX_US      (12LL * 3600 * 1000000)
#define HOLE_MIN_US      20000000LL
#define HOLE_MIN_PACKETS 16
#define FRAME_MIN_US     20   /* less on average: the timestamps stand still */
#define LAST_MIN_US      2000 /* less is a tick, which FFmpeg 6.1 says when it does not know */
#define ROUNDING_US      500  /* many containers count whole milliseconds */
#define FOLLOWER_EVERY   2 /* one after each target: a sixth of the extraction of a 60 s clip */
#define FOLLOWER_REACH   12
#define FOLLOWER_MAX_US  400000

/* The budget lets 60 s of 1080p30 with one keyframe pass. It is never wall time: features must
 * not depend on load. */
void plan_options_init(struct plan_options *o)
{
    *o = (struct plan_options){
        .n_targets = FRAMES_MAX,
        .pixels_per_frame = 1,
        .budget_pixels = 4000000000LL,
        .budget_frames = 6000,
        .nominal_frame_us = 40000,
    };
}

static int compare_us(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The largest difference of neighbours in time; -1 when memory is out. */
static int64_t largest_hole(const struct plan_packet *p, uint32_t n)
{
    int64_t *sorted = malloc(n * sizeof(*sorted));
    if (!sorted)
        return -1;
    for (uint32_t i = 0; i < n; i++)
        sorted[i] = p[i].pts_us;
    qsort(sorted, n, sizeof(*sorted), compare_us);
    int64_t hole = 0;
    for (uint32_t i = 1; i < n; i++)
        if (sorted[i] - sorted[i - 1] > hole)
            hole = sorted[i] - sorted[i - 1];
    free(sorted);
    return hole;
}

static bool times_are_absurd(const struct plan_packet *p, uint32_t n)
{
    int64_t low = INT64_MAX, high = INT64_MIN;
    for (uint32_t i = 0; i < n; i++) {
        if (p[i].pts_us == INT64_MIN)
            return true;
        low = p[i].pts_us < low ? p[i].pts_us : low;
        high = p[i].pts_us > high ? p[i].pts_us : high;
    }
    int64_t span;
    if (__builtin_sub_overflow(high, low, &span) || span > SPAN_MAX_US)
        return true;
    if (n >= 2 && span < (int64_t)(n - 1) * FRAME_MIN_US)
        return true;
    if (n < HOLE_MIN_PACKETS)
        return false;
    int64_t hole = largest_hole(p, n);
    return hole < 0 || (hole > HOLE_MIN_US && hole > span / 2);
}

/* Shifts times to begin at 0 and returns the clip's duration. */
static int64_t settle_times(struct plan_packet *p, uint32_t n, const struct plan_options *o,
                            bool *ret_retimed)
{
    *ret_retimed = times_are_absurd(p, n);
    int64_t nominal_us = o->nominal_frame_us > 0 ? o->nominal_frame_us : 40000;
    int64_t low = INT64_MAX, high = INT64_MIN, last_us = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (*ret_retimed) {
            p[i].pts_us = (int64_t)i * nominal_us;
            p[i].duration_us = nominal_us;
        }
        if (p[i].hidden)
            continue;
        low = p[i].pts_us < low ? p[i].pts_us : low;
        if (p[i].pts_us > high) {
            high = p[i].pts_us;
            last_us = p[i].duration_us;
        }
    }
    if (low > high)
        return 0;
    for (uint32_t i = 0; i < n; i++)
        p[i].pts_us -= low;
    /* A last frame that claims to last longer than the rest, or no time, is not believed. */
    int64_t span = high - low;
    if (last_us < LAST_MIN_US || (span > 0 && last_us > span))
        last_us = nominal_us;
    bool longer = !*ret_retimed && o->duration_us > span + last_us;
    return longer ? o->duration_us : span + last_us;
}

static int64_t distance(int64_t a, int64_t b)
{
    return a > b ? a - b : b - a;
}

static bool can_sample(const struct plan_packet *p)
{
    return !p->hidden && !p->bad;
}

/* The frame nearest to the target, keyframes only if so asked. */
static uint32_t nearest(const struct plan_packet *p, uint32_t n, int64_t target_us, bool keys)
{
    uint32_t best = PLAN_NONE;
    for (uint32_t i = 0; i < n; i++) {
        if (!can_sample(&p[i]) || (keys && !p[i].key))
            continue;
        if (best == PLAN_NONE ||
            distance(p[i].pts_us, target_us) < distance(p[best].pts_us, target_us))
            best = i;
    }
    return best;
}

/* Where decoding of packet i must begin. Frames that precede their keyframe in time (the
 * leading pictures of an open GOP) refer to the keyframe before it. */
static uint32_t run_start(const struct plan_packet *p, uint32_t i)
{
    uint32_t k = i;
    while (k > 0 && (!p[k].key || p[k].bad || p[k].pts_us > p[i].pts_us))
        k--;
    return k;
}

/* The first packet after i in decode order that is shown after it, and soon. */
static uint32_t follower_of(const struct plan_packet *p, uint32_t n, uint32_t i)
{
    for (uint32_t j = i + 1; j < n && j <= i + FOLLOWER_REACH; j++)
        if (can_sample(&p[j]) && p[j].pts_us > p[i].pts_us)
            return p[j].pts_us - p[i].pts_us <= FOLLOWER_MAX_US ? j : PLAN_NONE;
    return PLAN_NONE;
}

static void set_sample(const struct plan_packet *p, uint32_t n, uint32_t packet,
                       struct plan_sample *s)
{
    s->packet = packet;
    s->start = run_start(p, packet);
    s->pts_us = p[packet].pts_us;
    s->follower = s->wants_follower ? follower_of(p, n, packet) : PLAN_NONE;
    s->follower_pts_us = s->follower == PLAN_NONE ? 0 : p[s->follower].pts_us;
}

static int compare_samples(const void *a, const void *b)
{
    const struct plan_sample *x = a, *y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return (x->packet > y->packet) - (x->packet < y->packet);
}

/* Orders by decoding and drops doubles: two targets may meet on one frame. n_frames is then
 * smaller than n_planned, at full coverage. */
static void order_samples(struct plan *plan)
{
    qsort(plan->samples, plan->n_samples, sizeof(plan->samples[0]), compare_samples);
    unsigned n = 0;
    for (unsigned i = 0; i < plan->n_samples; i++)
        if (n == 0 || plan->samples[n - 1].packet != plan->samples[i].packet)
            plan->samples[n++] = plan->samples[i];
    plan->n_samples = n;
}

static bool is_run(const struct plan_sample *s)
{
    return s->start != s->packet;
}

/* The last sample of each run moves to the earliest frame within τ of its target, but not past
 * the sample before it: a run costs its length. (With one keyframe in VP9, 14/16 of a clip are
 * decoded all the same.) */
static void shorten_runs(const struct plan_packet *p, uint32_t n, struct plan *plan)
{
    for (unsigned i = 0; i < plan->n_samples; i++) {
        struct plan_sample *s = &plan->samples[i];
        if (!is_run(s) || (i + 1 < plan->n_samples && plan->samples[i + 1].start == s->start))
            continue;
        uint32_t first = s->start;
        if (i > 0 && plan->samples[i - 1].start == s->start)
            first = plan->samples[i - 1].packet;
        for (uint32_t j = first + 1; j < s->packet; j++) {
            bool fits = can_sample(&p[j]) && p[j].pts_us > p[first].pts_us &&
                        distance(p[j].pts_us, s->target_us) <= plan->tau_us;
            if (fits && run_start(p, j) == s->start) {
                set_sample(p, n, j, s);
                break;
            }
        }
    }
}

static uint32_t last_packet(const struct plan_sample *s)
{
    return s->follower != PLAN_NONE && s->follower > s->packet ? s->follower : s->packet;
}

/* Frames that sample i makes the decoder decode, given the samples before it. */
static uint32_t sample_cost(const struct plan *plan, unsigned i)
{
    const struct plan_sample *s = &plan->samples[i];
    uint32_t follower = s->follower != PLAN_NONE;
    if (!is_run(s))
        return 1 + follower;
    uint32_t from = s->start;
    for (unsigned j = 0; j < i; j++)
        if (plan->samples[j].start == s->start && is_run(&plan->samples[j]))
            from = last_packet(&plan->samples[j]) + 1;
    uint32_t to = last_packet(s);
    return to >= from ? to - from + 1 : 0;
}

static uint32_t plan_cost(const struct plan *plan)
{
    uint32_t cost = 0;
    for (unsigned i = 0; i < plan->n_samples; i++)
        cost += sample_cost(plan, i);
    return cost;
}

static bool affordable(const struct plan *plan, const struct plan_options *o)
{
    uint32_t cost = plan_cost(plan);
    int64_t pixels = o->pixels_per_frame > 0 ? o->pixels_per_frame : 1;
    return cost <= o->budget_frames && (int64_t)cost <= o->budget_pixels / pixels;
}

/* Gives up the dearest sample: always the end of a run, or a keyframe at last. */
static void drop_dearest(struct plan *plan)
{
    unsigned dearest = 0;
    uint32_t most = 0;
    for (unsigned i = 0; i < plan->n_samples; i++) {
        bool last =
            i + 1 == plan->n_samples || plan->samples[i + 1].start != plan->samples[i].start;
        uint32_t cost = sample_cost(plan, i);
        if (last && cost >= most) {
            most = cost;
            dearest = i;
        }
    }
    plan->n_samples--;
    memmove(&plan->samples[dearest], &plan->samples[dearest + 1],
            (plan->n_samples - dearest) * sizeof(plan->samples[0]));
}

static void choose(const struct plan_packet *p, uint32_t n, unsigned n_targets,
                   struct plan *plan)
{
    plan->n_targets = n_targets;
    plan->n_samples = 0;
    plan->tau_us = plan->duration_us / (2 * (int64_t)n_targets) + ROUNDING_US;
    for (unsigned i = 0; i < n_targets; i++) {
        int64_t target_us = plan->duration_us * (2 * i + 1) / (2 * (int64_t)n_targets);
        plan->targets_us[i] = target_us;
        uint32_t packet = nearest(p, n, target_us, true);
        if (packet == PLAN_NONE || distance(p[packet].pts_us, target_us) > plan->tau_us)
            packet = nearest(p, n, target_us, false);
        if (packet == PLAN_NONE)
            continue;
        struct plan_sample *s = &plan->samples[plan->n_samples++];
        s->target_us = target_us;
        s->wants_follower = i % FOLLOWER_EVERY == 0;
        set_sample(p, n, packet, s);
    }
    order_samples(plan);
    shorten_runs(p, n, plan);
}

void plan_make(struct plan_packet *packets, uint32_t n_packets, const struct plan_options *o,
               struct plan *ret_plan)
{
    struct plan *plan = ret_plan;
    *plan = (struct plan){0};
    uint32_t n_shown = 0;
    for (uint32_t i = 0; i < n_packets; i++) {
        n_shown += can_sample(&packets[i]);
        plan->n_keyframes += packets[i].key;
    }
    if (n_shown == 0)
        return;
    plan->duration_us = settle_times(packets, n_packets, o, &plan->retimed);
    unsigned n_targets = o->n_targets < FRAMES_MAX ? o->n_targets : FRAMES_MAX;
    if (n_targets == 0)
        n_targets = 1;
    if (n_targets > n_shown)
        n_targets = n_shown;
    choose(packets, n_packets, n_targets, plan);
    if (!affordable(plan, o)) {
        plan->degraded = true;
        choose(packets, n_packets, n_targets > 1 ? n_targets / 2 : 1, plan);
        while (plan->n_samples > 1 && !affordable(plan, o))
            drop_dearest(plan);
        plan->n_samples = affordable(plan, o) ? plan->n_samples : 0;
    }
    plan->n_frames_to_decode = plan_cost(plan);
}

void plan_quality(const struct plan *plan, const bool *got, float *ret_coverage,
                  int64_t *ret_max_gap_us)
{
    unsigned n_covered = 0;
    int64_t max_gap_us = 0;
    for (unsigned t = 0; t < plan->n_targets; t++) {
        int64_t gap_us = plan->duration_us;
        for (unsigned i = 0; i < plan->n_samples; i++)
            if (got[i] && distance(plan->samples[i].pts_us, plan->targets_us[t]) < gap_us)
                gap_us = distance(plan->samples[i].pts_us, plan->targets_us[t]);
        n_covered += gap_us <= plan->tau_us;
        max_gap_us = gap_us > max_gap_us ? gap_us : max_gap_us;
    }
    *ret_coverage = plan->n_targets ? (float)n_covered / (float)plan->n_targets : 0.0f;
    *ret_max_gap_us = max_gap_us;
}
