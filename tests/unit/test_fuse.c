/* The forward pass against the textbook: W_i materialised for every item, in double, straight
 * from the paper's equations (the authors' collapsed C as their code computes it). */

#include "fusion_fixture.h"

#include "fusion/math/gemm.h"
#include "fusion/model/fuse.h"

#include <pthread.h>

/* Element i of a tensor. */
static double get(const struct model *m, const char *name, size_t i)
{
    return (double)model_tensor(m, "%s", name)->data[i];
}

/* The same of "layer_<n>.part" and "conv<n>.part". */
static double at(const struct model *m, const char *stem, size_t n, const char *part, size_t i)
{
    return (double)model_tensor(m, "%s%zu.%s", stem, n, part)->data[i];
}

/* T[k][i][o] of a layer. */
static double tensor_T(const struct model *m, size_t n, size_t k, size_t i, size_t o)
{
    const struct model_shape *s = &m->shape;
    size_t out = (size_t)s->width[n], in = (size_t)s->width[n - 1], S = (size_t)s->S;
    size_t R = (size_t)s->R;
    double sum = 0.0, AB = 0.0, c = 0.0;

    if (s->fusion == FUSION_STATIC)
        return 0.0;
    if (s->fusion == FUSION_DENSE)
        return at(m, "layer_", n, "T_1", k * in * out + i * out + o);
    for (size_t r = 0; r < R; r++) {
        double ab = at(m, "layer_", n, "A", i * R + r) * at(m, "layer_", n, "B", r * out + o);

        AB += ab;
        c += at(m, "layer_", n, "C", r * S + k);
        sum += ab * at(m, "layer_", n, "C", r * S + k);
    }
    return s->cp_collapsed ? c * AB : sum;
}

static void oracle_signal(const struct model *m, const double *x, double *ret_s)
{
    size_t F = (size_t)m->shape.F, S = (size_t)m->shape.S;
    size_t H = m->shape.S > 0 ? model_tensor(m, "mlp_signal.0.weight")->shape[0] : 0;

    for (size_t k = 0; k < S; k++)
        ret_s[k] = get(m, "mlp_signal.2.bias", k);
    for (size_t j = 0; j < H; j++) {
        double z = get(m, "mlp_signal.0.bias", j);

        for (size_t i = 0; i < F; i++)
            z += get(m, "mlp_signal.0.weight", j * F + i) * x[i];
        for (size_t k = 0; k < S && z > 0.0; k++)
            ret_s[k] += get(m, "mlp_signal.2.weight", k * H + j) * z;
    }
}

static double leaky(double v)
{
    return v > 0.0 ? v : 0.01 * v;
}

/* h of the last layer for one row. */
static void oracle_forward(const struct model *m, const double *x, double *ret_h)
{
    double s[64], h[2048], next[2048];
    size_t L = (size_t)m->shape.L;

    oracle_signal(m, x, s);
    memcpy(h, x, (size_t)m->shape.F * sizeof(double));
    for (size_t n = 1; n <= L; n++) {
        size_t in = (size_t)m->shape.width[n - 1], out = (size_t)m->shape.width[n];

        for (size_t o = 0; o < out; o++) {
            next[o] = 0.0;
            for (size_t i = 0; i < in; i++) {
                double w = at(m, "layer_", n, "M_1", i * out + o);

                for (size_t k = 0; k < (size_t)m->shape.S; k++)
                    w += s[k] * tensor_T(m, n, k, i, o);
                next[o] += h[i] * w;
            }
        }
        for (size_t o = 0; o < out; o++)
            h[o] = n < L ? leaky(next[o]) : next[o];
    }
    memcpy(ret_h, h, (size_t)m->shape.width[L] * sizeof(double));
}

static void oracle_conv(const struct model *m, size_t n, const double *v, size_t in, size_t out,
                        double *ret_v)
{
    for (size_t o = 0; o < out; o++) {
        ret_v[o] = at(m, "conv", n, "lin_l.bias", o);
        for (size_t i = 0; i < in; i++)
            ret_v[o] += at(m, "conv", n, "lin_r.weight", o * in + i) * v[i];
    }
}

/* The published embedding of one item. */
static void oracle_item(const struct model *m, const float *X, unsigned mask, double *ret_e)
{
    const struct model_shape *s = &m->shape;
    size_t out = (size_t)s->width[s->L], width = out + (size_t)s->id_dim, column = 0;
    double x[FIXTURE_F], e[64] = {0}, hidden[64], length = 0.0;

    for (int k = 0; k < MODALITY_COUNT; k++) {
        for (int32_t i = 0; i < s->modality_dim[k]; i++, column++)
            x[column] = (mask & MODALITY_BIT(k)) == 0
                            ? 0.0
                            : ((double)X[column] - get(m, "mmf.mean", column)) /
                                  get(m, "mmf.std", column);
    }
    oracle_forward(m, x, e);
    for (size_t i = 0; i < out; i++)
        length += e[i] * e[i];
    for (size_t i = 0; i < out; i++)
        e[i] /= sqrt(length) * (s->backbone == BACKBONE_LIGHTGCN ? (double)s->hops + 1.0 : 1.0);
    if (s->backbone != BACKBONE_SAGE) {
        memcpy(ret_e, e, width * sizeof(double));
        return;
    }
    oracle_conv(m, 1, e, width, 6, hidden);
    for (size_t i = 0; i < 6; i++)
        hidden[i] = leaky(hidden[i]);
    oracle_conv(m, 2, hidden, 6, 7, ret_e);
}

/* Relative to the largest element of the row. */
static void assert_row_near(const float *have, const double *want, size_t n, double bound)
{
    double scale = 0.0;

    for (size_t i = 0; i < n; i++)
        scale = fmax(scale, fabs(want[i]));
    for (size_t i = 0; i < n; i++) {
        if (!(fabs((double)have[i] - want[i]) <= bound * scale))
            fail_msg("element %zu is %g, not %g", i, (double)have[i], want[i]);
    }
}

static const struct fixture_spec kinds[] = {
    {FUSION_STATIC, BACKBONE_MF, false, false, 0}, {FUSION_DENSE, BACKBONE_MF, false, false, 0},
    {FUSION_CP, BACKBONE_MF, false, false, 0},     {FUSION_CP, BACKBONE_MF, true, false, 0},
    {FUSION_CP, BACKBONE_SAGE, true, false, 0},
};

static void fuse_forward_every_kind_is_the_textbook(void **state)
{
    float X[40 * FIXTURE_F], E[40 * 4];

    (void)state;
    fixture_fill(7, X, 40 * FIXTURE_F, 2.0f);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct model *m = fixture_model(&kinds[i], 100 + i);

        assert_int_equal(fuse_forward(m, X, 40, E, NULL), ERR_OK);
        for (size_t b = 0; b < 40; b++) {
            double x[FIXTURE_F], want[4];

            for (size_t k = 0; k < FIXTURE_F; k++)
                x[k] = (double)X[b * FIXTURE_F + k];
            oracle_forward(m, x, want);
            assert_row_near(E + b * 4, want, 4, 1e-5);
        }
        model_free(m);
    }
}

static void fuse_items_every_backbone_is_the_textbook(void **state)
{
    float X[16 * FIXTURE_F], E[16 * 8];
    uint8_t mask[16];

    (void)state;
    fixture_fill(8, X, 16 * FIXTURE_F, 2.0f);
    for (size_t b = 0; b < 16; b++)
        mask[b] = (uint8_t)(b % 8);
    for (int backbone = BACKBONE_MF; backbone < BACKBONE_KINDS; backbone++) {
        struct fixture_spec spec = {FUSION_CP, (enum backbone_kind)backbone, false, true, 0};
        struct model *m = fixture_model(&spec, 55);
        size_t D = (size_t)m->shape.D;

        assert_int_equal(D, backbone == BACKBONE_SAGE ? 7 : 8);
        assert_int_equal(fuse_items(m, X, mask, 16, E, NULL), ERR_OK);
        for (size_t b = 0; b < 16; b++) {
            double want[64] = {0};

            if (mask[b] != 0)
                oracle_item(m, X + b * FIXTURE_F, mask[b], want);
            assert_row_near(E + b * D, want, D, 1e-5);
        }
        model_free(m);
    }
}

static void fuse_items_missing_modality_ignores_its_columns(void **state)
{
    struct fixture_spec spec = {FUSION_CP, BACKBONE_MF, false, true, 0};
    struct model *m = fixture_model(&spec, 3);
    float X[2 * FIXTURE_F] = {0}, E[2 * 8];
    const uint8_t mask[2] = {MODALITY_BIT(MODALITY_VISUAL), MODALITY_BIT(MODALITY_VISUAL)};

    (void)state;
    for (size_t i = 11; i < FIXTURE_F; i++)
        X[FIXTURE_F + i] = NAN; /* acoustic and textual columns of the second row */
    assert_int_equal(fuse_items(m, X, mask, 2, E, NULL), ERR_OK);
    assert_memory_equal(E, E + 8, 8 * sizeof(float));
    model_free(m);
}

static void fuse_items_without_fusion_gives_zero(void **state)
{
    struct fixture_spec spec = {FUSION_NONE, BACKBONE_MF, false, false, 0};
    struct model *m = fixture_model(&spec, 3);
    const float zero[4] = {0};
    const uint8_t mask[1] = {7};
    float E[4] = {1, 1, 1, 1};
    struct err err = {0};

    (void)state;
    assert_int_equal(fuse_items(m, NULL, mask, 1, E, NULL), ERR_OK);
    assert_memory_equal(E, zero, sizeof(zero));
    assert_int_equal(fuse_forward(m, E, 1, E, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_DATAERR);
    model_free(m);
}

/* The oracle's layers with and without what is generated. */
static void oracle_norms(const struct model *m, const double *x, struct fuse_norms *ret)
{
    double s[64], h[64], next[64];

    oracle_signal(m, x, s);
    memcpy(h, x, FIXTURE_F * sizeof(double));
    for (size_t n = 1; n <= (size_t)m->shape.L; n++) {
        size_t in = (size_t)m->shape.width[n - 1], out = (size_t)m->shape.width[n];
        double common = 0.0, generated = 0.0;

        for (size_t o = 0; o < out; o++) {
            double hM = 0.0, hT = 0.0;

            for (size_t i = 0; i < in; i++) {
                hM += h[i] * at(m, "layer_", n, "M_1", i * out + o);
                for (size_t k = 0; k < (size_t)m->shape.S; k++)
                    hT += h[i] * s[k] * tensor_T(m, n, k, i, o);
            }
            common += hM * hM;
            generated += hT * hT;
            next[o] = leaky(hM + hT);
        }
        ret->common[n - 1] = sqrt(common);
        ret->generated[n - 1] = sqrt(generated);
        memcpy(h, next, out * sizeof(double));
    }
}

static void fuse_norms_every_kind_is_the_textbook(void **state)
{
    float X[FIXTURE_F], s[FIXTURE_S] = {0};
    double x[FIXTURE_F], want_s[64];

    (void)state;
    for (size_t k = 0; k < FIXTURE_F; k++)
        x[k] = (double)(X[k] = (float)(k % 7) - 2.5f);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct model *m = fixture_model(&kinds[i], 100 + i);
        struct fuse_norms norms, want = {0};

        assert_int_equal(fuse_norms(m, X, 7, s, &norms, NULL), ERR_OK);
        oracle_norms(m, x, &want);
        assert_int_equal(norms.n_layers, FIXTURE_L);
        for (size_t n = 0; n < norms.n_layers; n++) {
            const double bound = 1e-5 * want.common[n];

            assert_true(fabs(norms.common[n] - want.common[n]) <= bound);
            assert_true(fabs(norms.generated[n] - want.generated[n]) <= bound);
            assert_true((norms.generated[n] == 0) == (kinds[i].fusion == FUSION_STATIC));
        }
        oracle_signal(m, x, want_s);
        assert_row_near(s, want_s, (size_t)m->shape.S, 1e-5);
        model_free(m);
    }
}

static void fuse_forward_nan_names_the_row(void **state)
{
    struct model *m = fixture_model(&kinds[2], 3);
    float X[3 * FIXTURE_F] = {0}, E[3 * 8];
    const uint8_t mask[3] = {7, 7, 7};
    struct err err = {0};

    (void)state;
    X[FIXTURE_F + 2] = INFINITY;
    assert_int_equal(fuse_forward(m, X, 3, E, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_DATAERR);
    assert_non_null(strstr(err.text, "row 1"));
    assert_int_equal(fuse_items(m, X, mask, 3, E, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_SOFTWARE);
    model_free(m);
}

/* Seeded at the paper's layer count, small enough for a debug build; every kind of blocking is
 * met: K above the depth of a block, rows beside whole tiles. */
static struct model *big_model(enum fusion_kind fusion, enum backbone_kind backbone)
{
    struct model_shape shape = {
        .fusion = fusion, .modality_dim = {300, 128, 100}, .L = 3, .width = {0, 160, 70, 32}};
    struct model *m;

    assert_int_equal(model_seed(&shape, 42, &m, NULL), ERR_OK);
    if (backbone == BACKBONE_SAGE)
        fixture_convolutions(m, &(struct rng){{3}}, 64, 64, 64);
    assert_int_equal(model_set(m, "mmf.backbone", backbone_kind_name(backbone), NULL), ERR_OK);
    fixture_finish(m);
    return m;
}

static void check_independence(enum fusion_kind fusion, enum backbone_kind backbone)
{
    enum { F = 528, N = 10000 };
    struct model *m = big_model(fusion, backbone), *again = NULL;
    size_t D = (size_t)m->shape.D;
    float *X = malloc((size_t)N * F * sizeof(float)), *E = malloc(N * D * sizeof(float));
    float one[64], row[193 * 64];
    uint8_t *mask = malloc(N);

    assert_true(X != NULL && E != NULL && mask != NULL);
    fixture_fill(9, X, (size_t)N * F, 1.7f);
    for (size_t b = 0; b < N; b++) {
        mask[b] = (uint8_t)(1 + b % 7);
        if (b % 1000 == 7) /* the same item in many places */
            memcpy(X + b * F, X + 7 * F, F * sizeof(float));
    }
    for (size_t b = 7; b < N; b += 1000)
        mask[b] = 5;
    assert_int_equal(fuse_items(m, X, mask, N, E, NULL), ERR_OK);
    assert_int_equal(fuse_items(m, X + 7 * F, mask + 7, 1, one, NULL), ERR_OK);
    for (size_t b = 7; b < N; b += 1000)
        assert_memory_equal(E + b * D, one, D * sizeof(float));
    for (size_t first = 0; first < 9936; first += 709) { /* last in 64, and every place in it */
        assert_int_equal(fuse_items(m, X + first * F, mask + first, 64, row, NULL), ERR_OK);
        assert_memory_equal(E + first * D, row, 64 * D * sizeof(float));
    }
    for (size_t b = 0; b < N; b += 613) {
        assert_int_equal(fuse_items(m, X + b * F, mask + b, 1, one, NULL), ERR_OK);
        assert_memory_equal(E + b * D, one, D * sizeof(float));
    }
    /* After a restart: saved, loaded, the whole batch again. */
    assert_int_equal(model_save(m, fixture_path("m.safetensors"), NULL), ERR_OK);
    assert_int_equal(model_load(fixture_path("m.safetensors"), &again, NULL), ERR_OK);
    assert_int_equal(fuse_items(again, X + 64 * F, mask + 64, 193, row, NULL), ERR_OK);
    assert_memory_equal(E + 64 * D, row, 64 * D * sizeof(float));
    model_free(m);
    model_free(again);
    free(X);
    free(E);
    free(mask);
}

static void fuse_items_cp_rows_do_not_depend_on_the_batch(void **state)
{
    (void)state;
    check_independence(FUSION_CP, BACKBONE_MF);
}

static void fuse_items_dense_sage_rows_do_not_depend_on_the_batch(void **state)
{
    (void)state;
    check_independence(FUSION_DENSE, BACKBONE_SAGE);
}

struct reader {
    const struct model *model;
    const float *X;
    const uint8_t *mask;
    const float *want;
    bool same;
};

static void *read_model(void *arg)
{
    struct reader *r = arg;
    float E[50 * 64];

    r->same = true;
    for (int i = 0; i < 20; i++) {
        if (fuse_items(r->model, r->X, r->mask, 50, E, NULL) != ERR_OK ||
            memcmp(E, r->want, sizeof(E)) != 0)
            r->same = false;
    }
    return NULL;
}

static void fuse_items_four_threads_share_a_model(void **state)
{
    struct model *m = big_model(FUSION_CP, BACKBONE_LIGHTGCN);
    float *X = gemm_alloc(50 * 528), want[50 * 64];
    struct reader readers[4];
    pthread_t threads[4];
    uint8_t mask[50];

    (void)state;
    fixture_fill(4, X, 50 * 528, 1.0f);
    memset(mask, 7, sizeof(mask));
    assert_int_equal(fuse_items(m, X, mask, 50, want, NULL), ERR_OK);
    for (int i = 0; i < 4; i++) {
        readers[i] = (struct reader){m, X, mask, want, false};
        assert_int_equal(pthread_create(&threads[i], NULL, read_model, &readers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(readers[i].same);
    }
    model_free(m);
    free(X);
}

static double cosine(const float *a, const float *b, size_t n)
{
    double ab = 0.0, aa = 0.0, bb = 0.0;

    for (size_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

/* An untrained model keeps distances: unrelated items are not alike, a slightly changed item
 * stays near, and cosines in and out go together. */
static void model_seed_keeps_distances(void **state)
{
    enum { F = 528, N = 60 };
    struct model *m = big_model(FUSION_CP, BACKBONE_MF);
    float *X = gemm_alloc((size_t)2 * N * F), *E = gemm_alloc(2 * N * 64);
    double mean = 0.0, near = 1.0, half = 0.0;
    uint8_t mask[2 * N];
    struct rng rng;

    (void)state;
    rng_init(&rng, 12);
    rng_fill(&rng, X, (size_t)N * F, 1.0f);
    for (size_t i = 0; i < (size_t)N * F; i++) { /* the partners: cosine about 0.97, 0.7 */
        float amount = i / F % 2 == 0 ? 0.25f : 1.0f;

        X[(size_t)N * F + i] = X[i] + amount * (rng_float(&rng) * 2.0f - 1.0f);
    }
    memset(mask, 7, sizeof(mask));
    assert_int_equal(fuse_items(m, X, mask, 2 * N, E, NULL), ERR_OK);
    for (size_t i = 0; i < N; i++) {
        double partner = cosine(E + i * 64, E + (N + i) * 64, 32);

        for (size_t j = 0; j < i; j++)
            mean += cosine(E + i * 64, E + j * 64, 32) / (N * (N - 1) / 2.0);
        if (i % 2 == 0)
            near = fmin(near, partner);
        else
            half += partner / (N / 2);
    }
    print_message("mean cosine of unrelated items %.3f, lowest of near ones %.3f, mean at 0.71 "
                  "%.3f\n",
                  mean, near, half);
    assert_true(fabs(mean) < 0.08);
    assert_true(near > 0.85);
    assert_true(half > 0.55 && half < 0.85);
    model_free(m);
    free(X);
    free(E);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fuse_forward_every_kind_is_the_textbook),
        cmocka_unit_test(fuse_items_every_backbone_is_the_textbook),
        cmocka_unit_test(fuse_items_missing_modality_ignores_its_columns),
        cmocka_unit_test(fuse_items_without_fusion_gives_zero),
        cmocka_unit_test(fuse_norms_every_kind_is_the_textbook),
        cmocka_unit_test(fuse_forward_nan_names_the_row),
        cmocka_unit_test(fuse_items_cp_rows_do_not_depend_on_the_batch),
        cmocka_unit_test(fuse_items_dense_sage_rows_do_not_depend_on_the_batch),
        cmocka_unit_test(fuse_items_four_threads_share_a_model),
        cmocka_unit_test(model_seed_keeps_distances),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
