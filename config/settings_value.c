/* One setting at a time: from text into its field of struct settings, checked against the
 * table's range. Defaults, files and command lines all come through here. */

#include "config/settings_table.h"

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

/* "22:30" as minutes of the day, -1 = it is not. */
static int parse_minutes(const char *text)
{
    static const char shape[] = "dd:dd";

    for (size_t i = 0; i < sizeof(shape) - 1; i++) {
        bool is_digit = text[i] >= '0' && text[i] <= '9';

        if (shape[i] == 'd' ? !is_digit : text[i] != shape[i])
            return -1;
    }
    int hours = (text[0] - '0') * 10 + text[1] - '0';
    int minutes = (text[3] - '0') * 10 + text[4] - '0';
    return hours < 24 && minutes < 60 ? hours * 60 + minutes : -1;
}

bool settings_hours_parse(const char *text, int *ret_from, int *ret_to)
{
    if (strlen(text) != sizeof("22:30-06:00") - 1 || text[5] != '-')
        return false;
    *ret_from = parse_minutes(text);
    *ret_to = parse_minutes(text + 6);
    return *ret_from >= 0 && *ret_to >= 0;
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
    } else if (k->type == SETTINGS_NUMBERS) {
        snprintf(text, bytes, "each name = number; of %" PRId64 " … %" PRId64, k->min, k->max);
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
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
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
