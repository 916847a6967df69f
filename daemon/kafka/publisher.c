/* Messages of an outbox to Kafka.
 *
 * Thread     The owner's (publish.c), which polls; librdkafka sends on threads of its own.
 * Ownership  The producer, and the configuration that another one can be made from.
 * Failure    A fatal error ends the idempotent producer, not us: mend replaces it, and the outbox
 *            still has what was in flight.
 * Shutdown   Close purges what is in flight and takes CLOSE_MS at most.
 */

#include "daemon/kafka/publisher.h"

#include "config/log.h"
#include "daemon/kafka/client.h"
#include "daemon/publish/publish.h"

#include <librdkafka/rdkafka.h>
#include <stddef.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>

#define CLOSE_MS 1000

struct kafka_publisher {
    struct publisher base; /* first */
    struct kafka_client client;
    const char *name;
    rd_kafka_conf_t *conf; /* to make another producer from */
};

static struct kafka_publisher *of_client(struct kafka_client *c)
{
    return (struct kafka_publisher *)(void *)((char *)c -
                                              offsetof(struct kafka_publisher, client));
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
    (void)rk;
    struct kafka_publisher *kp = of_client(opaque);
    if (kp->base.owner == NULL) /* closed */
        return;
    int status = msg->err == RD_KAFKA_RESP_ERR_NO_ERROR             ? ERR_OK
                 : msg->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ? ERR_SKIP
                                                                    : ERR_RETRY;
    publish_acked(&kp->base, (int64_t)(intptr_t)msg->_private, status,
                  rd_kafka_topic_name(msg->rkt), rd_kafka_err2str(msg->err));
}

static rd_kafka_headers_t *make_headers(const struct publish_message *m)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(m->n_headers);
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (headers == NULL)
        return NULL;
    for (size_t i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < m->n_headers; i++)
        code = rd_kafka_header_add(headers, m->headers[i].name, -1, m->headers[i].value,
                                   (ssize_t)m->headers[i].value_bytes);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return headers;
    rd_kafka_headers_destroy(headers);
    return NULL;
}

/* The producer's own limit, message.max.bytes, is known at once. */
static int submit(struct publisher *pub, const struct publish_message *m, struct err *err)
{
    struct kafka_publisher *kp = (struct kafka_publisher *)pub;
    rd_kafka_headers_t *headers = make_headers(m);
    if (headers == NULL)
        return err_oom(err, "making the headers of a message");
    rd_kafka_resp_err_t code =
        rd_kafka_producev(kp->client.rk, RD_KAFKA_V_TOPIC(m->topic), RD_KAFKA_V_PARTITION(-1),
                          RD_KAFKA_V_KEY(m->key, m->key_bytes),
                          RD_KAFKA_V_VALUE((void *)(uintptr_t)m->value, m->value_bytes),
                          RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_HEADERS(headers),
                          RD_KAFKA_V_OPAQUE((void *)(intptr_t)m->id), RD_KAFKA_V_END);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return ERR_OK; /* librdkafka owns the headers */
    rd_kafka_headers_destroy(headers);
    if (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        return err_skip(err, "", "%s", rd_kafka_err2str(code));
    return err_retry(err, EX_UNAVAILABLE, "%s", rd_kafka_err2str(code));
}

static void serve(struct publisher *pub, int timeout_ms)
{
    struct kafka_publisher *kp = (struct kafka_publisher *)pub;
    if (kp->client.rk != NULL) {
        rd_kafka_poll(kp->client.rk, timeout_ms);
        return;
    }
    struct timespec time = {.tv_sec = timeout_ms / 1000,
                            .tv_nsec = timeout_ms % 1000 * 1000000L};
    nanosleep(&time, NULL);
}

static int open_producer(struct kafka_publisher *kp, struct err *err)
{
    return kafka_client_open(&kp->client, KAFKA_PRODUCER, kp->name, rd_kafka_conf_dup(kp->conf),
                             err);
}

static void drop(struct kafka_publisher *kp)
{
    rd_kafka_purge(kp->client.rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
}

static int mend(struct publisher *pub, struct err *err)
{
    struct kafka_publisher *kp = (struct kafka_publisher *)pub;
    if (kp->client.rk != NULL) {
        struct err why = {0};
        if (kafka_client_check(&kp->client, &why) == ERR_OK)
            return ERR_OK;
        log_warning("%s; the %s is replaced", why.text, kp->name);
        drop(kp);
        kafka_client_close(&kp->client, CLOSE_MS, NULL, NULL);
    }
    return open_producer(kp, err) == ERR_OK ? ERR_OK : ERR_RETRY;
}

static void publisher_free(void *owner)
{
    struct kafka_publisher *kp = owner;
    if (kp->conf != NULL)
        rd_kafka_conf_destroy(kp->conf);
    kafka_secrets_done(&kp->client.secrets);
    free(kp);
}

static void close_publisher(struct publisher *pub)
{
    struct kafka_publisher *kp = (struct kafka_publisher *)pub;
    pub->owner = NULL;
    if (kp->client.rk != NULL)
        drop(kp);
    kafka_client_close(&kp->client, CLOSE_MS, publisher_free, kp);
}

static const struct publisher_ops kafka_publisher_ops = {
    .submit = submit,
    .poll = serve,
    .mend = mend,
    .close = close_publisher,
};

int kafka_publisher_open(const struct settings *s, const char *name, struct publisher **ret_pub,
                         struct err *err)
{
    struct kafka_publisher *kp = calloc(1, sizeof(*kp));
    if (kp == NULL)
        return err_oom(err, "opening a Kafka publisher");
    kp->base.ops = &kafka_publisher_ops;
    kp->name = name;
    int status = kafka_config_new(s, KAFKA_PRODUCER, &kp->client.secrets, &kp->conf, err);
    if (status == ERR_OK) {
        rd_kafka_conf_set_dr_msg_cb(kp->conf, on_delivery);
        status = open_producer(kp, err);
    }
    if (status != ERR_OK) {
        publisher_free(kp);
        return status;
    }
    *ret_pub = &kp->base;
    return ERR_OK;
}
