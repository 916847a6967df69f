/* pictures.h. What is declared about sizes is not believed: the first plan takes frames for cheap,
 * and only a decoder that finds them dear (decode_report.over_budget) has it made again.
 *
 * Rounds. Each plans only the targets that have no frame, or a damaged one, with what was learned:
 * false keys, packets that do not come, keys that come late. A frame once obtained stays. Where keys
 * led to none although packets are there, the last round decodes everything from the last key that
 * is known to be one. All rounds share one budget. */

#include "extract/media/pictures.h"

#include "extract/wire/notes.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS_MAX 4

/* What all rounds work on. */
struct look {
    struct decode_job job;
    struct pictures *p;
    struct err *err;
};

static int load_packets(const struct media_track *t, struct pictures *p)
{
    p->packets = calloc(t->n_packets ? t->n_packets : 1, sizeof(*p->packets));
    if (!p->packets)
        return ERR_RETRY;
    for (uint32_t i = 0; i < t->n_packets; i++)
        p->packets[i] = (struct plan_packet){.pts_us = t->packets[i].pts_us,
                                             .duration_us = t->packets[i].duration_us,
                                             .key = t->packets[i].key,
                                             .hidden = t->packets[i].hidden,
                                             .cut = t->packets[i].cut};
    return ERR_OK;
}

static struct plan_options options_now(const struct look *l)
{
    const struct budget *b = l->job.budget;
    struct plan_options o;
    plan_options_init(&o);
    o.nominal_frame_us = l->job.t->nominal_frame_us;
    o.duration_us = l->job.t->duration_us;
    o.pixels_per_frame = l->p->report.frame_pixels > 0 ? l->p->report.frame_pixels : 1;
    o.budget_pixels = b->pixels - b->n_pixels_spent;
    o.budget_frames = b->n_frames > b->n_frames_spent ? b->n_frames - b->n_frames_spent : 0;
    o.lead = l->p->report.lead;
    return o;
}

static int decode(struct look *l)
{
    l->p->report.over_budget = false;
    return decode_frames(&l->job, l->err);
}

/* The targets became fewer: each frame goes to the target that it serves, the first in time wins. */
static void move_slots(struct decode_slots *s, const struct plan *plan)
{
    struct plan_got old[FRAMES_MAX];
    memcpy(old, s->got, sizeof(old));
    memset(s->got, 0, sizeof(s->got));
    for (unsigned i = 0; i < FRAMES_MAX; i++) {
        for (unsigned t = 0; old[i].any && t < plan->n_targets && t <= i; t++) {
            if (s->got[t].any || llabs(old[i].pts_us - plan->targets_us[t]) > plan->tau_us)
                continue;
            if (t != i) {
                s->frames[t] = s->frames[i];
                s->wants_next[t] = s->wants_next[i];
                s->has_next[t] = s->has_next[i];
            }
            s->got[t] = old[i];
            break;
        }
    }
}

static int first_round(struct look *l)
{
    struct pictures *p = l->p;
    struct plan_options o = options_now(l);
    plan_make(p->packets, l->job.t->n_packets, &o, &p->plan);
    int status = decode(l);
    if (status != ERR_OK || !p->report.over_budget)
        return status;
    bool retimed = p->plan.retimed;
    o = options_now(l);
    plan_make(p->packets, l->job.t->n_packets, &o, &p->plan);
    p->plan.retimed |= retimed;
    move_slots(&p->slots, &p->plan);
    plan_again(p->packets, l->job.t->n_packets, &o, p->slots.got, &p->plan);
    return decode(l);
}

static bool is_over(const struct look *l)
{
    const struct decode_report *r = &l->p->report;
    return r->gave_up || r->over_budget || budget_is_spent(l->job.budget);
}

/* Errors, and never a frame: another plan would only find more of them. */
static bool is_hopeless(const struct look *l)
{
    return l->p->report.n_errors > 0 && l->p->report.frame_pixels == 0;
}

/* Flags of keys that are wrong more often than right are not believed: what is known to be a key
 * remains. */
static void distrust_keys(const struct look *l)
{
    uint32_t n_proven = 0;
    for (uint32_t i = 0; i < l->job.t->n_packets; i++)
        n_proven += l->p->packets[i].proven;
    if (l->p->report.n_keys_false <= n_proven)
        return;
    for (uint32_t i = 1; i < l->job.t->n_packets; i++)
        if (!l->p->packets[i].cut)
            l->p->packets[i].key &= l->p->packets[i].proven;
}

static int more_rounds(struct look *l)
{
    struct pictures *p = l->p;
    int status = ERR_OK;
    for (unsigned i = 1; status == ERR_OK && i < ROUNDS_MAX && !is_over(l) && !is_hopeless(l);
         i++) {
        distrust_keys(l);
        struct plan_options o = options_now(l);
        plan_again(p->packets, l->job.t->n_packets, &o, p->slots.got, &p->plan);
        if (p->plan.n_samples == 0)
            break;
        status = decode(l);
    }
    return status;
}

/* A target without a frame although there are packets near it that keys lead to; PLAN_NONE = none.
 * Returns the first such packet. */
static uint32_t first_missing(const struct look *l)
{
    const struct plan *plan = &l->p->plan;
    for (unsigned t = 0; t < plan->n_targets; t++) {
        if (plan_is_served(plan, l->p->slots.got, t))
            continue;
        for (uint32_t i = 0; i < l->job.t->n_packets; i++) {
            const struct plan_packet *q = &l->p->packets[i];
            if (!q->hidden && !q->unreachable &&
                llabs(q->pts_us - plan->targets_us[t]) <= plan->tau_us)
                return i;
        }
    }
    return PLAN_NONE;
}

static int linear_round(struct look *l, bool *ret_helped)
{
    struct pictures *p = l->p;
    uint32_t from = is_over(l) ? PLAN_NONE : first_missing(l);
    if (from == PLAN_NONE)
        return ERR_OK;
    while (from > 0 && !p->packets[from].cut && !p->packets[from].proven)
        from--;
    bool before[FRAMES_MAX];
    for (unsigned t = 0; t < FRAMES_MAX; t++)
        before[t] = p->slots.got[t].any;
    int status = decode_linear(&l->job, from, l->err);
    for (unsigned t = 0; t < FRAMES_MAX; t++)
        *ret_helped |= p->slots.got[t].any && !before[t];
    return status;
}

/* Each frame takes its `got` along, so that this may be interrupted anywhere and done again. */
static uint32_t close_gaps(struct decode_slots *s, unsigned n_targets)
{
    uint32_t n = 0;
    for (unsigned t = 0; t < n_targets; t++) {
        if (!s->got[t].any)
            continue;
        if (t != n) {
            s->frames[n] = s->frames[t];
            atomic_signal_fence(memory_order_seq_cst);
            s->got[n] = s->got[t];
            atomic_signal_fence(memory_order_seq_cst);
            s->got[t].any = false;
        }
        n++;
    }
    return n;
}

void pictures_settle(struct pictures *p)
{
    if (p->settled || !p->slots.frames)
        return;
    int64_t max_gap_us;
    plan_quality(&p->plan, p->slots.got, &p->coverage, &max_gap_us);
    int64_t max_gap_ms = (max_gap_us + 500) / 1000;
    p->max_gap_ms = max_gap_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)max_gap_ms;
    p->n_frames = close_gaps(&p->slots, p->plan.n_targets);
    /* Interrupted here, two frames that are just changing places may be one twice. */
    struct encoder_frame *f = p->slots.frames;
    for (uint32_t i = 1; i < p->n_frames; i++)
        for (uint32_t k = i; k > 0 && f[k].pts_us < f[k - 1].pts_us; k--) {
            struct encoder_frame swap = f[k];
            f[k] = f[k - 1];
            f[k - 1] = swap;
        }
    atomic_signal_fence(memory_order_seq_cst);
    p->settled = true;
}

static void take_notes(const struct look *l, bool linear, struct features_flags *flags)
{
    const struct pictures *p = l->p;
    const struct decode_slots *s = &p->slots;
    unsigned n_wanted = 0, n_next = 0, n_shown = 0;
    bool damaged = false, beginning_lost = false;
    for (unsigned t = 0; t < p->plan.n_targets; t++) {
        damaged |= s->got[t].any && s->got[t].damaged;
        n_wanted += s->got[t].any && s->wants_next[t];
        n_next += s->got[t].any && s->wants_next[t] && s->has_next[t];
    }
    for (uint32_t i = 0; i < l->job.t->n_packets; i++) {
        n_shown += !p->packets[i].hidden;
        beginning_lost |= !p->packets[i].hidden && p->packets[i].unreachable;
    }
    if (l->job.t->n_keys_false + p->report.n_keys_false > 0)
        features_note(flags, NOTE_KEYS_FALSE);
    if (p->report.lead > 0)
        features_note(flags, NOTE_KEYS_LATE);
    if (beginning_lost)
        features_note(flags, NOTE_KEY_MISSING);
    if (n_next < n_wanted)
        features_note(flags, NOTE_FOLLOWERS_LOST);
    if (damaged || p->report.n_errors > 0)
        features_note(flags, NOTE_DAMAGED);
    if (linear)
        features_note(flags, NOTE_LINEAR);
    if (n_shown == 1)
        features_note(flags, NOTE_STILL);
    if (p->plan.retimed)
        features_note(flags, NOTE_TIME_INVENTED);
    if (l->job.budget->cpu_is_spent)
        features_note(flags, NOTE_CPU);
    if (l->job.budget->work_is_spent || p->report.too_dear)
        features_note(flags, NOTE_WORK);
}

int pictures_take(const struct media_track *t, struct canvas_painter *painter,
                  struct budget *budget, struct encoder_frame *frames,
                  struct features_flags *flags, struct pictures *ret, struct err *err)
{
    struct pictures *p = ret;
    struct look l = {.job = {.t = t,
                             .plan = &p->plan,
                             .painter = painter,
                             .budget = budget,
                             .slots = &p->slots,
                             .report = &p->report},
                     .p = p,
                     .err = err};
    p->slots.frames = frames;
    if (load_packets(t, p) != ERR_OK)
        return err_oom(err, "plan");
    l.job.packets = p->packets;
    bool linear = false;
    int status = first_round(&l);
    if (status == ERR_OK)
        status = more_rounds(&l);
    if (status == ERR_OK)
        status = linear_round(&l, &linear);
    if (status != ERR_OK)
        return status;
    p->plan.degraded |= p->report.over_budget;
    take_notes(&l, linear, flags);
    pictures_settle(p);
    return ERR_OK;
}

void pictures_free(struct pictures *p)
{
    free(p->packets);
    p->packets = NULL;
}
