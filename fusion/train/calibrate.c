#include "fusion/train/calibrate.h"

#include "config/clock.h"
#include "fusion/math/rng.h"
#include "fusion/train/calibrate_pass.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 3, VALUES_MAX = 8, TRIALS_MAX = 128 };
/* What an item without interactions may cost the others at most, of NDCG. */
#define COLD_COST_MAX  .02 /* where held-out pairs of such items say that it serves them */
#define COLD_COST_ELSE .01
/* Users with a held-out pair of such an item, for these pairs to say what serves them best. */
enum { COLD_USERS_MIN = 30 };

const char *calibrate_signal_name(enum calibrate_signal signal)
{
    static const char *const names[CALIBRATE_SIGNALS] = {"trained", "factors", "content",
                                                         "mapped", "neighbours"};
    return names[signal];
}

/* A weight that is searched for. */
enum coordinate { SHARE, NEIGHBOURS, CONTENT, FADE, MAPPED, COORDINATES };

static const struct grid {
    size_t n, prior; /* values, and which is the prior */
    float value[VALUES_MAX];
} grids[COORDINATES] = {
    [SHARE] = {5, 2, {0, .25F, .5F, .75F, 1}},
    [NEIGHBOURS] = {7, 3, {0, .05F, .1F, .2F, .3F, .5F, .8F}},
    [CONTENT] = {5, 2, {0, .05F, .1F, .2F, .4F}},
    [FADE] = {8, 2, {0, .25F, .5F, .75F, 1, 1.5F, 2, 3}},
    [MAPPED] = {5, 2, {0, .25F, .5F, .75F, 1}},
};

struct point {
    size_t at[COORDINATES]; /* index into each grid */
};

struct trial {
    struct point point;
    struct calibrate_outcome *outcome; /* (U) */
};

struct search {
    const struct calibrate_task *task;
    struct calibrate_result *r;
    struct calibrate_pass pass;
    struct trial trial[TRIALS_MAX];
    uint32_t n_trials;
};

/* ---- statistics --------------------------------------------------------------------------------- */

struct mean {
    double mean, error; /* standard error of the mean */
};

/* Of a - b, user by user; b NULL = of a. Two passes, since differences are small beside a. */
static struct mean mean_ndcg(const struct calibrate_outcome *a,
                             const struct calibrate_outcome *b, uint32_t n)
{
    struct mean m = {0};
    for (uint32_t u = 0; u < n; u++)
        m.mean += (a[u].ndcg - (b ? b[u].ndcg : 0)) / n;
    double squares = 0;
    for (uint32_t u = 0; u < n; u++) {
        const double d = a[u].ndcg - (b ? b[u].ndcg : 0) - m.mean;
        squares += d * d;
    }
    m.error = n > 1 ? sqrt(squares / (n - 1) / n) : 0;
    return m;
}

static struct calibrate_figures figures_of(const struct search *s,
                                           const struct calibrate_outcome *o)
{
    struct calibrate_figures f = {0};
    const uint32_t n = s->pass.n_users;
    for (uint32_t u = 0; u < n; u++) {
        f.ndcg += o[u].ndcg;
        f.recall += o[u].recall;
        f.recall_cold += o[u].recall_cold;
    }
    f.ndcg /= n ? n : 1;
    f.recall /= n ? n : 1;
    f.recall_cold /= s->r->n_users_cold ? s->r->n_users_cold : 1;
    return f;
}

/* ---- samples and units -------------------------------------------------------------------------- */

static int row_order(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* At most n_max of the task's users, ascending; all of them, or those with a test pair. */
static int sample(const struct calibrate_task *t, bool tested, size_t n_max, uint64_t stream,
                  uint32_t **ret_user, uint32_t *ret_n, uint32_t *ret_n_all, struct err *err)
{
    uint32_t *user = malloc(t->n_users * sizeof(*user));
    if (!user)
        return err_oom(err, "a calibration");
    uint32_t n = 0;
    for (uint32_t u = 0; u < t->n_users; u++)
        if (!tested || t->test_start[u + 1] > t->test_start[u])
            user[n++] = u;
    *ret_n_all = n;
    if (n > n_max) {
        struct rng rng;
        rng_init_stream(&rng, t->seed, stream);
        rng_shuffle(&rng, user, n);
        n = (uint32_t)n_max;
        qsort(user, n, sizeof(*user), row_order);
    }
    *ret_user = user;
    *ret_n = n;
    return ERR_OK;
}

static int float_order(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The median of what is above 0 in a column of (n, CALIBRATE_SIGNALS); 0 when nothing is. */
static float median(const float *deviation, uint32_t n, int column, float *scratch /* (n) */)
{
    uint32_t m = 0;
    for (uint32_t u = 0; u < n; u++) {
        const float d = deviation[(size_t)u * CALIBRATE_SIGNALS + (size_t)column];
        if (d > 0)
            scratch[m++] = d;
    }
    if (!m)
        return 0;
    qsort(scratch, m, sizeof(*scratch), float_order);
    return m % 2 ? scratch[m / 2] : scratch[m / 2 - 1] / 2 + scratch[m / 2] / 2;
}

static int measure_units(struct search *s, struct err *err)
{
    uint32_t *user, n, n_all;
    int status = sample(s->task, false, CALIBRATE_UNIT_USERS, 1, &user, &n, &n_all, err);
    if (status)
        return status;
    float *deviation = malloc((size_t)n * (CALIBRATE_SIGNALS + 1) * sizeof(*deviation));
    status = deviation ? calibrate_pass_deviations(&s->pass, user, n, deviation, err)
                       : err_oom(err, "a calibration");
    for (int k = 0; !status && k < CALIBRATE_SIGNALS; k++) {
        float unit = median(deviation, n, k, deviation + (size_t)n * CALIBRATE_SIGNALS);
        /* So small a unit that a weight by it is no number any more is none. */
        unit = unit > 0 && isfinite(grids[FADE].value[VALUES_MAX - 1] / unit) ? unit : 0;
        s->r->unit[k] = unit;
        s->r->has[k] = s->pass.has[k] = unit > 0;
    }
    free(deviation);
    free(user);
    return status;
}

/* ---- settings ----------------------------------------------------------------------------------- */

static bool stands_alone(const struct search *s)
{
    const bool *has = s->r->has;
    return !has[CALIBRATE_TRAINED] && !has[CALIBRATE_FACTORS] && !has[CALIBRATE_NEIGHBOURS];
}

static struct calibrate_weights weights_at(const struct search *s, const struct point *p)
{
    const float fade = grids[FADE].value[p->at[FADE]];
    const float mapped =
        stands_alone(s) ? grids[MAPPED].value[p->at[MAPPED]] : s->task->mapped_share;
    const float share = grids[SHARE].value[p->at[SHARE]];
    return (struct calibrate_weights){.trained = share,
                                      .factors = 1 - share,
                                      .neighbours = grids[NEIGHBOURS].value[p->at[NEIGHBOURS]],
                                      .content = grids[CONTENT].value[p->at[CONTENT]],
                                      .fade = fade * (1 - mapped),
                                      .mapped = fade * mapped};
}

/* What is left of weights when only some signals are there. */
static struct calibrate_weights keep_signals(struct calibrate_weights w, const bool *has)
{
    const bool linear = has[CALIBRATE_TRAINED] || has[CALIBRATE_FACTORS];
    if (!has[CALIBRATE_TRAINED] || !has[CALIBRATE_FACTORS]) {
        w.trained = has[CALIBRATE_TRAINED];
        w.factors = has[CALIBRATE_FACTORS];
    }
    if (!has[CALIBRATE_NEIGHBOURS])
        w.neighbours = 0;
    else if (!linear)
        w.neighbours = 1;
    if (!has[CALIBRATE_MAPPED]) {
        w.fade += w.mapped;
        w.mapped = 0;
    }
    if (!has[CALIBRATE_CONTENT]) {
        w.mapped += has[CALIBRATE_MAPPED] ? w.fade : 0;
        w.content = w.fade = 0;
    }
    return w;
}

static struct calibrate_weights in_units(struct calibrate_weights w, const float *unit)
{
    const float content = unit[CALIBRATE_CONTENT];
    return (struct calibrate_weights){
        .trained = w.trained > 0 ? w.trained / unit[CALIBRATE_TRAINED] : 0,
        .factors = w.factors > 0 ? w.factors / unit[CALIBRATE_FACTORS] : 0,
        .neighbours = w.neighbours > 0 ? w.neighbours / unit[CALIBRATE_NEIGHBOURS] : 0,
        .content = w.content > 0 ? w.content / content : 0,
        .fade = w.fade > 0 ? w.fade / content : 0,
        .mapped = w.mapped > 0 ? w.mapped / unit[CALIBRATE_MAPPED] : 0,
    };
}

static bool says_nothing(struct calibrate_weights w)
{
    return !(w.trained > 0 || w.factors > 0 || w.neighbours > 0 || w.content > 0 ||
             w.fade > 0 || w.mapped > 0);
}

static struct point prior_point(void)
{
    struct point p;
    for (int c = 0; c < COORDINATES; c++)
        p.at[c] = grids[c].prior;
    return p;
}

static bool is_free(const struct search *s, enum coordinate c)
{
    const bool *has = s->r->has;
    const bool linear = has[CALIBRATE_TRAINED] || has[CALIBRATE_FACTORS];
    switch (c) {
    case SHARE:
        return has[CALIBRATE_TRAINED] && has[CALIBRATE_FACTORS];
    case NEIGHBOURS:
        return has[CALIBRATE_NEIGHBOURS] && linear;
    case CONTENT:
        return has[CALIBRATE_CONTENT];
    case MAPPED:
        return has[CALIBRATE_CONTENT] && has[CALIBRATE_MAPPED] && stands_alone(s);
    default:
        return has[CALIBRATE_CONTENT] || has[CALIBRATE_MAPPED];
    }
}

/* ---- the search --------------------------------------------------------------------------------- */

static const struct calibrate_outcome *trial_find(const struct search *s, const struct point *p)
{
    for (uint32_t i = 0; i < s->n_trials; i++)
        if (!memcmp(&s->trial[i].point, p, sizeof(*p)))
            return s->trial[i].outcome;
    return NULL;
}

/* Makes the outcomes of those points that have none yet, in one pass. */
static int try_points(struct search *s, const struct point *points, size_t n, struct err *err)
{
    struct calibrate_weights settings[VALUES_MAX];
    const struct point *missing[VALUES_MAX];
    const size_t U = s->pass.n_users;
    size_t n_missing = 0;
    for (size_t i = 0; i < n; i++) {
        const struct calibrate_weights w = keep_signals(weights_at(s, &points[i]), s->r->has);
        if (trial_find(s, &points[i]))
            continue;
        settings[n_missing] = in_units(w, s->r->unit);
        missing[n_missing++] = &points[i];
    }
    if (!n_missing)
        return ERR_OK;
    assert(s->n_trials + n_missing <= TRIALS_MAX);
    struct calibrate_outcome *all = malloc(n_missing * U * sizeof(*all) + 1);
    if (!all)
        return err_oom(err, "a calibration");
    int status = calibrate_pass_run(&s->pass, settings, n_missing, all, err);
    for (size_t i = 0; !status && i < n_missing; i++) {
        struct calibrate_outcome *own = malloc(U * sizeof(*own) + 1);
        if (!own) {
            status = err_oom(err, "a calibration");
            break;
        }
        memcpy(own, all + i * U, U * sizeof(*own));
        s->trial[s->n_trials++] = (struct trial){*missing[i], own};
    }
    free(all);
    return status;
}

/* The points that differ from p in one coordinate, all that say something. */
static size_t line_of(const struct search *s, const struct point *p, enum coordinate c,
                      struct point *ret_points /* (VALUES_MAX) */)
{
    size_t n = 0;
    for (size_t i = 0; i < grids[c].n; i++) {
        struct point at = *p;
        at.at[c] = i;
        if (!says_nothing(keep_signals(weights_at(s, &at), s->r->has)))
            ret_points[n++] = at;
    }
    return n;
}

/* Moves p along one coordinate: the best of those values that beat the prior's surely. */
static int search_line(struct search *s, struct point *p, enum coordinate c, struct err *err)
{
    struct point line[VALUES_MAX], prior = *p;
    const size_t n = line_of(s, p, c, line);
    prior.at[c] = grids[c].prior;
    int status = try_points(s, line, n, err);
    if (status)
        return status;
    const struct calibrate_outcome *base = trial_find(s, &prior);
    double best = 0;
    *p = prior;
    for (size_t i = 0; i < n; i++) {
        const struct mean gain = mean_ndcg(trial_find(s, &line[i]), base, s->pass.n_users);
        if (gain.mean > gain.error && gain.mean > best) {
            best = gain.mean;
            *p = line[i];
        }
    }
    return ERR_OK;
}

/* Whether p serves new items better than q: as the held-out pairs of such items say, where there are
 * enough of them, else by the fade alone. */
static bool is_colder(const struct search *s, const struct point *p, const struct point *q)
{
    if (s->r->n_users_cold < COLD_USERS_MIN)
        return p->at[SHARE] == q->at[SHARE] && p->at[FADE] > q->at[FADE];
    return figures_of(s, trial_find(s, p)).recall_cold >
           figures_of(s, trial_find(s, q)).recall_cold;
}

/* A new item has its content, and what was learned from the features of others: of the shares and
 * fades that the other items hardly notice, those that serve it best. */
static int protect_cold(struct search *s, struct point *p, struct err *err)
{
    struct point shares[VALUES_MAX] = {*p}, line[VALUES_MAX];
    const struct point chosen = *p;
    const struct calibrate_outcome *base = trial_find(s, &chosen);
    const double level = base ? mean_ndcg(base, NULL, s->pass.n_users).mean : 0;
    const double most =
        (s->r->n_users_cold < COLD_USERS_MIN ? COLD_COST_ELSE : COLD_COST_MAX) * level;
    const size_t n_shares = is_free(s, SHARE) ? line_of(s, p, SHARE, shares) : 1;

    for (size_t k = 0; k < n_shares && level > 0; k++) {
        const size_t n = line_of(s, &shares[k], FADE, line);
        int status = try_points(s, line, n, err);
        if (status)
            return status;
        for (size_t i = 0; i < n; i++) {
            const struct mean loss = mean_ndcg(base, trial_find(s, &line[i]), s->pass.n_users);
            if (loss.mean <= most && is_colder(s, &line[i], p))
                *p = line[i];
        }
    }
    return ERR_OK;
}

static bool has_cold_items(const struct calibrate_task *t)
{
    for (uint32_t i = 0; i < t->n_items; i++)
        if (!t->n_interactions[i])
            return true;
    return false;
}

static int search_run(struct search *s, struct point *p, struct err *err)
{
    for (int round = 0; round < ROUNDS; round++) {
        const struct point before = *p;
        for (int c = 0; c < COORDINATES; c++) {
            int status = is_free(s, (enum coordinate)c)
                             ? search_line(s, p, (enum coordinate)c, err)
                             : ERR_OK;
            if (status)
                return status;
        }
        if (!memcmp(&before, p, sizeof(before)))
            break;
    }
    if (is_free(s, FADE) && has_cold_items(s->task))
        return protect_cold(s, p, err);
    return ERR_OK;
}

/* ---- the report --------------------------------------------------------------------------------- */

/* One line of the report: weights, and where their figures go. */
struct report {
    struct calibrate_weights settings[2 + 2 * CALIBRATE_SIGNALS];
    struct calibrate_figures *to[2 + 2 * CALIBRATE_SIGNALS];
    size_t n;
};

static void report_add(const struct search *s, struct report *report,
                       struct calibrate_weights weight, struct calibrate_figures *to)
{
    if (says_nothing(weight))
        return;
    report->settings[report->n] = in_units(weight, s->r->unit);
    report->to[report->n++] = to;
}

static int make_report(struct search *s, struct err *err)
{
    struct calibrate_result *r = s->r;
    const struct point prior = prior_point();
    struct report report = {0};
    report_add(s, &report, r->weight, &r->all);
    report_add(s, &report, keep_signals(weights_at(s, &prior), r->has), &r->prior);
    for (int k = 0; k < CALIBRATE_SIGNALS; k++) {
        bool without[CALIBRATE_SIGNALS], alone[CALIBRATE_SIGNALS] = {false};
        const struct calibrate_weights one = {.trained = 1,
                                              .factors = 1,
                                              .content = 1,
                                              .mapped = k == CALIBRATE_MAPPED,
                                              .neighbours = 1};
        if (!r->has[k])
            continue;
        memcpy(without, r->has, sizeof(without));
        without[k] = false;
        alone[k] = true;
        report_add(s, &report, keep_signals(r->weight, without), &r->without[k]);
        report_add(s, &report, keep_signals(one, alone), &r->alone[k]);
    }
    const size_t U = s->pass.n_users;
    struct calibrate_outcome *outcome = malloc(report.n * U * sizeof(*outcome) + 1);
    if (!outcome)
        return err_oom(err, "a calibration");
    int status = calibrate_pass_run(&s->pass, report.settings, report.n, outcome, err);
    for (size_t i = 0; !status && i < report.n; i++) {
        *report.to[i] = figures_of(s, outcome + i * U);
        if (report.to[i] == &r->all)
            r->ndcg_error = mean_ndcg(outcome + i * U, NULL, s->pass.n_users).error;
    }
    free(outcome);
    return status;
}

static void count_users(const struct calibrate_pass *p, struct calibrate_result *r)
{
    r->n_users = p->n_users;
    r->n_pairs = p->start[p->n_users];
    r->n_pairs_usable = p->n_usable;
    for (uint32_t u = 0; u < p->n_users; u++) {
        bool cold = false;
        for (size_t i = p->start[u]; i < p->start[u + 1]; i++)
            cold = cold || p->cold[i];
        r->n_users_cold += cold;
    }
    r->from_prior =
        p->n_users_usable < CALIBRATE_USERS_MIN || p->n_usable < CALIBRATE_PAIRS_MIN;
}

static int calibrate(struct search *s, struct err *err)
{
    struct calibrate_result *r = s->r;
    struct point p = prior_point();
    count_users(&s->pass, r);
    int status = measure_units(s, err);
    if (!status && !r->from_prior)
        status = search_run(s, &p, err);
    if (status)
        return status;
    r->weight = keep_signals(weights_at(s, &p), r->has);
    r->scale = in_units(r->weight, r->unit);
    r->n_tried = s->n_trials;
    return make_report(s, err);
}

int calibrate_run(const struct calibrate_task *task, struct calibrate_result *ret_result,
                  struct err *err)
{
    const int64_t start_us = clock_mono_us();
    struct calibrate_result r = {0};
    struct search s = {.task = task, .r = &r};
    uint32_t *user, n_users;
    assert(task->n_users && task->n_items && task->n_items <= INT32_MAX);
    size_t n_max = CALIBRATE_CELLS / task->n_items;
    n_max = n_max < CALIBRATE_UNIT_USERS ? CALIBRATE_UNIT_USERS : n_max;
    n_max = n_max > CALIBRATE_USERS_MAX ? CALIBRATE_USERS_MAX : n_max;
    int status = sample(task, true, n_max, 0, &user, &n_users, &r.n_users_all, err);
    if (!status)
        status = calibrate_pass_open(task, user, n_users, &s.pass, err);
    if (status)
        return status;
    status = calibrate(&s, err);
    for (uint32_t i = 0; i < s.n_trials; i++)
        free(s.trial[i].outcome);
    calibrate_pass_close(&s.pass);
    if (status)
        return status;
    r.seconds = (double)(clock_mono_us() - start_us) * 1e-6;
    *ret_result = r;
    return ERR_OK;
}
