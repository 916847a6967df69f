#ifndef MMF_EXTRACT_MEDIA_FORMATS_H
#define MMF_EXTRACT_MEDIA_FORMATS_H

/* Which containers and codecs are admitted, and what a file is whose format is not. What is
 * admitted is what phones, cameras, recorders and sites write and FFmpeg keeps well; each name more
 * is a name more that a hostile file can choose. */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FORMATS_HEAD_BYTES 512 /* of a file, are enough to name it */

struct AVCodec;
struct AVCodecParameters;

/* Names of FFmpeg's demuxers, with commas, as AVFormatContext.format_whitelist takes them. None of
 * them opens a second file. */
const char *formats_containers(void);
/* The admitted decoder of an AVCodecID; NULL = not admitted, or not in this FFmpeg. Each is named,
 * so that an installed library with a decoder of its own changes nothing. */
const struct AVCodec *formats_decoder(int codec_id);
/* Opens and closes every decoder once, so that no table is built after the seccomp filter. */
int formats_warm_up(struct err *err);
/* A demuxer of single pictures: what follows the first (a phone's preview, its gain map) is none. */
bool formats_is_still(const char *container);
/* FFmpeg's name of a codec, or its four letters where FFmpeg has no name ("apac"). */
void formats_codec_name(const struct AVCodecParameters *par, char ret_name[16]);
/* ERR_SKIP `media`, and what the file is by its first bytes: "this is an animated WebP picture, which
 * this FFmpeg (5.1.9) cannot read"; where that is not known, why FFmpeg did not open it. */
int formats_refuse(const uint8_t *head, size_t n_head, int64_t size_bytes, const char *why,
                   struct err *err);
/* Its demuxer opens it, and its decoder cannot read it. */
bool formats_is_animated_webp(const uint8_t *head, size_t n_head);
/* The ID3 tags in front of a file, titles and covers, of which nothing is used: FFmpeg's time for
 * them grows with the square of their number. 0 = there are none, or nothing behind them. */
int64_t formats_tag_bytes(int fd, int64_t size_bytes);

#endif
