/* The settings as a file that loads again, with unit and range beside each. */

#include "config/settings_table.h"

#include <inttypes.h>
#include <string.h>
#include <sysexits.h>

static const void *field(const struct settings *s, size_t offset)
{
    return (const char *)s + offset;
}

/* In libconfig's escapes, so that any byte survives. */
static void print_string(const char *text, FILE *out)
{
    fputc('"', out);
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\')
            fprintf(out, "\\%c", *p);
        else if ((unsigned char)*p < 0x20 || *p == 0x7f)
            fprintf(out, "\\x%02x", (unsigned)(unsigned char)*p);
        else
            fputc(*p, out);
    }
    fputc('"', out);
}

static void print_int(int64_t value, FILE *out)
{
    fprintf(out, "%" PRId64 "%s", value, value > INT32_MAX || value < INT32_MIN ? "L" : "");
}

static void print_strings(const struct settings_strings *list, FILE *out)
{
    fputc('[', out);
    for (size_t i = 0; i < list->n; i++) {
        fputs(i == 0 ? "" : ", ", out);
        print_string(list->items[i], out);
    }
    fputc(']', out);
}

static void print_ints(const struct settings *s, const struct settings_key *k, FILE *out)
{
    const int64_t *const *values = field(s, k->offset);
    const size_t *n = field(s, k->offset_n);

    fputc('[', out);
    for (size_t i = 0; i < *n; i++) {
        fputs(i == 0 ? "" : ", ", out);
        print_int((*values)[i], out);
    }
    fputc(']', out);
}

static void print_properties(const struct settings_strings *list, const char *indent, FILE *out)
{
    fputs("{", out);
    for (size_t i = 0; i < list->n; i++) {
        const char *name = list->items[i], *value = strchr(name, '=') + 1;

        fprintf(out, "\n%s    ", indent);
        for (; *name != '='; name++)
            fputc(*name == '.' ? '_' : *name, out);
        fputs(" = ", out);
        if (settings_property_is_secret(list->items[i]) && !settings_is_credential(value))
            value = "***";
        print_string(value, out);
        fputc(';', out);
    }
    fprintf(out, "%s%s}", list->n == 0 ? " " : "\n", list->n == 0 ? "" : indent);
}

static void print_value(const struct settings *s, const struct settings_key *k,
                        const char *indent, FILE *out)
{
    const char *const *string = field(s, k->offset);

    switch (k->type) {
    case SETTINGS_INT:
        print_int(*(const int64_t *)field(s, k->offset), out);
        break;
    case SETTINGS_BOOL:
        fputs(*(const bool *)field(s, k->offset) ? "true" : "false", out);
        break;
    case SETTINGS_WORD:
        fprintf(out, "\"%s\"", k->words[*(const int *)field(s, k->offset) - k->word_base]);
        break;
    case SETTINGS_STRING:
    case SETTINGS_PATH:
        print_string(*string != NULL ? *string : "", out);
        break;
    case SETTINGS_STRINGS:
    case SETTINGS_PATHS:
        print_strings(field(s, k->offset), out);
        break;
    case SETTINGS_INTS:
        print_ints(s, k, out);
        break;
    case SETTINGS_PROPERTIES:
        print_properties(field(s, k->offset), indent, out);
        break;
    }
}

static void print_key(const struct settings *s, const struct settings_key *k, const char *leaf,
                      const char *indent, FILE *out)
{
    char range[160];

    fprintf(out, "%s%s = ", indent, leaf);
    print_value(s, k, indent, out);
    fputc(';', out);
    if (k->type == SETTINGS_INT || k->type == SETTINGS_WORD)
        fprintf(out, " # %s", settings_value_range(k, range, sizeof(range)));
    fputc('\n', out);
}

int settings_print(const struct settings *s, FILE *out)
{
    size_t open_bytes = 0; /* length of the open group's name, 0 = none is open */
    const char *open_name = "";

    for (size_t i = 0; i < settings_table_n; i++) {
        const struct settings_key *k = &settings_table[i];
        const char *dot = strchr(k->path, '.');
        size_t group_bytes = dot == NULL ? 0 : (size_t)(dot - k->path);

        if (group_bytes != open_bytes || strncmp(open_name, k->path, group_bytes) != 0) {
            fprintf(out, "%s\n%.*s = {\n", open_bytes != 0 ? "};\n" : "", (int)group_bytes,
                    k->path);
            open_name = k->path;
            open_bytes = group_bytes;
        }
        print_key(s, k, dot == NULL ? k->path : dot + 1, dot == NULL ? "" : "    ", out);
    }
    fputs("};\n", out);
    return fflush(out) == 0 && !ferror(out) ? ERR_OK : ERR_RETRY;
}
