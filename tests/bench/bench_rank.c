/* Full ranking at MovieLens size: the 20 best of 5,986 items for each of 55,485 users, 64 columns,
 * 991,606 seen pairs masked; microseconds a user, CPU time of one thread, against PyTorch
 * (bench_rank_torch.py, one thread):
 *   blocks   scores of 1,024 users at a time, mask, topk
 *   naive    a user at a time: scores, mask, all items sorted
 *   extra    ours, with 100 neighbours of each seen item added to its products (rank_extra)
 * The lists of 500 users are compared with a textbook version's (score descending, row ascending).
 *
 *     ninja bench_rank && taskset -c 0 bin/bench_rank */

#include "bench_data.h"

#include "fusion/math/rank.h"

#include <unistd.h>

enum { USERS = 55485, ITEMS = 5986, WIDTH = 64, K = 20, CHECKED = 500, NEAR = 100 };

static float users[USERS * WIDTH], items[ITEMS * WIDTH];
static uint32_t lists[USERS * K];
static float scale[ITEMS];

static double torch_us(const char *path, const char *how)
{
    char command[512];

    snprintf(command, sizeof(command),
             "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 /usr/bin/python3 %s %s %s 2>&1",
             BENCH_TORCH_SCRIPT, how, path);
    return bench_command(command);
}

static double ours_us(const struct csr *seen, const struct rank_extra *extra)
{
    double best = 1e9;

    for (int run = 0; run < 4; run++) {
        struct gemm_matrix packed;
        double start = bench_cpu_s();

        if (rank_pack(items, ITEMS, WIDTH, &packed, NULL) != ERR_OK ||
            rank_topk(&packed, users, USERS, seen, 0, extra, K, lists, NULL, NULL) != ERR_OK)
            bench_need(NULL);
        start = bench_cpu_s() - start;
        best = start < best ? start : best;
        gemm_done(&packed);
    }
    return 1e6 * best / USERS;
}

static bool is_better(const float *scores, uint32_t a, uint32_t b)
{
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
}

/* The best K by repeated search over every score. */
static bool list_is_right(uint32_t u, const struct csr *seen, const struct rank_extra *extra)
{
    static float scores[ITEMS], sums[ITEMS];

    for (uint32_t i = 0; i < ITEMS; i++) {
        scores[i] = 0;
        for (int d = 0; d < WIDTH; d++)
            scores[i] =
                fmaf(users[u * WIDTH + (uint32_t)d], items[i * WIDTH + (uint32_t)d], scores[i]);
    }
    memset(sums, 0, sizeof(sums));
    for (size_t h = seen->start[u]; extra && h < seen->start[u + 1]; h++) {
        uint32_t j = seen->col[h];
        for (size_t e = extra->rows->start[j]; e < extra->rows->start[j + 1]; e++)
            sums[extra->rows->col[e]] += extra->rows->value[e];
    }
    for (uint32_t i = 0; extra && i < ITEMS; i++)
        scores[i] += extra->weight * extra->scale[i] * sums[i];
    for (size_t e = seen->start[u]; e < seen->start[u + 1]; e++)
        scores[seen->col[e]] = -INFINITY;
    for (int at = 0; at < K; at++) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < ITEMS; i++)
            if (is_better(scores, i, best))
                best = i;
        if (lists[u * K + (uint32_t)at] != best)
            return false;
        scores[best] = -INFINITY;
    }
    return true;
}

static uint32_t n_wrong(const struct csr *seen, const struct rank_extra *extra)
{
    uint32_t wrong = 0;

    for (uint32_t u = 0; u < CHECKED; u++)
        wrong += !list_is_right(u * (USERS / CHECKED), seen, extra);
    return wrong;
}

/* 100 random neighbours of each item. */
static void make_rows(struct csr *ret_rows)
{
    struct csr_pair *pairs = bench_need(malloc((size_t)NEAR * ITEMS * sizeof(*pairs)));
    struct rng rng;

    rng_init(&rng, 10);
    for (uint32_t e = 0; e < NEAR * ITEMS; e++)
        pairs[e] = (struct csr_pair){e / NEAR, (uint32_t)rng_below(&rng, ITEMS)};
    if (csr_from_pairs(pairs, (size_t)NEAR * ITEMS, ITEMS, ITEMS, ret_rows, NULL) != ERR_OK)
        bench_need(NULL);
    free(pairs);
    ret_rows->value = bench_need(malloc(ret_rows->nnz * sizeof(*ret_rows->value)));
    rng_fill(&rng, ret_rows->value, ret_rows->nnz, 1);
    for (uint32_t i = 0; i < ITEMS; i++)
        scale[i] = 1 + rng_float(&rng);
}

int main(void)
{
    char path[] = "/tmp/mmf-bench-rank-XXXXXX";
    struct csr_pair *pairs = bench_graph_pairs(USERS, ITEMS, 991606);
    struct csr seen;
    struct rng rng;
    int fd = mkstemp(path);
    FILE *out = fd < 0 ? NULL : fdopen(fd, "wb");
    struct csr rows;

    bench_need(out);
    if (csr_from_pairs(pairs, 991606, USERS, ITEMS, &seen, NULL) != ERR_OK ||
        fwrite(pairs, sizeof(*pairs), 991606, out) != 991606 || fclose(out) != 0)
        bench_need(NULL);
    free(pairs);
    rng_init(&rng, 9);
    rng_fill(&rng, users, USERS * WIDTH, 1);
    rng_fill(&rng, items, ITEMS * WIDTH, 1);
    make_rows(&rows);
    const struct rank_extra extra = {&seen, &rows, scale, 0.5F};
    double before = ours_us(&seen, NULL), blocks = torch_us(path, "blocks");
    double naive = torch_us(path, "naive"), after = ours_us(&seen, NULL);
    double ours = before < after ? before : after;
    uint32_t wrong = n_wrong(&seen, NULL);
    printf("%.2f us a user; torch %.2f times that, naive %.0f times; %u of %d lists differ\n",
           ours, blocks / ours, naive / ours, wrong, CHECKED);
    double more = ours_us(&seen, &extra);
    uint32_t wrong_extra = n_wrong(&seen, &extra);
    printf("with extra: %.2f us, %.2f times ours; %u of %d lists differ\n", more, more / ours,
           wrong_extra, CHECKED);
    unlink(path);
    csr_done(&rows);
    csr_done(&seen);
    return wrong != 0 || wrong_extra != 0;
}
