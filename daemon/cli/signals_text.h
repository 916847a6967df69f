#ifndef MMF_DAEMON_CLI_SIGNALS_TEXT_H
#define MMF_DAEMON_CLI_SIGNALS_TEXT_H

/* What a model's lists are made of (fusion/model/signals.h), for people: a line a signal with its weight
 * and what the lists are without it, from the metrics of a training. Prints nothing for a model
 * without. */

struct json_t;

void cli_signals_text(const struct json_t *metrics);

#endif
