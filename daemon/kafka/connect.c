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
 * Failure    A broker that is away, or a topic that is not there yet, is a known wait. It is tried
 *            again every second.
 */

#include "daemon/kafka/internal.h"

#include "config/clock.h"
#include "config/log.h"
#include "daemon/base/health.h"
#include "daemon/publish/publish.h"
#include "store/writing.h"

#include <librdkafka/rdkafka.h>
#include <string.h>
#include <sysexits.h>

#define ASK_TIMEOUT_MS 1000
#define RETRY_US       (1000 * 1000)
#define REFRESH_US     (60LL * 1000 * 1000)

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
        return err_retry(err, EX_UNAVAILABLE, "no broker answers: %s", rd_kafka_err2str(code));
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

/* How many partitions the topic has now. */
static int count_partitions(struct kafka_source *ks, const char *topic, int *ret_n,
                            struct err *err)
{
    rd_kafka_topic_t *handle = rd_kafka_topic_new(ks->client.rk, topic, NULL);
    if (handle == NULL)
        return err_fatal(err, EX_CONFIG, "Kafka topic \"%s\": %s", topic,
                         rd_kafka_err2str(rd_kafka_last_error()));
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code =
        rd_kafka_metadata(ks->client.rk, 0, handle, &metadata, ASK_TIMEOUT_MS);
    int n = 0;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (metadata->topic_cnt == 1) {
            code = metadata->topics[0].err;
            n = metadata->topics[0].partition_cnt;
        }
        rd_kafka_metadata_destroy(metadata);
    }
    rd_kafka_topic_destroy(handle);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err_retry(err, EX_UNAVAILABLE, "topic %s: %s", topic, rd_kafka_err2str(code));
    if (n == 0)
        return err_retry(err, EX_UNAVAILABLE, "topic %s does not exist", topic);
    *ret_n = n;
    return ERR_OK;
}

static bool is_wanted(const struct kafka_plan *plan, int partition)
{
    for (size_t i = 0; i < plan->n_partitions; i++)
        if (plan->partitions[i] == partition)
            return true;
    return plan->n_partitions == 0;
}

/* The plan's partitions of all topics, or RETRY while a topic is missing. */
static int find_partitions(struct kafka_source *ks, rd_kafka_topic_partition_list_t *list,
                           struct err *err)
{
    for (size_t t = 0; t < ks->plan.n_topics; t++) {
        int n = 0;
        health_tick(HEALTH_SOURCE);
        int status = count_partitions(ks, ks->plan.topics[t], &n, err);
        if (status != ERR_OK)
            return status;
        for (int i = 0; i < n; i++)
            if (is_wanted(&ks->plan, i))
                rd_kafka_topic_partition_list_add(list, ks->plan.topics[t], i);
    }
    if (list->cnt == 0)
        return err_fatal(err, EX_CONFIG,
                         "kafka.partitions: no topic has a partition of these numbers");
    return ERR_OK;
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
    ks->refresh_at_us = clock_mono_us() + REFRESH_US;
    return ERR_OK;
}

static int begin_group(struct kafka_source *ks, struct err *err)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)ks->plan.n_topics);
    for (size_t t = 0; t < ks->plan.n_topics; t++)
        rd_kafka_topic_partition_list_add(list, ks->plan.topics[t], RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(ks->client.rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err_fatal(err, EX_CONFIG, "Kafka: subscribe: %s", rd_kafka_err2str(code));
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

void kafka_connect_refresh(struct kafka_source *ks)
{
    if (ks->plan.mode != SETTINGS_KAFKA_ASSIGN || ks->plan.n_partitions > 0 ||
        ks->pending != KAFKA_PENDING_NONE || clock_mono_us() < ks->refresh_at_us)
        return;
    struct err err = {0};
    ks->refresh_at_us = clock_mono_us() + REFRESH_US;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    if (find_partitions(ks, list, &err) == ERR_OK && (size_t)list->cnt != ks->parts.n) {
        log_notice("Kafka consumer: the topics have %d partitions now, %zu before", list->cnt,
                   ks->parts.n);
        kafka_assign_begin(ks, KAFKA_PENDING_REVOKE, kafka_assign_list(ks));
    }
    rd_kafka_topic_partition_list_destroy(list);
}
