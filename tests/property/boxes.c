/* variants.h: what FFmpeg's muxers do not write: two sample descriptions in one track of an MP4, and
 * whole files end to end. */

#include "variants.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 6

static const char *const to_table[] = {"moov", "trak", "mdia", "minf", "stbl", NULL};

struct place {
    size_t box[DEPTH_MAX + 1]; /* (n) offsets of the boxes on the way */
    unsigned n;
};

static uint32_t read32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void write32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static bool find_in(const struct file *f, size_t from, size_t to, const char *type, size_t *ret)
{
    for (size_t at = from; at + 8 <= to; at += read32(f->bytes + at)) {
        if (memcmp(f->bytes + at + 4, type, 4) == 0) {
            *ret = at;
            return true;
        }
        if (read32(f->bytes + at) < 8)
            return false;
    }
    return false;
}

/* The box of the first track's sample table. */
static bool find(const struct file *f, const char *type, struct place *ret)
{
    size_t from = 0, to = f->n_bytes;
    ret->n = 0;
    for (unsigned i = 0; i <= DEPTH_MAX; i++) {
        const char *step = to_table[i] != NULL ? to_table[i] : type;
        if (!find_in(f, from, to, step, &ret->box[ret->n]))
            return false;
        from = ret->box[ret->n++];
        to = from + read32(f->bytes + from);
        from += 8;
        if (to_table[i] == NULL)
            return true;
    }
    return false;
}

/* Puts bytes at the end of the box, and lets it and what is round it grow. */
static void append(struct file *f, const struct place *p, const uint8_t *bytes, size_t n)
{
    size_t at = p->box[p->n - 1] + read32(f->bytes + p->box[p->n - 1]);
    f->bytes = realloc(f->bytes, f->n_bytes + n);
    if (f->bytes == NULL)
        abort();
    memmove(f->bytes + at + n, f->bytes + at, f->n_bytes - at);
    memcpy(f->bytes + at, bytes, n);
    f->n_bytes += n;
    for (unsigned i = 0; i < p->n; i++)
        write32(f->bytes + p->box[i], read32(f->bytes + p->box[i]) + (uint32_t)n);
}

/* The chunk whose first sample is `sample` (from 0), counted from 1; 0 = there is none. */
static uint32_t chunk_of(const uint8_t *table, uint32_t n_entries, uint32_t sample)
{
    uint32_t first = 0;
    for (uint32_t i = 0; i < n_entries; i++) {
        const uint8_t *e = table + 12 * i;
        uint32_t per_chunk = read32(e + 4), at = read32(e);
        uint32_t end = i + 1 < n_entries ? read32(e + 12) : UINT32_MAX;
        for (; at < end && first <= sample; at++, first += per_chunk)
            if (first == sample)
                return at;
    }
    return 0;
}

/* Samples from `sample` on are of the second description. */
static bool use_second(struct file *f, uint32_t sample)
{
    struct place p;
    if (!find(f, "stsc", &p))
        return false;
    size_t box = p.box[p.n - 1];
    uint32_t n = read32(f->bytes + box + 12);
    uint32_t chunk = chunk_of(f->bytes + box + 16, n, sample);
    if (chunk == 0)
        return false;
    uint8_t last[12] = {0}, entry[12];
    append(f, &p, last, sizeof(last)); /* room for one more */
    uint8_t *table = f->bytes + box + 16;
    uint32_t i = 0;
    while (i < n && read32(table + 12 * i) <= chunk)
        i++;
    memcpy(entry, table + 12 * (i - 1), 12);
    if (read32(entry) == chunk) {
        i--;
        memmove(table + 12 * n, table + 12 * (n - 1),
                12); /* an entry too many: the last, twice */
    } else {
        memmove(table + 12 * (i + 1), table + 12 * i, 12 * (n - i));
        write32(entry, chunk);
        memcpy(table + 12 * i, entry, 12);
        write32(f->bytes + box + 12, ++n);
    }
    for (; i < n; i++)
        write32(table + 12 * i + 8, 2);
    return true;
}

static struct clip clip_of(const struct variant *v, const struct coding *coding,
                           const struct sound *sound)
{
    struct clip c = {.container = v->container, .options = v->options};
    struct track *t;
    if (coding != NULL && coding->encoder != NULL && (t = variant_track(coding)) != NULL)
        c.tracks[c.n_tracks++] = t;
    if (sound != NULL && sound->encoder != NULL && (t = variant_sound_track(sound)) != NULL)
        c.tracks[c.n_tracks++] = t;
    return c;
}

static bool write_clip(struct clip *c, struct file *ret_file)
{
    bool made = c->n_tracks > 0 && clip_write(c, ret_file);
    clip_free(c);
    return made;
}

bool boxes_two_descriptions(const struct variant *v, struct file *ret_file)
{
    struct file second = {0};
    struct place from, to;
    struct clip b = clip_of(v, &v->second, NULL), c = clip_of(v, &v->coding, &v->sound);
    if (c.n_tracks < 2 || b.n_tracks < 1) {
        clip_free(&b);
        clip_free(&c);
        return false;
    }
    uint32_t n_first = c.tracks[0]->n_packets;
    struct track *tail = track_copy(b.tracks[0]);
    track_join(c.tracks[0], tail, false);
    bool made = write_clip(&b, &second) && write_clip(&c, ret_file);
    if (made && find(&second, "stsd", &from) && find(ret_file, "stsd", &to)) {
        size_t box = from.box[from.n - 1], n = read32(second.bytes + box);
        append(ret_file, &to, second.bytes + box + 16, n - 16);
        write32(ret_file->bytes + to.box[to.n - 1] + 12, 2);
        made = use_second(ret_file, n_first);
    }
    if (!made)
        clip_set_why("a chunk holds samples of both", 0);
    free(second.bytes);
    return made;
}

bool boxes_end_to_end(const struct variant *v, struct file *ret_file)
{
    struct file second = {0};
    struct clip a = clip_of(v, &v->coding, &v->sound),
                b = clip_of(v, &v->second, &v->second_sound);
    bool made = write_clip(&a, ret_file);
    made = write_clip(&b, &second) && made;
    if (made) {
        ret_file->bytes = realloc(ret_file->bytes, ret_file->n_bytes + second.n_bytes);
        if (ret_file->bytes == NULL)
            abort();
        memcpy(ret_file->bytes + ret_file->n_bytes, second.bytes, second.n_bytes);
        ret_file->n_bytes += second.n_bytes;
    }
    free(second.bytes);
    return made;
}
