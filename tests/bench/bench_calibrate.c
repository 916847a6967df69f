/* A calibration of four signals, at TikTok's and at MicroLens' size: vectors of width 64, 128 and 64, 100
 * neighbours an item, items in power-law graphs; CPU seconds of one thread, against one evaluation
 * of the joined vectors without neighbours (evaluate_run) for the same users, which is what a
 * search by whole evaluations would pay for each setting.
 *
 *     ninja bench_calibrate && taskset -c 0 bin/bench_calibrate */

#include "bench_data.h"

#include "fusion/train/calibrate.h"
#include "fusion/train/evaluate.h"

enum { JOINED = 64 + 128 + 64, NEAR = 100, TESTS = 3 };

struct site {
    struct calibrate_task task;
    struct csr history, rows;
    float *users[CALIBRATE_LINEAR], *items[CALIBRATE_LINEAR];
    uint32_t *n_interactions, *test_item;
    size_t *test_start;
};

static float *floats(struct rng *rng, size_t n)
{
    float *values = bench_need(malloc(n * sizeof(*values)));
    rng_fill(rng, values, n, 1);
    return values;
}

/* The last TESTS items of each user are its test pairs. Popular items have longer vectors. */
static void split_pairs(struct site *s, const struct csr *all)
{
    struct csr_pair *pairs = bench_need(malloc((all->nnz + 1) * sizeof(*pairs)));
    size_t n = 0, n_test = 0;
    s->test_start = bench_need(calloc(all->n_rows + (size_t)1, sizeof(*s->test_start)));
    s->test_item = bench_need(malloc((all->nnz + 1) * sizeof(*s->test_item)));
    s->n_interactions = bench_need(calloc(all->n_cols, sizeof(*s->n_interactions)));
    for (uint32_t u = 0; u < all->n_rows; u++) {
        for (size_t e = all->start[u]; e < all->start[u + 1]; e++)
            if (e + TESTS >= all->start[u + 1] && e > all->start[u]) {
                s->test_item[n_test++] = all->col[e];
            } else {
                pairs[n++] = (struct csr_pair){u, all->col[e]};
                s->n_interactions[all->col[e]]++;
            }
        s->test_start[u + 1] = n_test;
    }
    if (csr_from_pairs(pairs, n, all->n_rows, all->n_cols, &s->history, NULL) != ERR_OK)
        bench_need(NULL);
    free(pairs);
}

static void fill_signals(struct site *s, struct rng *rng, uint32_t n_users, uint32_t n_items)
{
    static const uint32_t width[CALIBRATE_LINEAR] = {64, 128, 64};
    struct csr_pair *near = bench_need(malloc((size_t)n_items * NEAR * sizeof(*near)));
    for (int k = 0; k < CALIBRATE_LINEAR; k++) {
        s->users[k] = floats(rng, (size_t)n_users * width[k]);
        s->items[k] = floats(rng, (size_t)n_items * width[k]);
        for (size_t i = 0; i < (size_t)n_items * width[k]; i++)
            s->items[k][i] *= sqrtf(1 + (float)s->n_interactions[i / width[k]]);
        s->task.linear[k] = (struct calibrate_vectors){s->users[k], s->items[k], width[k]};
    }
    for (size_t e = 0; e < (size_t)n_items * NEAR; e++)
        near[e] = (struct csr_pair){(uint32_t)(e / NEAR), (uint32_t)rng_below(rng, n_items)};
    if (csr_from_pairs(near, (size_t)n_items * NEAR, n_items, n_items, &s->rows, NULL) !=
        ERR_OK)
        bench_need(NULL);
    free(near);
    s->rows.value = floats(rng, s->rows.nnz);
}

static double evaluate_s(const struct site *s)
{
    static const uint32_t cut = CALIBRATE_K;
    const struct calibrate_task *t = &s->task;
    struct rng rng;
    rng_init(&rng, 8);
    float *users = floats(&rng, (size_t)t->n_users * JOINED);
    float *items = floats(&rng, (size_t)t->n_items * JOINED);
    uint8_t *warm = bench_need(malloc(t->n_items));
    memset(warm, 1, t->n_items);
    const struct evaluate_task task = {.users = users,
                                       .items = items,
                                       .n_users = t->n_users,
                                       .n_items = t->n_items,
                                       .D = JOINED,
                                       .seen = t->seen,
                                       .item_warm = warm,
                                       .test_start = t->test_start,
                                       .test_item = t->test_item,
                                       .cuts = &cut,
                                       .n_cuts = 1};
    struct evaluate_result result;
    double start = bench_cpu_s();
    if (evaluate_run(&task, &result, NULL) != ERR_OK)
        bench_need(NULL);
    start = bench_cpu_s() - start;
    free(users);
    free(items);
    free(warm);
    return start;
}

static void measure(const char *name, uint32_t n_users, uint32_t n_items, uint32_t n_pairs)
{
    struct site s = {0};
    struct csr all;
    struct rng rng;
    struct calibrate_result r;
    struct csr_pair *pairs = bench_graph_pairs(n_users, n_items, n_pairs);
    if (csr_from_pairs(pairs, n_pairs, n_users, n_items, &all, NULL) != ERR_OK)
        bench_need(NULL);
    free(pairs);
    rng_init(&rng, 5);
    split_pairs(&s, &all);
    fill_signals(&s, &rng, n_users, n_items);
    s.task.n_users = n_users;
    s.task.n_items = n_items;
    s.task.history = s.task.seen = &s.history;
    s.task.rows = &s.rows;
    s.task.n_interactions = s.n_interactions;
    s.task.test_start = s.test_start;
    s.task.test_item = s.test_item;
    double one = evaluate_s(&s), start = bench_cpu_s();
    if (calibrate_run(&s.task, &r, NULL) != ERR_OK)
        bench_need(NULL);
    start = bench_cpu_s() - start;
    printf("%-22s %.2f s: %u users, %zu pairs, %u settings and %d of the report; one "
           "evaluation %.2f "
           "s, a setting %.2f of it; peak %.2f GB\n",
           name, start, r.n_users, r.n_pairs, r.n_tried, 2 + 2 * CALIBRATE_SIGNALS, one,
           start / (r.n_tried + 2 + 2 * CALIBRATE_SIGNALS) / one, bench_peak_gb());
    csr_done(&all);
    csr_done(&s.history);
    csr_done(&s.rows);
    for (int k = 0; k < CALIBRATE_LINEAR; k++) {
        free(s.users[k]);
        free(s.items[k]);
    }
    free(s.n_interactions);
    free(s.test_start);
    free(s.test_item);
}

int main(void)
{
    measure("TikTok's size", 3000, 6710, 40000);
    measure("MicroLens' size", 4000, 19220, 60000);
    measure("100,000 items", 2684, 100000, 60000);
    return 0;
}
