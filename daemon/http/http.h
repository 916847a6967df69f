#ifndef MMF_DAEMON_HTTP_HTTP_H
#define MMF_DAEMON_HTTP_HTTP_H

/* Health and metrics over HTTP/1.1, on loopback unless the settings say otherwise:
 *
 *   GET /livez    200 "ok", 503 with the part that stands still: restart the process
 *   GET /readyz   200 "ready", 503 with what is missing: send no work yet
 *   GET /metrics  Prometheus text format 0.0.4
 *
 * HEAD answers as GET without the body; other paths 404, other methods 405. One thread of its
 * own, on which the handlers are called. A connection has one request and 5 s in all, however busy
 * it keeps itself; there are at most 32, and one more ends the oldest of them: clients that take
 * their time, however many, keep nobody else from an answer. */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct http;

struct http_handlers {
    /* True when fine; otherwise ret_why says why not. */
    bool (*live)(void *ctx, char *ret_why, size_t why_bytes);
    bool (*ready)(void *ctx, char *ret_why, size_t why_bytes);
    void (*metrics)(void *ctx, FILE *out);
    void *ctx;
};

/* address: a numeric IPv4 or IPv6 address or "localhost"; port 0 = any free one. The handlers
 * are copied. ERR_FATAL EX_CONFIG for a bad address, EX_OSERR when the port is taken. */
int http_start(const char *address, uint16_t port, const struct http_handlers *handlers,
               struct http **ret_http, struct err *err);
uint16_t http_port(const struct http *http);
void http_stop(struct http *http); /* takes NULL; open connections are closed */

#endif
