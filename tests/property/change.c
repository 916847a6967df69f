#include "change.h"

#include "../integration/mutate.h"

#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#define HEAD_BYTES 12
#define TS_BYTES   188
#define STEP       180 /* 2 ms: no muxer here counts more coarsely, but AVI */

static void *or_abort(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

static unsigned below(uint64_t *random, unsigned n)
{
    return n > 0 ? (unsigned)(mutate_random(random) % n) : 0;
}

static bool chance(uint64_t *random, int per_cent)
{
    return below(random, 100) < (unsigned)per_cent;
}

static struct track *track_of(struct clip *c, enum AVMediaType type)
{
    for (unsigned i = 0; i < c->n_tracks; i++)
        if (c->tracks[i]->par->codec_type == type)
            return c->tracks[i];
    abort();
}

static struct track *picture(struct clip *c)
{
    return track_of(c, AVMEDIA_TYPE_VIDEO);
}

static struct track *sound(struct clip *c)
{
    return track_of(c, AVMEDIA_TYPE_AUDIO);
}

static void set_key(AVPacket *p, bool key)
{
    p->flags = key ? p->flags | AV_PKT_FLAG_KEY : p->flags & ~AV_PKT_FLAG_KEY;
}

/* ---- key flags ---- */

void keys_all(struct clip *c, int arg, uint64_t *random)
{
    (void)arg;
    keys_every(c, 1, random);
}

void keys_none(struct clip *c, int arg, uint64_t *random)
{
    (void)arg, (void)random;
    struct track *t = picture(c);
    for (unsigned i = 0; i < t->n_packets; i++)
        set_key(t->packets[i], false);
}

void keys_every(struct clip *c, int arg, uint64_t *random)
{
    (void)random;
    struct track *t = picture(c);
    for (unsigned i = 0; i < t->n_packets; i++)
        set_key(t->packets[i], i % (unsigned)arg == 0);
}

void keys_more(struct clip *c, int arg, uint64_t *random)
{
    (void)random;
    struct track *t = picture(c);
    for (unsigned i = 0; i < t->n_packets; i += (unsigned)arg)
        set_key(t->packets[i], true);
}

void keys_shifted(struct clip *c, int arg, uint64_t *random)
{
    (void)random;
    struct track *t = picture(c);
    unsigned by = (unsigned)arg;
    for (unsigned i = t->n_packets; i-- > by;)
        set_key(t->packets[i], t->packets[i - by]->flags & AV_PKT_FLAG_KEY);
}

/* ---- losses ---- */

void first_packets_lost(struct clip *c, int arg, uint64_t *random)
{
    (void)random;
    track_drop(picture(c), 0, (unsigned)arg);
}

void packets_lost(struct clip *c, int arg, uint64_t *random)
{
    struct track *t = picture(c);
    for (unsigned i = t->n_packets; i-- > 1;)
        if (chance(random, arg))
            track_drop(t, i, 1);
}

void key_lost(struct clip *c, int arg, uint64_t *random)
{
    (void)arg, (void)random;
    struct track *t = picture(c);
    unsigned n = 0;
    for (unsigned i = 0; i < t->n_packets; i++)
        if ((t->packets[i]->flags & AV_PKT_FLAG_KEY) && n++ % 2 == 1)
            track_drop(t, i--, 1);
}

static void lose_middle(struct track *t, int per_cent)
{
    unsigned n = t->n_packets * (unsigned)per_cent / 100;
    track_drop(t, (t->n_packets - n) / 2, n);
}

void burst_lost(struct clip *c, int arg, uint64_t *random)
{
    (void)random;
    lose_middle(picture(c), arg);
}

void sound_lost(struct clip *c, int arg, uint64_t *random)
{
    (void)random;
    lose_middle(sound(c), arg);
}

/* ---- damage ---- */

static void flip(AVPacket *p, uint64_t *random)
{
    if (p->size <= HEAD_BYTES + 1)
        return;
    for (unsigned n = 1 + below(random, 8); n > 0; n--)
        p->data[HEAD_BYTES + below(random, (unsigned)(p->size - HEAD_BYTES))] ^=
            (uint8_t)(1 + below(random, 255));
}

void bytes_flipped(struct clip *c, int arg, uint64_t *random)
{
    struct track *t = picture(c);
    for (unsigned i = 0; i < t->n_packets; i++)
        if (chance(random, arg))
            flip(t->packets[i], random);
}

void beginning_flipped(struct clip *c, int arg, uint64_t *random)
{
    struct track *t = picture(c);
    for (unsigned i = 0; i < t->n_packets * (unsigned)arg / 100; i++)
        flip(t->packets[i], random);
}

void keys_flipped(struct clip *c, int arg, uint64_t *random)
{
    (void)arg;
    struct track *t = picture(c);
    unsigned n = 0;
    for (unsigned i = 0; i < t->n_packets; i++)
        if ((t->packets[i]->flags & AV_PKT_FLAG_KEY) && n++ % 2 == 1)
            flip(t->packets[i], random);
}

void first_key_flipped(struct clip *c, int arg, uint64_t *random)
{
    (void)arg;
    flip(picture(c)->packets[0], random);
}

void packets_shortened(struct clip *c, int arg, uint64_t *random)
{
    struct track *t = picture(c);
    for (unsigned i = 0; i < t->n_packets; i++)
        if (t->packets[i]->size > 2 * HEAD_BYTES && chance(random, arg))
            av_shrink_packet(t->packets[i], t->packets[i]->size / 2);
}

void sound_flipped(struct clip *c, int arg, uint64_t *random)
{
    struct track *t = sound(c);
    for (unsigned i = 0; i < t->n_packets; i++)
        if (chance(random, arg))
            flip(t->packets[i], random);
}

/* ---- times ---- */

static void shift(struct track *t, unsigned from, int64_t by)
{
    for (unsigned i = from; i < t->n_packets; i++) {
        t->packets[i]->pts += by;
        t->packets[i]->dts += by;
    }
}

void times_shifted(struct clip *c, int arg, uint64_t *random)
{
    (void)random;
    for (unsigned i = 0; i < c->n_tracks; i++)
        shift(c->tracks[i], 0, (int64_t)arg * c->tracks[i]->rate);
}

void times_pause(struct clip *c, int arg, uint64_t *random)
{
    (void)random;
    struct track *t = picture(c);
    unsigned at = t->n_packets / 2;
    while (at < t->n_packets && !(t->packets[at]->flags & AV_PKT_FLAG_KEY))
        at++;
    shift(t, at < t->n_packets ? at : t->n_packets / 2, (int64_t)arg * t->rate);
}

void times_jitter(struct clip *c, int arg, uint64_t *random)
{
    struct track *t = picture(c);
    for (unsigned i = 1; i < t->n_packets; i++) {
        int64_t by = (int64_t)below(random, (unsigned)(t->rate / t->fps * arg / 100));
        t->packets[i]->pts += by;
        t->packets[i]->dts = t->packets[i]->pts;
    }
}

void times_coarse(struct clip *c, int arg, uint64_t *random)
{
    (void)random;
    struct track *t = picture(c);
    for (unsigned i = 0; i < t->n_packets; i++) {
        int64_t at =
            (int64_t)(i - i % (unsigned)arg) * (t->rate / t->fps) + i % (unsigned)arg * STEP;
        t->packets[i]->pts = t->packets[i]->dts = at;
        t->packets[i]->duration = STEP;
    }
}

void sound_late(struct clip *c, int arg, uint64_t *random)
{
    (void)random;
    struct track *t = sound(c);
    shift(t, 0, (int64_t)arg * t->rate / 1000);
}

/* ---- tracks ---- */

static void add_track(struct clip *c, unsigned at, struct track *t)
{
    if (t == NULL || c->n_tracks == CLIP_TRACKS_MAX)
        abort();
    memmove(&c->tracks[at + 1], &c->tracks[at], (c->n_tracks - at) * sizeof(struct track *));
    c->tracks[at] = t;
    c->n_tracks++;
}

static struct track *emptied(const struct track *t)
{
    struct track *copy = track_copy(t);
    track_drop(copy, 0, copy->n_packets);
    return copy;
}

void empty_picture_first(struct clip *c, int arg, uint64_t *random)
{
    (void)arg, (void)random;
    add_track(c, 0, emptied(picture(c)));
}

void empty_sound_first(struct clip *c, int arg, uint64_t *random)
{
    (void)arg, (void)random;
    add_track(c, 0, emptied(sound(c)));
}

static struct track *cover(const char *encoder, const char *pixels, bool in_band)
{
    const struct coding single = {.encoder = encoder,
                                  .pixels = pixels,
                                  .film = 1,
                                  .width = 320,
                                  .height = 240,
                                  .to_pct = 1,
                                  .in_band = in_band};
    struct track *t = track_of_pictures(&single);
    if (t != NULL)
        track_drop(t, 1, t->n_packets);
    return t;
}

void cover_first(struct clip *c, int arg, uint64_t *random)
{
    (void)arg, (void)random;
    struct track *t = cover("mjpeg", "yuvj420p", true);
    t->disposition = AV_DISPOSITION_DEFAULT;
    add_track(c, 0, t);
}

void cover_last(struct clip *c, int arg, uint64_t *random)
{
    (void)arg, (void)random;
    struct track *t = cover("mjpeg", "yuvj420p", true);
    t->disposition = AV_DISPOSITION_DEFAULT;
    add_track(c, c->n_tracks, t);
}

void same_codec_cover_first(struct clip *c, int arg, uint64_t *random)
{
    (void)arg, (void)random;
    struct track *t = track_copy(picture(c));
    track_drop(t, 1, t->n_packets);
    t->disposition = AV_DISPOSITION_DEFAULT;
    add_track(c, 0, t);
}

void more_sounds(struct clip *c, int arg, uint64_t *random)
{
    (void)random;
    struct track *t = sound(c);
    t->disposition = AV_DISPOSITION_DEFAULT;
    while (c->n_tracks < (unsigned)arg) {
        struct track *copy = track_copy(t);
        copy->disposition = 0;
        add_track(c, c->n_tracks, copy);
    }
}

/* One line a second. */
static struct track *subtitles(enum AVCodecID id)
{
    struct track *t = or_abort(calloc(1, sizeof(*t)));
    t->par = or_abort(avcodec_parameters_alloc());
    t->par->codec_type = AVMEDIA_TYPE_SUBTITLE;
    t->par->codec_id = id;
    t->rate = 1000;
    t->packets = or_abort(calloc(16, sizeof(*t->packets)));
    for (t->n_packets = 0; t->n_packets < 7; t->n_packets++) {
        AVPacket *p = or_abort(av_packet_alloc());
        if (av_new_packet(p, 7) < 0)
            abort();
        memcpy(p->data, "\0\5words", 7);
        if (id != AV_CODEC_ID_MOV_TEXT)
            memcpy(p->data, "a words", 7);
        p->pts = p->dts = t->n_packets * 1000;
        p->duration = 900;
        p->flags = AV_PKT_FLAG_KEY;
        t->packets[t->n_packets] = p;
    }
    return t;
}

void subtitles_first(struct clip *c, int arg, uint64_t *random)
{
    (void)random;
    bool mov = strcmp(c->container, "mp4") == 0 || strcmp(c->container, "mov") == 0;
    for (int i = 0; i < arg; i++)
        add_track(c, 0, subtitles(mov ? AV_CODEC_ID_MOV_TEXT : AV_CODEC_ID_SUBRIP));
}

/* ---- files ---- */

void file_cut(struct file *f, int arg, uint64_t *random)
{
    size_t n = f->n_bytes * (size_t)arg / 100;
    f->n_bytes = n > 64 ? n - below(random, 64) : n;
}

void file_beheaded(struct file *f, int arg, uint64_t *random)
{
    (void)random;
    size_t n = f->n_bytes * (size_t)arg / 100;
    n -= n % TS_BYTES;
    memmove(f->bytes, f->bytes + n, f->n_bytes - n);
    f->n_bytes -= n;
}

void file_flipped(struct file *f, int arg, uint64_t *random)
{
    for (int i = 0; i < arg; i++)
        f->bytes[mutate_random(random) % f->n_bytes] ^= (uint8_t)(1 + below(random, 255));
}

void file_zeroed(struct file *f, int arg, uint64_t *random)
{
    (void)random;
    size_t n = f->n_bytes * (size_t)arg / 100;
    memset(f->bytes + (f->n_bytes - n) / 2, 0, n);
}

/* The header keeps its length: what was a time is stuffing now. */
void ts_times_erased(struct file *f, int arg, uint64_t *random)
{
    (void)random;
    unsigned n = 0;
    for (size_t at = 0; at + TS_BYTES <= f->n_bytes; at += TS_BYTES) {
        uint8_t *p = f->bytes + at;
        size_t head = 4u + ((p[3] & 0x20) != 0 ? 1u + p[4] : 0u);
        if (!(p[1] & 0x40) || head + 19 > TS_BYTES || memcmp(p + head, "\0\0\1", 3) != 0)
            continue;
        if (p[head + 3] < 0xc0 || n++ % (unsigned)arg == 0)
            continue;
        p[head + 7] &= 0x3f;
        memset(p + head + 9, 0xff, p[head + 8]);
    }
}

void file_twice(struct file *f, int arg, uint64_t *random)
{
    (void)arg, (void)random;
    f->bytes = or_abort(realloc(f->bytes, 2 * f->n_bytes));
    memcpy(f->bytes + f->n_bytes, f->bytes, f->n_bytes);
    f->n_bytes *= 2;
}
