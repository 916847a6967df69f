/* Whole training steps of MetaMMF at MovieLens size (synthetic power-law graph: 55,485 users, 5,986
 * items, 991,606 training pairs; 2,276 columns; batch 3,000): CPU seconds a step, where they go,
 * and the peak memory of a process that does nothing else: features, graph, weights and moments, a
 * second copy of the weights (the best ones, as train.c keeps), workspace, one evaluation.
 * `linear` takes 1/8, 1/4, 1/2 and all of the pairs, users in proportion: what a step, an epoch of
 * the mf backbone and the graph part cost an interaction.
 * Each configuration runs in a child process of its own; times are the lower of two steps.
 *
 *     ninja bench_step && taskset -c 0 bin/bench_step [step [FUSION BACKBONE]|linear] */

#include "bench_data.h"

#include "fusion/math/gemm.h"
#include "fusion/train/train.h"

#include <cblas.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    USERS = 55485,
    ITEMS = 5986,
    FEATURES = 2276,
    BATCH = 3000,
    TEST = 20000,
    NEGATIVES = 8
};
static const size_t EDGES = 991606;

struct config {
    const char *fusion, *backbone;
    size_t n_pairs;
};

static struct trainee *make(const struct config *c, struct trainee_data *data)
{
    struct trainee_options o;
    struct trainee *t;
    struct err err = {0};

    trainee_options_paper(&o);
    o.hide_positives = true; /* with fusion, the recipe of trainee_options_init */
    o.negatives = NEGATIVES;
    o.shape.fusion = (enum fusion_kind)fusion_kind_parse(c->fusion);
    o.shape.backbone = (enum backbone_kind)backbone_kind_parse(c->backbone);
    o.shape.modality_dim[0] = 2048;
    o.shape.modality_dim[1] = 128;
    o.shape.modality_dim[2] = 100;
    if (o.shape.fusion == FUSION_NONE) {
        memset(o.shape.modality_dim, 0, sizeof(o.shape.modality_dim));
        o.shape.id_dim = 64;
    }
    if (trainee_new(&o, data, &t, &err) != ERR_OK) {
        fprintf(stderr, "bench_step: %s\n", err.text);
        exit(EXIT_FAILURE);
    }
    return t;
}

static void fill(struct trainee_data *data, const struct config *c)
{
    struct rng rng;
    uint8_t *mask = bench_need(malloc(ITEMS));

    *data = (struct trainee_data){.n_users = (uint32_t)(USERS * c->n_pairs / EDGES),
                                  .n_items = ITEMS,
                                  .n_pairs = c->n_pairs,
                                  .mask = mask};
    memset(mask, 7, ITEMS);
    data->pairs = bench_graph_pairs(data->n_users, ITEMS, c->n_pairs);
    if (strcmp(c->fusion, "none") == 0)
        return;
    float *X = bench_need(malloc((size_t)ITEMS * FEATURES * sizeof(*X)));
    rng_init(&rng, 3);
    rng_fill(&rng, X, (size_t)ITEMS * FEATURES, 1.0F);
    data->X = X;
}

static double step_s(struct trainee *t, size_t n_steps)
{
    static uint32_t rows[(2 + NEGATIVES) * BATCH];
    double best = 1e9;

    for (size_t step = 0; step < n_steps; step++) {
        for (size_t b = 0; b < BATCH; b++) {
            const struct csr_pair *p = &t->data->pairs[rng_below(&t->rng, t->data->n_pairs)];
            rows[b] = p->row;
            rows[BATCH + b] = p->col;
            for (size_t k = 0; k < NEGATIVES; k++)
                rows[(2 + k) * BATCH + b] = (uint32_t)rng_below(&t->rng, ITEMS);
        }
        double start = bench_cpu_s();
        trainee_step(t, rows, rows + BATCH, rows + 2 * BATCH, BATCH);
        start = bench_cpu_s() - start;
        best = start < best ? start : best;
    }
    return best;
}

/* What train.c holds beside the trainee, touched. */
static void evaluate_once(struct trainee *t)
{
    static const uint32_t cuts[] = {10, 20};
    struct evaluate_result result;
    float *best = bench_need(gemm_alloc(t->n_weights));

    memcpy(best, t->w, t->n_weights * sizeof(*best));
    trainee_forward(t);
    if (train_evaluate(t, t->data->pairs, TEST, cuts, 2, &result, NULL) != ERR_OK)
        bench_need(NULL);
    free(best);
}

static double fusion_s(struct trainee *t)
{
    double best = 1e9;

    for (int run = 0; run < 1 && t->n_fused; run++) {
        double start = bench_cpu_s();
        fusenet_forward(&t->net, t->X, ITEMS, t->H);
        fusenet_backward(&t->net, t->X, ITEMS, t->dH);
        start = bench_cpu_s() - start;
        best = start < best ? start : best;
    }
    return t->n_fused ? best : 0;
}

static double adam_s(struct trainee *t)
{
    double start = bench_cpu_s();

    adam_begin(&t->adam);
    adam_update(&t->adam, NULL, t->w, t->g, t->m, t->v, t->n_weights);
    return bench_cpu_s() - start;
}

static void run_step(const struct config *c)
{
    struct trainee_data data;
    fill(&data, c);
    struct trainee *t = make(c, &data);
    double step = step_s(t, 2);

    evaluate_once(t);
    double peak = bench_peak_gb(), fusion = fusion_s(t);
    printf("%-6s %-9s %8.3f s %7.0f %% %8.1f ms %8.2f GB\n", c->fusion, c->backbone, step,
           100 * fusion / step, 1e3 * adam_s(t), peak);
}

static void run_linear(const struct config *c)
{
    struct trainee_data data;
    fill(&data, c);
    double start = bench_cpu_s();
    struct trainee *t = make(c, &data);
    double made = bench_cpu_s() - start, step = step_s(t, 3);
    double n_steps = (double)((c->n_pairs + BATCH - 1) / BATCH);

    start = bench_cpu_s();
    evaluate_once(t);
    double evaluated = bench_cpu_s() - start;
    printf("%-6s %-9s %9zu %10.1f %10.1f %10.1f %12.2f %12.2f\n", c->fusion, c->backbone,
           c->n_pairs, 1e3 * made, 1e3 * step, 1e3 * evaluated, 1e9 * step / (double)c->n_pairs,
           1e6 * step * n_steps / (double)c->n_pairs);
}

/* In a child, so that its memory is its own. */
static void in_child(void (*run)(const struct config *c), struct config c)
{
    fflush(stdout);
    pid_t child = fork();
    int status;

    if (child == 0) {
        run(&c);
        fflush(stdout);
        _exit(0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        fprintf(stderr, "bench_step: %s %s failed\n", c.fusion, c.backbone);
}

static void bench_steps(void)
{
    static const char *const fusions[] = {"none", "static", "cp", "dense"};
    static const char *const backbones[] = {"mf", "sage", "lightgcn"};

    printf("%-6s %-9s %10s %9s %11s %11s\n", "fusion", "backbone", "step", "fusion", "Adam",
           "peak");
    for (size_t f = 0; f < sizeof(fusions) / sizeof(*fusions); f++)
        for (size_t b = 0; b < sizeof(backbones) / sizeof(*backbones); b++)
            in_child(run_step, (struct config){fusions[f], backbones[b], EDGES});
}

static void bench_linear(void)
{
    static const char *const backbones[] = {"mf", "sage", "lightgcn"};

    printf("%-6s %-9s %9s %10s %10s %10s %12s %12s\n", "fusion", "backbone", "pairs", "new ms",
           "step ms", "eval ms", "ns/step/pair", "us/ep./pair");
    for (size_t b = 0; b < sizeof(backbones) / sizeof(*backbones); b++)
        for (size_t part = 8; part; part /= 2)
            in_child(run_linear, (struct config){"none", backbones[b], EDGES / part});
}

int main(int argc, char **argv)
{
    openblas_set_num_threads(1);
    if (argc > 3) {
        in_child(run_step, (struct config){argv[2], argv[3], EDGES});
        return 0;
    }
    if (argc < 2 || strcmp(argv[1], "step") == 0)
        bench_steps();
    if (argc < 2 || strcmp(argv[1], "linear") == 0)
        bench_linear();
    return 0;
}
