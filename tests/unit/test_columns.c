/* The content signal's columns against a textbook version in double: directions by Jacobi rotations,
 * singular values to the power ½, each modality to unit length, joined, projected once more. */
#include "fusion_fixture.h"

#include "fusion/model/columns.h"

enum { N = 260, DIM_V = 9, DIM_A = 6, F = DIM_V + DIM_A, C = 5 };
static const int32_t dims[MODALITY_COUNT] = {DIM_V, DIM_A, 0};

/* Columns of unequal power that hang together, some rows with one modality only, one with none. */
static void draw(float *X, uint8_t *mask)
{
    struct rng rng;

    rng_init(&rng, 21);
    for (size_t i = 0; i < N; i++) {
        float *x = X + i * F, last = 0;

        for (size_t f = 0; f < F; f++) {
            last = 0.4F * last + (2 * rng_float(&rng) - 1) * (1 + 0.3F * (float)((f * 7) % F));
            x[f] = last;
        }
        mask[i] = i % 6 == 1 ? 1 : i % 9 == 2 ? 2 : i == 40 ? 0 : 3;
        for (size_t f = 0; f < F; f++)
            if (!(mask[i] & MODALITY_BIT(f < DIM_V ? 0 : 1)))
                x[f] = 0;
    }
}

/* ---- the textbook ---------------------------------------------------------------------------- */

/* Cyclic Jacobi rotations: eigenvalues of the symmetric M (n, n), largest first, eigenvectors the
 * rows of V. */
static void rotate(double *M, double *V, size_t n, size_t p, size_t q)
{
    double theta = (M[q * n + q] - M[p * n + p]) / (2 * M[p * n + q]);
    double t = (theta >= 0 ? 1 : -1) / (fabs(theta) + sqrt(theta * theta + 1));
    double c = 1 / sqrt(t * t + 1), s = t * c;

    for (size_t k = 0; k < n; k++) {
        double a = M[k * n + p], b = M[k * n + q];

        M[k * n + p] = c * a - s * b;
        M[k * n + q] = s * a + c * b;
    }
    for (size_t k = 0; k < n; k++) {
        double a = M[p * n + k], b = M[q * n + k], va = V[p * n + k], vb = V[q * n + k];

        M[p * n + k] = c * a - s * b;
        M[q * n + k] = s * a + c * b;
        V[p * n + k] = c * va - s * vb;
        V[q * n + k] = s * va + c * vb;
    }
}

static void jacobi(double *M, size_t n, double *ret_power, double *V)
{
    memset(V, 0, n * n * sizeof(*V));
    for (size_t i = 0; i < n; i++)
        V[i * n + i] = 1;
    for (int sweep = 0; sweep < 60; sweep++)
        for (size_t p = 0; p < n; p++)
            for (size_t q = p + 1; q < n; q++)
                if (fabs(M[p * n + q]) > 1e-300)
                    rotate(M, V, n, p, q);
    for (size_t i = 0; i < n; i++)
        ret_power[i] = M[i * n + i];
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++)
            if (ret_power[j] > ret_power[i]) {
                double power = ret_power[i];

                ret_power[i] = ret_power[j];
                ret_power[j] = power;
                for (size_t k = 0; k < n; k++) {
                    double v = V[i * n + k];

                    V[i * n + k] = V[j * n + k];
                    V[j * n + k] = v;
                }
            }
}

static void moments(const double *X, size_t n_rows, size_t n, double *ret_M)
{
    memset(ret_M, 0, n * n * sizeof(*ret_M));
    for (size_t i = 0; i < n_rows; i++)
        for (size_t a = 0; a < n; a++)
            for (size_t b = 0; b < n; b++)
                ret_M[a * n + b] += X[i * n + a] * X[i * n + b];
}

static void unit(double *x, size_t n)
{
    double sum = 0;

    for (size_t j = 0; j < n; j++)
        sum += x[j] * x[j];
    for (size_t j = 0; j < n && sum > 0; j++)
        x[j] /= sqrt(sum);
}

/* A modality's columns [first, first + n) of X → of `joined`. */
static void textbook_part(const float *X, size_t first, size_t n, double *joined)
{
    static double Z[N * F], M[F * F], V[F * F];
    double power[F], y[F];

    for (size_t i = 0; i < N; i++)
        for (size_t f = 0; f < n; f++)
            Z[i * n + f] = (double)X[i * F + first + f];
    moments(Z, N, n, M);
    jacobi(M, n, power, V);
    for (size_t i = 0; i < N; i++) {
        for (size_t k = 0; k < n; k++) {
            y[k] = 0;
            for (size_t f = 0; f < n; f++)
                y[k] += Z[i * n + f] * V[k * n + f];
            y[k] /= sqrt(sqrt(power[k])); /* power = σ² */
        }
        unit(y, n);
        for (size_t k = 0; k < n; k++)
            joined[i * F + first + k] = y[k] / sqrt(2);
    }
}

static void textbook(const float *X, double *ret_c /* (N, C) */)
{
    static double joined[N * F], M[F * F], J[F * F];
    double power[F];

    textbook_part(X, 0, DIM_V, joined);
    textbook_part(X, DIM_V, DIM_A, joined);
    moments(joined, N, F, M);
    jacobi(M, F, power, J);
    for (size_t i = 0; i < N; i++) {
        for (size_t c = 0; c < C; c++) {
            ret_c[i * C + c] = 0;
            for (size_t k = 0; k < F; k++)
                ret_c[i * C + c] += joined[i * F + k] * J[c * F + k];
        }
        unit(ret_c + i * C, C);
    }
}

static void rows_equal_the_textbook_up_to_a_rotation(void **state)
{
    static float X[N * F], c[N * C];
    static double want[N * C];
    uint8_t mask[N];
    struct columns columns;
    double worst = 0;

    (void)state;
    draw(X, mask);
    assert_int_equal(columns_fit(X, mask, N, dims, C, &columns, NULL), ERR_OK);
    assert_int_equal(columns.kept[0], DIM_V);
    assert_int_equal(columns.kept[1], DIM_A);
    assert_int_equal(columns.kept[2], 0);
    assert_int_equal(columns.C, C);
    assert_int_equal(columns_rows(&columns, X, mask, N, c, NULL), ERR_OK);
    textbook(X, want);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < N; j++) {
            double a = 0, b = 0;

            for (size_t k = 0; k < C; k++) {
                a += (double)c[i * C + k] * (double)c[j * C + k];
                b += want[i * C + k] * want[j * C + k];
            }
            worst = fmax(worst, fabs(a - b));
        }
    print_message("cosines differ by %.1e\n", worst);
    assert_true(worst < 2e-5);
    columns_done(&columns);
}

/* ---- structure ------------------------------------------------------------------------------- */

static void rows_are_unit_or_zero_and_each_for_itself(void **state)
{
    static float X[N * F], c[N * C], one[C];
    uint8_t mask[N];
    struct columns columns;

    (void)state;
    draw(X, mask);
    assert_int_equal(columns_fit(X, mask, N, dims, C, &columns, NULL), ERR_OK);
    assert_int_equal(columns_rows(&columns, X, mask, N, c, NULL), ERR_OK);
    for (size_t i = 0; i < N; i++) {
        double sum = 0;

        for (size_t k = 0; k < C; k++)
            sum += (double)c[i * C + k] * (double)c[i * C + k];
        assert_true(i == 40 ? sum == 0 : fabs(sum - 1) < 1e-6);
        assert_int_equal(columns_rows(&columns, X + i * F, mask + i, 1, one, NULL), ERR_OK);
        assert_memory_equal(one, c + i * C, sizeof(one));
    }
    columns_done(&columns);
}

/* A modality that the mask does not name counts as missing, whatever its columns hold. */
static void rows_without_a_modality_are_of_the_others(void **state)
{
    static float X[N * F], x[F], a[C], b[C];
    const uint8_t visual = MODALITY_BIT(MODALITY_VISUAL);
    uint8_t mask[N];
    struct columns columns;

    (void)state;
    draw(X, mask);
    assert_int_equal(columns_fit(X, mask, N, dims, C, &columns, NULL), ERR_OK);
    memcpy(x, X, DIM_V * sizeof(*x));
    assert_int_equal(columns_rows(&columns, x, &visual, 1, a, NULL), ERR_OK);
    memcpy(x, X, sizeof(x));
    assert_int_equal(columns_rows(&columns, x, &visual, 1, b, NULL), ERR_OK);
    assert_memory_equal(a, b, sizeof(a));
    assert_int_equal(columns_rows(&columns, x, mask, 1, b, NULL), ERR_OK);
    assert_memory_not_equal(a, b, sizeof(a));
    columns_done(&columns);
}

/* Singular values 1 and 1e-2 stay, 3e-4 goes; the columns are at most as many as what is kept. */
static void fit_of_weak_directions_drops_them(void **state)
{
    enum { ROWS = 300, WIDTH = 12 };
    static float X[ROWS * WIDTH], c[ROWS * 8];
    const int32_t dim[MODALITY_COUNT] = {0, 0, WIDTH};
    uint8_t mask[ROWS];
    struct columns columns;
    struct rng rng;

    (void)state;
    rng_init(&rng, 4);
    for (size_t i = 0; i < ROWS; i++) {
        mask[i] = MODALITY_BIT(MODALITY_TEXTUAL);
        for (size_t f = 0; f < WIDTH; f++)
            X[i * WIDTH + f] = (2 * rng_float(&rng) - 1) * (f == 2   ? 1
                                                            : f == 9 ? 1e-2F
                                                            : f == 5 ? 3e-4F
                                                                     : 0);
    }
    assert_int_equal(columns_fit(X, mask, ROWS, dim, 8, &columns, NULL), ERR_OK);
    assert_int_equal(columns.kept[2], 2);
    assert_int_equal(columns.K, 2);
    assert_int_equal(columns.C, 2);
    for (size_t f = 0; f < WIDTH; f++)
        for (size_t k = 0; k < 2; k++)
            assert_true(f == 2 || f == 9 || fabsf(columns.project[2][f * 2 + k]) < 0.01F);
    assert_int_equal(columns_rows(&columns, X, mask, ROWS, c, NULL), ERR_OK);
    columns_done(&columns);
}

static void fit_of_a_wide_modality_keeps_256(void **state)
{
    enum { ROWS = 400, WIDTH = 300 };
    static float X[ROWS * WIDTH];
    const int32_t dim[MODALITY_COUNT] = {WIDTH, 0, 0};
    uint8_t mask[ROWS];
    struct columns columns;

    (void)state;
    fixture_fill(5, X, ROWS * WIDTH, 1);
    memset(mask, 1, sizeof(mask));
    assert_int_equal(columns_fit(X, mask, ROWS, dim, 64, &columns, NULL), ERR_OK);
    assert_int_equal(columns.kept[0], COLUMNS_KEPT);
    assert_int_equal(columns.C, 64);
    columns_done(&columns);
}

static void fit_of_nothing_has_no_columns(void **state)
{
    static const float X[4 * F];
    const uint8_t mask[4] = {3, 3, 0, 1};
    struct columns columns;

    (void)state;
    assert_int_equal(columns_fit(X, mask, 4, dims, C, &columns, NULL), ERR_OK);
    assert_int_equal(columns.C, 0);
    assert_int_equal(columns_rows(&columns, X, mask, 4, NULL, NULL), ERR_OK);
    columns_done(&columns);
    assert_int_equal(columns_fit(X, mask, 0, dims, C, &columns, NULL), ERR_OK);
    assert_int_equal(columns.C, 0);
    columns_done(&columns);
}

/* User 0 two items, user 1 nothing, user 2 an item that says nothing, user 3 two that cancel. */
static void users_are_the_direction_of_their_items(void **state)
{
    const struct csr_pair pairs[] = {{0, 0}, {0, 1}, {2, 2}, {3, 0}, {3, 3}};
    const float c[4 * 2] = {1, 0, 0.6F, 0.8F, 0, 0, -1, 0};
    float users[4 * 2];
    struct csr R;

    (void)state;
    assert_int_equal(csr_from_pairs(pairs, 5, 4, 4, &R, NULL), ERR_OK);
    memset(users, 0x7f, sizeof(users));
    columns_users(&R, c, 2, users);
    assert_float_equal(users[0], 0.8944272F, 1e-6F); /* (1.6, 0.8) */
    assert_float_equal(users[1], 0.4472136F, 1e-6F);
    for (size_t j = 2; j < 8; j++)
        assert_true(users[j] == 0);
    csr_done(&R);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_equal_the_textbook_up_to_a_rotation),
        cmocka_unit_test(rows_are_unit_or_zero_and_each_for_itself),
        cmocka_unit_test(rows_without_a_modality_are_of_the_others),
        cmocka_unit_test(fit_of_weak_directions_drops_them),
        cmocka_unit_test(fit_of_a_wide_modality_keeps_256),
        cmocka_unit_test(fit_of_nothing_has_no_columns),
        cmocka_unit_test(users_are_the_direction_of_their_items),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
