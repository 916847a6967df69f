#include "daemon/base/ids.h"
#include "daemon/event/event.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct item *with_value(const char *json)
{
    struct item *item = item_new();
    assert_non_null(item);
    item->value = json;
    item->value_bytes = json ? strlen(json) : 0;
    return item;
}

static struct item *parsed_from(enum item_role role, const char *json)
{
    struct err err;
    struct item *item = with_value(json);
    item->role = role;
    if (event_parse(&event_rules_plain, item, &err) != ERR_OK)
        fail_msg("%s: %s", json, err.text);
    return item;
}

static struct item *parsed(const char *json)
{
    return parsed_from(ITEM_ROLE_NONE, json);
}

static void refused_from(enum item_role role, const char *json, const char *reason,
                         const char *text)
{
    struct err err;
    struct item *item = with_value(json);
    item->role = role;
    assert_int_equal(event_parse(&event_rules_plain, item, &err), ERR_SKIP);
    assert_string_equal(err.reason, reason);
    if (!strstr(err.text, text))
        fail_msg("%s: expected \"%s\" in: %s", json, text, err.text);
    item_free(item);
}

static void refused(const char *json, const char *reason, const char *text)
{
    refused_from(ITEM_ROLE_NONE, json, reason, text);
}

static void parse_bare_video_fills_every_field(void **state)
{
    (void)state;
    struct item *item = parsed(
        "{\"item_id\": \"v1\", \"media_uri\": \"file:///srv/v1.mp4\", \"title\": \"T\","
        "\"description\": \"D\\n2\", \"tags\": [\"a\", \"#b\"], \"lang\": \"en\","
        "\"sha256\": \"E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855\","
        "\"published_at\": \"2026-01-02T03:04:05Z\", \"extra\": {\"x\": [1]}}");
    assert_int_equal(item->kind, ITEM_PUBLISHED);
    assert_string_equal(item->item_id, "v1");
    assert_string_equal(item->media_uri, "file:///srv/v1.mp4");
    assert_string_equal(item->title, "T");
    assert_string_equal(item->description, "D\n2");
    assert_int_equal(item->n_tags, 2);
    assert_string_equal(item->tags[1], "#b");
    assert_string_equal(item->lang, "en");
    assert_int_equal(item->sha256[0], 'e');
    assert_int_equal(item->event_us, INT64_C(1767323045000000));
    item_free(item);
}

static int n_allowed = INT_MAX;

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    return n_allowed-- > 0 ? __real_malloc(bytes) : NULL;
}

/* Without memory the item is as before, however often it is tried, and holds no more. */
static void parse_without_memory_leaves_the_item_as_it_was(void **state)
{
    static const char json[] =
        "{\"specversion\": \"1.0\", \"id\": \"1\", \"source\": \"s\", \"type\": "
        "\"video.updated\", \"data\": {\"item_id\": "
        "\"v1\", \"title\": \"T\", "
        "\"tags\": [\"a\", \"b\"], \"published_at\": \"2026-01-02T03:04:05Z\"}}";
    struct item *item = with_value(json), before = *item;
    int status = ERR_RETRY, n = 0;

    (void)state;
    for (; status == ERR_RETRY && n < 1000; n++) {
        struct err err;
        n_allowed = n;
        status = event_parse(&event_rules_plain, item, &err);
        n_allowed = INT_MAX;
        if (status == ERR_RETRY)
            assert_memory_equal(item, &before, sizeof(before));
        else if (status != ERR_OK)
            fail_msg("with %d allocations: %s", n, err.text);
    }
    assert_int_equal(status, ERR_OK);
    assert_true(n > 10);
    assert_string_equal(item->title, "T");
    item_free(item);
}

struct told {
    const char *json;
    enum item_kind kind;
};

static void check_told(enum item_role role, const struct told *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct item *item = parsed_from(role, cases[i].json);
        if (item->kind != cases[i].kind)
            fail_msg("%s: kind %d", cases[i].json, (int)item->kind);
        item_free(item);
    }
}

#define TOLD(role, cases) check_told(role, cases, sizeof(cases) / sizeof((cases)[0]))

/* By the role: N no role, V videos, I interactions, U unknown. */
static bool is_among(enum item_role role, const char *roles)
{
    return strchr(roles, "NVIU"[role]) != NULL;
}

static void parse_type_narrows_the_role(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        enum item_kind kind;
        const char *roles;
    } cases[] = {
        {"{\"item_id\": \"v\", \"type\": \"video.published\", \"title\": \"t\"}",
         ITEM_PUBLISHED, "NVU"},
        {"{\"item_id\": \"v\", \"type\": \"video.published\", \"title\": \"t\","
         " \"user_id\": 1, \"kind\": 2}",
         ITEM_PUBLISHED, "NVU"},
        {"{\"item_id\": \"v\", \"type\": \"video.updated\"}", ITEM_UPDATED, "NVU"},
        {"{\"item_id\": \"v\", \"type\": \"com.site.video.updated\"}", ITEM_UPDATED, "NVU"},
        {"{\"item_id\": \"v\", \"type\": \"video.deleted\", \"title\": 3}", ITEM_DELETED,
         "NVU"},
        {"{\"item_id\": \"v\", \"type\": \"interaction\", \"user_id\": \"u\","
         " \"title\": \"t\"}",
         ITEM_INTERACTION, "NIU"},
        {"{\"item_id\": 1, \"type\": \"user.deleted\", \"user_id\": 7}", ITEM_USER_DELETED,
         "NIU"},
    };
    for (int r = ITEM_ROLE_NONE; r <= ITEM_ROLE_UNKNOWN; r++) {
        enum item_role role = (enum item_role)r;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            struct item *item;
            if (!is_among(role, cases[i].roles)) {
                refused_from(role, cases[i].json, "bad_schema",
                             role == ITEM_ROLE_VIDEOS ? "on a topic of videos"
                                                      : "on a topic of interactions");
                continue;
            }
            item = parsed_from(role, cases[i].json);
            assert_int_equal(item->kind, cases[i].kind);
            item_free(item);
        }
    }
}

/* What was received is quoted, whatever it is. */
static void parse_type_unknown_is_quoted(void **state)
{
    (void)state;
    refused("{\"item_id\": \"v\", \"type\": \"video.created\"}", "bad_schema",
            "got \"video.created\"");
    refused("{\"item_id\": \"v\", \"type\": \"notavideo.published\", \"title\": \"t\"}",
            "bad_schema", "got \"notavideo.published\"");
    refused("{\"item_id\": \"v\", \"type\": \"video.published.v2\", \"title\": \"t\"}",
            "bad_schema", "got \"video.published.v2\"");
    refused("{\"item_id\": \"v\", \"type\": \"\", \"title\": \"t\"}", "bad_schema", "got \"\"");
    refused("{\"item_id\": \"v\", \"type\": \"a\\u001b[2J\", \"title\": \"t\"}", "bad_schema",
            "got \"a [2J\"");
    refused_from(ITEM_ROLE_VIDEOS,
                 "{\"item_id\": \"v\", \"type\": \"com.site.interaction\", \"user_id\": \"u\"}",
                 "bad_schema", "\"com.site.interaction\" on a topic of videos");
}

static void parse_bare_on_a_topic_of_videos_is_a_video(void **state)
{
    (void)state;
    static const struct told cases[] = {
        {"{\"item_id\": \"v\", \"lang\": \"en\"}", ITEM_PUBLISHED},
        {"{\"user_id\": \"uploader\", \"item_id\": \"v\", \"title\": \"t\"}", ITEM_PUBLISHED},
        {"{\"user_id\": 7, \"item_id\": \"v\", \"media_uri\": \"file:///v.mp4\"}",
         ITEM_PUBLISHED},
        {"{\"item_id\": \"v\", \"tags\": [\"t\"], \"kind\": \"short\", \"ts\": 5}",
         ITEM_PUBLISHED},
        {"{\"item_id\": \"v\", \"user_id\": \"u\", \"kind\": \"short\","
         " \"media_uri\": \"file:///v.mp4\"}",
         ITEM_PUBLISHED},
    };
    TOLD(ITEM_ROLE_VIDEOS, cases);
    static const char *const bad[] = {
        "{\"item_id\": \"v\"}",
        "{\"user_id\": \"u\", \"item_id\": \"v\"}",
        "{\"item_id\": \"v\", \"kind\": \"watch\", \"title\": null}",
        "{\"item_id\": \"v\", \"title\": \"\", \"media_uri\": \"\", \"tags\": [],"
        " \"description\": {}}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused_from(ITEM_ROLE_VIDEOS, bad[i], "bad_schema", "a video without media_uri");
    static const char *const clicks[] = {
        "{\"user_id\": \"u\", \"item_id\": \"v\", \"kind\": \"watch\", \"title\": null}",
        "{\"user_id\": \"u\", \"item_id\": \"v\", \"ts\": 5, \"title\": \"denormalised\","
        " \"media_uri\": \"\"}",
    };
    for (size_t i = 0; i < sizeof(clicks) / sizeof(clicks[0]); i++)
        refused_from(ITEM_ROLE_VIDEOS, clicks[i], "bad_schema", "on a topic of videos");
}

static void parse_bare_on_a_topic_of_interactions_is_an_interaction(void **state)
{
    (void)state;
    static const struct told cases[] = {
        {"{\"user_id\": \"u\", \"item_id\": \"v\"}", ITEM_INTERACTION},
        {"{\"user_id\": \"u\", \"item_id\": \"v\", \"title\": \"t\"}", ITEM_INTERACTION},
        {"{\"user_id\": \"u\", \"item_id\": \"v\", \"kind\": \"like\","
         " \"media_uri\": \"file:///v.mp4\"}",
         ITEM_INTERACTION},
    };
    TOLD(ITEM_ROLE_INTERACTIONS, cases);
    static const char *const bad[] = {
        "{\"item_id\": \"v\"}",
        "{\"item_id\": \"v\", \"userId\": \"u\"}",
        "{\"item_id\": \"v\", \"kind\": \"watch\", \"weight\": 1.0, \"user_id\": null}",
        "{\"item_id\": \"v\", \"title\": \"t\"}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused_from(ITEM_ROLE_INTERACTIONS, bad[i], "bad_schema", "user_id: expected");
    refused_from(
        ITEM_ROLE_INTERACTIONS,
        "{\"user_id\": \"owner\", \"item_id\": \"v\", \"media_uri\": \"file:///v.mp4\"}",
        "bad_schema", "on a topic of interactions");
}

static void parse_bare_in_a_file_is_told_by_its_fields(void **state)
{
    (void)state;
    static const struct told cases[] = {
        {"{\"item_id\": \"v\", \"title\": \"t\"}", ITEM_PUBLISHED},
        {"{\"item_id\": \"v\", \"user_id\": \"uploader\", \"tags\": [\"t\"]}", ITEM_PUBLISHED},
        {"{\"item_id\": \"v\", \"user_id\": \"u\", \"title\": \"\", \"tags\": []}",
         ITEM_INTERACTION},
        {"{\"item_id\": \"v\", \"published_at\": \"2026-01-02T03:04:05Z\"}", ITEM_PUBLISHED},
        {"{\"item_id\": \"v\", \"user_id\": \"u\"}", ITEM_INTERACTION},
        {"{\"item_id\": \"v\", \"user_id\": \"u\", \"kind\": \"like\", \"title\": null}",
         ITEM_INTERACTION},
        {"{\"item_id\": \"v\", \"user_id\": \"u\", \"weight\": 2}", ITEM_INTERACTION},
    };
    TOLD(ITEM_ROLE_NONE, cases);
    static const char *const video[] = {"media_uri", "title",  "description", "tags",
                                        "lang",      "sha256", "published_at"};
    static const char *const interaction[] = {"kind", "weight", "ts"};
    char json[128];
    for (size_t i = 0; i < sizeof(video) / sizeof(video[0]); i++) {
        (void)snprintf(json, sizeof(json),
                       "{\"item_id\": \"v\", \"user_id\": \"u\", \"%s\": 1, \"%s\": 1}",
                       video[i], interaction[i % 3]);
        refused(json, "bad_schema", "beside fields of a video");
    }
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(json, sizeof(json), "{\"item_id\": \"v\", \"%s\": 1}", interaction[i]);
        refused(json, "bad_schema", "user_id: expected");
    }
    refused("{\"item_id\": \"v\"}", "bad_schema", "neither a field of a video");
    refused("{\"item_id\": \"v\", \"user_id\": null, \"title\": null}", "bad_schema",
            "neither a field of a video");
}

/* A dead letter that an older version wrote: nothing is replaced by what may have been a click. */
static void parse_bare_of_an_unknown_topic_is_not_guessed(void **state)
{
    (void)state;
    static const struct told cases[] = {
        {"{\"item_id\": \"v\", \"title\": \"t\"}", ITEM_PUBLISHED},
        {"{\"item_id\": \"v\", \"user_id\": \"u\"}", ITEM_INTERACTION},
        {"{\"item_id\": \"v\", \"user_id\": \"u\", \"kind\": \"like\"}", ITEM_INTERACTION},
    };
    TOLD(ITEM_ROLE_UNKNOWN, cases);
    refused_from(ITEM_ROLE_UNKNOWN,
                 "{\"item_id\": \"v\", \"user_id\": \"a\\u0007\", \"title\": \"t\"}",
                 "bad_schema", "beside fields of a video");
}

static void parse_published_without_a_field_is_refused(void **state)
{
    (void)state;
    refused("{\"type\": \"video.published\", \"item_id\": \"v\", \"title\": null}",
            "bad_schema", "a video without media_uri");
    refused("{\"specversion\": \"1.0\", \"id\": \"1\", \"source\": \"/s\","
            "\"type\": \"video.published\", \"data\": {\"item_id\": \"v\"}}",
            "bad_schema", "a video without media_uri");
}

static void parse_update_names_its_fields(void **state)
{
    (void)state;
    struct item *item =
        parsed("{\"type\": \"video.updated\", \"item_id\": \"v\", \"title\": null,"
               "\"tags\": []}");
    assert_int_equal(item->named, ITEM_FIELD_TITLE | ITEM_FIELD_TAGS);
    assert_null(item->title);
    item_free(item);
}

static void parse_interaction_has_defaults(void **state)
{
    (void)state;
    struct item *item = parsed("{\"user_id\": \"u1\", \"item_id\": \"v1\"}");
    assert_true(item->weight == 1.0);
    assert_null(item->interaction_kind);
    item_free(item);
    item = parsed("{\"user_id\": \"u1\", \"item_id\": \"v1\", \"weight\": -2,"
                  "\"kind\": \"dislike\", \"ts\": \"2026-01-02T03:04:05Z\"}");
    assert_true(item->weight == -2.0);
    assert_string_equal(item->interaction_kind, "dislike");
    assert_int_equal(item->event_us, INT64_C(1767323045000000));
    item_free(item);
}

static void parse_structured_cloudevent_reads_its_data(void **state)
{
    (void)state;
    struct item *item =
        parsed("{\"specversion\": \"1.0\", \"id\": \"1\", \"source\": \"/site\","
               "\"type\": \"video.published\", \"time\": \"2026-01-02T03:04:05Z\","
               "\"datacontenttype\": \"application/json; charset=utf-8\","
               "\"data\": {\"item_id\": \"v1\", \"title\": \"t\", \"type\": \"short\"}}");
    assert_int_equal(item->kind, ITEM_PUBLISHED);
    assert_string_equal(item->item_id, "v1");
    assert_int_equal(item->event_us, INT64_C(1767323045000000));
    item_free(item);
}

static void parse_structured_cloudevent_bad_is_refused(void **state)
{
    (void)state;
    refused("{\"specversion\": \"0.3\", \"id\": \"1\", \"source\": \"/s\","
            "\"type\": \"interaction\", \"data\": {}}",
            "bad_schema", "specversion");
    refused("{\"specversion\": \"1.0\", \"source\": \"/s\", \"type\": \"x\", \"data\": {}}",
            "bad_schema", "id: expected a string");
    refused("{\"specversion\": \"1.0\", \"id\": \"1\", \"source\": \"/s\","
            "\"type\": \"video.published\", \"data_base64\": \"e30=\"}",
            "bad_schema", "data: expected an object, got nothing");
    refused("{\"specversion\": \"1.0\", \"id\": \"1\", \"source\": \"/s\","
            "\"type\": \"video.liked\", \"data\": {\"item_id\": \"v\"}}",
            "bad_schema", "type: expected video.published");
}

static struct item *with_headers(const char *json, const struct item_header *headers, size_t n)
{
    struct item *item = with_value(json);
    item->headers = headers;
    item->n_headers = n;
    return item;
}

static void parse_binary_cloudevent_reads_headers(void **state)
{
    (void)state;
    const struct item_header headers[] = {{"ce_specversion", "1.0", 3},
                                          {"ce_id", "1", 1},
                                          {"ce_source", "/s", 2},
                                          {"ce_type", "video.updated", 13},
                                          {"content-type", "application/json", 16}};
    struct item *item = with_headers("{\"item_id\": \"v\"}", headers, 5);
    assert_int_equal(event_parse(&event_rules_plain, item, NULL), ERR_OK);
    assert_int_equal(item->kind, ITEM_UPDATED);
    item_free(item);

    struct err err;
    for (size_t left_out = 0; left_out < 4; left_out++) {
        struct item_header some[5];
        memcpy(some, headers, sizeof(some));
        some[left_out].name = "other";
        if (left_out == 3)
            some[3] = (struct item_header){"ce_type", NULL, 0};
        item = with_headers("{\"item_id\": \"v\"}", some, 5);
        assert_int_equal(event_parse(&event_rules_plain, item, &err), ERR_SKIP);
        assert_string_equal(err.reason, "bad_schema");
        item_free(item);
    }
    const struct item_header avro[] = {{"ce_specversion", "1.0", 3},
                                       {"ce_id", "1", 1},
                                       {"ce_source", "/s", 2},
                                       {"ce_type", "video.updated", 13},
                                       {"content-type", "application/avro", 16}};
    item = with_headers("{\"item_id\": \"v\"}", avro, 5);
    assert_int_equal(event_parse(&event_rules_plain, item, &err), ERR_SKIP);
    item_free(item);
}

static int parse_key_from(enum item_role role, const void *key, size_t n,
                          struct item **ret_item, struct err *err)
{
    *ret_item = with_value(NULL);
    (*ret_item)->key = key;
    (*ret_item)->key_bytes = n;
    (*ret_item)->role = role;
    return event_parse(&event_rules_plain, *ret_item, err);
}

static int parse_key(const void *key, size_t n, struct item **ret_item)
{
    return parse_key_from(ITEM_ROLE_VIDEOS, key, n, ret_item, NULL);
}

/* Whatever the key: on a topic of interactions it is a user; of a dead letter whose topic's role is
 * not known it may be one. */
static void parse_tombstone_from_elsewhere_deletes_nothing(void **state)
{
    (void)state;
    static const enum item_role roles[] = {ITEM_ROLE_INTERACTIONS, ITEM_ROLE_NONE,
                                           ITEM_ROLE_UNKNOWN};
    const struct item_header header = {"ce_type", "video.deleted", 13};
    for (size_t i = 0; i < 6; i++) {
        struct err err;
        struct item *item;
        assert_int_equal(parse_key_from(roles[i % 3], "42", 2, &item, &err), ERR_SKIP);
        assert_string_equal(err.reason, "bad_schema");
        assert_int_not_equal(item->kind, ITEM_DELETED);
        item->headers = &header;
        item->n_headers = i / 3;
        assert_int_equal(event_parse(&event_rules_plain, item, &err), ERR_SKIP);
        item_free(item);
    }
}

/* By a setting only, and never on a topic of videos. */
static void parse_tombstone_of_a_user_forgets(void **state)
{
    (void)state;
    static const struct item_header header = {"ce_type", "video.deleted", 13};
    struct event_rules rules = event_rules_plain;
    struct item *item = with_value(NULL);
    struct err err;

    rules.tombstones_forget = true;
    item->key = "u\xc3\xa9";
    item->key_bytes = 3;
    item->role = ITEM_ROLE_INTERACTIONS;
    assert_int_equal(event_parse(&rules, item, &err), ERR_OK);
    assert_int_equal(item->kind, ITEM_USER_DELETED);
    assert_string_equal(item->user_id, "u\xc3\xa9");
    assert_null(item->item_id);
    item->headers = &header;
    item->n_headers = 1;
    assert_int_equal(event_parse(&rules, item, &err), ERR_SKIP);
    item->n_headers = 0;
    item->key_bytes = 0;
    assert_int_equal(event_parse(&rules, item, &err), ERR_SKIP);
    item_free(item);

    item = with_value(NULL);
    item->key = "{\"user_id\": 7}";
    item->key_bytes = strlen(item->key);
    item->role = ITEM_ROLE_INTERACTIONS;
    assert_int_equal(event_parse(&rules, item, &err), ERR_OK);
    assert_string_equal(item->user_id, "7");
    item_free(item);

    item = with_value(NULL);
    item->key = "v";
    item->key_bytes = 1;
    item->role = ITEM_ROLE_VIDEOS;
    assert_int_equal(event_parse(&rules, item, &err), ERR_OK);
    assert_int_equal(item->kind, ITEM_DELETED);
    item_free(item);
}

static void parse_user_deleted_needs_a_user_and_no_item(void **state)
{
    (void)state;
    static const enum item_role roles[] = {ITEM_ROLE_NONE, ITEM_ROLE_INTERACTIONS,
                                           ITEM_ROLE_UNKNOWN};

    for (size_t i = 0; i < 3; i++) {
        struct item *item =
            parsed_from(roles[i], "{\"type\": \"user.deleted\", \"user_id\": \"u1\", "
                                  "\"item_id\": \"v1\", \"ts\": \"1970-01-01T00:00:01Z\"}");
        assert_int_equal(item->kind, ITEM_USER_DELETED);
        assert_string_equal(item->user_id, "u1");
        assert_null(item->item_id);
        assert_int_equal(item->event_us, 1000000);
        item_free(item);
        refused_from(roles[i], "{\"type\": \"user.deleted\", \"item_id\": \"v1\"}",
                     "bad_schema", "user_id");
    }
    refused_from(ITEM_ROLE_VIDEOS, "{\"type\": \"user.deleted\", \"user_id\": \"u1\"}",
                 "bad_schema", "on a topic of videos");
}

static void parse_tombstone_deletes_the_key(void **state)
{
    (void)state;
    struct item *item;
    assert_int_equal(parse_key("v\xc3\xa9", 3, &item), ERR_OK);
    assert_int_equal(item->kind, ITEM_DELETED);
    assert_string_equal(item->item_id, "v\xc3\xa9");
    item_free(item);

    static const struct {
        const char *key;
        size_t n;
    } bad[] = {{NULL, 0}, {"", 0}, {"a\0b", 3}, {"\xff", 1}, {"a\n", 2}, {"\xc2\x85", 2}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(parse_key(bad[i].key, bad[i].n, &item), ERR_SKIP);
        item_free(item);
    }
    char longest[ID_BYTES_MAX + 1];
    memset(longest, 'x', sizeof(longest));
    assert_int_equal(parse_key(longest, ID_BYTES_MAX, &item), ERR_OK);
    item_free(item);
    assert_int_equal(parse_key(longest, ID_BYTES_MAX + 1, &item), ERR_SKIP);
    item_free(item);
}

static void parse_bad_json_tells_line_and_column(void **state)
{
    (void)state;
    refused("", "bad_json", "line");
    refused("{\"item_id\": \"v\",\n \"title\" 3}", "bad_json", "line 2");
    refused("{\"item_id\": \"v\"} x", "bad_json", "column");
    refused("{\"item_id\": \"v\", \"item_id\": \"w\"}", "bad_json", "duplicate");
    refused("{\"item_id\": \"v\", \"weight\": 1e999}", "bad_json", "line 1");
    refused("null", "bad_json", "line 1");
    refused("{\"a\": NaN}", "bad_json", "line 1");
}

static void parse_wrong_types_name_the_field(void **state)
{
    (void)state;
    refused("[]", "bad_schema", "value: expected a JSON object, got an array");
    refused("{}", "bad_schema", "neither a field of a video");
    refused("{\"title\": \"t\"}", "bad_schema", "item_id: expected a string of 1 to 256 bytes");
    refused("{\"item_id\": 5.5, \"title\": \"t\"}", "bad_schema", "item_id");
    refused("{\"item_id\": 5.0, \"title\": \"t\"}", "bad_schema", "a fraction");
    refused("{\"item_id\": true, \"title\": \"t\"}", "bad_schema", "got true");
    refused("{\"item_id\": \"\", \"title\": \"t\"}", "bad_schema", "item_id");
    refused("{\"item_id\": \"a\\tb\", \"title\": \"t\"}", "bad_schema", "item_id");
    refused("{\"item_id\": \"v\", \"type\": 1}", "bad_schema", "type");
    refused("{\"item_id\": \"v\", \"title\": 1}", "bad_schema", "title");
    refused("{\"item_id\": \"v\", \"tags\": [\"a\", 1]}", "bad_schema", "tags");
    refused("{\"item_id\": \"v\", \"sha256\": \"abc\"}", "bad_schema", "sha256");
    refused("{\"item_id\": \"v\", \"lang\": \"e n\"}", "bad_schema", "lang");
    refused("{\"item_id\": \"v\", \"media_uri\": \"file:///a\\nb\"}", "bad_schema",
            "media_uri");
    refused("{\"item_id\": \"v\", \"published_at\": \"today\"}", "bad_schema", "published_at");
    refused("{\"item_id\": \"v\", \"user_id\": \"u\", \"weight\": \"1\"}", "bad_schema",
            "weight");
    refused("{\"item_id\": \"v\", \"user_id\": \"u\", \"weight\": 1e7}", "bad_schema",
            "weight");
    refused("{\"item_id\": \"v\", \"user_id\": \"u\", \"kind\": \"a b\"}", "bad_schema",
            "kind");
}

/* {"item_id": "v", "<field>": <n repeated> } */
static void refused_when_repeated(const char *head, const char *each, size_t n,
                                  const char *tail, const char *reason, const char *text)
{
    size_t bytes = strlen(head) + n * strlen(each) + strlen(tail) + 1;
    char *json = malloc(bytes), *end = json;
    assert_non_null(json);
    end = stpcpy(end, head);
    for (size_t i = 0; i < n; i++)
        end = stpcpy(end, each);
    stpcpy(end, tail);
    refused(json, reason, text);
    free(json);
}

static void parse_over_long_is_refused(void **state)
{
    (void)state;
    refused_when_repeated("{\"title\": \"t\", \"item_id\": \"", "x", ID_BYTES_MAX + 1, "\"}",
                          "bad_schema", "item_id");
    refused_when_repeated("{\"item_id\": \"v\", \"media_uri\": \"", "x",
                          EVENT_URI_BYTES_MAX + 1, "\"}", "bad_schema", "media_uri");
    refused_when_repeated("{\"a\": ", "[", 100000, "}", "bad_json", "maximum parsing depth");
    refused_when_repeated("{\"a\": \"", "x", EVENT_BYTES_MAX, "\"}", "too_big", "bytes");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_without_memory_leaves_the_item_as_it_was),
        cmocka_unit_test(parse_bare_video_fills_every_field),
        cmocka_unit_test(parse_type_narrows_the_role),
        cmocka_unit_test(parse_type_unknown_is_quoted),
        cmocka_unit_test(parse_bare_on_a_topic_of_videos_is_a_video),
        cmocka_unit_test(parse_bare_on_a_topic_of_interactions_is_an_interaction),
        cmocka_unit_test(parse_bare_in_a_file_is_told_by_its_fields),
        cmocka_unit_test(parse_bare_of_an_unknown_topic_is_not_guessed),
        cmocka_unit_test(parse_published_without_a_field_is_refused),
        cmocka_unit_test(parse_update_names_its_fields),
        cmocka_unit_test(parse_interaction_has_defaults),
        cmocka_unit_test(parse_structured_cloudevent_reads_its_data),
        cmocka_unit_test(parse_structured_cloudevent_bad_is_refused),
        cmocka_unit_test(parse_binary_cloudevent_reads_headers),
        cmocka_unit_test(parse_tombstone_of_a_user_forgets),
        cmocka_unit_test(parse_user_deleted_needs_a_user_and_no_item),
        cmocka_unit_test(parse_tombstone_deletes_the_key),
        cmocka_unit_test(parse_tombstone_from_elsewhere_deletes_nothing),
        cmocka_unit_test(parse_bad_json_tells_line_and_column),
        cmocka_unit_test(parse_wrong_types_name_the_field),
        cmocka_unit_test(parse_over_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
