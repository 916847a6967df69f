/* Events that were read as something else in silence: marks of deletion that say no, uploads that would
 * replace an item with nothing, types that were not looked at, settings that mean something else. */

#include "event_fixture.h"

#include <stdio.h>
#include <stdlib.h>

/* NULL: it is read as kind. */
static void check(const struct event_rules *rules, const struct item_header *header,
                  const char *value, enum item_kind kind, const char *sentence)
{
    struct item *item = item_new();
    struct err err = {0};

    assert_non_null(item);
    item->role = ITEM_ROLE_VIDEOS;
    item->value = value;
    item->value_bytes = strlen(value);
    item->headers = header;
    item->n_headers = header ? 1 : 0;
    int status = event_parse(rules, item, &err);
    if (sentence && (status != ERR_SKIP || strcmp(err.reason, "bad_schema") != 0 ||
                     !strstr(err.text, sentence)))
        fail_msg("%s: expected \"%s\", got kind %d, %s", value, sentence, (int)item->kind,
                 err.text);
    if (!sentence && (status != ERR_OK || item->kind != kind))
        fail_msg("%s: kind %d, %s", value, (int)item->kind, err.text);
    item_free(item);
}

static void check_mark(const struct event_rules *rules, const char *mark, enum item_kind kind,
                       const char *sentence)
{
    char value[200];

    (void)snprintf(
        value, sizeof(value),
        "{\"after\": {\"item_id\": 7, \"title\": \"t\", \"gone\": %s}, \"op\": \"u\"}", mark);
    check(rules, NULL, value, kind, sentence);
}

static void a_mark_that_says_no_deletes_nothing(void **state)
{
    (void)state;
    struct event_rules rules =
        rules_of("events = { preset = \"debezium\"; deleted = \"/gone\"; };");
    static const char *const no[] = {
        "\"False\"",
        "\"FALSE\"",
        "\"f\"",
        "\"no\"",
        "\"N\"",
        "\"off\"",
        "\"0.0\"",
        "\"00\"",
        "-0",
        "0.0",
        "\"\"",
        "null",
        "[]",
        "{}",
        "false",
        "\"0000-00-00 00:00:00\"", /* MySQL's zero, and what Debezium writes for it */
        "\"1970-01-01T00:00:00Z\"",
        "\"__debezium_unavailable_value\""};
    static const char *const yes[] = {"true",
                                      "1",
                                      "-1",
                                      "\"True\"",
                                      "\"t\"",
                                      "\"Y\"",
                                      "\"1\"",
                                      "\"on\"",
                                      "\"2026-01-02\"",
                                      "1767225600",
                                      "\"1767225600\"",
                                      "\"2026-01-02 03:04:05+01\"",
                                      "\"2026-01-02T03:04:05.5Z\""};
    static const char *const neither[] = {
        "\"active\"", "\" \"", "\"null\"", "\"AA==\"", "{\"scale\": 0, \"value\": \"AA==\"}",
        "[0]",        "\"-\"", "\"dmca\""};

    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        check_mark(&rules, no[i], ITEM_UPDATED, NULL);
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
        check_mark(&rules, yes[i], ITEM_DELETED, NULL);
    for (size_t i = 0; i < sizeof(neither) / sizeof(neither[0]); i++)
        check_mark(&rules, neither[i], ITEM_DEAD, "deleted (/gone): expected");
    event_rules_done(&rules);
}

static void an_unavailable_type_is_not_named(void **state)
{
    (void)state;
    struct event_rules rules =
        rules_of("events = { preset = \"debezium\"; type = \"/kind_of\"; };");

    check(&rules, NULL,
          "{\"after\": {\"item_id\": 7, \"title\": \"t\", \"kind_of\": "
          "\"__debezium_unavailable_value\"}, \"op\": \"u\"}",
          ITEM_UPDATED, NULL);
    event_rules_done(&rules);
}

static void an_upload_of_empty_fields_erases_nothing(void **state)
{
    (void)state;
    static const char *const values[] = {
        "{\"item_id\": 1, \"tags\": \" , ,\"}",
        "{\"item_id\": 1, \"tags\": [\"\", null]}",
        "{\"item_id\": 1, \"published_at\": 0}",
        "{\"item_id\": 1, \"published_at\": \"1970-01-01T00:00:00Z\", \"title\": \"\"}",
        "{\"specversion\": \"1.0\", \"id\": \"1\", \"source\": \"s\", \"type\": "
        "\"video.published\", \"time\": \"2026-01-02T03:04:05Z\", \"data\": {\"item_id\": 1, "
        "\"tags\": \",\"}}",
    };

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        check(&event_rules_plain, NULL, values[i], ITEM_DEAD, "a video without");
    check(&event_rules_plain, NULL,
          "{\"type\": \"video.updated\", \"item_id\": 1, \"tags\": \",\"}", ITEM_UPDATED, NULL);
}

static void outbox_type_is_looked_at_wherever_it_is(void **state)
{
    (void)state;
    struct event_rules rules = rules_of("events = { preset = \"outbox\"; };");
    static const struct item_header published = {"eventType", "video.published", 15},
                                    none = {"eventType", NULL, 0};
    char text[400] = "x";
    const struct item_header long_one = {"eventType", text, 300};

    /* inside the payload, as in a bare event */
    check(&rules, NULL,
          "{\"schema\": {}, \"payload\": {\"item_id\": 1, \"title\": \"t\", \"type\": "
          "\"video.deleted\"}}",
          ITEM_DELETED, NULL);
    check(&rules, NULL,
          "\"{\\\"item_id\\\": 1, \\\"title\\\": \\\"t\\\", \\\"type\\\": "
          "\\\"video.deleted\\\"}\"",
          ITEM_DELETED, NULL);
    check(&rules, &none, "{\"item_id\": 1, \"title\": \"t\", \"type\": \"video.deleted\"}",
          ITEM_DELETED, NULL);
    /* beside it, under either name */
    check(&rules, NULL,
          "{\"payload\": {\"item_id\": 1, \"title\": \"t\"}, \"type\": \"video.deleted\"}",
          ITEM_DELETED, NULL);
    check(&rules, NULL, "{\"payload\": {\"item_id\": 1, \"title\": \"t\"}, \"eventType\": 7}",
          ITEM_DEAD, "eventType: expected a string");
    /* what says it outside wins: inside it may be the site's own */
    check(&rules, &published, "{\"item_id\": 1, \"title\": \"t\", \"type\": \"short\"}",
          ITEM_PUBLISHED, NULL);
    check(&rules, &published,
          "{\"payload\": {\"item_id\": 1, \"title\": \"t\"}, \"type\": \"short\"}",
          ITEM_PUBLISHED, NULL);
    memset(text, 'x', sizeof(text));
    check(&rules, &long_one, "{\"item_id\": 1, \"title\": \"t\"}", ITEM_DEAD,
          "header eventType: expected");
    event_rules_done(&rules);
}

static void settings_that_mean_something_else_are_refused(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"events = { video = { title = []; }; };", "title has no pointer"},
        {"events = { interaction = { user_id = (); }; };", "user_id has no pointer"},
        {"events = { types = { interaction = \"video.published\"; }; };",
         "\"interaction\" always means itself"},
        {"events = { types = ( { type = \"video.deleted\"; meaning = \"video.published\"; } ); "
         "};",
         "\"video.deleted\" always means itself"},
        {"events = { preset = \"debezium\"; video = { title = \"/after/title\"; }; };",
         "start at the row"},
        {"events = { preset = \"debezium\"; deleted = \"/payload/after/gone\"; };",
         "start at the row"},
        {"events = { preset = \"debezium\"; interaction = { user_id = [\"/u\", \"/before/u\"]; "
         "}; };",
         "start at the row"},
    };
    struct settings s = {0};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err err = {0};

        if (settings_load_text("t.conf", bad[i][0], strlen(bad[i][0]), &s, &err) != ERR_FATAL ||
            !strstr(err.text, bad[i][1]))
            fail_msg("%s: expected \"%s\" in: %s", bad[i][0], bad[i][1], err.text);
    }
    struct event_rules rules =
        rules_of("events = { preset = \"debezium\"; video = { title = \"/after\"; }; type = [];"
                 " types = { interaction = \"interaction\"; }; };");
    event_rules_done(&rules);
}

/* The text up to a NUL would be another one. */
static void a_header_with_a_nul_is_no_text(void **state)
{
    (void)state;
    struct event_rules rules = rules_of("events = { preset = \"outbox\"; };");
    static const struct item_header headers[] = {{"ce_specversion", "1.0", 3},
                                                 {"ce_id", "1", 1},
                                                 {"ce_source", "s", 1},
                                                 {"ce_type", "video.deleted\0.not", 18}},
                                    routed = {"eventType", "video.deleted\0.not", 18};
    struct item *item = item_new();
    struct err err = {0};

    assert_non_null(item);
    item->role = ITEM_ROLE_VIDEOS;
    item->value = "{\"item_id\": 1, \"title\": \"t\"}";
    item->value_bytes = strlen(item->value);
    item->headers = headers;
    item->n_headers = 4;
    assert_int_equal(event_parse(&event_rules_plain, item, &err), ERR_SKIP);
    assert_non_null(strstr(err.text, "header ce_type"));
    item_free(item);
    check(&rules, &routed, "{\"item_id\": 1, \"title\": \"t\"}", ITEM_DEAD,
          "header eventType: expected");
    event_rules_done(&rules);
}

static void a_json_key_may_have_blanks_before_it(void **state)
{
    (void)state;
    static const char *const keys[] = {" {\"item_id\": 7}", "\n\t\"7\"",
                                       "\xef\xbb\xbf{\"item_id\": \"7\"}"};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct item *item = item_new();
        struct err err = {0};

        assert_non_null(item);
        item->role = ITEM_ROLE_VIDEOS;
        item->key = keys[i];
        item->key_bytes = strlen(keys[i]);
        if (event_parse(&event_rules_plain, item, &err) != ERR_OK)
            fail_msg("%s: %s", keys[i], err.text);
        assert_string_equal(item->item_id, "7");
        item_free(item);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mark_that_says_no_deletes_nothing),
        cmocka_unit_test(an_unavailable_type_is_not_named),
        cmocka_unit_test(an_upload_of_empty_fields_erases_nothing),
        cmocka_unit_test(outbox_type_is_looked_at_wherever_it_is),
        cmocka_unit_test(a_header_with_a_nul_is_no_text),
        cmocka_unit_test(a_json_key_may_have_blanks_before_it),
        cmocka_unit_test(settings_that_mean_something_else_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
