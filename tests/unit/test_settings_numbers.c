/* interactions.kinds and interactions.default: names with a number each. */

#include "config/settings_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <cmocka.h>

static int load(const char *text, struct settings *s, struct err *err)
{
    err_clear(err);
    return settings_load_text("f.conf", text, strlen(text), s, err);
}

static double factor(const struct settings *s, const char *kind)
{
    for (size_t i = 0; i < s->interactions.kinds.n; i++)
        if (strcmp(s->interactions.kinds.items[i].name, kind) == 0)
            return s->interactions.kinds.items[i].value;
    return s->interactions.fallback;
}

static void is(double got, double want)
{
    assert_true(got == want);
}

static void what_sites_send_has_a_factor(void **state)
{
    struct settings s;

    (void)state;
    assert_int_equal(settings_init(&s), ERR_OK);
    is(factor(&s, "like"), 1);
    is(factor(&s, "watch"), 1);
    is(factor(&s, "impression"), 0);
    is(factor(&s, "dislike"), -1);
    is(factor(&s, "skip"), -0.5);
    is(factor(&s, "never heard of"), 1);
    settings_done(&s);
}

static void a_group_changes_what_it_names_and_keeps_the_rest(void **state)
{
    struct settings s = {0};
    struct err err;

    (void)state;
    assert_int_equal(
        load("interactions = { kinds = { like = 2; skip = -0.25; mine = 1.5e1; };\n"
             "default = 0; };",
             &s, &err),
        ERR_OK);
    is(factor(&s, "like"), 2);
    is(factor(&s, "skip"), -0.25);
    is(factor(&s, "mine"), 15);
    is(factor(&s, "dislike"), -1);
    is(factor(&s, "never heard of"), 0);
    settings_done(&s);
}

static void a_list_takes_names_with_dots(void **state)
{
    struct settings s = {0};
    struct err err;

    (void)state;
    assert_int_equal(
        load("interactions = { kinds = ( { kind = \"video.watch\"; weight = 0.5; },\n"
             "{ weight = -1; kind = \"video.nö\"; } ); };",
             &s, &err),
        ERR_OK);
    is(factor(&s, "video.watch"), 0.5);
    is(factor(&s, "video.nö"), -1);
    is(factor(&s, "watch"), 1);
    settings_done(&s);
}

static void bad_entries_name_file_and_line(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"interactions = {\n kinds = {\n like = \"1\"; }; };",
         "f.conf:3: `interactions.kinds.like` must be a number"},
        {"interactions = {\n kinds = { like = true; }; };",
         "f.conf:2: `interactions.kinds.like` must be"},
        {"interactions = {\n kinds = { like = 1000.5; }; };",
         "f.conf:2: `interactions.kinds`: like is 1000.5: must be"},
        {"interactions = {\n kinds = 1.0; };",
         "f.conf:2: `interactions.kinds` must be a group"},
        {"interactions = {\n kinds = [ 1.0 ]; };",
         "f.conf:2: `interactions.kinds` must be a group"},
        {"interactions = {\n kinds = (\n { kind = \"a\"; } ); };",
         "f.conf:3: `interactions.kinds`: an entry"},
        {"interactions = {\n kinds = ( 1.0 ); };", "f.conf:2: `interactions.kinds`: an entry"},
        {"interactions = {\n kinds = ( { kind = \"\"; weight = 1.0; } ); };",
         "f.conf:2: `interactions.kinds`: a name has"},
        {"interactions = {\n kinds = ( { kind = \"a b\"; weight = 1.0; } ); };",
         "blank or a control"},
        {"interactions = {\n kinds = ( { kind = \"a\"; weight = 1.0; },\n{ kind = \"a\"; "
         "weight = 2.0; } ); };",
         "f.conf:3: `interactions.kinds` names a twice"},
        {"interactions = {\n kinds = { like = 1.0;\n like = 2.0; }; };", "f.conf:3: "},
        {"interactions = {\n default = -1.0; };", "f.conf:2: `interactions.default` is -1"},
        {"interactions = {\n default = \"1\"; };",
         "f.conf:2: `interactions.default` must be a number"},
        {"interactions = {\n kind = { a = 1.0; }; };", "f.conf:2: "},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct settings s = {0};
        struct err err;

        assert_int_equal(load(cases[i].text, &s, &err), ERR_FATAL);
        assert_int_equal(err.exit_code, EX_CONFIG);
        if (!strstr(err.text, cases[i].says))
            fail_msg("case %zu: %s", i, err.text);
    }
}

static char *print(const struct settings *s, int (*how)(const struct settings *, FILE *))
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    assert_non_null(out);
    assert_int_equal(how(s, out), ERR_OK);
    fclose(out);
    return text;
}

static void what_is_printed_loads_the_same(void **state)
{
    static const char *const texts[] = {
        "",
        "interactions = { kinds = { like = 0.1; tiny = 1.0e-30; third = 0.333333333333333333; "
        "};"
        " default = 0.30000000000000004; };",
        "interactions = { kinds = ( { kind = \"a.b\"; weight = -0.5; }, { kind = "
        "\"q\\\"\\\\\"; "
        "weight = 7; } ); };",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct settings s = {0}, again = {0};
        struct err err;

        assert_int_equal(load(texts[i], &s, &err), ERR_OK);
        char *whole = print(&s, settings_print), *changed = print(&s, settings_print_changed);
        assert_int_equal(load(whole, &again, &err), ERR_OK);
        char *twice = print(&again, settings_print);
        assert_string_equal(whole, twice);
        assert_int_equal(load(changed, &again, &err), ERR_OK);
        assert_int_equal(again.interactions.kinds.n, s.interactions.kinds.n);
        for (size_t k = 0; k < s.interactions.kinds.n; k++)
            is(factor(&again, s.interactions.kinds.items[k].name),
               s.interactions.kinds.items[k].value);
        is(again.interactions.fallback, s.interactions.fallback);
        assert_int_equal(strcmp(changed, "") == 0, i == 0);
        free(whole);
        free(changed);
        free(twice);
        settings_done(&s);
        settings_done(&again);
    }
}

static void one_is_set_from_text(void **state)
{
    struct settings s;
    struct err err;

    (void)state;
    assert_int_equal(settings_init(&s), ERR_OK);
    assert_int_equal(settings_set(&s, "interactions.kinds", "a=b=2.5", &err), ERR_OK);
    is(factor(&s, "a=b"), 2.5);
    is(factor(&s, "like"), 1);
    assert_int_equal(settings_set(&s, "interactions.kinds", "like", &err), ERR_FATAL);
    assert_int_equal(settings_set(&s, "interactions.kinds", "like=x", &err), ERR_FATAL);
    assert_int_equal(settings_set(&s, "interactions.kinds", "like=nan", &err), ERR_FATAL);
    assert_int_equal(settings_set(&s, "interactions.default", "0.5", &err), ERR_OK);
    is(s.interactions.fallback, 0.5);
    settings_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_sites_send_has_a_factor),
        cmocka_unit_test(a_group_changes_what_it_names_and_keeps_the_rest),
        cmocka_unit_test(a_list_takes_names_with_dots),
        cmocka_unit_test(bad_entries_name_file_and_line),
        cmocka_unit_test(what_is_printed_loads_the_same),
        cmocka_unit_test(one_is_set_from_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
