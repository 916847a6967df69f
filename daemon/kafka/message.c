/* A Kafka message as an item's raw part.
 *
 * Kept       Everything that a dead letter needs, as it came:
 *            - key, value and headers
 *            - the difference between an empty value and none (a tombstone)
 *            - what its topic is for
 * Ownership  Copies into the item's arena; librdkafka's message can be destroyed afterwards.
 * Failure    ERR_RETRY when memory is out: the caller frees the item and reads the message again.
 */

#include "daemon/kafka/internal.h"

#include "config/clock.h"
#include "daemon/event/item.h"

#include <librdkafka/rdkafka.h>
#include <string.h>

static int copy_headers(struct item *item, const rd_kafka_message_t *msg, struct err *err)
{
    rd_kafka_headers_t *headers = NULL;
    if (rd_kafka_message_headers(msg, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return ERR_OK;
    size_t n = rd_kafka_header_cnt(headers);
    struct item_header *rows = arena_array(&item->arena, n, sizeof(*rows));
    if (rows == NULL)
        return err_oom(err, "copying message headers");
    for (size_t i = 0; i < n; i++) {
        const char *name = NULL;
        const void *value = NULL;
        size_t bytes = 0;
        if (rd_kafka_header_get_all(headers, i, &name, &value, &bytes) !=
            RD_KAFKA_RESP_ERR_NO_ERROR)
            break;
        rows[i].name = arena_strdup(&item->arena, name);
        rows[i].value = value == NULL ? NULL : arena_copy(&item->arena, value, bytes);
        rows[i].value_bytes = bytes;
        if (rows[i].name == NULL || (value != NULL && rows[i].value == NULL))
            return err_oom(err, "copying message headers");
        item->n_headers = i + 1;
    }
    item->headers = rows;
    return ERR_OK;
}

static uint64_t fold(uint64_t hash, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ p[i]) * UINT64_C(1099511628211);
    return hash;
}

/* FNV-1a: nobody is kept from forging it, for nobody gains by it. */
int64_t kafka_message_digest(const struct rd_kafka_message_s *msg)
{
    const int64_t head[] = {rd_kafka_message_timestamp(msg, NULL),
                            msg->key == NULL ? -1 : (int64_t)msg->key_len,
                            msg->payload == NULL ? -1 : (int64_t)msg->len};
    uint64_t hash = fold(UINT64_C(14695981039346656037), head, sizeof(head));
    if (msg->key != NULL)
        hash = fold(hash, msg->key, msg->key_len);
    if (msg->payload != NULL)
        hash = fold(hash, msg->payload, msg->len);
    return hash == 0 ? 1 : (int64_t)hash;
}

/* What the settings that this source was opened with call the topic. */
static enum item_role role_of(const struct kafka_plan *plan, const char *topic)
{
    for (size_t i = 0; i < plan->n_video_topics; i++)
        if (strcmp(plan->topics[i], topic) == 0)
            return ITEM_ROLE_VIDEOS;
    return ITEM_ROLE_INTERACTIONS;
}

/* 0 = it has none. */
static int64_t timestamp_us(const rd_kafka_message_t *msg)
{
    rd_kafka_timestamp_type_t type;
    int64_t ms = rd_kafka_message_timestamp(msg, &type);
    return type != RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && ms > 0 ? ms * 1000 : 0;
}

int kafka_message_copy(struct item *item, const struct rd_kafka_message_s *msg,
                       const struct kafka_plan *plan, struct err *err)
{
    item->topic = arena_strdup(&item->arena, rd_kafka_topic_name(msg->rkt));
    item->partition = msg->partition;
    item->offset = msg->offset;
    item->received_us = clock_real_us();
    item->record_us = timestamp_us(msg);
    item->key = msg->key == NULL ? NULL : arena_copy(&item->arena, msg->key, msg->key_len);
    item->key_bytes = msg->key == NULL ? 0 : msg->key_len;
    item->value =
        msg->payload == NULL ? NULL : arena_copy(&item->arena, msg->payload, msg->len);
    item->value_bytes = msg->payload == NULL ? 0 : msg->len;
    if (item->topic == NULL || (msg->key != NULL && item->key == NULL) ||
        (msg->payload != NULL && item->value == NULL))
        return err_oom(err, "copying a message");
    item->role = role_of(plan, item->topic);
    return copy_headers(item, msg, err);
}
