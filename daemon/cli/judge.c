/* metammf judge: a trained model against the active one, as the daemon's retraining asks. */
#include "daemon/cli/cli.h"

#include "daemon/model/judge.h"
#include "daemon/retrain/round.h"
#include "store/store.h"

#include <jansson.h>
#include <stdio.h>

struct judge_args {
    struct cli_input input; /* first */
    const char *candidate, *holdout;
    bool alone;
};

enum { OPTION_ALONE = 256 };

static const struct argp_option options[] = {
    {"alone", OPTION_ALONE, NULL, 0, "The active model's file is lost: nothing to compare with",
     0},
    {0}};

static error_t parse_judge(int key, char *arg, struct argp_state *state)
{
    struct judge_args *a = state->input;

    if (cli_parse_init(key, state))
        return 0;
    if (key == OPTION_ALONE)
        a->alone = true;
    else if (key == ARGP_KEY_ARG && !a->candidate)
        a->candidate = arg;
    else if (key == ARGP_KEY_ARG && !a->holdout)
        a->holdout = arg;
    else if (key == ARGP_KEY_ARG)
        argp_error(state, "unexpected argument \"%s\"", arg);
    else if (key == ARGP_KEY_END && !a->holdout)
        argp_error(state, "give a candidate's folder and a file of held-out interactions");
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

static const struct argp argp = {
    options,
    parse_judge,
    "DIR HELDOUT.tsv",
    "Compares a model that metammf train --out DIR has left with the active one on the same "
    "held-out interactions (one user TAB item a line), as a retraining does before it "
    "publishes.\v"
    "The active model ranks with the vectors that its training gave. Items that it was not "
    "trained on are the cold ones; both models fuse them from their features. Prints one JSON "
    "object: active, candidate (ndcg_10, ndcg_20, recall_20, cold_ndcg_20, cold_recall_20), "
    "users, pairs, cold_pairs, and what the gate would decide with the settings of --config. "
    "Stores nothing.\n\n"
    "Example:\n"
    "  metammf --store site.db judge /tmp/candidate heldout.tsv",
    cli_common,
    NULL,
    NULL};

/* A line on standard error is the heartbeat of a child. */
static void beat(const char *what)
{
    fprintf(stderr, "metammf: %s\n", what);
}

int cli_judge(struct cli *cli, int argc, char **argv)
{
    struct judge_args a = {.input.cli = cli};
    struct gate_decision d;
    struct gate_case c;
    struct store *st;
    struct err err;

    cli_parse(&argp, argc, argv, &a.input);
    err_clear(&err);
    if (cli_open_store(cli, &st, &err) != ERR_OK)
        return cli_fail(&err);
    int r = a.alone ? judge_alone(st, &cli->settings, a.candidate, a.holdout, beat, &c, &err)
                    : judge_run(st, &cli->settings, a.candidate, a.holdout, beat, &c, &err);
    store_close(st);
    if (r != ERR_OK)
        return cli_fail(&err);
    gate_decide(&c, &cli->settings, &d);
    return cli_print_json_line(retrain_gate_json(&c, &d, 0));
}
