#include "daemon/http/http.h"

#include "config/clock.h"
#include "config/log.h"
#include "config/log_limit.h"
#include "config/text.h"
#include "config/wake.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#define HTTP_CONNECTIONS 32u                    /* one more costs the oldest its place */
#define HTTP_ROOM        (2 * HTTP_CONNECTIONS) /* with those that are cut and not yet closed */
#define HTTP_TIMEOUT_US  INT64_C(5000000)    /* from the connection to the reply's last byte */
#define HTTP_MEMORY      ((size_t)32 * 1024) /* of one connection */

struct client {
    bool here, cut;
    int fd; /* libmicrohttpd's, while here */
    int64_t until_us;
};

struct http {
    struct MHD_Daemon *mhd;
    struct http_handlers handlers;
    uint16_t port;
    pthread_t thread;
    int stop_fd;
    struct client clients[HTTP_ROOM]; /* the thread's own */
};

/* ---- answers ------------------------------------------------------------------------------ */

static enum MHD_Result reply(struct MHD_Connection *c, unsigned status, const char *type,
                             char *body, size_t bytes, enum MHD_ResponseMemoryMode mode)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(bytes, body, mode);
    enum MHD_Result result;

    if (!r) {
        if (mode == MHD_RESPMEM_MUST_FREE)
            free(body);
        return MHD_NO;
    }
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    result = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result reply_text(struct MHD_Connection *c, unsigned status, const char *text)
{
    char line[512];

    text_format(line, sizeof(line) - 1, "%s", text);
    strcat(line, "\n");
    return reply(c, status, "text/plain; charset=utf-8", line, strlen(line),
                 MHD_RESPMEM_MUST_COPY);
}

static enum MHD_Result reply_probe(struct MHD_Connection *c, const struct http_handlers *h,
                                   bool (*probe)(void *, char *, size_t), const char *fine)
{
    char why[400] = "";

    if (probe(h->ctx, why, sizeof(why)))
        return reply_text(c, MHD_HTTP_OK, fine);
    return reply_text(c, MHD_HTTP_SERVICE_UNAVAILABLE, why);
}

static enum MHD_Result reply_metrics(struct MHD_Connection *c, const struct http_handlers *h)
{
    char *body = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&body, &bytes);
    bool failed;

    if (!out)
        return reply_text(c, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
    h->metrics(h->ctx, out);
    failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(body);
        return reply_text(c, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
    }
    return reply(c, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", body, bytes,
                 MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result answer(void *arg, struct MHD_Connection *c, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_bytes, void **state)
{
    static char seen;
    const struct http_handlers *h = &((struct http *)arg)->handlers;

    (void)version;
    (void)upload;
    if (!*state) { /* headers only: the request's body, if any, is read and dropped first */
        *state = &seen;
        return MHD_YES;
    }
    if (*upload_bytes) {
        *upload_bytes = 0;
        return MHD_YES;
    }
    bool live = strcmp(url, "/livez") == 0, ready = strcmp(url, "/readyz") == 0;

    if (!live && !ready && strcmp(url, "/metrics") != 0)
        return reply_text(c, MHD_HTTP_NOT_FOUND, "not found: try /livez, /readyz or /metrics");
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return reply_text(c, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD");
    if (live)
        return reply_probe(c, h, h->live, "ok");
    if (ready)
        return reply_probe(c, h, h->ready, "ready");
    return reply_metrics(c, h);
}

__attribute__((format(printf, 2, 0))) static void mhd_log(void *arg, const char *fmt,
                                                          va_list args)
{
    char text[256];

    (void)arg;
    vsnprintf(text, sizeof(text), fmt, args);
    text[strcspn(text, "\n")] = '\0';
    log_debug("http: %s", text);
}

static int resolve(const char *address, uint16_t port, struct sockaddr_storage *ret_addr,
                   struct err *err)
{
    bool local = strcmp(address, "localhost") == 0;
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int r = getaddrinfo(local ? "127.0.0.1" : address, NULL, &hints, &found);

    if (r != 0)
        return err_fatal(err, EX_CONFIG,
                         "http.address \"%s\": %s: give a numeric address such as 127.0.0.1",
                         address, gai_strerror(r));
    memcpy(ret_addr, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (ret_addr->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)ret_addr)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)ret_addr)->sin_port = htons(port);
    return ERR_OK;
}

/* ---- clients that take their time --------------------------------------------------------- */

/* libmicrohttpd finds the connection ended and closes it. */
static void cut(struct client *c, const char *why)
{
    if (log_limit(LOG_LEVEL_INFO, "http connections cut", "", "%s", why))
        log_info("http: a connection is cut: %s", why);
    (void)shutdown(c->fd, SHUT_RDWR);
    c->cut = true;
}

/* The one that has been here longest, when there are more than are served at once: who sends his
 * request at once is not among the oldest. */
static void cut_oldest(struct http *http)
{
    struct client *oldest = NULL;
    unsigned n = 0;

    for (size_t i = 0; i < HTTP_ROOM; i++) {
        struct client *c = &http->clients[i];

        if (!c->here || c->cut)
            continue;
        n++;
        if (!oldest || c->until_us < oldest->until_us)
            oldest = c;
    }
    if (n > HTTP_CONNECTIONS)
        cut(oldest, "another one came, and it is the oldest of as many as are served at once");
}

static void cut_late(struct http *http)
{
    int64_t now_us = clock_mono_us();

    for (size_t i = 0; i < HTTP_ROOM; i++) {
        struct client *c = &http->clients[i];

        if (c->here && !c->cut && now_us >= c->until_us)
            cut(c, "not done within 5 s");
    }
}

static void take_client(struct http *http, struct MHD_Connection *connection, void **ret_client)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    for (size_t i = 0; info && i < HTTP_ROOM; i++) {
        struct client *c = &http->clients[i];

        if (c->here)
            continue;
        *c = (struct client){.here = true,
                             .fd = info->connect_fd,
                             .until_us = clock_mono_us() + HTTP_TIMEOUT_US};
        *ret_client = c;
        break;
    }
    cut_oldest(http);
}

/* A descriptor is forgotten before libmicrohttpd closes it. */
static void on_connection(void *arg, struct MHD_Connection *connection, void **client,
                          enum MHD_ConnectionNotificationCode what)
{
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        take_client(arg, connection, client);
    else if (*client)
        *(struct client *)*client = (struct client){0};
}

/* ---- the thread --------------------------------------------------------------------------- */

/* Until the next connection is late, or libmicrohttpd wants to go on; -1 = for ever. */
static int patience_ms(struct http *http)
{
    unsigned long long mhd_ms;
    int64_t now_us = clock_mono_us(), wait_us = HTTP_TIMEOUT_US;
    bool waits = MHD_get_timeout(http->mhd, &mhd_ms) == MHD_YES;

    if (waits && mhd_ms < (unsigned long long)(HTTP_TIMEOUT_US / 1000))
        wait_us = (int64_t)mhd_ms * 1000;
    for (size_t i = 0; i < HTTP_ROOM; i++) {
        const struct client *c = &http->clients[i];

        if (!c->here || c->cut)
            continue;
        waits = true;
        if (c->until_us - now_us < wait_us)
            wait_us = c->until_us - now_us;
    }
    return !waits ? -1 : wait_us <= 0 ? 0 : (int)((wait_us + 999) / 1000);
}

/* Late is who was not done after everything that has arrived was looked at: a scrape that took us
 * long costs nobody else his answer. */
static void *http_main(void *arg)
{
    struct http *http = arg;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    struct pollfd fds[] = {{.fd = info->epoll_fd, .events = POLLIN},
                           {.fd = http->stop_fd, .events = POLLIN}};

    while (!fds[1].revents) {
        (void)poll(fds, 2, patience_ms(http));
        (void)MHD_run(http->mhd);
        cut_late(http);
    }
    return NULL;
}

/* Without SO_REUSEPORT: two daemons on one port are an error, not a lottery. */
static struct MHD_Daemon *mhd_start(struct http *http, uint16_t port,
                                    const struct sockaddr_storage *addr)
{
    unsigned flags = MHD_USE_EPOLL | MHD_USE_ERROR_LOG;

    if (addr->ss_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    return MHD_start_daemon(flags, port, NULL, NULL, answer, http, MHD_OPTION_EXTERNAL_LOGGER,
                            mhd_log, NULL, MHD_OPTION_SOCK_ADDR, addr,
                            MHD_OPTION_CONNECTION_LIMIT, HTTP_ROOM,
                            MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, HTTP_MEMORY, MHD_OPTION_END);
}

static int listen_on(struct http *http, const char *address, uint16_t port,
                     const struct sockaddr_storage *addr, struct err *err)
{
    const union MHD_DaemonInfo *info;

    errno = 0;
    http->mhd = mhd_start(http, port, addr);
    if (!http->mhd)
        return err_fatal(
            err, err_exit_code(errno, EX_OSERR),
            "http: listen on %s port %u: %s: choose another http.port, 0 = no HTTP", address,
            port, errno ? strerror(errno) : "refused");
    info = MHD_get_daemon_info(http->mhd, MHD_DAEMON_INFO_BIND_PORT);
    http->port = info ? info->port : port;
    return ERR_OK;
}

static int start_thread(struct http *http, struct err *err)
{
    int code, r = wake_open("http", &http->stop_fd, err);

    if (r)
        return r;
    code = pthread_create(&http->thread, NULL, http_main, http);
    if (code)
        return err_retry(err, EX_OSERR, "http: start its thread: %s", strerror(code));
    pthread_setname_np(http->thread, "http");
    return ERR_OK;
}

static void http_free(struct http *http)
{
    if (http->mhd)
        MHD_stop_daemon(http->mhd);
    if (http->stop_fd >= 0)
        close(http->stop_fd);
    free(http);
}

int http_start(const char *address, uint16_t port, const struct http_handlers *handlers,
               struct http **ret_http, struct err *err)
{
    struct sockaddr_storage addr = {0};
    struct http *http;
    int r = resolve(address, port, &addr, err);

    if (r)
        return r;
    http = calloc(1, sizeof(*http));
    if (!http)
        return err_oom(err, "http server");
    http->handlers = *handlers;
    http->stop_fd = -1;
    r = listen_on(http, address, port, &addr, err);
    if (r == ERR_OK)
        r = start_thread(http, err);
    if (r == ERR_OK)
        *ret_http = http;
    else
        http_free(http);
    return r;
}

uint16_t http_port(const struct http *http)
{
    return http->port;
}

void http_stop(struct http *http)
{
    if (!http)
        return;
    wake_set(http->stop_fd);
    pthread_join(http->thread, NULL);
    http_free(http);
}
