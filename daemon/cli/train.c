/* metammf train: from the store's interactions to a model. The work is in training.c; with --out it
 * ends with the files, which is what the daemon's trainer does. */
#include "daemon/cli/train.h"

#include "config/clock.h"
#include "daemon/base/json_field.h"
#include "daemon/base/paths.h"
#include "daemon/cli/bulk.h"
#include "daemon/cli/model_write.h"
#include "daemon/cli/owner.h"
#include "daemon/cli/weights.h"
#include "daemon/retrain/files.h"
#include "daemon/service/control_client.h"
#include "daemon/service/model_files.h"
#include "store/store.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

struct train {
    struct cli_train a;
    bool is_terminal;
    uint32_t member, n_members;
    uint32_t n_epochs;           /* finished by now, of all members */
    int64_t started_us, told_us; /* monotonic */
    double best;                 /* NDCG@20 of the member */
};

static volatile sig_atomic_t interrupted;

/* ---- progress ------------------------------------------------------------------------------ */

static void format_left(double seconds, char ret_text[32])
{
    int64_t s = (int64_t)(seconds + 0.5);

    (void)snprintf(ret_text, 32, "%" PRId64 ":%02" PRId64 ":%02" PRId64, s / 3600, s / 60 % 60,
                   s % 60);
}

/* A line of its own for a log or the daemon, which takes it for a sign of life; one that is drawn
 * over on a terminal. */
static void tell(struct train *t, uint32_t epoch, uint32_t max_epochs,
                 const struct train_point *point)
{
    double elapsed = (double)(clock_mono_us() - t->started_us) * 1e-6;
    double n_left = (max_epochs - epoch) + (t->n_members - 1 - t->member) * (double)max_epochs;
    char left[32], member[32] = "", figures[96] = "";

    format_left(elapsed / t->n_epochs * n_left, left);
    if (t->n_members > 1)
        (void)snprintf(member, sizeof member, "training %u/%u, ", t->member + 1, t->n_members);
    if (point && point->ndcg > 0)
        (void)snprintf(figures, sizeof figures, "  recall@20 %.4f  ndcg@20 %.4f%s",
                       point->recall, point->ndcg, point->best ? " best" : "");
    else if (t->best > 0)
        (void)snprintf(figures, sizeof figures, "  best ndcg@20 %.4f", t->best);
    fprintf(stderr, "%s%sepoch %u/%u%s", t->is_terminal ? "\r" : "", member, epoch, max_epochs,
            figures);
    if (point)
        fprintf(stderr, "  loss %.4f", point->loss);
    fprintf(stderr, "  at most %s left%s", left, t->is_terminal ? "\033[K" : "\n");
    (void)fflush(stderr);
}

static bool on_epoch(void *arg, uint32_t epoch, const struct train_point *point)
{
    struct train *t = arg;
    uint32_t max_epochs = (uint32_t)t->a.r.options->epochs;
    int64_t now_us = clock_mono_us(), every_us = t->is_terminal ? 100000 : 5000000;

    t->n_epochs++;
    if (point && point->ndcg > t->best)
        t->best = point->ndcg;
    if (point || now_us - t->told_us >= every_us) {
        tell(t, epoch, max_epochs, point);
        t->told_us = now_us;
    }
    return !interrupted;
}

/* The daemon ends a trainer that says nothing for training.heartbeat_s. */
static void beat(struct train *t, const char *what, size_t n_done, size_t n)
{
    int64_t now_us = clock_mono_us();

    if (now_us - t->told_us < 5000000)
        return;
    t->told_us = now_us;
    fprintf(stderr, "%s%s %zu of %zu%s", t->is_terminal ? "\r" : "", what, n_done, n,
            t->is_terminal ? "\033[K" : "\n");
    (void)fflush(stderr);
}

static void on_step(void *arg, uint32_t epoch, size_t step, size_t n_steps)
{
    char what[32];

    (void)snprintf(what, sizeof(what), "epoch %u, step", epoch);
    beat(arg, what, step, n_steps);
}

static void on_member(void *arg, uint32_t member)
{
    struct train *t = arg;

    t->member = member;
    t->best = 0;
}

static void on_graph(void *arg, size_t n_done, size_t n_items)
{
    beat(arg, "item-item graph, item", n_done, n_items);
}

static bool on_sweep(void *arg, uint32_t factorisation, uint32_t sweep, uint32_t n_sweeps)
{
    char what[48];

    (void)snprintf(what, sizeof(what), "factorisation %u, sweep", factorisation);
    beat(arg, what, sweep, n_sweeps);
    return !interrupted;
}

/* In a line of its own, on a terminal too. */
static void on_stage(void *arg, const char *what)
{
    struct train *t = arg;
    const bool is_drawn = t->is_terminal && t->told_us != t->started_us;

    t->told_us = clock_mono_us();
    fprintf(stderr, "%s%s%s", is_drawn ? "\n" : "", what, t->is_terminal ? "" : "\n");
    (void)fflush(stderr);
}

static void on_signal(int signal)
{
    static const char text[] =
        "\nstopping at the end of this epoch; a second signal stops at once\n";

    (void)signal;
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    interrupted = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

/* ---- the folder of the files ---------------------------------------------------------------- */

/* Beside the models, where the daemon clears up after us; elsewhere when we may not write there. */
static int make_folder(const struct settings *s, char ret_dir[PATH_MAX], struct err *err)
{
    int r = paths_model_file(s, RETRAIN_BY_HAND "XXXXXX", ret_dir, err);

    if (r != ERR_OK)
        return r;
    if (mkdtemp(ret_dir))
        return ERR_OK;
    const char *tmp = getenv("TMPDIR");
    r = paths_join(tmp ? tmp : "/tmp", "metammf-train-XXXXXX", ret_dir, err);
    if (r != ERR_OK)
        return r;
    if (mkdtemp(ret_dir))
        return ERR_OK;
    return err_fatal(err, EX_CANTCREAT, "%s: %s", ret_dir, strerror(errno));
}

/* ---- running it ------------------------------------------------------------------------------ */

static int train_into(struct train *t, const char *dir, json_t **ret_metrics, struct err *err)
{
    struct cli *cli = t->a.input.cli;
    struct store *st;
    int r = cli_open_store(cli, &st, err);

    if (r != ERR_OK)
        return r;
    t->is_terminal = isatty(STDERR_FILENO);
    t->started_us = t->told_us = clock_mono_us();
    t->a.r.progress = on_epoch;
    t->a.r.graph = on_graph;
    t->a.r.step = on_step;
    t->a.r.member = on_member;
    t->a.r.sweep = on_sweep;
    t->a.r.stage = on_stage;
    t->n_members = (uint32_t)t->a.r.options->members;
    t->a.r.arg = t;
    catch_signals();
    r = training_run(st, &cli->settings, &t->a.r, dir, ret_metrics, err);
    if (t->is_terminal && t->told_us != t->started_us)
        fputc('\n', stderr);
    store_close(st);
    return r;
}

static int train_and_publish(struct train *t, json_t **ret_metrics, int64_t *ret_model_id,
                             struct err *err)
{
    char dir[PATH_MAX];
    int r = cli_become_owner(t->a.input.cli, err);

    if (r == ERR_OK)
        r = make_folder(&t->a.input.cli->settings, dir, err);
    if (r != ERR_OK)
        return r;
    r = train_into(t, dir, ret_metrics, err);
    bool trained = r == ERR_OK;
    const struct cli_model_write publish = {.change = CLI_MODEL_PUBLISH,
                                            .path = dir,
                                            .activate = !t->a.no_promote,
                                            .label = "publish"};
    if (trained)
        r = cli_model_write(t->a.input.cli, &publish, ret_model_id, err);
    if (trained && r != ERR_OK)
        return err_wrap(err, "the model is in %s; metammf model import takes it", dir);
    model_files_remove(dir);
    return r;
}

static void print_figures(const json_t *metrics)
{
    static const char *const slices[] = {"overall", "warm", "cold", "cold_only"};
    const json_t *valid = json_object_get(metrics, "valid");

    for (size_t i = 0; valid && i < sizeof slices / sizeof slices[0]; i++) {
        const json_t *at = json_object_get(json_object_get(valid, slices[i]), "20");

        printf("  %-9s  recall@20 %.4f  ndcg@20 %.4f\n", slices[i],
               json_real_value(json_object_get(at, "recall")),
               json_real_value(json_object_get(at, "ndcg")));
    }
}

static json_int_t integer(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static void print_course(const struct train *t, const json_t *metrics)
{
    double seconds = json_real_value(json_object_get(metrics, "seconds"));

    if (t->n_members > 1)
        printf("%u trainings, %" JSON_INTEGER_FORMAT " epochs in %.1f s", t->n_members,
               integer(metrics, "epochs"), seconds);
    else
        printf("%" JSON_INTEGER_FORMAT " epochs in %.1f s, best %" JSON_INTEGER_FORMAT,
               integer(metrics, "epochs"), seconds, integer(metrics, "best_epoch"));
    if (integer(metrics, "n_valid_pairs") > 0 &&
        strcmp(cli_field(metrics, "ended_by"), "epochs") == 0)
        printf(" (all that --epochs %" PRId64 " allows)", t->a.r.options->epochs);
}

static int print_text(const struct train *t, const json_t *metrics, int64_t model_id)
{
    const json_t *o = json_object_get(metrics, "options");

    if (t->a.out)
        printf("files in %s", cli_text(t->a.out));
    else
        printf("model %" PRId64 " %s", model_id,
               t->a.no_promote ? "added as a candidate" : "is active");
    printf(": %s, %s, item graph %s, %" JSON_INTEGER_FORMAT " numbers\n",
           cli_field(o, "fusion"), cli_field(o, "backbone"), cli_field(o, "item_graph"),
           integer(o, "dim"));
    printf("%" JSON_INTEGER_FORMAT " pairs of %" JSON_INTEGER_FORMAT
           " users and %" JSON_INTEGER_FORMAT " items, ",
           integer(metrics, "n_pairs"), integer(metrics, "n_users"),
           integer(metrics, "n_items"));
    print_course(t, metrics);
    printf("; on %" JSON_INTEGER_FORMAT " held-out pairs:\n",
           integer(metrics, "n_valid_pairs"));
    print_figures(metrics);
    weights_print_figures(metrics);
    return cli_finish();
}

static int print_result(const struct train *t, json_t *metrics, int64_t model_id)
{
    if (!t->a.input.cli->json)
        return print_text(t, metrics, model_id);
    (void)json_object_del(metrics, "files");
    (void)json_object_del(metrics, "no_history");
    if (t->a.out)
        (void)json_object_set_new(metrics, "dir", json_of_text(t->a.out));
    else
        (void)json_object_update_new(metrics,
                                     json_pack("{s:I, s:b}", "model_id", (json_int_t)model_id,
                                               "active", !t->a.no_promote));
    return cli_print_json(json_incref(metrics));
}

static int ask_daemon(struct cli *cli, struct err *err)
{
    struct control_ask ask = {0};
    json_t *result = NULL;
    int r = cli_daemon(cli, &ask.fd, err);

    if (r == ERR_NONE)
        return err_fatal(err, EX_UNAVAILABLE, "no daemon has this store open: leave --now out");
    if (r != ERR_OK)
        return r;
    ask.request = json_pack("{s:s}", "command", "train");
    r = control_ask(&ask, &result, err);
    (void)close(ask.fd);
    if (r == ERR_OK && cli->json)
        return cli_print_json(result);
    if (r == ERR_OK)
        printf("asked; %s\n", cli_field(result, "state"));
    json_decref(result);
    return r;
}

int cli_train(struct cli *cli, int argc, char **argv)
{
    struct train t = {0};
    json_t *metrics = NULL;
    int64_t model_id = 0;
    struct err err;

    cli_train_parse(cli, argc, argv, &t.a);
    err_clear(&err);
    int r = cli_load(cli, &err);
    if (r == ERR_OK && t.a.now)
        return ask_daemon(cli, &err) == ERR_OK ? cli_finish() : cli_fail(&err);
    if (r == ERR_OK)
        r = cli_train_settle(&t.a, &err);
    if (r == ERR_OK)
        r = t.a.out ? train_into(&t, t.a.out, &metrics, &err)
                    : train_and_publish(&t, &metrics, &model_id, &err);
    int code = r == ERR_OK ? print_result(&t, metrics, model_id) : cli_fail(&err);
    json_decref(metrics);
    return code;
}
