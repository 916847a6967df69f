#include "daemon/event/json.h"

#include "daemon/base/json_memory.h"

#include <jansson.h>

static struct field get(const void *object, const char *name);
static struct field at(const void *list, size_t i);

static const struct field_format format = {get, at};

static struct field field_of(const json_t *json)
{
    struct field f = {.node = json, .format = &format};

    switch (json ? (int)json_typeof(json) : -1) {
    case JSON_NULL:
        f.type = FIELD_NULL;
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        f.type = FIELD_BOOL;
        f.number = json_is_true(json) ? 1 : 0;
        break;
    case JSON_INTEGER:
        f.is_whole = true;
        f.whole = json_integer_value(json);
        /* fall through */
    case JSON_REAL:
        f.type = FIELD_NUMBER;
        f.number = json_number_value(json);
        break;
    case JSON_STRING:
        f.type = FIELD_TEXT;
        f.text = json_string_value(json);
        f.n = json_string_length(json);
        break;
    case JSON_ARRAY:
        f.type = FIELD_LIST;
        f.n = json_array_size(json);
        break;
    case JSON_OBJECT:
        f.type = FIELD_OBJECT;
        f.n = json_object_size(json);
        break;
    default:
        f.type = FIELD_ABSENT;
    }
    return f;
}

static struct field get(const void *object, const char *name)
{
    return field_of(json_object_get(object, name));
}

static struct field at(const void *list, size_t i)
{
    return field_of(json_array_get(list, i));
}

static int bad_json(json_error_t *error, bool is_short, struct err *err)
{
    if (is_short || json_error_code(error) == json_error_out_of_memory)
        return err_oom(err, "event: parse JSON");
    return err_skip(err, "bad_json", "event: line %d, column %d: %s", error->line,
                    error->column, error->text);
}

static void close_document(struct document *d)
{
    json_decref(d->state);
}

int json_document_open(const void *bytes, size_t n_bytes, bool takes_text,
                       struct document *ret_d, struct err *err)
{
    json_error_t error;
    unsigned long n_failures = json_memory_failures();
    json_t *root = json_loadb(
        bytes, n_bytes, JSON_REJECT_DUPLICATES | (takes_text ? JSON_DECODE_ANY : 0), &error);

    if (!root)
        return bad_json(&error, json_memory_failures() != n_failures, err);
    *ret_d = (struct document){field_of(root), close_document, root};
    return ERR_OK;
}
