/* metammf dlq list|show|retry|purge. */
#include "daemon/cli/cli.h"

#include "config/clock.h"
#include "config/text.h"
#include "daemon/base/json_field.h"
#include "daemon/base/progress.h"
#include "daemon/base/reasons.h"
#include "daemon/cli/bulk.h"
#include "daemon/cli/owner.h"
#include "daemon/pipeline/pipeline.h"
#include "daemon/service/control_client.h"
#include "store/reading.h"
#include "store/writing.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

struct dlq {
    struct cli_input input; /* first */
    const char *action, *reason, *media_root;
    char *root; /* media_root, canonical */
    int64_t id, max, older_days;
    bool all, damaged, full;
};

enum {
    OPTION_REASON = 256,
    OPTION_ALL,
    OPTION_OLDER,
    OPTION_DAMAGED,
    OPTION_MEDIA_ROOT,
    OPTION_FULL
};

enum { LETTERS_MAX = 1000000, SHOWN_BYTES = 2000, KEY_BYTES = 32 };

static const struct argp_option options[] = {
    {"reason", OPTION_REASON, "WORD", 0, "Only dead letters of this reason, e.g. bad_json", 0},
    {"all", OPTION_ALL, NULL, 0, "retry, purge: all of them, or all of --reason", 0},
    {"older-than", OPTION_OLDER, "DAYS", 0, "purge: only those older", 0},
    {"damaged", OPTION_DAMAGED, NULL, 0,
     "purge: what waits to be published and cannot be, because the disk has damaged it", 0},
    {"media-root", OPTION_MEDIA_ROOT, "DIR", 0, "retry: as for metammf ingest", 0},
    {"full", OPTION_FULL, NULL, 0, "show: all of a long value", 0},
    {"max", 'n', "N", 0, "list: at most N, newest first (100; with --json all)", 0},
    {0}};

static error_t parse_arg(struct dlq *d, char *arg, struct argp_state *state)
{
    static const char *const actions[] = {"list", "show", "retry", "purge"};

    if (d->action) {
        if (d->id)
            argp_error(state, "one id at a time: what is \"%s\"?", arg);
        d->id = cli_number(state, "id", arg, 1, INT64_MAX);
        return 0;
    }
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
        if (strcmp(arg, actions[i]) == 0)
            d->action = actions[i];
    if (!d->action)
        argp_error(state, "\"%s\": say list, show, retry or purge", arg);
    return 0;
}

static void check_arguments(const struct dlq *d, struct argp_state *state)
{
    bool changes = d->action && (d->action[0] == 'r' || d->action[0] == 'p');

    if (!d->action)
        argp_error(state, "say list, show, retry or purge. Example: metammf dlq list");
    else if (d->action[0] == 's' && !d->id)
        argp_error(state, "show which? Example: metammf dlq show 17");
    else if (d->damaged &&
             (d->action[0] != 'p' || d->id || d->all || d->reason || d->older_days))
        argp_error(state, "--damaged goes with purge, and with nothing else");
    else if (changes && !d->id && !d->all && !d->reason && !d->older_days && !d->damaged)
        argp_error(state, "%s which? An id, --reason WORD or --all", d->action);
    else if (d->older_days && d->action[0] != 'p')
        argp_error(state, "--older-than goes with purge");
}

static error_t parse_dlq(int key, char *arg, struct argp_state *state)
{
    struct dlq *d = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case OPTION_REASON:
        d->reason = arg;
        return 0;
    case OPTION_ALL:
        d->all = true;
        return 0;
    case OPTION_OLDER:
        d->older_days = cli_number(state, "--older-than", arg, 1, 36500);
        return 0;
    case OPTION_DAMAGED:
        d->damaged = true;
        return 0;
    case OPTION_MEDIA_ROOT:
        d->media_root = arg;
        return 0;
    case OPTION_FULL:
        d->full = true;
        return 0;
    case 'n':
        d->max = cli_number(state, "--max", arg, 1, LETTERS_MAX);
        return 0;
    case ARGP_KEY_ARG:
        return parse_arg(d, arg, state);
    case ARGP_KEY_END:
        check_arguments(d, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

#define REASONS_MARK "\001"

/* The reasons, where the mark stands: "Reasons (metammfd(8) says what each means): bad_json, …". */
static char *help_filter(int key, const char *text, void *input)
{
    const char *mark = key == ARGP_KEY_HELP_POST_DOC ? strstr(text, REASONS_MARK) : NULL;
    char *out = NULL;
    size_t bytes = 0;
    FILE *f = mark ? open_memstream(&out, &bytes) : NULL;

    (void)input;
    if (!f)
        return (char *)(uintptr_t)text; /* argp's signature: text itself when unchanged */
    fprintf(f, "%.*sReasons, of which metammfd(8) says more: ", (int)(mark - text), text);
    for (size_t i = 0; i < n_reasons; i++)
        fprintf(f, "%s%s", i ? ", " : "", reasons[i].name);
    fprintf(f, ".\n\n%s", mark + strlen(REASONS_MARK));
    return fclose(f) == 0 ? out : NULL;
}

static const struct argp argp = {
    options,
    parse_dlq,
    "list|show|retry|purge [ID]",
    "Lists, shows, retries or purges dead letters: events that could not become rows, with the "
    "reason and the original bytes.\v"
    "list and show only read. show cuts a value of more than 2,000 bytes, unless --full or "
    "--json is given. retry sends events through the pipeline again, for use after the cause "
    "was mended; its exit code is 65 when every one of them failed again. purge deletes them; "
    "a dead letter that still has to be published is published all the same, unless --damaged "
    "is given. With --json, list prints [{id, topic, partition, offset, reason, error, "
    "item_id, key_b64, value_b64, …}].\n\n" REASONS_MARK "Examples:\n"
    "  metammf dlq list --reason media\n"
    "  metammf dlq retry 17\n"
    "  metammf dlq purge --all --older-than 30",
    cli_common,
    help_filter,
    NULL};

/* ---- reading ----------------------------------------------------------------------------- */

static json_t *json_bytes(const void *data, size_t bytes)
{
    char *text = data ? cli_base64(data, bytes) : NULL;
    json_t *value = text ? json_string(text) : json_null();

    free(text);
    return value;
}

/* Texts may be those of an older version, which cut them in the middle of a character. */
static json_t *json_letter(const struct store_letter *row)
{
    return json_pack("{s:I, s:s, s:i, s:I, s:s, s:o, s:s, s:o, s:I, s:o, s:o}", "id",
                     (json_int_t)row->id, "topic", row->topic, "partition", (int)row->partition,
                     "offset", (json_int_t)row->offset, "reason", row->reason, "error",
                     json_of_text(row->error), "stage", row->stage ? row->stage : "", "item_id",
                     row->item_id ? json_of_text(row->item_id) : json_null(), "ts_us",
                     (json_int_t)row->ts_us, "key_b64", json_bytes(row->key, row->key_bytes),
                     "value_b64", json_bytes(row->value, row->value_bytes));
}

static int print_list_json(const struct store_letter *rows, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; array && i < n; i++)
        json_array_append_new(array, json_letter(&rows[i]));
    return cli_print_json(array);
}

/* At most max bytes, cut between two characters; how many were shown. */
static size_t print_cut(const void *data, size_t bytes, size_t max)
{
    size_t n = text_cut(data, bytes, max);

    text_print_bytes(stdout, data, n);
    return n;
}

/* What it is about: the item, and the key where that says something else. */
static void print_about(const struct store_letter *row)
{
    size_t n_id = row->item_id ? strlen(row->item_id) : 0;

    if (row->item_id) {
        fputs("item ", stdout);
        print_cut(row->item_id, n_id, KEY_BYTES);
        fputs(n_id > KEY_BYTES ? "…  " : "  ", stdout);
    }
    if (row->key && (row->key_bytes != n_id || memcmp(row->key, row->item_id, n_id) != 0)) {
        fputs("key ", stdout);
        print_cut(row->key, row->key_bytes, KEY_BYTES);
        fputs(row->key_bytes > KEY_BYTES ? "…  " : "  ", stdout);
    }
}

static int print_list(const struct store_letter *rows, size_t n, size_t max)
{
    if (n == 0)
        puts("no dead letters");
    for (size_t i = 0; i < n && i < max; i++) {
        char when[32];

        cli_time(rows[i].ts_us, when, sizeof(when));
        printf("%6" PRId64 "  %s  %-13s %.24s%s/%d@%" PRId64 "  ", rows[i].id, when,
               cli_text(rows[i].reason), cli_text(rows[i].topic),
               strlen(rows[i].topic) > 24 ? "…" : "", rows[i].partition, rows[i].offset);
        print_about(&rows[i]);
        text_print(stdout, rows[i].error);
        putchar('\n');
    }
    if (n > max)
        fprintf(stderr, "These are the newest %zu; there are more: see -n\n", max);
    return cli_finish();
}

static void print_value(const char *label, const void *data, size_t bytes, bool full)
{
    size_t n_label = strlen(label);

    text_print(stdout, label);
    printf("%*s ", n_label < 10 ? (int)(10 - n_label) : 0, "");
    if (!data) {
        puts("(null)");
        return;
    }
    printf("%zu bytes: ", bytes);
    size_t n = print_cut(data, bytes, full ? bytes : SHOWN_BYTES);
    if (n < bytes)
        printf(" … (%zu more bytes: --full or --json shows them)", bytes - n);
    putchar('\n');
}

static int print_letter(const struct store_letter *row, bool full)
{
    char when[32];

    cli_time(row->ts_us, when, sizeof(when));
    printf("id         %" PRId64 "\nwhen       %s UTC\nposition   %s/%d@%" PRId64 "\n", row->id,
           when, cli_text(row->topic), row->partition, row->offset);
    printf("reason     %s, in stage %s\nerror      ", cli_text(row->reason),
           cli_text(row->stage ? row->stage : "-"));
    text_print(stdout, row->error);
    fputs("\nitem       ", stdout);
    text_print(stdout, row->item_id ? row->item_id : "unknown");
    putchar('\n');
    print_value("key", row->key, row->key_bytes, full);
    print_value("value", row->value, row->value_bytes, full);
    for (size_t i = 0; i < row->n_headers; i++)
        print_value(row->headers[i].name, row->headers[i].value, row->headers[i].value_bytes,
                    full);
    return cli_finish();
}

static int read_letters(struct cli *cli, const struct dlq *d)
{
    struct store_letter *rows = NULL;
    struct store *st;
    struct err err;
    size_t n = 0, max = d->max ? (size_t)d->max : cli->json ? LETTERS_MAX : 100;
    int r, code;

    err_clear(&err);
    if (cli_open_store(cli, &st, &err) != ERR_OK)
        return cli_fail(&err);
    /* One more than a person is shown tells whether there are more. */
    r = store_dead_letters(st, d->id, d->reason, cli->json ? max : max + 1, &rows, &n, &err);
    store_close(st);
    if (r == ERR_OK && d->action[0] == 's' && n == 0)
        r = err_fatal(&err, EX_NOINPUT, "no dead letter %" PRId64 ": see metammf dlq list",
                      d->id);
    if (r != ERR_OK)
        code = cli_fail(&err);
    else if (d->action[0] == 's')
        code =
            cli->json ? cli_print_json(json_letter(&rows[0])) : print_letter(&rows[0], d->full);
    else
        code = cli->json ? print_list_json(rows, n) : print_list(rows, n, max);
    if (rows)
        store_letters_free(rows, n);
    return code;
}

/* ---- writing ----------------------------------------------------------------------------- */

/* A writer would create it. */
static int needs_store(const struct cli *cli, struct err *err)
{
    if (access(cli->settings.store.path, F_OK) == 0)
        return ERR_OK;
    return err_fatal(err, EX_NOINPUT, "store %s: no such file", cli->settings.store.path);
}

static int retry_ourselves(struct cli *cli, const struct dlq *d, struct ingest_result *ret,
                           struct err *err)
{
    struct progress bar;
    const struct ingest_watch watch = {.progress = cli_watch, .ctx = &bar};
    const struct ingest_which which = {.id = d->id, .reason = d->reason, .media_root = d->root};
    struct pipeline *p;
    int r = needs_store(cli, err);

    if (r == ERR_OK)
        r = cli_open_pipeline(cli, &p, err);
    if (r)
        return r;
    progress_start(&bar, stderr, "retry", 0);
    r = ingest_retry(p, cli->settings.store.path, &which, &watch, ret, err);
    progress_end(&bar, bar.total);
    pipeline_close(p);
    return r;
}

static int retry_anywhere(struct cli *cli, const struct dlq *d, struct ingest_result *ret,
                          struct err *err)
{
    json_t *request;
    int fd, r = cli_daemon(cli, &fd, err);

    if (r == ERR_NONE)
        return retry_ourselves(cli, d, ret, err);
    if (r)
        return r;
    request = json_pack("{s:s, s:I, s:s*, s:s*}", "command", "dlq_retry", "id",
                        (json_int_t)d->id, "reason", d->reason, "media_root", d->root);
    r = cli_ask_bulk(fd, request, -1, "retry", ret, err);
    close(fd);
    return r;
}

static int retry(struct cli *cli, struct dlq *d)
{
    struct ingest_result result = {0};
    struct err err;
    int r = ERR_OK;

    err_clear(&err);
    if (d->media_root && !(d->root = realpath(d->media_root, NULL)))
        r = err_fatal(&err, EX_NOINPUT, "media root %s: %s", d->media_root, strerror(errno));
    if (r == ERR_OK)
        r = retry_anywhere(cli, d, &result, &err);
    free(d->root);
    if (r != ERR_OK)
        return cli_fail(&err);
    int code = cli_print_bulk(cli, "retry", &result);
    if (code != 0 || result.n_stored > 0 || result.n_dead_letters == 0)
        return code;
    err_fatal(&err, EX_DATAERR, "every retry failed; the new dead letters say why");
    return cli_fail(&err);
}

static int purge_ask(int fd, const struct dlq *d, int64_t before_us, int64_t *ret_n,
                     struct err *err)
{
    const struct control_ask ask = {
        .fd = fd,
        .request = json_pack("{s:s, s:I, s:I, s:s*, s:b}", "command", "dlq_purge", "id",
                             (json_int_t)d->id, "before_us", (json_int_t)before_us, "reason",
                             d->reason, "damaged", d->damaged)};
    json_t *result = NULL;
    int r = control_ask(&ask, &result, err);

    *ret_n = json_integer_value(json_object_get(result, "purged"));
    json_decref(result);
    return r;
}

/* Without a daemon there is one clock, and the time that the store has noted last: a day between them may be one of
 * rest or a wrong clock. */
static int check_clock(struct store *st, struct err *err)
{
    int64_t noted_us = 0;
    char when[32] = "its beginning";
    int r = store_clock(st, &noted_us, err);

    if (r != ERR_OK || clock_real_us() - noted_us < CLOCK_DAY_US)
        return r;
    if (noted_us)
        cli_time(noted_us, when, sizeof(when));
    return err_fatal(
        err, EX_TEMPFAIL,
        "no daemon has told the time of this store since %s: what is old cannot be "
        "told by this clock alone: start the daemon and ask it in an hour, or purge "
        "without --older-than",
        when);
}

static int purge_ourselves(struct cli *cli, const struct dlq *d, int64_t before_us,
                           int64_t *ret_n, struct err *err)
{
    struct store *st;
    int r = needs_store(cli, err);

    if (r)
        return r;
    r = cli_become_owner(cli, err);
    if (r == ERR_OK)
        r = store_open(cli->settings.store.path, STORE_WRITE, &st, err);
    if (r)
        return r;
    if (d->older_days)
        r = check_clock(st, err);
    if (r == ERR_OK)
        r = d->damaged ? store_outbox_purge_damaged(st, ret_n, err)
                       : store_dead_letters_purge(st, d->id, d->reason, before_us, ret_n, err);
    store_close(st);
    return r;
}

static int purge(struct cli *cli, const struct dlq *d)
{
    int64_t before_us = 0, n = 0;
    struct err err;
    int fd, r;

    if (d->older_days)
        before_us = clock_real_us() - d->older_days * CLOCK_DAY_US;
    err_clear(&err);
    r = cli_daemon(cli, &fd, &err);
    if (r == ERR_OK) {
        r = purge_ask(fd, d, before_us, &n, &err);
        close(fd);
    } else if (r == ERR_NONE) {
        r = purge_ourselves(cli, d, before_us, &n, &err);
    }
    if (r == ERR_OK && d->id && n == 0)
        r = err_fatal(&err, EX_NOINPUT, "no dead letter %" PRId64 ": see metammf dlq list",
                      d->id);
    if (r != ERR_OK)
        return cli_fail(&err);
    if (cli->json)
        return cli_print_json(json_pack("{s:I}", "purged", (json_int_t)n));
    printf("%" PRId64 "%s dead letters deleted\n", n, d->damaged ? " damaged" : "");
    return cli_finish();
}

int cli_dlq(struct cli *cli, int argc, char **argv)
{
    struct dlq d = {.input.cli = cli};

    cli_parse(&argp, argc, argv, &d.input);
    if (strcmp(d.action, "retry") == 0)
        return retry(cli, &d);
    if (strcmp(d.action, "purge") == 0)
        return purge(cli, &d);
    return read_letters(cli, &d);
}
