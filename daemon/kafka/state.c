/* What the source's thread tells the others, and Kafka.
 *
 * Thread     The source's; others read the status under `lock`.
 * Status     A failure, which ends the daemon, is kept: the first one counts. A wait is what the
 *            thread says last; without one the consumer's own words count, then those of the
 *            dead letters.
 */

#include "daemon/kafka/internal.h"

#include "config/log.h"
#include "config/text.h"
#include "daemon/base/health.h"
#include "daemon/publish/publish.h"

#include <librdkafka/rdkafka.h>
#include <stdarg.h>
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

void kafka_state_update(struct kafka_source *ks)
{
    char detail[160], letters[160] = "";
    kafka_client_describe(&ks->client, detail, sizeof(detail));
    if (ks->letters != NULL)
        publish_describe(ks->letters, letters, sizeof(letters));
    const char *why = ks->wait[0] != '\0' ? ks->wait : detail[0] != '\0' ? detail : letters;
    if (strcmp(why, ks->last_wait) != 0) {
        text_format(ks->last_wait, sizeof(ks->last_wait), "%s", why);
        health_wait(HEALTH_SOURCE, why[0] != '\0' ? ks->last_wait : NULL);
        log_notice("Kafka: %s", why[0] != '\0' ? why : "all is well again");
    }
    pthread_mutex_lock(&ks->lock);
    ks->status.connected = ks->is_checked && !ks->client.all_down;
    ks->status.n_partitions = (unsigned)ks->parts.n;
    ks->status.lag_records = ks->is_checked ? kafka_parts_lag(&ks->parts) : -1;
    text_format(ks->status.detail, sizeof(ks->status.detail), "%s", why);
    pthread_mutex_unlock(&ks->lock);
}
