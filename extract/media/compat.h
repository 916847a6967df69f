#ifndef MMF_EXTRACT_MEDIA_COMPAT_H
#define MMF_EXTRACT_MEDIA_COMPAT_H

/* What FFmpeg 5.1 (Debian 12) and 7.1 (Debian 13) want asked in different words. The old words
 * may still compile and find nothing: every guard on FFmpeg's version is in compat.c. */

#include <stddef.h>
#include <stdint.h>

struct AVCodec;
struct AVStream;

/* Side data of a whole stream, e.g. type AV_PKT_DATA_DISPLAYMATRIX. NULL = there is none. */
const uint8_t *compat_side_data(const struct AVStream *st, int type, size_t *ret_bytes);
/* Room for side data of a stream to be written; call it once the stream's parameters are set.
 * NULL = out of memory. */
uint8_t *compat_new_side_data(struct AVStream *st, int type, size_t bytes);
/* The first AVSampleFormat that an encoder takes, AV_SAMPLE_FMT_NONE when it names none. */
int compat_sample_format(const struct AVCodec *codec);

#endif
