#include "daemon/http/http.h"

#include "config/log.h"
#include "config/text.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>

#define HTTP_CONNECTIONS 32u
#define HTTP_TIMEOUT_S   5u
#define HTTP_MEMORY      ((size_t)32 * 1024) /* of one connection */

struct http {
    struct MHD_Daemon *mhd;
    struct http_handlers handlers;
    uint16_t port;
};

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

/* Without SO_REUSEPORT: two daemons on one port are an error, not a lottery. */
static struct MHD_Daemon *mhd_start(struct http *http, uint16_t port,
                                    const struct sockaddr_storage *addr)
{
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ERROR_LOG;

    if (addr->ss_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    return MHD_start_daemon(flags, port, NULL, NULL, answer, http, MHD_OPTION_EXTERNAL_LOGGER,
                            mhd_log, NULL, MHD_OPTION_SOCK_ADDR, addr,
                            MHD_OPTION_CONNECTION_LIMIT, HTTP_CONNECTIONS,
                            MHD_OPTION_CONNECTION_TIMEOUT, HTTP_TIMEOUT_S,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, HTTP_MEMORY, MHD_OPTION_END);
}

int http_start(const char *address, uint16_t port, const struct http_handlers *handlers,
               struct http **ret_http, struct err *err)
{
    struct sockaddr_storage addr = {0};
    const union MHD_DaemonInfo *info;
    struct http *http;
    int r = resolve(address, port, &addr, err);

    if (r)
        return r;
    http = calloc(1, sizeof(*http));
    if (!http)
        return err_oom(err, "http server");
    http->handlers = *handlers;
    errno = 0;
    http->mhd = mhd_start(http, port, &addr);
    if (!http->mhd) {
        r = err_fatal(err, err_exit_code(errno, EX_OSERR),
                      "http: listen on %s port %u: %s: choose another http.port, 0 = no HTTP",
                      address, port, errno ? strerror(errno) : "refused");
        free(http);
        return r;
    }
    info = MHD_get_daemon_info(http->mhd, MHD_DAEMON_INFO_BIND_PORT);
    http->port = info ? info->port : port;
    *ret_http = http;
    return ERR_OK;
}

uint16_t http_port(const struct http *http)
{
    return http->port;
}

void http_stop(struct http *http)
{
    if (!http)
        return;
    MHD_stop_daemon(http->mhd);
    free(http);
}
