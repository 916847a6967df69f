/* First contact with the cluster.
 *
 * Purpose    Before the first message is asked for, the cluster must be the one that the store's
 *            offsets belong to.
 * Steps      1. the cluster's id against the store's: it is remembered at first contact and
 *               compared ever after; another one ends the daemon with 78
 *            2. the dead letters may go out
 *            3. mode group subscribes; mode assign looks up the partitions and hands them to
 *               assign.c
 * Thread     The source's. Each round blocks at most about 2 s.
 * Failure    A broker that is away is a known wait, tried again every second; so is mode assign
 *            while none of its topics is there. A topic that is missing beside others holds up
 *            nothing: it is named, and read when it appears (kafka_connect_refresh).
 */

#include "daemon/kafka/internal.h"

#include "config/clock.h"
#include "config/log.h"
#include "daemon/publish/publish.h"
#include "store/writing.h"

#include <librdkafka/rdkafka.h>
#include <string.h>
#include <sysexits.h>

#define ASK_TIMEOUT_MS 1000
#define RETRY_US       (1000 * 1000)
#define LOOKS_MAX      4 /* a second */

static int store_cluster(struct store *st, void *arg, struct err *err)
{
    return store_check_cluster(st, arg, err);
}

/* Any answer carries the cluster's id; no topic is asked for. */
static int check_cluster(struct kafka_source *ks, struct err *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code =
        rd_kafka_metadata(ks->client.rk, 0, NULL, &metadata, ASK_TIMEOUT_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err_retry(err, EX_UNAVAILABLE, "no broker answers: %s",
                         kafka_client_reason(&ks->client, code));
    rd_kafka_metadata_destroy(metadata);
    char *id = rd_kafka_clusterid(ks->client.rk, ASK_TIMEOUT_MS);
    if (id == NULL)
        return err_retry(err, EX_UNAVAILABLE,
                         "the broker gives no cluster id (Kafka 0.10.1 or newer is needed)");
    int status = pipeline_write(ks->p, store_cluster, id, err);
    if (status == ERR_OK)
        log_info("Kafka cluster %s is the store's", id);
    rd_kafka_mem_free(ks->client.rk, id);
    return status;
}

static bool is_wanted(const struct kafka_plan *plan, int partition)
{
    for (size_t i = 0; i < plan->n_partitions; i++)
        if (plan->partitions[i] == partition)
            return true;
    return plan->n_partitions == 0;
}

/* The plan's partitions of one topic. */
static int n_wanted(const struct kafka_plan *plan, const struct kafka_topic *topic)
{
    int n = 0;
    for (int i = 0; i < topic->n_partitions; i++)
        n += is_wanted(plan, i);
    return n;
}

static int none_wanted(struct kafka_source *ks, struct err *err)
{
    for (size_t t = 0; t < ks->plan.n_topics; t++) {
        const struct kafka_topic *topic = &ks->topics[t];
        if (topic->is_denied || topic->is_unknown)
            return err_retry(err, EX_UNAVAILABLE, "topic %s: %s", topic->name,
                             topic->is_denied ? "we may not see it" : "does not exist");
    }
    return err_fatal(err, EX_CONFIG,
                     "kafka.partitions: no topic has a partition of these numbers");
}

/* The plan's partitions of the topics that are there. Each must have been asked for. */
static int find_partitions(struct kafka_source *ks, rd_kafka_topic_partition_list_t *list,
                           struct err *err)
{
    for (size_t t = 0; t < ks->plan.n_topics; t++) {
        struct kafka_topic *topic = &ks->topics[t];
        int status = kafka_topics_ask(ks, topic, err);
        if (status != ERR_OK)
            return status;
        topic->was_gone = false;
        for (int i = 0; i < topic->n_partitions; i++)
            if (is_wanted(&ks->plan, i))
                rd_kafka_topic_partition_list_add(list, topic->name, i);
    }
    return list->cnt > 0 ? ERR_OK : none_wanted(ks, err);
}

static int begin_assign(struct kafka_source *ks, struct err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    int status = find_partitions(ks, list, err);
    if (status != ERR_OK) {
        rd_kafka_topic_partition_list_destroy(list);
        return status;
    }
    kafka_assign_begin(ks, KAFKA_PENDING_ASSIGN, list);
    return ERR_OK;
}

static int begin_group(struct kafka_source *ks, struct err *err)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)ks->plan.n_topics);
    for (size_t t = 0; t < ks->plan.n_topics; t++) {
        struct err ignored = {0}; /* what is missing is named sooner, that is all */
        (void)kafka_topics_ask(ks, &ks->topics[t], &ignored);
        rd_kafka_topic_partition_list_add(list, ks->plan.topics[t], RD_KAFKA_PARTITION_UA);
    }
    rd_kafka_resp_err_t code = rd_kafka_subscribe(ks->client.rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err_fatal(err, EX_CONFIG, "Kafka: subscribe: %s", rd_kafka_err2str(code));
    ks->is_joining = true;
    return ERR_OK;
}

static int step(struct kafka_source *ks, struct err *err)
{
    int status = ERR_OK;
    if (!ks->is_checked) {
        status = check_cluster(ks, err);
        if (status != ERR_OK)
            return status;
        ks->is_checked = true;
        status = ks->letters != NULL ? publish_start(ks->letters, err) : ERR_OK;
        if (status != ERR_OK)
            return status;
    }
    return ks->plan.mode == SETTINGS_KAFKA_ASSIGN ? begin_assign(ks, err)
                                                  : begin_group(ks, err);
}

void kafka_connect_step(struct kafka_source *ks)
{
    struct err err = {0};
    if (clock_mono_us() < ks->connect_at_us)
        return;
    int status = step(ks, &err);
    if (status == ERR_OK) {
        ks->phase = KAFKA_RUNNING;
        kafka_state_wait(ks, "%s", "");
    } else if (status == ERR_FATAL) {
        kafka_state_fail(ks, &err);
    } else {
        kafka_state_wait(ks, "Kafka: %s", err.text);
        ks->connect_at_us = clock_mono_us() + RETRY_US;
    }
}

static int n_assigned(const struct kafka_source *ks, const struct kafka_topic *topic)
{
    int n = 0;
    for (size_t i = 0; i < ks->parts.n; i++)
        n += strcmp(ks->parts.rows[i].topic, topic->name) == 0;
    return n;
}

/* A topic that is gone keeps its partitions: it is named, and may come back. */
static void refresh_one(struct kafka_source *ks)
{
    const struct kafka_topic *topic = kafka_topics_look(ks);
    if (topic == NULL || topic->n_partitions == 0 || ks->plan.mode != SETTINGS_KAFKA_ASSIGN)
        return;
    int n = n_wanted(&ks->plan, topic), before = n_assigned(ks, topic);
    if (n == before)
        return;
    log_notice("Kafka consumer: topic %s has %d partitions for us now, %d before", topic->name,
               n, before);
    kafka_assign_begin(ks, KAFKA_PENDING_REVOKE, kafka_assign_list(ks));
}

void kafka_connect_refresh(struct kafka_source *ks)
{
    for (int i = 0; i < LOOKS_MAX && ks->pending == KAFKA_PENDING_NONE; i++) {
        refresh_one(ks);
        if (ks->n_look_now == 0)
            return;
    }
}
