/* metammf export embeddings: the current embeddings as an array and its ids. */
#include "daemon/cli/cli.h"

#include "fusion/file/npy.h"
#include "fusion/file/outfile.h"
#include "store/reading.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

struct export
{
    struct cli_input input; /* first */
    const char *what, *out, *ids;
};

enum { OPTION_OUT = 256, OPTION_IDS };

static const struct argp_option options[] = {
    {"out", OPTION_OUT, "E.npy", 0, "Written: (items, dim) float32, the active model's", 0},
    {"ids", OPTION_IDS, "FILE", 0, "Written: line n is the id of row n", 0},
    {0}};

static error_t parse_export(int key, char *arg, struct argp_state *state)
{
    struct export *x = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case OPTION_OUT:
        x->out = arg;
        return 0;
    case OPTION_IDS:
        x->ids = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (x->what || strcmp(arg, "embeddings") != 0)
            argp_error(state, "unexpected argument \"%s\": only embeddings can be exported",
                       arg);
        x->what = arg;
        return 0;
    case ARGP_KEY_END:
        if (!x->what || !x->out || !x->ids)
            argp_error(state, "needs embeddings, --out and --ids");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse_export,
    "embeddings",
    "Writes the current embeddings, in the order in which the items came.\v"
    "An id that holds a line feed exits 65. A store without embeddings exits 66.\n\n"
    "Example:\n  metammf --store s.db export embeddings --out E.npy --ids ids.txt",
    cli_common,
    NULL,
    NULL};

static int write_ids(const struct export *x, const struct store_matrix *m, struct err *err)
{
    struct outfile out;
    int r = outfile_open(x->ids, &out, err);

    if (r != ERR_OK)
        return r;
    for (size_t i = 0; r == ERR_OK && i < m->n_rows; i++) {
        if (strchr(m->item_id[i], '\n'))
            r = err_fatal(err, EX_DATAERR, "item row %zu: its id holds a line feed: delete it",
                          i);
        else
            r = outfile_write(&out, m->item_id[i], strlen(m->item_id[i]), err);
        if (r == ERR_OK)
            r = outfile_write(&out, "\n", 1, err);
    }
    if (r == ERR_OK)
        r = outfile_commit(&out, err);
    outfile_abort(&out);
    return r;
}

static int print_result(const struct export *x, const struct store_matrix *m)
{
    if (x->input.cli->json)
        return cli_print_json(json_pack("{s:I, s:i, s:I}", "rows", (json_int_t)m->n_rows, "dim",
                                        m->dim, "model_id", (json_int_t)m->model_id));
    printf("%zu embeddings of %d in %s, ids in %s\n", m->n_rows, m->dim, cli_text(x->out),
           cli_text(x->ids));
    return cli_finish();
}

int cli_export(struct cli *cli, int argc, char **argv)
{
    struct export x = {.input.cli = cli};
    struct store_matrix m = {0};
    struct store *st = NULL;
    struct err err;

    cli_parse(&argp, argc, argv, &x.input);
    err_clear(&err);
    int r = cli_open_store(cli, &st, &err);
    if (r == ERR_OK)
        r = store_read_embeddings(st, &m, &err);
    if (r == ERR_OK && !m.n_rows)
        r = err_fatal(&err, EX_NOINPUT, "store %s: no embeddings yet: ingest videos first",
                      cli->settings.store.path);
    if (r == ERR_OK)
        r = write_ids(&x, &m, &err);
    if (r == ERR_OK)
        r = npy_write(x.out, m.vec, m.n_rows, (size_t)m.dim, &err);
    int code = r == ERR_OK ? print_result(&x, &m) : cli_fail(&err);
    store_matrix_done(&m);
    store_close(st);
    return code;
}
