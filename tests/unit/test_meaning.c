/* What an event means does not depend on the wire format: another one, made of pairs of words, gives
 * the same items and the same errors. */

#include "daemon/event/event.h"
#include "daemon/event/meaning.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* "name=value", NULL at the end; a value in digits is a number, one with '+' inside a list. */
struct pairs {
    const char *const *pair;
};

static const struct field_format pairs_format;

static struct field value_of(const char *text)
{
    struct field f = {.node = text, .format = &pairs_format, .type = FIELD_TEXT, .text = text};

    f.n = strlen(text);
    if (f.n > 0 && strspn(text, "0123456789.") == f.n) {
        f.type = FIELD_NUMBER;
        f.number = strtod(text, NULL);
    } else if (strchr(text, '+')) {
        f.type = FIELD_LIST;
        f.n = 1;
        for (const char *c = text; *c; c++)
            f.n += *c == '+';
    }
    return f;
}

static struct field get(const void *object, const char *name)
{
    const size_t n = strlen(name);

    for (const char *const *p = ((const struct pairs *)object)->pair; *p; p++)
        if (strncmp(*p, name, n) == 0 && (*p)[n] == '=')
            return value_of(*p + n + 1);
    return (struct field){.type = FIELD_ABSENT};
}

static struct field at(const void *list, size_t i)
{
    static char word[32];
    const char *from = list;

    while (i-- > 0)
        from = strchr(from, '+') + 1;
    word[0] = '\0';
    strncat(word, from, strcspn(from, "+"));
    return value_of(word);
}

static const struct field_format pairs_format = {get, at};

static int read_pairs(struct item *item, const char *const *pair, struct err *err)
{
    const struct pairs p = {pair};
    const struct field root = {
        .type = FIELD_OBJECT, .n = 1, .node = &p, .format = &pairs_format};
    struct envelope e = {0};
    int status = envelope_open(&event_rules_plain, item, root, &e, err);

    return status == ERR_OK ? meaning_read(&event_rules_plain, item, &e, err) : status;
}

static void another_format_gives_a_video(void **state)
{
    (void)state;
    static const char *const video[] = {"item_id=v1", "media_uri=file:///v1.mp4", "title=A cat",
                                        "tags=cat+pet", NULL};
    struct item *item = item_new();
    assert_int_equal(read_pairs(item, video, NULL), ERR_OK);
    assert_int_equal(item->kind, ITEM_PUBLISHED);
    assert_string_equal(item->item_id, "v1");
    assert_string_equal(item->title, "A cat");
    assert_int_equal(item->n_tags, 2);
    assert_string_equal(item->tags[1], "pet");
    assert_int_equal(item->named, ITEM_FIELD_MEDIA | ITEM_FIELD_TITLE | ITEM_FIELD_TAGS);
    item_free(item);
}

static void another_format_has_the_same_envelopes(void **state)
{
    (void)state;
    static const char *const click[] = {"item_id=v1", "user_id=u", "weight=2.5",
                                        "type=interaction", NULL};
    static const char *const cloud[] = {"specversion=0.3", "id=1", "source=s",
                                        "type=interaction", NULL};
    struct err err;
    struct item *item = item_new();
    assert_int_equal(read_pairs(item, click, NULL), ERR_OK);
    assert_int_equal(item->kind, ITEM_INTERACTION);
    assert_true(item->weight == 2.5);
    assert_int_equal(read_pairs(item, cloud, &err), ERR_SKIP);
    assert_string_equal(err.text, "event: specversion: expected a string (CloudEvents 1.0), "
                                  "got a number");
    item_free(item);
}

static void another_format_has_the_same_errors(void **state)
{
    (void)state;
    static const char *const video[] = {"item_id=v1", "title=7", NULL};
    struct err err;
    struct item *item = item_new();
    assert_int_equal(read_pairs(item, video, &err), ERR_SKIP);
    assert_string_equal(err.reason, "bad_schema");
    assert_string_equal(err.text, "event: title: expected a string or null, got a number");
    item_free(item);
}

static void tags_survive_a_round_trip(void **state)
{
    (void)state;
    const char *json;
    static const char *const two[] = {"a\"b", "\xc3\xa9"};
    struct item *item = item_new();
    item->tags = two;
    item->n_tags = 2;
    assert_int_equal(event_tags_print(item, &json, NULL), ERR_OK);
    assert_string_equal(json, "[\"a\\\"b\",\"\xc3\xa9\"]");
    struct item *other = item_new();
    assert_int_equal(event_tags_parse(other, json, NULL), ERR_OK);
    assert_int_equal(other->n_tags, 2);
    assert_string_equal(other->tags[0], "a\"b");
    item_free(other);
    item_free(item);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_format_gives_a_video),
        cmocka_unit_test(another_format_has_the_same_envelopes),
        cmocka_unit_test(another_format_has_the_same_errors),
        cmocka_unit_test(tags_survive_a_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
