#include "daemon/retrain/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#define S INT64_C(1000000)

struct world {
    struct settings s;
    struct retrain_schedule r;
    struct retrain_now now;
};

static int setup(void **state)
{
    static struct world w;

    *state = &w;
    w.now = (struct retrain_now){1000 * S, 12 * 60};
    return settings_init(&w.s);
}

static int teardown(void **state)
{
    settings_done(&((struct world *)*state)->s);
    return 0;
}

static void set(struct world *w, const char *key, const char *value)
{
    assert_int_equal(settings_set(&w->s, key, value, NULL), ERR_OK);
}

static bool due(struct world *w)
{
    return retrain_schedule_is_due(&w->r, &w->s, &w->now);
}

static void assert_line(struct world *w, const char *text)
{
    char line[128];

    retrain_schedule_line(&w->r, &w->s, &w->now, line, sizeof(line));
    assert_string_equal(line, text);
}

static void begin_untrained(struct world *w, int64_t n_new)
{
    retrain_schedule_init(&w->r, &w->now, false, -1, n_new);
}

static void begin_trained(struct world *w, int64_t age_s, int64_t n_new)
{
    retrain_schedule_init(&w->r, &w->now, true, age_s * S, n_new);
}

static void is_due_untrained_waits_for_interactions_only(void **state)
{
    struct world *w = *state;

    begin_untrained(w, 999);
    assert_false(due(w));
    assert_line(w, "next retrain after 1 more interactions");
    retrain_schedule_count(&w->r, 1);
    assert_true(due(w));
}

static void is_due_by_interval_with_enough_new(void **state)
{
    struct world *w = *state;

    begin_trained(w, 3000, 0);
    assert_false(due(w));
    retrain_schedule_count(&w->r, 1000);
    assert_false(due(w));
    assert_line(w, "next retrain in 10 min");
    w->now.mono_us += 599 * S;
    assert_false(due(w));
    assert_line(w, "next retrain in 1 s");
    w->now.mono_us += S;
    assert_true(due(w));
    set(w, "training.interval_s", "0");
    assert_false(due(w));
    assert_line(w, "retrains on request only");
}

static void is_due_by_number_before_the_interval(void **state)
{
    struct world *w = *state;

    set(w, "training.new_interactions", "5000");
    begin_trained(w, 10, 4999);
    assert_false(due(w));
    retrain_schedule_count(&w->r, 1);
    assert_true(due(w));
    set(w, "training.enabled", "false");
    assert_false(due(w));
    retrain_schedule_ask(&w->r);
    assert_true(due(w));
}

static void is_due_never_two_at_once_and_requests_are_kept(void **state)
{
    struct world *w = *state;

    begin_untrained(w, 0);
    retrain_schedule_ask(&w->r);
    retrain_schedule_begin(&w->r);
    retrain_schedule_ask(&w->r);
    assert_false(due(w));
    assert_line(w, "retraining");
    retrain_schedule_end(&w->r, &w->s, &w->now, RETRAIN_PUBLISHED);
    assert_true(due(w));
}

static void end_counts_from_the_beginning_of_the_training(void **state)
{
    struct world *w = *state;

    begin_untrained(w, 1500);
    retrain_schedule_begin(&w->r);
    retrain_schedule_count(&w->r, 300);
    retrain_schedule_end(&w->r, &w->s, &w->now, RETRAIN_PUBLISHED);
    assert_int_equal(w->r.n_new, 300);
    w->now.mono_us += 4000 * S;
    assert_false(due(w)); /* 300 are too few */
    retrain_schedule_count(&w->r, 700);
    assert_true(due(w));
}

static void end_failures_double_the_pause(void **state)
{
    struct world *w = *state;
    static const int64_t pause_s[] = {300, 600, 1200};

    begin_untrained(w, 5000);
    for (size_t i = 0; i < 3; i++) {
        retrain_schedule_begin(&w->r);
        retrain_schedule_end(&w->r, &w->s, &w->now, RETRAIN_FAILED);
        w->now.mono_us += pause_s[i] * S - 1;
        assert_false(due(w));
        w->now.mono_us += 1;
        assert_true(due(w));
    }
    w->r.n_failures = 1000;
    retrain_schedule_end(&w->r, &w->s, &w->now, RETRAIN_FAILED);
    assert_int_equal(w->r.not_before_us - w->now.mono_us, 86400 * S);
    assert_line(w, "next retrain in 24 h");
    retrain_schedule_end(&w->r, &w->s, &w->now, RETRAIN_NOT_NOW);
    assert_int_equal(w->r.not_before_us - w->now.mono_us, 300 * S);
    assert_int_equal(w->r.n_new, 5000);
}

static void end_rejected_waits_for_the_next_interval(void **state)
{
    struct world *w = *state;

    begin_trained(w, 3600, 2000);
    assert_true(due(w));
    retrain_schedule_begin(&w->r);
    retrain_schedule_end(&w->r, &w->s, &w->now, RETRAIN_REJECTED);
    retrain_schedule_count(&w->r, 1000);
    assert_false(due(w));
    w->now.mono_us += 3600 * S;
    assert_true(due(w));
}

/* Due, and the thread has not looked yet, or works at something else: nothing is waited for. */
static void line_of_what_is_due_names_no_wait(void **state)
{
    struct world *w = *state;

    begin_untrained(w, 5000);
    assert_true(due(w));
    assert_line(w, "retrains now");
    set(w, "training.quiet_hours", "22:00-06:30");
    assert_true(due(w));
    assert_line(w, "retrains now");
}

static void quiet_hours_hold_back_but_not_a_request(void **state)
{
    struct world *w = *state;

    set(w, "training.quiet_hours", "22:00-06:30");
    begin_untrained(w, 5000);
    assert_true(due(w));
    w->now.minute_of_day = 23 * 60;
    assert_false(due(w));
    assert_line(w, "next retrain after the quiet hours 22:00-06:30");
    w->now.minute_of_day = 6 * 60 + 29;
    assert_false(due(w));
    w->now.minute_of_day = 6 * 60 + 30;
    assert_true(due(w));
    set(w, "training.quiet_hours", "06:00-07:00");
    assert_false(due(w));
    retrain_schedule_ask(&w->r);
    assert_true(due(w));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(is_due_untrained_waits_for_interactions_only, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(is_due_by_interval_with_enough_new, setup, teardown),
        cmocka_unit_test_setup_teardown(is_due_by_number_before_the_interval, setup, teardown),
        cmocka_unit_test_setup_teardown(is_due_never_two_at_once_and_requests_are_kept, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(end_counts_from_the_beginning_of_the_training, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(end_failures_double_the_pause, setup, teardown),
        cmocka_unit_test_setup_teardown(end_rejected_waits_for_the_next_interval, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(line_of_what_is_due_names_no_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(quiet_hours_hold_back_but_not_a_request, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
