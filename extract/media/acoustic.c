/* The built-in acoustic encoder: what the first minute sounds like, whatever its loudness.
 *
 * Front end as VGGish's: 25 ms Hann windows every 10 ms, 512-point transform, 64 mel bands from
 * 125 to 7,500 Hz. The log is taken over a floor 60 dB under the loudest band energy of the
 * clip, and the mean level is taken away, so that a gain changes nothing but rounding.
 *
 * Silence: a track whose loudest sample stays under −70 dBFS (digital silence, dither) carries
 * no signal, so the modality is missing: a mask tells the model the truth, a constant vector
 * would not. */

#include "extract/media/encoder.h"

#include "extract/media/vec.h"
#include "extract/wire/layout.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <libavutil/mem.h>
#include <libavutil/tx.h>

#define WINDOW       400
#define HOP          160
#define FFT          512
#define BINS         (FFT / 2 + 1)
#define BANDS        64
#define CEPSTRA      20
#define COARSE       32
#define LOW_HZ       125.0
#define HIGH_HZ      7500.0
#define FLOOR        1e-6f      /* 60 dB */
#define SILENCE      3.1623e-4f /* -70 dBFS */
#define ROLL_OFF     0.85f
#define STEP_BLOCKS  6 /* 60 ms: a coder's frame on both sides of a step */
#define OFFSET_SPAN  (SOUND_RATE_HZ / 10)
#define OFFSET_SHARE 0.1
#define SPECTRAL     4
#define FRAMES_LIMIT (SOUND_RATE_HZ * SOUND_MAX_S / HOP)
#define SHORT_LAG    3
#define LONG_LAG     25
#define RISE_MAX     16.0f
#define RISE_BINS    1024

struct acoustic {
    AVTXContext *tx;
    av_tx_fn transform;
    float window[WINDOW];
    float mel[BINS];      /* share of the higher of the bin's two bands */
    int first[BANDS + 2]; /* bins first[i] … first[i+1]-1 lie between centres i-1 and i */
    float cosines[BANDS][CEPSTRA];
    float *in;           /* (FFT) aligned */
    AVComplexFloat *out; /* (BINS) aligned */
    float *logmel;       /* (FRAMES_LIMIT, BANDS) */
    float *cepstra;      /* (FRAMES_LIMIT, CEPSTRA) */
    float *spectral;     /* (FRAMES_LIMIT, SPECTRAL) */
};

static double hz_to_mel(double hz)
{
    return 1127.0 * log(1.0 + hz / 700.0);
}

/* Triangles of equal width on the mel scale: each bin falls into two neighbouring ones. */
static void make_tables(struct acoustic *a)
{
    for (int i = 0; i < WINDOW; i++)
        a->window[i] = (float)(0.5 - 0.5 * cos(2 * M_PI * i / WINDOW));
    double low = hz_to_mel(LOW_HZ), step = (hz_to_mel(HIGH_HZ) - low) / (BANDS + 1);
    int k = 0;
    while (hz_to_mel((double)k * SOUND_RATE_HZ / FFT) <= low)
        k++;
    for (int i = 0; i < BANDS + 1; i++) {
        a->first[i] = k;
        for (; k < BINS; k++) {
            double place = (hz_to_mel((double)k * SOUND_RATE_HZ / FFT) - low) / step - i;
            if (place >= 1)
                break;
            a->mel[k] = (float)place;
        }
    }
    a->first[BANDS + 1] = k;
    for (int c = 0; c < CEPSTRA; c++)
        for (int b = 0; b < BANDS; b++)
            a->cosines[b][c] =
                (float)(sqrt(2.0 / BANDS) * cos(M_PI * (c + 1) * (b + 0.5) / BANDS));
}

/* Centroid and roll-off in octave-like units (share of the mel bands), from band energies. */
static void describe_spectrum(const float *energy, float ret[SPECTRAL])
{
    float total = 0, moment = 0, sum = 0;
    for (int b = 0; b < BANDS; b++) {
        total += energy[b];
        moment += energy[b] * (float)b;
    }
    ret[1] = total > 0 ? moment / total / BANDS : 0;
    int b = 0;
    while (b < BANDS - 1 && (sum += energy[b]) < ROLL_OFF * total)
        b++;
    ret[2] = total > 0 ? (float)b / BANDS : 0;
}

/* Power spectrum → energies of the bands: each bin is shared by its two neighbours. */
static void sum_bands(const struct acoustic *a, float energy[BANDS])
{
    float rising = 0;
    for (int i = 0; i < BANDS + 1; i++) {
        float falling = 0, next = 0;
        for (int k = a->first[i]; k < a->first[i + 1]; k++) {
            float power = a->out[k].re * a->out[k].re + a->out[k].im * a->out[k].im;
            next += a->mel[k] * power;
            falling += power - a->mel[k] * power;
        }
        if (i > 0)
            energy[i - 1] = rising + falling;
        rising = next;
    }
}

static float mean_of(const float *pcm, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)pcm[i];
    return n > 0 ? (float)(sum / (double)n) : 0;
}

/* The means of tenths of a second against what moves around them. Less than that leaks into the bands
 * under their floor, and sound without an offset is left as it is, to the bit. */
static bool has_offset(const float *pcm, size_t n)
{
    double offset = 0, sound = 0;
    for (size_t at = 0; at < n; at += OFFSET_SPAN) {
        size_t n_block = n - at < OFFSET_SPAN ? n - at : OFFSET_SPAN;
        float mean = mean_of(pcm + at, n_block), square = 0;
        for (size_t i = 0; i < n_block; i++)
            square += (pcm[at + i] - mean) * (pcm[at + i] - mean);
        offset += (double)mean * (double)mean * (double)n_block;
        sound += (double)square;
    }
    return offset > OFFSET_SHARE * sound;
}

/* The level around the window that begins at `at`: its mean over a tenth of a second. */
static float offset_around(const float *pcm, size_t n, size_t at)
{
    size_t before = (OFFSET_SPAN - WINDOW) / 2;
    size_t from = at > before ? at - before : 0;
    return mean_of(pcm + from, n - from < OFFSET_SPAN ? n - from : OFFSET_SPAN);
}

/* One window of n_pcm <= WINDOW samples: band energies (BANDS), and the spectral scalars less the flux. */
static void analyse_window(struct acoustic *a, const float *pcm, size_t n_pcm, float offset,
                           float *energy, float ret[SPECTRAL])
{
    unsigned n_crossings = 0;
    memset(a->in, 0, FFT * sizeof(float));
    for (size_t i = 0; i < n_pcm; i++)
        a->in[i] = (pcm[i] - offset) * a->window[i];
    for (size_t i = 1; i < n_pcm; i++)
        n_crossings += (pcm[i] < offset) != (pcm[i - 1] < offset);
    a->transform(a->tx, a->out, a->in, sizeof(float));
    sum_bands(a, energy);
    describe_spectrum(energy, ret);
    ret[3] = (float)n_crossings / WINDOW;
}

static size_t analyse(struct acoustic *a, const float *pcm, size_t n_samples)
{
    bool offset = has_offset(pcm, n_samples);
    if (n_samples < WINDOW) {
        float level = offset ? mean_of(pcm, n_samples) : 0;
        analyse_window(a, pcm, n_samples, level, a->logmel, a->spectral);
        return n_samples > 0;
    }
    size_t n = (n_samples - WINDOW) / HOP + 1;
    n = n > FRAMES_LIMIT ? FRAMES_LIMIT : n;
    for (size_t i = 0; i < n; i++)
        analyse_window(a, pcm + i * HOP, WINDOW,
                       offset ? offset_around(pcm, n_samples, i * HOP) : 0,
                       a->logmel + i * BANDS, a->spectral + i * SPECTRAL);
    return n;
}

/* Energies → log over the clip's own floor; returns after taking the mean level away. */
static void take_logs(struct acoustic *a, size_t n)
{
    float peak = 0;
    double sum = 0;
    for (size_t i = 0; i < n * BANDS; i++)
        peak = a->logmel[i] > peak ? a->logmel[i] : peak;
    for (size_t i = 0; i < n * BANDS; i++) {
        a->logmel[i] = logf(a->logmel[i] / peak + FLOOR);
        sum += (double)a->logmel[i];
    }
    float mean = (float)(sum / (double)(n * BANDS));
    for (size_t i = 0; i < n * BANDS; i++)
        a->logmel[i] -= mean;
}

/* Cepstra, and flux: the mean rise of the log bands from one window to the next. */
static void describe_windows(struct acoustic *a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const float *row = a->logmel + i * BANDS;
        float *cepstra = a->cepstra + i * CEPSTRA;
        memset(cepstra, 0, CEPSTRA * sizeof(float));
        for (int b = 0; b < BANDS; b++)
            for (int c = 0; c < CEPSTRA; c++)
                cepstra[c] += row[b] * a->cosines[b][c];
        float flux = 0;
        for (int b = 0; i > 0 && b < BANDS; b++)
            flux += row[b] > row[b - BANDS] ? row[b] - row[b - BANDS] : 0;
        a->spectral[i * SPECTRAL] = flux / BANDS;
    }
}

/* For each pair of bands the 90th percentile of the rise over `lag` windows, from a histogram:
 * log energies span less than RISE_MAX. */
static void describe_rises(const struct acoustic *a, size_t n, size_t lag, float ret[COARSE])
{
    memset(ret, 0, COARSE * sizeof(float));
    for (size_t c = 0; n > lag && c < COARSE; c++) {
        uint32_t counts[RISE_BINS] = {0};
        for (size_t i = lag; i < n; i++) {
            const float *now = a->logmel + i * BANDS + 2 * c;
            const float *before = now - lag * BANDS;
            float rise = 0.5f * (now[0] + now[1] - before[0] - before[1]);
            int bin = (int)(rise * (RISE_BINS / RISE_MAX));
            counts[bin < 0 ? 0 : bin >= RISE_BINS ? RISE_BINS - 1 : bin]++;
        }
        size_t below = (n - lag) * 9 / 10, sum = 0, bin = 0;
        while (bin < RISE_BINS && (sum += counts[bin]) <= below)
            bin++;
        ret[c] = (float)bin * (RISE_MAX / RISE_BINS);
    }
}

/* A level that stands or drifts, a thing of converters and not of the air: no sample leaves the line
 * from the block's first to its last. */
static bool is_line(const float *pcm)
{
    float slope = (pcm[HOP - 1] - pcm[0]) / (HOP - 1);
    for (int i = 1; i < HOP - 1; i++)
        if (fabsf(pcm[i] - pcm[0] - slope * (float)i) > SILENCE)
            return false;
    return true;
}

/* Nothing but offset, which may step: a few blocks that are no line, between levels that differ. */
static bool is_offset(const float *pcm, size_t n)
{
    size_t n_blocks = n / HOP, n_run = 0;
    float level = 0;
    for (size_t b = 0; b < n_blocks; b++) {
        const float *at = pcm + b * HOP;
        if (!is_line(at)) {
            n_run++;
            continue;
        }
        if (n_run > STEP_BLOCKS || (n_run > 0 && fabsf(at[0] - level) <= SILENCE))
            return false;
        level = at[HOP - 1];
        n_run = 0;
    }
    return n_run <= STEP_BLOCKS && (n_run == 0 || fabsf(level) > SILENCE);
}

/* Digital silence and dither stay under it, on whatever offset. A missing modality tells the model
 * the truth; a constant vector would not. */
static bool is_silent(const float *pcm, size_t n)
{
    bool quiet = true;
    for (size_t i = 0; quiet && i < n; i++)
        quiet = fabsf(pcm[i]) <= SILENCE;
    return quiet || (n >= HOP && is_offset(pcm, n));
}

static int acoustic_encode(void *state, const struct encoder_input *in, float *ret_vec,
                           bool *ret_present, struct err *err)
{
    (void)err;
    struct acoustic *a = state;
    *ret_present = false;
    if (is_silent(in->pcm, in->n_samples))
        return ERR_OK;
    size_t n = analyse(a, in->pcm, in->n_samples);
    float peak = 0;
    for (size_t i = 0; i < n * BANDS; i++)
        peak = a->logmel[i] > peak ? a->logmel[i] : peak;
    if (peak <= 0) /* nothing between 125 and 7,500 Hz */
        return ERR_OK;
    take_logs(a, n);
    describe_windows(a, n);
    float *at = ret_vec;
    vec_mean_dev(a->logmel, n, BANDS, BANDS, at, at + BANDS);
    at += (size_t)2 * BANDS;
    vec_mean_dev(a->cepstra, n, CEPSTRA, CEPSTRA, at, at + CEPSTRA);
    at += (size_t)2 * CEPSTRA;
    vec_mean_dev(a->spectral, n, SPECTRAL, SPECTRAL, at, at + SPECTRAL);
    at += (size_t)2 * SPECTRAL;
    describe_rises(a, n, SHORT_LAG, at);
    describe_rises(a, n, LONG_LAG, at + COARSE);
    vec_root(ret_vec, (size_t)(2 * BANDS + 2 * CEPSTRA));
    /* What all sounds share in their deviations says nothing. */
    vec_centre(ret_vec + BANDS, BANDS);
    vec_centre(ret_vec + 2 * BANDS + CEPSTRA, CEPSTRA);
    vec_weigh(MODALITY_ACOUSTIC, ret_vec);
    *ret_present = true;
    return ERR_OK;
}

static void acoustic_free(void *state)
{
    struct acoustic *a = state;
    if (!a)
        return;
    av_tx_uninit(&a->tx);
    av_free(a->in);
    av_free(a->out);
    free(a->logmel);
    free(a->cepstra);
    free(a->spectral);
    free(a);
}

int acoustic_encoder(struct encoder *ret_encoder, struct err *err)
{
    struct acoustic *a = calloc(1, sizeof(*a));
    if (!a)
        return err_oom(err, "acoustic encoder");
    a->in = av_malloc(FFT * sizeof(float));
    a->out = av_malloc((BINS + 1) * sizeof(*a->out));
    a->logmel = calloc(FRAMES_LIMIT, BANDS * sizeof(float));
    a->cepstra = calloc(FRAMES_LIMIT, CEPSTRA * sizeof(float));
    a->spectral = calloc(FRAMES_LIMIT, SPECTRAL * sizeof(float));
    float scale = 1.0f;
    bool ready = a->in && a->out && a->logmel && a->cepstra && a->spectral &&
                 av_tx_init(&a->tx, &a->transform, AV_TX_FLOAT_RDFT, 0, FFT, &scale, 0) >= 0;
    if (!ready) {
        acoustic_free(a);
        return err_oom(err, "acoustic encoder");
    }
    make_tables(a);
    *ret_encoder = (struct encoder){.identity = layout_identity(MODALITY_ACOUSTIC),
                                    .state = a,
                                    .reentrant = true,
                                    .encode = acoustic_encode,
                                    .free = acoustic_free};
    return ERR_OK;
}
