/* Reading the settings: the file's bytes → settings_text_prepare → libconfig → each setting
 * through its entry of settings_table → settings_check. A new struct is filled and changes
 * places with the caller's only when all is well, so that a bad file on SIGHUP changes nothing, and
 * a key that is gone from the file is back at its default. */

#include "config/settings_table.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libconfig.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define FILE_MAX_BYTES ((size_t)1 << 20)
#define PATH_MAX_BYTES 128 /* of a key */
#define KEYS_MAX       256

struct walk {
    struct settings *s;
    int line;                /* of the node that is being read */
    bool is_given[KEYS_MAX]; /* by the place in settings_table */
    struct err *fault;       /* NULL = ends with the first fault; else that is kept here */
    const char *file;
    struct err *err;
};

static int wrong_type(const struct settings_key *k, const config_setting_t *node,
                      struct err *err)
{
    static const char *const wants[] = {
        [SETTINGS_INT] = "a whole number",
        [SETTINGS_BOOL] = "true or false",
        [SETTINGS_WORD] = "a word in quotes",
        [SETTINGS_STRING] = "a text in quotes",
        [SETTINGS_PATH] = "a path in quotes",
        [SETTINGS_STRINGS] = "a list of texts, [\"a\", \"b\"]",
        [SETTINGS_PATHS] = "a list of paths, [\"/a\", \"/b\"]",
        [SETTINGS_INTS] = "a list of whole numbers, [0, 1]",
        [SETTINGS_REAL] = "a number",
        [SETTINGS_PROPERTIES] = "a group, { security_protocol = \"SSL\"; }",
        [SETTINGS_POINTERS] = "a JSON Pointer or a list of them, [\"/a\", \"/b\"]",
        [SETTINGS_MAPPING] = "a group, { item_id = \"/id\"; title = [\"/a\", \"/b\"]; }",
        [SETTINGS_NAMES] = "a group, { upload = \"video.published\"; }, or a list of "
                           "{ type = \"site.upload\"; meaning = \"video.published\"; }",
        [SETTINGS_NUMBERS] = "a group, { like = 1.0; }, or a list, ( { kind = \"video.like\"; "
                             "weight = 1.0; } )",
    };
    static const char *const is[] = {
        [CONFIG_TYPE_NONE] = "empty",         [CONFIG_TYPE_GROUP] = "a group",
        [CONFIG_TYPE_INT] = "a number",       [CONFIG_TYPE_INT64] = "a number",
        [CONFIG_TYPE_FLOAT] = "a fraction",   [CONFIG_TYPE_STRING] = "a text",
        [CONFIG_TYPE_BOOL] = "a truth value", [CONFIG_TYPE_ARRAY] = "a list",
        [CONFIG_TYPE_LIST] = "a list",
    };

    return err_fatal(err, EX_CONFIG, "`%s` must be %s, and is %s", k->path, wants[k->type],
                     is[config_setting_type(node)]);
}

/* A scalar as text: a number into `digits`, a string as it stands; NULL for a group or list. */
static const char *scalar_text(const config_setting_t *node, char *digits, size_t bytes)
{
    switch (config_setting_type(node)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        snprintf(digits, bytes, "%lld", config_setting_get_int64(node));
        return digits;
    case CONFIG_TYPE_FLOAT:
        snprintf(digits, bytes, "%.17g", config_setting_get_float(node));
        return digits;
    case CONFIG_TYPE_BOOL:
        return config_setting_get_bool(node) ? "true" : "false";
    case CONFIG_TYPE_STRING:
        return config_setting_get_string(node);
    default:
        return NULL;
    }
}

static bool fits(const struct settings_key *k, const config_setting_t *node)
{
    int type = config_setting_type(node);

    switch (k->type) {
    case SETTINGS_INT:
    case SETTINGS_INTS:
        return type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;
    case SETTINGS_REAL:
        return type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64 ||
               type == CONFIG_TYPE_FLOAT;
    case SETTINGS_BOOL:
        return type == CONFIG_TYPE_BOOL;
    case SETTINGS_WORD:
    case SETTINGS_STRING:
    case SETTINGS_STRINGS:
    case SETTINGS_PATH:
    case SETTINGS_PATHS:
    case SETTINGS_POINTERS:
        return type == CONFIG_TYPE_STRING;
    case SETTINGS_PROPERTIES:
    case SETTINGS_MAPPING:
    case SETTINGS_NAMES:
    case SETTINGS_NUMBERS:
        return false;
    }
    return false;
}

static int load_scalar(struct walk *w, const struct settings_key *k,
                       const config_setting_t *node)
{
    char digits[32];
    const char *text = scalar_text(node, digits, sizeof(digits));

    if (text == NULL || !fits(k, node))
        return wrong_type(k, node, w->err);
    if ((k->type == SETTINGS_PATH || k->type == SETTINGS_PATHS) && text[0] != '/' &&
        text[0] != '\0')
        return err_fatal(w->err, EX_CONFIG, "`%s` is \"%.200s\": write an absolute path",
                         k->path, text);
    return settings_value_set(w->s, k, text, w->err);
}

static int load_list(struct walk *w, const struct settings_key *k, const config_setting_t *node)
{
    int n = config_setting_length(node), status = ERR_OK;

    if (!config_setting_is_array(node) && !config_setting_is_list(node))
        return wrong_type(k, node, w->err);
    settings_value_free(w->s, k);
    for (int i = 0; i < n && status == ERR_OK; i++)
        status = load_scalar(w, k, config_setting_get_elem(node, (unsigned)i));
    return status;
}

static int load_properties(struct walk *w, const struct settings_key *k,
                           const config_setting_t *node)
{
    int n = config_setting_length(node), status = ERR_OK;

    if (!config_setting_is_group(node))
        return wrong_type(k, node, w->err);
    for (int i = 0; i < n && status == ERR_OK; i++) {
        const config_setting_t *child = config_setting_get_elem(node, (unsigned)i);
        const char *name = config_setting_name(child);
        char digits[32];
        const char *text = scalar_text(child, digits, sizeof(digits));

        w->line = (int)config_setting_source_line(child);
        if (text == NULL)
            status = err_fatal(w->err, EX_CONFIG,
                               "`kafka.properties.%.80s` must be a text, a whole number, true "
                               "or false",
                               name);
        else
            status = settings_property_append(&w->s->kafka.properties, name, text, w->err);
    }
    return status;
}

/* One "name=value" of a mapping or of a table of names. */
static int add_pair(struct walk *w, const struct settings_key *k, const char *name,
                    const config_setting_t *value)
{
    const char *text = config_setting_get_string(value);
    char *pair;
    int status;

    w->line = (int)config_setting_source_line(value);
    if (text == NULL)
        return err_fatal(w->err, EX_CONFIG, "`%s`: %.80s must be a text in quotes", k->path,
                         name);
    if (asprintf(&pair, "%s=%s", name, text) < 0)
        return err_oom(w->err, k->path);
    status = settings_value_set(w->s, k, pair, w->err);
    free(pair);
    return status;
}

static int load_pointers_of(struct walk *w, const struct settings_key *k,
                            const config_setting_t *node)
{
    int n = config_setting_length(node), status = ERR_OK;

    w->line = (int)config_setting_source_line(node);
    if (!config_setting_is_array(node) && !config_setting_is_list(node))
        return add_pair(w, k, config_setting_name(node), node);
    if (n == 0)
        return err_fatal(w->err, EX_CONFIG,
                         "`%s`: %.80s has no pointer; leave it out, and it is at /%.80s",
                         k->path, config_setting_name(node), config_setting_name(node));
    for (int i = 0; i < n && status == ERR_OK; i++)
        status = add_pair(w, k, config_setting_name(node),
                          config_setting_get_elem(node, (unsigned)i));
    return status;
}

static int load_mapping(struct walk *w, const struct settings_key *k,
                        const config_setting_t *node)
{
    int n = config_setting_length(node), status = ERR_OK;

    if (!config_setting_is_group(node))
        return wrong_type(k, node, w->err);
    for (int i = 0; i < n && status == ERR_OK; i++)
        status = load_pointers_of(w, k, config_setting_get_elem(node, (unsigned)i));
    return status;
}

/* { type = "site.upload"; meaning = "video.published"; }: a name in libconfig holds no dot. */
static int load_name(struct walk *w, const struct settings_key *k, const config_setting_t *node)
{
    const config_setting_t *meaning;
    const char *type = NULL;

    w->line = (int)config_setting_source_line(node);
    if (!config_setting_is_group(node) || config_setting_length(node) != 2 ||
        config_setting_lookup_string(node, "type", &type) != CONFIG_TRUE ||
        (meaning = config_setting_get_member(node, "meaning")) == NULL)
        return err_fatal(
            w->err, EX_CONFIG,
            "`%s`: write { type = \"site.upload\"; meaning = \"video.published\"; }", k->path);
    return add_pair(w, k, type, meaning);
}

static int load_names(struct walk *w, const struct settings_key *k,
                      const config_setting_t *node)
{
    int n = config_setting_length(node), status = ERR_OK;

    if (!config_setting_is_group(node) && !config_setting_is_list(node))
        return wrong_type(k, node, w->err);
    for (int i = 0; i < n && status == ERR_OK; i++) {
        const config_setting_t *child = config_setting_get_elem(node, (unsigned)i);

        status = config_setting_is_list(node)
                     ? load_name(w, k, child)
                     : add_pair(w, k, config_setting_name(child), child);
    }
    return status;
}

static bool is_number_node(const config_setting_t *node)
{
    int type = config_setting_type(node);

    return type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64 || type == CONFIG_TYPE_FLOAT;
}

/* libconfig's own conversion needs its option CONFIG_AUTOCONVERT. */
static double number_of(const config_setting_t *node)
{
    return config_setting_type(node) == CONFIG_TYPE_FLOAT
               ? config_setting_get_float(node)
               : (double)config_setting_get_int64(node);
}

/* Whether one of the first n entries of a list has this name. */
static bool is_listed(const config_setting_t *list, int n, const char *name)
{
    const char *other;

    for (int i = 0; i < n; i++) {
        if (config_setting_lookup_string(config_setting_get_elem(list, (unsigned)i), "kind",
                                         &other) == CONFIG_TRUE &&
            strcmp(other, name) == 0)
            return true;
    }
    return false;
}

/* { kind = "video.like"; weight = 1.0; }, entry i of a list. */
static int load_listed_number(struct walk *w, const struct settings_key *k,
                              const config_setting_t *list, int i)
{
    const config_setting_t *entry = config_setting_get_elem(list, (unsigned)i);
    const config_setting_t *name = NULL, *value = NULL;

    w->line = (int)config_setting_source_line(entry);
    if (config_setting_is_group(entry)) {
        name = config_setting_get_member(entry, "kind");
        value = config_setting_get_member(entry, "weight");
    }
    if (name == NULL || value == NULL || config_setting_length(entry) != 2 ||
        config_setting_type(name) != CONFIG_TYPE_STRING || !is_number_node(value))
        return err_fatal(w->err, EX_CONFIG,
                         "`%s`: an entry of the list must be { kind = \"video.like\"; weight = "
                         "1.0; }",
                         k->path);
    if (is_listed(list, i, config_setting_get_string(name)))
        return err_fatal(w->err, EX_CONFIG, "`%s` names %.80s twice; remove one", k->path,
                         config_setting_get_string(name));
    return settings_number_put(w->s, k, config_setting_get_string(name), number_of(value),
                               w->err);
}

static int load_named_number(struct walk *w, const struct settings_key *k,
                             const config_setting_t *node)
{
    const char *name = config_setting_name(node);

    w->line = (int)config_setting_source_line(node);
    if (!is_number_node(node))
        return err_fatal(w->err, EX_CONFIG, "`%s.%.80s` must be a number", k->path, name);
    return settings_number_put(w->s, k, name, number_of(node), w->err);
}

/* Names that the file does not have keep the numbers of the default. libconfig refuses a name that
 * is twice in a group. */
static int load_numbers(struct walk *w, const struct settings_key *k,
                        const config_setting_t *node)
{
    int n = config_setting_length(node), status = ERR_OK;
    bool is_group = config_setting_is_group(node);

    if (!is_group && !config_setting_is_list(node))
        return wrong_type(k, node, w->err);
    for (int i = 0; i < n && status == ERR_OK; i++)
        status = is_group ? load_named_number(w, k, config_setting_get_elem(node, (unsigned)i))
                          : load_listed_number(w, k, node, i);
    return status;
}

static int load_key(struct walk *w, const struct settings_key *k, const config_setting_t *node)
{
    bool *is_given = &w->is_given[k - settings_table];

    if (*is_given)
        return err_fatal(w->err, EX_CONFIG, "`%s` is there twice; remove one", k->path);
    *is_given = true;
    switch (k->type) {
    case SETTINGS_STRINGS:
    case SETTINGS_PATHS:
    case SETTINGS_INTS:
        return load_list(w, k, node);
    case SETTINGS_POINTERS:
        return config_setting_type(node) == CONFIG_TYPE_STRING ? load_scalar(w, k, node)
                                                               : load_list(w, k, node);
    case SETTINGS_PROPERTIES:
        return load_properties(w, k, node);
    case SETTINGS_MAPPING:
        return load_mapping(w, k, node);
    case SETTINGS_NAMES:
        return load_names(w, k, node);
    case SETTINGS_NUMBERS:
        return load_numbers(w, k, node);
    default:
        return load_scalar(w, k, node);
    }
}

static bool is_group_name(const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < settings_table_n; i++) {
        if (strncmp(settings_table[i].path, name, n) == 0 && settings_table[i].path[n] == '.')
            return true;
    }
    return false;
}

static int load_group(struct walk *w, const char *group, const config_setting_t *node);

static int load_child(struct walk *w, const char *group, const config_setting_t *node)
{
    char path[2 * PATH_MAX_BYTES], name[PATH_MAX_BYTES];
    const struct settings_key *k;

    w->line = (int)config_setting_source_line(node);
    snprintf(name, sizeof(name), "%s", config_setting_name(node));
    name[strcspn(name, "*")] = '\0'; /* a group that is there again: see settings_text.c */
    snprintf(path, sizeof(path), "%s%s%s", group, group[0] != '\0' ? "." : "", name);
    k = settings_table_find(path);
    if (k != NULL)
        return load_key(w, k, node);
    if (group[0] != '\0' || !is_group_name(name))
        return settings_unknown_key(group, name, w->err);
    if (!config_setting_is_group(node))
        return err_fatal(w->err, EX_CONFIG, "`%s` is a group: write %s = { … };", name, name);
    return load_group(w, name, node);
}

/* The first one counts: the others may come of it. */
static void note_fault(struct walk *w)
{
    if (w->fault->status != ERR_OK)
        return;
    *w->fault = *w->err;
    if (w->line > 0)
        err_wrap(w->fault, "%s:%d", w->file, w->line);
}

/* Two levels deep at most: a group's name is only looked up at the top. */
static int load_group(struct walk *w, const char *group, const config_setting_t *node)
{
    int n = config_setting_length(node), status = ERR_OK;

    for (int i = 0; i < n && status == ERR_OK; i++) {
        status = load_child(w, group, config_setting_get_elem(node, (unsigned)i));
        if (status != ERR_OK && w->fault != NULL) {
            note_fault(w);
            status = ERR_OK;
        }
    }
    return status;
}

/* The tree as far as libconfig read it: where it stopped, the rest is missing. */
static int load_tree(struct walk *w, char *prepared)
{
    config_t tree;
    int status = ERR_OK;

    config_init(&tree);
    if (config_read_string(&tree, prepared) != CONFIG_TRUE) {
        status = err_fatal(w->err, EX_CONFIG, "%s:%d: %s; write `name = value;`", w->file,
                           config_error_line(&tree), config_error_text(&tree));
        if (w->fault != NULL)
            note_fault(w);
    }
    if ((status == ERR_OK || w->fault != NULL) && config_root_setting(&tree) != NULL &&
        (status = load_group(w, "", config_root_setting(&tree))) != ERR_OK)
        err_wrap(w->err, "%s:%d", w->file, w->line);
    config_destroy(&tree);
    return status;
}

/* With `fault` it goes on after one, which stands there. */
static int load_text(struct settings *s, const char *file, const char *text, size_t bytes,
                     struct err *fault, struct err *err)
{
    char *prepared;
    size_t line;
    struct walk w = {.s = s, .file = file, .fault = fault, .err = err};
    int status = settings_text_prepare(text, bytes, &prepared, &line, err);

    assert(settings_table_n <= KEYS_MAX);
    if (status != ERR_OK) {
        err_wrap(err, "%s:%zu", file, line);
        return status;
    }
    status = load_tree(&w, prepared);
    free(prepared);
    if (status == ERR_OK) {
        status = settings_check(s, err);
        if (status != ERR_OK)
            err_wrap(err, "%s", file);
    }
    return status;
}

/* Fresh settings with what is in the text. */
static int load_fresh(const char *file, const char *text, size_t bytes,
                      struct settings *ret_fresh, struct err *fault, struct err *err)
{
    if (settings_init(ret_fresh) != ERR_OK)
        return err_oom(err, file);
    ret_fresh->path = strdup(file);
    return ret_fresh->path == NULL ? err_oom(err, file)
                                   : load_text(ret_fresh, file, text, bytes, fault, err);
}

int settings_load_text(const char *file, const char *text, size_t bytes, struct settings *s,
                       struct err *err)
{
    struct settings fresh;
    int status = load_fresh(file, text, bytes, &fresh, NULL, err);

    if (status != ERR_OK) {
        settings_done(&fresh);
        return status;
    }
    settings_done(s);
    *s = fresh;
    return ERR_OK;
}

/* At most FILE_MAX_BYTES + 1 bytes. */
static int read_all(int fd, char *buffer, size_t *ret_bytes)
{
    size_t n = 0;

    while (n <= FILE_MAX_BYTES) {
        ssize_t got = read(fd, buffer + n, FILE_MAX_BYTES + 1 - n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        n += (size_t)got;
    }
    *ret_bytes = n;
    return 0;
}

/* *ret_text malloc'ed. */
static int read_file(const char *path, char **ret_text, size_t *ret_bytes, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0 && err_is_shortage(errno))
        return err_open(err, EX_CONFIG, path, errno);
    if (fd < 0)
        return err_fatal(err, EX_CONFIG, "%s: open: %s; see metammfd.conf(5)", path,
                         strerror(errno));
    char *buffer = malloc(FILE_MAX_BYTES + 1);
    int failed = buffer == NULL ? 0 : read_all(fd, buffer, ret_bytes);
    int status = buffer == NULL ? err_oom(err, path) : ERR_OK;

    if (failed < 0)
        status = err_fatal(err, EX_CONFIG, "%s: read: %s", path, strerror(-failed));
    else if (status == ERR_OK && *ret_bytes > FILE_MAX_BYTES)
        status = err_fatal(err, EX_CONFIG, "%s: larger than 1 MiB; this is not a settings file",
                           path);
    close(fd);
    if (status == ERR_OK)
        *ret_text = buffer;
    else
        free(buffer);
    return status;
}

int settings_load(const char *path, struct settings *s, struct err *err)
{
    char *text = NULL;
    size_t bytes = 0;
    int status = read_file(path, &text, &bytes, err);

    if (status == ERR_OK)
        status = settings_load_text(path, text, bytes, s, err);
    free(text);
    return status;
}

int settings_load_readable(const char *path, struct settings *s, struct err *err)
{
    struct settings fresh;
    struct err fault;
    char *text = NULL;
    size_t bytes = 0;
    int status = read_file(path, &text, &bytes, err);

    err_clear(&fault);
    if (status != ERR_OK)
        return status;
    status = load_fresh(path, text, bytes, &fresh, &fault, err);
    free(text);
    settings_done(s);
    *s = fresh;
    if (fault.status == ERR_OK)
        return status;
    *err = fault;
    return fault.status;
}
