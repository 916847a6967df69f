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
    assert_int_equal(kafka_parts_lag(&parts), 0);
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
        cmocka_unit_test(resync_out_of_range_stays_until_mended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
