/* variants.h: from a variant to its file. Tracks are made once: encoding is most of the test's time. */

#include "variants.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavformat/avformat.h>

#define CACHED 240

static struct {
    char key[400];
    struct track *track; /* NULL: it cannot be made */
    char why[200];
    uint64_t used;
} cache[CACHED];
static uint64_t now;

const char *variants_sound_for(const char *container)
{
    static const struct {
        const char *container, *encoder;
    } rows[] = {{"webm", "libopus"}, {"avi", "libmp3lame"}, {"ogg", "libvorbis"},
                {"asf", "wmav2"},    {"mpeg", "mp2"},       {"vob", "mp2"},
                {"gif", NULL},       {"apng", NULL},        {"webp", NULL},
                {"mjpeg", NULL},     {"image2", NULL},      {"ivf", NULL}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (!strcmp(rows[i].container, container))
            return rows[i].encoder;
    return "aac";
}

bool variants_in_band(const char *container)
{
    const AVOutputFormat *f = av_guess_format(container, NULL, NULL);
    return f != NULL && !(f->flags & AVFMT_GLOBALHEADER);
}

void variants_add(struct variants *list, const struct variant *v, const char *label,
                  const char *what, ...)
{
    char text[64];
    va_list args;
    va_start(args, what);
    vsnprintf(text, sizeof(text), what, args);
    va_end(args);
    if (list->n % 256 == 0)
        list->list = realloc(list->list, (list->n + 256) * sizeof(*list->list));
    if (list->list == NULL)
        abort();
    struct variant *added = &list->list[list->n++];
    *added = *v;
    snprintf(added->name, sizeof(added->name), "%s/%s/%s/%s", v->family, label, v->container,
             text);
    for (char *p = added->name; *p != 0; p++)
        *p = *p == ' ' ? '-' : *p == '%' ? 'p' : *p;
}

void variants_free(struct variants *v)
{
    free(v->list);
    v->list = NULL;
    v->n = 0;
}

/* ---- tracks, made once ---- */

static int find(const char *key)
{
    for (int i = 0; i < CACHED; i++)
        if (cache[i].used > 0 && !strcmp(cache[i].key, key)) {
            cache[i].used = ++now;
            return i;
        }
    return -1;
}

static int put(const char *key, struct track *track)
{
    int oldest = 0;
    for (int i = 1; i < CACHED; i++)
        if (cache[i].used < cache[oldest].used)
            oldest = i;
    track_free(cache[oldest].track);
    cache[oldest].track = track;
    cache[oldest].used = ++now;
    snprintf(cache[oldest].key, sizeof(cache[oldest].key), "%s", key);
    snprintf(cache[oldest].why, sizeof(cache[oldest].why), "%s",
             track == NULL ? clip_why() : "");
    return oldest;
}

static struct track *copy_of(int i)
{
    if (cache[i].track != NULL)
        return track_copy(cache[i].track);
    clip_set_why(cache[i].why, 0);
    return NULL;
}

static const char *text(const char *s)
{
    return s != NULL ? s : "";
}

static struct track *make_track(const struct coding *c)
{
    if (!strncmp(c->encoder, "paff", 4))
        return track_of_fields(c, !strcmp(c->encoder, "paff-apart"));
    return track_of_pictures(c);
}

struct track *variant_track(const struct coding *c)
{
    char key[400];
    snprintf(key, sizeof(key), "%s|%s|%s|%u %d %d %d %d %d %d %d %d %d%d%d%d%d", c->encoder,
             text(c->options), text(c->pixels), c->film, c->gop, c->b_frames, c->width,
             c->height, c->seconds, c->from_pct, c->to_pct, c->quality, c->in_band, c->fields,
             c->field_pictures, c->irregular, c->one_palette);
    int i = find(key);
    return copy_of(i >= 0 ? i : put(key, make_track(c)));
}

struct track *variant_sound_track(const struct sound *s)
{
    char key[400];
    snprintf(key, sizeof(key), "%s|%s|%u %d %d %d %d %d %d %d", s->encoder, text(s->options),
             s->film, s->shape, s->rate_hz, s->channels, s->seconds, s->from_pct, s->to_pct,
             s->in_band);
    int i = find(key);
    return copy_of(i >= 0 ? i : put(key, track_of_sound(s)));
}

void variant_cache_free(void)
{
    for (int i = 0; i < CACHED; i++) {
        track_free(cache[i].track);
        cache[i].track = NULL;
        cache[i].used = 0;
    }
}

/* ---- files ---- */

static uint64_t random_of(const struct variant *v, uint64_t seed)
{
    uint64_t h = 1469598103934665603u ^ seed * 0x9e3779b97f4a7c15u;
    for (const char *p = v->name; *p != 0; p++)
        h = (h ^ (uint8_t)*p) * 1099511628211u;
    return h;
}

/* Headers are in the packets, and the container wants to see them all the same. */
static void lend_headers(const struct variant *v, struct track *t)
{
    struct coding apart = v->coding;
    if (!v->coding.in_band || variants_in_band(v->container) || t->par->extradata_size > 0)
        return;
    apart.in_band = false;
    struct track *other = variant_track(&apart);
    if (other == NULL)
        return;
    t->par->extradata = other->par->extradata;
    t->par->extradata_size = other->par->extradata_size;
    other->par->extradata = NULL;
    other->par->extradata_size = 0;
    track_free(other);
}

static bool add_pictures(const struct variant *v, struct clip *c)
{
    struct track *t = variant_track(&v->coding);
    if (t == NULL)
        return false;
    c->tracks[c->n_tracks++] = t;
    lend_headers(v, t);
    if (v->second.encoder == NULL)
        return true;
    struct track *second = variant_track(&v->second);
    if (second != NULL)
        track_join(t, second, !v->coding.in_band);
    return second != NULL;
}

static bool add_sound(const struct variant *v, struct clip *c)
{
    struct track *t = variant_sound_track(&v->sound);
    if (t == NULL)
        return false;
    c->tracks[c->n_tracks++] = t;
    if (v->second_sound.encoder == NULL)
        return true;
    struct track *second = variant_sound_track(&v->second_sound);
    if (second != NULL)
        track_join(t, second, true);
    return second != NULL;
}

bool variant_file(const struct variant *v, uint64_t seed, struct file *ret_file)
{
    struct clip c = {.container = v->container, .options = v->options};
    uint64_t random = random_of(v, seed);
    *ret_file = (struct file){0};
    bool made = true;
    if (v->make != NULL) {
        made = v->make(v, ret_file);
    } else {
        made = v->coding.encoder == NULL || add_pictures(v, &c);
        made = made && (v->sound.encoder == NULL || add_sound(v, &c));
        if (made && v->change != NULL)
            v->change(&c, v->arg, &random);
        made = made && clip_write(&c, ret_file);
        clip_free(&c);
    }
    if (made && v->change_file != NULL)
        v->change_file(ret_file, v->arg, &random);
    return made;
}
