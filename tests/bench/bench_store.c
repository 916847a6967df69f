/* What the store costs: rows a second at several batch sizes, the time to open, latency of one read, the scan that
 * a top-k needs. `bench_store FOLDER [ROWS]`: the folder should be on the disk that will hold the
 * store. Prints a table and ratios against the first line of each block. */

#include "store/models.h"
#include "store/reading.h"
#include "store/writing.h"

#include "config/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DIM       64
#define MAX_BATCH 100

static const int32_t feature_dims[MODALITY_COUNT] = {2048, 256, 256}; /* 10,240 bytes */

struct bench {
    char path[4096];
    struct store *st;
    struct err err;
    int64_t model_id, offset;
    float features[2560], embedding[DIM];
    struct store_video video[MAX_BATCH];
    struct store_op ops[MAX_BATCH];
    char id[MAX_BATCH][32];
};

static void need(const struct bench *b, int status, const char *what)
{
    if (status == ERR_OK)
        return;
    (void)fprintf(stderr, "bench_store: %s: %s\n", what, b->err.text);
    exit(1);
}

static void remove_store(const struct bench *b)
{
    static const char *const suffix[] = {"", "-wal", "-shm", ".lock"};
    char name[4200];

    for (int i = 0; i < 4; i++) {
        (void)snprintf(name, sizeof name, "%s%s", b->path, suffix[i]);
        (void)unlink(name);
    }
}

static void open_new(struct bench *b)
{
    struct store_model m = {.backbone = "mf", .fusion = "cp", .file = "m"};

    store_close(b->st);
    remove_store(b);
    b->offset = 0;
    need(b, store_open(b->path, STORE_WRITE, &b->st, &b->err), "open");
    need(b, store_model_add(b->st, &m, &b->err), "model");
    need(b, store_model_activate(b->st, m.model_id, &b->err), "model");
    b->model_id = m.model_id;
}

static void fill_video(struct bench *b, int i, bool with_features)
{
    struct store_video *v = &b->video[i];
    const float *at = b->features;

    (void)snprintf(b->id[i], sizeof b->id[i], "video-%lld", (long long)b->offset);
    *v = (struct store_video){.pos = {"videos", 0, b->offset++},
                              .item_id = b->id[i],
                              .media_uri = "file:///srv/media/video.mp4",
                              .title = "a title of the usual length, more or less",
                              .received_us = clock_real_us(),
                              .embedding = {b->embedding, DIM, NULL},
                              .model_id = b->model_id};
    for (int m = 0; with_features && m < MODALITY_COUNT; m++) {
        v->feature[m] = (struct store_vector){at, feature_dims[m], "encoder-v1"};
        at += feature_dims[m];
    }
    b->ops[i] = (struct store_op){.kind = STORE_OP_VIDEO, .video = v};
}

/* Rows a second. */
static double write_rows(struct bench *b, int n_rows, int batch, bool with_features)
{
    struct store_batch_result r;
    int64_t start_us = clock_mono_us();

    for (int done = 0; done < n_rows; done += batch) {
        for (int i = 0; i < batch; i++) {
            b->embedding[0] = (float)(done + i + 1);
            b->features[0] = b->embedding[0];
            fill_video(b, i, with_features);
        }
        struct store_offset offset = {"videos", 0, b->offset, 0, 0};
        need(b, store_write_batch(b->st, b->ops, (size_t)batch, &offset, 1, &r, &b->err),
             "write");
    }
    return n_rows * 1e6 / (double)(clock_mono_us() - start_us);
}

static void bench_write(struct bench *b, int n_rows)
{
    static const int batch[] = {1, 10, 100};
    double first = 0;

    printf("write: %zu bytes of features and %zu of embedding a row\n", sizeof b->features,
           sizeof b->embedding);
    for (int i = 0; i < 3; i++) {
        open_new(b);
        double rate = write_rows(b, batch[i] == 1 ? n_rows / 4 : n_rows, batch[i], true);
        first = i == 0 ? rate : first;
        printf("  %3d a transaction  %8.0f rows/s  %5.2f x\n", batch[i], rate, rate / first);
    }
}

/* What a start of the daemon waits for. */
static void bench_open(struct bench *b, int n_rows)
{
    struct store_counts c;

    need(b, store_count(b->st, &c, &b->err), "count");
    store_close(b->st);
    b->st = NULL;
    int64_t start_us = clock_mono_us();
    need(b, store_open(b->path, STORE_WRITE, &b->st, &b->err), "open again");
    printf("open for writing, %d rows, %.0f MB: %.0f ms\n", n_rows, (double)c.file_bytes / 1e6,
           (double)(clock_mono_us() - start_us) / 1e3);
}

static int compare_us(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void bench_read(struct bench *b, int n_rows)
{
    enum { N = 20000 };
    static int64_t us[N];
    struct store *reader = NULL;
    char id[32];

    need(b, store_open(b->path, STORE_READ, &reader, &b->err), "open a reader");
    for (int i = 0; i < N; i++) {
        struct store_embedding e;

        (void)snprintf(id, sizeof id, "video-%lld", (long long)(i * 7919LL % n_rows));
        int64_t start_us = clock_mono_us();
        need(b, store_get_embedding(reader, id, &e, &b->err), "read");
        us[i] = clock_mono_us() - start_us;
        store_embedding_done(&e);
    }
    store_close(reader);
    qsort(us, N, sizeof us[0], compare_us);
    printf("read one embedding by id: median %lld us, 99 %% %lld us\n", (long long)us[N / 2],
           (long long)us[N * 99 / 100]);
}

static double dot_all(const struct store_matrix *m, const float *u)
{
    double best = -1e30;

    for (size_t i = 0; i < m->n_rows; i++) {
        const float *v = m->vec + i * (size_t)m->dim;
        float s = 0;

        for (int32_t k = 0; k < m->dim; k++)
            s += v[k] * u[k];
        best = (double)s > best ? (double)s : best;
    }
    return best;
}

static void bench_scan(struct bench *b, int n_rows)
{
    struct store_matrix m;
    struct store_counts c;

    open_new(b);
    (void)write_rows(b, n_rows, MAX_BATCH, false);
    need(b, store_count(b->st, &c, &b->err), "count");
    int64_t start_us = clock_mono_us();
    need(b, store_read_embeddings(b->st, &m, &b->err), "read the embeddings");
    double load_ms = (double)(clock_mono_us() - start_us) / 1e3;
    start_us = clock_mono_us();
    double best = dot_all(&m, b->embedding);
    double ram_ms = (double)(clock_mono_us() - start_us) / 1e3;
    printf("scan of %zu embeddings of %d (%.0f MB file), best %.3g\n", m.n_rows, m.dim,
           (double)c.file_bytes / 1e6, best);
    printf("  in memory              %8.1f ms\n", ram_ms);
    printf("  load, checksum tested  %8.1f ms  %5.1f x\n", load_ms, load_ms / ram_ms);
    store_matrix_done(&m);
}

static int64_t cpu_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* CPU time. One row of neighbours an item, in blocks as a publication writes them, beside the rows of the scan; then rows of a
 * user's items, all scales, all rows. */
static void bench_neighbours(struct bench *b, int n_rows)
{
    enum { EACH = 100, BLOCK = 128, ASKED = 50 };
    static int64_t rids[BLOCK][EACH];
    static float values[EACH];
    struct store_neighbour_row rows[BLOCK];
    struct store_neighbours x;
    int64_t asked[ASKED], first = cpu_us(), step = n_rows / EACH;

    for (int i = 0; i < EACH; i++)
        values[i] = (i % 5 ? 1.0F : -1.0F) / (float)(1000 + 37 * i);
    for (int at = 1; at <= n_rows; at += BLOCK) {
        size_t n = 0;
        for (int rid = at; rid < at + BLOCK && rid <= n_rows; rid++, n++) {
            size_t k = 0;
            for (int i = 0; i < EACH; i++)
                if (1 + rid % step + i * step != rid)
                    rids[n][k++] = 1 + rid % step + i * step;
            rows[n] = (struct store_neighbour_row){rid, 0.5, rids[n], values, k};
        }
        need(b, store_put_neighbours(b->st, b->model_id, rows, n, &b->err), "neighbours");
    }
    int64_t put_us = cpu_us() - first;
    int64_t cold_us = 0, us[3];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < ASKED; i++)
            asked[i] = 1 + (int64_t)i * 7919 % n_rows;
        int64_t start = cpu_us();
        need(b, store_read_neighbour_rows(b->st, b->model_id, asked, ASKED, &x, &b->err),
             "rows");
        us[0] = cpu_us() - start;
        cold_us = round ? cold_us : us[0];
        store_neighbours_done(&x);
    }
    int64_t start = cpu_us();
    need(b, store_read_neighbour_scales(b->st, b->model_id, &x, &b->err), "scales");
    us[1] = cpu_us() - start;
    store_neighbours_done(&x);
    start = cpu_us();
    need(b, store_read_neighbour_all(b->st, b->model_id, &x, &b->err), "all rows");
    us[2] = cpu_us() - start;
    store_neighbours_done(&x);
    (void)printf(
        "neighbours of %d items, %d each, CPU: %.1f us a row to publish; %d rows in %.2f "
        "ms, again %.2f "
        "ms; all scales %.1f ms, all rows %.0f ms\n",
        n_rows, EACH, (double)put_us / n_rows, ASKED, (double)cold_us / 1000,
        (double)us[0] / 1000, (double)us[1] / 1000, (double)us[2] / 1000);
}

int main(int argc, char **argv)
{
    static struct bench b;
    int n_rows = argc > 2 ? atoi(argv[2]) : 20000;

    if (argc < 2 || n_rows < 400) {
        (void)fprintf(stderr, "usage: bench_store FOLDER [ROWS >= 400]\n");
        return 64;
    }
    n_rows -= n_rows % 400;
    for (size_t i = 0; i < 2560; i++)
        b.features[i] = (float)i * 0.37F - 400.0F;
    for (size_t i = 0; i < DIM; i++)
        b.embedding[i] = 1.0F / (float)(i + 1);
    (void)snprintf(b.path, sizeof b.path, "%s/bench-store.db", argv[1]);
    bench_write(&b, n_rows);
    bench_open(&b, n_rows);
    bench_read(&b, n_rows);
    bench_scan(&b, 10 * n_rows);
    bench_neighbours(&b, 10 * n_rows);
    store_close(b.st);
    remove_store(&b);
    return 0;
}
