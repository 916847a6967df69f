#include "daemon/base/topk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

static void cosine_of_known_vectors_is_right(void **state)
{
    const float vec[] = {1, 0, 0, 2, 3, 3, -1, 0}; /* (4, 2) */
    struct topk_row rows[8];

    (void)state;
    assert_int_equal(topk_cosine(vec, 4, 2, 0, 8, rows), 3);
    assert_int_equal(rows[0].row, 2);
    assert_true(fabs(rows[0].score - sqrt(0.5)) < 1e-12);
    assert_int_equal(rows[1].row, 1);
    assert_true(fabs(rows[1].score) < 1e-12);
    assert_int_equal(rows[2].row, 3);
    assert_true(fabs(rows[2].score + 1) < 1e-12);
}

static void cosine_ties_stand_in_row_order(void **state)
{
    const float vec[] = {1, 0, 2, 0, 3, 0, 0, 1, 4, 0}; /* (5, 2) */
    struct topk_row rows[3];

    (void)state;
    assert_int_equal(topk_cosine(vec, 5, 2, 2, 3, rows), 3);
    assert_int_equal(rows[0].row, 0);
    assert_int_equal(rows[1].row, 1);
    assert_int_equal(rows[2].row, 4);
}

static void cosine_few_or_no_others_give_what_there_is(void **state)
{
    const float vec[] = {1, 0};
    struct topk_row rows[1];

    (void)state;
    assert_int_equal(topk_cosine(vec, 1, 2, 0, 1, rows), 0);
    assert_int_equal(topk_cosine(vec, 1, 2, 0, 0, rows), 0);
}

static const double *oracle_scores;

static int by_score(const void *a, const void *b)
{
    size_t i = *(const size_t *)a, j = *(const size_t *)b;

    if (oracle_scores[i] != oracle_scores[j])
        return oracle_scores[i] > oracle_scores[j] ? -1 : 1;
    return i < j ? -1 : 1;
}

/* Against the textbook: score everything, sort everything. */
static void cosine_random_rows_agree_with_a_full_sort(void **state)
{
    enum { N = 300, DIM = 5, K = 40 };
    static float vec[N * DIM];
    static double scores[N];
    static size_t order[N];
    struct topk_row rows[K];
    unsigned seed = 7;

    (void)state;
    for (size_t i = 0; i < N * DIM; i++) /* few values: many ties */
        vec[i] = (float)(rand_r(&seed) % 3) - 1.0f + (i % DIM == 0 ? 0.5f : 0);
    for (size_t i = 0; i < N; i++) {
        double ab = 0, aa = 0, bb = 0;
        for (size_t d = 0; d < DIM; d++) {
            double a = (double)vec[d], b = (double)vec[i * DIM + d];
            ab += a * b;
            aa += a * a;
            bb += b * b;
        }
        scores[i] = i == 0 ? -2 : ab / (sqrt(bb) * sqrt(aa));
        order[i] = i;
    }
    oracle_scores = scores;
    qsort(order, N, sizeof(order[0]), by_score);
    assert_int_equal(topk_cosine(vec, N, DIM, 0, K, rows), K);
    for (size_t i = 0; i < K; i++)
        assert_true(fabs(rows[i].score - scores[order[i]]) < 1e-12);
    for (size_t i = 1; i < K; i++)
        assert_true(rows[i - 1].score > rows[i].score ||
                    (rows[i - 1].score == rows[i].score && rows[i - 1].row < rows[i].row));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cosine_of_known_vectors_is_right),
        cmocka_unit_test(cosine_ties_stand_in_row_order),
        cmocka_unit_test(cosine_few_or_no_others_give_what_there_is),
        cmocka_unit_test(cosine_random_rows_agree_with_a_full_sort),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
