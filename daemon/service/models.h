#ifndef MMF_DAEMON_SERVICE_MODELS_H
#define MMF_DAEMON_SERVICE_MODELS_H

/* The control socket's commands about models (commands.c names them). A folder or file
 * comes as an open descriptor, so that the daemon reads only what the peer could open. Handlers
 * run on their client's thread, one at a time of these; what writes goes to the sink in pieces. */

#include "daemon/service/control.h"

int service_model_publish(struct control_call *call, struct json_t **ret_result,
                          struct err *err);
int service_model_import(struct control_call *call, struct json_t **ret_result,
                         struct err *err);
int service_model_activate(struct control_call *call, struct json_t **ret_result,
                           struct err *err);
int service_model_pin(struct control_call *call, struct json_t **ret_result, struct err *err);

#endif
