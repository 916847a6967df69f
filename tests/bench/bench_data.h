#ifndef MMF_TESTS_BENCH_DATA_H
#define MMF_TESTS_BENCH_DATA_H

/* Shared by the benchmarks of training: CPU time, peak memory, a power-law graph, torch. */

#include "fusion/math/csr.h"
#include "fusion/math/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline void *bench_need(void *memory)
{
    if (memory == NULL) {
        fputs("benchmark: out of memory\n", stderr);
        exit(EXIT_FAILURE);
    }
    return memory;
}

static inline double bench_cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline double bench_wall_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The largest resident size of this process so far. */
static inline double bench_peak_gb(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[128];
    double kb = 0.0;

    while (status != NULL && fgets(line, sizeof(line), status) != NULL)
        if (strncmp(line, "VmHWM:", 6) == 0)
            kb = strtod(line + 6, NULL);
    if (status != NULL)
        fclose(status);
    return kb * 1024e-9;
}

/* The first number that a command prints; 0 when it fails (no torch). */
static inline double bench_command(const char *command)
{
    char line[64] = "";
    FILE *out = popen(command, "r");
    double value = 0.0;

    if (out == NULL)
        return 0.0;
    if (fgets(line, sizeof(line), out) != NULL)
        value = strtod(line, NULL);
    return pclose(out) == 0 ? value : 0.0;
}

/* Picks i with probability weight_i: cumulative (n) sums of the weights. */
static inline uint32_t bench_pick(struct rng *rng, const double *cumulative, uint32_t n)
{
    double at = (double)rng_float(rng) + (double)rng_float(rng) * 0x1p-24;
    uint32_t lo = 0, hi = n - 1;

    at *= cumulative[n - 1];
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (cumulative[mid] <= at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static inline double *bench_power_law(uint32_t n, double offset, double exponent)
{
    double *sums = bench_need(malloc(n * sizeof(*sums))), sum = 0.0;

    for (uint32_t i = 0; i < n; i++)
        sums[i] = sum += pow((double)i + offset, -exponent);
    return sums;
}

/* n_pairs distinct pairs in a seeded order: activity of users and popularity of items fall as
 * powers of their rank, ranks being shuffled over the rows. The caller frees them. */
static inline struct csr_pair *bench_graph_pairs(uint32_t n_users, uint32_t n_items,
                                                 size_t n_pairs)
{
    double *users = bench_power_law(n_users, 300.0, 0.7);
    double *items = bench_power_law(n_items, 30.0, 0.9);
    uint32_t *user = bench_need(malloc(n_users * sizeof(*user)));
    uint32_t *item = bench_need(malloc(n_items * sizeof(*item)));
    size_t n_drawn = n_pairs + n_pairs / 3;
    struct csr_pair *pairs = bench_need(malloc(n_drawn * sizeof(*pairs)));
    struct csr distinct;
    struct rng rng;

    rng_init(&rng, 20);
    for (uint32_t i = 0; i < n_users; i++)
        user[i] = i;
    for (uint32_t i = 0; i < n_items; i++)
        item[i] = i;
    rng_shuffle(&rng, user, n_users);
    rng_shuffle(&rng, item, n_items);
    for (size_t e = 0; e < n_drawn; e++)
        pairs[e] = (struct csr_pair){user[bench_pick(&rng, users, n_users)],
                                     item[bench_pick(&rng, items, n_items)]};
    if (csr_from_pairs(pairs, n_drawn, n_users, n_items, &distinct, NULL) != ERR_OK ||
        distinct.nnz < n_pairs)
        bench_need(NULL);
    for (uint32_t u = 0; u < n_users; u++)
        for (size_t e = distinct.start[u]; e < distinct.start[u + 1]; e++)
            pairs[e] = (struct csr_pair){u, distinct.col[e]};
    for (size_t i = distinct.nnz; i > 1; i--) {
        size_t j = (size_t)rng_below(&rng, i);
        struct csr_pair moved = pairs[i - 1];

        pairs[i - 1] = pairs[j];
        pairs[j] = moved;
    }
    csr_done(&distinct);
    free(users);
    free(items);
    free(user);
    free(item);
    return pairs;
}

#endif
