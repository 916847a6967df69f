#include "daemon/model/holdout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define N(a) (sizeof(a) / sizeof((a)[0]))

/* User 1 has six items in this order of time: 10, 11, … 15; user 2 has four. */
static const struct store_timed_pair history[] = {
    {2, 10, 5}, {1, 15, 600}, {1, 10, 100}, {1, 13, 400}, {1, 11, 200},
    {2, 11, 6}, {1, 14, 500}, {1, 12, 300}, {2, 12, 7},   {2, 13, 8}};

static struct holdout split(const struct store_pair *known, size_t n_known, int64_t percent)
{
    struct store_timed_pair timed[N(history)];
    struct store_pair copy[8];
    struct holdout h = {0};

    for (size_t i = 0; i < N(history); i++)
        timed[i] = history[i];
    for (size_t i = 0; i < n_known; i++)
        copy[i] = known[i];
    assert_int_equal(holdout_split(timed, N(timed), copy, n_known, percent, &h, NULL), ERR_OK);
    return h;
}

static void holdout_split_takes_the_newest_of_users_with_enough_items(void **state)
{
    struct holdout h = split(NULL, 0, 10);

    (void)state;
    assert_int_equal(h.n_pairs, 1); /* at least one */
    assert_int_equal(h.pairs[0].uid, 1);
    assert_int_equal(h.pairs[0].rid, 15);
    assert_int_equal(h.n_users, 1);
    assert_int_equal(h.n_qualified, 1);
    holdout_done(&h);
    h = split(NULL, 0, 50);
    assert_int_equal(h.n_pairs, 3);
    assert_int_equal(h.pairs[0].rid, 13);
    assert_int_equal(h.pairs[2].rid, 15);
    holdout_done(&h);
}

static void holdout_split_leaves_out_what_the_active_model_knows(void **state)
{
    static const struct store_pair known[] = {{1, 15}, {1, 13}, {1, 10}};
    struct holdout h = split(known, N(known), 50);

    (void)state;
    assert_int_equal(h.n_pairs, 2); /* of 11, 12, 14 */
    assert_int_equal(h.pairs[0].rid, 12);
    assert_int_equal(h.pairs[1].rid, 14);
    holdout_done(&h);
}

static void holdout_split_nothing_new_is_nothing_held_out(void **state)
{
    static const struct store_pair known[] = {{1, 10}, {1, 11}, {1, 12},
                                              {1, 13}, {1, 14}, {1, 15}};
    struct holdout h = split(known, N(known), 10);

    (void)state;
    assert_int_equal(h.n_pairs, 0);
    assert_int_equal(h.n_users, 0);
    assert_int_equal(h.n_qualified, 1);
    holdout_done(&h);
    assert_int_equal(holdout_split(NULL, 0, NULL, 0, 10, &h, NULL), ERR_OK);
    assert_int_equal(h.n_qualified, 0);
    holdout_done(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holdout_split_takes_the_newest_of_users_with_enough_items),
        cmocka_unit_test(holdout_split_leaves_out_what_the_active_model_knows),
        cmocka_unit_test(holdout_split_nothing_new_is_nothing_held_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
