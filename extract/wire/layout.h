#ifndef MMF_EXTRACT_WIRE_LAYOUT_H
#define MMF_EXTRACT_WIRE_LAYOUT_H

/* What each number of each built-in vector is: blocks in order, with dimension, weight and
 * source. The table is the single truth: the encoders take their offsets and weights from it,
 * `metammf extract --explain` prints it, and the encoder ids hash it together with every other
 * parameter that changes the output. Plain C without FFmpeg, so that both sides of the worker
 * boundary link it (target mmf_layout). */

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
/* "<name>-<version>:<12 hex digits of the SHA-256 of all parameters>". */
void layout_identity(enum modality m, uint16_t *ret_dim,
                     char ret_encoder_id[FEATURES_ENCODER_ID_MAX]);
/* Writes the table for people: 0, or -1 on a write error. */
int layout_explain(FILE *out);

#endif
