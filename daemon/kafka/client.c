/* A librdkafka handle with our manners.
 *
 * Purpose    log.queue=true keeps librdkafka's log off its own threads: it is served when the
 *            owner polls, cleaned of secrets and written with FACILITY and CLIENT fields.
 * Thread     The owner's, but for the helper thread of kafka_client_close.
 * Failure    rd_kafka_destroy waits for ever on any object still referenced and consumer close
 *            for a coordinator that is away, hence the helper thread and the deadline.
 */

#include "daemon/kafka/client.h"

#include "config/clock.h"
#include "config/log.h"
#include "config/text.h"

#include <assert.h>
#include <jansson.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

/* Connection errors repeat for each broker and address: one line in so many. */
#define QUIET_US (10 * 1000 * 1000)

static enum log_level level_of(int syslog_level)
{
    /* librdkafka calls a refused connection an error; for us a broker away is a known wait. */
    if (syslog_level <= 4)
        return syslog_level <= 2 ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING;
    return syslog_level >= 7 ? LOG_LEVEL_DEBUG : (enum log_level)syslog_level;
}

void kafka_client_words(const struct kafka_client *c, const char *text, char *ret_text,
                        size_t bytes)
{
    char *whole = strdup(text); /* a secret is found before it is cut, or its bytes replaced */
    if (whole != NULL)
        kafka_secrets_redact(&c->secrets, whole);
    text_format(ret_text, bytes, "%s",
                whole != NULL ? whole : "(no memory for librdkafka's words)");
    free(whole);
}

static bool is_connection_noise(struct kafka_client *c, const char *facility)
{
    if (strcmp(facility, "FAIL") != 0 && strcmp(facility, "ERROR") != 0)
        return false;
    int64_t now_us = clock_mono_us();
    if (now_us < c->quiet_until_us)
        return true;
    c->quiet_until_us = now_us + QUIET_US;
    return false;
}

/* librdkafka has no code for it, and names no partition: parts.c tells which. */
static void note_too_large(struct kafka_client *c, const char *text)
{
    if (strstr(text, "receive.message.max.bytes") != NULL)
        c->too_large_us = clock_mono_us();
}

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    struct kafka_client *c = rd_kafka_opaque(rk);
    char clean[ERR_TEXT_BYTES];
    note_too_large(c, text);
    kafka_client_words(c, text, clean, sizeof(clean));
    /* Both roles get all of the user's properties, so half of these remarks are noise. */
    if (strcmp(facility, "CONFWARN") == 0 && strstr(clean, "property and will be ignored"))
        return;
    if (is_connection_noise(c, facility))
        return;
    /* The mock cluster cannot be told not to create topics; nor can Kafka before 0.11. */
    if (strcmp(facility, "AUTOCREATE") == 0)
        level = 7;
    const struct log_field fields[] = {{"KAFKA_FACILITY", facility}, {"CLIENT", c->name}};
    log_write(level_of(level), fields, 2, "librdkafka: %s", clean);
}

static void on_error(rd_kafka_t *rk, int code, const char *text, void *opaque)
{
    (void)rk;
    struct kafka_client *c = opaque;
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        c->all_down = true; /* the reason came before */
    if (code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || c->last_error[0] == '\0')
        kafka_client_words(c, text, c->last_error, sizeof(c->last_error));
    note_too_large(c, text);
    if (code == RD_KAFKA_RESP_ERR__AUTHENTICATION || code == RD_KAFKA_RESP_ERR__SSL)
        log_error("Kafka %s: %s; check kafka.properties (security.protocol, sasl.*, ssl.*)",
                  c->name, c->last_error);
}

static bool broker_is_away(const char *state)
{
    return strcmp(state, "UP") != 0 && strcmp(state, "UPDATE") != 0;
}

/* Counts the brokers that we tried to reach and cannot. One that was never tried is one that
 * nobody needs (sparse connections); bootstrap addresses and the group's coordinator are other
 * names of the learned brokers. */
static void count_brokers(struct kafka_client *c, const json_t *brokers)
{
    unsigned n_known = 0, n_down = 0, n_up = 0;
    const char *name = NULL;
    json_t *broker = NULL;
    json_object_foreach((json_t *)(uintptr_t)brokers, name, broker)
    {
        const char *state = json_string_value(json_object_get(broker, "state"));
        const char *source = json_string_value(json_object_get(broker, "source"));
        if (state == NULL || source == NULL)
            continue;
        bool is_away = broker_is_away(state);
        n_up += !is_away;
        if (strcmp(source, "learned") != 0)
            continue;
        n_known++;
        n_down += is_away && json_integer_value(json_object_get(broker, "connects")) > 0;
    }
    c->n_brokers = n_known;
    c->n_down = n_down;
    if (n_up > 0) {
        c->all_down = false;
        if (n_down == 0)
            c->last_error[0] = '\0';
    }
}

static int on_stats(rd_kafka_t *rk, char *text, size_t bytes, void *opaque)
{
    (void)rk;
    struct kafka_client *c = opaque;
    json_t *root = json_loadb(text, bytes, 0, NULL);
    if (root != NULL)
        count_brokers(c, json_object_get(root, "brokers"));
    if (root != NULL && c->on_stats != NULL)
        c->on_stats(c, root);
    json_decref(root);
    return 0; /* librdkafka frees the text */
}

int kafka_client_open(struct kafka_client *c, enum kafka_role role, const char *name,
                      struct rd_kafka_conf_s *conf, struct err *err)
{
    char why[512] = "";
    c->name = name;
    rd_kafka_conf_set_opaque(conf, c);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_stats_cb(conf, on_stats);
    c->rk = rd_kafka_new(role == KAFKA_CONSUMER ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER, conf,
                         why, sizeof(why));
    if (c->rk == NULL) {
        bool is_short = rd_kafka_last_error() == RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
        rd_kafka_conf_destroy(conf);
        kafka_secrets_redact(&c->secrets, why);
        if (is_short)
            return err_retry(err, EX_OSERR, "Kafka %s: %s", name, why);
        return err_fatal(err, EX_CONFIG, "Kafka %s: %s; check kafka.properties", name, why);
    }
    if (role == KAFKA_CONSUMER)
        rd_kafka_poll_set_consumer(c->rk);
    rd_kafka_resp_err_t code = rd_kafka_set_log_queue(c->rk, NULL);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
        log_warning("Kafka %s: log queue: %s", name, rd_kafka_err2str(code));
    return ERR_OK;
}

int kafka_client_check(struct kafka_client *c, struct err *err)
{
    char why[512] = "";
    rd_kafka_resp_err_t code = rd_kafka_fatal_error(c->rk, why, sizeof(why));
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
        return ERR_OK;
    kafka_secrets_redact(&c->secrets, why);
    return err_fatal(err, EX_TEMPFAIL, "Kafka %s: fatal error %s: %s; a restart begins anew",
                     c->name, rd_kafka_err2name(code), why);
}

const char *kafka_client_reason(const struct kafka_client *c, int code)
{
    return c->last_error[0] != '\0' ? c->last_error
                                    : rd_kafka_err2str((rd_kafka_resp_err_t)code);
}

void kafka_client_describe(const struct kafka_client *c, char *ret_text, size_t bytes)
{
    ret_text[0] = '\0';
    if (c->all_down)
        text_format(ret_text, bytes, "no broker reachable: %s", c->last_error);
    else if (c->n_down > 0)
        snprintf(ret_text, bytes, "%u of %u brokers down", c->n_down, c->n_brokers);
}

/* Shared by the closer and its helper thread; the one that ends last frees it. */
struct closing {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    rd_kafka_t *rk;
    void (*free_owner)(void *owner); /* or NULL */
    void *owner;
    bool is_done, is_abandoned;
};

static void closing_free(struct closing *closing)
{
    if (closing->free_owner != NULL)
        closing->free_owner(closing->owner);
    pthread_cond_destroy(&closing->ended);
    pthread_mutex_destroy(&closing->lock);
    free(closing);
}

static void *closing_main(void *arg)
{
    struct closing *closing = arg;
    if (rd_kafka_type(closing->rk) == RD_KAFKA_CONSUMER) {
        rd_kafka_resp_err_t code = rd_kafka_consumer_close(closing->rk);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            log_debug("Kafka consumer: close: %s", rd_kafka_err2str(code));
    }
    rd_kafka_destroy(closing->rk);
    pthread_mutex_lock(&closing->lock);
    closing->is_done = true;
    bool is_abandoned = closing->is_abandoned;
    pthread_cond_signal(&closing->ended);
    pthread_mutex_unlock(&closing->lock);
    if (is_abandoned)
        closing_free(closing);
    return NULL;
}

static struct closing *closing_new(rd_kafka_t *rk)
{
    struct closing *closing = calloc(1, sizeof(*closing));
    if (closing == NULL)
        return NULL;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&closing->lock, NULL);
    pthread_cond_init(&closing->ended, &attr);
    pthread_condattr_destroy(&attr);
    closing->rk = rk;
    return closing;
}

static bool closing_wait(struct closing *closing, int timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&closing->lock);
    int why = 0;
    while (!closing->is_done && why == 0)
        why = pthread_cond_timedwait(&closing->ended, &closing->lock, &until);
    bool is_done = closing->is_done;
    closing->is_abandoned = !is_done;
    pthread_mutex_unlock(&closing->lock);
    return is_done;
}

void kafka_client_close(struct kafka_client *c, int timeout_ms, void (*free_owner)(void *owner),
                        void *owner)
{
    if (c->rk == NULL) {
        if (free_owner != NULL)
            free_owner(owner);
        return;
    }
    pthread_t thread;
    const char *name = c->name; /* c may go with its owner */
    struct closing *closing = closing_new(c->rk);
    c->rk = NULL;
    if (closing == NULL)
        return;
    if (pthread_create(&thread, NULL, closing_main, closing) != 0) {
        closing_free(closing); /* without the owner: librdkafka goes on */
        return;
    }
    closing->free_owner = free_owner;
    closing->owner = owner;
    if (!closing_wait(closing, timeout_ms)) {
        pthread_detach(thread);
        log_warning("Kafka %s: still closing after %d ms; it is left behind (offsets are in "
                    "the store)",
                    name, timeout_ms);
        return;
    }
    pthread_join(thread, NULL);
    closing_free(closing);
}
