#include "daemon/service/service.h"

#include "config/account.h"
#include "config/clock.h"
#include "config/log_limit.h"
#include "config/wake.h"
#include "daemon/base/health.h"
#include "daemon/http/http.h"
#include "daemon/kafka/config.h"
#include "daemon/kafka/publisher.h"
#include "daemon/kafka/source.h"
#include "daemon/pipeline/pipeline.h"
#include "daemon/pipeline/source.h"
#include "daemon/publish/letters.h"
#include "daemon/publish/publish.h"
#include "daemon/retrain/retrain.h"
#include "daemon/service/control.h"
#include "daemon/service/notify.h"
#include "daemon/service/reload.h"
#include "daemon/source/spool.h"
#include "store/copy.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sysexits.h>
#include <unistd.h>

#define SERVICE_TICK_US      INT64_C(1000000)
#define SERVICE_STOP_MS      9000 /* the guard's patience; systemd would wait 60 s */
#define SERVICE_DRAIN_MAX_MS 6000 /* leaves time to close what the guard watches */
#define SERVICE_MMAP_BYTES   (1 << 20)

/* Weights, tables and files of a model come and go with each retraining, on several threads. glibc
 * raises its threshold to the largest block that was freed and keeps such blocks in each thread's
 * arena from then on; with a fixed threshold they go back to the system. After 32 retrainings 366 MB
 * were resident without it, 96 MB with it (docs/measured/service.md). */
static void give_large_blocks_back(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, SERVICE_MMAP_BYTES);
}

int service_init(struct service *svc, const char *config_path, struct err *err)
{
    int r;

    give_large_blocks_back();
    memset(svc, 0, sizeof(*svc));
    svc->signal_fd = svc->timer_fd = svc->guard_fd = -1;
    svc->config_path = config_path;
    pthread_mutex_init(&svc->settings_mutex, NULL);
    r = service_reload_init(&svc->reload, err);
    if (r)
        return r;
    svc->settings = calloc(1, sizeof(*svc->settings));
    if (!svc->settings)
        return err_oom(err, "settings");
    r = settings_load(config_path, &svc->settings->s, err);
    if (r)
        return r;
    svc->started = svc->settings;
    log_set_level((enum log_level)svc->settings->s.log_level);
    return ERR_OK;
}

void service_done(struct service *svc)
{
    while (svc->settings) {
        struct service_settings *older = svc->settings->older;

        settings_done(&svc->settings->s);
        free(svc->settings);
        svc->settings = older;
    }
    service_reload_done(&svc->reload);
    pthread_mutex_destroy(&svc->settings_mutex);
}

/* ---- start ------------------------------------------------------------------------------- */

static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
static pthread_t main_thread;

/* A thread that a library or a sanitizer started before main has an open mask, and the kernel
 * may give it the signal: hand it on to the main thread, whose signalfd then has it. (Without this,
 * the SIGHUP of a reload killed the daemon under ASan.) */
static void hand_on(int number)
{
    pthread_kill(main_thread, number);
}

static int start_signals(struct service *svc, struct err *err)
{
    struct sigaction action = {.sa_handler = hand_on, .sa_flags = SA_RESTART};
    bool failed = signal(SIGPIPE, SIG_IGN) == SIG_ERR;
    sigset_t set;

    main_thread = pthread_self();
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaddset(&set, signals[i]);
    failed |= pthread_sigmask(SIG_BLOCK, &set, NULL) != 0;
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        failed |= sigaction(signals[i], &action, NULL) != 0;
    if (failed)
        return err_fatal(err, EX_OSERR, "block signals: %s", strerror(errno));
    svc->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (svc->signal_fd < 0)
        return err_fatal(err, EX_OSERR, "signalfd: %s", strerror(errno));
    return ERR_OK;
}

static int start_timer(struct service *svc, struct err *err)
{
    int64_t tick_us = SERVICE_TICK_US, watchdog_us = notify_watchdog_us();
    struct itimerspec when;

    if (watchdog_us > 0 && watchdog_us < tick_us)
        tick_us = watchdog_us;
    when.it_interval.tv_sec = tick_us / 1000000;
    when.it_interval.tv_nsec = tick_us % 1000000 * 1000;
    when.it_value = when.it_interval;
    svc->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (svc->timer_fd < 0 || timerfd_settime(svc->timer_fd, 0, &when, NULL) != 0)
        return err_fatal(err, EX_OSERR, "timer: %s", strerror(errno));
    return ERR_OK;
}

/* Its files would be root's, and the daemon of that user could not use them. */
static void warn_of_root(const struct settings *s)
{
    char folder[PATH_MAX], owner[ACCOUNT_BYTES];
    struct stat info;

    snprintf(folder, sizeof(folder), "%s", s->store.path);
    if (geteuid() == 0 && stat(dirname(folder), &info) == 0 && info.st_uid != 0)
        log_warning(
            "this runs as root, and %s belongs to %s: run it as that user, who cannot use "
            "what is left there otherwise",
            folder, account_user(info.st_uid, owner));
}

static int start_pipeline(struct service *svc, struct err *err)
{
    const struct settings *s = &svc->settings->s;
    char topic[SETTINGS_DLQ_TOPIC_BYTES] = "";
    int r;

    warn_of_root(s);
    if (s->source == SETTINGS_SOURCE_KAFKA)
        settings_dlq_topic(s, topic, sizeof(topic));
    r = pipeline_open(s, topic[0] ? topic : NULL, &svc->pipeline, err);
    if (r == ERR_OK)
        vitals_init(&svc->vitals, s, svc->pipeline);
    return r;
}

struct restored {
    char made[64];
};

static int take_restored(struct store *st, void *arg, struct err *err)
{
    struct restored *r = arg;

    return store_take_restored(st, r->made, sizeof(r->made), err);
}

/* Once, by the first start on it. */
static int tell_restored(struct service *svc, struct err *err)
{
    struct restored r = {{0}};
    int status = pipeline_write(svc->pipeline, take_restored, &r, err);

    if (status == ERR_OK && r.made[0])
        log_notice(
            "this store is a backup of %s, restored: offsets go back to then, and what the "
            "source still has since then is read again; readers of changes see another "
            "generation",
            r.made);
    return status == ERR_RETRY ? ERR_OK : status; /* a disk that is full is told elsewhere */
}

static bool http_live(void *ctx, char *ret_why, size_t why_bytes)
{
    return vitals_live(ctx, ret_why, why_bytes);
}

static bool http_ready(void *ctx, char *ret_why, size_t why_bytes)
{
    return vitals_ready(ctx, ret_why, why_bytes);
}

static void http_metrics(void *ctx, FILE *out)
{
    vitals_metrics(ctx, out);
}

static int start_http(struct service *svc, struct err *err)
{
    const struct settings *s = &svc->settings->s;
    const struct http_handlers handlers = {
        .live = http_live, .ready = http_ready, .metrics = http_metrics, .ctx = &svc->vitals};
    int r;

    if (s->http.port == 0)
        return ERR_OK;
    r = http_start(s->http.address, (uint16_t)s->http.port, &handlers, &svc->http, err);
    if (r == ERR_OK)
        log_info("http: /livez, /readyz and /metrics on %s port %u", s->http.address,
                 http_port(svc->http));
    return r;
}

static const struct settings *retrain_settings(void *svc)
{
    return service_settings(svc);
}

static int start_retrain(struct service *svc, struct err *err)
{
    int r = retrain_open(retrain_settings, svc, svc->pipeline, &svc->retrain, err);

    if (r == ERR_OK)
        atomic_store(&svc->vitals.retrain, svc->retrain);
    return r;
}

/* <store>.control → the socket: how a command line that knows only the store finds us. */
static void link_path(const struct settings *s, char *ret_path, size_t bytes)
{
    snprintf(ret_path, bytes, "%s.control", s->store.path);
}

static int start_control(struct service *svc, struct err *err)
{
    const struct settings *s = &svc->settings->s;
    char path[4200];
    char *socket_path;
    int r;

    if (!s->control.socket || !s->control.socket[0])
        return ERR_OK;
    r = control_open(s->control.socket, service_commands, svc, &svc->control, err);
    if (r)
        return r;
    link_path(s, path, sizeof(path));
    socket_path = realpath(s->control.socket, NULL);
    unlink(path); /* a stale one, after a kill; we hold the store's lock */
    if (!socket_path || symlink(socket_path, path) != 0)
        log_warning("link %s to the control socket: %s: metammf --store will not find this "
                    "daemon, metammf --config will",
                    path, strerror(errno));
    free(socket_path);
    return ERR_OK;
}

static int open_letters(struct service *svc, struct err *err)
{
    const struct settings *s = &svc->settings->s;
    const struct letters_options options = {.store_path = s->store.path,
                                            .writer = pipeline_writer(svc->pipeline)};
    struct publisher *publisher;
    struct outbox *outbox;
    int r = kafka_publisher_open(s, "dead-letter producer", &publisher, err);

    if (r)
        return r;
    r = letters_open(&options, &outbox, err);
    if (r) {
        publisher->ops->close(publisher);
        return r;
    }
    r = publish_open(outbox, publisher, &svc->letters, err);
    if (r == ERR_OK)
        atomic_store(&svc->vitals.letters, svc->letters);
    return r;
}

static int open_kafka(struct service *svc, struct err *err)
{
    int r = kafka_source_open(&svc->settings->s, svc->pipeline, &svc->source, err);

    if (r == ERR_OK)
        r = open_letters(svc, err);
    if (r == ERR_OK)
        kafka_source_letters(svc->source, svc->letters);
    return r;
}

static int start_source(struct service *svc, struct err *err)
{
    const struct settings *s = &svc->settings->s;
    int r = s->source == SETTINGS_SOURCE_KAFKA
                ? open_kafka(svc, err)
                : spool_open(s, svc->pipeline, &svc->source, err);

    if (r)
        return r;
    pipeline_attach(svc->pipeline, svc->source);
    r = svc->source->ops->start(svc->source, err);
    if (r == ERR_OK)
        atomic_store(&svc->vitals.source, svc->source);
    return r;
}

int service_start(struct service *svc, struct err *err)
{
    int (*const steps[])(struct service *, struct err *) = {
        start_signals, start_timer,   start_pipeline, tell_restored,
        start_http,    start_retrain, start_control,  start_source};
    int r = ERR_OK;

    for (size_t i = 0; r == ERR_OK && i < sizeof(steps) / sizeof(steps[0]); i++)
        r = steps[i](svc, err);
    if (r) {
        service_stop(svc);
        return r;
    }
    log_notice("ready: store %s, source %s", svc->settings->s.store.path,
               svc->source->ops->name);
    notify_ready();
    return ERR_OK;
}

/* ---- run --------------------------------------------------------------------------------- */

static void fail(struct service *svc, const char *what, const struct err *err)
{
    log_error("%s: %s", what, err->text);
    svc->exit_code = err->exit_code ? err->exit_code : EX_SOFTWARE;
    svc->stopping = true;
}

static void check_failures(struct service *svc)
{
    struct pipeline_status p;
    struct source_status s = {0};

    pipeline_status(svc->pipeline, &p);
    svc->source->ops->status(svc->source, &s);
    if (p.failed)
        fail(svc, "pipeline", &p.err);
    else if (s.failed)
        fail(svc, "source", &s.err);
}

static void on_tick(struct service *svc)
{
    char text[256], why[256];
    uint64_t n_ticks;

    if (read(svc->timer_fd, &n_ticks, sizeof(n_ticks)) < 0)
        return;
    check_failures(svc);
    log_limit_tick();
    vitals_tick(&svc->vitals);
    vitals_line(&svc->vitals, text, sizeof(text));
    notify_status(text);
    if (health_ok(why, sizeof(why)))
        notify_watchdog();
    else if (log_limit(LOG_LEVEL_WARNING, "ticks without a watchdog signal", "", "%s", why))
        log_warning("no watchdog signal: %s", why);
}

static void on_signal(struct service *svc)
{
    struct signalfd_siginfo info;
    struct err err;

    if (read(svc->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (info.ssi_signo == SIGHUP) {
        err_clear(&err);
        service_reload_now(svc, &err);
        return;
    }
    if (info.ssi_signo == SIGUSR1) {
        log_notice("SIGUSR1 from pid %u: retraining", info.ssi_pid);
        retrain_ask(svc->retrain);
        return;
    }
    log_notice("%s from pid %u: stopping", info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT",
               info.ssi_pid);
    svc->stopping = true;
}

static int control_fd_of(const struct service *svc)
{
    return svc->control ? control_fd(svc->control) : -1;
}

int service_run(struct service *svc)
{
    struct pollfd fds[] = {
        {.fd = svc->signal_fd, .events = POLLIN},
        {.fd = svc->timer_fd, .events = POLLIN},
        {.fd = svc->reload.event_fd, .events = POLLIN},
        {.fd = control_fd_of(svc), .events = POLLIN},
    };

    while (!svc->stopping) {
        if (poll(fds, sizeof(fds) / sizeof(fds[0]), -1) < 0 && errno != EINTR) {
            log_error("poll: %s", strerror(errno));
            return EX_OSERR;
        }
        if (fds[0].revents)
            on_signal(svc);
        if (fds[1].revents) {
            on_tick(svc);
            fds[3].fd = control_fd_of(svc);
        }
        if (fds[2].revents)
            service_reload_serve(svc);
        if (fds[3].revents && !control_accept(svc->control))
            fds[3].fd = -1; /* until the next tick */
    }
    return svc->exit_code;
}

/* ---- stop -------------------------------------------------------------------------------- */

static void *guard_main(void *arg)
{
    struct service *svc = arg;
    struct pollfd fd = {.fd = svc->guard_fd, .events = POLLIN};
    int n;

    do
        n = poll(&fd, 1, SERVICE_STOP_MS);
    while (n < 0 && errno == EINTR);
    if (n == 0) {
        log_limit_flush();
        log_warning("stop: not done after %d ms: ending the process; offsets are in the store, "
                    "nothing is lost",
                    SERVICE_STOP_MS);
        _exit(svc->exit_code);
    }
    return NULL;
}

static void guard_start(struct service *svc)
{
    svc->guarded = wake_open("stop", &svc->guard_fd, NULL) == ERR_OK &&
                   pthread_create(&svc->guard, NULL, guard_main, svc) == 0;
    if (!svc->guarded)
        log_warning("stop: no guard thread");
}

static void guard_end(struct service *svc)
{
    if (svc->guarded) {
        wake_set(svc->guard_fd);
        pthread_join(svc->guard, NULL);
    }
    if (svc->guard_fd >= 0)
        close(svc->guard_fd);
    svc->guard_fd = -1;
    svc->guarded = false;
}

static void drain(struct service *svc)
{
    int64_t ms = svc->settings->s.shutdown.drain_ms;
    struct err err;

    err_clear(&err);
    if (ms > SERVICE_DRAIN_MAX_MS)
        ms = SERVICE_DRAIN_MAX_MS;
    if (pipeline_drain(svc->pipeline, ms, &err) != ERR_OK)
        log_warning("stop: %s: what is in flight is read again after the next start", err.text);
}

static void stop_control(struct service *svc)
{
    char path[4200];

    service_reload_close(&svc->reload);
    if (!svc->control)
        return;
    link_path(&svc->settings->s, path, sizeof(path));
    unlink(path);
    control_close(svc->control);
    svc->control = NULL;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void service_stop(struct service *svc)
{
    int64_t started_us = clock_mono_us();

    notify_stopping();
    guard_start(svc);
    if (svc->source)
        svc->source->ops->stop(svc->source);
    publish_stop(svc->letters);
    stop_control(svc); /* before the drain: an ingest over it would go on feeding */
    retrain_stop(svc->retrain);
    if (svc->pipeline && svc->source)
        drain(svc);
    http_stop(svc->http);
    svc->http = NULL;
    atomic_store(&svc->vitals.retrain, NULL);
    retrain_close(svc->retrain);
    svc->retrain = NULL;
    if (svc->pipeline)
        pipeline_attach(svc->pipeline, NULL);
    atomic_store(&svc->vitals.letters, NULL);
    publish_close(svc->letters);
    svc->letters = NULL;
    if (svc->source)
        svc->source->ops->close(svc->source);
    svc->source = NULL;
    if (svc->pipeline)
        pipeline_close(svc->pipeline);
    svc->pipeline = NULL;
    close_fd(&svc->signal_fd);
    close_fd(&svc->timer_fd);
    guard_end(svc);
    log_limit_flush();
    log_notice("stopped in %" PRId64 " ms", (clock_mono_us() - started_us) / 1000);
}
