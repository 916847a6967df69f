/* Floods of lines, with a clock of our own. */
#include "config/clock.h"
#include "config/log_limit.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Atomic int64_t now_us;
static char lines[256][256];
static size_t n_lines;

static int64_t mono(void)
{
    return now_us;
}

static void keep(enum log_level level, const char *text, const struct log_field *fields,
                 size_t n_fields)
{
    (void)level;
    (void)fields;
    (void)n_fields;
    assert_true(n_lines < 256);
    snprintf(lines[n_lines++], sizeof lines[0], "%s", text);
}

static int begin(void **state)
{
    static const struct clock_source source = {mono, mono};

    (void)state;
    log_limit_flush();
    clock_inject(&source);
    log_set_writer(keep);
    now_us = 1000000000;
    n_lines = 0;
    return 0;
}

static int end(void **state)
{
    (void)state;
    log_limit_flush();
    log_set_writer(NULL);
    clock_inject(NULL);
    return 0;
}

static void say(const char *word, int n)
{
    for (int i = 0; i < n; i++)
        if (log_limit(LOG_LEVEL_WARNING, "letters", word, "t/0@%d", i))
            log_warning("%s %d", word, i);
}

static void first_five_then_a_count(void **state)
{
    (void)state;
    say("bad_json", 50000);
    assert_int_equal(n_lines, 5);
    assert_string_equal(lines[4], "bad_json 4");
    now_us += 59 * INT64_C(1000000);
    log_limit_tick();
    assert_int_equal(n_lines, 5);
    now_us += 1000000;
    log_limit_tick();
    assert_int_equal(n_lines, 6);
    assert_string_equal(lines[5],
                        "49995 more letters bad_json in the last 60 s; the last was t/0@49999");
    log_limit_tick();
    assert_int_equal(n_lines, 6);
}

static void a_new_minute_begins_anew(void **state)
{
    (void)state;
    for (int minute = 0; minute < 3; minute++) {
        say("media", 7);
        now_us += 61 * INT64_C(1000000);
    }
    /* 5, then the count before the next minute's 5: the last minute is not told yet */
    assert_int_equal(n_lines, 5 + 1 + 5 + 1 + 5);
    assert_string_equal(lines[5], "2 more letters media in the last 61 s; the last was t/0@6");
    log_limit_tick();
    assert_int_equal(n_lines, 18);
}

static void kinds_are_counted_apart(void **state)
{
    (void)state;
    say("a", 6);
    say("b", 6);
    say("c", 5); /* nothing to tell */
    assert_int_equal(n_lines, 15);
    log_limit_flush();
    assert_int_equal(n_lines, 17);
    assert_string_equal(lines[15], "1 more letters a in the last 0 s; the last was t/0@5");
}

/* A stranger's words neither fill the memory nor reach the terminal. */
static void many_kinds_share_one(void **state)
{
    char word[16];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(word, sizeof word, "w%d", i);
        say(word, 1);
    }
    assert_int_equal(n_lines, 63 + 5);
    log_limit_flush();
    assert_int_equal(n_lines, 69);
    assert_string_equal(lines[68],
                        "932 more lines of other kinds in the last 0 s; the last was t/0@0");
    for (int i = 0; i < 6; i++)
        (void)log_limit(LOG_LEVEL_WARNING, "x", "\x1b]0;y", "\xc2\x9b%d", i);
    log_limit_flush();
    assert_string_equal(lines[69], "1 more x  ]0;y in the last 0 s; the last was  5");
}

static _Atomic unsigned n_first;

static void *flood(void *arg)
{
    for (int i = 0; i < 20000; i++)
        n_first += log_limit(LOG_LEVEL_WARNING, "letters", "flood", "%d", i);
    return arg;
}

static void threads_lose_no_count(void **state)
{
    pthread_t threads[4];

    (void)state;
    n_first = 0;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, flood, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(n_first, 5);
    log_limit_flush();
    assert_int_equal(strncmp(lines[0], "79995 more letters flood", 24), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(first_five_then_a_count, begin, end),
        cmocka_unit_test_setup_teardown(a_new_minute_begins_anew, begin, end),
        cmocka_unit_test_setup_teardown(kinds_are_counted_apart, begin, end),
        cmocka_unit_test_setup_teardown(many_kinds_share_one, begin, end),
        cmocka_unit_test_setup_teardown(threads_lose_no_count, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
