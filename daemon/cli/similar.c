/* metammf similar ITEM: nearest items by cosine over all current embeddings. */
#include "daemon/cli/cli.h"

#include "daemon/base/topk.h"
#include "store/reading.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

struct similar {
    struct cli_input input; /* first */
    const char *item_id;
    int64_t k;
};

static const struct argp_option options[] = {{"number", 'k', "N", 0, "How many (10)", 0}, {0}};

static error_t parse_similar(int key, char *arg, struct argp_state *state)
{
    struct similar *s = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case 'k':
        s->k = cli_number(state, "-k", arg, 1, 100000);
        return 0;
    case ARGP_KEY_ARG:
        if (s->item_id)
            argp_error(state, "one item at a time: what is \"%s\"?", arg);
        s->item_id = arg;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "similar to which item? Example: metammf similar v1 -k 5");
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse_similar,
    "ITEM",
    "Prints the items nearest to an item, best first, without the item itself.\v"
    "The score is the cosine of the two embeddings. Equal scores stand in the order in which "
    "the items came. With --json: [{item_id, score}].\n\n"
    "Example:\n"
    "  metammf --store /var/lib/metammfd/metammf.db similar v1 -k 5",
    cli_common,
    NULL,
    NULL};

static int find_row(const struct store_matrix *m, const char *item_id, size_t *ret_row,
                    struct err *err)
{
    for (size_t i = 0; i < m->n_rows; i++) {
        if (strcmp(m->item_id[i], item_id) == 0) {
            *ret_row = i;
            return ERR_OK;
        }
    }
    return err_fatal(err, EX_NOINPUT,
                     "no item \"%s\" with an embedding in this store: see metammf get %s",
                     item_id, item_id);
}

static int print_json(const struct store_matrix *m, const struct topk_row *rows, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; array && i < n; i++)
        json_array_append_new(array, json_pack("{s:s, s:f}", "item_id", m->item_id[rows[i].row],
                                               "score", rows[i].score));
    return cli_print_json(array);
}

static int print_text(const struct store_matrix *m, const struct topk_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf("%.4f  %s\n", rows[i].score, cli_text(m->item_id[rows[i].row]));
    return cli_finish();
}

static int run(const struct similar *s, const struct store_matrix *m, struct err *err)
{
    size_t row = 0, n, k = (size_t)s->k < m->n_rows ? (size_t)s->k : m->n_rows;
    struct topk_row *rows;
    int code;

    if (find_row(m, s->item_id, &row, err) != ERR_OK)
        return cli_fail(err);
    rows = calloc(k + 1, sizeof(*rows));
    if (!rows) {
        err_oom(err, "similar");
        return cli_fail(err);
    }
    n = topk_cosine(m->vec, m->n_rows, (size_t)m->dim, row, k, rows);
    code = s->input.cli->json ? print_json(m, rows, n) : print_text(m, rows, n);
    free(rows);
    return code;
}

int cli_similar(struct cli *cli, int argc, char **argv)
{
    struct similar s = {.input.cli = cli, .k = 10};
    struct store_matrix m = {0};
    struct store *st;
    struct err err;
    int code;

    cli_parse(&argp, argc, argv, &s.input);
    err_clear(&err);
    if (cli_open_store(cli, &st, &err) != ERR_OK)
        return cli_fail(&err);
    if (store_read_embeddings(st, &m, &err) == ERR_OK)
        code = run(&s, &m, &err);
    else
        code = cli_fail(&err);
    store_matrix_done(&m);
    store_close(st);
    return code;
}
