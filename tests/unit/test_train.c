/* The loop around the steps. */

#include "fusion_fixture.h"

#include "fusion/train/train.h"

#include <math.h>

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

/* ---- when it ends -------------------------------------------------------------------------- */

enum { M_USERS = 40, M_ITEMS = 30, EACH = 5, M_PAIRS = M_USERS * EACH };

static const uint8_t no_features[M_ITEMS];

/* Each user has items of one half of the catalogue, one of them held out. */
static void make_taste(struct csr_pair pairs[M_PAIRS], struct csr_pair valid[M_USERS])
{
    for (uint32_t u = 0; u < M_USERS; u++) {
        uint32_t half = u % 2 * (M_ITEMS / 2);

        for (uint32_t i = 0; i < EACH; i++)
            pairs[u * EACH + i] = (struct csr_pair){u, half + (u + 2 * i) % (M_ITEMS / 2)};
        valid[u] = (struct csr_pair){u, half + (u + 1) % (M_ITEMS / 2)};
    }
}

static bool give_up_at_3(void *arg, uint32_t epoch, const struct train_point *point)
{
    (void)arg;
    (void)point;
    return epoch < 3;
}

static struct train_result train_taste(const struct train_options *told,
                                       train_progress *progress)
{
    struct csr_pair pairs[M_PAIRS], valid[M_USERS];
    struct trainee_data data = {.mask = no_features,
                                .n_users = M_USERS,
                                .n_items = M_ITEMS,
                                .pairs = pairs,
                                .n_pairs = M_PAIRS};
    struct train_options o = *told;
    struct train_result r;

    make_taste(pairs, valid);
    o.model.shape =
        (struct model_shape){.fusion = FUSION_NONE, .backbone = BACKBONE_MF, .id_dim = 4};
    o.model.item_graph = false;
    o.batch = train_batch(M_PAIRS);
    assert_int_equal(train_run(&o, &data, valid, M_USERS, NULL, progress, NULL, &r, NULL),
                     ERR_OK);
    return r;
}

/* The first point of the curve, as epoch, after which the header's rule ends a training. */
static uint32_t end_by_rule(const struct train_result *r, uint32_t patience, double least_gain)
{
    for (size_t e = 0; e < r->n_points; e++) {
        double now = 0, before = 0;
        bool is_old_enough = false;

        for (size_t i = 0; i <= e; i++) {
            bool is_before = r->curve[i].epoch + patience <= r->curve[e].epoch;

            now = fmax(now, r->curve[i].ndcg);
            before = is_before ? fmax(before, r->curve[i].ndcg) : before;
            is_old_enough = is_old_enough || is_before;
        }
        if (is_old_enough && now <= (1 + least_gain) * before)
            return r->curve[e].epoch;
    }
    return 0;
}

static void train_run_ends_when_gains_are_small(void **state)
{
    struct train_options o;

    (void)state;
    train_options_init(&o);
    o.max_epochs = 400;
    for (uint32_t every = 1; every <= 2; every++) {
        o.evaluate_every = every;
        o.patience = 6;
        o.least_gain = 0.05F;
        struct train_result r = train_taste(&o, NULL);

        assert_int_equal(r.end, TRAIN_HAS_ENOUGH);
        assert_true(r.n_epochs > 6 && r.n_epochs < 400);
        assert_int_equal(r.n_epochs, end_by_rule(&r, 6, (double)o.least_gain));
        train_result_done(&r);
    }
}

static void train_run_at_its_bound_says_so(void **state)
{
    struct train_options o;

    (void)state;
    train_options_init(&o);
    o.max_epochs = 7;
    o.patience = 100;
    struct train_result r = train_taste(&o, NULL);

    assert_int_equal(r.end, TRAIN_AT_BOUND);
    assert_int_equal(r.n_epochs, 7);
    train_result_done(&r);
    r = train_taste(&o, give_up_at_3);
    assert_int_equal(r.end, TRAIN_GIVEN_UP);
    assert_int_equal(r.n_epochs, 3);
    train_result_done(&r);
}

static void train_run_validates_for_so_many_users(void **state)
{
    static const struct {
        uint32_t told, n;
    } cases[] = {
        {0, M_USERS}, {1, 1}, {7, 7}, {M_USERS - 1, M_USERS - 1}, {M_USERS + 1, M_USERS}};
    struct train_options o;

    (void)state;
    train_options_init(&o);
    o.max_epochs = 2;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        o.valid_users = cases[i].told;
        struct train_result r = train_taste(&o, NULL);

        assert_int_equal(r.valid.n_users[EVALUATE_OVERALL], cases[i].n);
        assert_int_equal(r.valid.n_pairs[EVALUATE_OVERALL], cases[i].n);
        train_result_done(&r);
    }
}

static void train_batch_is_a_sixteenth_of_the_pairs(void **state)
{
    (void)state;
    assert_int_equal(train_batch(0), 64);
    assert_int_equal(train_batch(1024), 64);
    assert_int_equal(train_batch(1025), 65);
    assert_int_equal(train_batch(256214), 16014);
    assert_int_equal(train_batch(16 * 32768), 32768);
    assert_int_equal(train_batch(SIZE_MAX), 32768);
    for (size_t n = 1024; n < 600000; n += 977) {
        size_t batch = train_batch(n), n_steps = (n + batch - 1) / batch;

        assert_true(n_steps == 16 || n_steps == 15 || (batch == 32768 && n_steps > 16));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(train_run_tells_of_each_step),
        cmocka_unit_test(train_run_takes_strong_pairs_more_often),
        cmocka_unit_test(train_run_ends_when_gains_are_small),
        cmocka_unit_test(train_run_at_its_bound_says_so),
        cmocka_unit_test(train_run_validates_for_so_many_users),
        cmocka_unit_test(train_batch_is_a_sixteenth_of_the_pairs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
