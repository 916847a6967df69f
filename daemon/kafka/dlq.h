#ifndef MMF_DAEMON_KAFKA_DLQ_H
#define MMF_DAEMON_KAFKA_DLQ_H

/* Publishes the store's outbox of dead letters to the DLQ topic by the idempotent producer, on
 * a thread of its own: read a batch (read-only handle) → produce → delivery report → delete by
 * pipeline_write. A row leaves the outbox only after the broker has acknowledged it, so a
 * missing topic or a broker away costs time, never a dead letter; a crash between the report
 * and the delete publishes it once more, with the same topic/partition/offset headers. */

#include "config/err.h"
#include "config/settings.h"

#include <stddef.h>
#include <stdint.h>

struct kafka_dlq;
struct pipeline;

int kafka_dlq_open(const struct settings *s, struct pipeline *p, struct kafka_dlq **ret_dlq,
                   struct err *err);
/* Starts the thread: call only when the cluster is known to be the right one. */
int kafka_dlq_start(struct kafka_dlq *dlq, struct err *err);
/* What it waits for ("topic videos.dlq does not exist"), "" = nothing. Any thread. */
void kafka_dlq_describe(struct kafka_dlq *dlq, char *ret_text, size_t bytes);
/* Dead letters acknowledged since the start. Any thread. */
uint64_t kafka_dlq_published(struct kafka_dlq *dlq);
/* Ends the thread; bounded in time. */
void kafka_dlq_stop(struct kafka_dlq *dlq);
/* Takes NULL. */
void kafka_dlq_close(struct kafka_dlq *dlq);

#endif
