#ifndef MMF_STORE_KINDS_H
#define MMF_STORE_KINDS_H

/* What interactions count. Each kind has a factor. An interaction counts factor × weight; with a
 * factor below 0 it counts factor × |weight|, so that two signs never make a like of a dislike. The
 * strength of a pair is the sum over its interactions. A pair is an edge while its strength is above
 * 0: whatever says "pairs" or "neighbours" in this folder means edges. The factors lie in the store,
 * so that all its readers agree.
 *
 * Example: watch 1, dislike -1. u1 watches v1: an edge of strength 1. u1 dislikes v1: strength 0, no
 * edge any more. Once more: strength -1, v1 is never recommended to u1. */

#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A strength that is read counts as one of this size at most, in either direction. */
#define STORE_STRENGTH_MAX 10.0

struct store_factor {
    const char *kind;
    double factor;
};
struct store_factors {
    const struct store_factor *of;
    size_t n;
    double other; /* of every kind that is not among them */
};
struct store_factors_result {
    bool changed;
    int64_t n_pairs; /* that became an edge or ceased to be one: each is touched */
};
/* The writer's, one transaction. The same factors again change nothing. When kinds that are stored
 * have other factors by it, all interactions are looked at, about a second of CPU a million. */
int store_set_factors(struct store *st, const struct store_factors *f,
                      struct store_factors_result *ret_result, struct err *err);
/* Whether anybody has set them: a store that is new, or came from before schema 10, has none, and
 * every kind counts 1. */
int store_has_factors(struct store *st, bool *ret_has, struct err *err);

/* The kinds that are stored or have a factor of their own, the most frequent first; n is kept up
 * to date, not counted. free(*ret_rows). */
struct store_kind {
    char kind[72];
    int64_t n;
    double factor;
    bool is_named; /* the factor is its own */
};
int store_read_kinds(struct store *st, struct store_kind **ret_rows, size_t *ret_n,
                     double *ret_other, struct err *err);

/* Pairs of a user and an item with interactions. From n_interactions on that would take long
 * (store_read_kinds knows how many there are) a sample of the users stands for all. */
struct store_pair_counts {
    int64_t n_pairs, n_edges, n_against; /* n_against: strength below 0 */
    bool estimated;
};
int store_count_pairs(struct store *st, int64_t n_interactions,
                      struct store_pair_counts *ret_counts, struct err *err);

#endif
