/* The content columns of models that earlier versions trained: they load and are served, and a training
 * may start from one. */
#include "fusion_fixture.h"

#include "fusion/model/fuse.h"
#include "fusion/train/trainee.h"

/* Beside the same model without them, of which nothing else changes. */
static void fuse_items_content_is_the_textbook(void **state)
{
    const struct fixture_spec without = {FUSION_CP, BACKBONE_LIGHTGCN, false, true, 0};
    const int32_t widths[] = {1, 3, 21};
    enum { B = 16 };
    float X[B * FIXTURE_F], E[B * 32], plain[B * 8];
    uint8_t mask[B];
    struct rng rng;

    (void)state;
    rng_init(&rng, 8);
    rng_fill(&rng, X, B * FIXTURE_F, 2);
    memset(mask, 7, sizeof(mask));
    mask[3] = 0;
    struct model *m = fixture_model(&without, 55);
    assert_int_equal(fuse_items(m, X, mask, B, plain, NULL), ERR_OK);
    model_free(m);
    for (size_t k = 0; k < 3; k++) {
        struct fixture_spec with = without;
        size_t n = (size_t)widths[k], D = 8 + n;

        with.content = widths[k];
        m = fixture_model(&with, 55);
        const float *P = model_tensor(m, "mmf.content")->data;
        const float *mean = model_tensor(m, "mmf.mean")->data;
        const float *std = model_tensor(m, "mmf.std")->data;
        assert_int_equal(m->shape.D, D);
        assert_int_equal(m->shape.id_dim, 4);
        assert_int_equal(fuse_items(m, X, mask, B, E, NULL), ERR_OK);
        for (size_t b = 0; b < B; b++) {
            double c[32] = {0}, length = 0;

            for (size_t j = 0; j < n; j++) {
                for (size_t f = 0; f < FIXTURE_F; f++)
                    c[j] += (double)((X[b * FIXTURE_F + f] - mean[f]) / std[f]) *
                            (double)P[f * n + j];
                length += c[j] * c[j];
            }
            for (size_t j = 0; j < n; j++) /* length 2; hops 3 */
                assert_true(fabs((double)E[b * D + 4 + j] -
                                 (mask[b] ? c[j] / sqrt(length) * 2 / 4 : 0)) < 1e-5);
            assert_memory_equal(E + b * D, plain + b * 8, 4 * sizeof(*E));
            assert_memory_equal(E + b * D + 4 + n, plain + b * 8 + 4, 4 * sizeof(*E));
        }
        model_free(m);
    }
}

/* What a file of an earlier version says is what is served after loading it. */
static void model_load_with_content_serves_the_same(void **state)
{
    const struct fixture_spec with = {FUSION_CP, BACKBONE_LIGHTGCN, false, true, 3};
    struct model *m = fixture_model(&with, 55), *loaded;
    float X[FIXTURE_F], want[16], got[16];
    const uint8_t mask = 7;
    char path[160];
    struct rng rng;

    (void)state;
    rng_init(&rng, 9);
    rng_fill(&rng, X, FIXTURE_F, 2);
    snprintf(path, sizeof(path), "%s/content.safetensors", fixture_folder);
    assert_int_equal(model_save(m, path, NULL), ERR_OK);
    assert_int_equal(model_load(path, &loaded, NULL), ERR_OK);
    assert_int_equal(loaded->shape.content_dim, 3);
    assert_int_equal(loaded->shape.D, m->shape.D);
    assert_int_equal(fuse_items(m, X, &mask, 1, want, NULL), ERR_OK);
    assert_int_equal(fuse_items(loaded, X, &mask, 1, got, NULL), ERR_OK);
    assert_memory_equal(got, want, (size_t)m->shape.D * sizeof(*got));
    model_free(m);
    model_free(loaded);
}

/* A small graph under a fusion of one linear layer, without a kink anywhere. */
struct world {
    float X[9 * 7];
    uint8_t mask[9];
    struct csr_pair pairs[12];
    struct trainee_data data;
    struct trainee_options o;
    struct trainee *t;
};
static const uint32_t users[] = {0, 1, 2, 3}, positives[] = {0, 2, 4, 6};
static const uint32_t negatives[] = {1, 3, 5, 0};
enum { U = 5, I = 9, B = 4 };

static struct trainee *open_trainee(struct world *w)
{
    struct trainee *t;
    struct err err = {0};

    if (trainee_new(&w->o, &w->data, &t, &err) != ERR_OK)
        fail_msg("%s", err.text);
    return t;
}

static void open_world(struct world *w)
{
    struct rng rng;

    memset(w, 0, sizeof(*w));
    rng_init(&rng, 5);
    rng_fill(&rng, w->X, I * 7, 1);
    memset(w->mask, 3, sizeof(w->mask));
    for (uint32_t i = 0; i < 12; i++)
        w->pairs[i] = (struct csr_pair){i % U, (i * i + i) % (I - 1)};
    w->data = (struct trainee_data){w->X, w->mask, U, I, w->pairs, 12, NULL, NULL};
    trainee_options_init(&w->o);
    w->o.negatives = 1;
    w->o.knn.k = 3;
    w->o.fuse_every = 1;
    w->o.shape = (struct model_shape){.fusion = FUSION_STATIC,
                                      .backbone = BACKBONE_LIGHTGCN,
                                      .modality_dim = {4, 3, 0},
                                      .L = 1,
                                      .width = {7, 3},
                                      .id_dim = 2,
                                      .fused_length = 1};
    w->t = open_trainee(w);
}

/* From a model with content columns: fused halves and identities go along. */
static void trainee_warm_start_content_keeps_what_is_common(void **state)
{
    struct world w;
    struct model *plain, *with;
    float *data;

    (void)state;
    open_world(&w);
    trainee_step(w.t, users, positives, negatives, B);
    trainee_forward(w.t);
    assert_int_equal(trainee_export(w.t, &plain, NULL), ERR_OK);
    struct model_shape shape = plain->shape;
    shape.content_dim = 4;
    shape.content_scale = 2;
    assert_int_equal(model_new_empty("of an earlier version", &with, NULL), ERR_OK);
    assert_int_equal(model_set_shape(with, &shape, NULL), ERR_OK);
    for (size_t i = 0; i < plain->n_tensors; i++) {
        const struct model_tensor *t = &plain->tensors[i];
        const bool is_user = strcmp(t->name, "user") == 0;
        const size_t cols = t->n_dims == 2 ? t->shape[1] : 1;
        const size_t sizes[] = {t->shape[0], is_user ? cols + 4 : cols};

        if (strncmp(t->name, "mmf.knn", 7) == 0)
            continue;
        assert_int_equal(model_add_shape(with, t->name, t->n_dims, sizes, &data, NULL), ERR_OK);
        for (size_t r = 0; r < sizes[0]; r++) /* 3 fused, 4 of content, 2 identity */
            for (size_t c = 0; c < cols; c++)
                data[r * sizes[1] + c + (is_user && c >= 3 ? 4 : 0)] = t->data[r * cols + c];
    }
    assert_int_equal(model_add(with, "mmf.content", 7, 4, &data, NULL), ERR_OK);
    for (size_t i = 0; i < 28; i++)
        data[i] = (float)i;
    assert_int_equal(model_finish(with, NULL), ERR_OK);
    assert_int_equal(with->shape.content_dim, 4);
    struct trainee *back = open_trainee(&w);
    assert_int_equal(trainee_warm_start(back, with, NULL, NULL, NULL), ERR_OK);
    assert_memory_equal(back->w, w.t->w, w.t->n_weights * sizeof(float));
    model_free(plain);
    model_free(with);
    trainee_free(w.t);
    trainee_free(back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fuse_items_content_is_the_textbook),
        cmocka_unit_test(model_load_with_content_serves_the_same),
        cmocka_unit_test(trainee_warm_start_content_keeps_what_is_common),
    };

    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
