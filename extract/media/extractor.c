/* extractor.h: opens, plans, decodes, describes, and decides what the outcome is called.
 *
 * Order for one item: text → media_demux → pictures_take → decode_sound → encoders → verdict. The
 * text comes first because it always can, and because nothing that is left to do when the media is
 * given up may ask for memory. All scratch space is made with the extractor and reused: 1.2 MB of
 * canvases, 3.8 MB of sound, 6 MB of spectra; packets and decoders live for one item.
 *
 * Verdict. Anything decoded: a row, even when no modality has signal (a silent track alone): the
 * mask is then empty and the item has no signal. Nothing decoded, for whatever reason: a row of the
 * text with flags.reason if the text has signal, else ERR_SKIP with that reason. */

#include "extract/media/extractor.h"

#include "config/clock.h"
#include "extract/media/budget.h"
#include "extract/media/canvas.h"
#include "extract/media/decode.h"
#include "extract/media/encoder.h"
#include "extract/media/formats.h"
#include "extract/media/media.h"
#include "extract/media/pictures.h"
#include "extract/wire/notes.h"
#include "extract/wire/protocol.h"

#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libavcodec/avcodec.h>
#include <libavutil/log.h>

#define SOUND_SAMPLES_MAX (SOUND_RATE_HZ * SOUND_MAX_S)

/* What one item has come to so far. */
struct job {
    const struct features_text *text;
    struct media *media;
    struct budget budget;
    struct pictures pictures;
    struct decode_report sound;
    uint32_t n_samples;
    unsigned mask;
    struct features_flags flags;
    uint32_t sound_ms; /* of the sound track, of which a minute is heard */
    int64_t seen_us;   /* of a clip that was read in windows; 0 = of all of it */
    int64_t start_us;
};

struct extractor {
    struct extractor_options options;
    struct encoder encoders[MODALITY_COUNT];
    struct canvas_painter *painter;
    struct encoder_frame *frames; /* (FRAMES_MAX) as the decoder fills them */
    float *pcm;                   /* (SOUND_SAMPLES_MAX) */
    float vec[MODALITY_COUNT][FEATURES_DIM_MAX];
    struct job job;                     /* of the item under way */
    volatile sig_atomic_t is_under_way; /* with its media: the text is described */
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
        status = formats_warm_up(err);
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

/* Frames and pixels are the picture's affair. */
static bool is_out_of_time(struct job *j)
{
    (void)budget_is_spent(&j->budget);
    return j->budget.cpu_is_spent;
}

static int look_once(struct extractor *x, struct err *err)
{
    struct job *j = &x->job;
    if (!is_usable(&j->media->video) || is_out_of_time(j))
        return ERR_OK;
    for (unsigned i = 0; i < FRAMES_MAX; i++)
        x->frames[i].next_us = 0; /* what an earlier item left */
    return pictures_take(&j->media->video, x->painter, &j->budget, x->frames, &j->flags,
                         &j->pictures, err);
}

static int look(struct extractor *x, struct err *err)
{
    struct job *j = &x->job;
    int status = look_once(x, err);
    bool is_another = true;
    while (status == ERR_OK && is_another && j->pictures.n_frames == 0) {
        status = media_try_next(j->media, true, &is_another, err);
        if (status != ERR_OK || !is_another)
            break;
        pictures_free(&j->pictures);
        j->pictures = (struct pictures){0};
        status = look_once(x, err);
    }
    return status;
}

static int listen_once(struct extractor *x, struct err *err)
{
    struct job *j = &x->job;
    if (!is_usable(&j->media->audio) || is_out_of_time(j))
        return ERR_OK;
    return decode_sound(&j->media->audio, x->pcm, SOUND_SAMPLES_MAX, &j->budget, &j->flags,
                        &j->n_samples, &j->sound, err);
}

static int listen(struct extractor *x, struct err *err)
{
    struct job *j = &x->job;
    int status = listen_once(x, err);
    bool is_another = true;
    while (status == ERR_OK && is_another && j->n_samples == 0) {
        status = media_try_next(j->media, false, &is_another, err);
        if (status == ERR_OK && is_another)
            status = listen_once(x, err);
    }
    return status;
}

static bool all_finite(const float *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return false;
    return true;
}

/* Of one modality; in a signal handler too, with an encoder that is reentrant. */
static int describe(struct extractor *x, enum modality m, struct err *err)
{
    struct job *j = &x->job;
    struct encoder_input in = {.frames = x->frames,
                               .n_frames = j->pictures.n_frames,
                               .width = j->pictures.report.width,
                               .height = j->pictures.report.height,
                               .pcm = x->pcm,
                               .n_samples = j->n_samples,
                               .text = j->text};
    struct encoder *e = &x->encoders[m];
    bool present = false;
    j->mask &= ~MODALITY_BIT(m);
    int status = e->encode(e->state, &in, x->vec[m], &present, err);
    if (status == ERR_OK && present && all_finite(x->vec[m], e->identity.dim))
        j->mask |= MODALITY_BIT(m);
    return status;
}

/* What the media gave. */
static int describe_media(struct extractor *x, struct err *err)
{
    int status = ERR_OK;
    for (enum modality m = 0; status == ERR_OK && m < MODALITY_COUNT; m++)
        if (m != MODALITY_TEXTUAL)
            status = describe(x, m, err);
    return status;
}

static bool is_over_size(const struct job *j)
{
    const struct media_track *t = &j->media->video;
    if (!t->par)
        return false;
    bool declared = (int64_t)t->par->width * t->par->height > MEDIA_PIXELS_MAX;
    return j->pictures.report.too_big || (declared && j->pictures.report.frame_pixels == 0);
}

/* Nothing decoded: the word for the operator. */
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
    if (has_stream && !v->codec && !a->codec) {
        char name[16];
        formats_codec_name(v->par ? v->par : a->par, name);
        return err_skip(err, "media_codec",
                        "media: codec %s is not admitted; transcode it to one of "
                        "docs/extraction.md, Formats",
                        name);
    }
    return err_skip(err, "media_no_frames",
                    "media: %u picture and %u sound packets, none decodes (%u errors); the "
                    "file is damaged, upload it again",
                    v->n_packets, a->n_packets,
                    j->pictures.report.n_errors + j->sound.n_errors);
}

/* A letter that protocol.c would not take becomes '_'. */
static void copy_name(char dst[16], const char *src)
{
    size_t n = strnlen(src, 15);
    memcpy(dst, src, n);
    memset(dst + n, 0, 16 - n);
    for (size_t i = strspn(dst, PROTOCOL_NAME_LETTERS); i < n;
         i += 1 + strspn(dst + i + 1, PROTOCOL_NAME_LETTERS))
        dst[i] = '_';
}

static uint16_t clamp_u16(int64_t v)
{
    return (uint16_t)(v < 0 ? 0 : v > UINT16_MAX ? UINT16_MAX : v);
}

static uint32_t clamp_u32(int64_t v)
{
    return (uint32_t)(v < 0 ? 0 : v > UINT32_MAX ? UINT32_MAX : v);
}

static uint32_t track_end_ms(const struct media_track *t)
{
    if (t->duration_us > 0 && t->duration_us / 1000 <= UINT32_MAX)
        return (uint32_t)(t->duration_us / 1000);
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

/* What is known as soon as the file is read, and changes when it is read again. */
static void flag_media(struct job *j)
{
    struct features_flags *f = &j->flags;
    const struct media *m = j->media;
    j->sound_ms = track_end_ms(&m->audio);
    j->seen_us = m->seen_us;
    f->partial |= m->partial;
    if (m->capped)
        features_note(f, m->windows ? NOTE_WINDOWS : NOTE_BEGINNING);
    copy_name(f->container, m->container);
    if (m->video.par)
        formats_codec_name(m->video.par, f->video_codec);
    if (m->audio.par)
        formats_codec_name(m->audio.par, f->audio_codec);
    for (unsigned i = 0; i < NOTE_COUNT; i++)
        if (m->notes >> i & 1)
            features_note(f, (enum note)i);
}

/* What was decoded; of the job alone, whose media may be in any state (extractor_finish). */
static void flag_decoded(struct job *j)
{
    struct features_flags *f = &j->flags;
    const struct pictures *p = &j->pictures;
    f->n_decode_errors = p->report.n_errors + j->sound.n_errors;
    f->coverage = p->coverage >= 0 && p->coverage <= 1 ? p->coverage : 0; /* no NaN */
    f->max_gap_ms = p->max_gap_ms;
    f->partial |= f->n_decode_errors > 0;
    f->degraded |= p->plan.degraded;
    f->retimed |= p->plan.retimed;
    f->n_frames = clamp_u16(p->n_frames);
    f->n_planned = clamp_u16(p->plan.n_targets);
    f->n_keyframes = p->plan.n_keyframes;
    f->duration_ms = clamp_u32((p->plan.duration_us + 500) / 1000);
    f->audio_ms = (uint32_t)((uint64_t)j->n_samples * 1000 / SOUND_RATE_HZ);
    f->width = clamp_u16(p->report.width);
    f->height = clamp_u16(p->report.height);
    if (j->budget.cpu_is_spent)
        features_note(f, NOTE_CPU);
    if (j->budget.work_is_spent)
        features_note(f, NOTE_WORK);
}

/* Where there is no picture, the sound's length; raw streams carry no timestamps either. */
static void flag_duration(struct job *j)
{
    struct features_flags *f = &j->flags;
    if (f->duration_ms == 0)
        f->duration_ms = j->sound_ms > f->audio_ms ? j->sound_ms : f->audio_ms;
    int64_t seen_ms = (j->seen_us + 500) / 1000;
    f->seen_ms = seen_ms > 0 && seen_ms < f->duration_ms ? (uint32_t)seen_ms : f->duration_ms;
}

static void fill_features(const struct extractor *x, struct features *ret_features)
{
    struct features *f = ret_features;
    const struct job *j = &x->job;
    memset(f, 0, sizeof(*f)); /* padding too: features cross a socket */
    f->mask = j->mask;
    f->flags = j->flags;
    for (unsigned m = 0; m < MODALITY_COUNT; m++) {
        const struct encoder_identity *e = &x->encoders[m].identity;
        f->dim[m] = e->dim;
        memcpy(f->encoder_id[m], e->id, sizeof(e->id));
        if (j->mask & MODALITY_BIT(m))
            memcpy(f->vec[m], x->vec[m], e->dim * sizeof(float));
    }
    f->extract_us = clock_mono_us() - j->start_us;
}

/* ---- one item ---- */

static int run_media(struct extractor *x, int media_fd, struct err *err)
{
    struct job *j = &x->job;
    int status = media_demux(media_fd, &x->options.media, &j->budget, &j->media, err);
    if (status == ERR_OK) {
        flag_media(j);
        status = look(x, err);
    }
    if (status == ERR_OK)
        status = listen(x, err);
    if (status == ERR_OK)
        status = describe_media(x, err);
    if (status == ERR_OK) {
        flag_media(j);
        flag_decoded(j);
        flag_duration(j);
    }
    return status;
}

static bool has_decoded(const struct job *j)
{
    return j->pictures.n_frames > 0 || j->n_samples > 0;
}

static int refuse_spent(struct err *err)
{
    return err_skip(err, "media_budget",
                    "media: half of extract.cpu_seconds, or as many frames, pixels, scans and "
                    "changes of format as an item may cost, were spent before anything of "
                    "use came out; upload another rendition");
}

/* Rebuilt filters and scans are counted where they are met, and noted. */
static bool is_spent(struct job *j)
{
    uint64_t spent = UINT64_C(1) << NOTE_CPU | UINT64_C(1) << NOTE_WORK;
    return budget_is_spent(&j->budget) || (j->flags.notes & spent) != 0;
}

/* Of the media; err is what run_media said. ERR_SKIP becomes a row where there is a text to make it
 * of; what is ours to try again stays so. */
static int judge(struct extractor *x, int status, struct err *err)
{
    struct job *j = &x->job;
    if (status == ERR_OK && !has_decoded(j))
        status = is_spent(j) ? refuse_spent(err) : refuse(j, err);
    else if (status == ERR_SKIP && is_spent(j))
        status = refuse_spent(err); /* a header that was read to its half is no broken one */
    if (status != ERR_SKIP || !(j->mask & MODALITY_BIT(MODALITY_TEXTUAL)))
        return status;
    j->mask = MODALITY_BIT(MODALITY_TEXTUAL);
    memcpy(j->flags.reason, err->reason, sizeof(j->flags.reason));
    flag_decoded(j);
    return ERR_OK;
}

/* extractor_finish needs nothing of what is freed: it may come until the end. */
static void end_job(struct extractor *x)
{
    media_free(x->job.media);
    pictures_free(&x->job.pictures);
    canvas_reset(x->painter);
    atomic_signal_fence(memory_order_seq_cst);
    x->is_under_way = 0;
}

int extractor_run(struct extractor *x, int media_fd, const struct features_text *text,
                  struct features *ret_features, struct err *err)
{
    struct job *j = &x->job;
    *j = (struct job){.text = text, .start_us = clock_mono_us()};
    budget_start(&j->budget, x->options.cpu_us);
    int status = describe(x, MODALITY_TEXTUAL, err);
    if (status == ERR_OK && media_fd >= 0) {
        atomic_signal_fence(memory_order_seq_cst);
        x->is_under_way = 1;
        status = judge(x, run_media(x, media_fd, err), err);
    }
    if (status == ERR_OK)
        fill_features(x, ret_features);
    end_job(x);
    return status;
}

/* Nothing here asks for memory or calls a decoder, and nothing of the media is read: whatever was
 * interrupted may be in the middle of a change. */
int extractor_finish(struct extractor *x, struct features *ret_features, struct err *err)
{
    struct job *j = &x->job;
    if (!x->is_under_way)
        return ERR_NONE;
    j->budget.cpu_is_spent = true;
    pictures_settle(&j->pictures);
    for (enum modality m = 0; m < MODALITY_COUNT; m++) {
        if (m == MODALITY_TEXTUAL)
            continue;
        if (!x->encoders[m].reentrant || describe(x, m, NULL) != ERR_OK)
            j->mask &= ~MODALITY_BIT(m);
    }
    flag_decoded(j);
    flag_duration(j);
    int status = has_decoded(j) ? ERR_OK : judge(x, refuse_spent(err), err);
    if (status == ERR_OK)
        fill_features(x, ret_features);
    return status;
}
