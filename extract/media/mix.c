/* mix.h.
 *
 * Cancelling. Of channels that have nothing to do with each other the powers add up; of equal ones
 * the mix has more than that, of opposite ones less: none, when they are of one level. The mix
 * counts as cancelled below two thirds of the sum (two channels of one level: a correlation under
 * -1/3). Of the shared clips no second comes under 0.91; with one channel inverted nearly all do.
 * Offsets are left out: opposite sound on one offset cancels all the same.
 */

#include "extract/media/mix.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include <libavutil/channel_layout.h>
#include <libavutil/frame.h>
#include <libavutil/samplefmt.h>
#include <libswresample/swresample.h>

#define CANCELS     (2.0 / 3)
#define POWER_FLOOR 1e-8 /* -80 dBFS: dither and the noise of coding silence */
#define BLOCK       256
#define LANES       8
#define LEVEL_MAX   16.0f
/* Front, back and side channels, and that of low frequencies. What lies above the listener is mixed
 * by some versions of libswresample and dropped by others. */
#define PLAIN_MASK ((AV_CH_SIDE_RIGHT << 1) - 1)

static bool is_plain(const AVChannelLayout *layout)
{
    return layout->order == AV_CHANNEL_ORDER_NATIVE &&
           ((layout->u.mask & ~PLAIN_MASK) == 0 ||
            layout->u.mask == AV_CH_LAYOUT_STEREO_DOWNMIX);
}

/* By libswresample's own weights; false = it has none. */
static bool weigh_plain(const AVChannelLayout *layout, struct mix *ret)
{
    AVChannelLayout in, mono = AV_CHANNEL_LAYOUT_MONO;
    double weights[MIX_CHANNELS_MAX] = {0};
    memset(&in, 0, sizeof(in));
    if (layout->order == AV_CHANNEL_ORDER_UNSPEC)
        av_channel_layout_default(&in, layout->nb_channels);
    else if (av_channel_layout_copy(&in, layout) < 0)
        return false;
    bool known = is_plain(&in) &&
                 swr_build_matrix2(&in, &mono, M_SQRT1_2, M_SQRT1_2, 0, INT_MAX, 0, weights,
                                   MIX_CHANNELS_MAX, AV_MATRIX_ENCODING_NONE, NULL) >= 0;
    av_channel_layout_uninit(&in);
    for (unsigned c = 0; known && c < ret->n_channels; c++)
        ret->weight[c] = (float)weights[c];
    return known;
}

/* All alike; but of a sound field only the sum of all directions (ambisonics: the first channel),
 * and no channel of low frequencies. */
static void weigh_alike(const AVChannelLayout *layout, struct mix *ret)
{
    unsigned n = 0, n_directions = 0;
    for (unsigned c = 0; c < ret->n_channels; c++) {
        enum AVChannel id = av_channel_layout_channel_from_index(layout, c);
        bool direction = id > AV_CHAN_AMBISONIC_BASE && id <= AV_CHAN_AMBISONIC_END;
        bool low = id == AV_CHAN_LOW_FREQUENCY || id == AV_CHAN_LOW_FREQUENCY_2;
        ret->weight[c] = direction || low ? 0.0f : 1.0f;
        n += !direction && !low;
        n_directions += direction;
    }
    for (unsigned c = 0; c < ret->n_channels; c++)
        ret->weight[c] = n > 0 ? ret->weight[c] / (float)n : 1.0f / (float)ret->n_channels;
    ret->blind = ret->n_channels > 1 && (n == 0 || n_directions == 0);
}

void mix_of_layout(const AVChannelLayout *layout, struct mix *ret)
{
    int n = layout->nb_channels;
    memset(ret, 0, sizeof(*ret));
    ret->n_channels = (unsigned)(n < MIX_CHANNELS_MAX ? n : MIX_CHANNELS_MAX);
    ret->plain = n <= MIX_CHANNELS_MAX && weigh_plain(layout, ret);
    if (!ret->plain)
        weigh_alike(layout, ret);
}

/* Samples that lie next to each other are worth a loop of their own: it is vectorised. */
#define LOAD(type, real, zero, scale)                                                          \
    do {                                                                                       \
        const type *in = (const type *)(const void *)plane + first;                            \
        if (step == 1)                                                                         \
            for (int i = 0; i < n; i++)                                                        \
                ret[i] = (float)(((real)in[i] - (zero)) * (scale));                            \
        else                                                                                   \
            for (int i = 0; i < n; i++)                                                        \
                ret[i] = (float)(((real)in[(size_t)i * step] - (zero)) * (scale));             \
    } while (0)

/* One channel as floats; what is not finite or absurd is silent. */
static void load(const AVFrame *f, unsigned channel, int at, int n, float *ret)
{
    enum AVSampleFormat format = (enum AVSampleFormat)f->format;
    bool planar = av_sample_fmt_is_planar(format);
    size_t step = planar ? 1 : (size_t)f->ch_layout.nb_channels;
    size_t first = (size_t)at * step + (planar ? 0 : channel);
    const uint8_t *plane = f->extended_data[planar ? channel : 0];
    switch (av_get_packed_sample_fmt(format)) {
    case AV_SAMPLE_FMT_U8:
        LOAD(uint8_t, float, 128, 0x1p-7f);
        break;
    case AV_SAMPLE_FMT_S16:
        LOAD(int16_t, float, 0, 0x1p-15f);
        break;
    case AV_SAMPLE_FMT_S32:
        LOAD(int32_t, float, 0, 0x1p-31f);
        break;
    case AV_SAMPLE_FMT_S64:
        LOAD(int64_t, float, 0, 0x1p-63f);
        break;
    case AV_SAMPLE_FMT_FLT:
        LOAD(float, float, 0, 1);
        break;
    case AV_SAMPLE_FMT_DBL:
        LOAD(double, double, 0, 1);
        break;
    default:
        memset(ret, 0, (size_t)n * sizeof(*ret));
    }
    for (int i = 0; i < n; i++)
        ret[i] = fabsf(ret[i]) <= LEVEL_MAX ? ret[i] : 0;
}

void mix_samples(const struct mix *m, const AVFrame *f, int first, int n, float *ret)
{
    memset(ret, 0, (size_t)n * sizeof(*ret));
    for (int at = 0; at < n; at += BLOCK) {
        float x[BLOCK];
        int n_block = n - at < BLOCK ? n - at : BLOCK;
        for (unsigned c = 0; c < m->n_channels; c++) {
            if (m->weight[c] == 0)
                continue;
            load(f, c, first + at, n_block, x);
            for (int i = 0; i < n_block; i++)
                ret[at + i] += m->weight[c] * x[i];
        }
    }
}

/* Several sums side by side, in an order that no compiler changes. */
static void add_moments(struct phase *p, unsigned channel, const float *x, int n)
{
    float sum[LANES] = {0}, sum2[LANES] = {0};
    if (p->n == 0)
        p->origin[channel] = (double)x[0];
    float origin = (float)p->origin[channel];
    for (int i = 0; i < n; i += LANES)
        for (int k = 0; k < LANES; k++) {
            float d = x[i + k] - origin;
            sum[k] += d;
            sum2[k] += d * d;
        }
    for (int k = 0; k < LANES; k++) {
        p->sum[channel] += (double)sum[k];
        p->sum2[channel] += (double)sum2[k];
    }
}

void phase_begin(struct phase *p)
{
    memset(p, 0, sizeof(*p));
}

void phase_take(struct phase *p, const struct mix *m, const AVFrame *f)
{
    for (int at = 0; at < f->nb_samples; at += BLOCK) {
        int n = f->nb_samples - at < BLOCK ? f->nb_samples - at : BLOCK;
        n -= n >= LANES ? n % LANES : 0; /* a few of a frame's last samples change no power */
        if (n < LANES)
            return;
        float x[BLOCK], mixed[BLOCK] = {0};
        for (unsigned c = 0; c < m->n_channels; c++) {
            load(f, c, at, n, x);
            add_moments(p, c, x, n);
            for (int i = 0; i < n; i++)
                mixed[i] += m->weight[c] * x[i];
        }
        add_moments(p, m->n_channels, mixed, n);
        p->n += n;
    }
}

double phase_power(const struct phase *p, unsigned channel)
{
    if (p->n == 0)
        return 0;
    double mean = p->sum[channel] / (double)p->n;
    double power = p->sum2[channel] / (double)p->n - mean * mean;
    return power > 0 ? power : 0;
}

bool phase_cancels(const struct phase *p, const struct mix *m)
{
    double powers = 0, loudest = 0;
    for (unsigned c = 0; c < m->n_channels; c++) {
        double power = phase_power(p, c);
        if (m->weight[c] == 0)
            continue;
        powers += (double)m->weight[c] * (double)m->weight[c] * power;
        loudest = power > loudest ? power : loudest;
    }
    return loudest > POWER_FLOOR && phase_power(p, m->n_channels) < CANCELS * powers;
}
