/* Several trainings as one model: its scores are the sum of theirs, items that arrive have the
 * vectors that the trainings publish, and the members can be taken out again. */
#include "fusion_fixture.h"

#include "fusion/model/fuse.h"
#include "fusion/train/ensemble.h"
#include "fusion/train/train.h"

enum {
    U = 14,
    I = 11,
    F = 10,
    PAIRS = 40,
    MEMBERS = 3,
    COLD = 4 /* the item without a pair */
};

struct world {
    float X[I * F];
    uint8_t mask[I];
    struct csr_pair pairs[PAIRS];
    struct trainee_data data;
    struct ensemble members;
    struct train_result last;
    struct model *model[MEMBERS]; /* each member's own, as propagation leaves its vectors */
    float *out[MEMBERS];
};

static void draw(struct world *w)
{
    struct rng rng;
    size_t n = 0;

    rng_init(&rng, 3);
    rng_fill(&rng, w->X, I * F, 1);
    for (uint32_t i = 0; i < I; i++)
        w->mask[i] = i == 9 ? 1 : 3;
    for (uint32_t at = 0; n < PAIRS; at += 3)
        if (at % I != COLD)
            w->pairs[n++] = (struct csr_pair){(at / I) % U, at % I};
    w->data = (struct trainee_data){.X = w->X,
                                    .mask = w->mask,
                                    .n_users = U,
                                    .n_items = I,
                                    .pairs = w->pairs,
                                    .n_pairs = PAIRS};
}

static struct train_options options(enum fusion_kind fusion, enum backbone_kind backbone,
                                    float cold_length)
{
    struct train_options o;

    train_options_init(&o);
    o.model.shape = (struct model_shape){.fusion = fusion,
                                         .backbone = backbone,
                                         .modality_dim = {6, 4, 0},
                                         .L = 2,
                                         .width = {F, 7, 3},
                                         .id_dim = 5,
                                         .S = 2,
                                         .R = 3,
                                         .fused_length = 1.5F,
                                         .hops = backbone == BACKBONE_LIGHTGCN ? 2 : 0};
    o.model.sage_width[0] = 6;
    o.model.sage_width[1] = 4;
    o.model.knn.k = 2;
    o.model.cold_length = cold_length;
    o.max_epochs = 2;
    o.batch = 16;
    return o;
}

static void open_world(struct world *w, struct train_options o, uint32_t n)
{
    struct err err = {0};

    *w = (struct world){0};
    draw(w);
    for (uint32_t m = 0; m < n; m++) {
        train_result_done(&w->last);
        o.model.seed = 10 + m;
        if (train_run(&o, &w->data, NULL, 0, NULL, NULL, NULL, &w->last, &err) != ERR_OK ||
            ensemble_add(&w->members, w->last.trainee, &err) != ERR_OK)
            fail_msg("%s", err.text);
        size_t bytes = (U + I) * w->last.trainee->D * sizeof(float);
        float cold_length = w->last.trainee->o.cold_length;
        w->last.trainee->o.cold_length = 0;
        trainee_forward(w->last.trainee);
        assert_int_equal(trainee_export(w->last.trainee, &w->model[m], NULL), ERR_OK);
        assert_int_equal(model_prepare(w->model[m], NULL), ERR_OK);
        w->last.trainee->o.cold_length = cold_length;
        w->out[m] = malloc(bytes);
        assert_non_null(w->out[m]);
        memcpy(w->out[m], w->last.trainee->out, bytes);
    }
}

static void close_world(struct world *w)
{
    for (size_t m = 0; m < MEMBERS; m++) {
        model_free(w->model[m]);
        free(w->out[m]);
    }
    ensemble_done(&w->members);
    train_result_done(&w->last);
}

static void join(struct world *w, struct model **ret_model, float **ret_out)
{
    struct err err = {0};

    if (ensemble_join(&w->members, w->last.trainee, ret_model, ret_out, &err) != ERR_OK ||
        ensemble_prepare(*ret_model, &err) != ERR_OK)
        fail_msg("%s", err.text);
}

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;

    for (size_t j = 0; j < n; j++)
        sum += (double)a[j] * (double)b[j];
    return sum;
}

static void assert_near(double a, double b)
{
    if (!(fabs(a - b) < 1e-5 * (1 + fabs(b))))
        fail_msg("%g is not %g", a, b);
}

static void scores_are_the_members_sum(const struct world *w, const float *out)
{
    const size_t D = w->last.trainee->D;

    for (size_t u = 0; u < U; u++)
        for (size_t i = U; i < U + I; i++) {
            double sum = 0;

            for (size_t m = 0; m < MEMBERS; m++)
                sum += dot(w->out[m] + u * D, w->out[m] + i * D, D);
            assert_near(dot(out + u * MEMBERS * D, out + i * MEMBERS * D, MEMBERS * D), sum);
        }
}

static void assert_same_model(const struct model *a, const struct model *b)
{
    assert_int_equal(a->n_tensors, b->n_tensors);
    for (size_t i = 0; i < a->n_tensors; i++) {
        const struct model_tensor *t = &a->tensors[i], *other = model_tensor(b, "%s", t->name);

        assert_non_null(other);
        assert_int_equal(t->n_elements, other->n_elements);
        assert_memory_equal(t->shape, other->shape, (size_t)t->n_dims * sizeof(*t->shape));
        assert_memory_equal(t->data, other->data, t->n_elements * sizeof(*t->data));
    }
    for (size_t i = 0; i < a->n_texts; i++)
        assert_string_equal(a->texts[i].value, model_text(b, a->texts[i].key));
}

static void check(enum fusion_kind fusion, enum backbone_kind backbone)
{
    struct world w;
    struct model *joined, *member;
    float *out;

    open_world(&w, options(fusion, backbone, 0), MEMBERS);
    join(&w, &joined, &out);
    const struct model_shape *s = model_shape(joined);
    assert_int_equal(s->members, MEMBERS);
    assert_int_equal(s->D, MEMBERS * w.last.trainee->D);
    assert_int_equal(s->fusion, fusion);
    scores_are_the_members_sum(&w, out);
    for (uint32_t m = 0; m < MEMBERS; m++) {
        assert_int_equal(ensemble_member(joined, m, &member, NULL), ERR_OK);
        assert_same_model(w.model[m], member);
        model_free(member);
    }
    model_free(joined);
    free(out);
    close_world(&w);
}

static void every_kind_is_joined_exactly(void **state)
{
    (void)state;
    for (int fusion = FUSION_NONE; fusion <= FUSION_CP; fusion++)
        for (int backbone = BACKBONE_MF; backbone < BACKBONE_KINDS; backbone++)
            check((enum fusion_kind)fusion, (enum backbone_kind)backbone);
}

/* The item without a pair, as new ones come: by the joined network alone, each member's fused half at
 * length 1, at the length of cold.h. */
static void items_that_arrive_have_the_published_vectors(void **state)
{
    (void)state;
    for (int fusion = FUSION_STATIC; fusion <= FUSION_CP; fusion++)
        for (int backbone = BACKBONE_MF; backbone < BACKBONE_KINDS; backbone++) {
            struct world w;
            struct model *joined;
            float *out, E[I * 8 * MEMBERS];

            open_world(&w, options((enum fusion_kind)fusion, (enum backbone_kind)backbone, 3),
                       MEMBERS);
            join(&w, &joined, &out);
            const size_t D = (size_t)model_shape(joined)->D;
            const float *published = out + (U + COLD) * D;
            assert_int_equal(fuse_items(joined, w.X, w.mask, I, E, NULL), ERR_OK);
            for (size_t j = 0; j < D; j++)
                assert_near((double)E[COLD * D + j], (double)published[j]);
            if (backbone != BACKBONE_MF)
                assert_near(sqrt(dot(published, published, D)),
                            (double)model_shape(joined)->cold_length);
            model_free(joined);
            free(out);
            close_world(&w);
        }
}

static void one_member_is_what_it_exports(void **state)
{
    struct train_options o = options(FUSION_CP, BACKBONE_LIGHTGCN, 2);
    struct world w;
    struct model *joined, *alone;
    float *out;

    (void)state;
    open_world(&w, o, 1);
    join(&w, &joined, &out);
    trainee_forward(w.last.trainee);
    assert_int_equal(trainee_export(w.last.trainee, &alone, NULL), ERR_OK);
    assert_same_model(alone, joined);
    assert_memory_equal(out, w.last.trainee->out, (U + I) * w.last.trainee->D * sizeof(*out));
    model_free(alone);
    model_free(joined);
    free(out);
    close_world(&w);
}

static void a_number_that_does_not_fit_is_refused(void **state)
{
    static const char *const wrong[] = {"0", "-1", "2", "4", "17", "1.5", "x", ""};
    struct world w;
    struct model *joined;
    struct err err = {0};
    float *out;

    (void)state;
    open_world(&w, options(FUSION_CP, BACKBONE_LIGHTGCN, 0), MEMBERS);
    join(&w, &joined, &out);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(model_set(joined, "mmf.members", wrong[i], NULL), ERR_OK);
        assert_int_equal(model_finish(joined, &err), ERR_FATAL);
        assert_int_equal(err.exit_code, EX_DATAERR);
        assert_non_null(strstr(err.text, "mmf.members"));
    }
    assert_int_equal(model_set(joined, "mmf.members", "3", NULL), ERR_OK);
    assert_int_equal(model_finish(joined, NULL), ERR_OK);
    model_free(joined);
    free(out);
    close_world(&w);
}

/* Tensors by the names of a network's that are none of it: a file from elsewhere may hold them, in any
 * shape, and they are neither split nor read beyond their end. */
static void stray_parts_are_left_alone(void **state)
{
    static const struct {
        const char *name;
        int n_dims;
        size_t shape[4];
    } stray[] = {
        {"mlp_signal.0.bias", 4, {3, 1, 2, 2}}, {"mlp_signal.2.bias", 1, {7}},
        {"conv1.lin_l.weight", 2, {3, 25}},     {"conv2.lin_l.bias", 3, {2, 2, 2}},
        {"conv2.lin_l.weight", 2, {2, 2}},      {"mmf.other", 4, {2, 1, 3, 2}},
    };
    struct world w;
    struct model *joined, *member;
    struct err err = {0};
    float *out, *data;

    (void)state;
    open_world(&w, options(FUSION_STATIC, BACKBONE_LIGHTGCN, 0), MEMBERS);
    join(&w, &joined, &out);
    for (size_t i = 0; i < sizeof(stray) / sizeof(stray[0]); i++) {
        assert_int_equal(model_add_shape(joined, stray[i].name, stray[i].n_dims, stray[i].shape,
                                         &data, NULL),
                         ERR_OK);
        data[0] = (float)i + 1;
    }
    assert_int_equal(ensemble_member(joined, 1, &member, &err), ERR_OK);
    for (size_t i = 0; i < sizeof(stray) / sizeof(stray[0]); i++) {
        const struct model_tensor *t = model_tensor(member, "%s", stray[i].name);

        assert_non_null(t);
        assert_int_equal(t->n_dims, stray[i].n_dims);
        assert_float_equal(t->data[0], (float)i + 1, 0);
    }
    model_free(member);
    model_free(joined);
    free(out);
    close_world(&w);
}

static void a_file_keeps_the_members(void **state)
{
    struct world w;
    struct model *joined, *loaded;
    float *out, a[I * 8 * MEMBERS], b[I * 8 * MEMBERS];

    (void)state;
    open_world(&w, options(FUSION_DENSE, BACKBONE_LIGHTGCN, 1.25F), MEMBERS);
    join(&w, &joined, &out);
    assert_int_equal(model_save(joined, fixture_path("m.safetensors"), NULL), ERR_OK);
    assert_int_equal(model_load(fixture_path("m.safetensors"), &loaded, NULL), ERR_OK);
    assert_int_equal(model_shape(loaded)->members, MEMBERS);
    assert_int_equal(fuse_items(joined, w.X, w.mask, I, a, NULL), ERR_OK);
    assert_int_equal(fuse_items(loaded, w.X, w.mask, I, b, NULL), ERR_OK);
    assert_memory_equal(a, b, sizeof(a));
    model_free(joined);
    model_free(loaded);
    free(out);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_joined_exactly),
        cmocka_unit_test(items_that_arrive_have_the_published_vectors),
        cmocka_unit_test(one_member_is_what_it_exports),
        cmocka_unit_test(a_number_that_does_not_fit_is_refused),
        cmocka_unit_test(stray_parts_are_left_alone),
        cmocka_unit_test(a_file_keeps_the_members),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
