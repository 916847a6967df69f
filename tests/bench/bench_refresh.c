/* What one new interaction costs at 10^3, 10^4 and 10^5 items (as many users, ten interactions
 * each), against the whole forward pass that it replaces; both vectors are compared with it. Cold:
 * nothing of its neighbourhood is in memory, as after a start. Warm: what earlier passes read is,
 * as in a daemon that has run for a while. + is with factors and content (signals.h); the whole pass
 * beside it is the backbone's alone.
 *
 *   bench_refresh [LARGEST [SMALLEST]] */

#include "tests/integration/refresh_fixture.h"

#include "fusion/math/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N_NEW = 41, DEGREE = 10, N_WARM = 20, WARM_PAIRS = 500 };

static double cpu_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof(*values), by_value);
    return values[n / 2];
}

static void fill(struct refresh_fixture *f, uint32_t n, struct rng *rng)
{
    uint32_t(*pairs)[2] = malloc((size_t)n * DEGREE * sizeof(*pairs));

    assert_non_null(pairs);
    fixture_open(f);
    refresh_ok(f, settings_set(&f->s, "refresh.spread", "0", &f->err));
    f->s.refresh.cache_bytes = 1; /* nothing is kept between two passes */
    fixture_items(f, 0, n);
    for (size_t i = 0; i < (size_t)n * DEGREE; i++) {
        pairs[i][0] = (uint32_t)(i / DEGREE);
        pairs[i][1] = (uint32_t)(rng_next(rng) % n);
    }
    fixture_pairs(f, (const uint32_t(*)[2])pairs, (size_t)n * DEGREE);
    free(pairs);
}

struct cost {
    double pass_ms[2], cpu_ms[2]; /* medians of one interaction, cold and warm */
    double edges;                 /* mean */
    double worst;                 /* difference from the whole pass */
    double whole_ms;              /* CPU */
};

static void add_one(struct refresh_fixture *f, uint32_t n, struct rng *rng, char user[16],
                    char item[16])
{
    snprintf(user, 16, "u%u", (unsigned)(rng_next(rng) % n));
    snprintf(item, 16, "i%u", (unsigned)(rng_next(rng) % n));
    fixture_interact(f, user, item);
    fixture_settle(f);
}

/* Names of the last one's ends. */
static void measure_some(struct refresh_fixture *f, uint32_t n, struct rng *rng, bool warm,
                         struct cost *ret, char user[16], char item[16])
{
    double pass[N_NEW], cpu[N_NEW];
    struct refresh_status before, after;
    uint64_t edges = 0;

    for (size_t i = 0; i < N_NEW; i++) {
        refresh_status(f->refresh, &before);
        double start = cpu_ms();
        add_one(f, n, rng, user, item);
        cpu[i] = cpu_ms() - start;
        refresh_status(f->refresh, &after);
        pass[i] = 1e3 * (after.seconds - before.seconds);
        edges += after.n_edges - before.n_edges;
    }
    ret->pass_ms[warm] = median(pass, N_NEW);
    ret->cpu_ms[warm] = median(cpu, N_NEW);
    if (!warm)
        ret->edges = (double)edges / N_NEW;
}

/* Interactions all over the catalogue, whose passes leave what they read in memory. */
static void warm_up(struct refresh_fixture *f, uint32_t n, struct rng *rng)
{
    uint32_t pairs[WARM_PAIRS][2];

    f->s.refresh.cache_bytes = INT64_C(1) << 30; /* the thread rests */
    for (size_t round = 0; round < N_WARM; round++) {
        for (size_t i = 0; i < WARM_PAIRS; i++) {
            pairs[i][0] = (uint32_t)(rng_next(rng) % n);
            pairs[i][1] = (uint32_t)(rng_next(rng) % n);
        }
        fixture_pairs(f, (const uint32_t(*)[2])pairs, n < 10000 ? 10 : WARM_PAIRS);
        fixture_settle(f);
    }
}

static void measure(struct refresh_fixture *f, uint32_t n, struct rng *rng, struct cost *ret)
{
    struct fixture_whole w;
    char user[16], item[16];

    measure_some(f, n, rng, false, ret, user, item);
    warm_up(f, n, rng);
    measure_some(f, n, rng, true, ret, user, item);
    fixture_whole(f, &w);
    double start = cpu_ms();
    trainee_forward(w.t);
    ret->whole_ms = cpu_ms() - start;
    ret->worst = fmax(fixture_difference(f, &w, user), fixture_difference(f, &w, item));
    fixture_whole_done(&w);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        enum backbone_kind backbone;
        bool signals;
    } kinds[] = {{"lightgcn", BACKBONE_LIGHTGCN, false},
                 {"lightgcn+", BACKBONE_LIGHTGCN, true},
                 {"sage", BACKBONE_SAGE, false},
                 {"sage+", BACKBONE_SAGE, true},
                 {"mf+", BACKBONE_MF, true}};
    uint32_t largest = argc > 1 ? (uint32_t)atol(argv[1]) : 100000;
    uint32_t smallest = argc > 2 ? (uint32_t)atol(argv[2]) : 1000;

    printf(
        "One new interaction, %d interactions a user, 2 hops; median of %d; CPU time, pass and "
        "with the sink's part\n%-9s %7s %7s %10s %10s %10s %10s %14s %12s\n",
        DEGREE, N_NEW, "backbone", "items", "edges", "cold, ms", "with sink", "warm, ms",
        "with sink", "whole pass, ms", "difference");
    for (uint32_t n = smallest; n <= largest; n *= 10)
        for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
            struct refresh_fixture f;
            struct cost c;
            struct rng rng;

            rng_init(&rng, n);
            fill(&f, n, &rng);
            f.signals = kinds[k].signals;
            fixture_train(&f, FUSION_CP, kinds[k].backbone, false, 3);
            fixture_start(&f);
            fixture_settle(&f);
            measure(&f, n, &rng, &c);
            printf("%-9s %7u %7.0f %10.2f %10.2f %10.2f %10.2f %14.1f %12.1e\n", kinds[k].name,
                   n, c.edges, c.pass_ms[0], c.cpu_ms[0], c.pass_ms[1], c.cpu_ms[1], c.whole_ms,
                   c.worst);
            fflush(stdout);
            fixture_close(&f);
        }
    return 0;
}
