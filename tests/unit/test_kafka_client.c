/* The end of a Kafka client: its owner is freed once librdkafka has ended, in time or later. */

#include "config/clock.h"
#include "daemon/kafka/client.h"

#include <librdkafka/rdkafka.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct owner {
    struct kafka_client client; /* librdkafka's opaque pointer */
};

static atomic_uint destroy_us;
static atomic_int n_destroyed, n_freed;

void __real_rd_kafka_destroy(rd_kafka_t *rk);
void __wrap_rd_kafka_destroy(rd_kafka_t *rk);

void __wrap_rd_kafka_destroy(rd_kafka_t *rk)
{
    usleep(atomic_load(&destroy_us));
    __real_rd_kafka_destroy(rk);
    atomic_fetch_add(&n_destroyed, 1);
}

static void free_owner(void *owner)
{
    assert_int_equal(atomic_load(&n_destroyed), 1);
    free(owner);
    atomic_fetch_add(&n_freed, 1);
}

static struct owner *open_owner(unsigned us)
{
    struct owner *owner = calloc(1, sizeof(*owner));
    struct err err = {0};
    assert_non_null(owner);
    atomic_store(&destroy_us, us);
    atomic_store(&n_destroyed, 0);
    atomic_store(&n_freed, 0);
    if (kafka_client_open(&owner->client, KAFKA_PRODUCER, "test", rd_kafka_conf_new(), &err) !=
        ERR_OK)
        fail_msg("%s", err.text);
    return owner;
}

static void test_in_time(void **state)
{
    (void)state;
    struct owner *owner = open_owner(0);
    kafka_client_close(&owner->client, 60000, free_owner, owner);
    assert_int_equal(atomic_load(&n_freed), 1);
}

static void test_late(void **state)
{
    (void)state;
    struct owner *owner = open_owner(1000000);
    kafka_client_close(&owner->client, 10, free_owner, owner);
    assert_int_equal(atomic_load(&n_freed), 0);
    int64_t until_us = clock_mono_us() + 60 * 1000000LL;
    while (atomic_load(&n_freed) == 0 && clock_mono_us() < until_us)
        usleep(1000);
    assert_int_equal(atomic_load(&n_freed), 1);
}

static void test_never_opened(void **state)
{
    (void)state;
    struct owner *owner = calloc(1, sizeof(*owner));
    assert_non_null(owner);
    atomic_store(&n_destroyed, 1); /* nothing to destroy */
    atomic_store(&n_freed, 0);
    kafka_client_close(&owner->client, 10, free_owner, owner);
    assert_int_equal(atomic_load(&n_freed), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_time),
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_never_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
