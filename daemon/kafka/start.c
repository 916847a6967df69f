/* Where the partitions of an assignment begin.
 *
 * Purpose    The store's next_offset, where it has one. Without one, `start` decides:
 *
 *              beginning   at the partition's beginning
 *              end         the store's first contact with the topic: at the end of the log as it is
 *                          now, for all the partitions of the assignment together. Later it knows
 *                          the topic, so that a partition without an offset has appeared, or has
 *                          come from another member, while its events were wanted: it begins at
 *                          its beginning.
 *
 *            With `end`, a partition for which the consumer group has a position begins there, at
 *            first contact too: up to there another member's store has the events.
 * Durable    What first contact has found is stored before anything is read, in one transaction: a
 *            crash neither moves the place nor makes the topic known with some of its partitions.
 * Thread     The source's. Each question takes a second at most; any failure is tried again whole.
 * Example    videos/0-2 are new, start = end → 120, 95, 0 stored → read from there. A fourth
 *            partition appears → BEGINNING. Another store of the group dies at videos/3@77 → 77.
 */

#include "daemon/kafka/internal.h"

#include "config/log.h"
#include "daemon/base/health.h"
#include "store/writing.h"

#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <stdlib.h>
#include <sysexits.h>

#define ASK_TIMEOUT_MS 1000

typedef rd_kafka_topic_partition_list_t partition_list;

/* The places that are to be stored. */
struct found {
    struct store_offset *rows; /* (n); topics point into the assignment */
    size_t n;
};

static int store_found(struct store *st, void *arg, struct err *err)
{
    const struct found *found = arg;
    struct store_batch_result result;
    return store_write_batch(st, NULL, 0, found->rows, found->n, &result, err);
}

/* Stored offsets; RD_KAFKA_OFFSET_BEGINNING, and a row of *ret_fresh, where there is none. */
static int read_stored(struct kafka_source *ks, partition_list *list, partition_list *ret_fresh,
                       struct err *err)
{
    for (int i = 0; i < list->cnt; i++) {
        rd_kafka_topic_partition_t *row = &list->elems[i];
        int64_t next = 0;
        int status = store_next_offset(ks->reader, row->topic, row->partition, &next, err);
        if (status != ERR_OK && status != ERR_NONE)
            return status;
        row->offset = status == ERR_OK ? next : RD_KAFKA_OFFSET_BEGINNING;
        if (status == ERR_NONE)
            rd_kafka_topic_partition_list_add(ret_fresh, row->topic, row->partition);
    }
    return ERR_OK;
}

/* The group's position of each, < 0 where it has none; in mode assign there is no group. */
static int read_group(struct kafka_source *ks, partition_list *list, struct err *err)
{
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (ks->plan.mode == SETTINGS_KAFKA_GROUP)
        code = rd_kafka_committed(ks->client.rk, list, ASK_TIMEOUT_MS);
    for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < list->cnt; i++)
        code = list->elems[i].err;
    return code == RD_KAFKA_RESP_ERR_NO_ERROR
               ? ERR_OK
               : err_retry(err, 0, "the group's positions: %s", rd_kafka_err2str(code));
}

static int read_end(struct kafka_source *ks, rd_kafka_topic_partition_t *row, struct err *err)
{
    int64_t low = 0;
    health_tick(HEALTH_SOURCE);
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
        ks->client.rk, row->topic, row->partition, &low, &row->offset, ASK_TIMEOUT_MS);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR
               ? ERR_OK
               : err_retry(err, 0, "%s/%d: end of the log: %s", row->topic, row->partition,
                           rd_kafka_err2str(code));
}

/* A position of the group's behind the end is of a topic that is no more. */
static int check_position(struct kafka_source *ks, const rd_kafka_topic_partition_t *row,
                          struct err *err)
{
    rd_kafka_topic_partition_t end = *row;
    int status = read_end(ks, &end, err);
    if (status != ERR_OK || row->offset <= end.offset)
        return status;
    return err_fatal(
        err, EX_CONFIG,
        "Kafka %s/%d ends at offset %" PRId64 ", the group's position is %" PRId64
        ": the topic was truncated or made anew; use another kafka.group_id, or set "
        "the group's offsets",
        row->topic, row->partition, end.offset, row->offset);
}

/* One partition without an offset, start = end; it becomes a row of found when its topic is new. */
static int place_one(struct kafka_source *ks, rd_kafka_topic_partition_t *row,
                     struct found *found, struct err *err)
{
    bool known = false;
    int status = store_knows_topic(ks->reader, row->topic, &known, err);
    if (status == ERR_OK && row->offset >= 0)
        status = check_position(ks, row, err);
    else if (status == ERR_OK && known)
        row->offset = RD_KAFKA_OFFSET_BEGINNING;
    else if (status == ERR_OK)
        status = read_end(ks, row, err);
    if (status == ERR_OK && !known)
        found->rows[found->n++] =
            (struct store_offset){row->topic, row->partition, row->offset, 0, 0};
    return status;
}

static int place_all(struct kafka_source *ks, partition_list *fresh, struct err *err)
{
    struct found found = {.rows = calloc((size_t)fresh->cnt, sizeof(*found.rows))};
    if (found.rows == NULL)
        return err_oom(err, "offsets of an assignment");
    int status = read_group(ks, fresh, err);
    for (int i = 0; status == ERR_OK && i < fresh->cnt; i++)
        status = place_one(ks, &fresh->elems[i], &found, err);
    if (status == ERR_OK && found.n > 0)
        status = pipeline_write(ks->p, store_found, &found, err);
    free(found.rows);
    return status;
}

static void tell(const rd_kafka_topic_partition_t *row)
{
    if (row->offset >= 0)
        log_notice("Kafka %s/%d: the store has no offset; reading begins at %" PRId64
                   " (the group's position, or the end of a topic that is new to the store)",
                   row->topic, row->partition, row->offset);
    else
        log_notice("Kafka %s/%d: the store has no offset; reading begins at the beginning",
                   row->topic, row->partition);
}

static void adopt(partition_list *list, const partition_list *fresh)
{
    for (int i = 0; i < fresh->cnt; i++) {
        const rd_kafka_topic_partition_t *row = &fresh->elems[i];
        rd_kafka_topic_partition_list_set_offset(list, row->topic, row->partition, row->offset);
        tell(row);
    }
}

int kafka_start_offsets(struct kafka_source *ks, partition_list *list, struct err *err)
{
    partition_list *fresh = rd_kafka_topic_partition_list_new(list->cnt);
    int status = read_stored(ks, list, fresh, err);
    if (status == ERR_OK && ks->plan.start == SETTINGS_START_END && fresh->cnt > 0) {
        status = place_all(ks, fresh, err);
        if (status == ERR_OK)
            adopt(list, fresh);
    }
    rd_kafka_topic_partition_list_destroy(fresh);
    return status;
}
