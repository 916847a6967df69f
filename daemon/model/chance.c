#include "daemon/model/chance.h"

#include "fusion/math/rank.h"

#include <math.h>
#include <stdlib.h>

/* What each interaction adds to the difference of the means; its share of the mean's weight. */
struct shares {
    size_t n;                    /* users with an interaction in the slice */
    double *difference, *weight; /* (P) */
    double sum;
};

static size_t count_in_slice(const struct chance_pairs *p, size_t user)
{
    size_t n = 0;

    for (size_t i = p->start[user]; i < p->start[user + 1]; i++)
        n += p->now[i] != RANK_NONE;
    return n;
}

static double discount(uint32_t position)
{
    return 1 / log2((double)position + 1);
}

static double gain(uint32_t position, uint32_t k)
{
    return position <= k ? discount(position) : 0;
}

static double ideal(size_t n_relevant, uint32_t k)
{
    double sum = 0;

    for (uint32_t at = 1; at <= n_relevant && at <= k; at++)
        sum += discount(at);
    return sum;
}

/* k 0 = logarithms of positions. */
static void fill_user(const struct chance_pairs *p, size_t user, uint32_t k, size_t n,
                      struct shares *s)
{
    double scale = k ? 1 / ideal(n, k) : 1 / (double)n;

    for (size_t i = p->start[user]; i < p->start[user + 1]; i++) {
        if (p->now[i] == RANK_NONE)
            continue;
        double d = k ? gain(p->now[i], k) - gain(p->before[i], k)
                     : log((double)p->now[i]) - log((double)p->before[i]);

        s->difference[i] = scale * d / (double)s->n;
        s->weight[i] = 1 / ((double)n * (double)s->n);
        s->sum += s->difference[i];
    }
}

static void shares_done(struct shares *s)
{
    free(s->difference);
    free(s->weight);
}

static int shares_init(const struct chance_pairs *p, uint32_t k, struct shares *s,
                       struct err *err)
{
    size_t n_pairs = p->start[p->n_users];

    *s = (struct shares){.difference = calloc(n_pairs + 1, sizeof(double)),
                         .weight = calloc(n_pairs + 1, sizeof(double))};
    if (!s->difference || !s->weight) {
        shares_done(s);
        return err_oom(err, "judging: chance");
    }
    for (size_t u = 0; u < p->n_users; u++)
        s->n += count_in_slice(p, u) > 0;
    for (size_t u = 0; u < p->n_users; u++) {
        size_t n = count_in_slice(p, u);

        if (n)
            fill_user(p, u, k, n, s);
    }
    return ERR_OK;
}

/* The residual of an interaction: its share less what the mean explains. */
static double residual(const struct shares *s, size_t i)
{
    return s->difference[i] - s->sum * s->weight[i];
}

static double variance_by_users(const struct chance_pairs *p, const struct shares *s)
{
    double squares = 0;

    for (size_t u = 0; u < p->n_users; u++) {
        double sum = 0;

        for (size_t i = p->start[u]; i < p->start[u + 1]; i++)
            sum += residual(s, i);
        squares += sum * sum;
    }
    return s->n > 1 ? squares * (double)s->n / (double)(s->n - 1) : 0;
}

/* Items' part less what both count: by users + by items - by interactions. */
static int variance_by_items(const struct chance_pairs *p, const struct shares *s,
                             double *ret_more, struct err *err)
{
    double *sums = calloc(p->n_items + 1, sizeof(*sums)), squares = 0, own = 0;

    if (!sums)
        return err_oom(err, "judging: chance");
    for (size_t i = 0; i < p->start[p->n_users]; i++) {
        sums[p->item[i]] += residual(s, i);
        own += residual(s, i) * residual(s, i);
    }
    for (size_t item = 0; item < p->n_items; item++)
        squares += sums[item] * sums[item];
    free(sums);
    *ret_more = squares > own ? squares - own : 0;
    return ERR_OK;
}

int chance_ndcg_by_users(const struct chance_pairs *p, uint32_t k, double *ret_error,
                         struct err *err)
{
    struct shares s;
    int status = shares_init(p, k, &s, err);

    if (status != ERR_OK)
        return status;
    *ret_error = sqrt(variance_by_users(p, &s));
    shares_done(&s);
    return ERR_OK;
}

int chance_ndcg_by_both(const struct chance_pairs *p, uint32_t k, double *ret_error,
                        struct err *err)
{
    struct shares s;
    double more = 0;
    int status = shares_init(p, k, &s, err);

    if (status != ERR_OK)
        return status;
    status = variance_by_items(p, &s, &more, err);
    if (status == ERR_OK)
        *ret_error = sqrt(variance_by_users(p, &s) + more);
    shares_done(&s);
    return status;
}

/* The mean over users of the mean logarithm of a position. */
static double mean_log(const struct chance_pairs *p, const struct shares *s,
                       const uint32_t *position)
{
    double sum = 0;

    for (size_t i = 0; i < p->start[p->n_users]; i++)
        if (p->now[i] != RANK_NONE)
            sum += s->weight[i] * log((double)position[i]);
    return sum;
}

int chance_rank(const struct chance_pairs *p, struct chance_ranks *ret, struct err *err)
{
    struct shares s;
    int status = shares_init(p, 0, &s, err);

    if (status != ERR_OK)
        return status;
    *ret = (struct chance_ranks){.before = exp(mean_log(p, &s, p->before)),
                                 .now = exp(mean_log(p, &s, p->now)),
                                 .error = sqrt(variance_by_users(p, &s))};
    shares_done(&s);
    return ERR_OK;
}
