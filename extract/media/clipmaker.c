/* clipmaker.h: opens the encoders and the muxer, and lets scene.c draw and play.
 *
 * Determinism: one encoder thread, bit-exact flags, and nothing that reads a clock. Keyframes
 * come where `gop` says and nowhere else (no scene-cut detection).
 *
 * Failure: an encoder that this FFmpeg lacks is ERR_FATAL with EX_UNAVAILABLE, so that a test
 * can skip; everything else is ERR_FATAL with EX_IOERR or EX_OSERR. */

#include "extract/media/clipmaker.h"

#include "extract/media/compat.h"
#include "extract/media/scene.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/channel_layout.h>
#include <libavutil/display.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
#include <libavutil/log.h>

#define TRACKS_MAX 6
#define MONO_CHUNK 1024
#define CLOCK_HZ   90000

struct track {
    AVStream *stream;
    AVCodecContext *ctx;
    AVFrame *frame;
    int64_t n_done, n_total; /* frames, or samples */
    unsigned scene;
};

struct maker {
    const struct clipmaker_options *o;
    AVFormatContext *fmt;
    struct track tracks[TRACKS_MAX];
    unsigned n_tracks;
    AVPacket *pkt;
    struct scene *scene;
    AVFrame *drawn; /* yuv420p, when the codec's format is another */
    struct SwsContext *sws;
    struct err *err;
};

void clipmaker_quiet(void)
{
    av_log_set_level(AV_LOG_ERROR);
}

void clipmaker_options_init(struct clipmaker_options *o)
{
    *o = (struct clipmaker_options){.width = 320,
                                    .height = 180,
                                    .fps = 25,
                                    .duration_ms = 4000,
                                    .gop = 25,
                                    .video_codec = "libx264",
                                    .audio_codec = "aac",
                                    .container = "mp4"};
}

static int failed(struct maker *m, int code, const char *what)
{
    char text[AV_ERROR_MAX_STRING_SIZE] = "";
    av_strerror(code, text, sizeof(text));
    return err_fatal(m->err, code == AVERROR(ENOMEM) ? EX_OSERR : EX_IOERR,
                     "clip maker: %s: %s; check the options and the disk", what, text);
}

static const AVCodec *find_encoder(struct maker *m, const char *name)
{
    const AVCodec *codec = avcodec_find_encoder_by_name(name);
    if (!codec)
        (void)err_fatal(m->err, EX_UNAVAILABLE,
                        "clip maker: this FFmpeg has no encoder %s; install a full build",
                        name);
    return codec;
}

static struct track *add_track(struct maker *m, const AVCodec *codec)
{
    struct track *t = &m->tracks[m->n_tracks];
    t->stream = avformat_new_stream(m->fmt, NULL);
    t->ctx = avcodec_alloc_context3(codec);
    t->frame = av_frame_alloc();
    m->n_tracks++;
    if (!t->stream || !t->ctx || !t->frame) {
        (void)err_oom(m->err, "clip maker: track");
        return NULL;
    }
    t->ctx->thread_count = 1;
    t->ctx->flags |= AV_CODEC_FLAG_BITEXACT;
    if (codec->capabilities & AV_CODEC_CAP_EXPERIMENTAL)
        t->ctx->strict_std_compliance = FF_COMPLIANCE_EXPERIMENTAL;
    if (m->fmt->oformat->flags & AVFMT_GLOBALHEADER)
        t->ctx->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    return t;
}

static int open_track(struct maker *m, struct track *t, const AVCodec *codec,
                      AVDictionary **options)
{
    int ret = avcodec_open2(t->ctx, codec, options);
    av_dict_free(options);
    if (ret >= 0)
        ret = avcodec_parameters_from_context(t->stream->codecpar, t->ctx);
    t->stream->time_base = t->ctx->time_base;
    return ret < 0 ? failed(m, ret, codec->name) : ERR_OK;
}

/* Speed over size, one thread, keyframes where gop says: each encoder has its own words. */
static void encoder_options(const char *name, int gop, int quality, AVDictionary **d)
{
    char text[160];
    if (quality > 0 && strncmp(name, "lib", 3) == 0)
        (void)av_dict_set_int(d, "crf", quality, 0);
    if (!strcmp(name, "libx264")) {
        (void)av_dict_set(d, "preset", "veryfast", 0);
        (void)av_dict_set(d, "sc_threshold", "0", 0);
        (void)av_dict_set(d, "mbtree", "0", 0); /* reads unset memory on AVX-512 machines */
    } else if (!strcmp(name, "libx265")) {
        (void)snprintf(text, sizeof(text),
                       "pools=none:frame-threads=1:scenecut=0:log-level=none:info=0:keyint=%d:"
                       "min-keyint=%d",
                       gop, gop);
        (void)av_dict_set(d, "preset", "ultrafast", 0);
        (void)av_dict_set(d, "x265-params", text, 0);
    } else if (!strcmp(name, "libvpx-vp9") || !strcmp(name, "libvpx")) {
        (void)av_dict_set(d, "deadline", "good", 0);
        (void)av_dict_set(d, "cpu-used", "5", 0);
        (void)av_dict_set(d, "b", "0", 0);
        if (quality <= 0)
            (void)av_dict_set(d, "crf", "32", 0);
    } else if (!strcmp(name, "libaom-av1")) {
        (void)av_dict_set(d, "cpu-used", "8", 0);
        (void)av_dict_set(d, "usage", "realtime", 0);
    } else if (!strcmp(name, "libsvtav1")) {
        (void)av_dict_set(d, "preset", "12", 0);
        (void)av_dict_set(d, "svtav1-params", "lp=1:scd=0", 0);
    }
}

static int turn_track(struct maker *m, struct track *t)
{
    if (m->o->rotation == 0)
        return ERR_OK;
    uint8_t *data =
        compat_new_side_data(t->stream, AV_PKT_DATA_DISPLAYMATRIX, 9 * sizeof(int32_t));
    if (!data)
        return err_oom(m->err, "clip maker: display matrix");
    int32_t matrix[9];
    av_display_rotation_set(matrix, m->o->rotation); /* clockwise */
    memcpy(data, matrix, sizeof(matrix));
    return ERR_OK;
}

static int open_video(struct maker *m)
{
    const struct clipmaker_options *o = m->o;
    const AVCodec *codec = find_encoder(m, o->video_codec);
    if (!codec)
        return ERR_FATAL;
    struct track *t = add_track(m, codec);
    if (!t)
        return ERR_RETRY;
    const char *format = o->pixel_format ? o->pixel_format : "yuv420p";
    t->n_total = (int64_t)o->duration_ms * o->fps / 1000;
    t->ctx->width = o->width;
    t->ctx->height = o->height;
    t->ctx->pix_fmt = av_get_pix_fmt(format);
    t->ctx->time_base = (AVRational){1, CLOCK_HZ};
    t->ctx->framerate = (AVRational){o->fps, 1};
    bool whole_frames = codec->id == AV_CODEC_ID_MPEG4 || codec->id == AV_CODEC_ID_MPEG2VIDEO ||
                        codec->id == AV_CODEC_ID_MPEG1VIDEO ||
                        codec->id == AV_CODEC_ID_THEORA || !strcmp(o->container, "avi");
    if (whole_frames)
        t->ctx->time_base = (AVRational){1, o->fps};
    int gop = o->gop > 0 ? o->gop : (int)t->n_total + 1;
    t->ctx->gop_size = gop;
    t->ctx->keyint_min = gop;
    if (o->no_b_frames)
        t->ctx->max_b_frames = 0;
    if (av_pix_fmt_desc_get(t->ctx->pix_fmt) &&
        !strncmp(av_get_pix_fmt_name(t->ctx->pix_fmt), "yuvj", 4))
        t->ctx->color_range = AVCOL_RANGE_JPEG;
    AVDictionary *d = NULL;
    encoder_options(codec->name, gop, o->quality, &d);
    if (o->open_gop)
        (void)av_dict_set(&d, "x264-params", "open-gop=1:bframes=3", 0);
    if (o->fields)
        (void)av_dict_set(&d, "x265-params", ":interlace=tff", AV_DICT_APPEND);
    int status = open_track(m, t, codec, &d);
    if (status == ERR_OK)
        status = turn_track(m, t);
    t->scene = o->scene;
    t->frame->format = t->ctx->pix_fmt;
    t->frame->width = o->width;
    t->frame->height = o->height;
    if (status == ERR_OK && av_frame_get_buffer(t->frame, 0) < 0)
        status = err_oom(m->err, "clip maker: frame");
    return status;
}

static int open_audio(struct maker *m, unsigned scene, bool is_default)
{
    const struct clipmaker_options *o = m->o;
    const AVCodec *codec = find_encoder(m, o->audio_codec);
    if (!codec)
        return ERR_FATAL;
    struct track *t = add_track(m, codec);
    if (!t)
        return ERR_RETRY;
    bool opus = codec->id == AV_CODEC_ID_OPUS;
    bool amr = codec->id == AV_CODEC_ID_AMR_NB;
    t->scene = scene;
    bool disc = codec->id == AV_CODEC_ID_PCM_BLURAY || codec->id == AV_CODEC_ID_PCM_DVD;
    t->ctx->sample_rate = opus || disc ? 48000 : amr ? 8000 : 44100;
    t->ctx->sample_fmt = (enum AVSampleFormat)compat_sample_format(codec);
    if (t->ctx->sample_fmt == AV_SAMPLE_FMT_NONE)
        t->ctx->sample_fmt = AV_SAMPLE_FMT_S16;
    t->ctx->time_base = (AVRational){1, t->ctx->sample_rate};
    t->n_total = (int64_t)o->duration_ms * t->ctx->sample_rate / 1000;
    AVChannelLayout mono = AV_CHANNEL_LAYOUT_MONO;
    if (av_channel_layout_copy(&t->ctx->ch_layout, &mono) < 0)
        return err_oom(m->err, "clip maker: layout");
    if (o->quality > 30)
        t->ctx->bit_rate = 48000;
    t->stream->disposition = is_default ? AV_DISPOSITION_DEFAULT : 0;
    AVDictionary *d = NULL;
    int status = open_track(m, t, codec, &d);
    t->frame->format = t->ctx->sample_fmt;
    t->frame->sample_rate = t->ctx->sample_rate;
    t->frame->nb_samples = t->ctx->frame_size > 0 ? t->ctx->frame_size : MONO_CHUNK;
    if (status == ERR_OK && (av_channel_layout_copy(&t->frame->ch_layout, &mono) < 0 ||
                             av_frame_get_buffer(t->frame, 0) < 0))
        status = err_oom(m->err, "clip maker: sound frame");
    return status;
}

/* Sends one frame (NULL = flush) and writes what comes out. */
static int encode(struct maker *m, struct track *t, const AVFrame *frame)
{
    int ret = avcodec_send_frame(t->ctx, frame);
    while (ret >= 0) {
        ret = avcodec_receive_packet(t->ctx, m->pkt);
        if (ret == AVERROR(EAGAIN) || ret == AVERROR_EOF)
            return ERR_OK;
        if (ret < 0)
            break;
        m->pkt->stream_index = t->stream->index;
        av_packet_rescale_ts(m->pkt, t->ctx->time_base, t->stream->time_base);
        ret = av_interleaved_write_frame(m->fmt, m->pkt);
    }
    return failed(m, ret, "encode");
}

/* Uneven times: every third frame late by up to two thirds of its time. */
static int64_t frame_time(const struct clipmaker_options *o, int64_t n)
{
    int64_t at = n * CLOCK_HZ / o->fps;
    if (o->variable_rate && n % 3 == 1)
        at += (int64_t)(n % 7) * CLOCK_HZ / o->fps / 10;
    return at;
}

static int write_picture(struct maker *m, struct track *t)
{
    AVFrame *f = t->frame;
    if (av_frame_make_writable(f) < 0)
        return err_oom(m->err, "clip maker: frame");
    AVFrame *canvas = m->drawn ? m->drawn : f;
    int64_t at = frame_time(m->o, t->n_done);
    scene_draw(m->scene, m->o->start_ms * 1000LL + at * 1000000 / CLOCK_HZ, canvas->data,
               canvas->linesize);
    if (m->drawn)
        (void)sws_scale(m->sws, (const uint8_t *const *)canvas->data, canvas->linesize, 0,
                        canvas->height, f->data, f->linesize);
    f->pts = av_rescale_q(at, (AVRational){1, CLOCK_HZ}, t->ctx->time_base);
    t->n_done++;
    return encode(m, t, f);
}

static void put_sample(const AVFrame *f, int i, float v)
{
    switch (f->format) {
    case AV_SAMPLE_FMT_FLT:
    case AV_SAMPLE_FMT_FLTP:
        ((float *)(void *)f->data[0])[i] = v;
        break;
    case AV_SAMPLE_FMT_S16:
    case AV_SAMPLE_FMT_S16P:
        ((int16_t *)(void *)f->data[0])[i] = (int16_t)(v * 32000);
        break;
    case AV_SAMPLE_FMT_S32:
    case AV_SAMPLE_FMT_S32P:
        ((int32_t *)(void *)f->data[0])[i] = (int32_t)(v * 2000000000.0f);
        break;
    case AV_SAMPLE_FMT_DBL:
    case AV_SAMPLE_FMT_DBLP:
        ((double *)(void *)f->data[0])[i] = (double)v;
        break;
    case AV_SAMPLE_FMT_S64:
    case AV_SAMPLE_FMT_S64P:
        ((int64_t *)(void *)f->data[0])[i] = (int64_t)(v * 9e18f);
        break;
    default:
        f->data[0][i] = (uint8_t)(128 + (int)(v * 100));
    }
}

static int write_sound(struct maker *m, struct track *t)
{
    AVFrame *f = t->frame;
    if (av_frame_make_writable(f) < 0)
        return err_oom(m->err, "clip maker: sound frame");
    int rate = t->ctx->sample_rate;
    int64_t from = t->n_done + (int64_t)m->o->start_ms * rate / 1000;
    for (int i = 0; i < f->nb_samples; i++)
        put_sample(f, i, scene_sound(t->scene, m->o->seed, from + i, rate, m->o->gain_db));
    f->pts = t->n_done;
    t->n_done += f->nb_samples;
    return encode(m, t, f);
}

static double track_time(const struct track *t)
{
    int64_t rate =
        t->ctx->codec_type == AVMEDIA_TYPE_VIDEO ? t->ctx->framerate.num : t->ctx->sample_rate;
    return (double)t->n_done / (double)rate;
}

static int write_all(struct maker *m)
{
    for (;;) {
        struct track *next = NULL;
        for (unsigned i = 0; i < m->n_tracks; i++) {
            struct track *t = &m->tracks[i];
            if (t->n_done < t->n_total && (!next || track_time(t) < track_time(next)))
                next = t;
        }
        if (!next)
            break;
        int status = next->ctx->codec_type == AVMEDIA_TYPE_VIDEO ? write_picture(m, next)
                                                                 : write_sound(m, next);
        if (status != ERR_OK)
            return status;
    }
    for (unsigned i = 0; i < m->n_tracks; i++) {
        int status = encode(m, &m->tracks[i], NULL);
        if (status != ERR_OK)
            return status;
    }
    int ret = av_write_trailer(m->fmt);
    return ret < 0 ? failed(m, ret, "trailer") : ERR_OK;
}

static int open_drawing(struct maker *m)
{
    const struct clipmaker_options *o = m->o;
    int status = scene_new(o->scene, o->seed, o->width, o->height, &m->scene, m->err);
    if (status != ERR_OK || !o->pixel_format || !strcmp(o->pixel_format, "yuv420p"))
        return status;
    m->drawn = av_frame_alloc();
    if (!m->drawn)
        return err_oom(m->err, "clip maker: canvas");
    m->drawn->format = AV_PIX_FMT_YUV420P;
    m->drawn->width = o->width;
    m->drawn->height = o->height;
    m->sws = sws_getContext(o->width, o->height, AV_PIX_FMT_YUV420P, o->width, o->height,
                            m->tracks[0].ctx->pix_fmt, SWS_BILINEAR, NULL, NULL, NULL);
    if (av_frame_get_buffer(m->drawn, 0) < 0 || !m->sws)
        return err_oom(m->err, "clip maker: canvas");
    return ERR_OK;
}

static int open_all(struct maker *m, const char *path)
{
    const struct clipmaker_options *o = m->o;
    int ret = avformat_alloc_output_context2(&m->fmt, NULL, o->container, path);
    if (ret < 0)
        return failed(m, ret, "container");
    m->fmt->flags |= AVFMT_FLAG_BITEXACT;
    m->pkt = av_packet_alloc();
    int status = m->pkt ? ERR_OK : err_oom(m->err, "clip maker");
    if (status == ERR_OK && o->video_codec)
        status = open_video(m);
    if (status == ERR_OK && o->video_codec)
        status = open_drawing(m);
    for (int i = 0; status == ERR_OK && o->audio_codec && i <= o->n_extra_sounds; i++)
        status = open_audio(m, o->scene + 1000u * (unsigned)i, i == 0);
    if (status != ERR_OK)
        return status;
    AVDictionary *d = NULL;
    if (o->faststart)
        (void)av_dict_set(&d, "movflags", "faststart", 0);
    if (o->fragmented)
        (void)av_dict_set(&d, "movflags", "frag_keyframe+delay_moov", 0);
    if (o->encrypted) {
        (void)av_dict_set(&d, "encryption_scheme", "cenc-aes-ctr", 0);
        (void)av_dict_set(&d, "encryption_key", "00112233445566778899aabbccddeeff", 0);
        (void)av_dict_set(&d, "encryption_kid", "ffeeddccbbaa99887766554433221100", 0);
    }
    ret = avio_open(&m->fmt->pb, path, AVIO_FLAG_WRITE);
    if (ret >= 0)
        ret = avformat_write_header(m->fmt, &d);
    av_dict_free(&d);
    return ret < 0 ? failed(m, ret, path) : ERR_OK;
}

static void close_all(struct maker *m)
{
    for (unsigned i = 0; i < m->n_tracks; i++) {
        avcodec_free_context(&m->tracks[i].ctx);
        av_frame_free(&m->tracks[i].frame);
    }
    av_packet_free(&m->pkt);
    av_frame_free(&m->drawn);
    sws_freeContext(m->sws);
    scene_free(m->scene);
    if (m->fmt)
        (void)avio_closep(&m->fmt->pb);
    avformat_free_context(m->fmt);
}

int clipmaker_write(const char *path, const struct clipmaker_options *o, struct err *err)
{
    struct maker m = {.o = o, .err = err};
    if (o->n_extra_sounds < 0 || o->n_extra_sounds > TRACKS_MAX - 2 || o->fps <= 0)
        return err_fatal(err, EX_USAGE, "clip maker: options out of range");
    av_log_set_level(AV_LOG_QUIET);
    int status = open_all(&m, path);
    if (status == ERR_OK)
        status = write_all(&m);
    close_all(&m);
    return status;
}
