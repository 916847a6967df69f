#include "daemon/event/field.h"

struct field field_get(struct field object, const char *name)
{
    return object.type == FIELD_OBJECT ? object.format->get(object.node, name)
                                       : (struct field){.type = FIELD_ABSENT};
}

struct field field_at(struct field list, size_t i)
{
    return list.format->at(list.node, i);
}

bool field_is_given(struct field f)
{
    return f.type != FIELD_ABSENT && f.type != FIELD_NULL;
}

static const char *type_word(struct field f)
{
    static const char *const words[] = {
        [FIELD_ABSENT] = "nothing", [FIELD_NULL] = "null",     [FIELD_NUMBER] = "a number",
        [FIELD_TEXT] = "a string",  [FIELD_LIST] = "an array", [FIELD_OBJECT] = "an object",
    };
    return f.type == FIELD_BOOL ? (f.number != 0 ? "true" : "false") : words[f.type];
}

int field_expected_not(struct err *err, const char *name, const char *what, struct field got)
{
    return err_skip(err, "bad_schema", "event: %s: expected %s, got %s", name, what,
                    type_word(got));
}

int field_expected(struct err *err, const char *name, const char *what)
{
    return err_skip(err, "bad_schema", "event: %s: expected %s", name, what);
}
