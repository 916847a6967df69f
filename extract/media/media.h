#ifndef MMF_EXTRACT_MEDIA_MEDIA_H
#define MMF_EXTRACT_MEDIA_MEDIA_H

/* A media file, demuxed: the packets of its best picture track and its best sound track, in
 * memory, with exact timestamps. Nothing is decoded, and nothing is sought but in a file over
 * the caps (windows.h), and to the next of several FLVs end to end. One pass, and up to two more when a track that was chosen by its header
 * turns out to hold nothing, one picture, or nothing that decodes.
 *
 * Guards: bytes come only from the descriptor (pread; no protocol, no second file can be
 * opened); containers and codecs are on explicit lists; at most MEDIA_STREAMS_MAX streams, all
 * but the chosen ones discarded; at most 64 MB of header and the item's CPU budget; a pass keeps at
 * most packets_max packets and packet_bytes_max bytes (beside the track that stays from the pass
 * before it, at most as much again) and reads MEDIA_READ_FACTOR times as many, then the pass ends with `capped` and the file is read in
 * windows instead, which may read as many again;
 * avformat_find_stream_info is never called (it decodes beyond max_pixels): the codec is known
 * from the header or the first packets, sizes and rates come from the decoder. Declared
 * durations and sizes are not used. */

#include "config/err.h"

#include <stdbool.h>
#include <stdint.h>

#define MEDIA_STREAMS_MAX 1000
#define MEDIA_READ_FACTOR 4
#define MEDIA_PROBE_BYTES 5000000
#define MEDIA_PIXELS_MAX  (4096 * 4096)
#define MEDIA_ERRORS_MAX  50

#define MEDIA_NO_PTS INT64_MIN

struct budget;

struct media_options {
    int64_t bytes_max;        /* of the file; 0 = no limit */
    int64_t packet_bytes_max; /* kept of it, in memory */
    uint32_t packets_max;
};

struct AVCodec;
struct AVCodecParameters;
struct AVPacket;

struct media_packet {
    struct AVPacket *av;
    int64_t pts_us;      /* MEDIA_NO_PTS = unknown */
    int64_t duration_us; /* 0 = unknown */
    bool key;
    bool hidden; /* decoded but not shown (edit list) */
    bool cut;    /* it does not follow the one before it: packets between them were not read */
};

struct media_track {
    struct AVCodecParameters *par; /* its own copy; NULL = there is no such track */
    const struct AVCodec *codec;   /* NULL = not admitted */
    struct media_packet *packets;  /* (n_packets) in decode order */
    uint32_t n_packets;
    uint32_t n_keys_false; /* called keys by the container alone: units.h */
    bool encrypted;
    /* What display wants: first transpose, then mirror. */
    bool transpose, flip_x, flip_y;
    int64_t nominal_frame_us; /* for timestamps that are of no use */
    int64_t
        duration_us; /* of the file, where only windows of it were read; 0 = by its packets */
};

struct media {
    struct media_track video, audio;
    char container[16];
    bool partial; /* the file ends early or a packet is damaged */
    bool capped;
    uint64_t notes;  /* 1 << enum note: tracks skipped, changed, not admitted; cut; CPU */
    bool windows;    /* capped, and read in places over the whole length: windows.h */
    int64_t seen_us; /* of such a one; 0 = as long as what is there */
    void *handle;    /* media.c's own */
};

void media_options_init(struct media_options *o); /* any size, 64 MB, 40,000 packets */
/* fd stays the caller's. ERR_SKIP reason `media` or `media_too_big`; ERR_RETRY on EIO. */
int media_demux(int fd, const struct media_options *options, struct budget *budget,
                struct media **ret_media, struct err *err);
/* The picture (or sound) track gave nothing when it was decoded: reads the file again for the next
 * best, within the same budget. *ret_changed = false: there is none, or no reading is left; the
 * track is as it was. Else it is another, and what was made of the one before is void. */
int media_try_next(struct media *m, bool picture, bool *ret_changed, struct err *err);
void media_free(struct media *m); /* takes NULL */

#endif
