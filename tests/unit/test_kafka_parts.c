/* The table of assigned partitions. */
#include "daemon/kafka/parts.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct kafka_part *add(struct kafka_parts *parts, const char *topic, int32_t partition)
{
    struct err err = {0};
    struct kafka_part *part = NULL;
    assert_int_equal(kafka_parts_add(parts, topic, partition, &part, &err), ERR_OK);
    return part;
}

static void add_any_order_sorted_and_found(void **state)
{
    (void)state;
    struct kafka_parts parts = {0};
    const int order[] = {5, 0, 3, 1, 4, 2};
    for (size_t i = 0; i < 6; i++) {
        add(&parts, "videos", order[i])->position = order[i];
        add(&parts, "interactions", order[i])->position = 100 + order[i];
    }
    assert_int_equal(parts.n, 12);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(kafka_parts_find(&parts, "videos", i)->position, i);
        assert_int_equal(kafka_parts_find(&parts, "interactions", i)->position, 100 + i);
    }
    assert_null(kafka_parts_find(&parts, "videos", 6));
    assert_null(kafka_parts_find(&parts, "video", 0));
    kafka_parts_clear(&parts);
    assert_int_equal(parts.n, 0);
}

static void add_again_reset(void **state)
{
    (void)state;
    struct kafka_parts parts = {0};
    struct kafka_part *part = add(&parts, "videos", 1);
    part->position = 7;
    part->paused = part->resync = true;
    part = add(&parts, "videos", 1);
    assert_int_equal(parts.n, 1);
    assert_int_equal(part->position, -1);
    assert_false(part->paused || part->resync);
    kafka_parts_clear(&parts);
}

static void remove_one_others_stay(void **state)
{
    (void)state;
    struct kafka_parts parts = {0};
    for (int i = 0; i < 3; i++)
        add(&parts, "videos", i);
    kafka_parts_remove(&parts, "videos", 1);
    kafka_parts_remove(&parts, "videos", 9);
    assert_int_equal(parts.n, 2);
    assert_null(kafka_parts_find(&parts, "videos", 1));
    assert_non_null(kafka_parts_find(&parts, "videos", 2));
    kafka_parts_clear(&parts);
}

static void lag_unknown_end_minus_one(void **state)
{
    (void)state;
    struct kafka_parts parts = {0};
    assert_int_equal(kafka_parts_lag(&parts), -1); /* of nothing */
    struct kafka_part *part = add(&parts, "videos", 0);
    assert_int_equal(kafka_parts_lag(&parts), -1);
    part->high = 10;
    part->position = 8; /* read, not yet stored */
    part->stored_next = 4;
    assert_int_equal(kafka_parts_lag(&parts), 6);
    part->stored_next = 12; /* the end was fetched before */
    assert_int_equal(kafka_parts_lag(&parts), 0);
    kafka_parts_clear(&parts);
}

static void lag_of_one_unknown_others_count(void **state)
{
    (void)state;
    struct kafka_parts parts = {0};
    struct kafka_part *part = add(&parts, "videos", 0);
    part->stored_next = 4;
    part->high = 10;
    add(&parts, "videos", 1); /* nothing heard */
    assert_int_equal(kafka_parts_lag(&parts), 6);
    part = kafka_parts_find(&parts, "videos", 1);
    part->low = part->high = 7; /* nothing read, and nothing there */
    assert_int_equal(kafka_part_lag(part), 0);
    part->high = 9;
    assert_int_equal(kafka_parts_lag(&parts), 8);
    kafka_parts_clear(&parts);
}

static void lag_open_transaction_up_to_it_only(void **state)
{
    (void)state;
    struct kafka_parts parts = {0};
    struct kafka_part *part = add(&parts, "videos", 0);
    part->is_heard = true;
    part->position = part->stored_next = 4;
    part->stable = 10;
    part->high = 50;
    assert_int_equal(kafka_part_lag(part), 6);
    assert_int_equal(kafka_part_state(part, 0, 0), SOURCE_PART_READING);
    part->position = part->stored_next = 10;
    assert_int_equal(kafka_part_lag(part), 0);
    assert_int_equal(kafka_part_state(part, 0, 0), SOURCE_PART_TRANSACTION);
    part->stable = part->position = part->stored_next = 50;
    assert_int_equal(kafka_part_state(part, 0, 0), SOURCE_PART_CAUGHT_UP);
    kafka_parts_clear(&parts);
}

static void state_denied_until_heard(void **state)
{
    (void)state;
    struct kafka_parts parts = {0};
    struct kafka_part *part = add(&parts, "videos", 0);
    assert_int_equal(kafka_part_state(part, 0, 0), SOURCE_PART_ASSIGNED);
    part->is_denied = true;
    assert_int_equal(kafka_part_state(part, 0, 0), SOURCE_PART_DENIED);
    part->is_denied = false;
    part->is_unknown = true;
    assert_int_equal(kafka_part_state(part, 0, 0), SOURCE_PART_UNKNOWN);
    kafka_part_hear(part);
    part->low = part->high = part->position = 0;
    assert_int_equal(kafka_part_state(part, 0, 0), SOURCE_PART_CAUGHT_UP);
    kafka_parts_resync(part, true, 0);
    assert_int_equal(kafka_part_state(part, 0, 0), SOURCE_PART_GAP);
    kafka_parts_clear(&parts);
}

/* Not by the broker's hanging up alone: the partition stands still before its end. */
static void state_too_large_still_before_its_end(void **state)
{
    (void)state;
    struct kafka_parts parts = {0};
    struct kafka_part *part = add(&parts, "videos", 0);
    int64_t now_us = part->moved_us + KAFKA_STILL_US + 1, seen_us = now_us - 1;
    part->is_heard = true;
    part->position = part->stored_next = 3;
    part->high = 5;
    assert_int_equal(kafka_part_state(part, seen_us, now_us), SOURCE_PART_TOO_LARGE);
    assert_int_equal(kafka_part_state(part, 0, now_us), SOURCE_PART_READING);
    assert_int_equal(kafka_part_state(part, seen_us, now_us + KAFKA_TOO_LARGE_US),
                     SOURCE_PART_READING);
    part->paused = true;
    assert_int_equal(kafka_part_state(part, seen_us, now_us), SOURCE_PART_READING);
    part->paused = false;
    part->moved_us = now_us; /* it goes on */
    assert_int_equal(kafka_part_state(part, seen_us, now_us), SOURCE_PART_READING);
    part->position = part->stored_next = 5;
    part->moved_us = seen_us - KAFKA_STILL_US;
    assert_int_equal(kafka_part_state(part, seen_us, now_us), SOURCE_PART_CAUGHT_UP);
    kafka_parts_clear(&parts);
}

static void resync_out_of_range_stays_until_mended(void **state)
{
    (void)state;
    struct kafka_parts parts = {0};
    struct kafka_part *part = add(&parts, "videos", 0);
    kafka_parts_resync(part, true, 0);
    int64_t first_us = part->resync_at_us;
    kafka_parts_resync(part, false, 1000000);
    assert_true(part->resync && part->out_of_range);
    assert_true(part->resync_at_us >= first_us + 1000000);
    kafka_parts_clear(&parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(add_any_order_sorted_and_found),
        cmocka_unit_test(add_again_reset),
        cmocka_unit_test(remove_one_others_stay),
        cmocka_unit_test(lag_unknown_end_minus_one),
        cmocka_unit_test(lag_of_one_unknown_others_count),
        cmocka_unit_test(lag_open_transaction_up_to_it_only),
        cmocka_unit_test(state_denied_until_heard),
        cmocka_unit_test(state_too_large_still_before_its_end),
        cmocka_unit_test(resync_out_of_range_stays_until_mended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
