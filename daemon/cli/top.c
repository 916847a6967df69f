/* metammf top: what the daemon is doing now. Asks it over the control socket for status and
 * metrics, makes one JSON object of two samples (rates and latency of the interval between), and
 * shows that: a screen that is redrawn on a terminal, a line elsewhere. */
#include "daemon/cli/cli.h"

#include "daemon/cli/top.h"
#include "config/clock.h"
#include "daemon/base/series.h"
#include "daemon/cli/bulk.h"
#include "daemon/service/control_client.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

struct top {
    struct cli_input input; /* first */
    int64_t delay_ms;
    bool once;
    bool drawn; /* on the terminal, again and again */
};

enum { OPTION_ONCE = 256 };

static const struct argp_option options[] = {
    {"delay", 'd', "MS", 0, "Between two looks, in milliseconds (1000)", 0},
    {"once", OPTION_ONCE, NULL, 0, "Look once, measure the rates over one delay, and end", 0},
    {0}};

static error_t parse_top(int key, char *arg, struct argp_state *state)
{
    struct top *t = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case 'd':
        t->delay_ms = cli_number(state, "--delay", arg, 100, 3600000);
        return 0;
    case OPTION_ONCE:
        t->once = true;
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
    parse_top,
    NULL,
    "Shows what the running daemon does: rates, lag, queues, decoding, the model, latency, "
    "dead letters.\v"
    "On a terminal it redraws the screen until Ctrl-C; elsewhere it prints a line a look. "
    "Rates and latency are those of the last interval. With --json one object a line: "
    "{time_us, daemon, totals, rates, latency, dead_letters, stale}; latency is in seconds, "
    "and null when nothing was measured. With --once, exit code 75 means that no daemon has "
    "the store open; without it, top waits for one.\n\n"
    "Examples:\n"
    "  metammf top\n"
    "  metammf top --once --json | jq .latency",
    cli_common,
    NULL,
    NULL};

/* ---- one look ---------------------------------------------------------------------------- */

struct look {
    json_t *status; /* NULL = no daemon */
    struct series series;
    int64_t at_us; /* monotonic */
};

static void look_done(struct look *l)
{
    json_decref(l->status);
    series_done(&l->series);
    *l = (struct look){0};
}

static int ask(int fd, const char *command, json_t **ret_result, struct err *err)
{
    const struct control_ask ask = {.fd = fd,
                                    .request = json_pack("{s:s}", "command", command)};

    return control_ask(&ask, ret_result, err);
}

static int look_through(int fd, struct look *ret, struct err *err)
{
    struct look l = {.at_us = clock_mono_us()};
    json_t *metrics = NULL;
    int r = ask(fd, "status", &l.status, err);

    if (r == ERR_OK)
        r = ask(fd, "metrics", &metrics, err);
    if (r == ERR_OK) {
        const char *text = json_string_value(json_object_get(metrics, "text"));

        r = series_parse(text ? text : "", &l.series, err);
    }
    json_decref(metrics);
    if (r != ERR_OK)
        look_done(&l);
    else
        *ret = l;
    return r;
}

/* ERR_NONE: no daemon has the store. A daemon that goes away in the middle is none. */
static int look(struct top *t, struct look *ret, struct err *err)
{
    int fd, r = cli_daemon(t->input.cli, &fd, err);

    if (r != ERR_OK)
        return r;
    r = look_through(fd, ret, err);
    close(fd);
    return r != ERR_OK && err->exit_code == EX_TEMPFAIL ? ERR_NONE : r;
}

/* ---- two looks as JSON ------------------------------------------------------------------- */

static const struct {
    const char *word, *name, *labels;
} counted[] = {
    {"events", "metammf_events_total", NULL},
    {"stored", "metammf_items_total", "result=\"stored\""},
    {"no_signal", "metammf_items_total", "result=\"no_signal\""},
    {"deleted", "metammf_items_total", "result=\"deleted\""},
    {"dead", "metammf_items_total", "result=\"dead\""},
    {"interactions", "metammf_interactions_total", NULL},
};

static const struct {
    const char *word, *name, *labels;
} timed[] = {
    {"queryable", "metammf_upload_to_queryable_seconds", ""},
    {"queue", "metammf_stage_duration_seconds", "stage=\"queue\""},
    {"extract", "metammf_stage_duration_seconds", "stage=\"extract\""},
    {"fuse", "metammf_stage_duration_seconds", "stage=\"fuse\""},
    {"commit", "metammf_stage_duration_seconds", "stage=\"commit\""},
};

static json_t *json_quantiles(const struct series *now, const struct series *before, size_t i)
{
    static const double q[] = {0.5, 0.9, 0.99};
    double v[3], n = 0;

    for (size_t k = 0; k < 3; k++)
        v[k] = series_quantile(now, before, timed[i].name, timed[i].labels, q[k], &n);
    return n > 0 ? json_pack("{s:I, s:f, s:f, s:f}", "n", (json_int_t)n, "p50", v[0], "p90",
                             v[1], "p99", v[2])
                 : json_null();
}

static void add_numbers(json_t *root, const struct look *before, const struct look *now)
{
    json_t *totals = json_object(), *rates = json_object();
    json_t *latency = json_object(), *since_start = json_object();
    const struct series none = {0};
    double seconds = (double)(now->at_us - before->at_us) / 1e6;

    for (size_t i = 0; i < sizeof(counted) / sizeof(counted[0]); i++) {
        double n = series_sum(&now->series, counted[i].name, counted[i].labels);
        double was = series_sum(&before->series, counted[i].name, counted[i].labels);

        json_object_set_new(totals, counted[i].word, json_integer((json_int_t)n));
        json_object_set_new(rates, counted[i].word,
                            json_real(seconds > 0 && n >= was ? (n - was) / seconds : 0));
    }
    for (size_t i = 0; i < sizeof(timed) / sizeof(timed[0]); i++) {
        json_object_set_new(latency, timed[i].word,
                            json_quantiles(&now->series, &before->series, i));
        json_object_set_new(since_start, timed[i].word, json_quantiles(&now->series, &none, i));
    }
    json_object_set_new(root, "totals", totals);
    json_object_set_new(root, "rates", rates);
    json_object_set_new(root, "latency", latency);
    json_object_set_new(root, "latency_since_start", since_start);
}

/* Those of which there are any: the metric has the others from the start. */
static json_t *json_reasons(const struct series *s)
{
    json_t *object = json_object();

    for (size_t i = 0; i < s->n; i++) {
        char reason[64];

        if (strcmp(s->lines[i].name, "metammf_dead_letters_total") == 0 &&
            s->lines[i].value > 0 &&
            series_label(&s->lines[i], "reason", reason, sizeof(reason)))
            json_object_set_new(object, reason, json_integer((json_int_t)s->lines[i].value));
    }
    return object;
}

/* before and now are of one process: a restart in between has made `before` a zeroed look. */
static json_t *json_sample(const struct look *before, const struct look *now)
{
    json_t *root;

    if (!now->status)
        return json_pack("{s:I, s:n}", "time_us", (json_int_t)clock_real_us(), "daemon");
    root =
        json_pack("{s:I, s:O, s:o, s:I, s:f}", "time_us", (json_int_t)clock_real_us(), "daemon",
                  now->status, "dead_letters", json_reasons(&now->series), "stale",
                  (json_int_t)series_sum(&now->series, "metammf_stale_items", NULL),
                  "model_age_s", series_sum(&now->series, "metammf_model_age_seconds", NULL));
    if (root)
        add_numbers(root, before, now);
    return root;
}

/* ---- the loop ---------------------------------------------------------------------------- */

static volatile sig_atomic_t stopped;

static void on_stop(int number)
{
    (void)number;
    stopped = 1;
}

static void catch_stop(void)
{
    const struct sigaction action = {.sa_handler = on_stop}; /* poll ends early */

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static bool same_process(const struct look *a, const struct look *b)
{
    return a->status && b->status &&
           json_integer_value(json_object_get(a->status, "pid")) ==
               json_integer_value(json_object_get(b->status, "pid"));
}

static int show(const struct top *t, const struct look *before, const struct look *now)
{
    const struct look start = {.at_us = now->at_us};
    json_t *sample = json_sample(same_process(before, now) ? before : &start, now);
    int code;

    if (t->input.cli->json)
        return cli_print_json_line(sample);
    code = cli_top_show(sample, t->drawn);
    json_decref(sample);
    return code;
}

/* Returns the exit code. */
static int watch(struct top *t, struct err *err)
{
    struct look before = {0}, now = {0};
    bool first = true;
    int code = 0, r;

    while (code == 0 && !stopped) {
        r = look(t, &now, err);
        if (r == ERR_NONE && t->once && err->status == ERR_OK) /* else it is busy */
            err_fatal(err, EX_TEMPFAIL, "no daemon has this store open: nothing to watch");
        if (r != ERR_OK && (r != ERR_NONE || t->once))
            code = r == ERR_NONE ? ERR_FATAL : r;
        else if (!first || t->drawn)
            code = show(t, &before, &now);
        look_done(&before);
        before = now;
        now = (struct look){0};
        if (code == 0 && t->once && !first)
            break;
        first = false;
        if (code == 0 && !stopped)
            poll(NULL, 0, (int)t->delay_ms);
    }
    look_done(&before);
    return code == ERR_FATAL || code == ERR_RETRY ? cli_fail(err) : code;
}

int cli_top(struct cli *cli, int argc, char **argv)
{
    struct top t = {.input.cli = cli, .delay_ms = 1000};
    struct err err;
    int code;

    cli_parse(&argp, argc, argv, &t.input);
    err_clear(&err);
    t.drawn = !t.once && !cli->json && isatty(STDOUT_FILENO);
    catch_stop();
    if (t.drawn)
        cli_top_open();
    code = watch(&t, &err);
    if (t.drawn)
        cli_top_close();
    return code;
}
