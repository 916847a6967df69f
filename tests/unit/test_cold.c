/* The length at which items are published: the law, and that training and inference agree on it. */
#include "fusion_fixture.h"

#include "fusion/model/cold.h"
#include "fusion/model/fuse.h"
#include "fusion/train/trainee.h"

enum { U = 3, I = 5, F = 8, D = 6 };

static double length_of(const float *y, size_t n)
{
    double squares = 0;

    for (size_t j = 0; j < n; j++)
        squares += (double)y[j] * (double)y[j];
    return sqrt(squares);
}

static void lengthen_is_a_bonus_that_fades(void **state)
{
    float y[2] = {0.3F, 0.4F}, z[2] = {0, 0};

    (void)state;
    cold_lengthen(y, 2, 0, 0);
    cold_lengthen(y, 2, 0.5F, 0); /* long enough */
    assert_float_equal(y[0], 0.3F, 0);
    cold_lengthen(y, 2, 4, 3);
    assert_float_equal(y[0], 1.2F, 1e-6F);
    assert_float_equal(y[1], 1.6F, 1e-6F);
    cold_lengthen(y, 2, 4, 0);
    assert_true(fabs(length_of(y, 2) - 4) < 1e-6);
    cold_lengthen(y, 2, 4, 8); /* never shorter */
    assert_true(fabs(length_of(y, 2) - 4) < 1e-6);
    cold_lengthen(z, 2, 4, 0);
    assert_true(z[0] == 0 && z[1] == 0);
}

/* Item 3 has no pair, item 4 neither pair nor features: nothing but its untrained identity. */
static const struct csr_pair pairs[] = {{0, 0}, {1, 0}, {2, 0}, {0, 1}, {1, 2}};
static const uint8_t mask[I] = {1, 1, 1, 1, 0};

struct world {
    float X[I * F];
    struct trainee_data data;
    struct trainee *t;
};

/* cold 0: vectors as they come. */
static void open_world(struct world *w, enum fusion_kind fusion, enum backbone_kind backbone,
                       float cold)
{
    struct trainee_options o;
    struct rng rng;
    struct err err = {0};

    rng_init(&rng, 5);
    rng_fill(&rng, w->X, I * F, 1);
    w->data = (struct trainee_data){.X = w->X,
                                    .mask = mask,
                                    .n_users = U,
                                    .n_items = I,
                                    .pairs = pairs,
                                    .n_pairs = sizeof(pairs) / sizeof(*pairs)};
    trainee_options_init(&o);
    o.shape = (struct model_shape){.fusion = fusion,
                                   .backbone = backbone,
                                   .modality_dim = {F, 0, 0},
                                   .L = 1,
                                   .width = {F, D / 2},
                                   .id_dim = D / 2,
                                   .R = 2,
                                   .fused_length = 1,
                                   .hops = 2};
    o.item_graph = false;
    o.cold_length = cold;
    if (trainee_new(&o, &w->data, &w->t, &err) != ERR_OK)
        fail_msg("%s", err.text);
    memset(w->t->w + w->t->item + 3 * (D / 2), 0, (D / 2) * sizeof(float));
    trainee_forward(w->t);
}

static const float *item(const struct world *w, size_t i)
{
    return w->t->out + (U + i) * w->t->D;
}

static void forward_lengthens_what_is_short(enum backbone_kind backbone)
{
    struct world plain, cold;
    double mean = 0;

    open_world(&plain, FUSION_CP, backbone, 0);
    open_world(&cold, FUSION_CP, backbone, 3);
    for (size_t i = 0; i < 3; i++)
        mean += length_of(item(&plain, i), D) / 3;
    assert_true(fabs((double)cold.t->o.shape.cold_length - 3 * mean) < 1e-5);
    assert_memory_equal(plain.t->out, cold.t->out, U * D * sizeof(float));
    for (size_t i = 0; i < I; i++) {
        const float *a = item(&plain, i), *b = item(&cold, i);
        double n = i == 0 ? 3 : i < 3 ? 1 : 0, own = length_of(a, D);
        double want = i < 4 ? fmax(own, 3 * mean / sqrt(1 + n)) : own;

        assert_true(fabs(length_of(b, D) - want) < 1e-5);
        for (size_t j = 0; j < D; j++)
            assert_true(fabs((double)b[j] / want - (double)a[j] / own) < 1e-5);
    }
    assert_true(length_of(item(&cold, 3), D) > 2 * length_of(item(&plain, 3), D));
    trainee_free(plain.t);
    trainee_free(cold.t);
}

static void forward_both_graphs_lengthen_what_is_short(void **state)
{
    (void)state;
    forward_lengthens_what_is_short(BACKBONE_LIGHTGCN);
    forward_lengthens_what_is_short(BACKBONE_SAGE);
}

/* An item that arrives is as long as the training would have published it; what it has done since
 * takes that back. */
static void fuse_has_the_length_of_the_training(void **state)
{
    static const uint32_t n[I] = {0, 0, 0, 8, 0};
    struct world w;
    struct model *model;
    float E[I * D], later[I * D];

    (void)state;
    open_world(&w, FUSION_CP, BACKBONE_LIGHTGCN, 9);
    assert_int_equal(trainee_export(w.t, &model, NULL), ERR_OK);
    assert_int_equal(model_prepare(model, NULL), ERR_OK);
    assert_float_equal(model_shape(model)->cold_length, w.t->o.shape.cold_length, 0);
    assert_int_equal(fuse_items(model, w.X, mask, I, E, NULL), ERR_OK);
    assert_int_equal(fuse_later_items(model, w.X, mask, n, I, later, NULL), ERR_OK);
    assert_memory_equal(later, E, 3 * D * sizeof(float));
    for (size_t j = 0; j < D; j++) {
        assert_float_equal(E[3 * D + j], item(&w, 3)[j], 1e-5);
        assert_float_equal(later[3 * D + j], E[3 * D + j] / 3, 1e-5);
        assert_true(E[4 * D + j] == 0 && later[4 * D + j] == 0);
    }
    model_free(model);
    trainee_free(w.t);
}

static void export_without_it_says_none(enum fusion_kind fusion, enum backbone_kind backbone,
                                        float cold)
{
    struct world w;
    struct model *model;

    open_world(&w, fusion, backbone, cold);
    assert_int_equal(trainee_export(w.t, &model, NULL), ERR_OK);
    assert_true(model_shape(model)->cold_length == 0);
    assert_null(model_text(model, "mmf.cold_length"));
    model_free(model);
    trainee_free(w.t);
}

static void export_knows_no_length_where_none_would_fade(void **state)
{
    (void)state;
    export_without_it_says_none(FUSION_CP, BACKBONE_LIGHTGCN, 0);
    export_without_it_says_none(FUSION_CP, BACKBONE_MF, 3);
    export_without_it_says_none(FUSION_NONE, BACKBONE_LIGHTGCN, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengthen_is_a_bonus_that_fades),
        cmocka_unit_test(forward_both_graphs_lengthen_what_is_short),
        cmocka_unit_test(fuse_has_the_length_of_the_training),
        cmocka_unit_test(export_knows_no_length_where_none_would_fade),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
