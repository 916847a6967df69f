#ifndef MMF_DAEMON_KAFKA_MOCK_H
#define MMF_DAEMON_KAFKA_MOCK_H

/* librdkafka's mock cluster: a SIMULATION of Kafka inside this process, listening on localhost,
 * for `metammf demo`. It speaks the real protocol to any client, but keeps
 * everything in memory, at most about 5 MB a partition. Its cluster id is made from an address:
 * mostly, not always, another one in each process.
 *
 *   kafka_mock_start(1, &m, &err);
 *   kafka_mock_create_topic(m, "videos", 4, &err);
 *   kafka_mock_produce(m, messages, n, &err);
 *   … a consumer with bootstrap.servers = kafka_mock_bootstrap(m) …
 *   kafka_mock_stop(m);
 */

#include "config/err.h"

#include <stddef.h>
#include <stdint.h>

struct kafka_mock;

struct kafka_mock_message {
    const char *topic;
    int32_t partition; /* -1 = by the key's hash */
    const void *key;   /* NULL = none */
    size_t key_bytes;
    const void *value; /* NULL = tombstone */
    size_t value_bytes;
};

int kafka_mock_start(int n_brokers, struct kafka_mock **ret_m, struct err *err);
/* "127.0.0.1:41234,127.0.0.1:41235"; lives as long as m. */
const char *kafka_mock_bootstrap(const struct kafka_mock *m);
int kafka_mock_create_topic(struct kafka_mock *m, const char *topic, int n_partitions,
                            struct err *err);
/* Returns when every message is acknowledged; at most 30 s. */
int kafka_mock_produce(struct kafka_mock *m, const struct kafka_mock_message *messages,
                       size_t n, struct err *err);
void kafka_mock_stop(struct kafka_mock *m); /* takes NULL */

#endif
