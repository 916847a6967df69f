/* The options of metammf train. Those of the training itself come from the table of settings, with
 * their names, ranges, defaults and help; those below say where it reads and what becomes of it. */
#include "daemon/cli/train.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    OPTION_OF_TABLE = 256, /* and on: settings_option(key - OPTION_OF_TABLE) */
    OPTION_VALID = OPTION_OF_TABLE + SETTINGS_OPTIONS_MAX,
    OPTION_AS_CONFIGURED,
    OPTION_OUT,
    OPTION_NO_PROMOTE,
    OPTION_CHECKPOINT,
    OPTION_RESUME,
    OPTION_NOW
};
enum { MODEL = 1, TRAINING, RESULT }; /* the groups of --help */

static const struct argp_option own[] = {
    {NULL, 0, NULL, 0, "The model:", MODEL},
    {NULL, 0, NULL, 0, "The training:", TRAINING},
    {"valid", OPTION_VALID, "FILE.tsv", 0,
     "Pairs to stop by. They are left out of the training and never stored (10 % of each "
     "user's, seeded)",
     TRAINING},
    {"as-configured", OPTION_AS_CONFIGURED, NULL, 0,
     "Train as the daemon does: what no option says is as the settings training.* have it, and "
     "not chosen by the data",
     TRAINING},
    {"checkpoint", OPTION_CHECKPOINT, "FILE", 0,
     "Keep the state of the training in FILE: every minute, at the end, and when interrupted. "
     "That of further members is in FILE.2 and so on",
     TRAINING},
    {"resume", OPTION_RESUME, "FILE", 0,
     "Go on from a checkpoint, with the same options and data. The training ends as if it had "
     "never been interrupted",
     TRAINING},
    {NULL, 0, NULL, 0, "The result:", RESULT},
    {"out", OPTION_OUT, "DIR", 0,
     "Write the files into DIR and leave the store alone. metammf model import DIR takes them",
     RESULT},
    {"no-promote", OPTION_NO_PROMOTE, NULL, 0,
     "Add the model without making it the active one. metammf model promote ID does so",
     RESULT},
    {"now", OPTION_NOW, NULL, 0,
     "Ask the running daemon to retrain by its own settings at once, quiet hours or not. No "
     "other option goes with it",
     RESULT}};

/* ---- what argp is told --------------------------------------------------------------------- */

enum { N_OWN = sizeof own / sizeof own[0] };
static struct argp_option options[N_OWN + SETTINGS_OPTIONS_MAX + 1];
static struct {
    char help[640], value[64];
} texts[SETTINGS_OPTIONS_MAX];

/* NULL = a switch. */
static const char *describe_value(const struct settings_key *k, char *text, size_t bytes)
{
    size_t n = 0;

    if (k->type == SETTINGS_BOOL)
        return NULL;
    if (k->type != SETTINGS_WORD)
        return strcmp(k->unit, "%") == 0 ? "PERCENT" : k->type == SETTINGS_REAL ? "X" : "N";
    for (size_t i = 0; k->words[i] && n < bytes; i++)
        n += (size_t)snprintf(text + n, bytes - n, "%s%s", i ? "|" : "", k->words[i]);
    return text;
}

/* "What it is (its default)" */
static void describe(const struct settings_key *k, char *text, size_t bytes)
{
    int n_help = (int)strlen(k->help);

    if (n_help > 0 && k->help[n_help - 1] == '.')
        n_help--;
    if (k->type == SETTINGS_BOOL)
        (void)snprintf(text, bytes, "%.*s", n_help, k->help);
    else
        (void)snprintf(text, bytes, "%.*s (%s)", n_help, k->help,
                       k->left_out ? k->left_out : k->fallback);
}

static void fill_options(void)
{
    const struct settings_key *k;

    memcpy(options, own, sizeof own);
    for (size_t i = 0; (k = settings_option(i)); i++) {
        assert(i < SETTINGS_OPTIONS_MAX);
        describe(k, texts[i].help, sizeof texts[i].help);
        options[N_OWN + i] = (struct argp_option){
            .name = k->option,
            .key = OPTION_OF_TABLE + (int)i,
            .arg = describe_value(k, texts[i].value, sizeof texts[i].value),
            .doc = texts[i].help,
            .group = k->describes_model ? MODEL : TRAINING};
    }
}

/* ---- what argp finds ----------------------------------------------------------------------- */

/* Checked now; it takes effect when the settings are there. */
static void remember(struct cli_train *t, size_t i, const char *text, struct argp_state *state)
{
    const struct settings_key *k = settings_option(i);
    struct settings scratch = {0};
    struct err err;

    t->told[i] = k->type == SETTINGS_BOOL ? "true" : text;
    if (settings_option_set(&scratch, k, t->told[i], &err) != ERR_OK)
        argp_error(state, "%s", err.text);
}

static error_t parse_train(int key, char *arg, struct argp_state *state)
{
    struct cli_train *t = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case OPTION_VALID:
        t->r.valid = arg;
        return 0;
    case OPTION_AS_CONFIGURED:
        t->as_configured = true;
        return 0;
    case OPTION_CHECKPOINT:
    case OPTION_RESUME:
        t->r.checkpoint = arg;
        t->r.resume = t->r.resume || key == OPTION_RESUME;
        return 0;
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
    default:
        if (key < OPTION_OF_TABLE || key >= OPTION_OF_TABLE + SETTINGS_OPTIONS_MAX)
            return ARGP_ERR_UNKNOWN;
        remember(t, (size_t)(key - OPTION_OF_TABLE), arg, state);
        return 0;
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
    *ret_t = (struct cli_train){.input.cli = cli};
    fill_options();
    cli_parse(&argp, argc, argv, &ret_t->input);
}

static int take_told(const struct cli_train *t, struct err *err)
{
    int r = ERR_OK;

    for (size_t i = 0; r == ERR_OK && i < SETTINGS_OPTIONS_MAX; i++)
        if (t->told[i])
            r = settings_option_set(&t->input.cli->settings, settings_option(i), t->told[i],
                                    err);
    return r;
}

int cli_train_settle(struct cli_train *t, struct err *err)
{
    struct settings *s = &t->input.cli->settings;
    struct settings_training_options *o = &s->training.options;

    t->r.options = o;
    if (!t->as_configured && settings_options_reset(s) != ERR_OK)
        return err_oom(err, "the options");
    int r = take_told(t, err);
    if (r == ERR_OK && o->fusion == SETTINGS_FUSION_NONE) {
        o->item_graph = SETTINGS_ITEM_GRAPH_NONE; /* there may be no features */
        r = take_told(t, err);                    /* unless somebody asks for it */
    }
    return r;
}
