#include "daemon/pipeline/ledger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct ledger *assigned(int64_t next_offset, uint32_t *ret_epoch)
{
    struct ledger *l = ledger_new();
    assert_non_null(l);
    assert_int_equal(ledger_assign(l, "videos", 3, next_offset, ret_epoch, NULL), ERR_OK);
    return l;
}

static int64_t preview(struct ledger *l, const struct ledger_mark *marks, size_t n)
{
    struct ledger_next next[16];
    assert_true(n <= 16);
    size_t n_next = ledger_preview(l, marks, n, next);
    assert_true(n_next <= 1);
    return n_next ? next[0].next_offset : -1;
}

static void begin_without_assignment_is_refused(void **state)
{
    (void)state;
    uint32_t epoch;
    struct ledger *l = ledger_new();
    assert_false(ledger_begin(l, "videos", 3, 0, &epoch));
    ledger_free(l);
}

static void claim_takes_only_what_nobody_has(void **state)
{
    (void)state;
    uint32_t first, second = 0, flying;
    struct ledger *l = ledger_new();
    assert_int_equal(ledger_claim(l, "file:a", 0, &first, NULL), ERR_OK);
    assert_true(ledger_begin(l, "file:a", 0, 0, &flying));
    assert_int_equal(ledger_claim(l, "file:a", 0, &second, NULL), ERR_BUSY);
    assert_true(ledger_is_current(l, &(struct ledger_mark){"file:a", 0, 0, first}));
    assert_int_equal(ledger_in_flight(l), 1);
    ledger_revoke(l, "file:a", 0);
    assert_int_equal(ledger_claim(l, "file:a", 0, &second, NULL), ERR_OK);
    assert_int_not_equal(first, second);
    ledger_free(l);
}

static void begin_twice_is_refused(void **state)
{
    (void)state;
    uint32_t epoch, same;
    struct ledger *l = assigned(41, &epoch);
    assert_false(ledger_begin(l, "videos", 3, 40, &same));
    assert_true(ledger_begin(l, "videos", 3, 41, &same));
    assert_int_equal(same, epoch);
    assert_false(ledger_begin(l, "videos", 3, 41, &same));
    assert_int_equal(ledger_in_flight(l), 1);
    ledger_free(l);
}

static void begin_after_finish_is_refused(void **state)
{
    (void)state;
    uint32_t epoch;
    struct ledger *l = assigned(0, &epoch);
    assert_true(ledger_begin(l, "videos", 3, 0, &epoch));
    assert_true(ledger_begin(l, "videos", 3, 1, &epoch));
    ledger_finish(l, &(struct ledger_mark){"videos", 3, 1, epoch}, 1);
    assert_false(ledger_begin(l, "videos", 3, 1, &epoch));
    ledger_finish(l, &(struct ledger_mark){"videos", 3, 0, epoch}, 1);
    assert_false(ledger_begin(l, "videos", 3, 0, &epoch));
    assert_int_equal(ledger_in_flight(l), 0);
    ledger_free(l);
}

static void preview_out_of_order_advances_over_the_prefix_only(void **state)
{
    (void)state;
    uint32_t epoch;
    struct ledger *l = assigned(41, &epoch);
    int64_t offsets[] = {41, 43, 44, 47};
    for (size_t i = 0; i < 4; i++)
        assert_true(ledger_begin(l, "videos", 3, offsets[i], &epoch));
    struct ledger_mark later[] = {{"videos", 3, 43, epoch}, {"videos", 3, 47, epoch}};
    assert_int_equal(preview(l, later, 2), -1);
    ledger_finish(l, later, 2);
    struct ledger_mark first = {"videos", 3, 41, epoch};
    assert_int_equal(preview(l, &first, 1), 44);
    assert_int_equal(preview(l, &first, 1), 44);
    assert_int_equal(ledger_in_flight_of(l, "videos", 3), 2);
    ledger_finish(l, &first, 1);
    assert_int_equal(preview(l, &(struct ledger_mark){"videos", 3, 44, epoch}, 1), 48);
    ledger_free(l);
}

static void preview_of_several_partitions_names_each_once(void **state)
{
    (void)state;
    uint32_t e0, e1;
    struct ledger *l = ledger_new();
    ledger_assign(l, "videos", 0, 10, &e0, NULL);
    ledger_assign(l, "clicks", 0, 20, &e1, NULL);
    for (int64_t i = 0; i < 3; i++) {
        assert_true(ledger_begin(l, "videos", 0, 10 + i, &e0));
        assert_true(ledger_begin(l, "clicks", 0, 20 + i, &e1));
    }
    struct ledger_mark marks[] = {{"videos", 0, 10, e0},
                                  {"clicks", 0, 20, e1},
                                  {"videos", 0, 11, e0},
                                  {"clicks", 0, 22, e1}};
    struct ledger_next next[4];
    assert_int_equal(ledger_preview(l, marks, 4, next), 2);
    assert_string_equal(next[0].topic, "videos");
    assert_int_equal(next[0].next_offset, 12);
    assert_string_equal(next[1].topic, "clicks");
    assert_int_equal(next[1].next_offset, 21);
    ledger_free(l);
}

static void finish_of_an_old_epoch_changes_nothing(void **state)
{
    (void)state;
    uint32_t old, epoch;
    struct ledger *l = assigned(0, &old);
    assert_true(ledger_begin(l, "videos", 3, 0, &old));
    struct ledger_mark stale = {"videos", 3, 0, old};
    ledger_revoke(l, "videos", 3);
    assert_int_equal(ledger_in_flight(l), 0);
    assert_false(ledger_is_current(l, &(struct ledger_mark){"videos", 3, 0, old}));
    assert_int_equal(preview(l, &stale, 1), -1);

    ledger_assign(l, "videos", 3, 0, &epoch, NULL);
    assert_int_not_equal(epoch, old);
    assert_int_not_equal(epoch, 0);
    assert_true(ledger_begin(l, "videos", 3, 0, &epoch));
    assert_int_equal(preview(l, &stale, 1), -1);
    ledger_finish(l, &stale, 1);
    assert_int_equal(ledger_in_flight_of(l, "videos", 3), 1);
    assert_true(ledger_is_current(l, &(struct ledger_mark){"videos", 3, 0, epoch}));
    ledger_free(l);
}

static void assign_again_drops_what_was_in_flight(void **state)
{
    (void)state;
    uint32_t first, second;
    struct ledger *l = assigned(5, &first);
    assert_true(ledger_begin(l, "videos", 3, 5, &first));
    ledger_assign(l, "videos", 3, 5, &second, NULL);
    assert_int_not_equal(first, second);
    assert_int_equal(ledger_in_flight(l), 0);
    assert_true(ledger_begin(l, "videos", 3, 5, &second));
    ledger_free(l);
}

/* ---- against a naive oracle ---------------------------------------------------------------- */

enum { ORACLE_OFFSETS = 400 };

struct oracle {
    char state[ORACLE_OFFSETS]; /* 0 unseen, 1 in flight, 2 finished */
    int64_t start, after_newest;
};

static int64_t oracle_next(const struct oracle *o)
{
    for (int64_t i = o->start; i < o->after_newest; i++)
        if (o->state[i] == 1)
            return i;
    return o->after_newest;
}

static bool oracle_begin(struct oracle *o, int64_t offset)
{
    if (offset < oracle_next(o) || o->state[offset] != 0)
        return false;
    o->state[offset] = 1;
    if (offset >= o->after_newest)
        o->after_newest = offset + 1;
    return true;
}

static size_t pick_in_flight(const struct oracle *o, int64_t *ret_offsets, size_t max)
{
    size_t n = 0;
    for (int64_t i = 0; i < ORACLE_OFFSETS && n < max; i++)
        if (o->state[i] == 1 && rand() % 3 == 0)
            ret_offsets[n++] = i;
    return n;
}

static void check_batch(struct ledger *l, struct oracle *o, uint32_t epoch)
{
    int64_t offsets[16];
    struct ledger_mark marks[16];
    size_t n = pick_in_flight(o, offsets, 16);
    for (size_t i = 0; i < n; i++)
        marks[n - 1 - i] = (struct ledger_mark){"videos", 3, offsets[i], epoch};
    int64_t before = oracle_next(o);
    for (size_t i = 0; i < n; i++)
        o->state[offsets[i]] = 2;
    int64_t after = oracle_next(o);
    assert_int_equal(preview(l, marks, n), after > before ? after : -1);
    ledger_finish(l, marks, n);
}

static void random_order_agrees_with_the_oracle(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 200; seed++) {
        srand(seed);
        uint32_t epoch;
        struct oracle o = {.start = 7, .after_newest = 7};
        struct ledger *l = assigned(7, &epoch);
        int64_t newest = 7;
        while (newest < ORACLE_OFFSETS - 4) {
            int64_t offset = rand() % 5 == 0 ? rand() % (int)newest : newest;
            assert_int_equal(ledger_begin(l, "videos", 3, offset, &epoch),
                             oracle_begin(&o, offset));
            newest = o.after_newest + rand() % 3;
            if (rand() % 8 == 0)
                check_batch(l, &o, epoch);
        }
        for (int i = 0; i < 200; i++)
            check_batch(l, &o, epoch);
        assert_int_equal(ledger_in_flight(l), ledger_in_flight_of(l, "videos", 3));
        ledger_free(l);
    }
}

static void preview_brings_the_last_record_of_the_prefix(void **state)
{
    (void)state;
    uint32_t epoch;
    struct ledger *l = assigned(41, &epoch);
    struct ledger_mark marks[4];
    struct ledger_next next[4];
    for (int i = 0; i < 4; i++) {
        marks[i] = (struct ledger_mark){"videos", 3, 41 + 2 * i, epoch};
        assert_true(ledger_begin(l, "videos", 3, marks[i].offset, &epoch));
        if (i < 3) /* the last one is a move over what is never delivered */
            ledger_set_digest(l, "videos", 3, marks[i].offset, 100 + i);
    }
    assert_int_equal(ledger_preview(l, &marks[1], 1, next), 0);
    ledger_finish(l, &marks[1], 1);
    assert_int_equal(ledger_preview(l, &marks[0], 1, next), 1);
    assert_int_equal(next[0].next_offset, 45);
    assert_int_equal(next[0].record_offset, 43);
    assert_int_equal(next[0].record_digest, 101);
    ledger_finish(l, &marks[0], 1);
    assert_int_equal(ledger_preview(l, &marks[2], 2, next), 1);
    assert_int_equal(next[0].next_offset, 48);
    assert_int_equal(next[0].record_offset, 45);
    ledger_finish(l, &marks[2], 1);
    assert_int_equal(ledger_preview(l, &marks[3], 1, next), 1);
    assert_int_equal(next[0].record_digest, 0); /* as before */
    ledger_free(l);
}

static void a_long_log_stays_small(void **state)
{
    (void)state;
    uint32_t epoch;
    struct ledger *l = assigned(0, &epoch);
    for (int64_t i = 0; i < 1000000; i++) {
        assert_true(ledger_begin(l, "videos", 3, i, &epoch));
        if (i >= 500)
            ledger_finish(l, &(struct ledger_mark){"videos", 3, i - 500, epoch}, 1);
    }
    assert_int_equal(ledger_in_flight(l), 500);
    ledger_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begin_without_assignment_is_refused),
        cmocka_unit_test(claim_takes_only_what_nobody_has),
        cmocka_unit_test(begin_twice_is_refused),
        cmocka_unit_test(begin_after_finish_is_refused),
        cmocka_unit_test(preview_out_of_order_advances_over_the_prefix_only),
        cmocka_unit_test(preview_of_several_partitions_names_each_once),
        cmocka_unit_test(finish_of_an_old_epoch_changes_nothing),
        cmocka_unit_test(assign_again_drops_what_was_in_flight),
        cmocka_unit_test(random_order_agrees_with_the_oracle),
        cmocka_unit_test(preview_brings_the_last_record_of_the_prefix),
        cmocka_unit_test(a_long_log_stays_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
