/* metammf restore DIR: what `metammf backup` has written, in the place that the settings name. */
#include "daemon/cli/cli.h"

#include "daemon/base/json_field.h"
#include "daemon/cli/owner.h"
#include "daemon/model/backup.h"

#include <inttypes.h>
#include <jansson.h>
#include <sysexits.h>

enum { OPTION_FORCE = 256 };

struct restore_arguments {
    struct cli_input input; /* first */
    const char *dir;
    bool force;
};

static const struct argp_option options[] = {
    {"force", OPTION_FORCE, NULL, 0, "Set a store that is there aside, under another name", 0},
    {0}};

static error_t parse_restore(int key, char *arg, struct argp_state *state)
{
    struct restore_arguments *a = state->input;

    if (cli_parse_init(key, state))
        return 0;
    if (key == OPTION_FORCE) {
        a->force = true;
        return 0;
    }
    if (key == ARGP_KEY_ARG && !a->dir) {
        a->dir = arg;
        return 0;
    }
    if (key == ARGP_KEY_ARG)
        argp_error(state, "one folder: what is \"%s\"?", arg);
    if (key == ARGP_KEY_NO_ARGS)
        argp_error(state, "which backup? Example: metammf restore /backup/metammf");
    return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
    options,
    parse_restore,
    "DIR",
    "Puts the store and the models of a backup where the settings, or --store, want them. The "
    "daemon must be stopped.\v"
    "All of DIR is checked before anything is changed. A store that "
    "is there is refused; with --force it is set aside as NAME.before-TIME, with all that it "
    "holds. Run as root, the files belong to the owner of the store's folder.\n\n"
    "The daemon reads on from the offsets of the backup: what came later and is still in Kafka "
    "is read again; what Kafka no longer has is a gap (metammf status). Readers of the view "
    "change see another generation (store_generation) and read everything anew. Who was "
    "forgotten since then: metammf forget --from.\n\n"
    "Example:\n"
    "  systemctl stop metammfd\n"
    "  metammf -c /etc/metammfd/metammfd.conf restore /backup/metammf",
    cli_common,
    NULL,
    NULL};

static void print_aside(const json_t *report)
{
    const json_t *name;
    size_t i;

    json_array_foreach(json_object_get(report, "aside"), i, name)
        printf("what was there is now %s\n", cli_text(json_string_value(name)));
}

static void print_offsets(const json_t *report)
{
    const char *made = cli_field(report, "made");
    const char *cluster = cli_field(report, "cluster_id");
    size_t n = json_array_size(json_object_get(report, "offsets"));

    if (n > 0)
        printf(
            "offsets of %zu partitions%s%s go back to %s: what Kafka still has since then is "
            "read again\n",
            n, cluster[0] ? " of Kafka cluster " : "", cluster, made);
}

/* "2 models, 3 active", "no model yet" */
static void describe_models(const json_t *report, char *ret_text, size_t bytes)
{
    int64_t active = json_integer_value(json_object_get(report, "active_model"));

    if (active)
        snprintf(ret_text, bytes, "%zu models, %" PRId64 " active",
                 json_array_size(json_object_get(report, "models")), active);
    else
        snprintf(ret_text, bytes, "no model yet");
}

static int print(const struct cli *cli, json_t *report)
{
    const json_t *counts = json_object_get(report, "counts");
    const char *made = cli_field(report, "made");

    if (cli->json) {
        json_object_set_new(report, "store", json_of_text(cli->settings.store.path));
        return cli_print_json(report);
    }
    char models[64];
    describe_models(report, models, sizeof(models));
    printf("%s: as of %s, %" PRId64 " items, %" PRId64 " interactions, %s\n",
           cli_text(cli->settings.store.path), made,
           (int64_t)json_integer_value(json_object_get(counts, "items")),
           (int64_t)json_integer_value(json_object_get(counts, "interactions")), models);
    print_aside(report);
    print_offsets(report);
    json_decref(report);
    return cli_finish();
}

int cli_restore(struct cli *cli, int argc, char **argv)
{
    struct restore_arguments a = {.input.cli = cli};
    json_t *report = NULL;
    struct err err;
    int r;

    cli_parse(&argp, argc, argv, &a.input);
    err_clear(&err);
    r = cli_load(cli, &err);
    if (r == ERR_OK)
        r = cli_check_link(cli, &err);
    if (r == ERR_OK) {
        const struct restore_options o = {
            .settings = &cli->settings, .dir = a.dir, .force = a.force};
        r = restore_put(&o, &report, &err);
    }
    return r == ERR_OK ? print(cli, report) : cli_fail(&err);
}
