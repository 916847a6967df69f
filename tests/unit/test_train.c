/* The loop around the steps. */

#include "fusion_fixture.h"

#include "fusion/train/train.h"

enum { N_USERS = 6, N_ITEMS = 9 };

static void note_step(void *arg, uint32_t epoch, size_t step, size_t n_steps)
{
    unsigned *n = arg;

    assert_int_equal(n_steps, 3);
    assert_int_equal(epoch, *n / 3 + 1);
    assert_int_equal(step, *n % 3 + 1);
    (*n)++;
}

/* An epoch may take longer than anybody waits for a sign of life. */
static void train_run_tells_of_each_step(void **state)
{
    static const uint8_t mask[N_ITEMS];
    struct csr_pair pairs[10];
    struct trainee_data data = {
        .mask = mask, .n_users = N_USERS, .n_items = N_ITEMS, .pairs = pairs, .n_pairs = 10};
    struct train_options o;
    struct train_result r;
    unsigned n = 0;

    (void)state;
    for (uint32_t i = 0; i < 10; i++)
        pairs[i] = (struct csr_pair){i % N_USERS, i % N_ITEMS};
    train_options_init(&o);
    o.model.shape =
        (struct model_shape){.fusion = FUSION_NONE, .backbone = BACKBONE_MF, .id_dim = 4};
    o.model.item_graph = false;
    o.max_epochs = 2;
    o.batch = 4;
    o.on_step = note_step;
    o.on_step_arg = &n;
    assert_int_equal(train_run(&o, &data, NULL, 0, NULL, NULL, NULL, &r, NULL), ERR_OK);
    assert_int_equal(n, 6);
    train_result_done(&r);
}

/* A pair of which an epoch takes nine of ten draws gets nearer than by one in ten. */
static double score_of_first(const float *strength)
{
    static const uint8_t mask[N_ITEMS];
    struct csr_pair pairs[10];
    struct trainee_data data = {.mask = mask,
                                .n_users = N_USERS,
                                .n_items = N_ITEMS,
                                .pairs = pairs,
                                .n_pairs = 10,
                                .strength = strength};
    struct train_options o;
    struct train_result r;
    double score = 0;

    for (uint32_t i = 0; i < 10; i++)
        pairs[i] = (struct csr_pair){i % N_USERS, i % N_ITEMS};
    train_options_init(&o);
    o.model.shape =
        (struct model_shape){.fusion = FUSION_NONE, .backbone = BACKBONE_MF, .id_dim = 4};
    o.model.item_graph = false;
    o.max_epochs = 30;
    o.batch = 4;
    assert_int_equal(train_run(&o, &data, NULL, 0, NULL, NULL, NULL, &r, NULL), ERR_OK);
    const float *user = r.trainee->out, *item = user + N_USERS * r.trainee->D;
    for (size_t j = 0; j < r.trainee->D; j++)
        score += (double)user[j] * (double)item[j];
    train_result_done(&r);
    return score;
}

static void train_run_takes_strong_pairs_more_often(void **state)
{
    float alike[10], first[10], last[10];

    (void)state;
    for (int i = 0; i < 10; i++) {
        alike[i] = 0.3F;
        first[i] = i == 0 ? 1.0F : 0.01F;
        last[i] = i == 9 ? 1.0F : 0.01F;
    }
    assert_true(score_of_first(alike) == score_of_first(NULL));
    assert_true(score_of_first(first) > score_of_first(NULL));
    assert_true(score_of_first(last) < score_of_first(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(train_run_tells_of_each_step),
        cmocka_unit_test(train_run_takes_strong_pairs_more_often),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
