/* What the source's thread tells the others, and Kafka.
 *
 * Thread     The source's; others read the status under `lock`.
 * Status     A failure, which ends the daemon, is kept: the first one counts. Why it does not read
 *            is what the thread waits for; without that, the worst state of a partition; then
 *            the consumer's own words about its brokers. Nothing of this is kept from one second
 *            to the next but what parts.h and topics.c hold, each with its own end.
 * Warnings   What holds up something else than reading: dead letters that cannot be published, an
 *            open transaction.
 */

#include "daemon/kafka/internal.h"

#include "config/clock.h"
#include "config/log.h"
#include "config/text.h"
#include "daemon/base/health.h"
#include "daemon/publish/publish.h"

#include <librdkafka/rdkafka.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void kafka_state_fail(struct kafka_source *ks, const struct err *err)
{
    pthread_mutex_lock(&ks->lock);
    if (!ks->status.failed) {
        ks->status.failed = true;
        ks->status.err = *err;
    }
    pthread_mutex_unlock(&ks->lock);
}

void kafka_state_wait(struct kafka_source *ks, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    text_vformat(ks->wait, sizeof(ks->wait), fmt, args);
    va_end(args);
}

bool kafka_state_has_failed(struct kafka_source *ks)
{
    pthread_mutex_lock(&ks->lock);
    bool failed = ks->status.failed;
    pthread_mutex_unlock(&ks->lock);
    return failed;
}

/* What the store has committed since the last time; NULL = nothing. */
static rd_kafka_topic_partition_list_t *untold(struct kafka_source *ks)
{
    rd_kafka_topic_partition_list_t *list = NULL;
    for (size_t i = 0; i < ks->parts.n; i++) {
        struct kafka_part *part = &ks->parts.rows[i];
        if (part->stored_next <= part->told_next || part->stored_next < 0)
            continue;
        if (list == NULL)
            list = rd_kafka_topic_partition_list_new((int)ks->parts.n);
        rd_kafka_topic_partition_list_add(list, part->topic, part->partition)->offset =
            part->stored_next;
        part->told_next = part->stored_next;
    }
    return list;
}

void kafka_state_tell(struct kafka_source *ks)
{
    pthread_mutex_lock(&ks->lock);
    rd_kafka_topic_partition_list_t *list = untold(ks);
    pthread_mutex_unlock(&ks->lock);
    if (list == NULL)
        return;
    rd_kafka_resp_err_t code = rd_kafka_commit(ks->client.rk, list, 1);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        log_debug("Kafka consumer: telling the group's position: %s", rd_kafka_err2str(code));
    rd_kafka_topic_partition_list_destroy(list);
}

void kafka_state_group(struct kafka_source *ks, int code, const char *text)
{
    ks->is_group_denied = code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    text_format(ks->group_why, sizeof(ks->group_why), "%s", text);
}

void kafka_state_joined(struct kafka_source *ks)
{
    ks->is_joining = ks->is_group_denied = false;
    ks->group_why[0] = '\0';
}

/* ---- what each partition is doing ---- */

static const char *why_of(const struct kafka_part *part, enum source_part_state state)
{
    switch (state) {
    case SOURCE_PART_DENIED:
        return "the broker does not let us read the topic: give our user READ and DESCRIBE";
    case SOURCE_PART_TOO_LARGE:
        return "the next message is more than receive_message_max_bytes: raise it in "
               "kafka.properties, or delete the record";
    case SOURCE_PART_MADE_ANEW:
        return "the log ends before the place that the store has";
    case SOURCE_PART_ASSIGNED:
        return part->paused ? "paused: the pipeline is full" : "";
    default:
        return "";
    }
}

static struct source_part row_of_part(const struct kafka_source *ks,
                                      const struct kafka_topic *topic,
                                      const struct kafka_part *part)
{
    struct source_part row = {
        .partition = part->partition,
        .state = kafka_part_state(part, ks->client.too_large_us, clock_mono_us()),
        .lag = kafka_part_lag(part),
        .next_offset = part->stored_next,
    };
    if (topic != NULL && topic->is_denied)
        row.state = SOURCE_PART_DENIED;
    else if (topic != NULL && topic->is_unknown)
        row.state = SOURCE_PART_UNKNOWN;
    text_format(row.topic, sizeof(row.topic), "%s", part->topic);
    text_format(row.why, sizeof(row.why), "%s", why_of(part, row.state));
    return row;
}

/* A topic of which we have no partition; false when there is nothing to say about it. */
static bool row_of_topic(const struct kafka_source *ks, const struct kafka_topic *topic,
                         struct source_part *ret_row)
{
    *ret_row = (struct source_part){.partition = -1, .lag = -1, .next_offset = -1};
    text_format(ret_row->topic, sizeof(ret_row->topic), "%s", topic->name);
    if (topic->is_denied || topic->is_unknown) {
        ret_row->state = topic->is_denied ? SOURCE_PART_DENIED : SOURCE_PART_UNKNOWN;
        text_format(ret_row->why, sizeof(ret_row->why), "%s",
                    topic->is_denied ? "the broker does not show us the topic" : "");
        return true;
    }
    if (!ks->is_joining)
        return false;
    ret_row->is_group = true;
    ret_row->state = ks->is_group_denied ? SOURCE_PART_DENIED : SOURCE_PART_REBALANCE;
    text_format(ret_row->why, sizeof(ret_row->why), "%s", ks->group_why);
    return true;
}

struct doing {
    struct kafka_source *ks;
    struct source_part worst; /* that keeps us from reading */
    size_t n_bad;             /* so many of them */
    bool is_behind_transaction;
    struct source_part transaction;
};

/* A partition that has just been assigned is given a little time before it counts. */
static bool keeps_from_reading(const struct source_part *row, const struct kafka_part *part)
{
    if (row->state == SOURCE_PART_ASSIGNED)
        return part != NULL && !part->paused &&
               clock_mono_us() - part->moved_us > KAFKA_SILENT_US;
    return row->state < SOURCE_PART_ASSIGNED;
}

static void take_row(struct doing *d, const struct source_part *row,
                     const struct kafka_part *part, unsigned n)
{
    struct kafka_source *ks = d->ks;
    ks->status.n_in_state[row->state] += n;
    if (ks->n_doing < SOURCE_PARTS_SHOWN)
        ks->shown[ks->n_shown++] = *row;
    ks->n_doing++;
    if (row->state == SOURCE_PART_TRANSACTION && !d->is_behind_transaction) {
        d->is_behind_transaction = true;
        d->transaction = *row;
    }
    if (!keeps_from_reading(row, part))
        return;
    if (d->n_bad == 0 || row->state < d->worst.state)
        d->worst = *row;
    d->n_bad += n;
}

static void take_all(struct doing *d)
{
    struct kafka_source *ks = d->ks;
    memset(ks->status.n_in_state, 0, sizeof(ks->status.n_in_state));
    ks->n_shown = ks->n_doing = 0;
    for (size_t t = 0; ks->is_checked && t < ks->plan.n_topics; t++) {
        const struct kafka_topic *topic = &ks->topics[t];
        struct source_part row;
        bool has_any = false;
        for (size_t i = 0; i < ks->parts.n; i++) {
            const struct kafka_part *part = &ks->parts.rows[i];
            if (strcmp(part->topic, topic->name) != 0)
                continue;
            has_any = true;
            row = row_of_part(ks, topic, part);
            take_row(d, &row, part, 1);
        }
        if (!has_any && row_of_topic(ks, topic, &row))
            take_row(d, &row, NULL,
                     topic->n_partitions > 1 ? (unsigned)topic->n_partitions : 1);
    }
}

/* "videos/3: denied: …, and 5 more" */
static void name_row(const struct source_part *row, size_t n, char *ret_text, size_t bytes)
{
    char place[SOURCE_TOPIC_BYTES + 32], more[48] = "";
    if (row->partition >= 0)
        snprintf(place, sizeof(place), "%s/%d", row->topic, (int)row->partition);
    else if (row->is_group)
        snprintf(place, sizeof(place), "consumer group");
    else
        snprintf(place, sizeof(place), "topic %s", row->topic);
    if (n > 1 && !row->is_group)
        snprintf(more, sizeof(more), " (and %zu more)", n - 1);
    text_format(ret_text, bytes, "%s%s: %s%s%s", place, more,
                source_part_state_text(row->state), row->why[0] != '\0' ? ": " : "", row->why);
}

static void warn_of(const struct doing *d, char *ret_text, size_t bytes)
{
    char letters[160] = "", open[SOURCE_TOPIC_BYTES + 80] = "";
    if (d->ks->letters != NULL)
        publish_describe(d->ks->letters, letters, sizeof(letters));
    if (d->is_behind_transaction)
        name_row(&d->transaction, d->ks->status.n_in_state[SOURCE_PART_TRANSACTION], open,
                 sizeof(open));
    text_format(ret_text, bytes, "%s%s%s", letters,
                letters[0] != '\0' && open[0] != '\0' ? "; " : "", open);
}

/* Once, when it changes; health has the first of the two only. */
static void tell_change(struct kafka_source *ks, const char *why, const char *warning)
{
    if (strcmp(why, ks->last_wait) != 0) {
        text_format(ks->last_wait, sizeof(ks->last_wait), "%s", why);
        health_wait(HEALTH_SOURCE, why[0] != '\0' ? ks->last_wait : NULL);
        log_notice("Kafka: %s", why[0] != '\0' ? why : "all is well again");
    }
    if (strcmp(warning, ks->last_warning) != 0) {
        text_format(ks->last_warning, sizeof(ks->last_warning), "%s", warning);
        if (warning[0] != '\0')
            log_warning("Kafka: %s", warning);
    }
}

void kafka_state_update(struct kafka_source *ks)
{
    char why[sizeof(ks->status.detail)], warning[sizeof(ks->status.warning)];
    struct doing d = {.ks = ks};
    kafka_client_describe(&ks->client, why, sizeof(why));
    pthread_mutex_lock(&ks->lock);
    take_all(&d);
    if (ks->wait[0] != '\0')
        text_format(why, sizeof(why), "%s", ks->wait);
    else if (d.n_bad > 0)
        name_row(&d.worst, d.n_bad, why, sizeof(why));
    warn_of(&d, warning, sizeof(warning));
    ks->status.connected = ks->is_checked && !ks->client.all_down;
    ks->status.n_partitions = (unsigned)ks->parts.n;
    ks->status.lag_records = kafka_parts_lag(&ks->parts);
    text_format(ks->status.detail, sizeof(ks->status.detail), "%s", why);
    text_format(ks->status.warning, sizeof(ks->status.warning), "%s", warning);
    pthread_mutex_unlock(&ks->lock);
    tell_change(ks, why, warning);
}
