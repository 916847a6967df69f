#include "daemon/pipeline/outcome.h"

#include "config/log_limit.h"
#include "daemon/base/metrics.h"
#include "daemon/event/ticket.h"
#include "daemon/model/factors.h"
#include "store/writing.h"

#include <stdio.h>

static void log_dead_letter(const struct item *item)
{
    char partition[16], offset[24];
    (void)snprintf(partition, sizeof(partition), "%d", (int)item->partition);
    (void)snprintf(offset, sizeof(offset), "%lld", (long long)item->offset);
    if (!log_limit(LOG_LEVEL_WARNING, "dead letters with reason", item->err.reason, "%s/%s@%s",
                   item->topic, partition, offset))
        return;
    const struct log_field fields[] = {
        {"KAFKA_TOPIC", item->topic},
        {"KAFKA_PARTITION", partition},
        {"KAFKA_OFFSET", offset},
        {"ITEM_ID", item->item_id ? item->item_id : ""},
    };
    log_write(LOG_LEVEL_WARNING, fields, sizeof(fields) / sizeof(fields[0]),
              "%s/%s@%s: dead letter, %s (%s): %s", item->topic, partition, offset,
              item->err.reason, item->stage, item->err.text);
}

static void count_warnings(const struct item *item)
{
    for (int i = 0; i < ITEM_WARNINGS; i++)
        if (item->warnings & (1u << i))
            metrics_event_warning(item_warning_names[i], 1);
}

static void count_interaction(const char *kind, const struct settings *s)
{
    const char *stored = kind ? kind : STORE_KIND_DEFAULT;

    metrics_interaction_kind(stored, factors_has(s, stored));
}

static void count_flags(const struct item *item)
{
    if (!item->features || !item->media_uri || item->keeps_media)
        return;
    const struct features_flags *f = &item->features->flags;
    const bool set[] = {[METRICS_PARTIAL] = f->partial,
                        [METRICS_DEGRADED] = f->degraded,
                        [METRICS_CAPPED] = f->capped,
                        [METRICS_RETIMED] = f->retimed};

    if (f->reason[0])
        metrics_text_only(f->reason);
    for (int i = METRICS_PARTIAL; i <= METRICS_RETIMED; i++)
        if (set[i])
            metrics_item_flag((enum metrics_flag)i);
}

void outcome_committed(const struct item *item, const struct settings *s, int64_t queryable_us)
{
    if (item->epoch == 0) {
        metrics_item(METRICS_STALE);
        return;
    }
    if (item->ticket) {
        if (item->kind == ITEM_DEAD)
            ticket_failed(item->ticket, item->item_id, &item->err);
        else
            ticket_done(item->ticket, !item->embedding);
        return;
    }
    count_warnings(item);
    switch (item->kind) {
    case ITEM_DEAD:
        metrics_item(METRICS_DEAD);
        metrics_dead_letter(item->err.reason);
        log_dead_letter(item);
        break;
    case ITEM_INTERACTION:
        count_interaction(item->interaction_kind, s);
        break;
    case ITEM_USER_DELETED: /* as the store says (sink.c) */
        break;
    case ITEM_DELETED:
        metrics_item(METRICS_DELETED);
        break;
    case ITEM_GAP:
        break;
    case ITEM_PUBLISHED:
    case ITEM_UPDATED:
        metrics_item(item->embedding ? METRICS_STORED : METRICS_NO_SIGNAL);
        count_flags(item);
        metrics_queryable_us(queryable_us - item->received_us);
        break;
    }
}
