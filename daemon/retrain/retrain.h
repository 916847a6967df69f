#ifndef MMF_DAEMON_RETRAIN_RETRAIN_H
#define MMF_DAEMON_RETRAIN_RETRAIN_H

/* Retraining as a service: one thread that counts interactions, asks schedule.h whether
 * a round is due, and runs it (round.h). It writes through the sink, as everybody else,
 * and survives whatever its children do. While a round runs the thread ticks as HEALTH_TRAINER.
 *
 * Stop it before the pipeline is closed: the child is killed. */

#include "config/err.h"
#include "config/settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json_t;
struct pipeline;
struct retrain;

/* settings() must give settings that stay valid until retrain_close. */
int retrain_open(const struct settings *(*settings)(void *arg), void *arg, struct pipeline *p,
                 struct retrain **ret_t, struct err *err);
/* Any thread: a round as soon as none is running, whatever the schedule says. */
void retrain_ask(struct retrain *t);
/* " ndcg 0.180, next retrain in 12 min", which goes on after the model's id in the status line;
 * takes NULL. */
void retrain_line(struct retrain *t, char *ret_text, size_t bytes);
/* {"state", "running", "new_interactions", "ndcg_20": the active model's, below 0 = unknown, "last":
 * {"result", "why", "model_id", …} or null}; null for t NULL; NULL = no memory. */
struct json_t *retrain_json(struct retrain *t);
/* Counters and gauges of retraining; takes NULL. */
void retrain_metrics(struct retrain *t, FILE *out);
/* Ends the thread; a round under way is given up. The rest may still be called. Takes NULL. */
void retrain_stop(struct retrain *t);
void retrain_close(struct retrain *t); /* stops it; takes NULL */

#endif
