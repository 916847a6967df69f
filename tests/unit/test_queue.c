#include "daemon/pipeline/queue.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct queue *open_queue(size_t items, size_t bytes)
{
    struct queue_limits limits = {
        .items = items, .bytes = bytes, .high_percent = 90, .low_percent = 30};
    struct queue *q = NULL;
    assert_int_equal(queue_open(&limits, &q, NULL), ERR_OK);
    return q;
}

static struct item *numbered(int64_t offset)
{
    struct item *item = item_new();
    assert_non_null(item);
    item->offset = offset;
    return item;
}

static void pop_and_free(struct queue *q, int64_t offset)
{
    struct item *item = queue_pop(q, 0);
    assert_non_null(item);
    assert_int_equal(item->offset, offset);
    item_free(item);
}

static bool is_readable(const struct queue *q)
{
    struct pollfd fd = {.fd = queue_fd(q), .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

static void pop_returns_items_in_order(void **state)
{
    (void)state;
    struct queue *q = open_queue(10, 1 << 20);
    for (int64_t i = 0; i < 5; i++)
        queue_push(q, numbered(i));
    assert_int_equal(queue_length(q), 5);
    for (int64_t i = 0; i < 5; i++)
        pop_and_free(q, i);
    assert_null(queue_pop(q, 0));
    queue_close(q);
}

static void fd_is_readable_while_not_empty(void **state)
{
    (void)state;
    struct queue *q = open_queue(10, 1 << 20);
    assert_false(is_readable(q));
    queue_push(q, numbered(0));
    queue_push(q, numbered(1));
    pop_and_free(q, 0);
    assert_true(is_readable(q));
    pop_and_free(q, 1);
    assert_false(is_readable(q));
    queue_shut(q);
    assert_true(is_readable(q));
    queue_close(q);
}

static void is_high_has_hysteresis_in_items(void **state)
{
    (void)state;
    struct queue *q = open_queue(10, 1 << 30);
    for (int64_t i = 0; i < 8; i++)
        queue_push(q, numbered(i));
    assert_false(queue_is_high(q));
    queue_push(q, numbered(8));
    assert_true(queue_is_high(q));
    for (int64_t i = 0; i < 6; i++)
        pop_and_free(q, i);
    assert_true(queue_is_high(q)); /* 3 of 10: not below 30 % */
    pop_and_free(q, 6);
    assert_false(queue_is_high(q));
    queue_close(q);
}

static void is_high_counts_bytes(void **state)
{
    (void)state;
    struct queue *q = open_queue(1000, 100000);
    struct item *item = numbered(0);
    assert_non_null(arena_alloc(&item->arena, 95000));
    queue_push(q, item);
    assert_true(queue_is_high(q));
    pop_and_free(q, 0);
    assert_false(queue_is_high(q));
    queue_close(q);
}

static void push_past_the_bound_loses_nothing(void **state)
{
    (void)state;
    struct queue *q = open_queue(2, 1 << 20);
    for (int64_t i = 0; i < 10; i++)
        queue_push(q, numbered(i));
    for (int64_t i = 0; i < 10; i++)
        pop_and_free(q, i);
    queue_close(q);
}

static void push_after_shut_frees_the_item(void **state)
{
    (void)state;
    struct queue *q = open_queue(10, 1 << 20);
    queue_push(q, numbered(0));
    queue_shut(q);
    queue_push(q, numbered(1));
    assert_true(queue_is_shut(q));
    pop_and_free(q, 0);
    assert_null(queue_pop(q, -1)); /* does not wait */
    queue_close(q);
}

enum { PASSED = 20000 };

static void *produce(void *arg)
{
    for (int64_t i = 0; i < PASSED; i++)
        queue_push(arg, numbered(i));
    queue_shut(arg);
    return NULL;
}

static void two_threads_pass_items_in_order(void **state)
{
    (void)state;
    struct queue *q = open_queue(10, 1 << 20);
    pthread_t producer;
    assert_int_equal(pthread_create(&producer, NULL, produce, q), 0);
    int64_t n = 0;
    for (struct item *item; (item = queue_pop(q, -1)); n++) {
        assert_int_equal(item->offset, n);
        item_free(item);
    }
    assert_int_equal(n, PASSED);
    pthread_join(producer, NULL);
    queue_close(q);
}

static void *produce_one(void *arg)
{
    queue_push(arg, numbered(0));
    queue_shut(arg);
    return NULL;
}

/* Pushed and shut between a look at the list and one at the end: the last items were left behind. */
static void what_came_before_the_end_is_popped(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct queue *q = open_queue(10, 1 << 20);
        pthread_t producer;
        assert_int_equal(pthread_create(&producer, NULL, produce_one, q), 0);
        struct item *item = queue_pop(q, -1);
        pthread_join(producer, NULL);
        assert_non_null(item);
        item_free(item);
        queue_close(q);
    }
}

static void kill_keeps_the_original_and_names_a_reason(void **state)
{
    (void)state;
    struct item *item = numbered(7);
    struct err err;
    item->value = "x";
    item->value_bytes = 1;
    err_fatal(&err, 70, "broken");
    item_kill(item, "store", &err);
    assert_int_equal(item->kind, ITEM_DEAD);
    assert_string_equal(item->err.reason, "internal");
    assert_string_equal(item->stage, "store");
    assert_string_equal(item->value, "x");
    item_free(item);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pop_returns_items_in_order),
        cmocka_unit_test(fd_is_readable_while_not_empty),
        cmocka_unit_test(is_high_has_hysteresis_in_items),
        cmocka_unit_test(is_high_counts_bytes),
        cmocka_unit_test(push_past_the_bound_loses_nothing),
        cmocka_unit_test(push_after_shut_frees_the_item),
        cmocka_unit_test(two_threads_pass_items_in_order),
        cmocka_unit_test(what_came_before_the_end_is_popped),
        cmocka_unit_test(kill_keeps_the_original_and_names_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
