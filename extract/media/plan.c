/* plan.h. Everything is O(K · packets), on a few thousand packets: microseconds beside
 * decoding.
 *
 * Retiming. Timestamps are of no use when one is missing, when they span more than half a day,
 * when they stand still, or when one hole swallows most of the span of a clip with many frames, and
 * beyond it lie too few to believe it (a single corrupt timestamp would push every target into the void; a recorder whose screen
 * stood still has frames on both sides). Then packet i is at i · nominal_frame_us, in decode order.
 * Times that begin again, and stay behind, are those of a second file at the end of the first: they go on
 * where the first ended.
 *
 * Keys. A packet that no key leads to is not planned while there is a key somewhere: nothing
 * decodes there. Frames after damage are planned only where nothing else is within τ. */

#include "extract/media/plan.h"

#include <stdlib.h>
#include <string.h>

#define SPAN_MAX_US      (12LL * 3600 * 1000000)
#define HOLE_MIN_US      20000000LL
#define HOLE_MIN_PACKETS 16
#define HOLE_SIDE_MIN    3    /* frames on the smaller side of a hole that is believed */
#define FRAME_MIN_US     20   /* less on average: the timestamps stand still */
#define LAST_MIN_US      2000 /* less is a tick, which FFmpeg 6.1 says when it does not know */
#define ROUNDING_US      500  /* many containers count whole milliseconds */
#define REORDER_MAX      32 /* packets that may precede in decode order what is shown before them */
#define AGAIN_MIN        8 /* packets in a row for a second file */
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

/* Whether one hole swallows most of the span, with too few frames beyond it. */
static bool hole_is_absurd(const struct plan_packet *p, uint32_t n, int64_t span)
{
    int64_t *sorted = malloc(n * sizeof(*sorted));
    if (!sorted)
        return true;
    for (uint32_t i = 0; i < n; i++)
        sorted[i] = p[i].pts_us;
    qsort(sorted, n, sizeof(*sorted), compare_us);
    uint32_t at = 1;
    for (uint32_t i = 1; i < n; i++)
        if (sorted[i] - sorted[i - 1] > sorted[at] - sorted[at - 1])
            at = i;
    int64_t hole = sorted[at] - sorted[at - 1];
    free(sorted);
    return hole > HOLE_MIN_US && hole > span / 2 &&
           (at < HOLE_SIDE_MIN || n - at < HOLE_SIDE_MIN);
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
    return n >= HOLE_MIN_PACKETS && hole_is_absurd(p, n, span);
}

/* The latest times of a part, which later packets cannot all precede. */
struct latest {
    int64_t us[REORDER_MAX + 1]; /* (n) rising */
    uint32_t n;
};

static void latest_take(struct latest *l, int64_t us)
{
    bool full = l->n == REORDER_MAX + 1;
    if (full && us <= l->us[0])
        return;
    if (full)
        memmove(&l->us[0], &l->us[1], REORDER_MAX * sizeof(l->us[0]));
    uint32_t k = full ? REORDER_MAX : l->n++;
    for (; k > 0 && l->us[k - 1] > us; k--)
        l->us[k] = l->us[k - 1];
    l->us[k] = us;
}

/* Whether the times begin again at packet i: no reordering brings it and those behind it so far back. */
static bool begins_again(const struct plan_packet *p, uint32_t n, uint32_t i,
                         const struct latest *l)
{
    if (l->n <= REORDER_MAX || n - i < AGAIN_MIN)
        return false;
    for (uint32_t k = i; k < i + AGAIN_MIN; k++)
        if (p[k].pts_us >= l->us[0])
            return false;
    return true;
}

static int64_t lowest_us(const struct plan_packet *p, uint32_t n, uint32_t i)
{
    int64_t low = p[i].pts_us;
    for (uint32_t k = i; k < n && k - i <= REORDER_MAX; k++)
        low = p[k].pts_us < low ? p[k].pts_us : low;
    return low;
}

/* Files end to end: the times of each go on where the one before it ended. */
static bool join_parts(struct plan_packet *p, uint32_t n, int64_t nominal_us)
{
    struct latest latest = {.n = 0};
    int64_t shift_us = 0, end_us = INT64_MIN;
    bool any = false;
    for (uint32_t i = 0; i < n; i++) {
        if (begins_again(p, n, i, &latest)) {
            shift_us = end_us - lowest_us(p, n, i);
            latest.n = 0;
            p[i].cut = any = true;
        }
        latest_take(&latest, p[i].pts_us);
        p[i].pts_us += shift_us;
        int64_t us = p[i].duration_us >= LAST_MIN_US ? p[i].duration_us : nominal_us;
        end_us = p[i].pts_us + us > end_us ? p[i].pts_us + us : end_us;
    }
    return any;
}

/* Shifts times to begin at 0 and returns the clip's duration. */
static int64_t settle_times(struct plan_packet *p, uint32_t n, const struct plan_options *o,
                            bool *ret_retimed)
{
    bool by_index = times_are_absurd(p, n), joined = false;
    int64_t nominal_us = o->nominal_frame_us > 0 ? o->nominal_frame_us : 40000;
    if (!by_index && o->duration_us == 0)
        joined = join_parts(p, n, nominal_us);
    by_index |= joined && times_are_absurd(p, n);
    *ret_retimed = by_index || joined;
    int64_t low = INT64_MAX, high = INT64_MIN, last_us = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (by_index) {
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

/* Which packets are led to by a key, and soundly. */
static void mark_reach(struct plan_packet *p, uint32_t n)
{
    bool any_key = false, reached = false, shaky = false;
    for (uint32_t i = 0; i < n; i++)
        any_key |= p[i].key && !p[i].bad;
    for (uint32_t i = 0; i < n; i++) {
        if (p[i].cut)
            reached = shaky = false;
        if (p[i].key) {
            reached |= !p[i].bad;
            shaky = p[i].bad;
        }
        shaky |= p[i].damaged;
        p[i].unreachable = any_key && !reached;
        p[i].shaky = shaky;
    }
}

enum kind {
    KIND_KEY,   /* keys that come at once */
    KIND_SOUND, /* without damage since the key */
    KIND_ANY
};

static bool is_kind(const struct plan_packet *p, enum kind kind)
{
    return can_sample(p) && !p->unreachable && (kind != KIND_KEY || p->key) &&
           (kind == KIND_ANY || !p->shaky);
}

/* The frame of that kind that is nearest to the target. */
static uint32_t nearest(const struct plan_packet *p, uint32_t n, int64_t target_us,
                        enum kind kind)
{
    uint32_t best = PLAN_NONE;
    for (uint32_t i = 0; i < n; i++) {
        if (!is_kind(&p[i], kind))
            continue;
        if (best == PLAN_NONE ||
            distance(p[i].pts_us, target_us) < distance(p[best].pts_us, target_us))
            best = i;
    }
    return best;
}

/* Where decoding of packet i must begin. Frames that precede their keyframe in time (the
 * leading pictures of an open GOP) refer to the keyframe before it; where keys come late, it must
 * lie far enough back. Failing that, the first key there is since the last cut. */
static uint32_t run_start(const struct plan_packet *p, uint32_t i, uint32_t lead)
{
    uint32_t first = PLAN_NONE, k = i;
    for (;; k--) {
        if (p[k].key && !p[k].bad) {
            if (p[k].pts_us <= p[i].pts_us && i - k >= lead)
                return k;
            first = k;
        }
        if (k == 0 || p[k].cut)
            break;
    }
    return first != PLAN_NONE ? first : k;
}

/* The first packet after i in decode order that is shown after it, and soon. */
static uint32_t follower_of(const struct plan_packet *p, uint32_t n, uint32_t i)
{
    for (uint32_t j = i + 1; j < n && j <= i + FOLLOWER_REACH && !p[j].cut; j++)
        if (can_sample(&p[j]) && p[j].pts_us > p[i].pts_us)
            return p[j].pts_us - p[i].pts_us <= FOLLOWER_MAX_US ? j : PLAN_NONE;
    return PLAN_NONE;
}

static void set_sample(const struct plan_packet *p, uint32_t n, uint32_t packet, uint32_t lead,
                       struct plan_sample *s)
{
    s->packet = packet;
    s->start = run_start(p, packet, lead);
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
static void shorten_runs(const struct plan_packet *p, uint32_t n, uint32_t lead,
                         struct plan *plan)
{
    for (unsigned i = 0; i < plan->n_samples; i++) {
        struct plan_sample *s = &plan->samples[i];
        if (!is_run(s) || (i + 1 < plan->n_samples && plan->samples[i + 1].start == s->start))
            continue;
        uint32_t first = s->start;
        if (i > 0 && plan->samples[i - 1].start == s->start)
            first = plan->samples[i - 1].packet;
        for (uint32_t j = first + 1; j < s->packet; j++) {
            bool fits = is_kind(&p[j], p[s->packet].shaky ? KIND_ANY : KIND_SOUND) &&
                        p[j].pts_us > p[first].pts_us &&
                        distance(p[j].pts_us, s->target_us) <= plan->tau_us;
            fits = fits && (j - s->start >= lead || s->packet - s->start < lead);
            if (fits && run_start(p, j, lead) == s->start) {
                set_sample(p, n, j, lead, s);
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

static void set_targets(unsigned n_targets, struct plan *plan)
{
    plan->n_targets = n_targets;
    plan->tau_us = plan->duration_us / (2 * (int64_t)n_targets) + ROUNDING_US;
    for (unsigned i = 0; i < n_targets; i++)
        plan->targets_us[i] = plan->duration_us * (2 * i + 1) / (2 * (int64_t)n_targets);
}

/* The packet for a target: PLAN_NONE when there is none, within tau if so asked. */
static uint32_t pick(const struct plan_packet *p, uint32_t n, const struct plan *plan,
                     const struct plan_options *o, unsigned target, enum kind worst, bool near)
{
    int64_t target_us = plan->targets_us[target];
    uint32_t packet = PLAN_NONE;
    for (enum kind k = o->lead > 0 ? KIND_SOUND : KIND_KEY; k <= worst; k++) {
        uint32_t found = nearest(p, n, target_us, k);
        if (found == PLAN_NONE)
            continue;
        packet = found;
        if (distance(p[found].pts_us, target_us) <= plan->tau_us)
            return found;
    }
    return near ? PLAN_NONE : packet;
}

/* got: NULL = nothing yet. */
static void choose(const struct plan_packet *p, uint32_t n, const struct plan_options *o,
                   const struct plan_got *got, struct plan *plan)
{
    bool any = false;
    for (unsigned i = 0; got && i < plan->n_targets; i++)
        any |= got[i].any;
    plan->n_samples = 0;
    for (unsigned i = 0; i < plan->n_targets; i++) {
        bool again = got && got[i].any && got[i].damaged;
        if (got && !again && plan_is_served(plan, got, i))
            continue;
        uint32_t packet = pick(p, n, plan, o, i, again ? KIND_SOUND : KIND_ANY, any);
        if (packet == PLAN_NONE)
            continue;
        struct plan_sample *s = &plan->samples[plan->n_samples++];
        s->target = i;
        s->target_us = plan->targets_us[i];
        s->wants_follower = i % FOLLOWER_EVERY == 0;
        set_sample(p, n, packet, o->lead, s);
    }
    order_samples(plan);
    shorten_runs(p, n, o->lead, plan);
}

/* Gives up samples until the rest is affordable. */
static void cut_down(const struct plan_options *o, struct plan *plan)
{
    while (plan->n_samples > 1 && !affordable(plan, o))
        drop_dearest(plan);
    if (!affordable(plan, o))
        plan->n_samples = 0;
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
    mark_reach(packets, n_packets);
    set_targets(n_targets, plan);
    choose(packets, n_packets, o, NULL, plan);
    if (!affordable(plan, o)) {
        plan->degraded = true;
        set_targets(n_targets > 1 ? n_targets / 2 : 1, plan);
        choose(packets, n_packets, o, NULL, plan);
        cut_down(o, plan);
    }
    plan->n_frames_to_decode = plan_cost(plan);
}

void plan_again(struct plan_packet *packets, uint32_t n_packets, const struct plan_options *o,
                const struct plan_got *got, struct plan *plan)
{
    mark_reach(packets, n_packets);
    choose(packets, n_packets, o, got, plan);
    if (!affordable(plan, o)) {
        plan->degraded = true;
        cut_down(o, plan);
    }
    plan->n_frames_to_decode = plan_cost(plan);
}

static int64_t gap_of(const struct plan *plan, const struct plan_got *got, unsigned t)
{
    int64_t gap_us = plan->duration_us;
    for (unsigned i = 0; i < plan->n_targets; i++)
        if (got[i].any && distance(got[i].pts_us, plan->targets_us[t]) < gap_us)
            gap_us = distance(got[i].pts_us, plan->targets_us[t]);
    return gap_us;
}

bool plan_is_served(const struct plan *plan, const struct plan_got *got, unsigned t)
{
    for (unsigned i = 0; i < plan->n_targets; i++)
        if (got[i].any && distance(got[i].pts_us, plan->targets_us[t]) <= plan->tau_us)
            return true;
    return false;
}

void plan_quality(const struct plan *plan, const struct plan_got *got, float *ret_coverage,
                  int64_t *ret_max_gap_us)
{
    unsigned n_covered = 0;
    int64_t max_gap_us = 0;
    for (unsigned t = 0; t < plan->n_targets; t++) {
        int64_t gap_us = gap_of(plan, got, t);
        n_covered += gap_us <= plan->tau_us;
        max_gap_us = gap_us > max_gap_us ? gap_us : max_gap_us;
    }
    *ret_coverage = plan->n_targets ? (float)n_covered / (float)plan->n_targets : 0.0f;
    *ret_max_gap_us = max_gap_us;
}
