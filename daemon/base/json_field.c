#include "daemon/base/json_field.h"

#include "config/text.h"

#include <jansson.h>
#include <limits.h>

const json_t *json_field(const json_t *object, const char *name)
{
    return json_object_get(object, name);
}

int64_t json_field_int(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

double json_field_real(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

const char *json_field_text(const json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));

    return s ? s : "";
}

bool json_field_true(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

struct json_t *json_of_text(const char *text)
{
    char shown[PATH_MAX];
    json_t *json = json_string(text);

    if (json)
        return json;
    text_format(shown, sizeof(shown), "%s", text);
    return json_string(shown);
}
