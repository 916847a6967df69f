/* metammf event explain: how events are understood, with the settings in force and nothing stored. */
#include "daemon/cli/cli.h"

#include "config/text.h"
#include "daemon/event/event.h"
#include "daemon/source/ndjson.h"
#include "store/writing.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

struct explain {
    struct cli_input input; /* first */
    const char *path;
    enum item_role role;
    bool has_action;
    struct event_rules rules;
    int64_t n_lines, n_of[ITEM_GAP + 1], n_warned;
};

enum { OPTION_ROLE = 256 };

static const struct argp_option options[] = {
    {"role", OPTION_ROLE, "videos|interactions", 0,
     "Read the events as from a topic of this kind: videos or interactions (a file, where the "
     "fields tell)",
     0},
    {0}};

/* What an event is, by enum item_kind. */
static const char *const meanings[] = {
    [ITEM_PUBLISHED] = "published",       [ITEM_UPDATED] = "updated",
    [ITEM_DELETED] = "deleted",           [ITEM_INTERACTION] = "interaction",
    [ITEM_USER_DELETED] = "user_deleted", [ITEM_DEAD] = "dead",
};

static void read_argument(struct explain *x, const char *arg, struct argp_state *state)
{
    if (!x->has_action && strcmp(arg, "explain") != 0)
        argp_error(state, "what is \"%s\"? Example: metammf event explain events.ndjson", arg);
    else if (!x->has_action)
        x->has_action = true;
    else if (x->path)
        argp_error(state, "one file at a time: what is \"%s\"?", arg);
    else
        x->path = arg;
}

static error_t parse_event(int key, char *arg, struct argp_state *state)
{
    struct explain *x = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case OPTION_ROLE:
        x->role = item_role_parse(arg, "file:");
        if (x->role == ITEM_ROLE_NONE)
            argp_error(state, "--role is videos or interactions, not \"%s\"", arg);
        return 0;
    case ARGP_KEY_ARG:
        read_argument(x, arg, state);
        return 0;
    case ARGP_KEY_END:
        if (!x->path)
            argp_error(state, "which file? Example: metammf event explain events.ndjson");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse_event,
    "explain FILE.ndjson|-",
    "Shows how each line of a file is understood as an event, by the settings' group events. "
    "Nothing is stored, and no daemon is needed: a site tries its mapping with it before "
    "anything runs.\v"
    "With --json there is one object for each line: line, meaning (published, updated, "
    "deleted, interaction, user_deleted or dead), item_id, user_id, reason and error of a dead "
    "letter, warnings, and the fields that were found. Exit code 0 means that the file was "
    "read, whatever is in it.\n\n"
    "Example:\n"
    "  kcat -b localhost -t cdc.videos -C -e -c 20 | metammf --config site.conf event explain "
    "- --role videos",
    cli_common,
    NULL,
    NULL};

/* ---- one event ---------------------------------------------------------------------------- */

static json_t *optional(const char *text)
{
    return text ? json_string(text) : json_null();
}

static json_t *warnings_json(const struct item *item)
{
    json_t *list = json_array();

    for (int i = 0; i < ITEM_WARNINGS; i++)
        if (item->warnings & (1u << i))
            json_array_append_new(list, json_string(item_warning_names[i]));
    return list;
}

static void add_video(json_t *fields, const struct item *item)
{
    static const struct {
        unsigned bit;
        const char *name;
        size_t at;
    } texts[] = {{ITEM_FIELD_MEDIA, "media_uri", offsetof(struct item, media_uri)},
                 {ITEM_FIELD_TITLE, "title", offsetof(struct item, title)},
                 {ITEM_FIELD_DESCRIPTION, "description", offsetof(struct item, description)},
                 {ITEM_FIELD_LANG, "lang", offsetof(struct item, lang)},
                 {ITEM_FIELD_SHA256, "sha256", offsetof(struct item, sha256)}};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (item->named & texts[i].bit)
            json_object_set_new(
                fields, texts[i].name,
                optional(*(const char *const *)((const char *)item + texts[i].at)));
    if (item->named & ITEM_FIELD_TAGS) {
        json_t *tags = json_array();
        for (uint32_t i = 0; i < item->n_tags; i++)
            json_array_append_new(tags, json_string(item->tags[i]));
        json_object_set_new(fields, "tags", tags);
    }
}

static void add_time(json_t *fields, const char *name, int64_t us)
{
    char text[32];

    if (us != 0) {
        cli_time(us, text, sizeof(text));
        json_object_set_new(fields, name, json_string(text));
    }
}

static json_t *fields_json(const struct item *item)
{
    json_t *fields = json_object();

    if (item->kind == ITEM_PUBLISHED || item->kind == ITEM_UPDATED) {
        add_video(fields, item);
        add_time(fields, "published_at", item->event_us);
    } else if (item->kind == ITEM_INTERACTION) {
        json_object_set_new(
            fields, "kind",
            json_string(item->interaction_kind ? item->interaction_kind : STORE_KIND_DEFAULT));
        json_object_set_new(fields, "weight", json_real(item->weight));
        add_time(fields, "ts", item->event_us);
    }
    return fields;
}

static json_t *explain_json(const struct item *item, int64_t line)
{
    bool dead = item->kind == ITEM_DEAD;

    return json_pack("{s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "line", (json_int_t)line,
                     "meaning", meanings[item->kind], "item_id", optional(item->item_id),
                     "user_id", optional(dead ? NULL : item->user_id), "reason",
                     optional(dead ? item->err.reason : NULL), "error",
                     optional(dead ? item->err.text : NULL), "warnings", warnings_json(item),
                     "fields", fields_json(item));
}

static void print_text(const struct item *item, int64_t line)
{
    json_t *fields = fields_json(item), *warnings = warnings_json(item), *warning;
    char *text =
        json_object_size(fields) > 0 ? json_dumps(fields, JSON_REAL_PRECISION(6)) : NULL;
    size_t i;

    printf("%6lld  %-12s", (long long)line, meanings[item->kind]);
    if (item->kind == ITEM_DEAD)
        printf(" %s  %s", item->err.reason, cli_text(item->err.text));
    else
        printf(" %s%s%s%s%s", item->item_id ? "item " : "",
               cli_text(item->item_id ? item->item_id : ""), item->user_id ? " user " : "",
               cli_text(item->user_id ? item->user_id : ""), text ? "  " : "");
    if (item->kind != ITEM_DEAD && text)
        text_print(stdout, text);
    json_array_foreach(warnings, i, warning)
        printf("%s%s", i == 0 ? "  warnings: " : ", ", cli_text(json_string_value(warning)));
    putchar('\n');
    free(text);
    json_decref(fields);
    json_decref(warnings);
}

static int explain_line(struct explain *x, const struct ndjson_line *line, struct err *err)
{
    struct item *item = item_new();
    struct err why;
    int r = ERR_OK;

    if (!item)
        return err_oom(err, "event explain");
    item->role = x->role;
    item->value = line->text;
    item->value_bytes = line->too_long ? (size_t)line->full_bytes : line->n_bytes;
    r = event_parse(&x->rules, item, &why);
    if (r == ERR_SKIP)
        item_kill(item, "parse", &why);
    else if (r != ERR_OK && err)
        *err = why;
    if (r == ERR_OK || r == ERR_SKIP) {
        x->n_of[item->kind]++;
        x->n_warned += item->warnings != 0;
        x->n_lines++;
        r = ERR_OK;
        if (!x->input.cli->json)
            print_text(item, line->number + 1);
        else if (cli_print_json_line(explain_json(item, line->number + 1)) != 0)
            r = err_fatal(err, EX_IOERR, "standard output: write: %s", strerror(errno));
    }
    item_free(item);
    return r;
}

/* ---- a file ------------------------------------------------------------------------------- */

/* What does not seek (a pipe, standard input) is copied to a file that has no name. */
static int copy_input(int in, const char *name, int *ret_fd, struct err *err)
{
    char buffer[1 << 16];
    FILE *copy = tmpfile();
    ssize_t n = 0;

    while (copy && (n = read(in, buffer, sizeof(buffer))) > 0)
        if (fwrite(buffer, 1, (size_t)n, copy) != (size_t)n)
            break;
    if (!copy || n != 0 || fflush(copy) != 0) {
        int code = errno;
        if (copy)
            fclose(copy);
        return err_fatal(err, EX_IOERR, "%s: copy to a temporary file: %s", name,
                         strerror(code));
    }
    *ret_fd = fcntl(fileno(copy), F_DUPFD_CLOEXEC, 0);
    fclose(copy);
    return *ret_fd >= 0 ? ERR_OK : err_fatal(err, EX_OSERR, "%s: %s", name, strerror(errno));
}

static int open_input(const char *path, int *ret_fd, int64_t *ret_bytes, struct err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    const char *name = is_stdin ? "standard input" : path;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int r = ERR_OK;

    if (fd < 0)
        return err_fatal(err, EX_NOINPUT, "%s: open: %s", path, strerror(errno));
    *ret_fd = fd;
    if (is_stdin || lseek(fd, 0, SEEK_END) < 0) {
        r = copy_input(fd, name, ret_fd, err);
        if (!is_stdin)
            close(fd);
    }
    if (r == ERR_OK)
        *ret_bytes = lseek(*ret_fd, 0, SEEK_END);
    return r;
}

static int explain_all(struct explain *x, int fd, int64_t bytes, struct err *err)
{
    struct ndjson *reader;
    struct ndjson_line line;
    int r = ndjson_open(fd, bytes, EVENT_BYTES_MAX, &reader, err);

    if (r)
        return r;
    while ((r = ndjson_next(reader, &line, err)) == ERR_OK) {
        r = explain_line(x, &line, err);
        if (r != ERR_OK)
            break;
    }
    ndjson_close(reader);
    return r == ERR_END ? ERR_OK : r;
}

/* Without a file the defaults: no store is needed. */
static int load(struct cli *cli, struct err *err)
{
    if (cli->config || cli->store || access(CLI_CONFIG, F_OK) == 0)
        return cli_load(cli, err);
    int r = settings_init(&cli->settings);
    cli->loaded = r == ERR_OK;
    return r == ERR_OK ? ERR_OK : err_oom(err, "settings");
}

static int run(struct explain *x, struct err *err)
{
    int64_t bytes = 0;
    int fd = -1, r = load(x->input.cli, err);

    if (r == ERR_OK)
        r = event_rules_open(&x->input.cli->settings, &x->rules, err);
    if (r == ERR_OK)
        r = open_input(x->path, &fd, &bytes, err);
    if (r == ERR_OK) {
        r = explain_all(x, fd, bytes, err);
        close(fd);
    }
    event_rules_done(&x->rules);
    return r;
}

static void print_summary(const struct explain *x)
{
    fprintf(stderr, "metammf: %lld events", (long long)x->n_lines);
    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
        if (x->n_of[i] > 0)
            fprintf(stderr, ", %lld %s", (long long)x->n_of[i], meanings[i]);
    fprintf(stderr, "; %lld with warnings\n", (long long)x->n_warned);
}

int cli_event(struct cli *cli, int argc, char **argv)
{
    struct explain x = {.input.cli = cli, .role = ITEM_ROLE_NONE};
    struct err err;
    int r;

    cli_parse(&argp, argc, argv, &x.input);
    err_clear(&err);
    r = run(&x, &err);
    if (r)
        return cli_fail(&err);
    print_summary(&x);
    return cli_finish();
}
