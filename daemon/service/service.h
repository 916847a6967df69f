#ifndef MMF_DAEMON_SERVICE_SERVICE_H
#define MMF_DAEMON_SERVICE_SERVICE_H

/* The process around the pipeline: metammfd without its command line.
 *
 * Start, in this order: signals blocked (every thread inherits that) → pipeline_open (the
 * store, the model, the workers, which must be forked before any thread of librdkafka) → http,
 * retraining, control → the source → READY=1. Ready means: able to take events; whether the broker is there
 * is for /readyz and the status line.
 *
 * Run: the main thread polls a signalfd, a timer, the control socket and the reload request.
 * The timer ticks every second, or faster for a short watchdog: status line, watchdog,
 * failures.
 *
 * Stop: source → dead letters → control → retraining → drain, at most shutdown.drain_ms → http →
 * pipeline.
 * Offsets are in the store's transactions, so dropping what is in flight loses nothing: a guard thread ends
 * the process 9 s after the stop began, whatever hangs.
 *
 * Reload (SIGHUP or the control socket): the file is read again; with an error in it the old
 * settings stay. Settings once in force live until the end, because threads may hold them. */

#include "config/settings.h"
#include "daemon/service/control.h"
#include "daemon/service/vitals.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct http;
struct pipeline;
struct publish;
struct retrain;
struct source;

struct service_settings {
    struct settings s;
    struct service_settings *older;
};

/* A reload asked for by a control thread, done by the main thread. */
struct service_reload {
    pthread_mutex_t mutex;
    pthread_cond_t done;
    int event_fd; /* wake.h */
    uint64_t n_asked, n_served;
    int result; /* of the last one served */
    struct err err;
    bool closed; /* nobody serves any more */
};

struct service {
    const char *config_path;
    struct service_settings *settings; /* in force first */
    const struct service_settings
        *started;                   /* the last of them: what waits for a restart runs by it */
    pthread_mutex_t settings_mutex; /* around that pointer */
    struct pipeline *pipeline;
    struct source *source;
    struct publish *letters; /* NULL = dead letters stay in the store */
    struct http *http;
    struct control *control;
    struct retrain *retrain;
    struct vitals vitals;
    struct service_reload reload;
    int signal_fd, timer_fd, guard_fd;
    pthread_t guard;
    bool guarded, stopping;
    int exit_code;
};

/* Reads the settings. ERR_FATAL EX_CONFIG. */
int service_init(struct service *svc, const char *config_path, struct err *err);
/* On an error what was started has been stopped. */
int service_start(struct service *svc, struct err *err);
/* Until a signal or a failure; returns the exit code. */
int service_run(struct service *svc);
void service_stop(struct service *svc);
void service_done(struct service *svc);

/* The settings in force; they stay valid until service_done. Any thread (reload.c). */
const struct settings *service_settings(struct service *svc);
/* From a control thread: asks the main thread to reload and waits for the outcome. */
int service_ask_reload(struct service *svc, struct err *err);

extern const struct control_command service_commands[]; /* commands.c */

#endif
