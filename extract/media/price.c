/* price.h. VP9: Annex B of its specification, the index at the end of a superframe. JPEG: a scan begins
 * with the marker SOS, and inside of coded data an 0xff is followed by 0 or a restart marker. */

#include "extract/media/price.h"

#include "extract/media/av1_refs.h"

#include <string.h>

#include <libavcodec/packet.h>
#include <libavcodec/codec_id.h>

#define JPEG_SCANS_MAX 64 /* libjpeg's script has 10 */

uint32_t price_vp9_frames(const uint8_t *data, size_t bytes)
{
    if (bytes < 2)
        return 1;
    uint8_t marker = data[bytes - 1];
    if ((marker & 0xe0) != 0xc0)
        return 1;
    size_t n_frames = (marker & 7) + 1u, n_size_bytes = (marker >> 3 & 3) + 1u;
    size_t index_bytes = 2 + n_frames * n_size_bytes;
    if (bytes < index_bytes || data[bytes - index_bytes] != marker)
        return 1;
    return (uint32_t)n_frames;
}

uint32_t price_jpeg_scans(const uint8_t *data, size_t bytes)
{
    uint32_t n = 0;
    const uint8_t *end = data + bytes;
    for (const uint8_t *p = data; p + 1 < end; p++) {
        p = memchr(p, 0xff, (size_t)(end - p) - 1);
        if (!p)
            break;
        n += p[1] == 0xda;
    }
    return n > 0 ? n : 1;
}

bool price_packet(int codec_id, const AVPacket *pkt, int64_t pixels, struct budget *b)
{
    if (!pkt->data || pkt->size <= 0)
        return true;
    size_t bytes = (size_t)pkt->size;
    uint32_t n = 1;
    if (codec_id == AV_CODEC_ID_VP9)
        n = price_vp9_frames(pkt->data, bytes);
    else if (codec_id == AV_CODEC_ID_AV1)
        n = av1_count_frames(pkt->data, bytes);
    else if (codec_id == AV_CODEC_ID_MJPEG)
        n = price_jpeg_scans(pkt->data, bytes);
    if (codec_id == AV_CODEC_ID_MJPEG && n > JPEG_SCANS_MAX)
        return false;
    for (uint32_t i = 1; i < n && !b->work_is_spent; i++)
        budget_take_frame(b, pixels);
    return true;
}
