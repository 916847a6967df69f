#ifndef MMF_EXTRACT_MEDIA_CLIPMAKER_H
#define MMF_EXTRACT_MEDIA_CLIPMAKER_H

/* Makes small real clips with picture and sound by FFmpeg's encoders, from a seed: for the demo
 * and the tests, so that neither ships media. The same options give the same bytes. */

#include "config/err.h"

#include <stdbool.h>
#include <stdint.h>

struct clipmaker_options {
    uint64_t seed;     /* colours, shapes, motion, tones */
    unsigned scene;    /* clips of one scene look and sound alike: 0, 1, 2, … */
    int width, height; /* even, or any for formats without chroma subsampling */
    int fps;
    int duration_ms;
    int gop;                  /* frames between keyframes, 0 = one keyframe */
    const char *video_codec;  /* FFmpeg's encoder name: "libx264"; NULL = no picture */
    const char *audio_codec;  /* "aac"; NULL = no sound */
    const char *container;    /* FFmpeg's muxer name: "mp4", "matroska", "webm" */
    const char *pixel_format; /* "yuv420p" when NULL */

    int start_ms;       /* the part of the scene that begins here: halves of one clip */
    int quality;        /* the encoder's constant rate factor, 0 = its default */
    int gain_db;        /* of the sound; -200 = digital silence */
    int rotation;       /* display matrix: 0, 90, 180, 270 degrees clockwise */
    int n_extra_sounds; /* further sound tracks of other scenes, not default */
    bool faststart;     /* mp4: index before the samples, as for the web */
    bool fragmented;    /* mp4: a fragment a keyframe, with an edit list, as recorders do */
    bool encrypted;     /* mp4: by Common Encryption, as DRM does */
    bool variable_rate; /* frames at uneven times */
    bool no_b_frames;
    bool open_gop; /* libx264: keyframes are no IDR, and pictures before them refer across */
    bool fields;   /* libx265: each frame is a field, as camcorders do */
};

void clipmaker_options_init(struct clipmaker_options *o); /* 320×180, 4 s, h264 + aac in mp4 */
/* FFmpeg prints errors only from then on, none of its encoders' statistics. For the whole process. */
void clipmaker_quiet(void);
int clipmaker_write(const char *path, const struct clipmaker_options *o, struct err *err);

#endif
