#include "daemon/event/event.h"

#include "daemon/base/ids.h"
#include "daemon/event/envelope.h"
#include "daemon/event/json.h"
#include "daemon/event/meaning.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* The key of a tombstone is no JSON: that it is UTF-8 is for json_stringn to say. */
static int read_key(struct item *item, const char *what, const char **ret_id, struct err *err)
{
    if (!item->key || item->key_bytes < 1 || item->key_bytes > ID_BYTES_MAX)
        return field_expected(err, "key of a null value", what);
    json_t *key = json_stringn(item->key, item->key_bytes);
    bool good = key && memchr(item->key, 0, item->key_bytes) == NULL &&
                !id_has_control(json_string_value(key));
    json_decref(key);
    if (!good)
        return field_expected(err, "key of a null value", what);
    *ret_id = arena_strndup(&item->arena, item->key, item->key_bytes);
    return *ret_id ? ERR_OK : err_oom(err, "event: copy the key");
}

static int read_user_tombstone(struct item *item, struct err *err)
{
    const struct item_header *type = envelope_header(item, "ce_type");
    if (type && !envelope_header_is(type, "user.deleted"))
        return field_expected(err, "value", "an object: only user.deleted may have none");
    int status =
        read_key(item, "the user id, 1 to 256 bytes of UTF-8 without control characters",
                 &item->user_id, err);
    if (status == ERR_OK)
        item->kind = ITEM_USER_DELETED;
    return status;
}

static int read_tombstone(struct item *item, struct err *err)
{
    static const char what[] =
        "the item id, 1 to 256 bytes of UTF-8 without control characters";
    const struct item_header *type = envelope_header(item, "ce_type");
    if (item->role == ITEM_ROLE_INTERACTIONS && item->tombstones_forget)
        return read_user_tombstone(item, err);
    if (item->role == ITEM_ROLE_INTERACTIONS)
        return field_expected(
            err, "value",
            "an object: a null value on a topic of interactions deletes "
            "nothing, its key is a user; interactions.tombstones = \"forget\" "
            "says otherwise");
    if (item->role != ITEM_ROLE_VIDEOS)
        return field_expected(err, "value",
                              "an object: whether the key of this null value is an item is not "
                              "known; send video.deleted for what should go");
    if (type && !envelope_header_is(type, "video.deleted"))
        return field_expected(err, "value", "an object: only video.deleted may have none");
    int status = read_key(item, what, &item->item_id, err);
    if (status == ERR_OK)
        item->kind = ITEM_DELETED;
    return status;
}

int event_parse(struct item *item, struct err *err)
{
    struct document value;
    struct envelope e = {0};

    if (!item->value)
        return read_tombstone(item, err);
    if (item->value_bytes > EVENT_BYTES_MAX)
        return err_skip(err, "too_big", "event: %zu bytes: expected at most %u",
                        item->value_bytes, EVENT_BYTES_MAX);
    int status = json_document_open(item->value, item->value_bytes, &value, err);
    if (status != ERR_OK)
        return status;
    status = envelope_open(item, value.root, &e, err);
    if (status == ERR_OK)
        status = meaning_read(item, &e, err);
    value.close(&value);
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
    int status = json_document_open(json, strlen(json), &value, err);

    if (status != ERR_OK)
        return status;
    status = meaning_read_tags(item, value.root, err);
    value.close(&value);
    return status;
}
