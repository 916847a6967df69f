/* pictures.h. What is declared about sizes is not believed: the first plan takes frames for cheap,
 * and only a decoder that finds them dear (decode_report.over_budget) has it made again. */

#include "extract/media/pictures.h"

#include <stdlib.h>

static int load_packets(const struct media_track *t, struct pictures *p)
{
    p->packets = calloc(t->n_packets ? t->n_packets : 1, sizeof(*p->packets));
    if (!p->packets)
        return ERR_RETRY;
    for (uint32_t i = 0; i < t->n_packets; i++)
        p->packets[i] = (struct plan_packet){.pts_us = t->packets[i].pts_us,
                                             .duration_us = t->packets[i].duration_us,
                                             .key = t->packets[i].key,
                                             .hidden = t->packets[i].hidden};
    return ERR_OK;
}

static unsigned count_got(const struct pictures *p)
{
    unsigned n = 0;
    for (unsigned i = 0; i < p->plan.n_samples; i++)
        n += p->got[i];
    return n;
}

static int plan_and_decode(const struct media_track *t, struct canvas_painter *painter,
                           struct encoder_frame *frames, struct pictures *p, struct err *err)
{
    struct plan_options o;
    plan_options_init(&o);
    o.nominal_frame_us = t->nominal_frame_us;
    o.pixels_per_frame = p->report.frame_pixels > 0 ? p->report.frame_pixels : 1;
    bool retimed = p->plan.retimed;
    plan_make(p->packets, t->n_packets, &o, &p->plan);
    p->plan.retimed |= retimed;
    p->report.over_budget = false;
    return decode_frames(t, &p->plan, o.budget_pixels, p->packets, painter, frames, p->got,
                         &p->report, err);
}

static bool should_try_again(const struct pictures *p)
{
    bool lost = count_got(p) < p->plan.n_samples && p->report.n_errors < MEDIA_ERRORS_MAX;
    return p->report.over_budget || lost;
}

/* Keeps the frames obtained, in order of time. */
static void settle_frames(struct pictures *p, struct encoder_frame *f)
{
    for (unsigned i = 0; i < p->plan.n_samples; i++) {
        if (!p->got[i])
            continue;
        if (i != p->n_frames)
            f[p->n_frames] = f[i];
        p->n_frames++;
    }
    for (uint32_t i = 1; i < p->n_frames; i++)
        for (uint32_t k = i; k > 0 && f[k].pts_us < f[k - 1].pts_us; k--) {
            struct encoder_frame swap = f[k];
            f[k] = f[k - 1];
            f[k - 1] = swap;
        }
}

int pictures_take(const struct media_track *t, struct canvas_painter *painter,
                  struct budget *budget, struct encoder_frame *frames,
                  struct features_flags *flags, struct pictures *ret, struct err *err)
{
    struct pictures *p = ret;
    (void)budget;
    (void)flags;
    if (load_packets(t, p) != ERR_OK)
        return err_oom(err, "plan");
    int status = plan_and_decode(t, painter, frames, p, err);
    if (status == ERR_OK && should_try_again(p))
        status = plan_and_decode(t, painter, frames, p, err);
    if (status != ERR_OK)
        return status;
    p->plan.degraded |= p->report.over_budget;
    int64_t max_gap_us;
    plan_quality(&p->plan, p->got, &p->coverage, &max_gap_us);
    int64_t max_gap_ms = (max_gap_us + 500) / 1000;
    p->max_gap_ms = max_gap_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)max_gap_ms;
    settle_frames(p, frames);
    return ERR_OK;
}

void pictures_free(struct pictures *p)
{
    free(p->packets);
    p->packets = NULL;
}
