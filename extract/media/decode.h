#ifndef MMF_EXTRACT_MEDIA_DECODE_H
#define MMF_EXTRACT_MEDIA_DECODE_H

/* Decodes what the plan names and no more, and the first minute of sound. One thread; a fresh
 * decoder for each clip, so that nothing of one clip reaches the next. Damage is counted, not
 * reported as an error: after a few errors in a row a run is given up, and the next one begins. */

#include "config/err.h"
#include "extract/media/budget.h"
#include "extract/media/canvas.h"
#include "extract/media/encoder.h"
#include "extract/media/media.h"
#include "extract/media/plan.h"
#include "extract/wire/notes.h"

#include <stdbool.h>
#include <stdint.h>

struct decode_report {
    uint32_t n_errors;
    bool too_big;     /* frames over MEDIA_PIXELS_MAX, or over the memory limit */
    bool over_budget; /* the plan was dearer than budget_pixels: it was cut short */
    bool gave_up;     /* nothing more can be decoded: memory is out, or no decoder opened */
    bool too_dear;    /* a packet was not decoded: price.h */
    uint32_t n_keys_false; /* whose frames came and were none */
    uint32_t lead;         /* packets after a key before frames come: plan_options.lead */
    int64_t frame_pixels;  /* of the largest frame decoded */
    int32_t width, height; /* upright; 0 = nothing decoded */
};

/* The frames of a clip, one a target. A frame once obtained stays, unless a clean one replaces a
 * damaged one. `any` is set once a frame is painted whole, so that a signal handler may read. */
struct decode_slots {
    struct encoder_frame *frames; /* (FRAMES_MAX) */
    struct plan_got got[FRAMES_MAX];
    bool wants_next[FRAMES_MAX], has_next[FRAMES_MAX]; /* a follower */
};

/* The picture of one clip: what every round of decoding works on. */
struct decode_job {
    const struct media_track *t;
    const struct plan *plan;
    struct plan_packet *packets; /* (t->n_packets) */
    struct canvas_painter *painter;
    struct budget *budget;
    struct decode_slots *slots;
    struct decode_report *report;
};

/* Decodes plan->samples into the slots of their targets, and marks in `packets` what was learned. What
 * comes out is judged: a start whose frame is no key picture is a false key, and nothing of its run counts.
 * The size of a frame is known only now: when the whole first plan would decode more than the
 * budget has, nothing more is decoded and over_budget is set. ERR_RETRY when memory for the
 * decoder is out. */
int decode_frames(const struct decode_job *job, struct err *err);
/* Decodes everything from packet `from` on, and takes for each target without a frame the first
 * one within tau that comes clean after a key picture. */
int decode_linear(const struct decode_job *job, uint32_t from, struct err *err);
/* pcm (n_max): mono at SOUND_RATE_HZ, the beginning of the track, or of each of its windows.
 * *ret_n_samples grows as they come: so many are whole and finite at any time. Notes go to flags. */
int decode_sound(const struct media_track *t, float *pcm, uint32_t n_max, struct budget *budget,
                 struct features_flags *flags, uint32_t *ret_n_samples,
                 struct decode_report *report, struct err *err);

#endif
