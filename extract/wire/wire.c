#include "extract/wire/wire.h"

#include <string.h>

#define TEXT_ABSENT UINT32_MAX

void wire_put(struct wire_writer *w, const void *data, size_t n_bytes)
{
    if (n_bytes > 0)
        memcpy(w->at, data, n_bytes);
    w->at += n_bytes;
}

void wire_put_u8(struct wire_writer *w, unsigned v)
{
    *w->at++ = (unsigned char)v;
}

void wire_put_u16(struct wire_writer *w, uint16_t v)
{
    wire_put(w, &v, sizeof(v));
}

void wire_put_u32(struct wire_writer *w, uint32_t v)
{
    wire_put(w, &v, sizeof(v));
}

void wire_put_i64(struct wire_writer *w, int64_t v)
{
    wire_put(w, &v, sizeof(v));
}

/* A char array of fixed size, zeroes after the text. */
void wire_put_chars(struct wire_writer *w, const char *s, size_t size)
{
    size_t n = strnlen(s, size - 1);
    wire_put(w, s, n);
    memset(w->at, 0, size - n);
    w->at += size - n;
}

/* Length of s cut to max bytes, never inside a UTF-8 character. */
static size_t clipped_bytes(const char *s, size_t max)
{
    size_t n = strnlen(s, max + 1);
    if (n <= max)
        return n;
    n = max;
    while (n > 0 && ((unsigned char)s[n] & 0xC0u) == 0x80u)
        n--;
    return n;
}

void wire_put_text(struct wire_writer *w, const char *s, size_t max)
{
    if (s == NULL) {
        wire_put_u32(w, TEXT_ABSENT);
        return;
    }
    size_t n = clipped_bytes(s, max);
    wire_put_u32(w, (uint32_t)n);
    wire_put(w, s, n);
    wire_put_u8(w, 0);
}

size_t wire_written(const struct wire_writer *w, const void *buf)
{
    return (size_t)(w->at - (const unsigned char *)buf);
}

struct wire_reader wire_reader(const void *data, size_t n_bytes)
{
    const unsigned char *p = data;
    return (struct wire_reader){.at = p, .end = p + n_bytes};
}

static void refuse(struct wire_reader *r, const char *fault)
{
    if (r->fault == NULL)
        r->fault = fault;
    r->at = r->end;
}

void wire_require(struct wire_reader *r, bool holds, const char *fault)
{
    if (!holds)
        refuse(r, fault);
}

/* Zeroes when the message is too short. */
void wire_get(struct wire_reader *r, void *out, size_t n_bytes)
{
    if ((size_t)(r->end - r->at) < n_bytes) {
        memset(out, 0, n_bytes);
        refuse(r, "it ends early");
        return;
    }
    if (n_bytes > 0)
        memcpy(out, r->at, n_bytes);
    r->at += n_bytes;
}

unsigned wire_get_u8(struct wire_reader *r)
{
    unsigned char v;
    wire_get(r, &v, sizeof(v));
    return v;
}

uint16_t wire_get_u16(struct wire_reader *r)
{
    uint16_t v;
    wire_get(r, &v, sizeof(v));
    return v;
}

uint32_t wire_get_u32(struct wire_reader *r)
{
    uint32_t v;
    wire_get(r, &v, sizeof(v));
    return v;
}

int64_t wire_get_i64(struct wire_reader *r)
{
    int64_t v;
    wire_get(r, &v, sizeof(v));
    return v;
}

/* A char array of fixed size: text, then nothing but zeroes. */
void wire_get_chars(struct wire_reader *r, char *out, size_t size)
{
    wire_get(r, out, size);
    size_t n = strnlen(out, size);
    wire_require(r, n < size, "a string has no end");
    for (size_t i = n; i < size; i++)
        wire_require(r, out[i] == 0, "bytes follow a string's end");
    if (r->fault != NULL)
        out[0] = 0;
}

/* A pointer into the message, NULL = absent. */
const char *wire_get_text(struct wire_reader *r, size_t max)
{
    uint32_t n = wire_get_u32(r);
    if (n == TEXT_ABSENT || r->fault != NULL)
        return NULL;
    if (n > max || (size_t)(r->end - r->at) < (size_t)n + 1) {
        refuse(r, "a text is too long");
        return NULL;
    }
    const char *s = (const char *)r->at;
    wire_require(r, memchr(s, 0, n) == NULL && s[n] == 0, "a text's length is wrong");
    if (r->fault != NULL)
        return NULL;
    r->at += (size_t)n + 1;
    return s;
}
