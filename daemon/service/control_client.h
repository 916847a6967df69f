#ifndef MMF_DAEMON_SERVICE_CONTROL_CLIENT_H
#define MMF_DAEMON_SERVICE_CONTROL_CLIENT_H

/* The other end of control.h: what the command line asks a running daemon. Blocking. */

#include "config/err.h"
#include "config/settings.h"

#include <stddef.h>

struct json_t;

/* ERR_NONE when nobody listens at path; ERR_FATAL EX_NOPERM when we may not connect. */
int control_connect(const char *path, int *ret_fd, struct err *err);
/* The daemon that writes to s->store.path: by the link <store>.control, then by control.socket;
 * asked whether it is that store's. ERR_NONE when there is none. */
int control_find(const struct settings *s, int *ret_fd, struct err *err);

struct control_ask {
    int fd;                 /* the connection */
    struct json_t *request; /* this call drops the reference; NULL = out of memory */
    const int *fds;         /* (n_fds) descriptors to send along, at most CONTROL_FDS_MAX */
    size_t n_fds;
    void (*progress)(void *ctx, const struct json_t *progress); /* NULL = not wanted */
    void *ctx;
};
/* *ret_result: a new reference, NULL when the result is null; ret_result may be NULL. On a
 * refusal: the daemon's own text and exit code. */
int control_ask(const struct control_ask *ask, struct json_t **ret_result, struct err *err);

#endif
