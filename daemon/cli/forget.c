/* metammf forget USER, --list, --from FILE. */
#include "daemon/cli/cli.h"

#include "daemon/base/ids.h"
#include "daemon/base/tsv.h"
#include "daemon/cli/bulk.h"
#include "daemon/cli/owner.h"
#include "daemon/model/forget.h"
#include "daemon/service/control_client.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define LIST_HEAD "# metammf forgotten, key "

struct forget {
    struct cli_input input; /* first */
    const char *user_id, *from;
    bool list;
};

enum { OPTION_LIST = 256, OPTION_FROM };

static const struct argp_option options[] = {
    {"list", OPTION_LIST, NULL, 0,
     "Who is forgotten: a keyed hash and a time each, for --from; nothing is changed", 0},
    {"from", OPTION_FROM, "FILE", 0,
     "Forget whom the list of a newer copy of this store names; with the daemon stopped", 0},
    {0}};

static void take_user(struct forget *f, char *arg, struct argp_state *state)
{
    if (f->user_id)
        argp_error(state, "one user: what is \"%s\"?", arg);
    if (!tsv_is_id(arg))
        argp_error(state, "a user's id has 1 to %d bytes of UTF-8 without control characters",
                   ID_BYTES_MAX);
    f->user_id = arg;
}

static error_t parse_forget(int key, char *arg, struct argp_state *state)
{
    struct forget *f = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case OPTION_LIST:
        f->list = true;
        return 0;
    case OPTION_FROM:
        f->from = arg;
        return 0;
    case ARGP_KEY_ARG:
        take_user(f, arg, state);
        return 0;
    case ARGP_KEY_END:
        if (!f->user_id + !f->list + !f->from != 2)
            argp_error(state, "say a user, --list or --from FILE. Example: metammf forget u1");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse_forget,
    "USER",
    "Erases a person from the store and from the folders of its models: interactions, vectors "
    "of every model, training pairs, what dead letters say of them, the id.\v"
    "What was said of the user until now is dropped when it comes again, from a log that is "
    "read anew or from a file; what is said later counts. Of the user, a keyed hash of the id "
    "and the time are kept. Snapshots, Kafka's topics (the DLQ topic too), exported files and "
    "the journal are yours to clear; an older copy of the store that is put back learns by "
    "--from what was forgotten since. With --json: {hash, known, clean, interactions, vectors, "
    "training_pairs, dead_letters, folders}; clean is false while a reader holds up bytes of "
    "the id. --list gives {key, forgotten: [{hash, forgotten_us, …}]}, --from {listed, "
    "forgotten}.\n\n"
    "Examples:\n"
    "  metammf forget u1\n"
    "  metammf forget --list > /backup/forgotten.txt\n"
    "  metammf --store /restored/metammf.db forget --from /backup/forgotten.txt",
    cli_common,
    NULL,
    NULL};

/* ---- one user ------------------------------------------------------------------------------ */

static bool wait_on(void *arg)
{
    (void)arg;
    return true;
}

/* A writer would create it. */
static int open_writer(const struct cli *cli, struct store **ret_st, struct err *err)
{
    const char *path = cli->settings.store.path;

    if (access(path, F_OK) != 0)
        return err_fatal(err, EX_NOINPUT, "store %s: no such file", path);
    int r = cli_become_owner(cli, err);
    return r == ERR_OK ? store_open(path, STORE_WRITE, ret_st, err) : r;
}

static struct candidate_target target_of(const struct cli *cli, struct store *st)
{
    return (struct candidate_target){
        .settings = &cli->settings, .reader = st, .writer = store_writer_of(st)};
}

static int by_ourselves(const struct cli *cli, const char *user_id, json_t **ret_result,
                        struct err *err)
{
    struct forget_result result;
    struct store *st;
    int r = open_writer(cli, &st, err);

    if (r != ERR_OK)
        return r;
    const struct candidate_target t = target_of(cli, st);
    r = forget_user(&t, user_id, wait_on, NULL, &result, err);
    store_close(st);
    if (r == ERR_OK && !(*ret_result = forget_json(&result)))
        r = err_oom(err, "what was forgotten");
    return r;
}

static int anywhere(struct cli *cli, const char *user_id, json_t **ret_result, struct err *err)
{
    struct control_ask ask = {0};
    int r = cli_daemon(cli, &ask.fd, err);

    if (r == ERR_NONE)
        return by_ourselves(cli, user_id, ret_result, err);
    if (r != ERR_OK)
        return r;
    ask.request = json_pack("{s:s, s:s}", "command", "forget", "user_id", user_id);
    r = control_ask(&ask, ret_result, err);
    close(ask.fd);
    return r;
}

static int64_t count_of(const json_t *result, const char *name)
{
    return json_integer_value(json_object_get(result, name));
}

static int print_result(const struct cli *cli, json_t *result)
{
    if (!json_is_true(json_object_get(result, "clean")))
        fprintf(
            stderr,
            "metammf: a reader holds %s-wal open, where bytes of the id still are: the daemon "
            "empties it when that reader has ended; without a daemon, forget again then\n",
            cli_text(cli->settings.store.path));
    if (cli->json)
        return cli_print_json(json_incref(result));
    if (!json_is_true(json_object_get(result, "known")))
        printf(
            "nothing was known of this user (hash %s); what is said of them until now will be "
            "dropped\n",
            cli_field(result, "hash"));
    else
        printf("forgotten (hash %s): %" PRId64 " interactions, %" PRId64 " vectors, %" PRId64
               " training pairs, %" PRId64 " dead letters that named them, %" PRId64
               " folders of models\n",
               cli_field(result, "hash"), count_of(result, "interactions"),
               count_of(result, "vectors"), count_of(result, "training_pairs"),
               count_of(result, "dead_letters"), count_of(result, "folders"));
    return cli_finish();
}

static int forget_one(struct cli *cli, const char *user_id)
{
    json_t *result = NULL;
    struct err err;

    err_clear(&err);
    int code = anywhere(cli, user_id, &result, &err) == ERR_OK ? print_result(cli, result)
                                                               : cli_fail(&err);
    json_decref(result);
    return code;
}

/* ---- lists --------------------------------------------------------------------------------- */

static json_t *list_json(const char *key, const struct store_forgotten *rows, size_t n)
{
    json_t *list = json_array();
    char hex[DIGEST_HEX_BYTES];

    for (size_t i = 0; list && i < n; i++) {
        digest_print(rows[i].hash, DIGEST_BYTES, hex);
        json_array_append_new(list,
                              json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "hash", hex,
                                        "forgotten_us", (json_int_t)rows[i].forgotten_us,
                                        "interactions", (json_int_t)rows[i].n_interactions,
                                        "vectors", (json_int_t)rows[i].n_vectors,
                                        "training_pairs", (json_int_t)rows[i].n_pairs,
                                        "dead_letters", (json_int_t)rows[i].n_letters,
                                        "dropped", (json_int_t)rows[i].n_dropped));
    }
    return json_pack("{s:s, s:o}", "key", key, "forgotten", list);
}

static int print_list(const struct cli *cli, const char *key,
                      const struct store_forgotten *rows, size_t n)
{
    char hex[DIGEST_HEX_BYTES], when[32];

    if (cli->json)
        return cli_print_json(list_json(key, rows, n));
    printf(LIST_HEAD "%s\n", key);
    for (size_t i = 0; i < n; i++) {
        digest_print(rows[i].hash, DIGEST_BYTES, hex);
        cli_time(rows[i].forgotten_us, when, sizeof(when));
        printf("%s %" PRId64 " %s UTC\n", hex, rows[i].forgotten_us, when);
    }
    return cli_finish();
}

static int list(struct cli *cli)
{
    struct store_forgotten *rows = NULL;
    struct store *st;
    struct err err;
    char key[STORE_HASH_TEXT];
    size_t n = 0;

    err_clear(&err);
    if (cli_open_store(cli, &st, &err) != ERR_OK)
        return cli_fail(&err);
    int r = store_forget_key_name(st, key, &err);
    if (r == ERR_OK)
        r = store_forgotten_list(st, &rows, &n, &err);
    store_close(st);
    int code = r == ERR_OK ? print_list(cli, key, rows, n) : cli_fail(&err);
    free(rows);
    return code;
}

static bool parse_line(const char *line, struct store_forgotten *ret)
{
    char hex[DIGEST_HEX_BYTES];
    int64_t us;

    *ret = (struct store_forgotten){0};
    if (sscanf(line, "%64[0-9a-f] %" SCNd64, hex, &us) != 2 || us <= 0 ||
        !digest_parse(hex, ret->hash))
        return false;
    ret->forgotten_us = us;
    return true;
}

/* *ret_rows malloc'ed. */
static int read_list(const char *path, const char *key, struct store_forgotten **ret_rows,
                     size_t *ret_n, struct err *err)
{
    struct tsv t;
    int r = tsv_read(path, &t, err);

    if (r != ERR_OK)
        return r;
    struct store_forgotten *rows = calloc(t.n + 1, sizeof(*rows));
    if (!rows)
        r = err_oom(err, path);
    else if (t.n == 0 || strncmp(t.line[0], LIST_HEAD, strlen(LIST_HEAD)) != 0)
        r = err_fatal(err, EX_DATAERR, "%s:1: expected \"" LIST_HEAD "…\", as --list prints it",
                      path);
    else if (strcmp(t.line[0] + strlen(LIST_HEAD), key) != 0)
        r = err_fatal(
            err, EX_DATAERR,
            "%s: made with key %s, this store has key %s: it is no copy of the same one", path,
            t.line[0] + strlen(LIST_HEAD), key);
    for (size_t i = 1; r == ERR_OK && i < t.n; i++)
        if (!parse_line(t.line[i], &rows[i - 1]))
            r = err_fatal(err, EX_DATAERR, "%s:%zu: expected a hash and a time", path, i + 1);
    *ret_n = t.n ? t.n - 1 : 0;
    tsv_done(&t);
    if (r == ERR_OK)
        *ret_rows = rows;
    else
        free(rows);
    return r;
}

static int apply(const struct cli *cli, struct store *st, const char *path, int64_t *ret_known,
                 size_t *ret_n, struct err *err)
{
    const struct candidate_target t = target_of(cli, st);
    struct store_forgotten *rows = NULL;
    int64_t n_folders;
    bool more = true, clean;
    char key[STORE_HASH_TEXT];
    int r = store_forget_key_name(st, key, err);

    if (r == ERR_OK)
        r = read_list(path, key, &rows, ret_n, err);
    if (r == ERR_OK)
        r = store_forget_listed(st, rows, *ret_n, ret_known, err);
    while (r == ERR_OK && more)
        r = forget_piece(st, &more, err);
    if (r == ERR_OK)
        r = forget_in_files(&t, &n_folders, err);
    free(rows);
    return r == ERR_OK ? store_wipe(st, &clean, err) : r;
}

static int forget_from(struct cli *cli, const char *path)
{
    struct store *st;
    struct err err;
    int64_t n_known = 0;
    size_t n = 0;

    err_clear(&err);
    if (cli_load(cli, &err) != ERR_OK || open_writer(cli, &st, &err) != ERR_OK)
        return cli_fail(&err);
    int r = apply(cli, st, path, &n_known, &n, &err);
    store_close(st);
    if (r != ERR_OK)
        return cli_fail(&err);
    if (cli->json)
        return cli_print_json(
            json_pack("{s:I, s:I}", "listed", (json_int_t)n, "forgotten", (json_int_t)n_known));
    printf("%zu in the list; %" PRId64 " of them this store knew and has forgotten now\n", n,
           n_known);
    return cli_finish();
}

int cli_forget(struct cli *cli, int argc, char **argv)
{
    struct forget f = {.input.cli = cli};

    cli_parse(&argp, argc, argv, &f.input);
    if (f.list)
        return list(cli);
    return f.from ? forget_from(cli, f.from) : forget_one(cli, f.user_id);
}
