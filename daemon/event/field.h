#ifndef MMF_DAEMON_EVENT_FIELD_H
#define MMF_DAEMON_EVENT_FIELD_H

/* A decoded value, whatever the wire format that it came in: what rules.c, envelope.c, kind.c and
 * meaning.c read. A wire format gives a document (wire.h), and the document's fields live as long as
 * it. */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_type {
    FIELD_ABSENT,
    FIELD_NULL,
    FIELD_BOOL,
    FIELD_NUMBER,
    FIELD_TEXT,
    FIELD_LIST,
    FIELD_OBJECT,
};

struct field_format;

struct field {
    enum field_type type;
    double number;    /* FIELD_NUMBER; FIELD_BOOL: 0 or 1 */
    bool is_whole;    /* FIELD_NUMBER written without a fraction or exponent */
    int64_t whole;    /* then: exactly */
    const char *text; /* FIELD_TEXT: valid UTF-8 without a NUL inside; else NULL */
    size_t n;         /* bytes of a text, elements of a list, members of an object */
    const void *node; /* the format's own */
    const struct field_format *format;
};

/* How a wire format's objects and lists are walked. */
struct field_format {
    struct field (*get)(const void *object,
                        const char *name);          /* FIELD_ABSENT when there is none */
    struct field (*at)(const void *list, size_t i); /* i < n */
};

/* One value's bytes, opened. */
struct document {
    struct field root;
    void (*close)(struct document *d);
    void *state; /* the format's own */
};

/* FIELD_ABSENT of what is no object. */
struct field field_get(struct field object, const char *name);
struct field field_at(struct field list, size_t i); /* i < list.n */
bool field_is_given(struct field f);                /* neither absent nor null */

/* ERR_SKIP bad_schema "event: NAME: expected WHAT", with what it is instead. */
int field_expected_not(struct err *err, const char *name, const char *what, struct field got);
int field_expected(struct err *err, const char *name, const char *what);

#endif
