#include "daemon/event/event.h"

#include "config/text.h"
#include "daemon/event/envelope.h"
#include "daemon/event/json.h"
#include "daemon/event/kind.h"
#include "daemon/event/meaning.h"
#include "daemon/event/wire.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* ---- null values, whose key says what goes ------------------------------------------------ */

/* Only a topic of videos has keys that are items; those of a topic of interactions are users. *ret_kind:
 * what is deleted. */
static int check_deletes(const struct event_rules *rules, struct item *item,
                         enum item_kind *ret_kind, struct err *err)
{
    const char *type = envelope_header_text(item, "ce_type");
    enum item_kind kind = ITEM_PUBLISHED;

    if (item->role == ITEM_ROLE_INTERACTIONS && !rules->tombstones_forget)
        return field_expected(
            err, "value",
            "an object: a null value on a topic of interactions deletes "
            "nothing, its key is a user; interactions.tombstones = \"forget\" "
            "says otherwise");
    if (item->role != ITEM_ROLE_VIDEOS && item->role != ITEM_ROLE_INTERACTIONS)
        return field_expected(err, "value",
                              "an object: whether the key of this null value is an item is not "
                              "known; send video.deleted for what should go");
    *ret_kind = item->role == ITEM_ROLE_VIDEOS ? ITEM_DELETED : ITEM_USER_DELETED;
    if (envelope_header(item, "ce_type") &&
        (!type || !event_kind_of_type(rules, type, &kind) || kind != *ret_kind))
        return field_expected(err, "value",
                              item->role == ITEM_ROLE_VIDEOS
                                  ? "an object: only video.deleted may have none"
                                  : "an object: only user.deleted may have none");
    return ERR_OK;
}

/* A key of Kafka Connect's is JSON: {"id": 77}, {"schema": …, "payload": {"id": 77}} or "v1". Any other is
 * the id itself. *ret_id: ABSENT = the key is no JSON. */
static int read_json_key(const struct event_pointers *pointers, struct item *item,
                         struct document *d, struct field *ret_id)
{
    const char *key = item->key, *first = key, *end = key + item->key_bytes;

    *ret_id = (struct field){.type = FIELD_ABSENT};
    if (end - first > 3 && memcmp(first, "\xef\xbb\xbf", 3) == 0) /* a byte order mark */
        first += 3;
    while (first < end && *first != 0 && strchr(" \t\r\n", *first))
        first++;
    if (first == end || (*first != '{' && *first != '"' && key[0] != 0))
        return ERR_OK;
    int status = wire_open(key, item->key_bytes, WIRE_ANY, d, &item->warnings, NULL);
    if (status != ERR_OK)
        return status == ERR_RETRY ? ERR_RETRY : ERR_OK;
    struct field payload = envelope_payload(d->root);
    *ret_id = payload.type == FIELD_OBJECT ? event_rules_find_key(pointers, payload) : payload;
    if (ret_id->type == FIELD_ABSENT)
        ret_id->type = FIELD_NULL;
    return ERR_OK;
}

/* UTF-8 without a NUL inside. */
static bool is_text(const char *bytes, size_t n)
{
    for (size_t at = 0, step; at < n; at += step) {
        step = text_utf8_bytes(bytes + at, n - at);
        if (step == 0 || bytes[at] == '\0')
            return false;
    }
    return true;
}

static int read_key(const struct event_pointers *pointers, struct item *item,
                    const char **ret_id, struct err *err)
{
    static const char name[] = "key of a null value";
    static const char what[] = "an id, 1 to 256 bytes of UTF-8 without control characters";
    struct document d = {0};
    struct field id = {.type = FIELD_ABSENT};

    if (!item->key || item->key_bytes < 1)
        return field_expected(err, name, what);
    if (read_json_key(pointers, item, &d, &id) != ERR_OK)
        return err_oom(err, "event: parse a key");
    if (id.type == FIELD_ABSENT) {
        if (!is_text(item->key, item->key_bytes))
            return field_expected(err, name, what);
        const char *text = arena_strndup(&item->arena, item->key, item->key_bytes);
        if (!text)
            return err_oom(err, "event: copy the key");
        id = (struct field){.type = FIELD_TEXT, .text = text, .n = item->key_bytes};
    }
    int status = meaning_read_id(item, id, name, ret_id, err);
    if (d.close)
        d.close(&d);
    return status;
}

/* What has no value, or no row in it: its key says what goes. */
static int read_deletion(const struct event_rules *rules, struct item *item, struct err *err)
{
    int status = check_deletes(rules, item, &item->kind, err);

    if (status != ERR_OK)
        return status;
    return item->kind == ITEM_DELETED
               ? read_key(&rules->video[VIDEO_ITEM_ID], item, &item->item_id, err)
               : read_key(&rules->click[CLICK_USER_ID], item, &item->user_id, err);
}

/* ---- values ------------------------------------------------------------------------------- */

static int read_value(const struct event_rules *rules, struct item *item, struct field root,
                      struct err *err)
{
    struct envelope e;
    int status = envelope_open(rules, item, root, &e, err);

    if (status == ERR_OK)
        status = e.row.type == FIELD_ABSENT ? read_deletion(rules, item, err)
                                            : meaning_read(rules, item, &e, err);
    envelope_close(&e);
    return status;
}

static int parse(const struct event_rules *rules, struct item *item, struct err *err)
{
    struct document value;
    enum wire_root allowed = rules->preset == SETTINGS_PRESET_OUTBOX ? WIRE_ANY : WIRE_OBJECT;

    item->warnings = 0;
    if (!item->value)
        return read_deletion(rules, item, err);
    if (item->value_bytes > EVENT_BYTES_MAX)
        return err_skip(err, "too_big", "event: %zu bytes: expected at most %u",
                        item->value_bytes, EVENT_BYTES_MAX);
    int status =
        wire_open(item->value, item->value_bytes, allowed, &value, &item->warnings, err);
    if (status != ERR_OK)
        return status;
    status = read_value(rules, item, value.root, err);
    value.close(&value);
    return status;
}

int event_parse(const struct event_rules *rules, struct item *item, struct err *err)
{
    struct item_mark before;

    item_mark(item, &before);
    int status = parse(rules, item, err);
    if (status == ERR_RETRY)
        item_rewind(item, &before);
    return status;
}

/* ---- tags as the store keeps them --------------------------------------------------------- */

int event_tags_print(struct item *item, const char **ret_json, struct err *err)
{
    if (item->n_tags == 0) {
        *ret_json = NULL;
        return ERR_OK;
    }
    json_t *array = json_array();
    bool good = array != NULL;
    for (uint32_t i = 0; good && i < item->n_tags; i++)
        good = json_array_append_new(array, json_string(item->tags[i])) == 0;
    char *text = good ? json_dumps(array, JSON_COMPACT) : NULL;
    *ret_json = text ? arena_strdup(&item->arena, text) : NULL;
    free(text);
    json_decref(array);
    return *ret_json ? ERR_OK : err_oom(err, "event: print the tags");
}

int event_tags_parse(struct item *item, const char *json, struct err *err)
{
    struct document value;
    int status = json_document_open(json, strlen(json), false, &value, err);

    if (status != ERR_OK)
        return status;
    status = meaning_read_tags(item, value.root, err);
    value.close(&value);
    return status;
}
