#include "config/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

static int64_t seven(void)
{
    return 7;
}

static int64_t eight(void)
{
    return 8;
}

static void clock_real_system_agrees_with_time(void **state)
{
    int64_t seconds = time(NULL), now_us = clock_real_us();

    (void)state;
    assert_in_range(now_us, (seconds - 1) * 1000000, (seconds + 10) * 1000000);
}

static void clock_mono_many_reads_never_go_back(void **state)
{
    int64_t last_us = clock_mono_us();

    (void)state;
    for (int i = 0; i < 1000; i++) {
        int64_t now_us = clock_mono_us();

        assert_true(now_us >= last_us);
        last_us = now_us;
    }
}

static void clock_inject_source_replaces_both_and_null_restores(void **state)
{
    static const struct clock_source source = {.real_us = seven, .mono_us = eight};

    (void)state;
    clock_inject(&source);
    assert_int_equal(clock_real_us(), 7);
    assert_int_equal(clock_mono_us(), 8);
    clock_inject(NULL);
    assert_true(clock_real_us() > 1000000);
}

static void clock_unit_is_told_by_size(void **state)
{
    (void)state;
    assert_int_equal(clock_unit_us(0), 1000000);
    assert_int_equal(clock_unit_us(1767323045.5), 1000000);
    assert_int_equal(clock_unit_us(-1e10), 1000000);
    assert_int_equal(clock_unit_us(1e11), 1000);
    assert_int_equal(clock_unit_us(-1767323045000.0), 1000);
    assert_int_equal(clock_unit_us(1e14), 1);
    assert_int_equal(clock_unit_us(1e17), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clock_real_system_agrees_with_time),
        cmocka_unit_test(clock_mono_many_reads_never_go_back),
        cmocka_unit_test(clock_unit_is_told_by_size),
        cmocka_unit_test(clock_inject_source_replaces_both_and_null_restores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
