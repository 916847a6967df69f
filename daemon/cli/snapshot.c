/* metammf snapshot FILE: VACUUM INTO by a reader of our own, so that the file belongs to whoever
 * asked for it, and the daemon goes on writing meanwhile. */
#include "daemon/cli/cli.h"

#include "daemon/base/json_field.h"
#include "store/copy.h"
#include "store/reading.h"

#include <jansson.h>
#include <sys/stat.h>

struct snapshot {
    struct cli_input input; /* first */
    const char *path;
};

static error_t parse_snapshot(int key, char *arg, struct argp_state *state)
{
    struct snapshot *s = state->input;

    if (cli_parse_init(key, state))
        return 0;
    if (key == ARGP_KEY_ARG && !s->path) {
        s->path = arg;
        return 0;
    }
    if (key == ARGP_KEY_ARG)
        argp_error(state, "one file: what is \"%s\"?", arg);
    if (key == ARGP_KEY_NO_ARGS)
        argp_error(state, "into which file? Example: metammf snapshot /backup/metammf.db");
    return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
    NULL,
    parse_snapshot,
    "FILE",
    "Writes a consistent, compact copy of the store into a new file, whether or not the daemon "
    "runs. It is no backup: the models that the store names are files beside it, and not in "
    "the copy; a daemon has no model on it, and no rollback. metammf backup copies "
    "both.\v"
    "Nobody writes to the copy, so it can be opened as it is: sqlite3 "
    "'file:FILE?immutable=1'.\n\n"
    "Example:\n"
    "  metammf snapshot /backup/metammf-$(date +%F).db",
    cli_common,
    NULL,
    NULL};

static int report(const struct cli *cli, const char *path)
{
    struct stat info = {0};
    char size[32];

    if (stat(path, &info) != 0)
        info.st_size = 0;
    if (cli->json)
        return cli_print_json(json_pack("{s:o, s:I}", "path", json_of_text(path), "bytes",
                                        (json_int_t)info.st_size));
    cli_bytes(info.st_size, size, sizeof(size));
    printf("%s: %s; the store alone, without its models: metammf backup copies both\n",
           cli_text(path), size);
    return cli_finish();
}

int cli_snapshot(struct cli *cli, int argc, char **argv)
{
    struct snapshot s = {.input.cli = cli};
    struct store *st;
    struct err err;
    int r;

    cli_parse(&argp, argc, argv, &s.input);
    err_clear(&err);
    if (cli_open_store(cli, &st, &err) != ERR_OK)
        return cli_fail(&err);
    r = store_snapshot(st, s.path, &err);
    store_close(st);
    return r == ERR_OK ? report(cli, s.path) : cli_fail(&err);
}
