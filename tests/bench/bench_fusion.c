/* Fusion forward at the paper's sizes, as ratios within one run:
 *   sgemm   OpenBLAS on the same layer products (the multiply-adds of the factorised form), one
 *           thread, weights as stored
 *   naive   the textbook: W_i made for each item, then h W_i; per item, measured on two items
 *   torch   the factorised form in PyTorch float32, one thread (bench_fusion_torch.py), when
 *           python3-torch is there
 *   DRAM    one item: packed bytes a second against the faster of two ways to read 512 MB: memcmp
 *           of two halves, and one row times panels that are read once (the row kernel itself)
 * Times are CPU time of this thread (the machine may be shared); each figure is the lowest of a
 * few alternating runs. Before every run of one item other data is READ
 * through the caches (memset would write past them).
 *
 *     ninja bench_fusion && bin/bench_fusion [rows …]        default 1 8 64 256 1024 5986 */

#include "fusion/math/gemm.h"
#include "fusion/math/rng.h"
#include "fusion/model/fuse.h"
#include "fusion/model/fuse_plan.h"
#include "fusion/model/internal.h"

#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FEATURES    2276
#define OTHER_BYTES ((size_t)256 << 20)

static char *other[2]; /* what evicts the weights, and what DRAM is measured with */

static void *need(void *memory)
{
    if (memory == NULL) {
        fputs("bench_fusion: out of memory\n", stderr);
        exit(EXIT_FAILURE);
    }
    return memory;
}

static double cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Reads both buffers: what was in the caches is gone. */
static void read_other(void)
{
    if (memcmp(other[0], other[1], OTHER_BYTES) != 0)
        abort();
}

/* The row kernel over a buffer of zeros, as one matrix with 2048 rows. */
static void read_panels(const char *buffer)
{
    const struct gemm_kernel *kernel = gemm_kernel_best();
    const size_t K = 2048, n_panels = OTHER_BYTES / (K * kernel->width * sizeof(float));
    static float x[2048], y[32768];

    if (n_panels * kernel->width > sizeof(y) / sizeof(y[0]))
        abort();
    kernel->row(x, (const float *)(const void *)buffer, K, n_panels, y, false);
}

static double dram_bytes_per_s(void)
{
    double best = 0.0;

    for (int i = 0; i < 10; i++) {
        double start = cpu_s(), rate;

        if (i % 2 == 0) {
            read_other();
        } else {
            read_panels(other[0]);
            read_panels(other[1]);
        }
        rate = 2.0 * (double)OTHER_BYTES / (cpu_s() - start);
        best = rate > best ? rate : best;
    }
    return best;
}

static const struct fuse_layer *layer(const struct model *m, size_t i)
{
    return &m->plan->layers[i];
}

/* Multiply-adds of one item, and the bytes of the packed weights. */
static double item_madds(const struct model *m)
{
    double n = 0.0;

    for (size_t i = 0; i < m->plan->n_layers; i++)
        n += (double)layer(m, i)->W.K * (double)layer(m, i)->W.N +
             (double)layer(m, i)->B.K * (double)layer(m, i)->B.N;
    return n + (double)m->plan->W2.K * (double)m->plan->W2.N;
}

struct products { /* the layers' weights for OpenBLAS, [K][N] for many rows, [N][K] for one */
    float *w[MODEL_LAYERS_MAX];
    float *y;
};

static struct products make_products(const struct model *m, size_t rows)
{
    struct products p = {0};
    struct rng rng;
    size_t most = 0;

    rng_init(&rng, 2);
    for (size_t i = 0; i < m->plan->n_layers; i++) {
        const struct gemm_matrix *W = &layer(m, i)->W;

        p.w[i] = need(gemm_alloc(W->K * W->N));
        rng_fill(&rng, p.w[i], W->K * W->N, 0.1f);
        most = W->N > most ? W->N : most;
    }
    p.y = need(gemm_alloc(rows * most));
    return p;
}

static void free_products(struct products *p)
{
    for (size_t i = 0; i < MODEL_LAYERS_MAX; i++)
        free(p->w[i]);
    free(p->y);
}

static void run_blas(const struct model *m, const struct products *p, const float *X, size_t B)
{
    for (size_t i = 0; i < m->plan->n_layers; i++) {
        const struct gemm_matrix *W = &layer(m, i)->W;
        int K = (int)W->K, N = (int)W->N;

        if (B == 1)
            cblas_sgemv(CblasRowMajor, CblasNoTrans, N, K, 1.0f, p->w[i], K, X, 1, 0.0f, p->y,
                        1);
        else
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)B, N, K, 1.0f, X, K,
                        p->w[i], N, 0.0f, p->y, N);
    }
}

/* W (in, out) of one item: M + Σ_k s_k T_k, T_k = Σ_r A B C for CP; then h W. */
static void naive_layer(const struct model *m, int n, const float *s, const float *h, float *W,
                        float *ret_h)
{
    size_t in = (size_t)m->shape.width[n - 1], out = (size_t)m->shape.width[n];
    size_t S = (size_t)m->shape.S, R = (size_t)m->shape.R;
    bool cp = m->shape.fusion == FUSION_CP;
    const float *M = model_tensor(m, "layer_%d.M_1", n)->data;
    const float *A = cp ? model_tensor(m, "layer_%d.A", n)->data : NULL;
    const float *B = cp ? model_tensor(m, "layer_%d.B", n)->data : NULL;
    const float *C = cp ? model_tensor(m, "layer_%d.C", n)->data : NULL;
    const float *T = cp ? NULL : model_tensor(m, "layer_%d.T_1", n)->data;

    memcpy(W, M, in * out * sizeof(float));
    for (size_t k = 0; k < S && !cp; k++)
        cblas_saxpy((int)(in * out), s[k], T + k * in * out, 1, W, 1);
    for (size_t k = 0; k < S && cp; k++) { /* each T_k in full, as the definition has it */
        for (size_t r = 0; r < R; r++)
            cblas_sger(CblasRowMajor, (int)in, (int)out, s[k] * C[r * S + k], A + r, (int)R,
                       B + r * out, 1, W, (int)out);
    }
    cblas_sgemv(CblasRowMajor, CblasTrans, (int)in, (int)out, 1.0f, W, (int)out, h, 1, 0.0f,
                ret_h, 1);
}

static double naive_s(const struct model *m, const float *X)
{
    const float s[5] = {0.3f, -0.2f, 0.1f, 0.4f, -0.5f};
    float *W = need(gemm_alloc((size_t)FEATURES * 1024)), *h = need(gemm_alloc(FEATURES));
    float *z = need(gemm_alloc(FEATURES)), *next = need(gemm_alloc(1024));
    double start = cpu_s();

    for (int item = 0; item < 2; item++) {
        cblas_sgemv(CblasRowMajor, CblasNoTrans, FEATURES, FEATURES, 1.0f,
                    model_tensor(m, "mlp_signal.0.weight")->data, FEATURES, X, 1, 0.0f, z, 1);
        memcpy(h, X, FEATURES * sizeof(float));
        for (int n = 1; n <= m->shape.L; n++) {
            naive_layer(m, n, s, h, W, next);
            memcpy(h, next, (size_t)m->shape.width[n] * sizeof(float));
        }
    }
    start = (cpu_s() - start) / 2.0;
    free(W);
    free(h);
    free(z);
    free(next);
    return start;
}

/* Microseconds an item, or 0 without torch. */
static double torch_us(const char *kind, size_t B)
{
    char command[512], line[64] = "";
    FILE *out;
    double us = 0.0;

    snprintf(command, sizeof(command), "OMP_NUM_THREADS=1 /usr/bin/python3 %s %s %zu 2>&1",
             BENCH_TORCH_SCRIPT, kind, B);
    out = popen(command, "r");
    if (out == NULL)
        return 0.0;
    if (fgets(line, sizeof(line), out) != NULL)
        us = strtod(line, NULL);
    return pclose(out) == 0 ? us : 0.0;
}

static void bench_rows(const struct model *m, const float *X, size_t B, double naive,
                       double dram)
{
    const char *kind = fusion_kind_name(m->shape.fusion);
    size_t runs = B <= 64 ? 15 : B <= 1024 ? 5 : 2;
    struct products p = make_products(m, B);
    float *E = need(gemm_alloc(B * 32));
    double ours = 1e9, blas = 1e9, start, torch;
    struct fuse_context *c;

    if (fuse_context_new(m, B, &c, NULL) != ERR_OK)
        need(NULL);
    for (size_t i = 0; i < runs; i++) {
        if (B == 1)
            read_other();
        start = cpu_s();
        if (fuse_forward_in(c, X, B, E, NULL) != ERR_OK)
            abort();
        start = cpu_s() - start;
        ours = start < ours ? start : ours;
        if (B == 1)
            read_other();
        start = cpu_s();
        run_blas(m, &p, X, B);
        start = cpu_s() - start;
        blas = start < blas ? start : blas;
    }
    torch = torch_us(kind, B);
    printf("%-5s %5zu %10.1f %8.1f %9.2f %9.2f", kind, B, 1e6 * ours / (double)B,
           2e-9 * item_madds(m) * (double)B / ours, blas / ours, naive * (double)B / ours);
    if (torch > 0.0)
        printf(" %9.2f", torch * (double)B * 1e-6 / ours);
    else
        printf("         -");
    if (B == 1)
        printf("   %.0f %% of DRAM", 400.0 * item_madds(m) / ours / dram);
    printf("\n");
    fflush(stdout);
    fuse_context_free(c);
    free_products(&p);
    free(E);
}

int main(int argc, char **argv)
{
    static const size_t usual[] = {1, 8, 64, 256, 1024, 5986};
    const size_t n_rows = argc > 1 ? (size_t)argc - 1 : sizeof(usual) / sizeof(usual[0]);
    size_t most = 5986;
    struct rng rng;
    double dram;
    float *X;

    openblas_set_num_threads(1);
    for (int i = 0; i < 2; i++)
        other[i] = need(gemm_alloc(OTHER_BYTES / sizeof(float)));
    dram = dram_bytes_per_s();
    for (int i = 1; i < argc; i++)
        most = strtoul(argv[i], NULL, 10) > most ? strtoul(argv[i], NULL, 10) : most;
    X = need(gemm_alloc(most * FEATURES));
    rng_init(&rng, 1);
    rng_fill(&rng, X, most * FEATURES, 1.7f);
    printf("kernel %s, OpenBLAS %s, DRAM %.1f GB/s\n", gemm_kernel_best()->name,
           openblas_get_corename(), dram / 1e9);
    printf("%-5s %5s %10s %8s %9s %9s %9s\n", "", "rows", "us/item", "GF/s", "sgemm/us",
           "naive/us", "torch/us");
    for (int kind = FUSION_DENSE; kind <= FUSION_CP; kind++) {
        struct model_shape shape = {.fusion = (enum fusion_kind)kind,
                                    .modality_dim = {2048, 128, 100}};
        struct model *m;
        double naive;

        if (model_seed(&shape, 1, &m, NULL) != ERR_OK)
            need(NULL);
        naive = naive_s(m, X);
        for (size_t i = 0; i < n_rows; i++)
            bench_rows(m, X, argc > 1 ? strtoul(argv[i + 1], NULL, 10) : usual[i], naive, dram);
        model_free(m);
    }
    free(X);
    free(other[0]);
    free(other[1]);
    return 0;
}
