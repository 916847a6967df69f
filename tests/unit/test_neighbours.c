/* Neighbour rows against the formulas of neighbours.h in double over the whole of G, and the single
 * row against the row of all, byte for byte. */

#include "fusion_fixture.h"

#include "fusion/model/neighbours.h"

/* A user in few is one of thousands of items; the last items have no users. */
struct site {
    uint32_t n_users, n_items;
    struct csr R, T;
    uint8_t *has; /* (n_items, n_users) */
    double *weight;
    int64_t *near; /* what the source hands out */
    size_t n_calls, fail_at;
    bool reversed; /* edges in descending order */
};

static void take_pairs(struct site *s, const struct csr_pair *pairs, size_t n)
{
    struct csr_pair *turned = malloc((n + 1) * sizeof(*turned));

    assert_non_null(turned);
    for (size_t p = 0; p < n; p++)
        turned[p] = (struct csr_pair){pairs[p].col, pairs[p].row};
    assert_int_equal(csr_from_pairs(pairs, n, s->n_users, s->n_items, &s->R, NULL), ERR_OK);
    assert_int_equal(csr_from_pairs(turned, n, s->n_items, s->n_users, &s->T, NULL), ERR_OK);
    free(turned);
    s->has = calloc((size_t)s->n_users * s->n_items, 1);
    s->weight = calloc(s->n_users, sizeof(*s->weight));
    s->near = calloc(s->n_users + s->n_items, sizeof(*s->near));
    assert_true(s->has && s->weight && s->near);
    for (uint32_t u = 0; u < s->n_users; u++) {
        for (size_t e = s->R.start[u]; e < s->R.start[u + 1]; e++)
            s->has[(size_t)s->R.col[e] * s->n_users + u] = 1;
        if (csr_degree(&s->R, u))
            s->weight[u] = 1 / sqrt((double)csr_degree(&s->R, u));
    }
}

static void open_site(struct site *s, uint32_t n_users, uint32_t n_items, size_t n_pairs,
                      uint32_t n_long)
{
    struct csr_pair *pairs = malloc((n_pairs + n_long) * sizeof(*pairs));
    struct rng rng;

    assert_non_null(pairs);
    *s = (struct site){.n_users = n_users, .n_items = n_items, .fail_at = SIZE_MAX};
    rng_init(&rng, 5);
    for (size_t p = 0; p < n_pairs + n_long; p++) {
        float x = rng_float(&rng), y = rng_float(&rng);
        pairs[p] = (struct csr_pair){(uint32_t)(x * x * (float)(n_users - 3)),
                                     (uint32_t)(y * y * (float)(n_items - 3))};
        if (p >= n_pairs)
            pairs[p].row = n_users - 2;
    }
    take_pairs(s, pairs, n_pairs + n_long);
    free(pairs);
}

static void close_site(struct site *s)
{
    csr_done(&s->R);
    csr_done(&s->T);
    free(s->has);
    free(s->weight);
    free(s->near);
}

static int site_edges(void *arg, int64_t node, const int64_t **ret_nodes, size_t *ret_n,
                      struct err *err)
{
    struct site *s = arg;
    bool item = neighbourhood_is_item(node);
    const struct csr *side = item ? &s->T : &s->R;
    uint32_t row = (uint32_t)neighbourhood_id(node);

    if (s->n_calls++ == s->fail_at)
        return err_retry(err, EX_TEMPFAIL, "the store is away");
    *ret_n = csr_degree(side, row);
    for (size_t e = 0; e < *ret_n; e++) {
        uint32_t other =
            side->col[s->reversed ? side->start[row + 1] - 1 - e : side->start[row] + e];
        s->near[e] = item ? neighbourhood_user(other) : neighbourhood_item(other);
    }
    *ret_nodes = s->near;
    return ERR_OK;
}

static int site_degree(void *arg, int64_t node, uint32_t *ret_degree, struct err *err)
{
    const int64_t *near;
    size_t n = 0;
    int status = site_edges(arg, node, &near, &n, err);

    *ret_degree = (uint32_t)n;
    return status;
}

static const struct neighbourhood_source *source_of(struct site *s)
{
    static struct neighbourhood_source source = {.edges = site_edges, .degree = site_degree};

    source.arg = s;
    return &source;
}

/* ---- the formulas ---------------------------------------------------------------------------- */

static double gram(const struct site *s, uint32_t i, uint32_t j)
{
    const uint8_t *a = s->has + (size_t)i * s->n_users, *b = s->has + (size_t)j * s->n_users;
    double sum = 0;

    for (uint32_t u = 0; u < s->n_users; u++)
        sum += a[u] && b[u] ? s->weight[u] : 0;
    return sum;
}

struct oracle_row {
    size_t n;
    uint32_t item[NEIGHBOURS_MAX];
    double value[NEIGHBOURS_MAX], scale, ridge;
};

/* (A + ridge 1) x = g by Gauss and Jordan; A and g are overwritten. */
static void solve(size_t n, double ridge, double *A, double *g, double *x)
{
    for (size_t i = 0; i < n; i++)
        A[i * n + i] += ridge;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++) {
            double f = k == i ? 0 : A[k * n + i] / A[i * n + i];
            for (size_t c = i; c < n; c++)
                A[k * n + c] -= f * A[i * n + c];
            g[k] -= f * g[i];
        }
    for (size_t i = 0; i < n; i++)
        x[i] = g[i] / A[i * n + i];
}

/* The best M by repeated search. diagonal: (I) of G. */
static void oracle_choose(const struct site *s, const double *diagonal, uint32_t j, size_t M,
                          struct oracle_row *r)
{
    float *score = calloc(s->n_items, sizeof(*score));

    assert_non_null(score);
    for (uint32_t i = 0; i < s->n_items; i++)
        if (i != j && diagonal[i] > 0) /* rounded: what ties ties in any order of summing */
            score[i] = (float)(gram(s, i, j) * pow(diagonal[i], -0.25));
    for (r->n = 0; r->n < M; r->n++) {
        uint32_t best = 0;
        for (uint32_t i = 1; i < s->n_items; i++)
            best = score[i] > score[best] ? i : best;
        if (!(score[best] > 0))
            break;
        score[best] = 0;
        size_t at = r->n;
        for (; at > 0 && r->item[at - 1] > best; at--)
            r->item[at] = r->item[at - 1];
        r->item[at] = best;
    }
    free(score);
}

static double *oracle_diagonal(const struct site *s, double factor, double *ret_ridge)
{
    double *diagonal = calloc(s->n_items, sizeof(*diagonal)), total = 0;
    size_t n_used = 0;

    assert_non_null(diagonal);
    for (uint32_t i = 0; i < s->n_items; i++) {
        diagonal[i] = gram(s, i, i);
        total += diagonal[i];
        n_used += diagonal[i] > 0;
    }
    *ret_ridge = n_used ? factor * total / (double)n_used : 0;
    return diagonal;
}

static void oracle(const struct site *s, const double *diagonal, double ridge, uint32_t j,
                   size_t M, struct oracle_row *r)
{
    *r = (struct oracle_row){0};
    if (!(diagonal[j] > 0))
        return;
    oracle_choose(s, diagonal, j, M, r);
    double *A = malloc((r->n * r->n + 2 * r->n + 1) * sizeof(*A)), left = diagonal[j] + ridge;
    assert_non_null(A);
    double *g = A + r->n * r->n, *x = g + r->n;
    for (size_t a = 0; a < r->n; a++) {
        g[a] = gram(s, r->item[a], j);
        for (size_t b = 0; b < r->n; b++)
            A[a * r->n + b] = gram(s, r->item[a], r->item[b]);
    }
    solve(r->n, ridge, A, g, x);
    for (size_t a = 0; a < r->n; a++)
        left -= gram(s, r->item[a], j) * x[a];
    for (size_t a = 0; a < r->n; a++)
        r->value[a] = x[a] / left;
    r->scale = left * pow((double)csr_degree(&s->T, j), -0.25);
    free(A);
}

static void assert_near(double have, double want, double size)
{
    if (!(fabs(have - want) <= 1e-5 * size))
        fail_msg("%.9g instead of %.9g", have, want);
}

static void assert_row(const struct csr *rows, const float *scale, uint32_t j,
                       const struct oracle_row *want)
{
    double size = 0;

    assert_int_equal(csr_degree(rows, j), want->n);
    assert_near((double)scale[j], want->scale, want->scale);
    for (size_t k = 0; k < want->n; k++)
        size = fmax(size, fabs(want->value[k]));
    for (size_t k = 0; k < want->n; k++) {
        assert_int_equal(rows->col[rows->start[j] + k], want->item[k]);
        assert_near((double)rows->value[rows->start[j] + k], want->value[k], size);
    }
}

/* Every `step`th row; returns how many values are below 0. */
static size_t assert_rows(const struct site *s, const struct neighbours_options *o,
                          const struct csr *rows, const float *scale, float ridge,
                          uint32_t step)
{
    double want_ridge;
    double *diagonal = oracle_diagonal(s, o->ridge, &want_ridge);
    size_t n_negative = 0;

    assert_near((double)ridge, want_ridge, want_ridge);
    for (uint32_t j = 0; j < s->n_items; j += step) {
        struct oracle_row want;
        oracle(s, diagonal, want_ridge, j, o->n_max, &want);
        assert_row(rows, scale, j, &want);
        for (size_t k = 0; k < want.n; k++)
            n_negative += want.value[k] < 0;
    }
    free(diagonal);
    return n_negative;
}

static struct neighbours_options at_most(uint32_t n_max)
{
    struct neighbours_options o = neighbours_defaults;

    o.n_max = n_max;
    return o;
}

/* ---- all rows -------------------------------------------------------------------------------- */

static void neighbours_build_small_site_equals_the_formulas(void **state)
{
    const uint32_t limits[] = {1, 7, 40, NEIGHBOURS_MAX};
    struct site s;

    (void)state;
    open_site(&s, 90, 120, 900, 60);
    for (int i = 0; i < 4; i++) {
        struct neighbours_options o = at_most(limits[i]);
        struct csr rows;
        float *scale, ridge;

        o.ridge = i < 2 ? o.ridge : 0.1; /* little of it, and some values are below 0 */
        assert_int_equal(neighbours_build(&s.R, &o, NULL, &rows, &scale, &ridge, NULL), ERR_OK);
        assert_int_equal(rows.n_rows, 120);
        assert_int_equal(rows.n_cols, 120);
        assert_int_equal(rows.nnz, rows.start[120]);
        size_t n_negative = assert_rows(&s, &o, &rows, scale, ridge, 1);
        assert_true(i < 2 || n_negative > 100);
        assert_int_equal(csr_degree(&rows, 118), 0); /* without users */
        assert_true(scale[118] == 0);
        csr_done(&rows);
        free(scale);
    }
    close_site(&s);
}

/* More items than the table of G holds, and a user whose items are searched, not gone through. */
static void neighbours_build_items_beyond_the_table_equal_the_formulas(void **state)
{
    const struct neighbours_options o = at_most(30);
    struct site s;
    struct csr rows;
    float *scale, ridge;

    (void)state;
    open_site(&s, 500, 6000, 13000, 3000);
    assert_true(csr_degree(&s.R, 498) > 16 * 30);
    assert_int_equal(neighbours_build(&s.R, &o, NULL, &rows, &scale, &ridge, NULL), ERR_OK);
    assert_rows(&s, &o, &rows, scale, ridge, 211);
    csr_done(&rows);
    free(scale);
    close_site(&s);
}

static void neighbours_build_threads_give_the_same_bytes(void **state)
{
    struct site s;
    struct csr rows[2];
    float *scale[2], ridge[2];
    struct team *team;

    (void)state;
    open_site(&s, 300, 400, 5000, 100);
    assert_int_equal(team_new(3, &team, NULL), ERR_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            neighbours_build(&s.R, NULL, i ? team : NULL, &rows[i], &scale[i], &ridge[i], NULL),
            ERR_OK);
    assert_int_equal(rows[0].nnz, rows[1].nnz);
    assert_memory_equal(rows[0].start, rows[1].start, 401 * sizeof(size_t));
    assert_memory_equal(rows[0].col, rows[1].col, rows[0].nnz * sizeof(uint32_t));
    assert_memory_equal(rows[0].value, rows[1].value, rows[0].nnz * sizeof(float));
    assert_memory_equal(scale[0], scale[1], 400 * sizeof(float));
    assert_true(ridge[0] == ridge[1]);
    for (int i = 0; i < 2; i++) {
        csr_done(&rows[i]);
        free(scale[i]);
    }
    team_free(team);
    close_site(&s);
}

/* Items 1 … 5 have the same users as item 0: the lower ones are taken. Item 6 shares its user with
 * nobody. */
static void neighbours_build_ties_go_to_the_lower_item(void **state)
{
    const struct csr_pair pairs[] = {{0, 0}, {0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5}, {1, 0},
                                     {1, 1}, {1, 2}, {1, 3}, {1, 4}, {1, 5}, {2, 6}};
    const struct neighbours_options o = at_most(2);
    struct site s = {.n_users = 3, .n_items = 8};
    struct csr rows;
    float *scale, ridge;

    (void)state;
    take_pairs(&s, pairs, sizeof(pairs) / sizeof(*pairs));
    assert_int_equal(neighbours_build(&s.R, &o, NULL, &rows, &scale, &ridge, NULL), ERR_OK);
    for (uint32_t j = 0; j < 6; j++) {
        assert_int_equal(csr_degree(&rows, j), 2);
        assert_int_equal(rows.col[2 * j], j == 0 ? 1 : 0);
        assert_int_equal(rows.col[2 * j + 1], j < 2 ? 2 : 1);
    }
    assert_int_equal(rows.nnz, 12);
    assert_near((double)scale[6], 1 + (double)ridge,
                1 + (double)ridge); /* nothing explains it */
    assert_true(scale[7] == 0);
    csr_done(&rows);
    free(scale);
    close_site(&s);
}

static void neighbours_build_no_pairs_has_empty_rows(void **state)
{
    const uint32_t sizes[][2] = {{4, 5}, {0, 5}, {4, 0}, {0, 0}};

    (void)state;
    for (int i = 0; i < 4; i++) {
        struct csr R, rows;
        float *scale, ridge;

        assert_int_equal(csr_from_pairs(NULL, 0, sizes[i][0], sizes[i][1], &R, NULL), ERR_OK);
        assert_int_equal(neighbours_build(&R, NULL, NULL, &rows, &scale, &ridge, NULL), ERR_OK);
        assert_int_equal(rows.nnz, 0);
        assert_int_equal(rows.n_rows, sizes[i][1]);
        assert_int_equal(rows.start[sizes[i][1]], 0);
        for (uint32_t j = 0; j < sizes[i][1]; j++)
            assert_true(scale[j] == 0);
        assert_true(ridge == 0);
        csr_done(&R);
        csr_done(&rows);
        free(scale);
    }
}

/* ---- one row --------------------------------------------------------------------------------- */

static void assert_same_row(const struct neighbours_row *row, const struct csr *rows,
                            const float *scale, uint32_t j, bool exact)
{
    size_t start = rows->start[j];

    assert_int_equal(row->n, csr_degree(rows, j));
    for (size_t k = 0; k < row->n; k++)
        assert_int_equal(row->items[k], neighbourhood_item(rows->col[start + k]));
    if (exact && row->n)
        assert_memory_equal(row->values, rows->value + start, row->n * sizeof(float));
    for (size_t k = 0; k < row->n; k++)
        assert_near((double)row->values[k], (double)rows->value[start + k],
                    (double)fabsf(rows->value[start + k]) + 1e-3);
    if (exact)
        assert_true(row->scale == scale[j]);
    assert_near((double)row->scale, (double)scale[j], (double)scale[j]);
}

static void assert_paths_agree(struct site *s, uint32_t n_max, uint32_t step, bool exact)
{
    const struct neighbours_options o = at_most(n_max);
    struct csr rows;
    float *scale, ridge;
    struct neighbours *w;

    assert_int_equal(neighbours_build(&s->R, &o, NULL, &rows, &scale, &ridge, NULL), ERR_OK);
    assert_int_equal(neighbours_new(source_of(s), &o, &w, NULL), ERR_OK);
    for (uint32_t j = 0; j < s->n_items; j += step) {
        struct neighbours_row row;
        bool too_big;

        if (j % 3 == 0)
            neighbours_clear(w);
        assert_int_equal(
            neighbours_row(w, neighbourhood_item(j), ridge, SIZE_MAX, &row, &too_big, NULL),
            ERR_OK);
        assert_false(too_big);
        assert_same_row(&row, &rows, scale, j, exact);
    }
    neighbours_free(w);
    csr_done(&rows);
    free(scale);
}

static void neighbours_row_ascending_edges_give_the_bytes_of_all_rows(void **state)
{
    struct site s;

    (void)state;
    open_site(&s, 90, 120, 900, 60);
    assert_paths_agree(&s, 7, 1, true);
    assert_paths_agree(&s, 100, 1, true);
    close_site(&s);
    open_site(&s, 500, 6000, 13000, 3000); /* beyond the table, a long user */
    assert_paths_agree(&s, 30, 31, true);
    close_site(&s);
}

static void neighbours_row_edges_in_another_order_agree(void **state)
{
    struct site s;

    (void)state;
    open_site(&s, 90, 120, 900, 60);
    s.reversed = true;
    assert_paths_agree(&s, 12, 1, false);
    assert_paths_agree(&s, 100, 1, false);
    close_site(&s);
}

static void neighbours_row_beyond_max_edges_says_so(void **state)
{
    struct neighbours *w;
    struct neighbours_row row, kept = {.n = 77};
    struct site s;
    bool too_big = true;

    (void)state;
    open_site(&s, 90, 120, 900, 0);
    assert_int_equal(neighbours_new(source_of(&s), NULL, &w, NULL), ERR_OK);
    assert_int_equal(
        neighbours_row(w, neighbourhood_item(2), 3, SIZE_MAX, &row, &too_big, NULL), ERR_OK);
    assert_false(too_big);
    const size_t n = neighbours_edges(w);
    assert_int_equal(neighbours_row(w, neighbourhood_item(2), 3, n, &row, &too_big, NULL),
                     ERR_OK);
    assert_false(too_big);
    for (size_t max = 0; max < n; max += 1 + max / 3) {
        neighbours_clear(w);
        assert_int_equal(
            neighbours_row(w, neighbourhood_item(2), 3, max, &kept, &too_big, NULL), ERR_OK);
        assert_true(too_big);
        assert_int_equal(kept.n, 77);
    }
    neighbours_free(w);
    assert_paths_agree(&s, 7, 1, true); /* and nothing is left behind */
    close_site(&s);
}

static void neighbours_row_source_that_fails_is_asked_again(void **state)
{
    struct neighbours *w;
    struct neighbours_row want, row = {.n = 77};
    struct site s;
    bool too_big;
    float values[NEIGHBOURS_MAX];

    (void)state;
    open_site(&s, 90, 120, 900, 0);
    assert_int_equal(neighbours_new(source_of(&s), NULL, &w, NULL), ERR_OK);
    assert_int_equal(
        neighbours_row(w, neighbourhood_item(2), 3, SIZE_MAX, &want, &too_big, NULL), ERR_OK);
    memcpy(values, want.values, want.n * sizeof(*values));
    const size_t n_calls = s.n_calls, n = want.n;
    for (size_t fail = 0; fail < n_calls; fail++) {
        neighbours_clear(w);
        s.n_calls = 0;
        s.fail_at = fail;
        assert_int_equal(
            neighbours_row(w, neighbourhood_item(2), 3, SIZE_MAX, &row, &too_big, NULL),
            ERR_RETRY);
        assert_int_equal(row.n, 77);
    }
    s.fail_at = SIZE_MAX;
    assert_int_equal(
        neighbours_row(w, neighbourhood_item(2), 3, SIZE_MAX, &row, &too_big, NULL), ERR_OK);
    assert_int_equal(row.n, n);
    assert_memory_equal(row.values, values, n * sizeof(*values));
    neighbours_free(w);
    close_site(&s);
}

static void neighbours_row_no_users_or_no_ridge_is_empty(void **state)
{
    struct neighbours *w;
    struct neighbours_row row;
    struct site s;
    bool too_big;

    (void)state;
    open_site(&s, 90, 120, 900, 0);
    assert_int_equal(neighbours_new(source_of(&s), NULL, &w, NULL), ERR_OK);
    assert_int_equal(neighbours_row(w, neighbourhood_item(118), 3, 9, &row, &too_big, NULL),
                     ERR_OK);
    assert_true(row.n == 0 && row.scale == 0);
    assert_int_equal(
        neighbours_row(w, neighbourhood_item(2), 0, SIZE_MAX, &row, &too_big, NULL), ERR_OK);
    assert_true(row.n == 0 && row.scale == 0);
    neighbours_free(w);
    close_site(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_build_small_site_equals_the_formulas),
        cmocka_unit_test(neighbours_build_items_beyond_the_table_equal_the_formulas),
        cmocka_unit_test(neighbours_build_threads_give_the_same_bytes),
        cmocka_unit_test(neighbours_build_ties_go_to_the_lower_item),
        cmocka_unit_test(neighbours_build_no_pairs_has_empty_rows),
        cmocka_unit_test(neighbours_row_ascending_edges_give_the_bytes_of_all_rows),
        cmocka_unit_test(neighbours_row_edges_in_another_order_agree),
        cmocka_unit_test(neighbours_row_beyond_max_edges_says_so),
        cmocka_unit_test(neighbours_row_source_that_fails_is_asked_again),
        cmocka_unit_test(neighbours_row_no_users_or_no_ridge_is_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
