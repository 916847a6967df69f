/* The bytes of a dead letter: Kafka's headers as one BLOB, and the checksum over all of it.
 *
 * Layout of the headers, everything little-endian:
 *     u32 n, then n times: u32 name_bytes, name, i32 value_bytes (-1 = NULL), value
 * The limits are Kafka's: a message is far below 2 GiB. */

#include "store/internal.h"

#include "config/digest.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static void put_u32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> (8 * i));
}

static uint32_t get_u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int scratch_reserve(struct store *st, size_t bytes, struct err *err)
{
    if (bytes <= st->scratch_bytes)
        return ERR_OK;
    unsigned char *p = realloc(st->scratch, bytes);
    if (!p)
        return err_oom(err, "store: encode the headers of a dead letter");
    st->scratch = p;
    st->scratch_bytes = bytes;
    return ERR_OK;
}

/* Into st->scratch. */
int store_headers_encode(struct store *st, const struct store_header *headers, size_t n,
                         size_t *ret_bytes, struct err *err)
{
    size_t bytes = 4;

    for (size_t i = 0; i < n; i++)
        bytes += 8 + strlen(headers[i].name) + headers[i].value_bytes;
    if (bytes > INT32_MAX)
        return err_fatal(err, EX_SOFTWARE,
                         "store: dead letter: %zu bytes of headers are more than a Kafka "
                         "message can have; nothing written",
                         bytes);
    int status = scratch_reserve(st, bytes, err);
    if (status != ERR_OK)
        return status;
    unsigned char *p = st->scratch;
    put_u32(p, (uint32_t)n);
    p += 4;
    for (size_t i = 0; i < n; i++) {
        const struct store_header *h = &headers[i];
        size_t name_bytes = strlen(h->name);

        put_u32(p, (uint32_t)name_bytes);
        memcpy(p + 4, h->name, name_bytes);
        p += 4 + name_bytes;
        put_u32(p, h->value ? (uint32_t)h->value_bytes : UINT32_MAX);
        p += 4;
        if (h->value && h->value_bytes) {
            memcpy(p, h->value, h->value_bytes);
            p += h->value_bytes;
        }
    }
    *ret_bytes = (size_t)(p - st->scratch);
    return ERR_OK;
}

struct header_cursor {
    const unsigned char *p;
    size_t left;
};

/* One field; *ret NULL for the length -1. */
static bool take_field(struct header_cursor *c, const unsigned char **ret, size_t *ret_bytes)
{
    if (c->left < 4)
        return false;
    uint32_t bytes = get_u32(c->p);
    c->p += 4;
    c->left -= 4;
    *ret = NULL;
    *ret_bytes = 0;
    if (bytes == UINT32_MAX)
        return true;
    if (bytes > c->left)
        return false;
    *ret = c->p;
    *ret_bytes = bytes;
    c->p += bytes;
    c->left -= bytes;
    return true;
}

/* Fills n headers; their strings go to `out`, which has room for every byte and a NUL each. */
static bool take_headers(struct header_cursor *c, struct store_header *h, uint32_t n, char *out)
{
    for (uint32_t i = 0; i < n; i++) {
        const unsigned char *name = NULL;
        const unsigned char *value = NULL;
        size_t name_bytes = 0;
        size_t value_bytes = 0;

        if (!take_field(c, &name, &name_bytes) || !name || !take_field(c, &value, &value_bytes))
            return false;
        h[i].name = out;
        memcpy(out, name, name_bytes);
        out[name_bytes] = '\0';
        out += name_bytes + 1;
        h[i].value = value ? out : NULL;
        h[i].value_bytes = value_bytes;
        if (value)
            memcpy(out, value, value_bytes);
        out += value_bytes;
    }
    return c->left == 0;
}

int store_headers_decode(const void *data, size_t bytes, struct store_header **ret_headers,
                         size_t *ret_n, struct err *err)
{
    struct header_cursor c = {data, bytes};

    *ret_headers = NULL;
    *ret_n = 0;
    if (!data)
        return ERR_OK;
    uint32_t n = bytes < 4 ? UINT32_MAX : get_u32(c.p);
    if (n > bytes / 8)
        return err_fatal(err, EX_DATAERR, "store: headers of a dead letter: not our layout");
    if (n == 0)
        return ERR_OK;
    c.p += 4;
    c.left -= 4;
    struct store_header *h = malloc(n * sizeof *h + bytes + n);
    if (!h)
        return err_oom(err, "store: read the headers of a dead letter");
    if (!take_headers(&c, h, n, (char *)(h + n))) {
        free(h);
        return err_fatal(err, EX_DATAERR, "store: headers of a dead letter: not our layout");
    }
    *ret_headers = h;
    *ret_n = n;
    return ERR_OK;
}

static uint64_t rotl(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

/* NULL and empty differ, so that a lost key is seen. */
static uint64_t part_checksum(const void *data, size_t bytes)
{
    return data ? (uint64_t)digest_checksum(data, bytes) : 0;
}

int64_t store_letter_checksum(const void *key, size_t key_bytes, const void *value,
                              size_t value_bytes, const void *headers, size_t headers_bytes)
{
    return (int64_t)(part_checksum(value, value_bytes) ^
                     rotl(part_checksum(key, key_bytes), 1) ^
                     rotl(part_checksum(headers, headers_bytes), 2));
}
