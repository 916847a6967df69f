#ifndef MMF_EXTRACT_MEDIA_WINDOWS_H
#define MMF_EXTRACT_MEDIA_WINDOWS_H

/* A file that is too long to be kept whole, read in places over its whole length: its beginning,
 * and one window at each of the plan's targets. Nowhere else is anything sought by time.
 *
 * What comes back decides, never what was promised. Where a window lies is told by the packets'
 * own times; the declared length is only where to look first, and what lies near it is read before
 * anything is given up. A packet is kept once, and windows follow each other in the file's order.
 * Sought by time where the demuxer can, else by bytes.
 *
 * Cost: as many packets and bytes as the caps allow, in WINDOWS_PARTS equal shares, at most
 * WINDOWS_SPAN_US of each place; a seek may read WINDOWS_SEEK_BYTES (an index is one of the things
 * that are read then), and everything together MEDIA_READ_FACTOR times packet_bytes_max. */

#include "config/err.h"
#include "extract/media/budget.h"
#include "extract/media/encoder.h"

#include <stdbool.h>
#include <stdint.h>

#define WINDOWS_PARTS      (FRAMES_MAX + 1)
#define WINDOWS_SPAN_US    INT64_C(10000000)
#define WINDOWS_SEEK_BYTES (1 << 20)

struct AVFormatContext;
struct AVPacket;

/* The open file, after a pass that did not reach its end. */
struct windows_file {
    struct AVFormatContext *fmt;
    struct budget *budget;
    int video, audio; /* the streams wanted, -1 = none */
    int64_t size_bytes;
    int64_t packet_bytes_max;
    uint32_t packets_max;
    const int64_t *read_bytes; /* so far */
    int64_t *read_max;         /* after so many the file seems to end */
};

struct windows {
    struct AVPacket **packets; /* (n_packets), av_malloc'ed, in order of time */
    uint32_t n_packets, n_allocated;
    int64_t packet_bytes;
    uint32_t starts
        [WINDOWS_PARTS]; /* (n_starts) the first packet of each window but the beginning */
    unsigned n_starts;
    bool sought;         /* whether places can be gone to at all */
    int64_t seen_us;     /* covered by the windows; 0 = there are no times */
    int64_t duration_us; /* of the file; 0 = not known */
    bool damaged;        /* a packet of them is */
};

/* pass: (n_pass) what the pass kept, in file order. Where ret->sought, its beginning moves to ret and
 * the rest is freed (all of pass is NULL then); else it is as it was. ERR_RETRY when memory is out;
 * then free both. */
int windows_read(const struct windows_file *file, struct AVPacket **pass, uint32_t n_pass,
                 struct windows *ret, struct err *err);
void windows_free(struct windows *w);
/* Of a packet in memory: with its side data. */
int64_t windows_packet_bytes(const struct AVPacket *pkt);

#endif
