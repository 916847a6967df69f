/* compat.h. FFmpeg 6.1 moved a stream's side data from AVStream into its AVCodecParameters.
 * av_stream_get_side_data still compiles there, but finds what demuxers set only after
 * avformat_find_stream_info, which we never call. */

#include "extract/media/compat.h"

#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavcodec/packet.h>
#include <libavformat/avformat.h>
#include <libavutil/intreadwrite.h>

#define SKIP_BYTES 10 /* samples at the beginning, at the end, two reasons: packet.h */

#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 102) /* FFmpeg 6.1 */

const uint8_t *compat_side_data(const AVStream *st, int type, size_t *ret_bytes)
{
    const AVPacketSideData *d =
        av_packet_side_data_get(st->codecpar->coded_side_data, st->codecpar->nb_coded_side_data,
                                (enum AVPacketSideDataType)type);
    *ret_bytes = d ? d->size : 0;
    return d ? d->data : NULL;
}

uint8_t *compat_new_side_data(AVStream *st, int type, size_t bytes)
{
    AVPacketSideData *d = av_packet_side_data_new(&st->codecpar->coded_side_data,
                                                  &st->codecpar->nb_coded_side_data,
                                                  (enum AVPacketSideDataType)type, bytes, 0);
    return d ? d->data : NULL;
}

int compat_mark_priming(AVPacket *first, const AVStream *st)
{
    (void)first;
    (void)st;
    return 0;
}

#else

const uint8_t *compat_side_data(const AVStream *st, int type, size_t *ret_bytes)
{
    return av_stream_get_side_data(st, (enum AVPacketSideDataType)type, ret_bytes);
}

uint8_t *compat_new_side_data(AVStream *st, int type, size_t bytes)
{
    return av_stream_new_side_data(st, (enum AVPacketSideDataType)type, bytes);
}

/* Where the MP4 is in fragments, this FFmpeg tells it by a time before 0 only, which its decoders
 * do not heed. */
int compat_mark_priming(AVPacket *first, const AVStream *st)
{
    size_t bytes = 0;
    if (st->codecpar->codec_id != AV_CODEC_ID_AAC || first->pts == AV_NOPTS_VALUE ||
        first->pts >= 0 || av_packet_get_side_data(first, AV_PKT_DATA_SKIP_SAMPLES, &bytes))
        return 0;
    int rate = st->codecpar->sample_rate;
    if (rate <= 0 || first->pts < -INT32_MAX)
        return 0;
    int64_t n = av_rescale_q(-first->pts, st->time_base, (AVRational){1, rate});
    if (n <= 0 || n > INT32_MAX)
        return 0;
    uint8_t *data = av_packet_new_side_data(first, AV_PKT_DATA_SKIP_SAMPLES, SKIP_BYTES);
    if (!data)
        return -1;
    memset(data, 0, SKIP_BYTES);
    AV_WL32(data, (uint32_t)n);
    return 0;
}

#endif

/* Of a decoder that says nothing (qtrle), FFmpeg 5.1 calls each frame a key and later ones none. */
bool compat_is_key(const AVFrame *f)
{
#ifdef AV_FRAME_FLAG_KEY /* FFmpeg 6.1 */
    bool key = f->flags & AV_FRAME_FLAG_KEY || f->pict_type == AV_PICTURE_TYPE_NONE;
#else
    bool key = f->key_frame;
#endif
    return key || f->pict_type == AV_PICTURE_TYPE_I || f->pict_type == AV_PICTURE_TYPE_SI ||
           f->pict_type == AV_PICTURE_TYPE_BI;
}

int compat_sample_format(const AVCodec *codec)
{
    const enum AVSampleFormat *formats = NULL;
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(61, 13, 100) /* FFmpeg 7.1 */
    const void *list = NULL;
    if (avcodec_get_supported_config(NULL, codec, AV_CODEC_CONFIG_SAMPLE_FORMAT, 0, &list,
                                     NULL) >= 0)
        formats = list;
#else
    formats = codec->sample_fmts;
#endif
    return formats ? formats[0] : AV_SAMPLE_FMT_NONE;
}

/* FFmpeg 7 gives each tile as a stream of its own, and puts none together. */
bool compat_is_tile(const AVFormatContext *fmt, int index)
{
#if LIBAVFORMAT_VERSION_INT >= AV_VERSION_INT(61, 1, 100) /* FFmpeg 7.0 */
    for (unsigned i = 0; i < fmt->nb_stream_groups; i++) {
        const AVStreamGroup *g = fmt->stream_groups[i];
        if (g->type != AV_STREAM_GROUP_PARAMS_TILE_GRID || g->nb_streams < 2)
            continue;
        for (unsigned k = 0; k < g->nb_streams; k++)
            if (g->streams[k]->index == index)
                return true;
    }
#else
    (void)fmt;
    (void)index;
#endif
    return false;
}
