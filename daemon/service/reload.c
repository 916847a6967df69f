#include "daemon/service/reload.h"

#include "config/log.h"
#include "config/text.h"
#include "config/wake.h"
#include "daemon/base/json_field.h"
#include "daemon/pipeline/pipeline.h"
#include "daemon/service/notify.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

int service_reload_init(struct service_reload *r, struct err *err)
{
    memset(r, 0, sizeof(*r));
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->done, NULL);
    r->event_fd = -1;
    return wake_open("reload", &r->event_fd, err);
}

void service_reload_done(struct service_reload *r)
{
    if (r->event_fd >= 0)
        close(r->event_fd);
    pthread_cond_destroy(&r->done);
    pthread_mutex_destroy(&r->mutex);
}

const struct settings *service_settings(struct service *svc)
{
    const struct settings *s;

    pthread_mutex_lock(&svc->settings_mutex);
    s = &svc->settings->s;
    pthread_mutex_unlock(&svc->settings_mutex);
    return s;
}

/* ---- the reload itself ------------------------------------------------------------------- */

/* What the file says, less what waits for a restart: there the values of the start, which is what runs. So
 * the next reload compares with what runs again, and names again what still waits. */
static int load(struct service *svc, struct service_settings **ret_next, char *ret_waiting,
                size_t bytes, struct err *err)
{
    struct service_settings *next = calloc(1, sizeof(*next));
    int r;

    if (!next)
        return err_oom(err, "settings");
    r = settings_load(svc->config_path, &next->s, err);
    if (r == ERR_OK)
        r = settings_hold(&next->s, &svc->started->s, ret_waiting, bytes, err);
    if (r) {
        settings_done(&next->s);
        free(next);
        return r;
    }
    *ret_next = next;
    return ERR_OK;
}

static void put_in_force(struct service *svc, struct service_settings *next,
                         const char *waiting)
{
    pipeline_reload(svc->pipeline, &next->s);
    log_set_level((enum log_level)next->s.log_level);
    pthread_mutex_lock(&svc->settings_mutex);
    next->older = svc->settings;
    svc->settings = next;
    pthread_mutex_unlock(&svc->settings_mutex);
    if (waiting[0])
        log_warning(
            "reload: %s is in force, but for what takes effect at the next restart only: "
            "%s",
            svc->config_path, waiting);
    else
        log_notice("reload: %s is in force, and nothing waits for a restart", svc->config_path);
}

/* The old settings stay in memory until the end, some kilobytes a reload: threads may still be
 * reading them. */
int service_reload_now(struct service *svc, struct err *err)
{
    struct service_settings *next = NULL;
    char waiting[1024];
    int r;

    notify_reloading();
    r = load(svc, &next, waiting, sizeof(waiting), err);
    if (r == ERR_OK && next)
        put_in_force(svc, next, waiting);
    else
        log_error("reload: %s: the old settings stay in force", err->text);
    notify_ready();
    return r;
}

void service_reload_serve(struct service *svc)
{
    struct service_reload *r = &svc->reload;
    struct err err;
    uint64_t n_asked;
    int result;

    wake_clear(r->event_fd);
    err_clear(&err);
    pthread_mutex_lock(&r->mutex);
    n_asked = r->n_asked;
    pthread_mutex_unlock(&r->mutex);
    result = service_reload_now(svc, &err);
    pthread_mutex_lock(&r->mutex);
    r->n_served = n_asked;
    r->result = result;
    r->err = err;
    pthread_cond_broadcast(&r->done);
    pthread_mutex_unlock(&r->mutex);
}

void service_reload_close(struct service_reload *r)
{
    pthread_mutex_lock(&r->mutex);
    r->closed = true;
    pthread_cond_broadcast(&r->done);
    pthread_mutex_unlock(&r->mutex);
}

int service_ask_reload(struct service *svc, struct err *err)
{
    struct service_reload *r = &svc->reload;
    uint64_t ticket;
    int result;

    pthread_mutex_lock(&r->mutex);
    ticket = ++r->n_asked;
    wake_set(r->event_fd);
    while (r->n_served < ticket && !r->closed)
        pthread_cond_wait(&r->done, &r->mutex);
    if (r->n_served >= ticket) {
        result = r->result;
        *err = r->err;
    } else {
        result = err_retry(err, EX_TEMPFAIL, "the daemon is stopping");
    }
    pthread_mutex_unlock(&r->mutex);
    return result;
}

/* ---- what runs, what the file says ------------------------------------------------------------ */

#define VALUE_BYTES 1500 /* of a longer value the beginning, so that all go with one packet */

static json_t *value_of(const struct settings *s, size_t i)
{
    char line[VALUE_BYTES], *text = settings_key_text(s, i);

    text_format(line, sizeof(line), "%s", text ? text : "");
    json_t *value = text ? json_string(line) : NULL;
    free(text);
    return value;
}

static const char *waits_for(const struct service *svc, const struct settings *running,
                             const struct settings *file, size_t i)
{
    if (settings_key_waits(&svc->started->s, file, i))
        return "restart";
    return settings_key_equal(running, file, i) ? "" : "reload";
}

static int add_settings(struct service *svc, const struct settings *file, json_t *object,
                        struct err *err)
{
    const struct settings *running = service_settings(svc);
    int failed = 0;

    for (size_t i = 0; i < settings_n_keys(); i++) {
        const char *waits = file ? waits_for(svc, running, file, i) : "";
        json_t *row = json_pack("{s:o}", "running", value_of(running, i));

        if (row && waits[0])
            failed |= json_object_set_new(row, "file", value_of(file, i)) |
                      json_object_set_new(row, "waits", json_string(waits));
        failed |= json_object_set_new(object, settings_key_path(i), row);
    }
    return failed ? err_oom(err, "control: the settings") : ERR_OK;
}

/* The file is read as a reload would read it. A fault in it is part of the answer. */
int service_settings_json(struct service *svc, json_t **ret_result, struct err *err)
{
    struct settings file = {0};
    struct err fault;
    json_t *keys = json_object();

    err_clear(&fault);
    bool is_good = settings_load(svc->config_path, &file, &fault) == ERR_OK;
    int r = keys ? add_settings(svc, is_good ? &file : NULL, keys, err)
                 : err_oom(err, "control: the settings");
    settings_done(&file);
    if (r == ERR_OK) {
        *ret_result = json_pack("{s:o, s:s*, s:o}", "file", json_of_text(svc->config_path),
                                "file_error", is_good ? NULL : fault.text, "settings", keys);
        return *ret_result ? ERR_OK : err_oom(err, "control: the settings");
    }
    json_decref(keys);
    return r;
}
