/* What the control socket can do (see control.h for the packets):
 *
 *   status                             → the object of vitals_json
 *   metrics                            → {"text"}: what /metrics serves
 *   settings                           → the object of service_settings_json (reload.h)
 *   ingest {"media_root": PATH} + file → {"events", "already", "stored", "dead_letters", …}
 *   import {"kind": K, …} + files      → {"lines", "stored", …} (imports.c)
 *   dlq_retry {"id": N, "reason": R, "media_root": PATH} → the same, with "superseded"
 *   dlq_purge {"id": N, "reason": R, "before_us": T}, or
 *             {"damaged": true}: what cannot be published any more → {"purged": N}
 *   reextract {"items": [ID…], "all": B, "rate": N, "after": ID, "media_root": PATH}
 *                                      → the object of reextract_json
 *   forget {"user_id": ID}             → {"hash", "known", "clean", "interactions", "vectors",
 *                                        "training_pairs", "dead_letters", "folders"}
 *   snapshot {"path": PATH}            → {"path", "bytes"}
 *   reload                             → null
 *   train                              → the object of retrain_json; a round begins at once, or
 *                                        after the one under way
 *   model_publish {"activate": B} + the files of a candidate, model_import the same with one file,
 *   model_activate {"id": N}, model_pin {"id": N}   → {"model_id": N} (models.c)
 *
 * Files come as open descriptors, so that the daemon reads only what the peer could open (control.h);
 * a media root outside media.roots and a snapshot's path are only for root and the daemon's own user,
 * because there the daemon reads and writes with its own rights.
 *
 * Handlers run on their client's thread; writes go through pipeline_write. */
#include "config/clock.h"
#include "config/settings.h"
#include "daemon/base/ids.h"
#include "daemon/base/metrics.h"
#include "daemon/base/steady.h"
#include "daemon/model/forget.h"
#include "daemon/pipeline/pipeline.h"
#include "daemon/retrain/retrain.h"
#include "daemon/service/control.h"
#include "daemon/service/imports.h"
#include "daemon/service/models.h"
#include "daemon/service/reload.h"
#include "daemon/service/service.h"
#include "daemon/source/ingest.h"
#include "daemon/source/reextract.h"
#include "store/copy.h"
#include "store/models.h"
#include "store/reading.h"
#include "store/writing.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

static int give(json_t *result, struct json_t **ret_result, struct err *err)
{
    if (!result)
        return err_oom(err, "control: the reply");
    *ret_result = result;
    return ERR_OK;
}

static int64_t number_of(const struct control_call *call, const char *name)
{
    return (int64_t)json_integer_value(json_object_get(call->args, name));
}

static int serve_status(struct control_call *call, struct json_t **ret_result, struct err *err)
{
    struct service *svc = call->ctx;

    return give(vitals_json(&svc->vitals), ret_result, err);
}

static int serve_settings(struct control_call *call, struct json_t **ret_result,
                          struct err *err)
{
    return service_settings_json(call->ctx, ret_result, err);
}

static int serve_metrics(struct control_call *call, struct json_t **ret_result, struct err *err)
{
    struct service *svc = call->ctx;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    int r;

    if (!out)
        return err_oom(err, "control: metrics");
    vitals_metrics(&svc->vitals, out);
    r = fclose(out) == 0 ? give(json_pack("{s:s}", "text", text), ret_result, err)
                         : err_oom(err, "control: metrics");
    free(text);
    return r;
}

static int serve_reload(struct control_call *call, struct json_t **ret_result, struct err *err)
{
    (void)ret_result;
    return service_ask_reload(call->ctx, err);
}

/* A round would end at once: say so instead of promising one. */
static int check_pin(struct service *svc, struct err *err)
{
    int64_t pinned = 0;
    struct store *st;
    int r = store_open(svc->vitals.store_path, STORE_READ, &st, err);

    if (r != ERR_OK)
        return r;
    r = store_pinned_model(st, &pinned, err);
    store_close(st);
    if (r != ERR_OK || pinned == 0)
        return r;
    return err_fatal(err, EX_TEMPFAIL,
                     "model %lld is pinned, so nothing is trained: metammf model unpin first",
                     (long long)pinned);
}

static int serve_train(struct control_call *call, struct json_t **ret_result, struct err *err)
{
    struct service *svc = call->ctx;
    int r = check_pin(svc, err);

    if (r != ERR_OK)
        return r;
    retrain_ask(svc->retrain);
    return give(retrain_json(svc->retrain), ret_result, err);
}

/* ---- bulk work --------------------------------------------------------------------------- */

static bool send_progress(void *ctx, const struct ingest_progress *now)
{
    return control_progress(ctx, json_pack("{s:I, s:I, s:s}", "done", (json_int_t)now->done,
                                           "total", (json_int_t)now->total, "wait", now->wait));
}

static json_t *json_of(const struct ingest_result *r)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:f}", "events", (json_int_t)r->n_events,
                     "already", (json_int_t)r->n_already, "stored", (json_int_t)r->n_stored,
                     "dead_letters", (json_int_t)r->n_dead_letters, "superseded",
                     (json_int_t)r->n_superseded, "seconds", r->seconds);
}

/* True when path is root or lies beneath it; both are canonical. */
static bool is_beneath(const char *path, const char *root)
{
    size_t n = strlen(root);

    return strncmp(path, root, n) == 0 &&
           (path[n] == '\0' || path[n] == '/' || root[n - 1] == '/');
}

static bool is_under_roots(const char *path, const struct settings *s)
{
    bool under = false;

    for (size_t i = 0; i < s->media.roots.n && !under; i++) {
        char *root = realpath(s->media.roots.items[i], NULL);

        under = root && is_beneath(path, root);
        free(root);
    }
    return under;
}

/* *ret_root malloc'ed and canonical, NULL when the request names none. */
static int media_root(const struct control_call *call, char **ret_root, struct err *err)
{
    const char *asked = control_string(call, "media_root");
    const struct settings *s = service_settings(call->ctx);

    *ret_root = NULL;
    if (!asked)
        return ERR_OK;
    *ret_root = realpath(asked, NULL);
    if (*ret_root && (control_is_owner(call) || is_under_roots(*ret_root, s)))
        return ERR_OK;
    if (!*ret_root && control_is_owner(call))
        return err_fatal(err, EX_NOINPUT, "media root %s: %s, as seen by the daemon", asked,
                         strerror(errno));
    free(*ret_root);
    *ret_root = NULL;
    /* the same words whether it is there: where others may not look, it says nothing */
    return err_fatal(err, EX_CONFIG,
                     "media root %s is not below media.roots of the running daemon: add it "
                     "there and reload, or ask as the daemon's user",
                     asked);
}

static int serve_ingest(struct control_call *call, struct json_t **ret_result, struct err *err)
{
    struct service *svc = call->ctx;
    const struct ingest_watch watch = {.progress = send_progress, .ctx = call};
    struct ingest_result result;
    char *root = NULL;
    int fd, r = control_file(call, 0, "ingest", &fd, err);

    if (r == ERR_OK)
        r = media_root(call, &root, err);
    if (r == ERR_OK)
        r = ingest_file(svc->pipeline, svc->vitals.store_path, fd, root, &watch, &result, err);
    free(root);
    return r ? r : give(json_of(&result), ret_result, err);
}

static int serve_retry(struct control_call *call, struct json_t **ret_result, struct err *err)
{
    struct service *svc = call->ctx;
    const struct ingest_watch watch = {.progress = send_progress, .ctx = call};
    struct ingest_which which = {.id = number_of(call, "id"),
                                 .reason = control_string(call, "reason")};
    struct ingest_result result;
    char *root;
    int r = media_root(call, &root, err);

    if (r)
        return r;
    which.media_root = root;
    r = ingest_retry(svc->pipeline, svc->vitals.store_path, &which, &watch, &result, err);
    free(root);
    return r ? r : give(json_of(&result), ret_result, err);
}

/* *ret_ids (n) to be freed, pointing into the request. */
static int item_ids(const struct control_call *call, const char ***ret_ids, size_t *ret_n,
                    struct err *err)
{
    const json_t *items = json_object_get(call->args, "items");
    const char **ids = calloc(json_array_size(items) + 1, sizeof(*ids));

    if (!ids)
        return err_oom(err, "control: re-extraction");
    for (size_t i = 0; i < json_array_size(items); i++) {
        ids[i] = json_string_value(json_array_get(items, i));
        if (!ids[i]) {
            free(ids);
            return err_fatal(err, EX_USAGE, "control: reextract wants items as strings");
        }
    }
    *ret_ids = ids;
    *ret_n = json_array_size(items);
    return ERR_OK;
}

static int serve_reextract(struct control_call *call, struct json_t **ret_result,
                           struct err *err)
{
    struct service *svc = call->ctx;
    const struct ingest_watch watch = {.progress = send_progress, .ctx = call};
    struct reextract_which which = {.all = json_is_true(json_object_get(call->args, "all")),
                                    .rate = number_of(call, "rate"),
                                    .after = control_string(call, "after")};
    struct reextract_result *result = calloc(1, sizeof(*result));
    const char **ids = NULL;
    char *root = NULL;
    int r = result ? item_ids(call, &ids, &which.n_ids, err)
                   : err_oom(err, "control: re-extraction");

    if (r == ERR_OK)
        r = media_root(call, &root, err);
    which.item_ids = ids;
    which.media_root = root;
    if (r == ERR_OK)
        r = reextract_run(svc->pipeline, svc->vitals.store_path, &which, &watch, result, err);
    if (r == ERR_OK)
        r = give(reextract_json(result), ret_result, err);
    free(ids);
    free(root);
    free(result);
    return r;
}

struct purge {
    const char *reason;
    int64_t id, before_us, n;
    bool damaged;
};

static int purge_write(struct store *st, void *arg, struct err *err)
{
    struct purge *p = arg;

    if (p->damaged)
        return store_outbox_purge_damaged(st, &p->n, err);
    return store_dead_letters_purge(st, p->id, p->reason, p->before_us, &p->n, err);
}

static int serve_purge(struct control_call *call, struct json_t **ret_result, struct err *err)
{
    struct service *svc = call->ctx;
    struct purge p = {.reason = control_string(call, "reason"),
                      .id = number_of(call, "id"),
                      .before_us = number_of(call, "before_us"),
                      .damaged = json_is_true(json_object_get(call->args, "damaged"))};
    struct steady now = steady_look();

    if (p.before_us && now.ahead_us >= CLOCK_DAY_US)
        return err_fatal(err, EX_TEMPFAIL,
                         "the clock jumped ahead by %" PRId64
                         " days: what is old cannot be told "
                         "for %" PRId64 " min; wait, or purge without --older-than",
                         now.ahead_us / CLOCK_DAY_US, now.settle_us / 60000000 + 1);
    int r = pipeline_write(svc->pipeline, purge_write, &p, err);

    return r ? r : give(json_pack("{s:I}", "purged", (json_int_t)p.n), ret_result, err);
}

static bool is_wanted(void *arg)
{
    return control_progress(arg, json_pack("{s:i, s:i, s:s}", "done", 0, "total", 0, "wait",
                                           "a model is being published"));
}

static int serve_forget(struct control_call *call, struct json_t **ret_result, struct err *err)
{
    struct service *svc = call->ctx;
    const char *user_id = control_string(call, "user_id");
    struct candidate_target t = {.settings = service_settings(svc),
                                 .writer = pipeline_writer(svc->pipeline)};
    struct forget_result result;

    if (!user_id || !id_is_usable(user_id))
        return err_fatal(err, EX_USAGE, "control: forget needs a user_id");
    int r = store_open(svc->vitals.store_path, STORE_READ, &t.reader, err);
    if (r)
        return r;
    r = forget_user(&t, user_id, is_wanted, call, &result, err);
    store_close(t.reader);
    /* whatever came of it: retraining looks at what is left of files */
    metrics_forgotten(1, 0);
    return r ? r : give(forget_json(&result), ret_result, err);
}

/* By a reader of its own: the sink goes on writing meanwhile. */
static int serve_snapshot(struct control_call *call, struct json_t **ret_result,
                          struct err *err)
{
    struct service *svc = call->ctx;
    const char *path = control_string(call, "path");
    struct store *st;
    struct stat info;
    int r;

    if (!control_is_owner(call))
        return err_fatal(err, EX_NOPERM,
                         "control: snapshot writes with the daemon's rights, so it is for root "
                         "and the daemon's own user: metammf snapshot writes with yours");
    if (!path || path[0] != '/')
        return err_fatal(err, EX_USAGE, "control: snapshot needs an absolute path");
    r = store_open(svc->vitals.store_path, STORE_READ, &st, err);
    if (r)
        return r;
    r = store_snapshot(st, path, err);
    store_close(st);
    if (r)
        return r;
    if (stat(path, &info) != 0)
        return err_fatal(err, EX_IOERR, "snapshot %s: %s", path, strerror(errno));
    return give(json_pack("{s:s, s:I}", "path", path, "bytes", (json_int_t)info.st_size),
                ret_result, err);
}

const struct control_command service_commands[] = {
    {"status", serve_status},
    {"metrics", serve_metrics},
    {"settings", serve_settings},
    {"ingest", serve_ingest},
    {"import", service_import},
    {"dlq_retry", serve_retry},
    {"dlq_purge", serve_purge},
    {"reextract", serve_reextract},
    {"forget", serve_forget},
    {"snapshot", serve_snapshot},
    {"reload", serve_reload},
    {"train", serve_train},
    {"model_publish", service_model_publish},
    {"model_import", service_model_import},
    {"model_activate", service_model_activate},
    {"model_pin", service_model_pin},
    {NULL, NULL},
};
