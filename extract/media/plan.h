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
 * Guarantee: |sample − target| ≤ τ for each target that has a frame there at all which a keyframe
 * leads to, unless `degraded`: over the budget (frames and pixels, never time) K is halved once,
 * then the dearest samples are given up. One plan never costs more than one pass over the clip plus
 * one follower a sample. What did not come is planned again with what was learned (plan_again);
 * all rounds together stay within the budget.
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
    bool cut;    /* does not follow the one before it: no run crosses it */
    /* Learned by decoding. */
    bool bad;     /* was tried and did not come */
    bool damaged; /* was sent, and did not decode or came with errors */
    bool proven;  /* a key whose frame came and was one */
    /* plan.c's own. */
    bool unreachable; /* there are keys, and none leads here */
    bool shaky;       /* a packet since its key is bad as a key, or damaged */
};

struct plan_options {
    unsigned n_targets; /* K, ≤ FRAMES_MAX */
    int64_t pixels_per_frame;
    int64_t budget_pixels;
    uint32_t budget_frames;
    int64_t nominal_frame_us; /* when timestamps are of no use */
    uint32_t lead; /* packets after a keyframe before frames come; 0 = it comes itself */
    /* Of the clip, when the packets are of parts of it; 0 = by the packets. */
    int64_t duration_us;
};

struct plan_sample {
    unsigned target;     /* its index in targets_us */
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
 * (missing, absurd, beginning again), which sets `retimed`. An empty list gives an empty plan. */
void plan_make(struct plan_packet *packets, uint32_t n_packets, const struct plan_options *o,
               struct plan *ret_plan);
/* What a target has so far. */
struct plan_got {
    bool any;       /* a frame */
    bool damaged;   /* it came with errors: a clean one would be better */
    int64_t pts_us; /* of the frame */
};

/* Plans the samples of *plan anew, for the targets that have no frame within tau and those that have
 * a damaged one; targets, times and duration stay. Nothing farther than tau is planned once anything is there. got: (plan->n_targets). */
void plan_again(struct plan_packet *packets, uint32_t n_packets, const struct plan_options *o,
                const struct plan_got *got, struct plan *plan);
/* The frame of any target within tau of target t, which may serve several. */
bool plan_is_served(const struct plan *plan, const struct plan_got *got, unsigned t);
/* Coverage and largest gap of the frames that were really obtained. */
void plan_quality(const struct plan *plan, const struct plan_got *got, float *ret_coverage,
                  int64_t *ret_max_gap_us);

#endif
