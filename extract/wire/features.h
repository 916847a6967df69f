#ifndef MMF_EXTRACT_WIRE_FEATURES_H
#define MMF_EXTRACT_WIRE_FEATURES_H

/* What extraction makes of one item: a vector a modality, a mask, and how far to trust it. Plain
 * data; crosses from the sandboxed worker to the daemon as one message. */

#include "config/err.h"
#include "config/modality.h"

#include <stdbool.h>
#include <stdint.h>

#define FEATURES_DIM_MAX        2048
#define FEATURES_ENCODER_ID_MAX 64

/* What makes the vectors of one modality. Two vectors are comparable when their ids are equal. */
struct encoder_identity {
    enum modality modality;
    uint16_t dim;                     /* 1 … FEATURES_DIM_MAX */
    char id[FEATURES_ENCODER_ID_MAX]; /* "mpeg7-gradient-1:0123456789ab" */
};

/* How the frames of a clip were sampled, and whether the clip was whole. */
struct features_flags {
    bool partial;      /* the file ended early or parts were undecodable */
    bool degraded;     /* over budget: fewer frames than planned */
    bool capped;       /* longer than the packet or byte cap: only seen_ms of it were read */
    bool retimed;      /* times made up or joined: note time_invented */
    uint16_t n_frames; /* frames described */
    uint16_t n_planned;
    uint32_t n_keyframes; /* in the clip */
    float coverage;       /* share of the targets that have a frame within tau, 0 … 1 */
    uint32_t max_gap_ms;  /* largest |sample - target| */
    uint32_t duration_ms; /* of the packets, not what the container declares */
    uint32_t audio_ms;    /* sound described */
    uint32_t seen_ms; /* of duration_ms that was read; less when read in windows (notes.h) */
    uint32_t n_decode_errors;
    uint64_t notes; /* 1 << enum note, notes.h: what happened, in words */
    /* Why nothing came of a media that was found: the reason that it would be a dead letter for
     * without text; "" = something did. */
    char reason[ERR_REASON_BYTES];
    uint16_t width, height;                               /* after rotation */
    char container[16], video_codec[16], audio_codec[16]; /* FFmpeg's short names, "" = none */
};

struct features {
    unsigned mask; /* MODALITY_BIT(m) for each vector present */
    uint16_t dim[MODALITY_COUNT];
    char encoder_id[MODALITY_COUNT][FEATURES_ENCODER_ID_MAX];
    float vec[MODALITY_COUNT][FEATURES_DIM_MAX]; /* (dim[m]); finite */
    struct features_flags flags;
    int64_t extract_us; /* inside the worker: open, decode, describe */
};

/* One item's text, UTF-8, untrusted; any may be NULL. */
struct features_text {
    const char *title, *description, *lang;
    const char *const *tags;
    uint32_t n_tags;
};

#endif
