/* What the verbs of metammf share; the verbs themselves are tested as executables. */
#include "daemon/cli/cli.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static void check_base64(const char *data, size_t bytes, const char *wanted)
{
    char *text = cli_base64(data, bytes);

    assert_non_null(text);
    assert_string_equal(text, wanted);
    free(text);
}

static void base64_follows_rfc4648(void **state)
{
    (void)state;
    check_base64("", 0, "");
    check_base64("f", 1, "Zg==");
    check_base64("fo", 2, "Zm8=");
    check_base64("foo", 3, "Zm9v");
    check_base64("foob", 4, "Zm9vYg==");
    check_base64("foobar", 6, "Zm9vYmFy");
    check_base64("\0\xff\xfe", 3, "AP/+");
}

static void floats_read_back_as_they_were(void **state)
{
    const float vec[] = {0.1f, -1.0f / 3.0f, 1e-38f, 3.4e38f, 0.0f};
    json_t *array = cli_json_floats(vec, 5), *again;
    char *text = json_dumps(array, JSON_REAL_PRECISION(9));

    (void)state;
    assert_non_null(text);
    again = json_loads(text, 0, NULL);
    for (size_t i = 0; i < 5; i++)
        assert_true((float)json_number_value(json_array_get(again, i)) == vec[i]);
    free(text);
    json_decref(array);
    json_decref(again);
}

static void numbers_for_people_are_short(void **state)
{
    char text[32];

    (void)state;
    cli_bytes(999, text, sizeof(text));
    assert_string_equal(text, "999 B");
    cli_bytes(1440, text, sizeof(text));
    assert_string_equal(text, "1.4 kB");
    cli_bytes(INT64_C(83600000000), text, sizeof(text));
    assert_string_equal(text, "84 GB");
    cli_age(-3, text, sizeof(text));
    assert_string_equal(text, "0 s");
    cli_age(3600 * 5, text, sizeof(text));
    assert_string_equal(text, "5 h");
    cli_age(86400 * 3, text, sizeof(text));
    assert_string_equal(text, "3 days");
    cli_time(0, text, sizeof(text));
    assert_string_equal(text, "-");
    cli_time(INT64_C(1767323045000000), text, sizeof(text));
    assert_string_equal(text, "2026-01-02 03:04:05");
}

static void load_store_alone_uses_the_defaults(void **state)
{
    struct cli cli = {.store = "relative.db"};
    struct err err;
    char wanted[4096];

    (void)state;
    err_clear(&err);
    assert_int_equal(cli_load(&cli, &err), ERR_OK);
    assert_non_null(getcwd(wanted, sizeof(wanted) - 32));
    strcat(wanted, "/relative.db");
    assert_string_equal(cli.settings.store.path, wanted);
    assert_null(cli.settings.path);
    settings_done(&cli.settings);
}

static void load_missing_settings_says_what_to_give(void **state)
{
    struct cli cli = {.config = "/nonexistent/metammfd.conf"};
    struct err err;

    (void)state;
    err_clear(&err);
    assert_int_equal(cli_load(&cli, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_CONFIG);
    assert_non_null(strstr(err.text, "/nonexistent/metammfd.conf"));
    assert_false(cli.loaded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_follows_rfc4648),
        cmocka_unit_test(floats_read_back_as_they_were),
        cmocka_unit_test(numbers_for_people_are_short),
        cmocka_unit_test(load_store_alone_uses_the_defaults),
        cmocka_unit_test(load_missing_settings_says_what_to_give),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
