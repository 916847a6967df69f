#include "daemon/base/progress.h"

#include "config/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
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
    now_us = 1;
    clock_inject(&source);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    clock_inject(NULL);
    return 0;
}

static void format_half_done_shows_rate_and_time_left(void **state)
{
    char line[128];

    (void)state;
    progress_format("ingest", 40, 120, 10 * 1000000, "", line, sizeof(line));
    assert_string_equal(line, "ingest [######..............] 40/120  33 %  4.0/s  0:20 left");
    progress_format("x", 1, 36001, 1000000, NULL, line, sizeof(line));
    assert_string_equal(line, "x [....................] 1/36001  0 %  1.0/s  10:00:00 left");
}

static void format_the_end_has_nothing_left(void **state)
{
    char line[128];

    (void)state;
    progress_format("x", 5, 5, 1000000, NULL, line, sizeof(line));
    assert_string_equal(line, "x [####################] 5/5  100 %  5.0/s");
    progress_format("x", 9, 5, 1000000, NULL, line, sizeof(line)); /* a file that grew */
    assert_string_equal(line, "x [####################] 5/5  100 %  9.0/s");
}

static void format_unknown_total_and_no_time_divide_by_nothing(void **state)
{
    char line[128];

    (void)state;
    progress_format("x", 7, 0, 0, "disk full", line, sizeof(line));
    assert_string_equal(line, "x 7  0.0/s  disk full");
    progress_format("x", 0, 5, 0, NULL, line, sizeof(line));
    assert_string_equal(line, "x [....................] 0/5  0 %  0.0/s");
}

static void format_a_small_buffer_is_not_overrun(void **state)
{
    char line[8];

    (void)state;
    progress_format("ingest", 1, 2, 1, "note", line, sizeof(line));
    assert_string_equal(line, "ingest ");
}

static void update_to_a_file_prints_plain_lines_now_and_then(void **state)
{
    char *text = NULL;
    size_t bytes = 0;
    struct progress p;
    FILE *out;

    (void)state;
    out = open_memstream(&text, &bytes);
    assert_non_null(out);
    progress_start(&p, out, "x", 10);
    assert_false(p.is_terminal);
    progress_update(&p, 1, NULL); /* too early */
    now_us += 6 * 1000000;
    progress_update(&p, 2, NULL);
    now_us += 1000000;
    progress_update(&p, 3, NULL); /* too early again */
    progress_end(&p, 10);
    assert_int_equal(fclose(out), 0);
    assert_null(strchr(text, '\r'));
    assert_null(strchr(text, '\033'));
    assert_non_null(strstr(text, "2/10"));
    assert_null(strstr(text, "3/10"));
    assert_non_null(strstr(text, "10/10"));
    free(text);
}

static void end_of_quick_work_says_nothing(void **state)
{
    char *text = NULL;
    size_t bytes = 0;
    struct progress p;
    FILE *out;

    (void)state;
    out = open_memstream(&text, &bytes);
    assert_non_null(out);
    progress_start(&p, out, "x", 10);
    progress_end(&p, 10);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(bytes, 0);
    free(text);
    progress_start(&p, NULL, "x", 10);
    progress_update(&p, 5, NULL);
    progress_end(&p, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format_half_done_shows_rate_and_time_left),
        cmocka_unit_test(format_the_end_has_nothing_left),
        cmocka_unit_test(format_unknown_total_and_no_time_divide_by_nothing),
        cmocka_unit_test(format_a_small_buffer_is_not_overrun),
        cmocka_unit_test_setup_teardown(update_to_a_file_prints_plain_lines_now_and_then, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(end_of_quick_work_says_nothing, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
