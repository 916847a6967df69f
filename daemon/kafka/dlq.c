/* The dead-letter publisher.
 *
 * Purpose    Outbox rows of the store → messages of the DLQ topic, at least once, in order.
 * Thread     One of its own: pipeline_write may wait behind a full disk, which the consumer's
 *            thread must not.
 * Ownership  A read-only store handle, the producer, the ids in flight.
 * Failure    A failed delivery (topic missing, broker away, timed out) puts the reader back to
 *            the first row that is not acknowledged, after a growing pause; a fatal error of the
 *            idempotent producer replaces the producer. Nothing is ever given up.
 * Too large  The broker refuses a whole batch, so its letters are sent once more one by one; one
 *            that is refused alone goes without its value, then without its key and its own
 *            headers, and says so in the header metammf.value.bytes: the store keeps the bytes.
 * Damaged    A row whose checksum does not fit stays in the outbox, is named in the log once, and
 *            the rest passes it.
 * Headers    The original's, then Kafka Connect's names, so that existing tools read them:
 *            __connect.errors.topic, .partition, .offset, .stage, .exception.class.name (the
 *            reason), .exception.message.
 */

#include "daemon/kafka/dlq.h"

#include "config/clock.h"
#include "config/log.h"
#include "config/text.h"
#include "daemon/kafka/client.h"
#include "daemon/pipeline/pipeline.h"
#include "store/reading.h"
#include "store/writing.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define BATCH          64
#define IDLE_MS        250
#define CLOSE_MS       1000
#define BACKOFF_US     (1000 * 1000)
#define BACKOFF_MAX_US (30 * 1000 * 1000)

/* How much of a letter the DLQ topic takes. */
enum cut { WHOLE, WITHOUT_VALUE, BARE };

struct kafka_dlq {
    struct kafka_client client; /* first: librdkafka's opaque */
    struct pipeline *p;
    rd_kafka_conf_t *conf; /* to make another producer from */
    char *store_path;
    pthread_t thread;
    bool is_started;
    atomic_bool stopping;
    atomic_uint_least64_t n_published;

    /* the thread's own */
    struct store *reader;
    int64_t after_id;
    size_t n_in_flight, n_batch; /* of the n_batch letters of this batch */
    bool has_failed;             /* a delivery of it */
    bool is_too_large;           /* this is why, and the next try is another one */
    size_t n_alone;              /* letters still to be sent one by one */
    int64_t cut_id;              /* the letter that is sent cut, 0 = none */
    enum cut cut;
    int64_t named_id; /* the newest damaged row that the log has named */
    int64_t done[BATCH];
    size_t n_done; /* acknowledged, not yet deleted from the outbox */
    int64_t backoff_us, quiet_until_us;

    pthread_mutex_t lock; /* guards wait */
    char wait[160];
};

static void set_wait(struct kafka_dlq *dlq, const char *topic, const char *why)
{
    pthread_mutex_lock(&dlq->lock);
    if (why == NULL)
        dlq->wait[0] = '\0';
    else
        text_format(dlq->wait, sizeof(dlq->wait), "dead letters wait: %.60s: %s", topic, why);
    pthread_mutex_unlock(&dlq->lock);
}

static void too_large(struct kafka_dlq *dlq, int64_t id)
{
    if (dlq->n_batch > 1) {
        dlq->n_alone = BATCH;
        dlq->is_too_large = true;
        return;
    }
    enum cut cut = dlq->cut_id == id ? dlq->cut : WHOLE;
    dlq->is_too_large = cut < BARE;
    dlq->cut = cut < BARE ? cut + 1 : BARE;
    dlq->cut_id = id;
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
    (void)rk;
    struct kafka_dlq *dlq = opaque;
    int64_t id = (int64_t)(intptr_t)msg->_private;
    dlq->n_in_flight--;
    if (msg->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        dlq->done[dlq->n_done++] = id;
        atomic_fetch_add(&dlq->n_published, 1);
        return;
    }
    dlq->has_failed = true;
    if (msg->err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
        too_large(dlq, id);
    set_wait(dlq, rd_kafka_topic_name(msg->rkt), rd_kafka_err2str(msg->err));
}

static bool add_header(rd_kafka_headers_t *headers, const char *name, const char *value)
{
    return rd_kafka_header_add(headers, name, -1, value, -1) == RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_headers_t *make_headers(const struct store_letter *row, enum cut cut)
{
    char partition[16], offset[24], bytes[24];
    snprintf(partition, sizeof(partition), "%d", row->partition);
    snprintf(offset, sizeof(offset), "%lld", (long long)row->offset);
    snprintf(bytes, sizeof(bytes), "%zu", row->value_bytes);
    rd_kafka_headers_t *headers = rd_kafka_headers_new(row->n_headers + 7);
    bool ok = headers != NULL;
    for (size_t i = 0; ok && cut < BARE && i < row->n_headers; i++)
        ok = rd_kafka_header_add(headers, row->headers[i].name, -1, row->headers[i].value,
                                 (ssize_t)row->headers[i].value_bytes) ==
             RD_KAFKA_RESP_ERR_NO_ERROR;
    ok = ok && add_header(headers, "__connect.errors.topic", row->topic) &&
         add_header(headers, "__connect.errors.partition", partition) &&
         add_header(headers, "__connect.errors.offset", offset) &&
         add_header(headers, "__connect.errors.stage", row->stage) &&
         add_header(headers, "__connect.errors.exception.class.name", row->reason) &&
         add_header(headers, "__connect.errors.exception.message", row->error) &&
         (cut == WHOLE || add_header(headers, "metammf.value.bytes", bytes));
    if (!ok && headers != NULL) {
        rd_kafka_headers_destroy(headers);
        return NULL;
    }
    return headers;
}

static rd_kafka_resp_err_t send_letter(struct kafka_dlq *dlq, const struct store_letter *row,
                                       enum cut cut)
{
    static char nothing[1];
    void *key = cut < BARE ? row->key : NULL;
    void *value = cut == WHOLE ? row->value : nothing;
    rd_kafka_headers_t *headers = make_headers(row, cut);
    if (headers == NULL)
        return RD_KAFKA_RESP_ERR__FAIL;
    rd_kafka_resp_err_t code = rd_kafka_producev(
        dlq->client.rk, RD_KAFKA_V_TOPIC(row->dlq_topic), RD_KAFKA_V_PARTITION(-1),
        RD_KAFKA_V_KEY(key, cut < BARE ? row->key_bytes : 0),
        RD_KAFKA_V_VALUE(value, cut == WHOLE ? row->value_bytes : 0),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_HEADERS(headers),
        RD_KAFKA_V_OPAQUE((void *)(intptr_t)row->id), RD_KAFKA_V_END);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_headers_destroy(headers); /* otherwise librdkafka owns them */
    return code;
}

/* The producer's own limit, message.max.bytes, is known at once. */
static int produce(struct kafka_dlq *dlq, const struct store_letter *row, struct err *err)
{
    enum cut cut = row->id == dlq->cut_id ? dlq->cut : WHOLE;
    rd_kafka_resp_err_t code = send_letter(dlq, row, cut);
    while (code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE && cut < BARE)
        code = send_letter(dlq, row, ++cut);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        return err_retry(err, EX_UNAVAILABLE, "%s", rd_kafka_err2str(code));
    dlq->n_in_flight++;
    dlq->n_batch++;
    return ERR_OK;
}

struct outbox_ids {
    const int64_t *ids;
    size_t n;
};

static int delete_ids(struct store *st, void *arg, struct err *err)
{
    const struct outbox_ids *done = arg;
    return store_outbox_delete(st, done->ids, done->n, err);
}

/* Acknowledged rows leave the outbox; false = try again later. */
static bool forget_done(struct kafka_dlq *dlq)
{
    struct err err = {0};
    if (dlq->n_done == 0)
        return true;
    struct outbox_ids done = {dlq->done, dlq->n_done};
    if (pipeline_write(dlq->p, delete_ids, &done, &err) != ERR_OK) {
        set_wait(dlq, "outbox", err.text);
        return false;
    }
    dlq->n_done = 0;
    return true;
}

static void name_damaged(struct kafka_dlq *dlq, const struct store_letter *row)
{
    if (row->id <= dlq->named_id)
        return;
    dlq->named_id = row->id;
    log_error(
        "outbox: dead letter %lld: (%s/%d@%lld, %s): the checksum does not fit its bytes: "
        "it is not published and stays until metammf dlq purge --damaged",
        (long long)row->id, row->topic, row->partition, (long long)row->offset, row->reason);
}

/* Returns how many rows it has gone through. */
static size_t produce_batch(struct kafka_dlq *dlq)
{
    struct store_letter *rows = NULL;
    size_t n = 0;
    struct err err = {0};
    dlq->n_batch = 0;
    int status = store_outbox_read(dlq->reader, dlq->after_id, dlq->n_alone > 0 ? 1 : BATCH,
                                   &rows, &n, &err);
    if (status != ERR_OK) {
        if (status != ERR_END) {
            set_wait(dlq, "outbox", err.text);
            dlq->has_failed = true;
        }
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        if (rows[i].damaged) {
            name_damaged(dlq, &rows[i]);
        } else if (produce(dlq, &rows[i], &err) != ERR_OK) {
            set_wait(dlq, rows[i].dlq_topic, err.text);
            dlq->has_failed = true;
            break;
        }
        dlq->after_id = rows[i].id;
    }
    store_letters_free(rows, n);
    return n;
}

static void pause_for(struct kafka_dlq *dlq, int64_t us)
{
    int64_t until_us = clock_mono_us() + us;
    while (!atomic_load(&dlq->stopping) && clock_mono_us() < until_us)
        rd_kafka_poll(dlq->client.rk, IDLE_MS / 5);
}

static int open_producer(struct kafka_dlq *dlq, struct err *err)
{
    return kafka_client_open(&dlq->client, KAFKA_PRODUCER, "dead-letter producer",
                             rd_kafka_conf_dup(dlq->conf), err);
}

/* A fatal error ends the idempotent producer, not us: its rows are still in the outbox. */
static void replace_producer(struct kafka_dlq *dlq, const struct err *why)
{
    struct err err = {0};
    log_warning("%s; the dead-letter producer is replaced", why->text);
    rd_kafka_purge(dlq->client.rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    while (dlq->n_in_flight > 0 && !atomic_load(&dlq->stopping))
        rd_kafka_poll(dlq->client.rk, IDLE_MS);
    kafka_client_close(&dlq->client, CLOSE_MS, NULL, NULL);
    while (open_producer(dlq, &err) != ERR_OK && !atomic_load(&dlq->stopping)) {
        set_wait(dlq, "producer", err.text);
        struct timespec second = {.tv_sec = 1};
        nanosleep(&second, NULL);
    }
}

/* After a batch of which something failed: the rest of it is sent again, later. */
static void recover(struct kafka_dlq *dlq)
{
    struct err err = {0};
    if (kafka_client_check(&dlq->client, &err) == ERR_FATAL)
        replace_producer(dlq, &err);
    bool is_too_large = dlq->is_too_large;
    dlq->has_failed = dlq->is_too_large = false;
    dlq->after_id = 0;
    if (is_too_large)
        return; /* the next try is another one */
    int64_t now_us = clock_mono_us();
    if (now_us >= dlq->quiet_until_us) {
        dlq->quiet_until_us = now_us + BACKOFF_MAX_US;
        char why[160];
        kafka_dlq_describe(dlq, why, sizeof(why));
        log_warning("%s; trying again (they are safe in the store)", why);
    }
    pause_for(dlq, dlq->backoff_us);
    dlq->backoff_us =
        dlq->backoff_us * 2 < BACKOFF_MAX_US ? dlq->backoff_us * 2 : BACKOFF_MAX_US;
}

/* A whole batch: produce, wait for every report, delete. */
static void round_of_batch(struct kafka_dlq *dlq)
{
    bool is_idle = produce_batch(dlq) == 0 && !dlq->has_failed;
    while (dlq->n_in_flight > 0 && !atomic_load(&dlq->stopping))
        rd_kafka_poll(dlq->client.rk, IDLE_MS / 5);
    size_t n_done = dlq->n_done;
    if (!forget_done(dlq)) {
        pause_for(dlq, BACKOFF_US);
        return;
    }
    if (dlq->has_failed) {
        recover(dlq);
        return;
    }
    if (n_done > 0)
        dlq->backoff_us = BACKOFF_US;
    if (dlq->n_alone > 0)
        dlq->n_alone--;
    set_wait(dlq, NULL, NULL);
    if (is_idle) {
        dlq->after_id = 0;
        pause_for(dlq, IDLE_MS * 1000);
    }
}

static void *thread_main(void *arg)
{
    struct kafka_dlq *dlq = arg;
    struct err err = {0};
    while (!atomic_load(&dlq->stopping)) {
        if (dlq->reader == NULL &&
            store_open(dlq->store_path, STORE_READ, &dlq->reader, &err) != ERR_OK) {
            set_wait(dlq, "outbox", err.text);
            pause_for(dlq, BACKOFF_US);
            continue;
        }
        if (dlq->n_done > 0 && !forget_done(dlq))
            pause_for(dlq, BACKOFF_US);
        else
            round_of_batch(dlq);
    }
    /* What the broker acknowledges in the last moment need not be published again. */
    int64_t until_us = clock_mono_us() + CLOSE_MS * 1000;
    while (dlq->n_in_flight > 0 && clock_mono_us() < until_us)
        rd_kafka_poll(dlq->client.rk, IDLE_MS / 5);
    forget_done(dlq);
    store_close(dlq->reader);
    dlq->reader = NULL;
    return NULL;
}

int kafka_dlq_open(const struct settings *s, struct pipeline *p, struct kafka_dlq **ret_dlq,
                   struct err *err)
{
    struct kafka_dlq *dlq = calloc(1, sizeof(*dlq));
    if (dlq == NULL)
        return err_oom(err, "opening the dead-letter producer");
    dlq->p = p;
    dlq->backoff_us = BACKOFF_US;
    pthread_mutex_init(&dlq->lock, NULL);
    dlq->store_path = strdup(s->store.path);
    int status =
        dlq->store_path == NULL
            ? err_oom(err, "opening the dead-letter producer")
            : kafka_config_new(s, KAFKA_PRODUCER, &dlq->client.secrets, &dlq->conf, err);
    if (status == ERR_OK) {
        rd_kafka_conf_set_dr_msg_cb(dlq->conf, on_delivery);
        status = open_producer(dlq, err);
    }
    if (status != ERR_OK) {
        kafka_dlq_close(dlq);
        return status;
    }
    *ret_dlq = dlq;
    return ERR_OK;
}

int kafka_dlq_start(struct kafka_dlq *dlq, struct err *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int why = pthread_create(&dlq->thread, NULL, thread_main, dlq);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (why != 0)
        return err_fatal(err, EX_OSERR, "dead-letter producer: start a thread: %s",
                         strerror(why));
    pthread_setname_np(dlq->thread, "mmf-dlq");
    dlq->is_started = true;
    return ERR_OK;
}

void kafka_dlq_describe(struct kafka_dlq *dlq, char *ret_text, size_t bytes)
{
    pthread_mutex_lock(&dlq->lock);
    text_format(ret_text, bytes, "%s", dlq->wait);
    pthread_mutex_unlock(&dlq->lock);
}

uint64_t kafka_dlq_published(struct kafka_dlq *dlq)
{
    return atomic_load(&dlq->n_published);
}

void kafka_dlq_stop(struct kafka_dlq *dlq)
{
    atomic_store(&dlq->stopping, true);
    if (dlq->is_started)
        pthread_join(dlq->thread, NULL);
    dlq->is_started = false;
}

static void dlq_free(void *owner)
{
    struct kafka_dlq *dlq = owner;
    if (dlq->conf != NULL)
        rd_kafka_conf_destroy(dlq->conf);
    kafka_secrets_done(&dlq->client.secrets);
    free(dlq->store_path);
    pthread_mutex_destroy(&dlq->lock);
    free(dlq);
}

void kafka_dlq_close(struct kafka_dlq *dlq)
{
    if (dlq == NULL)
        return;
    kafka_dlq_stop(dlq);
    if (dlq->client.rk != NULL)
        rd_kafka_purge(dlq->client.rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    kafka_client_close(&dlq->client, CLOSE_MS, dlq_free, dlq);
}
