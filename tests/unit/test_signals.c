/* Signals beside the backbone: in a model file, and back; what does not fit is refused; the rows of
 * fuse; the vectors of a training. */
#include "fusion_fixture.h"

#include "fusion/model/fuse.h"

enum { I = 6, A = 3, C = 4, ROWS = 250, F = FIXTURE_F };
static const int32_t dims[MODALITY_COUNT] = {11, 7, 5};
static const struct signals weights = {.trained = 0.7F,
                                       .factors = 1.0F / 3,
                                       .content = 0.123456789F,
                                       .fade = 6.0F / 7,
                                       .neighbours = 0.25F,
                                       .ridge = 1234.5F,
                                       .mapped = 0.4F};
static const struct fixture_spec cp = {FUSION_CP, BACKBONE_LIGHTGCN, false, true, 0};
static const struct fixture_spec none = {FUSION_NONE, BACKBONE_LIGHTGCN, false, true, 0};

/* ---- what a training would bring ------------------------------------------------------------- */

struct world {
    float X[ROWS * F]; /* as features come; standardised with the fixture's numbers below */
    float Z[ROWS * F];
    uint8_t mask[ROWS];
    uint32_t n_interactions[ROWS];
    struct columns columns;
    float weight[F * A], bias[A];
    struct mapping mapping;
    float factors[I * A], power[A];
    struct fold fold;
};

/* The model's numbers are those of its tensors mmf.mean and mmf.std. */
static void open_world(struct world *w, const struct model *m)
{
    const float *mean = model_tensor(m, "mmf.mean")->data,
                *std = model_tensor(m, "mmf.std")->data;
    const int32_t end[MODALITY_COUNT] = {11, 18, 23};

    fixture_fill(31, w->X, ROWS * F, 1);
    fixture_fill(32, w->factors, I * A, 1);
    memset(w->factors + 4 * A, 0, A * sizeof(float)); /* nobody has had item 4 */
    for (size_t i = 0; i < ROWS; i++) {
        w->mask[i] = (uint8_t)(i % 8);
        w->n_interactions[i] = (uint32_t)(i % 5);
        for (int f = 0; f < F; f++) {
            int modality = f < end[0] ? 0 : f < end[1] ? 1 : 2;

            w->Z[i * F + (size_t)f] = (w->mask[i] & MODALITY_BIT(modality))
                                          ? (w->X[i * F + (size_t)f] - mean[f]) / std[f]
                                          : 0;
        }
    }
    fixture_fill(33, w->weight, (size_t)F * A, 1);
    fixture_fill(34, w->bias, A, 1);
    w->mapping = (struct mapping){F, A, w->weight, w->bias};
    for (size_t a = 0; a < A; a++)
        w->power[a] = 1.5F + (float)a / 3;
    w->fold = (struct fold){.d = A, .lambda = 0.1F, .power = w->power};
    assert_int_equal(columns_fit(w->Z, w->mask, ROWS, dims, C, &w->columns, NULL), ERR_OK);
    assert_int_equal(w->columns.C, C);
}

static struct signals_tensors tensors_of(const struct world *w)
{
    return (struct signals_tensors){.columns = &w->columns,
                                    .mapping = &w->mapping,
                                    .factors = w->factors,
                                    .n_items = I,
                                    .fold = &w->fold};
}

/* A joined model with all signals, unprepared. */
static struct model *make(struct world *w, const struct fixture_spec *spec)
{
    struct model *m = fixture_parts(spec, 5);
    struct err err = {0};

    assert_int_equal(model_finish(m, NULL), ERR_OK);
    open_world(w, m);
    const struct signals_tensors tensors = tensors_of(w);
    if (signals_put(m, &weights, &tensors, &err) != ERR_OK)
        fail_msg("%s", err.text);
    return m;
}

static void prepare(struct model *m)
{
    assert_int_equal(model_prepare(m, NULL), ERR_OK);
}

/* ---- the file -------------------------------------------------------------------------------- */

static void put_save_load_gives_the_same_model(void **state)
{
    static float e[ROWS * 64], again[ROWS * 64];
    const struct fixture_spec *const specs[] = {&cp, &none};
    struct world w;

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        struct model *m = make(&w, specs[k]), *loaded;
        const struct model_shape *s;
        struct fold fold;
        size_t n, width;

        prepare(m);
        assert_int_equal(model_save(m, fixture_path("m"), NULL), ERR_OK);
        assert_int_equal(model_load(fixture_path("m"), &loaded, NULL), ERR_OK);
        s = model_shape(loaded);
        assert_int_equal(s->B, k == 0 ? 8 : 4);
        assert_int_equal(s->factor_dim, A);
        assert_int_equal(s->column_dim, C);
        assert_int_equal(s->mapped_dim, A);
        assert_int_equal(model_column_width(s), C + A);
        assert_int_equal(s->D, s->B + A + C);
        assert_memory_equal(signals_of(loaded), &weights, sizeof(weights));
        assert_memory_equal(signals_factors(loaded, &n, &width), w.factors, sizeof(w.factors));
        assert_int_equal(n, I);
        assert_int_equal(width, A);
        assert_true(signals_fold(loaded, &fold));
        assert_int_equal(fold.d, A);
        struct mapping mapping;
        signals_mapping(loaded, &mapping);
        assert_int_equal(mapping.F, F);
        assert_int_equal(mapping.A, A);
        assert_memory_equal(mapping.weight, w.weight, sizeof(w.weight));
        assert_memory_equal(mapping.bias, w.bias, sizeof(w.bias));
        assert_true(fold.lambda == w.fold.lambda);
        assert_memory_equal(fold.power, w.power, sizeof(w.power));
        assert_int_equal(fuse_items(m, w.X, w.mask, ROWS, e, NULL), ERR_OK);
        assert_int_equal(fuse_items(loaded, w.X, w.mask, ROWS, again, NULL), ERR_OK);
        assert_memory_equal(e, again, ROWS * (size_t)s->D * sizeof(*e));
        model_free(m);
        model_free(loaded);
        columns_done(&w.columns);
    }
}

static void model_without_signals_has_its_backbone_alone(void **state)
{
    struct model *m = fixture_model(&cp, 5);
    struct fold fold;
    size_t n, width;

    (void)state;
    assert_int_equal(m->shape.D, 8);
    assert_int_equal(m->shape.B, 8);
    assert_false(model_has_signals(&m->shape));
    assert_true(signals_of(m)->trained == 1);
    assert_true(signals_of(m)->content == 0);
    assert_null(signals_factors(m, &n, &width));
    assert_false(signals_fold(m, &fold));
    model_free(m);
}

/* A model whose lists are its backbone's and its neighbours': no columns more, scaled. */
static void put_of_numbers_alone_scales_the_backbone(void **state)
{
    const struct signals numbers = {.trained = 2, .neighbours = 3, .ridge = 4};
    static float e[ROWS * 8], plain[ROWS * 8];
    struct model *m = fixture_parts(&cp, 5), *before = fixture_model(&cp, 5);
    struct world w;

    (void)state;
    assert_int_equal(model_finish(m, NULL), ERR_OK);
    open_world(&w, m);
    assert_int_equal(signals_put(m, &numbers, &(struct signals_tensors){0}, NULL), ERR_OK);
    prepare(m);
    assert_int_equal(m->shape.D, 8);
    assert_true(signals_of(m)->neighbours == 3);
    assert_int_equal(fuse_items(m, w.X, w.mask, ROWS, e, NULL), ERR_OK);
    assert_int_equal(fuse_items(before, w.X, w.mask, ROWS, plain, NULL), ERR_OK);
    for (size_t j = 0; j < ROWS * 8; j++)
        assert_true(e[j] == 2 * plain[j]);
    model_free(m);
    model_free(before);
    columns_done(&w.columns);
}

/* ---- what does not fit ----------------------------------------------------------------------- */

static struct model_tensor *tensor(struct model *m, const char *name)
{
    for (size_t i = 0; i < m->n_tensors; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            return &m->tensors[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

/* Frees m, which has to be refused for that reason. */
static void assert_refused(struct model *m, const char *part, const char *reason)
{
    struct err err = {0};

    assert_int_equal(model_finish(m, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_DATAERR);
    if (strstr(err.text, part) == NULL || strstr(err.text, reason) == NULL)
        fail_msg("\"%s\" does not tell of %s: %s", err.text, part, reason);
    model_free(m);
}

static struct model *whole(void)
{
    static struct world w;
    struct model *m = make(&w, &cp);

    columns_done(&w.columns);
    return m;
}

/* As a damaged file has it; the memory stays as large as it was. */
static struct model *reshaped(const char *name, size_t rows, size_t cols)
{
    struct model *m = whole();
    struct model_tensor *t = tensor(m, name);
    const size_t n = rows * (cols ? cols : 1);

    t->n_dims = cols ? 2 : 1;
    t->shape[0] = rows;
    t->shape[1] = cols;
    free(t->data);
    t->data = gemm_alloc(n + 1);
    t->n_elements = n;
    for (size_t i = 0; i < n; i++)
        t->data[i] = 1;
    return m;
}

static void rename_tensor(struct model *m, const char *name)
{
    struct model_tensor *t = tensor(m, name);

    free(t->name);
    t->name = strdup("mmf.of_somebody_else");
    assert_non_null(t->name);
}

static struct model *without(const char *name)
{
    struct model *m = whole();

    rename_tensor(m, name);
    return m;
}

static struct model *said(const char *key, const char *value)
{
    struct model *m = whole();

    assert_int_equal(model_set(m, key, value, NULL), ERR_OK);
    return m;
}

static void load_of_tensors_that_do_not_fit_is_refused(void **state)
{
    (void)state;
    assert_refused(reshaped("mmf.factors", I + 1, A), "mmf.factors", "item_E");
    assert_refused(reshaped("mmf.factors", I, A + 1), "mmf.factors.power", "mmf.factors");
    assert_refused(reshaped("mmf.factors", I, 0), "mmf.factors", "matrix");
    assert_refused(reshaped("mmf.factors", I, FOLD_WIDTH_MAX + 1), "mmf.factors", "size");
    assert_refused(reshaped("mmf.factors.power", A, 2), "mmf.factors.power", "asks for");
    assert_refused(without("mmf.factors"), "mmf.factors", "missing");
    assert_refused(without("mmf.factors.power"), "mmf.factors", "missing");
    assert_refused(without("item_E"), "mmf.factors", "item_E");
    assert_refused(reshaped("mmf.columns.visual", 12, 11), "mmf.columns.visual",
                   "mmf.modality_dim");
    assert_refused(reshaped("mmf.columns.visual", 11, 12), "mmf.columns.visual", "more");
    assert_refused(reshaped("mmf.columns.visual", 11, 0), "mmf.columns.visual", "matrix");
    assert_refused(reshaped("mmf.columns.visual", 11, 3), "mmf.columns.join", "(K, C)");
    assert_refused(reshaped("mmf.columns.join", F, F + 1), "mmf.columns.join", "(K, C)");
    assert_refused(reshaped("mmf.columns.join", F, 0), "mmf.columns.join", "matrix");
    assert_refused(without("mmf.columns.join"), "mmf.columns.join", "missing");
    assert_refused(without("mmf.columns.acoustic"), "mmf.columns.join", "(K, C)");
}

static void load_of_a_mapping_that_does_not_fit_is_refused(void **state)
{
    struct model *m;

    (void)state;
    assert_refused(reshaped("mmf.mapping", F + 1, A), "mmf.mapping", "mmf.factors");
    assert_refused(reshaped("mmf.mapping", F, A + 1), "mmf.mapping", "mmf.factors");
    assert_refused(reshaped("mmf.mapping", F, 0), "mmf.mapping", "mmf.factors");
    assert_refused(reshaped("mmf.mapping.bias", A + 1, 0), "mmf.mapping.bias", "mmf.factors");
    assert_refused(reshaped("mmf.mapping.bias", A, 1), "mmf.mapping.bias", "mmf.factors");
    assert_refused(without("mmf.mapping"), "mmf.mapping", "missing");
    assert_refused(without("mmf.mapping.bias"), "mmf.mapping", "missing");
    m = without("mmf.mapping"); /* and of both, the scale has nothing */
    rename_tensor(m, "mmf.mapping.bias");
    assert_refused(m, "mmf.mapping", "its scale");
    m = whole();
    tensor(m, "mmf.mapping")->data[F] = INFINITY;
    assert_refused(m, "mmf.mapping", "");
    m = whole();
    tensor(m, "mmf.mapping.bias")->data[0] = NAN;
    assert_refused(m, "mmf.mapping.bias", "NaN");
}

/* A file that an older version has written. */
static void load_of_six_numbers_has_nothing_mapped(void **state)
{
    struct model *m;

    (void)state;
    m = said("mmf.signals", "trained=1 factors=2 content=3 fade=4 neighbours=5 ridge=6");
    assert_int_equal(model_finish(m, NULL), ERR_OK);
    assert_true(signals_of(m)->ridge == 6);
    assert_true(signals_of(m)->mapped == 0);
    model_free(m);
    m = said("mmf.signals",
             "trained=1 factors=2 content=3 fade=4 neighbours=5 ridge=6 mapped=7");
    assert_int_equal(model_finish(m, NULL), ERR_OK);
    assert_true(signals_of(m)->ridge == 6);
    assert_true(signals_of(m)->mapped == 7);
    model_free(m);
}

static void load_of_numbers_that_are_none_is_refused(void **state)
{
    static const char *const numbers[] = {
        "",
        "trained=1",
        "trained=1 factors=1 content=1 fade=1 neighbours=1",
        "trained=1 factors=1 content=1 fade=1 neighbours=1 ridge=1 more=1",
        "trained=1 factors=1 content=1 fade=1 neighbours=1 ridge=1 ",
        "trained=1 content=1 factors=1 fade=1 neighbours=1 ridge=1",
        "trained=-1 factors=1 content=1 fade=1 neighbours=1 ridge=1",
        "trained=1 factors=nan content=1 fade=1 neighbours=1 ridge=1",
        "trained=1 factors=1 content=inf fade=1 neighbours=1 ridge=1",
        "trained=1 factors=1 content=1 fade=1e7 neighbours=1 ridge=1",
        "trained=1 factors=1 content=1 fade=1 neighbours= 1 ridge=1",
        "trained=1 factors=1 content=1 fade=1 neighbours=1 ridge=",
        "trained=1 factors=1 content=1 fade=1 neighbours=1 ridge=1 mapped=",
        "trained=1 factors=1 content=1 fade=1 neighbours=1 ridge=1 mapped=1 ",
        "trained=1 factors=1 content=1 fade=1 neighbours=1 ridge=1 mapped=-1",
        "trained=1 factors=1 content=1 fade=1 neighbours=1 ridge=1 mapped=nan",
        "trained=1 factors=1 content=1 fade=1 neighbours=1 ridge=1 mapped=1 more=1",
        "trained=1 factors=1 content=1 fade=1 neighbours=1 mapped=1 ridge=1",
    };
    static const char *const lambdas[] = {"0", "-1", "nan", "inf", "1e-60", ""};
    struct model *m;

    (void)state;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        assert_refused(said("mmf.signals", numbers[i]), "mmf.signals", "six");
    for (size_t i = 0; i < sizeof(lambdas) / sizeof(lambdas[0]); i++)
        assert_refused(said("mmf.factors.lambda", lambdas[i]), "",
                       lambdas[i][0] ? "lambda is not a positive" : "missing");
    m = whole();
    tensor(m, "mmf.factors.power")->data[1] = 0;
    assert_refused(m, "power 1", "positive");
    m = whole();
    tensor(m, "mmf.columns.join")->data[3] = NAN;
    assert_refused(m, "mmf.columns.join", "NaN");
}

static void load_of_scales_without_tensors_is_refused(void **state)
{
    static const char *const texts[] = {
        "trained=1 factors=1 content=0 fade=0 neighbours=0 ridge=0",
        "trained=1 factors=0 content=1 fade=0 neighbours=0 ridge=0",
        "trained=1 factors=0 content=0 fade=1 neighbours=0 ridge=0",
    };
    static struct world w;
    struct model *m;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        m = fixture_parts(&cp, 5);
        assert_int_equal(model_set(m, "mmf.signals", texts[i], NULL), ERR_OK);
        assert_refused(m, i == 0 ? "mmf.factors" : "mmf.columns.join", "missing");
    }
    m = make(&w, &none); /* columns, but nothing to standardise with */
    columns_done(&w.columns);
    rename_tensor(m, "mmf.mean");
    rename_tensor(m, "mmf.std");
    assert_refused(m, "mmf.mean", "missing");
}

static void put_of_what_is_not_finite_is_refused(void **state)
{
    static struct world w;

    (void)state;
    for (int what = 0; what < 3; what++) {
        struct model *m = fixture_parts(&cp, 5);
        struct signals numbers = weights;

        assert_int_equal(model_finish(m, NULL), ERR_OK);
        open_world(&w, m);
        const struct signals_tensors tensors = tensors_of(&w);
        if (what == 0)
            numbers.fade = NAN;
        else if (what == 1)
            numbers.trained = -0.5F;
        else
            w.factors[2] = INFINITY;
        assert_int_equal(signals_put(m, &numbers, &tensors, NULL), ERR_FATAL);
        columns_done(&w.columns);
        model_free(m);
    }
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* The model before it had signals, and what it then publishes. */
static void check_rows(const struct fixture_spec *spec)
{
    static float e[ROWS * 64], alone[64], plain[ROWS * 64], c[ROWS * C], mapped[ROWS * A];
    static struct world w;
    struct model *m = make(&w, spec), *before = fixture_model(spec, 5);
    const size_t B = (size_t)m->shape.B, D = (size_t)m->shape.D;

    prepare(m);
    assert_int_equal(fuse_later_items(before, w.X, w.mask, w.n_interactions, ROWS, plain, NULL),
                     ERR_OK);
    assert_int_equal(columns_rows(&w.columns, w.Z, w.mask, ROWS, c, NULL), ERR_OK);
    assert_int_equal(mapping_rows(&w.mapping, w.Z, w.mask, ROWS, mapped, NULL), ERR_OK);
    assert_int_equal(fuse_later_items(m, w.X, w.mask, w.n_interactions, ROWS, e, NULL), ERR_OK);
    for (size_t i = 0; i < ROWS; i++) {
        const float n = 1 + (float)w.n_interactions[i];
        const float fade = weights.content + weights.fade / n;

        for (size_t j = 0; j < B; j++)
            assert_true(e[i * D + j] == weights.trained * plain[i * B + j]);
        for (size_t j = 0; j < A; j++)
            assert_true(e[i * D + B + j] == weights.mapped / n * mapped[i * A + j]);
        for (size_t j = 0; j < C; j++)
            assert_true(e[i * D + B + A + j] == fade * c[i * C + j]);
        assert_true(fuse_is_zero(e + i * D, (int32_t)D) == (w.mask[i] == 0));
        assert_int_equal(
            fuse_later_items(m, w.X + i * F, w.mask + i, w.n_interactions + i, 1, alone, NULL),
            ERR_OK);
        assert_memory_equal(alone, e + i * D, D * sizeof(*e));
    }
    model_free(m);
    model_free(before);
    columns_done(&w.columns);
}

/* [c ‖ m] as a neighbourhood asks for them. */
static void fuse_columns_in_is_content_beside_mapped_factors(void **state)
{
    static float both[ROWS * (C + A)], c[ROWS * C], mapped[ROWS * A];
    static struct world w;
    struct model *m = make(&w, &cp);
    struct fuse_context *context;

    (void)state;
    prepare(m);
    assert_int_equal(columns_rows(&w.columns, w.Z, w.mask, ROWS, c, NULL), ERR_OK);
    assert_int_equal(mapping_rows(&w.mapping, w.Z, w.mask, ROWS, mapped, NULL), ERR_OK);
    assert_int_equal(fuse_context_new(m, 7, &context, NULL), ERR_OK);
    assert_int_equal(fuse_columns_in(context, w.X, w.mask, ROWS, both, NULL), ERR_OK);
    for (size_t i = 0; i < ROWS; i++) {
        assert_memory_equal(both + i * (C + A), c + i * C, C * sizeof(*c));
        assert_memory_equal(both + i * (C + A) + C, mapped + i * A, A * sizeof(*c));
    }
    fuse_context_free(context);
    model_free(m);
    columns_done(&w.columns);
}

static void fuse_rows_are_backbone_mapped_factors_and_content(void **state)
{
    static const struct fixture_spec specs[] = {{FUSION_CP, BACKBONE_LIGHTGCN, false, true, 0},
                                                {FUSION_STATIC, BACKBONE_SAGE, false, true, 0},
                                                {FUSION_DENSE, BACKBONE_MF, false, true, 3}};

    (void)state;
    for (size_t i = 0; i < 3; i++)
        check_rows(&specs[i]);
}

/* Without fusion a new item has what its features say alone. */
static void fuse_rows_without_fusion_are_mapped_factors_and_content(void **state)
{
    static const struct fixture_spec specs[] = {
        {FUSION_NONE, BACKBONE_LIGHTGCN, false, true, 0},
        {FUSION_NONE, BACKBONE_MF, false, true, 0}};

    (void)state;
    for (size_t i = 0; i < 2; i++)
        check_rows(&specs[i]);
}

/* ---- a training's vectors -------------------------------------------------------------------- */

static void join_lays_the_parts_side_by_side(void **state)
{
    enum { U = 2, B = 8, D = B + A + C };
    static float backbone[(U + I) * B], p[U * A], cu[U * C], ci[I * C], mi[I * A];
    const uint32_t n[I] = {0, 1, 2, 30, 0, 7};
    static struct world w;
    struct model *m = make(&w, &cp);
    float *y = NULL;

    (void)state;
    fixture_fill(1, backbone, (U + I) * B, 1);
    fixture_fill(2, p, U * A, 1);
    fixture_fill(3, cu, U * C, 1);
    fixture_fill(4, ci, I * C, 1);
    fixture_fill(6, mi, (size_t)I * A, 1);
    const struct signals_parts parts = {U, I, backbone, p, w.factors, cu, ci, mi, n};
    assert_int_equal(signals_join(m, &parts, &y, NULL), ERR_OK);
    for (size_t u = 0; u < U; u++) {
        assert_memory_equal(y + u * D, backbone + u * B, B * sizeof(*y));
        assert_memory_equal(y + u * D + B, p + u * A, A * sizeof(*y));
        assert_memory_equal(y + u * D + B + A, cu + u * C, C * sizeof(*y));
    }
    for (size_t i = 0; i < I; i++) {
        const float *row = y + (U + i) * D;

        for (size_t j = 0; j < B; j++)
            assert_true(row[j] == weights.trained * backbone[(U + i) * B + j]);
        for (size_t j = 0; j < A; j++)
            assert_float_equal(row[B + j],
                               weights.factors * w.factors[i * A + j] +
                                   weights.mapped / (float)(1 + n[i]) * mi[i * A + j],
                               1e-7F);
        for (size_t j = 0; j < C; j++)
            assert_float_equal(
                row[B + A + j],
                (weights.content + weights.fade / (float)(1 + n[i])) * ci[i * C + j], 1e-7F);
    }
    free(y);
    model_free(m);
    columns_done(&w.columns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(put_save_load_gives_the_same_model, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test(model_without_signals_has_its_backbone_alone),
        cmocka_unit_test(put_of_numbers_alone_scales_the_backbone),
        cmocka_unit_test(load_of_tensors_that_do_not_fit_is_refused),
        cmocka_unit_test(load_of_a_mapping_that_does_not_fit_is_refused),
        cmocka_unit_test(load_of_six_numbers_has_nothing_mapped),
        cmocka_unit_test(load_of_numbers_that_are_none_is_refused),
        cmocka_unit_test(load_of_scales_without_tensors_is_refused),
        cmocka_unit_test(put_of_what_is_not_finite_is_refused),
        cmocka_unit_test(fuse_columns_in_is_content_beside_mapped_factors),
        cmocka_unit_test(fuse_rows_are_backbone_mapped_factors_and_content),
        cmocka_unit_test(fuse_rows_without_fusion_are_mapped_factors_and_content),
        cmocka_unit_test(join_lays_the_parts_side_by_side),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
