/* metammf settings: what runs, what the file says, what waits. The daemon compares (reload.c), for it alone
 * knows what it was started with; without it there is the file. */
#include "daemon/cli/cli.h"

#include "daemon/base/json_field.h"
#include "daemon/service/control_client.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

struct settings_arguments {
    struct cli_input input; /* first */
    bool all;
};

enum { OPTION_ALL = 256 };

static const struct argp_option options[] = {
    {"all", OPTION_ALL, NULL, 0, "Those that have their default, too", 0}, {0}};

static error_t parse_settings(int key, char *arg, struct argp_state *state)
{
    struct settings_arguments *a = state->input;

    if (cli_parse_init(key, state))
        return 0;
    if (key == OPTION_ALL) {
        a->all = true;
        return 0;
    }
    if (key == ARGP_KEY_ARG)
        argp_error(state, "unexpected argument \"%s\"", arg);
    return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
    options,
    parse_settings,
    NULL,
    "Shows the settings that run, and where the file says something else: what that waits for, "
    "a reload or a restart.\v"
    "What runs the daemon tells, over its control socket; without it, or without the right to "
    "ask, the file is shown alone, and that is said. Secrets are shown as ***. With --json: "
    "{file, file_error, daemon (whether it told), daemon_error, settings: {KEY: {running, "
    "file, default, effect, waits}}}; running is null where nobody told, file where it cannot "
    "be read, effect is when a change takes effect, reload or restart, and waits is empty, "
    "reload or "
    "restart.\n\n"
    "Example:\n"
    "  metammf settings",
    cli_common,
    NULL,
    NULL};

/* NULL: no memory. */
static json_t *text_of(const struct settings *s, size_t i)
{
    char *text = settings_key_text(s, i);
    json_t *value = text ? json_of_text(text) : NULL;

    free(text);
    return value;
}

static const char *effect_of(size_t i)
{
    return settings_key_effect(i) == SETTINGS_AT_RELOAD ? "reload" : "restart";
}

/* ---- gathering --------------------------------------------------------------------------- */

/* The daemon's own answer, or NULL: err says why it is silent, ERR_OK = there is none. */
static json_t *ask_daemon(struct cli *cli, struct err *err)
{
    struct control_ask ask = {0};
    json_t *answer = NULL;

    if (control_find(&cli->settings, &ask.fd, err) != ERR_OK)
        return NULL;
    ask.request = json_pack("{s:s}", "command", "settings");
    control_ask(&ask, &answer, err);
    close(ask.fd);
    return answer;
}

/* One key; `told` is the daemon's, NULL = it did not tell. */
static json_t *row_of(const struct cli *cli, const struct settings *defaults,
                      const json_t *told, bool file_is_bad, size_t i)
{
    const char *waits = json_field_text(told, "waits");
    json_t *running = json_incref(json_object_get(told, "running"));
    json_t *file = json_incref(json_object_get(told, waits[0] ? "file" : "running"));

    if (!told)
        file = file_is_bad ? json_null() : text_of(&cli->settings, i);
    else if (file_is_bad) {
        json_decref(file);
        file = json_null();
    }
    return json_pack("{s:o, s:o, s:o, s:s, s:s}", "running", running ? running : json_null(),
                     "file", file, "default", text_of(defaults, i), "effect", effect_of(i),
                     "waits", waits);
}

/* NULL: no memory. */
static json_t *rows_of(const struct cli *cli, const json_t *answer, bool file_is_bad)
{
    const json_t *told = json_field(answer, "settings");
    json_t *rows = json_object();
    struct settings defaults;

    if (settings_init(&defaults) != ERR_OK) {
        json_decref(rows);
        return NULL;
    }
    bool failed = false;
    for (size_t i = 0; !failed && i < settings_n_keys(); i++) {
        const char *path = settings_key_path(i);

        failed = json_object_set_new(
                     rows, path,
                     row_of(cli, &defaults, json_field(told, path), file_is_bad, i)) != 0;
    }
    settings_done(&defaults);
    if (!failed)
        return rows;
    json_decref(rows);
    return NULL;
}

/* *err: why the daemon is silent. */
static json_t *gather(struct cli *cli, const char *file_error, struct err *err)
{
    json_t *answer = ask_daemon(cli, err);
    const char *told_error = json_field_text(answer, "file_error");
    json_t *file = answer               ? json_incref(json_object_get(answer, "file"))
                   : cli->settings.path ? json_of_text(cli->settings.path)
                                        : json_null();
    const char *fault = answer ? told_error : file_error;
    json_t *root = json_pack("{s:o, s:b, s:o}", "file", file, "daemon", answer != NULL,
                             "settings", rows_of(cli, answer, fault[0] != '\0'));

    if (root && fault[0])
        json_object_set_new(root, "file_error", json_string(fault));
    if (root && err->text[0])
        json_object_set_new(root, "daemon_error", json_string(err->text));
    json_decref(answer);
    return root;
}

/* ---- for people -------------------------------------------------------------------------- */

static void print_head(const json_t *root)
{
    const char *path = cli_field(root, "file"), *fault = cli_field(root, "file_error");
    const char *silent = cli_field(root, "daemon_error");

    printf("file     %s\n", path[0] ? path : "none given: the defaults");
    if (fault[0])
        printf("         %s\n", fault);
    if (json_field_true(root, "daemon"))
        puts("daemon   told what runs");
    else if (silent[0])
        printf("daemon   what runs is not known: %s\n", silent);
    else
        puts("daemon   down: this is the file alone");
}

static const char *advice(const char *waits)
{
    return strcmp(waits, "restart") == 0 ? "at the next restart" : "at the next reload";
}

/* Returns whether it waits. */
static bool print_row(const char *key, const json_t *row, bool all)
{
    const char *running = cli_field(row, "running"), *file = cli_field(row, "file");
    const char *waits = json_field_text(row, "waits");
    const char *value = running[0] ? running : file;

    if (!all && !waits[0] && strcmp(value, cli_field(row, "default")) == 0)
        return false;
    printf("%-32s %s\n", key, value[0] ? value : "not known");
    if (waits[0])
        printf("%-32s %s, in the file, takes effect %s\n", "", file, advice(waits));
    return waits[0] != '\0';
}

static int print_text(const json_t *root, bool all)
{
    const char *key;
    json_t *row;
    int n = 0;

    print_head(root);
    json_object_foreach(json_object_get(root, "settings"), key, row) n +=
        print_row(key, row, all);
    if (n > 0)
        printf("%d wait%s\n", n, n == 1 ? "s" : "");
    else if (json_field_true(root, "daemon") && !json_field_text(root, "file_error")[0])
        puts("nothing waits: the file is what runs");
    return cli_finish();
}

int cli_settings(struct cli *cli, int argc, char **argv)
{
    struct settings_arguments a = {.input.cli = cli};
    struct err err, fault;
    json_t *root;
    int code;

    cli_parse(&argp, argc, argv, &a.input);
    err_clear(&err);
    err_clear(&fault);
    if (cli_load_to_read(cli, &fault) != ERR_OK)
        return cli_fail(&fault);
    root = gather(cli, cli->file_error.text, &err);
    if (!root) {
        err_oom(&err, "settings");
        return cli_fail(&err);
    }
    code = cli->json ? cli_print_json(json_incref(root)) : print_text(root, a.all);
    json_decref(root);
    return code;
}
