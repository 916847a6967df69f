/* The Kafka source: a consumer on a thread of its own.
 *
 * Purpose    Kafka message → item → pipeline_submit. It polls at least every 100 ms, so that the
 *            group keeps us. Exactly-once is not made here: offsets go into the store with the
 *            rows. The source only starts from there (start.c) and never skips (resync.c).
 * Round      1. first contact, until it is made (connect.c)
 *            2. the pending assignment or revocation (assign.c)
 *            3. pause or resume (assign.c)
 *            4. one partition that is out of step (resync.c)
 *            5. poll
 *            6. once a second: watermarks, the group is told, the status (state.c)
 * Thread     One. status() and committed() come from others and meet it under `lock`.
 * Ownership  The source owns the consumer and a read-only store handle. An item belongs to the
 *            pipeline from pipeline_submit on. The dead letters are borrowed.
 * Failure    Brokers away: librdkafka reconnects, we wait and say so. A fatal error of librdkafka's
 *            ends the daemon with 75. Another cluster or a recreated topic ends it with 78.
 * Shutdown   stop() ends the thread. close() tells the group where we are and leaves it, within
 *            3 s.
 * Example    videos/3@41 polled → ledger_begin → item {topic, 3, 41, key, value, headers} →
 *            submitted. 20 ms later the sink calls committed(videos, 3, 42). Within a second Kafka
 *            is told 42.
 */

#include "daemon/kafka/source.h"

#include "config/clock.h"
#include "config/log.h"
#include "daemon/base/health.h"
#include "daemon/kafka/internal.h"

#include <librdkafka/rdkafka.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#define POLL_MS          100
#define FULL_STEP_MS     5
#define MESSAGES_A_ROUND 500
#define CHORES_US        (1000 * 1000)
#define QUIET_US         (10 * 1000 * 1000)
#define CLOSE_MS         3000
#define HEALTH_LIMIT_MS  5000
#define RETRY_US         (100 * 1000)

static struct kafka_source *of_client(struct kafka_client *c)
{
    return (struct kafka_source *)(void *)((char *)c - offsetof(struct kafka_source, client));
}

/* Hands the list over to the next kafka_assign_step; see assign.c. */
static void on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *list, void *opaque)
{
    struct kafka_source *ks = of_client(opaque);
    if (ks->is_closing) {
        rd_kafka_assign(rk, NULL);
        return;
    }
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        kafka_assign_begin(ks, KAFKA_PENDING_ASSIGN, rd_kafka_topic_partition_list_copy(list));
        return;
    }
    if (code != RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS)
        log_warning("Kafka consumer: rebalance: %s", rd_kafka_err2str(code));
    kafka_assign_begin(ks, KAFKA_PENDING_REVOKE, rd_kafka_topic_partition_list_copy(list));
}

static void on_commit(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                      rd_kafka_topic_partition_list_t *list, void *opaque)
{
    (void)rk;
    (void)list;
    (void)opaque;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR && code != RD_KAFKA_RESP_ERR__NO_OFFSET)
        log_debug("Kafka consumer: commit for lag tools: %s", rd_kafka_err2str(code));
}

/* ---- messages ---- */

/* Below our position it is a message delivered twice. Otherwise the ledger has no memory for it
 * and the partition must start over there. */
static void refused(struct kafka_source *ks, struct kafka_part *part, int64_t offset)
{
    if (offset >= part->position) {
        part->position = offset;
        part->ledger_full = true;
        kafka_parts_resync(part, false, RETRY_US);
        return;
    }
    pthread_mutex_lock(&ks->lock);
    ks->status.n_repeats++;
    pthread_mutex_unlock(&ks->lock);
}

/* Out of memory loses nothing: the message is read again by a seek. */
static void take_message(struct kafka_source *ks, struct kafka_part *part,
                         const rd_kafka_message_t *msg)
{
    struct err err = {0};
    struct item *item = item_new();
    if (item == NULL || kafka_message_copy(item, msg, &ks->plan, &err) != ERR_OK) {
        item_free(item);
        log_error("Kafka consumer: no memory for %s/%d@%lld; trying again", part->topic,
                  part->partition, (long long)msg->offset);
        if (part->position < 0)
            part->position = msg->offset;
        kafka_parts_resync(part, false, RETRY_US);
        return;
    }
    if (!ledger_begin(pipeline_ledger(ks->p), item->topic, item->partition, item->offset,
                      &item->epoch)) {
        item_free(item);
        refused(ks, part, msg->offset);
        return;
    }
    if (msg->offset >= part->position)
        part->position = msg->offset + 1;
    pipeline_submit(ks->p, item);
}

static void log_seldom(struct kafka_source *ks, const rd_kafka_message_t *msg)
{
    int64_t now_us = clock_mono_us();
    if (now_us < ks->quiet_until_us)
        return;
    ks->quiet_until_us = now_us + QUIET_US;
    char text[512];
    snprintf(text, sizeof(text), "%s", rd_kafka_message_errstr(msg));
    kafka_secrets_redact(&ks->client.secrets, text);
    log_warning("Kafka consumer: %s: %s",
                msg->rkt != NULL ? rd_kafka_topic_name(msg->rkt) : "no topic", text);
}

static void take_error(struct kafka_source *ks, struct kafka_part *part,
                       const rd_kafka_message_t *msg)
{
    struct err err = {0};
    switch (msg->err) {
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        if (part != NULL && !part->resync)
            kafka_parts_resync(part, true, 0);
        return;
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
        if (part != NULL && !part->resync)
            kafka_parts_resync(part, false, RETRY_US);
        break;
    case RD_KAFKA_RESP_ERR__FATAL:
        if (kafka_client_check(&ks->client, &err) == ERR_FATAL)
            kafka_state_fail(ks, &err);
        return;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        kafka_state_wait(ks, "Kafka topic %s: %s",
                         msg->rkt != NULL ? rd_kafka_topic_name(msg->rkt) : "?",
                         rd_kafka_err2str(msg->err));
        break;
    default:
        break;
    }
    log_seldom(ks, msg);
}

static void take(struct kafka_source *ks, rd_kafka_message_t *msg)
{
    struct kafka_part *part = NULL;
    if (msg->rkt != NULL)
        part = kafka_parts_find(&ks->parts, rd_kafka_topic_name(msg->rkt), msg->partition);
    if (msg->err != RD_KAFKA_RESP_ERR_NO_ERROR)
        take_error(ks, part, msg);
    else if (part != NULL && !part->resync)
        take_message(ks, part, msg);
    rd_kafka_message_destroy(msg);
}

/* At most POLL_MS less a little, so that the next poll is in time. */
static void wait_for_room(struct kafka_source *ks)
{
    static const struct timespec step = {.tv_nsec = FULL_STEP_MS * 1000000L};
    for (int waited_ms = 0; waited_ms < POLL_MS - 2 * FULL_STEP_MS && pipeline_is_full(ks->p);
         waited_ms += FULL_STEP_MS)
        nanosleep(&step, NULL);
}

/* One wait of at most POLL_MS, then whatever is there already. A full pipeline is first given
 * time, with a poll of one message every 100 ms: librdkafka throws its prefetched messages away
 * when it pauses and needs about a second to fetch again after a resume (2.0.2), which is much
 * longer than a full queue usually lasts. */
static void poll_round(struct kafka_source *ks)
{
    int timeout_ms = POLL_MS;
    if (pipeline_is_full(ks->p)) {
        wait_for_room(ks);
        timeout_ms = 0;
    }
    for (int i = 0; i < MESSAGES_A_ROUND; i++) {
        rd_kafka_message_t *msg = rd_kafka_consumer_poll(ks->client.rk, timeout_ms);
        if (msg == NULL)
            return;
        take(ks, msg);
        timeout_ms = 0;
        if (pipeline_is_full(ks->p))
            return;
    }
}

/* ---- chores: once a second ---- */

static void read_watermarks(struct kafka_source *ks)
{
    for (size_t i = 0; i < ks->parts.n; i++) {
        struct kafka_part *part = &ks->parts.rows[i];
        int64_t low = 0, high = 0;
        if (rd_kafka_get_watermark_offsets(ks->client.rk, part->topic, part->partition, &low,
                                           &high) == RD_KAFKA_RESP_ERR_NO_ERROR &&
            high >= 0)
            part->high = high;
    }
}

static void chores(struct kafka_source *ks)
{
    struct err err = {0};
    int64_t now_us = clock_mono_us();
    if (now_us < ks->chores_at_us)
        return;
    ks->chores_at_us = now_us + CHORES_US;
    if (kafka_client_check(&ks->client, &err) == ERR_FATAL)
        kafka_state_fail(ks, &err);
    pthread_mutex_lock(&ks->lock);
    read_watermarks(ks);
    pthread_mutex_unlock(&ks->lock);
    kafka_state_tell(ks);
    if (ks->phase == KAFKA_RUNNING)
        kafka_connect_refresh(ks);
    kafka_state_update(ks);
}

static void *thread_main(void *arg)
{
    struct kafka_source *ks = arg;
    struct err err = {0};
    if (store_open(ks->plan.store_path, STORE_READ, &ks->reader, &err) != ERR_OK)
        kafka_state_fail(ks, &err);
    while (!atomic_load(&ks->stopping) && !kafka_state_has_failed(ks)) {
        health_tick(HEALTH_SOURCE);
        if (ks->phase == KAFKA_CONNECTING)
            kafka_connect_step(ks);
        kafka_assign_step(ks);
        kafka_assign_pressure(ks);
        kafka_resync_step(ks);
        poll_round(ks);
        chores(ks);
    }
    if (ks->pending_list != NULL)
        rd_kafka_topic_partition_list_destroy(ks->pending_list);
    ks->pending_list = NULL;
    ks->pending = KAFKA_PENDING_NONE;
    store_close(ks->reader);
    ks->reader = NULL;
    return NULL;
}

/* ---- source_ops ---- */

static int start(struct source *src, struct err *err)
{
    struct kafka_source *ks = (struct kafka_source *)src;
    sigset_t all, before;
    sigfillset(&all);
    health_start(HEALTH_SOURCE, HEALTH_LIMIT_MS);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int why = pthread_create(&ks->thread, NULL, thread_main, ks);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (why != 0) {
        health_stop(HEALTH_SOURCE);
        return err_fatal(err, EX_OSERR, "Kafka source: start a thread: %s", strerror(why));
    }
    pthread_setname_np(ks->thread, "mmf-kafka");
    ks->is_started = true;
    return ERR_OK;
}

static void stop(struct source *src)
{
    struct kafka_source *ks = (struct kafka_source *)src;
    atomic_store(&ks->stopping, true);
    if (ks->is_started)
        pthread_join(ks->thread, NULL);
    ks->is_started = false;
    health_stop(HEALTH_SOURCE);
}

static void status(struct source *src, struct source_status *ret_status)
{
    struct kafka_source *ks = (struct kafka_source *)src;
    pthread_mutex_lock(&ks->lock);
    *ret_status = ks->status;
    pthread_mutex_unlock(&ks->lock);
}

static void committed(struct source *src, const struct ledger_next *next, size_t n)
{
    struct kafka_source *ks = (struct kafka_source *)src;
    pthread_mutex_lock(&ks->lock);
    for (size_t i = 0; i < n; i++) {
        struct kafka_part *part =
            kafka_parts_find(&ks->parts, next[i].topic, next[i].partition);
        if (part != NULL && next[i].next_offset > part->stored_next)
            part->stored_next = next[i].next_offset;
    }
    pthread_mutex_unlock(&ks->lock);
}

static void plan_done(struct kafka_plan *plan)
{
    for (size_t i = 0; i < plan->n_topics; i++)
        free(plan->topics[i]);
    free(plan->topics);
    free(plan->partitions);
    free(plan->store_path);
}

static void source_free(void *owner)
{
    struct kafka_source *ks = owner;
    kafka_parts_clear(&ks->parts);
    kafka_secrets_done(&ks->client.secrets);
    plan_done(&ks->plan);
    pthread_mutex_destroy(&ks->lock);
    free(ks);
}

static void close_source(struct source *src)
{
    struct kafka_source *ks = (struct kafka_source *)src;
    if (ks == NULL)
        return;
    stop(src);
    ks->is_closing = true;
    kafka_state_tell(ks);
    kafka_client_close(&ks->client, CLOSE_MS, source_free, ks);
}

static const struct source_ops kafka_ops = {
    .name = "kafka",
    .start = start,
    .stop = stop,
    .status = status,
    .committed = committed,
    .close = close_source,
};

static int plan_topics(struct kafka_plan *plan, const struct settings_strings *topics)
{
    for (size_t i = 0; i < topics->n; i++) {
        plan->topics[plan->n_topics] = strdup(topics->items[i]);
        if (plan->topics[plan->n_topics] == NULL)
            return -1;
        plan->n_topics++;
    }
    return 0;
}

static int plan_init(struct kafka_plan *plan, const struct settings *s, struct err *err)
{
    size_t n_topics = s->kafka.video_topics.n + s->kafka.interaction_topics.n;
    plan->mode = s->kafka.mode;
    plan->start = s->kafka.start;
    plan->topics = calloc(n_topics + 1, sizeof(*plan->topics));
    plan->partitions = calloc(s->kafka.n_partitions + 1, sizeof(*plan->partitions));
    plan->store_path = strdup(s->store.path);
    if (plan->topics == NULL || plan->partitions == NULL || plan->store_path == NULL ||
        plan_topics(plan, &s->kafka.video_topics) != 0 ||
        plan_topics(plan, &s->kafka.interaction_topics) != 0)
        return err_oom(err, "opening the Kafka source");
    plan->n_video_topics = s->kafka.video_topics.n;
    plan->n_partitions = s->kafka.n_partitions;
    if (plan->n_partitions > 0)
        memcpy(plan->partitions, s->kafka.partitions,
               plan->n_partitions * sizeof(*plan->partitions));
    return ERR_OK;
}

static int open_client(struct kafka_source *ks, const struct settings *s, struct err *err)
{
    rd_kafka_conf_t *conf = NULL;
    int result = kafka_config_new(s, KAFKA_CONSUMER, &ks->client.secrets, &conf, err);
    if (result != ERR_OK)
        return result;
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_offset_commit_cb(conf, on_commit);
    return kafka_client_open(&ks->client, KAFKA_CONSUMER, "consumer", conf, err);
}

void kafka_source_letters(struct source *src, struct publish *letters)
{
    ((struct kafka_source *)src)->letters = letters;
}

int kafka_source_open(const struct settings *s, struct pipeline *p, struct source **ret_src,
                      struct err *err)
{
    struct kafka_source *ks = calloc(1, sizeof(*ks));
    if (ks == NULL)
        return err_oom(err, "opening the Kafka source");
    ks->base.ops = &kafka_ops;
    ks->p = p;
    ks->status.lag_records = -1;
    pthread_mutex_init(&ks->lock, NULL);
    int result = plan_init(&ks->plan, s, err);
    if (result == ERR_OK)
        result = open_client(ks, s, err);
    if (result != ERR_OK) {
        kafka_client_close(&ks->client, CLOSE_MS, source_free, ks);
        return result;
    }
    *ret_src = &ks->base;
    return ERR_OK;
}
