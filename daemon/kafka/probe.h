#ifndef MMF_DAEMON_KAFKA_PROBE_H
#define MMF_DAEMON_KAFKA_PROBE_H

/* Questions to the cluster with the configured properties, for `metammf doctor`: does a broker
 * answer, is each topic there and readable, does the group's coordinator take us, is there a topic
 * for the dead letters. Joins no group, commits and writes nothing. */

#include "config/err.h"
#include "config/settings.h"

#include <stddef.h>

enum kafka_probe_verdict { KAFKA_PROBE_GOOD, KAFKA_PROBE_NOTE, KAFKA_PROBE_BAD };

struct kafka_probe_finding {
    const char *check; /* broker, topics, topic, group, dlq */
    enum kafka_probe_verdict verdict;
    int exit_code; /* of a bad one */
    const char *text, *next;
};
typedef void kafka_probe_found(void *arg, const struct kafka_probe_finding *finding);

/* Calls found for each finding, in an order in which a bad one explains the later ones. Each
 * question blocks at most about timeout_ms, and the end 3 s. */
void kafka_probe(const struct settings *s, int timeout_ms, kafka_probe_found *found, void *arg);

#endif
