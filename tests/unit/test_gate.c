#include "daemon/model/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

static struct settings settings;

static int setup(void **state)
{
    (void)state;
    if (settings_init(&settings) != ERR_OK ||
        settings_set(&settings, "training.tolerance_percent", "5", NULL) != ERR_OK)
        return -1;
    return settings_set(&settings, "training.cold_tolerance_percent", "10", NULL);
}

static int teardown(void **state)
{
    (void)state;
    settings_done(&settings);
    return 0;
}

static struct gate_case equal_models(void)
{
    struct gate_case c = {.active_id = 7, .n_users = 90, .n_pairs = 1000, .n_cold_pairs = 500};

    c.active = c.candidate = (struct gate_figures){0.15, 0.2, 0.3, 0.1, 0.2, 0};
    return c;
}

static enum gate_verdict decide(const struct gate_case *c, const char *words)
{
    struct gate_decision d;

    gate_decide(c, &settings, &d);
    if (!strstr(d.why, words))
        fail_msg("\"%s\" does not say \"%s\"", d.why, words);
    return d.verdict;
}

static void gate_decide_equal_and_better_pass(void **state)
{
    struct gate_case c = equal_models();

    (void)state;
    assert_int_equal(decide(&c, "0.2000 against 0.2000 of model 7 on 1000 interactions of 90 "
                                "users; cold 0.1000 against 0.1000 on 500"),
                     GATE_PASS);
    c.candidate.ndcg_20 = 0.4;
    assert_int_equal(decide(&c, "0.4000"), GATE_PASS);
    c.candidate.ndcg_20 = c.active.ndcg_20 = 0; /* nobody knows anything yet */
    assert_int_equal(decide(&c, "0.0000"), GATE_PASS);
}

static void gate_decide_worse_overall_is_refused_beyond_the_tolerance(void **state)
{
    struct gate_case c = equal_models();

    (void)state;
    c.candidate.ndcg_20 = 0.1901; /* 4.95 % */
    assert_int_equal(decide(&c, "0.1901"), GATE_PASS);
    c.candidate.ndcg_20 = 0.186;
    assert_int_equal(decide(&c,
                            "NDCG@20 0.1860 against 0.2000 of model 7 is 7.0 % worse, 5.0 % "
                            "is allowed"),
                     GATE_OVERALL);
}

static void gate_decide_worse_on_cold_is_refused_with_enough_pairs(void **state)
{
    struct gate_case c = equal_models();

    (void)state;
    c.candidate.cold_ndcg_20 = 0.05;
    assert_int_equal(decide(&c, "NDCG@20 of cold items 0.0500 against 0.1000 of model 7 is "
                                "50.0 % worse, 10.0 % is allowed"),
                     GATE_COLD);
    c.n_cold_pairs = 99;
    assert_int_equal(decide(&c, "cold not judged: 99 interactions, 100 needed"), GATE_PASS);
}

static void gate_decide_chance_is_allowed_for(void **state)
{
    struct gate_case c = equal_models();

    (void)state;
    c.candidate.ndcg_20 = 0.186;
    c.error = 0.0075; /* two of them are 7.5 % of 0.2 */
    assert_int_equal(decide(&c, "NDCG@20 0.1860 against 0.2000"), GATE_PASS);
    c.candidate.ndcg_20 = 0.184;
    assert_int_equal(decide(&c, "is 8.0 % worse, 7.5 % is allowed"), GATE_OVERALL);
    c.error = 0.0025; /* less than the tolerance */
    assert_int_equal(decide(&c, "is 8.0 % worse, 5.0 % is allowed"), GATE_OVERALL);
    c = equal_models();
    c.candidate.cold_ndcg_20 = 0.05;
    c.cold_error = 0.026;
    assert_int_equal(decide(&c, "cold 0.0500 against 0.1000"), GATE_PASS);
}

static void gate_decide_positions_confirm_what_ndcg_leaves_open(void **state)
{
    struct gate_case c = equal_models();

    (void)state;
    c.candidate.ndcg_20 = 0.186;
    c.error = 0.01;
    c.active.rank = 500;
    c.candidate.rank = 530;
    c.rank_error = 0.01; /* 5 % and 2 % is allowed */
    assert_int_equal(decide(&c, "0.1860"), GATE_PASS);
    c.candidate.rank = 550;
    assert_int_equal(
        decide(&c, "NDCG@20 0.1860 against 0.2000 of model 7 is 7.0 % worse, and held-out "
                   "items rank 10.0 % lower (550, 500), 7.0 % is allowed"),
        GATE_OVERALL);
    c.candidate.ndcg_20 = 0.1901; /* alone they refuse nobody */
    assert_int_equal(decide(&c, "0.1901"), GATE_PASS);
    c.candidate.ndcg_20 = 0.186;
    c.active.rank = 0; /* not known */
    assert_int_equal(decide(&c, "0.1860"), GATE_PASS);
}

static void gate_decide_impossible_figures_are_refused(void **state)
{
    struct gate_case c = equal_models();

    (void)state;
    c.candidate.ndcg_20 = (double)NAN;
    assert_int_equal(decide(&c, "impossible"), GATE_INVALID);
    c.candidate.ndcg_20 = 1.5;
    assert_int_equal(decide(&c, "impossible"), GATE_INVALID);
    c = equal_models();
    c.rank_error = (double)NAN;
    assert_int_equal(decide(&c, "impossible"), GATE_INVALID);
    c = equal_models();
    c.n_pairs = 0;
    assert_int_equal(decide(&c, "on 0 interactions"), GATE_INVALID);
}

static void gate_decide_a_pinned_model_stays(void **state)
{
    struct gate_case c = equal_models();

    (void)state;
    c.pinned = true;
    c.candidate.ndcg_20 = 0.9;
    assert_int_equal(decide(&c, "model 7 is pinned"), GATE_PINNED);
    assert_string_equal(gate_verdict_name(GATE_PINNED), "pinned");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gate_decide_equal_and_better_pass),
        cmocka_unit_test(gate_decide_worse_overall_is_refused_beyond_the_tolerance),
        cmocka_unit_test(gate_decide_worse_on_cold_is_refused_with_enough_pairs),
        cmocka_unit_test(gate_decide_chance_is_allowed_for),
        cmocka_unit_test(gate_decide_positions_confirm_what_ndcg_leaves_open),
        cmocka_unit_test(gate_decide_impossible_figures_are_refused),
        cmocka_unit_test(gate_decide_a_pinned_model_stays),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
