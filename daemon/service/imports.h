#ifndef MMF_DAEMON_SERVICE_IMPORTS_H
#define MMF_DAEMON_SERVICE_IMPORTS_H

/* The control socket's command `import` (commands.c names it), and the command line's side of it. */

#include "daemon/import/import.h"
#include "daemon/service/control.h"

int service_import(struct control_call *call, struct json_t **ret_result, struct err *err);

/* Asks the daemon at the other end of fd. The request's progress is called as by import_run; a false
 * of it hangs up, upon which the daemon stops. */
int service_import_ask(int fd, const struct import_request *q, struct import_result *ret_result,
                       struct err *err);

#endif
