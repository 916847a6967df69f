/* metammf status: one screen. */
#include "daemon/cli/cli.h"

#include "config/clock.h"
#include "daemon/base/json_field.h"
#include "daemon/cli/extract/extract.h"
#include "daemon/service/control_client.h"
#include "daemon/source/reextract.h"
#include "store/kinds.h"
#include "store/models.h"
#include "store/reading.h"
#include "store/touch.h"
#include "store/writing.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sysexits.h>
#include <unistd.h>

#define MODELS_MAX  10000
#define KINDS_SHOWN 8
#define PARTS_SHOWN 10

struct status {
    struct cli_input input; /* first */
};

static error_t parse_status(int key, char *arg, struct argp_state *state)
{
    if (cli_parse_init(key, state))
        return 0;
    if (key == ARGP_KEY_ARG)
        argp_error(state, "unexpected argument \"%s\"", arg);
    return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
    NULL,
    parse_status,
    NULL,
    "Shows the daemon, its source and lag, the queue, the store's counts, the model, the dead "
    "letters and the disk.\v"
    "Works while the daemon is down, too, and without the right to ask it (group "
    "metammf-admin), which is then said. With --json one object: store, daemon (null when it "
    "is down or cannot answer: see daemon_error), writer_pid (who holds the store's lock, 0 "
    "nobody), counts, interactions, forgotten, "
    "last_commit_us, model, models, pinned, last_training, refresh, dead_letters, offsets, "
    "disk. interactions has kinds [{kind, n, factor, known}], default, and pairs {all, edges, "
    "against, estimated}; forgotten has users, erasing and dropped; counts.unpublished are the "
    "items known from interactions alone.\n\n"
    "Example:\n"
    "  metammf --store /var/lib/metammfd/metammf.db status",
    cli_common,
    NULL,
    NULL};

/* ---- gathering --------------------------------------------------------------------------- */

static json_t *json_counts(const struct store_counts *c, int64_t n_stale)
{
    return json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "cold",
        (json_int_t)c->n_cold, "warm", (json_int_t)c->n_warm, "items", (json_int_t)c->n_items,
        "deleted", (json_int_t)c->n_deleted, "embeddings", (json_int_t)c->n_embeddings,
        "no_signal", (json_int_t)c->n_no_signal, "no_features", (json_int_t)c->n_no_features,
        "unpublished", (json_int_t)c->n_unpublished, "stale",
        n_stale < 0 ? json_null() : json_integer(n_stale), "users", (json_int_t)c->n_users,
        "interactions", (json_int_t)c->n_interactions, "dead_letters",
        (json_int_t)c->n_dead_letters, "outbox", (json_int_t)c->n_outbox, "gaps",
        (json_int_t)c->n_gaps, "last_seq", (json_int_t)c->last_seq);
}

static int json_dead_letters(struct store *st, json_t *ret_object, struct err *err)
{
    struct store_count_by *rows = NULL;
    size_t n = 0;
    int r = store_count_dead_letters(st, &rows, &n, err);

    for (size_t i = 0; r == ERR_OK && i < n; i++)
        json_object_set_new(ret_object, rows[i].name, json_integer(rows[i].n));
    free(rows);
    return r;
}

/* By kind what is stored and what it counts, and how many pairs come of it. */
static int json_interactions(struct store *st, json_t **ret_object, struct err *err)
{
    struct store_kind *kinds = NULL;
    struct store_pair_counts pairs = {0};
    json_t *array = json_array();
    double other = 1;
    size_t n = 0;
    int64_t total = 0;
    int r = store_read_kinds(st, &kinds, &n, &other, err);

    for (size_t i = 0; r == ERR_OK && i < n; i++) {
        total += kinds[i].n;
        if (kinds[i].n > 0)
            json_array_append_new(array,
                                  json_pack("{s:s, s:I, s:f, s:b}", "kind", kinds[i].kind, "n",
                                            (json_int_t)kinds[i].n, "factor", kinds[i].factor,
                                            "known", kinds[i].is_named));
    }
    free(kinds);
    if (r == ERR_OK)
        r = store_count_pairs(st, total, &pairs, err);
    *ret_object =
        json_pack("{s:o, s:f, s:{s:I, s:I, s:I, s:b}}", "kinds", array, "default", other,
                  "pairs", "all", (json_int_t)pairs.n_pairs, "edges", (json_int_t)pairs.n_edges,
                  "against", (json_int_t)pairs.n_against, "estimated", pairs.estimated);
    return r;
}

static int json_offsets(struct store *st, json_t *ret_array, int64_t *ret_last_us,
                        struct err *err)
{
    struct store_offset_row *rows = NULL;
    size_t n = 0;
    int r = store_read_offsets(st, &rows, &n, err);

    *ret_last_us = 0;
    for (size_t i = 0; r == ERR_OK && i < n; i++) {
        int64_t us = (int64_t)(rows[i].updated_ms * 1000);

        if (us > *ret_last_us)
            *ret_last_us = us;
        json_array_append_new(ret_array,
                              json_pack("{s:s, s:i, s:I}", "topic", rows[i].topic, "partition",
                                        (int)rows[i].partition, "next_offset",
                                        (json_int_t)rows[i].next_offset));
    }
    if (r == ERR_OK)
        store_offsets_free(rows, n);
    return r;
}

/* NDCG@20 as the gate measured it, else as training did on its own split; -1 = neither. */
static double ndcg_of(const struct store_model *m)
{
    json_t *metrics = m->metrics ? json_loads(m->metrics, 0, NULL) : NULL;
    double ndcg = -1;

    if (json_unpack(metrics, "{s:{s:{s:F}}}", "gate", "candidate", "ndcg_20", &ndcg) != 0 &&
        json_unpack(metrics, "{s:{s:{s:{s:F}}}}", "valid", "overall", "20", "ndcg", &ndcg) != 0)
        ndcg = -1;
    json_decref(metrics);
    return ndcg;
}

/* How many models there are in which state, and the newest one that was trained here. */
static int add_models(struct store *st, json_t *object, struct err *err)
{
    struct store_model *rows = NULL;
    json_t *states = json_object(), *last = NULL;
    int64_t pinned = 0;
    size_t n = 0;
    int r = store_model_list(st, MODELS_MAX, &rows, &n, err);

    for (size_t i = 0; r == ERR_OK && i < n; i++) {
        json_int_t so_far = json_integer_value(json_object_get(states, rows[i].state));

        json_object_set_new(states, rows[i].state, json_integer(so_far + 1));
        if (!last && rows[i].origin == STORE_MODEL_TRAINED)
            last = json_pack("{s:I, s:s, s:I, s:f}", "model_id", (json_int_t)rows[i].model_id,
                             "state", rows[i].state, "created_us",
                             (json_int_t)rows[i].created_us, "ndcg_20", ndcg_of(&rows[i]));
    }
    for (size_t i = 0; i < n; i++)
        store_model_done(&rows[i]);
    free(rows);
    if (r == ERR_OK)
        r = store_pinned_model(st, &pinned, err);
    json_object_set_new(object, "models", states);
    json_object_set_new(object, "last_training", last ? last : json_null());
    json_object_set_new(object, "pinned", pinned ? json_integer(pinned) : json_null());
    return r;
}

static int json_model(struct store *st, json_t **ret_model, struct err *err)
{
    static const char *const origins[] = {"seeded", "trained", "imported"};
    struct store_model m = {0};
    int r = store_model_active(st, &m, err);

    if (r == ERR_NONE) {
        *ret_model = json_null();
        return ERR_OK;
    }
    if (r == ERR_OK)
        *ret_model =
            json_pack("{s:I, s:s, s:s, s:s, s:I, s:f}", "id", (json_int_t)m.model_id, "origin",
                      origins[m.origin], "backbone", m.backbone, "fusion", m.fusion,
                      "created_us", (json_int_t)m.created_us, "ndcg_20", ndcg_of(&m));
    store_model_done(&m);
    return r;
}

static json_t *json_disk(const char *path, const struct store_counts *c)
{
    struct statvfs v;
    int64_t free_bytes =
        statvfs(path, &v) == 0 ? (int64_t)v.f_bavail * (int64_t)v.f_frsize : -1;

    return json_pack("{s:I, s:I, s:I}", "store_bytes", (json_int_t)c->file_bytes, "wal_bytes",
                     (json_int_t)c->wal_bytes, "free_bytes", (json_int_t)free_bytes);
}

/* What no vector holds yet, and the age of the oldest of it. */
static int json_refresh(struct store *st, json_t **ret_refresh, struct err *err)
{
    struct store_backlog b = {0};
    int r = store_touch_backlog(st, &b, err);
    double age_s = b.oldest_ms > 0 ? (double)clock_real_us() / 1e6 - b.oldest_ms / 1e3 : 0;

    if (r == ERR_OK)
        *ret_refresh = json_pack("{s:I, s:f}", "touches", (json_int_t)b.n_touches,
                                 "staleness_s", age_s > 0 ? age_s : 0);
    return r;
}

/* How many users are forgotten, and what came of them again. */
static int json_forgotten(struct store *st, json_t *object, struct err *err)
{
    struct store_forgotten_sums sums = {0};
    int r = store_forgotten_sums(st, &sums, err);

    if (r == ERR_OK)
        json_object_set_new(object, "forgotten",
                            json_pack("{s:I, s:I, s:I}", "users", (json_int_t)sums.n_users,
                                      "dropped", (json_int_t)sums.n_dropped, "erasing",
                                      (json_int_t)sums.n_erasing));
    return r;
}

static int gather_store(struct cli *cli, struct store *st, json_t *object, struct err *err)
{
    json_t *dead = json_object(), *offsets = json_array(), *model = NULL;
    json_t *refresh = NULL, *interactions = NULL;
    struct store_counts counts = {0};
    int64_t last_us = 0, n_stale = extract_count_stale(cli, st);
    int r = store_count(st, &counts, err);

    if (r == ERR_OK)
        r = json_dead_letters(st, dead, err);
    if (r == ERR_OK)
        r = json_offsets(st, offsets, &last_us, err);
    if (r == ERR_OK)
        r = json_model(st, &model, err);
    if (r == ERR_OK)
        r = add_models(st, object, err);
    if (r == ERR_OK)
        r = json_refresh(st, &refresh, err);
    if (r == ERR_OK)
        r = json_interactions(st, &interactions, err);
    json_object_set_new(object, "interactions", interactions ? interactions : json_null());
    json_object_set_new(object, "refresh", refresh ? refresh : json_null());
    json_object_set_new(object, "counts", json_counts(&counts, n_stale));
    if (r == ERR_OK)
        r = json_forgotten(st, object, err);
    json_object_set_new(object, "last_commit_us", json_integer(last_us));
    json_object_set_new(object, "model", model ? model : json_null());
    json_object_set_new(object, "dead_letters", dead);
    json_object_set_new(object, "offsets", offsets);
    json_object_set_new(object, "disk", json_disk(cli->settings.store.path, &counts));
    return r;
}

/* The daemon's own status, null when it is down; err says why when it is up but silent. */
static json_t *gather_daemon(struct cli *cli, struct err *err)
{
    struct control_ask ask = {0};
    json_t *status = NULL;

    if (control_find(&cli->settings, &ask.fd, err) != ERR_OK)
        return json_null();
    ask.request = json_pack("{s:s}", "command", "status");
    control_ask(&ask, &status, err);
    close(ask.fd);
    return status ? status : json_null();
}

/* Who holds the store's lock: 0 = nobody, null = that cannot be told. */
static json_t *json_writer(const char *store_path)
{
    long pid = store_writer_pid(store_path);

    return pid < 0 ? json_null() : json_integer(pid);
}

/* ---- for people -------------------------------------------------------------------------- */

/* What there is to say without a daemon's own words: who may not ask it sees who holds the store's lock. */
static void print_absent(const json_t *root, const struct err *err)
{
    struct cli_paint paint = cli_paint(1);
    const json_t *writer = json_field(root, "writer_pid");
    json_int_t pid = json_is_integer(writer) ? json_integer_value(writer) : -1;
    bool is_mute = err->status != ERR_OK && err->exit_code == EX_NOPERM;
    const char *word = "unknown", *colour = paint.bad;

    if (err->status == ERR_OK) /* control_find found none, and left *err as it was */
        word = "down";
    else if (err->exit_code == EX_TEMPFAIL)
        word = "busy";
    else if (is_mute && pid > 0)
        word = "up", colour = paint.dim;
    else if (is_mute && pid == 0)
        word = "down";
    printf("daemon       %s%s%s", colour, word, paint.off);
    if (is_mute && pid > 0)
        printf(", pid %" JSON_INTEGER_FORMAT " holds the store", pid);
    printf("%s%s\n", err->text[0] ? ": " : "", cli_text(err->text));
}

static bool is_well(const char *state)
{
    return strcmp(state, "reading") == 0 || strcmp(state, "caught_up") == 0;
}

/* Each partition that is not simply read, the first of them. */
static void print_parts(const json_t *parts)
{
    int n = 0;

    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *p = json_array_get(parts, i);
        const char *why = cli_field(p, "why");

        if (is_well(json_field_text(p, "state")) || n++ >= PARTS_SHOWN)
            continue;
        printf("             %s", cli_field(p, "topic"));
        if (json_field_int(p, "partition") >= 0)
            printf("/%" PRId64, json_field_int(p, "partition"));
        printf(": %s%s%s\n", cli_field(p, "state"), *why ? ": " : "", why);
    }
    if (n > PARTS_SHOWN)
        printf("             … and %d more: metammf status --json\n", n - PARTS_SHOWN);
}

static void print_source_doing(const json_t *s)
{
    char states[256];

    cli_states(json_field(s, "states"), states, sizeof(states));
    if (states[0] != '\0')
        printf("             %s\n", states);
    print_parts(json_field(s, "parts"));
    if (*json_field_text(s, "detail"))
        printf("             %s\n", cli_field(s, "detail"));
    if (*json_field_text(s, "warning"))
        printf("             warning: %s\n", cli_field(s, "warning"));
}

static void print_daemon(const json_t *root, const struct err *err)
{
    struct cli_paint paint = cli_paint(1);
    const json_t *d = json_field(root, "daemon"), *s = json_field(d, "source"),
                 *w = json_field(d, "workers");
    const json_t *q = json_field(d, "queue");
    char lag[32] = "unknown", up[32];

    if (!json_is_object(d)) {
        print_absent(root, err);
        return;
    }
    if (json_field_int(s, "lag") >= 0)
        snprintf(lag, sizeof(lag), "%" PRId64, json_field_int(s, "lag"));
    cli_age(json_field_real(d, "uptime_s"), up, sizeof(up));
    printf("daemon       %s%s%s, pid %" PRId64 ", version %s, up %s%s%s\n",
           json_field_true(d, "ready") ? paint.good : paint.bad,
           json_field_true(d, "ready") ? "ready" : "not ready", paint.off,
           json_field_int(d, "pid"), cli_field(d, "version"), up,
           *json_field_text(d, "why") ? ": " : "", cli_field(d, "why"));
    printf("source       %s, %s, %" PRId64 " partitions, lag %s%s%s\n", cli_field(s, "name"),
           json_field_true(s, "connected") ? "connected" : "not connected",
           json_field_int(s, "partitions"), lag, json_field_true(s, "paused") ? ", paused" : "",
           json_field_true(s, "failed") ? ", failed" : "");
    print_source_doing(s);
    printf("queue        %" PRId64 " waiting, %" PRId64 " to commit, %" PRId64 " in flight\n",
           json_field_int(q, "work"), json_field_int(q, "done"),
           json_field_int(q, "in_flight"));
    printf("workers      %" PRId64 " of %" PRId64 " busy, %" PRId64 " jobs, %" PRId64
           " killed at the deadline, %" PRId64 " died%s\n",
           json_field_int(w, "busy"), json_field_int(w, "total"), json_field_int(w, "jobs"),
           json_field_int(w, "killed_deadline"), json_field_int(w, "died"),
           json_field_true(w, "sandboxed") ? "" : ", NOT sandboxed");
}

/* "training     next retrain in 12 min; the last one: published, NDCG@20 …" */
static void print_training(const json_t *d)
{
    const json_t *t = json_field(d, "training"), *last = json_field(t, "last");

    if (!json_is_object(t))
        return;
    printf("training     %s, %" PRId64 " new interactions\n", cli_field(t, "state"),
           json_field_int(t, "new_interactions"));
    if (json_is_object(last))
        printf("             last: %s, %s\n", cli_field(last, "result"),
               cli_field(last, "why"));
}

static void since(const json_t *object, char *ret_text, size_t bytes)
{
    cli_age((double)(clock_real_us() - json_field_int(object, "created_us")) / 1e6, ret_text,
            bytes);
}

static void print_figure(const json_t *object)
{
    double ndcg = json_field_real(object, "ndcg_20");

    if (ndcg >= 0)
        printf(", NDCG@20 %.4f", ndcg);
}

static void print_model(const json_t *root, const json_t *m)
{
    const json_t *last = json_field(root, "last_training");
    json_t *states = json_object_get(root, "models"), *n;
    const char *state;
    char age[32];

    if (!json_is_object(m)) {
        puts("model        none yet: the daemon makes one when it starts");
        return;
    }
    since(m, age, sizeof(age));
    printf("model        %" PRId64 ", %s, %s fusion, %s, %s old", json_field_int(m, "id"),
           cli_field(m, "origin"), cli_field(m, "fusion"), cli_field(m, "backbone"), age);
    print_figure(m);
    printf("%s\n", json_is_integer(json_field(root, "pinned")) ? ", pinned" : "");
    if (json_object_size(states) > 1)
        printf("             beside it");
    json_object_foreach(states, state, n) if (strcmp(state, "active") != 0)
        printf(" %" JSON_INTEGER_FORMAT " %s", json_integer_value(n), state);
    if (json_object_size(states) > 1)
        puts(": metammf model list");
    if (!json_is_object(last) || json_field_int(last, "model_id") == json_field_int(m, "id"))
        return;
    since(last, age, sizeof(age));
    printf("trained      %s ago: model %" PRId64 ", %s", age, json_field_int(last, "model_id"),
           cli_field(last, "state"));
    print_figure(last);
    puts("");
}

static void print_forgotten(const json_t *f)
{
    if (json_field_int(f, "users") == 0)
        return;
    printf("forgotten    %" PRId64 " users", json_field_int(f, "users"));
    if (json_field_int(f, "erasing") > 0)
        printf(", %" PRId64 " of them still being erased", json_field_int(f, "erasing"));
    if (json_field_int(f, "dropped") > 0)
        printf("; %" PRId64 " interactions of theirs came again and were dropped",
               json_field_int(f, "dropped"));
    puts("");
}

/* "interactions 120 of 7 users: watch 90, impression 28 (×0), share2 2 (×1, unknown)" */
static void print_interactions(const json_t *root)
{
    const json_t *c = json_field(root, "counts"), *x = json_field(root, "interactions");
    const json_t *pairs = json_field(x, "pairs"), *kind;
    const char *about = json_field_true(pairs, "estimated") ? "about " : "";
    size_t i;

    printf("interactions %" PRId64 " of %" PRId64 " users", json_field_int(c, "interactions"),
           json_field_int(c, "users"));
    json_array_foreach(json_field(x, "kinds"), i, kind)
    {
        if (i == KINDS_SHOWN) {
            printf(", … (--json has all)");
            break;
        }
        printf("%s %s %" PRId64 " (×%g%s)", i == 0 ? ":" : ",", cli_field(kind, "kind"),
               json_field_int(kind, "n"), json_field_real(kind, "factor"),
               json_field_true(kind, "known") ? "" : ", a kind without a setting");
    }
    printf("\npairs        %s%" PRId64 " of a user and an item: %s%" PRId64 " count, %s%" PRId64
           " count against the item\n",
           about, json_field_int(pairs, "all"), about, json_field_int(pairs, "edges"), about,
           json_field_int(pairs, "against"));
}

static void print_counts(const json_t *root)
{
    const json_t *c = json_field(root, "counts"), *refresh = json_field(root, "refresh");
    char when[32];

    printf("items        %" PRId64 " (%" PRId64 " cold, %" PRId64 " warm, %" PRId64
           " without signal, %" PRId64 " without features), %" PRId64 " deleted\n",
           json_field_int(c, "items"), json_field_int(c, "cold"), json_field_int(c, "warm"),
           json_field_int(c, "no_signal"), json_field_int(c, "no_features"),
           json_field_int(c, "deleted"));
    if (json_field_int(c, "unpublished") > 0)
        printf("             %" PRId64
               " of them are known from interactions alone: no list has "
               "them until they are published\n",
               json_field_int(c, "unpublished"));
    if (json_field_int(c, "stale") > 0)
        printf("stale        %" PRId64
               " items have features of another version of the encoders: "
               "metammf reextract\n",
               json_field_int(c, "stale"));
    print_interactions(root);
    print_forgotten(json_field(root, "forgotten"));
    if (json_field_int(refresh, "touches") > 0)
        printf("refresh      %" PRId64 " interactions or items wait, the oldest for %.1f s\n",
               json_field_int(refresh, "touches"), json_field_real(refresh, "staleness_s"));
    cli_time(json_field_int(root, "last_commit_us"), when, sizeof(when));
    printf("last commit  %s%s, seq %" PRId64 "\n",
           json_field_int(root, "last_commit_us") ? when : "none yet",
           json_field_int(root, "last_commit_us") ? " UTC" : "", json_field_int(c, "last_seq"));
    print_model(root, json_field(root, "model"));
}

static void print_rest(const json_t *root)
{
    const json_t *disk = json_field(root, "disk"), *c = json_field(root, "counts");
    char store[32], wal[32], left[32];
    json_t *dead = json_object_get(root, "dead_letters"), *n;
    const char *reason;

    printf("dead letters");
    if (json_object_size(dead) == 0)
        printf(" none");
    json_object_foreach(dead, reason, n)
        printf(" %s %" JSON_INTEGER_FORMAT, reason, json_integer_value(n));
    if (json_field_int(c, "outbox") > 0)
        printf("; %" PRId64 " to publish", json_field_int(c, "outbox"));
    if (json_field_int(c, "gaps") > 0)
        printf("; gaps in the log: %" PRId64, json_field_int(c, "gaps"));
    cli_bytes(json_field_int(disk, "store_bytes"), store, sizeof(store));
    cli_bytes(json_field_int(disk, "wal_bytes"), wal, sizeof(wal));
    cli_bytes(json_field_int(disk, "free_bytes"), left, sizeof(left));
    printf("\ndisk         store %s, wal %s, %s free\n", store, wal, left);
}

static int print_text(const json_t *root, const struct err *daemon_err)
{
    printf("store        %s\n", cli_field(root, "store"));
    print_daemon(root, daemon_err);
    print_counts(root);
    if (*json_field_text(json_field(root, "daemon"), "retention_wait"))
        printf("retention    waits: %s\n",
               cli_field(json_field(root, "daemon"), "retention_wait"));
    print_training(json_field(root, "daemon"));
    print_rest(root);
    return cli_finish();
}

int cli_status(struct cli *cli, int argc, char **argv)
{
    struct status s = {.input.cli = cli};
    struct err err, daemon_err;
    struct store *st;
    json_t *root;
    int r, code;

    cli_parse(&argp, argc, argv, &s.input);
    err_clear(&err);
    err_clear(&daemon_err);
    if (cli_open_store(cli, &st, &err) != ERR_OK)
        return cli_fail(&err);
    root = json_pack("{s:o, s:o}", "store", json_of_text(cli->settings.store.path), "daemon",
                     gather_daemon(cli, &daemon_err));
    if (root)
        json_object_set_new(root, "writer_pid", json_writer(cli->settings.store.path));
    if (root && daemon_err.text[0])
        json_object_set_new(root, "daemon_error", json_string(daemon_err.text));
    r = root ? gather_store(cli, st, root, &err) : err_oom(&err, "status");
    store_close(st);
    if (r != ERR_OK)
        code = cli_fail(&err);
    else
        code = cli->json ? cli_print_json(json_incref(root)) : print_text(root, &daemon_err);
    json_decref(root);
    return code;
}
