#include "played.h"

#include <stdio.h>
#include <stdlib.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/channel_layout.h>
#include <libswresample/swresample.h>
#include <libswscale/swscale.h>

#define QUANTISER    2
#define SOUND_HZ     16000
#define CHANNELS_MAX 64
#define MS           1000
#define GOP          600

struct player {
    AVFormatContext *in;
    AVCodecContext *decoder, *encoder;
    AVFrame *frame, *picture;
    AVPacket *pkt;
    struct SwsContext *sws;
    struct track track;
    AVRational base;
    int64_t last_ms;
};

static void *or_abort(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

static bool open_encoder(struct player *p, int width, int height)
{
    const AVCodec *codec = avcodec_find_encoder_by_name("mpeg4");
    p->encoder = or_abort(avcodec_alloc_context3(codec));
    p->encoder->width = width;
    p->encoder->height = height;
    p->encoder->pix_fmt = AV_PIX_FMT_YUV420P;
    p->encoder->time_base = (AVRational){1, MS};
    p->encoder->gop_size = GOP; /* keys where the clip has them: the same frames are sampled */
    p->encoder->thread_count = 1;
    p->encoder->flags |=
        AV_CODEC_FLAG_QSCALE | AV_CODEC_FLAG_GLOBAL_HEADER | AV_CODEC_FLAG_BITEXACT;
    p->encoder->global_quality = QUANTISER * FF_QP2LAMBDA;
    p->picture->format = AV_PIX_FMT_YUV420P;
    p->picture->width = width;
    p->picture->height = height;
    p->picture->quality = p->encoder->global_quality;
    p->track.rate = MS;
    p->track.fps = 25;
    p->track.par = or_abort(avcodec_parameters_alloc());
    AVDictionary *d = NULL;
    av_dict_set(&d, "sc_threshold", "1000000000", 0); /* no keys of its own */
    int ret = avcodec_open2(p->encoder, codec, &d);
    av_dict_free(&d);
    return ret >= 0 && avcodec_parameters_from_context(p->track.par, p->encoder) >= 0 &&
           av_frame_get_buffer(p->picture, 0) >= 0;
}

static void keep(struct player *p)
{
    struct track *t = &p->track;
    while (avcodec_receive_packet(p->encoder, p->pkt) >= 0) {
        t->packets = or_abort(realloc(t->packets, (t->n_packets + 1) * sizeof(*t->packets)));
        AVPacket *kept = or_abort(av_packet_alloc());
        av_packet_move_ref(kept, p->pkt);
        t->packets[t->n_packets++] = kept;
    }
}

static bool take(struct player *p)
{
    AVFrame *f = p->frame;
    int64_t ts = f->pts != AV_NOPTS_VALUE ? f->pts : f->pkt_dts;
    int64_t ms =
        ts != AV_NOPTS_VALUE ? av_rescale_q(ts, p->base, (AVRational){1, MS}) : p->last_ms + 40;
    if (p->encoder == NULL && !open_encoder(p, f->width, f->height))
        return false;
    if (p->track.n_packets > 0 && ms <= p->last_ms)
        return true; /* a player shows one of them */
    p->sws = sws_getCachedContext(p->sws, f->width, f->height, (enum AVPixelFormat)f->format,
                                  p->encoder->width, p->encoder->height, AV_PIX_FMT_YUV420P,
                                  SWS_BILINEAR, NULL, NULL, NULL);
    if (p->sws == NULL || av_frame_make_writable(p->picture) < 0)
        return false;
    sws_scale(p->sws, (const uint8_t *const *)f->data, f->linesize, 0, f->height,
              p->picture->data, p->picture->linesize);
    p->picture->pts = p->last_ms = ms;
    p->picture->pict_type =
        f->pict_type == AV_PICTURE_TYPE_I ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
    if (avcodec_send_frame(p->encoder, p->picture) < 0)
        return false;
    keep(p);
    return true;
}

static bool send(struct player *p, const AVPacket *pkt)
{
    (void)avcodec_send_packet(p->decoder, pkt);
    while (avcodec_receive_frame(p->decoder, p->frame) >= 0)
        if (!take(p))
            return false;
    return true;
}

/* ---- sound: mono samples, frame by frame ---- */

struct listener {
    AVCodecContext *decoder;
    AVFrame *frame;
    struct SwrContext *swr;
    struct track track;
    int64_t n_samples;
};

static void open_listener(struct listener *l, const AVStream *st, const AVCodec *codec)
{
    AVChannelLayout mono = AV_CHANNEL_LAYOUT_MONO;
    l->frame = or_abort(av_frame_alloc());
    l->decoder = or_abort(avcodec_alloc_context3(codec));
    l->track.rate = SOUND_HZ;
    l->track.par = or_abort(avcodec_parameters_alloc());
    l->track.par->codec_type = AVMEDIA_TYPE_AUDIO;
    l->track.par->codec_id = AV_CODEC_ID_PCM_S16LE;
    l->track.par->sample_rate = SOUND_HZ;
    l->track.par->bits_per_coded_sample = 16;
    l->track.par->block_align = 2;
    if (av_channel_layout_copy(&l->track.par->ch_layout, &mono) < 0)
        abort();
    if (avcodec_parameters_to_context(l->decoder, st->codecpar) < 0 ||
        avcodec_open2(l->decoder, codec, NULL) < 0)
        avcodec_free_context(&l->decoder);
}

static void hear(struct listener *l)
{
    AVFrame *f = l->frame;
    struct track *t = &l->track;
    if (l->swr == NULL) {
        AVChannelLayout mono = AV_CHANNEL_LAYOUT_MONO;
        if (swr_alloc_set_opts2(&l->swr, &mono, AV_SAMPLE_FMT_S16, SOUND_HZ, &f->ch_layout,
                                (enum AVSampleFormat)f->format, f->sample_rate, 0, NULL) < 0 ||
            swr_init(l->swr) < 0)
            return;
    }
    AVPacket *p = or_abort(av_packet_alloc());
    int room = swr_get_out_samples(l->swr, f->nb_samples);
    if (room <= 0 || av_new_packet(p, room * 2) < 0)
        abort();
    const uint8_t *in[CHANNELS_MAX] = {NULL};
    bool planar = av_sample_fmt_is_planar((enum AVSampleFormat)f->format);
    for (int i = 0; i < CHANNELS_MAX && i < (planar ? f->ch_layout.nb_channels : 1); i++)
        in[i] = f->extended_data[i];
    int n = swr_convert(l->swr, &p->data, room, in, f->nb_samples);
    if (n <= 0) {
        av_packet_free(&p);
        return;
    }
    av_shrink_packet(p, n * 2);
    p->pts = p->dts = l->n_samples;
    p->duration = n;
    p->flags = AV_PKT_FLAG_KEY;
    l->n_samples += n;
    t->packets = or_abort(realloc(t->packets, (t->n_packets + 1) * sizeof(*t->packets)));
    t->packets[t->n_packets++] = p;
}

static void listen_to(struct listener *l, const AVPacket *pkt)
{
    (void)avcodec_send_packet(l->decoder, pkt);
    while (avcodec_receive_frame(l->decoder, l->frame) >= 0)
        hear(l);
}

/* ---- the file ---- */

static int open_input(struct player *p, int fd)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (avformat_open_input(&p->in, path, NULL, NULL) < 0 ||
        avformat_find_stream_info(p->in, NULL) < 0)
        return -1;
    const AVCodec *codec = NULL;
    int stream = av_find_best_stream(p->in, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (stream < 0)
        return -1;
    p->decoder = or_abort(avcodec_alloc_context3(codec));
    p->decoder->thread_count = 1;
    p->base = p->in->streams[stream]->time_base;
    if (avcodec_parameters_to_context(p->decoder, p->in->streams[stream]->codecpar) < 0 ||
        avcodec_open2(p->decoder, codec, NULL) < 0)
        return -1;
    return stream;
}

/* Leaves its memory to the process, which ends. */
bool played_file(int fd, struct file *ret_file)
{
    struct player p = {.frame = or_abort(av_frame_alloc()),
                       .picture = or_abort(av_frame_alloc()),
                       .pkt = or_abort(av_packet_alloc())};
    struct listener l = {0};
    const AVCodec *codec = NULL;
    int stream = open_input(&p, fd), sound = -1;
    bool fine = stream >= 0;
    if (fine)
        sound = av_find_best_stream(p.in, AVMEDIA_TYPE_AUDIO, -1, -1, &codec, 0);
    if (sound >= 0)
        open_listener(&l, p.in->streams[sound], codec);
    AVPacket *pkt = or_abort(av_packet_alloc());
    while (fine && av_read_frame(p.in, pkt) >= 0) {
        if (pkt->stream_index == stream)
            fine = send(&p, pkt);
        else if (pkt->stream_index == sound && l.decoder != NULL)
            listen_to(&l, pkt);
        av_packet_unref(pkt);
    }
    fine = fine && send(&p, NULL) && p.encoder != NULL;
    if (!fine)
        return false;
    if (avcodec_send_frame(p.encoder, NULL) >= 0)
        keep(&p);
    struct clip c = {.tracks = {&p.track}, .n_tracks = 1, .container = "matroska"};
    if (l.track.n_packets > 0)
        c.tracks[c.n_tracks++] = &l.track;
    return clip_write(&c, ret_file);
}
