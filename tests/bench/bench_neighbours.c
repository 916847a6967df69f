/* Neighbour rows: CPU seconds of one thread for those of all items, microseconds for a single row,
 * edges in memory, against a baseline in the same run:
 *   dense    up to 4,000 items: EASE in full, G + ρ1 inverted by LAPACK's dpotrf and dpotri
 *   counts   beyond: the plain co-occurrence of each item's users, by a hash map, 100 kept
 * Sites have the size of MovieLens-1M, of TikTok and of MicroLens-50k, with power laws; or the pairs
 * of a file (user TAB item). `large` is a million items with 10⁷ pairs.
 *
 *     ninja bench_neighbours && taskset -c 0 bin/bench_neighbours [trn.tsv | large] */

#include "bench_data.h"

#include "fusion/model/neighbours.h"

enum { KEPT = 100, DENSE_MAX = 4000, SAMPLE = 500 };

extern void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info,
                    size_t);
extern void dpotri_(const char *uplo, const int *n, double *a, const int *lda, int *info,
                    size_t);

struct site {
    struct csr R, T;
    int64_t *near;
};

static int edges(void *arg, int64_t node, const int64_t **ret_nodes, size_t *ret_n,
                 struct err *err)
{
    struct site *s = arg;
    bool item = neighbourhood_is_item(node);
    const struct csr *side = item ? &s->T : &s->R;
    uint32_t row = (uint32_t)neighbourhood_id(node);

    (void)err;
    *ret_n = csr_degree(side, row);
    for (size_t e = 0; e < *ret_n; e++) {
        int64_t other = side->col[side->start[row] + e];
        s->near[e] = item ? neighbourhood_user(other) : neighbourhood_item(other);
    }
    *ret_nodes = s->near;
    return ERR_OK;
}

static int degree(void *arg, int64_t node, uint32_t *ret_degree, struct err *err)
{
    struct site *s = arg;

    (void)err;
    *ret_degree = (uint32_t)csr_degree(neighbourhood_is_item(node) ? &s->T : &s->R,
                                       (uint32_t)neighbourhood_id(node));
    return ERR_OK;
}

/* ---- baselines ------------------------------------------------------------------------------- */

static double dense_s(const struct site *s, double ridge)
{
    const int n = (int)s->R.n_cols;
    double start = bench_cpu_s();
    double *G = bench_need(calloc((size_t)n * (size_t)n, sizeof(*G)));
    int info;

    for (uint32_t u = 0; u < s->R.n_rows; u++) {
        const uint32_t *item = s->R.col + s->R.start[u];
        size_t d = csr_degree(&s->R, u);
        double w = 1 / sqrt((double)d);
        for (size_t a = 0; a < d; a++)
            for (size_t b = a; b < d; b++)
                G[(size_t)item[a] * (size_t)n + item[b]] += w;
    }
    for (size_t i = 0; i < (size_t)n; i++)
        G[i * (size_t)n + i] += ridge;
    dpotrf_("L", &n, G, &n, &info, 1);
    if (info == 0)
        dpotri_("L", &n, G, &n, &info, 1);
    free(G);
    return info == 0 ? bench_cpu_s() - start : 0;
}

struct counted {
    uint32_t item, n;
};

static int by_count(const void *a, const void *b)
{
    const struct counted *x = a, *y = b;

    if (x->n != y->n)
        return x->n < y->n ? 1 : -1;
    return x->item < y->item ? -1 : 1;
}

/* Open addressing by item + 1; slots is a power of two above the number of items met. */
static size_t count_item(const struct site *s, uint32_t j, struct counted *map, size_t slots)
{
    size_t n = 0;

    memset(map, 0, slots * sizeof(*map));
    for (size_t t = s->T.start[j]; t < s->T.start[j + 1]; t++)
        for (size_t e = s->R.start[s->T.col[t]]; e < s->R.start[s->T.col[t] + 1]; e++) {
            uint32_t item = s->R.col[e] + 1;
            size_t at = item * 2654435761U & (slots - 1);
            while (map[at].item && map[at].item != item)
                at = (at + 1) & (slots - 1);
            map[at].item = item;
            map[at].n++;
        }
    for (size_t at = 0; at < slots; at++)
        if (map[at].item)
            map[n++] = map[at];
    qsort(map, n, sizeof(*map), by_count);
    return n < KEPT ? n : KEPT;
}

static double counts_s(const struct site *s)
{
    size_t slots = 1024, kept = 0;

    while (slots < 2 * (size_t)s->R.n_cols)
        slots *= 2;
    struct counted *map = bench_need(malloc(slots * sizeof(*map)));
    double start = bench_cpu_s();
    for (uint32_t j = 0; j < s->R.n_cols; j++) {
        size_t met = 0, room = 64;
        for (size_t t = s->T.start[j]; t < s->T.start[j + 1]; t++)
            met += csr_degree(&s->R, s->T.col[t]);
        while (room < 2 * met && room < slots)
            room *= 2;
        kept += count_item(s, j, map, room);
    }
    start = bench_cpu_s() - start;
    free(map);
    return kept ? start : 0;
}

/* ---- ours ------------------------------------------------------------------------------------ */

/* Median of SAMPLE items with users: cold = every edge asked for anew. */
static double row_us(struct site *s, float ridge, bool cold)
{
    const struct neighbourhood_source source = {.arg = s, .edges = edges, .degree = degree};
    struct neighbours *w;
    double us[SAMPLE];
    struct rng rng;

    rng_init(&rng, 4);
    if (neighbours_new(&source, NULL, &w, NULL) != ERR_OK)
        bench_need(NULL);
    for (int k = 0; k < SAMPLE;) {
        int64_t item = neighbourhood_item((int64_t)rng_below(&rng, s->R.n_cols));
        struct neighbours_row row;
        bool too_big = false;
        double start = 0;

        if (csr_degree(&s->T, (uint32_t)neighbourhood_id(item)) == 0)
            continue;
        for (int round = cold ? 1 : 0; round < 2; round++) { /* warm: the second time */
            if (cold)
                neighbours_clear(w);
            start = bench_cpu_s();
            if (neighbours_row(w, item, ridge, SIZE_MAX, &row, &too_big, NULL) != ERR_OK)
                bench_need(NULL);
        }
        double took = 1e6 * (bench_cpu_s() - start);
        int at = k++;
        for (; at > 0 && us[at - 1] > took; at--)
            us[at] = us[at - 1];
        us[at] = took;
    }
    neighbours_free(w);
    return us[SAMPLE / 2];
}

static void run(const char *name, const struct csr_pair *pairs, size_t n_pairs,
                uint32_t n_users, uint32_t n_items)
{
    struct csr_pair *turned = bench_need(malloc((n_pairs + 1) * sizeof(*turned)));
    struct site s;
    double best = 1e9, peak = 0;
    float ridge = 0;
    size_t nnz = 0;

    for (size_t p = 0; p < n_pairs; p++)
        turned[p] = (struct csr_pair){pairs[p].col, pairs[p].row};
    if (csr_from_pairs(pairs, n_pairs, n_users, n_items, &s.R, NULL) != ERR_OK ||
        csr_from_pairs(turned, n_pairs, n_items, n_users, &s.T, NULL) != ERR_OK)
        bench_need(NULL);
    free(turned);
    s.near = bench_need(malloc(((size_t)n_users + n_items) * sizeof(*s.near)));
    for (int round = 0; round < (n_items > 100000 ? 1 : 3); round++) {
        struct csr rows;
        float *scale;
        double start = bench_cpu_s();
        if (neighbours_build(&s.R, NULL, NULL, &rows, &scale, &ridge, NULL) != ERR_OK)
            bench_need(NULL);
        start = bench_cpu_s() - start;
        best = start < best ? start : best;
        nnz = rows.nnz;
        csr_done(&rows);
        free(scale);
    }
    peak = bench_peak_gb();
    bool dense = n_items <= DENSE_MAX;
    double base = dense ? dense_s(&s, (double)ridge) : counts_s(&s);
    printf("%s: %u items, %zu pairs, %zu entries: %.2f s, %s %.2f times that; peak %.2f GB\n",
           name, n_items, s.R.nnz, nnz, best, dense ? "dense" : "counts", base / best, peak);
    fflush(stdout);
    if (n_items <= 100000)
        printf("  one row: %.0f us, %.0f us with its edges asked for\n",
               row_us(&s, ridge, false), row_us(&s, ridge, true));
    csr_done(&s.R);
    csr_done(&s.T);
    free(s.near);
}

static void run_power_law(const char *name, uint32_t n_users, uint32_t n_items, size_t n_pairs)
{
    struct csr_pair *pairs = bench_graph_pairs(n_users, n_items, n_pairs);

    run(name, pairs, n_pairs, n_users, n_items);
    free(pairs);
}

static void run_file(const char *path)
{
    FILE *in = bench_need(fopen(path, "r"));
    struct csr_pair *pairs = NULL;
    uint32_t n_users = 0, n_items = 0;
    size_t n = 0, room = 0;
    char line[128];

    while (fgets(line, sizeof(line), in)) {
        char *end;
        unsigned long user = strtoul(line, &end, 10);
        if (end == line || *end != '\t' || user >= 1UL << 24)
            continue;
        unsigned long item = strtoul(end + 1, NULL, 10);
        if (item >= 1UL << 24)
            continue;
        if (n == room)
            pairs = bench_need(realloc(pairs, (room = 2 * room + 1024) * sizeof(*pairs)));
        pairs[n++] = (struct csr_pair){(uint32_t)user, (uint32_t)item};
        n_users = user >= n_users ? (uint32_t)user + 1 : n_users;
        n_items = item >= n_items ? (uint32_t)item + 1 : n_items;
    }
    fclose(in);
    run(path, pairs, n, n_users, n_items);
    free(pairs);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "large") == 0) {
        run_power_law("large", 1000000, 1000000, 10000000);
    } else if (argc > 1) {
        for (int i = 1; i < argc; i++)
            run_file(argv[i]);
    } else {
        run_power_law("MovieLens-1M", 6036, 3081, 346501);
        run_power_law("TikTok", 9308, 6710, 59541);
        run_power_law("MicroLens-50k", 50000, 17192, 256214);
    }
    return 0;
}
