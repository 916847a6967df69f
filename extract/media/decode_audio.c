/* decode.h, sound: every packet of the first SOUND_MAX_S seconds, resampled as it comes.
 * Format, rate or layout may change within a track (and do, in broadcast recordings): the
 * resampler is then rebuilt and what it held is kept. */

#include "extract/media/decode.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavutil/channel_layout.h>
#include <libavutil/opt.h>
#include <libswresample/swresample.h>

#define CHANNELS_MAX 16
#define RATE_MIN_HZ  1000
#define RATE_MAX_HZ  384000

struct sound {
    AVCodecContext *ctx;
    AVFrame *frame;
    struct SwrContext *swr;
    int format, rate, channels;
    uint64_t mask; /* channel layout the resampler was built for */
    float *pcm;
    uint32_t n, n_max;
    struct decode_report *report;
};

static int open_decoder(struct sound *s, const struct media_track *t, struct err *err)
{
    s->ctx = avcodec_alloc_context3(t->codec);
    s->frame = av_frame_alloc();
    if (!s->ctx || !s->frame || avcodec_parameters_to_context(s->ctx, t->par) < 0)
        return err_oom(err, "sound decoder");
    s->ctx->thread_count = 1;
    if (avcodec_open2(s->ctx, t->codec, NULL) < 0)
        s->report->n_errors = MEDIA_ERRORS_MAX;
    return ERR_OK;
}

/* Feeds n_in samples (NULL, 0 = flush) and keeps what comes out. */
static void resample(struct sound *s, const uint8_t **in, int n_in)
{
    uint8_t *out = (uint8_t *)(s->pcm + s->n);
    int n = swr_convert(s->swr, &out, (int)(s->n_max - s->n), in, n_in);
    if (n < 0)
        s->report->n_errors++;
    else
        s->n += (uint32_t)n;
}

static bool same_input(const struct sound *s, const AVFrame *f, uint64_t mask)
{
    return s->swr && s->format == f->format && s->rate == f->sample_rate &&
           s->channels == f->ch_layout.nb_channels && s->mask == mask;
}

static int build_resampler(struct sound *s, const AVFrame *f, uint64_t mask)
{
    if (s->swr)
        resample(s, NULL, 0);
    swr_free(&s->swr);
    AVChannelLayout in, mono = AV_CHANNEL_LAYOUT_MONO;
    memset(&in, 0, sizeof(in));
    int ret = 0;
    if (mask)
        ret = av_channel_layout_copy(&in, &f->ch_layout);
    else
        av_channel_layout_default(&in, f->ch_layout.nb_channels);
    if (ret >= 0)
        ret = swr_alloc_set_opts2(&s->swr, &mono, AV_SAMPLE_FMT_FLT, SOUND_RATE_HZ, &in,
                                  (enum AVSampleFormat)f->format, f->sample_rate, 0, NULL);
    if (ret >= 0) /* half the default filter: half the time, nothing that a mel band notices */
        ret = av_opt_set_int(s->swr, "filter_size", 16, 0);
    if (ret >= 0)
        ret = swr_init(s->swr);
    av_channel_layout_uninit(&in);
    if (ret < 0) {
        swr_free(&s->swr);
        return ret;
    }
    s->format = f->format;
    s->rate = f->sample_rate;
    s->channels = f->ch_layout.nb_channels;
    s->mask = mask;
    return 0;
}

static void take_frame(struct sound *s)
{
    const AVFrame *f = s->frame;
    bool sane = f->ch_layout.nb_channels >= 1 && f->ch_layout.nb_channels <= CHANNELS_MAX &&
                f->sample_rate >= RATE_MIN_HZ && f->sample_rate <= RATE_MAX_HZ;
    uint64_t mask = f->ch_layout.order == AV_CHANNEL_ORDER_NATIVE ? f->ch_layout.u.mask : 0;
    if (!sane || (!same_input(s, f, mask) && build_resampler(s, f, mask) < 0)) {
        s->report->n_errors++;
        return;
    }
    const uint8_t *in[CHANNELS_MAX] = {NULL};
    int n_planes = av_sample_fmt_is_planar(s->format) ? s->channels : 1;
    for (int i = 0; i < n_planes; i++)
        in[i] = f->extended_data[i];
    resample(s, in, f->nb_samples);
}

static void receive(struct sound *s)
{
    while (s->n < s->n_max) {
        int ret = avcodec_receive_frame(s->ctx, s->frame);
        if (ret == AVERROR(EAGAIN) || ret == AVERROR_EOF)
            return;
        if (ret < 0) {
            s->report->n_errors++;
            return;
        }
        take_frame(s);
        av_frame_unref(s->frame);
    }
}

static void send(struct sound *s, const AVPacket *pkt)
{
    int ret = avcodec_send_packet(s->ctx, pkt);
    if (ret < 0 && ret != AVERROR(EAGAIN))
        s->report->n_errors++;
    receive(s);
}

/* Bytes of the AMR frame that begins so, 0 = not known (3GPP TS 26.101, 26.201). */
static unsigned amr_frame_bytes(enum AVCodecID id, uint8_t head)
{
    static const uint8_t narrow[16] = {13, 14, 16, 18, 20, 21, 27, 32, 6, [15] = 1};
    static const uint8_t wide[16] = {18, 24, 33, 37, 41, 47, 51, 59, 61, 6, [14] = 1, 1};
    unsigned mode = head >> 3 & 15;
    return id == AV_CODEC_ID_AMR_NB ? narrow[mode] : wide[mode];
}

/* 3GP has several AMR frames in a packet, of which FFmpeg 5.1 decodes the first: one at a time.
 * A frame of several channels is one frame of each. */
static void send_amr(struct sound *s, const AVPacket *pkt)
{
    AVPacket *part = av_packet_clone(pkt);
    if (!part) {
        s->report->n_errors++;
        return;
    }
    int channels = s->ctx->ch_layout.nb_channels > 1 ? s->ctx->ch_layout.nb_channels : 1;
    for (int at = 0, end = 0; at < pkt->size && s->n < s->n_max; at = end) {
        if (s->report->n_errors >= MEDIA_ERRORS_MAX)
            break;
        for (int c = 0; c < channels && end < pkt->size; c++) {
            int bytes = (int)amr_frame_bytes(s->ctx->codec_id, pkt->data[end]);
            end = bytes > 0 && bytes < pkt->size - end ? end + bytes : pkt->size;
        }
        part->data = pkt->data + at;
        part->size = end - at;
        send(s, part);
    }
    av_packet_free(&part);
}

static void decode_all(struct sound *s, const struct media_track *t)
{
    enum AVCodecID id = t->par->codec_id;
    bool amr = id == AV_CODEC_ID_AMR_NB || id == AV_CODEC_ID_AMR_WB;
    for (uint32_t i = 0; i < t->n_packets && s->n < s->n_max; i++) {
        if (s->report->n_errors >= MEDIA_ERRORS_MAX)
            return;
        if (amr)
            send_amr(s, t->packets[i].av);
        else
            send(s, t->packets[i].av);
    }
    if (s->n < s->n_max && avcodec_send_packet(s->ctx, NULL) >= 0)
        receive(s);
    if (s->swr && s->n < s->n_max)
        resample(s, NULL, 0);
}

/* Broken floating-point streams carry NaN and absurd levels. */
static void make_finite(float *pcm, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (!(fabsf(pcm[i]) <= 16.0f))
            pcm[i] = 0;
}

int decode_sound(const struct media_track *t, float *pcm, uint32_t n_max,
                 uint32_t *ret_n_samples, struct decode_report *report, struct err *err)
{
    struct sound s = {.pcm = pcm, .n_max = n_max, .report = report};
    int status = open_decoder(&s, t, err);
    if (status == ERR_OK) {
        decode_all(&s, t);
        make_finite(pcm, s.n);
        *ret_n_samples = s.n;
    }
    swr_free(&s.swr);
    avcodec_free_context(&s.ctx);
    av_frame_free(&s.frame);
    return status;
}
