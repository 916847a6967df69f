/* decode.h, sound: the packets of the first SOUND_MAX_S seconds, resampled as they come; where the
 * track was read in windows (media_packet.cut), as much of each.
 *
 * Format, rate or layout may change within a track (and do, in broadcast recordings): the
 * resampler is then rebuilt and what it held is kept. One that is rebuilt costs up to 15 ms
 * (hundreds of kHz to 16 kHz), so a track may change REBUILDS_MAX times.
 *
 * Two passes. The first mixes the channels, and measures over stretches of a second whether they
 * cancel each other. Where they do, a second pass takes the loudest channel instead; a clip without
 * such stretches is decoded once. Where two stretches or windows meet, the sound may jump: that
 * reaches three windows of 25 ms of the log-mel spectrum.
 *
 * What no decoder reports. Packets that are missing leave a hole in the times of the others: they are
 * held against the samples that came out. Damaged bits that decode all the same show in the decoder's
 * log, or as sound far above full scale. What is left is joined and described; the note says so.
 *
 * At any time the samples counted by *ret_n_samples are whole and finite, so that whoever has to end
 * early can describe them. */

#include "extract/media/decode.h"

#include "extract/media/complaints.h"
#include "extract/media/mix.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavutil/channel_layout.h>
#include <libavutil/opt.h>
#include <libswresample/swresample.h>

#define RATE_MIN_HZ   1000
#define RATE_MAX_HZ   768000
#define REBUILDS_MAX  64
#define CHUNK         1024
#define STRETCH       SOUND_RATE_HZ /* samples of the mix over which cancelling is judged */
#define STRETCH_MIN   (STRETCH / 10)
#define CANCELLED_MAX 256
#define ERRORS_AT_CUT 4 /* packets after a cut that may lack what they refer to */
/* Of all channels: a minute of 64 at 48 kHz, 2 to 3 s of decoding. */
#define SAMPLES_BUDGET (INT64_C(64) * 48000 * SOUND_MAX_S)
/* Times of packets may part from the samples by so much: decoders' delay and priming take up to 0.1 s,
 * recorders that stamp packets as they come as much; and by 2 % of what was heard. Of Opus a packet
 * each 0.4 s may stand for silence, so gaps count one by one. */
#define APART_US      200000
#define APART_SHARE   0.02
#define OPUS_APART_US 1000000
#define SPLICE_US     (INT64_C(1000000) * SOUND_MAX_S) /* another clock, not a hole */
/* +12 dB over full scale, behind the mix: coders that are driven too hard stay under +6 dB. */
#define LEVEL_DAMAGED 4.0f

struct stretch {
    uint32_t from, to; /* samples of pcm */
};

struct sound {
    AVCodecContext *ctx;
    AVFrame *frame;
    struct SwrContext *swr; /* NULL = to be built for the next frame */
    AVChannelLayout layout; /* that it was built for, with format, rate and mix */
    int format, rate;
    struct mix mix;
    bool mixed_here; /* it is given one channel */
    unsigned n_rebuilds;
    bool stop;

    float *pcm;
    uint32_t n, n_end, n_max; /* have; of this window; of all */
    uint32_t *ret_n;
    unsigned n_pardoned;

    /* What no decoder reports. */
    double origin_us, heard_us; /* of the window: the time of its first sample; what came out */
    int64_t n_samples;          /* of all channels, before resampling */
    unsigned n_settling;        /* packets that may lack what they refer to */
    bool is_timed, is_damaged;

    /* The first pass: what cancelled, and how loud each channel was there. */
    struct phase phase;
    uint32_t stretch_from, n_judged, n_cancelled;
    struct stretch cancelled[CANCELLED_MAX];
    double energy[MIX_CHANNELS_MAX];
    /* The second one: which channel to take, by which gain; 0 = the first pass. */
    float gain;
    unsigned loudest;

    struct budget *budget;
    struct features_flags *flags;
    struct decode_report *report;
};

static void count_error(struct sound *s)
{
    if (s->n_pardoned > 0)
        s->n_pardoned--;
    else
        s->report->n_errors++;
}

static void begin_times(struct sound *s)
{
    s->is_timed = false;
    s->heard_us = 0;
    s->n_settling = ERRORS_AT_CUT;
}

/* Before the packet is decoded: is it later than where the samples so far end? Earlier tells nothing: that
 * is where another recording begins, or an AVI that counts chunks of several frames. */
static void compare_times(struct sound *s, const struct media_packet *p)
{
    s->is_timed &= !p->hidden; /* what an edit list leaves out is no loss */
    if (p->pts_us == MEDIA_NO_PTS || p->hidden)
        return;
    double apart_us = (double)p->pts_us - s->origin_us - s->heard_us;
    bool is_opus = s->ctx->codec_id == AV_CODEC_ID_OPUS;
    double most_us = is_opus ? OPUS_APART_US : APART_US + APART_SHARE * s->heard_us;
    bool is_ahead = apart_us > most_us;
    if (s->is_timed && s->heard_us > 0 && !is_ahead && apart_us >= -most_us && !is_opus)
        return;
    s->is_damaged |= s->is_timed && s->heard_us > 0 && is_ahead && apart_us <= SPLICE_US;
    s->origin_us = (double)p->pts_us - s->heard_us;
    s->is_timed = true;
}

static int open_decoder(struct sound *s, const struct media_track *t, struct err *err)
{
    s->ctx = avcodec_alloc_context3(t->codec);
    s->frame = av_frame_alloc();
    if (!s->ctx || !s->frame || avcodec_parameters_to_context(s->ctx, t->par) < 0)
        return err_oom(err, "sound decoder");
    s->ctx->thread_count = 1;
    s->stop = avcodec_open2(s->ctx, t->codec, NULL) < 0;
    s->report->n_errors += s->stop;
    return ERR_OK;
}

/* Broken floating-point streams carry NaN and absurd levels. true = there were such. */
static bool make_finite(float *pcm, uint32_t n)
{
    bool is_absurd = false;
    for (uint32_t i = 0; i < n; i++) {
        is_absurd |= !(fabsf(pcm[i]) <= LEVEL_DAMAGED);
        if (!(fabsf(pcm[i]) <= 16.0f))
            pcm[i] = 0;
    }
    return is_absurd;
}

/* Feeds n_in samples (NULL, 0 = flush) and keeps what comes out. */
static void resample(struct sound *s, const uint8_t **in, int n_in)
{
    uint8_t *out = (uint8_t *)(s->pcm + s->n);
    int n = swr_convert(s->swr, &out, (int)(s->n_end - s->n), in, n_in);
    if (n < 0) {
        s->report->n_errors++;
        return;
    }
    s->is_damaged |= make_finite(s->pcm + s->n, (uint32_t)n);
    s->n += (uint32_t)n;
    atomic_signal_fence(memory_order_release);
    *s->ret_n = s->n;
}

/* What cancelled since the last judgement is written down. */
static void judge_stretch(struct sound *s)
{
    struct stretch now = {s->stretch_from, s->n};
    bool too_short = now.to - now.from < STRETCH_MIN && s->n_judged > 0;
    if (s->gain == 0 && now.to > now.from && !too_short) {
        s->n_judged++;
        if (phase_cancels(&s->phase, &s->mix) && s->n_cancelled < CANCELLED_MAX) {
            s->cancelled[s->n_cancelled++] = now;
            for (unsigned c = 0; c < s->mix.n_channels; c++)
                s->energy[c] += phase_power(&s->phase, c) * (now.to - now.from);
        }
    }
    phase_begin(&s->phase);
    s->stretch_from = s->n;
}

static void drop_resampler(struct sound *s)
{
    if (s->swr && s->n < s->n_end)
        resample(s, NULL, 0);
    judge_stretch(s);
    swr_free(&s->swr);
}

static void choose_mix(struct sound *s, const AVFrame *f)
{
    mix_of_layout(&f->ch_layout, &s->mix);
    if (s->gain > 0) {
        memset(s->mix.weight, 0, sizeof(s->mix.weight));
        s->mix.weight[s->loudest < s->mix.n_channels ? s->loudest : 0] = s->gain;
    } else if (s->mix.blind) {
        features_note(s->flags, NOTE_SOUND_MIX);
    }
    s->mixed_here = s->gain > 0 || !s->mix.plain;
}

static int make_resampler(struct sound *s, const AVFrame *f)
{
    AVChannelLayout in, mono = AV_CHANNEL_LAYOUT_MONO;
    memset(&in, 0, sizeof(in));
    int ret = 0;
    if (s->mixed_here)
        ret = av_channel_layout_copy(&in, &mono);
    else if (f->ch_layout.order == AV_CHANNEL_ORDER_NATIVE)
        ret = av_channel_layout_copy(&in, &f->ch_layout);
    else
        av_channel_layout_default(&in, f->ch_layout.nb_channels);
    enum AVSampleFormat format =
        s->mixed_here ? AV_SAMPLE_FMT_FLT : (enum AVSampleFormat)f->format;
    if (ret >= 0)
        ret = swr_alloc_set_opts2(&s->swr, &mono, AV_SAMPLE_FMT_FLT, SOUND_RATE_HZ, &in, format,
                                  f->sample_rate, 0, NULL);
    if (ret >= 0) /* half the default filter: half the time, nothing that a mel band notices */
        ret = av_opt_set_int(s->swr, "filter_size", 16, 0);
    if (ret >= 0)
        ret = swr_init(s->swr);
    av_channel_layout_uninit(&in);
    if (ret < 0)
        swr_free(&s->swr);
    return ret;
}

static bool same_input(const struct sound *s, const AVFrame *f)
{
    return s->format == f->format && s->rate == f->sample_rate &&
           av_channel_layout_compare(&s->layout, &f->ch_layout) == 0;
}

/* false = the frame cannot be heard. */
static bool fit_resampler(struct sound *s, const AVFrame *f)
{
    bool same = same_input(s, f);
    if (s->swr && same)
        return true;
    drop_resampler(s);
    if (!same && s->n_rebuilds++ >= REBUILDS_MAX) {
        features_note(s->flags, NOTE_WORK);
        s->stop = true;
        return false;
    }
    choose_mix(s, f);
    s->format = f->format;
    s->rate = f->sample_rate;
    return av_channel_layout_copy(&s->layout, &f->ch_layout) >= 0 && make_resampler(s, f) >= 0;
}

/* false = more came out than a clip may have. */
static bool count_samples(struct sound *s, const AVFrame *f)
{
    s->heard_us += 1e6 * f->nb_samples / f->sample_rate;
    s->n_samples += (int64_t)f->nb_samples * f->ch_layout.nb_channels;
    if (s->n_samples <= SAMPLES_BUDGET)
        return true;
    features_note(s->flags, NOTE_WORK);
    s->stop = true;
    return false;
}

static void take_frame(struct sound *s)
{
    const AVFrame *f = s->frame;
    bool sane = f->ch_layout.nb_channels >= 1 && f->nb_samples >= 0 &&
                f->sample_rate >= RATE_MIN_HZ && f->sample_rate <= RATE_MAX_HZ;
    s->n_pardoned = 0;
    if (!sane || !count_samples(s, f) || !fit_resampler(s, f)) {
        s->report->n_errors += !s->stop;
        return;
    }
    if (s->gain == 0 && s->mix.n_channels > 1)
        phase_take(&s->phase, &s->mix, f);
    if (!s->mixed_here) {
        const uint8_t *in[MIX_CHANNELS_MAX] = {NULL};
        int n_planes = av_sample_fmt_is_planar(s->format) ? f->ch_layout.nb_channels : 1;
        for (int i = 0; i < n_planes; i++)
            in[i] = f->extended_data[i];
        resample(s, in, f->nb_samples);
    } else {
        float mixed[CHUNK];
        const uint8_t *in = (const uint8_t *)mixed;
        for (int at = 0; at < f->nb_samples && s->n < s->n_end; at += CHUNK) {
            int n = f->nb_samples - at < CHUNK ? f->nb_samples - at : CHUNK;
            mix_samples(&s->mix, f, at, n, mixed);
            resample(s, &in, n);
        }
    }
    if (s->n - s->stretch_from >= STRETCH)
        judge_stretch(s);
}

static bool is_full(const struct sound *s)
{
    return s->stop || s->n >= s->n_end;
}

static void receive(struct sound *s)
{
    while (!is_full(s)) {
        int ret = avcodec_receive_frame(s->ctx, s->frame);
        if (ret == AVERROR(EAGAIN) || ret == AVERROR_EOF)
            return;
        if (ret < 0) {
            count_error(s);
            return;
        }
        take_frame(s);
        av_frame_unref(s->frame);
    }
}

static void send(struct sound *s, const AVPacket *pkt)
{
    (void)budget_is_spent(s->budget);
    if (s->budget->cpu_is_spent) { /* work is that of the pictures: the sound has its own */
        features_note(s->flags, NOTE_CPU);
        s->stop = true;
        return;
    }
    uint32_t n_complaints = complaints_count();
    int ret = avcodec_send_packet(s->ctx, pkt);
    if (ret < 0 && ret != AVERROR(EAGAIN))
        count_error(s);
    receive(s);
    if (s->n_settling > 0)
        s->n_settling--;
    else
        s->is_damaged |= complaints_count() > n_complaints;
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
    uint32_t errors_max = s->report->n_errors + MEDIA_ERRORS_MAX;
    for (int at = 0, end = 0; at < pkt->size && !is_full(s); at = end) {
        if (s->report->n_errors >= errors_max)
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

static uint32_t count_windows(const struct media_track *t)
{
    uint32_t n = 1;
    for (uint32_t i = 1; i < t->n_packets; i++)
        n += t->packets[i].cut;
    return n;
}

/* The decoder knows nothing of what was not read, and the windows to come share what is left. */
static void begin_window(struct sound *s, uint32_t n_windows_left)
{
    drop_resampler(s);
    begin_times(s);
    avcodec_flush_buffers(s->ctx);
    s->n_pardoned = ERRORS_AT_CUT;
    s->n_end = s->n + (s->n_max - s->n) / n_windows_left;
}

static void decode_all(struct sound *s, const struct media_track *t)
{
    enum AVCodecID id = t->par->codec_id;
    bool amr = id == AV_CODEC_ID_AMR_NB || id == AV_CODEC_ID_AMR_WB;
    uint32_t n_windows = count_windows(t);
    s->n_end = s->n_max / n_windows;
    begin_times(s);
    for (uint32_t i = 0; i < t->n_packets && !s->stop; i++) {
        if (i > 0 && t->packets[i].cut)
            begin_window(s, --n_windows);
        if (is_full(s))
            continue;
        compare_times(s, &t->packets[i]);
        if (amr)
            send_amr(s, t->packets[i].av);
        else
            send(s, t->packets[i].av);
    }
    if (!is_full(s) && avcodec_send_packet(s->ctx, NULL) >= 0)
        receive(s);
    drop_resampler(s);
}

static int run_pass(struct sound *s, const struct media_track *t, struct err *err)
{
    int status = open_decoder(s, t, err);
    complaints_listen(s->ctx);
    if (status == ERR_OK)
        decode_all(s, t);
    complaints_listen(NULL);
    swr_free(&s->swr);
    avcodec_free_context(&s->ctx);
    av_frame_free(&s->frame);
    av_channel_layout_uninit(&s->layout);
    return status;
}

/* As loud as the mix would be if the channels did not cancel each other. */
static void choose_loudest(const struct sound *first, struct sound *ret)
{
    for (unsigned c = 1; c < MIX_CHANNELS_MAX; c++)
        if (first->energy[c] > first->energy[ret->loudest])
            ret->loudest = c;
    double gain = 0;
    for (unsigned c = 0; c < MIX_CHANNELS_MAX; c++)
        gain += fabs((double)first->mix.weight[c]) *
                sqrt(first->energy[c] / first->energy[ret->loudest]);
    ret->gain = gain > 0 ? (float)gain : 1;
}

static int listen_again(const struct sound *first, const struct media_track *t, struct err *err)
{
    struct decode_report report = {0}; /* the first pass has counted the errors */
    uint32_t n = 0;
    struct sound s = {.n_max = first->n_max,
                      .ret_n = &n,
                      .budget = first->budget,
                      .flags = first->flags,
                      .report = &report};
    choose_loudest(first, &s);
    s.pcm = malloc(first->n_max * sizeof(*s.pcm));
    if (!s.pcm)
        return err_oom(err, "sound");
    int status = run_pass(&s, t, err);
    for (uint32_t i = 0; status == ERR_OK && i < first->n_cancelled; i++) {
        struct stretch at = first->cancelled[i];
        at.to = at.to < n ? at.to : n;
        if (at.to > at.from)
            memcpy(first->pcm + at.from, s.pcm + at.from, (at.to - at.from) * sizeof(*s.pcm));
    }
    free(s.pcm);
    features_note(first->flags, NOTE_SOUND_PHASE);
    return status;
}

int decode_sound(const struct media_track *t, float *pcm, uint32_t n_max, struct budget *budget,
                 struct features_flags *flags, uint32_t *ret_n_samples,
                 struct decode_report *report, struct err *err)
{
    struct sound s = {.pcm = pcm,
                      .n_max = n_max,
                      .ret_n = ret_n_samples,
                      .budget = budget,
                      .flags = flags,
                      .report = report};
    *ret_n_samples = 0;
    int status = run_pass(&s, t, err);
    bool lost = s.n == 0 && t->n_packets > 0 && !s.stop;
    if (status == ERR_OK && (report->n_errors > 0 || s.is_damaged || lost))
        features_note(flags, NOTE_SOUND_DAMAGED);
    if (status == ERR_OK && s.n_cancelled > 0)
        status = listen_again(&s, t, err);
    return status;
}
