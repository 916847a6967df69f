/* The map of embeddings. */
#include "fusion_fixture.h"

#include "fusion/math/pca.h"

/* A cloud along two chosen directions at right angles, and a little noise. */
static void plane_finds_the_directions_and_their_shares(void **state)
{
    enum { N = 400, D = 24 };
    static float X[N * D], Y[2 * N], again[2 * N], a[D], b[D];
    double share[2], share_again[2], want = 0, cross = 0;
    struct rng rng;

    (void)state;
    rng_init(&rng, 3);
    for (size_t k = 0; k < D; k++) {
        a[k] = k % 2 == 0 ? 0.2886751F : 0; /* 1 / √12 */
        b[k] = k % 2 == 1 ? 0.2886751F : 0;
    }
    for (size_t i = 0; i < N; i++) {
        float s = 6 * (rng_float(&rng) - 0.5F), t = 2 * (rng_float(&rng) - 0.5F);

        for (size_t k = 0; k < D; k++)
            X[i * D + k] = 5 + s * a[k] + t * b[k] + 0.01F * (rng_float(&rng) - 0.5F);
    }
    assert_int_equal(pca_plane(X, N, D, Y, share, NULL), ERR_OK);
    assert_true(share[0] > 0.85 && share[0] < 0.95); /* 36 : 4 */
    assert_true(share[0] + share[1] > 0.999 && share[0] + share[1] <= 1.000001);
    for (size_t i = 0; i < N; i++) {
        want += (double)Y[2 * i] * (double)Y[2 * i] / N;
        cross += (double)Y[2 * i] * (double)Y[2 * i + 1] / N;
    }
    assert_true(fabs(want - 3) < 0.4); /* variance of a uniform of width 6 */
    assert_true(fabs(cross) < 1e-4);
    assert_int_equal(pca_plane(X, N, D, again, share_again, NULL), ERR_OK);
    assert_memory_equal(Y, again, sizeof(Y));
}

static void plane_of_few_or_equal_rows_is_flat(void **state)
{
    const float same[3 * 4] = {1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4};
    const float column[3] = {0, 1, 2};
    float Y[6];
    double share[2];

    (void)state;
    assert_int_equal(pca_plane(same, 3, 4, Y, share, NULL), ERR_OK);
    for (size_t i = 0; i < 6; i++)
        assert_true(Y[i] == 0);
    assert_true(share[0] == 0 && share[1] == 0);
    assert_int_equal(pca_plane(same, 0, 4, Y, share, NULL), ERR_OK);
    assert_int_equal(pca_plane(column, 3, 1, Y, share, NULL), ERR_OK);
    assert_true(Y[0] == -1 && Y[2] == 0 && Y[4] == 1 && Y[5] == 0);
    assert_true(share[0] == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plane_finds_the_directions_and_their_shares),
        cmocka_unit_test(plane_of_few_or_equal_rows_is_flat),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
