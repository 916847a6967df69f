/* The forward pass against the dumps of tests/golden (PyTorch, float64), each loaded as the
 * checkpoint it is. */

#include "golden_fixture.h"

#include "fusion/file/npy.h"
#include "fusion/model/fuse.h"

/* Largest difference relative to the largest value; at most 1e-5. */
static double relative_error(const float *have, const float *want, size_t n)
{
    double scale = 0.0, worst = 0.0;

    for (size_t i = 0; i < n; i++) {
        scale = fmax(scale, fabs((double)want[i]));
        worst = fmax(worst, fabs((double)have[i] - (double)want[i]));
    }
    return worst / scale;
}

static struct model *load(const char *folder)
{
    struct model *m;
    struct err err = {0};

    if (model_load(golden(folder, "model.safetensors"), &m, &err) != ERR_OK)
        fail_msg("%s", err.text);
    return m;
}

static void fuse_forward_golden_last_layer_is_equal(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct model *m = load(cases[i]);
        struct npy X;
        float *want, E[64];
        double error;
        size_t n;

        assert_int_equal(npy_read(golden(cases[i], "features.npy"), &X, NULL), ERR_OK);
        assert_int_equal(X.n_cols, m->shape.F);
        assert_int_equal(fuse_forward(m, X.data, X.n_rows, E, NULL), ERR_OK);
        want = result(cases[i], "h3", &n);
        assert_int_equal(n, X.n_rows * 4);
        error = relative_error(E, want, n);
        print_message("%-18s %.1e\n", cases[i], error);
        assert_true(error <= 1e-5);
        assert_int_equal(m->shape.cp_collapsed, strstr(cases[i], "collapsed") != NULL);
        model_free(m);
        npy_done(&X);
        free(want);
    }
}

/* Every item as a new one: an empty ID half, no edge. */
static void fuse_items_golden_items_without_edges_are_equal(void **state)
{
    static const char *const folders[] = {
        "static_mf",         "dense_sage",   "cp_mf",           "cp_sage",
        "cp_collapsed_sage", "cp_sage_unit", "cp_lightgcn_unit"};
    const uint8_t mask[9] = {7, 7, 7, 7, 7, 7, 7, 7, 7};

    (void)state;
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        struct model *m = load(folders[i]);
        struct npy X;
        float *want, E[9 * 8];
        size_t n;

        /* What a model of ours says in its metadata, and a checkpoint cannot. */
        m->shape.fused_length = strstr(folders[i], "unit") ? 1 : 0;
        if (strstr(folders[i], "lightgcn") != NULL) {
            m->shape.backbone = BACKBONE_LIGHTGCN;
            m->shape.hops = 2;
        }
        assert_int_equal(npy_read(golden(folders[i], "features.npy"), &X, NULL), ERR_OK);
        assert_int_equal(fuse_items(m, X.data, mask, X.n_rows, E, NULL), ERR_OK);
        want = result(folders[i], "cold_items", &n);
        assert_int_equal(n, 9 * (size_t)m->shape.D);
        assert_true(relative_error(E, want, n) <= 1e-5);
        model_free(m);
        npy_done(&X);
        free(want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fuse_forward_golden_last_layer_is_equal),
        cmocka_unit_test(fuse_items_golden_items_without_edges_are_equal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
