/* LightGCN on Gowalla (--fusion none --backbone lightgcn): 64 columns, 3 layers, batch 2,048,
 * lr 1e-3, decay 1e-4, 10 % of each user's pairs held out, 5 epochs; Recall@20 and NDCG@20 on the
 * held-out pairs and seconds an epoch, a line a seed. bench_lightgcn_torch.py is the same in
 * PyTorch on the same split: `split FOLDER` writes it there as uint32 pairs.
 *
 *     ninja bench_lightgcn && bin/bench_lightgcn split FOLDER
 *     taskset -c 0 bin/bench_lightgcn train [seeds [threads]]     default 3 seeds, one thread
 *     taskset -c 0 bin/bench_lightgcn ratio     a step against torch's sparse COO step, in turns */

#include "bench_data.h"

#include "fusion/train/train.h"

#include <cblas.h>
#include <unistd.h>

enum { BATCH = 2048, EPOCHS = 5, LAYERS = 3, WIDTH = 64 };

static struct {
    uint32_t n_users, n_items;
    struct csr_pair *train, *valid;
    size_t n_train, n_valid;
} split;

static void add(struct csr_pair **pairs, size_t *n, uint32_t user, uint32_t item)
{
    if ((*n & (*n - 1)) == 0)
        *pairs = bench_need(realloc(*pairs, (*n ? 2 * *n : 1) * sizeof(**pairs)));
    (*pairs)[(*n)++] = (struct csr_pair){user, item};
}

/* A user's items: the first tenth of a seeded order, rounded down, is held out. */
static void add_user(struct rng *rng, uint32_t user, uint32_t *items, size_t n)
{
    rng_shuffle(rng, items, n);
    for (size_t i = 0; i < n; i++) {
        if (i < n / 10)
            add(&split.valid, &split.n_valid, user, items[i]);
        else
            add(&split.train, &split.n_train, user, items[i]);
        if (items[i] >= split.n_items)
            split.n_items = items[i] + 1;
    }
    if (user >= split.n_users)
        split.n_users = user + 1;
}

static int read_split(void)
{
    FILE *in = fopen(BENCH_SHARED_DATA "/gowalla/train.txt", "r");
    static uint32_t items[1 << 16];
    char *line = NULL;
    size_t room = 0;
    struct rng rng;

    if (in == NULL) {
        puts("skipped: ../shared/data/gowalla/train.txt is not here");
        return -1;
    }
    rng_init(&rng, 2020);
    while (getline(&line, &room, in) > 0) {
        char *at = line, *end;
        uint32_t user = (uint32_t)strtoul(at, &end, 10);
        size_t n = 0;

        for (at = end; n < sizeof(items) / sizeof(*items); at = end) {
            uint32_t item = (uint32_t)strtoul(at, &end, 10);
            if (end == at)
                break;
            items[n++] = item;
        }
        add_user(&rng, user, items, n);
    }
    free(line);
    fclose(in);
    return 0;
}

static void write_pairs(const char *folder, const char *name, const struct csr_pair *pairs,
                        size_t n)
{
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *out = bench_need(fopen(path, "wb"));
    if (fwrite(pairs, sizeof(*pairs), n, out) != n || fclose(out) != 0)
        bench_need(NULL);
}

static struct trainee_options options(uint64_t seed, unsigned threads)
{
    struct trainee_options o;

    trainee_options_paper(&o);
    o.shape.fusion = FUSION_NONE;
    o.shape.backbone = BACKBONE_LIGHTGCN;
    o.shape.id_dim = WIDTH;
    o.shape.hops = LAYERS;
    o.seed = seed;
    o.lr = 1e-3F;
    o.decay = 1e-4F;
    o.threads = threads;
    return o;
}

static struct trainee_data data_of(void)
{
    return (struct trainee_data){.mask = bench_need(calloc(split.n_items, 1)),
                                 .n_users = split.n_users,
                                 .n_items = split.n_items,
                                 .pairs = split.train,
                                 .n_pairs = split.n_train};
}

static void train_seed(uint64_t seed, unsigned threads)
{
    struct trainee_data data = data_of();
    struct train_options o;
    struct train_result r;
    struct err err = {0};
    double cpu = bench_cpu_s(), wall = bench_wall_s();

    train_options_init(&o);
    o.model = options(seed, threads);
    o.batch = BATCH;
    o.max_epochs = o.evaluate_every = EPOCHS;
    o.valid_users = 0;
    if (train_run(&o, &data, split.valid, split.n_valid, NULL, NULL, NULL, &r, &err) !=
        ERR_OK) {
        fprintf(stderr, "bench_lightgcn: %s\n", err.text);
        exit(EXIT_FAILURE);
    }
    cpu = bench_cpu_s() - cpu;
    wall = bench_wall_s() - wall;
    const struct evaluate_figures *f = &r.valid.at[EVALUATE_OVERALL][1];
    printf("seed %llu: Recall@20 %.4f NDCG@20 %.4f, %.1f CPU s and %.1f s an epoch\n",
           (unsigned long long)seed, f->recall, f->ndcg, cpu / EPOCHS, wall / EPOCHS);
    fflush(stdout);
    train_result_done(&r);
    free((void *)(uintptr_t)data.mask);
}

static double ours_step_s(void)
{
    struct trainee_data data = data_of();
    struct trainee_options o = options(1, 1);
    static uint32_t rows[3 * BATCH];
    struct trainee *t;
    double best = 1e9;

    if (trainee_new(&o, &data, &t, NULL) != ERR_OK)
        bench_need(NULL);
    for (int step = 0; step < 8; step++) {
        for (size_t b = 0; b < BATCH; b++) {
            const struct csr_pair *p = &split.train[rng_below(&t->rng, split.n_train)];
            rows[b] = p->row;
            rows[BATCH + b] = p->col;
            rows[2 * BATCH + b] = (uint32_t)rng_below(&t->rng, split.n_items);
        }
        double start = bench_cpu_s();
        trainee_step(t, rows, rows + BATCH, rows + 2 * BATCH, BATCH);
        start = bench_cpu_s() - start;
        best = start < best ? start : best;
    }
    trainee_free(t);
    free((void *)(uintptr_t)data.mask);
    return best;
}

static void bench_ratio(void)
{
    char folder[] = "/tmp/mmf-bench-lightgcn-XXXXXX", command[512], path[64];

    bench_need(mkdtemp(folder));
    write_pairs(folder, "train", split.train, split.n_train);
    write_pairs(folder, "valid", split.valid, split.n_valid);
    snprintf(command, sizeof(command),
             "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 /usr/bin/python3 %s step %s 2>&1",
             BENCH_TORCH_SCRIPT, folder);
    double before = ours_step_s(), torch = bench_command(command), after = ours_step_s();
    double ours = before < after ? before : after;
    printf("step: %.1f ms, torch's sparse COO step %.1f times that\n", 1e3 * ours,
           torch / ours);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, i ? "train" : "valid");
        unlink(path);
    }
    rmdir(folder);
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "train";
    unsigned long seeds = argc > 2 ? strtoul(argv[2], NULL, 10) : 3;

    openblas_set_num_threads(1);
    if (read_split() != 0)
        return 0;
    if (strcmp(verb, "split") == 0 && argc == 3) {
        write_pairs(argv[2], "train", split.train, split.n_train);
        write_pairs(argv[2], "valid", split.valid, split.n_valid);
    } else if (strcmp(verb, "ratio") == 0) {
        bench_ratio();
    } else {
        for (unsigned long seed = 1; seed <= seeds; seed++)
            train_seed(seed, argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 1);
    }
    free(split.train);
    free(split.valid);
    return 0;
}
