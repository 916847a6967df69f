#include "daemon/event/rfc3339.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SECOND INT64_C(1000000)

static void parse_good_gives_microseconds(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-01-02T03:04:05Z", 1767323045 * SECOND},
        {"2026-01-02T03:04:05.25+01:00", (1767323045 - 3600) * SECOND + 250000},
        {"2026-01-02T03:04:05.1234567-00:30", (1767323045 + 1800) * SECOND + 123456},
        {"2024-02-29t12:00:00z", 1709208000 * SECOND},
        {"2026-01-02 03:04:05Z", 1767323045 * SECOND},
        {"2016-12-31T23:59:60Z", 1483228800 * SECOND},
        {"1969-12-31T23:59:59Z", -SECOND},
        {"9999-12-31T23:59:59Z", 253402300799 * SECOND},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t us = -7;
        bool has_zone = false;
        assert_true(rfc3339_parse(cases[i].text, &us, &has_zone));
        assert_int_equal(us, cases[i].us);
    }
}

static void parse_as_databases_print_it(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
        bool has_zone;
    } cases[] = {
        {"2026-01-02T03:04:05", 1767323045 * SECOND, false},
        {"2026-01-02 03:04:05.5", 1767323045 * SECOND + 500000, false},
        {"2026-01-02 03:04:05+00", 1767323045 * SECOND, true},
        {"2026-01-02T03:04:05+0100", (1767323045 - 3600) * SECOND, true},
        {"2026-01-02T03:04:05-01", (1767323045 + 3600) * SECOND, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t us = -7;
        bool has_zone = !cases[i].has_zone;
        assert_true(rfc3339_parse(cases[i].text, &us, &has_zone));
        assert_int_equal(us, cases[i].us);
        assert_int_equal(has_zone, cases[i].has_zone);
    }
}

static void parse_bad_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "2026-01-02",
        "2026-01-02T03:04Z",
        "2026-13-02T03:04:05Z",
        "2026-00-02T03:04:05Z",
        "2026-02-29T03:04:05Z",
        "1900-02-29T03:04:05Z",
        "2026-04-31T03:04:05Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T03:60:00Z",
        "2026-01-02T03:04:61Z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:05+1:00",
        "2026-01-02T03:04:05+1",
        "2026-01-02T03:04:05+01:",
        "2026-01-02T03:04:05+01:0",
        "2026-01-02T03:04:05+010",
        "2026-01-02T03:04:05 ",
        "2026-01-02T03:04:05Zx",
        "0000-01-01T00:00:00Z",
        "2026-1-2T03:04:05Z",
        "-026-01-02T03:04:05Z",
        "20260102T030405Z",
        "1767323045",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t us = -7;
        bool has_zone;
        assert_false(rfc3339_parse(bad[i], &us, &has_zone));
        assert_int_equal(us, -7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_good_gives_microseconds),
        cmocka_unit_test(parse_as_databases_print_it),
        cmocka_unit_test(parse_bad_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
