#ifndef MMF_CONFIG_SETTINGS_TABLE_H
#define MMF_CONFIG_SETTINGS_TABLE_H

/* Inside config/, for its tests and for the options of `metammf train`: the one table of all
 * settings, and reading and writing a setting through its entry. Everything that knows the keys
 * (parser, printer, defaults, metammfd.conf, the manual page, the options) goes through here. */

#include "config/err.h"
#include "config/settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum settings_type {
    SETTINGS_INT,        /* int64_t */
    SETTINGS_REAL,       /* double */
    SETTINGS_BOOL,       /* bool */
    SETTINGS_WORD,       /* int: word_base + index in words */
    SETTINGS_STRING,     /* char * */
    SETTINGS_PATH,       /* char *, absolute when it comes from a file */
    SETTINGS_STRINGS,    /* struct settings_strings */
    SETTINGS_PATHS,      /* struct settings_strings, absolute when they come from a file */
    SETTINGS_INTS,       /* int64_t * at offset, size_t at offset_n */
    SETTINGS_PROPERTIES, /* struct settings_strings of "name=value" */
    SETTINGS_POINTERS,   /* struct settings_strings of JSON Pointers; one may stand alone */
    SETTINGS_MAPPING,    /* struct settings_strings of "word=pointer", a word as often as it has
                            pointers */
    SETTINGS_NAMES,      /* struct settings_strings of "any name=word" */
    SETTINGS_NUMBERS,    /* struct settings_numbers: what is given is added to the default */
};

struct settings_key {
    const char *path; /* "store.batch_ms" */
    enum settings_type type;
    size_t offset, offset_n;
    int64_t min, max;     /* of a number; of a string's bytes; of each element */
    const char *unit;     /* "ms", "" = none */
    const char *fallback; /* the default as settings_set takes it */
    const char *const *words;
    int word_base;
    const char *(*check)(const char *value); /* what is wrong with it, NULL = nothing */
    const char *help;
    /* Of `metammf train`: the option's name, NULL = none. What a training does that is not told,
     * in words, NULL = takes the default. */
    const char *option, *left_out;
    bool describes_model; /* else the training */
};

extern const struct settings_key settings_table[];
extern const size_t settings_table_n;
/* The options of `metammf train`, those of the table and those that are no setting; NULL after the
 * last. Each is a field of training.options. */
const struct settings_key *settings_option(size_t i);
enum { SETTINGS_OPTIONS_MAX = 48 };
/* Sets an option from the command line: errors name it as --NAME. */
int settings_option_set(struct settings *s, const struct settings_key *k, const char *text,
                        struct err *err);
/* training.options as they are when no option is given. */
int settings_options_reset(struct settings *s);

/* NULL when there is none. */
const struct settings_key *settings_table_find(const char *path);

/* Sets a scalar, appends to a list. Errors name the key and the range, not the file. */
int settings_value_set(struct settings *s, const struct settings_key *k, const char *text,
                       struct err *err);
/* SETTINGS_CHOOSE: of a whole number or a word. */
void settings_value_choose(struct settings *s, const struct settings_key *k);
void settings_value_free(struct settings *s, const struct settings_key *k);
/* As a file has it; `indent` goes before the lines of a group. */
void settings_value_print(const struct settings *s, const struct settings_key *k,
                          const char *indent, FILE *out);
/* "1 … 100 %", "true or false", "kafka | spool", "at most 255 bytes"; returns text. */
const char *settings_value_range(const struct settings_key *k, char *text, size_t bytes);

/* Why no topic of Kafka's may have this name, its length aside; NULL = it may. */
const char *settings_topic_fault(const char *value);
bool settings_strings_contain(const struct settings_strings *list, const char *value);
int settings_strings_append(struct settings_strings *list, const char *value, struct err *err);
void settings_strings_free(struct settings_strings *list);

/* "name=value" with '_' for '.': refused when the daemon owns the property. */
int settings_property_append(struct settings_strings *list, const char *name, const char *value,
                             struct err *err);

/* SETTINGS_NUMBERS, settings_numbers.c. Sets the number of a name, which gets one when it has none. */
int settings_number_put(struct settings *s, const struct settings_key *k, const char *name,
                        double value, struct err *err);
/* The same from "name=value". */
int settings_number_parse(struct settings *s, const struct settings_key *k, const char *text,
                          struct err *err);
void settings_numbers_print(const struct settings_numbers *numbers, const char *indent,
                            FILE *out);
void settings_numbers_free(struct settings_numbers *numbers);
/* The shortest text that reads back as the same number, with a '.' in it: else libconfig 1.5 would
 * take it for a whole number, or for nothing. */
void settings_real_print(double value, FILE *out);

/* The error for a name that group ("" = the top of the file) does not have. */
int settings_unknown_key(const char *group, const char *name, struct err *err);

/* A copy of the text that libconfig can be given: see settings_text.c. *ret_text is malloc'd;
 * *ret_line is where it stopped, also on an error. */
int settings_text_prepare(const char *text, size_t bytes, char **ret_text, size_t *ret_line,
                          struct err *err);

#endif
