/* Where the logs end, when no fetch says so.
 *
 * Purpose    The statistics know an end from the last fetch that worked. Where nothing comes any more,
 *            that may be long ago: the broker is asked, for what a fetch could read (isolation.level).
 * Beside     While a message above receive.message.max.bytes is fetched again and again, librdkafka
 *            hangs up each time, and our question is lost with the connection. It is asked by a
 *            client of its own then.
 * Thread     The source's.
 */

#include "daemon/kafka/internal.h"

#include "config/clock.h"
#include "daemon/base/health.h"

#include <librdkafka/rdkafka.h>
#include <stdlib.h>

#define AGAIN_US          (2LL * 1000 * 1000)
#define LATER_US          (10LL * 1000 * 1000) /* when there was no answer */
#define BESIDE_US         (5LL * 1000 * 1000)
#define TIMEOUT_MS        1000
#define BESIDE_TIMEOUT_MS 2000
#define CLOSE_MS          1000

static void take_end(struct kafka_source *ks, const rd_kafka_topic_partition_t *row)
{
    struct kafka_part *part = kafka_parts_find(&ks->parts, row->topic, row->partition);
    if (part != NULL)
        part->asked_end = row->err == RD_KAFKA_RESP_ERR_NO_ERROR ? row->offset : -1;
    if (row->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        kafka_topics_look_now(ks); /* is it still there? */
}

static rd_kafka_resp_err_t ask_beside(struct kafka_source *ks,
                                      rd_kafka_topic_partition_list_t *list)
{
    struct err err = {0};
    struct kafka_client *beside = calloc(1, sizeof(*beside)); /* it may outlive its close */
    if (beside == NULL)
        return RD_KAFKA_RESP_ERR__FAIL;
    beside->secrets = ks->client.secrets; /* borrowed */
    if (kafka_client_open(beside, KAFKA_CONSUMER, "asker", rd_kafka_conf_dup(ks->conf), &err) !=
        ERR_OK) {
        free(beside);
        return RD_KAFKA_RESP_ERR__FAIL;
    }
    health_tick(HEALTH_SOURCE);
    rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(beside->rk, list, BESIDE_TIMEOUT_MS);
    kafka_client_close(beside, CLOSE_MS, free, beside);
    return code;
}

static rd_kafka_topic_partition_list_t *at_rest(const struct kafka_source *ks, int64_t now_us)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)ks->parts.n);
    for (size_t i = 0; i < ks->parts.n; i++) {
        const struct kafka_part *part = &ks->parts.rows[i];
        if (now_us - part->moved_us > KAFKA_STILL_US && !part->is_unknown)
            rd_kafka_topic_partition_list_add(list, part->topic, part->partition)->offset =
                RD_KAFKA_OFFSET_END;
    }
    return list;
}

void kafka_ends_ask(struct kafka_source *ks)
{
    int64_t now_us = clock_mono_us(), seen_us = ks->client.too_large_us;
    bool beside = seen_us != 0 && now_us - seen_us < KAFKA_TOO_LARGE_US;
    if ((now_us < ks->ends_at_us && !(beside && ks->ends_at_us > now_us + BESIDE_US)) ||
        ks->client.all_down || ks->pending != KAFKA_PENDING_NONE)
        return;
    rd_kafka_topic_partition_list_t *list = at_rest(ks, now_us);
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (list->cnt > 0)
        code = beside ? ask_beside(ks, list)
                      : rd_kafka_offsets_for_times(ks->client.rk, list, TIMEOUT_MS);
    for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < list->cnt; i++)
        take_end(ks, &list->elems[i]);
    rd_kafka_topic_partition_list_destroy(list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        kafka_topics_look_now(ks);
    ks->ends_at_us = clock_mono_us() + (beside                               ? BESIDE_US
                                        : code == RD_KAFKA_RESP_ERR_NO_ERROR ? AGAIN_US
                                                                             : LATER_US);
}
