#include "daemon/service/reload.h"

#include "config/log.h"
#include "config/wake.h"
#include "daemon/pipeline/pipeline.h"
#include "daemon/service/notify.h"

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

/* ---- what cannot change ------------------------------------------------------------------ */

static bool same_strings(const struct settings_strings *a, const struct settings_strings *b)
{
    bool same = a->n == b->n;

    for (size_t i = 0; same && i < a->n; i++)
        same = strcmp(a->items[i], b->items[i]) == 0;
    return same;
}

static bool same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_partitions(const struct settings *a, const struct settings *b)
{
    size_t n = a->kafka.n_partitions;

    return n == b->kafka.n_partitions &&
           (n == 0 ||
            memcmp(a->kafka.partitions, b->kafka.partitions, n * sizeof(int64_t)) == 0);
}

static bool same_events(const struct settings *a, const struct settings *b)
{
    return a->events.preset == b->events.preset &&
           same_strings(&a->events.video, &b->events.video) &&
           same_strings(&a->events.interaction, &b->events.interaction) &&
           same_strings(&a->events.type, &b->events.type) &&
           same_strings(&a->events.types, &b->events.types) &&
           same_strings(&a->events.deleted, &b->events.deleted);
}

void service_reload_unchangeable(const struct settings *old, const struct settings *now,
                                 char *ret_keys, size_t bytes)
{
    const struct {
        const char *key;
        bool same;
    } keys[] = {
        {"source", old->source == now->source},
        {"kafka.bootstrap_servers",
         same_text(old->kafka.bootstrap_servers, now->kafka.bootstrap_servers)},
        {"kafka.mode", old->kafka.mode == now->kafka.mode},
        {"kafka.group_id", same_text(old->kafka.group_id, now->kafka.group_id)},
        {"kafka.video_topics",
         same_strings(&old->kafka.video_topics, &now->kafka.video_topics)},
        {"kafka.interaction_topics",
         same_strings(&old->kafka.interaction_topics, &now->kafka.interaction_topics)},
        {"kafka.partitions", same_partitions(old, now)},
        {"kafka.start", old->kafka.start == now->kafka.start},
        {"kafka.topic_made_anew", old->kafka.topic_made_anew == now->kafka.topic_made_anew},
        {"kafka.dlq_topic", same_text(old->kafka.dlq_topic, now->kafka.dlq_topic)},
        {"kafka.properties", same_strings(&old->kafka.properties, &now->kafka.properties)},
        {"events", same_events(old, now)},
        {"interactions.tombstones",
         old->interactions.tombstones == now->interactions.tombstones},
        {"spool.directory", same_text(old->spool.directory, now->spool.directory)},
        {"spool.keep_files", old->spool.keep_files == now->spool.keep_files},
        {"spool.keep_done_days", old->spool.keep_done_days == now->spool.keep_done_days},
        {"http.address", same_text(old->http.address, now->http.address)},
        {"http.port", old->http.port == now->http.port},
        {"control.socket", same_text(old->control.socket, now->control.socket)},
    };
    size_t used = 0;

    ret_keys[0] = '\0';
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && used < bytes; i++) {
        int n = keys[i].same ? 0
                             : snprintf(ret_keys + used, bytes - used, "%s%s", used ? ", " : "",
                                        keys[i].key);
        used += n > 0 ? (size_t)n : 0;
    }
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

static int load(const char *path, struct service_settings **ret_next, struct err *err)
{
    struct service_settings *next = calloc(1, sizeof(*next));
    int r;

    if (!next)
        return err_oom(err, "settings");
    r = settings_load(path, &next->s, err);
    if (r) {
        settings_done(&next->s);
        free(next);
        return r;
    }
    *ret_next = next;
    return ERR_OK;
}

static void put_in_force(struct service *svc, struct service_settings *next)
{
    char keys[512];

    service_reload_unchangeable(&svc->settings->s, &next->s, keys, sizeof(keys));
    pipeline_reload(svc->pipeline, &next->s);
    log_set_level((enum log_level)next->s.log_level);
    pthread_mutex_lock(&svc->settings_mutex);
    next->older = svc->settings;
    svc->settings = next;
    pthread_mutex_unlock(&svc->settings_mutex);
    if (keys[0])
        log_warning("reload: these take effect at the next restart only: %s", keys);
    log_notice("reload: %s is in force", svc->config_path);
}

/* The old settings stay in memory until the end, some kilobytes a reload: threads may still be
 * reading them. */
int service_reload_now(struct service *svc, struct err *err)
{
    struct service_settings *next = NULL;
    int r;

    notify_reloading();
    r = load(svc->config_path, &next, err);
    if (r == ERR_OK && next)
        put_in_force(svc, next);
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
