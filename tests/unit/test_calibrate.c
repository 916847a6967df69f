/* The weights of the signals: figures, units and the search itself against versions that rank every
 * item of every user for every setting; planted signals; what is absent, constant or too little. */

#include "fusion_fixture.h"

#include "fusion/train/calibrate.h"
#include "fusion/train/evaluate.h"

/* More than one block of users, more than one chunk of items. */
enum { U = 130, I = 540, D = 4, TESTS = 3, HISTORY = 6, NEAR = 8 };

/* A site: everything that a task points at. */
struct site {
    struct calibrate_task task;
    float users[CALIBRATE_LINEAR][U * D], items[CALIBRATE_LINEAR][I * D];
    struct csr history, rows;
    float scale[I];
    uint32_t n_interactions[I];
    size_t test_start[U + 1];
    uint32_t test_item[U * TESTS];
};

static struct site site;

/* Small whole numbers: many equal scores. */
static void fill_steps(struct rng *rng, float *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        values[i] = (float)rng_below(rng, 5) - 2;
}

static void fill_rows(struct site *s, struct rng *rng)
{
    static struct csr_pair pairs[I * NEAR];
    for (uint32_t i = 0; i < U * HISTORY; i++) /* user 5 has nothing */
        pairs[i] = (struct csr_pair){i % U == 5 ? 6 : i % U, (uint32_t)rng_below(rng, I - 20)};
    assert_int_equal(csr_from_pairs(pairs, (size_t)U * HISTORY, U, I, &s->history, NULL),
                     ERR_OK);
    for (uint32_t i = 0; i < I * NEAR; i++)
        pairs[i] = (struct csr_pair){i / NEAR, (uint32_t)rng_below(rng, I)};
    assert_int_equal(csr_from_pairs(pairs, (size_t)I * NEAR, I, I, &s->rows, NULL), ERR_OK);
    s->rows.value = malloc(s->rows.nnz * sizeof(float));
    assert_non_null(s->rows.value);
    fill_steps(rng, s->rows.value, s->rows.nnz);
}

/* Every signal random; each user but the 9th has TESTS test items, a few unknown, masked or cold. The
 * last 20 items are cold. */
static void site_init(struct site *s, uint64_t seed)
{
    struct rng rng;
    size_t n = 0;
    *s = (struct site){0};
    rng_init(&rng, seed);
    for (int k = 0; k < CALIBRATE_LINEAR; k++) {
        fill_steps(&rng, s->users[k], U * D);
        fill_steps(&rng, s->items[k], I * D);
        s->task.linear[k] = (struct calibrate_vectors){s->users[k], s->items[k], D};
    }
    fill_rows(s, &rng);
    for (uint32_t i = 0; i < I; i++) {
        s->n_interactions[i] = i < I - 20 ? 1 + (uint32_t)rng_below(&rng, 30) : 0;
        s->scale[i] = 1 + (float)rng_below(&rng, 3) / 2;
    }
    for (uint32_t u = 0; u < U; u++) {
        for (int i = 0; i < TESTS && u != 9; i++)
            s->test_item[n++] = (uint32_t)rng_below(&rng, I);
        if (u % 40 == 1)
            s->test_item[n - 1] = EVALUATE_UNKNOWN;
        if (u % 40 == 2)
            s->test_item[n - 1] = s->history.col[s->history.start[u]];
        if (u % 40 == 3)
            s->test_item[n - 1] = I - 1 - u % 20;
        s->test_start[u + 1] = n;
    }
    s->task.n_users = U;
    s->task.n_items = I;
    s->task.history = s->task.seen = &s->history;
    s->task.rows = &s->rows;
    s->task.scale = s->scale;
    s->task.n_interactions = s->n_interactions;
    s->task.test_start = s->test_start;
    s->task.test_item = s->test_item;
    s->task.seed = 3;
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

/* ---- the oracle --------------------------------------------------------------------------------- */

static float table[CALIBRATE_SIGNALS][U][I]; /* each signal's scores of a task */

static void fill_table(const struct calibrate_task *t)
{
    memset(table, 0, sizeof(table));
    for (uint32_t u = 0; u < t->n_users; u++) {
        for (int k = 0; k < CALIBRATE_LINEAR; k++)
            for (uint32_t i = 0; i < t->n_items; i++)
                for (uint32_t d = 0; d < t->linear[k].D; d++)
                    table[k][u][i] = fmaf(t->linear[k].users[u * D + d],
                                          t->linear[k].items[i * D + d], table[k][u][i]);
        for (size_t h = t->rows ? t->history->start[u] : 0;
             t->rows && h < t->history->start[u + 1]; h++)
            for (size_t e = t->rows->start[t->history->col[h]];
                 e < t->rows->start[t->history->col[h] + 1]; e++)
                table[3][u][t->rows->col[e]] += t->rows->value[e];
        for (uint32_t i = 0; i < t->n_items; i++)
            table[3][u][i] *= t->scale[i];
    }
}

struct oracle {
    double ndcg[U], recall[U], recall_cold[U];
    uint32_t n_users, n_users_cold;
};

static void assert_close(double value, double expected, double within)
{
    if (!(fabs(value - expected) <= within))
        fail_msg("%.17g is not %.17g", value, expected);
}

static bool is_masked(const struct calibrate_task *t, uint32_t u, uint32_t i)
{
    return t->seen && csr_has(t->seen, u, i);
}

static void mix_row(const struct calibrate_task *t, const struct calibrate_weights *w,
                    uint32_t u, float *ret_score)
{
    for (uint32_t i = 0; i < t->n_items; i++) {
        float fade = (float)(1 / (1 + (double)t->n_interactions[i]));
        ret_score[i] = w->trained * table[0][u][i] + w->factors * table[1][u][i] +
                       (w->content + w->fade * fade) * table[2][u][i] +
                       w->neighbours * table[3][u][i];
    }
}

/* What a setting (weights by unit) is worth for each user. */
static void rank_all(const struct calibrate_task *t, struct calibrate_weights w,
                     struct oracle *ret)
{
    *ret = (struct oracle){0};
    for (uint32_t u = 0; u < t->n_users; u++) {
        size_t from = t->test_start[u], to = t->test_start[u + 1];
        double ideal = 0, dcg = 0, hits = 0, n_cold = 0, cold_hits = 0;
        float score[I];
        if (from == to)
            continue;
        mix_row(t, &w, u, score);
        for (size_t e = from; e < to; e++) {
            uint32_t item = t->test_item[e], above = 0;
            bool known = item != EVALUATE_UNKNOWN, cold = !known || !t->n_interactions[item];
            n_cold += cold;
            if (e - from < 20)
                ideal += 1 / log2((double)(e - from) + 2);
            if (!known || is_masked(t, u, item))
                continue;
            for (uint32_t i = 0; i < t->n_items; i++)
                above += (score[i] > score[item] || (score[i] == score[item] && i < item)) &&
                         !is_masked(t, u, i);
            if (above >= 20)
                continue;
            hits++;
            cold_hits += cold;
            dcg += 1 / log2(above + 2.0);
        }
        ret->ndcg[ret->n_users] = dcg / ideal;
        ret->recall[ret->n_users] = hits / (double)(to - from);
        ret->recall_cold[ret->n_users++] = n_cold > 0 ? cold_hits / n_cold : 0;
        ret->n_users_cold += n_cold > 0;
    }
}

static double sum_of(const double *x, uint32_t n)
{
    double s = 0;
    for (uint32_t i = 0; i < n; i++)
        s += x[i];
    return s;
}

static void assert_figures(const struct calibrate_task *t, struct calibrate_weights w,
                           const struct calibrate_figures *f)
{
    static struct oracle o;
    rank_all(t, w, &o);
    assert_close(f->ndcg, sum_of(o.ndcg, o.n_users) / o.n_users, 1e-12);
    assert_close(f->recall, sum_of(o.recall, o.n_users) / o.n_users, 1e-12);
    if (o.n_users_cold)
        assert_close(f->recall_cold, sum_of(o.recall_cold, o.n_users) / o.n_users_cold, 1e-12);
}

static struct calibrate_weights by_units(struct calibrate_weights w,
                                         const struct calibrate_result *r)
{
    const float *g = r->unit;
    w.trained = r->has[0] ? w.trained / g[0] : 0;
    w.factors = r->has[1] ? w.factors / g[1] : 0;
    w.content = r->has[2] ? w.content / g[2] : 0;
    w.fade = r->has[2] ? w.fade / g[2] : 0;
    w.neighbours = r->has[3] ? w.neighbours / g[3] : 0;
    return w;
}

/* Paired mean and standard error of a - b. */
static void paired(const struct oracle *a, const struct oracle *b, double *mean, double *error)
{
    double n = a->n_users, squares = 0;
    *mean = 0;
    for (uint32_t u = 0; u < a->n_users; u++)
        *mean += (a->ndcg[u] - b->ndcg[u]) / n;
    for (uint32_t u = 0; u < a->n_users; u++)
        squares += pow(a->ndcg[u] - b->ndcg[u] - *mean, 2);
    *error = sqrt(squares / (n - 1) / n);
}

/* The search as the header has it, all four signals there. */
static const float values[4][9] = {{0, .25F, .5F, .75F, 1, -1},
                                   {0, .05F, .1F, .2F, .3F, .5F, .8F, -1},
                                   {0, .05F, .1F, .2F, .4F, -1},
                                   {0, .25F, .5F, .75F, 1, 1.5F, 2, 3, -1}};
static const float priors[4] = {.5F, .2F, .1F, .5F};

static void rank_at(const struct calibrate_task *t, const struct calibrate_result *r,
                    const float *x, struct oracle *ret)
{
    struct calibrate_weights w = {x[0], 1 - x[0], x[1], x[2], x[3]};
    rank_all(t, by_units(w, r), ret);
}

static void search_naively(const struct calibrate_task *t, const struct calibrate_result *r,
                           float *x /* (4) share, neighbours, α, β */)
{
    static struct oracle base, other;
    double mean, error;
    memcpy(x, priors, sizeof(priors));
    float before[4] = {-1};
    for (int round = 0; round < 3 && memcmp(before, x, sizeof(before)) != 0; round++) {
        memcpy(before, x, sizeof(before));
        for (int c = 0; c < 4; c++) {
            double best = 0;
            float at = priors[c];
            x[c] = priors[c];
            rank_at(t, r, x, &base);
            for (const float *v = values[c]; *v >= 0; v++) {
                x[c] = *v;
                rank_at(t, r, x, &other);
                paired(&other, &base, &mean, &error);
                if (mean > error && mean > best) {
                    best = mean;
                    at = *v;
                }
            }
            x[c] = at;
        }
    }
    float fade = x[3];
    rank_at(t, r, x, &base);
    for (const float *v = values[3]; *v >= 0; v++) {
        x[3] = *v;
        rank_at(t, r, x, &other);
        paired(&other, &base, &mean, &error);
        if (*v > fade && -mean <= error &&
            -mean <= .005 * sum_of(base.ndcg, base.n_users) / base.n_users)
            fade = *v;
    }
    x[3] = fade;
}

static struct calibrate_result run(const struct calibrate_task *t)
{
    struct calibrate_result r;
    struct err err = {0};
    if (calibrate_run(t, &r, &err))
        fail_msg("%s", err.text);
    return r;
}

/* Test items become the user's best by a planted mixture of signals, a rank among the first `depth`
 * drawn at random. */
static void plant(struct site *s, struct calibrate_weights w, uint32_t depth)
{
    struct rng rng;
    rng_init(&rng, 77);
    fill_table(&s->task);
    for (uint32_t u = 0; u < U; u++) {
        float score[I];
        mix_row(&s->task, &w, u, score);
        for (uint32_t i = 0; i < I; i++)
            if (is_masked(&s->task, u, i))
                score[i] = -1e30F;
        size_t next = s->test_start[u];
        for (uint32_t at = 0; at < depth && next < s->test_start[u + 1]; at++) {
            uint32_t best = 0;
            for (uint32_t i = 1; i < I; i++)
                if (score[i] > score[best])
                    best = i;
            score[best] = -1e30F;
            if (rng_below(&rng, depth - at) < s->test_start[u + 1] - next)
                s->test_item[next++] = best;
        }
    }
}

/* Continuous values, so that signals have no ties. */
static void smooth(struct site *s)
{
    struct rng rng;
    rng_init(&rng, 5);
    for (int k = 0; k < CALIBRATE_LINEAR; k++) {
        rng_fill(&rng, s->users[k], U * D, 1);
        rng_fill(&rng, s->items[k], I * D, 1);
    }
    rng_fill(&rng, s->rows.value, s->rows.nnz, 1);
}

/* ---- cases -------------------------------------------------------------------------------------- */

static void calibrate_run_figures_are_those_of_brute_force(void **state)
{
    (void)state;
    struct calibrate_result r = run(&site.task);
    const struct calibrate_weights w = r.weight, prior = {.5F, .5F, .2F, .1F, .5F};
    fill_table(&site.task);
    assert_int_equal(r.n_users, U - 1);
    assert_int_equal(r.n_users_all, U - 1);
    assert_int_equal(r.n_pairs, (U - 1) * TESTS);
    assert_true(r.n_pairs_usable < r.n_pairs);
    assert_false(r.from_prior);
    assert_figures(&site.task, r.scale, &r.all);
    assert_figures(&site.task, by_units(w, &r), &r.all);
    assert_figures(&site.task, by_units(prior, &r), &r.prior);
    struct calibrate_weights without[] = {{0, 1, w.neighbours, w.content, w.fade},
                                          {1, 0, w.neighbours, w.content, w.fade},
                                          {w.trained, w.factors, w.neighbours, 0, 0},
                                          {w.trained, w.factors, 0, w.content, w.fade}};
    struct calibrate_weights alone[] = {
        {1, 0, 0, 0, 0}, {0, 1, 0, 0, 0}, {0, 0, 0, 1, 0}, {0, 0, 1, 0, 0}};
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
    float x[4];
    fill_table(t);
    search_naively(t, &r, x);
    assert_float_equal(r.weight.trained, x[0], 0);
    assert_float_equal(r.weight.factors, 1 - x[0], 0);
    assert_float_equal(r.weight.neighbours, x[1], 0);
    assert_float_equal(r.weight.content, x[2], 0);
    assert_float_equal(r.weight.fade, x[3], 0);
    assert_true(r.n_tried >= 25 - 3);
}

static void calibrate_run_many_ties_searches_as_the_oracle(void **state)
{
    (void)state;
    assert_search_is_naive(&site.task);
}

static void calibrate_run_planted_mixture_searches_as_the_oracle(void **state)
{
    (void)state;
    smooth(&site);
    plant(&site, (struct calibrate_weights){.2F, .8F, .5F, .4F, 0}, 60);
    assert_search_is_naive(&site.task);
    struct calibrate_result r = run(&site.task);
    assert_true(r.all.ndcg >= r.prior.ndcg);
    assert_true(r.weight.factors > r.weight.trained);
}

static void calibrate_run_any_threads_the_same_bytes(void **state)
{
    (void)state;
    smooth(&site);
    plant(&site, (struct calibrate_weights){.5F, .5F, .3F, .2F, 1}, 40);
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

/* The fade is nothing for items with a million users: the search has no reason to leave its prior.
 * With a cold item that nobody's test asks for and that no list shows, it rises to the top. */
static void calibrate_run_only_cold_items_raise_the_fade(void **state)
{
    (void)state;
    smooth(&site);
    for (uint32_t i = 0; i < I; i++)
        site.n_interactions[i] = 1000000;
    plant(&site, (struct calibrate_weights){.5F, .5F, .2F, .1F, 0}, 40);
    assert_float_equal(run(&site.task).weight.fade, .5F, 0);
    uint32_t cold = I - 1;
    for (size_t i = 0; i < site.test_start[U]; i++)
        if (site.test_item[i] == cold)
            site.test_item[i] = cold - 1;
    site.n_interactions[cold] = 0;
    for (int k = 0; k < CALIBRATE_LINEAR; k++)
        memset(site.items[k] + (size_t)cold * D, 0, D * sizeof(float));
    assert_float_equal(run(&site.task).weight.fade, 3, 0);
}

static void assert_prior(const struct calibrate_result *r)
{
    const struct calibrate_weights prior = {.5F, .5F, .2F, .1F, .5F};
    assert_true(r->from_prior);
    assert_int_equal(r->n_tried, 0);
    assert_memory_equal(&r->weight, &prior, sizeof(prior));
    assert_float_equal(r->scale.trained, prior.trained / r->unit[CALIBRATE_TRAINED], 0);
    assert_float_equal(r->scale.fade, prior.fade / r->unit[CALIBRATE_CONTENT], 0);
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

/* Every set of signals: weights of the absent are 0, one linear alone is 1, all is finite. */
static void calibrate_run_absent_signals_have_no_weight(void **state)
{
    (void)state;
    smooth(&site);
    plant(&site, (struct calibrate_weights){.5F, .5F, .3F, .2F, 1}, 40);
    for (unsigned set = 0; set < 16; set++) {
        struct calibrate_task t = site.task;
        keep_only(&t, set);
        struct calibrate_result r = run(&t);
        const bool trained = set & 1, factors = set & 2, content = set & 4, near = set & 8;
        for (int k = 0; k < CALIBRATE_SIGNALS; k++) {
            assert_int_equal(r.has[k], set >> k & 1);
            assert_int_equal(r.unit[k] > 0, set >> k & 1);
        }
        assert_float_equal(r.weight.trained + r.weight.factors, trained || factors, 0);
        assert_true((r.weight.trained <= 0 || trained) && (r.weight.factors <= 0 || factors));
        assert_true((content || (r.weight.content <= 0 && r.weight.fade <= 0)));
        assert_true(near || r.weight.neighbours <= 0);
        assert_true(trained || factors || !near || r.weight.neighbours >= 1);
        assert_true(isfinite(r.all.ndcg) && isfinite(r.ndcg_error) && isfinite(r.scale.fade));
        assert_true(set == 0 || r.all.ndcg > 0);
        fill_table(&t);
        if (set)
            assert_figures(&t, r.scale, &r.all);
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
    assert_string_equal(calibrate_signal_name(CALIBRATE_NEIGHBOURS), "neighbours");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(calibrate_run_figures_are_those_of_brute_force),
        CASE(calibrate_run_units_are_medians_of_deviations),
        CASE(calibrate_run_many_ties_searches_as_the_oracle),
        CASE(calibrate_run_planted_mixture_searches_as_the_oracle),
        CASE(calibrate_run_any_threads_the_same_bytes),
        CASE(calibrate_run_noise_among_the_linear_gets_no_weight),
        CASE(calibrate_run_planted_neighbours_get_the_most_weight),
        CASE(calibrate_run_only_cold_items_raise_the_fade),
        CASE(calibrate_run_few_users_keeps_the_prior),
        CASE(calibrate_run_few_pairs_keeps_the_prior),
        CASE(calibrate_run_unknown_items_alone_keeps_the_prior),
        CASE(calibrate_run_no_test_pairs_has_units),
        CASE(calibrate_run_masked_test_item_is_a_miss),
        CASE(calibrate_run_absent_signals_have_no_weight),
        CASE(calibrate_run_constant_signals_count_as_absent),
        CASE(calibrate_run_no_values_and_no_scale_are_ones),
        CASE(calibrate_run_many_users_looks_at_a_sample),
        CASE(calibrate_signal_name_is_the_word_of_the_metrics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
