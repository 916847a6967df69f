/* metammf ingest FILE.ndjson: the daemon's own path, without Kafka. */
#include "daemon/cli/cli.h"

#include "config/infile.h"
#include "daemon/base/progress.h"
#include "daemon/cli/bulk.h"
#include "daemon/pipeline/pipeline.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { REFRESH_MS = 10000 }; /* how long vectors may take to follow */

struct ingest {
    struct cli_input input; /* first */
    const char *path, *media_root;
    char *root; /* media_root, canonical */
};

enum { OPTION_MEDIA_ROOT = 256 };

static const struct argp_option options[] = {
    {"media-root", OPTION_MEDIA_ROOT, "DIR", 0,
     "Allow media under DIR, and begin the relative paths of media_uri there (the settings' "
     "media.roots)",
     0},
    {0}};

static error_t parse_ingest(int key, char *arg, struct argp_state *state)
{
    struct ingest *i = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case OPTION_MEDIA_ROOT:
        i->media_root = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (i->path)
            argp_error(state, "one file at a time: what is \"%s\"?", arg);
        i->path = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which file? Example: metammf ingest events.ndjson --media-root .");
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse_ingest,
    "FILE.ndjson",
    "Reads events, one JSON object a line, and stores what becomes of them: items with "
    "embeddings, interactions, dead letters.\v"
    "The running daemon does the work when it has the store open; otherwise this command does. "
    "A file that was ingested before changes nothing. Exit code 0 means that every event "
    "became a row or a dead letter.\n\n"
    "Example:\n"
    "  echo '{\"item_id\": \"v1\", \"media_uri\": \"v1.mp4\", \"title\": \"a cat\"}' > "
    "e.ndjson\n"
    "  metammf --store ./metammf.db ingest e.ndjson --media-root .",
    cli_common,
    NULL,
    NULL};

static int by_daemon(const struct ingest *i, int fd, int file, struct ingest_result *ret,
                     struct err *err)
{
    json_t *request = json_pack("{s:s, s:s*}", "command", "ingest", "media_root", i->root);

    return cli_ask_bulk(fd, request, file, "ingest", ret, err);
}

static int by_ourselves(const struct ingest *i, int file, struct ingest_result *ret,
                        struct err *err)
{
    struct cli *cli = i->input.cli;
    struct progress bar;
    const struct ingest_watch watch = {.progress = cli_watch, .ctx = &bar};
    struct pipeline *p;
    int r = cli_open_pipeline(cli, &p, err);

    if (r)
        return r;
    progress_start(&bar, stderr, "ingest", 0);
    r = ingest_file(p, cli->settings.store.path, file, i->root, &watch, ret, err);
    progress_end(&bar, bar.total);
    if (r == ERR_OK) /* what is left is done by the next daemon */
        (void)pipeline_refresh(p, REFRESH_MS);
    pipeline_close(p);
    return r;
}

static int ingest_open(const struct ingest *i, int file, struct ingest_result *ret,
                       struct err *err)
{
    int fd, r = cli_daemon(i->input.cli, &fd, err);

    if (r == ERR_NONE)
        return by_ourselves(i, file, ret, err);
    if (r)
        return r;
    r = by_daemon(i, fd, file, ret, err);
    close(fd);
    return r;
}

static int run(struct ingest *i, struct ingest_result *ret, struct err *err)
{
    int64_t bytes;
    int file, r = infile_open(i->path, &file, &bytes, err);

    if (r) {
        if (err->exit_code == EX_DATAERR) /* a folder, a pipe: no input all the same */
            err->exit_code = EX_NOINPUT;
        return r;
    }
    if (i->media_root && !(i->root = realpath(i->media_root, NULL)))
        r = err_fatal(err, EX_NOINPUT, "media root %s: %s", i->media_root, strerror(errno));
    else
        r = ingest_open(i, file, ret, err);
    close(file);
    return r;
}

int cli_ingest(struct cli *cli, int argc, char **argv)
{
    struct ingest i = {.input.cli = cli};
    struct ingest_result result;
    struct err err;
    int r;

    cli_parse(&argp, argc, argv, &i.input);
    err_clear(&err);
    r = run(&i, &result, &err);
    free(i.root);
    return r == ERR_OK ? cli_print_bulk(cli, i.path, &result) : cli_fail(&err);
}
