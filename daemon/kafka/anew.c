/* A topic that was made anew.
 *
 * Purpose    A topic of the same name is not the same topic: offsets that the store has read hold other
 *            events, and would be taken for old ones.
 * Proof      With each next_offset the store keeps where its last record was and a digest of it. At an
 *            assignment, and when the topic was unknown or its log shorter meanwhile, the partition
 *            is fetched from that record: another one there is another log, however long. A record
 *            that is gone proves nothing (retention, compaction). A log that ends before our
 *            place for 30 s is another one too, or was cut (resync.c).
 *            A topic that is deleted and made within a moment is seen by librdkafka alone, which
 *            goes on reading at the old place. So each log is asked every 2 s for its first
 *            record that is later than one that we had: in the same log that offset never
 *            becomes smaller. What of the new log was read in these 2 s is stored twice.
 * What then  It is an error, and an empty row of data_gap for each partition of the topic. By
 *            kafka.topic_made_anew the daemon ends with 78, or
 *            1. waits until nothing of the topic is in flight
 *            2. gives the old log another name in the store, offsets 0, in one transaction
 *            3. reads the new one from its beginning
 * Thread     The source's.
 * Example    stored: next 100, record 99 = 5f3a…. Deleted, made with 200 → at 99 lies 81c0… →
 *            "videos@2026-11-30T08:05:12Z" keeps the old 100, videos is read from 0.
 */

#include "daemon/kafka/internal.h"

#include "config/clock.h"
#include "config/log.h"
#include "config/text.h"
#include "daemon/event/item.h"

#include <librdkafka/rdkafka.h>
#include <stdarg.h>
#include <string.h>
#include <sysexits.h>

#define RETRY_US (1000 * 1000)
#define NEVER_US (INT64_MAX / 2)

#define PATROL_US         (2LL * 1000 * 1000)
#define PATROL_LATER_US   (10LL * 1000 * 1000) /* when it got no answer */
#define PATROL_TIMEOUT_MS 1000

void kafka_anew_found(struct kafka_source *ks, struct kafka_part *part, const char *fmt, ...)
{
    if (ks->anew == NULL) {
        char why[120];
        va_list args;
        va_start(args, fmt);
        text_vformat(why, sizeof(why), fmt, args);
        va_end(args);
        text_format(ks->anew_why, sizeof(ks->anew_why), "partition %d: %s", part->partition,
                    why);
        ks->anew = kafka_topics_find(ks, part->topic);
        log_error("Kafka topic %s was made anew, or cut: %s", part->topic, ks->anew_why);
    }
    part->is_anew = true;
    part->is_checking = false;
    kafka_parts_resync(part, false, NEVER_US);
}

bool kafka_anew_check(struct kafka_source *ks, struct kafka_part *part,
                      const struct rd_kafka_message_s *msg)
{
    if (!part->is_checking)
        return false;
    pthread_mutex_lock(&ks->lock);
    bool is_other =
        msg->offset == part->record_offset && kafka_message_digest(msg) != part->record_digest;
    pthread_mutex_unlock(&ks->lock);
    if (is_other) {
        kafka_anew_found(ks, part, "its record at offset %lld is not the one that is stored",
                         (long long)msg->offset);
        return true;
    }
    if (msg->offset == part->record_offset)
        part->last_ms = rd_kafka_message_timestamp(msg, NULL);
    part->is_checking = msg->offset < part->position;
    return part->is_checking;
}

/* ---- the patrol ---- */

static bool is_patrolled(const struct kafka_part *part)
{
    return part->last_ms > 0 && part->position >= 0 && !part->resync && !part->is_checking &&
           !part->is_denied;
}

/* The first offset that is later than the anchor, -1 = there is none. */
static void look_at_log(struct kafka_source *ks, struct kafka_part *part, int64_t offset)
{
    if (part->anchor_offset < 0)
        part->anchor_offset = offset >= 0 ? offset : part->position;
    else if (offset >= 0 && offset < part->anchor_offset)
        kafka_anew_found(ks, part, "what was written later than offset %lld is at %lld now",
                         (long long)part->anchor_offset - 1, (long long)offset);
}

static rd_kafka_topic_partition_list_t *anchors(struct kafka_source *ks)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)ks->parts.n);
    for (size_t i = 0; i < ks->parts.n; i++) {
        struct kafka_part *part = &ks->parts.rows[i];
        if (!is_patrolled(part))
            continue;
        if (part->anchor_ms == 0) {
            part->anchor_ms = part->last_ms + 1;
            part->anchor_offset = -1;
        }
        rd_kafka_topic_partition_list_add(list, part->topic, part->partition)->offset =
            part->anchor_ms;
    }
    return list;
}

void kafka_anew_patrol(struct kafka_source *ks)
{
    if (clock_mono_us() < ks->patrol_at_us || ks->pending != KAFKA_PENDING_NONE ||
        ks->client.all_down || ks->anew != NULL)
        return;
    rd_kafka_topic_partition_list_t *list = anchors(ks);
    rd_kafka_resp_err_t code =
        list->cnt > 0 ? rd_kafka_offsets_for_times(ks->client.rk, list, PATROL_TIMEOUT_MS)
                      : RD_KAFKA_RESP_ERR_NO_ERROR;
    for (int i = 0; code == RD_KAFKA_RESP_ERR_NO_ERROR && i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *row = &list->elems[i];
        struct kafka_part *part = kafka_parts_find(&ks->parts, row->topic, row->partition);
        if (part != NULL && row->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            look_at_log(ks, part, row->offset);
    }
    rd_kafka_topic_partition_list_destroy(list);
    ks->patrol_at_us =
        clock_mono_us() + (code == RD_KAFKA_RESP_ERR_NO_ERROR ? PATROL_US : PATROL_LATER_US);
}

/* ---- what then ---- */

struct anew_work {
    const char *topic;
    bool begin_again;
};

static int store_anew(struct store *st, void *arg, struct err *err)
{
    const struct anew_work *work = arg;
    return store_topic_made_anew(st, work->topic, work->begin_again, err);
}

static struct kafka_part *next_of(struct kafka_source *ks, size_t *i)
{
    for (; *i < ks->parts.n; (*i)++)
        if (strcmp(ks->parts.rows[*i].topic, ks->anew->name) == 0)
            return &ks->parts.rows[(*i)++];
    return NULL;
}

/* All partitions of the topic stand still; how many items of theirs are on their way. */
static size_t stand_still(struct kafka_source *ks, size_t *ret_n_parts)
{
    size_t n = 0;
    struct kafka_part *part;
    *ret_n_parts = 0;
    for (size_t i = 0; (part = next_of(ks, &i)) != NULL; (*ret_n_parts)++) {
        part->is_anew = true;
        part->is_checking = false;
        kafka_parts_resync(part, false, NEVER_US);
        n += ledger_in_flight_of(pipeline_ledger(ks->p), part->topic, part->partition);
    }
    return n;
}

static void stop(struct kafka_source *ks)
{
    struct err err = {0};
    (void)err_fatal(
        &err, EX_CONFIG,
        "Kafka topic %s was made anew, or cut (%s): its new events would be taken for "
        "old ones. Set kafka.topic_made_anew = \"beginning\" to read it from its "
        "beginning, or use another topic name, or a new store",
        ks->anew->name, ks->anew_why);
    kafka_state_fail(ks, &err);
}

static int begin_part(struct kafka_source *ks, struct kafka_part *part, struct err *err)
{
    uint32_t epoch = 0;
    int status =
        ledger_assign(pipeline_ledger(ks->p), part->topic, part->partition, 0, &epoch, err);
    if (status != ERR_OK)
        return status;
    pthread_mutex_lock(&ks->lock);
    part->position = part->told_next = -1;
    part->stored_next = 0;
    part->record_digest = 0;
    part->last_ms = part->anchor_ms = 0;
    part->low = part->high = part->stable = part->asked_end = -1;
    part->is_anew = part->is_checking = part->ledger_full = false;
    part->beyond_since_us = 0;
    part->resync_tries = 0;
    part->out_of_range = true; /* assigned anew */
    part->resync_at_us = part->moved_us = clock_mono_us();
    pthread_mutex_unlock(&ks->lock);
    return ERR_OK;
}

/* Without memory for one of them the rest of them waits too: the topic stays ks->anew. */
static int begin_again(struct kafka_source *ks, struct err *err)
{
    struct kafka_part *part;
    for (size_t i = 0; (part = next_of(ks, &i)) != NULL;) {
        int status = part->is_anew ? begin_part(ks, part, err) : ERR_OK;
        if (status != ERR_OK)
            return status;
    }
    log_notice("Kafka topic %s: reading begins at the new log's beginning", ks->anew->name);
    return ERR_OK;
}

static int deal(struct kafka_source *ks, size_t n_parts, struct err *err)
{
    struct anew_work work = {ks->anew->name, ks->plan.made_anew == SETTINGS_ANEW_BEGINNING};
    int status = pipeline_write(ks->p, store_anew, &work, err);
    if (status != ERR_OK)
        return status;
    pthread_mutex_lock(&ks->lock);
    ks->status.n_gaps += n_parts;
    pthread_mutex_unlock(&ks->lock);
    if (work.begin_again)
        return begin_again(ks, err);
    stop(ks);
    return ERR_OK;
}

void kafka_anew_step(struct kafka_source *ks)
{
    struct err err = {0};
    size_t n_parts = 0;
    if (ks->anew == NULL || ks->pending != KAFKA_PENDING_NONE ||
        clock_mono_us() < ks->anew_at_us)
        return;
    size_t n = stand_still(ks, &n_parts);
    ks->anew_at_us = clock_mono_us() + (n > 0 ? 0 : RETRY_US);
    if (n > 0)
        return;
    int status =
        n_parts > 0 ? deal(ks, n_parts, &err) : ERR_OK; /* 0: whoever has them now finds out */
    if (status == ERR_OK)
        ks->anew = NULL;
    else if (status == ERR_FATAL)
        kafka_state_fail(ks, &err);
    else
        log_notice("Kafka topic %s: %s; trying again", ks->anew->name, err.text);
}
