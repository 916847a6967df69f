#ifndef MMF_TESTS_BENCH_PLANTED_H
#define MMF_TESTS_BENCH_PLANTED_H

/* Data whose structure is known, to see whether a method finds it. Fixed before any method was
 * tuned on it. Two modalities of 32 columns each, x^m = z^m P^m + noise, z^m (8) normal. What an
 * item is liked for is p_i (8):
 *
 *   item-specific  z^visual where z^visual_0 z^acoustic_0 > 0, else z^acoustic: which modality
 *                  counts is readable from the item itself, but from no linear map of it
 *   control        (z^visual + z^acoustic)/√2 for every item: one fusion fits all
 *
 * Each of 3,000 users has a direction q of length 1 and takes 10 of 2,000 items, drawn without
 * replacement with weights exp(3 q·p_i). */

#include "fusion/math/csr.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    PLANTED_USERS = 3000,
    PLANTED_ITEMS = 2000,
    PLANTED_COLUMNS = 32, /* of each of the two modalities */
    PLANTED_PICKS = 10,   /* items a user */
};

/* ret_X (ITEMS, 2·COLUMNS), ret_pairs (USERS·PICKS), both owned by the caller; false: no memory. */
bool planted_make(bool is_item_specific, uint64_t seed, float **ret_X,
                  struct csr_pair **ret_pairs);

#endif
