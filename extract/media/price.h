#ifndef MMF_EXTRACT_MEDIA_PRICE_H
#define MMF_EXTRACT_MEDIA_PRICE_H

/* What a packet makes the decoder do beyond the one frame that comes out of it, by its headers:
 * frames that are not shown (VP9, AV1), scans of a progressive JPEG. */

#include "extract/media/budget.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct AVPacket;

/* Charges the budget for it at pixels a frame. false = it must not be decoded: more scans than any
 * camera writes. */
bool price_packet(int codec_id, const struct AVPacket *pkt, int64_t pixels, struct budget *b);
/* The frames in a packet, at least 1. */
uint32_t price_vp9_frames(const uint8_t *data, size_t bytes);
uint32_t price_jpeg_scans(const uint8_t *data, size_t bytes);

#endif
