/* Standard errors against their textbook forms on positions that were made up. */
#include "daemon/model/chance.h"

#include "fusion/math/rank.h"
#include "fusion/math/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define assert_near(a, b) assert_true(fabs((a) - (b)) < 1e-9)

enum { USERS = 40, ITEMS = 9, PAIRS = 3 * USERS, K = 20 };

struct data {
    size_t start[USERS + 1];
    uint32_t item[PAIRS], before[PAIRS], now[PAIRS];
    struct chance_pairs p;
};

/* A user has one, two or three interactions; the first user has none in the slice. */
static void make(struct data *d)
{
    struct rng rng;
    size_t n = 0;

    rng_init(&rng, 5);
    for (size_t u = 0; u < USERS; u++) {
        d->start[u] = n;
        for (size_t i = 0; i <= u % 3; i++, n++) {
            d->item[n] = (uint32_t)rng_below(&rng, ITEMS);
            d->before[n] = u ? 1 + (uint32_t)rng_below(&rng, 40) : RANK_NONE;
            d->now[n] = u ? 1 + (uint32_t)rng_below(&rng, 40) : RANK_NONE;
        }
    }
    d->start[USERS] = n;
    d->p = (struct chance_pairs){.n_users = USERS,
                                 .n_items = ITEMS,
                                 .start = d->start,
                                 .item = d->item,
                                 .before = d->before,
                                 .now = d->now};
}

static double ndcg(const struct data *d, size_t user, const uint32_t *position)
{
    double sum = 0, ideal = 0;

    for (size_t i = d->start[user]; i < d->start[user + 1]; i++) {
        sum += position[i] <= K ? 1 / log2(position[i] + 1.0) : 0;
        ideal += 1 / log2((double)(i - d->start[user]) + 2);
    }
    return sum / ideal;
}

static double mean_log(const struct data *d, size_t user, const uint32_t *position)
{
    double sum = 0;

    for (size_t i = d->start[user]; i < d->start[user + 1]; i++)
        sum += log(position[i]);
    return sum / (double)(d->start[user + 1] - d->start[user]);
}

/* Of the mean of what f differs by over users 1 ... */
static double standard_error(const struct data *d,
                             double (*f)(const struct data *, size_t, const uint32_t *),
                             double *ret_mean)
{
    double sum = 0, squares = 0, n = USERS - 1;

    for (size_t u = 1; u < USERS; u++) {
        double x = f(d, u, d->now) - f(d, u, d->before);

        sum += x;
        squares += x * x;
    }
    *ret_mean = sum / n;
    return sqrt((squares - sum * sum / n) / (n - 1) / n);
}

static void ndcg_by_users_is_the_textbooks(void **state)
{
    static struct data d;
    double error, mean;

    (void)state;
    make(&d);
    assert_int_equal(chance_ndcg_by_users(&d.p, K, &error, NULL), 0);
    assert_near(error, standard_error(&d, ndcg, &mean));
}

static void rank_is_the_geometric_mean(void **state)
{
    static struct data d;
    struct chance_ranks r;
    double mean, error;

    (void)state;
    make(&d);
    assert_int_equal(chance_rank(&d.p, &r, NULL), 0);
    error = standard_error(&d, mean_log, &mean);
    assert_near(log(r.now / r.before), mean);
    assert_near(r.error, error);
}

/* One interaction a user, and all users of an item move alike: items are what was drawn, and users
 * alone would promise √(users an item) too much. */
static void ndcg_by_both_sees_items_that_move_as_one(void **state)
{
    static const int by_item[4] = {1, 1, 20, 20};
    static struct data d;
    double users, both, sum = 0;
    const double step = 1 / log2(2) - 1 / log2(21);

    (void)state;
    make(&d);
    for (size_t u = 0; u < USERS; u++) {
        d.start[u] = u;
        d.item[u] = u % 4;
        d.before[u] = 20;
        d.now[u] = (uint32_t)by_item[u % 4];
    }
    d.start[USERS] = USERS;
    assert_int_equal(chance_ndcg_by_users(&d.p, K, &users, NULL), 0);
    assert_int_equal(chance_ndcg_by_both(&d.p, K, &both, NULL), 0);
    assert_near(users, step / 2 / sqrt(USERS - 1));
    for (int i = 0; i < 4; i++) /* a quarter of the mean each, half a step off it */
        sum += pow(step / 2 / 4, 2);
    sum += users * users - step * step / 4 / USERS;
    assert_near(both, sqrt(sum));
}

static void nothing_to_compare_is_no_error(void **state)
{
    static struct data d;
    struct chance_ranks r;
    double error = 1;

    (void)state;
    make(&d);
    for (size_t i = 0; i < PAIRS; i++)
        d.before[i] = d.now[i] = RANK_NONE;
    assert_int_equal(chance_ndcg_by_both(&d.p, K, &error, NULL), 0);
    assert_true(error == 0);
    assert_int_equal(chance_rank(&d.p, &r, NULL), 0);
    assert_true(r.error == 0 && r.before == r.now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ndcg_by_users_is_the_textbooks),
        cmocka_unit_test(rank_is_the_geometric_mean),
        cmocka_unit_test(ndcg_by_both_sees_items_that_move_as_one),
        cmocka_unit_test(nothing_to_compare_is_no_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
