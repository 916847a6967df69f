#ifndef MMF_DAEMON_CLI_WEIGHTS_H
#define MMF_DAEMON_CLI_WEIGHTS_H

/* What each signal of a model counts, as the view current_signal has it. */

#include "config/err.h"

#include <stdint.h>

struct json_t;
struct store;

/* {name: weight}, empty for a model without signals of its own. */
int weights_read(struct store *st, int64_t model_id, struct json_t **ret_weights,
                 struct err *err);
/* On one line: "trained 1, content 0.1, fade 0.5, neighbours 0.3", or what it is without any. */
void weights_print(const struct json_t *weights);

#endif
