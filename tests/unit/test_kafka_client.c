/* The end of a Kafka client: its owner is freed once librdkafka has ended, in time or later. And its words:
 * no part of a secret is left where they are cut. */

#include "config/clock.h"
#include "daemon/kafka/client.h"

#include "no_clone.h"

#include <librdkafka/rdkafka.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
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

/* What librdkafka says, longer than there is room for, with a secret around the place of the cut. */
static void says_no_part_of_a_secret(void **state)
{
    (void)state;
    char secret[] = "s3cret-word", *values[] = {secret}, text[512];
    for (size_t before = 100; before < sizeof(((struct kafka_client *)0)->last_error);
         before += 4) {
        struct owner *owner = open_owner(0);
        owner->client.secrets = (struct kafka_secrets){values, 1};
        memset(text, 'x', before);
        (void)snprintf(text + before, sizeof(text) - before, "%s and more", secret);
        assert_int_equal(
            rd_kafka_test_fatal_error(owner->client.rk,
                                      RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, text),
            RD_KAFKA_RESP_ERR_NO_ERROR);
        rd_kafka_poll(owner->client.rk, 1000);
        assert_non_null(strstr(owner->client.last_error, "xxxx"));
        assert_null(strstr(owner->client.last_error, "s3"));
        owner->client.secrets = (struct kafka_secrets){NULL, 0};
        kafka_client_close(&owner->client, 5000, free_owner, owner);
    }
}

/* The unit starts the daemon again after 71, not after 78. */
static void open_short_of_threads_is_no_configuration_error(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        struct owner *owner = calloc(1, sizeof(*owner));
        struct err err = {0};
        no_clone();
        (void)kafka_client_open(&owner->client, KAFKA_PRODUCER, "test", rd_kafka_conf_new(),
                                &err);
        _exit(err.exit_code);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EX_OSERR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_short_of_threads_is_no_configuration_error),
        cmocka_unit_test(says_no_part_of_a_secret),
        cmocka_unit_test(test_in_time),
        cmocka_unit_test(test_late),
        cmocka_unit_test(test_never_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
