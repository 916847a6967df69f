#ifndef MMF_TESTS_CALIBRATE_FIXTURE_H
#define MMF_TESTS_CALIBRATE_FIXTURE_H

/* Small sites with five signals, and the textbook version of a calibration: it ranks every item of every
 * user for every setting, one after the other. */

#include "fusion_fixture.h"

#include "fusion/train/calibrate.h"
#include "fusion/train/evaluate.h"

/* More than one block of users, more than one chunk of items. */
enum { U = 130, I = 540, D = 4, TESTS = 3, HISTORY = 6, NEAR = 8 };

/* Of the fade, exact in binary. */
#define MAPPED_SHARE .25F

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

/* Small whole numbers: many equal scores. */
static inline void fill_steps(struct rng *rng, float *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        values[i] = (float)rng_below(rng, 5) - 2;
}

static inline void fill_rows(struct site *s, struct rng *rng)
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
static inline void site_init(struct site *s, uint64_t seed)
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
    s->task.mapped_share = MAPPED_SHARE;
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

/* ---- the oracle --------------------------------------------------------------------------------- */

static float table[CALIBRATE_SIGNALS][U][I]; /* each signal's scores of a task */

static inline void fill_table(const struct calibrate_task *t)
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
                table[CALIBRATE_NEIGHBOURS][u][t->rows->col[e]] += t->rows->value[e];
        for (uint32_t i = 0; i < t->n_items; i++)
            table[CALIBRATE_NEIGHBOURS][u][i] *= t->scale[i];
    }
}

struct oracle {
    double ndcg[U], recall[U], recall_cold[U];
    uint32_t n_users, n_users_cold;
};

static inline void assert_close(double value, double expected, double within)
{
    if (!(fabs(value - expected) <= within))
        fail_msg("%.17g is not %.17g", value, expected);
}

static inline bool is_masked(const struct calibrate_task *t, uint32_t u, uint32_t i)
{
    return t->seen && csr_has(t->seen, u, i);
}

static inline void mix_row(const struct calibrate_task *t, const struct calibrate_weights *w,
                           uint32_t u, float *ret_score)
{
    for (uint32_t i = 0; i < t->n_items; i++) {
        float fade = (float)(1 / (1 + (double)t->n_interactions[i]));
        ret_score[i] = w->trained * table[0][u][i] + w->factors * table[1][u][i] +
                       (w->content + w->fade * fade) * table[2][u][i] +
                       w->mapped * fade * table[3][u][i] + w->neighbours * table[4][u][i];
    }
}

/* What a setting (weights by unit) is worth for each user. */
static inline void rank_all(const struct calibrate_task *t, struct calibrate_weights w,
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

static inline double sum_of(const double *x, uint32_t n)
{
    double s = 0;
    for (uint32_t i = 0; i < n; i++)
        s += x[i];
    return s;
}

static inline void assert_figures(const struct calibrate_task *t, struct calibrate_weights w,
                                  const struct calibrate_figures *f)
{
    static struct oracle o;
    rank_all(t, w, &o);
    assert_close(f->ndcg, sum_of(o.ndcg, o.n_users) / o.n_users, 1e-12);
    assert_close(f->recall, sum_of(o.recall, o.n_users) / o.n_users, 1e-12);
    if (o.n_users_cold)
        assert_close(f->recall_cold, sum_of(o.recall_cold, o.n_users) / o.n_users_cold, 1e-12);
}

static inline struct calibrate_weights by_units(struct calibrate_weights w,
                                                const struct calibrate_result *r)
{
    const float *g = r->unit;
    w.trained = r->has[0] ? w.trained / g[0] : 0;
    w.factors = r->has[1] ? w.factors / g[1] : 0;
    w.content = r->has[2] ? w.content / g[2] : 0;
    w.fade = r->has[2] ? w.fade / g[2] : 0;
    w.mapped = r->has[3] ? w.mapped / g[3] : 0;
    w.neighbours = r->has[4] ? w.neighbours / g[4] : 0;
    return w;
}

/* Paired mean and standard error of a - b. */
static inline void paired(const struct oracle *a, const struct oracle *b, double *mean,
                          double *error)
{
    double n = a->n_users, squares = 0;
    *mean = 0;
    for (uint32_t u = 0; u < a->n_users; u++)
        *mean += (a->ndcg[u] - b->ndcg[u]) / n;
    for (uint32_t u = 0; u < a->n_users; u++)
        squares += (a->ndcg[u] - b->ndcg[u] - *mean) * (a->ndcg[u] - b->ndcg[u] - *mean);
    *error = sqrt(squares / (n - 1) / n);
}

/* The search as the header has it, all five signals there, or content and mapped factors alone. */
enum { SHARE, NEAREST, ALPHA, BETA, MU, COORDINATES };
static const float values[COORDINATES][9] = {{0, .25F, .5F, .75F, 1, -1},
                                             {0, .05F, .1F, .2F, .3F, .5F, .8F, -1},
                                             {0, .05F, .1F, .2F, .4F, -1},
                                             {0, .25F, .5F, .75F, 1, 1.5F, 2, 3, -1},
                                             {0, .25F, .5F, .75F, 1, -1}};
static const float priors[COORDINATES] = {.5F, .2F, .1F, .5F, .5F};

static inline bool is_alone(const struct calibrate_result *r)
{
    return !r->has[CALIBRATE_TRAINED];
}

static inline bool is_searched(const struct calibrate_result *r, int c)
{
    return c == ALPHA || c == BETA || (c == MU) == is_alone(r);
}

/* false = the point says nothing. */
static inline bool rank_at(const struct calibrate_task *t, const struct calibrate_result *r,
                           const float *x, struct oracle *ret)
{
    const float mu = is_alone(r) ? x[MU] : t->mapped_share;
    const struct calibrate_weights w = {.trained = x[SHARE],
                                        .factors = 1 - x[SHARE],
                                        .neighbours = x[NEAREST],
                                        .content = x[ALPHA],
                                        .fade = x[BETA] * (1 - mu),
                                        .mapped = x[BETA] * mu};
    if (is_alone(r) && !(x[ALPHA] > 0 || x[BETA] > 0))
        return false;
    rank_all(t, by_units(w, r), ret);
    return true;
}

static inline void protect_naively(const struct calibrate_task *t,
                                   const struct calibrate_result *r, float *x)
{
    static struct oracle base, other;
    const float share = x[SHARE];
    float best[2] = {x[SHARE], x[BETA]};
    rank_at(t, r, x, &base);
    const double level = sum_of(base.ndcg, base.n_users) / base.n_users;
    double coldest = sum_of(base.recall_cold, base.n_users), mean, error;
    for (const float *z = values[SHARE]; *z >= 0; z++)
        for (const float *v = values[BETA]; *v >= 0; v++) {
            x[SHARE] = *z;
            x[BETA] = *v;
            if ((is_alone(r) && *z != share) || !rank_at(t, r, x, &other))
                continue;
            paired(&other, &base, &mean, &error);
            const double cold = sum_of(other.recall_cold, other.n_users);
            const bool colder =
                r->n_users_cold < 30 ? *z == share && *v > best[1] : cold > coldest;
            if (-mean <= .02 * level && colder) {
                best[0] = *z;
                best[1] = *v;
                coldest = cold;
            }
        }
    x[SHARE] = best[0];
    x[BETA] = best[1];
}

static inline void search_naively(const struct calibrate_task *t,
                                  const struct calibrate_result *r,
                                  float *x /* (COORDINATES) */)
{
    static struct oracle base, other;
    double mean, error;
    memcpy(x, priors, sizeof(priors));
    float before[COORDINATES] = {-1};
    for (int round = 0; round < 3 && memcmp(before, x, sizeof(before)) != 0; round++) {
        memcpy(before, x, sizeof(before));
        for (int c = 0; c < COORDINATES; c++) {
            double best = 0;
            float at = priors[c];
            if (!is_searched(r, c))
                continue;
            x[c] = priors[c];
            rank_at(t, r, x, &base);
            for (const float *v = values[c]; *v >= 0; v++) {
                x[c] = *v;
                if (!rank_at(t, r, x, &other))
                    continue;
                paired(&other, &base, &mean, &error);
                if (mean > error && mean > best) {
                    best = mean;
                    at = *v;
                }
            }
            x[c] = at;
        }
    }
    protect_naively(t, r, x);
}

static inline struct calibrate_result run(const struct calibrate_task *t)
{
    struct calibrate_result r;
    struct err err = {0};
    if (calibrate_run(t, &r, &err))
        fail_msg("%s", err.text);
    return r;
}

/* Test items become the user's best by a planted mixture of signals, a rank among the first `depth`
 * drawn at random. */
static inline void plant(struct site *s, struct calibrate_weights w, uint32_t depth)
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
static inline void smooth(struct site *s)
{
    struct rng rng;
    rng_init(&rng, 5);
    for (int k = 0; k < CALIBRATE_LINEAR; k++) {
        rng_fill(&rng, s->users[k], U * D, 1);
        rng_fill(&rng, s->items[k], I * D, 1);
    }
    rng_fill(&rng, s->rows.value, s->rows.nnz, 1);
}

#endif
