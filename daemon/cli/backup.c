/* metammf backup DIR: by a reader of our own, with our own rights: no daemon is asked. */
#include "daemon/cli/cli.h"

#include "daemon/base/json_field.h"
#include "daemon/model/backup.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

struct backup_arguments {
    struct cli_input input; /* first */
    const char *dir;
};

static error_t parse_backup(int key, char *arg, struct argp_state *state)
{
    struct backup_arguments *a = state->input;

    if (cli_parse_init(key, state))
        return 0;
    if (key == ARGP_KEY_ARG && arg[0] && !a->dir) {
        a->dir = arg;
        return 0;
    }
    if (key == ARGP_KEY_ARG && a->dir)
        argp_error(state, "one folder: what is \"%s\"?", arg);
    if (key == ARGP_KEY_ARG || key == ARGP_KEY_NO_ARGS)
        argp_error(state, "into which folder? Example: metammf backup /backup/metammf");
    return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
    NULL,
    parse_backup,
    "DIR",
    "Copies the store and the models that it needs into a new folder, whether or not the "
    "daemon runs.\v"
    "The active model and those that a rollback can go back to are in it, and a "
    "list of all files with their SHA-256. DIR appears when it is whole; what fails leaves "
    "nothing. It needs the right to read the store and the model folder, and no daemon. "
    "Settings, credentials and media are not in it.\n\n"
    "Example:\n"
    "  metammf backup /backup/metammf-$(date +%F)",
    cli_common,
    NULL,
    NULL};

static int64_t sum_bytes(const json_t *manifest)
{
    json_t *row;
    const char *name;
    int64_t sum = 0;

    json_object_foreach(json_object_get(manifest, "files"), name, row)
    {
        (void)name;
        sum += json_integer_value(json_object_get(row, "bytes"));
    }
    return sum;
}

static void warn_missing(const json_t *manifest)
{
    const json_t *row;
    size_t i;

    json_array_foreach(json_object_get(manifest, "missing"), i, row)
        fprintf(stderr, "metammf: model %" PRId64 " is not in the backup: %s: %s\n",
                (int64_t)json_integer_value(json_object_get(row, "model_id")),
                cli_field(row, "file"), cli_field(row, "why"));
}

static int report(const struct cli *cli, const char *dir, json_t *manifest)
{
    const json_t *counts = json_object_get(manifest, "counts");
    char size[32];

    warn_missing(manifest);
    if (cli->json) {
        json_object_set_new(manifest, "path", json_of_text(dir));
        json_object_set_new(manifest, "bytes", json_integer((json_int_t)sum_bytes(manifest)));
        return cli_print_json(manifest);
    }
    cli_bytes(sum_bytes(manifest), size, sizeof(size));
    printf("%s: %s, %" PRId64 " items, %" PRId64
           " interactions, %zu models; back with: metammf "
           "restore %s\n",
           cli_text(dir), size, (int64_t)json_integer_value(json_object_get(counts, "items")),
           (int64_t)json_integer_value(json_object_get(counts, "interactions")),
           json_array_size(json_object_get(manifest, "models")), cli_text(dir));
    json_decref(manifest);
    return cli_finish();
}

int cli_backup(struct cli *cli, int argc, char **argv)
{
    struct backup_arguments a = {.input.cli = cli};
    json_t *manifest = NULL;
    struct err err;
    int r;

    cli_parse(&argp, argc, argv, &a.input);
    err_clear(&err);
    r = cli_load(cli, &err);
    if (r == ERR_OK) {
        const struct backup_options o = {.settings = &cli->settings, .dir = a.dir};
        r = backup_take(&o, &manifest, &err);
    }
    return r == ERR_OK ? report(cli, a.dir, manifest) : cli_fail(&err);
}
