/* Full ranking at MovieLens size: the 20 best of 5,986 items for each of 55,485 users, 64 columns,
 * 991,606 seen pairs masked; microseconds a user, CPU time of one thread, against PyTorch
 * (bench_rank_torch.py, one thread):
 *   blocks   scores of 1,024 users at a time, mask, topk
 *   naive    a user at a time: scores, mask, all items sorted
 * The lists of 500 users are compared with a textbook version's (score descending, row ascending).
 *
 *     ninja bench_rank && taskset -c 0 bin/bench_rank */

#include "bench_data.h"

#include "fusion/math/rank.h"

#include <unistd.h>

enum { USERS = 55485, ITEMS = 5986, WIDTH = 64, K = 20, CHECKED = 500 };

static float users[USERS * WIDTH], items[ITEMS * WIDTH];
static uint32_t lists[USERS * K];

static double torch_us(const char *path, const char *how)
{
    char command[512];

    snprintf(command, sizeof(command),
             "OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 /usr/bin/python3 %s %s %s 2>&1",
             BENCH_TORCH_SCRIPT, how, path);
    return bench_command(command);
}

static double ours_us(const struct csr *seen)
{
    double best = 1e9;

    for (int run = 0; run < 4; run++) {
        struct gemm_matrix packed;
        double start = bench_cpu_s();

        if (rank_pack(items, ITEMS, WIDTH, &packed, NULL) != ERR_OK ||
            rank_topk(&packed, users, USERS, seen, 0, NULL, K, lists, NULL, NULL) != ERR_OK)
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
static bool list_is_right(uint32_t u, const struct csr *seen)
{
    static float scores[ITEMS];

    for (uint32_t i = 0; i < ITEMS; i++) {
        scores[i] = 0;
        for (int d = 0; d < WIDTH; d++)
            scores[i] =
                fmaf(users[u * WIDTH + (uint32_t)d], items[i * WIDTH + (uint32_t)d], scores[i]);
    }
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

int main(void)
{
    char path[] = "/tmp/mmf-bench-rank-XXXXXX";
    struct csr_pair *pairs = bench_graph_pairs(USERS, ITEMS, 991606);
    struct csr seen;
    struct rng rng;
    int fd = mkstemp(path);
    FILE *out = fd < 0 ? NULL : fdopen(fd, "wb");
    uint32_t wrong = 0;

    bench_need(out);
    if (csr_from_pairs(pairs, 991606, USERS, ITEMS, &seen, NULL) != ERR_OK ||
        fwrite(pairs, sizeof(*pairs), 991606, out) != 991606 || fclose(out) != 0)
        bench_need(NULL);
    free(pairs);
    rng_init(&rng, 9);
    rng_fill(&rng, users, USERS * WIDTH, 1);
    rng_fill(&rng, items, ITEMS * WIDTH, 1);
    double before = ours_us(&seen), blocks = torch_us(path, "blocks");
    double naive = torch_us(path, "naive"), after = ours_us(&seen);
    double ours = before < after ? before : after;
    for (uint32_t u = 0; u < CHECKED; u++)
        wrong += !list_is_right(u * (USERS / CHECKED), &seen);
    printf("%.2f us a user; torch %.2f times that, naive %.0f times; %u of %d lists differ\n",
           ours, blocks / ours, naive / ours, wrong, CHECKED);
    unlink(path);
    csr_done(&seen);
    return wrong != 0;
}
