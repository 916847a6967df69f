/* librdkafka's mock cluster behind a small interface (a simulation: see the header).
 *
 * Purpose    The demo shows the daemon's real path without a broker.
 * Thread     One: the caller's. librdkafka runs the cluster on its own thread.
 * Ownership  One producer owns the cluster and produces to it as well.
 * Failure    ERR_RETRY when messages are not acknowledged, ERR_FATAL otherwise.
 */

#include "daemon/kafka/mock.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define PRODUCE_TIMEOUT_MS 30000

struct kafka_mock {
    rd_kafka_t *rk;
    rd_kafka_mock_cluster_t *cluster;
    size_t n_delivered, n_failed;
    char why[128];
};

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
    (void)rk;
    struct kafka_mock *m = opaque;
    if (msg->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        m->n_delivered++;
        return;
    }
    m->n_failed++;
    snprintf(m->why, sizeof(m->why), "%s", rd_kafka_err2str(msg->err));
}

/* Its clients come and go: its connection errors are no news. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    (void)level;
    (void)facility;
    (void)text;
}

static rd_kafka_conf_t *mock_conf(struct kafka_mock *m, int n_brokers, char *ret_why,
                                  size_t why_bytes)
{
    char count[16];
    snprintf(count, sizeof(count), "%d", n_brokers);
    const char *const properties[][2] = {
        {"test.mock.num.brokers", count},
        {"client.id", "mock-cluster"},
        {"partitioner", "murmur2_random"},
        {"linger.ms", "5"},
        {"queue.buffering.max.messages", "1000000"},
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    for (size_t i = 0; i < sizeof(properties) / sizeof(properties[0]); i++) {
        if (rd_kafka_conf_set(conf, properties[i][0], properties[i][1], ret_why, why_bytes) !=
            RD_KAFKA_CONF_OK) {
            rd_kafka_conf_destroy(conf);
            return NULL;
        }
    }
    rd_kafka_conf_set_opaque(conf, m);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_log_cb(conf, on_log);
    return conf;
}

int kafka_mock_start(int n_brokers, struct kafka_mock **ret_m, struct err *err)
{
    char why[256] = "";
    struct kafka_mock *m = calloc(1, sizeof(*m));
    if (m == NULL)
        return err_oom(err, "starting the mock cluster");
    rd_kafka_conf_t *conf = mock_conf(m, n_brokers, why, sizeof(why));
    if (conf != NULL) {
        m->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof(why));
        if (m->rk == NULL)
            rd_kafka_conf_destroy(conf);
    }
    if (m->rk == NULL) {
        free(m);
        return err_fatal(err, EX_SOFTWARE, "mock cluster: start %d brokers: %s", n_brokers,
                         why);
    }
    m->cluster = rd_kafka_handle_mock_cluster(m->rk);
    *ret_m = m;
    return ERR_OK;
}

const char *kafka_mock_bootstrap(const struct kafka_mock *m)
{
    return rd_kafka_mock_cluster_bootstraps(m->cluster);
}

static int mock_result(rd_kafka_resp_err_t code, const char *what, struct err *err)
{
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return ERR_OK;
    return err_fatal(err, EX_SOFTWARE, "mock cluster: %s: %s", what, rd_kafka_err2str(code));
}

int kafka_mock_create_topic(struct kafka_mock *m, const char *topic, int n_partitions,
                            struct err *err)
{
    return mock_result(rd_kafka_mock_topic_create(m->cluster, topic, n_partitions, 1),
                       "create a topic", err);
}

static int produce_one(struct kafka_mock *m, const struct kafka_mock_message *msg,
                       struct err *err)
{
    for (;;) {
        rd_kafka_resp_err_t code = rd_kafka_producev(
            m->rk, RD_KAFKA_V_TOPIC(msg->topic), RD_KAFKA_V_PARTITION(msg->partition),
            RD_KAFKA_V_KEY(msg->key, msg->key_bytes),
            RD_KAFKA_V_VALUE((void *)(uintptr_t)msg->value, msg->value_bytes),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            return mock_result(code, "produce", err);
        rd_kafka_poll(m->rk, 50);
    }
}

int kafka_mock_produce(struct kafka_mock *m, const struct kafka_mock_message *messages,
                       size_t n, struct err *err)
{
    m->n_delivered = 0;
    m->n_failed = 0;
    for (size_t i = 0; i < n; i++) {
        int status = produce_one(m, &messages[i], err);
        if (status != ERR_OK)
            return status;
        rd_kafka_poll(m->rk, 0);
    }
    rd_kafka_flush(m->rk, PRODUCE_TIMEOUT_MS);
    if (m->n_delivered == n)
        return ERR_OK;
    return err_retry(err, EX_UNAVAILABLE, "mock cluster: %zu of %zu messages stored: %s",
                     m->n_delivered, n, m->n_failed > 0 ? m->why : "timed out");
}

void kafka_mock_stop(struct kafka_mock *m)
{
    if (m == NULL)
        return;
    rd_kafka_purge(m->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_flush(m->rk, 100);
    rd_kafka_destroy(m->rk);
    free(m);
}
