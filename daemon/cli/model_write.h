#ifndef MMF_DAEMON_CLI_MODEL_WRITE_H
#define MMF_DAEMON_CLI_MODEL_WRITE_H

/* What train and model change in the store: by the running daemon over its control socket, or by
 * this process with the store's lock when no daemon has it. */

#include "daemon/cli/cli.h"

enum cli_model_change {
    CLI_MODEL_PUBLISH, /* path: a trainer's folder */
    CLI_MODEL_IMPORT,  /* path: a safetensors file */
    CLI_MODEL_ACTIVATE,
    CLI_MODEL_PIN
};

struct cli_model_write {
    enum cli_model_change change;
    const char *path;
    int64_t model_id;  /* activate, pin (0 = unpin) */
    bool activate;     /* publish, import */
    const char *label; /* of the progress */
};
/* *ret_model_id: the model it was about. */
int cli_model_write(struct cli *cli, const struct cli_model_write *w, int64_t *ret_model_id,
                    struct err *err);

#endif
