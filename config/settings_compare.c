/* What of the settings a running process can take up, and settings compared key by key: by their values,
 * secrets too, and not by what is printed of them. */

#include "config/settings_table.h"

#include <stdlib.h>
#include <string.h>

/* A key, or all of a group ("kafka."). What is made once, of memory or of processes, stays as it was made. */
static const struct {
    const char *path;
    enum settings_effect effect;
} effects[] = {
    {"source", SETTINGS_AT_RESTART},
    {"store.path", SETTINGS_AT_RESTART},
    {"store.model_dir", SETTINGS_AT_RESTART},
    {"store.batch_rows", SETTINGS_GROWS_AT_RESTART}, /* the room of a batch */
    {"media.max_bytes", SETTINGS_AT_RESTART},        /* the workers' own limit */
    {"kafka.", SETTINGS_AT_RESTART},
    {"events.", SETTINGS_AT_RESTART},
    {"interactions.tombstones", SETTINGS_AT_RESTART},
    {"spool.", SETTINGS_AT_RESTART},
    {"extract.workers", SETTINGS_AT_RELOAD},
    {"extract.", SETTINGS_AT_RESTART},
    {"queue.", SETTINGS_AT_RESTART},
    {"http.", SETTINGS_AT_RESTART},
    {"control.", SETTINGS_AT_RESTART},
};

size_t settings_n_keys(void)
{
    return settings_table_n;
}

const char *settings_key_path(size_t i)
{
    return settings_table[i].path;
}

enum settings_effect settings_key_effect(size_t i)
{
    const char *path = settings_table[i].path;

    for (size_t at = 0; at < sizeof(effects) / sizeof(effects[0]); at++) {
        size_t n = strlen(effects[at].path);
        bool is_group = effects[at].path[n - 1] == '.';

        if (is_group ? strncmp(path, effects[at].path, n) == 0
                     : strcmp(path, effects[at].path) == 0)
            return effects[at].effect;
    }
    return SETTINGS_AT_RELOAD;
}

static const void *field(const struct settings *s, size_t offset)
{
    return (const char *)s + offset;
}

static bool same_text(const char *a, const char *b)
{
    return strcmp(a != NULL ? a : "", b != NULL ? b : "") == 0;
}

static bool same_strings(const struct settings_strings *a, const struct settings_strings *b)
{
    bool same = a->n == b->n;

    for (size_t i = 0; same && i < a->n; i++)
        same = strcmp(a->items[i], b->items[i]) == 0;
    return same;
}

static bool same_ints(const struct settings *a, const struct settings *b,
                      const struct settings_key *k)
{
    const size_t *n_a = field(a, k->offset_n), *n_b = field(b, k->offset_n);
    const int64_t *const *values_a = field(a, k->offset), *const *values_b =
                                                              field(b, k->offset);

    return *n_a == *n_b &&
           (*n_a == 0 || memcmp(*values_a, *values_b, *n_a * sizeof(**values_a)) == 0);
}

static bool same_numbers(const struct settings_numbers *a, const struct settings_numbers *b)
{
    bool same = a->n == b->n;

    for (size_t i = 0; same && i < a->n; i++)
        same = strcmp(a->items[i].name, b->items[i].name) == 0 &&
               !(a->items[i].value < b->items[i].value) &&
               !(a->items[i].value > b->items[i].value);
    return same;
}

/* How a value lies in struct settings, which is all that comparing and copying need to know of its type. */
enum shape { PLAIN, TEXT, INTS, NUMBERS, STRINGS };

/* *ret_bytes: of a plain one. */
static enum shape shape_of(enum settings_type type, size_t *ret_bytes)
{
    switch (type) {
    case SETTINGS_INT:
        *ret_bytes = sizeof(int64_t);
        return PLAIN;
    case SETTINGS_REAL:
        *ret_bytes = sizeof(double);
        return PLAIN;
    case SETTINGS_BOOL:
        *ret_bytes = sizeof(bool);
        return PLAIN;
    case SETTINGS_WORD:
        *ret_bytes = sizeof(int);
        return PLAIN;
    case SETTINGS_STRING:
    case SETTINGS_PATH:
        return TEXT;
    case SETTINGS_INTS:
        return INTS;
    case SETTINGS_NUMBERS:
        return NUMBERS;
    case SETTINGS_STRINGS:
    case SETTINGS_PATHS:
    case SETTINGS_PROPERTIES:
    case SETTINGS_POINTERS:
    case SETTINGS_MAPPING:
    case SETTINGS_NAMES:
        break;
    }
    return STRINGS;
}

static bool same_value(const struct settings *a, const struct settings *b,
                       const struct settings_key *k)
{
    const void *x = field(a, k->offset), *y = field(b, k->offset);
    size_t bytes = 0;

    switch (shape_of(k->type, &bytes)) {
    case PLAIN:
        return memcmp(x, y, bytes) == 0;
    case TEXT:
        return same_text(*(const char *const *)x, *(const char *const *)y);
    case INTS:
        return same_ints(a, b, k);
    case NUMBERS:
        return same_numbers(x, y);
    case STRINGS:
        break;
    }
    return same_strings(x, y);
}

bool settings_key_equal(const struct settings *a, const struct settings *b, size_t i)
{
    return same_value(a, b, &settings_table[i]);
}

bool settings_key_waits(const struct settings *started, const struct settings *now, size_t i)
{
    const struct settings_key *k = &settings_table[i];

    switch (settings_key_effect(i)) {
    case SETTINGS_AT_RESTART:
        return !same_value(started, now, k);
    case SETTINGS_GROWS_AT_RESTART:
        return *(const int64_t *)field(now, k->offset) >
               *(const int64_t *)field(started, k->offset);
    case SETTINGS_AT_RELOAD:
        break;
    }
    return false;
}

/* ---- holding --------------------------------------------------------------------------------- */

static int copy_strings(struct settings_strings *to, const struct settings_strings *from,
                        struct err *err)
{
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < from->n; i++)
        status = settings_strings_append(to, from->items[i], err);
    return status;
}

static int copy_ints(struct settings *to, const struct settings *from,
                     const struct settings_key *k, struct err *err)
{
    const int64_t *const *values = field(from, k->offset);
    const size_t *n = field(from, k->offset_n);
    int64_t **copy = (void *)((char *)to + k->offset);

    *copy = calloc(*n + 1, sizeof(**copy));
    if (*copy == NULL)
        return err_oom(err, k->path);
    if (*n > 0)
        memcpy(*copy, *values, *n * sizeof(**copy));
    memcpy((char *)to + k->offset_n, n, sizeof(*n));
    return ERR_OK;
}

static int copy_text(struct settings *to, const struct settings *from,
                     const struct settings_key *k, struct err *err)
{
    const char *const *text = field(from, k->offset);
    char **copy = (void *)((char *)to + k->offset);

    *copy = strdup(*text != NULL ? *text : "");
    return *copy != NULL ? ERR_OK : err_oom(err, k->path);
}

static int copy_numbers(struct settings *to, const struct settings *from,
                        const struct settings_key *k, struct err *err)
{
    const struct settings_numbers *numbers = field(from, k->offset);
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < numbers->n; i++)
        status =
            settings_number_put(to, k, numbers->items[i].name, numbers->items[i].value, err);
    return status;
}

static int copy_value(struct settings *to, const struct settings *from,
                      const struct settings_key *k, struct err *err)
{
    char *at = (char *)to + k->offset;
    size_t bytes = 0;

    settings_value_free(to, k);
    switch (shape_of(k->type, &bytes)) {
    case PLAIN:
        memcpy(at, field(from, k->offset), bytes);
        return ERR_OK;
    case TEXT:
        return copy_text(to, from, k, err);
    case INTS:
        return copy_ints(to, from, k, err);
    case NUMBERS:
        return copy_numbers(to, from, k, err);
    case STRINGS:
        break;
    }
    return copy_strings((void *)at, field(from, k->offset), err);
}

int settings_hold(struct settings *s, const struct settings *started, char *ret_keys,
                  size_t bytes, struct err *err)
{
    size_t used = 0;
    int status = ERR_OK;

    ret_keys[0] = '\0';
    for (size_t i = 0; status == ERR_OK && i < settings_table_n; i++) {
        const struct settings_key *k = &settings_table[i];

        if (!settings_key_waits(started, s, i))
            continue;
        if (used < bytes)
            used += (size_t)snprintf(ret_keys + used, bytes - used, "%s%s", used ? ", " : "",
                                     k->path);
        status = copy_value(s, started, k, err);
    }
    return status;
}
