#ifndef MMF_EXTRACT_MEDIA_PICTURES_H
#define MMF_EXTRACT_MEDIA_PICTURES_H

/* The frames of one clip, from its packets: plans, decodes, and plans again what did not come. */

#include "config/err.h"
#include "extract/media/budget.h"
#include "extract/media/canvas.h"
#include "extract/media/decode.h"
#include "extract/media/encoder.h"
#include "extract/media/media.h"
#include "extract/media/plan.h"
#include "extract/wire/features.h"

#include <stdbool.h>
#include <stdint.h>

struct pictures {
    struct plan plan;
    struct plan_packet *packets; /* (track's n_packets) */
    bool got[FRAMES_MAX];
    struct decode_report report;
    uint32_t n_frames;
    float coverage;
    uint32_t max_gap_ms;
};

/* frames (FRAMES_MAX): the first ret->n_frames are filled, in order of time. Notes go to flags.
 * ERR_RETRY when memory is out; damage is no error. */
int pictures_take(const struct media_track *t, struct canvas_painter *painter,
                  struct budget *budget, struct encoder_frame *frames,
                  struct features_flags *flags, struct pictures *ret, struct err *err);
void pictures_free(struct pictures *p);

#endif
