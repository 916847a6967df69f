#include "mutate.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

const char *mutate_kind_name(enum mutate_kind kind)
{
    static const char *const names[] = {"flip",   "head",   "tail", "truncate", "behead",
                                        "splice", "insert", "zero", "repeat",   "sizes"};
    return names[kind];
}

uint64_t mutate_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* 0 … n - 1; 0 for n = 0. */
static size_t below(uint64_t *state, size_t n)
{
    return n > 0 ? (size_t)(mutate_random(state) % n) : 0;
}

static void change_bytes(struct mutate_file *f, uint64_t *state, size_t from, size_t n_range,
                         size_t n_max)
{
    size_t n = 1 + below(state, n_max);
    for (size_t i = 0; i < n && n_range > 0; i++)
        f->bytes[from + below(state, n_range)] ^= (unsigned char)(1 + below(state, 255));
}

static void change_sizes(struct mutate_file *f, uint64_t *state)
{
    static const uint32_t values[] = {0, 1, 7, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffff0};
    size_t n_range = f->n_bytes < 8192 ? f->n_bytes : 8192;
    size_t n = 1 + below(state, 8);
    for (size_t i = 0; i < n && n_range >= 4; i++) {
        uint32_t v = values[below(state, sizeof(values) / sizeof(values[0]))];
        bool at_end = below(state, 2) == 1; /* mp4 keeps its tables there */
        size_t from = at_end ? f->n_bytes - n_range : 0;
        unsigned char *p = f->bytes + from + below(state, n_range - 3);
        for (int k = 0; k < 4; k++)
            p[k] = (unsigned char)(v >> (24 - 8 * k));
    }
}

/* A piece of src over what is at `at`, as far as it fits. */
static void overwrite(struct mutate_file *f, size_t at, const struct mutate_file *src,
                      uint64_t *state)
{
    size_t from = below(state, src->n_bytes);
    size_t n = 1 + below(state, src->n_bytes - from);
    if (n > f->n_bytes - at)
        n = f->n_bytes - at;
    memmove(f->bytes + at, src->bytes + from, n);
}

/* A piece of src between two bytes; bytes has room for both. */
static void insert(struct mutate_file *f, const struct mutate_file *src, uint64_t *state)
{
    size_t at = below(state, f->n_bytes);
    size_t from = below(state, src->n_bytes);
    size_t n = below(state, src->n_bytes - from);
    memmove(f->bytes + at + n, f->bytes + at, f->n_bytes - at);
    memcpy(f->bytes + at, src->bytes + from, n);
    f->n_bytes += n;
}

static void apply(enum mutate_kind kind, struct mutate_file *f, const struct mutate_file *base,
                  const struct mutate_file *other, uint64_t *state)
{
    size_t n = f->n_bytes, edge = n < 1024 ? n : 1024, at = below(state, n);
    switch (kind) {
    case MUTATE_FLIP:
        change_bytes(f, state, 0, n, 64);
        break;
    case MUTATE_HEAD:
        change_bytes(f, state, 0, edge, 16);
        break;
    case MUTATE_TAIL:
        change_bytes(f, state, n - edge, edge, 16);
        break;
    case MUTATE_TRUNCATE:
        f->n_bytes = at;
        break;
    case MUTATE_BEHEAD:
        memmove(f->bytes, f->bytes + at, n - at);
        f->n_bytes = n - at;
        break;
    case MUTATE_SPLICE:
        overwrite(f, at, other, state);
        break;
    case MUTATE_INSERT:
        insert(f, other, state);
        break;
    case MUTATE_ZERO:
        memset(f->bytes + at, 0, 1 + below(state, n - at));
        break;
    case MUTATE_REPEAT:
        insert(f, base, state);
        break;
    case MUTATE_SIZES:
    case MUTATE_KIND_COUNT:
        change_sizes(f, state);
        break;
    }
}

enum mutate_kind mutate(const struct mutate_file *base, const struct mutate_file *other,
                        uint64_t *state, struct mutate_file *ret)
{
    size_t room =
        base->n_bytes + (base->n_bytes > other->n_bytes ? base->n_bytes : other->n_bytes);
    enum mutate_kind kind = (enum mutate_kind)below(state, MUTATE_KIND_COUNT);
    *ret = *base;
    ret->bytes = malloc(room);
    if (ret->bytes == NULL)
        abort();
    memcpy(ret->bytes, base->bytes, base->n_bytes);
    apply(kind, ret, base, other, state);
    return kind;
}
