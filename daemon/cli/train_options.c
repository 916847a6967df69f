/* The options of metammf train. */
#include "daemon/cli/train.h"

#include "fusion/model/model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPTION_BACKBONE = 256,
    OPTION_FUSION,
    OPTION_ITEM_GRAPH,
    OPTION_SEED,
    OPTION_EPOCHS,
    OPTION_VALID,
    OPTION_DIM,
    OPTION_CONTENT,
    OPTION_LAYERS,
    OPTION_BATCH,
    OPTION_LR,
    OPTION_DECAY,
    OPTION_NEGATIVES,
    OPTION_ID_DROPOUT,
    OPTION_FUSED_LENGTH,
    OPTION_COLD_LENGTH,
    OPTION_MEMBERS,
    OPTION_OUT,
    OPTION_NO_PROMOTE,
    OPTION_WARM,
    OPTION_THREADS,
    OPTION_CHECKPOINT,
    OPTION_RESUME,
    OPTION_NOW
};

static const struct argp_option options[] = {
    {NULL, 0, NULL, 0, "The model:", 1},
    {"fusion", OPTION_FUSION, "KIND", 0,
     "How features become an item's fused half. cp: weights generated for each item from the "
     "item, low rank (the default where items have features); dense: the same with full "
     "tensors, slower; static: one set of weights for all items; none: identity only, new "
     "items get no embedding",
     1},
    {"backbone", OPTION_BACKBONE, "KIND", 0,
     "What joins users and items. lightgcn: the mean over hops of the interaction graph (the "
     "default); sage: two trained convolutions of it; mf: no graph, a product of vectors",
     1},
    {"item-graph", OPTION_ITEM_GRAPH, "none|knn", 0,
     "knn: an item borrows from the items that look, sound and read most alike (knn; none with "
     "--fusion none)",
     1},
    {"dim", OPTION_DIM, "N", 0, "Learned numbers of an embedding, half of them fused (64)", 1},
    {"content", OPTION_CONTENT, "N", 0,
     "Numbers beside them that are not learned: an item's features on their strongest "
     "directions, for catalogues with many items that nobody has seen (0, at most 256); for "
     "lightgcn. Retrainings by the daemon do not make them",
     1},
    {"layers", OPTION_LAYERS, "N", 0, "Hops of lightgcn (2)", 1},
    {NULL, 0, NULL, 0, "The training:", 2},
    {"valid", OPTION_VALID, "FILE.tsv", 0,
     "Pairs to stop by: left out of the training, never stored (10 % of each user's, seeded)",
     2},
    {"seed", OPTION_SEED, "N", 0, "The same seed, data and threads give the same model (1)", 2},
    {"epochs", OPTION_EPOCHS, "N", 0,
     "At most; stops before when NDCG@20 on the held-out pairs no longer rises (200)", 2},
    {"batch", OPTION_BATCH, "N", 0, "Pairs a step (3000, fewer for little data)", 2},
    {"lr", OPTION_LR, "X", 0, "Learning rate of Adam (0.005; the fusion network's is 0.001)",
     2},
    {"decay", OPTION_DECAY, "X", 0,
     "L2 (3e-6): on every weight; on the rows of a step for lightgcn without fusion", 2},
    {"negatives", OPTION_NEGATIVES, "N", 0,
     "Items that the user has not, drawn for each pair of a step, among which its own has to "
     "stand out (8; 1 is BPR, what lightgcn without fusion takes)",
     2},
    {"id-dropout", OPTION_ID_DROPOUT, "X", 0,
     "Share of the items whose identity is hidden in a step, so that the fused half learns to "
     "stand alone (0.3)",
     2},
    {"fused-length", OPTION_FUSED_LENGTH, "PERCENT", 0,
     "How much features count beside identity: the fused half's length, of 1 (100). At 200 "
     "items without interactions are told apart better, for 1 % of the lists' quality on real "
     "data",
     2},
    {"cold-length", OPTION_COLD_LENGTH, "PERCENT", 0,
     "How long the vector of an item without interactions is at least, of the mean length of "
     "the others; with n interactions divided by sqrt(1+n). More shows new items to more users "
     "before anybody knows them (125; 0 = as short as they come); for lightgcn and sage with "
     "a fusion",
     2},
    {"members", OPTION_MEMBERS, "N", 0,
     "Trainings, alike but for the seed, whose mean is the model: better lists for N times the "
     "time and the length of a vector, and somewhat more for each item that arrives (1)",
     2},
    {"warm", OPTION_WARM, NULL, 0, "Start from the active model instead of from nothing", 2},
    {"threads", OPTION_THREADS, "N", 0, "Threads (one a processor)", 2},
    {"checkpoint", OPTION_CHECKPOINT, "FILE", 0,
     "Keep the state of the training there: every minute, at the end, and when interrupted; of "
     "further members in FILE.2 and so on",
     2},
    {"resume", OPTION_RESUME, "FILE", 0,
     "Go on from a checkpoint, with the same options and data; ends as if never interrupted",
     2},
    {NULL, 0, NULL, 0, "The result:", 3},
    {"out", OPTION_OUT, "DIR", 0,
     "Write the files there and leave the store alone; metammf model import DIR takes them", 3},
    {"no-promote", OPTION_NO_PROMOTE, NULL, 0,
     "Add the model without making it the active one; metammf model promote ID does", 3},
    {"now", OPTION_NOW, NULL, 0,
     "Ask the running daemon to retrain by its own settings at once, quiet hours or not; the "
     "other options do not go with it",
     3},
    {0}};

static double real(struct argp_state *state, const char *what, const char *text, double max)
{
    char *end;
    double x = strtod(text, &end);

    if (end == text || *end || !(x >= 0 && x <= max))
        argp_error(state, "%s \"%s\": give a number from 0 to %g", what, text, max);
    return x;
}

static int kind(struct argp_state *state, const char *what, const char *choices, int parsed,
                const char *text)
{
    if (parsed < 0)
        argp_error(state, "%s \"%s\": say %s", what, text, choices);
    return parsed;
}

static int parse_item_graph(struct argp_state *state, const char *text)
{
    int parsed = strcmp(text, "none") == 0 ? 0 : strcmp(text, "knn") == 0 ? 1 : -1;

    return kind(state, "--item-graph", "none or knn", parsed, text);
}

static int64_t parse_dim(struct argp_state *state, const char *text)
{
    int64_t dim = cli_number(state, "--dim", text, 2, 4096);

    if (dim % 2)
        argp_error(state, "--dim %s: give an even number", text);
    return dim;
}

static error_t parse_model(int key, char *arg, struct argp_state *state,
                           struct training_request *r)
{
    switch (key) {
    case OPTION_BACKBONE:
        r->backbone =
            kind(state, "--backbone", "mf, sage or lightgcn", backbone_kind_parse(arg), arg);
        return 0;
    case OPTION_FUSION:
        r->fusion =
            kind(state, "--fusion", "dense, cp, static or none", fusion_kind_parse(arg), arg);
        return 0;
    case OPTION_ITEM_GRAPH:
        r->item_graph = parse_item_graph(state, arg);
        return 0;
    case OPTION_DIM:
        r->dim = parse_dim(state, arg);
        return 0;
    case OPTION_CONTENT:
        r->content = cli_number(state, "--content", arg, 0, 256);
        return 0;
    case OPTION_LAYERS:
        r->layers = cli_number(state, "--layers", arg, 1, 8);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_training(int key, char *arg, struct argp_state *state,
                              struct training_request *r)
{
    switch (key) {
    case OPTION_SEED:
        r->seed = (uint64_t)cli_number(state, "--seed", arg, 0, INT64_MAX);
        return 0;
    case OPTION_EPOCHS:
        r->epochs = cli_number(state, "--epochs", arg, 1, 1000000);
        return 0;
    case OPTION_VALID:
        r->valid = arg;
        return 0;
    case OPTION_BATCH:
        r->batch = cli_number(state, "--batch", arg, 1, 10000000);
        return 0;
    case OPTION_NEGATIVES:
        r->negatives = cli_number(state, "--negatives", arg, 1, TRAINEE_NEGATIVES_MAX);
        return 0;
    case OPTION_LR:
        r->lr = real(state, "--lr", arg, 10);
        return 0;
    case OPTION_DECAY:
        r->decay = real(state, "--decay", arg, 10);
        return 0;
    case OPTION_ID_DROPOUT:
        r->id_dropout = real(state, "--id-dropout", arg, 1);
        return 0;
    case OPTION_FUSED_LENGTH:
        r->fused_length_percent = cli_number(state, "--fused-length", arg, 1, 10000);
        return 0;
    case OPTION_COLD_LENGTH:
        r->cold_length_percent = cli_number(state, "--cold-length", arg, 0, 1000);
        return 0;
    case OPTION_MEMBERS:
        r->members = cli_number(state, "--members", arg, 1, MODEL_MEMBERS_MAX);
        return 0;
    case OPTION_CHECKPOINT:
    case OPTION_RESUME:
        r->checkpoint = arg;
        r->resume = r->resume || key == OPTION_RESUME;
        return 0;
    case OPTION_WARM:
        r->warm = true;
        return 0;
    case OPTION_THREADS:
        r->threads = (unsigned)cli_number(state, "--threads", arg, 1, 64);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_train(int key, char *arg, struct argp_state *state)
{
    struct cli_train *t = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case OPTION_OUT:
        t->out = arg;
        return 0;
    case OPTION_NO_PROMOTE:
        t->no_promote = true;
        return 0;
    case OPTION_NOW:
        t->now = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument \"%s\"", arg);
        return EINVAL;
    case ARGP_KEY_END:
        if (t->r.content > 0 && t->r.fusion == FUSION_NONE)
            argp_error(state,
                       "--content needs a fusion: with --fusion none features are not used");
        if (t->r.content > 0 && t->r.members > 1)
            argp_error(state,
                       "--content goes with one member: leave --content or --members out");
        return 0;
    default: {
        error_t e = parse_model(key, arg, state, &t->r);
        return e == ARGP_ERR_UNKNOWN ? parse_training(key, arg, state, &t->r) : e;
    }
    }
}

static const struct argp argp = {
    options,
    parse_train,
    NULL,
    "Trains a model on the store's interactions and features, and makes it the active one.\v"
    "What is left out is chosen from the data and printed; the widths of the fusion network "
    "follow from the number of columns. A running daemon goes on serving the old model until "
    "the new one's vectors are all there.\n\n"
    "Examples:\n"
    "  metammf --store s.db train\n"
    "  metammf --store s.db train --fusion static --backbone mf --no-promote\n"
    "  metammf --store s.db train --valid held_out.tsv --seed 7 --out candidate",
    cli_common,
    NULL,
    NULL};

void cli_train_parse(struct cli *cli, int argc, char **argv, struct cli_train *ret_t)
{
    *ret_t = (struct cli_train){.input.cli = cli,
                                .r = {.fusion = -1,
                                      .backbone = -1,
                                      .item_graph = -1,
                                      .seed = 1,
                                      .lr = -1,
                                      .decay = -1,
                                      .id_dropout = -1,
                                      .cold_length_percent = -1}};
    cli_parse(&argp, argc, argv, &ret_t->input);
}
