/* The settings as a file that loads again, with unit and range beside each. */

#include "config/settings_table.h"
#include "config/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const void *field(const struct settings *s, size_t offset)
{
    return (const char *)s + offset;
}

/* In libconfig's escapes, so that any byte survives. */
static void print_string(const char *text, FILE *out)
{
    fputc('"', out);
    for (size_t left = strlen(text), n; left > 0; text += n, left -= n) {
        char shown;

        n = text_step(text, left, &shown);
        for (size_t i = 0; shown != '\0' && i < n; i++)
            fprintf(out, "\\x%02x", (unsigned)(unsigned char)text[i]);
        if (shown != '\0')
            continue;
        fputs(*text == '"' || *text == '\\' ? "\\" : "", out);
        fwrite(text, 1, n, out);
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

static bool is_of_word(const char *pair, const char *word)
{
    size_t bytes = strlen(word);

    return strncmp(pair, word, bytes) == 0 && pair[bytes] == '=';
}

/* "/a", or ["/a", "/b"]: the n pointers of one word. */
static void print_pointers(const struct settings_strings *list, const char *word, size_t n,
                           FILE *out)
{
    const char *before = n > 1 ? "[" : "";

    for (size_t i = 0; i < list->n; i++) {
        if (!is_of_word(list->items[i], word))
            continue;
        fputs(before, out);
        print_string(list->items[i] + strlen(word) + 1, out);
        before = ", ";
    }
    fputs(n > 1 ? "]" : "", out);
}

static size_t count_word(const struct settings_strings *list, const char *word)
{
    size_t n = 0;

    for (size_t i = 0; i < list->n; i++)
        n += is_of_word(list->items[i], word);
    return n;
}

static void print_mapping(const struct settings_strings *list, const char *const *words,
                          const char *indent, FILE *out)
{
    fputs("{", out);
    for (size_t i = 0; words[i] != NULL; i++) {
        size_t n = count_word(list, words[i]);

        if (n == 0)
            continue;
        fprintf(out, "\n%s    %s = ", indent, words[i]);
        print_pointers(list, words[i], n, out);
        fputc(';', out);
    }
    fprintf(out, "%s%s}", list->n == 0 ? " " : "\n", list->n == 0 ? "" : indent);
}

/* As a list, since a name in libconfig holds no dot. */
static void print_names(const struct settings_strings *list, const char *indent, FILE *out)
{
    fputs("(", out);
    for (size_t i = 0; i < list->n; i++) {
        const char *meaning = strrchr(list->items[i], '=') + 1;
        char name[256];

        snprintf(name, sizeof(name), "%.*s", (int)(meaning - 1 - list->items[i]),
                 list->items[i]);
        fprintf(out, "%s\n%s    { type = ", i == 0 ? "" : ",", indent);
        print_string(name, out);
        fprintf(out, "; meaning = \"%s\"; }", meaning);
    }
    fprintf(out, "%s%s)", list->n == 0 ? " " : "\n", list->n == 0 ? "" : indent);
}

void settings_value_print(const struct settings *s, const struct settings_key *k,
                          const char *indent, FILE *out)
{
    const char *const *string = field(s, k->offset);

    switch (k->type) {
    case SETTINGS_INT:
        print_int(*(const int64_t *)field(s, k->offset), out);
        break;
    case SETTINGS_REAL:
        settings_real_print(*(const double *)field(s, k->offset), out);
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
    case SETTINGS_POINTERS:
        print_strings(field(s, k->offset), out);
        break;
    case SETTINGS_MAPPING:
        print_mapping(field(s, k->offset), k->words, indent, out);
        break;
    case SETTINGS_NAMES:
        print_names(field(s, k->offset), indent, out);
        break;
    case SETTINGS_INTS:
        print_ints(s, k, out);
        break;
    case SETTINGS_PROPERTIES:
        print_properties(field(s, k->offset), indent, out);
        break;
    case SETTINGS_NUMBERS:
        settings_numbers_print(field(s, k->offset), indent, out);
        break;
    }
}

/* ---- a file ------------------------------------------------------------------------------- */

struct printer {
    FILE *out;
    const char *open; /* a key of the group that is open, NULL = none is */
};

static size_t group_bytes(const char *path)
{
    const char *dot = strchr(path, '.');

    return dot == NULL ? 0 : (size_t)(dot - path);
}

static void enter_group(struct printer *p, const char *path)
{
    size_t n = group_bytes(path);

    if (p->open != NULL && group_bytes(p->open) == n && strncmp(p->open, path, n) == 0)
        return;
    if (p->open != NULL)
        fputs("};\n", p->out);
    p->open = n != 0 ? path : NULL;
    if (n != 0)
        fprintf(p->out, "\n%.*s = {\n", (int)n, path);
}

static void print_key(struct printer *p, const struct settings *s, const struct settings_key *k)
{
    const char *dot = strchr(k->path, '.'), *indent = dot == NULL ? "" : "    ";
    char range[160];

    enter_group(p, k->path);
    fprintf(p->out, "%s%s = ", indent, dot == NULL ? k->path : dot + 1);
    settings_value_print(s, k, indent, p->out);
    fputc(';', p->out);
    if (k->type == SETTINGS_INT || k->type == SETTINGS_REAL || k->type == SETTINGS_WORD)
        fprintf(p->out, " # %s", settings_value_range(k, range, sizeof(range)));
    fputc('\n', p->out);
}

static int finish(const struct printer *p)
{
    if (p->open != NULL)
        fputs("};\n", p->out);
    return fflush(p->out) == 0 && !ferror(p->out) ? ERR_OK : ERR_RETRY;
}

int settings_print(const struct settings *s, FILE *out)
{
    struct printer p = {.out = out};

    for (size_t i = 0; i < settings_table_n; i++)
        print_key(&p, s, &settings_table[i]);
    return finish(&p);
}

/* malloc'ed, NULL without memory. */
static char *value_text(const struct settings *s, const struct settings_key *k)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);

    if (out == NULL)
        return NULL;
    settings_value_print(s, k, "", out);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static int print_if_changed(struct printer *p, const struct settings *s,
                            const struct settings *defaults, const struct settings_key *k)
{
    char *value = value_text(s, k), *standard = value_text(defaults, k);
    int status = value != NULL && standard != NULL ? ERR_OK : ERR_RETRY;

    if (status == ERR_OK && strcmp(value, standard) != 0)
        print_key(p, s, k);
    free(value);
    free(standard);
    return status;
}

char *settings_key_text(const struct settings *s, size_t i)
{
    char *text = value_text(s, &settings_table[i]), *to = text;

    for (const char *from = text; text != NULL && *from != '\0';) {
        bool is_end = *from == '\n'; /* within a text it is an escape */

        *to++ = is_end ? ' ' : *from;
        from++;
        from += is_end ? strspn(from, " ") : 0;
    }
    if (to != NULL)
        *to = '\0';
    return text;
}

int settings_print_changed(const struct settings *s, FILE *out)
{
    struct printer p = {.out = out};
    struct settings defaults;
    int status = settings_init(&defaults);

    if (status != ERR_OK)
        return status;
    for (size_t i = 0; status == ERR_OK && i < settings_table_n; i++)
        status = print_if_changed(&p, s, &defaults, &settings_table[i]);
    settings_done(&defaults);
    return status == ERR_OK ? finish(&p) : status;
}
