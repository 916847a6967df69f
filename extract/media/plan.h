#ifndef MMF_EXTRACT_MEDIA_PLAN_H
#define MMF_EXTRACT_MEDIA_PLAN_H

/* Which frames of a clip to describe, decided from its packets alone: pure, no FFmpeg.
 *
 * K targets at D(i+½)/K. A target takes the nearest keyframe within τ = D/(2K): one frame to
 * decode. Otherwise the decoder starts at the last keyframe before the target and runs forward;
 * neighbouring targets share a run. The last target of a run takes the earliest frame within τ,
 * because the run's length is what costs; the others take the nearest. In a run, only frames
 * that others refer to are decoded, plus the planned ones.
 *
 * Guarantee: |sample − target| ≤ τ for each target that has a frame there at all, unless
 * `degraded`: over the budget (frames and pixels, never time) K is halved once, then the
 * dearest samples are given up. The decoded frames never exceed one pass over the clip plus one
 * follower a sample.
 *
 * Example: 15 s, keyframes at 0, 5 and 10 s, K = 8: τ = 0.94 s, targets 0.94, 2.81, 4.69, 6.56,
 * 8.44, 10.31, 12.19, 14.06; keys serve 0.94, 4.69 and 10.31; three runs serve 2.81
 * | 6.56, 8.44 | 12.19, 14.06. */

#include "extract/media/encoder.h"

#include <stdbool.h>
#include <stdint.h>

#define PLAN_NONE UINT32_MAX

struct plan_packet {
    int64_t pts_us;      /* INT64_MIN = unknown */
    int64_t duration_us; /* 0 = unknown */
    bool key;
    bool hidden; /* decoded but not shown */
    bool bad;    /* was tried and did not decode */
};

struct plan_options {
    unsigned n_targets; /* K, ≤ FRAMES_MAX */
    int64_t pixels_per_frame;
    int64_t budget_pixels;
    uint32_t budget_frames;
    int64_t nominal_frame_us; /* when timestamps are of no use */
    int64_t
        duration_us; /* of the clip, when the packets are of parts of it; 0 = by the packets */
};

struct plan_sample {
    uint32_t packet;     /* the frame wanted */
    uint32_t start;      /* the keyframe from which to decode; == packet for a keyframe */
    uint32_t follower;   /* a frame shortly after, for motion; PLAN_NONE = there is none */
    bool wants_follower; /* every other target has one */
    int64_t target_us, pts_us, follower_pts_us; /* from the clip's beginning */
};

struct plan {
    struct plan_sample samples[FRAMES_MAX]; /* (n_samples) by start, then packet */
    unsigned n_samples, n_targets;
    int64_t targets_us[FRAMES_MAX]; /* (n_targets) */
    int64_t duration_us, tau_us;    /* tau: half a millisecond more, for rounded timestamps */
    uint32_t n_keyframes;
    uint32_t n_frames_to_decode; /* the plan's cost */
    bool degraded, retimed;
};

void plan_options_init(struct plan_options *o);
/* packets: (n_packets) in decode order; their pts_us are replaced when they are of no use
 * (missing, absurd), which sets `retimed`. An empty list gives an empty plan. */
void plan_make(struct plan_packet *packets, uint32_t n_packets, const struct plan_options *o,
               struct plan *ret_plan);
/* Coverage and largest gap of the samples that were really obtained: got[i] belongs to
 * plan->samples[i]. */
void plan_quality(const struct plan *plan, const bool *got, float *ret_coverage,
                  int64_t *ret_max_gap_us);

#endif
