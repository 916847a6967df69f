/* Propagation and SAGEConv against definitions in double, over graphs with isolated nodes: any
 * width, any number of layers, limited to sets of rows or not, on one thread or three. */

#include "fusion_fixture.h"

#include "fusion/math/adam.h"
#include "fusion/math/graph.h"
#include "fusion/math/graph_kernels.h"
#include "fusion/train/sage.h"

enum { U = 700, I = 310, N = U + I, EDGES = 5200, D_MAX = 136 };

static struct graph graph;
static struct graph_rows some;
static float X[N * D_MAX], full[N * D_MAX], part[N * D_MAX], work[N * D_MAX];

static int setup(void **state)
{
    static struct csr_pair pairs[EDGES];
    struct rng rng;

    (void)state;
    rng_init(&rng, 3);
    for (size_t e = 0; e < EDGES; e++) { /* item 0 has more edges than a chunk holds */
        uint32_t user = (uint32_t)rng_below(&rng, U - 20);
        uint32_t item = e % 9 ? (uint32_t)rng_below(&rng, I - 10) : 0;

        pairs[e] = (struct csr_pair){user, item};
    }
    rng_fill(&rng, X, N * D_MAX, 1);
    if (graph_rows_new(N, &some, NULL) != ERR_OK)
        return -1;
    for (uint32_t i = 0; i < N; i++)
        if (rng_below(&rng, 3) == 0 || i == U || i == N - 1)
            graph_rows_add(&some, i);
    graph_rows_close(&some);
    return graph_new(pairs, EDGES, U, I, &graph, NULL);
}

static int teardown(void **state)
{
    (void)state;
    graph_rows_done(&some);
    graph_done(&graph);
    return 0;
}

/* Mean of the layers by the definition. */
static void oracle_lightgcn(uint32_t n_layers, size_t D, bool sources, double *ret_Y)
{
    double *now = calloc(N * D, sizeof(*now)), *next = calloc(N * D, sizeof(*next));

    assert_true(now && next);
    for (uint32_t i = 0; i < N; i++)
        for (size_t d = 0; d < D; d++)
            ret_Y[i * D + d] = now[i * D + d] =
                sources && !some.has[i] ? 0 : (double)X[i * D + d];
    for (uint32_t layer = 0; layer < n_layers; layer++) {
        memset(next, 0, N * D * sizeof(*next));
        for (uint32_t i = 0; i < N; i++)
            for (size_t e = graph.adjacency.start[i]; e < graph.adjacency.start[i + 1]; e++) {
                uint32_t j = graph.adjacency.col[e];
                double w = 1 / sqrt((double)csr_degree(&graph.adjacency, i) *
                                    (double)csr_degree(&graph.adjacency, j));
                for (size_t d = 0; d < D; d++)
                    next[i * D + d] += w * now[j * D + d];
            }
        for (size_t i = 0; i < N * D; i++)
            ret_Y[i] += now[i] = next[i];
    }
    for (size_t i = 0; i < N * D; i++)
        ret_Y[i] /= n_layers + 1;
    free(now);
    free(next);
}

static void check_lightgcn(uint32_t n_layers, size_t D, bool sources)
{
    double *want = malloc(N * D * sizeof(*want));

    assert_non_null(want);
    oracle_lightgcn(n_layers, D, sources, want);
    graph_lightgcn(&graph, n_layers, X, D, sources ? &some : NULL, NULL, NULL, full, work);
    for (size_t i = 0; i < N * D; i++)
        if (fabs((double)full[i] - want[i]) > 1e-5)
            fail_msg("%u layers, width %zu: element %zu is %g, not %g", n_layers, D, i,
                     (double)full[i], want[i]);
    free(want);
}

static void graph_lightgcn_any_depth_and_width_equals_the_definition(void **state)
{
    static const size_t widths[] = {1, 7, 32, 64, 76, D_MAX};

    (void)state;
    for (uint32_t n_layers = 1; n_layers <= 4; n_layers++)
        for (size_t w = 0; w < sizeof(widths) / sizeof(*widths); w++) {
            check_lightgcn(n_layers, widths[w], false);
            check_lightgcn(n_layers, widths[w], true);
        }
}

static void graph_lightgcn_some_rows_on_three_threads_are_the_same_bytes(void **state)
{
    struct team *team;

    (void)state;
    assert_int_equal(team_new(3, &team, NULL), ERR_OK);
    for (uint32_t n_layers = 1; n_layers <= 3; n_layers++) {
        graph_lightgcn(&graph, n_layers, X, 64, NULL, NULL, NULL, full, work);
        graph_lightgcn(&graph, n_layers, X, 64, NULL, &some, team, part, work);
        for (uint32_t k = 0; k < some.n; k++)
            assert_memory_equal(part + some.row[k] * 64, full + some.row[k] * 64, 256);
    }
    team_free(team);
}

/* Pairs in any order, one of them twice and one that is no edge. */
static void graph_without_equals_the_graph_of_the_other_pairs(void **state)
{
    enum { HIDDEN = 900 };
    static uint32_t users[HIDDEN + 2], items[HIDDEN + 2];
    const struct csr *a = &graph.adjacency;
    struct csr_pair *rest = malloc(a->nnz * sizeof(*rest));
    struct graph room, want;
    size_t n = 0, n_hidden = 0;

    (void)state;
    assert_non_null(rest);
    for (uint32_t u = 0; u < U; u++)
        for (size_t e = a->start[u]; e < a->start[u + 1]; e++)
            if ((u < 3 || e % 5 == 0) && n_hidden < HIDDEN) { /* user 0 loses all */
                users[HIDDEN - 1 - n_hidden] = u;
                items[HIDDEN - 1 - n_hidden++] = a->col[e] - U;
            } else {
                rest[n++] = (struct csr_pair){u, a->col[e] - U};
            }
    assert_int_equal(n_hidden, HIDDEN);
    users[HIDDEN] = users[5];
    items[HIDDEN] = items[5];
    users[HIDDEN + 1] = U - 1;
    items[HIDDEN + 1] = I - 1;
    assert_int_equal(graph_new_like(&graph, &room, NULL), ERR_OK);
    assert_int_equal(graph_new(rest, n, U, I, &want, NULL), ERR_OK);
    for (int again = 0; again < 2; again++) { /* nothing of the first time remains */
        graph_without(&graph, users, items, again ? HIDDEN + 2 : 40, &room);
        if (!again)
            assert_int_equal(room.adjacency.nnz, a->nnz - 80);
    }
    assert_int_equal(room.adjacency.nnz, want.adjacency.nnz);
    assert_memory_equal(room.adjacency.start, want.adjacency.start,
                        (N + 1) * sizeof(*want.adjacency.start));
    assert_memory_equal(room.adjacency.col, want.adjacency.col,
                        want.adjacency.nnz * sizeof(*want.adjacency.col));
    assert_memory_equal(room.rsqrt_degree, want.rsqrt_degree, N * sizeof(float));
    assert_memory_equal(room.inv_degree, want.inv_degree, N * sizeof(float));
    assert_memory_equal(room.scale, want.scale, N * sizeof(float));
    graph_done(&room);
    graph_done(&want);
    free(rest);
}

static void graph_gather_every_kernel_gives_the_same_bytes(void **state)
{
#if defined(__x86_64__)
    const struct csr *a = &graph.adjacency;

    (void)state;
    if (!__builtin_cpu_supports("avx2"))
        skip();
    for (int scaled = 0; scaled < 2; scaled++) {
        const float *in = scaled ? graph.rsqrt_degree : NULL;
        float one[D_MAX] = {0}, other[D_MAX] = {0};
        size_t n = csr_degree(a, U);

        graph_gather_scalar(a->col + a->start[U], n, 0, in, X, D_MAX - 1, one);
        graph_gather_avx2(a->col + a->start[U], n, a->nnz - a->start[U + 1], in, X, D_MAX - 1,
                          other);
        assert_memory_equal(one, other, sizeof(one));
    }
#else
    (void)state;
    skip();
#endif
}

/* ---- SAGEConv ---- */

enum { IN = 12, OUT = 8, W = 2 * IN * OUT + OUT };

static float weights[W], gradients[W], dY[N * OUT], dX[N * IN], target[N * OUT];
static uint8_t kept[N * OUT];

static struct sage_conv make_conv(float dropout, struct team *team)
{
    static float scratch[1 << 18];

    assert_true(sage_work_floats(IN, OUT) <= sizeof(scratch) / sizeof(*scratch));
    return (struct sage_conv){.g = &graph,
                              .team = team,
                              .in = IN,
                              .out = OUT,
                              .w = weights,
                              .dw = gradients,
                              .work = scratch,
                              .leaky = true,
                              .dropout = dropout,
                              .seed = 5,
                              .kept = kept};
}

/* Σ over the rows of target · Y. */
static double objective(const struct sage_conv *c, const struct graph_rows *rows)
{
    double sum = 0;

    sage_forward(c, X, rows, full);
    for (uint32_t i = 0; i < N; i++)
        for (size_t j = 0; j < OUT && (!rows || rows->has[i]); j++)
            sum += (double)target[i * OUT + j] * (double)full[i * OUT + j];
    return sum;
}

static void check_difference(const struct sage_conv *c, const struct graph_rows *rows,
                             float *value, float gradient, const char *what)
{
    float was = *value;
    double up, down;

    *value = was + 3e-4F;
    up = objective(c, rows);
    *value = was - 3e-4F;
    down = objective(c, rows);
    *value = was;
    if (fabs((up - down) / 6e-4 - (double)gradient) > 2e-2 + 2e-2 * fabs((double)gradient))
        fail_msg("%s: %g, by differences %g", what, (double)gradient, (up - down) / 6e-4);
}

static void check_conv(float dropout, const struct graph_rows *rows)
{
    struct sage_conv c = make_conv(dropout, NULL);
    struct rng rng;

    rng_init(&rng, 8);
    rng_fill(&rng, weights, W, 0.5F);
    rng_fill(&rng, target, N * OUT, 0.1F);
    memset(gradients, 0, sizeof(gradients));
    objective(&c, rows);
    memcpy(dY, target, sizeof(dY));
    sage_backward(&c, X, full, rows, dY, dX);
    for (size_t i = 0; i < W; i += 5)
        check_difference(&c, rows, &weights[i], gradients[i], "a weight");
    for (size_t i = 0; i < N * IN; i += 997)
        check_difference(&c, rows, &X[i], dX[i], "an input");
}

static void sage_backward_with_dropout_equals_differences(void **state)
{
    (void)state;
    check_conv(0, NULL);
    check_conv(0, &some);
    check_conv(0.5F, NULL);
    check_conv(0.2F, &some);
}

static void sage_backward_on_three_threads_is_the_same_bytes(void **state)
{
    struct team *team;
    float *one = malloc((W + N * IN) * sizeof(*one));

    (void)state;
    assert_non_null(one);
    assert_int_equal(team_new(3, &team, NULL), ERR_OK);
    check_conv(0.5F, NULL);
    memcpy(one, gradients, sizeof(gradients));
    memcpy(one + W, dX, sizeof(dX));
    struct sage_conv c = make_conv(0.5F, team);
    memset(gradients, 0, sizeof(gradients));
    objective(&c, NULL);
    memcpy(dY, target, sizeof(dY));
    sage_backward(&c, X, full, NULL, dY, dX);
    assert_memory_equal(one, gradients, sizeof(gradients));
    assert_memory_equal(one + W, dX, sizeof(dX));
    team_free(team);
    free(one);
}

static void sage_forward_dropout_keeps_its_share(void **state)
{
    struct sage_conv c = make_conv(0.2F, NULL);
    size_t n = 0;

    (void)state;
    sage_forward(&c, X, NULL, full);
    for (size_t i = 0; i < N * OUT; i++)
        n += kept[i];
    assert_true(fabs((double)n / (N * OUT) - 0.8) < 0.02);
}

/* ---- the optimiser ---- */

static void adam_update_on_three_threads_is_torch_s_and_the_same_bytes(void **state)
{
    enum { M = 600000 };
    struct team *team;
    struct adam adam = {.lr = 0.1F, .decay = 0.01F};
    float *v[8];

    (void)state;
    assert_int_equal(team_new(3, &team, NULL), ERR_OK);
    for (int i = 0; i < 8; i++) {
        assert_non_null(v[i] = calloc(M, sizeof(float)));
        for (size_t j = 0; j < M && i % 4 < 2; j++)
            v[i][j] = i % 4 ? (float)(j % 7) - 3 : 1;
    }
    for (int step = 0; step < 2; step++) {
        adam_begin(&adam);
        adam_update(&adam, NULL, v[0], v[1], v[2], v[3], M);
        adam_update(&adam, team, v[4], v[5], v[6], v[7], M);
    }
    assert_memory_equal(v[0], v[4], M * sizeof(float));
    /* torch.optim.Adam(lr=0.1, weight_decay=0.01), w = 1, g = -3 … 3, two steps */
    double w = 1, m = 0, s = 0;
    for (int step = 1; step <= 2; step++) {
        double g = 2 + 0.01 * w;
        m = 0.9 * m + 0.1 * g;
        s = 0.999 * s + 0.001 * g * g;
        w -= 0.1 * m / (1 - pow(0.9, step)) / (sqrt(s / (1 - pow(0.999, step))) + 1e-8);
    }
    assert_true(fabs((double)v[0][5] - w) < 1e-5);
    for (int i = 0; i < 8; i++)
        free(v[i]);
    team_free(team);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(graph_lightgcn_any_depth_and_width_equals_the_definition),
        cmocka_unit_test(graph_lightgcn_some_rows_on_three_threads_are_the_same_bytes),
        cmocka_unit_test(graph_without_equals_the_graph_of_the_other_pairs),
        cmocka_unit_test(graph_gather_every_kernel_gives_the_same_bytes),
        cmocka_unit_test(sage_backward_with_dropout_equals_differences),
        cmocka_unit_test(sage_backward_on_three_threads_is_the_same_bytes),
        cmocka_unit_test(sage_forward_dropout_keeps_its_share),
        cmocka_unit_test(adam_update_on_three_threads_is_torch_s_and_the_same_bytes),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
