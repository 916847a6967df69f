/* The time by which what is old may go: clocks of the test's own. */
#include "config/clock.h"
#include "daemon/base/steady.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MINUTE INT64_C(60000000)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define T0     INT64_C(1700000000000000)

static int64_t wall, mono;

static int64_t read_wall(void)
{
    return wall;
}

static int64_t read_mono(void)
{
    return mono;
}

static int set_up(void **state)
{
    static const struct clock_source clocks = {read_wall, read_mono};

    (void)state;
    clock_inject(&clocks);
    wall = T0;
    mono = 5 * MINUTE; /* since the machine has started */
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    clock_inject(NULL);
    return 0;
}

static void pass(int64_t us)
{
    for (int64_t end = mono + us; mono < end; wall += MINUTE, mono += MINUTE)
        (void)steady_look();
}

static const char *wait(void)
{
    static char why[128];

    steady_wait(why, sizeof why);
    return why;
}

static void nothing_is_old_before_a_clock_was_right_for_an_hour(void **state)
{
    (void)state;
    steady_begin(0);
    assert_true(steady_now_us() == INT64_MIN);
    pass(59 * MINUTE);
    assert_true(steady_now_us() == INT64_MIN);
    assert_non_null(strstr(wait(), "believed in 1 min"));
    pass(2 * MINUTE);
    assert_int_equal(steady_now_us(), wall);
    assert_string_equal(wait(), "");
}

static void a_jump_ahead_is_believed_after_an_hour(void **state)
{
    (void)state;
    steady_begin(T0);
    pass(10 * MINUTE);
    wall += 730 * DAY;
    assert_int_equal(steady_now_us(), T0 + 10 * MINUTE);
    assert_non_null(strstr(wait(), "jumped ahead by 730 days; it is believed in 60 min"));
    pass(59 * MINUTE); /* and what grows old by then, goes */
    assert_int_equal(steady_now_us(), T0 + 69 * MINUTE);
    pass(2 * MINUTE);
    assert_int_equal(steady_now_us(), wall);
    assert_string_equal(wait(), "");
}

static void two_looks_an_hour_apart_are_enough(void **state)
{
    (void)state;
    steady_begin(T0);
    wall += 730 * DAY;
    (void)steady_look();
    wall += HOUR;
    mono += HOUR;
    assert_int_equal(steady_now_us(), wall);
}

static void a_clock_that_jumps_on_is_never_believed(void **state)
{
    (void)state;
    steady_begin(T0);
    for (int i = 0; i < 20; i++) {
        wall += DAY;
        pass(50 * MINUTE);
    }
    assert_int_equal(steady_now_us(), T0 + 20 * 50 * MINUTE);
}

static void a_jump_that_is_taken_back_leaves_no_trace(void **state)
{
    (void)state;
    steady_begin(T0);
    pass(10 * MINUTE);
    wall += 730 * DAY;
    pass(30 * MINUTE);
    wall -= 730 * DAY;
    assert_int_equal(steady_now_us(), wall);
    assert_string_equal(wait(), "");
}

static void a_clock_that_goes_back_is_gone_by_at_once(void **state)
{
    (void)state;
    steady_begin(T0);
    pass(10 * MINUTE);
    wall -= 100 * DAY;
    assert_int_equal(steady_now_us(), wall);
    assert_string_equal(wait(), "");
    pass(61 * MINUTE);
    assert_int_equal(steady_now_us(), wall);
    wall += 100 * DAY; /* by then this is the jump */
    assert_int_equal(steady_now_us(), wall - 100 * DAY);
}

static void a_start_without_network_time_keeps_what_was_noted(void **state)
{
    (void)state;
    wall = 0; /* no battery: 1970 */
    steady_begin(T0);
    assert_int_equal(steady_now_us(), 0);
    pass(10 * MINUTE);
    wall = T0 + 2 * HOUR; /* the network's time comes */
    assert_int_equal(steady_now_us(), T0 + 10 * MINUTE);
    assert_string_equal(wait(), "");
    pass(61 * MINUTE);
    assert_int_equal(steady_now_us(), wall);
    assert_int_equal(steady_look().noted_us, wall);
}

static void what_is_stamped_before_the_time_is_right_does_not_look_old(void **state)
{
    (void)state;
    steady_begin(0);
    assert_int_equal(steady_stamp_us(), wall);
    steady_begin(T0);
    wall += DAY / 2;
    assert_int_equal(steady_stamp_us(), wall);
    wall = T0 - DAY / 2;
    assert_int_equal(steady_stamp_us(), wall);
    wall = T0 + 730 * DAY;
    assert_int_equal(steady_stamp_us(), wall);
    wall = 0;
    assert_int_equal(steady_stamp_us(), T0);
}

static void restarts_more_often_than_an_hour_do_not_stop_it(void **state)
{
    int64_t noted = T0;

    (void)state;
    for (int i = 0; i < 100; i++) {
        steady_begin(noted);
        pass(20 * MINUTE);
        noted = steady_look().noted_us;
        wall += MINUTE; /* down */
        mono += MINUTE;
    }
    assert_int_equal(noted, T0 + 100 * 20 * MINUTE);
}

static void a_slow_clock_is_followed(void **state)
{
    (void)state;
    steady_begin(T0);
    for (int i = 0; i < 100; i++) {
        pass(30 * MINUTE);
        wall += MINUTE; /* adjusted by and by */
    }
    assert_true(wall - steady_now_us() <= 3 * MINUTE);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(nothing_is_old_before_a_clock_was_right_for_an_hour),
        CASE(a_jump_ahead_is_believed_after_an_hour),
        CASE(two_looks_an_hour_apart_are_enough),
        CASE(a_clock_that_jumps_on_is_never_believed),
        CASE(a_jump_that_is_taken_back_leaves_no_trace),
        CASE(a_clock_that_goes_back_is_gone_by_at_once),
        CASE(a_start_without_network_time_keeps_what_was_noted),
        CASE(what_is_stamped_before_the_time_is_right_does_not_look_old),
        CASE(restarts_more_often_than_an_hour_do_not_stop_it),
        CASE(a_slow_clock_is_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
