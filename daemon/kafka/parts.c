/* The table of assigned partitions.
 *
 * Purpose    Our own record of what is assigned, paused and out of step: librdkafka 2.0.2
 *            delivers again what a resume() of a partition that was not paused finds in its
 *            queue, so we resume only what this table says we paused.
 * Thread     The owner locks. A look-up a message: sorted, binary search.
 */

#include "daemon/kafka/parts.h"

#include "config/clock.h"

#include <stdlib.h>
#include <string.h>

static int part_compare(const struct kafka_part *part, const char *topic, int32_t partition)
{
    int order = strcmp(part->topic, topic);
    if (order != 0)
        return order;
    return (part->partition > partition) - (part->partition < partition);
}

/* The first row that is not before (topic, partition). */
static size_t lower_bound(const struct kafka_parts *parts, const char *topic, int32_t partition)
{
    size_t low = 0, high = parts->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (part_compare(&parts->rows[middle], topic, partition) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct kafka_part *kafka_parts_find(const struct kafka_parts *parts, const char *topic,
                                    int32_t partition)
{
    size_t at = lower_bound(parts, topic, partition);
    if (at == parts->n || part_compare(&parts->rows[at], topic, partition) != 0)
        return NULL;
    return &parts->rows[at];
}

static void part_reset(struct kafka_part *part, char *topic, int32_t partition)
{
    *part = (struct kafka_part){
        .topic = topic,
        .partition = partition,
        .position = -1,
        .stored_next = -1,
        .told_next = -1,
        .low = -1,
        .high = -1,
        .stable = -1,
        .asked_end = -1,
        .moved_us = clock_mono_us(),
    };
}

int kafka_parts_add(struct kafka_parts *parts, const char *topic, int32_t partition,
                    struct kafka_part **ret_part, struct err *err)
{
    struct kafka_part *part = kafka_parts_find(parts, topic, partition);
    if (part != NULL) {
        part_reset(part, part->topic, partition);
        *ret_part = part;
        return ERR_OK;
    }
    char *name = strdup(topic);
    struct kafka_part *rows = realloc(parts->rows, (parts->n + 1) * sizeof(*rows));
    if (rows != NULL)
        parts->rows = rows;
    if (name == NULL || rows == NULL) {
        free(name);
        return err_oom(err, "adding a Kafka partition");
    }
    size_t at = lower_bound(parts, topic, partition);
    memmove(&rows[at + 1], &rows[at], (parts->n - at) * sizeof(*rows));
    parts->n++;
    part_reset(&rows[at], name, partition);
    *ret_part = &rows[at];
    return ERR_OK;
}

void kafka_parts_remove(struct kafka_parts *parts, const char *topic, int32_t partition)
{
    struct kafka_part *part = kafka_parts_find(parts, topic, partition);
    if (part == NULL)
        return;
    free(part->topic);
    size_t at = (size_t)(part - parts->rows);
    memmove(part, part + 1, (parts->n - at - 1) * sizeof(*part));
    parts->n--;
}

void kafka_parts_resync(struct kafka_part *part, bool out_of_range, int64_t delay_us)
{
    part->resync = true;
    part->out_of_range |= out_of_range;
    part->resync_at_us = clock_mono_us() + delay_us;
}

/* Of what can be read; -1 = unknown. */
static int64_t end_of(const struct kafka_part *part)
{
    int64_t end = part->stable >= 0 && part->stable < part->high ? part->stable : part->high;
    return part->asked_end > end ? part->asked_end : end;
}

int64_t kafka_part_fetch_at(const struct kafka_part *part)
{
    return part->is_checking ? part->record_offset : part->position;
}

void kafka_part_check(struct kafka_part *part)
{
    if (part->record_digest == 0 || part->is_anew)
        return;
    part->is_checking = true;
    kafka_parts_resync(part, false, 0);
}

/* Before the first message the place is the log's beginning. */
int64_t kafka_part_lag(const struct kafka_part *part)
{
    int64_t next = part->stored_next >= 0 ? part->stored_next : part->position;
    int64_t end = end_of(part);
    if (next < part->low)
        next = part->low;
    if (next < 0 || end < 0)
        return -1;
    return end > next ? end - next : 0;
}

int64_t kafka_parts_lag(const struct kafka_parts *parts)
{
    int64_t sum = -1;
    for (size_t i = 0; i < parts->n; i++) {
        int64_t lag = kafka_part_lag(&parts->rows[i]);
        if (lag >= 0)
            sum = sum < 0 ? lag : sum + lag;
    }
    return sum;
}

void kafka_part_hear(struct kafka_part *part)
{
    part->is_heard = true;
    part->is_denied = part->is_unknown = false;
}

/* The partition stands still before its end, and a broker hangs up on us because its answer is too
 * large: the other partitions of that broker go on. */
static bool is_too_large(const struct kafka_part *part, int64_t too_large_us, int64_t now_us)
{
    return too_large_us != 0 && now_us - too_large_us < KAFKA_TOO_LARGE_US && !part->paused &&
           now_us - part->moved_us > KAFKA_STILL_US && end_of(part) > part->position &&
           too_large_us > part->moved_us;
}

enum source_part_state kafka_part_state(const struct kafka_part *part, int64_t too_large_us,
                                        int64_t now_us)
{
    if (part->is_anew || part->beyond_since_us != 0)
        return SOURCE_PART_MADE_ANEW;
    if (part->is_denied)
        return SOURCE_PART_DENIED;
    if (part->is_unknown)
        return SOURCE_PART_UNKNOWN;
    if (part->resync && part->out_of_range)
        return SOURCE_PART_GAP;
    if (is_too_large(part, too_large_us, now_us))
        return SOURCE_PART_TOO_LARGE;
    if (!part->is_heard)
        return SOURCE_PART_ASSIGNED;
    if (kafka_part_lag(part) != 0)
        return SOURCE_PART_READING;
    return part->high > end_of(part) ? SOURCE_PART_TRANSACTION : SOURCE_PART_CAUGHT_UP;
}

void kafka_parts_clear(struct kafka_parts *parts)
{
    for (size_t i = 0; i < parts->n; i++)
        free(parts->rows[i].topic);
    free(parts->rows);
    *parts = (struct kafka_parts){0};
}
