/* bench_publish FOLDER [N]: a model's vectors for N items (100,000) and N/2 users into a store
 * that readers poll meanwhile, by the daemon's own pipeline.
 *
 *   trained   a candidate's files as a trainer leaves them: read, checked, copied, published, flip
 *   fused     a model without vectors (an import, a rollback to one that retention has emptied):
 *             all items fused from their stored features, published, flip
 *   graph     the same with the item-item graph: each item looks at all of the model's; and one
 *             item alone, as an upload is fused
 *
 * Two threads read one embedding at a time by random id; their 99th percentile during each
 * publication is set against that of 5 s before. The share of GEMM is the CPU time of the model's
 * layer products alone, over as many rows, against the CPU time of the whole. FOLDER must be empty
 * and is left as it is: some 800 MB. */

#include "config/clock.h"
#include "config/digest.h"
#include "daemon/model/candidate.h"
#include "daemon/pipeline/pipeline.h"
#include "fusion/math/gemm.h"
#include "fusion/math/rng.h"
#include "fusion/model/fuse.h"
#include "fusion/model/internal.h"
#include "store/reading.h"
#include "store/writing.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { DIM = 256, D = 64, BLOCK = 500, READERS = 2, SAMPLES_MAX = 1 << 20, IDLE_S = 5 };

static struct settings s;
static struct pipeline *p;
static size_t n_items = 100000, n_users;

static void must(int status, const struct err *err)
{
    if (status != ERR_OK) {
        fprintf(stderr, "bench_publish: %s\n", err->text);
        exit(1);
    }
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- readers ------------------------------------------------------------------------------- */

enum { IDLE, TRAINED, FUSED, GRAPH, END };
static atomic_int phase;
static struct reader {
    pthread_t thread;
    size_t n[END];
    float *ms[END]; /* (SAMPLES_MAX) */
    int64_t n_models;
} readers[READERS];

static void *read_on(void *arg)
{
    struct reader *r = arg;
    struct rng rng;
    struct store *st;
    struct err err;
    int64_t model = 0;
    int at;
    rng_init(&rng, (uint64_t)(r - readers) + 99);
    must(store_open(s.store.path, STORE_READ, &st, &err), &err);
    while ((at = atomic_load(&phase)) < END) {
        struct store_embedding e;
        char id[32];
        snprintf(id, sizeof id, "v%llu", (unsigned long long)rng_below(&rng, n_items));
        int64_t start_us = clock_mono_us();
        must(store_get_embedding(st, id, &e, &err), &err);
        if (r->n[at] < SAMPLES_MAX)
            r->ms[at][r->n[at]++] = (float)(clock_mono_us() - start_us) * 1e-3F;
        r->n_models += e.model_id != model;
        if (e.model_id < model)
            must(err_fatal(&err, 70, "an older model came back"), &err);
        model = e.model_id;
        store_embedding_done(&e);
        nanosleep(&(struct timespec){0, 200000}, NULL);
    }
    store_close(st);
    return NULL;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(int at, double share, size_t *ret_n)
{
    size_t n = 0;
    float *all = malloc(READERS * (size_t)SAMPLES_MAX * sizeof *all);
    for (int i = 0; all && i < READERS; i++) {
        memcpy(all + n, readers[i].ms[at], readers[i].n[at] * sizeof *all);
        n += readers[i].n[at];
    }
    if (!all || n == 0)
        return 0;
    qsort(all, n, sizeof *all, compare_floats);
    double v = (double)all[(size_t)((double)(n - 1) * share)];
    free(all);
    *ret_n = n;
    return v;
}

/* ---- the site ------------------------------------------------------------------------------ */

static void random_row(struct rng *rng, float *row, size_t n)
{
    for (size_t i = 0; i < n; i++)
        row[i] = rng_float(rng) - 0.5F;
}

static int put_block(struct store *st, void *arg, struct err *err)
{
    size_t first = *(size_t *)arg;
    static float x[BLOCK][3][DIM];
    static char ids[BLOCK][24], users[BLOCK][24];
    static struct store_video v[BLOCK];
    static struct store_interaction y[BLOCK];
    struct store_op ops[2 * BLOCK];
    struct store_batch_result result;
    struct rng rng;
    size_t n = n_items - first < BLOCK ? n_items - first : BLOCK;
    rng_init(&rng, first);
    for (size_t i = 0; i < n; i++) {
        static const char *const encoders[] = {"import:v:256", "import:a:256", "import:t:256"};
        snprintf(ids[i], sizeof ids[i], "v%zu", first + i);
        snprintf(users[i], sizeof users[i], "u%zu", (first + i) % n_users);
        v[i] =
            (struct store_video){.pos = {"bench", 0, (int64_t)(first + i)}, .item_id = ids[i]};
        for (int m = 0; m < 3; m++) {
            random_row(&rng, x[i][m], DIM);
            v[i].feature[m] = (struct store_vector){x[i][m], DIM, encoders[m]};
        }
        y[i] = (struct store_interaction){.pos = {"clicks", 0, (int64_t)(first + i)},
                                          .user_id = users[i],
                                          .item_id = ids[i],
                                          .weight = 1,
                                          .ts_us = (int64_t)(first + i)};
        ops[i] = (struct store_op){.kind = STORE_OP_VIDEO, .video = &v[i]};
        ops[n + i] = (struct store_op){.kind = STORE_OP_INTERACTION, .interaction = &y[i]};
    }
    return store_write_batch(st, ops, 2 * n, NULL, 0, &result, err);
}

static struct model_shape shape(void)
{
    struct model_shape sh = {.fusion = FUSION_CP,
                             .backbone = BACKBONE_MF,
                             .modality_dim = {DIM, DIM, DIM},
                             .trained = true,
                             .fused_length = 1,
                             .has_statistics = true,
                             .encoder_id = {"import:v:256", "import:a:256", "import:t:256"}};
    return sh;
}

/* ---- publications -------------------------------------------------------------------------- */

/* The folder that a trainer would leave, with vectors of no meaning. */
static void write_candidate(struct store *st, const char *dir)
{
    struct store_dataset d;
    struct model_shape sh = shape();
    struct candidate c = {.dim = D};
    struct rng rng;
    struct err err;
    must(store_read_dataset(st, &d, &err), &err);
    must(model_seed(&sh, 5, &c.model, &err), &err);
    rng_init(&rng, 3);
    c.n_items = d.n_items;
    c.n_users = d.n_users;
    c.n_pairs = d.n_pairs;
    c.item_id = d.item_id;
    c.user_id = d.user_id;
    c.stamp = d.stamp;
    c.pair = d.pair;
    c.items = malloc(d.n_items * D * sizeof(float));
    c.users = malloc(d.n_users * D * sizeof(float));
    if (!c.items || !c.users)
        exit(1);
    random_row(&rng, c.items, d.n_items * D);
    random_row(&rng, c.users, d.n_users * D);
    c.metrics = json_object();
    must(candidate_write(dir, &c, &err), &err);
    json_decref(c.metrics);
    model_free(c.model);
    free(c.items);
    free(c.users);
    store_dataset_done(&d);
}

static void publish_trained(const struct candidate_target *t, const char *dir)
{
    struct candidate c;
    struct err err;
    must(candidate_read(dir, &c, &err), &err);
    must(candidate_publish(&c, t, &err), &err);
    must(candidate_promote(&c, t, &err), &err);
    candidate_done(&c);
}

static int add_model(struct store *st, void *arg, struct err *err)
{
    return store_model_add(st, arg, err);
}

/* What a training with the item-item graph leaves in the file, with rows of no meaning. */
static void add_graph(struct model *m)
{
    float *x, *z;
    struct rng rng;
    struct err err;
    size_t F = (size_t)model_shape(m)->F;
    rng_init(&rng, 4);
    must(model_set(m, "mmf.knn", "10 2 0.7 0.3 0.3", &err), &err);
    must(model_add(m, "mmf.knn.x", n_items, F, &x, &err), &err);
    random_row(&rng, x, n_items * F);
    must(model_add(m, "mmf.knn.z", n_items, D, &z, &err), &err);
    random_row(&rng, z, n_items * D);
}

static void publish_seeded(const struct candidate_target *t, const char *folder,
                           const char *name, bool graph)
{
    struct model_shape sh = shape();
    struct store_model row = {.origin = STORE_MODEL_IMPORTED, .backbone = "mf", .fusion = "cp"};
    char path[512];
    struct model *m;
    struct err err;
    must(model_seed(&sh, 8, &m, &err), &err);
    if (graph)
        add_graph(m);
    snprintf(row.file, sizeof row.file, "%s", name);
    snprintf(path, sizeof path, "%s/%s", folder, row.file);
    must(model_save(m, path, &err), &err);
    model_free(m);
    must(digest_path_hex(path, row.sha256, &err), &err);
    must(pipeline_write(p, add_model, &row, &err), &err);
    must(candidate_activate(t, row.model_id, &err), &err);
}

static void publish_fused(const struct candidate_target *t, const char *folder)
{
    publish_seeded(t, folder, "fused.safetensors", false);
}

static void publish_graph(const struct candidate_target *t, const char *folder)
{
    publish_seeded(t, folder, "graph.safetensors", true);
}

/* CPU seconds of the layer products of n rows: h·[M | A] and ·B of each layer, and the two of the
 * meta information, as fuse.c has them. */
static double gemm_s(void)
{
    static const size_t width[] = {3 * DIM, 1024, 512, 256, 32};
    enum { ROWS = 256, R = 16 };
    struct err err;
    double total = 0;
    float *x = calloc(ROWS * 2048, sizeof *x), *y = calloc(ROWS * 2048, sizeof *y);
    float *scratch = calloc(GEMM_SCRATCH, sizeof *scratch);
    for (int layer = -1; layer < 4; layer++) {
        size_t K = layer < 0 ? width[0] : width[layer];
        size_t N = layer < 0 ? width[0] : width[layer + 1] + R;
        struct gemm_matrix W;
        must(gemm_new(K, N, NULL, &W, &err), &err);
        double start = cpu_s();
        for (size_t i = 0; i < n_items; i += ROWS)
            gemm_run(&W, x, K, ROWS, y, gemm_padded(&W), false, scratch);
        total += cpu_s() - start;
        gemm_done(&W);
    }
    free(x);
    free(y);
    free(scratch);
    return total;
}

/* An upload at a time under the model of publish_graph. */
static void fuse_alone(const char *folder)
{
    enum { UPLOADS = 41 };
    static float x[3 * DIM], e[D], ms[UPLOADS];
    const uint8_t mask = 7;
    struct model *m;
    struct rng rng;
    struct err err;
    char path[512];
    rng_init(&rng, 6);
    snprintf(path, sizeof path, "%s/graph.safetensors", folder);
    must(model_load(path, &m, &err), &err);
    for (int i = 0; i < UPLOADS; i++) {
        random_row(&rng, x, sizeof x / sizeof *x);
        int64_t start_us = clock_mono_us();
        must(fuse_items(m, x, &mask, 1, e, &err), &err);
        ms[i] = (float)(clock_mono_us() - start_us) * 1e-3F;
    }
    model_free(m);
    qsort(ms, UPLOADS, sizeof *ms, compare_floats);
    printf("one item alone: %.1f ms in the median, %.1f at least\n", (double)ms[UPLOADS / 2],
           (double)ms[0]);
}

static void measure(int at, const char *name, double gemm,
                    void (*publish)(const struct candidate_target *, const char *),
                    const struct candidate_target *t, const char *arg)
{
    size_t n = 0, n_idle = 0;
    atomic_store(&phase, at);
    double cpu = cpu_s();
    int64_t start_us = clock_mono_us();
    publish(t, arg);
    double wall = (double)(clock_mono_us() - start_us) * 1e-6;
    cpu = cpu_s() - cpu;
    atomic_store(&phase, IDLE);
    double idle = percentile(IDLE, 0.99, &n_idle), busy = percentile(at, 0.99, &n);
    printf(
        "%-8s %zu items: %.1f s, %.1f s of CPU, GEMM %.0f %%; readers' 99 %%: %.2f ms of %zu, "
        "idle %.2f ms of %zu, ratio %.1f\n",
        name, n_items, wall, cpu, 100 * gemm / cpu, busy, n, idle, n_idle, busy / idle);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct candidate_target t = {.settings = &s};
    char path[400], dir[400];
    struct err err;
    if (argc < 2)
        return 64;
    if (argc > 2)
        n_items = strtoul(argv[2], NULL, 10);
    n_users = n_items / 2;
    snprintf(path, sizeof path, "%s/s.db", argv[1]);
    snprintf(dir, sizeof dir, "%s/candidate", argv[1]);
    must(settings_init(&s), &err);
    must(settings_set(&s, "store.path", path, &err), &err);
    must(settings_set(&s, "extract.worker_path", EXTRACT_WORKER, &err), &err);
    must(settings_set(&s, "extract.workers", "1", &err), &err);
    must(pipeline_open(&s, NULL, &p, &err), &err);
    t.writer = pipeline_writer(p);
    for (size_t i = 0; i < n_items; i += BLOCK)
        must(pipeline_write(p, put_block, &i, &err), &err);
    must(store_open(path, STORE_READ, &t.reader, &err), &err);
    write_candidate(t.reader, dir);
    publish_fused(&t, argv[1]); /* so that there is something to read */
    for (int i = 0; i < READERS; i++) {
        for (int k = 0; k < END; k++)
            readers[i].ms[k] = malloc(SAMPLES_MAX * sizeof(float));
        if (pthread_create(&readers[i].thread, NULL, read_on, &readers[i]) != 0)
            return 71;
    }
    sleep(IDLE_S);
    double gemm = gemm_s();
    measure(TRAINED, "trained", 0, publish_trained, &t, dir);
    sleep(1);
    measure(FUSED, "fused", gemm, publish_fused, &t, argv[1]);
    sleep(1);
    measure(GRAPH, "graph", gemm, publish_graph, &t, argv[1]);
    fuse_alone(argv[1]);
    atomic_store(&phase, END);
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i].thread, NULL);
    store_close(t.reader);
    pipeline_close(p);
    settings_done(&s);
    return 0;
}
