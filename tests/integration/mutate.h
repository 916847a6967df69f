#ifndef MMF_TESTS_MUTATE_H
#define MMF_TESTS_MUTATE_H

/* Broken media from whole media, by a seed: the same seed and bases give the same bytes. */

#include <stddef.h>
#include <stdint.h>

struct mutate_file {
    char name[256];
    unsigned char *bytes;
    size_t n_bytes;
};

enum mutate_kind {
    MUTATE_FLIP,     /* 1 … 64 bytes changed anywhere */
    MUTATE_HEAD,     /* 1 … 16 bytes changed in the first KiB: boxes, headers, tables */
    MUTATE_TAIL,     /* … in the last KiB: an index that follows the samples */
    MUTATE_TRUNCATE, /* the end is missing */
    MUTATE_BEHEAD,   /* the start is missing */
    MUTATE_SPLICE,   /* a piece of another file over a piece of this one */
    MUTATE_INSERT,   /* a piece of another file between two bytes */
    MUTATE_ZERO,     /* a run of zeroes */
    MUTATE_REPEAT,   /* a piece twice */
    MUTATE_SIZES,    /* big-endian 32-bit words replaced by extreme values */
    MUTATE_KIND_COUNT
};

const char *mutate_kind_name(enum mutate_kind kind);
uint64_t mutate_random(uint64_t *state); /* splitmix64 */
/* A new file from base (and other, for the splices); the caller frees ret->bytes. The kind. */
enum mutate_kind mutate(const struct mutate_file *base, const struct mutate_file *other,
                        uint64_t *state, struct mutate_file *ret);

#endif
