/* Events from arbitrary bytes. The first byte chooses the form, and the rest is up to a newline a text, and
 * behind it the value:
 *
 *   'k'  all of it is the key of a null value
 *   'K'  the key of the value (a change of Debezium's that has no row)
 *   'h'  the type of a CloudEvents binary event
 *   'o'  the header eventType of the outbox router
 *
 * Anything else is a value. Each is tried in every role, with no preset, with each of them and with a
 * mapping. Either an error with a reason and a sentence, or an item within the limits, of which no two
 * ids can have become one. */

#include "config/text.h"
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

static const char *const settings_of[] = {
    "",
    "events = { preset = \"debezium\"; deleted = \"/deleted\";"
    " video = { item_id = [\"/id\", \"/item_id\"]; }; };",
    "events = { preset = \"outbox\"; type = [\"/t\", \"/type\"];"
    " types = { Uploaded = \"video.published\"; Gone = \"video.deleted\"; }; };",
    "events = { video = { item_id = \"/p/after/id\"; title = [\"/p/after/na~0m~1e\", "
    "\"/title\"];"
    " tags = \"/p/after/tags/0\"; published_at = \"/p/after/at\"; media_uri = "
    "\"/p/after//url\"; };"
    " interaction = { user_id = \"/viewer/id\"; kind = [\"/what/00\", \"/what/0\"]; };"
    " type = [\"/meta/event\", \"/type\"]; types = ( { type = \"site.upload\"; meaning = "
    "\"video.published\"; } ); deleted = [\"/p/after/gone\", \"/gone\"]; };",
};
#define N_RULES (sizeof(settings_of) / sizeof(settings_of[0]))

static const struct event_rules *rules(size_t i)
{
    static struct event_rules all[N_RULES];
    static bool is_open;

    for (size_t k = 0; !is_open && k < N_RULES; k++) {
        struct settings s = {0};
        require(settings_load_text("fuzz", settings_of[k], strlen(settings_of[k]), &s, NULL) ==
                        ERR_OK &&
                    event_rules_open(&s, &all[k], NULL) == ERR_OK,
                "settings");
        settings_done(&s);
    }
    is_open = true;
    return &all[i];
}

static void set_headers(struct item *item, char form, const uint8_t *text, size_t bytes)
{
    static struct item_header headers[] = {{"ce_specversion", "1.0", 3},
                                           {"ce_id", "1", 1},
                                           {"ce_source", "/", 1},
                                           {"ce_type", NULL, 0}};
    static struct item_header event_type = {"eventType", NULL, 0};
    struct item_header *last = form == 'h' ? &headers[3] : &event_type;

    last->value = text;
    last->value_bytes = bytes;
    item->headers = form == 'h' ? headers : &event_type;
    item->n_headers = form == 'h' ? 4 : 1;
}

static void set_raw(struct item *item, const uint8_t *data, size_t bytes)
{
    char form = bytes > 0 ? (char)data[0] : ' ';
    const uint8_t *newline;

    item->value = data;
    item->value_bytes = bytes;
    if (form == 0 || !strchr("kKho", form))
        return;
    data++;
    bytes--;
    newline = form != 'k' && bytes ? memchr(data, '\n', bytes) : NULL;
    item->value = newline ? newline + 1 : form == 'k' ? NULL : data + bytes;
    item->value_bytes = newline ? (size_t)(data + bytes - newline - 1) : 0;
    size_t text_bytes = newline ? (size_t)(newline - data) : bytes;
    if (form == 'h' || form == 'o') {
        set_headers(item, form, data, text_bytes);
        return;
    }
    item->key = data;
    item->key_bytes = text_bytes;
}

static bool is_utf8(const char *text)
{
    size_t n = strlen(text), step;

    for (size_t at = 0; at < n; at += step)
        if ((step = text_utf8_bytes(text + at, n - at)) == 0)
            return false;
    return true;
}

static bool within(const char *text, size_t max_bytes)
{
    return !text || (text[0] && strlen(text) <= max_bytes && is_utf8(text));
}

/* What could be read as one of two ids is none. */
static bool is_certain(const struct item *item, const char *id)
{
    return !id || !(item->warnings & ITEM_WARNING_REPLACED) || !strstr(id, "\xef\xbf\xbd");
}

static void check_good(struct item *item)
{
    const char *json;
    require(item->kind == ITEM_USER_DELETED
                ? item->user_id && !item->item_id
                : item->item_id && within(item->item_id, ID_BYTES_MAX),
            "item_id");
    require(is_certain(item, item->item_id) && is_certain(item, item->user_id), "mended id");
    require(item->kind != ITEM_PUBLISHED || item->media_uri || item->title ||
                item->description || item->n_tags > 0 || item->lang || item->sha256 ||
                item->event_us,
            "video that replaces with nothing");
    require(item->event_us >= -INT64_C(62135683200000000) &&
                item->event_us <= INT64_C(253402387200000000),
            "time");
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
    require(err->text[0] && !strchr(err->text, '\n') && is_utf8(err->text), "sentence");
}

static void try(const struct event_rules *with, enum item_role role, const uint8_t *data,
                size_t bytes)
{
    struct err err = {0};
    struct item *item = item_new();
    if (!item)
        abort();
    item->role = role;
    set_raw(item, data, bytes);
    if (event_parse(with, item, &err) == ERR_OK)
        check_good(item);
    else
        check_bad(&err);
    item_free(item);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    for (int role = ITEM_ROLE_NONE; role <= ITEM_ROLE_UNKNOWN; role++)
        for (size_t i = 0; i < N_RULES; i++)
            try(rules(i), (enum item_role)role, data, bytes);
    return 0;
}
