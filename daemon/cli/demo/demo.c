/* metammf demo: see demo.h. */
#include "daemon/cli/cli.h"

#include "daemon/cli/demo/demo.h"
#include "config/clock.h"
#include "daemon/kafka/mock.h"
#include "store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

struct demo_arguments {
    struct cli_input input; /* first */
    const char *dir;
    int64_t n_clips;
};

enum { OPTION_DIR = 256, OPTION_CLIPS };

static const struct argp_option options[] = {
    {"dir", OPTION_DIR, "DIR", 0,
     "Where (${TMPDIR:-/tmp}/metammf-demo); an earlier demo there "
     "is replaced",
     0},
    {"clips", OPTION_CLIPS, "N", 0, "How many clips to make, 2 to 100 (12)", 0},
    {0}};

static error_t parse_demo(int key, char *arg, struct argp_state *state)
{
    struct demo_arguments *a = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case OPTION_DIR:
        a->dir = arg;
        return 0;
    case OPTION_CLIPS:
        a->n_clips = cli_number(state, "--clips", arg, 2, DEMO_CLIPS_MAX);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument \"%s\"", arg);
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse_demo,
    NULL,
    "Shows the whole path, from upload events to embeddings and neighbours, on generated "
    "clips.\v"
    "Runs offline in under a minute. Kafka is simulated by librdkafka's mock cluster inside "
    "this process; everything else is the real daemon. Ends with three commands to try on the "
    "store that it leaves.\n\n"
    "Example:\n"
    "  metammf demo --dir ~/metammf-demo",
    cli_common,
    NULL,
    NULL};

static int prepare(struct demo *d, const struct demo_arguments *a, struct err *err)
{
    int r = demo_folder(d, a->dir, err);

    if (r)
        return r;
    demo_say(d, "folder %s", d->dir);
    r = demo_make_clips(d, (size_t)a->n_clips, err);
    if (r)
        return r;
    demo_say(d, "made %zu clips with picture, sound and caption, of %d scenes", d->n_clips,
             DEMO_SCENES);
    r = demo_start_kafka(d, err);
    if (r == ERR_OK)
        r = demo_write_settings(d, err);
    if (r == ERR_OK)
        demo_say(d, "simulated Kafka (librdkafka's mock cluster) on %s",
                 kafka_mock_bootstrap(d->kafka));
    return r;
}

static int play(struct demo *d, struct store *st, struct err *err)
{
    int64_t stop_ms = 0;
    int r = demo_produce(d, err);

    if (r)
        return r;
    demo_say(d, "sent %zu upload events, %d interactions and one broken event", d->n_clips,
             DEMO_INTERACTIONS);
    r = demo_watch(d, st, err);
    if (r)
        return r;
    demo_say(d, "what became of them");
    r = demo_show_counts(d, st, err);
    if (r == ERR_OK)
        r = demo_show_dead_letter(d, st, err);
    if (r == ERR_OK)
        r = demo_show_similar(d, st, err);
    if (r == ERR_OK)
        r = demo_stop_daemon(d, &stop_ms, err);
    if (r == ERR_OK)
        demo_say(d, "metammfd stopped cleanly in %" PRId64 " ms", stop_ms);
    return r;
}

static int run(struct demo *d, const struct demo_arguments *a, struct err *err)
{
    struct store *st;
    int r = prepare(d, a, err);

    if (r == ERR_OK)
        r = demo_start_daemon(d, err);
    if (r)
        return r;
    demo_say(d, "metammfd runs, pid %d, log %s", (int)d->daemon, d->log);
    r = store_open(d->store, STORE_READ, &st, err);
    if (r)
        return r;
    r = play(d, st, err);
    store_close(st);
    return r;
}

int cli_demo(struct cli *cli, int argc, char **argv)
{
    struct demo_arguments a = {.input.cli = cli, .n_clips = 12};
    struct demo *d;
    struct err err;
    int code;

    cli_parse(&argp, argc, argv, &a.input);
    err_clear(&err);
    d = calloc(1, sizeof(*d));
    if (!d) {
        err_oom(&err, "demo");
        return cli_fail(&err);
    }
    d->started_us = clock_mono_us();
    if (run(d, &a, &err) == ERR_OK) {
        demo_show_end(d);
        code = d->failed ? EX_SOFTWARE : cli_finish();
    } else {
        code = cli_fail(&err);
    }
    demo_kill_daemon(d);
    kafka_mock_stop(d->kafka);
    free(d);
    return code;
}
