/* The graph part of a training step at MovieLens size (55,485 users, 5,986 items, 991,606 edges of
 * a power law, 64 columns, batch 3,000): backbone forward, BPR, backbone backward, without the
 * fusion and the optimiser, against the same in PyTorch (bench_graph_torch.py; one thread, CPU
 * time):
 *   coo       torch.sparse.mm over COO matrices
 *   gather    x[source] and index_add, as PyTorch Geometric's message passing and the authors' code
 * Each figure is the lowest of a few runs.
 *
 *     ninja bench_graph && taskset -c 0 bin/bench_graph [sage|lightgcn …] */

#include "bench_data.h"

#include "fusion/train/trainee.h"

#include <cblas.h>
#include <unistd.h>

enum { USERS = 55485, ITEMS = 5986, EDGES = 991606, BATCH = 3000, RUNS = 7 };

static struct csr_pair *pairs;
static char path[] = "/tmp/mmf-bench-graph-XXXXXX";

static double torch_s(const char *backbone, const char *form)
{
    char command[512];

    snprintf(
        command, sizeof(command),
        "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 /usr/bin/python3 %s %s %s %s %d %d %d 2>&1",
        BENCH_TORCH_SCRIPT, path, backbone, form, USERS, ITEMS, BATCH);
    return bench_command(command);
}

static double ours_s(int backbone)
{
    struct trainee_data data = {
        .n_users = USERS, .n_items = ITEMS, .pairs = pairs, .n_pairs = EDGES};
    uint8_t *mask = bench_need(calloc(ITEMS, 1));
    uint32_t *rows = bench_need(malloc(3 * BATCH * sizeof(*rows)));
    struct trainee_options o;
    struct trainee *t;
    double best = 1e9;

    data.mask = mask;
    trainee_options_paper(&o);
    o.shape.fusion = FUSION_NONE;
    o.shape.backbone = (enum backbone_kind)backbone;
    o.shape.id_dim = 64;
    o.shape.hops = 3; /* of lightgcn; the others have their own */
    if (trainee_new(&o, &data, &t, NULL) != ERR_OK)
        bench_need(NULL);
    for (int run = 0; run < RUNS; run++) {
        for (size_t b = 0; b < BATCH; b++) {
            const struct csr_pair *p = &pairs[rng_below(&t->rng, EDGES)];
            rows[b] = p->row;
            rows[BATCH + b] = p->col;
            rows[2 * BATCH + b] = (uint32_t)rng_below(&t->rng, ITEMS);
        }
        double start = bench_cpu_s();
        trainee_gradient(t, rows, rows + BATCH, rows + 2 * BATCH, BATCH, true);
        start = bench_cpu_s() - start;
        best = start < best ? start : best;
    }
    trainee_free(t);
    free(mask);
    free(rows);
    return best;
}

static void bench_backbone(const char *name)
{
    double ours = ours_s(backbone_kind_parse(name));
    double coo = torch_s(name, "coo"), gather = torch_s(name, "gather");

    printf("%-9s %9.1f", name, 1e3 * ours);
    for (int i = 0; i < 2; i++) {
        double torch = i ? gather : coo;
        if (torch > 0.0)
            printf(" %11.1f", torch / ours);
        else
            printf("           -");
    }
    printf("\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int fd = mkstemp(path);
    FILE *out = fd < 0 ? NULL : fdopen(fd, "wb");

    openblas_set_num_threads(1);
    pairs = bench_graph_pairs(USERS, ITEMS, EDGES);
    bench_need(out);
    if (fwrite(pairs, sizeof(*pairs), EDGES, out) != EDGES || fclose(out) != 0)
        bench_need(NULL);
    printf("%-9s %9s %11s %11s\n", "", "ms", "coo/ours", "gather/ours");
    for (int i = 1; i < argc; i++)
        bench_backbone(argv[i]);
    if (argc == 1) {
        bench_backbone("sage");
        bench_backbone("lightgcn");
    }
    unlink(path);
    free(pairs);
    return 0;
}
