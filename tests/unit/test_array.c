#include "config/array.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void array_reserve_keeps_the_elements_and_doubles(void **state)
{
    size_t room = 0, n_moves = 0;
    int *items = NULL;

    (void)state;
    for (size_t n = 0; n < 1000; n++) {
        size_t before = room;
        int *more = array_reserve(items, &room, n + 1, sizeof(*more));

        assert_non_null(more);
        assert_true(room > n);
        assert_true(room == before || room >= 2 * before);
        n_moves += room != before;
        items = more;
        items[n] = (int)n;
    }
    for (size_t n = 0; n < 1000; n++)
        assert_int_equal(items[n], n);
    assert_true(n_moves <= 8);
    free(items);
}

static void array_reserve_with_enough_room_is_the_same_array(void **state)
{
    size_t room = 0;
    char *items = array_reserve(NULL, &room, 100, 1);

    (void)state;
    assert_true(room >= 100);
    assert_ptr_equal(array_reserve(items, &room, room, 1), items);
    free(items);
}

static void array_reserve_beyond_a_size_leaves_the_array(void **state)
{
    size_t room = 0;
    int64_t *items = array_reserve(NULL, &room, 4, sizeof(*items));
    size_t before = room;

    (void)state;
    assert_non_null(items);
    items[0] = 7;
    assert_null(array_reserve(items, &room, SIZE_MAX / 4, sizeof(*items)));
    assert_int_equal(room, before);
    assert_int_equal(items[0], 7);
    free(items);
}

static void array_find_every_id_and_none_between(void **state)
{
    int64_t ids[9];

    (void)state;
    for (size_t n = 0; n <= 9; n++) {
        for (size_t i = 0; i < n; i++)
            ids[i] = 10 * (int64_t)i - 20;
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(array_find(ids, n, ids[i]), i);
            assert_int_equal(array_find(ids, n, ids[i] - 1), n);
            assert_int_equal(array_find(ids, n, ids[i] + 1), n);
        }
        assert_int_equal(array_find(ids, n, INT64_MAX), n);
        assert_int_equal(array_find(ids, n, INT64_MIN), n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(array_reserve_keeps_the_elements_and_doubles),
        cmocka_unit_test(array_reserve_with_enough_room_is_the_same_array),
        cmocka_unit_test(array_reserve_beyond_a_size_leaves_the_array),
        cmocka_unit_test(array_find_every_id_and_none_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
