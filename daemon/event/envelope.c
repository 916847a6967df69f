#include "daemon/event/envelope.h"

#include "daemon/base/ids.h"

#include <string.h>
#include <strings.h>

bool envelope_header_is(const struct item_header *header, const char *text)
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

/* The header's text in the arena; NULL when it is absent, empty or over-long. */
static const char *header_text(struct item *item, const char *name)
{
    const struct item_header *header = envelope_header(item, name);
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

static int open_binary(struct item *item, struct field root, struct envelope *ret_e,
                       struct err *err)
{
    if (!envelope_header_is(envelope_header(item, "ce_specversion"), "1.0"))
        return field_expected(err, "header ce_specversion", "\"1.0\"");
    if (!header_text(item, "ce_id"))
        return field_expected(err, "header ce_id", "1 to 256 bytes");
    if (!header_text(item, "ce_source"))
        return field_expected(err, "header ce_source", "1 to 256 bytes");
    const char *type = header_text(item, "ce_type");
    if (!type)
        return field_expected(err, "header ce_type", "1 to 256 bytes");
    const char *content_type = header_text(item, "content-type");
    if (content_type && !is_json_type(content_type))
        return field_expected(err, "header content-type", "application/json");
    *ret_e = (struct envelope){type, header_text(item, "ce_time"), root};
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

static int open_structured(struct field root, struct envelope *ret_e, struct err *err)
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
    struct field time = field_get(root, "time");
    if (time.type != FIELD_ABSENT && time.type != FIELD_TEXT)
        return field_expected_not(err, "time", "a string", time);
    *ret_e =
        (struct envelope){field_get(root, "type").text, time.text, field_get(root, "data")};
    if (ret_e->data.type != FIELD_OBJECT)
        return field_expected_not(err, "data", "an object", ret_e->data);
    return ERR_OK;
}

static int open_bare(struct field root, struct envelope *ret_e, struct err *err)
{
    struct field type = field_get(root, "type");
    if (type.type != FIELD_ABSENT && type.type != FIELD_TEXT)
        return field_expected_not(err, "type", "a string", type);
    *ret_e = (struct envelope){type.text, NULL, root};
    return ERR_OK;
}

int envelope_open(struct item *item, struct field root, struct envelope *ret_e, struct err *err)
{
    if (root.type != FIELD_OBJECT)
        return field_expected_not(err, "value", "a JSON object", root);
    if (field_get(root, "specversion").type != FIELD_ABSENT)
        return open_structured(root, ret_e, err);
    if (envelope_header(item, "ce_specversion") || envelope_header(item, "ce_type"))
        return open_binary(item, root, ret_e, err);
    return open_bare(root, ret_e, err);
}
