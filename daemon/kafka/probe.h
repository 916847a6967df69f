#ifndef MMF_DAEMON_KAFKA_PROBE_H
#define MMF_DAEMON_KAFKA_PROBE_H

/* One question to the cluster with the configured properties, for `metammf doctor`: does a
 * broker answer, and do the configured topics exist? */

#include "config/err.h"
#include "config/settings.h"

#include <stddef.h>

/* Blocks at most about timeout_ms, and 3 s to close. ERR_OK with ret_text "3 brokers, cluster
 * abc, topics videos (4 partitions), …"; ERR_FATAL EX_CONFIG for the properties, EX_UNAVAILABLE
 * when no broker answers or a topic is missing. */
int kafka_probe(const struct settings *s, int timeout_ms, char *ret_text, size_t bytes,
                struct err *err);

#endif
