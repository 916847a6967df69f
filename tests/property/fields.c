/* clip.h: H.264 of field pictures (PAFF), as camcorders write it and x264 does not, bit by bit: a
 * macroblock is skipped when it looks as before and is raw samples (I_PCM) otherwise, so that
 * neither prediction nor residuals are needed, and yet all pictures but keys refer to others.
 * ITU-T H.264, 7.3 and 7.4 give the order of the bits. */

#include "clip.h"
#include "film.h"

#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>

#define CLOCK_HZ    90000
#define GOP         20
#define MB          16
#define COLUMNS     (FILM_WIDTH / MB)
#define ROWS        5 /* of a field; the last one is half outside of the picture */
#define FIELD_LINES (ROWS * MB)
#define SEEN_LINES  (FILM_HEIGHT / 2)
#define CHANGED     4 /* mean difference of a luma sample that is worth a macroblock */

struct bits {
    uint8_t *bytes; /* (n / 8) allocated */
    size_t n, allocated;
};

struct field {
    uint8_t y[FIELD_LINES][FILM_WIDTH], cb[FIELD_LINES / 2][FILM_WIDTH / 2],
        cr[FIELD_LINES / 2][FILM_WIDTH / 2];
};

static void *or_abort(void *p)
{
    if (p == NULL)
        abort();
    return p;
}

static void put(struct bits *b, unsigned n, uint32_t value)
{
    if (b->n / 8 + 8 > b->allocated) {
        b->allocated = b->allocated * 2 + 4096;
        b->bytes = or_abort(realloc(b->bytes, b->allocated));
    }
    for (; n > 0; n--, b->n++) {
        if (b->n % 8 == 0)
            b->bytes[b->n / 8] = 0;
        b->bytes[b->n / 8] |= (uint8_t)((value >> (n - 1) & 1) << (7 - b->n % 8));
    }
}

static void put_ue(struct bits *b, uint32_t value)
{
    unsigned n = 32 - (unsigned)__builtin_clz(value + 1);
    put(b, n - 1, 0);
    put(b, n, value + 1);
}

static void align(struct bits *b)
{
    while (b->n % 8 != 0)
        put(b, 1, 0);
}

/* A unit with its start code; 0 0 0 … 3 is escaped. Empties b. */
static void add_unit(struct bits *out, struct bits *b, unsigned head)
{
    put(b, 1, 1);
    align(b);
    put(out, 32, 1);
    put(out, 8, head);
    for (size_t i = 0, zeroes = 0; i < b->n / 8; i++) {
        if (zeroes >= 2 && b->bytes[i] <= 3) {
            put(out, 8, 3);
            zeroes = 0;
        }
        zeroes = b->bytes[i] == 0 ? zeroes + 1 : 0;
        put(out, 8, b->bytes[i]);
    }
    b->n = 0;
}

static void put_parameter_sets(struct bits *out)
{
    struct bits b = {0};
    put(&b, 24, 77 << 16 | 30); /* Main, level 3 */
    put_ue(&b, 0);
    put_ue(&b, 4); /* frame_num of 8 bits */
    put_ue(&b, 0);
    put_ue(&b, 4); /* order count of 8 bits */
    put_ue(&b, 2); /* reference frames */
    put(&b, 1, 0);
    put_ue(&b, COLUMNS - 1);
    put_ue(&b, ROWS - 1);
    put(&b, 3, 1); /* not frames alone, no MBAFF, direct_8x8_inference */
    put(&b, 1, 1); /* cropped */
    put_ue(&b, 0);
    put_ue(&b, 0);
    put_ue(&b, 0);
    put_ue(&b, (2 * FIELD_LINES - FILM_HEIGHT) / 4);
    put(&b, 1, 0);
    add_unit(out, &b, 0x67);
    put_ue(&b, 0);
    put_ue(&b, 0);
    put(&b, 2, 0); /* CAVLC */
    put_ue(&b, 0);
    put_ue(&b, 0);
    put_ue(&b, 0);
    put(&b, 3, 0);
    put_ue(&b, 0);
    put_ue(&b, 0);
    put_ue(&b, 0);
    put(&b, 3, 4); /* the deblocking filter is controlled by the slice */
    add_unit(out, &b, 0x68);
    free(b.bytes);
}

static void put_slice_head(struct bits *b, bool idr, bool inter, unsigned n, unsigned bottom)
{
    put_ue(b, 0);
    put_ue(b, inter ? 5 : 7);
    put_ue(b, 0);
    put(b, 8, n & 255);
    put(b, 2, 2 | bottom);
    if (idr)
        put_ue(b, 0);
    put(b, 8, (2 * n + bottom) & 255);
    if (inter)
        put(b, 2, 0);
    put(b, idr ? 2 : 1, 0);
    put_ue(b, 0); /* quantiser */
    put_ue(b, 1); /* no deblocking */
}

static bool differs(const struct field *a, const struct field *b, int row, int column)
{
    int sum = 0;
    for (int y = row * MB; y < (row + 1) * MB; y++)
        for (int x = column * MB; x < (column + 1) * MB; x++)
            sum += abs(a->y[y][x] - b->y[y][x]);
    return sum > CHANGED * MB * MB;
}

/* Writes a macroblock of samples, and remembers it as the next field's reference. */
static void put_samples(struct bits *b, const struct field *now, struct field *known, int row,
                        int column)
{
    align(b);
    for (int y = row * MB; y < (row + 1) * MB; y++)
        for (int x = column * MB; x < (column + 1) * MB; x++)
            put(b, 8, known->y[y][x] = now->y[y][x]);
    for (int y = row * MB / 2; y < (row + 1) * MB / 2; y++)
        for (int x = column * MB / 2; x < (column + 1) * MB / 2; x++)
            put(b, 8, known->cb[y][x] = now->cb[y][x]);
    for (int y = row * MB / 2; y < (row + 1) * MB / 2; y++)
        for (int x = column * MB / 2; x < (column + 1) * MB / 2; x++)
            put(b, 8, known->cr[y][x] = now->cr[y][x]);
}

/* n: of the frame, since the last key. */
static void put_field(struct bits *out, const struct field *now, struct field *known,
                      unsigned n, unsigned bottom)
{
    struct bits b = {0};
    bool inter = n > 0, idr = n == 0 && bottom == 0;
    uint32_t skipped = 0;
    put_slice_head(&b, idr, inter, n, bottom);
    for (int row = 0; row < ROWS; row++)
        for (int column = 0; column < COLUMNS; column++) {
            if (inter && !differs(now, known, row, column)) {
                skipped++;
                continue;
            }
            if (inter)
                put_ue(&b, skipped);
            skipped = 0;
            put_ue(&b, inter ? 30 : 25);
            put_samples(&b, now, known, row, column);
        }
    if (skipped > 0)
        put_ue(&b, skipped);
    add_unit(out, &b, idr ? 0x65 : 0x61);
    free(b.bytes);
}

static void take_lines(const AVFrame *f, unsigned parity, struct field *ret)
{
    for (int y = 0; y < FIELD_LINES; y++) {
        int line = 2 * (y < SEEN_LINES ? y : SEEN_LINES - 1) + (int)parity;
        memcpy(ret->y[y], f->data[0] + line * f->linesize[0], FILM_WIDTH);
        if (y % 2 == 1)
            continue;
        line = 2 * (y / 2 < SEEN_LINES / 2 ? y / 2 : SEEN_LINES / 2 - 1) + (int)parity;
        memcpy(ret->cb[y / 2], f->data[1] + line * f->linesize[1], FILM_WIDTH / 2);
        memcpy(ret->cr[y / 2], f->data[2] + line * f->linesize[2], FILM_WIDTH / 2);
    }
}

static void add_packet(struct track *t, struct bits *b, int64_t at, int64_t duration, bool key)
{
    AVPacket *p = or_abort(av_packet_alloc());
    if (av_new_packet(p, (int)(b->n / 8)) < 0)
        abort();
    memcpy(p->data, b->bytes, b->n / 8);
    p->pts = p->dts = at;
    p->duration = duration;
    p->flags = key ? AV_PKT_FLAG_KEY : 0;
    t->packets[t->n_packets++] = p;
    b->n = 0;
}

static struct track *new_track(unsigned n_frames)
{
    struct track *t = or_abort(calloc(1, sizeof(*t)));
    struct bits sets = {0};
    t->rate = CLOCK_HZ;
    t->fps = FILM_FPS;
    t->packets = or_abort(calloc(2 * n_frames + 1, sizeof(*t->packets)));
    t->par = or_abort(avcodec_parameters_alloc());
    t->par->codec_type = AVMEDIA_TYPE_VIDEO;
    t->par->codec_id = AV_CODEC_ID_H264;
    t->par->format = 0;
    t->par->width = FILM_WIDTH;
    t->par->height = FILM_HEIGHT;
    put_parameter_sets(&sets);
    t->par->extradata = or_abort(av_mallocz(sets.n / 8 + AV_INPUT_BUFFER_PADDING_SIZE));
    t->par->extradata_size = (int)(sets.n / 8);
    memcpy(t->par->extradata, sets.bytes, sets.n / 8);
    free(sets.bytes);
    return t;
}

struct track *track_of_fields(const struct coding *c, bool apart)
{
    unsigned n = (unsigned)((c->seconds > 0 ? c->seconds : FILM_SECONDS) * FILM_FPS);
    unsigned gop = c->gop > 0 ? (unsigned)c->gop : c->gop < 0 ? n : GOP;
    struct track *t = new_track(n);
    struct field *now = or_abort(calloc(2, sizeof(*now)));
    struct field *known = or_abort(calloc(2, sizeof(*known)));
    struct bits out = {0};
    AVFrame *f = or_abort(av_frame_alloc());
    int64_t frame = CLOCK_HZ / FILM_FPS;
    f->format = 0;
    f->width = FILM_WIDTH;
    f->height = FILM_HEIGHT;
    if (av_frame_get_buffer(f, 0) < 0)
        abort();
    for (unsigned i = 0; i < n; i++) {
        bool key = i % gop == 0;
        film_draw(c->film, (double)i / n, f);
        if (key && c->in_band)
            put_parameter_sets(&out);
        for (unsigned bottom = 0; bottom < 2; bottom++) {
            take_lines(f, bottom, &now[bottom]);
            put_field(&out, &now[bottom], &known[bottom], i % gop, bottom);
            if (apart)
                add_packet(t, &out, i * frame + bottom * frame / 2, frame / 2, key && !bottom);
        }
        if (!apart)
            add_packet(t, &out, i * frame, frame, key);
    }
    av_frame_free(&f);
    free(out.bytes);
    free(now);
    free(known);
    return t;
}
