#ifndef MMF_TESTS_CLIP_H
#define MMF_TESTS_CLIP_H

/* A clip in memory: tracks of packets, as an encoder made them and a change left them, and the file
 * that a muxer makes of them. What fails because this FFmpeg lacks it, or because a muxer refuses it,
 * gives NULL or false, and clip_why says why; out of memory aborts. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIP_TRACKS_MAX 16

struct AVCodecParameters;
struct AVPacket;

struct track {
    struct AVCodecParameters *par;
    struct AVPacket **packets; /* (n_packets) in decode order, times in 1/rate s */
    unsigned n_packets;
    int rate; /* 90,000, or the sound's */
    int fps;  /* of a picture track, for muxers that want it */
    int disposition;
};

struct clip {
    struct track *tracks[CLIP_TRACKS_MAX];
    unsigned n_tracks;
    const char *container; /* FFmpeg's muxer */
    const char *options;   /* of the muxer, "key=value:key=value"; NULL */
};

struct file {
    uint8_t *bytes; /* (n_bytes) free() */
    size_t n_bytes;
};

/* How a picture track is made of the film. Zeroes are the plain way. */
struct coding {
    const char *encoder;
    const char
        *options; /* of the encoder, "key=value,key=value"; a gop of -1 and more besides */
    const char *pixels; /* NULL = yuv420p */
    unsigned film;
    int gop;              /* 0 = 20, -1 = one key in all */
    int b_frames;         /* 0 = none, else so many */
    int width, height;    /* 0 = the film's */
    int seconds;          /* 0 = the film's: longer is slower */
    int from_pct, to_pct; /* the part of the film; to 0 = 100 */
    int quality;          /* 0 = plain, else a step away */
    bool in_band;         /* parameter sets in the packets */
    bool fields;          /* interlaced tools, both fields in a picture */
    bool field_pictures;  /* a field a picture */
    bool irregular;       /* further keys, forced here and there */
    bool one_palette;     /* as few colours as a palette has, whatever the format */
};

enum sound_shape {
    SOUND_MONO, /* as the film is, the same in every channel */
    SOUND_ANTIPHASE,
    SOUND_NEARLY_ANTIPHASE,
    SOUND_LEFT, /* the other channels are silent */
    SOUND_LAST,
    SOUND_DC,     /* an offset of a tenth */
    SOUND_DC_MUCH /* of three tenths */
};

struct sound {
    const char *encoder;
    const char *options;
    unsigned film;
    enum sound_shape shape;
    int rate_hz;  /* 0 = the codec's usual one */
    int channels; /* 0 = 1 */
    int seconds, from_pct, to_pct;
    bool in_band;
};

struct track *track_of_pictures(const struct coding *c);
/* H.264 of field pictures, both in a packet or each in its own (fields.c). */
struct track *track_of_fields(const struct coding *c, bool apart);
struct track *track_of_sound(const struct sound *s);
int sound_rate_hz(const struct sound *s);
struct track *track_copy(const struct track *t); /* packets of its own */
void track_free(struct track *t);
/* b after a; with side data, its first packet brings b's parameter sets. Frees b. */
void track_join(struct track *a, struct track *b, bool with_side_data);
void track_drop(struct track *t, unsigned first, unsigned n); /* packets */

bool clip_write(const struct clip *c, struct file *ret_file);
void clip_free(struct clip *c); /* its tracks */
const char *clip_why(void);
void clip_set_why(const char *text, int code); /* code: FFmpeg's, 0 = none */

#endif
