/* Three layers of librdkafka properties.
 *
 * Layers     1. our defaults (consumer_defaults, producer_defaults)
 *            2. the user's kafka.properties, in the order of the file
 *            3. what we own (consumer_owned, producer_owned), the brokers, the group
 * Owned      Offsets live in the store. So whatever would let librdkafka move them (auto commit,
 *            auto.offset.reset), join a group by another name or make topics is ours. The settings
 *            refuse those names in the file (config/settings_kafka.c).
 * Thread     Any. There is no state but the caller's.
 * Failure    EX_CONFIG with the property's name. librdkafka's own text quotes the value, so it is
 *            cleaned before it goes into an error.
 * Example    properties = { sasl_password = "@credential:kafka"; } reads
 *            $CREDENTIALS_DIRECTORY/kafka, drops the line ends at its end, remembers the value as
 *            a secret and hands it to librdkafka.
 */

#include "daemon/kafka/config.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* Cooperative rebalancing crashes, hangs or loses its assignment before 2.10.1. */
#define COOPERATIVE_SINCE 0x020a01ff

struct property {
    const char *name, *value;
};

static const struct property consumer_defaults[] = {
    {"client.id", "metammfd"},
    {"isolation.level", "read_committed"},
    {"partition.assignment.strategy", "range"},
    {"session.timeout.ms", "45000"},
    {"heartbeat.interval.ms", "3000"},
    {"max.poll.interval.ms", "300000"},
    {"queued.min.messages", "1000"},
    {"queued.max.messages.kbytes", "16384"},
    {"fetch.message.max.bytes", "1048576"},
    {"check.crcs", "true"},
    {"reconnect.backoff.max.ms", "5000"},
    /* new topics and partitions; a topic that goes is known at once */
    {"topic.metadata.refresh.interval.ms", "10000"},
    {"topic.metadata.propagation.max.ms", "1000"},
    {NULL, NULL},
};

/* Ours whatever the user says: config/settings_kafka.c refuses each of these names in the file. */
static const struct property consumer_owned[] = {
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    {"auto.offset.reset", "error"},
    {"allow.auto.create.topics", "false"},
    {"enable.partition.eof", "true"},
    {"statistics.interval.ms", "1000"},
    {"log.queue", "true"},
    {NULL, NULL},
};

static const struct property producer_defaults[] = {
    {"client.id", "metammfd"},
    {"delivery.timeout.ms", "120000"},
    {"compression.type", "lz4"},
    {"linger.ms", "50"},
    {"reconnect.backoff.max.ms", "5000"},
    {"topic.metadata.propagation.max.ms", "5000"},
    {"message.max.bytes", "10485760"},
    {NULL, NULL},
};

static const struct property producer_owned[] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"log.queue", "true"},
    {NULL, NULL},
};

void kafka_secrets_done(struct kafka_secrets *secrets)
{
    for (size_t i = 0; i < secrets->n; i++)
        settings_credential_free(secrets->values[i]);
    free(secrets->values);
    *secrets = (struct kafka_secrets){0};
}

/* What is left of a secret where the text was cut. Less than CUT_BYTES say little, and may be anything. */
static void redact_cut(const char *value, char *text)
{
    enum { CUT_BYTES = 4 };
    size_t n = strlen(text), bytes = strlen(value);
    for (size_t k = bytes - 1 < n ? bytes - 1 : n; k >= CUT_BYTES; k--) {
        if (memcmp(text + n - k, value, k) != 0)
            continue;
        memset(text + n - k, '*', k);
        return;
    }
}

void kafka_secrets_redact(const struct kafka_secrets *secrets, char *text)
{
    for (size_t i = 0; i < secrets->n; i++) {
        const char *value = secrets->values[i];
        size_t bytes = strlen(value);
        if (bytes == 0)
            continue;
        for (char *at = strstr(text, value); at != NULL; at = strstr(at + bytes, value))
            memset(at, '*', bytes);
        redact_cut(value, text);
    }
}

/* Takes ownership of value. */
static int secrets_add(struct kafka_secrets *secrets, char *value, struct err *err)
{
    char **values = realloc(secrets->values, (secrets->n + 1) * sizeof(*values));
    if (values == NULL) {
        settings_credential_free(value);
        return err_oom(err, "reading a Kafka credential");
    }
    secrets->values = values;
    values[secrets->n++] = value;
    return ERR_OK;
}

/* The text to use, remembered in secrets and borrowed from it. */
static int remember(const char *value, struct kafka_secrets *secrets, const char **ret_value,
                    struct err *err)
{
    char *copy = NULL;
    int status = settings_credential_read(value, &copy, err);
    if (status != ERR_OK)
        return status;
    *ret_value = copy;
    return secrets_add(secrets, copy, err);
}

static int set(rd_kafka_conf_t *conf, const char *name, const char *value,
               const struct kafka_secrets *secrets, struct err *err)
{
    char why[512] = "";
    rd_kafka_conf_res_t res = rd_kafka_conf_set(conf, name, value, why, sizeof(why));
    if (res == RD_KAFKA_CONF_OK)
        return ERR_OK;
    if (settings_property_is_secret(name))
        return err_fatal(err, EX_CONFIG, "kafka property %s: librdkafka refuses its value",
                         name);
    kafka_secrets_redact(secrets, why);
    return err_fatal(err, EX_CONFIG, "kafka property %s: %s", name, why);
}

static int set_all(rd_kafka_conf_t *conf, const struct property *list,
                   const struct kafka_secrets *secrets, struct err *err)
{
    for (; list->name != NULL; list++) {
        int status = set(conf, list->name, list->value, secrets, err);
        if (status != ERR_OK)
            return status;
    }
    return ERR_OK;
}

static int check_strategy(const char *name, const char *value, struct err *err)
{
    if (strcmp(name, "partition.assignment.strategy") == 0 &&
        strstr(value, "cooperative") != NULL && rd_kafka_version() < COOPERATIVE_SINCE)
        return err_fatal(err, EX_CONFIG,
                         "kafka property %s = %s needs librdkafka 2.10.1, this is %s; use "
                         "range",
                         name, value, rd_kafka_version_str());
    return ERR_OK;
}

/* One "name=value" of the user's. */
static int set_user(rd_kafka_conf_t *conf, const char *property, struct kafka_secrets *secrets,
                    struct err *err)
{
    char name[128];
    const char *equals = strchr(property, '=');
    size_t bytes = equals != NULL ? (size_t)(equals - property) : 0;
    if (bytes == 0 || bytes >= sizeof(name))
        return err_fatal(err, EX_CONFIG, "kafka.properties: an entry is not name=value");
    memcpy(name, property, bytes);
    name[bytes] = '\0';

    const char *value = equals + 1;
    int status = check_strategy(name, value, err);
    if (status != ERR_OK)
        return status;
    if (settings_is_credential(value) || settings_property_is_secret(name))
        status = remember(value, secrets, &value, err);
    if (status != ERR_OK)
        return err_wrap(err, "kafka property %s", name);
    return set(conf, name, value, secrets, err);
}

static int set_layers(rd_kafka_conf_t *conf, const struct settings *s, enum kafka_role role,
                      struct kafka_secrets *secrets, struct err *err)
{
    bool consumer = role == KAFKA_CONSUMER;
    int status = set_all(conf, consumer ? consumer_defaults : producer_defaults, secrets, err);
    for (size_t i = 0; status == ERR_OK && i < s->kafka.properties.n; i++)
        status = set_user(conf, s->kafka.properties.items[i], secrets, err);
    if (status == ERR_OK)
        status = set_all(conf, consumer ? consumer_owned : producer_owned, secrets, err);
    if (status == ERR_OK)
        status = set(conf, "bootstrap.servers", s->kafka.bootstrap_servers, secrets, err);
    if (status == ERR_OK && consumer)
        status = set(conf, "group.id", s->kafka.group_id, secrets, err);
    return status;
}

static int check_consumer(const struct settings *s, struct err *err)
{
    if (s->kafka.group_id == NULL || s->kafka.group_id[0] == '\0')
        return err_fatal(err, EX_CONFIG, "kafka.group_id is empty");
    if (s->kafka.video_topics.n + s->kafka.interaction_topics.n == 0)
        return err_fatal(err, EX_CONFIG,
                         "kafka.video_topics and kafka.interaction_topics are both empty");
    return ERR_OK;
}

int kafka_config_new(const struct settings *s, enum kafka_role role,
                     struct kafka_secrets *secrets, struct rd_kafka_conf_s **ret_conf,
                     struct err *err)
{
    if (s->kafka.bootstrap_servers == NULL || s->kafka.bootstrap_servers[0] == '\0')
        return err_fatal(err, EX_CONFIG,
                         "kafka.bootstrap_servers is empty; give host:port[,host:port]");
    int status = role == KAFKA_CONSUMER ? check_consumer(s, err) : ERR_OK;
    if (status != ERR_OK)
        return status;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    status = set_layers(conf, s, role, secrets, err);
    if (status != ERR_OK) {
        rd_kafka_conf_destroy(conf);
        return status;
    }
    *ret_conf = conf;
    return ERR_OK;
}

static int check_both(const struct settings *s, struct err *err)
{
    struct kafka_secrets secrets = {0};
    int status = ERR_OK;
    for (int role = KAFKA_CONSUMER; status == ERR_OK && role <= KAFKA_PRODUCER; role++) {
        rd_kafka_conf_t *conf = NULL;
        status = kafka_config_new(s, (enum kafka_role)role, &secrets, &conf, err);
        if (status == ERR_OK)
            rd_kafka_conf_destroy(conf);
    }
    kafka_secrets_done(&secrets);
    return status;
}

/* A property whose value cannot be read here: that librdkafka has one of its name, and that its credential
 * has a name. */
static int check_unread(const char *property, const char *value, struct err *err)
{
    char name[128], why[512];
    int status = settings_credential_check(value, err);
    if (status != ERR_OK)
        return status;
    (void)snprintf(name, sizeof(name), "%.*s", (int)(value - 1 - property), property);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (rd_kafka_conf_set(conf, name, "", why, sizeof(why)) == RD_KAFKA_CONF_UNKNOWN)
        status =
            err_fatal(err, EX_CONFIG,
                      "kafka property %s: librdkafka knows no property of this name", name);
    rd_kafka_conf_destroy(conf);
    return status == ERR_OK ? check_strategy(name, value, err) : status;
}

int kafka_config_check(const struct settings *s, size_t *ret_n_unread, struct err *err)
{
    const struct settings_strings *list = &s->kafka.properties;
    struct settings readable = *s; /* borrows everything but the array of properties */
    char **items = calloc(list->n + 1, sizeof(*items));
    int status = items ? ERR_OK : err_oom(err, "checking the Kafka properties");
    *ret_n_unread = settings_has_credentials() ? 0 : settings_n_credentials(s);
    readable.kafka.properties = (struct settings_strings){.items = items};
    for (size_t i = 0; status == ERR_OK && i < list->n; i++) {
        const char *equals = strchr(list->items[i], '=');
        if (*ret_n_unread > 0 && equals && settings_is_credential(equals + 1))
            status = check_unread(list->items[i], equals + 1, err);
        else
            items[readable.kafka.properties.n++] = list->items[i];
    }
    if (status == ERR_OK)
        status = check_both(&readable, err);
    free(items);
    return status;
}
