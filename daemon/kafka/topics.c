/* Which topics there are, and how large.
 *
 * Purpose    A topic that is made or grows later is read soon, and one that is missing or denied is
 *            named. librdkafka tells only what concerns what it fetches.
 * Thread     The source's. One topic is asked for at a time, each once in 10 s, for a second at most
 *            and not while no broker is there.
 * Example    interactions: "unknown topic" → made → within 10 s 3 partitions → connect.c assigns
 *            them.
 */

#include "daemon/kafka/internal.h"

#include "config/clock.h"
#include "daemon/base/health.h"

#include <librdkafka/rdkafka.h>
#include <string.h>
#include <sysexits.h>

#define ASK_TIMEOUT_MS 1000
#define LOOK_US        (10LL * 1000 * 1000)

struct kafka_topic *kafka_topics_find(const struct kafka_source *ks, const char *name)
{
    for (size_t i = 0; i < ks->plan.n_topics; i++)
        if (strcmp(ks->topics[i].name, name) == 0)
            return &ks->topics[i];
    return NULL;
}

static bool is_denial(int code)
{
    return code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
}

static bool is_unknown(int code)
{
    return code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
           code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
           code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
}

/* A fetch alone shows when it is over. */
static void note_part(struct kafka_part *part, int code)
{
    if (!is_denial(code) && !is_unknown(code))
        return;
    part->is_denied = is_denial(code);
    part->is_unknown = is_unknown(code);
    part->ask_at_us = clock_mono_us() + KAFKA_ASK_AGAIN_US;
    if (part->is_unknown)
        kafka_part_check(part); /* when it is there again it may be another one */
}

void kafka_topics_note(struct kafka_source *ks, const char *name, int32_t partition, int code)
{
    struct kafka_topic *topic = kafka_topics_find(ks, name);
    pthread_mutex_lock(&ks->lock); /* the last stored record is the sink's to move */
    for (size_t i = 0; i < ks->parts.n; i++) {
        struct kafka_part *part = &ks->parts.rows[i];
        if (strcmp(part->topic, name) == 0 && (partition < 0 || partition == part->partition))
            note_part(part, code);
    }
    pthread_mutex_unlock(&ks->lock);
    if (topic == NULL)
        return;
    topic->was_gone |= is_unknown(code);
    if (partition < 0) {
        topic->is_denied = is_denial(code);
        topic->is_unknown = is_unknown(code);
    }
}

static int metadata_of(struct kafka_source *ks, const char *name, int *ret_n, int *ret_code,
                       struct err *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(ks->client.rk, name, NULL);
    if (handle == NULL)
        return err_fatal(err, EX_CONFIG, "Kafka topic \"%s\": %s", name,
                         rd_kafka_err2str(rd_kafka_last_error()));
    health_tick(HEALTH_SOURCE);
    rd_kafka_resp_err_t code =
        rd_kafka_metadata(ks->client.rk, 0, handle, &metadata, ASK_TIMEOUT_MS);
    rd_kafka_topic_destroy(handle);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR && !is_unknown(code))
        return err_retry(err, EX_UNAVAILABLE, "topic %s: %s", name,
                         kafka_client_reason(&ks->client, code));
    *ret_n = 0;
    *ret_code = (int)code;
    if (metadata != NULL && metadata->topic_cnt == 1) {
        *ret_code = (int)metadata->topics[0].err;
        *ret_n = metadata->topics[0].partition_cnt;
    }
    if (metadata != NULL)
        rd_kafka_metadata_destroy(metadata);
    return ERR_OK;
}

int kafka_topics_ask(struct kafka_source *ks, struct kafka_topic *topic, struct err *err)
{
    int n = 0, code = 0;
    int status = metadata_of(ks, topic->name, &n, &code, err);
    if (status != ERR_OK)
        return status;
    if (is_denial(code) || is_unknown(code)) {
        topic->n_partitions = 0;
        kafka_topics_note(ks, topic->name, -1, code);
        return ERR_OK;
    }
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR || n == 0)
        return err_retry(err, EX_UNAVAILABLE, "topic %s: %s", topic->name,
                         n == 0 && code == 0 ? "no partitions yet"
                                             : rd_kafka_err2str((rd_kafka_resp_err_t)code));
    topic->is_denied = topic->is_unknown = false;
    topic->n_partitions = n;
    return ERR_OK;
}

void kafka_topics_look_now(struct kafka_source *ks)
{
    ks->n_look_now = ks->plan.n_topics;
    ks->look_at_us = 0;
}

struct kafka_topic *kafka_topics_look(struct kafka_source *ks)
{
    struct err err = {0};
    int64_t now_us = clock_mono_us();
    if (now_us < ks->look_at_us || ks->client.all_down)
        return NULL;
    struct kafka_topic *topic = &ks->topics[ks->look_at++ % ks->plan.n_topics];
    int status = kafka_topics_ask(ks, topic, &err);
    ks->n_look_now -= ks->n_look_now > 0 && status == ERR_OK;
    if (ks->n_look_now == 0 || status != ERR_OK)
        ks->look_at_us = clock_mono_us() +
                         (status == ERR_OK ? LOOK_US / (int64_t)ks->plan.n_topics : LOOK_US);
    return status == ERR_OK ? topic : NULL;
}
