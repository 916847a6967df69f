#ifndef MMF_DAEMON_SERVICE_RELOAD_H
#define MMF_DAEMON_SERVICE_RELOAD_H

/* Reloading the settings of a running service (reload.c). */

#include "daemon/service/service.h"

#include <stddef.h>

int service_reload_init(struct service_reload *r, struct err *err);
void service_reload_done(struct service_reload *r);
/* Main thread: reads the file again; on an error the old settings stay in force. Tells the
 * service manager and the log in both cases. */
int service_reload_now(struct service *svc, struct err *err);
/* Main thread: event_fd was readable. */
void service_reload_serve(struct service *svc);
/* Main thread, stopping: whoever waits gets ERR_RETRY. */
void service_reload_close(struct service_reload *r);
/* The keys of the process that differ and need a restart, ", "-joined; "" = none. */
void service_reload_unchangeable(const struct settings *old, const struct settings *now,
                                 char *ret_keys, size_t bytes);

#endif
