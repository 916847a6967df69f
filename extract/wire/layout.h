#ifndef MMF_EXTRACT_WIRE_LAYOUT_H
#define MMF_EXTRACT_WIRE_LAYOUT_H

/* What each number of each built-in vector is: blocks in order, with dimension, weight and
 * source. The built-in encoders take their offsets, weights and ids from it; for everybody else
 * it is a description for people (`metammf extract --explain`). Which encoders run, and how long
 * their vectors are, is not asked here but of the pool (pool_encoders). Plain C without FFmpeg,
 * so that both sides of the worker boundary link it. */

#include "config/modality.h"
#include "extract/wire/features.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct layout_block {
    const char *name; /* "colour_layout.mean" */
    uint16_t dim;
    float weight;       /* the block's length in the vector; the squares sum to 1 */
    const char *what;   /* one line: shape and order of its numbers */
    const char *source; /* the publication it follows */
};

/* The blocks of a modality, in the order of the vector. */
const struct layout_block *layout_blocks(enum modality m, size_t *ret_n_blocks);
/* Offset of block i in the vector. */
uint16_t layout_offset(enum modality m, size_t i);
/* Of the built-in encoder; its id is "<name>-<version>:<12 hex digits of the SHA-256 of all
 * parameters>". FFmpeg's versions are not part of it: decoding is bit-exact by the standards, and a
 * security update must not ask for every item again. It may change rounding in scaling and
 * resampling. */
struct encoder_identity layout_identity(enum modality m);
/* Writes the table for people: 0, or -1 on a write error. */
int layout_explain(FILE *out);

#endif
