#ifndef MMF_EXTRACT_MEDIA_FORMATS_H
#define MMF_EXTRACT_MEDIA_FORMATS_H

/* Which containers and codecs are admitted, and what a file is whose format is not. What is
 * admitted is what phones, cameras, recorders and sites write and FFmpeg keeps well; each name more
 * is a name more that a hostile file can choose. */

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
/* Row i of the table, for whoever wants all; NULL in *ret_codec when this FFmpeg lacks it. */
bool formats_row(size_t i, const struct AVCodec **ret_codec);
/* A demuxer of single pictures: what follows the first (a phone's preview, its gain map) is none. */
bool formats_is_still(const char *container);
/* FFmpeg's name of a codec, or its four letters where FFmpeg has no name ("apac"). */
void formats_codec_name(const struct AVCodecParameters *par, char ret_name[16]);
/* What a file that cannot be used is, by its first bytes, as a part of a sentence: "animated WebP,
 * which this FFmpeg (5.1.9) cannot read". false = no idea. */
bool formats_name(const uint8_t *head, size_t n_head, size_t n_text, char *ret_text);
/* Its demuxer opens it, and its decoder cannot read it. */
bool formats_is_animated_webp(const uint8_t *head, size_t n_head);

#endif
