/* Ranking, metrics, sparse rows, propagation and the item-item graph against textbook versions
 * that build everything in full. */

#include "fusion_fixture.h"

#include "fusion/math/graph.h"
#include "fusion/math/knn.h"
#include "fusion/math/rank.h"
#include "fusion/train/evaluate.h"

enum { U = 57, I = 211, D = 24, K = 20 };

/* J items that users have, of which the first I are ranked too. */
enum { J = I + 6, ROW = 9, SKIP = 3 };

static float users[U * D], items[I * D];
static struct csr seen;
static struct csr history; /* (SKIP + U, J): users from row SKIP on */
static struct csr rows;    /* (J, I) */
static float scale[I];
static struct rank_extra extra = {&history, &rows, scale, 0.7F};
static const struct rank_extra *scored; /* what score() adds; NULL = nothing */

static void make_extra(struct rng *rng)
{
    struct csr_pair pairs[J * ROW];
    uint32_t n = 0;

    for (uint32_t i = 0; i < I; i++) /* some of them zero */
        scale[i] = i % 13 ? 0.5F + (float)(i % 7) : 0;
    scale[90] = scale[17];
    for (uint32_t j = 0; j < J; j++) /* items 17 and 90 in every 40th row, together */
        for (uint32_t e = 0; e < ROW && j % 10; e++) {
            uint32_t i = (uint32_t)rng_below(rng, I);
            pairs[n++] = (struct csr_pair){j, i == 90 || i == 17 ? 1 : i};
        }
    for (uint32_t j = 1; j < J; j += 40) {
        pairs[n++] = (struct csr_pair){j - 1, 17};
        pairs[n++] = (struct csr_pair){j - 1, 90};
    }
    assert_int_equal(csr_from_pairs(pairs, n, J, I, &rows, NULL), ERR_OK);
    rows.value = malloc(rows.nnz * sizeof(*rows.value));
    assert_non_null(rows.value);
    for (size_t e = 0; e < rows.nnz; e++) /* half of them negative; equal for 17 and 90 */
        rows.value[e] = rows.col[e] == 17 || rows.col[e] == 90 ? 1 : rng_float(rng) - 0.5F;
    n = 0;
    for (uint32_t u = 0; u < SKIP + U; u++) /* every sixth user has nothing */
        for (uint32_t h = 0; h < u % 6; h++)
            pairs[n++] = (struct csr_pair){u, (uint32_t)rng_below(rng, J)};
    assert_int_equal(csr_from_pairs(pairs, n, SKIP + U, J, &history, NULL), ERR_OK);
}

static int setup(void **state)
{
    struct rng rng;
    struct csr_pair pairs[U * 9];

    (void)state;
    rng_init(&rng, 7);
    rng_fill(&rng, users, U * D, 1);
    rng_fill(&rng, items, I * D, 1);
    for (int i = 0; i < D; i++) /* two equal items: a tie for every user */
        items[90 * D + i] = items[17 * D + i];
    for (uint32_t i = 0; i < U * 9; i++)
        pairs[i] = (struct csr_pair){i % U, (uint32_t)rng_below(&rng, I)};
    make_extra(&rng);
    return csr_from_pairs(pairs, U * 9, U, I, &seen, NULL);
}

static int teardown(void **state)
{
    (void)state;
    csr_done(&seen);
    csr_done(&history);
    csr_done(&rows);
    return 0;
}

/* The score as rank.h defines it: one chain of fused multiply-adds, then the extra part. */
static float score(uint32_t u, uint32_t i)
{
    float s = 0, sum = 0;

    for (int d = 0; d < D; d++)
        s = fmaf(users[u * D + (uint32_t)d], items[i * D + (uint32_t)d], s);
    if (!scored)
        return s;
    for (size_t h = history.start[SKIP + u]; h < history.start[SKIP + u + 1]; h++) {
        size_t e = csr_find(scored->rows, history.col[h], i);

        if (e != SIZE_MAX)
            sum += scored->rows->value ? scored->rows->value[e] : 1;
    }
    return s + (scored->scale ? scored->weight * scored->scale[i] : scored->weight) * sum;
}

/* Selection of the best K by repeated search: score descending, row ascending. */
static void oracle_list(uint32_t u, const uint8_t *eligible, bool masked, uint32_t *ret_list)
{
    uint8_t taken[I] = {0};

    for (int at = 0; at < K; at++) {
        uint32_t best = RANK_NONE;

        for (uint32_t i = 0; i < I; i++) {
            if (taken[i] || (eligible && !eligible[i]) || (masked && csr_has(&seen, u, i)))
                continue;
            if (best == RANK_NONE || score(u, i) > score(u, best))
                best = i;
        }
        ret_list[at] = best;
        if (best != RANK_NONE)
            taken[best] = 1;
    }
}

static void rank_topk_masked_lists_equal_the_oracle(void **state)
{
    struct gemm_matrix packed;
    uint32_t lists[U * K], want[K];

    (void)state;
    assert_int_equal(rank_pack(items, I, D, &packed, NULL), ERR_OK);
    assert_int_equal(rank_topk(&packed, users, U, &seen, 0, NULL, K, lists, NULL, NULL),
                     ERR_OK);
    for (uint32_t u = 0; u < U; u++) {
        oracle_list(u, NULL, true, want);
        assert_memory_equal(lists + u * K, want, sizeof(want));
    }
    gemm_done(&packed);
}

static void rank_topk_every_kernel_gives_the_same_lists(void **state)
{
    static const char *const names[] = {"scalar", "avx2", "avx512"};
    static uint32_t want[U * K], lists[U * K];
    struct gemm_matrix packed;

    (void)state;
    for (uint32_t u = 0; u < U; u++)
        oracle_list(u, NULL, true, want + u * K);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        const struct gemm_kernel *kernel = gemm_kernel_find(names[i]);

        if (kernel == NULL) /* this processor lacks it */
            continue;
        assert_int_equal(gemm_new(D, I, kernel, &packed, NULL), ERR_OK);
        gemm_pack(&packed, 0, items, I, 1, D);
        assert_int_equal(rank_topk(&packed, users, U, &seen, 0, NULL, K, lists, NULL, NULL),
                         ERR_OK);
        assert_memory_equal(lists, want, sizeof(want));
        gemm_done(&packed);
    }
}

static void assert_lists(const struct gemm_matrix *packed, const struct rank_extra *e)
{
    static uint32_t lists[U * K], want[K], half[U * K];
    static float scores[U * K];
    struct csr mask = seen; /* rows from SKIP on, as the history's */
    size_t start[SKIP + U + 1] = {0};

    memcpy(start + SKIP, seen.start, (U + 1) * sizeof(*start));
    mask.n_rows = SKIP + U;
    mask.start = start;
    scored = e;
    assert_int_equal(rank_topk(packed, users, U, &mask, SKIP, e, K, lists, scores, NULL),
                     ERR_OK);
    for (uint32_t u = 0; u < U; u++) {
        oracle_list(u, NULL, true, want);
        assert_memory_equal(lists + u * K, want, sizeof(want));
        for (uint32_t at = 0; at < K; at++)
            assert_true(scores[u * K + at] == score(u, want[at]));
    }
    /* a slice of the users: the same lists */
    assert_int_equal(
        rank_topk(packed, users + 20 * D, U - 20, &mask, SKIP + 20, e, K, half, NULL, NULL),
        ERR_OK);
    assert_memory_equal(half, lists + 20 * K, (U - 20) * K * sizeof(*half));
    scored = NULL;
}

static void rank_topk_extra_lists_equal_the_oracle_on_every_kernel(void **state)
{
    static const char *const names[] = {"scalar", "avx2", "avx512"};
    struct rank_extra plain = extra, ones = extra;
    struct csr without_values = rows;

    (void)state;
    without_values.value = NULL;
    plain.scale = NULL;
    plain.rows = &without_values;
    ones.weight = -0.3F;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        const struct gemm_kernel *kernel = gemm_kernel_find(names[i]);
        struct gemm_matrix packed;

        if (kernel == NULL) /* this processor lacks it */
            continue;
        assert_int_equal(gemm_new(D, I, kernel, &packed, NULL), ERR_OK);
        gemm_pack(&packed, 0, items, I, 1, D);
        assert_lists(&packed, &extra);
        assert_lists(&packed, &plain);
        assert_lists(&packed, &ones);
        gemm_done(&packed);
    }
}

/* More items than one chunk of the extra part, more users than one block; vectors of zero, so that
 * the extra part is all there is and nearly everything ties. */
static void rank_topk_extra_of_many_items_equals_counting(void **state)
{
    enum { MANY = 5000, BLOCK = 205, WIDE = 3 };
    static float zero_items[MANY * WIDE], zero_users[BLOCK * WIDE];
    static uint32_t lists[BLOCK * K];
    struct csr_pair *pairs = malloc(2 * MANY * sizeof(*pairs));
    struct csr wide_rows, wide_history;
    struct gemm_matrix packed;
    struct rng rng;

    (void)state;
    assert_non_null(pairs);
    rng_init(&rng, 3);
    for (uint32_t i = 0; i < 2 * MANY; i++)
        pairs[i] = (struct csr_pair){i % 50, (uint32_t)rng_below(&rng, MANY)};
    assert_int_equal(csr_from_pairs(pairs, 2 * MANY, 50, MANY, &wide_rows, NULL), ERR_OK);
    for (uint32_t u = 0; u < 3 * BLOCK; u++)
        pairs[u] = (struct csr_pair){u % BLOCK, (uint32_t)rng_below(&rng, 50)};
    assert_int_equal(csr_from_pairs(pairs, 3 * BLOCK, BLOCK, 50, &wide_history, NULL), ERR_OK);
    const struct rank_extra e = {&wide_history, &wide_rows, NULL, 2};
    assert_int_equal(rank_pack(zero_items, MANY, WIDE, &packed, NULL), ERR_OK);
    assert_int_equal(rank_topk(&packed, zero_users, BLOCK, NULL, 0, &e, K, lists, NULL, NULL),
                     ERR_OK);
    for (uint32_t u = 0; u < BLOCK; u++) {
        uint32_t count[MANY] = {0}, n = 0;

        for (size_t h = wide_history.start[u]; h < wide_history.start[u + 1]; h++)
            for (size_t r = wide_rows.start[wide_history.col[h]];
                 r < wide_rows.start[wide_history.col[h] + 1]; r++)
                count[wide_rows.col[r]]++;
        for (uint32_t most = 4; most-- > 0;)
            for (uint32_t i = 0; i < MANY && n < K; i++)
                if (count[i] == most)
                    assert_int_equal(lists[u * K + n++], i);
    }
    gemm_done(&packed);
    csr_done(&wide_rows);
    csr_done(&wide_history);
    free(pairs);
}

static void rank_topk_extra_without_rows_or_weight_is_no_extra(void **state)
{
    const struct csr none = {.n_rows = J, .n_cols = I};
    const struct csr no_history = {.n_rows = SKIP + U, .n_cols = J};
    const struct rank_extra nothing[] = {{&history, &none, scale, 1},
                                         {&no_history, &rows, scale, 1},
                                         {&history, &rows, scale, 0}};
    uint32_t lists[U * K], want[U * K];
    struct gemm_matrix packed;

    (void)state;
    assert_int_equal(rank_pack(items, I, D, &packed, NULL), ERR_OK);
    assert_int_equal(rank_topk(&packed, users, U, NULL, 0, NULL, K, want, NULL, NULL), ERR_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            rank_topk(&packed, users, U, NULL, 0, nothing + i, K, lists, NULL, NULL), ERR_OK);
        assert_memory_equal(lists, want, sizeof(want));
    }
    gemm_done(&packed);
}

static void rank_topk_fewer_items_than_k_fills_with_none(void **state)
{
    struct gemm_matrix packed;
    uint32_t list[K];

    (void)state;
    assert_int_equal(rank_pack(items, 3, D, &packed, NULL), ERR_OK);
    assert_int_equal(rank_topk(&packed, users, 1, NULL, 0, NULL, K, list, NULL, NULL), ERR_OK);
    for (int at = 3; at < K; at++)
        assert_int_equal(list[at], RANK_NONE);
    gemm_done(&packed);
}

/* By counting: every third item is out, the test items of a user are every fifth from its row on. */
static void assert_positions(const struct rank_extra *e)
{
    static uint32_t item[U * I], position[U * I];
    static size_t start[U + 1];
    struct gemm_matrix packed;
    uint8_t out[I];
    size_t n = 0;

    scored = e;
    for (uint32_t i = 0; i < I; i++)
        out[i] = i % 3 == 2;
    for (uint32_t u = 0; u < U; u++) {
        start[u] = n;
        for (uint32_t i = u % 5; i < I; i += 5)
            item[n++] = i;
        item[n++] = RANK_NONE;
    }
    start[U] = n;
    assert_int_equal(rank_pack(items, I, D, &packed, NULL), ERR_OK);
    assert_int_equal(
        rank_positions(&packed, users, U, &seen, e, out, start, item, position, NULL), ERR_OK);
    for (uint32_t u = 0; u < U; u++)
        for (size_t at = start[u]; at < start[u + 1]; at++) {
            uint32_t own = item[at], want = 1;

            if (own == RANK_NONE || out[own] || csr_has(&seen, u, own)) {
                assert_int_equal(position[at], RANK_NONE);
                continue;
            }
            for (uint32_t i = 0; i < I; i++)
                if (!out[i] && !csr_has(&seen, u, i))
                    want += score(u, i) > score(u, own) ||
                            (i < own && score(u, i) == score(u, own));
            assert_int_equal(position[at], want);
        }
    gemm_done(&packed);
    scored = NULL;
}

/* The history from row SKIP on, as the rows of `users`. */
static struct rank_extra from_row_0(struct csr *ret_history)
{
    struct rank_extra e = extra;

    *ret_history = history;
    ret_history->n_rows = U;
    ret_history->start += SKIP;
    e.history = ret_history;
    return e;
}

static void rank_positions_equal_counting(void **state)
{
    struct csr own;
    struct rank_extra e = from_row_0(&own);

    (void)state;
    assert_positions(NULL);
    assert_positions(&e);
    e.scale = NULL;
    e.weight = -1;
    assert_positions(&e);
}

struct test_pairs {
    size_t start[U + 1];
    uint32_t item[U * 3];
    uint8_t warm[I], cold[I];
};

static void make_test(struct test_pairs *t)
{
    struct rng rng;
    size_t n = 0;

    rng_init(&rng, 11);
    for (uint32_t i = 0; i < I; i++)
        t->warm[i] = !(t->cold[i] = i % 5 == 0);
    for (uint32_t u = 0; u < U; u++) {
        uint32_t list[K];

        oracle_list(u, NULL, true, list);
        t->start[u] = n;
        if (u % 4) /* every fourth user has no test pair; the others' first one is a hit */
            t->item[n++] = list[u % K];
        for (uint32_t j = 1; j < u % 4; j++)
            t->item[n++] = (uint32_t)rng_below(&rng, I);
        if (u == 3)
            t->item[n - 1] = EVALUATE_UNKNOWN;
    }
    t->start[U] = n;
}

static bool counts(const struct test_pairs *t, int slice, uint32_t item)
{
    bool cold = item == EVALUATE_UNKNOWN || t->cold[item];

    return slice == EVALUATE_OVERALL || cold == (slice != EVALUATE_WARM);
}

/* P, R, HR, NDCG at K of one slice by the definitions. */
static struct evaluate_figures oracle_figures(const struct test_pairs *t, int slice)
{
    struct evaluate_figures f = {0};
    double n_users = 0, n_pairs = 0;

    for (uint32_t u = 0; u < U; u++) {
        uint32_t list[K];
        double n = 0, hits = 0, dcg = 0, ideal = 0;

        oracle_list(u, slice == EVALUATE_COLD_ONLY ? t->cold : NULL, true, list);
        for (size_t j = t->start[u]; j < t->start[u + 1]; j++)
            n += counts(t, slice, t->item[j]);
        for (int at = 0; at < K; at++)
            for (size_t j = t->start[u]; j < t->start[u + 1]; j++)
                if (list[at] == t->item[j] && list[at] != RANK_NONE &&
                    counts(t, slice, t->item[j])) {
                    hits++;
                    dcg += 1 / log2(at + 2);
                }
        for (int at = 0; at < K && at < (int)n; at++)
            ideal += 1 / log2(at + 2);
        if (n == 0)
            continue;
        n_users++;
        n_pairs += n;
        f.precision += hits / K;
        f.recall += hits / n;
        f.ndcg += dcg / ideal;
        f.hr += hits;
    }
    return (struct evaluate_figures){f.precision / n_users, f.recall / n_users, f.hr / n_pairs,
                                     f.ndcg / n_users};
}

static void assert_figures(const struct rank_extra *e)
{
    static const uint32_t cuts[] = {5, K};
    struct evaluate_result r;
    struct test_pairs t = {0};

    scored = e && e->rows->start ? e : NULL;
    make_test(&t);
    struct evaluate_task task = {.users = users,
                                 .items = items,
                                 .n_users = U,
                                 .n_items = I,
                                 .D = D,
                                 .seen = &seen,
                                 .extra = e,
                                 .item_warm = t.warm,
                                 .test_start = t.start,
                                 .test_item = t.item,
                                 .cuts = cuts,
                                 .n_cuts = 2};
    assert_int_equal(evaluate_run(&task, &r, NULL), ERR_OK);
    assert_int_equal(r.n_unknown_items, 1);
    for (int slice = 0; slice < EVALUATE_SLICES; slice++) {
        struct evaluate_figures want = oracle_figures(&t, slice), *have = &r.at[slice][1];

        assert_true(want.recall > 0);
        assert_true(fabs(have->precision - want.precision) < 1e-12);
        assert_true(fabs(have->recall - want.recall) < 1e-12);
        assert_true(fabs(have->hr - want.hr) < 1e-12);
        assert_true(fabs(have->ndcg - want.ndcg) < 1e-12);
    }
    struct evaluate_result again;
    assert_int_equal(team_new(3, &task.team, NULL), ERR_OK);
    assert_int_equal(evaluate_run(&task, &again, NULL), ERR_OK);
    assert_memory_equal(again.at, r.at, sizeof(r.at));
    team_free(task.team);
    scored = NULL;
}

static void evaluate_run_every_slice_equals_the_definitions(void **state)
{
    const struct csr none = {.n_rows = J, .n_cols = I};
    struct csr own;
    struct rank_extra e = from_row_0(&own);

    (void)state;
    assert_figures(NULL);
    assert_figures(&e); /* cold items among what the rows name */
    e.scale = NULL;
    assert_figures(&e);
    e.rows = &none;
    assert_figures(&e);
}

static void csr_from_pairs_repeated_pairs_count_once_in_order(void **state)
{
    const struct csr_pair pairs[] = {{2, 4}, {0, 1}, {2, 0}, {2, 4}, {0, 1}, {2, 2}};
    const struct csr_pair outside = {3, 0};
    struct csr c;

    (void)state;
    assert_int_equal(csr_from_pairs(pairs, 6, 3, 5, &c, NULL), ERR_OK);
    assert_int_equal(c.nnz, 4);
    assert_int_equal(csr_degree(&c, 1), 0);
    assert_int_equal(c.col[1], 0);
    assert_int_equal(c.col[3], 4);
    assert_true(csr_has(&c, 2, 2) && !csr_has(&c, 2, 3) && !csr_has(&c, 1, 0));
    assert_int_equal(csr_from_pairs(&outside, 1, 3, 5, &c, NULL), ERR_FATAL);
    csr_done(&c);
}

/* One hop of Â in full, from the definition. */
static double oracle_hop(const struct graph *g, const float *X, uint32_t i, int d)
{
    double sum = 0;

    for (uint32_t j = 0; j < g->n_nodes; j++)
        if (csr_has(&g->adjacency, i, j))
            sum += (double)X[j * D + (uint32_t)d] / sqrt((double)csr_degree(&g->adjacency, i) *
                                                         (double)csr_degree(&g->adjacency, j));
    return sum;
}

static void graph_lightgcn_one_layer_equals_the_definition(void **state)
{
    struct csr_pair pairs[U * 9];
    struct graph g;
    size_t n = 0;

    (void)state;
    for (uint32_t u = 0; u < U; u++)
        for (size_t e = seen.start[u]; e < seen.start[u + 1]; e++)
            pairs[n++] = (struct csr_pair){u, seen.col[e]};
    assert_int_equal(graph_new(pairs, n, U, I, &g, NULL), ERR_OK);
    float *X = malloc((U + I) * D * sizeof(*X)), *Y = malloc((U + I) * D * sizeof(*Y));
    float *work = malloc(2 * (U + I) * D * sizeof(*work));
    assert_true(X && Y && work);
    memcpy(X, users, sizeof(users));
    memcpy(X + U * D, items, sizeof(items));
    graph_lightgcn(&g, 1, X, D, NULL, NULL, NULL, Y, work);
    for (uint32_t i = 0; i < U + I; i += 7)
        for (int d = 0; d < D; d++) {
            double want = ((double)X[i * D + (uint32_t)d] + oracle_hop(&g, X, i, d)) / 2;
            assert_true(fabs((double)Y[i * D + (uint32_t)d] - want) < 1e-5);
        }
    graph_done(&g);
    free(X);
    free(Y);
    free(work);
}

static double cosine(uint32_t a, uint32_t b, int first, int n)
{
    double ab = 0, aa = 0, bb = 0;

    for (int d = first; d < first + n; d++) {
        double x = (double)items[a * D + (uint32_t)d], y = (double)items[b * D + (uint32_t)d];
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    return ab / sqrt(aa * bb);
}

static void knn_build_rows_are_the_nearest_and_sum_to_one(void **state)
{
    const int32_t dims[MODALITY_COUNT] = {16, 0, 8};
    const struct knn_options o = {.k = 4, .weight = {0.6F, 1, 0.2F}};
    uint8_t mask[I];
    struct csr S;

    (void)state;
    memset(mask, 5, sizeof(mask));
    mask[0] = 0;
    mask[1] = 1;
    assert_int_equal(knn_build(items, mask, I, dims, &o, &S, NULL), ERR_OK);
    assert_int_equal(csr_degree(&S, 0), 0);
    assert_int_equal(csr_degree(&S, 1), 4);
    for (uint32_t i = 1; i < I; i++) {
        double sum = 0;

        assert_false(csr_has(&S, i, i));
        assert_false(csr_has(&S, i, 0));
        for (size_t e = S.start[i]; e < S.start[i + 1]; e++)
            sum += (double)S.value[e];
        assert_true(fabs(sum - 1) < 1e-5);
    }
    for (size_t e = S.start[1]; e < S.start[2]; e++) { /* nobody outside is nearer */
        size_t n_nearer = 0;
        for (uint32_t j = 2; j < I; j++)
            n_nearer += cosine(1, j, 0, 16) > cosine(1, S.col[e], 0, 16);
        assert_true(n_nearer < 4);
    }
    csr_done(&S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rank_topk_masked_lists_equal_the_oracle),
        cmocka_unit_test(rank_topk_every_kernel_gives_the_same_lists),
        cmocka_unit_test(rank_topk_extra_lists_equal_the_oracle_on_every_kernel),
        cmocka_unit_test(rank_topk_extra_of_many_items_equals_counting),
        cmocka_unit_test(rank_topk_extra_without_rows_or_weight_is_no_extra),
        cmocka_unit_test(rank_topk_fewer_items_than_k_fills_with_none),
        cmocka_unit_test(rank_positions_equal_counting),
        cmocka_unit_test(evaluate_run_every_slice_equals_the_definitions),
        cmocka_unit_test(csr_from_pairs_repeated_pairs_count_once_in_order),
        cmocka_unit_test(graph_lightgcn_one_layer_equals_the_definition),
        cmocka_unit_test(knn_build_rows_are_the_nearest_and_sum_to_one),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
