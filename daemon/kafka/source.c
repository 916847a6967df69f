/* The Kafka source: a consumer on a thread of its own.
 *
 * Purpose    Kafka message → item → pipeline_submit. It polls at least every 100 ms, so that the
 *            group keeps us. Exactly-once is not made here: offsets go into the store with the
 *            rows. The source only starts from there (start.c) and never skips (resync.c).
 * Round      1. first contact, until it is made (connect.c)
 *            2. the pending assignment or revocation (assign.c)
 *            3. pause or resume (assign.c)
 *            4. a topic that was made anew (anew.c), one partition that is out of step (resync.c)
 *            5. poll
 *            6. once a second: what the broker refused is asked again, the group is told, a look
 *               at the topics (topics.c), the status (state.c)
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
#include "config/text.h"
#include "daemon/base/health.h"
#include "daemon/kafka/internal.h"

#include <jansson.h>
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
    if (msg->offset >= part->position) {
        part->position = msg->offset + 1;
        part->moved_us = clock_mono_us();
    }
    part->last_ms = rd_kafka_message_timestamp(msg, NULL);
    ledger_set_digest(pipeline_ledger(ks->p), item->topic, item->partition, item->offset,
                      kafka_message_digest(msg));
    pipeline_submit(ks->p, item);
}

/* All that can be read before `offset` has come. */
static void take_end(struct kafka_source *ks, struct kafka_part *part, int64_t offset)
{
    kafka_part_hear(part);
    part->is_checking = false; /* the record is gone: no proof of anything */
    if (offset < part->position)
        kafka_parts_resync(part, true, RETRY_US); /* the log ends before our place */
    else if (offset > part->position)
        kafka_resync_skip(ks, part, offset);
}

static void log_seldom(struct kafka_source *ks, const rd_kafka_message_t *msg)
{
    int64_t now_us = clock_mono_us();
    if (now_us < ks->quiet_until_us)
        return;
    ks->quiet_until_us = now_us + QUIET_US;
    char text[512];
    kafka_client_words(&ks->client, rd_kafka_message_errstr(msg), text, sizeof(text));
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
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        if (part != NULL && !part->resync)
            take_end(ks, part, msg->offset);
        return;
    default:
        break;
    }
    if (msg->rkt != NULL)
        kafka_topics_note(ks, rd_kafka_topic_name(msg->rkt), msg->partition, (int)msg->err);
    else
        kafka_state_group(ks, (int)msg->err, rd_kafka_err2str(msg->err));
    log_seldom(ks, msg);
}

static void take(struct kafka_source *ks, rd_kafka_message_t *msg)
{
    struct kafka_part *part = NULL;
    if (msg->rkt != NULL)
        part = kafka_parts_find(&ks->parts, rd_kafka_topic_name(msg->rkt), msg->partition);
    if (msg->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        take_error(ks, part, msg);
    } else if (part != NULL && !part->resync) {
        kafka_part_hear(part);
        if (!kafka_anew_check(ks, part, msg))
            take_message(ks, part, msg);
    }
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

static int64_t stat_of(const json_t *stats, const char *name)
{
    const json_t *value = json_object_get(stats, name);
    return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value)
                                                                    : -1;
}

static void read_part_stats(struct kafka_source *ks, const char *topic, const json_t *stats)
{
    struct kafka_part *part =
        kafka_parts_find(&ks->parts, topic, (int32_t)stat_of(stats, "partition"));
    if (part == NULL || stat_of(stats, "hi_offset") < 0)
        return;
    if (stat_of(stats, "hi_offset") < part->high && !part->resync)
        kafka_part_check(part); /* a log does not grow shorter */
    part->low = stat_of(stats, "lo_offset");
    part->high = stat_of(stats, "hi_offset");
    part->stable = ks->reads_committed ? stat_of(stats, "ls_offset") : -1;
}

/* All three ends of a log as of one moment. */
static void on_stats(struct kafka_client *c, const json_t *stats)
{
    struct kafka_source *ks = of_client(c);
    const char *topic, *number;
    json_t *of_topic, *of_part;
    pthread_mutex_lock(&ks->lock);
    json_object_foreach(json_object_get(stats, "topics"), topic, of_topic)
        json_object_foreach(json_object_get(of_topic, "partitions"), number, of_part)
            read_part_stats(ks, topic, of_part);
    pthread_mutex_unlock(&ks->lock);
}

/* The broker's refusal is given once only, so it is asked again: any answer takes it back. */
static void fetch_anew(struct kafka_source *ks)
{
    int64_t now_us = clock_mono_us();
    for (size_t i = 0; i < ks->parts.n; i++) {
        struct kafka_part *part = &ks->parts.rows[i];
        if ((!part->is_denied && !part->is_unknown) || part->resync || now_us < part->ask_at_us)
            continue;
        part->ask_at_us = now_us + KAFKA_ASK_AGAIN_US;
        kafka_parts_resync(part, false, 0);
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
    fetch_anew(ks);
    kafka_ends_ask(ks);
    kafka_state_tell(ks);
    if (ks->phase == KAFKA_RUNNING) {
        kafka_connect_refresh(ks);
        kafka_anew_patrol(ks);
    }
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
        kafka_anew_step(ks);
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

static size_t parts(struct source *src, struct source_part *ret_rows, size_t room)
{
    struct kafka_source *ks = (struct kafka_source *)src;
    pthread_mutex_lock(&ks->lock);
    size_t n = ks->n_shown < room ? ks->n_shown : room, n_all = ks->n_doing;
    memcpy(ret_rows, ks->shown, n * sizeof(*ret_rows));
    pthread_mutex_unlock(&ks->lock);
    return n_all;
}

static void committed(struct source *src, const struct ledger_next *next, size_t n)
{
    struct kafka_source *ks = (struct kafka_source *)src;
    pthread_mutex_lock(&ks->lock);
    for (size_t i = 0; i < n; i++) {
        struct kafka_part *part =
            kafka_parts_find(&ks->parts, next[i].topic, next[i].partition);
        if (part == NULL || next[i].next_offset <= part->stored_next)
            continue;
        part->stored_next = next[i].next_offset;
        if (next[i].record_digest == 0)
            continue;
        part->record_offset = next[i].record_offset;
        part->record_digest = next[i].record_digest;
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
    free(ks->topics);
    if (ks->conf != NULL)
        rd_kafka_conf_destroy(ks->conf);
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
    .parts = parts,
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
    plan->made_anew = s->kafka.topic_made_anew;
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

static bool reads_committed(const rd_kafka_conf_t *conf)
{
    char level[32] = "";
    size_t bytes = sizeof(level);
    return rd_kafka_conf_get(conf, "isolation.level", level, &bytes) == RD_KAFKA_CONF_OK &&
           strcmp(level, "read_committed") == 0;
}

static int name_topics(struct kafka_source *ks, struct err *err)
{
    ks->topics = calloc(ks->plan.n_topics + 1, sizeof(*ks->topics));
    if (ks->topics == NULL)
        return err_oom(err, "opening the Kafka source");
    for (size_t i = 0; i < ks->plan.n_topics; i++)
        ks->topics[i].name = ks->plan.topics[i];
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
    ks->client.on_stats = on_stats;
    ks->conf = rd_kafka_conf_dup(conf);
    ks->reads_committed = reads_committed(conf);
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
    text_format(ks->status.detail, sizeof(ks->status.detail), "first contact");
    pthread_mutex_init(&ks->lock, NULL);
    int result = plan_init(&ks->plan, s, err);
    if (result == ERR_OK)
        result = name_topics(ks, err);
    if (result == ERR_OK)
        result = open_client(ks, s, err);
    if (result != ERR_OK) {
        kafka_client_close(&ks->client, CLOSE_MS, source_free, ks);
        return result;
    }
    *ret_src = &ks->base;
    return ERR_OK;
}
