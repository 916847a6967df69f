#ifndef MMF_DAEMON_KAFKA_SOURCE_H
#define MMF_DAEMON_KAFKA_SOURCE_H

/* The source of events (daemon/pipeline/source.h) that consumes Kafka's topics. */

#include "config/err.h"
#include "config/settings.h"

struct pipeline;
struct publish;
struct source;

int kafka_source_open(const struct settings *s, struct pipeline *p, struct source **ret_src,
                      struct err *err);
/* Before start: dead letters, which the source starts to publish once it knows that the cluster is
 * the store's, and whose waits are waits of the source. Borrowed until the source has stopped. */
void kafka_source_letters(struct source *src, struct publish *letters);

#endif
