/* Implicit alternating least squares (fusion/train/als.h), seconds of CPU time, on planted graphs
 * of a power law or on the pairs of a file (`user TAB item` lines, numbers from 0), against
 *   naive    the textbook: a Gram matrix a half-sweep, then per row the matrix of its items
 *            (cblas_ssyrk) and its solution (LAPACK's sposv), always d x d
 * GF/s counts what a row needs by the cheaper of the two ways, n d² + d³/3 or n² d + n³/3. The
 * difference is the largest of the users' vectors from naive's on the same items, relative to the
 * longest. Where OpenBLAS takes the processor for an old one (its name is printed), naive is
 * slower than it need be: OPENBLAS_CORETYPE=SKYLAKEX.
 *
 *     ninja bench_als && OPENBLAS_NUM_THREADS=1 taskset -c 0 bin/bench_als [PAIRS.tsv [d [threads]]] */

#include "bench_data.h"

#include "fusion/train/als.h"

#include <cblas.h>

extern void sposv_(const char *uplo, const int *n, const int *nrhs, float *a, const int *lda,
                   float *b, const int *ldb, int *info, size_t);

static float a0, lambda;

static void read_pairs(const char *path, struct csr *ret_R)
{
    FILE *in = fopen(path, "r");
    size_t n = 0, room = 1 << 24;
    struct csr_pair *pairs = malloc(room * sizeof(*pairs));
    uint32_t n_users = 0, n_items = 0;
    char line[64];

    if (in == NULL) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    bench_need(pairs);
    while (n < room && fgets(line, sizeof(line), in) != NULL) {
        char *end;
        uint32_t u = (uint32_t)strtoul(line, &end, 10), i = (uint32_t)strtoul(end, NULL, 10);

        pairs[n++] = (struct csr_pair){u, i};
        n_users = u >= n_users ? u + 1 : n_users;
        n_items = i >= n_items ? i + 1 : n_items;
    }
    fclose(in);
    if (csr_from_pairs(pairs, n, n_users, n_items, ret_R, NULL) != ERR_OK)
        bench_need(NULL);
    free(pairs);
}

static void transpose(const struct csr *R, struct csr *ret_T)
{
    struct csr_pair *pairs = bench_need(malloc(R->nnz * sizeof(*pairs)));
    size_t n = 0;

    for (uint32_t u = 0; u < R->n_rows; u++)
        for (size_t e = R->start[u]; e < R->start[u + 1]; e++)
            pairs[n++] = (struct csr_pair){R->col[e], u};
    if (csr_from_pairs(pairs, n, R->n_cols, R->n_rows, ret_T, NULL) != ERR_OK)
        bench_need(NULL);
    free(pairs);
}

static uint32_t active(const struct csr *R)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < R->n_rows; i++)
        n += csr_degree(R, i) > 0;
    return n;
}

/* X (rows of R) given Y (columns of R); n_given of them have a pair. */
static void naive_half(const struct csr *R, uint32_t n_given, size_t d, const float *Y,
                       float *ret_X)
{
    float *gram = bench_need(calloc(d * d, sizeof(*gram)));
    float *M = bench_need(malloc(d * d * sizeof(*M)));
    float *gathered = bench_need(malloc(R->n_cols * d * sizeof(*gathered)));
    const int D = (int)d, one = 1;
    int info;

    cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, D, (int)R->n_cols, a0, Y, D, 0, gram, D);
    for (uint32_t u = 0; u < R->n_rows; u++) {
        size_t n = csr_degree(R, u);
        float *x = ret_X + u * d;

        memset(x, 0, d * sizeof(*x));
        if (n == 0)
            continue;
        memcpy(M, gram, d * d * sizeof(*M));
        for (size_t a = 0; a < d; a++)
            M[a * d + a] += lambda * ((float)n + a0 * (float)n_given);
        for (size_t s = 0; s < n; s++) {
            memcpy(gathered + s * d, Y + R->col[R->start[u] + s] * d, d * sizeof(*x));
            cblas_saxpy(D, 1, gathered + s * d, 1, x, 1);
        }
        cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, D, (int)n, 1, gathered, D, 1, M, D);
        sposv_("L", &D, &one, M, &D, x, &D, &info, 1);
        if (info != 0)
            bench_need(NULL);
    }
    free(gram);
    free(M);
    free(gathered);
}

static double gigaflops(const struct csr *R, double d)
{
    double sum = 0;

    for (uint32_t u = 0; u < R->n_rows; u++) {
        double n = (double)csr_degree(R, u);

        sum += n < d ? n * n * d + n * n * n / 3 : n * d * d + d * d * d / 3;
    }
    return sum * 1e-9;
}

static double difference(const float *x, const float *want, size_t n_rows, size_t d)
{
    double worst = 0, longest = 0;

    for (size_t i = 0; i < n_rows; i++) {
        double square = 0, length = 0;

        for (size_t a = i * d; a < (i + 1) * d; a++) {
            square += pow((double)x[a] - (double)want[a], 2);
            length += (double)want[a] * (double)want[a];
        }
        worst = fmax(worst, square);
        longest = fmax(longest, length);
    }
    return sqrt(worst / longest);
}

static void run(const char *name, const struct csr *R, uint32_t d, unsigned threads)
{
    struct als_options o;
    struct als als;
    struct csr T;
    double best = 1e9, wall = 1e9, naive;

    als_options_init(&o);
    o.d = d;
    o.threads = threads;
    transpose(R, &T);
    for (int i = 0; i < 4; i++) {
        if (i > 0)
            als_done(&als);
        double start = bench_cpu_s();
        if (als_train(&o, R, &als, NULL) != ERR_OK)
            bench_need(NULL);
        best = fmin(best, bench_cpu_s() - start);
        wall = fmin(wall, als.seconds);
    }
    float *users = bench_need(malloc(R->n_rows * (size_t)d * sizeof(*users)));
    float *items = bench_need(malloc(R->n_cols * (size_t)d * sizeof(*items)));
    double n_users = active(R), n_items = active(&T), pairs = (double)R->nnz;
    a0 = (float)(ALS_EMPTY * pairs / n_users / n_items);
    lambda = als.fold.lambda;
    naive_half(R, (uint32_t)n_items, d, als.items, users);
    double apart = difference(als.users, users, R->n_rows, d);
    naive = bench_cpu_s();
    naive_half(&T, (uint32_t)n_users, d, users, items);
    naive_half(R, (uint32_t)n_items, d, items, users);
    naive = (bench_cpu_s() - naive) * (o.sweeps + 0.5);
    printf("%-24s %7u %7u %8zu %4u %8.2f %8.2f %8.1f %8.1f %8.1f  %.1e\n", name, R->n_rows,
           R->n_cols, R->nnz, d, best, wall, 1e3 * best / (o.sweeps + 0.5),
           (gigaflops(R, d) + gigaflops(&T, d)) * (o.sweeps + 0.5) / best, naive / best, apart);
    fflush(stdout);
    als_done(&als);
    csr_done(&T);
    free(users);
    free(items);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        uint32_t users, items;
        size_t pairs;
    } planted[] = {{"short histories", 9308, 6710, 59541},
                   {"many short histories", 50000, 17192, 256214},
                   {"dense", 6036, 3081, 346501}};
    const uint32_t d = argc > 2 ? (uint32_t)atoi(argv[2]) : 128;
    const unsigned threads = argc > 3 ? (unsigned)atoi(argv[3]) : 1;
    struct csr R;

    openblas_set_num_threads(1);
    printf("OpenBLAS for %s, %u threads of ours\n", openblas_get_corename(), threads);
    printf("%-24s %7s %7s %8s %4s %8s %8s %8s %8s %8s  %s\n", "", "users", "items", "pairs",
           "d", "seconds", "wall", "ms/sweep", "GF/s", "naive/it", "difference");
    if (argc > 1) {
        read_pairs(argv[1], &R);
        run("file", &R, d, threads);
        csr_done(&R);
    }
    for (size_t i = 0; argc == 1 && i < sizeof(planted) / sizeof(*planted); i++) {
        struct csr_pair *pairs =
            bench_graph_pairs(planted[i].users, planted[i].items, planted[i].pairs);

        if (csr_from_pairs(pairs, planted[i].pairs, planted[i].users, planted[i].items, &R,
                           NULL) != ERR_OK)
            bench_need(NULL);
        free(pairs);
        run(planted[i].name, &R, d, threads);
        csr_done(&R);
    }
    return 0;
}
