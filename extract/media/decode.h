#ifndef MMF_EXTRACT_MEDIA_DECODE_H
#define MMF_EXTRACT_MEDIA_DECODE_H

/* Decodes what the plan names and no more, and the first minute of sound. One thread; a fresh
 * decoder for each clip, so that nothing of one clip reaches the next. Damage is counted, not
 * reported as an error: after MEDIA_ERRORS_MAX errors a track is given up. */

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
    bool too_big;          /* frames over MEDIA_PIXELS_MAX, or over the memory limit */
    bool over_budget;      /* the plan was dearer than budget_pixels: it was cut short */
    int64_t frame_pixels;  /* of the largest frame decoded */
    int32_t width, height; /* upright; 0 = nothing decoded */
};

/* frames (FRAMES_MAX) and got belong to plan->samples by index; got[i] = frames[i] is filled. A
 * sample whose keyframe is damaged marks its packets `bad` in `packets`, so that a second plan
 * can go round them. The size of a frame is known only now: when the whole plan would decode more
 * than budget_pixels, nothing more is decoded and over_budget is set. ERR_RETRY when memory for the decoder is out. */
int decode_frames(const struct media_track *t, const struct plan *plan, int64_t budget_pixels,
                  struct plan_packet *packets, struct canvas_painter *painter,
                  struct encoder_frame *frames, bool *got, struct decode_report *report,
                  struct err *err);
/* pcm (n_max): mono at SOUND_RATE_HZ, the beginning of the track, or of each of its windows.
 * *ret_n_samples grows as they come: so many are whole and finite at any time. Notes go to flags. */
int decode_sound(const struct media_track *t, float *pcm, uint32_t n_max, struct budget *budget,
                 struct features_flags *flags, uint32_t *ret_n_samples,
                 struct decode_report *report, struct err *err);

#endif
