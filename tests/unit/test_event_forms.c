/* Events as sites write them: their own field names, Debezium, the outbox router, CloudEvents' names of
 * types; ids, times, tags and texts that are nearly right; and what is not read. */

#include "event_fixture.h"

#include <stdio.h>
#include <stdlib.h>

/* With the headers and key that a test gives it. */
static struct item *item_of(enum item_role role, const char *value)
{
    struct item *item = item_new();

    assert_non_null(item);
    item->role = role;
    item->value = value;
    item->value_bytes = value ? strlen(value) : 0;
    return item;
}

static struct item *read_as(const struct event_rules *rules, enum item_role role,
                            const char *value)
{
    struct item *item = item_of(role, value);
    struct err err;

    if (event_parse(rules, item, &err) != ERR_OK)
        fail_msg("%s: %s", value, err.text);
    return item;
}

static void refuse_as(const struct event_rules *rules, enum item_role role, const char *value,
                      const char *reason, const char *text)
{
    struct item *item = item_of(role, value);
    struct err err;

    if (event_parse(rules, item, &err) != ERR_SKIP)
        fail_msg("%s: kind %d", value, (int)item->kind);
    assert_string_equal(err.reason, reason);
    if (!strstr(err.text, text))
        fail_msg("%s: expected \"%s\" in: %s", value, text, err.text);
    item_free(item);
}

#define V ITEM_ROLE_VIDEOS
#define I ITEM_ROLE_INTERACTIONS
#define N ITEM_ROLE_NONE

/* ---- the site's own names ----------------------------------------------------------------- */

static const char own_names[] =
    "events = { video = { item_id = \"/payload/after/id\";"
    "  media_uri = [\"/payload/after/hls~1url\", \"/payload/after/files/0/url\"];"
    "  title = \"/payload/after/na~0me\"; };"
    "  interaction = { item_id = \"/clip\"; user_id = \"/viewer/id\"; kind = \"/what\"; };"
    "  type = [\"/meta/event\", \"/event\"]; deleted = \"/payload/after/gone\";"
    "  types = ( { type = \"site.upload\"; meaning = \"video.published\"; },"
    "            { type = \"edit\"; meaning = \"video.updated\"; } ); };";

static void own_names_are_found_by_pointers(void **state)
{
    (void)state;
    struct event_rules rules = rules_of(own_names);
    struct item *item = read_as(&rules, V,
                                "{\"payload\": {\"after\": {\"id\": 77, \"na~me\": \"T\","
                                " \"files\": [{\"url\": \"file:///a.mp4\"}]}}}");
    assert_int_equal(item->kind, ITEM_PUBLISHED);
    assert_string_equal(item->item_id, "77");
    assert_string_equal(item->title, "T");
    assert_string_equal(item->media_uri, "file:///a.mp4");
    item_free(item);

    item = read_as(&rules, V,
                   "{\"payload\": {\"after\": {\"id\": \"x\", \"hls/url\": \"file:///b.mp4\","
                   " \"files\": [{\"url\": \"file:///a.mp4\"}]}}}");
    assert_string_equal(item->media_uri, "file:///b.mp4");
    item_free(item);

    item = read_as(&rules, I, "{\"clip\": 5, \"viewer\": {\"id\": 9}, \"what\": \"like\"}");
    assert_int_equal(item->kind, ITEM_INTERACTION);
    assert_string_equal(item->user_id, "9");
    assert_string_equal(item->interaction_kind, "like");
    item_free(item);
    refuse_as(&rules, V, "{\"payload\": {\"after\": {\"na~me\": \"T\"}}}", "bad_schema",
              "item_id (/payload/after/id): expected");
    /* the plain names mean nothing where another is given */
    refuse_as(&rules, I, "{\"item_id\": 5, \"user_id\": 9}", "bad_schema", "item_id (/clip)");
    event_rules_done(&rules);
}

static void own_types_and_marks_are_obeyed(void **state)
{
    (void)state;
    struct event_rules rules = rules_of(own_names);
    static const struct {
        const char *value;
        enum item_kind kind;
    } cases[] = {
        {"{\"event\": \"site.upload\", \"payload\": {\"after\": {\"id\": 1, \"na~me\": "
         "\"T\"}}}",
         ITEM_PUBLISHED},
        {"{\"event\": \"edit\", \"payload\": {\"after\": {\"id\": 1}}}", ITEM_UPDATED},
        {"{\"meta\": {\"event\": \"edit\"}, \"event\": \"?\", \"payload\": {\"after\": "
         "{\"id\": 1}}}",
         ITEM_UPDATED},
        {"{\"event\": \"com.site.video.deleted\", \"payload\": {\"after\": {\"id\": 1}}}",
         ITEM_DELETED},
        {"{\"payload\": {\"after\": {\"id\": 1, \"na~me\": \"T\", \"gone\": true}}}",
         ITEM_DELETED},
        {"{\"payload\": {\"after\": {\"id\": 1, \"gone\": \"2026-01-02\"}}}", ITEM_DELETED},
        {"{\"payload\": {\"after\": {\"id\": 1, \"na~me\": \"T\", \"gone\": false}}}",
         ITEM_PUBLISHED},
        {"{\"payload\": {\"after\": {\"id\": 1, \"na~me\": \"T\", \"gone\": \"false\"}}}",
         ITEM_PUBLISHED},
        {"{\"payload\": {\"after\": {\"id\": 1, \"na~me\": \"T\", \"gone\": 0}}}",
         ITEM_PUBLISHED},
        {"{\"payload\": {\"after\": {\"id\": 1, \"na~me\": \"T\", \"gone\": null}}}",
         ITEM_PUBLISHED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct item *item = read_as(&rules, V, cases[i].value);
        if (item->kind != cases[i].kind)
            fail_msg("%s: kind %d", cases[i].value, (int)item->kind);
        item_free(item);
    }
    refuse_as(&rules, V, "{\"event\": \"?\"}", "bad_schema", "got \"?\"");
    event_rules_done(&rules);
}

/* ---- Debezium ----------------------------------------------------------------------------- */

static const char debezium[] =
    "events = { preset = \"debezium\"; video = { item_id = \"/id\"; media_uri = \"/url\"; };"
    " interaction = { item_id = \"/video_id\"; user_id = \"/user_id\"; ts = \"/at\"; }; };";

static void debezium_is_unwrapped(void **state)
{
    (void)state;
    struct event_rules rules = rules_of(debezium);
    static const struct {
        enum item_role role;
        const char *value;
        enum item_kind kind;
    } cases[] = {
        {V, "{\"before\": null, \"after\": {\"id\": 7, \"url\": \"file:///a\"}, \"op\": \"c\"}",
         ITEM_PUBLISHED},
        {V, "{\"before\": null, \"after\": {\"id\": 7, \"title\": \"t\"}, \"op\": \"r\"}",
         ITEM_PUBLISHED},
        {V,
         "{\"schema\": {\"type\": \"struct\"}, \"payload\": {\"before\": {\"id\": 7},"
         " \"after\": {\"id\": 7, \"title\": null}, \"op\": \"u\", \"ts_ms\": 1}}",
         ITEM_UPDATED},
        {V, "{\"before\": {\"id\": 7, \"url\": \"file:///a\"}, \"after\": null, \"op\": \"d\"}",
         ITEM_DELETED},
        {N, "{\"before\": {\"id\": 7}, \"after\": null, \"op\": \"d\"}", ITEM_DELETED},
        /* a column `type` is the site's */
        {V, "{\"after\": {\"id\": 7, \"type\": \"short\", \"title\": \"t\"}, \"op\": \"c\"}",
         ITEM_PUBLISHED},
        {I, "{\"after\": {\"video_id\": 7, \"user_id\": 8}, \"op\": \"c\"}", ITEM_INTERACTION},
        {I, "{\"after\": {\"video_id\": 7, \"user_id\": 8}, \"op\": \"u\"}", ITEM_INTERACTION},
        {N, "{\"after\": {\"video_id\": 7, \"user_id\": 8}, \"op\": \"r\"}", ITEM_INTERACTION},
        /* what is no such envelope is read as it is */
        {V, "{\"id\": 7, \"title\": \"t\"}", ITEM_PUBLISHED},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct item *item = read_as(&rules, cases[i].role, cases[i].value);
        if (item->kind != cases[i].kind || strcmp(item->item_id, "7") != 0)
            fail_msg("%s: kind %d", cases[i].value, (int)item->kind);
        item_free(item);
    }
    refuse_as(&rules, I, "{\"before\": {\"video_id\": 7, \"user_id\": 8}, \"op\": \"d\"}",
              "bad_schema", "a deletion among interactions");
    refuse_as(&rules, V, "{\"before\": null, \"after\": null, \"op\": \"t\"}", "bad_schema",
              "op: expected c, r, u or d (Debezium), got \"t\"");
    refuse_as(&rules, V, "{\"after\": null, \"op\": \"c\"}", "bad_schema",
              "after: expected an object (Debezium), got null");
    refuse_as(&event_rules_plain, V,
              "{\"after\": {\"item_id\": \"7\", \"title\": \"t\"}, \"op\": \"c\"}",
              "bad_schema", "a video without");
    event_rules_done(&rules);
}

static void debezium_unavailable_is_not_named(void **state)
{
    (void)state;
    struct event_rules rules = rules_of(debezium);
    struct item *item =
        read_as(&rules, V,
                "{\"before\": null, \"after\": {\"id\": 7, \"title\": \"new\","
                " \"description\": \"__debezium_unavailable_value\","
                " \"tags\": [\"__debezium_unavailable_value\"]}, \"op\": \"u\"}");
    assert_int_equal(item->named, ITEM_FIELD_TITLE);
    item_free(item);
    event_rules_done(&rules);
}

static void debezium_time_stands_in(void **state)
{
    (void)state;
    struct event_rules rules = rules_of(debezium);
    struct item *item =
        read_as(&rules, I,
                "{\"after\": {\"video_id\": 7, \"user_id\": 8}, \"op\": \"c\","
                " \"source\": {\"ts_ms\": 1767323045250}, \"ts_ms\": 1867323045250}");
    assert_int_equal(item->event_us, INT64_C(1767323045250000));
    item_free(item);
    item = read_as(&rules, I,
                   "{\"after\": {\"video_id\": 7, \"user_id\": 8, \"at\": 1767000000}, \"op\":"
                   " \"c\", \"ts_ms\": 1867323045250}");
    assert_int_equal(item->event_us, INT64_C(1767000000000000));
    item_free(item);
    event_rules_done(&rules);
}

/* ---- keys --------------------------------------------------------------------------------- */

static void key_is(const struct event_rules *rules, const char *key, const char *item_id)
{
    struct item *item = item_of(V, NULL);
    struct err err;

    item->key = key;
    item->key_bytes = strlen(key);
    if (event_parse(rules, item, &err) != ERR_OK)
        fail_msg("%s: %s", key, err.text);
    assert_int_equal(item->kind, ITEM_DELETED);
    assert_string_equal(item->item_id, item_id);
    item_free(item);
}

static void tombstone_key_is_mapped(void **state)
{
    (void)state;
    struct event_rules rules = rules_of(debezium), own = rules_of(own_names);
    struct err err;

    key_is(&rules, "{\"id\":77}", "77");
    key_is(&rules, "{\"schema\": {}, \"payload\": {\"id\": \"a\"}}", "a");
    key_is(&rules, "\"a\"", "a");
    key_is(&rules, "77", "77");
    key_is(&rules, "{not json", "{not json");
    key_is(&own, "{\"id\":77}", "77");
    key_is(&own, "{\"payload\":{\"after\":{\"id\":77}}}", "77");
    key_is(&event_rules_plain, "{\"item_id\":\"a\"}", "a");

    struct item *item = item_of(V, NULL);
    item->key = "{\"other\":77}";
    item->key_bytes = strlen(item->key);
    assert_int_equal(event_parse(&rules, item, &err), ERR_SKIP);
    assert_string_equal(err.reason, "bad_schema");
    assert_non_null(strstr(err.text, "key of a null value"));
    item_free(item);

    /* a change whose row is not there names its key */
    item = item_of(V, "{\"before\": null, \"after\": null, \"op\": \"d\"}");
    item->key = "{\"id\":77}";
    item->key_bytes = strlen(item->key);
    assert_int_equal(event_parse(&rules, item, NULL), ERR_OK);
    assert_int_equal(item->kind, ITEM_DELETED);
    assert_string_equal(item->item_id, "77");
    item_free(item);
    event_rules_done(&rules);
    event_rules_done(&own);
}

/* ---- the outbox router -------------------------------------------------------------------- */

static void outbox_payload_is_read(void **state)
{
    (void)state;
    struct event_rules rules = rules_of(
        "events = { preset = \"outbox\"; types = { VideoUploaded = \"video.published\"; }; };");
    static const char *const values[] = {
        "{\"item_id\": \"v\", \"title\": \"t\"}",
        "\"{\\\"item_id\\\": \\\"v\\\", \\\"title\\\": \\\"t\\\"}\"",
        "{\"schema\": {}, \"payload\": \"{\\\"item_id\\\": \\\"v\\\", \\\"title\\\": "
        "\\\"t\\\"}\"}",
        "{\"schema\": {}, \"payload\": {\"item_id\": \"v\", \"title\": \"t\"}}",
        "{\"payload\": {\"item_id\": \"v\", \"title\": \"t\"}, \"eventType\": "
        "\"VideoUploaded\"}",
    };
    const struct item_header header = {"eventType", "VideoUploaded", 13};
    for (size_t i = 0; i < 2 * sizeof(values) / sizeof(values[0]); i++) {
        struct item *item = item_of(V, values[i / 2]);
        struct err err;
        item->headers = &header;
        item->n_headers = i % 2;
        if (event_parse(&rules, item, &err) != ERR_OK)
            fail_msg("%s: %s", values[i / 2], err.text);
        assert_int_equal(item->kind, ITEM_PUBLISHED);
        assert_string_equal(item->item_id, "v");
        item_free(item);
    }
    const struct item_header other = {"eventType", "OrderPaid", 9};
    struct item *item = item_of(V, values[0]);
    struct err err;
    item->headers = &other;
    item->n_headers = 1;
    assert_int_equal(event_parse(&rules, item, &err), ERR_SKIP);
    assert_non_null(strstr(err.text, "got \"OrderPaid\""));
    item_free(item);
    /* what was mended inside the text counts as if there were no text around it */
    refuse_as(&rules, V, "\"{\\\"item_id\\\": \\\"a\\\\ud83d\\\", \\\"title\\\": \\\"t\\\"}\"",
              "bad_schema", "item_id: has bytes that are no UTF-8");
    item = read_as(&rules, V, "\"{\\\"item_id\\\": 1, \\\"title\\\": \\\"a\\\\ud83d\\\"}\"");
    assert_int_equal(item->warnings, ITEM_WARNING_REPLACED);
    item_free(item);
    refuse_as(&rules, V, "\"{]\"", "bad_json", "payload");
    refuse_as(&rules, V, "\"[1]\"", "bad_schema", "payload: expected an object");
    refuse_as(&rules, V, "7", "bad_schema", "value: expected a JSON object, got a number");
    event_rules_done(&rules);
}

/* ---- nearly right ------------------------------------------------------------------------- */

static void ids_may_be_whole_numbers(void **state)
{
    (void)state;
    static const char *const ids[][2] = {{"7", "7"},
                                         {"-7", "-7"},
                                         {"0", "0"},
                                         {"9007199254740993", "9007199254740993"},
                                         {"9223372036854775807", "9223372036854775807"}};
    char json[160];
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        (void)snprintf(json, sizeof(json), "{\"item_id\": %s, \"user_id\": %s}", ids[i][0],
                       ids[i][0]);
        struct item *item = read_as(&event_rules_plain, I, json);
        assert_string_equal(item->item_id, ids[i][1]);
        assert_string_equal(item->user_id, ids[i][1]);
        item_free(item);
    }
    static const char *const bad[] = {"7.5", "1e3", "9223372036854775808", "true", "[7]"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)snprintf(json, sizeof(json), "{\"item_id\": %s, \"user_id\": \"u\"}", bad[i]);
        refuse_as(&event_rules_plain, I, json, "bad_schema", "item_id");
    }
    /* one elsewhere harms nobody, the least number that is whole among them */
    struct item *least =
        read_as(&event_rules_plain, I,
                "{\"item_id\": -9223372036854775808, \"user_id\": 8, \"trace\": "
                "99999999999999999999}");
    assert_string_equal(least->item_id, "-9223372036854775808");
    item_free(least);
    struct item *item =
        read_as(&event_rules_plain, I,
                "{\"item_id\": 7, \"user_id\": 8, \"trace\": 99999999999999999999}");
    assert_string_equal(item->item_id, "7");
    assert_int_equal(item->warnings, 0);
    item_free(item);
}

static void times_may_be_numbers_or_without_zone(void **state)
{
    (void)state;
    static const struct {
        const char *ts;
        int64_t us;
        unsigned warnings;
    } cases[] = {
        {"1767323045", INT64_C(1767323045000000), 0},
        {"1767323045.25", INT64_C(1767323045250000), 0},
        {"1767323045250", INT64_C(1767323045250000), 0},
        {"1767323045250000", INT64_C(1767323045250000), 0},
        {"99999999999", INT64_C(99999999999000000), 0},
        {"100000000000", INT64_C(100000000000000), 0},
        {"99999999999999", INT64_C(99999999999999000), 0},
        {"100000000000000", INT64_C(100000000000000), 0},
        {"0", 0, 0},
        {"\"2026-01-02T03:04:05Z\"", INT64_C(1767323045000000), 0},
        {"\"2026-01-02T03:04:05\"", INT64_C(1767323045000000), ITEM_WARNING_ZONE},
        {"\"2026-01-02 03:04:05+00\"", INT64_C(1767323045000000), 0},
    };
    char json[128];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)snprintf(json, sizeof(json), "{\"item_id\": 1, \"user_id\": 2, \"ts\": %s}",
                       cases[i].ts);
        struct item *item = read_as(&event_rules_plain, I, json);
        assert_int_equal(item->event_us, cases[i].us);
        assert_int_equal(item->warnings, cases[i].warnings);
        item_free(item);
    }
    static const char *const bad[] = {"\"1767323045\"", "\"2026-01-02\"", "\"yesterday\"",
                                      "true",           "1e300",          "253402300800000000"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)snprintf(json, sizeof(json), "{\"item_id\": 1, \"user_id\": 2, \"ts\": %s}",
                       bad[i]);
        refuse_as(&event_rules_plain, I, json, "bad_schema", "ts: expected an RFC 3339");
    }
}

static void tags_may_be_a_text(void **state)
{
    (void)state;
    static const struct {
        const char *tags;
        const char *expected; /* joined by | */
        unsigned warnings;
    } cases[] = {
        {"[\"a\", \"b c\"]", "a|b c", 0},
        {"\"a, b c ,d\"", "a|b c|d", 0},
        {"\"a\"", "a", 0},
        {"\"\"", "", 0},
        {"[]", "", 0},
        {"\"a,,b\"", "a|b", ITEM_WARNING_TAG_EMPTY},
        {"[\"a\", \"\", null]", "a", ITEM_WARNING_TAG_EMPTY},
        {"\" , \"", "", ITEM_WARNING_TAG_EMPTY},
    };
    char json[160], joined[160];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        (void)snprintf(json, sizeof(json), "{\"item_id\": 1, \"title\": \"t\", \"tags\": %s}",
                       cases[i].tags);
        struct item *item = read_as(&event_rules_plain, V, json);
        joined[0] = '\0';
        for (uint32_t t = 0; t < item->n_tags; t++)
            (void)snprintf(joined + strlen(joined), sizeof(joined) - strlen(joined), "%s%s",
                           t ? "|" : "", item->tags[t]);
        assert_string_equal(joined, cases[i].expected);
        assert_int_equal(item->warnings, cases[i].warnings);
        item_free(item);
    }
    refuse_as(&event_rules_plain, V, "{\"item_id\": 1, \"tags\": {\"a\": 1}}", "bad_schema",
              "tags");
}

/* {"item_id": 1, HEAD EACH*n TAIL} */
static struct item *repeated(const char *head, const char *each, size_t n, const char *tail)
{
    char *json = malloc(64 + strlen(head) + n * strlen(each) + strlen(tail));
    char *end = stpcpy(stpcpy(json, "{\"item_id\": 1, "), head);
    for (size_t i = 0; i < n; i++)
        end = stpcpy(end, each);
    stpcpy(stpcpy(end, tail), "}");
    struct item *item = read_as(&event_rules_plain, V, json);
    free(json);
    return item;
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    struct item *item = repeated("\"title\": \"", "\xc3\xa9", 2500, "\"");
    assert_int_equal(strlen(item->title), 4096);
    assert_int_equal(item->warnings, ITEM_WARNING_TITLE_CUT);
    item_free(item);
    item = repeated("\"title\": \"a", "\xc3\xa9", 2500, "\"");
    assert_int_equal(strlen(item->title), 4095);
    item_free(item);
    item = repeated("\"title\": \"", "x", EVENT_TITLE_BYTES_MAX, "\"");
    assert_int_equal(item->warnings, 0);
    item_free(item);
    item = repeated("\"description\": \"", "x", EVENT_DESCRIPTION_BYTES_MAX + 1, "\"");
    assert_int_equal(strlen(item->description), EVENT_DESCRIPTION_BYTES_MAX);
    assert_int_equal(item->warnings, ITEM_WARNING_DESCRIPTION_CUT);
    item_free(item);
    item = repeated("\"tags\": [\"a\"", ",\"a\"", EVENT_TAGS_MAX, "]");
    assert_int_equal(item->n_tags, EVENT_TAGS_MAX);
    assert_int_equal(item->warnings, ITEM_WARNING_TAGS_CUT);
    item_free(item);
    item = repeated("\"tags\": \"", "x", 257, "\"");
    assert_int_equal(strlen(item->tags[0]), EVENT_TAG_BYTES_MAX);
    assert_int_equal(item->warnings, ITEM_WARNING_TAGS_CUT);
    item_free(item);
}

static void broken_text_is_mended(void **state)
{
    (void)state;
    static const struct {
        const char *json, *title;
        unsigned warnings;
    } cases[] = {
        {"{\"item_id\": 1, \"title\": \"a\\ud83db\"}",
         "a\xef\xbf\xbd"
         "b",
         ITEM_WARNING_REPLACED},
        {"{\"item_id\": 1, \"title\": \"a\\udc00\\ud83d\"}", "a\xef\xbf\xbd\xef\xbf\xbd",
         ITEM_WARNING_REPLACED},
        {"{\"item_id\": 1, \"title\": \"\\ud83d\\ude00\"}", "\xf0\x9f\x98\x80", 0},
        {"{\"item_id\": 1, \"title\": \"\\ud83d\\ude00\\u0000\"}",
         "\xf0\x9f\x98\x80\xef\xbf\xbd", ITEM_WARNING_REPLACED},
        {"{\"item_id\": 1, \"title\": \"caf\xe9\"}", "caf\xef\xbf\xbd", ITEM_WARNING_REPLACED},
        {"{\"item_id\": 1, \"title\": \"\\\\ud83d \\\" caf\xe9\"}",
         "\\ud83d \" caf\xef\xbf\xbd", ITEM_WARNING_REPLACED},
        {"\xef\xbb\xbf{\"item_id\": 1, \"title\": \"t\"}", "t", ITEM_WARNING_BOM},
        {"\xef\xbb\xbf{\"item_id\": 1, \"title\": \"\xff\"}", "\xef\xbf\xbd",
         ITEM_WARNING_BOM | ITEM_WARNING_REPLACED},
        /* U+FFFD that was sent as such is no repair */
        {"{\"item_id\": 1, \"title\": \"\\ufffd\"}", "\xef\xbf\xbd", 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct item *item = read_as(&event_rules_plain, V, cases[i].json);
        assert_string_equal(item->title, cases[i].title);
        assert_int_equal(item->warnings, cases[i].warnings);
        item_free(item);
    }
    /* two ids could become one */
    refuse_as(&event_rules_plain, V, "{\"item_id\": \"caf\xe9\", \"title\": \"t\"}",
              "bad_schema", "item_id: has bytes that are no UTF-8");
    refuse_as(&event_rules_plain, I, "{\"item_id\": 1, \"user_id\": \"\\ud800\"}", "bad_schema",
              "user_id: has bytes");
    refuse_as(&event_rules_plain, V, "{\"item_id\": 1, \"title\": \"\xff\" \"x\"}", "bad_json",
              "line 1");
    refuse_as(&event_rules_plain, V, "{\"item_id\": 1, \"title\": \"\xff", "bad_json",
              "line 1");
    refuse_as(&event_rules_plain, V, "{\"item_id\": 1, \"title\": \"\\", "bad_json", "line 1");
}

static void wire_format_is_named(void **state)
{
    (void)state;
    static const char avro[] = "\0\0\0\0\x2a\x02\x04v1\x08title";
    static const char json[] = "\0\0\0\1\0{\"item_id\": \"v\", \"title\": \"t\"}";
    struct item *item = item_of(V, "");
    struct err err;

    item->value = avro;
    item->value_bytes = sizeof(avro) - 1;
    assert_int_equal(event_parse(&event_rules_plain, item, &err), ERR_SKIP);
    assert_string_equal(err.reason, "bad_json");
    assert_non_null(strstr(err.text, "Confluent wire format (magic byte 0), schema id 42"));
    item_free(item);

    item = item_of(V, "");
    item->value = json;
    item->value_bytes = sizeof(json) - 1;
    assert_int_equal(event_parse(&event_rules_plain, item, NULL), ERR_OK);
    assert_string_equal(item->item_id, "v");
    item_free(item);

    item = item_of(V, "");
    item->value = "\0\0\0\0";
    item->value_bytes = 4;
    assert_int_equal(event_parse(&event_rules_plain, item, &err), ERR_SKIP);
    assert_null(strstr(err.text, "Confluent"));
    item_free(item);
}

/* ---- settings ----------------------------------------------------------------------------- */

static void bad_settings_are_refused(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"events = { video = { itemid = \"/a\"; }; };", "did you mean \"item_id\""},
        {"events = { video = { item_id = \"a\"; }; };", "is not a JSON Pointer"},
        {"events = { video = { item_id = \"/a~2\"; }; };", "neither ~0"},
        {"events = { video = { item_id = 5; }; };", "must be a text"},
        {"events = { video = { title = [\"/a\", \"/a\"]; }; };", "twice"},
        {"events = { video = \"/a\"; };", "must be a group"},
        {"events = { type = \"kind\"; };", "is not a JSON Pointer"},
        {"events = { types = { up = \"video.publish\"; }; };",
         "did you mean \"video.published\""},
        {"events = { types = ( { type = \"a.b\"; } ); };", "write { type ="},
        {"events = { preset = \"kafka\"; };", "none | debezium | outbox"},
        {"events = { presets = \"none\"; };", "did you mean"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct settings s = {0};
        struct err err;
        assert_int_equal(settings_load_text("t.conf", bad[i][0], strlen(bad[i][0]), &s, &err),
                         ERR_FATAL);
        if (!strstr(err.text, bad[i][1]) || strncmp(err.text, "t.conf:1", 8) != 0)
            fail_msg("%s: expected \"%s\" in: %s", bad[i][0], bad[i][1], err.text);
    }
}

static void printed_settings_load_again(void **state)
{
    (void)state;
    struct settings s = {0}, again = {0};
    char *text[2] = {NULL, NULL};
    size_t bytes;

    assert_int_equal(settings_load_text("t.conf", own_names, strlen(own_names), &s, NULL),
                     ERR_OK);
    for (int i = 0; i < 2; i++) {
        FILE *out = open_memstream(&text[i], &bytes);
        assert_int_equal(settings_print(i == 0 ? &s : &again, out), ERR_OK);
        fclose(out);
        if (i == 0)
            assert_int_equal(settings_load_text("u.conf", text[0], bytes, &again, NULL),
                             ERR_OK);
    }
    assert_string_equal(text[0], text[1]);
    assert_non_null(strstr(text[0], "media_uri = [\"/payload/after/hls~1url\", "
                                    "\"/payload/after/files/0/url\"];"));
    free(text[0]);
    free(text[1]);
    settings_done(&s);
    settings_done(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_names_are_found_by_pointers),
        cmocka_unit_test(own_types_and_marks_are_obeyed),
        cmocka_unit_test(debezium_is_unwrapped),
        cmocka_unit_test(debezium_unavailable_is_not_named),
        cmocka_unit_test(debezium_time_stands_in),
        cmocka_unit_test(tombstone_key_is_mapped),
        cmocka_unit_test(outbox_payload_is_read),
        cmocka_unit_test(ids_may_be_whole_numbers),
        cmocka_unit_test(times_may_be_numbers_or_without_zone),
        cmocka_unit_test(tags_may_be_a_text),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(broken_text_is_mended),
        cmocka_unit_test(wire_format_is_named),
        cmocka_unit_test(bad_settings_are_refused),
        cmocka_unit_test(printed_settings_load_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
