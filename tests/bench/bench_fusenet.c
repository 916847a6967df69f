/* The fusion network that trains (fusenet.h), forward and forward + backward at the paper's sizes,
 * as ratios within one run, CPU time of one thread, the lowest of a few runs:
 *   peak      what the multiply-adds of the factorised form cost at the rate of one square sgemm of
 *             2,048 rows; sgemm of the same machine, at its best
 *   torch     the factorised form in PyTorch float32 (bench_fusenet_torch.py), run between two
 *             runs of ours, when python3-torch is there
 *   reference 256 rows: the published architecture in PyTorch, each item's weight matrix made, with
 *             glibc's malloc as it comes and told to keep its memory
 *
 *     ninja bench_fusenet && taskset -c 0 bin/bench_fusenet [rows …]   default 1 64 256 1024 5986
 *     taskset -c 0 bin/bench_fusenet reference                          needs about 12 GB */

#include "bench_data.h"

#include "fusion/math/gemm.h"
#include "fusion/train/fusenet.h"

#include <cblas.h>

enum { FEATURES = 2276, SQUARE = 2048 };

struct times {
    double forward, both; /* seconds */
};

static double least(double a, double b)
{
    return a < b ? a : b;
}

static double peak_flops(void)
{
    size_t n = (size_t)SQUARE * SQUARE;
    float *A = bench_need(gemm_alloc(n)), *B = bench_need(gemm_alloc(n));
    float *C = bench_need(gemm_alloc(n));
    struct rng rng;
    double best = 1e9;

    rng_init(&rng, 4);
    rng_fill(&rng, A, n, 1);
    rng_fill(&rng, B, n, 1);
    for (int run = 0; run < 4; run++) {
        double start = bench_cpu_s();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, SQUARE, SQUARE, SQUARE, 1, A,
                    SQUARE, B, SQUARE, 0, C, SQUARE);
        best = least(best, bench_cpu_s() - start);
    }
    free(A);
    free(B);
    free(C);
    return 2.0 * SQUARE * SQUARE * SQUARE / best;
}

/* Of one item: forward, and with backward (no gradient of the input). */
static struct times flops(const struct fusenet *net)
{
    struct times f = {0};

    for (int n = 0; n < net->shape.L; n++) {
        double madds = (double)net->layer[n].in * (double)net->layer[n].n_cols;

        f.forward += 2 * madds;
        f.both += (n ? 6 : 4) * madds;
    }
    return f;
}

static struct times ours(struct fusenet *net, const float *X, size_t B, float *E)
{
    int runs = B <= 64 ? 9 : B <= 1024 ? 4 : 2;
    struct times best = {1e9, 1e9};

    for (int run = 0; run < runs; run++) {
        double start = bench_cpu_s(), forward;

        fusenet_forward(net, X, B, E);
        forward = bench_cpu_s() - start;
        fusenet_backward(net, X, B, E);
        best.both = least(best.both, bench_cpu_s() - start);
        best.forward = least(best.forward, forward);
    }
    return best;
}

static struct times torch(const char *how, const char *kind, size_t B)
{
    char command[512], line[128] = "", *end;
    struct times t = {0};

    snprintf(command, sizeof(command),
             "%s OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 /usr/bin/python3 %s %s %zu 2>&1", how,
             BENCH_TORCH_SCRIPT, kind, B);
    FILE *out = popen(command, "r");
    if (out == NULL)
        return t;
    if (fgets(line, sizeof(line), out) != NULL) {
        t.forward = strtod(line, &end);
        t.both = strtod(end, NULL);
    }
    return pclose(out) == 0 ? t : (struct times){0};
}

static struct fusenet make(int kind, size_t B)
{
    struct model_shape shape = {.fusion = (enum fusion_kind)kind,
                                .F = FEATURES,
                                .S = 5,
                                .R = 16,
                                .L = 4,
                                .width = {FEATURES, 1024, 512, 256, 32}};
    struct fusenet net;
    struct rng rng;

    fusenet_init(&net, &shape);
    net.w = bench_need(gemm_alloc(net.n_weights));
    net.g = bench_need(gemm_alloc(net.n_weights));
    rng_init(&rng, 6);
    rng_fill(&rng, net.w, net.n_weights, 0.03F);
    if (fusenet_reserve(&net, B, NULL) != ERR_OK)
        bench_need(NULL);
    return net;
}

static void done(struct fusenet *net)
{
    free(net->w);
    free(net->g);
    fusenet_done(net);
}

static void bench_rows(int kind, const float *X, size_t B, double peak)
{
    struct fusenet net = make(kind, B);
    float *E = bench_need(gemm_alloc(B * 32));
    struct times f = flops(&net), a = ours(&net, X, B, E);
    struct times t = torch("", fusion_kind_name(net.shape.fusion), B), b = ours(&net, X, B, E);
    double forward = least(a.forward, b.forward), both = least(a.both, b.both);

    printf("%-6s %5zu %9.1f %6.0f %% %6.2f %12.1f %6.0f %% %6.2f\n",
           fusion_kind_name(net.shape.fusion), B, 1e6 * forward / (double)B,
           100 * f.forward * (double)B / peak / forward, t.forward / forward,
           1e6 * both / (double)B, 100 * f.both * (double)B / peak / both, t.both / both);
    fflush(stdout);
    free(E);
    done(&net);
}

static void bench_reference(int kind, const float *X)
{
    enum { B = 256 };
    static const char keeps[] =
        "GLIBC_TUNABLES=glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=68719476736";
    struct fusenet net = make(kind, B);
    float *E = bench_need(gemm_alloc(B * 32));
    char name[32];

    snprintf(name, sizeof(name), "%s-reference", fusion_kind_name(net.shape.fusion));
    struct times a = ours(&net, X, B, E), plain = torch("", name, B);
    struct times tuned = torch(keeps, name, B), b = ours(&net, X, B, E);
    double both = least(a.both, b.both), forward = least(a.forward, b.forward);
    printf("%-6s %5d   reference / ours: forward %.0f (tuned malloc %.0f), with backward %.0f "
           "(%.0f)\n",
           fusion_kind_name(net.shape.fusion), B, plain.forward / forward,
           tuned.forward / forward, plain.both / both, tuned.both / both);
    fflush(stdout);
    free(E);
    done(&net);
}

int main(int argc, char **argv)
{
    static const char *const usual[] = {"", "1", "64", "256", "1024", "5986"};
    const char *const *rows = argc > 1 ? (const char *const *)argv : usual;
    int n_rows = argc > 1 ? argc : 6;
    bool reference = argc > 1 && strcmp(argv[1], "reference") == 0;
    float *X = bench_need(gemm_alloc((size_t)5986 * FEATURES));
    struct rng rng;
    double peak;

    openblas_set_num_threads(1);
    rng_init(&rng, 1);
    rng_fill(&rng, X, (size_t)5986 * FEATURES, 1.7F);
    peak = reference ? 0 : peak_flops();
    if (!reference)
        printf("sgemm peak %.1f GF/s (%s)\n%-6s %5s %9s %8s %6s %12s %8s %6s\n", peak / 1e9,
               openblas_get_corename(), "", "rows", "us/item", "of peak", "torch", "+back us",
               "of peak", "torch");
    for (int kind = FUSION_DENSE; kind <= FUSION_CP; kind++) {
        for (int i = 1; i < n_rows && !reference; i++)
            bench_rows(kind, X, strtoul(rows[i], NULL, 10), peak);
        if (reference)
            bench_reference(kind, X);
    }
    free(X);
    return 0;
}
