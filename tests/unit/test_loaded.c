/* Models in memory: shared while somebody uses them, or one is left for the next. Freed models are
 * what the sanitizer build sees. */
#include "daemon/model/loaded.h"

#include "model_fixture.h"

static struct fixture none;

static struct model *add(int64_t model_id, const char *sha256)
{
    struct model *model;

    fixture_model(&none, 1, &model);
    assert_ok(&none, loaded_add(model_id, sha256, model, &none.err));
    return model;
}

static void find_shares_until_the_last_release(void **state)
{
    (void)state;
    struct model *model = add(1, "a");
    assert_ptr_equal(loaded_find(1, "a"), model);
    assert_null(loaded_find(2, "a"));
    assert_null(loaded_find(1, "b"));
    loaded_release(model);
    assert_ptr_equal(loaded_find(1, "a"), model);
    loaded_release(model);
    loaded_release(model);
    assert_null(loaded_find(1, "a"));
    loaded_release(NULL);
}

static void leave_keeps_it_for_the_next(void **state)
{
    (void)state;
    struct model *model = add(1, "a");
    loaded_leave(model);
    assert_ptr_equal(loaded_find(1, "a"), model);
    loaded_release(model); /* taken once, it is as any other */
    assert_null(loaded_find(1, "a"));
}

static void leave_of_another_lets_the_first_go(void **state)
{
    (void)state;
    struct model *first = add(1, "a"), *second = add(2, "b");
    loaded_leave(first);
    loaded_leave(second);
    assert_null(loaded_find(1, "a"));
    assert_ptr_equal(loaded_find(2, "b"), second);
    loaded_release(second);
}

static void leave_of_what_others_use_changes_nothing_for_them(void **state)
{
    (void)state;
    struct model *model = add(1, "a"), *other;
    assert_ptr_equal(loaded_find(1, "a"), model);
    loaded_leave(model);
    other = add(2, "b");
    loaded_leave(other);
    assert_ptr_equal(loaded_find(1, "a"), model);
    loaded_release(model);
    loaded_release(model);
    assert_null(loaded_find(1, "a"));
    loaded_release(loaded_find(2, "b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(find_shares_until_the_last_release),
        cmocka_unit_test(leave_keeps_it_for_the_next),
        cmocka_unit_test(leave_of_another_lets_the_first_go),
        cmocka_unit_test(leave_of_what_others_use_changes_nothing_for_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
