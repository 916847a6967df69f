#ifndef MMF_DAEMON_CLI_WEIGHTS_H
#define MMF_DAEMON_CLI_WEIGHTS_H

/* What each signal of a model counts (fusion/model/signals.h), for people: as the view current_signal
 * has it, and with what the lists are without it. */

#include "config/err.h"

#include <stdint.h>

struct json_t;
struct store;

/* {name: weight}, empty for a model without signals of its own. */
int weights_read(struct store *st, int64_t model_id, struct json_t **ret_weights,
                 struct err *err);
/* On one line: "trained 1, content 0.1, fade 0.5, neighbours 0.3", or what it is without any. */
void weights_print(const struct json_t *weights);
/* A line a signal with its weight and what the lists are with it alone and without it, from the metrics
 * of a training. Prints nothing for a model without. */
void weights_print_figures(const struct json_t *metrics);

#endif
