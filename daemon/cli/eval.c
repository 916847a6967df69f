/* metammf eval: a model of the store on held-out interactions; stores nothing. */
#include "daemon/cli/cli.h"

#include "daemon/base/pair_file.h"
#include "daemon/cli/weights.h"
#include "daemon/model/evaluation.h"
#include "store/store.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

struct eval {
    struct cli_input input; /* first */
    int64_t model_id;       /* 0 = the active one */
    const char *test;
    uint32_t cuts[EVALUATE_CUTS_MAX];
    uint32_t n_cuts;
    json_t *weights; /* of the model's signals */
};

enum { OPTION_MODEL = 256, OPTION_TEST };

static const struct argp_option options[] = {
    {"test", OPTION_TEST, "FILE", 0,
     "Held-out pairs, as metammf import interactions takes them", 0},
    {"model", OPTION_MODEL, "ID", 0, "The model (the active one)", 0},
    {"k", 'k', "K,…", 0, "Where the lists are cut (10,20)", 0},
    {0}};

static int compare_cuts(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* "10,20": at most 8, each once. */
static void parse_cuts(struct eval *e, const char *text, struct argp_state *state)
{
    char *copy = strdup(text), *rest = copy;

    e->n_cuts = 0;
    for (char *word; copy && (word = strsep(&rest, ","));) {
        if (e->n_cuts == EVALUATE_CUTS_MAX)
            argp_error(state, "-k %s: at most %d numbers", text, EVALUATE_CUTS_MAX);
        e->cuts[e->n_cuts++] = (uint32_t)cli_number(state, "-k", word, 1, EVALUATE_K_MAX);
    }
    free(copy);
    qsort(e->cuts, e->n_cuts, sizeof e->cuts[0], compare_cuts);
    for (uint32_t i = 1; i < e->n_cuts; i++)
        if (e->cuts[i] == e->cuts[i - 1])
            argp_error(state, "-k %s: %u is there twice", text, e->cuts[i]);
}

static error_t parse_eval(int key, char *arg, struct argp_state *state)
{
    struct eval *e = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case OPTION_MODEL:
        e->model_id = cli_number(state, "--model", arg, 1, INT64_MAX);
        return 0;
    case OPTION_TEST:
        e->test = arg;
        return 0;
    case 'k':
        parse_cuts(e, arg, state);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument \"%s\"", arg);
        return EINVAL;
    case ARGP_KEY_END:
        if (!e->test)
            argp_error(state, "needs --test FILE.tsv");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse_eval,
    NULL,
    "Ranks all items for each user of the test, and prints precision, recall, hit ratio and "
    "NDCG.\v"
    "Masked are the pairs that the model was trained on, and those whose interactions count "
    "against the item: no list has these. overall covers all test pairs. "
    "warm and cold split them by whether the model has seen interactions of the item; the list "
    "still holds all items. cold_only ranks the cold items among themselves. A user whom the "
    "model does not know gets the mean of its users' vectors. An item that the model does not "
    "know counts as a miss. The file is read as metammf import reads one; lines of weight 0 "
    "or less are left out. Precision, recall and NDCG are means over users; hr is the share "
    "of test pairs that were found. \"lists of\" says what each signal counts (view "
    "current_signal); signals in --json.\n\n"
    "Example:\n"
    "  metammf --store s.db eval --test held_out.tsv -k 10,20",
    cli_common,
    NULL,
    NULL};

static int print_json(const struct eval *v, const struct evaluation *e,
                      const struct evaluation_result *r)
{
    json_t *object = evaluation_json(r);

    if (object) {
        (void)json_object_set_new(object, "model_id", json_integer((json_int_t)e->model_id));
        (void)json_object_set(object, "signals", v->weights);
    }
    return cli_print_json(object);
}

static int print_text(const struct eval *v, const struct evaluation *e,
                      const struct evaluation_result *r)
{
    printf("model %" PRId64 ": %zu pairs of %zu users", e->model_id, r->n_pairs, r->n_users);
    if (r->n_unknown_users)
        printf("; %zu users without history", r->n_unknown_users);
    if (r->n_unknown_items)
        printf("; %zu pairs with unknown items, counted as misses", r->n_unknown_items);
    fputs("\nlists of: ", stdout);
    weights_print(v->weights);
    printf("%-10s %5s  %-9s  %-9s  %-9s  %-9s  %s\n", "", "k", "precision", "recall", "hr",
           "ndcg", "pairs");
    for (int s = 0; s < EVALUATE_SLICES; s++)
        for (uint32_t i = 0; i < r->figures.n_cuts; i++) {
            const struct evaluate_figures *f = &r->figures.at[s][i];

            printf("%-10s %5u  %-9.4f  %-9.4f  %-9.4f  %-9.4f  %zu\n",
                   evaluate_slice_name((enum evaluate_slice)s), r->figures.cut[i], f->precision,
                   f->recall, f->hr, f->ndcg, r->figures.n_pairs[s]);
        }
    return cli_finish();
}

static int run(struct eval *v, struct store *st, struct evaluation *e,
               struct evaluation_result *result, struct err *err)
{
    struct pair_file test;
    int r = pair_file_read(v->test, &test, err);

    if (r != ERR_OK)
        return r;
    if (test.n_left_out)
        fprintf(stderr, "metammf: %zu lines of weight 0 or less are left out\n",
                test.n_left_out);
    r = evaluation_of_model(st, v->model_id, e, err);
    if (r == ERR_OK)
        r = weights_read(st, e->model_id, &v->weights, err);
    if (r == ERR_OK)
        r = evaluation_run(e, test.pair, test.n, v->cuts, v->n_cuts, 0, result, err);
    pair_file_done(&test);
    return r;
}

int cli_eval(struct cli *cli, int argc, char **argv)
{
    struct eval v = {.input.cli = cli, .cuts = {10, 20}, .n_cuts = 2};
    struct evaluation e = {0};
    struct evaluation_result result;
    struct store *st;
    struct err err;

    cli_parse(&argp, argc, argv, &v.input);
    err_clear(&err);
    if (cli_open_store(cli, &st, &err) != ERR_OK)
        return cli_fail(&err);
    int r = run(&v, st, &e, &result, &err);
    store_close(st);
    int code = r != ERR_OK ? cli_fail(&err)
               : cli->json ? print_json(&v, &e, &result)
                           : print_text(&v, &e, &result);
    evaluation_done(&e);
    json_decref(v.weights);
    return code;
}
