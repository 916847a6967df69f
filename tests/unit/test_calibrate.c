/* The weights of the signals: figures, units and the search itself against versions that rank every
 * item of every user for every setting; planted signals; what is absent, constant or too little. */

#include "calibrate_fixture.h"

static struct site site;

/* By unit, as far as the task's share of the fade is the mapped factors'. */
#define PRIOR                                                                                  \
    {                                                                                          \
        .5F, .5F, .2F, .1F, .5F * (1 - MAPPED_SHARE), .5F * MAPPED_SHARE                       \
    }

static int setup(void **state)
{
    (void)state;
    site_init(&site, 11);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    csr_done(&site.history);
    csr_done(&site.rows);
    return 0;
}

static void calibrate_run_figures_are_those_of_brute_force(void **state)
{
    (void)state;
    struct calibrate_result r = run(&site.task);
    const struct calibrate_weights w = r.weight, prior = PRIOR;
    fill_table(&site.task);
    assert_int_equal(r.n_users, U - 1);
    assert_int_equal(r.n_users_all, U - 1);
    assert_int_equal(r.n_pairs, (U - 1) * TESTS);
    assert_true(r.n_pairs_usable < r.n_pairs);
    assert_false(r.from_prior);
    assert_figures(&site.task, r.scale, &r.all);
    assert_figures(&site.task, by_units(w, &r), &r.all);
    assert_figures(&site.task, by_units(prior, &r), &r.prior);
    const float all = w.fade + w.mapped;
    struct calibrate_weights without[] = {
        {0, 1, w.neighbours, w.content, w.fade, w.mapped},
        {1, 0, w.neighbours, w.content, w.fade, w.mapped},
        {w.trained, w.factors, w.neighbours, 0, 0, all},
        {w.trained, w.factors, w.neighbours, w.content, all, 0},
        {w.trained, w.factors, 0, w.content, w.fade, w.mapped}};
    struct calibrate_weights alone[] = {
        {.trained = 1}, {.factors = 1}, {.content = 1}, {.mapped = 1}, {.neighbours = 1}};
    for (int k = 0; k < CALIBRATE_SIGNALS; k++) {
        assert_figures(&site.task, by_units(without[k], &r), &r.without[k]);
        assert_figures(&site.task, by_units(alone[k], &r), &r.alone[k]);
    }
    static struct oracle o, zero;
    double mean, error;
    rank_all(&site.task, r.scale, &o);
    paired(&o, &zero, &mean, &error);
    assert_close(r.ndcg_error, error, 1e-12);
    assert_int_equal(r.n_users_cold, o.n_users_cold);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void calibrate_run_units_are_medians_of_deviations(void **state)
{
    (void)state;
    struct calibrate_result r = run(&site.task);
    fill_table(&site.task);
    for (int k = 0; k < CALIBRATE_SIGNALS; k++) {
        double deviation[U];
        uint32_t n = 0;
        for (uint32_t u = 0; u < U; u++) {
            double mean = 0, squares = 0;
            for (uint32_t i = 0; i < I; i++)
                mean += (double)table[k][u][i] / I;
            for (uint32_t i = 0; i < I; i++)
                squares += pow((double)table[k][u][i] - mean, 2);
            if (squares > 0)
                deviation[n++] = sqrt(squares / I);
        }
        qsort(deviation, n, sizeof(*deviation), by_value);
        double median = (deviation[(n - 1) / 2] + deviation[n / 2]) / 2;
        assert_close((double)r.unit[k], median, 1e-5 * median);
    }
}

static void assert_search_is_naive(const struct calibrate_task *t)
{
    struct calibrate_result r = run(t);
    float x[COORDINATES];
    fill_table(t);
    search_naively(t, &r, x);
    const float mu = is_alone(&r) ? x[MU] : t->mapped_share;
    assert_float_equal(r.weight.trained, is_alone(&r) ? 0 : x[SHARE], 0);
    assert_float_equal(r.weight.factors, is_alone(&r) ? 0 : 1 - x[SHARE], 0);
    assert_float_equal(r.weight.neighbours, is_alone(&r) ? 0 : x[NEAREST], 0);
    assert_float_equal(r.weight.content, x[ALPHA], 0);
    assert_float_equal(r.weight.fade, x[BETA] * (1 - mu), 0);
    assert_float_equal(r.weight.mapped, x[BETA] * mu, 0);
    assert_true(r.n_tried >= (is_alone(&r) ? 5 + 8 + 5 - 3 : 25 - 3));
}

static void calibrate_run_many_ties_searches_as_the_oracle(void **state)
{
    (void)state;
    assert_search_is_naive(&site.task);
}

static void calibrate_run_planted_mixtures_searches_as_the_oracle(void **state)
{
    (void)state;
    smooth(&site);
    /* Between them: a second round that moves, each bound of the fade's last step, weights at the ends. */
    const struct {
        struct calibrate_weights weight;
        uint32_t depth;
    } plants[] = {{{.2F, .8F, .5F, .4F, 0, 0}, 60},
                  {{.03F, .18F, .41F, .3F, 1.87F, .6F}, 49},
                  {{.94F, .04F, .21F, .39F, .85F, .3F}, 90},
                  {{.75F, .35F, .1F, .38F, 1.26F, 1.1F}, 94}};
    for (size_t i = 0; i < sizeof(plants) / sizeof(*plants); i++) {
        plant(&site, plants[i].weight, plants[i].depth);
        assert_search_is_naive(&site.task);
    }
}

static void calibrate_run_any_threads_the_same_bytes(void **state)
{
    (void)state;
    smooth(&site);
    plant(&site, (struct calibrate_weights){.5F, .5F, .3F, .2F, 1, .5F}, 40);
    struct calibrate_result first = run(&site.task), again;
    first.seconds = 0;
    for (unsigned n = 1; n <= 4; n++) {
        struct team *team;
        assert_int_equal(team_new(n, &team, NULL), ERR_OK);
        site.task.team = team;
        again = run(&site.task);
        team_free(team);
        again.seconds = 0;
        assert_memory_equal(&first, &again, sizeof(first));
    }
}

static void calibrate_run_noise_among_the_linear_gets_no_weight(void **state)
{
    (void)state;
    smooth(&site);
    plant(&site, (struct calibrate_weights){.factors = 1}, 30);
    struct calibrate_result r = run(&site.task);
    assert_float_equal(r.weight.trained, 0, 0);
    assert_float_equal(r.weight.factors, 1, 0);
    assert_true(r.all.ndcg > r.prior.ndcg + r.ndcg_error);
    for (int k = 0; k < CALIBRATE_SIGNALS; k++)
        assert_true(r.all.ndcg >= r.without[k].ndcg - r.ndcg_error);
    assert_true(r.alone[CALIBRATE_FACTORS].ndcg > 5 * r.alone[CALIBRATE_TRAINED].ndcg);
}

static void calibrate_run_planted_neighbours_get_the_most_weight(void **state)
{
    (void)state;
    smooth(&site);
    plant(&site, (struct calibrate_weights){.neighbours = 1}, 15);
    struct calibrate_result r = run(&site.task);
    assert_float_equal(r.weight.neighbours, .8F, 0);
    assert_true(r.without[CALIBRATE_NEIGHBOURS].ndcg < r.all.ndcg / 2);
}

static void assert_fade(const struct calibrate_task *t, float beta)
{
    const struct calibrate_result r = run(t);
    assert_float_equal(r.weight.fade, beta * (1 - MAPPED_SHARE), 0);
    assert_float_equal(r.weight.mapped, beta * MAPPED_SHARE, 0);
}

/* The fade is nothing for items with a million users: the search has no reason to leave its prior.
 * With a cold item that nobody's test asks for and that no list shows, it rises to the top. */
static void calibrate_run_only_cold_items_raise_the_fade(void **state)
{
    (void)state;
    smooth(&site);
    for (uint32_t i = 0; i < I; i++)
        site.n_interactions[i] = 1000000;
    plant(&site, (struct calibrate_weights){.5F, .5F, .2F, .1F, 0, 0}, 40);
    assert_fade(&site.task, .5F);
    uint32_t cold = I - 1;
    for (size_t i = 0; i < site.test_start[U]; i++)
        if (site.test_item[i] == cold)
            site.test_item[i] = cold - 1;
    site.n_interactions[cold] = 0;
    for (int k = 0; k < CALIBRATE_LINEAR; k++)
        memset(site.items[k] + (size_t)cold * D, 0, D * sizeof(float));
    assert_fade(&site.task, 3);
}

/* The prior is right for everybody. With more of the fade a cold item passes the three test items of
 * the first n_losers users, at .2 % of all NDCG each. */
static void plant_losers(uint32_t n_losers)
{
    enum { COLD = I - 1 };
    static float score[I];
    smooth(&site);
    for (uint32_t i = 0; i < I; i++) {
        site.n_interactions[i] = i == COLD ? 0 : 1000000;
        for (int k = 0; k < CALIBRATE_LINEAR && i == COLD; k++)
            memset(site.items[k] + (size_t)i * D, 0, D * sizeof(float));
        site.items[CALIBRATE_CONTENT][i * D] = i == COLD;
    }
    site.scale[COLD] = 0;
    for (uint32_t u = 0; u < U; u++)
        site.users[CALIBRATE_CONTENT][u * D] = 0;
    const struct calibrate_result before = run(&site.task);
    const struct calibrate_weights prior = by_units((struct calibrate_weights)PRIOR, &before);
    plant(&site, prior, TESTS);
    for (uint32_t i = 0; i < n_losers; i++) {
        const uint32_t u = 20 + i;
        mix_row(&site.task, &prior, u, score);
        float best = score[site.test_item[site.test_start[u]]];
        /* between α + β of .5 and of .75, of which content has what is not the mapped factors' */
        site.users[CALIBRATE_CONTENT][u * D] =
            best / (.1F + .62F * (1 - MAPPED_SHARE)) * before.unit[CALIBRATE_CONTENT];
    }
    assert_true(run(&site.task).prior.ndcg > .99);
}

static void calibrate_run_small_loss_raises_the_fade_for_cold_items(void **state)
{
    (void)state;
    plant_losers(2);
    assert_fade(&site.task, 3);
}

static void calibrate_run_large_loss_leaves_the_fade(void **state)
{
    (void)state;
    plant_losers(16);
    assert_fade(&site.task, .5F);
}

static void assert_prior(const struct calibrate_result *r)
{
    const struct calibrate_weights prior = PRIOR;
    assert_true(r->from_prior);
    assert_int_equal(r->n_tried, 0);
    assert_memory_equal(&r->weight, &prior, sizeof(prior));
    assert_float_equal(r->scale.trained, prior.trained / r->unit[CALIBRATE_TRAINED], 0);
    assert_float_equal(r->scale.fade, prior.fade / r->unit[CALIBRATE_CONTENT], 0);
    assert_float_equal(r->scale.mapped, prior.mapped / r->unit[CALIBRATE_MAPPED], 0);
}

static void calibrate_run_few_users_keeps_the_prior(void **state)
{
    (void)state;
    site.task.n_users = 99;
    struct calibrate_result r = run(&site.task);
    assert_prior(&r);
    fill_table(&site.task);
    assert_figures(&site.task, r.scale, &r.all);
    assert_memory_equal(&r.all, &r.prior, sizeof(r.all));
}

static void calibrate_run_few_pairs_keeps_the_prior(void **state)
{
    (void)state;
    for (uint32_t u = 0; u < U; u++) {
        site.test_start[u + 1] = u + 1;
        site.test_item[u] = I - 30;
    }
    struct calibrate_result r = run(&site.task);
    assert_int_equal(r.n_pairs, U);
    assert_true(r.n_pairs_usable > CALIBRATE_USERS_MIN);
    assert_prior(&r);
}

static void calibrate_run_unknown_items_alone_keeps_the_prior(void **state)
{
    (void)state;
    for (size_t i = 0; i < site.test_start[U]; i++)
        site.test_item[i] = EVALUATE_UNKNOWN;
    struct calibrate_result r = run(&site.task);
    assert_prior(&r);
    assert_int_equal(r.n_pairs_usable, 0);
    assert_int_equal(r.n_users, U - 1);
    assert_close(r.all.ndcg, 0, 0);
    assert_close(r.ndcg_error, 0, 0);
    assert_close(r.all.recall_cold, 0, 0);
}

static void calibrate_run_no_test_pairs_has_units(void **state)
{
    (void)state;
    struct calibrate_result with = run(&site.task);
    memset(site.test_start, 0, sizeof(site.test_start));
    struct calibrate_result r = run(&site.task);
    assert_prior(&r);
    assert_int_equal(r.n_users, 0);
    assert_memory_equal(r.unit, with.unit, sizeof(r.unit));
    assert_close(r.all.ndcg, 0, 0);
}

static void calibrate_run_masked_test_item_is_a_miss(void **state)
{
    (void)state;
    smooth(&site);
    plant(&site, (struct calibrate_weights){.factors = 1}, 3);
    struct calibrate_result before = run(&site.task);
    for (uint32_t u = 0; u < U; u++)
        if (u != 5 && u != 9)
            site.test_item[site.test_start[u]] = site.history.col[site.history.start[u]];
    struct calibrate_result r = run(&site.task);
    assert_true(before.alone[CALIBRATE_FACTORS].recall == 1);
    assert_true(r.alone[CALIBRATE_FACTORS].recall < .68);
    assert_int_equal(r.n_pairs_usable, before.n_pairs_usable - (U - 2));
}

static void keep_only(struct calibrate_task *t, unsigned signals)
{
    for (int k = 0; k < CALIBRATE_LINEAR; k++)
        if (!(signals & 1U << k))
            t->linear[k] = (struct calibrate_vectors){0};
    if (!(signals & 1U << CALIBRATE_NEIGHBOURS))
        t->rows = t->history = NULL;
}

static bool from_grid(float beta)
{
    for (const float *v = values[BETA]; *v >= 0; v++)
        if (*v == beta)
            return true;
    return false;
}

/* Every set of signals: weights of the absent are 0, one linear alone is 1, all is finite. */
static void calibrate_run_absent_signals_have_no_weight(void **state)
{
    (void)state;
    smooth(&site);
    plant(&site, (struct calibrate_weights){.5F, .5F, .3F, .2F, 1, .5F}, 40);
    for (unsigned set = 0; set < 1U << CALIBRATE_SIGNALS; set++) {
        struct calibrate_task t = site.task;
        keep_only(&t, set);
        struct calibrate_result r = run(&t);
        const bool trained = set & 1, factors = set & 2, content = set & 4;
        const bool mapped = set & 8, near = set & 16;
        const float beta = r.weight.fade + r.weight.mapped;
        for (int k = 0; k < CALIBRATE_SIGNALS; k++) {
            assert_int_equal(r.has[k], set >> k & 1);
            assert_int_equal(r.unit[k] > 0, set >> k & 1);
        }
        assert_float_equal(r.weight.trained + r.weight.factors, trained || factors, 0);
        assert_true((r.weight.trained <= 0 || trained) && (r.weight.factors <= 0 || factors));
        assert_true((content || (r.weight.content <= 0 && r.weight.fade <= 0)));
        if (content && mapped && (trained || factors || near))
            assert_float_equal(r.weight.mapped, MAPPED_SHARE * beta, 0);
        else if (content != mapped) /* the whole β is of the one that is there */
            assert_float_equal(mapped ? r.weight.mapped : r.weight.fade, beta, 0);
        assert_true(mapped || r.weight.mapped <= 0);
        assert_true(from_grid(beta) && (content || mapped || beta <= 0));
        assert_true(near || r.weight.neighbours <= 0);
        assert_true(trained || factors || !near || r.weight.neighbours >= 1);
        assert_true(isfinite(r.all.ndcg) && isfinite(r.ndcg_error) && isfinite(r.scale.fade));
        assert_true(set == 0 || r.all.ndcg > 0);
        fill_table(&t);
        if (set)
            assert_figures(&t, r.scale, &r.all);
    }
}

/* Whose share is searched for, then; every item counts as new. */
static void calibrate_run_content_and_mapped_alone_search_the_share(void **state)
{
    const struct {
        struct calibrate_weights weight;
        float least, most; /* share of the mapped */
    } plants[] = {{{.content = .05F, .mapped = 1}, .75F, 1},
                  {{.content = .5F, .fade = .5F}, 0, .25F},
                  {{.fade = .5F, .mapped = .5F}, .25F, .75F}};
    (void)state;
    smooth(&site);
    keep_only(&site.task, 1U << CALIBRATE_CONTENT | 1U << CALIBRATE_MAPPED);
    memset(site.n_interactions, 0, sizeof(site.n_interactions));
    for (size_t i = 0; i < sizeof(plants) / sizeof(*plants); i++) {
        plant(&site, plants[i].weight, 12);
        const struct calibrate_result r = run(&site.task);
        const struct calibrate_weights *w = &r.weight;
        const float share = w->mapped / (w->content + w->fade + w->mapped);
        assert_false(r.from_prior);
        assert_true(share >= plants[i].least - .1F && share <= plants[i].most);
        assert_search_is_naive(&site.task);
    }
}

static void calibrate_run_constant_signals_count_as_absent(void **state)
{
    (void)state;
    memset(site.items[CALIBRATE_TRAINED], 0, sizeof(site.items[CALIBRATE_TRAINED]));
    for (size_t i = 0; i < (size_t)I * D; i++)
        site.items[CALIBRATE_CONTENT][i] = .1F;
    struct calibrate_result r = run(&site.task);
    assert_false(r.has[CALIBRATE_TRAINED]);
    assert_false(r.has[CALIBRATE_CONTENT]);
    assert_true(r.has[CALIBRATE_FACTORS] && r.has[CALIBRATE_NEIGHBOURS]);
    assert_float_equal(r.weight.factors, 1, 0);
    assert_float_equal(r.scale.trained, 0, 0);
    assert_float_equal(r.scale.content, 0, 0);
    assert_float_equal(r.scale.fade, 0, 0);
    assert_close(r.alone[CALIBRATE_TRAINED].ndcg, 0, 0);
}

static void calibrate_run_no_values_and_no_scale_are_ones(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < I; i++)
        site.scale[i] = 1;
    for (size_t e = 0; e < site.rows.nnz; e++)
        site.rows.value[e] = 1;
    struct calibrate_result ones = run(&site.task), r;
    float *value = site.rows.value;
    site.rows.value = NULL;
    site.task.scale = NULL;
    r = run(&site.task);
    site.rows.value = value;
    ones.seconds = r.seconds = 0;
    assert_memory_equal(&r, &ones, sizeof(r));
}

/* 5,000 users, 32 items, one linear signal of width 1. */
static void calibrate_run_many_users_looks_at_a_sample(void **state)
{
    (void)state;
    enum { MANY = 5000, FEW = 32 };
    static float users[MANY], items[FEW];
    static uint32_t n_interactions[FEW], item[MANY];
    static size_t start[MANY + 1];
    struct rng rng;
    rng_init(&rng, 1);
    rng_fill(&rng, users, MANY, 1);
    rng_fill(&rng, items, FEW, 1);
    for (uint32_t u = 0; u < MANY; u++) {
        item[u] = (uint32_t)rng_below(&rng, FEW);
        start[u + 1] = u + 1;
    }
    struct calibrate_task t = {.n_users = MANY,
                               .n_items = FEW,
                               .linear = {{users, items, 1}},
                               .n_interactions = n_interactions,
                               .test_start = start,
                               .test_item = item};
    struct calibrate_result r = run(&t), again = run(&t), other;
    t.seed = 1;
    other = run(&t);
    assert_int_equal(r.n_users, CALIBRATE_USERS_MAX);
    assert_int_equal(r.n_pairs, CALIBRATE_USERS_MAX);
    assert_int_equal(r.n_users_all, MANY);
    assert_true(r.all.ndcg == again.all.ndcg && r.unit[0] == again.unit[0]);
    assert_true(r.all.ndcg != other.all.ndcg);
}

static void calibrate_signal_name_is_the_word_of_the_metrics(void **state)
{
    (void)state;
    assert_string_equal(calibrate_signal_name(CALIBRATE_TRAINED), "trained");
    assert_string_equal(calibrate_signal_name(CALIBRATE_FACTORS), "factors");
    assert_string_equal(calibrate_signal_name(CALIBRATE_CONTENT), "content");
    assert_string_equal(calibrate_signal_name(CALIBRATE_MAPPED), "mapped");
    assert_string_equal(calibrate_signal_name(CALIBRATE_NEIGHBOURS), "neighbours");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(calibrate_run_figures_are_those_of_brute_force),
        CASE(calibrate_run_units_are_medians_of_deviations),
        CASE(calibrate_run_many_ties_searches_as_the_oracle),
        CASE(calibrate_run_planted_mixtures_searches_as_the_oracle),
        CASE(calibrate_run_any_threads_the_same_bytes),
        CASE(calibrate_run_noise_among_the_linear_gets_no_weight),
        CASE(calibrate_run_planted_neighbours_get_the_most_weight),
        CASE(calibrate_run_only_cold_items_raise_the_fade),
        CASE(calibrate_run_small_loss_raises_the_fade_for_cold_items),
        CASE(calibrate_run_large_loss_leaves_the_fade),
        CASE(calibrate_run_few_users_keeps_the_prior),
        CASE(calibrate_run_few_pairs_keeps_the_prior),
        CASE(calibrate_run_unknown_items_alone_keeps_the_prior),
        CASE(calibrate_run_no_test_pairs_has_units),
        CASE(calibrate_run_masked_test_item_is_a_miss),
        CASE(calibrate_run_absent_signals_have_no_weight),
        CASE(calibrate_run_content_and_mapped_alone_search_the_share),
        CASE(calibrate_run_constant_signals_count_as_absent),
        CASE(calibrate_run_no_values_and_no_scale_are_ones),
        CASE(calibrate_run_many_users_looks_at_a_sample),
        CASE(calibrate_signal_name_is_the_word_of_the_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
