/* extractor.h: opens, plans, decodes, describes, and decides what the outcome is called.
 *
 * Order for one item: media_demux → pictures_take → decode_sound → encoders → features. All scratch space is made with the extractor and
 * reused: 1.2 MB of canvases, 3.8 MB of sound, 6 MB of spectra; packets and decoders live for
 * one item.
 *
 * Verdict. The file cannot be opened: ERR_SKIP `media`. Opened, nothing decoded: a row if the
 * text has signal, else ERR_SKIP with the first that applies of media_too_big, media_encrypted,
 * media_codec, media_no_frames. Anything decoded: a row, even when no modality has signal (a
 * silent track alone): the mask is then empty and the item has no signal. */

#include "extract/media/extractor.h"

#include "config/clock.h"
#include "extract/media/budget.h"
#include "extract/media/canvas.h"
#include "extract/media/decode.h"
#include "extract/media/encoder.h"
#include "extract/media/media.h"
#include "extract/media/pictures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libavcodec/avcodec.h>
#include <libavutil/log.h>

#define SOUND_SAMPLES_MAX (SOUND_RATE_HZ * SOUND_MAX_S)

struct extractor {
    struct extractor_options options;
    struct encoder encoders[MODALITY_COUNT];
    struct canvas_painter *painter;
    struct encoder_frame *frames; /* (FRAMES_MAX) as the decoder fills them */
    float *pcm;                   /* (SOUND_SAMPLES_MAX) */
    float vec[MODALITY_COUNT][FEATURES_DIM_MAX];
};

/* What one item has come to so far. */
struct job {
    struct extractor *x;
    struct media *media;
    struct budget budget;
    struct pictures pictures;
    struct decode_report sound;
    uint32_t n_samples;
    unsigned mask;
    struct features_flags flags;
};

void extractor_options_init(struct extractor_options *o)
{
    *o = (struct extractor_options){0};
    media_options_init(&o->media);
}

void extractor_encoders(const struct extractor *x, struct encoder_identity *ret_encoders)
{
    for (unsigned m = 0; m < MODALITY_COUNT; m++)
        ret_encoders[m] = x->encoders[m].identity;
}

/* libavformat turns creation times into text with the time zone, which is read from a file
 * once. */
static void warm_up_time(void)
{
    time_t zero = 0;
    struct tm tm;
    (void)setenv("TZ", "UTC0", 1);
    tzset();
    (void)localtime_r(&zero, &tm);
}

int extractor_new(const struct extractor_options *options, struct extractor **ret_extractor,
                  struct err *err)
{
    struct extractor *x = calloc(1, sizeof(*x));
    if (!x)
        return err_oom(err, "extractor");
    x->options = *options;
    x->frames = calloc(FRAMES_MAX, sizeof(*x->frames));
    x->pcm = calloc(SOUND_SAMPLES_MAX, sizeof(*x->pcm));
    int status = x->frames && x->pcm ? ERR_OK : err_oom(err, "extractor");
    if (status == ERR_OK)
        status = canvas_painter_new(&x->painter, err);
    for (unsigned m = 0; status == ERR_OK && m < MODALITY_COUNT; m++)
        status = encoder_new((enum modality)m, options->encoder[m], &x->encoders[m], err);
    if (status == ERR_OK) {
        warm_up_time();
        av_log_set_level(AV_LOG_QUIET); /* hostile files would fill the log */
        status = media_warm_up(err);
    }
    if (status != ERR_OK) {
        extractor_free(x);
        return status;
    }
    *ret_extractor = x;
    return ERR_OK;
}

void extractor_free(struct extractor *x)
{
    if (!x)
        return;
    for (unsigned m = 0; m < MODALITY_COUNT; m++)
        if (x->encoders[m].free)
            x->encoders[m].free(x->encoders[m].state);
    canvas_painter_free(x->painter);
    free(x->frames);
    free(x->pcm);
    free(x);
}

static bool is_usable(const struct media_track *t)
{
    return t->par && t->codec && !t->encrypted && t->n_packets > 0;
}

static int look(struct job *j, struct err *err)
{
    if (!is_usable(&j->media->video))
        return ERR_OK;
    return pictures_take(&j->media->video, j->x->painter, &j->budget, j->x->frames, &j->flags,
                         &j->pictures, err);
}

static int listen(struct job *j, struct err *err)
{
    if (!is_usable(&j->media->audio))
        return ERR_OK;
    return decode_sound(&j->media->audio, j->x->pcm, SOUND_SAMPLES_MAX, &j->n_samples,
                        &j->sound, err);
}

static bool all_finite(const float *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return false;
    return true;
}

static int describe(struct job *j, const struct features_text *text, struct err *err)
{
    struct extractor *x = j->x;
    struct encoder_input in = {.frames = x->frames,
                               .n_frames = j->pictures.n_frames,
                               .width = j->pictures.report.width,
                               .height = j->pictures.report.height,
                               .pcm = x->pcm,
                               .n_samples = j->n_samples,
                               .text = text};
    for (unsigned m = 0; m < MODALITY_COUNT; m++) {
        struct encoder *e = &x->encoders[m];
        bool present = false;
        int status = e->encode(e->state, &in, x->vec[m], &present, err);
        if (status != ERR_OK)
            return status;
        if (present && all_finite(x->vec[m], e->identity.dim))
            j->mask |= MODALITY_BIT(m);
    }
    return ERR_OK;
}

static bool is_over_size(const struct job *j)
{
    const struct media_track *t = &j->media->video;
    if (!t->par)
        return false;
    bool declared = (int64_t)t->par->width * t->par->height > MEDIA_PIXELS_MAX;
    return j->pictures.report.too_big || (declared && j->pictures.report.frame_pixels == 0);
}

/* Nothing decoded and no text: the word for the operator. */
static int refuse(const struct job *j, struct err *err)
{
    const struct media_track *v = &j->media->video, *a = &j->media->audio;
    if (is_over_size(j))
        return err_skip(err, "media_too_big",
                        "media: frames of %dx%d need more than the %d pixels or the memory "
                        "allowed; upload a smaller rendition",
                        v->par->width, v->par->height, MEDIA_PIXELS_MAX);
    if (v->encrypted || a->encrypted)
        return err_skip(err, "media_encrypted",
                        "media: encrypted (DRM); upload a version without protection");
    bool has_stream = v->par || a->par;
    if (has_stream && !v->codec && !a->codec)
        return err_skip(err, "media_codec",
                        "media: codec %s is not admitted; transcode it to one of "
                        "docs/extraction.md, Formats",
                        avcodec_get_name(v->par ? v->par->codec_id : a->par->codec_id));
    return err_skip(err, "media_no_frames",
                    "media: %u picture and %u sound packets, none decodes (%u errors); the "
                    "file is damaged, upload it again",
                    v->n_packets, a->n_packets,
                    j->pictures.report.n_errors + j->sound.n_errors);
}

static void copy_name(char dst[16], const char *src)
{
    size_t n = strnlen(src, 15);
    memcpy(dst, src, n);
    dst[n] = '\0';
}

static uint16_t clamp_u16(int64_t v)
{
    return (uint16_t)(v < 0 ? 0 : v > UINT16_MAX ? UINT16_MAX : v);
}

static uint32_t track_end_ms(const struct media_track *t)
{
    int64_t low = INT64_MAX, high = INT64_MIN;
    for (uint32_t i = 0; i < t->n_packets; i++) {
        const struct media_packet *p = &t->packets[i];
        if (p->pts_us == MEDIA_NO_PTS)
            continue;
        low = p->pts_us < low ? p->pts_us : low;
        high = p->pts_us > high ? p->pts_us : high;
    }
    int64_t span;
    if (low > high || __builtin_sub_overflow(high, low, &span) || span / 1000 > UINT32_MAX)
        return 0;
    return (uint32_t)(span / 1000);
}

static void fill_flags(struct job *j)
{
    struct features_flags *f = &j->flags;
    const struct media *m = j->media;
    f->n_decode_errors = j->pictures.report.n_errors + j->sound.n_errors;
    f->coverage = j->pictures.coverage;
    f->max_gap_ms = j->pictures.max_gap_ms;
    f->partial |= m->partial || f->n_decode_errors > 0;
    f->capped |= m->capped;
    f->degraded |= j->pictures.plan.degraded;
    f->retimed |= j->pictures.plan.retimed;
    f->n_frames = clamp_u16(j->pictures.n_frames);
    f->n_planned = clamp_u16(j->pictures.plan.n_targets);
    f->n_keyframes = j->pictures.plan.n_keyframes;
    int64_t duration_ms = (j->pictures.plan.duration_us + 500) / 1000;
    f->duration_ms = duration_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)duration_ms;
    f->audio_ms = (uint32_t)((uint64_t)j->n_samples * 1000 / SOUND_RATE_HZ);
    if (f->duration_ms == 0) { /* no picture; raw streams carry no timestamps either */
        uint32_t end_ms = track_end_ms(&m->audio);
        f->duration_ms = end_ms > f->audio_ms ? end_ms : f->audio_ms;
    }
    f->seen_ms = f->duration_ms;
    f->width = clamp_u16(j->pictures.report.width);
    f->height = clamp_u16(j->pictures.report.height);
    copy_name(f->container, m->container);
    if (m->video.par)
        copy_name(f->video_codec, avcodec_get_name(m->video.par->codec_id));
    if (m->audio.par)
        copy_name(f->audio_codec, avcodec_get_name(m->audio.par->codec_id));
}

static void fill_features(const struct job *j, int64_t start_us, struct features *ret_features)
{
    struct features *f = ret_features;
    memset(f, 0, sizeof(*f)); /* padding too: features cross a socket */
    f->mask = j->mask;
    f->flags = j->flags;
    for (unsigned m = 0; m < MODALITY_COUNT; m++) {
        const struct encoder_identity *e = &j->x->encoders[m].identity;
        f->dim[m] = e->dim;
        memcpy(f->encoder_id[m], e->id, sizeof(e->id));
        if (j->mask & MODALITY_BIT(m))
            memcpy(f->vec[m], j->x->vec[m], e->dim * sizeof(float));
    }
    f->extract_us = clock_mono_us() - start_us;
}

static int run_media(struct job *j, int media_fd, struct err *err)
{
    const struct extractor_options *o = &j->x->options;
    int status = media_demux(media_fd, &o->media, &j->budget, &j->media, err);
    if (status == ERR_OK)
        status = look(j, err);
    if (status == ERR_OK)
        status = listen(j, err);
    if (status == ERR_OK)
        fill_flags(j);
    return status;
}

int extractor_run(struct extractor *x, int media_fd, const struct features_text *text,
                  struct features *ret_features, struct err *err)
{
    int64_t start_us = clock_mono_us();
    struct job j = {.x = x};
    budget_start(&j.budget, x->options.cpu_us);
    int status = media_fd < 0 ? ERR_OK : run_media(&j, media_fd, err);
    if (status == ERR_OK)
        status = describe(&j, text, err);
    if (status == ERR_OK && j.media && j.pictures.n_frames == 0 && j.n_samples == 0 &&
        !(j.mask & MODALITY_BIT(MODALITY_TEXTUAL)))
        status = refuse(&j, err);
    if (status == ERR_OK)
        fill_features(&j, start_us, ret_features);
    media_free(j.media);
    pictures_free(&j.pictures);
    canvas_reset(x->painter);
    return status;
}
