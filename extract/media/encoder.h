#ifndef MMF_EXTRACT_MEDIA_ENCODER_H
#define MMF_EXTRACT_MEDIA_ENCODER_H

/* The seam at which encoders plug in: frames, sound or text in, one vector out, with dimension
 * and identity. Each has a name in the table of encoder.c, by which `metammf-extract --encoder`
 * asks for it. The built-in ones (visual.c, acoustic.c, textual.c) need no weights.
 *
 * An encoder is created before the seccomp filter, where it may load files; `encode` must need
 * memory only. It is deterministic and knows nothing of earlier items. A vector is finite and
 * of unit length, so that the modalities weigh alike in a model that nobody has trained yet.
 * Shapes: n frames of CANVAS_SIDE² pixels; n_samples of sound at SOUND_RATE_HZ. */

#include "config/err.h"
#include "config/modality.h"
#include "extract/wire/features.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CANVAS_SIDE   224
#define CANVAS_CHROMA (CANVAS_SIDE / 2)
#define SOUND_RATE_HZ 16000
#define SOUND_MAX_S   60
#define FRAMES_MAX    8

/* A picture as every encoder sees it: upright, squeezed to a square, YCbCr of BT.601 in full
 * range, whatever the clip's size, rotation, pixel format, matrix and range were. */
struct canvas {
    uint8_t y[CANVAS_SIDE * CANVAS_SIDE];
    uint8_t cb[CANVAS_CHROMA * CANVAS_CHROMA];
    uint8_t cr[CANVAS_CHROMA * CANVAS_CHROMA];
};

struct encoder_frame {
    struct canvas now;
    struct canvas next; /* a frame shortly after, for motion; valid when next_us > 0 */
    int64_t pts_us;     /* from the clip's beginning */
    int32_t next_us;    /* from now to next, 0 = there is none */
};

struct encoder_input {
    const struct encoder_frame *frames; /* (n_frames), in order of time */
    size_t n_frames;
    int32_t width, height; /* upright, before the squeeze */
    const float *pcm;      /* (n_samples) mono, SOUND_RATE_HZ, nominally -1 … 1 */
    size_t n_samples;
    const struct features_text *text; /* untrusted; NULL = none */
};

struct encoder {
    struct encoder_identity identity;
    void *state; /* the encoder's own */
    /* A promise: encode asks for no memory and takes no lock, and may be called in a signal handler
     * that has interrupted it, with the same state. Without it, an item whose CPU time is spent in
     * the middle of a packet has no vector of this modality. */
    bool reentrant;
    /* Fills ret_vec (dim) and *ret_present; false = the input carries no signal. */
    int (*encode)(void *state, const struct encoder_input *in, float *ret_vec,
                  bool *ret_present, struct err *err);
    void (*free)(void *state);
};

/* The encoder of that name, NULL = the built-in one. ERR_FATAL with EX_CONFIG when the modality
 * has none of it. `free` ends it. */
int encoder_new(enum modality m, const char *name, struct encoder *ret_encoder,
                struct err *err);

/* The built-in ones. */
int visual_encoder(struct encoder *ret_encoder, struct err *err);
int acoustic_encoder(struct encoder *ret_encoder, struct err *err);
int textual_encoder(struct encoder *ret_encoder, struct err *err);

#endif
