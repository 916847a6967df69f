#include "daemon/event/event.h"

#include "daemon/base/ids.h"
#include "daemon/event/kind.h"
#include "daemon/event/rfc3339.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>

/* What an event is about, whichever form it came in. */
struct envelope {
    const char *type;   /* NULL = the role tells, or the fields (bare form) */
    const char *time;   /* CloudEvents' own, NULL = none */
    const json_t *data; /* borrowed from the parsed value */
};

/* ---- words for messages ------------------------------------------------------------------ */

static const char *type_word(const json_t *json)
{
    static const char *const words[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number",  [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null",
    };
    return json ? words[json_typeof(json)] : "nothing";
}

static int expected(struct err *err, const char *field, const char *what, const json_t *got)
{
    return err_skip(err, "bad_schema", "event: %s: expected %s, got %s", field, what,
                    type_word(got));
}

static int expected_other(struct err *err, const char *field, const char *what)
{
    return err_skip(err, "bad_schema", "event: %s: expected %s", field, what);
}

/* ---- strings ------------------------------------------------------------------------------
 */

static int copy_text(struct arena *arena, const char *text, const char **ret_text,
                     struct err *err)
{
    *ret_text = arena_strdup(arena, text);
    return *ret_text ? ERR_OK : err_oom(err, "event: copy a field");
}

/* A required id: valid UTF-8 (the parser has seen to that), 1 … 256 bytes, no control
 * characters. */
static int read_id(struct item *item, const json_t *data, const char *field,
                   const char **ret_id, struct err *err)
{
    static const char what[] = "a string of 1 to 256 bytes without control characters";
    const json_t *json = json_object_get(data, field);
    if (!json_is_string(json))
        return expected(err, field, what, json);
    if (!id_is_usable(json_string_value(json)))
        return expected_other(err, field, what);
    return copy_text(&item->arena, json_string_value(json), ret_id, err);
}

/* An optional string: absent, null and "" are the same, NULL. */
static int read_text(struct item *item, const json_t *data, const char *field, size_t max_bytes,
                     const char **ret_text, struct err *err)
{
    const json_t *json = json_object_get(data, field);
    *ret_text = NULL;
    if (!json || json_is_null(json))
        return ERR_OK;
    if (!json_is_string(json))
        return expected(err, field, "a string or null", json);
    if (json_string_length(json) > max_bytes)
        return err_skip(err, "bad_schema", "event: %s: expected at most %zu bytes, got %zu",
                        field, max_bytes, json_string_length(json));
    if (json_string_length(json) == 0)
        return ERR_OK;
    return copy_text(&item->arena, json_string_value(json), ret_text, err);
}

static int read_time(const json_t *data, const char *field, int64_t *ret_us, struct err *err)
{
    static const char what[] =
        "an RFC 3339 timestamp with a zone, such as \"2026-01-02T03:04:05Z\"";
    const json_t *json = json_object_get(data, field);
    if (!json || json_is_null(json))
        return ERR_OK;
    if (!json_is_string(json))
        return expected(err, field, what, json);
    if (!rfc3339_parse(json_string_value(json), ret_us))
        return expected_other(err, field, what);
    return ERR_OK;
}

/* ---- the fields of a video ----------------------------------------------------------------
 */

static const struct text_field {
    const char *name;
    unsigned bit; /* enum item_field */
    size_t max_bytes;
    size_t at; /* of the const char * in struct item */
} text_fields[] = {
    {"media_uri", ITEM_FIELD_MEDIA, EVENT_URI_BYTES_MAX, offsetof(struct item, media_uri)},
    {"sha256", ITEM_FIELD_SHA256, 64, offsetof(struct item, sha256)},
    {"title", ITEM_FIELD_TITLE, EVENT_TITLE_BYTES_MAX, offsetof(struct item, title)},
    {"description", ITEM_FIELD_DESCRIPTION, EVENT_DESCRIPTION_BYTES_MAX,
     offsetof(struct item, description)},
    {"lang", ITEM_FIELD_LANG, EVENT_WORD_BYTES_MAX, offsetof(struct item, lang)},
};

static int read_texts(struct item *item, const json_t *data, struct err *err)
{
    for (size_t i = 0; i < sizeof(text_fields) / sizeof(text_fields[0]); i++) {
        const struct text_field *f = &text_fields[i];
        const char **text = (const char **)((char *)item + f->at);
        int status = read_text(item, data, f->name, f->max_bytes, text, err);
        if (status != ERR_OK)
            return status;
        if (json_object_get(data, f->name))
            item->named |= f->bit;
    }
    return ERR_OK;
}

static int read_tag(struct item *item, const json_t *json, const char **ret_tag,
                    struct err *err)
{
    if (!json_is_string(json) || json_string_length(json) < 1 ||
        json_string_length(json) > EVENT_TAG_BYTES_MAX)
        return expected_other(err, "tags", "strings of 1 to 256 bytes");
    return copy_text(&item->arena, json_string_value(json), ret_tag, err);
}

static int read_tags(struct item *item, const json_t *json, struct err *err)
{
    if (!json || json_is_null(json))
        return ERR_OK;
    if (!json_is_array(json))
        return expected(err, "tags", "an array of strings or null", json);
    size_t n = json_array_size(json);
    if (n > EVENT_TAGS_MAX)
        return err_skip(err, "bad_schema", "event: tags: expected at most %d, got %zu",
                        EVENT_TAGS_MAX, n);
    const char **tags = arena_array(&item->arena, n, sizeof(*tags));
    if (!tags)
        return err_oom(err, "event: copy the tags");
    for (size_t i = 0; i < n; i++) {
        int status = read_tag(item, json_array_get(json, i), &tags[i], err);
        if (status != ERR_OK)
            return status;
    }
    item->tags = tags;
    item->n_tags = (uint32_t)n;
    return ERR_OK;
}

static int check_sha256(struct item *item, struct err *err)
{
    if (!item->sha256)
        return ERR_OK;
    char *hex = arena_strdup(&item->arena, item->sha256);
    if (!hex)
        return err_oom(err, "event: copy sha256");
    for (char *c = hex; *c; c++)
        if (*c >= 'A' && *c <= 'F')
            *c = (char)(*c - 'A' + 'a');
    if (strlen(hex) != 64 || strspn(hex, "0123456789abcdef") != 64)
        return expected_other(err, "sha256", "64 hexadecimal digits");
    item->sha256 = hex;
    return ERR_OK;
}

static bool is_word(const char *text)
{
    return !text || strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "0123456789-_.") == strlen(text);
}

static int read_video(struct item *item, const json_t *data, struct err *err)
{
    int status;
    if (item->kind == ITEM_DELETED)
        return ERR_OK;
    const json_t *tags = json_object_get(data, "tags");
    if ((status = read_texts(item, data, err)) != ERR_OK ||
        (status = read_tags(item, tags, err)) != ERR_OK ||
        (status = check_sha256(item, err)) != ERR_OK ||
        (status = read_time(data, "published_at", &item->event_us, err)) != ERR_OK)
        return status;
    item->named |= tags ? ITEM_FIELD_TAGS : 0u;
    item->named |= json_object_get(data, "published_at") ? ITEM_FIELD_PUBLISHED : 0u;
    if (item->media_uri && id_has_control(item->media_uri))
        return expected_other(err, "media_uri", "a URI without control characters");
    if (!is_word(item->lang))
        return expected_other(err, "lang", "a language tag such as \"en\" or \"pt-BR\"");
    return ERR_OK;
}

/* ---- the fields of an interaction ---------------------------------------------------------
 */

static int read_weight(struct item *item, const json_t *data, struct err *err)
{
    const json_t *json = json_object_get(data, "weight");
    item->weight = 1.0;
    if (!json || json_is_null(json))
        return ERR_OK;
    if (!json_is_number(json))
        return expected(err, "weight", "a number or null", json);
    item->weight = json_number_value(json);
    if (!isfinite(item->weight) || fabs(item->weight) > EVENT_WEIGHT_MAX)
        return expected_other(err, "weight", "a finite number between -1e6 and 1e6");
    return ERR_OK;
}

static int read_interaction(struct item *item, const json_t *data, struct err *err)
{
    int status;
    if ((status = read_id(item, data, "user_id", &item->user_id, err)) != ERR_OK ||
        (status = read_text(item, data, "kind", EVENT_WORD_BYTES_MAX, &item->interaction_kind,
                            err)) != ERR_OK ||
        (status = read_weight(item, data, err)) != ERR_OK ||
        (status = read_time(data, "ts", &item->event_us, err)) != ERR_OK)
        return status;
    if (!is_word(item->interaction_kind))
        return expected_other(err, "kind", "a word such as \"watch\" or \"like\"");
    return ERR_OK;
}

/* ---- the three forms ----------------------------------------------------------------------
 */

static bool header_is(const struct item_header *header, const char *text)
{
    return header && header->value && header->value_bytes == strlen(text) &&
           memcmp(header->value, text, header->value_bytes) == 0;
}

static const struct item_header *find_header(const struct item *item, const char *name)
{
    for (size_t i = 0; i < item->n_headers; i++)
        if (strcasecmp(item->headers[i].name, name) == 0)
            return &item->headers[i];
    return NULL;
}

/* The header's text in the arena; NULL when it is absent, empty or over-long. */
static const char *header_text(struct item *item, const char *name)
{
    const struct item_header *header = find_header(item, name);
    if (!header || !header->value || header->value_bytes < 1 ||
        header->value_bytes > ID_BYTES_MAX)
        return NULL;
    return arena_strndup(&item->arena, header->value, header->value_bytes);
}

/* "application/json; charset=utf-8", "text/json", "application/vnd.site+json" */
static bool is_json_type(const char *type)
{
    size_t n_bytes = strcspn(type, "; \t");
    return (n_bytes >= 5 && (strncasecmp(type + n_bytes - 5, "/json", 5) == 0 ||
                             strncasecmp(type + n_bytes - 5, "+json", 5) == 0));
}

static int open_binary(struct item *item, const json_t *root, struct envelope *ret_e,
                       struct err *err)
{
    if (!header_is(find_header(item, "ce_specversion"), "1.0"))
        return expected_other(err, "header ce_specversion", "\"1.0\"");
    if (!header_text(item, "ce_id"))
        return expected_other(err, "header ce_id", "1 to 256 bytes");
    if (!header_text(item, "ce_source"))
        return expected_other(err, "header ce_source", "1 to 256 bytes");
    const char *type = header_text(item, "ce_type");
    if (!type)
        return expected_other(err, "header ce_type", "1 to 256 bytes");
    const char *content_type = header_text(item, "content-type");
    if (content_type && !is_json_type(content_type))
        return expected_other(err, "header content-type", "application/json");
    *ret_e = (struct envelope){type, header_text(item, "ce_time"), root};
    return ERR_OK;
}

static int require_strings(const json_t *root, const char *const *names, size_t n,
                           struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *json = json_object_get(root, names[i]);
        if (!json_is_string(json))
            return expected(err, names[i], "a string (CloudEvents 1.0)", json);
        if (json_string_length(json) == 0)
            return expected_other(err, names[i], "a string that is not empty");
    }
    return ERR_OK;
}

static int open_structured(const json_t *root, struct envelope *ret_e, struct err *err)
{
    static const char *const required[] = {"specversion", "id", "source", "type"};
    int status = require_strings(root, required, 4, err);
    if (status != ERR_OK)
        return status;
    if (strcmp(json_string_value(json_object_get(root, "specversion")), "1.0") != 0)
        return expected_other(err, "specversion", "\"1.0\"");
    const json_t *content = json_object_get(root, "datacontenttype");
    if (content && (!json_is_string(content) || !is_json_type(json_string_value(content))))
        return expected_other(err, "datacontenttype", "application/json");
    const json_t *time = json_object_get(root, "time");
    if (time && !json_is_string(time))
        return expected(err, "time", "a string", time);
    *ret_e = (struct envelope){json_string_value(json_object_get(root, "type")),
                               json_string_value(time), json_object_get(root, "data")};
    if (!json_is_object(ret_e->data))
        return expected(err, "data", "an object", ret_e->data);
    return ERR_OK;
}

static int open_bare(const json_t *root, struct envelope *ret_e, struct err *err)
{
    const json_t *type = json_object_get(root, "type");
    if (type && !json_is_string(type))
        return expected(err, "type", "a string", type);
    *ret_e = (struct envelope){json_string_value(type), NULL, root};
    return ERR_OK;
}

static int open_envelope(struct item *item, const json_t *root, struct envelope *ret_e,
                         struct err *err)
{
    if (!json_is_object(root))
        return expected(err, "value", "a JSON object", root);
    if (json_object_get(root, "specversion"))
        return open_structured(root, ret_e, err);
    if (find_header(item, "ce_specversion") || find_header(item, "ce_type"))
        return open_binary(item, root, ret_e, err);
    return open_bare(root, ret_e, err);
}

/* CloudEvents' own time stands in for a published video's or an interaction's missing one. */
static int adopt_time(struct item *item, const struct envelope *e, struct err *err)
{
    int64_t time_us;
    if (!e->time)
        return ERR_OK;
    if (!rfc3339_parse(e->time, &time_us))
        return expected_other(err, "time", "an RFC 3339 timestamp with a zone");
    if (item->event_us == 0 && item->kind != ITEM_UPDATED)
        item->event_us = time_us;
    return ERR_OK;
}

static int read_root(struct item *item, const json_t *root, struct err *err)
{
    struct envelope e = {0};
    int status = open_envelope(item, root, &e, err);
    if (status == ERR_OK)
        status = read_id(item, e.data, "item_id", &item->item_id, err);
    if (status == ERR_OK)
        status = event_kind(item->role, e.type, e.data, &item->kind, err);
    if (status != ERR_OK)
        return status;
    status = item->kind == ITEM_INTERACTION ? read_interaction(item, e.data, err)
                                            : read_video(item, e.data, err);
    return status == ERR_OK ? adopt_time(item, &e, err) : status;
}

/* ---- the value ----------------------------------------------------------------------------
 */

static void replace_control(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' ';
}

static int bad_json(json_error_t *error, struct err *err)
{
    if (json_error_code(error) == json_error_out_of_memory)
        return err_oom(err, "event: parse JSON");
    replace_control(error->text);
    return err_skip(err, "bad_json", "event: line %d, column %d: %s", error->line,
                    error->column, error->text);
}

/* The key of a tombstone is no JSON: that it is UTF-8 is for json_stringn to say. */
static int read_tombstone(struct item *item, struct err *err)
{
    static const char what[] =
        "the item id, 1 to 256 bytes of UTF-8 without control characters";
    const struct item_header *type = find_header(item, "ce_type");
    if (item->role == ITEM_ROLE_INTERACTIONS)
        return expected_other(err, "value",
                              "an object: a null value on a topic of interactions deletes "
                              "nothing, its key is a user");
    if (item->role != ITEM_ROLE_VIDEOS)
        return expected_other(err, "value",
                              "an object: whether the key of this null value is an item is not "
                              "known; send video.deleted for what should go");
    if (type && !header_is(type, "video.deleted"))
        return expected_other(err, "value", "an object: only video.deleted may have none");
    if (!item->key || item->key_bytes < 1 || item->key_bytes > ID_BYTES_MAX)
        return expected_other(err, "key of a null value", what);
    json_t *key = json_stringn(item->key, item->key_bytes);
    bool good = key && memchr(item->key, 0, item->key_bytes) == NULL &&
                !id_has_control(json_string_value(key));
    json_decref(key);
    if (!good)
        return expected_other(err, "key of a null value", what);
    item->kind = ITEM_DELETED;
    item->item_id = arena_strndup(&item->arena, item->key, item->key_bytes);
    return item->item_id ? ERR_OK : err_oom(err, "event: copy the key");
}

int event_parse(struct item *item, struct err *err)
{
    if (!item->value)
        return read_tombstone(item, err);
    if (item->value_bytes > EVENT_BYTES_MAX)
        return err_skip(err, "too_big", "event: %zu bytes: expected at most %u",
                        item->value_bytes, EVENT_BYTES_MAX);
    json_error_t error;
    json_t *root = json_loadb(item->value, item->value_bytes,
                              JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &error);
    if (!root)
        return bad_json(&error, err);
    int status = read_root(item, root, err);
    json_decref(root);
    return status;
}

/* ---- tags as the store keeps them ---------------------------------------------------------
 */

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
    json_error_t error;
    json_t *array = json_loads(json, 0, &error);
    if (!array)
        return bad_json(&error, err);
    int status = read_tags(item, array, err);
    json_decref(array);
    return status;
}
