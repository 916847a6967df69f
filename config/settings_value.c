/* One setting at a time: from text into its field of struct settings, checked against the
 * table's range. Defaults, files and command lines all come through here. */

#include "config/settings_table.h"
#include "config/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static void *field(struct settings *s, size_t offset)
{
    return (char *)s + offset;
}

const char *settings_value_range(const struct settings_key *k, char *text, size_t bytes)
{
    size_t n = 0;

    text[0] = '\0';
    if (k->type == SETTINGS_BOOL) {
        snprintf(text, bytes, "true or false");
    } else if (k->type == SETTINGS_WORD) {
        for (size_t i = 0; k->words[i] != NULL && n < bytes; i++)
            n +=
                (size_t)snprintf(text + n, bytes - n, "%s%s", i == 0 ? "" : " | ", k->words[i]);
    } else if (k->type == SETTINGS_INT || k->type == SETTINGS_INTS ||
               k->type == SETTINGS_REAL) {
        snprintf(text, bytes, "%" PRId64 " … %" PRId64 "%s%s", k->min, k->max,
                 k->unit[0] != '\0' ? " " : "", k->unit);
    } else if (k->type == SETTINGS_PROPERTIES) {
        snprintf(text, bytes, "each name = \"value\";");
    } else if (k->type == SETTINGS_MAPPING || k->type == SETTINGS_NAMES) {
        bool maps = k->type == SETTINGS_MAPPING;

        n = (size_t)snprintf(text, bytes, "%s",
                             maps ? "each NAME = \"/pointer\"; NAME is "
                                  : "each NAME = \"MEANING\"; MEANING is ");
        for (size_t i = 0; k->words[i] != NULL && n < bytes; i++)
            n +=
                (size_t)snprintf(text + n, bytes - n, "%s%s", i == 0 ? "" : " | ", k->words[i]);
    } else if (k->type == SETTINGS_POINTERS) {
        snprintf(text, bytes, "a JSON Pointer or a list of them");
    } else if (k->type == SETTINGS_NUMBERS) {
        snprintf(text, bytes, "each name = number, %" PRId64 " … %" PRId64, k->min, k->max);
    } else {
        bool is_list = k->type == SETTINGS_STRINGS || k->type == SETTINGS_PATHS;

        snprintf(text, bytes, "%s%" PRId64 " … %" PRId64 " bytes of text",
                 is_list ? "each " : "", k->min, k->max);
    }
    return text;
}

static int out_of_range(const struct settings_key *k, const char *text, struct err *err)
{
    char range[160];

    return err_fatal(err, EX_CONFIG, "`%s` is %.80s%s: must be %s", k->path,
                     text[0] != '\0' ? text : "empty", strlen(text) > 80 ? "…" : "",
                     settings_value_range(k, range, sizeof(range)));
}

static int wrong_value(const struct settings_key *k, const char *text, const char *fault,
                       struct err *err)
{
    return err_fatal(err, EX_CONFIG, "`%s`: \"%s\" %s", k->path, text, fault);
}

static int parse_int(const struct settings_key *k, const char *text, int64_t *ret_value,
                     struct err *err)
{
    const char *fault;
    long long value;
    char *end;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < k->min || value > k->max)
        return out_of_range(k, text, err);
    fault = k->check != NULL ? k->check(text) : NULL;
    if (fault != NULL)
        return wrong_value(k, text, fault, err);
    *ret_value = value;
    return ERR_OK;
}

static int set_int(struct settings *s, const struct settings_key *k, const char *text,
                   struct err *err)
{
    return parse_int(k, text, field(s, k->offset), err);
}

static int set_real(struct settings *s, const struct settings_key *k, const char *text,
                    struct err *err)
{
    double *at = field(s, k->offset), value;
    char *end;

    value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= (double)k->min && value <= (double)k->max))
        return out_of_range(k, text, err);
    *at = value;
    return ERR_OK;
}

static int set_bool(struct settings *s, const struct settings_key *k, const char *text,
                    struct err *err)
{
    bool *value = field(s, k->offset);

    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return out_of_range(k, text, err);
    *value = text[0] == 't';
    return ERR_OK;
}

static int set_word(struct settings *s, const struct settings_key *k, const char *text,
                    struct err *err)
{
    int *value = field(s, k->offset);

    for (int i = 0; k->words[i] != NULL; i++) {
        if (strcmp(k->words[i], text) == 0) {
            *value = k->word_base + i;
            return ERR_OK;
        }
    }
    return out_of_range(k, text, err);
}

static int check_text(const struct settings_key *k, const char *text, struct err *err)
{
    int64_t bytes = (int64_t)strlen(text);
    const char *fault;

    if (bytes < k->min || bytes > k->max)
        return out_of_range(k, text, err);
    for (const char *p = text; *p != '\0'; p++) {
        if (text_control(p))
            return err_fatal(err, EX_CONFIG, "`%s` has a control character; remove it",
                             k->path);
    }
    fault = k->check != NULL ? k->check(text) : NULL;
    if (fault != NULL)
        return wrong_value(k, text, fault, err);
    return ERR_OK;
}

static int set_string(struct settings *s, const struct settings_key *k, const char *text,
                      struct err *err)
{
    char **value = field(s, k->offset), *copy;
    int status = check_text(k, text, err);

    if (status != ERR_OK)
        return status;
    copy = strdup(text);
    if (copy == NULL)
        return err_oom(err, k->path);
    free(*value);
    *value = copy;
    return ERR_OK;
}

static int append_string(struct settings *s, const struct settings_key *k, const char *text,
                         struct err *err)
{
    struct settings_strings *list = field(s, k->offset);
    int status = check_text(k, text, err);

    if (status != ERR_OK)
        return status;
    if (settings_strings_contain(list, text))
        return err_fatal(err, EX_CONFIG, "`%s` names \"%s\" twice; remove one", k->path, text);
    return settings_strings_append(list, text, err);
}

static int append_int(struct settings *s, const struct settings_key *k, const char *text,
                      struct err *err)
{
    int64_t **values = field(s, k->offset), *grown;
    size_t *n = field(s, k->offset_n);
    int64_t value;
    int status = parse_int(k, text, &value, err);

    if (status != ERR_OK)
        return status;
    for (size_t i = 0; i < *n; i++) {
        if ((*values)[i] == value)
            return err_fatal(err, EX_CONFIG, "`%s` names %s twice; remove one", k->path, text);
    }
    grown = realloc(*values, (*n + 1) * sizeof(*grown));
    if (grown == NULL)
        return err_oom(err, k->path);
    grown[*n] = value;
    *values = grown;
    ++*n;
    return ERR_OK;
}

static int append_property(struct settings *s, const struct settings_key *k, const char *text,
                           struct err *err)
{
    const char *equals = strchr(text, '=');
    char *name;
    int status;

    if (equals == NULL)
        return err_fatal(err, EX_CONFIG, "`%s`: write name=value, not \"%.80s\"", k->path,
                         text);
    name = strndup(text, (size_t)(equals - text));
    if (name == NULL)
        return err_oom(err, k->path);
    status = settings_property_append(field(s, k->offset), name, equals + 1, err);
    free(name);
    return status;
}

static bool is_word(const struct settings_key *k, const char *text, size_t bytes)
{
    for (size_t i = 0; k->words[i] != NULL; i++) {
        if (strlen(k->words[i]) == bytes && strncmp(k->words[i], text, bytes) == 0)
            return true;
    }
    return false;
}

static int unknown_word(const struct settings_key *k, const char *word, struct err *err)
{
    size_t n = 0;
    const char *near;

    while (k->words[n] != NULL)
        n++;
    near = settings_nearest(word, k->words, n);
    return err_fatal(err, EX_CONFIG, "`%s` has no \"%.80s\"%s%s%s", k->path, word,
                     near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
                     near != NULL ? "\"?" : "");
}

/* "word=pointer", of which the word comes again for each of its pointers, or "own name=word", where a
 * name has one meaning. */
static int append_pair(struct settings *s, const struct settings_key *k, const char *text,
                       struct err *err)
{
    struct settings_strings *list = field(s, k->offset);
    bool maps = k->type == SETTINGS_MAPPING;
    const char *equals = maps ? strchr(text, '=') : strrchr(text, '=');
    char name[256];
    int status;

    if (equals == NULL || equals == text || (size_t)(equals - text) >= sizeof(name))
        return err_fatal(err, EX_CONFIG, "`%s`: write name=value, not \"%.80s\"", k->path,
                         text);
    snprintf(name, sizeof(name), "%.*s", (int)(equals - text), text);
    const char *word = maps ? name : equals + 1;
    if (!is_word(k, word, strlen(word)))
        return unknown_word(k, word, err);
    if (!maps && is_word(k, name, strlen(name)) && strcmp(name, word) != 0)
        return err_fatal(err, EX_CONFIG, "`%s`: \"%s\" always means itself; remove it", k->path,
                         name);
    status = check_text(k, maps ? equals + 1 : name, err);
    if (status != ERR_OK)
        return status;
    for (size_t i = 0; i < list->n; i++) {
        size_t bytes = maps ? strlen(text) + 1 : (size_t)(equals - text) + 1;

        if (strncmp(list->items[i], text, bytes) == 0)
            return err_fatal(err, EX_CONFIG, "`%s` names \"%s\" twice; remove one", k->path,
                             maps ? equals + 1 : name);
    }
    return settings_strings_append(list, text, err);
}

int settings_value_set(struct settings *s, const struct settings_key *k, const char *text,
                       struct err *err)
{
    static int (*const set[])(struct settings *, const struct settings_key *, const char *,
                              struct err *) = {
        [SETTINGS_INT] = set_int,
        [SETTINGS_REAL] = set_real,
        [SETTINGS_BOOL] = set_bool,
        [SETTINGS_WORD] = set_word,
        [SETTINGS_STRING] = set_string,
        [SETTINGS_PATH] = set_string,
        [SETTINGS_STRINGS] = append_string,
        [SETTINGS_PATHS] = append_string,
        [SETTINGS_INTS] = append_int,
        [SETTINGS_PROPERTIES] = append_property,
        [SETTINGS_POINTERS] = append_string,
        [SETTINGS_MAPPING] = append_pair,
        [SETTINGS_NAMES] = append_pair,
        [SETTINGS_NUMBERS] = settings_number_parse,
    };

    return set[k->type](s, k, text, err);
}

void settings_value_choose(struct settings *s, const struct settings_key *k)
{
    if (k->type == SETTINGS_INT)
        *(int64_t *)field(s, k->offset) = SETTINGS_CHOOSE;
    else if (k->type == SETTINGS_WORD)
        *(int *)field(s, k->offset) = SETTINGS_CHOOSE;
}

void settings_value_free(struct settings *s, const struct settings_key *k)
{
    struct settings_strings *list = field(s, k->offset);
    char **string = field(s, k->offset);
    int64_t **ints = field(s, k->offset);
    size_t *n_ints = field(s, k->offset_n);

    switch (k->type) {
    case SETTINGS_STRING:
    case SETTINGS_PATH:
        free(*string);
        *string = NULL;
        break;
    case SETTINGS_STRINGS:
    case SETTINGS_PATHS:
    case SETTINGS_PROPERTIES:
    case SETTINGS_POINTERS:
    case SETTINGS_MAPPING:
    case SETTINGS_NAMES:
        settings_strings_free(list);
        break;
    case SETTINGS_INTS:
        free(*ints);
        *ints = NULL;
        *n_ints = 0;
        break;
    case SETTINGS_NUMBERS:
        settings_numbers_free(field(s, k->offset));
        break;
    case SETTINGS_INT:
    case SETTINGS_REAL:
    case SETTINGS_BOOL:
    case SETTINGS_WORD:
        break;
    }
}
