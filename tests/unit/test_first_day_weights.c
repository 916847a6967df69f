/* What popularity counts before the first training, on planted sites and against a naive version. */

#include "daemon/model/first_day_weights.h"
#include "fusion/math/rng.h"
#include "fusion/model/columns.h"
#include "fusion/model/neighbours.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { I = 300, C = 8, PAIRS_MAX = 2000 };

struct site {
    struct csr_pair pairs[PAIRS_MAX];
    size_t n;
    uint32_t n_users;
    struct csr R;
    float c[I * C];
    uint8_t published[I];
    struct rng rng;
    struct err err;
};

static struct site *site_new(void)
{
    struct site *s = calloc(1, sizeof *s);

    assert_non_null(s);
    rng_init(&s->rng, 5);
    rng_fill(&s->rng, s->c, (size_t)I * C, 1);
    for (size_t i = 0; i < I; i++) {
        columns_unit(s->c + i * C, C);
        s->published[i] = 1;
    }
    return s;
}

static void add(struct site *s, uint32_t user, uint32_t item)
{
    assert_true(s->n < PAIRS_MAX);
    s->pairs[s->n++] = (struct csr_pair){user, item};
    s->n_users = user + 1 > s->n_users ? user + 1 : s->n_users;
}

static struct first_day_weights choose(struct site *s, size_t dim, unsigned threads)
{
    struct first_day_weights w = {0};
    struct team *team;

    csr_done(&s->R);
    assert_int_equal(csr_from_pairs(s->pairs, s->n, s->n_users, I, &s->R, &s->err), ERR_OK);
    assert_int_equal(team_new(threads, &team, &s->err), ERR_OK);
    assert_int_equal(first_day_weights_choose(&s->R, s->published, dim ? s->c : NULL, dim, team,
                                              &w, &s->err),
                     ERR_OK);
    team_free(team);
    return w;
}

static void site_free(struct site *s)
{
    csr_done(&s->R);
    free(s);
}

/* Few items are had by most, whatever they look like. */
static void plant_popularity(struct site *s)
{
    for (uint32_t u = 0; u < 80; u++)
        for (int k = 0; k < 5; k++) {
            float x = rng_float(&s->rng);

            add(s, u, (uint32_t)(I * x * x * x * x));
        }
}

/* Everybody has what looks like one item; what is popular is so with those who have nothing else. */
static void plant_content(struct site *s)
{
    for (uint32_t u = 0; u < 80; u++) {
        uint32_t like = 20 + (uint32_t)rng_below(&s->rng, I - 20);

        for (uint32_t i = 20; i < I; i++) {
            float cosine = 0;

            for (size_t k = 0; k < C; k++)
                cosine += s->c[i * C + k] * s->c[like * C + k];
            if (cosine > 0.75F)
                add(s, u, i);
        }
    }
    for (uint32_t u = 80; u < 280; u++)
        add(s, u, u % 20);
}

static void choose_on_a_site_of_popularity_counts_it_more(void **state)
{
    (void)state;
    for (size_t dim = 0; dim <= C; dim += C) {
        struct site *s = site_new();

        plant_popularity(s);
        struct first_day_weights w = choose(s, dim, 1);
        assert_true(w.chosen);
        assert_true(w.popularity > FIRST_DAY_POPULAR);
        assert_true(w.gain[3] > w.gain[0]);
        site_free(s);
    }
}

static void choose_on_a_site_of_content_counts_it_less(void **state)
{
    (void)state;
    struct site *s = site_new();

    plant_content(s);
    struct first_day_weights w = choose(s, C, 1);
    assert_true(w.chosen);
    assert_true(w.popularity < FIRST_DAY_POPULAR);
    site_free(s);
}

/* Another weight does better, by less than what chance may do. */
static void choose_without_a_clear_gain_keeps_the_prior(void **state)
{
    (void)state;
    struct site *s = site_new();
    bool better = false;

    for (uint32_t u = 0; u < 24; u++)
        for (uint32_t k = 0; k < 2; k++) {
            float x = rng_float(&s->rng);

            add(s, u, 150 * k + (uint32_t)(150 * x * x));
        }
    struct first_day_weights w = choose(s, C, 1);
    for (size_t p = 0; p < FIRST_DAY_TRIED; p++)
        better = better || w.gain[p] > w.gain[FIRST_DAY_TRIED];
    assert_true(better);
    assert_false(w.chosen);
    assert_true(w.popularity >= FIRST_DAY_POPULAR && w.popularity <= FIRST_DAY_POPULAR);
    assert_int_equal(w.n_users, 24);
    assert_int_equal(w.n_pairs, 2 * 24);
    site_free(s);
}

static void choose_with_few_users_tries_nothing(void **state)
{
    (void)state;
    struct site *s = site_new();

    for (uint32_t u = 0; u < 100; u++)
        for (uint32_t k = 0; k < 1 + (u < FIRST_DAY_USERS_MIN - 1); k++)
            add(s, u, u % 7 + k);
    struct first_day_weights w = choose(s, C, 1);
    assert_false(w.chosen);
    assert_int_equal(w.n_pairs, 0);
    add(s, 99, 250);
    assert_int_equal(choose(s, C, 1).n_users, FIRST_DAY_USERS_MIN);
    s->published[0] = s->published[1] = 0; /* both items of a user */
    assert_int_equal(choose(s, C, 1).n_pairs, 0);
    site_free(s);
}

static void choose_with_many_users_takes_some(void **state)
{
    (void)state;
    struct site *s = site_new();

    for (uint32_t u = 0; u < FIRST_DAY_USERS + 100; u++)
        for (uint32_t k = 0; k < 4; k++)
            add(s, u, (u * 7 + k * 31) % I);
    struct first_day_weights w = choose(s, C, 1);
    assert_int_equal(w.n_users, FIRST_DAY_USERS);
    assert_int_equal(w.n_pairs, FIRST_DAY_LOST);
    site_free(s);
}

static void choose_on_a_large_site_tries_nothing(void **state)
{
    (void)state;
    struct err err;
    struct csr R;
    struct csr_pair *pairs = calloc(FIRST_DAY_PAIRS + 1, sizeof *pairs);
    struct first_day_weights w;
    uint8_t published[64];

    assert_non_null(pairs);
    memset(published, 1, sizeof published);
    for (uint32_t k = 0; k <= FIRST_DAY_PAIRS; k++)
        pairs[k] = (struct csr_pair){k / 64, k % 64};
    assert_int_equal(
        csr_from_pairs(pairs, FIRST_DAY_PAIRS + 1, FIRST_DAY_PAIRS / 64 + 1, 64, &R, &err),
        ERR_OK);
    assert_int_equal(first_day_weights_choose(&R, published, NULL, 0, NULL, &w, &err), ERR_OK);
    assert_false(w.chosen);
    assert_int_equal(w.n_pairs, 0);
    csr_done(&R);
    free(pairs);
}

static void choose_with_any_number_of_threads_is_the_same(void **state)
{
    (void)state;
    struct site *s = site_new();

    plant_popularity(s);
    struct first_day_weights one = choose(s, C, 1), three = choose(s, C, 3);
    assert_memory_equal(one.gain, three.gain, sizeof one.gain);
    assert_int_equal(one.n_pairs, three.n_pairs);
    site_free(s);
}

/* ---- naively ------------------------------------------------------------------------------- */

static void add_part(const struct site *s, const double *part, double weight, double *score)
{
    double squares = 0, n = 0;

    for (size_t i = 0; i < I; i++)
        if (s->published[i] && (part[i] > 0 || part[i] < 0)) {
            squares += part[i] * part[i];
            n++;
        }
    for (size_t i = 0; n > 0 && i < I; i++)
        score[i] += weight * part[i] / sqrt(squares / n);
}

/* The gain of `item` for a user whose items are mine, by each weight. */
static void naive_gain(const struct site *s, const struct csr *left, const struct csr *rows,
                       const float *scale, uint32_t user, uint32_t item, double *gain)
{
    double a[I] = {0}, b[I] = {0}, p[I] = {0}, taste[C] = {0}, length = 0;

    for (size_t e = 0; e < left->nnz; e++)
        p[left->col[e]]++;
    for (size_t i = 0; i < I; i++)
        p[i] = log(1 + p[i]);
    for (size_t e = left->start[user]; e < left->start[user + 1]; e++) {
        uint32_t j = left->col[e];

        for (size_t k = rows->start[j]; k < rows->start[j + 1]; k++)
            a[rows->col[k]] += (double)rows->value[k] * (double)scale[rows->col[k]];
        for (size_t k = 0; k < C; k++)
            taste[k] += (double)s->c[j * C + k];
    }
    for (size_t k = 0; k < C; k++)
        length += taste[k] * taste[k];
    for (size_t i = 0; i < I; i++)
        for (size_t k = 0; k < C; k++)
            b[i] += taste[k] / sqrt(length) * (double)s->c[i * C + k];
    for (size_t w = 0; w <= FIRST_DAY_TRIED; w++) {
        double score[I] = {0};
        int rank = 0;

        add_part(s, a, 1, score);
        add_part(s, b, (double)FIRST_DAY_CONTENT, score);
        add_part(s, p, (double)first_day_popular[w], score);
        for (uint32_t i = 0; i < I; i++)
            rank += s->published[i] && !csr_has(left, user, i) && score[i] > score[item];
        gain[w] += rank < FIRST_DAY_CUT ? 1 / log2(2 + rank) : 0;
    }
}

/* The items of user `at` that can be listed, in the order in which they get lost. */
static uint32_t order_of(const struct site *s, uint32_t user, size_t at, uint32_t *ret_items)
{
    uint32_t n = 0;
    struct rng rng;

    for (size_t e = s->R.start[user]; e < s->R.start[user + 1]; e++)
        if (s->published[s->R.col[e]])
            ret_items[n++] = s->R.col[e];
    rng_init_stream(&rng, 1, at);
    rng_shuffle(&rng, ret_items, n);
    return n;
}

static void naive_round(struct site *s, const uint32_t *users, size_t n_users, size_t round,
                        double gain[][FIRST_DAY_TRIED + 1], size_t *rounds)
{
    struct csr_pair left_pairs[PAIRS_MAX];
    uint32_t items[I], lost[I];
    struct csr left, rows;
    float *scale, ridge;
    size_t n = 0;

    for (size_t k = 0; k < n_users; k++)
        lost[k] = order_of(s, users[k], k, items) > round ? items[round] : UINT32_MAX;
    for (size_t e = 0; e < s->n; e++) {
        bool gone = false;

        for (size_t k = 0; k < n_users; k++)
            gone = gone || (users[k] == s->pairs[e].row && lost[k] == s->pairs[e].col);
        if (!gone)
            left_pairs[n++] = s->pairs[e];
    }
    assert_int_equal(csr_from_pairs(left_pairs, n, s->n_users, I, &left, &s->err), ERR_OK);
    assert_int_equal(neighbours_build(&left, NULL, NULL, &rows, &scale, &ridge, &s->err),
                     ERR_OK);
    for (size_t k = 0; k < n_users; k++)
        if (lost[k] != UINT32_MAX) {
            naive_gain(s, &left, &rows, scale, users[k], lost[k], gain[k]);
            rounds[k]++;
        }
    csr_done(&left);
    csr_done(&rows);
    free(scale);
}

static void choose_gains_what_the_definitions_say(void **state)
{
    (void)state;
    struct site *s = site_new();
    uint32_t users[80];
    double gain[80][FIRST_DAY_TRIED + 1] = {{0}}, mean[FIRST_DAY_TRIED + 1] = {0};
    size_t rounds[80] = {0}, n_pairs = 0;
    struct rng rng;

    plant_popularity(s);
    for (size_t i = 0; i < I; i += 9)
        s->published[i] = 0;
    struct first_day_weights w = choose(s, C, 2);
    for (uint32_t u = 0; u < 80; u++) {
        assert_true(csr_degree(&s->R, u) > 1);
        users[u] = u;
    }
    rng_init(&rng, 1);
    rng_shuffle(&rng, users, 80);
    for (size_t r = 0; r < FIRST_DAY_ROUNDS; r++)
        naive_round(s, users, 80, r, gain, rounds);
    size_t n_users = 0;
    for (size_t k = 0; k < 80; k++) {
        n_pairs += rounds[k];
        n_users += rounds[k] > 0;
        for (size_t p = 0; rounds[k] && p <= FIRST_DAY_TRIED; p++)
            mean[p] += gain[k][p] / (double)rounds[k];
    }
    assert_int_equal(w.n_pairs, n_pairs);
    assert_int_equal(w.n_users, n_users);
    for (size_t p = 0; p <= FIRST_DAY_TRIED; p++)
        assert_true(fabs(w.gain[p] - mean[p] / (double)n_users) < 1e-9);
    site_free(s);
}

static void unit_is_over_what_can_be_listed_and_says_something(void **state)
{
    (void)state;
    const float part[] = {3, 0, -4, 100};
    const uint8_t published[] = {1, 1, 1, 0}, none[4] = {0};

    assert_true(fabs(first_day_weights_unit(part, published, 4) - sqrt(12.5)) < 1e-9);
    assert_true(first_day_weights_unit(part, none, 4) <= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choose_on_a_site_of_popularity_counts_it_more),
        cmocka_unit_test(choose_on_a_site_of_content_counts_it_less),
        cmocka_unit_test(choose_without_a_clear_gain_keeps_the_prior),
        cmocka_unit_test(choose_with_few_users_tries_nothing),
        cmocka_unit_test(choose_with_many_users_takes_some),
        cmocka_unit_test(choose_on_a_large_site_tries_nothing),
        cmocka_unit_test(choose_with_any_number_of_threads_is_the_same),
        cmocka_unit_test(choose_gains_what_the_definitions_say),
        cmocka_unit_test(unit_is_over_what_can_be_listed_and_says_something),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
