/* Small positive definite systems against their chains of fmaf, byte for byte on every kernel; the
 * fold of a user against its normal equations in double. */
#include "fusion_fixture.h"

#include "fusion/math/spd.h"
#include "fusion/model/fold.h"

static const char *const kernel_names[] = {"scalar", "avx2", "avx512"};
enum { KERNELS = sizeof(kernel_names) / sizeof(*kernel_names) };

/* n rows of d floats with a row of another length between them, and pointers to them. */
static const float **random_rows(uint64_t seed, size_t n, size_t d, float bound, float **ret_w)
{
    float *w = malloc((n * (d + 3) + 1) * sizeof(*w));
    const float **rows = malloc((n + 1) * sizeof(*rows));

    assert_non_null(w);
    assert_non_null(rows);
    fixture_fill(seed, w, n * (d + 3), bound);
    for (size_t s = 0; s < n; s++)
        rows[s] = w + s * (d + 3);
    *ret_w = w;
    return rows;
}

static void check_same(float got, float want, const char *what, const char *kernel, size_t i,
                       size_t j)
{
    if (memcmp(&got, &want, sizeof(got)) != 0)
        fail_msg("%s, %s: [%zu][%zu] is %a, not %a", what, kernel, i, j, (double)got,
                 (double)want);
}

static void check_products(const struct gemm_kernel *kernel, size_t n, size_t d)
{
    const size_t D = spd_padded(d), N = spd_padded(n);
    float *w, *M = gemm_alloc(D * D), *before = gemm_alloc(D * D), *K = gemm_alloc(N * N);
    float *pack = gemm_alloc(D * SPD_DEPTH + N * d), *scale = gemm_alloc(d);
    const float **rows = random_rows(n * 1000 + d, n, d, 1, &w);

    fixture_fill(5, scale, d, 1);
    fixture_fill(6, M, D * D, 1);
    memcpy(before, M, D * D * sizeof(*M));
    spd_add_rows(kernel, rows, n, d, pack, M);
    for (size_t a = 0; a < d; a++) {
        for (size_t b = a; b < d; b++) {
            float want = before[a * D + b];

            for (size_t s = 0; s < n; s++)
                want = fmaf(rows[s][a], rows[s][b], want);
            check_same(M[a * D + b], want, "sum of outer products", kernel->name, a, b);
        }
    }
    spd_products(kernel, rows, n, d, scale, pack, K);
    for (size_t s = 0; s < n; s++) {
        for (size_t t = s; t < n; t++) {
            float want = 0;

            for (size_t a = 0; a < d; a++)
                want = fmaf(scale[a] * rows[s][a], scale[a] * rows[t][a], want);
            check_same(K[s * N + t], want, "products of rows", kernel->name, s, t);
        }
    }
    free(w);
    free(rows);
    free(M);
    free(before);
    free(K);
    free(pack);
    free(scale);
}

static void products_any_kernel_are_chains(void **state)
{
    (void)state;
    for (size_t k = 0; k < KERNELS; k++) {
        const struct gemm_kernel *kernel = gemm_kernel_find(kernel_names[k]);

        if (kernel == NULL)
            continue;
        for (size_t n = 1; n <= 66; n += n < 5 ? 1 : 12)
            check_products(kernel, n, 41);
        check_products(kernel, 2 * SPD_DEPTH + 3, 5);
        check_products(kernel, 3, 1);
        check_products(kernel, 16, 64);
    }
}

/* A positive definite matrix whose lower triangle, which nobody may read, is not a number. */
static void fill_spd(float *M, size_t n, size_t ld)
{
    float *x = malloc(n * n * sizeof(*x));

    assert_non_null(x);
    fixture_fill(n, x, n * n, 1);
    for (size_t i = 0; i < ld * ld; i++)
        M[i] = NAN;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = i; j < n; j++) {
            M[i * ld + j] = i == j ? 0.5f : 0;
            for (size_t k = 0; k < n; k++)
                M[i * ld + j] += x[k * n + i] * x[k * n + j];
        }
    }
    free(x);
}

/* Textbook: u_kj = (m_kj - Σ_s<k u_sk u_sj) / u_kk, each sum a chain. */
static void factor_slowly(const float *M, size_t n, size_t ld, float *ret_U)
{
    for (size_t k = 0; k < n; k++) {
        float inverse = 0;

        for (size_t j = k; j < n; j++) {
            float u = M[k * ld + j];

            for (size_t s = 0; s < k; s++)
                u = fmaf(-ret_U[s * ld + k], ret_U[s * ld + j], u);
            inverse = j == k ? 1 / sqrtf(u) : inverse;
            ret_U[k * ld + j] = u * inverse;
        }
    }
}

static void check_factor(const struct gemm_kernel *kernel, size_t n)
{
    const size_t ld = spd_padded(n);
    float *M = gemm_alloc(ld * ld), *U = gemm_alloc(ld * ld), *want = gemm_alloc(ld * ld);
    float *pack = gemm_alloc(2 * SPD_STEP * ld), *inverse = gemm_alloc(n), *b = gemm_alloc(n);
    double worst = 0, largest = 0;

    fill_spd(M, n, ld);
    memcpy(U, M, ld * ld * sizeof(*U));
    assert_true(spd_factor(kernel, U, n, ld, pack, inverse));
    factor_slowly(M, n, ld, want);
    for (size_t k = 0; k < n; k++)
        for (size_t j = k; j < n; j++)
            check_same(U[k * ld + j], want[k * ld + j], "factor", kernel->name, k, j);
    fixture_fill(7, b, n, 1);
    memcpy(want, b, n * sizeof(*b));
    spd_solve(U, n, ld, inverse, b);
    for (size_t i = 0; i < n; i++) {
        double left = -(double)want[i];

        for (size_t j = 0; j < n; j++)
            left += (double)M[i < j ? i * ld + j : j * ld + i] * (double)b[j];
        worst = fmax(worst, fabs(left));
        largest = fmax(largest, fabs((double)M[i * ld + i]));
    }
    assert_true(worst < 1e-5 * largest);
    free(M);
    free(U);
    free(want);
    free(pack);
    free(inverse);
    free(b);
}

static void factor_any_kernel_is_the_textbooks(void **state)
{
    (void)state;
    for (size_t k = 0; k < KERNELS; k++) {
        const struct gemm_kernel *kernel = gemm_kernel_find(kernel_names[k]);

        for (size_t n = SPD_STEP; kernel != NULL && n <= 144; n += SPD_STEP)
            check_factor(kernel, n);
    }
}

static void factor_not_positive_is_refused(void **state)
{
    enum { N = 64 };
    static float M[N * N], U[N * N], pack[2 * SPD_STEP * N], inverse[N];
    const float bad[] = {0, -1, NAN, INFINITY};

    (void)state;
    fill_spd(M, N, N);
    for (size_t k = 0; k < KERNELS; k++) {
        const struct gemm_kernel *kernel = gemm_kernel_find(kernel_names[k]);

        for (size_t at = 0; kernel != NULL && at < N; at += 7) {
            for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
                memcpy(U, M, sizeof(U));
                U[at * N + at] = bad[i];
                assert_false(spd_factor(kernel, U, N, N, pack, inverse));
            }
        }
    }
}

/* (diag(power) + λ n + WᵀW) v = Wᵀ 1 by Gauss in double. */
static void fold_slowly(const struct fold *f, const float *const *rows, size_t n, double *ret_v)
{
    const size_t d = f->d, ld = d + 1;
    double *A = calloc(d * ld, sizeof(*A));

    assert_non_null(A);
    for (size_t a = 0; a < d; a++) {
        A[a * ld + a] = (double)f->power[a] + (double)f->lambda * (double)n;
        for (size_t s = 0; s < n; s++) {
            for (size_t b = 0; b < d; b++)
                A[a * ld + b] += (double)rows[s][a] * (double)rows[s][b];
            A[a * ld + d] += (double)rows[s][a];
        }
    }
    for (size_t k = 0; k < d; k++) {
        for (size_t i = k + 1; i < d; i++) {
            double by = A[i * ld + k] / A[k * ld + k];

            for (size_t j = k; j <= d; j++)
                A[i * ld + j] -= by * A[k * ld + j];
        }
    }
    for (size_t k = d; k-- > 0;) {
        ret_v[k] = A[k * ld + d];
        for (size_t j = k + 1; j < d; j++)
            ret_v[k] -= A[k * ld + j] * ret_v[j];
        ret_v[k] /= A[k * ld + k];
    }
    free(A);
}

/* Powers that fall by 1e5, as those of a training do, and scratch full of what is not a number. */
static void check_fold(uint32_t d, size_t n)
{
    float *w, *power = malloc(d * sizeof(*power)), *v = malloc(d * sizeof(*v));
    struct fold f = {.d = d, .lambda = .05f, .power = power};
    float *scratch = malloc(fold_scratch(&f) * sizeof(*scratch));
    double *want = malloc(d * sizeof(*want)), worst = 0, length = 0;
    const float **rows = random_rows(d * 10007 + n, n, d, .5f, &w);

    assert_true(power && v && scratch && want);
    for (size_t a = 0; a < d; a++)
        power[a] = 100 * powf(1e-5f, (float)a / (float)d);
    for (size_t i = 0; i < fold_scratch(&f); i++)
        scratch[i] = NAN;
    assert_int_equal(fold_check(&f, NULL), ERR_OK);
    assert_int_equal(fold_user(&f, rows, n, scratch, v, NULL), ERR_OK);
    fold_slowly(&f, rows, n, want);
    for (size_t a = 0; a < d; a++) {
        worst = fmax(worst, fabs((double)v[a] - want[a]));
        length += want[a] * want[a];
    }
    if (worst > 3e-6 * sqrt(length))
        fail_msg("d %u n %zu: off by %g of a vector", d, n, worst / sqrt(length));
    free(w);
    free(rows);
    free(power);
    free(v);
    free(scratch);
    free(want);
}

static void fold_user_any_size_solves_its_normal_equations(void **state)
{
    const uint32_t widths[] = {1, 2, 7, 16, 33, 64, 100};

    (void)state;
    for (size_t i = 0; i < sizeof(widths) / sizeof(*widths); i++) {
        uint32_t d = widths[i];

        for (size_t n = 1; n <= d / 2 + 1; n += n < 20 ? 1 : 7)
            check_fold(d, n);
        check_fold(d, d / 2);
        check_fold(d, d / 2 + 1);
        check_fold(d, d);
        check_fold(d, 2 * SPD_DEPTH + 1);
    }
}

static void fold_user_without_items_is_zero(void **state)
{
    const float power[3] = {3, 2, 1};
    const struct fold f = {.d = 3, .lambda = 1, .power = power};
    float v[3] = {7, 7, 7}, *scratch = gemm_alloc(fold_scratch(&f));

    (void)state;
    assert_int_equal(fold_user(&f, NULL, 0, scratch, v, NULL), ERR_OK);
    assert_true(v[0] == 0 && v[1] == 0 && v[2] == 0);
    free(scratch);
}

static void fold_user_beyond_the_numbers_is_refused(void **state)
{
    enum { D = 8 };
    float power[D], row[D], v[D], *scratch;
    const float *rows[D];
    struct fold f = {.d = D, .lambda = 1, .power = power};
    struct err err = {0};

    (void)state;
    for (size_t a = 0; a < D; a++) {
        power[a] = 1;
        row[a] = 1e30f;
        v[a] = 7;
        rows[a] = row;
    }
    scratch = gemm_alloc(fold_scratch(&f));
    for (size_t n = 1; n <= D; n += D - 1) { /* both ways */
        assert_int_equal(fold_user(&f, rows, n, scratch, v, &err), ERR_FATAL);
        assert_int_equal(err.exit_code, EX_DATAERR);
        row[0] = NAN;
        assert_int_equal(fold_user(&f, rows, n, scratch, v, &err), ERR_FATAL);
        row[0] = 1e30f;
    }
    for (size_t a = 0; a < D; a++)
        assert_true(v[a] == 7);
    free(scratch);
}

static void fold_check_out_of_range_is_refused(void **state)
{
    const float bad[] = {0, -1, NAN, INFINITY};
    float power[2] = {2, 1};
    struct fold f = {.d = 2, .lambda = .1f, .power = power};

    (void)state;
    assert_int_equal(fold_check(&f, NULL), ERR_OK);
    f.d = 0;
    assert_int_equal(fold_check(&f, NULL), ERR_FATAL);
    f.d = FOLD_WIDTH_MAX + 1;
    assert_int_equal(fold_check(&f, NULL), ERR_FATAL);
    f.d = 2;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        f.lambda = bad[i];
        assert_int_equal(fold_check(&f, NULL), ERR_FATAL);
        f.lambda = .1f;
        power[1] = bad[i];
        assert_int_equal(fold_check(&f, NULL), ERR_FATAL);
        power[1] = 1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_any_kernel_are_chains),
        cmocka_unit_test(factor_any_kernel_is_the_textbooks),
        cmocka_unit_test(factor_not_positive_is_refused),
        cmocka_unit_test(fold_user_any_size_solves_its_normal_equations),
        cmocka_unit_test(fold_user_without_items_is_zero),
        cmocka_unit_test(fold_user_beyond_the_numbers_is_refused),
        cmocka_unit_test(fold_check_out_of_range_is_refused),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
