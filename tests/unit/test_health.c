#include "daemon/base/health.h"

#include "config/clock.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static int64_t now_us;

static int64_t fake_clock(void)
{
    return now_us;
}

static int setup(void **state)
{
    static const struct clock_source source = {fake_clock, fake_clock};

    (void)state;
    clock_inject(&source);
    now_us = 1000000000;
    for (int i = 0; i < HEALTH_PARTS; i++)
        health_stop((enum health_part)i);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    clock_inject(NULL);
    return 0;
}

static void ok_nothing_started_is_healthy(void **state)
{
    char why[128] = "untouched";

    (void)state;
    assert_true(health_ok(why, sizeof(why)));
    assert_string_equal(why, "untouched");
}

static void ok_a_silent_part_is_named(void **state)
{
    char why[128];

    (void)state;
    health_start(HEALTH_SOURCE, 5000);
    health_start(HEALTH_SINK, 60000);
    now_us += 5000 * 1000;
    assert_true(health_ok(why, sizeof(why))); /* at the limit, not over it */
    now_us += 1;
    assert_false(health_ok(why, sizeof(why)));
    assert_non_null(strstr(why, "source has made no progress for 5000 ms"));
    health_tick(HEALTH_SOURCE);
    assert_true(health_ok(why, sizeof(why)));
}

static void ok_a_stopped_part_is_healthy(void **state)
{
    char why[128];

    (void)state;
    health_start(HEALTH_EXTRACT, 10);
    now_us += 1000000;
    assert_false(health_ok(why, sizeof(why)));
    health_stop(HEALTH_EXTRACT);
    assert_true(health_ok(why, sizeof(why)));
}

static void ok_a_waiting_part_must_still_tick(void **state)
{
    char why[128];

    (void)state;
    health_start(HEALTH_SINK, 1000);
    health_wait(HEALTH_SINK, "disk full");
    now_us += 999 * 1000;
    health_tick(HEALTH_SINK);
    now_us += 999 * 1000;
    assert_true(health_ok(why, sizeof(why)));
    now_us += 2 * 1000;
    assert_false(health_ok(why, sizeof(why)));
}

static void waits_are_joined_and_bounded(void **state)
{
    char text[64], tiny[6];

    (void)state;
    health_start(HEALTH_SOURCE, 1000);
    health_start(HEALTH_SINK, 1000);
    health_waits(text, sizeof(text));
    assert_string_equal(text, "");
    health_wait(HEALTH_SOURCE, "broker down");
    health_wait(HEALTH_SINK, "disk full");
    health_waits(text, sizeof(text));
    assert_string_equal(text, "broker down; disk full");
    health_waits(tiny, sizeof(tiny));
    assert_string_equal(tiny, "broke");
    health_wait(HEALTH_SOURCE, NULL);
    health_waits(text, sizeof(text));
    assert_string_equal(text, "disk full");
}

/* A wait that was cut inside a character broke every status: JSON takes UTF-8 only. */
static void waits_are_cut_between_characters(void **state)
{
    char why[512] = "", text[512];

    (void)state;
    for (int shift = 0; shift < 3; shift++) {
        (void)snprintf(why, sizeof(why), "%.*s", shift, "xx");
        while (strlen(why) < 300)
            strcat(why, "\xe2\x82\xac");
        for (int i = 0; i < HEALTH_PARTS; i++) {
            health_start((enum health_part)i, 1000);
            health_wait((enum health_part)i, why);
        }
        for (size_t bytes = 1; bytes <= sizeof(text); bytes += 7) {
            health_waits(text, bytes);
            json_t *json = json_string(text);
            if (!json)
                fail_msg("no UTF-8: %s", text);
            json_decref(json);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ok_nothing_started_is_healthy, setup, teardown),
        cmocka_unit_test_setup_teardown(ok_a_silent_part_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(ok_a_stopped_part_is_healthy, setup, teardown),
        cmocka_unit_test_setup_teardown(ok_a_waiting_part_must_still_tick, setup, teardown),
        cmocka_unit_test_setup_teardown(waits_are_joined_and_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(waits_are_cut_between_characters, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
