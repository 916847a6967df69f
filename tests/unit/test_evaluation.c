/* An evaluation of a candidate's files, and of the same model in the store, beside a textbook ranking with
 * neighbours. */
#include "daemon/model/evaluation.h"

#include "model_fixture.h"

#include "daemon/model/candidate.h"
#include "fusion/math/rng.h"

#include <jansson.h>
#include <math.h>
#include <stdbool.h>

enum { D = 2 * FIXTURE_DIM, N_ITEMS = 12, N_USERS = 5, PER_USER = 4, K = 3 };

struct bench {
    struct fixture f;
    float items[N_ITEMS * D], users[N_USERS * D], says[N_ITEMS][N_ITEMS], scale[N_ITEMS];
    uint32_t pair[N_USERS * PER_USER][2];
    bool trained_on[N_USERS][N_ITEMS];
    float weight;
    struct candidate c; /* read from the folder */
};

static void item_name(int i, char name[4])
{
    (void)snprintf(name, 4, "i%02d", i);
}

/* Item 0 is known from interactions alone: without a vector, but with neighbours. */
static void make_store(struct bench *b)
{
    char user[4], item[4];

    fixture_interact(&b->f, "u0", "i00");
    for (int i = 1; i < N_ITEMS; i++) {
        item_name(i, item);
        fixture_item(&b->f, item, (float)i);
    }
    for (int u = 0; u < N_USERS; u++)
        for (int k = 0; k < PER_USER; k++) {
            int i = (5 * u + 3 * k) % N_ITEMS;
            (void)snprintf(user, sizeof user, "u%d", u);
            item_name(i, item);
            fixture_interact(&b->f, user, item);
            b->pair[u * PER_USER + k][0] = (uint32_t)u;
            b->pair[u * PER_USER + k][1] = (uint32_t)i;
            b->trained_on[u][i] = true;
        }
}

static void write_candidate(struct bench *b)
{
    size_t start[N_ITEMS + 1] = {0}, n = 0;
    uint32_t col[N_ITEMS * N_ITEMS];
    float value[N_ITEMS * N_ITEMS];
    struct store_dataset d;
    struct rng rng;

    rng_init(&rng, 7);
    for (int i = D; i < N_ITEMS * D; i++) /* none for item 0 */
        b->items[i] = (2 * rng_float(&rng) - 1);
    for (int i = 0; i < N_USERS * D; i++)
        b->users[i] = (2 * rng_float(&rng) - 1);
    for (uint32_t i = 0; i < N_ITEMS; i++) {
        b->scale[i] = (float)(i + 1) / 2;
        for (uint32_t k = 0; k < N_ITEMS; k++) {
            if (k == i || (i + k) % 3 == 0)
                continue;
            b->says[i][k] = ldexpf((float)(int)(1000 * (2 * rng_float(&rng) - 1)), -10);
            col[n] = k;
            value[n++] = b->says[i][k];
        }
        start[i + 1] = n;
    }
    b->weight = 0.75F;
    assert_ok(&b->f, store_read_dataset(b->f.st, &d, &b->f.err));
    struct candidate c = {.n_items = N_ITEMS,
                          .n_users = N_USERS,
                          .n_pairs = N_USERS * PER_USER,
                          .dim = D,
                          .item_id = d.item_id,
                          .user_id = d.user_id,
                          .items = b->items,
                          .users = b->users,
                          .stamp = d.stamp,
                          .pair = b->pair,
                          .neighbours = {N_ITEMS, N_ITEMS, n, start, col, value},
                          .neighbour_scale = b->scale,
                          .metrics = json_pack("{s:{s:{s:f}}}", "signals", "neighbours",
                                               "scale", (double)b->weight)};
    assert_int_equal(d.n_items, N_ITEMS);
    fixture_model(&b->f, 1, &c.model);
    assert_ok(&b->f, candidate_write(b->f.dir, &c, &b->f.err));
    model_free(c.model);
    json_decref(c.metrics);
    store_dataset_done(&d);
}

static int set_up(void **state)
{
    static struct bench b;

    b = (struct bench){0};
    fixture_open(&b.f);
    make_store(&b);
    write_candidate(&b);
    assert_ok(&b.f, candidate_read(b.f.dir, &b.c, &b.f.err));
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;

    candidate_done(&b->c);
    return fixture_close(&b->f);
}

/* As the definition says. */
static double score_of(const struct bench *b, int u, int i, bool with_neighbours)
{
    double score = 0;

    for (int k = 0; k < D; k++)
        score += (double)b->users[u * D + k] * (double)b->items[i * D + k];
    for (int j = 0; with_neighbours && j < N_ITEMS; j++)
        if (b->trained_on[u][j])
            score += (double)b->weight * (double)b->says[j][i] * (double)b->scale[i];
    return score;
}

/* Mean NDCG at K, item 0 not competing. */
static double textbook(const struct bench *b, struct tsv_pair *test, size_t n,
                       bool with_neighbours)
{
    double sum = 0;

    for (int u = 0; u < N_USERS; u++) {
        double dcg = 0, ideal = 0;
        int n_test = 0;

        for (size_t t = 0; t < n; t++) {
            int i = atoi(test[t].item + 1), before = 0;
            if (atoi(test[t].user + 1) != u)
                continue;
            for (int k = 1; k < N_ITEMS; k++)
                before +=
                    !b->trained_on[u][k] && k != i &&
                    score_of(b, u, k, with_neighbours) > score_of(b, u, i, with_neighbours);
            dcg += before < K ? 1 / log2(before + 2) : 0;
            n_test++;
        }
        for (int k = 0; k < n_test && k < K; k++)
            ideal += 1 / log2(k + 2);
        sum += dcg / ideal;
    }
    return sum / N_USERS;
}

/* Every third of the items that a user was not trained on. */
static size_t make_test(const struct bench *b, char names[][2][4], struct tsv_pair *test)
{
    size_t n = 0;

    for (int u = 0; u < N_USERS; u++) {
        int seen = 0;
        for (int i = 1; i < N_ITEMS; i++) {
            if (b->trained_on[u][i] || seen++ % 3 != 1)
                continue;
            (void)snprintf(names[n][0], 4, "u%d", u);
            item_name(i, names[n][1]);
            test[n] = (struct tsv_pair){names[n][0], names[n][1], (double)NAN};
            n++;
        }
    }
    return n;
}

static double ndcg_of(struct bench *b, const struct evaluation *e, const struct tsv_pair *test,
                      size_t n)
{
    static const uint32_t cuts[] = {K};
    struct evaluation_result r;

    assert_ok(&b->f, evaluation_run(e, test, n, cuts, 1, 1, &r, &b->f.err));
    assert_int_equal(r.n_unknown_users, 0);
    assert_int_equal(r.n_unknown_items, 0);
    return r.figures.at[EVALUATE_OVERALL][0].ndcg;
}

static void run_ranks_with_neighbours_in_files_and_in_the_store(void **state)
{
    struct bench *b = *state;
    struct candidate_target t = {
        .settings = &b->f.s, .reader = b->f.st, .writer = store_writer_of(b->f.st)};
    char names[N_USERS * N_ITEMS][2][4];
    struct tsv_pair test[N_USERS * N_ITEMS];
    struct evaluation e;

    size_t n = make_test(b, names, test);
    double want = textbook(b, test, n, true);
    assert_true(fabs(want - textbook(b, test, n, false)) > 0.05);
    assert_ok(&b->f, evaluation_of_candidate(&b->c, NULL, 0, &e, &b->f.err));
    assert_float_equal(ndcg_of(b, &e, test, n), want, 1e-9);
    evaluation_done(&e);
    assert_ok(&b->f, candidate_publish(&b->c, &t, &b->f.err));
    assert_ok(&b->f, evaluation_of_model(b->f.st, b->c.model_id, &e, &b->f.err));
    assert_int_equal(e.n_items, N_ITEMS - 1);
    assert_int_equal(e.neighbours.n_rows, N_ITEMS);
    assert_float_equal(ndcg_of(b, &e, test, n), want, 1e-9);
    evaluation_done(&e);
}

static void run_without_the_signal_ranks_by_vectors(void **state)
{
    struct bench *b = *state;
    char names[N_USERS * N_ITEMS][2][4];
    struct tsv_pair test[N_USERS * N_ITEMS];
    struct evaluation e;

    size_t n = make_test(b, names, test);
    (void)json_object_del(b->c.metrics, "signals");
    assert_ok(&b->f, evaluation_of_candidate(&b->c, NULL, 0, &e, &b->f.err));
    assert_float_equal(ndcg_of(b, &e, test, n), textbook(b, test, n, false), 1e-9);
    evaluation_done(&e);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(run_ranks_with_neighbours_in_files_and_in_the_store),
        CASE(run_without_the_signal_ranks_by_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
