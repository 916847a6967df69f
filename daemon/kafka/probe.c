#include "daemon/kafka/probe.h"

#include "daemon/kafka/client.h"
#include "daemon/kafka/config.h"

#include <librdkafka/rdkafka.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#define PROBE_CLOSE_MS 3000

struct probe {
    struct kafka_client client;
    const struct rd_kafka_metadata *metadata;
    char *text;
    size_t bytes, used;
};

__attribute__((format(printf, 2, 3))) static void say(struct probe *p, const char *fmt, ...)
{
    va_list args;
    int n;

    if (p->used >= p->bytes)
        return;
    va_start(args, fmt);
    n = vsnprintf(p->text + p->used, p->bytes - p->used, fmt, args);
    va_end(args);
    p->used += n > 0 ? (size_t)n : 0;
}

static int partitions_of(const struct rd_kafka_metadata *m, const char *topic)
{
    for (int i = 0; i < m->topic_cnt; i++)
        if (strcmp(m->topics[i].topic, topic) == 0 &&
            m->topics[i].err == RD_KAFKA_RESP_ERR_NO_ERROR)
            return m->topics[i].partition_cnt;
    return 0;
}

static int check_topics(struct probe *p, const struct settings_strings *topics, struct err *err)
{
    for (size_t i = 0; i < topics->n; i++) {
        int n = partitions_of(p->metadata, topics->items[i]);

        if (n == 0)
            return err_fatal(
                err, EX_UNAVAILABLE,
                "topic %s does not exist, or we may not see it: create it, or mend "
                "kafka.video_topics and kafka.interaction_topics",
                topics->items[i]);
        say(p, ", %s (%d partitions)", topics->items[i], n);
    }
    return ERR_OK;
}

static int ask(struct probe *p, const struct settings *s, int timeout_ms, struct err *err)
{
    rd_kafka_resp_err_t code =
        rd_kafka_metadata(p->client.rk, 1, NULL, &p->metadata, timeout_ms);
    char *id;
    int r;

    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err_fatal(err, EX_UNAVAILABLE,
                         "no broker of %s answers within %d ms: %s: is it up, and are "
                         "kafka.bootstrap_servers and kafka.properties right?",
                         s->kafka.bootstrap_servers, timeout_ms, rd_kafka_err2str(code));
    say(p, "%d brokers", p->metadata->broker_cnt);
    id = rd_kafka_clusterid(p->client.rk, 0);
    if (id) {
        say(p, ", cluster %s", id);
        rd_kafka_mem_free(p->client.rk, id);
    }
    r = check_topics(p, &s->kafka.video_topics, err);
    return r ? r : check_topics(p, &s->kafka.interaction_topics, err);
}

int kafka_probe(const struct settings *s, int timeout_ms, char *ret_text, size_t bytes,
                struct err *err)
{
    struct probe p = {.text = ret_text, .bytes = bytes};
    struct rd_kafka_conf_s *conf;
    int r = kafka_config_new(s, KAFKA_PRODUCER, &p.client.secrets, &conf, err);

    if (r == ERR_OK)
        r = kafka_client_open(&p.client, KAFKA_PRODUCER, "probe", conf, err);
    if (r) {
        kafka_secrets_done(&p.client.secrets);
        return r;
    }
    r = ask(&p, s, timeout_ms, err);
    if (p.metadata)
        rd_kafka_metadata_destroy(p.metadata);
    kafka_client_close(&p.client, PROBE_CLOSE_MS, NULL, NULL);
    kafka_secrets_done(&p.client.secrets);
    return r;
}
