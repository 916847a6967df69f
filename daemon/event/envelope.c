#include "daemon/event/envelope.h"

#include "daemon/base/ids.h"
#include "daemon/event/wire.h"

#include <string.h>
#include <strings.h>

/* header may be NULL. */
static bool is_header(const struct item_header *header, const char *text)
{
    return header && header->value && header->value_bytes == strlen(text) &&
           memcmp(header->value, text, header->value_bytes) == 0;
}

const struct item_header *envelope_header(const struct item *item, const char *name)
{
    for (size_t i = 0; i < item->n_headers; i++)
        if (strcasecmp(item->headers[i].name, name) == 0)
            return &item->headers[i];
    return NULL;
}

const char *envelope_header_text(struct item *item, const char *name)
{
    const struct item_header *header = envelope_header(item, name);
    if (!header || !header->value || header->value_bytes < 1 ||
        header->value_bytes > ID_BYTES_MAX || memchr(header->value, 0, header->value_bytes))
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

static int open_binary(struct item *item, struct field root, struct envelope *e,
                       struct err *err)
{
    if (!is_header(envelope_header(item, "ce_specversion"), "1.0"))
        return field_expected(err, "header ce_specversion", "\"1.0\"");
    if (!envelope_header_text(item, "ce_id"))
        return field_expected(err, "header ce_id", "1 to 256 bytes");
    if (!envelope_header_text(item, "ce_source"))
        return field_expected(err, "header ce_source", "1 to 256 bytes");
    const char *type = envelope_header_text(item, "ce_type");
    if (!type)
        return field_expected(err, "header ce_type", "1 to 256 bytes");
    const char *content_type = envelope_header_text(item, "content-type");
    if (content_type && !is_json_type(content_type))
        return field_expected(err, "header content-type", "application/json");
    const char *time = envelope_header_text(item, "ce_time");
    e->type = type;
    if (time)
        e->time = (struct field){.type = FIELD_TEXT, .text = time, .n = strlen(time)};
    e->row = root;
    return ERR_OK;
}

static int require_strings(struct field root, const char *const *names, size_t n,
                           struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        struct field f = field_get(root, names[i]);
        if (f.type != FIELD_TEXT)
            return field_expected_not(err, names[i], "a string (CloudEvents 1.0)", f);
        if (f.n == 0)
            return field_expected(err, names[i], "a string that is not empty");
    }
    return ERR_OK;
}

static int open_structured(struct field root, struct envelope *e, struct err *err)
{
    static const char *const required[] = {"specversion", "id", "source", "type"};
    int status = require_strings(root, required, 4, err);
    if (status != ERR_OK)
        return status;
    if (strcmp(field_get(root, "specversion").text, "1.0") != 0)
        return field_expected(err, "specversion", "\"1.0\"");
    struct field content = field_get(root, "datacontenttype");
    if (content.type != FIELD_ABSENT && !(content.text && is_json_type(content.text)))
        return field_expected(err, "datacontenttype", "application/json");
    e->time = field_get(root, "time");
    if (e->time.type != FIELD_ABSENT && e->time.type != FIELD_TEXT)
        return field_expected_not(err, "time", "a string", e->time);
    e->type = field_get(root, "type").text;
    e->row = field_get(root, "data");
    if (e->row.type != FIELD_OBJECT)
        return field_expected_not(err, "data", "an object", e->row);
    return ERR_OK;
}

/* A type where the settings say so, or at /name; NULL when there is none. */
static int read_type(const struct event_rules *rules, struct field root, const char *name,
                     const char **ret_type, struct err *err)
{
    struct field type = rules->type.n > 0 ? event_rules_get(rules, &rules->type, root)
                        : name            ? field_get(root, name)
                                          : (struct field){.type = FIELD_ABSENT};
    if (field_is_given(type) && type.type != FIELD_TEXT)
        return field_expected_not(err, "type", "a string", type);
    if (type.text)
        *ret_type = type.text;
    return ERR_OK;
}

static int open_bare(const struct event_rules *rules, struct field root, struct envelope *e,
                     struct err *err)
{
    e->row = root;
    return read_type(rules, root, "type", &e->type, err);
}

/* ---- Debezium ----------------------------------------------------------------------------- */

struct field envelope_payload(struct field root)
{
    return field_get(root, "schema").type != FIELD_ABSENT &&
                   field_get(root, "payload").type != FIELD_ABSENT
               ? field_get(root, "payload")
               : root;
}

static bool is_change(struct field payload)
{
    return field_get(payload, "op").type == FIELD_TEXT &&
           (field_get(payload, "before").type != FIELD_ABSENT ||
            field_get(payload, "after").type != FIELD_ABSENT);
}

/* When the row was changed, or when Debezium saw it, if that is all. */
static struct field change_time(struct field payload)
{
    struct field time = field_get(field_get(payload, "source"), "ts_ms");

    if (time.type != FIELD_NUMBER || time.number <= 0)
        time = field_get(payload, "ts_ms");
    return time.type == FIELD_NUMBER ? time : (struct field){.type = FIELD_ABSENT};
}

/* c created, r read from a snapshot, u updated, d deleted; t (truncate) and m (message) have no row. */
static int open_change(const struct event_rules *rules, struct field payload,
                       struct envelope *e, struct err *err)
{
    const char *op = field_get(payload, "op").text;

    if (strcmp(op, "c") == 0 || strcmp(op, "r") == 0)
        e->change = ENVELOPE_CREATED;
    else if (strcmp(op, "u") == 0)
        e->change = ENVELOPE_UPDATED;
    else if (strcmp(op, "d") == 0)
        e->change = ENVELOPE_DELETED;
    else
        return err_skip(err, "bad_schema",
                        "event: op: expected c, r, u or d (Debezium), got \"%.16s\"", op);
    const char *side = e->change == ENVELOPE_DELETED ? "before" : "after";
    e->row = field_get(payload, side);
    e->time = change_time(payload);
    if (e->change == ENVELOPE_DELETED && !field_is_given(e->row))
        e->row = (struct field){.type = FIELD_ABSENT}; /* the key may say which */
    else if (e->row.type != FIELD_OBJECT)
        return field_expected_not(err, side, "an object (Debezium)", e->row);
    return read_type(rules, e->row, NULL, &e->type, err);
}

/* ---- the outbox event router -------------------------------------------------------------- */

/* The payload is an object, or a text that holds one (table.expand.json.payload = false). */
static int open_payload(struct item *item, struct field payload, struct envelope *e,
                        struct err *err)
{
    if (payload.type == FIELD_TEXT) {
        int status =
            wire_open(payload.text, payload.n, WIRE_OBJECT, &e->inner, &item->warnings, err);
        if (status != ERR_OK)
            return err_wrap(err, "payload");
        payload = e->inner.root;
    }
    e->row = payload;
    return payload.type == FIELD_OBJECT
               ? ERR_OK
               : field_expected_not(err, "payload", "an object (outbox)", payload);
}

/* What the router was told to write: a header eventType, or beside the payload a field of that name or
 * of the outbox table's, type. */
static int routed_type(struct item *item, struct field value, bool has_payload,
                       const char **ret_type, struct err *err)
{
    static const char *const names[] = {"eventType", "type"};
    const struct item_header *header = envelope_header(item, "eventType");

    if (header && header->value && header->value_bytes > 0) {
        *ret_type = envelope_header_text(item, "eventType");
        if (!*ret_type)
            return field_expected(err, "header eventType", "at most 256 bytes");
    }
    for (size_t i = 0; has_payload && i < (*ret_type ? 1u : 2u); i++) {
        struct field f = field_get(value, names[i]);

        if (field_is_given(f) && f.type != FIELD_TEXT)
            return field_expected_not(err, names[i], "a string", f);
        if (f.text) {
            *ret_type = f.text;
            break;
        }
    }
    return ERR_OK;
}

/* The type: where the settings say, else what the router wrote, else as in a bare event. */
static int open_outbox(const struct event_rules *rules, struct item *item, struct field root,
                       struct envelope *e, struct err *err)
{
    struct field value = envelope_payload(root), payload = field_get(value, "payload");
    int status = open_payload(item, payload.type != FIELD_ABSENT ? payload : value, e, err);

    if (status == ERR_OK)
        status = routed_type(item, value, payload.type != FIELD_ABSENT, &e->type, err);
    if (status != ERR_OK)
        return status;
    return read_type(rules, e->row, e->type ? NULL : "type", &e->type, err);
}

/* ---- which -------------------------------------------------------------------------------- */

/* Whether it is what the preset says; if not, it is read as without one. */
static bool is_outbox(const struct item *item, struct field root)
{
    struct field value = envelope_payload(root);

    return root.type == FIELD_TEXT || value.type == FIELD_TEXT || value.node != root.node ||
           field_get(value, "payload").type != FIELD_ABSENT ||
           envelope_header(item, "eventType");
}

static int open_object(const struct event_rules *rules, struct item *item, struct field root,
                       struct envelope *e, struct err *err)
{
    struct field payload = envelope_payload(root);

    if (field_get(root, "specversion").type != FIELD_ABSENT)
        return open_structured(root, e, err);
    if (envelope_header(item, "ce_specversion") || envelope_header(item, "ce_type"))
        return open_binary(item, root, e, err);
    if (rules->preset == SETTINGS_PRESET_DEBEZIUM && is_change(payload))
        return open_change(rules, payload, e, err);
    return open_bare(rules, root, e, err);
}

int envelope_open(const struct event_rules *rules, struct item *item, struct field root,
                  struct envelope *ret_e, struct err *err)
{
    *ret_e = (struct envelope){0};
    if (rules->preset == SETTINGS_PRESET_OUTBOX && is_outbox(item, root))
        return open_outbox(rules, item, root, ret_e, err);
    if (root.type != FIELD_OBJECT)
        return field_expected_not(err, "value", "a JSON object", root);
    return open_object(rules, item, root, ret_e, err);
}

void envelope_close(struct envelope *e)
{
    if (e->inner.close)
        e->inner.close(&e->inner);
    *e = (struct envelope){0};
}
