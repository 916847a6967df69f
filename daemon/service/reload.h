#ifndef MMF_DAEMON_SERVICE_RELOAD_H
#define MMF_DAEMON_SERVICE_RELOAD_H

/* Reloading the settings of a running service (reload.c). */

#include "daemon/service/service.h"

int service_reload_init(struct service_reload *r, struct err *err);
void service_reload_done(struct service_reload *r);
/* Main thread: reads the file again; on an error the old settings stay in force. Tells the
 * service manager and the log in both cases. */
int service_reload_now(struct service *svc, struct err *err);
/* Main thread: event_fd was readable. */
void service_reload_serve(struct service *svc);
/* Main thread, stopping: whoever waits gets ERR_RETRY. */
void service_reload_close(struct service_reload *r);
/* The answer to `settings`: {"file": PATH, "file_error": TEXT, "settings": {KEY: {"running": VALUE, "file":
 * VALUE, "waits": "reload" or "restart"}}}, values as a file has them, secrets as ***; file and waits only
 * where the file says something else. Any thread. */
int service_settings_json(struct service *svc, struct json_t **ret_result, struct err *err);

#endif
