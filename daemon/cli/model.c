/* metammf model list|show|promote|rollback|pin|import|export. */
#include "daemon/cli/cli.h"

#include "config/digest.h"
#include "daemon/base/json_field.h"
#include "daemon/base/paths.h"
#include "daemon/cli/model_write.h"
#include "daemon/cli/weights.h"
#include "daemon/model/active_model.h"
#include "daemon/model/models.h"
#include "fusion/file/outfile.h"
#include "store/models.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

enum { LIST_MAX = 1000, OPTION_OUT = 256, OPTION_PROMOTE };

enum action { LIST, SHOW, PROMOTE, ROLLBACK, PIN, UNPIN, IMPORT, EXPORT, N_ACTIONS };
static const char *const action_names[N_ACTIONS] = {"list", "show",  "promote", "rollback",
                                                    "pin",  "unpin", "import",  "export"};

struct model_verb {
    struct cli_input input; /* first */
    int action;             /* -1 = none yet */
    int64_t model_id;       /* 0 = not given */
    const char *path;
    bool promote;
};

static const struct argp_option options[] = {
    {"out", OPTION_OUT, "FILE", 0, "export: the file to write", 0},
    {"promote", OPTION_PROMOTE, NULL, 0, "import: make it the active model", 0},
    {0}};

static bool is_number(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text);
}

static void parse_arg(struct model_verb *v, const char *arg, struct argp_state *state)
{
    for (int i = 0; v->action < 0 && i < N_ACTIONS; i++)
        if (strcmp(arg, action_names[i]) == 0) {
            v->action = i;
            return;
        }
    if (v->action < 0)
        argp_error(state,
                   "\"%s\": say list, show, promote, rollback, pin, unpin, import or export",
                   arg);
    else if (v->action != IMPORT && !v->model_id && is_number(arg))
        v->model_id = cli_number(state, "model", arg, 1, INT64_MAX);
    else if ((v->action == IMPORT || v->action == EXPORT) && !v->path)
        v->path = arg;
    else
        argp_error(state, "unexpected argument \"%s\"", arg);
}

static void check_arguments(const struct model_verb *v, struct argp_state *state)
{
    if (v->action < 0)
        argp_error(state, "say list, show, promote, rollback, pin, unpin, import or export");
    else if (v->action == PROMOTE && !v->model_id)
        argp_error(state, "promote which? Example: metammf model promote 3");
    else if ((v->action == IMPORT || v->action == EXPORT) && !v->path)
        argp_error(state, "%s needs a FILE", action_names[v->action]);
}

static error_t parse_model(int key, char *arg, struct argp_state *state)
{
    struct model_verb *v = state->input;

    if (cli_parse_init(key, state))
        return 0;
    switch (key) {
    case OPTION_OUT:
        v->path = arg;
        return 0;
    case OPTION_PROMOTE:
        v->promote = true;
        return 0;
    case ARGP_KEY_ARG:
        parse_arg(v, arg, state);
        return 0;
    case ARGP_KEY_END:
        check_arguments(v, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options,
    parse_model,
    "list\nshow [ID]\npromote ID\nrollback [ID]\npin [ID]\nunpin\nimport FILE|DIR\nexport [ID] "
    "FILE",
    "Lists the models of a store, and changes which one is active.\v"
    "Without an ID, show, pin and export take the active model. promote makes a model the "
    "active one. rollback returns to the model that was active before; a second rollback "
    "goes back one further, and from the oldest it returns to the newer one that was active "
    "last. Both take effect at once when the model's vectors are still stored; otherwise the "
    "missing ones are fused first. A pinned model is not replaced by retraining. import "
    "takes a safetensors file (an authors' state_dict works) or the folder of metammf train "
    "--out, and adds a candidate. export writes a model's file; its tensors carry the "
    "authors' names, and our own begin with mmf.\n\n"
    "Examples:\n"
    "  metammf --store s.db model list\n"
    "  metammf --store s.db model rollback\n"
    "  metammf --store s.db model import metammf_gcn.safetensors --promote",
    cli_common,
    NULL,
    NULL};

/* ---- reading ------------------------------------------------------------------------------- */

static const char *origin_name(enum store_model_origin origin)
{
    static const char *const names[] = {"seeded", "trained", "imported"};

    return names[origin];
}

static double figure(const json_t *metrics, const char *slice, const char *name)
{
    const json_t *of = json_object_get(json_object_get(metrics, "valid"), slice);

    return json_number_value(json_object_get(json_object_get(of, "20"), name));
}

static json_t *model_json(const struct store_model *m, int64_t pinned)
{
    json_t *metrics = m->metrics ? json_loads(m->metrics, 0, NULL) : NULL;
    json_t *encoders = m->encoder_ids ? json_loads(m->encoder_ids, 0, NULL) : NULL;

    json_object_del(metrics, "no_history");
    return json_pack(
        "{s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:s, s:s, s:o*, s:o*}", "model_id",
        (json_int_t)m->model_id, "state", m->state, "origin", origin_name(m->origin),
        "backbone", m->backbone, "fusion", m->fusion, "parent", (json_int_t)m->parent_id,
        "created_ms", (json_int_t)(m->created_us / 1000), "pinned", m->model_id == pinned,
        "file", m->file, "sha256", m->sha256, "encoder_ids", encoders, "metrics", metrics);
}

static void print_row(const struct store_model *m, int64_t pinned)
{
    json_t *metrics = m->metrics ? json_loads(m->metrics, 0, NULL) : NULL;
    char when[32], figures[64] = "";

    cli_time(m->created_us, when, sizeof when);
    if (json_object_get(metrics, "valid"))
        (void)snprintf(figures, sizeof figures, "  ndcg@20 %.4f, cold %.4f",
                       figure(metrics, "overall", "ndcg"),
                       figure(metrics, "cold_only", "ndcg"));
    printf("%6" PRId64 "  %-9s  %s  %-8s %-8s %-8s%s%s\n", m->model_id, m->state, when,
           origin_name(m->origin), m->fusion, m->backbone, figures,
           m->model_id == pinned ? "  pinned" : "");
    json_decref(metrics);
}

static int print_list(const struct cli *cli, const struct store_model *rows, size_t n,
                      int64_t pinned)
{
    json_t *array = cli->json ? json_array() : NULL;

    if (!cli->json && !n)
        puts("no models yet: see metammf train --help");
    for (size_t i = 0; i < n; i++) {
        if (cli->json)
            (void)json_array_append_new(array, model_json(&rows[i], pinned));
        else
            print_row(&rows[i], pinned);
    }
    return cli->json ? cli_print_json(array) : cli_finish();
}

static int list_models(struct cli *cli, struct store *st)
{
    struct store_model *rows = NULL;
    int64_t pinned = 0;
    size_t n = 0;
    struct err err;
    int r = store_pinned_model(st, &pinned, &err);

    if (r == ERR_OK)
        r = store_model_list(st, LIST_MAX, &rows, &n, &err);
    int code = r == ERR_OK ? print_list(cli, rows, n, pinned) : cli_fail(&err);
    for (size_t i = 0; i < n; i++)
        store_model_done(&rows[i]);
    free(rows);
    return code;
}

static json_t *curve_json(const struct store_metric *points, size_t n)
{
    json_t *array = json_array(), *point = NULL;

    for (size_t i = 0; array && i < n; i++) {
        if (!i || points[i].epoch != points[i - 1].epoch) {
            point = json_pack("{s:i}", "epoch", (int)points[i].epoch);
            (void)json_array_append_new(array, point);
        }
        (void)json_object_set_new(point, points[i].name, json_real(points[i].value));
    }
    return array;
}

static int print_model(const struct store_model *m, int64_t pinned,
                       const struct store_metric *points, size_t n)
{
    char *metrics = NULL;
    json_t *object = model_json(m, pinned);

    print_row(m, pinned);
    weights_print_figures(json_field(object, "metrics"));
    metrics = cli_json_text(object, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    puts(metrics ? metrics : "");
    free(metrics);
    json_decref(object);
    for (size_t i = 0; i < n; i++)
        printf("%s%s %.4f", !i || points[i].epoch != points[i - 1].epoch ? "\nepoch " : "  ",
               cli_text(points[i].name), points[i].value);
    if (n)
        puts("");
    return cli_finish();
}

/* model_id 0 = the active one. */
static int find_model(struct store *st, int64_t model_id, struct store_model *ret_m,
                      struct err *err)
{
    int r = model_id ? store_model_get(st, model_id, ret_m, err)
                     : store_model_active(st, ret_m, err);

    if (r != ERR_NONE)
        return r;
    return model_id ? err_fatal(err, EX_NOINPUT, "no model %" PRId64 ": see metammf model list",
                                model_id)
                    : err_fatal(err, EX_NOINPUT, "no model yet: see metammf train --help");
}

static int show_model(struct cli *cli, struct store *st, int64_t model_id)
{
    struct store_metric *points = NULL;
    struct store_model m = {0};
    int64_t pinned = 0;
    size_t n = 0;
    struct err err;
    int code, r = find_model(st, model_id, &m, &err);

    if (r == ERR_OK)
        r = store_pinned_model(st, &pinned, &err);
    if (r == ERR_OK)
        r = store_get_curve(st, m.model_id, &points, &n, &err);
    if (r != ERR_OK) {
        code = cli_fail(&err);
    } else if (cli->json) {
        json_t *object = model_json(&m, pinned);
        (void)json_object_set_new(object, "curve", curve_json(points, n));
        code = cli_print_json(object);
    } else {
        code = print_model(&m, pinned, points, n);
    }
    free(points);
    store_model_done(&m);
    return code;
}

/* ---- export -------------------------------------------------------------------------------- */

static int copy_checked(const struct store_model *m, const char *from, const char *to,
                        struct err *err)
{
    char hex[DIGEST_HEX_BYTES];
    int r = digest_path_hex(from, hex, err);

    if (r == ERR_OK && strcmp(hex, m->sha256) != 0)
        r = err_fatal(err, EX_DATAERR,
                      "model %" PRId64 ": %s: its sha256 is not the one in the store",
                      m->model_id, from);
    return r == ERR_OK ? outfile_copy(from, to, err) : r;
}

static int export_model(struct cli *cli, struct store *st, const struct model_verb *v)
{
    struct store_model m = {0};
    char from[PATH_MAX];
    struct err err;
    int r = find_model(st, v->model_id, &m, &err);

    if (r == ERR_OK)
        r = active_model_has_file(&m, &err);
    if (r == ERR_OK)
        r = paths_model_file(&cli->settings, m.file, from, &err);
    if (r == ERR_OK)
        r = copy_checked(&m, from, v->path, &err);
    int code = r != ERR_OK ? cli_fail(&err)
               : cli->json
                   ? cli_print_json(json_pack("{s:I, s:o}", "model_id", (json_int_t)m.model_id,
                                              "file", json_of_text(v->path)))
                   : 0;
    if (r == ERR_OK && !cli->json) {
        printf("model %" PRId64 " in %s\n", m.model_id, cli_text(v->path));
        code = cli_finish();
    }
    store_model_done(&m);
    return code;
}

static int read_verb(struct cli *cli, const struct model_verb *v)
{
    struct store *st;
    struct err err;

    err_clear(&err);
    if (cli_open_store(cli, &st, &err) != ERR_OK)
        return cli_fail(&err);
    int code = v->action == LIST   ? list_models(cli, st)
               : v->action == SHOW ? show_model(cli, st, v->model_id)
                                   : export_model(cli, st, v);
    store_close(st);
    return code;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* Which model rollback or pin means. */
static int choose_model(struct cli *cli, struct model_verb *v, struct err *err)
{
    struct store_model m = {0};
    struct store *st;
    int r = cli_open_store(cli, &st, err);

    if (r != ERR_OK)
        return r;
    if (v->action == ROLLBACK) {
        r = models_previous(st, &v->model_id, err);
    } else {
        r = find_model(st, 0, &m, err);
        v->model_id = m.model_id;
    }
    store_model_done(&m);
    store_close(st);
    return r;
}

static int describe_write(const struct model_verb *v, struct cli_model_write *w,
                          struct err *err)
{
    struct stat info;

    *w = (struct cli_model_write){.model_id = v->model_id,
                                  .path = v->path,
                                  .activate = v->promote,
                                  .label = action_names[v->action]};
    if (v->action == IMPORT && stat(v->path, &info) != 0)
        return err_fatal(err, EX_NOINPUT, "%s: %s", v->path, strerror(errno));
    w->change = v->action == IMPORT
                    ? (S_ISDIR(info.st_mode) ? CLI_MODEL_PUBLISH : CLI_MODEL_IMPORT)
                : v->action == PIN || v->action == UNPIN ? CLI_MODEL_PIN
                                                         : CLI_MODEL_ACTIVATE;
    return ERR_OK;
}

static int print_write(const struct cli *cli, const struct model_verb *v, int64_t model_id)
{
    static const char *const done[N_ACTIONS] = {
        [PROMOTE] = "is active", [ROLLBACK] = "is active",          [PIN] = "is pinned",
        [UNPIN] = "unpinned",    [IMPORT] = "added as a candidate",
    };
    bool active = v->action == PROMOTE || v->action == ROLLBACK || v->promote;

    if (cli->json)
        return cli_print_json(
            json_pack("{s:I, s:b}", "model_id", (json_int_t)model_id, "active", active));
    if (v->action == UNPIN)
        puts("no model is pinned");
    else
        printf("model %" PRId64 " %s\n", model_id, active ? "is active" : done[v->action]);
    return cli_finish();
}

static int write_verb(struct cli *cli, struct model_verb *v)
{
    bool chooses = (v->action == ROLLBACK || v->action == PIN) && !v->model_id;
    struct cli_model_write w;
    int64_t model_id = 0;
    struct err err;

    err_clear(&err);
    int r = cli_load(cli, &err);
    if (r == ERR_OK && chooses)
        r = choose_model(cli, v, &err);
    if (r == ERR_OK)
        r = describe_write(v, &w, &err);
    if (r == ERR_OK)
        r = cli_model_write(cli, &w, &model_id, &err);
    return r == ERR_OK ? print_write(cli, v, model_id) : cli_fail(&err);
}

int cli_model(struct cli *cli, int argc, char **argv)
{
    struct model_verb v = {.input.cli = cli, .action = -1};

    cli_parse(&argp, argc, argv, &v.input);
    if (v.action == LIST || v.action == SHOW || v.action == EXPORT)
        return read_verb(cli, &v);
    return write_verb(cli, &v);
}
