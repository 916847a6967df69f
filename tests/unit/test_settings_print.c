#include "config/settings_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int load(const char *text, struct settings *s, struct err *err)
{
    return settings_load_text("f.conf", text, strlen(text), s, err);
}

static char *print_by(int (*how)(const struct settings *, FILE *), const struct settings *s)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    assert_non_null(out);
    assert_int_equal(how(s, out), ERR_OK);
    fclose(out);
    return text;
}

static char *print(const struct settings *s)
{
    return print_by(settings_print, s);
}

static void settings_print_changed_is_what_differs_and_loads_the_same(void **state)
{
    static const char text[] = "\nstore = {\n    batch_ms = 8; # 0 … 10000 ms\n};\n"
                               "\nkafka = {\n    mode = \"assign\"; # group | assign\n    "
                               "video_topics = [\"a\", \"b\"];\n"
                               "    partitions = [3];\n    properties = {\n        "
                               "sasl_password = \"***\";\n    };\n};\n"
                               "\ntraining = {\n    warm_start = false;\n};\n";
    struct settings s = {0}, again = {0};
    struct err err = {0};
    char *changed, *whole, *whole_again;

    (void)state;
    assert_int_equal(settings_init(&s), ERR_OK);
    changed = print_by(settings_print_changed, &s);
    assert_string_equal(changed, "");
    free(changed);
    load("store = { batch_ms = 8; batch_rows = 100; }; kafka = { mode = \"assign\"; partitions "
         "= "
         "[3]; video_topics = [\"a\", \"b\"]; properties = { sasl_password = \"x\"; }; };"
         "training = { warm_start = false; };",
         &s, &err);
    assert_string_equal(err.text, "");
    changed = print_by(settings_print_changed, &s);
    assert_string_equal(changed, text);
    assert_int_equal(load(changed, &again, &err), ERR_OK);
    whole = print(&s);
    whole_again = print(&again);
    assert_string_equal(whole, whole_again);
    free(changed);
    free(whole);
    free(whole_again);
    settings_done(&s);
    settings_done(&again);
}

static void settings_print_output_loads_again_the_same(void **state)
{
    struct settings s = {0}, again = {0};
    struct err err = {0};
    char *first, *second;

    (void)state;
    load("media = { max_bytes = 5000000000; roots = [\"/a\\\"b\\\\\", \"/é\", "
         "\"/\xe2\x80\xae\", \"/\xff\"]; };"
         "kafka = { partitions = [1, 2]; properties = { client_id = \"a\\nb\\x07\"; "
         "ssl_key_password = \"@credential:k\"; }; };",
         &s, &err);
    assert_string_equal(err.text, "");
    first = print(&s);
    assert_null(
        strstr(first, "\xe2\x80\xae")); /* turned around, it would read as something else */
    assert_null(strchr(first, '\xff'));
    assert_int_equal(load(first, &again, &err), ERR_OK);
    second = print(&again);
    assert_string_equal(first, second);
    assert_string_equal(again.media.roots.items[2], "/\xe2\x80\xae");
    assert_string_equal(again.media.roots.items[3], "/\xff");
    assert_string_equal(again.kafka.properties.items[0], "client.id=a\nb\a");
    assert_string_equal(again.kafka.properties.items[1], "ssl.key.password=@credential:k");
    free(first);
    free(second);
    settings_done(&s);
    settings_done(&again);
}

static void settings_print_secrets_are_redacted(void **state)
{
    struct settings s = {0};
    struct err err = {0};
    char *text;

    (void)state;
    load("kafka = { properties = { sasl_password = \"hunter2\"; ssl_key_pem = \"hunter2\"; "
         "ssl_keystore_password = \"hunter2\"; sasl_oauthbearer_config = \"x=hunter2\"; "
         "sasl_oauthbearer_client_secret = \"hunter2\"; client_id = \"seen\"; }; };",
         &s, &err);
    assert_string_equal(err.text, "");
    text = print(&s);
    assert_null(strstr(text, "hunter2"));
    assert_non_null(strstr(text, "sasl_password = \"***\";"));
    assert_non_null(strstr(text, "client_id = \"seen\";"));
    free(text);
    settings_done(&s);
}

static void settings_print_full_device_is_retry(void **state)
{
    struct settings s;
    FILE *out = fopen("/dev/full", "w");

    (void)state;
    if (out == NULL) {
        print_message("skipped: /dev/full is missing\n");
        skip();
    }
    assert_int_equal(settings_init(&s), ERR_OK);
    assert_int_equal(settings_print(&s, out), ERR_RETRY);
    fclose(out);
    settings_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_print_changed_is_what_differs_and_loads_the_same),
        cmocka_unit_test(settings_print_output_loads_again_the_same),
        cmocka_unit_test(settings_print_secrets_are_redacted),
        cmocka_unit_test(settings_print_full_device_is_retry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
