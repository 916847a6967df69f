/* The content columns: directions, whitening, length; in a model file; in training, where they are
 * frozen. */
#include "fusion_fixture.h"

#include "fusion/model/content.h"
#include "fusion/model/fuse.h"
#include "fusion/train/trainee.h"

enum { N = 500, F = 40, C = 6 };

/* Six directions along unit vectors, of falling power, and noise far below them. */
static void draw(float *X)
{
    struct rng rng;

    rng_init(&rng, 11);
    rng_fill(&rng, X, N * F, 0.01F);
    for (size_t i = 0; i < N; i++)
        for (size_t c = 0; c < C; c++)
            X[i * F + 5 * c] += (float)(10 - c) * (2 * rng_float(&rng) - 1);
}

static void fit_finds_the_directions_and_whitens_them(void **state)
{
    static float X[N * F], P[F * C], again[F * C], c[N * C];

    (void)state;
    draw(X);
    assert_int_equal(content_fit(X, N, F, C, P, NULL), ERR_OK);
    for (size_t f = 0; f < F; f++) /* nothing of the noise's columns */
        for (size_t k = 0; k < C && f % 5 != 0; k++)
            assert_true(fabsf(P[f * C + k]) < 0.01F);
    memset(c, 0, sizeof(c));
    for (size_t i = 0; i < N; i++)
        for (size_t f = 0; f < F; f++)
            for (size_t k = 0; k < C; k++)
                c[i * C + k] += X[i * F + f] * P[f * C + k];
    for (size_t a = 0; a < C; a++)
        for (size_t b = 0; b < C; b++) {
            double sum = 0;

            for (size_t i = 0; i < N; i++)
                sum += (double)c[i * C + a] * (double)c[i * C + b] / N;
            assert_true(fabs(sum - (a == b)) < 1e-3);
        }
    assert_int_equal(content_fit(X, N, F, C, again, NULL), ERR_OK);
    assert_memory_equal(P, again, sizeof(P));
}

static void fit_of_few_directions_leaves_the_rest_zero(void **state)
{
    static float X[N * F], P[F * C], all[F * F];

    (void)state;
    for (size_t i = 0; i < N; i++)
        for (size_t f = 0; f < F; f++)
            X[i * F + f] = i % 2 ? 3 : -3;
    assert_int_equal(content_fit(X, N, F, C, P, NULL), ERR_OK);
    for (size_t f = 0; f < F; f++) {
        assert_float_equal(fabsf(P[f * C]), 1.0F / (3 * F), 1e-5F);
        for (size_t k = 1; k < C; k++)
            assert_true(P[f * C + k] == 0);
    }
    memset(X, 0, sizeof(X));
    assert_int_equal(content_fit(X, N, F, F, all, NULL), ERR_OK);
    for (size_t i = 0; i < F * F; i++)
        assert_true(all[i] == 0);
}

static void rows_have_the_length_and_zero_stays(void **state)
{
    static float X[N * F], P[F * C], c[N * C];

    (void)state;
    draw(X);
    memset(X + 7 * F, 0, F * sizeof(*X));
    assert_int_equal(content_fit(X, N, F, C, P, NULL), ERR_OK);
    content_rows(X, N, F, P, C, 2.5F, c);
    for (size_t i = 0; i < N; i++) {
        double sum = 0;

        for (size_t k = 0; k < C; k++)
            sum += (double)c[i * C + k] * (double)c[i * C + k];
        assert_true(i == 7 ? sum == 0 : fabs(sqrt(sum) - 2.5) < 1e-5);
    }
}

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

static struct trainee *open_trainee(struct world *w, int32_t content)
{
    struct trainee *t;
    struct err err = {0};

    w->o.shape.content_dim = content;
    if (trainee_new(&w->o, &w->data, &t, &err) != ERR_OK)
        fail_msg("%s", err.text);
    return t;
}

static void open_world(struct world *w, int32_t content)
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
    w->t = open_trainee(w, content);
}

/* The content columns of the users are held at zero. */
static bool is_users_content(const struct trainee *t, size_t weight)
{
    size_t column = (weight - t->user) % t->E;

    return weight >= t->user && column >= t->n_fused && column < t->n_fused + t->n_content;
}

static void trainee_gradient_content_equals_differences(void **state)
{
    struct world w;
    double largest = 0;

    (void)state;
    open_world(&w, 4);
    struct trainee *t = w.t;
    float *g = malloc(t->n_weights * sizeof(*g));
    assert_non_null(g);
    assert_int_equal(t->E, 3 + 4 + 2);
    trainee_gradient(t, users, positives, negatives, B, false);
    memcpy(g, t->g, t->n_weights * sizeof(*g));
    for (size_t i = 0; i < t->n_weights; i++)
        largest = fmax(largest, fabs((double)g[i]));
    for (size_t i = 0; i < t->n_weights; i++) {
        float weight = t->w[i];

        if (is_users_content(t, i)) {
            assert_true(g[i] == 0 && weight == 0);
            continue;
        }
        t->w[i] = weight + 5e-4F;
        double up = trainee_gradient(t, users, positives, negatives, B, false);
        t->w[i] = weight - 5e-4F;
        double down = trainee_gradient(t, users, positives, negatives, B, false);
        t->w[i] = weight;
        if (fabs((up - down) / 1e-3 - (double)g[i]) > 0.02 * largest)
            fail_msg("weight %zu: %g, by differences %g", i, (double)g[i], (up - down) / 1e-3);
    }
    for (int step = 0; step < 3; step++)
        trainee_step(t, users, positives, negatives, B);
    for (size_t i = t->user; i < t->n_weights; i++)
        assert_true(!is_users_content(t, i) || t->w[i] == 0);
    free(g);
    trainee_free(t);
}

/* To a model with content columns and back: fused halves and identities go along, users' content
 * stays zero. */
static void trainee_warm_start_content_keeps_what_is_common(void **state)
{
    struct world w;
    struct model *plain, *with;

    (void)state;
    open_world(&w, 0);
    struct trainee *to = open_trainee(&w, 4), *back;
    trainee_step(w.t, users, positives, negatives, B);
    trainee_forward(w.t);
    assert_int_equal(trainee_export(w.t, &plain, NULL), ERR_OK);
    assert_int_equal(trainee_warm_start(to, plain, NULL, NULL, NULL), ERR_OK);
    for (size_t u = 0; u < U; u++) {
        const float *from = w.t->w + w.t->user + u * 5, *row = to->w + to->user + u * 9;

        assert_memory_equal(row, from, 3 * sizeof(*row));
        for (size_t j = 3; j < 7; j++)
            assert_true(row[j] == 0);
        assert_memory_equal(row + 7, from + 3, 2 * sizeof(*row));
    }
    trainee_forward(to);
    assert_int_equal(trainee_export(to, &with, NULL), ERR_OK);
    back = open_trainee(&w, 0);
    assert_int_equal(trainee_warm_start(back, with, NULL, NULL, NULL), ERR_OK);
    assert_memory_equal(back->w + back->user, w.t->w + w.t->user, U * 5 * sizeof(float));
    model_free(plain);
    model_free(with);
    trainee_free(w.t);
    trainee_free(to);
    trainee_free(back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fit_finds_the_directions_and_whitens_them),
        cmocka_unit_test(fit_of_few_directions_leaves_the_rest_zero),
        cmocka_unit_test(rows_have_the_length_and_zero_stays),
        cmocka_unit_test(fuse_items_content_is_the_textbook),
        cmocka_unit_test(trainee_gradient_content_equals_differences),
        cmocka_unit_test(trainee_warm_start_content_keeps_what_is_common),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
