#ifndef MMF_EXTRACT_MEDIA_COMPAT_H
#define MMF_EXTRACT_MEDIA_COMPAT_H

/* What FFmpeg 5.1 (Debian 12), 6.1 (Ubuntu 24.04) and 7.1 (Debian 13) want asked in different
 * words, or tell in different words. The old words may still compile and find nothing: every
 * guard on FFmpeg's version is in compat.c. tests/distros.sh compares what comes out. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct AVCodec;
struct AVFormatContext;
struct AVFrame;
struct AVPacket;
struct AVStream;

/* Side data of a whole stream, e.g. type AV_PKT_DATA_DISPLAYMATRIX. NULL = there is none. */
const uint8_t *compat_side_data(const struct AVStream *st, int type, size_t *ret_bytes);
/* Room for side data of a stream to be written; call it once the stream's parameters are set.
 * NULL = out of memory. */
uint8_t *compat_new_side_data(struct AVStream *st, int type, size_t bytes);
/* Names the samples of AAC in an MP4 that are not to be heard, in its first packet: the encoder's
 * priming, or what an edit list cuts off. -1 = out of memory. */
int compat_mark_priming(struct AVPacket *first, const struct AVStream *st);
/* The stream is one tile of a picture (a phone's HEIC), not a picture. */
bool compat_is_tile(const struct AVFormatContext *fmt, int index);
/* Whether the decoder calls the picture a key, or intra-coded. */
bool compat_is_key(const struct AVFrame *frame);
/* The first AVSampleFormat that an encoder takes, AV_SAMPLE_FMT_NONE when it names none. */
int compat_sample_format(const struct AVCodec *codec);

#endif
