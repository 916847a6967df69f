/* cut.h. Each container by its own rule; in doubt a file is whole. */

#include "extract/media/cut.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libavformat/avformat.h>

#define PARTS_MAX     200000 /* boxes, tags, clusters looked at */
#define TAIL_BYTES    4096
#define SYNC_MIN      5           /* packets in step */
#define PAGE_BYTES    65536       /* an Ogg page has at most 65,307 */
#define PS_TAIL_BYTES (3 * 65536) /* a PES packet has at most 65,541 */
#define SLACK_BYTES   8           /* writers of RIFF and AIFF differ about padding */
#define SOURCE_BYTES  8192

struct file {
    int fd;
    int64_t size;
    /* The bytes at `at`, for what is read byte by byte. */
    uint8_t buffer[SOURCE_BYTES];
    int64_t at, n;
};

/* What there is of n bytes at an offset; 0 at the end, or when they cannot be read. */
static size_t peek(const struct file *f, int64_t offset, uint8_t *ret, size_t n)
{
    size_t got = 0;
    while (got < n) {
        ssize_t r = pread(f->fd, ret + got, n - got, offset + (int64_t)got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            break;
        got += (size_t)r;
    }
    return got;
}

static uint64_t big_endian(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

static uint64_t little_endian(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = n; i > 0; i--)
        v = v << 8 | p[i - 1];
    return v;
}

/* offset + n is beyond the end. */
static bool is_beyond(const struct file *f, int64_t offset, uint64_t n)
{
    return offset > f->size || n > (uint64_t)(f->size - offset);
}

/* type is one of known: words of four letters, with a space after each. */
static bool is_among(const char *known, const uint8_t type[4])
{
    for (size_t n = strlen(known), i = 0; i + 4 < n; i += 5)
        if (memcmp(known + i, type, 4) == 0)
            return true;
    return false;
}

/* The last box reaches beyond the end. Of fragments, one that is missing wholly is not missed. */
static bool mov_is_short(const struct file *f)
{
    static const char known[] = "ftyp moov mdat moof free skip wide sidx mfra meta uuid udta "
                                "styp emsg prft pdin ssix pnot PICT ";
    int64_t at = 0;
    uint8_t head[16];
    for (unsigned i = 0; i < PARTS_MAX; i++) {
        size_t n = peek(f, at, head, sizeof(head));
        if (n < 8 || !is_among(known, head + 4))
            return false;
        uint64_t bytes = big_endian(head, 4);
        if (bytes == 0)
            return false;
        if (bytes == 1)
            bytes = n == 16 ? big_endian(head + 8, 8) : UINT64_MAX;
        if (bytes < 8)
            return false;
        if (is_beyond(f, at, bytes))
            return true;
        at += (int64_t)bytes;
    }
    return false;
}

/* An EBML number of 1 to 8 bytes; its length, 0 = none. `marked`: with its marker, as ids are. */
static unsigned ebml_number(const uint8_t *p, size_t n, bool marked, uint64_t *ret)
{
    unsigned length = 1;
    while (length <= 8 && n > 0 && !(p[0] & 0x100 >> length))
        length++;
    if (length > 8 || n < length)
        return 0;
    uint64_t v = big_endian(p, length);
    if (!marked)
        v &= (UINT64_C(1) << 7 * length) - 1;
    *ret = v;
    return length;
}

#define ID_SEGMENT 0x18538067
#define ID_CLUSTER 0x1f43b675

static bool is_element(uint64_t id)
{
    static const uint32_t known[] = {
        ID_SEGMENT,
        ID_CLUSTER,
        0x1a45dfa3 /* EBML */,
        0x114d9b74 /* SeekHead */,
        0x1549a966 /* Info */,
        0x1654ae6b /* Tracks */,
        0x1c53bb6b /* Cues */,
        0x1941a469 /* Attachments */,
        0x1043a770 /* Chapters */,
        0x1254c367 /* Tags */,
        0xec /* Void */,
        0xbf /* CRC-32 */,
        0xe7 /* Timestamp */,
        0xab /* PrevSize */,
        0xa7 /* Position */,
        0xa3 /* SimpleBlock */,
        0xa0 /* BlockGroup */,
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i] == id)
            return true;
    return false;
}

/* A segment says its length, and that is all; where it does not (live recordings), it and clusters
 * like it are entered, and the rest is stepped over. */
static bool matroska_is_short(const struct file *f)
{
    int64_t at = 0;
    uint8_t head[12];
    for (unsigned i = 0; i < PARTS_MAX; i++) {
        uint64_t id, bytes;
        size_t n = peek(f, at, head, sizeof(head));
        unsigned n_id = ebml_number(head, n, true, &id);
        unsigned n_bytes = n_id ? ebml_number(head + n_id, n - n_id, false, &bytes) : 0;
        if (n_bytes == 0 || !is_element(id))
            return false;
        bool is_unknown = bytes == (UINT64_C(1) << 7 * n_bytes) - 1;
        at += n_id + n_bytes;
        if (is_unknown && (id == ID_SEGMENT || id == ID_CLUSTER))
            continue;
        if (is_unknown || is_beyond(f, at, bytes) || id == ID_SEGMENT)
            return !is_unknown && is_beyond(f, at, bytes);
        at += (int64_t)bytes;
    }
    return false;
}

static bool is_in_step(const uint8_t *tail, size_t last, size_t step)
{
    for (size_t k = 0; k < SYNC_MIN; k++)
        if (last < k * step || tail[last - k * step] != 0x47)
            return false;
    return true;
}

/* The packets at the end of the file, whose sync bytes stand `step` apart: how many bytes the
 * last of them has. 0 = there are none such. */
static size_t last_packet(const uint8_t *tail, size_t n, size_t step)
{
    if (n >= step && is_in_step(tail, n - step, step))
        return step;
    for (size_t last = n; last-- > 0 && n - last < step;)
        if (is_in_step(tail, last, step))
            return n - last;
    return 0;
}

/* 192 bytes: M2TS has four bytes before each; 204: sixteen of error correction behind. */
static bool mpegts_is_short(const struct file *f)
{
    uint8_t tail[TAIL_BYTES];
    int64_t from = f->size > TAIL_BYTES ? f->size - TAIL_BYTES : 0;
    size_t n = peek(f, from, tail, sizeof(tail));
    static const size_t steps[] = {188, 192, 204};
    for (unsigned i = 0; i < 3; i++) {
        size_t bytes = last_packet(tail, n, steps[i]);
        if (bytes > 0)
            return bytes < 188 || (steps[i] == 192 && bytes > 188 && bytes < 192);
    }
    return false;
}

/* RIFF (AVI, WAV, WebP), FORM (AIFF). Length 0 or all ones: written as it came. */
static bool riff_is_short(const struct file *f)
{
    int64_t at = 0;
    uint8_t head[8];
    for (unsigned i = 0; i < PARTS_MAX && peek(f, at, head, 8) == 8; i++) {
        bool is_form = memcmp(head, "FORM", 4) == 0;
        if (!is_form && memcmp(head, "RIFF", 4) != 0)
            return false;
        uint64_t bytes = is_form ? big_endian(head + 4, 4) : little_endian(head + 4, 4);
        if (bytes == 0 || bytes >= 0x7fffff00)
            return false;
        if (is_beyond(f, at, bytes + 8 - SLACK_BYTES))
            return true;
        at += (int64_t)(8 + bytes +
                        (bytes & 1)); /* AVI of more than 1 GB: another RIFF follows */
    }
    return false;
}

/* The last page, which says how long each of its pieces is. That no page is marked as the last
 * is usual for recordings of live streams. */
static bool last_page_is_short(const uint8_t *tail, size_t n)
{
    for (size_t i = n; i-- > 0;) {
        if (n - i < 4 || memcmp(tail + i, "OggS", 4) != 0)
            continue;
        size_t left = n - i;
        if (left < 27)
            return true;
        if (tail[i + 4] != 0 || tail[i + 5] > 7)
            continue; /* these letters inside of a packet */
        size_t n_pieces = tail[i + 26], bytes = 27 + n_pieces;
        for (size_t k = 0; k < n_pieces && 27 + k < left; k++)
            bytes += tail[i + 27 + k];
        return bytes > left;
    }
    return false;
}

static bool ogg_is_short(const struct file *f)
{
    uint8_t *tail = malloc(PAGE_BYTES);
    if (!tail)
        return false;
    int64_t from = f->size > PAGE_BYTES ? f->size - PAGE_BYTES : 0;
    bool is_short = last_page_is_short(tail, peek(f, from, tail, PAGE_BYTES));
    free(tail);
    return is_short;
}

/* The first tag of an FLV whose header is at `at`. */
static int64_t flv_tags(const uint8_t *header, int64_t at)
{
    return at + (int64_t)big_endian(header + 5, 4) + 4;
}

enum { FLV_TAG_HEAD = 11 };

/* Sound, picture or data; head (FLV_TAG_HEAD). */
static bool is_flv_tag(const uint8_t *head)
{
    uint8_t type = head[0] & 0x1f;
    return type == 8 || type == 9 || type == 18;
}

static uint64_t flv_tag_data(const uint8_t *head)
{
    return big_endian(head + 1, 3);
}

/* Where the next tag begins. */
static int64_t flv_tag_end(const uint8_t *head, int64_t at)
{
    return at + FLV_TAG_HEAD + (int64_t)flv_tag_data(head) + 4;
}

static bool is_flv(const uint8_t *head, size_t n)
{
    return n >= 9 && memcmp(head, "FLV\1", 4) == 0;
}

static bool flv_is_short(const struct file *f)
{
    uint8_t head[FLV_TAG_HEAD];
    if (peek(f, 0, head, 9) < 9)
        return true;
    int64_t at = flv_tags(head, 0);
    for (unsigned i = 0; i < PARTS_MAX; i++) {
        size_t n = peek(f, at, head, sizeof(head));
        if (is_flv(head, n)) {
            at = flv_tags(head, at);
            continue;
        }
        if (n == 0 || !is_flv_tag(head))
            return false;
        if (n < sizeof(head) || is_beyond(f, at + FLV_TAG_HEAD, flv_tag_data(head)))
            return true;
        at = flv_tag_end(head, at);
    }
    return false;
}

int64_t cut_next_flv(int fd, int64_t at)
{
    struct file f = {.fd = fd};
    uint8_t head[FLV_TAG_HEAD] = {0};
    size_t n_first = peek(&f, at, head, 9);
    if (!is_flv(head, n_first))
        return 0;
    at = flv_tags(head, at);
    for (unsigned i = 0; i < PARTS_MAX; i++) {
        size_t n = peek(&f, at, head, sizeof(head));
        if (is_flv(head, n))
            return flv_tags(head, at) == at + FLV_HEADER_BYTES ? at : 0;
        if (n < sizeof(head) || !is_flv_tag(head))
            return 0;
        at = flv_tag_end(head, at);
    }
    return 0;
}

/* How many bytes the part of a program stream at b (n) has, by what it says; 0 = it is none, or too
 * little of it is there. */
static size_t ps_part_bytes(const uint8_t *b, size_t n)
{
    if (n < 6 || big_endian(b, 3) != 1 || b[3] < 0xb9)
        return 0;
    if (b[3] == 0xb9)
        return 4;
    if (b[3] != 0xba)
        return 6 + (size_t)big_endian(b + 4, 2);
    if ((b[4] & 0xc0) == 0x40)
        return n < 14 ? 14 : 14 + (b[13] & 7u);
    return (b[4] & 0xf0) == 0x20 ? 12 : 0;
}

static bool ps_tail_is_short(const uint8_t *b, size_t n)
{
    for (size_t from = 0; from + 4 <= n; from++) {
        if (big_endian(b + from, 4) != 0x1ba)
            continue;
        size_t at = from, bytes = 0;
        while (at < n && (bytes = ps_part_bytes(b + at, n - at)) > 0)
            at += bytes;
        if (at >= n && bytes > 0)
            return at > n;
        if (at < n && n - at < 6 && at > from) /* in the middle of a header? */
            return memcmp(b + at, "\0\0\1", n - at < 3 ? n - at : 3) == 0;
    }
    return false;
}

/* Packets of a program stream (VOB, MPG) follow each other; a recording may end after any. */
static bool ps_is_short(const struct file *f)
{
    uint8_t *tail = malloc(PS_TAIL_BYTES);
    if (!tail)
        return false;
    int64_t from = f->size > PS_TAIL_BYTES ? f->size - PS_TAIL_BYTES : 0;
    bool is_short = ps_tail_is_short(tail, peek(f, from, tail, PS_TAIL_BYTES));
    free(tail);
    return is_short;
}

/* Objects of ASF: 16 bytes of id, 8 of length. */
static bool asf_is_short(const struct file *f)
{
    static const uint8_t first[4] = {0x30, 0x26, 0xb2, 0x75};
    int64_t at = 0;
    uint8_t head[24];
    for (unsigned i = 0; i < 16 && peek(f, at, head, sizeof(head)) == sizeof(head); i++) {
        uint64_t bytes = little_endian(head + 16, 8);
        if ((i == 0 && memcmp(head, first, 4) != 0) || bytes < 24 || bytes > INT64_MAX)
            return false;
        if (is_beyond(f, at, bytes))
            return true;
        at += (int64_t)bytes;
    }
    return false;
}

static bool au_is_short(const struct file *f)
{
    uint8_t head[12];
    if (peek(f, 0, head, 12) < 12)
        return true;
    uint64_t bytes = big_endian(head + 8, 4);
    return bytes != UINT32_MAX && is_beyond(f, (int64_t)big_endian(head + 4, 4), bytes);
}

/* Chunks of CAF: 4 bytes of type, 8 of length; −1: to the end. */
static bool caf_is_short(const struct file *f)
{
    static const char known[] = "desc data pakt kuki chan info free mark uuid strg umid ovvw "
                                "peak edct midi inst regn ";
    int64_t at = 8;
    uint8_t head[12];
    for (unsigned i = 0; i < 1000 && peek(f, at, head, sizeof(head)) == sizeof(head); i++) {
        uint64_t bytes = big_endian(head + 4, 8);
        if (bytes > INT64_MAX || !is_among(known, head))
            return false;
        if (is_beyond(f, at + 12, bytes))
            return true;
        at += 12 + (int64_t)bytes;
    }
    return false;
}

/* PNG and APNG end with IEND. */
static bool png_is_short(const struct file *f)
{
    int64_t at = 8;
    uint8_t head[8];
    for (unsigned i = 0; i < PARTS_MAX; i++) {
        if (peek(f, at, head, sizeof(head)) < sizeof(head))
            return true;
        uint64_t bytes = big_endian(head, 4);
        if (memcmp(head + 4, "IEND", 4) == 0)
            return false;
        if (is_beyond(f, at + 8, bytes + 4))
            return true;
        at += (int64_t)(8 + bytes + 4);
    }
    return false;
}

/* The next byte, −1 at the end. */
static int next_byte(struct file *f, int64_t *at)
{
    if (*at < f->at || *at >= f->at + f->n) {
        f->at = *at;
        f->n = (int64_t)peek(f, *at, f->buffer, sizeof(f->buffer));
        if (f->n == 0)
            return -1;
    }
    return f->buffer[(*at)++ - f->at];
}

/* A JPEG ends with FFD9; inside of what is coded, FF is followed by 00 or by a restart. */
static bool jpeg_is_short(struct file *f)
{
    int64_t at = 2;
    bool is_coded = false;
    for (;;) {
        int c = next_byte(f, &at);
        if (c < 0)
            return true;
        if (c != 0xff)
            continue;
        do
            c = next_byte(f, &at);
        while (c == 0xff);
        if (c < 0)
            return true;
        if (c == 0xd9)
            return false;
        if (c == 0 || c == 1 || (c >= 0xd0 && c <= 0xd8) || (is_coded && c < 0xc0))
            continue;
        int high = next_byte(f, &at), low = next_byte(f, &at);
        if (high < 0 || low < 0)
            return true;
        at += (high << 8 | low) - 2;
        is_coded = c == 0xda;
    }
}

/* Skips pieces of up to 255 bytes, the last of which is empty. */
static bool skip_gif_pieces(struct file *f, int64_t *at)
{
    int n;
    while ((n = next_byte(f, at)) > 0)
        *at += n;
    return n == 0;
}

/* A GIF ends with 3B. */
static bool gif_is_short(struct file *f)
{
    uint8_t head[13];
    if (peek(f, 0, head, 13) < 13)
        return true;
    int64_t at = 13;
    if (head[10] & 0x80)
        at += 3 * (2 << (head[10] & 7));
    for (unsigned i = 0; i < PARTS_MAX; i++) {
        int c = next_byte(f, &at);
        if (c == 0x2c) {
            at += 8;
            int flags = next_byte(f, &at);
            if (flags < 0)
                return true;
            at += 1 + (flags & 0x80 ? 3 * (2 << (flags & 7)) : 0);
        } else if (c == 0x21) {
            at++;
        } else {
            return c < 0;
        }
        if (!skip_gif_pieces(f, &at))
            return true;
    }
    return false;
}

bool cut_is_short(int fd, int64_t size_bytes, const char *container)
{
    static const struct {
        const char *container;
        bool (*reads)(const struct file *f);
        bool (*scans)(struct file *f);
    } rules[] = {
        {"mov", mov_is_short, NULL},        {"matroska", matroska_is_short, NULL},
        {"mpegts", mpegts_is_short, NULL},  {"avi", riff_is_short, NULL},
        {"wav", riff_is_short, NULL},       {"webp_pipe", riff_is_short, NULL},
        {"aiff", riff_is_short, NULL},      {"ogg", ogg_is_short, NULL},
        {"flv", flv_is_short, NULL},        {"asf", asf_is_short, NULL},
        {"au", au_is_short, NULL},          {"caf", caf_is_short, NULL},
        {"png_pipe", png_is_short, NULL},   {"apng", png_is_short, NULL},
        {"jpeg_pipe", NULL, jpeg_is_short}, {"gif", NULL, gif_is_short},
        {"mpeg", ps_is_short, NULL},
    };
    struct file file = {.fd = fd, .size = size_bytes};
    for (unsigned i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        if (strcmp(rules[i].container, container) == 0)
            return rules[i].reads ? rules[i].reads(&file) : rules[i].scans(&file);
    return false;
}

bool cut_is_in_index(AVStream *st, int64_t size_bytes)
{
    int n = avformat_index_get_entries_count(st);
    for (int i = 0; i < n; i++) {
        const AVIndexEntry *e = avformat_index_get_entry(st, i);
        if (e && e->pos > size_bytes - e->size)
            return true;
    }
    return false;
}
