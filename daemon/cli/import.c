/* metammf import items|interactions: bulk data that comes from files instead of events
 * (daemon/import/import.h), by the daemon that has the store open, or by ourselves. */
#include "daemon/import/import.h"
#include "config/infile.h"
#include "daemon/base/progress.h"
#include "daemon/cli/bulk.h"
#include "daemon/cli/cli.h"
#include "daemon/cli/owner.h"
#include "daemon/model/factors.h"
#include "daemon/service/imports.h"

#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { OPTION_IDS = 256, OPTION_ENCODER, OPTION_COLUMNS, OPTION_SEPARATOR, OPTION_VISUAL };

struct import {
    struct cli_input input; /* first */
    const char *kind, *file, *ids, *path[MODALITY_COUNT];
    struct import_request q;
    struct store *st; /* opened when the first row is to be written */
    struct progress bar;
    int64_t done;
};

static const struct argp_option options[] = {
    {"ids", OPTION_IDS, "FILE", 0, "items: one UTF-8 id a line; row n of each array is item n",
     0},
    {"visual", OPTION_VISUAL, "V.npy", 0, "items: (n, dim) float16, 32 or 64", 0},
    {"acoustic", OPTION_VISUAL + MODALITY_ACOUSTIC, "A.npy", 0, "items: the same", 0},
    {"textual", OPTION_VISUAL + MODALITY_TEXTUAL, "T.npy", 0, "items: the same", 0},
    {"encoder", OPTION_ENCODER, "NAME", 0,
     "items: what made the features; encoder id import:NAME:dim (npy)", 0},
    {"columns", OPTION_COLUMNS, "NAMES", 0,
     "interactions: the name of every column in its order, of user_id, item_id, kind, weight, "
     "ts; \"-\" = not read",
     0},
    {"separator", OPTION_SEPARATOR, "tab|comma|semicolon", 0,
     "What parts the fields (comma for a *.csv, else tab); comma and semicolon make it CSV "
     "with quotation marks",
     0},
    {0}};

static void check_arguments(struct import *im, struct argp_state *state)
{
    bool items = im->kind && strcmp(im->kind, "items") == 0;

    if (!im->kind || (!items && strcmp(im->kind, "interactions") != 0))
        argp_error(state, "import what? items or interactions");
    else if (items && (!im->ids || im->file))
        argp_error(state, "import items needs --ids FILE, and arrays by --visual and so on");
    else if (!items && (!im->file || im->ids))
        argp_error(state, "import interactions needs one FILE.tsv and no --ids");
    else if (items && im->q.columns)
        argp_error(state, "--columns goes with interactions");
    im->q.items = items;
    im->q.list.name = items ? im->ids : im->file;
}

static char separator_of(const char *word, struct argp_state *state)
{
    static const struct {
        const char *word;
        char separator;
    } all[] = {{"tab", '\t'}, {"comma", ','}, {"semicolon", ';'}};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (strcmp(word, all[i].word) == 0)
            return all[i].separator;
    argp_error(state, "--separator \"%s\": say tab, comma or semicolon", word);
    return '\0';
}

static error_t parse_import(int key, char *arg, struct argp_state *state)
{
    struct import *im = state->input;

    if (cli_parse_init(key, state))
        return 0;
    if (key >= OPTION_VISUAL && key < OPTION_VISUAL + MODALITY_COUNT) {
        im->path[key - OPTION_VISUAL] = arg;
        return 0;
    }
    switch (key) {
    case OPTION_IDS:
        im->ids = arg;
        return 0;
    case OPTION_ENCODER:
        im->q.encoder = arg;
        return 0;
    case OPTION_COLUMNS:
        im->q.columns = arg;
        return 0;
    case OPTION_SEPARATOR:
        im->q.separator = separator_of(arg, state);
        return 0;
    case ARGP_KEY_ARG:
        if (im->kind && im->file)
            argp_error(state, "unexpected argument \"%s\"", arg);
        *(im->kind ? &im->file : &im->kind) = arg;
        return 0;
    case ARGP_KEY_END:
        check_arguments(im, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse_import,
    "items\ninteractions FILE",
    "Imports items with features, or interactions, into the store.\v"
    "Interactions are lines of user TAB item [TAB time]; a .csv has commas and quotation "
    "marks as in RFC 4180. A header line names the columns instead, in any order: user_id "
    "or user; item_id, item, video_id or video; kind; weight or rating; ts, timestamp or "
    "time; case, blanks, \"_\" and \"-\" do not count; others are not read. --columns does "
    "the same for a file without a header. A third column that nobody has named must hold "
    "times: small numbers, which may be ratings, are refused. Times are seconds, "
    "milliseconds or microseconds since 1970, or like 2026-01-02T03:04:05Z.\n\n"
    "The whole input is checked before the first row is written. An unknown item becomes "
    "an item without features. Importing the same files twice changes nothing; one that "
    "was cut off goes on where it stopped. The running daemon does the work when it has "
    "the store open; otherwise this command does.\n\n"
    "Examples:\n"
    "  metammf --store s.db import items --ids ids.txt --visual V.npy\n"
    "  metammf --store s.db import interactions ratings.csv --columns "
    "user_id,item_id,weight,ts",
    cli_common,
    NULL,
    NULL};

/* ---- progress, and an end by Ctrl-C --------------------------------------------------------- */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal)
{
    (void)signal;
    interrupted = 1;
}

static bool show(void *ctx, int64_t done, int64_t total)
{
    struct import *im = ctx;

    im->done = done;
    im->bar.total = total;
    progress_update(&im->bar, done, total ? "" : "checking the files");
    return !interrupted;
}

/* ---- who does it ----------------------------------------------------------------------------- */

/* A store that is not there is made when there is something to write into it. */
static int write_ourselves(void *ctx, store_work_fn *work, void *arg, struct err *err)
{
    struct import *im = ctx;
    const struct settings *s = &im->input.cli->settings;
    int r = ERR_OK;

    if (!im->st) {
        r = cli_become_owner(im->input.cli, err);
        r = r == ERR_OK ? store_open(s->store.path, STORE_WRITE, &im->st, err) : r;
        r = r == ERR_OK ? factors_apply(im->st, s, err) : r;
    }
    return r == ERR_OK ? work(im->st, arg, err) : r;
}

static int run(struct import *im, struct import_result *ret, struct err *err)
{
    int fd, r = cli_daemon(im->input.cli, &fd, err);

    if (r != ERR_OK && r != ERR_NONE)
        return r;
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
    progress_start(&im->bar, stderr, "import", 0);
    if (r == ERR_OK) {
        r = service_import_ask(fd, &im->q, ret, err);
        (void)close(fd);
    } else {
        im->q.settings = &im->input.cli->settings;
        im->q.writer = (struct store_writer){write_ourselves, im};
        r = import_run(&im->q, ret, err);
        store_close(im->st);
    }
    progress_end(&im->bar, r == ERR_OK ? im->bar.total : im->done);
    return r;
}

static int open_file(struct import_file *file, struct err *err)
{
    int64_t bytes;
    int r = file->name ? infile_open(file->name, &file->fd, &bytes, err) : ERR_OK;

    if (r != ERR_OK)
        file->fd = -1;
    return r;
}

static int open_files(struct import *im, struct err *err)
{
    int r = open_file(&im->q.list, err);

    for (int m = 0; r == ERR_OK && m < MODALITY_COUNT; m++) {
        im->q.array[m].name = im->path[m];
        r = im->path[m] ? open_file(&im->q.array[m], err) : ERR_OK;
    }
    return r == ERR_OK ? import_check(&im->q, err) : r;
}

static void close_files(struct import *im)
{
    for (int m = 0; m < MODALITY_COUNT; m++)
        if (im->q.array[m].fd >= 0)
            (void)close(im->q.array[m].fd);
    if (im->q.list.fd >= 0)
        (void)close(im->q.list.fd);
}

/* ---- what became of it ----------------------------------------------------------------------- */

static void print_text(const struct import_result *r, const char *kind)
{
    printf("import %s: %" PRId64 " lines, %" PRId64 " stored, %" PRId64 " were there already\n",
           kind, r->n_lines, r->n_stored, r->n_already);
    if (r->items)
        printf("  the store did not know %" PRId64 " of the items\n", r->n_new_items);
    else
        printf("  the store did not know %" PRId64
               " items, which have no features yet, and %" PRId64 " users\n",
               r->n_new_items, r->n_new_users);
    if (r->n_dropped)
        printf("  dropped: %" PRId64 " lines of users who are forgotten\n", r->n_dropped);
    if (r->n_header || r->n_blank)
        printf("  left out: %" PRId64 " header, %" PRId64 " empty lines\n", r->n_header,
               r->n_blank);
    if (r->unread[0])
        printf("  columns not read: %s\n", cli_text(r->unread));
    if (r->n_ts && r->n_old_ts == r->n_ts)
        fputs("metammf: warning: every time in the file is before the year 2000\n", stderr);
}

int cli_import(struct cli *cli, int argc, char **argv)
{
    struct import im = {.input.cli = cli, .q = {.encoder = "npy", .list.fd = -1}};
    struct import_result result;
    struct err err;

    for (int m = 0; m < MODALITY_COUNT; m++)
        im.q.array[m].fd = -1;
    im.q.progress = show;
    im.q.ctx = &im;
    cli_parse(&argp, argc, argv, &im.input);
    err_clear(&err);
    int r = open_files(&im, &err);
    if (r == ERR_OK)
        r = run(&im, &result, &err);
    close_files(&im);
    if (r != ERR_OK)
        return cli_fail(&err);
    if (cli->json)
        return cli_print_json(import_json(&result));
    print_text(&result, im.kind);
    return cli_finish();
}
