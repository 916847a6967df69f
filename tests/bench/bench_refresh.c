/* What one new interaction costs at 10^3, 10^4 and 10^5 items (as many users, ten interactions
 * each), against the whole forward pass that it replaces; both vectors are compared with it. Cold:
 * nothing of its neighbourhood is in memory, as after a start. Warm: what earlier passes read is,
 * as in a daemon that has run for a while. + is with factors and content (signals.h); the whole pass
 * beside it is the backbone's alone.
 *
 *   bench_refresh [LARGEST [SMALLEST]]
 *
 * Or, with a set's interactions (lines "user TAB item", whole numbers), what rows of neighbours add:
 * a model without and one with them, all pairs but the last 2,500 of a shuffle being trained on, then
 * these come. Alone: one after another, each until nothing waits. In bulk: 500 a transaction.
 * Written: bytes of the log, the file and temporary files.
 *
 *   bench_refresh FILE... */

#include "tests/integration/refresh_fixture.h"

#include "config/array.h"
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

/* ---- with and without neighbours ------------------------------------------------------------- */

enum { N_LATER = 2500, N_BULK = 2000 };

struct pairs {
    uint32_t (*of)[2];
    size_t n, room;
    uint32_t n_items;
};

static void read_pairs(const char *path, struct pairs *p)
{
    FILE *in = fopen(path, "r");
    struct rng rng;
    uint32_t user, item;

    *p = (struct pairs){0};
    if (!in)
        fail_msg("%s cannot be read", path);
    while (fscanf(in, "%u\t%u", &user, &item) == 2) {
        p->of = array_reserve(p->of, &p->room, p->n + 1, sizeof(*p->of));
        assert_non_null(p->of);
        p->of[p->n][0] = user;
        p->of[p->n++][1] = item;
        p->n_items = item >= p->n_items ? item + 1 : p->n_items;
    }
    (void)fclose(in);
    assert_true(p->n > N_LATER);
    rng_init(&rng, 7);
    for (size_t i = p->n - 1; i > 0; i--) {
        size_t j = rng_next(&rng) % (i + 1);
        uint32_t kept[2] = {p->of[i][0], p->of[i][1]};

        memcpy(p->of[i], p->of[j], sizeof(kept));
        memcpy(p->of[j], kept, sizeof(kept));
    }
}

static double written_kib(void)
{
    FILE *in = fopen("/proc/self/io", "r");
    double bytes = 0;
    char line[80];

    while (in && fgets(line, sizeof(line), in))
        (void)sscanf(line, "wchar: %lf", &bytes);
    if (in)
        (void)fclose(in);
    return bytes / 1024;
}

struct added {
    double cpu_ms, vectors, rows, kib, edges; /* an interaction */
};

/* n pairs, `at_once` in a transaction, each until nothing waits. */
static struct added add_pairs(struct refresh_fixture *f, const uint32_t (*of)[2], size_t n,
                              size_t at_once)
{
    struct refresh_status before, after;

    refresh_status(f->refresh, &before);
    double start = cpu_ms(), kib = written_kib();
    for (size_t i = 0; i < n; i += at_once) {
        fixture_pairs(f, of + i, at_once);
        fixture_settle(f);
    }
    double end = cpu_ms(), count = (double)n;
    kib = written_kib() - kib;
    refresh_status(f->refresh, &after);
    return (struct added){(end - start) / count,
                          (double)(after.n_vectors - before.n_vectors) / count,
                          (double)(after.n_rows - before.n_rows) / count, kib / count,
                          (double)(after.n_edges - before.n_edges) / count};
}

static void print_added(const char *what, const struct added *a)
{
    printf("  %-28s %9.2f %9.0f %9.1f %9.1f %9.1f %9.0f\n", what, a->cpu_ms, 1e3 / a->cpu_ms,
           a->vectors, a->rows, a->kib, a->edges);
    (void)fflush(stdout);
}

static void measure_set(const struct pairs *p, enum backbone_kind backbone, bool neighbours)
{
    const uint32_t(*later)[2] = (const uint32_t(*)[2])p->of + p->n - N_LATER;
    struct refresh_fixture f;

    fixture_open(&f);
    f.width = 64;
    f.signals = true;
    f.neighbours = neighbours;
    fixture_items(&f, 0, p->n_items);
    fixture_pairs(&f, (const uint32_t(*)[2])p->of, p->n - N_LATER);
    fixture_train(&f, FUSION_CP, backbone, false, 3);
    printf("%s, %s neighbours\n", backbone_kind_name(backbone),
           neighbours ? "with" : "without");
    fixture_start(&f);
    fixture_settle(&f);
    int64_t spread = f.s.refresh.spread;
    f.s.refresh.spread = 0; /* the thread rests */
    struct added a = add_pairs(&f, later, 200, 1);
    print_added("alone, spread 0, from cold", &a);
    a = add_pairs(&f, later + 200, N_BULK, 500);
    print_added("in bulk, spread 0", &a);
    a = add_pairs(&f, later + 200 + N_BULK, 200, 1);
    print_added("alone, spread 0, warm", &a);
    f.s.refresh.spread = spread;
    a = add_pairs(&f, later + 400 + N_BULK, 100, 1);
    print_added("alone, spread 16, warm", &a);
    fixture_close(&f);
}

static int measure_sets(int n, char **paths)
{
    static const enum backbone_kind backbones[] = {BACKBONE_LIGHTGCN, BACKBONE_MF};

    for (int i = 0; i < n; i++) {
        struct pairs p;

        read_pairs(paths[i], &p);
        printf("%s: %zu pairs; of an interaction:\n  %-28s %9s %9s %9s %9s %9s %9s\n", paths[i],
               p.n, "", "CPU, ms", "1/s", "vectors", "rows", "KiB", "edges");
        for (size_t b = 0; b < 2; b++)
            for (int neighbours = 0; neighbours < 2; neighbours++)
                measure_set(&p, backbones[b], neighbours);
        free(p.of);
    }
    return 0;
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
    if (argc > 1 && largest == 0)
        return measure_sets(argc - 1, argv + 1);
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
