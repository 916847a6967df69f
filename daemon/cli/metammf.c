/* metammf: the command line. Finds the verb and runs it; the verbs are in cli_<verb>.c. */
#include "config/log.h"
#include "config/settings.h"
#include "config/version.h"
#include "daemon/cli/cli.h"

#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static const struct cli_verb verbs[] = {
    {"demo", "the whole path on generated clips, offline", cli_demo},
    {"ingest", "read events from an NDJSON file", cli_ingest},
    {"event", "explain how events are understood, nothing stored", cli_event},
    {"import", "bulk items with features, or interactions, from files", cli_import},
    {"train", "a model from the store's interactions and features", cli_train},
    {"eval", "a model on held-out interactions", cli_eval},
    {"recommend", "the items for a user", cli_recommend},
    {"model", "list, show, promote, rollback, pin, import, export", cli_model},
    {"export", "the current embeddings as an array", cli_export},
    {"extract", "features of a media file or a folder, nothing stored", cli_extract},
    {"get", "the embedding of an item", cli_get},
    {"similar", "the items nearest to an item", cli_similar},
    {"explain", "where an item's vector comes from, modality by modality", cli_explain},
    {"status", "daemon, lag, counts, model, dead letters on one screen", cli_status},
    {"top", "what the daemon does now: rates, queues, latency", cli_top},
    {"report", "one page about the store: quality, map, timing, losses", cli_report},
    {"doctor", "check every precondition and say what to do", cli_doctor},
    {"verify", "extract and fuse a sample again, compare the bytes", cli_verify},
    {"reextract", "features anew after an encoder has changed", cli_reextract},
    {"dlq", "dead letters: list, show, retry, purge", cli_dlq},
    {"forget", "erase a person: interactions, vectors, what names them", cli_forget},
    {"judge", "a trained model against the active one, on held-out interactions", cli_judge},
    {"fuse", "the forward pass of a model over an array", cli_fuse},
    {"backup", "store and models into a folder, while the daemon runs", cli_backup},
    {"restore", "store and models back from such a folder", cli_restore},
    {"settings", "what runs, what the file says, what waits for a restart", cli_settings},
    {"snapshot", "a consistent copy of the store alone, without models", cli_snapshot},
};
#define N_VERBS (sizeof(verbs) / sizeof(verbs[0]))

static void print_version(FILE *out, struct argp_state *state)
{
    (void)state;
    fprintf(out, "metammf %s\n", version_text);
}

void (*argp_program_version_hook)(FILE *, struct argp_state *) = print_version;

struct top {
    struct cli_input input;
    int verb_at; /* index in argv, 0 = none */
};

static error_t parse_top(int key, char *arg, struct argp_state *state)
{
    struct top *top = state->input;

    (void)arg;
    if (cli_parse_init(key, state))
        return 0;
    if (key == ARGP_KEY_ARG) { /* the verb: what follows is its own */
        top->verb_at = state->next - 1;
        state->next = state->argc;
        return 0;
    }
    return ARGP_ERR_UNKNOWN;
}

static char *help_filter(int key, const char *text, void *input)
{
    char *out = NULL;
    size_t bytes = 0;
    FILE *f;

    (void)input;
    if (key != ARGP_KEY_HELP_POST_DOC || !(f = open_memstream(&out, &bytes)))
        return (char *)(uintptr_t)text; /* argp's signature: text itself when unchanged */
    fputs("Verbs:\n", f);
    for (size_t i = 0; i < N_VERBS; i++)
        fprintf(f, "  %-10s %s\n", verbs[i].name, verbs[i].what);
    fputs(
        "\nEach has its own help, with an example: metammf VERB --help\n\n"
        "Exit codes: 0 done, 64 usage, 65 bad data, 66 no such input or item, 69 broker away, "
        "70 bug, 71 short of memory or processes, 73 a file cannot be made, 74 input/output, "
        "75 try again, 77 not permitted, 78 settings.\n\n"
        "Example:\n  metammf demo",
        f);
    return fclose(f) == 0 ? out : NULL;
}

static const struct cli_verb *find_verb(const char *name)
{
    for (size_t i = 0; i < N_VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static int unknown_verb(const char *name)
{
    const char *names[N_VERBS], *near;

    for (size_t i = 0; i < N_VERBS; i++)
        names[i] = verbs[i].name;
    near = settings_nearest(name, names, N_VERBS);
    fprintf(stderr, "metammf: no verb \"%s\"%s%s%s; metammf --help lists them\n",
            cli_text(name), near ? ": did you mean \"" : "", near ? near : "",
            near ? "\"?" : "");
    return EX_USAGE;
}

/* What daemon/ logs while a verb runs the pipeline itself: warnings and errors, for people. */
static void write_log(enum log_level level, const char *text, const struct log_field *fields,
                      size_t n_fields)
{
    (void)level;
    (void)fields;
    (void)n_fields;
    fprintf(stderr, "metammf: %s\n", text);
}

static int run_verb(const struct cli_verb *verb, struct cli *cli, int argc, char **argv)
{
    char name[64];

    snprintf(name, sizeof(name), "metammf %s", verb->name);
    argv[0] = name;
    return verb->run(cli, argc, argv);
}

int main(int argc, char **argv)
{
    static const struct argp argp = {
        NULL,       parse_top,
        "VERB ...", "Embeddings for videos that nobody has watched yet.\v.",
        cli_common, help_filter,
        NULL};
    struct cli cli = {0};
    struct top top = {.input.cli = &cli};
    const struct cli_verb *verb;
    int code;

    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of printf, told by cli_finish */
    log_set_level(LOG_LEVEL_WARNING);
    log_set_writer(write_log);
    code = argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &top);
    if (code != 0) {
        fprintf(stderr, "metammf: %s\n", strerror(code));
        return code == ENOMEM ? EX_OSERR : EX_USAGE;
    }
    if (top.verb_at == 0) {
        argp_help(&argp, stderr, ARGP_HELP_STD_HELP & ~ARGP_HELP_EXIT_OK, argv[0]);
        return EX_USAGE;
    }
    verb = find_verb(argv[top.verb_at]);
    if (!verb)
        return unknown_verb(argv[top.verb_at]);
    code = run_verb(verb, &cli, argc - top.verb_at, argv + top.verb_at);
    if (cli.loaded)
        settings_done(&cli.settings);
    return code;
}
