#include "daemon/pipeline/turns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct item *event_of(const char *item_id, int64_t offset)
{
    struct item *item = item_new();
    assert_non_null(item);
    item->item_id = item_id;
    item->offset = offset;
    return item;
}

/* Whether it has the turn. */
static bool take(struct turns *t, struct item *item)
{
    bool has_turn;
    assert_int_equal(turns_take(t, item, &has_turn, NULL), ERR_OK);
    return has_turn;
}

static void take_lets_one_event_of_an_item_through(void **state)
{
    (void)state;
    struct turns t = {0};
    struct item *first = event_of("a", 0), *other = event_of("b", 1);
    assert_true(take(&t, first));
    assert_non_null(first->turn);
    assert_true(take(&t, other));
    assert_false(take(&t, event_of("a", 2)));
    assert_int_equal(t.n, 2);
    item_free(first);
    item_free(other);
    turns_done(&t); /* frees the one that waits */
}

static void give_back_hands_over_in_order(void **state)
{
    (void)state;
    struct turns t = {0};
    struct item *item = event_of("a", 0);
    assert_true(take(&t, item));
    for (int64_t i = 1; i < 4; i++)
        assert_false(take(&t, event_of("a", i)));
    for (int64_t i = 1; i < 4; i++) {
        struct turn *turn = item->turn;
        item_free(item);
        item = turns_give_back(&t, turn);
        assert_non_null(item);
        assert_int_equal(item->offset, i);
        assert_ptr_equal(item->turn, turn);
    }
    assert_null(turns_give_back(&t, item->turn));
    item_free(item);
    assert_int_equal(t.n, 0);
    item = event_of("a", 9);
    assert_true(take(&t, item));
    item_free(item);
    turns_done(&t);
}

static void take_many_items_keeps_them_apart(void **state)
{
    (void)state;
    enum { N = 2000 };
    static char ids[N][16];
    static struct item *items[N];
    struct turns t = {0};
    for (int i = 0; i < N; i++) {
        snprintf(ids[i], sizeof(ids[i]), "item%d", i * 7919 % N);
        items[i] = event_of(ids[i], i);
        assert_true(take(&t, items[i]));
    }
    assert_int_equal(t.n, N);
    for (int i = 0; i < N; i++) {
        assert_null(turns_give_back(&t, items[i]->turn));
        item_free(items[i]);
    }
    assert_int_equal(t.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(take_lets_one_event_of_an_item_through),
        cmocka_unit_test(give_back_hands_over_in_order),
        cmocka_unit_test(take_many_items_keeps_them_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
