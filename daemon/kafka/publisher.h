#ifndef MMF_DAEMON_KAFKA_PUBLISHER_H
#define MMF_DAEMON_KAFKA_PUBLISHER_H

/* A publisher (daemon/publish/publish.h) to Kafka: an idempotent producer of its own, with the
 * connection of the settings (kafka.bootstrap_servers, kafka.properties). It needs no consumer. */

#include "config/err.h"
#include "config/settings.h"

struct publisher;

/* name is a literal, for the log: "dead-letter producer". ERR_FATAL EX_CONFIG as kafka_config_new. */
int kafka_publisher_open(const struct settings *s, const char *name, struct publisher **ret_pub,
                         struct err *err);

#endif
