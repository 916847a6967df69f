#ifndef MMF_TESTS_FILM_H
#define MMF_TESTS_FILM_H

/* What every clip of the property test shows and sounds like: eight seconds of four scenes, each with
 * its own picture and chord. A scene holds two of the eight samples with all that is as near to them
 * as the plan allows, and moves slowly: a frame beside the one planned looks nearly like it, one of
 * elsewhere does not. A scene begins three frames before its first sample may be taken, for containers
 * that know times of decoding alone. Simulated. Number and time decide all; another number is another film. */

#include <stdint.h>

#define FILM_WIDTH   176 /* H.261 and H.263 know few sizes */
#define FILM_HEIGHT  144
#define FILM_FPS     25
#define FILM_SECONDS 8
#define FILM_SCENES  4

struct AVFrame;

/* Draws what is seen at `at` (0 … 1) into a writable yuv420p frame of FILM_WIDTH × FILM_HEIGHT. */
void film_draw(unsigned number, double at, struct AVFrame *ret_frame);
/* One sample, -1 … 1; `at` says which scene sounds. */
float film_sound(unsigned number, double at, int64_t sample, int rate_hz);
void film_end(void); /* frees what was drawn */

#endif
