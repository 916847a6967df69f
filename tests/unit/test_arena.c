#include "config/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void arena_alloc_any_size_is_zeroed_aligned_and_apart(void **state)
{
    unsigned char *blocks[500];
    struct arena a = {0};

    (void)state;
    for (size_t i = 0; i < 500; i++) {
        size_t bytes = i * 7 % 3001;

        blocks[i] = arena_alloc(&a, bytes);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        for (size_t j = 0; j < bytes; j++)
            assert_int_equal(blocks[i][j], 0);
        memset(blocks[i], (int)(i & 255), bytes);
    }
    for (size_t i = 0; i < 500; i++) {
        for (size_t j = 0; j < i * 7 % 3001; j++)
            assert_int_equal(blocks[i][j], i & 255);
    }
    arena_done(&a);
}

static void arena_alloc_after_done_is_zeroed_again(void **state)
{
    struct arena a;
    char *p;

    (void)state;
    arena_init(&a);
    memset(arena_alloc(&a, 1000), 0xee, 1000);
    memset(arena_alloc(&a, 100000), 0xee, 100000);
    assert_int_equal(a.used_bytes, 101000);
    arena_done(&a);
    assert_int_equal(a.used_bytes, 0);
    p = arena_alloc(&a, 1000);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(p[i], 0);
    arena_done(&a);
    assert_null(a.head);
}

static void arena_alloc_absurd_sizes_are_refused(void **state)
{
    struct arena a = {0};

    (void)state;
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 15));
    assert_null(arena_array(&a, SIZE_MAX / 2, 3));
    assert_null(arena_array(&a, (size_t)1 << 33, (size_t)1 << 33));
    assert_null(arena_strndup(&a, "x", SIZE_MAX));
    assert_int_equal(a.used_bytes, 0);
    assert_non_null(arena_array(&a, 0, SIZE_MAX));
    arena_done(&a);
}

static void arena_strings_are_copied_and_ended(void **state)
{
    struct arena a = {0};
    char source[] = "abcdef";
    char *s, *t;

    (void)state;
    s = arena_strndup(&a, source, 3);
    t = arena_strdup(&a, source);
    memset(source, 'x', sizeof(source) - 1);
    assert_string_equal(s, "abc");
    assert_string_equal(t, "abcdef");
    assert_memory_equal(arena_copy(&a, "a\0b", 3), "a\0b", 3);
    assert_non_null(arena_copy(&a, NULL, 0));
    assert_string_equal(arena_strndup(&a, NULL, 0), "");
    arena_done(&a);
}

/* As many blocks of either kind as there may be before the mark and after it. */
static void arena_rewind_gives_back_what_came_after(void **state)
{
    static const size_t sizes[] = {10, 3000, 5000, 100, 70000, 1};
    enum { N = sizeof(sizes) / sizeof(sizes[0]) };

    (void)state;
    for (size_t before = 0; before <= N; before++) {
        for (size_t after = 0; after <= N; after++) {
            struct arena a = {0};
            char *kept[N], *first[N];

            for (size_t i = 0; i < before; i++)
                kept[i] = memset(arena_alloc(&a, sizes[i]), 'k', sizes[i]);
            size_t used = a.used_bytes;
            struct arena_mark mark = arena_mark(&a);
            for (int round = 0; round < 3; round++) {
                for (size_t i = 0; i < after; i++)
                    first[i] = memset(arena_alloc(&a, sizes[N - 1 - i]), 'x', sizes[N - 1 - i]);
                arena_rewind(&a, mark);
                assert_int_equal(a.used_bytes, used);
            }
            (void)first;
            for (size_t i = 0; i < before; i++)
                for (size_t at = 0; at < sizes[i]; at++)
                    assert_int_equal(kept[i][at], 'k');
            assert_int_equal(*(char *)arena_alloc(&a, 100), 0);
            arena_done(&a);
        }
    }
}

static void arena_done_twice_is_harmless(void **state)
{
    struct arena a = {0};

    (void)state;
    arena_done(&a);
    assert_non_null(arena_alloc(&a, 0));
    arena_done(&a);
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_alloc_any_size_is_zeroed_aligned_and_apart),
        cmocka_unit_test(arena_alloc_after_done_is_zeroed_again),
        cmocka_unit_test(arena_alloc_absurd_sizes_are_refused),
        cmocka_unit_test(arena_strings_are_copied_and_ended),
        cmocka_unit_test(arena_rewind_gives_back_what_came_after),
        cmocka_unit_test(arena_done_twice_is_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
