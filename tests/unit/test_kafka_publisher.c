/* Dead letters of a real store to librdkafka's mock cluster, without any consumer in the daemon and
 * with the settings of a spool: no topic is read, no group is joined. */

#include "store_fixture.h"

#include "config/clock.h"
#include "config/log.h"
#include "config/settings.h"
#include "daemon/kafka/mock.h"
#include "daemon/kafka/publisher.h"
#include "daemon/publish/letters.h"
#include "daemon/publish/publish.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>

#define DLQ     "videos.dlq"
#define WAIT_US (INT64_C(60) * 1000000)

/* The last producer that was made; whether making another fails, and how often it has. */
static _Atomic(rd_kafka_t *) producer;
static atomic_bool refuse;
static atomic_int n_refused;

rd_kafka_t *__real_rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *why,
                                size_t n);
rd_kafka_t *__wrap_rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *why,
                                size_t n);

rd_kafka_t *__wrap_rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *why,
                                size_t n)
{
    if (atomic_load(&refuse)) {
        (void)snprintf(why, n, "refused by the test");
        atomic_fetch_add(&n_refused, 1);
        return NULL;
    }
    rd_kafka_t *rk = __real_rd_kafka_new(type, conf, why, n);
    if (type == RD_KAFKA_PRODUCER)
        atomic_store(&producer, rk);
    return rk;
}

struct site {
    struct fixture *store;
    pthread_mutex_t lock; /* around the store */
    struct kafka_mock *kafka;
    struct settings settings;
    struct publish *letters;
};

static int write_locked(void *ctx, store_work_fn *work, void *arg, struct err *err)
{
    struct site *site = ctx;
    pthread_mutex_lock(&site->lock);
    int status = work(site->store->st, arg, err);
    pthread_mutex_unlock(&site->lock);
    return status;
}

static void set(struct site *site, const char *name, const char *value)
{
    struct err err = {0};
    if (settings_set(&site->settings, name, value, &err) != ERR_OK)
        fail_msg("%s: %s", name, err.text);
}

static int make_site(void **state)
{
    struct site *site = calloc(1, sizeof(*site));
    struct err err = {0};
    void *store = NULL;
    assert_non_null(site);
    assert_int_equal(fixture_setup(&store), 0);
    site->store = store;
    pthread_mutex_init(&site->lock, NULL);
    log_set_level(LOG_LEVEL_ERROR);
    if (kafka_mock_start(1, &site->kafka, &err) != ERR_OK ||
        kafka_mock_create_topic(site->kafka, DLQ, 1, &err) != ERR_OK)
        fail_msg("%s", err.text);
    assert_int_equal(settings_init(&site->settings), ERR_OK);
    set(site, "source", "spool");
    set(site, "kafka.video_topics", "");
    set(site, "kafka.bootstrap_servers", kafka_mock_bootstrap(site->kafka));
    *state = site;
    return 0;
}

static int free_site(void **state)
{
    struct site *site = *state;
    void *store = site->store;
    publish_close(site->letters);
    kafka_mock_stop(site->kafka);
    settings_done(&site->settings);
    pthread_mutex_destroy(&site->lock);
    free(site);
    return fixture_teardown(&store);
}

static void start(struct site *site)
{
    const struct letters_options options = {.store_path = site->store->path,
                                            .writer = {write_locked, site}};
    struct publisher *publisher = NULL;
    struct outbox *outbox = NULL;
    struct err err = {0};
    if (kafka_publisher_open(&site->settings, "test producer", &publisher, &err) != ERR_OK ||
        letters_open(&options, &outbox, &err) != ERR_OK ||
        publish_open(outbox, publisher, &site->letters, &err) != ERR_OK ||
        publish_start(site->letters, &err) != ERR_OK)
        fail_msg("%s", err.text);
}

static int64_t count_waiting(struct site *site)
{
    pthread_mutex_lock(&site->lock);
    int64_t n = fixture_query(site->store, "SELECT count(*) FROM dlq_outbox");
    pthread_mutex_unlock(&site->lock);
    return n;
}

static void wait_for_outbox(struct site *site, int64_t n)
{
    int64_t until_us = clock_mono_us() + WAIT_US;
    while (count_waiting(site) != n && clock_mono_us() < until_us)
        usleep(10000);
    assert_int_equal(count_waiting(site), n);
}

/* ---- reading the topic back ---- */

static rd_kafka_t *open_reader(const char *bootstrap)
{
    char why[256] = "";
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap, why, sizeof(why));
    rd_kafka_conf_set(conf, "group.id", "reader", why, sizeof(why));
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof(why));
    assert_non_null(rk);
    rd_kafka_topic_partition_list_add(list, DLQ, 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
    assert_int_equal(rd_kafka_assign(rk, list), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_destroy(list);
    return rk;
}

static rd_kafka_message_t *read_message(rd_kafka_t *rk)
{
    int64_t until_us = clock_mono_us() + WAIT_US;
    rd_kafka_message_t *msg = NULL;
    while (clock_mono_us() < until_us) {
        msg = rd_kafka_consumer_poll(rk, 1000);
        if (msg != NULL && msg->err == RD_KAFKA_RESP_ERR_NO_ERROR)
            return msg;
        if (msg != NULL)
            rd_kafka_message_destroy(msg);
    }
    fail_msg("no message within a minute");
    return NULL;
}

static void expect_header(const rd_kafka_message_t *msg, const char *name, const void *value,
                          size_t bytes)
{
    rd_kafka_headers_t *headers = NULL;
    const void *got = NULL;
    size_t got_bytes = 0;
    assert_int_equal(rd_kafka_message_headers(msg, &headers), RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(rd_kafka_header_get_last(headers, name, &got, &got_bytes),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(got_bytes, bytes);
    assert_true((got == NULL) == (value == NULL));
    if (bytes > 0)
        assert_memory_equal(got, value, bytes);
}

static void expect_text(const rd_kafka_message_t *msg, const char *name, const char *value)
{
    expect_header(msg, name, value, strlen(value));
}

static bool has_header(const rd_kafka_message_t *msg, const char *name)
{
    rd_kafka_headers_t *headers = NULL;
    const void *value = NULL;
    size_t bytes = 0;
    return rd_kafka_message_headers(msg, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR &&
           rd_kafka_header_get_last(headers, name, &value, &bytes) ==
               RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void expect_letter(const rd_kafka_message_t *msg, const char *offset)
{
    expect_text(msg, "__connect.errors.topic", "videos");
    expect_text(msg, "__connect.errors.partition", "3");
    expect_text(msg, "__connect.errors.offset", offset);
    expect_text(msg, "__connect.errors.stage", "parse");
    expect_text(msg, "__connect.errors.exception.class.name", "bad_json");
    expect_text(msg, "__connect.errors.exception.message", "it does not parse");
}

/* ---- cases ---- */

static void letters_arrive_as_they_were(void **state)
{
    struct site *site = *state;
    (void)fixture_bury(site->store, 5, "bad_json", DLQ);
    (void)fixture_bury(site->store, 6, "bad_json", DLQ);
    (void)fixture_bury(site->store, 7, "bad_json", DLQ);
    fixture_spoil(site->store, "UPDATE dlq_outbox SET value = x'00' WHERE offset = 6");
    /* an older version kept what strangers wrote as it was */
    fixture_spoil(site->store,
                  "UPDATE dlq_outbox SET error = 'it does' || char(155) || 'not' || "
                  "char(8238) || 'parse' WHERE offset = 7");
    start(site);
    wait_for_outbox(site, 1); /* the damaged one */
    publish_stop(site->letters);
    assert_int_equal(publish_count(site->letters), 2);
    rd_kafka_t *rk = open_reader(kafka_mock_bootstrap(site->kafka));
    const char *const offsets[] = {"5", "7"};
    for (size_t i = 0; i < 2; i++) {
        rd_kafka_message_t *msg = read_message(rk);
        assert_int_equal(msg->key_len, 2);
        assert_memory_equal(msg->key, "k1", 2);
        assert_int_equal(msg->len, 6);
        assert_memory_equal(msg->payload, "{\0oops", 6);
        expect_header(msg, "trace", "ab\0c", 4);
        expect_header(msg, "empty", "", 0);
        expect_header(msg, "none", NULL, 0);
        expect_letter(msg, offsets[i]);
        assert_false(has_header(msg, "metammf.value.bytes"));
        rd_kafka_message_destroy(msg);
    }
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
}

static void bury_large(struct site *site, int64_t offset, size_t value_bytes,
                       size_t header_bytes)
{
    static char bytes[4000];
    const struct store_header header = {"trace", bytes, header_bytes};
    const struct store_dead_letter d = {.pos = {"videos", 3, offset},
                                        .reason = "bad_json",
                                        .error = "it does not parse",
                                        .stage = "parse",
                                        .key = "k1",
                                        .key_bytes = 2,
                                        .value = bytes,
                                        .value_bytes = value_bytes,
                                        .headers = &header,
                                        .n_headers = 1,
                                        .ts_us = 1700000000000000,
                                        .dlq_topic = DLQ};
    const struct store_op op = {.kind = STORE_OP_DEAD_LETTER, .dead_letter = &d};
    (void)fixture_write(site->store, &op, 1, offset + 1);
}

/* The producer's own limit; the broker's is in test_kafka_faults.py. */
static void letters_too_large_are_cut(void **state)
{
    struct site *site = *state;
    set(site, "kafka.properties", "message.max.bytes=2000");
    bury_large(site, 5, 4000, 10);
    bury_large(site, 6, 3000, 3000);
    start(site);
    wait_for_outbox(site, 0);
    rd_kafka_t *rk = open_reader(kafka_mock_bootstrap(site->kafka));
    rd_kafka_message_t *msg = read_message(rk);
    expect_letter(msg, "5");
    expect_text(msg, "metammf.value.bytes", "4000");
    assert_int_equal(msg->key_len, 2);
    assert_int_equal(msg->len, 0);
    assert_true(has_header(msg, "trace"));
    rd_kafka_message_destroy(msg);
    msg = read_message(rk);
    expect_letter(msg, "6");
    expect_text(msg, "metammf.value.bytes", "3000");
    assert_null(msg->key);
    assert_false(has_header(msg, "trace"));
    rd_kafka_message_destroy(msg);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
}

/* Nobody listens there: letters wait, the end is in time, nothing is lost. */
static void letters_wait_for_a_broker(void **state)
{
    struct site *site = *state;
    set(site, "kafka.bootstrap_servers", "127.0.0.1:1");
    (void)fixture_bury(site->store, 5, "bad_json", DLQ);
    start(site);
    usleep(300000);
    int64_t from_us = clock_mono_us();
    publish_close(site->letters);
    site->letters = NULL;
    assert_true(clock_mono_us() - from_us < 10 * 1000000);
    assert_int_equal(count_waiting(site), 1);
    set(site, "kafka.bootstrap_servers", kafka_mock_bootstrap(site->kafka));
    start(site);
    wait_for_outbox(site, 0);
    assert_int_equal(publish_count(site->letters), 1);
}

/* While the publisher runs, which writes too. */
static void bury_beside(struct site *site, int64_t offset)
{
    pthread_mutex_lock(&site->lock);
    (void)fixture_bury(site->store, offset, "bad_json", DLQ);
    pthread_mutex_unlock(&site->lock);
}

/* A fatal error, and no other producer to be had: letters wait, the end is in time, nothing is lost. */
static void letters_wait_for_another_producer(void **state)
{
    struct site *site = *state;
    start(site);
    bury_beside(site, 5);
    wait_for_outbox(site, 0);
    atomic_store(&refuse, true);
    assert_int_equal(rd_kafka_test_fatal_error(atomic_load(&producer),
                                               RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
                                               "by the test"),
                     RD_KAFKA_RESP_ERR_NO_ERROR);
    bury_beside(site, 6);
    for (int64_t until_us = clock_mono_us() + WAIT_US;
         atomic_load(&n_refused) < 2 && clock_mono_us() < until_us;)
        usleep(10000);
    assert_true(atomic_load(&n_refused) >= 2);
    publish_close(site->letters);
    site->letters = NULL;
    assert_int_equal(count_waiting(site), 1);
    atomic_store(&refuse, false);
    start(site);
    wait_for_outbox(site, 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, make_site, free_site)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(letters_arrive_as_they_were),
        CASE(letters_too_large_are_cut),
        CASE(letters_wait_for_a_broker),
        CASE(letters_wait_for_another_producer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
