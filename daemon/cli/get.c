/* metammf get ITEM: one row of the view current_embedding. */
#include "daemon/cli/cli.h"

#include "store/models.h"
#include "store/reading.h"

#include <inttypes.h>
#include <jansson.h>
#include <sysexits.h>

struct get {
    struct cli_input input; /* first */
    const char *item_id;
};

static error_t parse_get(int key, char *arg, struct argp_state *state)
{
    struct get *g = state->input;

    if (cli_parse_init(key, state))
        return 0;
    if (key == ARGP_KEY_ARG && !g->item_id) {
        g->item_id = arg;
        return 0;
    }
    if (key == ARGP_KEY_ARG)
        argp_error(state, "one item at a time: what is \"%s\"?", arg);
    if (key == ARGP_KEY_NO_ARGS)
        argp_error(state, "which item? Example: metammf get v1");
    return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
    NULL,
    parse_get,
    "ITEM",
    "Prints the current embedding of an item.\v"
    "With --json: {item_id, dim, vec, state, model_id, seq}. state is cold until an "
    "interaction influences the vector, and warm from then on. seq grows with every change of "
    "the store.\n\n"
    "Example:\n"
    "  metammf --store /var/lib/metammfd/metammf.db get v1 --json",
    cli_common,
    NULL,
    NULL};

/* Why there is no embedding: no item, a deleted one, or one without a signal. */
static int explain_absence(struct store *st, const char *item_id, struct err *err)
{
    struct store_item item = {0};
    int r = store_get_item(st, item_id, &item, err);

    int64_t lost = 0;

    (void)store_get_unfused(st, &lost, NULL);
    if (r == ERR_OK && !item.deleted && lost)
        r = err_fatal(
            err, EX_NOINPUT,
            "item \"%s\" has no embedding (%s): items of late wait for a model, since the "
            "file of model %" PRId64 " is lost; metammf status says more",
            item_id, item.state, lost);
    else if (r == ERR_OK && !item.deleted)
        r = err_fatal(
            err, EX_NOINPUT,
            "item \"%s\" has no embedding: its state is %s; metammf explain says what is "
            "missing; features of other encoders than the model's wait for metammf train",
            item_id, item.state);
    else if (r == ERR_OK || r == ERR_NONE)
        r = err_fatal(err, EX_NOINPUT, "no item \"%s\"%s in this store", item_id,
                      r == ERR_OK ? " any more (deleted)" : "");
    store_item_done(&item);
    return r;
}

static int print_json(const struct store_embedding *e)
{
    return cli_print_json_line(
        json_pack("{s:s, s:i, s:o, s:s, s:I, s:I}", "item_id", e->item_id, "dim", (int)e->dim,
                  "vec", cli_json_floats(e->vec, (size_t)e->dim), "state", e->state, "model_id",
                  (json_int_t)e->model_id, "seq", (json_int_t)e->seq));
}

static int print_text(const struct store_embedding *e)
{
    char updated[32];

    cli_time((int64_t)(e->updated_ms * 1000), updated, sizeof(updated));
    printf("%s: %d numbers, %s, model %" PRId64 ", seq %" PRId64 ", updated %s\n",
           cli_text(e->item_id), e->dim, e->state, e->model_id, e->seq, updated);
    for (int32_t i = 0; i < e->dim; i++)
        printf("%s% .6f", i == 0 ? "" : i % 8 ? " " : "\n", (double)e->vec[i]);
    putchar('\n');
    return cli_finish();
}

int cli_get(struct cli *cli, int argc, char **argv)
{
    struct get g = {.input.cli = cli};
    struct store_embedding e = {0};
    struct store *st;
    struct err err;
    int r, code;

    cli_parse(&argp, argc, argv, &g.input);
    err_clear(&err);
    if (cli_open_store(cli, &st, &err) != ERR_OK)
        return cli_fail(&err);
    r = store_get_embedding(st, g.item_id, &e, &err);
    if (r == ERR_NONE)
        r = explain_absence(st, g.item_id, &err);
    if (r != ERR_OK)
        code = cli_fail(&err);
    else
        code = cli->json ? print_json(&e) : print_text(&e);
    store_embedding_done(&e);
    store_close(st);
    return code;
}
