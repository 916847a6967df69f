/* clip.h: the encoders. One thread, bit-exact, keys where `gop` says and nowhere else, a fixed
 * quantiser, so that two codings of the film differ by what they say alone. */

#include "clip.h"
#include "film.h"

#include "extract/media/compat.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavutil/channel_layout.h>
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>

#define CLOCK_HZ     90000
#define CHUNK        1024 /* samples, where the codec has no frame of its own */
#define PALETTE_SIDE 6
#define GOP          20 /* no key is as far from one sample as from the next */

struct maker {
    AVCodecContext *ctx;
    AVFrame *frame, *drawn, *rgb;
    AVPacket *pkt;
    struct SwsContext *to_rgb, *to_codec;
    struct track *track;
};

static void *or_abort(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

static struct maker open_maker(const AVCodec *codec, bool in_band)
{
    struct maker m = {.ctx = or_abort(avcodec_alloc_context3(codec)),
                      .frame = or_abort(av_frame_alloc()),
                      .pkt = or_abort(av_packet_alloc()),
                      .track = or_abort(calloc(1, sizeof(*m.track)))};
    m.ctx->thread_count = 1;
    m.ctx->flags |= AV_CODEC_FLAG_BITEXACT;
    m.ctx->strict_std_compliance = FF_COMPLIANCE_EXPERIMENTAL;
    if (!in_band)
        m.ctx->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    m.track->par = or_abort(avcodec_parameters_alloc());
    return m;
}

static struct track *close_maker(struct maker *m, int ret, const char *name)
{
    avcodec_free_context(&m->ctx);
    av_frame_free(&m->frame);
    av_frame_free(&m->drawn);
    av_frame_free(&m->rgb);
    av_packet_free(&m->pkt);
    sws_freeContext(m->to_rgb);
    sws_freeContext(m->to_codec);
    if (ret >= 0)
        return m->track;
    clip_set_why(name, ret);
    track_free(m->track);
    return NULL;
}

static void keep(struct maker *m)
{
    struct track *t = m->track;
    if (t->n_packets % 64 == 0)
        t->packets = or_abort(realloc(t->packets, (t->n_packets + 65) * sizeof(*t->packets)));
    av_packet_rescale_ts(m->pkt, m->ctx->time_base, (AVRational){1, t->rate});
    if (m->pkt->duration == 0 && m->ctx->codec_type == AVMEDIA_TYPE_VIDEO)
        m->pkt->duration = t->rate / t->fps;
    AVPacket *p = or_abort(av_packet_alloc());
    av_packet_move_ref(p, m->pkt);
    t->packets[t->n_packets++] = p;
}

static int encode(struct maker *m, const AVFrame *frame)
{
    int ret = avcodec_send_frame(m->ctx, frame);
    while (ret >= 0) {
        ret = avcodec_receive_packet(m->ctx, m->pkt);
        if (ret == AVERROR(EAGAIN) || ret == AVERROR_EOF)
            return 0;
        if (ret >= 0)
            keep(m);
    }
    return ret;
}

/* ---- pictures ---- */

static void x265_options(const struct coding *c, int gop, AVDictionary **d)
{
    char text[400];
    snprintf(
        text, sizeof(text),
        "pools=none:frame-threads=1:scenecut=0:log-level=none:info=0:keyint=%d:min-keyint=%d:"
        "bframes=%d:open-gop=0%s%s%s",
        gop, gop, c->b_frames, c->in_band ? ":repeat-headers=1" : "",
        c->field_pictures ? ":interlace=tff" : "", c->options != NULL ? c->options : "");
    av_dict_set(d, "preset", "ultrafast", 0);
    av_dict_set_int(d, "crf", 26 + 4 * c->quality, 0);
    av_dict_set(d, "x265-params", text, 0);
}

static void encoder_options(const struct coding *c, int gop, AVDictionary **d)
{
    const char *name = c->encoder;
    if (!strcmp(name, "libx265")) {
        x265_options(c, gop, d);
        return;
    }
    if (!strcmp(name, "libx264")) {
        av_dict_set(d, "preset", "superfast", 0);
        av_dict_set(d, "sc_threshold", "0", 0);
        av_dict_set(d, "mbtree", "0", 0);
        av_dict_set_int(d, "crf", 23 + 4 * c->quality, 0);
    } else if (!strcmp(name, "libvpx") || !strcmp(name, "libvpx-vp9")) {
        /* In real time libvpx looks at the clock for VP8, and no two runs are the same. */
        bool vp8 = !strcmp(name, "libvpx");
        av_dict_set(d, "deadline", vp8 ? "good" : "realtime", 0);
        av_dict_set(d, "cpu-used", vp8 ? "5" : "8", 0);
        av_dict_set(d, "b", vp8 ? "600k" : "0", 0);
        av_dict_set_int(d, "crf", 24 + 6 * c->quality, 0);
        if (c->b_frames == 0) {
            av_dict_set(d, "auto-alt-ref", "0", 0);
            av_dict_set(d, "lag-in-frames", "0", 0);
        } else {
            av_dict_set(d, "auto-alt-ref", "1", 0);
            av_dict_set(d, "lag-in-frames", "16", 0);
        }
    } else if (!strcmp(name, "libaom-av1")) {
        av_dict_set(d, "cpu-used", "8", 0);
        av_dict_set(d, "usage", "realtime", 0);
        av_dict_set(d, "crf", "30", 0);
    } else if (!strcmp(name, "libsvtav1")) {
        av_dict_set(d, "preset", "12", 0);
        av_dict_set(d, "crf", "32", 0);
        av_dict_set(d, "svtav1-params", "lp=1:scd=0", 0);
    }
    if (c->options != NULL && av_dict_parse_string(d, c->options, "=", ",", 0) < 0)
        abort();
}

static bool has_quantiser(const AVCodec *codec)
{
    static const enum AVCodecID ids[] = {
        AV_CODEC_ID_MPEG1VIDEO, AV_CODEC_ID_MPEG2VIDEO, AV_CODEC_ID_MPEG4,
        AV_CODEC_ID_H263,       AV_CODEC_ID_H263P,      AV_CODEC_ID_FLV1,
        AV_CODEC_ID_MSMPEG4V2,  AV_CODEC_ID_MSMPEG4V3,  AV_CODEC_ID_WMV1,
        AV_CODEC_ID_WMV2,       AV_CODEC_ID_MJPEG,      AV_CODEC_ID_H261,
        AV_CODEC_ID_RV10,       AV_CODEC_ID_RV20,       AV_CODEC_ID_SVQ1,
        AV_CODEC_ID_SNOW,       AV_CODEC_ID_AMV,        AV_CODEC_ID_SPEEDHQ};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        if (codec->id == ids[i] && strncmp(codec->name, "lib", 3) != 0)
            return true;
    return false;
}

static int frames_of(const struct coding *c)
{
    int to = c->to_pct > 0 ? c->to_pct : 100;
    int seconds = c->seconds > 0 ? c->seconds : FILM_SECONDS;
    return seconds * FILM_FPS * (to - c->from_pct) / 100 * (c->field_pictures ? 2 : 1);
}

static void set_context(AVCodecContext *ctx, const struct coding *c, int gop)
{
    int fps = c->field_pictures ? 2 * FILM_FPS : FILM_FPS;
    ctx->width = c->width > 0 ? c->width : FILM_WIDTH;
    ctx->height = (c->height > 0 ? c->height : FILM_HEIGHT) / (c->field_pictures ? 2 : 1);
    ctx->pix_fmt = av_get_pix_fmt(c->pixels != NULL ? c->pixels : "yuv420p");
    ctx->time_base = (AVRational){1, fps};
    ctx->framerate = (AVRational){fps, 1};
    ctx->gop_size = gop;
    ctx->keyint_min = gop;
    ctx->max_b_frames = strncmp(c->encoder, "libvpx", 6) != 0 ? c->b_frames : 0;
    if (c->fields)
        ctx->flags |= AV_CODEC_FLAG_INTERLACED_DCT | AV_CODEC_FLAG_INTERLACED_ME;
    if (!strcmp(c->encoder, "libtheora")) {
        ctx->flags |= AV_CODEC_FLAG_QSCALE;
        ctx->global_quality = 8 * FF_QP2LAMBDA; /* of 10 */
    } else if (has_quantiser(ctx->codec)) {
        ctx->flags |= AV_CODEC_FLAG_QSCALE;
        ctx->global_quality = (3 + 2 * c->quality) * FF_QP2LAMBDA;
    }
    if (c->pixels != NULL && !strncmp(c->pixels, "yuvj", 4))
        ctx->color_range = AVCOL_RANGE_JPEG;
}

static AVFrame *new_picture(int format, int width, int height)
{
    AVFrame *f = or_abort(av_frame_alloc());
    f->format = format;
    f->width = width;
    f->height = height;
    if (av_frame_get_buffer(f, 0) < 0)
        abort();
    return f;
}

/* 216 colours, dithered: what a palette of 256 can hold. In place, rgb24. */
static void use_few_colours(AVFrame *rgb)
{
    static const int bayer[2][2] = {{0, 2}, {3, 1}};
    for (int y = 0; y < rgb->height; y++)
        for (int x = 0; x < 3 * rgb->width; x++) {
            uint8_t *p = &rgb->data[0][y * rgb->linesize[0] + x];
            int step = (*p * (PALETTE_SIDE - 1) * 4 / 255 + bayer[y & 1][x / 3 & 1]) / 4;
            step = step < PALETTE_SIDE ? step : PALETTE_SIDE - 1;
            *p = (uint8_t)(step * 255 / (PALETTE_SIDE - 1));
        }
}

static void to_palette(const AVFrame *rgb, AVFrame *pal)
{
    uint32_t *palette = (uint32_t *)(void *)pal->data[1];
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t level = 255 / (PALETTE_SIDE - 1);
        palette[i] = 0xff000000u | (i / 36 % 6 * level) << 16 | (i / 6 % 6 * level) << 8 |
                     (i % 6 * level);
    }
    for (int y = 0; y < rgb->height; y++)
        for (int x = 0; x < rgb->width; x++) {
            const uint8_t *p = &rgb->data[0][y * rgb->linesize[0] + 3 * x];
            int level = 255 / (PALETTE_SIDE - 1);
            pal->data[0][y * pal->linesize[0] + x] =
                (uint8_t)(p[0] / level * 36 + p[1] / level * 6 + p[2] / level);
        }
}

static struct SwsContext *scaler(struct SwsContext **s, const AVFrame *from, int format,
                                 int width, int height)
{
    if (*s == NULL)
        *s = or_abort(
            sws_getContext(from->width, from->height, (enum AVPixelFormat)from->format, width,
                           height, (enum AVPixelFormat)format, SWS_BILINEAR, NULL, NULL, NULL));
    return *s;
}

static void scale(struct SwsContext *s, const AVFrame *from, AVFrame *to)
{
    (void)sws_scale(s, (const uint8_t *const *)from->data, from->linesize, 0, from->height,
                    to->data, to->linesize);
}

/* Every second line of the picture, into a frame of half the height. */
static void take_field(const AVFrame *from, int parity, AVFrame *to)
{
    for (int p = 0; p < 3; p++) {
        int rows = p == 0 ? to->height : (to->height + 1) / 2;
        int bytes = p == 0 ? to->width : (to->width + 1) / 2;
        for (int y = 0; y < rows; y++)
            memcpy(to->data[p] + y * to->linesize[p],
                   from->data[p] + (2 * y + parity) * from->linesize[p], (size_t)bytes);
    }
}

static void draw(struct maker *m, const struct coding *c, int n, int n_total)
{
    int to = c->to_pct > 0 ? c->to_pct : 100;
    AVFrame *f = m->frame;
    if (av_frame_make_writable(f) < 0)
        abort();
    if (c->field_pictures)
        n -= n & 1;
    film_draw(c->film, (c->from_pct + (double)(to - c->from_pct) * n / n_total) / 100,
              m->drawn);
    bool same = f->format == m->drawn->format && f->width == m->drawn->width;
    if (c->field_pictures) {
        take_field(m->drawn, (int)(f->pts & 1), f);
    } else if (c->one_palette) {
        scale(scaler(&m->to_rgb, m->drawn, AV_PIX_FMT_RGB24, f->width, f->height), m->drawn,
              m->rgb);
        use_few_colours(m->rgb);
        if (f->format == AV_PIX_FMT_PAL8)
            to_palette(m->rgb, f);
        else
            scale(scaler(&m->to_codec, m->rgb, f->format, f->width, f->height), m->rgb, f);
    } else if (same && f->height == m->drawn->height) {
        if (av_frame_copy(f, m->drawn) < 0)
            abort();
    } else {
        scale(scaler(&m->to_codec, m->drawn, f->format, f->width, f->height), m->drawn, f);
    }
}

/* Further keys, within a scene: an encoder that finds cuts by itself would put them where the samples
 * of two scenes meet. */
static bool is_forced(const struct coding *c, int n)
{
    static const int keys[] = {9, 13, 58, 61, 94, 131, 162, 188};
    for (size_t i = 0; c->irregular && i < sizeof(keys) / sizeof(keys[0]); i++)
        if (n == keys[i])
            return true;
    return false;
}

struct track *track_of_pictures(const struct coding *c)
{
    const AVCodec *codec = avcodec_find_encoder_by_name(c->encoder);
    if (codec == NULL) {
        clip_set_why("no such encoder", 0);
        return NULL;
    }
    struct maker m = open_maker(codec, c->in_band);
    int n = frames_of(c), gop = c->gop > 0 ? c->gop : c->gop < 0 ? n + 1 : GOP;
    AVDictionary *d = NULL;
    m.track->rate = CLOCK_HZ;
    set_context(m.ctx, c, gop);
    m.track->fps = m.ctx->framerate.num;
    encoder_options(c, gop, &d);
    int ret = avcodec_open2(m.ctx, codec, &d);
    av_dict_free(&d);
    if (ret < 0)
        return close_maker(&m, ret, "the encoder refuses it");
    m.drawn = new_picture(AV_PIX_FMT_YUV420P, FILM_WIDTH, FILM_HEIGHT);
    m.rgb = new_picture(AV_PIX_FMT_RGB24, m.ctx->width, m.ctx->height);
    av_frame_free(&m.frame);
    m.frame = new_picture(m.ctx->pix_fmt, m.ctx->width, m.ctx->height);
    for (int i = 0; ret >= 0 && i < n; i++) {
        m.frame->pts = i;
        m.frame->quality = m.ctx->global_quality;
        m.frame->pict_type = is_forced(c, i) ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
        draw(&m, c, i, n);
        ret = encode(&m, m.frame);
    }
    if (ret >= 0)
        ret = encode(&m, NULL);
    if (ret >= 0)
        ret = avcodec_parameters_from_context(m.track->par, m.ctx);
    return close_maker(&m, ret, "encoding failed");
}

/* ---- sound ---- */

/* What a channel gets of the film's sound v. */
static float sample_of(const struct sound *s, int channel, int channels, float v)
{
    switch (s->shape) {
    case SOUND_ANTIPHASE:
        return channel % 2 == 0 ? v : -v;
    case SOUND_NEARLY_ANTIPHASE:
        return channel % 2 == 0 ? v : -0.97f * v;
    case SOUND_LEFT:
        return channel == 0 ? v : 0;
    case SOUND_LAST:
        return channel == channels - 1 ? v : 0;
    case SOUND_DC:
        return 0.8f * v + 0.1f;
    case SOUND_DC_MUCH:
        return 0.5f * v + 0.3f;
    case SOUND_MONO:
        break;
    }
    return v;
}

static void put_sample(const AVFrame *f, int channel, int i, float v)
{
    bool planar = av_sample_fmt_is_planar((enum AVSampleFormat)f->format);
    void *plane = f->extended_data[planar ? channel : 0];
    int at = planar ? i : i * f->ch_layout.nb_channels + channel;
    switch (f->format) {
    case AV_SAMPLE_FMT_U8:
    case AV_SAMPLE_FMT_U8P:
        ((uint8_t *)plane)[at] = (uint8_t)(128 + lrintf(v * 127));
        break;
    case AV_SAMPLE_FMT_S16:
    case AV_SAMPLE_FMT_S16P:
        ((int16_t *)plane)[at] = (int16_t)lrintf(v * 32000);
        break;
    case AV_SAMPLE_FMT_S32:
    case AV_SAMPLE_FMT_S32P:
        ((int32_t *)plane)[at] = (int32_t)(v * 2000000000.0f);
        break;
    case AV_SAMPLE_FMT_S64:
    case AV_SAMPLE_FMT_S64P:
        ((int64_t *)plane)[at] = (int64_t)((double)v * 9e18);
        break;
    case AV_SAMPLE_FMT_DBL:
    case AV_SAMPLE_FMT_DBLP:
        ((double *)plane)[at] = (double)v;
        break;
    default:
        ((float *)plane)[at] = v;
    }
}

static int usual_rate(enum AVCodecID id)
{
    switch (id) {
    case AV_CODEC_ID_OPUS:
        return 48000;
    case AV_CODEC_ID_ADPCM_G722:
    case AV_CODEC_ID_SPEEX:
        return 16000;
    case AV_CODEC_ID_AMR_NB:
    case AV_CODEC_ID_GSM:
    case AV_CODEC_ID_GSM_MS:
    case AV_CODEC_ID_ADPCM_G726:
    case AV_CODEC_ID_NELLYMOSER:
        return 8000;
    default:
        return 44100;
    }
}

int sound_rate_hz(const struct sound *s)
{
    const AVCodec *codec = avcodec_find_encoder_by_name(s->encoder);
    return s->rate_hz > 0 ? s->rate_hz : codec != NULL ? usual_rate(codec->id) : 0;
}

static void layout_of(AVChannelLayout *layout, int channels)
{
    av_channel_layout_default(layout, channels);
    if (layout->nb_channels == channels)
        return;
    layout->order = AV_CHANNEL_ORDER_UNSPEC;
    layout->nb_channels = channels;
}

static int open_sound(struct maker *m, const struct sound *s, const AVCodec *codec)
{
    AVDictionary *d = NULL;
    int channels = s->channels > 0 ? s->channels : 1;
    m->ctx->sample_rate = s->rate_hz > 0 ? s->rate_hz : usual_rate(codec->id);
    m->ctx->sample_fmt = (enum AVSampleFormat)compat_sample_format(codec);
    m->ctx->time_base = (AVRational){1, m->ctx->sample_rate};
    layout_of(&m->ctx->ch_layout, channels);
    if (codec->id == AV_CODEC_ID_AC3 || codec->id == AV_CODEC_ID_EAC3 ||
        codec->id == AV_CODEC_ID_DTS)
        m->ctx->bit_rate = channels > 2 ? 640000 : 192000;
    m->track->rate = m->ctx->sample_rate;
    if (s->options != NULL && av_dict_parse_string(&d, s->options, "=", ",", 0) < 0)
        abort();
    int ret = avcodec_open2(m->ctx, codec, &d);
    av_dict_free(&d);
    if (ret < 0)
        return ret;
    m->frame->format = m->ctx->sample_fmt;
    m->frame->sample_rate = m->ctx->sample_rate;
    m->frame->nb_samples = m->ctx->frame_size > 0 ? m->ctx->frame_size : CHUNK;
    if (av_channel_layout_copy(&m->frame->ch_layout, &m->ctx->ch_layout) < 0)
        abort();
    return av_frame_get_buffer(m->frame, 0);
}

struct track *track_of_sound(const struct sound *s)
{
    const AVCodec *codec = avcodec_find_encoder_by_name(s->encoder);
    if (codec == NULL) {
        clip_set_why("no such encoder", 0);
        return NULL;
    }
    struct maker m = open_maker(codec, s->in_band);
    int ret = open_sound(&m, s, codec);
    if (ret < 0)
        return close_maker(&m, ret, "the encoder refuses it");
    AVFrame *f = m.frame;
    int rate = m.ctx->sample_rate, channels = m.ctx->ch_layout.nb_channels;
    int to = s->to_pct > 0 ? s->to_pct : 100;
    int64_t whole = (int64_t)(s->seconds > 0 ? s->seconds : FILM_SECONDS) * rate;
    int64_t first = whole * s->from_pct / 100, n = whole * to / 100 - first;
    for (int64_t done = 0; ret >= 0 && done + f->nb_samples <= n; done += f->nb_samples) {
        ret = av_frame_make_writable(f);
        for (int i = 0; i < f->nb_samples; i++) {
            double at = (double)(first + done + i) / (double)whole;
            float v = film_sound(s->film, at, first + done + i, rate);
            for (int c = 0; c < channels; c++)
                put_sample(f, c, i, sample_of(s, c, channels, v));
        }
        f->pts = done;
        if (ret >= 0)
            ret = encode(&m, f);
    }
    if (ret >= 0)
        ret = encode(&m, NULL);
    if (ret >= 0)
        ret = avcodec_parameters_from_context(m.track->par, m.ctx);
    return close_maker(&m, ret, "encoding failed");
}
