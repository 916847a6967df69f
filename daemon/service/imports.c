/* import {"kind": K, "names": [TEXT…], "modalities": [TEXT…], "encoder": E, "columns": C, "separator": S}
 * and the open files: the ids or the interactions, then an array for each of `modalities`. The names are
 * for messages. The files are read by offset, and written into the store in blocks, between which the
 * sink goes on with live events. */
#include "daemon/service/imports.h"

#include "config/log.h"
#include "daemon/base/json_field.h"
#include "daemon/pipeline/pipeline.h"
#include "daemon/service/control_client.h"
#include "daemon/service/service.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>

/* ---- the daemon's side ----------------------------------------------------------------------- */

static bool tell(void *ctx, int64_t done, int64_t total)
{
    return control_progress(ctx, json_pack("{s:I, s:I, s:s}", "done", (json_int_t)done, "total",
                                           (json_int_t)total, "wait",
                                           total ? "" : "checking the files"));
}

static int bad(struct err *err, const char *what)
{
    return err_fatal(err, EX_USAGE, "control: import: %s", what);
}

/* File i of the request. */
static int take_file(const struct control_call *call, size_t i, struct import_file *ret_file,
                     struct err *err)
{
    const json_t *names = json_object_get(call->args, "names");
    const char *name = json_string_value(json_array_get(names, i));

    if (!name)
        return bad(err, "each file needs its name");
    ret_file->name = name;
    return control_file(call, i, name, &ret_file->fd, err);
}

static int take_arrays(const struct control_call *call, struct import_request *q,
                       struct err *err)
{
    const json_t *modalities = json_object_get(call->args, "modalities");
    int r = ERR_OK;

    for (size_t i = 0; r == ERR_OK && i < json_array_size(modalities); i++) {
        const char *name = json_string_value(json_array_get(modalities, i));
        int m = 0;

        while (name && m < MODALITY_COUNT && strcmp(name, modality_name((enum modality)m)) != 0)
            m++;
        if (!name || m == MODALITY_COUNT || q->array[m].fd >= 0)
            return bad(err, "modalities: visual, acoustic, textual, each at most once");
        r = take_file(call, i + 1, &q->array[m], err);
    }
    return r;
}

static int take_request(const struct control_call *call, struct import_request *q,
                        struct err *err)
{
    const char *kind = control_string(call, "kind"), *s = control_string(call, "separator");
    const char *encoder = control_string(call, "encoder");

    q->items = kind && strcmp(kind, "items") == 0;
    if (!q->items && !(kind && strcmp(kind, "interactions") == 0))
        return bad(err, "kind: items or interactions");
    q->encoder = encoder ? encoder : "npy";
    q->columns = control_string(call, "columns");
    q->separator = s ? s[0] : '\0';
    int r = take_file(call, 0, &q->list, err);
    if (r == ERR_OK && q->items)
        r = take_arrays(call, q, err);
    return r == ERR_OK ? import_check(q, err) : r;
}

int service_import(struct control_call *call, struct json_t **ret_result, struct err *err)
{
    struct service *svc = call->ctx;
    struct import_request q = {.list.fd = -1,
                               .settings = service_settings(svc),
                               .writer = pipeline_writer(svc->pipeline),
                               .progress = tell,
                               .ctx = call};
    struct import_result result;

    for (int m = 0; m < MODALITY_COUNT; m++)
        q.array[m].fd = -1;
    int r = take_request(call, &q, err);
    if (r == ERR_OK)
        r = import_run(&q, &result, err);
    if (r != ERR_OK) {
        log_notice("import of uid %u: %s", (unsigned)call->uid, err->text);
        return r;
    }
    log_notice("import of uid %u: %" PRId64 " lines, %" PRId64 " stored", (unsigned)call->uid,
               result.n_lines, result.n_stored);
    *ret_result = import_json(&result);
    return *ret_result ? ERR_OK : err_oom(err, "control: the reply");
}

/* ---- the command line's side ----------------------------------------------------------------- */

struct asking {
    const struct import_request *q;
    int fd;
    bool is_stopped;
    int64_t done, total;
};

static void hear(void *ctx, const json_t *progress)
{
    struct asking *a = ctx;

    a->done = json_field_int(progress, "done");
    a->total = json_field_int(progress, "total");
    if (a->is_stopped || !a->q->progress || a->q->progress(a->q->ctx, a->done, a->total))
        return;
    a->is_stopped = true;
    (void)shutdown(a->fd, SHUT_RDWR);
}

/* NULL = out of memory */
static json_t *request_of(const struct import_request *q, int *fds, size_t *ret_n)
{
    json_t *names = json_array(), *modalities = json_array();
    char separator[2] = {q->separator, '\0'};
    size_t n = 0;

    fds[n++] = q->list.fd;
    json_array_append_new(names, json_of_text(q->list.name));
    for (int m = 0; m < MODALITY_COUNT; m++) {
        if (q->array[m].fd < 0)
            continue;
        fds[n++] = q->array[m].fd;
        json_array_append_new(names, json_of_text(q->array[m].name));
        json_array_append_new(modalities, json_string(modality_name((enum modality)m)));
    }
    *ret_n = n;
    return json_pack("{s:s, s:s, s:o, s:o, s:s*, s:s*, s:s*}", "command", "import", "kind",
                     q->items ? "items" : "interactions", "names", names, "modalities",
                     modalities, "encoder", q->encoder, "columns", q->columns, "separator",
                     q->separator ? separator : NULL);
}

int service_import_ask(int fd, const struct import_request *q, struct import_result *ret_result,
                       struct err *err)
{
    int fds[MODALITY_COUNT + 1];
    struct asking a = {.q = q, .fd = fd};
    struct control_ask ask = {.fd = fd, .fds = fds, .progress = hear, .ctx = &a};
    json_t *result = NULL;

    ask.request = request_of(q, fds, &ask.n_fds);
    int r = control_ask(&ask, &result, err);
    if (r != ERR_OK && a.is_stopped)
        return err_retry(err, EX_TEMPFAIL,
                         "stopped after about %" PRId64 " of %" PRId64
                         " lines, which are stored: import the same files again to go on",
                         a.done, a.total);
    if (r == ERR_OK)
        r = import_from_json(result, ret_result, err);
    json_decref(result);
    return r;
}
