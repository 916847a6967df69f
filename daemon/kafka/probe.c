/* What `metammf doctor` asks of Kafka.
 *
 * Reason     librdkafka's functions answer with a code that says "transport failure" for all of a
 *            wrong password, an expired certificate, a name that does not resolve and a port where
 *            nobody listens. The reason comes as an event: so we poll while we wait, and take it.
 * Reading    Whether a topic may be read shows by a fetch only: one partition of each is fetched at its
 *            end. Nothing is taken, and no group is joined.
 */

#include "daemon/kafka/probe.h"

#include "config/clock.h"
#include "daemon/kafka/client.h"
#include "daemon/kafka/config.h"

#include <librdkafka/rdkafka.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#define PROBE_CLOSE_MS   3000
#define PROBE_STEP_MS    200
#define PROBE_EVENTS_MAX 20
#define PROBE_REASON_US  (1500 * 1000) /* a reason counts when it has held for so long */

struct probe {
    struct kafka_client client;
    const struct settings *s;
    int timeout_ms;
    kafka_probe_found *found;
    void *arg;
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_partition_list_t *readable; /* a partition of each topic that is there */
};

__attribute__((format(printf, 6, 7))) static void say(struct probe *p, const char *check,
                                                      enum kafka_probe_verdict verdict,
                                                      int exit_code, const char *next,
                                                      const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    p->found(p->arg, &(struct kafka_probe_finding){check, verdict, exit_code, text, next});
}

/* Serves librdkafka's events; messages are thrown away. */
static void serve(struct probe *p, int timeout_ms)
{
    rd_kafka_message_t *msg = rd_kafka_consumer_poll(p->client.rk, timeout_ms);

    if (msg)
        rd_kafka_message_destroy(msg);
}

/* ---- the broker -------------------------------------------------------------------------- */

static rd_kafka_resp_err_t ask_metadata(struct probe *p)
{
    int64_t start_us = clock_mono_us(), until_us = start_us + p->timeout_ms * INT64_C(1000);
    rd_kafka_resp_err_t code;

    do {
        code = rd_kafka_metadata(p->client.rk, 1, NULL, &p->metadata, PROBE_STEP_MS);
        serve(p, 0);
        if (p->client.last_error[0] && clock_mono_us() - start_us > PROBE_REASON_US)
            break;
    } while (code != RD_KAFKA_RESP_ERR_NO_ERROR && clock_mono_us() < until_us);
    return code;
}

static bool check_broker(struct probe *p)
{
    rd_kafka_resp_err_t code = ask_metadata(p);
    char *id;

    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        say(p, "broker", KAFKA_PROBE_BAD, EX_UNAVAILABLE,
            "see the message; the daemon starts without a broker and waits",
            "no broker of %s answers: %s", p->s->kafka.bootstrap_servers,
            kafka_client_reason(&p->client, code));
        return false;
    }
    id = rd_kafka_clusterid(p->client.rk, 0);
    say(p, "broker", KAFKA_PROBE_GOOD, 0, "", "%d brokers, cluster %s", p->metadata->broker_cnt,
        id ? id : "unknown");
    if (id)
        rd_kafka_mem_free(p->client.rk, id);
    return true;
}

/* ---- the topics -------------------------------------------------------------------------- */

/* 0 = it does not exist, or may not be seen. */
static int partitions_of(const struct rd_kafka_metadata *m, const char *topic)
{
    for (int i = 0; i < m->topic_cnt; i++)
        if (strcmp(m->topics[i].topic, topic) == 0 &&
            m->topics[i].err == RD_KAFKA_RESP_ERR_NO_ERROR)
            return m->topics[i].partition_cnt;
    return 0;
}

static void check_topics(struct probe *p, const struct settings_strings *topics)
{
    for (size_t i = 0; i < topics->n; i++) {
        int n = partitions_of(p->metadata, topics->items[i]);

        if (n > 0)
            rd_kafka_topic_partition_list_add(p->readable, topics->items[i], 0)->offset =
                RD_KAFKA_OFFSET_END;
        else
            say(p, "topic", KAFKA_PROBE_BAD, EX_UNAVAILABLE,
                "create it, let our user see it (ACL: DESCRIBE, READ), or mend "
                "kafka.video_topics and kafka.interaction_topics",
                "%s does not exist, or we may not see it", topics->items[i]);
    }
}

/* One topic's answer; true when it was one. */
static bool take_answer(struct probe *p, const rd_kafka_message_t *msg)
{
    const char *topic = msg->rkt ? rd_kafka_topic_name(msg->rkt) : NULL;

    if (!topic || !rd_kafka_topic_partition_list_find(p->readable, topic, 0))
        return false;
    if (msg->err == RD_KAFKA_RESP_ERR_NO_ERROR || msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        say(p, "topic", KAFKA_PROBE_GOOD, 0, "", "%s: %d partitions, may be read", topic,
            partitions_of(p->metadata, topic));
    else
        say(p, "topic", KAFKA_PROBE_BAD, EX_NOPERM, "give our user READ on it (ACL)",
            "%s may not be read: %s", topic, rd_kafka_err2str(msg->err));
    rd_kafka_topic_partition_list_del(p->readable, topic, 0);
    return true;
}

static void check_reading(struct probe *p)
{
    int64_t until_us = clock_mono_us() + p->timeout_ms * INT64_C(1000);

    rd_kafka_assign(p->client.rk, p->readable);
    while (p->readable->cnt > 0 && clock_mono_us() < until_us) {
        rd_kafka_message_t *msg = rd_kafka_consumer_poll(p->client.rk, PROBE_STEP_MS);

        if (msg) {
            take_answer(p, msg);
            rd_kafka_message_destroy(msg);
        }
    }
    rd_kafka_assign(p->client.rk, NULL);
    for (int i = 0; i < p->readable->cnt; i++)
        say(p, "topic", KAFKA_PROBE_BAD, EX_UNAVAILABLE,
            "is the leader of its partitions up, and its address reachable from here?",
            "%s is there, but a fetch got no answer within %d ms%s%s",
            p->readable->elems[i].topic, p->timeout_ms, p->client.last_error[0] ? ": " : "",
            p->client.last_error);
}

/* ---- the group, the dead letters --------------------------------------------------------- */

/* rd_kafka_committed waits for a coordinator in vain; why, comes as an event. */
static bool is_group_denied(struct probe *p)
{
    for (int i = 0; i < PROBE_EVENTS_MAX; i++) {
        rd_kafka_message_t *msg = rd_kafka_consumer_poll(p->client.rk, PROBE_STEP_MS);
        if (!msg)
            return false;
        bool is_denied = msg->err == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
        rd_kafka_message_destroy(msg);
        if (is_denied)
            return true;
    }
    return false;
}

/* The coordinator is asked for a position: the topic need not exist. */
static void check_group(struct probe *p)
{
    const struct settings_strings *videos = &p->s->kafka.video_topics;
    const char *topic =
        videos->n > 0 ? videos->items[0] : p->s->kafka.interaction_topics.items[0];
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0);
    rd_kafka_resp_err_t code = rd_kafka_committed(p->client.rk, list, p->timeout_ms);
    rd_kafka_topic_partition_list_destroy(list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR && is_group_denied(p))
        code = RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;

    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        say(p, "group", KAFKA_PROBE_GOOD, 0, "", "%s: its coordinator answers",
            p->s->kafka.group_id);
    else if (code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
        say(p, "group", KAFKA_PROBE_BAD, EX_NOPERM, "give our user READ on the group (ACL)",
            "%s: %s", p->s->kafka.group_id, rd_kafka_err2str(code));
    else
        say(p, "group", KAFKA_PROBE_BAD, EX_UNAVAILABLE,
            "is __consumer_offsets healthy, and its broker reachable from here?",
            "%s: no coordinator: %s", p->s->kafka.group_id, rd_kafka_err2str(code));
}

static void check_dlq(struct probe *p)
{
    char topic[SETTINGS_DLQ_TOPIC_BYTES];
    int n;

    settings_dlq_topic(p->s, topic, sizeof(topic));
    n = partitions_of(p->metadata, topic);
    if (n > 0)
        say(p, "dlq", KAFKA_PROBE_GOOD, 0, "", "%s: %d partitions", topic, n);
    else
        say(p, "dlq", KAFKA_PROBE_NOTE, 0,
            "create it (kafka-topics.sh --create --topic NAME), or set kafka.dlq_topic",
            "%s does not exist, or we may not see it: dead letters are kept in the store and "
            "wait; reading goes on",
            topic);
}

static void ask_all(struct probe *p)
{
    if (!check_broker(p))
        return;
    p->readable = rd_kafka_topic_partition_list_new(4);
    check_topics(p, &p->s->kafka.video_topics);
    check_topics(p, &p->s->kafka.interaction_topics);
    check_reading(p);
    rd_kafka_topic_partition_list_destroy(p->readable);
    check_group(p);
    check_dlq(p);
    rd_kafka_metadata_destroy(p->metadata);
}

void kafka_probe(const struct settings *s, int timeout_ms, kafka_probe_found *found, void *arg)
{
    struct probe p = {.s = s, .timeout_ms = timeout_ms, .found = found, .arg = arg};
    struct rd_kafka_conf_s *conf;
    struct err err = {0};
    int r = kafka_config_new(s, KAFKA_CONSUMER, &p.client.secrets, &conf, &err);

    if (r == ERR_OK)
        r = kafka_client_open(&p.client, KAFKA_CONSUMER, "probe", conf, &err);
    if (r == ERR_OK) {
        ask_all(&p);
        kafka_client_close(&p.client, PROBE_CLOSE_MS, NULL, NULL);
    } else {
        say(&p, "broker", KAFKA_PROBE_BAD, err.exit_code, "mend kafka.properties", "%s",
            err.text);
    }
    kafka_secrets_done(&p.client.secrets);
}
