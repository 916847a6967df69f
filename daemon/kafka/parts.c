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
        .high = -1,
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

int64_t kafka_parts_lag(const struct kafka_parts *parts)
{
    int64_t lag = 0;
    for (size_t i = 0; i < parts->n; i++) {
        const struct kafka_part *part = &parts->rows[i];
        int64_t next = part->stored_next >= 0 ? part->stored_next : part->position;
        if (part->high < 0 || next < 0)
            return -1;
        lag += part->high > next ? part->high - next : 0;
    }
    return lag;
}

void kafka_parts_clear(struct kafka_parts *parts)
{
    for (size_t i = 0; i < parts->n; i++)
        free(parts->rows[i].topic);
    free(parts->rows);
    *parts = (struct kafka_parts){0};
}
