/* The kernels of inference against one chain of fmaf an element, byte for byte. */

#include "fusion_fixture.h"

#include "fusion/math/gemm.h"

/* The definition: y ← fma(x_k, w_k, y), k ascending. */
static float chain(const float *x, const float *w, size_t step, size_t K, float y)
{
    for (size_t k = 0; k < K; k++)
        y = fmaf(x[k], w[k * step], y);
    return y;
}

static float *random_floats(struct rng *rng, size_t n)
{
    float *data = gemm_alloc(n);

    assert_non_null(data);
    rng_fill(rng, data, n, 1.0f);
    return data;
}

/* Y and its oracle for one shape; the products are not exact, so that order shows. */
static void check_shape(const struct gemm_kernel *kernel, size_t B, size_t K, size_t N,
                        bool resume)
{
    struct gemm_matrix W;
    struct rng rng;
    size_t ldx = K + 3, ldy;
    float *x, *w, *y, *before, *scratch = gemm_alloc(GEMM_SCRATCH);

    rng_init(&rng, B * 1000003 + K * 1009 + N);
    assert_int_equal(gemm_new(K, N, kernel, &W, NULL), ERR_OK);
    ldy = gemm_padded(&W) + 5;
    x = random_floats(&rng, B * ldx);
    w = random_floats(&rng, K * N);
    y = random_floats(&rng, B * ldy);
    before = gemm_alloc(B * ldy);
    memcpy(before, y, B * ldy * sizeof(float));
    gemm_pack(&W, 0, w, N, N, 1);
    gemm_run(&W, x, ldx, B, y, ldy, resume, scratch);
    for (size_t b = 0; b < B; b++) {
        for (size_t n = 0; n < N; n++) {
            float want = chain(x + b * ldx, w + n, N, K, resume ? before[b * ldy + n] : 0.0f);

            if (memcmp(&want, &y[b * ldy + n], sizeof(want)) != 0)
                fail_msg("%s: B %zu K %zu N %zu: y[%zu][%zu] is %a, not %a", kernel->name, B, K,
                         N, b, n, (double)y[b * ldy + n], (double)want);
        }
        for (size_t n = gemm_padded(&W); n < ldy; n++)
            assert_memory_equal(&before[b * ldy + n], &y[b * ldy + n], sizeof(float));
    }
    gemm_done(&W);
    free(x);
    free(w);
    free(y);
    free(before);
    free(scratch);
}

static void check_kernel(const char *name)
{
    const struct gemm_kernel *kernel = gemm_kernel_find(name);
    static const size_t rows[] = {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 19, 192, 193, 209};
    static const size_t shapes[][2] = {{1, 1}, {7, 16}, {33, 17}, {400, 70}, {801, 33}};

    if (kernel == NULL) {
        print_message("skipped: this processor does not run the %s kernel\n", name);
        skip();
    }
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t j = 0; j < sizeof(shapes) / sizeof(shapes[0]); j++) {
            check_shape(kernel, rows[i], shapes[j][0], shapes[j][1], false);
            check_shape(kernel, rows[i], shapes[j][0], shapes[j][1], true);
        }
    }
}

static void gemm_run_scalar_is_one_chain(void **state)
{
    (void)state;
    check_kernel("scalar");
}

static void gemm_run_avx2_is_one_chain(void **state)
{
    (void)state;
    check_kernel("avx2");
}

static void gemm_run_avx512_is_one_chain(void **state)
{
    (void)state;
    check_kernel("avx512");
}

static void gemm_pack_transposed_parts_land_in_their_columns(void **state)
{
    const float left[] = {1, 2, 3, 4, 5, 6},
                right[] = {7, 8, 9}; /* (3, 2), (1, 3) as (out, in) */
    const float x[] = {1, 10, 100};
    struct gemm_matrix W;
    float y[64];

    (void)state;
    assert_int_equal(gemm_new(3, 3, NULL, &W, NULL), ERR_OK);
    gemm_pack(&W, 0, left, 2, 2, 1);
    gemm_pack(&W, 2, right, 1, 1, 3);
    gemm_run(&W, x, 3, 1, y, gemm_padded(&W), false, NULL);
    assert_true(y[0] == 531.0f && y[1] == 642.0f && y[2] == 987.0f);
    gemm_done(&W);
}

static void gemm_kernel_find_unknown_is_null(void **state)
{
    (void)state;
    assert_null(gemm_kernel_find("neon"));
    assert_non_null(gemm_kernel_best());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm_run_scalar_is_one_chain),
        cmocka_unit_test(gemm_run_avx2_is_one_chain),
        cmocka_unit_test(gemm_run_avx512_is_one_chain),
        cmocka_unit_test(gemm_pack_transposed_parts_land_in_their_columns),
        cmocka_unit_test(gemm_kernel_find_unknown_is_null),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
