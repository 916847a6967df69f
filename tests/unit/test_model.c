/* Model files: what loads, round trips, and every way in which one may be damaged. */

#include "fusion_fixture.h"

#include "fusion/model/fuse.h"

static const struct fixture_spec cp_mf = {FUSION_CP, BACKBONE_MF, false, true, 0};

/* Saves the tensors and metadata as they are and loads them again. */
static int reload(struct model *m, struct model **ret_model, struct err *err)
{
    assert_int_equal(model_save(m, fixture_path("m.safetensors"), NULL), ERR_OK);
    return model_load(fixture_path("m.safetensors"), ret_model, err);
}

static void model_save_then_load_keeps_every_kind(void **state)
{
    (void)state;
    for (int kind = FUSION_NONE; kind <= FUSION_CP; kind++) {
        for (int backbone = BACKBONE_MF; backbone < BACKBONE_KINDS; backbone++) {
            struct fixture_spec spec = {(enum fusion_kind)kind, (enum backbone_kind)backbone,
                                        false, true, 0};
            struct model *m = fixture_parts(&spec, 5), *again;
            struct err err = {0};

            if (kind == FUSION_NONE && backbone == BACKBONE_SAGE) {
                model_free(m); /* the fixture's conv1 takes eight columns */
                continue;
            }
            if (reload(m, &again, &err) != ERR_OK)
                fail_msg("%s", err.text);
            assert_int_equal(again->shape.fusion, kind);
            assert_int_equal(again->shape.backbone, backbone);
            assert_int_equal(again->shape.F, FIXTURE_F);
            assert_int_equal(again->shape.modality_dim[1], 7);
            assert_string_equal(again->shape.encoder_id[2], "t:1");
            assert_true(again->shape.trained && again->shape.has_statistics);
            assert_int_equal(again->n_tensors, m->n_tensors);
            for (size_t i = 0; i < m->n_tensors; i++)
                assert_memory_equal(again->tensors[i].data, m->tensors[i].data,
                                    m->tensors[i].n_elements * sizeof(float));
            model_free(m);
            model_free(again);
        }
    }
}

static void model_load_authors_names_with_prefix(void **state)
{
    struct fixture_spec spec = {FUSION_CP, BACKBONE_SAGE, true, false, 0};
    struct model *m = fixture_parts(&spec, 5), *again;

    (void)state;
    for (size_t i = 0; i < m->n_tensors; i++) {
        char *name;

        if (strncmp(m->tensors[i].name, "conv", 4) == 0)
            continue;
        assert_true(asprintf(&name, "fus.%s", m->tensors[i].name) > 0);
        free(m->tensors[i].name);
        m->tensors[i].name = name;
    }
    assert_int_equal(reload(m, &again, NULL), ERR_OK);
    assert_int_equal(again->shape.fusion, FUSION_CP);
    assert_int_equal(again->shape.backbone, BACKBONE_SAGE);
    assert_int_equal(again->shape.R, FIXTURE_R);
    assert_int_equal(again->shape.S, FIXTURE_S);
    assert_int_equal(again->shape.D, 7);
    assert_true(again->shape.cp_collapsed);
    assert_false(again->shape.has_statistics || again->shape.fused_length > 0);
    model_free(m);
    model_free(again);
}

/* Replaces the shape of a tensor by one with other sizes and zeroed data. */
static void reshape(struct model *m, const char *name, size_t rows, size_t cols)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        struct model_tensor *t = &m->tensors[i];

        if (strcmp(t->name, name) != 0)
            continue;
        free(t->data);
        t->data = calloc(rows * (cols == 0 ? 1 : cols) + 1, sizeof(float));
        assert_non_null(t->data);
        t->n_dims = cols == 0 ? 1 : 2;
        t->shape[0] = rows;
        t->shape[1] = cols;
        t->n_elements = rows * (cols == 0 ? 1 : cols);
        return;
    }
    fail_msg("no tensor %s", name);
}

static void drop(struct model *m, const char *name)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (strcmp(m->tensors[i].name, name) != 0)
            continue;
        free(m->tensors[i].name);
        free(m->tensors[i].data);
        m->tensors[i] = m->tensors[--m->n_tensors];
        return;
    }
    fail_msg("no tensor %s", name);
}

static void assert_refused(struct model *m, const char *first, const char *second)
{
    struct model *again;
    struct err err = {0};

    assert_int_equal(reload(m, &again, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_DATAERR);
    if (strstr(err.text, first) == NULL || strstr(err.text, second) == NULL ||
        strstr(err.text, "m.safetensors") == NULL)
        fail_msg("no \"%s\" and \"%s\" in: %s", first, second, err.text);
    model_free(m);
}

struct shape_case {
    const char *name;
    size_t rows, cols;
    const char *other; /* the tensor that the error names beside it */
};

static void model_load_shapes_that_do_not_fit_name_both(void **state)
{
    static const struct shape_case cases[] = {
        {"layer_2.M_1", 16, 9, "layer before"},
        {"layer_1.A", 22, 3, "layer_1.M_1"},
        {"layer_1.A", 23, 4, "layer_1.A"},
        {"layer_2.B", 3, 8, "layer_2.M_1"},
        {"layer_3.C", 3, 6, "mlp_signal.2.weight"},
        {"layer_3.C", 14, 1, "layer_1.C"},
        {"mlp_signal.0.weight", 19, 22, "layer_1.M_1"},
        {"mlp_signal.0.bias", 18, 0, "mlp_signal.0.weight"},
        {"mlp_signal.2.weight", 5, 18, "mlp_signal.0.weight"},
        {"mlp_signal.2.bias", 6, 0, "mlp_signal.2.weight"},
        {"mmf.mean", 22, 0, "layer_1.M_1"},
        {"mmf.std", 23, 0, "above zero"},
        {"item_E", 6, 5, "id_dim"},
        {"layer_1.M_1", 23, 0, "matrix"},
        {"layer_1.M_1", 0, 17, "matrix"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct model *m = fixture_parts(&cp_mf, 5);

        reshape(m, cases[i].name, cases[i].rows, cases[i].cols);
        assert_refused(m, cases[i].name[0] == 'i' ? "item_E" : cases[i].name, cases[i].other);
    }
}

static void model_load_convolutions_that_do_not_fit_are_refused(void **state)
{
    static const struct shape_case cases[] = {
        {"conv1.lin_r.weight", 6, 9, "item embedding"},
        {"conv1.lin_l.weight", 5, 8, "conv1.lin_r.weight"},
        {"conv1.lin_l.bias", 5, 0, "conv1.lin_r.weight"},
        {"conv2.lin_r.weight", 7, 5, "conv1.lin_r.weight"},
    };
    struct fixture_spec spec = {FUSION_CP, BACKBONE_SAGE, false, true, 0};
    struct rng rng = {{1}};
    struct model *m;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        m = fixture_parts(&spec, 5);
        reshape(m, cases[i].name, cases[i].rows, cases[i].cols);
        assert_refused(m, cases[i].name, cases[i].other);
    }
    m = fixture_parts(&spec, 5);
    drop(m, "conv2.lin_l.bias");
    assert_refused(m, "conv2.lin_l.bias", "missing");
    m = fixture_parts(&spec, 5);
    fixture_add(m, &rng, "user", 4, 7);
    assert_refused(m, "user", "item embedding");
}

static void model_load_parts_missing_or_strange_are_refused(void **state)
{
    static const char *const parts[] = {"layer_1.A", "layer_2.C", "mlp_signal.0.weight",
                                        "mlp_signal.2.bias", "mmf.std"};
    struct fixture_spec plain = {FUSION_STATIC, BACKBONE_MF, false, false, 0};
    struct rng rng = {{1}};
    struct model *m;

    (void)state;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        m = fixture_parts(&cp_mf, 5);
        drop(m, parts[i]);
        assert_refused(m, parts[i], "missing");
    }
    m = fixture_parts(&cp_mf, 5);
    drop(m, "layer_2.M_1");
    assert_refused(m, "layer_", "no M_1 or follows a gap");
    m = fixture_parts(&cp_mf, 5);
    fixture_add(m, &rng, "layer_4.bias", 3, 0);
    assert_refused(m, "layer_4.bias", "architecture");
    m = fixture_parts(&cp_mf, 5);
    fixture_add(m, &rng, "layer_2.T_1", 5, 17 * 9);
    assert_refused(m, "layer_2.M_1", "another kind");
    m = fixture_parts(&plain, 5);
    fixture_add(m, &rng, "mlp_signal.0.weight", 23, 23);
    assert_refused(m, "mlp_signal", "no layer");
    m = fixture_parts(&cp_mf, 5);
    m->tensors[2].data[1] = NAN;
    assert_refused(m, m->tensors[2].name, "NaN");
    m = fixture_parts(&cp_mf, 5);
    fixture_add(m, &rng, "fus.item_E", 6, 4);
    assert_refused(m, "item_E", "twice");
    assert_int_equal(model_new_empty("(test)", &m, NULL), ERR_OK);
    assert_refused(m, "fusion layer", "is this a model");
}

static void model_load_metadata_that_contradicts_is_refused(void **state)
{
    static const char *const cases[][2] = {
        {"mmf.fusion", "dense"},
        {"mmf.backbone", "sage"},
        {"mmf.backbone", "gat"},
        {"mmf.modality_dim", "11,7,6"},
        {"mmf.modality_dim", "11,12"},
        {"mmf.modality_dim", "23,0,0,0"},
        {"mmf.trained", "yes"},
        {"mmf.unit_length", ""},
        {"mmf.id_dim", "-1"},
        {"mmf.id_dim", "5"},
        {"mmf.modality_dim", "-1,12,12"},
    };
    char id[80];
    struct model *m;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        m = fixture_parts(&cp_mf, 5);
        assert_int_equal(model_set(m, cases[i][0], cases[i][1], NULL), ERR_OK);
        assert_refused(m, cases[i][0], "");
    }
    m = fixture_parts(&cp_mf, 5);
    assert_int_equal(model_set(m, "mmf.backbone", "lightgcn", NULL), ERR_OK);
    assert_int_equal(model_set(m, "mmf.hops", "0", NULL), ERR_OK);
    assert_refused(m, "mmf.hops", "1 to 16");
    m = fixture_parts(&cp_mf, 5);
    memset(id, 'x', 79);
    id[79] = '\0';
    assert_int_equal(model_set(m, "mmf.encoder_id.visual", id, NULL), ERR_OK);
    assert_refused(m, "mmf.encoder_id.visual", "63");
}

static void model_load_content_that_does_not_fit_is_refused(void **state)
{
    static const char *const lengths[] = {"0", "-1", "nan", "1e999", "", "2 metres"};
    const struct fixture_spec with = {FUSION_CP, BACKBONE_LIGHTGCN, false, true, 3};
    const struct fixture_spec none = {FUSION_NONE, BACKBONE_MF, false, true, 3};
    struct rng rng = {{1}};
    struct model *m = fixture_parts(&with, 5);

    (void)state;
    reshape(m, "mmf.content", 22, 3);
    assert_refused(m, "mmf.content", "layer_1.M_1");
    m = fixture_parts(&with, 5);
    reshape(m, "mmf.content", 23, 0);
    assert_refused(m, "mmf.content", "layer_1.M_1");
    m = fixture_parts(&with, 5);
    reshape(m, "mmf.content", 23, 24);
    assert_refused(m, "mmf.content", "layer_1.M_1");
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        m = fixture_parts(&with, 5);
        assert_int_equal(model_set(m, "mmf.content_scale", lengths[i], NULL), ERR_OK);
        assert_refused(m, "mmf.content_scale", "length");
    }
    m = fixture_parts(&with, 5);
    drop(m, "mmf.content");
    assert_refused(m, "mmf.content", "missing");
    assert_refused(fixture_parts(&none, 5), "layer_1.M_1", "missing");
    m = fixture_parts(&with, 5);
    fixture_add(m, &rng, "user", 4, 8);
    assert_refused(m, "user", "item embedding");
}

static void model_load_length_that_is_none_is_refused(void **state)
{
    static const char *const keys[] = {"mmf.cold_length", "mmf.fused_length"};
    static const char *const lengths[] = {"0", "-1", "nan", "inf", "1e7", "", "2 metres"};
    const struct fixture_spec spec = {FUSION_CP, BACKBONE_LIGHTGCN, false, true, 0};

    (void)state;
    for (size_t i = 0; i < 2 * sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct model *m = fixture_parts(&spec, 5);
        assert_int_equal(model_set(m, keys[i % 2], lengths[i / 2], NULL), ERR_OK);
        assert_refused(m, keys[i % 2], "length");
    }
}

/* Files say since when it can be another one; before it was 1. */
static void model_load_without_fused_length_has_one(void **state)
{
    const struct fixture_spec spec = {FUSION_CP, BACKBONE_LIGHTGCN, false, true, 0};
    static const struct {
        const char *unit, *length;
        float want;
    } cases[] = {{"true", "2.5", 2.5F}, {"false", "2.5", 0}, {"true", NULL, 1}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct model *m = fixture_parts(&spec, 5);

        for (size_t t = 0; t < m->n_texts; t++)
            if (strcmp(m->texts[t].key, "mmf.fused_length") == 0)
                memcpy(m->texts[t].key, "mmf.another__one", 16);
        assert_int_equal(model_set(m, "mmf.unit_length", cases[i].unit, NULL), ERR_OK);
        if (cases[i].length)
            assert_int_equal(model_set(m, "mmf.fused_length", cases[i].length, NULL), ERR_OK);
        assert_int_equal(model_finish(m, NULL), ERR_OK);
        assert_float_equal(model_shape(m)->fused_length, cases[i].want, 0);
        model_free(m);
    }
}

/* From memory it comes to the same. */
static void try_bytes(int want, const char *text)
{
    struct model *m = NULL;
    struct err err = {0};
    size_t bytes;
    unsigned char *file = fixture_read("x", &bytes), *exact = fixture_copy(file, bytes);

    assert_int_equal(model_load_bytes(exact, bytes, fixture_path("x"), &m, &err), want);
    assert_string_equal(err.text, text);
    model_free(m);
    free(exact);
    free(file);
}

/* A clean error, or a model that can be used. */
static void try_load(void)
{
    struct model *m = NULL;
    struct err err = {0};
    int status = model_load(fixture_path("x"), &m, &err);

    try_bytes(status, err.text);
    if (status == ERR_OK) {
        const struct model_shape *s = model_shape(m);
        float *X = calloc((size_t)s->F + 1, sizeof(float));
        float *E = calloc((size_t)s->D + 1, sizeof(float));
        const uint8_t mask = 7;

        assert_true(X != NULL && E != NULL);
        (void)fuse_items(m, X, &mask, 1, E, &err);
        free(X);
        free(E);
        model_free(m);
        return;
    }
    assert_true(err.text[0] != '\0');
    assert_int_equal(err.exit_code, EX_DATAERR);
}

static void model_load_every_truncation_is_a_clean_error(void **state)
{
    struct model *m = fixture_parts(&cp_mf, 5);
    unsigned char *file;
    size_t bytes;

    (void)state;
    assert_int_equal(model_save(m, fixture_path("m"), NULL), ERR_OK);
    file = fixture_read("m", &bytes);
    fixture_write("x", file, bytes);
    try_load();
    for (size_t n = 0; n < bytes; n++) {
        struct model *again;
        struct err err = {0};

        assert_int_equal(truncate(fixture_path("x"), (off_t)(bytes - 1 - n)), 0);
        assert_int_equal(model_load(fixture_path("x"), &again, &err), ERR_FATAL);
        assert_int_equal(err.exit_code, EX_DATAERR);
        try_bytes(ERR_FATAL, err.text);
    }
    free(file);
    model_free(m);
}

static void model_load_mutations_are_clean(void **state)
{
    struct fixture_spec specs[] = {cp_mf, {FUSION_DENSE, BACKBONE_SAGE, false, true, 0}};
    struct rng rng;

    (void)state;
    rng_init(&rng, 77);
    for (int i = 0; i < 2; i++) {
        struct model *m = fixture_parts(&specs[i], 5);
        unsigned char *file;
        size_t bytes, header;
        uint64_t length;

        assert_int_equal(model_save(m, fixture_path("m"), NULL), ERR_OK);
        file = fixture_read("m", &bytes);
        memcpy(&length, file, 8);
        header = (size_t)length + 8;
        for (int n = 0; n < 500; n++) {
            size_t at = (size_t)rng_below(&rng, n % 5 == 0 ? bytes : header);
            unsigned char old[4], fresh[4] = "0]\"9";

            if (at + 4 > bytes)
                at = bytes - 4;
            memcpy(old, file + at, 4);
            if (n % 3 == 0)
                file[at] = (unsigned char)rng_next(&rng);
            else if (n % 3 == 1)
                file[at] = (unsigned char)(file[at] ^ (1u << rng_below(&rng, 8)));
            else
                memcpy(file + at, fresh, 1 + rng_below(&rng, 4));
            fixture_write("x", file, bytes);
            try_load();
            memcpy(file + at, old, 4);
        }
        free(file);
        model_free(m);
    }
}

static void model_seed_same_seed_gives_same_file(void **state)
{
    struct model_shape shape = {.modality_dim = {20, 10, 7}, .backbone = BACKBONE_LIGHTGCN};
    unsigned char *file[3];
    size_t bytes[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct model *m;

        assert_int_equal(model_seed(&shape, i == 2 ? 2 : 1, &m, NULL), ERR_OK);
        assert_int_equal(m->shape.fusion, FUSION_CP);
        assert_int_equal(m->shape.width[4], 32);
        assert_int_equal(m->shape.D, 64);
        assert_false(m->shape.trained);
        assert_int_equal(model_save(m, fixture_path("s"), NULL), ERR_OK);
        file[i] = fixture_read("s", &bytes[i]);
        model_free(m);
    }
    assert_int_equal(bytes[0], bytes[1]);
    assert_memory_equal(file[0], file[1], bytes[0]);
    assert_memory_not_equal(file[0], file[2], bytes[0]);
    for (int i = 0; i < 3; i++)
        free(file[i]);
}

static void kind_names_parse_back(void **state)
{
    (void)state;
    for (int k = FUSION_NONE; k <= FUSION_CP; k++)
        assert_int_equal(fusion_kind_parse(fusion_kind_name((enum fusion_kind)k)), k);
    for (int k = BACKBONE_MF; k < BACKBONE_KINDS; k++)
        assert_int_equal(backbone_kind_parse(backbone_kind_name((enum backbone_kind)k)), k);
    assert_int_equal(fusion_kind_parse("CP"), -1);
    assert_int_equal(backbone_kind_parse(""), -1);
}

/* The first outputs from seed 0, worked out in Python integers from the published description. */
static void rng_next_matches_the_published_generator(void **state)
{
    struct rng rng;

    (void)state;
    rng_init(&rng, 0);
    assert_true(rng.s[0] == 0xe220a8397b1dcdafu && rng.s[3] == 0xf88bb8a8724c81ecu);
    assert_true(rng_next(&rng) == 0x99ec5f36cb75f2b4u);
    for (int i = 0; i < 1000; i++) {
        float f = rng_float(&rng);

        assert_true(f >= 0.0f && f < 1.0f);
        assert_true(rng_below(&rng, 7) < 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_save_then_load_keeps_every_kind),
        cmocka_unit_test(model_load_authors_names_with_prefix),
        cmocka_unit_test(model_load_shapes_that_do_not_fit_name_both),
        cmocka_unit_test(model_load_convolutions_that_do_not_fit_are_refused),
        cmocka_unit_test(model_load_parts_missing_or_strange_are_refused),
        cmocka_unit_test(model_load_content_that_does_not_fit_is_refused),
        cmocka_unit_test(model_load_length_that_is_none_is_refused),
        cmocka_unit_test(model_load_without_fused_length_has_one),
        cmocka_unit_test(model_load_metadata_that_contradicts_is_refused),
        cmocka_unit_test(model_load_every_truncation_is_a_clean_error),
        cmocka_unit_test(model_load_mutations_are_clean),
        cmocka_unit_test(model_seed_same_seed_gives_same_file),
        cmocka_unit_test(kind_names_parse_back),
        cmocka_unit_test(rng_next_matches_the_published_generator),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
