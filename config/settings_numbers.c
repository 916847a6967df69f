/* Names with a number each, of which a setting may be one, and numbers as text. */

#include "config/settings_table.h"
#include "config/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { NAME_BYTES_MAX = 64, LINE_BYTES = 88 };

void settings_real_print(double value, FILE *out)
{
    char text[64];
    int digits = 1;

    do
        snprintf(text, sizeof(text), "%.*f", digits, value);
    while (strtod(text, NULL) != value && ++digits <= 17);
    if (digits > 17)
        snprintf(text, sizeof(text), "%.16e", value);
    fputs(text, out);
}

static int check_name(const struct settings_key *k, const char *name, struct err *err)
{
    size_t bytes = strlen(name);

    if (bytes == 0 || bytes > NAME_BYTES_MAX)
        return err_fatal(err, EX_CONFIG, "`%s`: a name has 1 … %d bytes", k->path,
                         NAME_BYTES_MAX);
    for (const char *p = name; *p != '\0'; p++) {
        if (*p == ' ' || text_control(p) > 0)
            return err_fatal(err, EX_CONFIG,
                             "`%s`: \"%s\" has a blank or a control character; remove it",
                             k->path, name);
    }
    return ERR_OK;
}

int settings_number_put(struct settings *s, const struct settings_key *k, const char *name,
                        double value, struct err *err)
{
    struct settings_numbers *numbers = (void *)((char *)s + k->offset);
    struct settings_number *items;
    int status = check_name(k, name, err);

    if (status != ERR_OK)
        return status;
    if (!(value >= (double)k->min && value <= (double)k->max))
        return err_fatal(err, EX_CONFIG, "`%s`: %s is %g: must be %" PRId64 " … %" PRId64,
                         k->path, name, value, k->min, k->max);
    for (size_t i = 0; i < numbers->n; i++) {
        if (strcmp(numbers->items[i].name, name) == 0) {
            numbers->items[i].value = value + 0.0; /* -0.0 as 0.0 */
            return ERR_OK;
        }
    }
    items = realloc(numbers->items, (numbers->n + 1) * sizeof(*items));
    if (items == NULL)
        return err_oom(err, k->path);
    numbers->items = items;
    items[numbers->n] = (struct settings_number){strdup(name), value + 0.0};
    if (items[numbers->n].name == NULL)
        return err_oom(err, k->path);
    numbers->n++;
    return ERR_OK;
}

int settings_number_parse(struct settings *s, const struct settings_key *k, const char *text,
                          struct err *err)
{
    const char *equals = strrchr(text, '=');
    char *name, *end = NULL;
    double value = equals != NULL ? strtod(equals + 1, &end) : 0;
    int status;

    if (equals == NULL || end == equals + 1 || *end != '\0')
        return err_fatal(err, EX_CONFIG, "`%s`: write name=number, not \"%.80s\"", k->path,
                         text);
    name = strndup(text, (size_t)(equals - text));
    if (name == NULL)
        return err_oom(err, k->path);
    status = settings_number_put(s, k, name, value, err);
    free(name);
    return status;
}

void settings_numbers_free(struct settings_numbers *numbers)
{
    for (size_t i = 0; i < numbers->n; i++)
        free(numbers->items[i].name);
    free(numbers->items);
    *numbers = (struct settings_numbers){0};
}

/* ---- printing ------------------------------------------------------------------------------ */

/* What libconfig takes for a name. */
static bool is_plain(const char *name)
{
    for (const char *p = name; *p != '\0'; p++) {
        if (!isalnum((unsigned char)*p) && *p != '_' && *p != '-')
            return false;
    }
    return isalpha((unsigned char)name[0]);
}

/* As many on a line as there is room for. */
static void print_group(const struct settings_numbers *numbers, const char *indent, FILE *out)
{
    size_t at = LINE_BYTES;

    fputc('{', out);
    for (size_t i = 0; i < numbers->n; i++) {
        size_t bytes = strlen(numbers->items[i].name) + strlen(" = -1000.5; ");

        if (at + bytes > LINE_BYTES)
            at = (size_t)fprintf(out, "\n%s   ", indent);
        at += (size_t)fprintf(out, " %s = ", numbers->items[i].name);
        settings_real_print(numbers->items[i].value, out);
        at += (size_t)fprintf(out, ";") + strlen("-1.0");
    }
    fprintf(out, "%s%s}", numbers->n == 0 ? " " : "\n", numbers->n == 0 ? "" : indent);
}

static void print_list(const struct settings_numbers *numbers, const char *indent, FILE *out)
{
    fputc('(', out);
    for (size_t i = 0; i < numbers->n; i++) {
        fprintf(out, "%s\n%s    { kind = \"", i == 0 ? "" : ",", indent);
        for (const char *p = numbers->items[i].name; *p != '\0'; p++)
            fprintf(out, "%s%c", *p == '"' || *p == '\\' ? "\\" : "", *p);
        fputs("\"; weight = ", out);
        settings_real_print(numbers->items[i].value, out);
        fputs("; }", out);
    }
    fprintf(out, "\n%s)", indent);
}

void settings_numbers_print(const struct settings_numbers *numbers, const char *indent,
                            FILE *out)
{
    bool plain = true;

    for (size_t i = 0; i < numbers->n; i++)
        plain = plain && is_plain(numbers->items[i].name);
    (plain ? print_group : print_list)(numbers, indent, out);
}
