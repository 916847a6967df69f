/* Events from arbitrary bytes. The first byte chooses the form: 'k' the rest is the key of a null
 * value, 'h' a CloudEvents binary event (its type up to a newline, then the value), anything else
 * is a value. Each is tried in every role. Either an error with a reason and a sentence, or an item
 * within the limits. */

#include "daemon/base/ids.h"
#include "daemon/event/event.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "fuzz_event: %s\n", what);
    abort();
}

static void set_binary(struct item *item, const uint8_t *data, size_t bytes)
{
    static struct item_header headers[] = {{"ce_specversion", "1.0", 3},
                                           {"ce_id", "1", 1},
                                           {"ce_source", "/", 1},
                                           {"ce_type", NULL, 0}};
    const uint8_t *newline = bytes ? memchr(data, '\n', bytes) : NULL;
    size_t type_bytes = newline ? (size_t)(newline - data) : bytes;
    headers[3].value = data;
    headers[3].value_bytes = type_bytes;
    item->headers = headers;
    item->n_headers = 4;
    item->value = newline ? newline + 1 : data + bytes;
    item->value_bytes = newline ? bytes - type_bytes - 1 : 0;
}

static void set_raw(struct item *item, const uint8_t *data, size_t bytes)
{
    if (bytes > 0 && data[0] == 'h') {
        set_binary(item, data + 1, bytes - 1);
    } else if (bytes > 0 && data[0] == 'k') {
        item->key = data + 1;
        item->key_bytes = bytes - 1;
    } else {
        item->value = data;
        item->value_bytes = bytes;
    }
}

static bool within(const char *text, size_t max_bytes)
{
    return !text || (text[0] && strlen(text) <= max_bytes);
}

static void check_good(struct item *item)
{
    const char *json;
    require(item->item_id && within(item->item_id, ID_BYTES_MAX), "item_id");
    require(item->kind != ITEM_DEAD && item->kind != ITEM_GAP, "kind");
    require(within(item->user_id, ID_BYTES_MAX), "user_id");
    require(item->kind != ITEM_INTERACTION || item->user_id, "interaction without user");
    require(item->kind != ITEM_USER_DELETED || (item->user_id && !item->item_id),
            "user.deleted without user, or with an item");
    require(item->kind != ITEM_PUBLISHED || item->named, "video that names nothing");
    require(item->kind != ITEM_DELETED || item->value || item->role == ITEM_ROLE_VIDEOS,
            "null value from elsewhere");
    require(item->kind != ITEM_INTERACTION || isfinite(item->weight), "weight");
    require(within(item->media_uri, EVENT_URI_BYTES_MAX), "media_uri");
    require(within(item->title, EVENT_TITLE_BYTES_MAX), "title");
    require(within(item->description, EVENT_DESCRIPTION_BYTES_MAX), "description");
    require(!item->sha256 || strlen(item->sha256) == 64, "sha256");
    require(item->n_tags <= EVENT_TAGS_MAX, "tags");
    for (uint32_t i = 0; i < item->n_tags; i++)
        require(within(item->tags[i], EVENT_TAG_BYTES_MAX), "tag");
    require(event_tags_print(item, &json, NULL) == ERR_OK, "print the tags");
    uint32_t n_tags = item->n_tags;
    if (json) {
        require(event_tags_parse(item, json, NULL) == ERR_OK, "parse the printed tags");
        require(item->n_tags == n_tags, "tags changed on the way");
    }
}

static void check_bad(const struct err *err)
{
    static const char *const reasons[] = {"bad_json", "bad_schema", "too_big"};
    bool known = false;
    for (size_t i = 0; i < 3; i++)
        known |= strcmp(err->reason, reasons[i]) == 0;
    require(err->status == ERR_SKIP && known, "reason");
    require(err->text[0] && !strchr(err->text, '\n'), "sentence");
}

static void try_role(enum item_role role, const uint8_t *data, size_t bytes)
{
    struct err err = {0};
    struct item *item = item_new();
    if (!item)
        abort();
    item->role = role;
    set_raw(item, data, bytes);
    if (event_parse(&event_rules_plain, item, &err) == ERR_OK)
        check_good(item);
    else
        check_bad(&err);
    item_free(item);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    for (int role = ITEM_ROLE_NONE; role <= ITEM_ROLE_UNKNOWN; role++)
        try_role((enum item_role)role, data, bytes);
    return 0;
}
