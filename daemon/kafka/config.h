#ifndef MMF_DAEMON_KAFKA_CONFIG_H
#define MMF_DAEMON_KAFKA_CONFIG_H

/* librdkafka's properties, from three layers: the daemon's defaults, then the user's
 * kafka.properties, then the properties that the daemon owns because exactly-once depends on
 * them. The settings refuse a file that sets one of those. */

#include "config/err.h"
#include "config/settings.h"

#include <stddef.h>

struct rd_kafka_conf_s; /* rd_kafka_conf_t */

/* Values that must never be printed: kept so that every line from librdkafka can be cleaned. */
struct kafka_secrets {
    char **values;
    size_t n;
};
void kafka_secrets_done(struct kafka_secrets *secrets);
/* Replaces every secret inside text by '*'s, in place. */
void kafka_secrets_redact(const struct kafka_secrets *secrets, char *text);

enum kafka_role { KAFKA_CONSUMER, KAFKA_PRODUCER };

/* A new configuration; secrets may already hold values and gains the ones used here. The caller
 * gives *ret_conf to kafka_client_open or rd_kafka_conf_destroy. ERR_FATAL EX_CONFIG names the
 * property, never a secret value. */
int kafka_config_new(const struct settings *s, enum kafka_role role,
                     struct kafka_secrets *secrets, struct rd_kafka_conf_s **ret_conf,
                     struct err *err);
/* For --check-config: builds both configurations and throws them away. Outside the unit a credential
 * cannot be read (settings_has_credentials); then names are checked and the property is left out.
 * *ret_n_unread: so many were not read. */
int kafka_config_check(const struct settings *s, size_t *ret_n_unread, struct err *err);

#endif
