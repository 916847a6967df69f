#ifndef MMF_DAEMON_CLI_BULK_H
#define MMF_DAEMON_CLI_BULK_H

/* Work that writes: by the running daemon, over its control socket, or by this process with a
 * pipeline of its own when no daemon has the store. What such verbs share. */

#include "config/err.h"
#include "daemon/cli/cli.h"
#include "daemon/source/ingest.h"

struct json_t;
struct pipeline;

/* ERR_OK: *ret_fd is a connection to the daemon; ERR_NONE: there is none. */
int cli_daemon(struct cli *cli, int *ret_fd, struct err *err);
/* One request with a progress bar on standard error; drops the reference of request. file: an open
 * one that goes along, -1 = none. */
int cli_ask_bulk(int fd, struct json_t *request, int file, const char *label,
                 struct ingest_result *ret_result, struct err *err);
/* The pipeline in this process; media roots as in the settings. */
int cli_open_pipeline(struct cli *cli, struct pipeline **ret_p, struct err *err);
/* Draws a progress bar: ctx is a struct progress. */
bool cli_watch(void *ctx, const struct ingest_progress *now);
/* The same with a daemon's progress packet. */
void cli_watch_json(void *ctx, const struct json_t *progress);
int cli_print_bulk(const struct cli *cli, const char *what, const struct ingest_result *r);

#endif
