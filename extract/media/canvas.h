#ifndef MMF_EXTRACT_MEDIA_CANVAS_H
#define MMF_EXTRACT_MEDIA_CANVAS_H

/* A decoded picture of any format onto a canvas (encoder.h): scaled by area averaging, turned
 * upright, brought to full-range BT.601. */

#include "config/err.h"
#include "extract/media/encoder.h"

#include <stdbool.h>

struct AVFrame;
struct canvas_painter;

int canvas_painter_new(struct canvas_painter **ret_painter, struct err *err);
void canvas_painter_free(struct canvas_painter *p); /* takes NULL */
/* Forgets the scaler of the last clip. */
void canvas_reset(struct canvas_painter *p);
/* The orientation of media_track. ERR_SKIP when the format cannot be scaled. */
int canvas_paint(struct canvas_painter *p, const struct AVFrame *frame, bool transpose,
                 bool flip_x, bool flip_y, struct canvas *ret_canvas, struct err *err);

#endif
