/* Which partitions are ours: assignment, revocation, back-pressure.
 *
 * Purpose    Takes the partitions that we are given, each at the place that start.c finds.
 * Thread     The source's. The rebalance callback only hands its list over. The work is done
 *            between polls, so polling never stops, a step can be tried again, and nothing is
 *            closed from a callback.
 * Assign     1. start.c finds where each partition begins
 *            2. each gets an epoch in the ledger and a row in the table
 *            3. librdkafka is told to fetch them
 *            When one of these fails, none of the partitions is ours; all is tried again after 1 s.
 * Revoke     1. from now on, messages of the partitions are ignored
 *            2. what is in flight has 3 s to be committed
 *            3. Kafka is told how far the store is, for the next owner
 *            4. the epoch is raised, which makes the sink drop the rest
 *            5. assign(NULL) lets the group go on
 *            A lost assignment has neither 2 nor 3: somebody else may have the partitions already.
 * Example    A group of two: videos/0-3 ours → REVOKE → 120 items in flight are committed in
 *            0.8 s → assign(NULL) → ASSIGN videos/0-1 at the store's 5120 and 4711.
 */

#include "daemon/kafka/internal.h"

#include "config/clock.h"
#include "config/log.h"
#include "store/writing.h"

#include <librdkafka/rdkafka.h>
#include <string.h>

#define REVOKE_WAIT_US  (3 * 1000 * 1000)
#define PAUSE_AFTER_US  (1000 * 1000)
#define ASSIGN_RETRY_US (1000 * 1000)

typedef rd_kafka_topic_partition_list_t partition_list;

static bool is_cooperative(const struct kafka_source *ks)
{
    const char *protocol = rd_kafka_rebalance_protocol(ks->client.rk);
    return protocol != NULL && strcmp(protocol, "COOPERATIVE") == 0;
}

/* What librdkafka is told of an assignment; ERR_RETRY when it refuses. */
static int tell_assign(struct kafka_source *ks, const partition_list *list, struct err *err)
{
    if (!is_cooperative(ks)) {
        rd_kafka_resp_err_t code = rd_kafka_assign(ks->client.rk, list);
        return code == RD_KAFKA_RESP_ERR_NO_ERROR
                   ? ERR_OK
                   : err_retry(err, 0, "assign %d partitions: %s", list->cnt,
                               rd_kafka_err2str(code));
    }
    rd_kafka_error_t *error = rd_kafka_incremental_assign(ks->client.rk, list);
    if (error == NULL)
        return ERR_OK;
    int status = err_retry(err, 0, "assign %d more partitions: %s", list->cnt,
                           rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
    return status;
}

/* Logs the outcome of a call of librdkafka's that has no other consequence. */
static void note(const char *what, rd_kafka_resp_err_t code)
{
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        log_warning("Kafka consumer: %s: %s", what, rd_kafka_err2str(code));
}

static void note_error(const char *what, rd_kafka_error_t *error)
{
    if (error == NULL)
        return;
    log_warning("Kafka consumer: %s: %s", what, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
}

/* row: where it begins; then where it is fetched from, which is the last stored record (anew.c). */
static int enter_part(struct kafka_source *ks, rd_kafka_topic_partition_t *row, struct err *err)
{
    struct kafka_part *part = NULL;
    uint32_t epoch = 0;
    int64_t next = row->offset >= 0 ? row->offset : 0;
    int status =
        ledger_assign(pipeline_ledger(ks->p), row->topic, row->partition, next, &epoch, err);
    if (status != ERR_OK)
        return status;
    int64_t record_offset = -1, record_digest = 0;
    status = store_last_record(ks->reader, row->topic, row->partition, &record_offset,
                               &record_digest, err);
    if (status != ERR_OK && status != ERR_NONE)
        return status;
    pthread_mutex_lock(&ks->lock);
    status = kafka_parts_add(&ks->parts, row->topic, row->partition, &part, err);
    if (status == ERR_OK) {
        part->position = row->offset >= 0 ? row->offset : -1;
        part->stored_next = part->position;
        part->record_offset = record_offset;
        part->record_digest = record_digest;
        part->is_checking = record_digest != 0;
        row->offset = part->is_checking ? record_offset : row->offset;
    }
    pthread_mutex_unlock(&ks->lock);
    return status;
}

static void leave_part(struct kafka_source *ks, const char *topic, int32_t partition)
{
    ledger_revoke(pipeline_ledger(ks->p), topic, partition);
    pthread_mutex_lock(&ks->lock);
    kafka_parts_remove(&ks->parts, topic, partition);
    pthread_mutex_unlock(&ks->lock);
}

/* All or nothing: on an error no partition of the list is ours. */
static int apply_assign(struct kafka_source *ks, partition_list *list, struct err *err)
{
    int status = kafka_start_offsets(ks, list, err);
    for (int i = 0; status == ERR_OK && i < list->cnt; i++)
        status = enter_part(ks, &list->elems[i], err);
    if (status == ERR_OK)
        status = tell_assign(ks, list, err);
    for (int i = 0; status != ERR_OK && i < list->cnt; i++)
        leave_part(ks, list->elems[i].topic, list->elems[i].partition);
    return status;
}

static void end_pending(struct kafka_source *ks)
{
    rd_kafka_topic_partition_list_destroy(ks->pending_list);
    ks->pending_list = NULL;
    ks->pending = KAFKA_PENDING_NONE;
}

static void step_assign(struct kafka_source *ks)
{
    struct err err = {0};
    if (clock_mono_us() < ks->pending_at_us)
        return;
    int status = apply_assign(ks, ks->pending_list, &err);
    if (status == ERR_OK) {
        log_info("Kafka consumer: %d partitions assigned", ks->pending_list->cnt);
        end_pending(ks);
        ks->chores_at_us =
            0; /* another member that takes them over goes by what Kafka is told */
        kafka_state_wait(ks, "%s", "");
        kafka_state_joined(ks);
    } else if (status == ERR_FATAL) {
        kafka_state_fail(ks, &err);
    } else {
        kafka_state_wait(ks, "assignment waits: %s", err.text);
        ks->pending_at_us = clock_mono_us() + ASSIGN_RETRY_US;
    }
}

static size_t in_flight(struct kafka_source *ks, const partition_list *list)
{
    size_t n = 0;
    for (int i = 0; i < list->cnt; i++)
        n += ledger_in_flight_of(pipeline_ledger(ks->p), list->elems[i].topic,
                                 list->elems[i].partition);
    return n;
}

static void step_revoke(struct kafka_source *ks)
{
    bool is_lost = rd_kafka_assignment_lost(ks->client.rk) != 0;
    size_t n = in_flight(ks, ks->pending_list);
    if (n > 0 && !is_lost && clock_mono_us() < ks->pending_until_us)
        return;
    if (n > 0)
        log_notice("Kafka consumer: %zu items of revoked partitions dropped; they are read "
                   "again by their next owner",
                   n);
    if (!is_lost)
        kafka_state_tell(ks);
    for (int i = 0; i < ks->pending_list->cnt; i++)
        leave_part(ks, ks->pending_list->elems[i].topic, ks->pending_list->elems[i].partition);
    if (is_cooperative(ks))
        note_error("incremental unassign",
                   rd_kafka_incremental_unassign(ks->client.rk, ks->pending_list));
    else
        note("unassign", rd_kafka_assign(ks->client.rk, NULL));
    log_info("Kafka consumer: %d partitions revoked%s", ks->pending_list->cnt,
             is_lost ? " (lost)" : "");
    end_pending(ks);
    if (ks->plan.mode == SETTINGS_KAFKA_ASSIGN)
        ks->phase = KAFKA_CONNECTING;
    else if (!is_cooperative(ks))
        ks->is_joining = true; /* the next assignment ends it */
}

void kafka_assign_begin(struct kafka_source *ks, enum kafka_pending kind, partition_list *list)
{
    if (ks->pending == KAFKA_PENDING_REVOKE) {
        ks->pending_until_us = 0;
        step_revoke(ks);
    } else if (ks->pending == KAFKA_PENDING_ASSIGN) {
        end_pending(ks);
    }
    int64_t now_us = clock_mono_us();
    ks->pending = kind;
    ks->pending_list = list;
    ks->pending_at_us = now_us;
    ks->pending_until_us = now_us + REVOKE_WAIT_US;
    kafka_topics_look_now(ks);
    bool is_revoke = kind == KAFKA_PENDING_REVOKE;
    pthread_mutex_lock(&ks->lock);
    ks->status.n_rebalances++;
    ks->status.n_lost += is_revoke && rd_kafka_assignment_lost(ks->client.rk) != 0;
    for (int i = 0; is_revoke && i < list->cnt; i++) {
        struct kafka_part *part =
            kafka_parts_find(&ks->parts, list->elems[i].topic, list->elems[i].partition);
        if (part != NULL)
            kafka_parts_resync(part, false, INT64_MAX / 2);
    }
    pthread_mutex_unlock(&ks->lock);
}

void kafka_assign_step(struct kafka_source *ks)
{
    if (ks->pending == KAFKA_PENDING_ASSIGN)
        step_assign(ks);
    else if (ks->pending == KAFKA_PENDING_REVOKE)
        step_revoke(ks);
}

partition_list *kafka_assign_list(const struct kafka_source *ks)
{
    partition_list *list = rd_kafka_topic_partition_list_new((int)ks->parts.n);
    for (size_t i = 0; list != NULL && i < ks->parts.n; i++)
        rd_kafka_topic_partition_list_add(list, ks->parts.rows[i].topic,
                                          ks->parts.rows[i].partition);
    return list;
}

/* Marks what librdkafka did for each partition of the list. */
static void mark_paused(struct kafka_source *ks, const partition_list *list, bool paused)
{
    pthread_mutex_lock(&ks->lock);
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *row = &list->elems[i];
        struct kafka_part *part = kafka_parts_find(&ks->parts, row->topic, row->partition);
        if (part != NULL && row->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            part->paused = paused;
    }
    pthread_mutex_unlock(&ks->lock);
}

/* Only when the pipeline has been full for a while: see source.c, poll_round. */
static bool should_pause(struct kafka_source *ks)
{
    int64_t now_us = clock_mono_us();
    if (!pipeline_is_full(ks->p))
        ks->full_since_us = 0;
    else if (ks->full_since_us == 0)
        ks->full_since_us = now_us;
    return ks->full_since_us != 0 && now_us - ks->full_since_us > PAUSE_AFTER_US;
}

void kafka_assign_pressure(struct kafka_source *ks)
{
    bool is_full = should_pause(ks);
    partition_list *list = NULL;
    for (size_t i = 0; i < ks->parts.n; i++) {
        const struct kafka_part *part = &ks->parts.rows[i];
        if (part->paused == is_full)
            continue;
        if (list == NULL)
            list = rd_kafka_topic_partition_list_new((int)ks->parts.n);
        rd_kafka_topic_partition_list_add(list, part->topic, part->partition);
    }
    if (list == NULL)
        return;
    rd_kafka_resp_err_t code = is_full ? rd_kafka_pause_partitions(ks->client.rk, list)
                                       : rd_kafka_resume_partitions(ks->client.rk, list);
    note(is_full ? "pause" : "resume", code);
    log_debug("Kafka consumer: %d partitions %s", list->cnt, is_full ? "paused" : "resumed");
    mark_paused(ks, list, is_full);
    rd_kafka_topic_partition_list_destroy(list);
    pthread_mutex_lock(&ks->lock);
    ks->status.paused = is_full;
    pthread_mutex_unlock(&ks->lock);
}
