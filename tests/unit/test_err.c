#include "config/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sysexits.h>

#include <cmocka.h>

static void err_fatal_fills_status_code_and_text(void **state)
{
    struct err err = {0};

    (void)state;
    assert_int_equal(err_fatal(&err, EX_CONFIG, "open %s: %d", "/a", 7), ERR_FATAL);
    assert_int_equal(err.status, ERR_FATAL);
    assert_int_equal(err.exit_code, EX_CONFIG);
    assert_string_equal(err.reason, "");
    assert_string_equal(err.text, "open /a: 7");
}

static void err_functions_null_err_return_status(void **state)
{
    (void)state;
    assert_int_equal(err_fatal(NULL, 1, "x"), ERR_FATAL);
    assert_int_equal(err_retry(NULL, 1, "x"), ERR_RETRY);
    assert_int_equal(err_skip(NULL, "media", "x"), ERR_SKIP);
    assert_int_equal(err_oom(NULL, "x"), ERR_RETRY);
    err_clear(NULL);
}

static void err_skip_long_reason_is_cut(void **state)
{
    struct err err;

    (void)state;
    err_skip(&err, "a_reason_that_is_longer_than_the_field", "x");
    assert_int_equal(strlen(err.reason), ERR_REASON_BYTES - 1);
    assert_int_equal(err.exit_code, EX_DATAERR);
}

static void err_skip_argument_inside_err_survives(void **state)
{
    struct err err;

    (void)state;
    err_skip(&err, "media", "inner");
    err_skip(&err, err.reason, "outer: %s", err.text);
    assert_string_equal(err.text, "outer: inner");
    assert_string_equal(err.reason, "media");
}

static void err_wrap_keeps_status_and_reason(void **state)
{
    struct err err;

    (void)state;
    err_skip(&err, "bad_json", "byte 3: expected a value");
    assert_int_equal(err_wrap(&err, "item %s", "v1"), ERR_SKIP);
    assert_string_equal(err.reason, "bad_json");
    assert_string_equal(err.text, "item v1: byte 3: expected a value");
    err_clear(&err);
    assert_int_equal(err_wrap(&err, "alone"), ERR_OK);
    assert_string_equal(err.text, "alone");
}

static void err_text_control_and_bad_bytes_become_one_valid_line(void **state)
{
    struct err err;

    (void)state;
    err_retry(&err, EX_IOERR, "a\nb\x1b[2Jc\xff\xc0\xaf \xe2\x82\xac\n");
    assert_string_equal(err.text, "a b [2Jc??? \xe2\x82\xac");
    err_retry(&err, EX_IOERR, "\xed\xa0\x80|\xf4\x90\x80\x80|\xe0\x80\x80|\xf0\x9f\x98\x80");
    assert_string_equal(err.text, "???|????|???|\xf0\x9f\x98\x80");
}

static void err_text_too_long_is_cut_between_characters(void **state)
{
    char many[2 * ERR_TEXT_BYTES];
    struct err err;

    (void)state;
    for (size_t i = 0; i + 3 < sizeof(many); i += 3)
        memcpy(many + i, "\xe2\x82\xac", 3);
    many[sizeof(many) - sizeof(many) % 3 - 3] = '\0';
    for (int shift = 0; shift < 3; shift++) {
        err_fatal(&err, 1, "%.*s%s", shift, "xx", many);
        assert_int_equal((strlen(err.text) - (size_t)shift) % 3, 0);
        assert_in_range(strlen(err.text), ERR_TEXT_BYTES - 4, ERR_TEXT_BYTES - 1);
        assert_null(strchr(err.text, '?'));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(err_fatal_fills_status_code_and_text),
        cmocka_unit_test(err_functions_null_err_return_status),
        cmocka_unit_test(err_skip_long_reason_is_cut),
        cmocka_unit_test(err_skip_argument_inside_err_survives),
        cmocka_unit_test(err_wrap_keeps_status_and_reason),
        cmocka_unit_test(err_text_control_and_bad_bytes_become_one_valid_line),
        cmocka_unit_test(err_text_too_long_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
