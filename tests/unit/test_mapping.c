/* What features say of factors: rows against x W + b in double, to the byte whatever is beside them; a
 * fit against a ridge regression that is solved anew for every item that is left out. */
#include "fusion_fixture.h"

#include "fusion/model/mapping.h"
#include "fusion/train/mapping_fit.h"

/* ---- rows ------------------------------------------------------------------------------------ */

enum { ROWS = 300, WIDE = 37, OUT = 11 };

struct rows {
    float X[ROWS * WIDE], weight[WIDE * OUT], bias[OUT], m[ROWS * OUT];
    uint8_t mask[ROWS];
    struct mapping mapping;
};

static void open_rows(struct rows *w)
{
    fixture_fill(1, w->X, (size_t)ROWS * WIDE, 1);
    fixture_fill(2, w->weight, (size_t)WIDE * OUT, 1);
    fixture_fill(3, w->bias, OUT, 1);
    for (size_t i = 0; i < ROWS; i++)
        w->mask[i] = (uint8_t)(i % 8);
    w->mapping = (struct mapping){WIDE, OUT, w->weight, w->bias};
    assert_int_equal(mapping_rows(&w->mapping, w->X, w->mask, ROWS, w->m, NULL), ERR_OK);
}

static void mapping_rows_are_the_naive_product(void **state)
{
    static struct rows w;

    (void)state;
    open_rows(&w);
    for (size_t i = 0; i < ROWS; i++)
        for (size_t a = 0; a < OUT; a++) {
            double want = (double)w.bias[a];

            for (size_t f = 0; f < WIDE; f++)
                want += (double)w.X[i * WIDE + f] * (double)w.weight[f * OUT + a];
            assert_true(fabs((double)w.m[i * OUT + a] - (w.mask[i] ? want : 0)) < 1e-5);
        }
}

static void mapping_rows_without_a_modality_are_zero(void **state)
{
    static const float zero[OUT];
    static struct rows w;
    size_t n = 0;

    (void)state;
    open_rows(&w);
    for (size_t i = 0; i < ROWS; i++)
        if (w.mask[i] == 0) {
            assert_memory_equal(w.m + i * OUT, zero, sizeof(zero));
            n++;
        }
    assert_true(n > 30);
}

static void mapping_rows_are_the_same_bytes_alone(void **state)
{
    static struct rows w;
    float alone[OUT];

    (void)state;
    open_rows(&w);
    for (size_t i = 0; i < ROWS; i++) {
        assert_int_equal(mapping_rows(&w.mapping, w.X + i * WIDE, w.mask + i, 1, alone, NULL),
                         ERR_OK);
        assert_memory_equal(alone, w.m + i * OUT, sizeof(alone));
    }
}

/* Blocks of every size, features with numbers of others between them. */
static void mapping_plan_run_gives_the_bytes_of_rows(void **state)
{
    enum { LDX = WIDE + 3 };
    static struct rows w;
    static float x[GEMM_BLOCK_ROWS * LDX];
    struct mapping_plan *plan;

    (void)state;
    open_rows(&w);
    assert_int_equal(mapping_plan_new(&w.mapping, &plan, NULL), ERR_OK);
    const size_t ldm = mapping_plan_width(plan);
    float *m = gemm_alloc(GEMM_BLOCK_ROWS * ldm), *scratch = gemm_alloc(GEMM_SCRATCH);
    assert_true(ldm >= OUT);
    assert_non_null(m);
    assert_non_null(scratch);
    fixture_fill(9, x, (size_t)GEMM_BLOCK_ROWS * LDX, 1);
    for (size_t n = 1; n <= GEMM_BLOCK_ROWS; n++) {
        for (size_t i = 0; i < n; i++)
            memcpy(x + i * LDX, w.X + (ROWS - n + i) * WIDE, WIDE * sizeof(*x));
        mapping_plan_run(plan, x, LDX, w.mask + ROWS - n, n, m, ldm, scratch);
        for (size_t i = 0; i < n; i++)
            assert_memory_equal(m + i * ldm, w.m + (ROWS - n + i) * OUT, OUT * sizeof(*m));
    }
    free(m);
    free(scratch);
    mapping_plan_free(plan);
    mapping_plan_free(NULL);
}

/* ---- the textbook ---------------------------------------------------------------------------- */

enum { ITEMS = 70, F = 7, A = 3, LAMBDAS = 9, MORE = 90 };

struct site {
    float X[ITEMS * MORE], Y[ITEMS * A]; /* of F features, or of MORE */
    uint8_t mask[ITEMS], warm[ITEMS];
    struct mapping_fit_task task;
};

/* y = x W + b + noise; a few items are cold, and a few have nothing to look at. */
static void open_site(struct site *s, size_t n_features, float signal, float noise)
{
    float W[MORE * A], e[ITEMS * A];

    *s = (struct site){0};
    fixture_fill(41, s->X, ITEMS * n_features, 1);
    fixture_fill(42, W, n_features * A, 1);
    fixture_fill(43, e, (size_t)ITEMS * A, 1);
    for (size_t i = 0; i < ITEMS; i++) {
        s->mask[i] = i % 9 != 4;
        s->warm[i] = i % 7 != 2;
        for (size_t f = 0; f < n_features; f++)
            s->X[i * n_features + f] =
                s->mask[i] ? s->X[i * n_features + f] * (1 + (float)(f % 5)) + .3F : 0;
        for (size_t a = 0; a < A; a++) {
            float y = .7F;

            for (size_t f = 0; f < n_features; f++)
                y += s->X[i * n_features + f] * W[f * A + a];
            s->Y[i * A + a] = signal * y + noise * e[i * A + a];
        }
    }
    s->task = (struct mapping_fit_task){s->X, s->mask, s->warm, s->Y, ITEMS, n_features, A};
}

static bool is_fitted(const struct site *s, size_t i)
{
    return s->warm[i] && s->mask[i];
}

static size_t count_fitted(const struct site *s)
{
    size_t n = 0;

    for (size_t i = 0; i < ITEMS; i++)
        n += is_fitted(s, i);
    return n;
}

/* Gauss with the largest pivot: M (n, n) w = r (n, A), in place. */
static void solve(size_t n, double *M, double *r)
{
    for (size_t k = 0; k < n; k++) {
        size_t p = k;

        for (size_t i = k + 1; i < n; i++)
            if (fabs(M[i * n + k]) > fabs(M[p * n + k]))
                p = i;
        for (size_t j = 0; j < n + A; j++) {
            double *x = j < n ? &M[k * n + j] : &r[k * A + j - n];
            double *y = j < n ? &M[p * n + j] : &r[p * A + j - n], z = *x;

            *x = *y;
            *y = z;
        }
        for (size_t i = 0; i < n; i++) {
            const double by = M[i * n + k] / M[k * n + k];

            for (size_t j = k; i != k && j < n; j++)
                M[i * n + j] -= by * M[k * n + j];
            for (size_t a = 0; i != k && a < A; a++)
                r[i * A + a] -= by * r[k * A + a];
        }
    }
    for (size_t k = 0; k < n; k++)
        for (size_t a = 0; a < A; a++)
            r[k * A + a] /= M[k * n + k];
}

/* What the regression over the fitted items but `out` (ITEMS = none) says of item `of`: the last
 * coefficient is the constant, without a penalty. */
static void predict(const struct site *s, double lambda, size_t out, size_t of, double *ret_m)
{
    static double M[(MORE + 1) * (MORE + 1)], r[(MORE + 1) * A];
    const size_t d = s->task.F, n = d + 1;
    double x[MORE + 1];

    memset(M, 0, sizeof(M));
    memset(r, 0, sizeof(r));
    for (size_t i = 0; i < ITEMS; i++) {
        for (size_t f = 0; f < n; f++)
            x[f] = f < d ? (double)s->X[i * d + f] : 1;
        for (size_t f = 0; f < n && i != out && is_fitted(s, i); f++) {
            for (size_t g = 0; g < n; g++)
                M[f * n + g] += x[f] * x[g];
            for (size_t a = 0; a < A; a++)
                r[f * A + a] += x[f] * (double)s->Y[i * A + a];
        }
    }
    for (size_t f = 0; f < d; f++)
        M[f * n + f] += lambda;
    solve(n, M, r);
    for (size_t a = 0; a < A; a++) {
        ret_m[a] = r[d * A + a];
        for (size_t f = 0; f < d; f++)
            ret_m[a] += (double)s->X[of * d + f] * r[f * A + a];
    }
}

static double left_out_error(const struct site *s, double lambda)
{
    double sum = 0, m[A];

    for (size_t i = 0; i < ITEMS; i++) {
        if (!is_fitted(s, i))
            continue;
        predict(s, lambda, i, i, m);
        for (size_t a = 0; a < A; a++)
            sum += pow((double)s->Y[i * A + a] - m[a], 2);
    }
    return sum;
}

/* By the mean of the others. */
static double mean_error(const struct site *s)
{
    const double n = (double)count_fitted(s);
    double sum = 0;

    for (size_t a = 0; a < A; a++) {
        double all = 0;

        for (size_t i = 0; i < ITEMS; i++)
            all += is_fitted(s, i) ? (double)s->Y[i * A + a] : 0;
        for (size_t i = 0; i < ITEMS; i++) {
            const double y = (double)s->Y[i * A + a];

            sum += is_fitted(s, i) ? pow(y - (all - y) / (n - 1), 2) : 0;
        }
    }
    return sum;
}

static void assert_near(double got, double want, double within)
{
    if (!(fabs(got - want) <= within))
        fail_msg("%.9g is not %.9g", got, want);
}

static void assert_fit_is_naive(const struct site *s, int *ret_best)
{
    struct mapping_fit fit;
    double error[LAMBDAS], m[A];
    const double n = (double)count_fitted(s);
    int best = 0;
    float *rows = malloc(ITEMS * A * sizeof(*rows));

    assert_non_null(rows);
    for (int k = 0; k < LAMBDAS; k++) {
        error[k] = left_out_error(s, n * pow(10, (k - 4) / 2.0));
        best = error[k] < error[best] ? k : best;
    }
    const double lambda = n * pow(10, (best - 4) / 2.0);
    assert_int_equal(mapping_fit(&s->task, &fit, NULL), ERR_OK);
    assert_int_equal(fit.n_fitted, count_fitted(s));
    assert_near((double)fit.lambda, lambda, 1e-5 * lambda);
    assert_near(fit.error, error[best] / mean_error(s), 1e-3 * fit.error);
    assert_int_equal(fit.mapping.F, s->task.F);
    assert_int_equal(fit.mapping.A, A);
    assert_int_equal(mapping_rows(&fit.mapping, s->X, s->mask, ITEMS, rows, NULL), ERR_OK);
    for (size_t i = 0; i < ITEMS; i++) {
        predict(s, lambda, ITEMS, i, m);
        for (size_t a = 0; a < A && s->mask[i]; a++)
            assert_near((double)rows[i * A + a], m[a], 2e-3);
        if (is_fitted(s, i))
            predict(s, lambda, i, i, m);
        for (size_t a = 0; a < A; a++)
            assert_near((double)fit.left_out[i * A + a], s->mask[i] ? m[a] : 0, 2e-3);
    }
    *ret_best = best;
    free(rows);
    mapping_fit_done(&fit);
}

static void mapping_fit_is_the_ridge_with_every_item_left_out(void **state)
{
    static struct site s;
    int little, much;

    (void)state;
    open_site(&s, F, 1, .1F);
    assert_fit_is_naive(&s, &little);
    open_site(&s, F, .2F, 1);
    assert_fit_is_naive(&s, &much);
    assert_true(much > little); /* noise asks for a larger penalty */
}

static void mapping_fit_of_more_features_than_items_is_the_ridge(void **state)
{
    static struct site s;
    int best;

    (void)state;
    open_site(&s, MORE, .1F, .1F);
    assert_true(count_fitted(&s) < MORE);
    assert_fit_is_naive(&s, &best);
}

static void mapping_fit_of_planted_factors_finds_them(void **state)
{
    static struct site s;
    struct mapping_fit fit;

    (void)state;
    open_site(&s, F, 1, 0);
    assert_int_equal(mapping_fit(&s.task, &fit, NULL), ERR_OK);
    assert_int_equal(fit.mapping.A, A);
    assert_true(fit.error < .01);
    mapping_fit_done(&fit);
    mapping_fit_done(&fit); /* and again is nothing */
}

static void mapping_fit_leaves_out_what_is_not_fitted(void **state)
{
    static struct site s, other;
    struct mapping_fit fit, again;

    (void)state;
    open_site(&s, F, 1, .1F);
    other = s;
    for (size_t i = 0; i < ITEMS; i++)
        for (size_t a = 0; a < A && !is_fitted(&s, i); a++)
            other.Y[i * A + a] = 1e6F;
    other.task.X = other.X;
    other.task.Y = other.Y;
    assert_int_equal(mapping_fit(&s.task, &fit, NULL), ERR_OK);
    assert_int_equal(mapping_fit(&other.task, &again, NULL), ERR_OK);
    assert_memory_equal(fit.mapping.weight, again.mapping.weight, F * A * sizeof(float));
    assert_memory_equal(fit.left_out, again.left_out, ITEMS * A * sizeof(float));
    mapping_fit_done(&fit);
    mapping_fit_done(&again);
}

static void assert_no_mapping(const struct mapping_fit_task *task, size_t n_fitted)
{
    struct mapping_fit fit;

    assert_int_equal(mapping_fit(task, &fit, NULL), ERR_OK);
    assert_int_equal(fit.n_fitted, n_fitted);
    assert_int_equal(fit.mapping.A, 0);
    assert_null(fit.mapping.weight);
    assert_null(fit.left_out);
    assert_true(fit.error >= 1);
    mapping_fit_done(&fit);
}

/* One feature that has nothing to do with the factors: of nine λ the best explains a little by chance. */
static void mapping_fit_of_chance_is_none(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 140; seed++) {
        struct site s;
        struct mapping_fit fit;

        open_site(&s, 1, 0, 1);
        fixture_fill(seed, s.X, ITEMS, 1);
        fixture_fill(seed + 100, s.Y, (size_t)ITEMS * A, 1);
        assert_int_equal(mapping_fit(&s.task, &fit, NULL), ERR_OK);
        assert_int_equal(fit.mapping.A, 0);
        mapping_fit_done(&fit);
    }
}

static void mapping_fit_of_noise_is_none(void **state)
{
    static struct site s;

    (void)state;
    open_site(&s, MORE, 0, 1);
    assert_no_mapping(&s.task, count_fitted(&s));
}

static void mapping_fit_of_few_items_is_none(void **state)
{
    static struct site s;
    struct mapping_fit fit;

    (void)state;
    open_site(&s, F, 1, 0);
    size_t n = count_fitted(&s);
    for (size_t i = 0; n >= MAPPING_ITEMS_MIN; i++) {
        if (n == MAPPING_ITEMS_MIN) {
            assert_int_equal(mapping_fit(&s.task, &fit, NULL), ERR_OK);
            assert_int_equal(fit.mapping.A, A);
            mapping_fit_done(&fit);
        }
        n -= is_fitted(&s, i);
        s.warm[i] = 0;
    }
    assert_no_mapping(&s.task, MAPPING_ITEMS_MIN - 1);
    memset(s.warm, 0, sizeof(s.warm));
    assert_no_mapping(&s.task, 0);
}

static void mapping_fit_of_constant_features_is_none(void **state)
{
    static struct site s;

    (void)state;
    open_site(&s, F, 1, 0);
    for (size_t i = 0; i < (size_t)ITEMS * F; i++)
        s.X[i] = .5F;
    assert_no_mapping(&s.task, count_fitted(&s));
}

static void mapping_fit_of_zero_factors_is_none(void **state)
{
    static struct site s;

    (void)state;
    open_site(&s, F, 1, 0);
    for (size_t i = 0; i < (size_t)ITEMS * A; i++)
        s.Y[i] = 0;
    assert_no_mapping(&s.task, count_fitted(&s));
}

/* A constant and a copied column add nothing, and no division by zero. */
static void mapping_fit_of_dependent_features_is_finite(void **state)
{
    static struct site s;
    struct mapping_fit fit;

    (void)state;
    open_site(&s, F, 1, .1F);
    for (size_t i = 0; i < ITEMS; i++) {
        s.X[i * F + 1] = s.X[i * F];
        s.X[i * F + 2] = 0;
    }
    assert_int_equal(mapping_fit(&s.task, &fit, NULL), ERR_OK);
    assert_int_equal(fit.mapping.A, A);
    for (size_t a = 0; a < A; a++) {
        const float *W = fit.mapping.weight;

        assert_near((double)W[1 * A + a], (double)W[a], 1e-4);
        assert_near((double)W[2 * A + a], 0, 1e-4);
        assert_true(isfinite(fit.mapping.bias[a]));
    }
    mapping_fit_done(&fit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mapping_rows_are_the_naive_product),
        cmocka_unit_test(mapping_rows_without_a_modality_are_zero),
        cmocka_unit_test(mapping_rows_are_the_same_bytes_alone),
        cmocka_unit_test(mapping_plan_run_gives_the_bytes_of_rows),
        cmocka_unit_test(mapping_fit_is_the_ridge_with_every_item_left_out),
        cmocka_unit_test(mapping_fit_of_more_features_than_items_is_the_ridge),
        cmocka_unit_test(mapping_fit_of_planted_factors_finds_them),
        cmocka_unit_test(mapping_fit_leaves_out_what_is_not_fitted),
        cmocka_unit_test(mapping_fit_of_noise_is_none),
        cmocka_unit_test(mapping_fit_of_chance_is_none),
        cmocka_unit_test(mapping_fit_of_few_items_is_none),
        cmocka_unit_test(mapping_fit_of_constant_features_is_none),
        cmocka_unit_test(mapping_fit_of_zero_factors_is_none),
        cmocka_unit_test(mapping_fit_of_dependent_features_is_finite),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
