#include "split.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct keyed {
    double key;
    size_t pair;
};

static void *need(void *memory)
{
    if (!memory) {
        fputs("split: out of memory\n", stderr);
        exit(EXIT_FAILURE);
    }
    return memory;
}

static int compare_keys(const void *a, const void *b)
{
    double x = ((const struct keyed *)a)->key, y = ((const struct keyed *)b)->key;
    return (x > y) - (x < y);
}

/* The smallest -log(u)/weight come first (Efraimidis and Spirakis, 2006). */
void split_hold_out(const struct csr_pair *pairs, size_t n_pairs, uint32_t n_users,
                    uint32_t n_items, uint32_t n_held, struct rng *rng, uint8_t *ret_held)
{
    uint32_t *user_degree = need(calloc(n_users + 1, sizeof(*user_degree)));
    uint32_t *item_degree = need(calloc(n_items + 1, sizeof(*item_degree)));
    struct keyed *keyed = need(malloc(n_pairs * sizeof(*keyed) + 1));
    for (size_t i = 0; i < n_pairs; i++) {
        user_degree[pairs[i].row]++;
        item_degree[pairs[i].col]++;
    }
    for (size_t i = 0; i < n_pairs; i++) {
        double user = user_degree[pairs[i].row], item = item_degree[pairs[i].col];
        double u = (double)rng_float(rng) + 1e-9;
        keyed[i] = (struct keyed){user > 1 ? -log(u) * user * pow(item, 0.35) : HUGE_VAL, i};
    }
    qsort(keyed, n_pairs, sizeof(*keyed), compare_keys);
    uint32_t n = 0;
    for (size_t i = 0; i < n_pairs && n < n_held && isfinite(keyed[i].key); i++) {
        uint32_t *degree = &user_degree[pairs[keyed[i].pair].row];
        ret_held[keyed[i].pair] = *degree > 0;
        n += *degree > 0;
        *degree = 0;
    }
    free(user_degree);
    free(item_degree);
    free(keyed);
}
