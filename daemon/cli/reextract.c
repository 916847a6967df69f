/* metammf reextract: features made anew after an encoder has changed, by the running daemon or by
 * this process. */
#include "daemon/cli/cli.h"

#include "daemon/base/json_field.h"
#include "daemon/base/progress.h"
#include "daemon/cli/bulk.h"
#include "daemon/pipeline/pipeline.h"
#include "daemon/service/control_client.h"
#include "daemon/source/reextract.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define ITEMS_MAX       1000
#define ITEMS_BYTES_MAX 40000 /* of one request to the daemon */

struct reextract {
    struct cli_input input; /* first */
    struct reextract_which which;
    const char *ids[ITEMS_MAX];
    size_t ids_bytes;
    const char *media_root;
    char *root; /* media_root, canonical */
};

enum { OPTION_ALL = 256, OPTION_RATE, OPTION_AFTER, OPTION_MEDIA_ROOT };

static const struct argp_option options[] = {
    {"all", OPTION_ALL, NULL, 0, "Every item with media or text, stale or not", 0},
    {"rate", OPTION_RATE, "N", 0, "At most N items a second (10); 0 = as fast as it goes", 0},
    {"after", OPTION_AFTER, "ITEM", 0,
     "Begin after ITEM, in the order of the rows; continues an interrupted --all", 0},
    {"media-root", OPTION_MEDIA_ROOT, "DIR", 0,
     "Allow media under DIR as well, and begin relative paths there (the settings' "
     "media.roots)",
     0},
    {0}};

static error_t add_item(struct reextract *x, const char *item_id, struct argp_state *state)
{
    x->ids_bytes += strlen(item_id);
    if (x->which.n_ids == ITEMS_MAX || x->ids_bytes > ITEMS_BYTES_MAX)
        argp_error(state, "too many items for one command: at most %d, or %d bytes of ids",
                   ITEMS_MAX, ITEMS_BYTES_MAX);
    else
        x->ids[x->which.n_ids++] = item_id;
    return 0;
}

static error_t parse_reextract(int key, char *arg, struct argp_state *state)
{
    struct reextract *x = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case OPTION_ALL:
        x->which.all = true;
        return 0;
    case OPTION_RATE:
        x->which.rate = cli_number(state, "--rate", arg, 0, 100000);
        return 0;
    case OPTION_AFTER:
        x->which.after = arg;
        return 0;
    case OPTION_MEDIA_ROOT:
        x->media_root = arg;
        return 0;
    case ARGP_KEY_ARG:
        return add_item(x, arg, state);
    case ARGP_KEY_END:
        if (x->which.n_ids > 0 && (x->which.all || x->which.after))
            argp_error(state, "either items, or --all and --after");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse_reextract,
    "[ITEM...]",
    "Makes features anew: those of the stale items (made by another version of the encoders; "
    "metammf status counts them), of all items, or of the items named.\v"
    "The running daemon does the work when it has the store open; otherwise this command does. "
    "Uploads go first: one worker stays free for them, and --rate bounds the rest. The work "
    "may be interrupted and started again at any time; items that are done are no longer "
    "stale. Media is read below the media roots only. An item whose media no longer exists is "
    "reported and stays as it is.\n"
    "Features of two encoders are never fused into one vector: an item keeps its vector until "
    "a model is trained on the new features (reported as kept). With --json: {selected, done, "
    "kept, gone, failed, seconds, failures: [{item_id, reason, error}]}. Exit code 65 when an "
    "item that was named could not be extracted.\n\n"
    "Examples:\n"
    "  metammf reextract --rate 5\n"
    "  metammf reextract v1 v2",
    cli_common,
    NULL,
    NULL};

static json_t *request_of(const struct reextract *x)
{
    json_t *items = json_array();

    for (size_t i = 0; i < x->which.n_ids; i++)
        json_array_append_new(items, json_string(x->ids[i]));
    return json_pack("{s:s, s:o, s:b, s:I, s:s*, s:s*}", "command", "reextract", "items", items,
                     "all", x->which.all, "rate", (json_int_t)x->which.rate, "after",
                     x->which.after, "media_root", x->root);
}

static int by_daemon(const struct reextract *x, int fd, json_t **ret_result, struct err *err)
{
    struct progress bar;
    const struct control_ask ask = {
        .fd = fd, .request = request_of(x), .progress = cli_watch_json, .ctx = &bar};
    int r;

    progress_start(&bar, stderr, "reextract", 0);
    r = control_ask(&ask, ret_result, err);
    progress_end(&bar, bar.total);
    return r;
}

static int by_ourselves(struct reextract *x, json_t **ret_result, struct err *err)
{
    struct cli *cli = x->input.cli;
    struct reextract_result *result = calloc(1, sizeof(*result));
    struct progress bar;
    const struct ingest_watch watch = {.progress = cli_watch, .ctx = &bar};
    struct pipeline *p;
    int r = result ? cli_open_pipeline(cli, &p, err) : err_oom(err, "re-extraction");

    if (r != ERR_OK) {
        free(result);
        return r;
    }
    progress_start(&bar, stderr, "reextract", 0);
    r = reextract_run(p, cli->settings.store.path, &x->which, &watch, result, err);
    progress_end(&bar, bar.total);
    pipeline_close(p);
    if (r == ERR_OK && !(*ret_result = reextract_json(result)))
        r = err_oom(err, "re-extraction");
    free(result);
    return r;
}

static int run(struct reextract *x, json_t **ret_result, struct err *err)
{
    int fd, r;

    x->which.item_ids = x->ids;
    if (x->media_root && !(x->root = realpath(x->media_root, NULL)))
        return err_fatal(err, EX_NOINPUT, "media root %s: %s", x->media_root, strerror(errno));
    x->which.media_root = x->root;
    r = cli_daemon(x->input.cli, &fd, err);
    if (r == ERR_NONE)
        return by_ourselves(x, ret_result, err);
    if (r != ERR_OK)
        return r;
    r = by_daemon(x, fd, ret_result, err);
    close(fd);
    return r;
}

/* ---- output ------------------------------------------------------------------------------ */

static void print_text(const json_t *result)
{
    const json_t *failures = json_object_get(result, "failures"), *f;
    int64_t failed = json_field_int(result, "gone") + json_field_int(result, "failed");
    size_t i;

    printf("%" PRId64 " items: %" PRId64 " made anew, %" PRId64 " whose media is gone, %" PRId64
           " failed, in %.1f s\n",
           json_field_int(result, "selected"), json_field_int(result, "done"),
           json_field_int(result, "gone"), json_field_int(result, "failed"),
           json_field_real(result, "seconds"));
    if (json_field_int(result, "kept") > 0)
        printf("%" PRId64
               " of them keep the vector they had: the active model was not trained on "
               "these features\n",
               json_field_int(result, "kept"));
    json_array_foreach(failures, i, f)
        printf("  %s: %s\n", cli_field(f, "item_id"), cli_field(f, "error"));
    if (failed > (int64_t)json_array_size(failures))
        printf("  and %" PRId64 " more\n", failed - (int64_t)json_array_size(failures));
}

int cli_reextract(struct cli *cli, int argc, char **argv)
{
    struct reextract x = {.input.cli = cli, .which.rate = 10};
    json_t *result = NULL;
    struct err err;
    int64_t failed;
    int r;

    cli_parse(&argp, argc, argv, &x.input);
    err_clear(&err);
    r = run(&x, &result, &err);
    free(x.root);
    if (r != ERR_OK)
        return cli_fail(&err);
    failed = json_field_int(result, "gone") + json_field_int(result, "failed");
    if (!cli->json)
        print_text(result);
    r = cli->json ? cli_print_json(json_incref(result)) : cli_finish();
    json_decref(result);
    if (r || failed == 0)
        return r;
    fprintf(stderr, "metammf: %" PRId64 " items could not be extracted and stay as they were\n",
            failed);
    return x.which.n_ids > 0 ? EX_DATAERR : 0;
}
