/* Getting back into step with the log of a partition.
 *
 * Purpose    What arrives for a partition that is out of step is ignored until a seek back to the
 *            position of our own record has worked: no message is ever jumped over.
 * Causes     - its position is outside the log: retention overtook us, or the log was cut
 *            - a batch failed its checksum
 *            - we had no memory for a message
 * Gap        The position is below the low watermark: the offsets [position, low) are gone. They
 *            become one ITEM_GAP, which makes a data_gap row in the same transaction as
 *            next_offset = low. Then we go on at low.
 * Beyond     The position is past the end for 30 s: the topic was truncated or made anew (anew.c).
 * Thread     The source's. Tries are 0.5 to 10 s apart.
 * Example    stored 100, low watermark 180 → data_gap videos/3 [100, 180) → seek 180.
 */

#include "daemon/kafka/internal.h"

#include "config/clock.h"
#include "config/log.h"

#include <librdkafka/rdkafka.h>
#include <string.h>

#define QUERY_TIMEOUT_MS 1000
#define RETRY_US         (500 * 1000)
#define RETRY_MAX_US     (10 * 1000 * 1000)
#define BEYOND_LIMIT_US  (30 * 1000 * 1000)

static void try_later(struct kafka_part *part)
{
    int64_t delay_us = (int64_t)RETRY_US << (part->resync_tries < 5 ? part->resync_tries : 5);
    part->resync_tries++;
    part->resync_at_us = clock_mono_us() + (delay_us < RETRY_MAX_US ? delay_us : RETRY_MAX_US);
}

/* The offsets [position, to) travel as the item of the last of them; a gap when is_lost, else
 * nothing but the move of next_offset. */
static int submit_move(struct kafka_source *ks, struct kafka_part *part, int64_t to,
                       bool is_lost, struct err *err)
{
    struct item *item = item_new();
    if (item == NULL)
        return err_oom(err, "moving on in a partition");
    item->topic = arena_strdup(&item->arena, part->topic);
    item->partition = part->partition;
    item->offset = to - 1;
    item->kind = ITEM_GAP;
    item->gap_from = is_lost ? part->position : to;
    item->gap_to = to;
    item->received_us = clock_real_us();
    /* All that the ledger has is below position, so it can lack memory only. */
    if (item->topic != NULL)
        part->ledger_full = !ledger_begin(pipeline_ledger(ks->p), part->topic, part->partition,
                                          to - 1, &item->epoch);
    if (item->topic == NULL || part->ledger_full) {
        item_free(item);
        return err_oom(err, "moving on in a partition");
    }
    pipeline_submit(ks->p, item);
    return ERR_OK;
}

static int submit_gap(struct kafka_source *ks, struct kafka_part *part, int64_t low,
                      struct err *err)
{
    int status = submit_move(ks, part, low, true, err);
    if (status == ERR_OK)
        log_error(
            "Kafka %s/%d: offsets %lld to %lld are gone (retention overtook us?); recorded "
            "in data_gap, going on at %lld",
            part->topic, part->partition, (long long)part->position, (long long)low - 1,
            (long long)low);
    return status;
}

/* Without memory it is done by the next message, or at the next end. */
void kafka_resync_skip(struct kafka_source *ks, struct kafka_part *part, int64_t to)
{
    struct err err = {0};
    if (to > 0 && submit_move(ks, part, to, false, &err) != ERR_OK) {
        if (part->ledger_full)
            kafka_parts_resync(part, false, RETRY_US);
        return;
    }
    log_debug("Kafka %s/%d: nothing can be read of [%lld, %lld)", part->topic, part->partition,
              (long long)part->position, (long long)to);
    part->position = to;
    part->moved_us = clock_mono_us();
}

static int check_beyond(struct kafka_source *ks, struct kafka_part *part, int64_t high,
                        struct err *err)
{
    int64_t now_us = clock_mono_us();
    if (part->beyond_since_us == 0)
        part->beyond_since_us = now_us;
    if (now_us - part->beyond_since_us >= BEYOND_LIMIT_US)
        kafka_anew_found(ks, part, "it ends at offset %lld, the store has read up to %lld",
                         (long long)high, (long long)part->position);
    return err_retry(err, 0, "%s/%d ends at %lld, the store is at %lld", part->topic,
                     part->partition, (long long)high, (long long)part->position);
}

/* Finds out why position is outside the log, and moves it where that is right. */
static int mend_range(struct kafka_source *ks, struct kafka_part *part, struct err *err)
{
    int64_t low = 0, high = 0;
    rd_kafka_resp_err_t code = rd_kafka_query_watermark_offsets(
        ks->client.rk, part->topic, part->partition, &low, &high, QUERY_TIMEOUT_MS);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err_retry(err, 0, "%s/%d: watermarks: %s", part->topic, part->partition,
                         rd_kafka_err2str(code));
    if (part->position > high)
        return check_beyond(ks, part, high, err);
    part->beyond_since_us = 0;
    pthread_mutex_lock(&ks->lock);
    part->is_checking = part->record_digest != 0 && part->record_offset >= low;
    pthread_mutex_unlock(&ks->lock);
    if (part->position < 0 || part->position >= low)
        return ERR_OK;
    int status = submit_gap(ks, part, low, err);
    if (status != ERR_OK)
        return status;
    part->position = low;
    part->moved_us = clock_mono_us();
    pthread_mutex_lock(&ks->lock);
    ks->status.n_gaps++;
    pthread_mutex_unlock(&ks->lock);
    return ERR_OK;
}

static void add_position(struct kafka_source *ks, rd_kafka_topic_partition_list_t *list,
                         const struct kafka_part *part)
{
    pthread_mutex_lock(&ks->lock);
    int64_t at = kafka_part_fetch_at(part);
    pthread_mutex_unlock(&ks->lock);
    rd_kafka_topic_partition_list_add(list, part->topic, part->partition)->offset =
        at >= 0 ? at : RD_KAFKA_OFFSET_BEGINNING;
}

/* Takes the error. */
static int error_retry(rd_kafka_error_t *error, const struct kafka_part *part, const char *what,
                       struct err *err)
{
    if (error == NULL)
        return ERR_OK;
    int status = err_retry(err, 0, "%s/%d: %s: %s", part->topic, part->partition, what,
                           rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return status;
}

/* Assigned once more, each partition at our own position. */
static int assign_again(struct kafka_source *ks, const struct kafka_part *part, struct err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)ks->parts.n);
    for (size_t i = 0; i < ks->parts.n; i++)
        add_position(ks, list, &ks->parts.rows[i]);
    rd_kafka_resp_err_t code = rd_kafka_assign(ks->client.rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err_retry(err, 0, "%s/%d: assign again: %s", part->topic, part->partition,
                         rd_kafka_err2str(code));
    pthread_mutex_lock(&ks->lock);
    for (size_t i = 0; i < ks->parts.n; i++)
        ks->parts.rows[i].paused = false;
    pthread_mutex_unlock(&ks->lock);
    return ERR_OK;
}

static int assign_again_one(struct kafka_source *ks, struct kafka_part *part, struct err *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    add_position(ks, list, part);
    int status =
        error_retry(rd_kafka_incremental_unassign(ks->client.rk, list), part, "unassign", err);
    if (status == ERR_OK)
        status = error_retry(rd_kafka_incremental_assign(ks->client.rk, list), part,
                             "assign again", err);
    rd_kafka_topic_partition_list_destroy(list);
    part->paused = false;
    return status;
}

static int restart(struct kafka_source *ks, struct kafka_part *part, struct err *err)
{
    const char *protocol = rd_kafka_rebalance_protocol(ks->client.rk);
    bool is_cooperative = protocol != NULL && strcmp(protocol, "COOPERATIVE") == 0;
    return is_cooperative ? assign_again_one(ks, part, err) : assign_again(ks, part, err);
}

/* librdkafka stops fetching a partition whose offset is out of range and then refuses to seek
 * there (2.0.2: "Erroneous state"): assigning it again starts it. */
static int seek_back(struct kafka_source *ks, struct kafka_part *part, struct err *err)
{
    if (part->out_of_range)
        return restart(ks, part, err);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    add_position(ks, list, part);
    int status = error_retry(rd_kafka_seek_partitions(ks->client.rk, list, QUERY_TIMEOUT_MS),
                             part, "seek", err);
    rd_kafka_resp_err_t code = list->elems[0].err;
    rd_kafka_topic_partition_list_destroy(list);
    if (status == ERR_OK && code == RD_KAFKA_RESP_ERR__STATE)
        return restart(ks, part, err);
    if (status == ERR_OK && code != RD_KAFKA_RESP_ERR_NO_ERROR)
        status = err_retry(err, 0, "%s/%d: seek: %s", part->topic, part->partition,
                           rd_kafka_err2str(code));
    return status;
}

/* Once all that the ledger holds of the partition is stored, it starts over at position. */
static int mend_ledger(struct kafka_source *ks, struct kafka_part *part, struct err *err)
{
    struct ledger *l = pipeline_ledger(ks->p);
    uint32_t epoch = 0;
    size_t n = ledger_in_flight_of(l, part->topic, part->partition);
    if (n > 0)
        return err_retry(err, 0, "%s/%d: no memory for another offset, %zu in flight",
                         part->topic, part->partition, n);
    int status = ledger_assign(l, part->topic, part->partition, part->position, &epoch, err);
    part->ledger_full = status != ERR_OK;
    return status;
}

static void resync_part(struct kafka_source *ks, struct kafka_part *part)
{
    struct err err = {0};
    int status = part->ledger_full ? mend_ledger(ks, part, &err) : ERR_OK;
    if (status == ERR_OK && part->out_of_range)
        status = mend_range(ks, part, &err);
    if (status == ERR_OK)
        status = seek_back(ks, part, &err);
    if (status == ERR_FATAL) {
        kafka_state_fail(ks, &err);
        return;
    }
    if (part->is_anew) /* found just now */
        return;
    if (status != ERR_OK) {
        log_notice("Kafka consumer: %s; trying again", err.text);
        try_later(part);
        return;
    }
    part->resync = false;
    part->out_of_range = false;
    part->resync_tries = 0;
}

void kafka_resync_step(struct kafka_source *ks)
{
    if (ks->pending != KAFKA_PENDING_NONE)
        return;
    int64_t now_us = clock_mono_us();
    for (size_t i = 0; i < ks->parts.n; i++) {
        struct kafka_part *part = &ks->parts.rows[i];
        if (!part->resync || part->resync_at_us > now_us)
            continue;
        resync_part(ks, part);
        return; /* one a round: a query may take its second */
    }
}
