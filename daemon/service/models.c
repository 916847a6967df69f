#include "daemon/service/models.h"

#include "daemon/model/models.h"
#include "daemon/pipeline/pipeline.h"
#include "daemon/service/model_files.h"
#include "daemon/service/service.h"

#include <jansson.h>
#include <sysexits.h>

static bool tell_progress(void *ctx, size_t done, size_t total)
{
    return control_progress(ctx, json_pack("{s:I, s:I, s:s}", "done", (json_int_t)done, "total",
                                           (json_int_t)total, "wait", ""));
}

static bool tell_wait(void *arg)
{
    return control_progress(arg, json_pack("{s:i, s:i, s:s}", "done", 0, "total", 0, "wait",
                                           "another model is being published"));
}

static int64_t id_of(const struct control_call *call)
{
    return (int64_t)json_integer_value(json_object_get(call->args, "id"));
}

typedef int work_fn(struct control_call *call, const struct candidate_target *t,
                    int64_t *ret_model_id, struct err *err);

static int with_target(struct control_call *call, work_fn *work, struct json_t **ret_result,
                       struct err *err)
{
    struct service *svc = call->ctx;
    struct candidate_target t = {.settings = service_settings(svc),
                                 .writer = pipeline_writer(svc->pipeline),
                                 .progress = tell_progress,
                                 .ctx = call};
    int64_t model_id = 0;
    int r = store_open(svc->vitals.store_path, STORE_READ, &t.reader, err);

    if (r != ERR_OK)
        return r;
    if (models_lock(tell_wait, call)) {
        r = work(call, &t, &model_id, err);
        models_unlock();
    } else {
        r = err_retry(err, EX_TEMPFAIL, "another model is being published: ask again");
    }
    store_close(t.reader);
    if (r == ERR_OK && !(*ret_result = json_pack("{s:I}", "model_id", (json_int_t)model_id)))
        r = err_oom(err, "control: the reply");
    return r;
}

static int take(struct control_call *call, const struct candidate_target *t, bool folder,
                int64_t *ret_model_id, struct err *err)
{
    bool activate = json_is_true(json_object_get(call->args, "activate"));
    char dir[PATH_MAX], path[PATH_MAX];
    int r = model_files_take(call, t->settings, folder, dir, path, err);

    if (r != ERR_OK)
        return r;
    r = folder ? models_publish(t, path, activate, ret_model_id, err)
               : models_import(t, path, activate, ret_model_id, err);
    model_files_remove(dir);
    if (r != ERR_OK)
        model_files_forget(dir, err);
    return r;
}

static int publish(struct control_call *call, const struct candidate_target *t,
                   int64_t *ret_model_id, struct err *err)
{
    return take(call, t, true, ret_model_id, err);
}

static int import(struct control_call *call, const struct candidate_target *t,
                  int64_t *ret_model_id, struct err *err)
{
    return take(call, t, false, ret_model_id, err);
}

static int activate(struct control_call *call, const struct candidate_target *t,
                    int64_t *ret_model_id, struct err *err)
{
    *ret_model_id = id_of(call);
    return candidate_activate(t, *ret_model_id, err);
}

static int pin(struct control_call *call, const struct candidate_target *t,
               int64_t *ret_model_id, struct err *err)
{
    *ret_model_id = id_of(call);
    return models_pin(t, *ret_model_id, err);
}

int service_model_publish(struct control_call *call, struct json_t **ret_result,
                          struct err *err)
{
    return with_target(call, publish, ret_result, err);
}

int service_model_import(struct control_call *call, struct json_t **ret_result, struct err *err)
{
    return with_target(call, import, ret_result, err);
}

int service_model_activate(struct control_call *call, struct json_t **ret_result,
                           struct err *err)
{
    return with_target(call, activate, ret_result, err);
}

int service_model_pin(struct control_call *call, struct json_t **ret_result, struct err *err)
{
    return with_target(call, pin, ret_result, err);
}
