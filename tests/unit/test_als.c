/* Alternating least squares against its loss, its gradient and its normal equations in double. */
#include "fusion_fixture.h"

#include "fusion/train/als.h"

/* What als.h says of the data: active rows, a0, λ. */
struct weights {
    double users, items, a0, lambda;
};

static struct weights weights_of(const struct csr *R, float c)
{
    struct weights w = {0};
    uint8_t *seen = calloc(R->n_cols + 1, 1);

    assert_non_null(seen);
    for (uint32_t u = 0; u < R->n_rows; u++)
        w.users += csr_degree(R, u) > 0;
    for (size_t e = 0; e < R->nnz; e++)
        seen[R->col[e]] = 1;
    for (uint32_t i = 0; i < R->n_cols; i++)
        w.items += seen[i];
    free(seen);
    w.a0 = 4 * (double)R->nnz / w.users / w.items;
    w.lambda = (double)c / 5 *
               (1 / sqrt((double)R->nnz / w.users) + 1 / sqrt((double)R->nnz / w.items));
    return w;
}

static struct csr transposed(const struct csr *R)
{
    struct csr_pair *pairs = malloc((R->nnz + 1) * sizeof(*pairs));
    struct csr T;
    size_t n = 0;

    assert_non_null(pairs);
    for (uint32_t u = 0; u < R->n_rows; u++)
        for (size_t e = R->start[u]; e < R->start[u + 1]; e++)
            pairs[n++] = (struct csr_pair){R->col[e], u};
    assert_int_equal(csr_from_pairs(pairs, n, R->n_cols, R->n_rows, &T, NULL), ERR_OK);
    free(pairs);
    return T;
}

/* Users of one pair to half of all items, every ninth user and every seventh item without any. */
static struct csr random_pairs(uint32_t n_users, uint32_t n_items, uint64_t seed)
{
    struct csr_pair *pairs = malloc((size_t)n_users * n_items * sizeof(*pairs));
    struct csr R;
    struct rng rng;
    size_t n = 0;

    assert_non_null(pairs);
    rng_init(&rng, seed);
    for (uint32_t u = 0; u < n_users; u++) {
        uint32_t n_drawn = u % 9 == 8 ? 0 : 1 + u * n_items / n_users / 2;

        for (uint32_t k = 0; k < n_drawn; k++) {
            float r = rng_float(&rng);
            uint32_t i = (uint32_t)(r * r * (float)n_items);

            if (i % 7 != 6)
                pairs[n++] = (struct csr_pair){u, i};
        }
    }
    assert_int_equal(csr_from_pairs(pairs, n, n_users, n_items, &R, NULL), ERR_OK);
    free(pairs);
    return R;
}

static struct als train(const struct csr *R, uint32_t d, uint32_t sweeps, unsigned threads)
{
    struct als_options o;
    struct als als;
    struct err err = {0};

    als_options_init(&o);
    o.d = d;
    o.sweeps = sweeps;
    o.threads = threads;
    if (als_train(&o, R, &als, &err) != ERR_OK)
        fail_msg("%s", err.text);
    assert_int_equal(als.n_users, R->n_rows);
    assert_int_equal(als.n_items, R->n_cols);
    return als;
}

static double dot(const float *x, const float *y, size_t d)
{
    double sum = 0;

    for (size_t a = 0; a < d; a++)
        sum += (double)x[a] * (double)y[a];
    return sum;
}

/* The loss at the head of als.h, every cell of it. */
static double loss_of(const struct als *als, const struct csr *R, float c)
{
    const struct weights w = weights_of(R, c);
    struct csr T = transposed(R);
    const size_t d = als->d;
    double loss = 0;

    for (uint32_t u = 0; u < R->n_rows; u++) {
        const float *v = als->users + u * d;

        loss += w.lambda * ((double)csr_degree(R, u) + w.a0 * w.items) * dot(v, v, d);
        for (uint32_t i = 0; i < R->n_cols; i++) {
            double score = dot(v, als->items + i * d, d);

            loss += w.a0 * score * score;
            if (csr_has(R, u, i))
                loss += (score - 1) * (score - 1);
        }
    }
    for (uint32_t i = 0; i < R->n_cols; i++)
        loss += w.lambda * ((double)csr_degree(&T, i) + w.a0 * w.users) *
                dot(als->items + i * d, als->items + i * d, d);
    csr_done(&T);
    return loss;
}

/* Half the gradient of the loss in the vectors of the rows of R, by its largest element relative to
 * the largest term that it sums. */
static double gradient_of(const struct csr *R, const float *X, const float *Y, size_t d,
                          const struct weights *w, double n_given)
{
    double worst = 0, largest = 0, *gradient = calloc(d, sizeof(*gradient));

    assert_non_null(gradient);
    for (uint32_t u = 0; u < R->n_rows; u++) {
        const float *x = X + u * d;

        for (size_t a = 0; a < d; a++)
            gradient[a] =
                w->lambda * ((double)csr_degree(R, u) + w->a0 * n_given) * (double)x[a];
        for (uint32_t i = 0; i < R->n_cols; i++) {
            double score = dot(x, Y + i * d, d), by = w->a0 * score;

            by += csr_has(R, u, i) ? score - 1 : 0;
            for (size_t a = 0; a < d; a++) {
                gradient[a] += by * (double)Y[i * d + a];
                largest = fmax(largest, fabs(by * (double)Y[i * d + a]));
            }
        }
        for (size_t a = 0; a < d; a++)
            worst = fmax(worst, fabs(gradient[a]));
    }
    free(gradient);
    return worst / largest;
}

static void train_each_sweep_lowers_the_loss(void **state)
{
    struct csr R = random_pairs(60, 45, 1);
    double before = INFINITY;

    (void)state;
    for (uint32_t sweeps = 1; sweeps <= 8; sweeps++) {
        struct als als = train(&R, 6, sweeps, 1);
        double loss = loss_of(&als, &R, .5f);

        assert_true(loss < before);
        before = loss;
        als_done(&als);
    }
    assert_true(before < 0.9 * (double)R.nnz); /* nothing learned: every pair costs 1 */
    csr_done(&R);
}

/* Histories below and above half of the width, and both sides once they have settled. */
static void train_users_have_no_gradient_left(void **state)
{
    const uint32_t widths[] = {1, 6, 20, 48};
    struct csr R = random_pairs(60, 45, 2), T = transposed(&R);
    const struct weights w = weights_of(&R, .5f);

    (void)state;
    for (size_t i = 0; i < sizeof(widths) / sizeof(*widths); i++) {
        struct als als = train(&R, widths[i], 3, 1);

        assert_true(gradient_of(&R, als.users, als.items, als.d, &w, w.items) < 1e-5);
        assert_true(gradient_of(&T, als.items, als.users, als.d, &w, w.users) > 1e-2);
        als_done(&als);
    }
    struct als als = train(&R, 6, 250, 1);
    assert_true(gradient_of(&T, als.items, als.users, als.d, &w, w.users) < 1e-4);
    als_done(&als);
    csr_done(&R);
    csr_done(&T);
}

/* X given Y by the normal equations in double, of full width, by Gauss. */
static void half_sweep_slowly(const struct csr *R, const double *Y, size_t d,
                              const struct weights *w, double n_given, double *ret_X)
{
    const size_t ld = d + 1;
    double *A = malloc(d * ld * sizeof(*A));

    assert_non_null(A);
    for (uint32_t u = 0; u < R->n_rows; u++) {
        double *x = ret_X + u * d;

        memset(A, 0, d * ld * sizeof(*A));
        for (uint32_t i = 0; i < R->n_cols; i++) {
            double pair = csr_has(R, u, i);

            for (size_t a = 0; a < d; a++) {
                for (size_t b = 0; b < d; b++)
                    A[a * ld + b] += (w->a0 + pair) * Y[i * d + a] * Y[i * d + b];
                A[a * ld + d] += pair * Y[i * d + a];
            }
        }
        for (size_t a = 0; a < d; a++)
            A[a * ld + a] += w->lambda * ((double)csr_degree(R, u) + w->a0 * n_given);
        for (size_t k = 0; k < d; k++) {
            for (size_t i = k + 1; i < d; i++) {
                double by = A[i * ld + k] / A[k * ld + k];

                for (size_t j = k; j <= d; j++)
                    A[i * ld + j] -= by * A[k * ld + j];
            }
        }
        for (size_t k = d; k-- > 0;) {
            x[k] = A[k * ld + d];
            for (size_t j = k + 1; j < d; j++)
                x[k] -= A[k * ld + j] * x[j];
            x[k] /= A[k * ld + k];
        }
    }
    free(A);
}

/* One sweep more than a training is one sweep in double from its users: the scores, which no basis
 * changes. */
static void train_a_sweep_is_the_oracles(void **state)
{
    enum { D = 20 };
    struct csr R = random_pairs(50, 70, 3), T = transposed(&R);
    const struct weights w = weights_of(&R, .5f);
    struct als before = train(&R, D, 2, 1), after = train(&R, D, 3, 1);
    double *V = malloc(50 * D * sizeof(*V)), *Y = malloc(70 * D * sizeof(*Y));

    (void)state;
    assert_true(V && Y);
    for (size_t e = 0; e < 50 * D; e++)
        V[e] = (double)before.users[e];
    half_sweep_slowly(&T, V, D, &w, w.users, Y);
    half_sweep_slowly(&R, Y, D, &w, w.items, V);
    for (uint32_t u = 0; u < 50; u++) {
        for (uint32_t i = 0; i < 70; i++) {
            double want = 0;

            for (size_t a = 0; a < D; a++)
                want += V[u * D + a] * Y[i * D + a];
            assert_true(fabs(dot(after.users + u * D, after.items + i * D, D) - want) < 5e-6);
        }
    }
    free(V);
    free(Y);
    als_done(&before);
    als_done(&after);
    csr_done(&R);
    csr_done(&T);
}

static void train_power_is_the_gram_matrix(void **state)
{
    enum { D = 20 };
    struct csr R = random_pairs(80, 60, 4);
    const struct weights w = weights_of(&R, .5f);
    struct als als = train(&R, D, 4, 1);

    (void)state;
    assert_int_equal(fold_check(&als.fold, NULL), ERR_OK);
    assert_int_equal(als.fold.d, D);
    assert_true(fabs((double)als.fold.lambda - w.lambda) < 1e-7 * w.lambda);
    for (size_t a = 0; a < D; a++) {
        assert_true(a == 0 || als.fold.power[a] <= als.fold.power[a - 1]);
        for (size_t b = a; b < D; b++) {
            double want = a == b ? (double)als.fold.power[a] - w.lambda * w.a0 * w.items : 0;
            double gram = 0;

            for (size_t i = 0; i < 60; i++)
                gram += w.a0 * (double)als.items[i * D + a] * (double)als.items[i * D + b];
            assert_true(fabs(gram - want) < 2e-6 * (double)als.fold.power[0]);
        }
    }
    als_done(&als);
    csr_done(&R);
}

static void train_fold_gives_every_user_again(void **state)
{
    struct csr R = random_pairs(60, 45, 5);
    struct als als = train(&R, 33, 2, 1);
    float *scratch = gemm_alloc(fold_scratch(&als.fold)), v[33];
    const float *rows[45];

    (void)state;
    for (uint32_t u = 0; u < R.n_rows; u++) {
        for (size_t s = 0; s < csr_degree(&R, u); s++)
            rows[s] = als.items + R.col[R.start[u] + s] * als.d;
        assert_int_equal(fold_user(&als.fold, rows, csr_degree(&R, u), scratch, v, NULL),
                         ERR_OK);
        assert_memory_equal(v, als.users + u * als.d, sizeof(v));
    }
    free(scratch);
    als_done(&als);
    csr_done(&R);
}

static void assert_same(const struct als *x, const struct als *y)
{
    assert_memory_equal(x->users, y->users, (size_t)x->n_users * x->d * sizeof(float));
    assert_memory_equal(x->items, y->items, (size_t)x->n_items * x->d * sizeof(float));
    assert_memory_equal(x->fold.power, y->fold.power, x->d * sizeof(float));
}

/* More rows than a slice of the Gram matrix, and than a turn. */
static void train_threads_give_the_same_bytes(void **state)
{
    struct csr R = random_pairs(2500, 100, 6);
    struct als one = train(&R, 10, 2, 1);

    (void)state;
    for (unsigned threads = 2; threads <= 5; threads += 3) {
        struct als more = train(&R, 10, 2, threads);

        assert_same(&one, &more);
        als_done(&more);
    }
    als_done(&one);
    csr_done(&R);
}

static void train_seed_decides_the_bytes(void **state)
{
    struct csr R = random_pairs(60, 45, 7);
    struct als first = train(&R, 8, 1, 1), again = train(&R, 8, 1, 1), other;
    struct als_options o;

    (void)state;
    assert_same(&first, &again);
    als_options_init(&o);
    o.d = 8;
    o.sweeps = 1;
    o.seed = 2;
    assert_int_equal(als_train(&o, &R, &other, NULL), ERR_OK);
    assert_memory_not_equal(first.users, other.users, 60 * 8 * sizeof(float));
    als_done(&first);
    als_done(&again);
    als_done(&other);
    csr_done(&R);
}

/* Every item becomes the third of three, every user the second of two. */
static void train_new_items_and_users_change_nothing(void **state)
{
    struct csr R = random_pairs(60, 45, 8), wide;
    struct csr_pair *pairs = malloc(R.nnz * sizeof(*pairs));
    size_t n = 0;

    (void)state;
    assert_non_null(pairs);
    for (uint32_t u = 0; u < R.n_rows; u++)
        for (size_t e = R.start[u]; e < R.start[u + 1]; e++)
            pairs[n++] = (struct csr_pair){2 * u + 1, 3 * R.col[e] + 2};
    assert_int_equal(csr_from_pairs(pairs, n, 120, 4000, &wide, NULL), ERR_OK);
    struct als few = train(&R, 7, 3, 1), many = train(&wide, 7, 3, 2);
    const float zero[7] = {0};
    for (uint32_t u = 0; u < 60; u++) {
        assert_memory_equal(many.users + (2 * u + 1) * 7, few.users + u * 7, sizeof(zero));
        assert_memory_equal(many.users + 2 * u * 7, zero, sizeof(zero));
    }
    for (uint32_t i = 0; i < 4000; i++) {
        bool is_old = i % 3 == 2 && i / 3 < 45;

        assert_memory_equal(many.items + i * 7, is_old ? few.items + i / 3 * 7 : zero,
                            sizeof(zero));
    }
    free(pairs);
    als_done(&few);
    als_done(&many);
    csr_done(&R);
    csr_done(&wide);
}

static void train_tiny_sizes_are_whole(void **state)
{
    const struct csr_pair pairs[] = {{0, 0}, {0, 1}, {0, 3}};
    struct csr R;
    struct als als;

    (void)state;
    /* No pairs, no rows, no columns. */
    for (uint32_t n = 0; n <= 3; n += 3) {
        assert_int_equal(csr_from_pairs(NULL, 0, n, 3 - n, &R, NULL), ERR_OK);
        als = train(&R, 5, 2, 3);
        for (size_t e = 0; e < n * 5; e++)
            assert_true(als.users[e] == 0);
        assert_int_equal(fold_check(&als.fold, NULL), ERR_OK);
        als_done(&als);
        csr_done(&R);
    }
    /* One user, a width far above the number of items; one pair. */
    for (size_t n = 1; n <= 3; n += 2) {
        assert_int_equal(csr_from_pairs(pairs, n, 1, 4, &R, NULL), ERR_OK);
        als = train(&R, 100, 12, 3);
        const struct weights w = weights_of(&R, .5f);
        assert_true(gradient_of(&R, als.users, als.items, als.d, &w, w.items) < 1e-5);
        for (size_t e = 0; e < 4 * 100; e++)
            assert_true(isfinite(als.items[e]));
        als_done(&als);
        csr_done(&R);
    }
}

static bool stop_at_three(void *arg, uint32_t sweep)
{
    *(uint32_t *)arg += sweep;
    return sweep < 3;
}

static void train_progress_can_end_it(void **state)
{
    struct csr R = random_pairs(30, 25, 9);
    uint32_t sum = 0;
    struct als_options o;
    struct als three = train(&R, 5, 3, 1), stopped;

    (void)state;
    als_options_init(&o);
    o.d = 5;
    o.progress = stop_at_three;
    o.arg = &sum;
    assert_int_equal(als_train(&o, &R, &stopped, NULL), ERR_OK);
    assert_int_equal(sum, 1 + 2 + 3);
    assert_same(&three, &stopped);
    als_done(&three);
    als_done(&stopped);
    csr_done(&R);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(train_each_sweep_lowers_the_loss),
        cmocka_unit_test(train_users_have_no_gradient_left),
        cmocka_unit_test(train_a_sweep_is_the_oracles),
        cmocka_unit_test(train_power_is_the_gram_matrix),
        cmocka_unit_test(train_fold_gives_every_user_again),
        cmocka_unit_test(train_threads_give_the_same_bytes),
        cmocka_unit_test(train_seed_decides_the_bytes),
        cmocka_unit_test(train_new_items_and_users_change_nothing),
        cmocka_unit_test(train_tiny_sizes_are_whole),
        cmocka_unit_test(train_progress_can_end_it),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
