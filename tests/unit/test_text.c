#include "config/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void text_format_cuts_between_characters(void **state)
{
    (void)state;
    /* "ab€" is five bytes: what is cut off is never a part of the last character. */
    static const char *const want[] = {NULL, "", "a", "ab", "ab", "ab", "ab\xe2\x82\xac"};
    for (size_t bytes = 1; bytes <= 6; bytes++) {
        char text[8];
        memset(text, '#', sizeof(text));
        text_format(text, bytes, "%s\xe2\x82\xac", "ab");
        assert_string_equal(text, want[bytes]);
        assert_int_equal(text[bytes], '#');
    }
}

static void text_format_makes_one_valid_line(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"plain", "plain"},
        {"a\nb\tc\x7f", "a b c"},
        {"C1: \xc2\x9b"
         "1m, not \xc2\xa0",
         "C1:  1m, not \xc2\xa0"},
        {"Latin-1 \xe9t\xe9", "Latin-1 ?t?"},
        {"overlong \xc0\xaf, surrogate \xed\xa0\x80", "overlong ??, surrogate ???"},
        {"\xf0\x9f\x90\x88 cat", "\xf0\x9f\x90\x88 cat"},
        {"gpj.\xe2\x80\xae"
         "exe\xe2\x80\xa8.",
         "gpj. exe ."},
        {"half at the end \xf0\x9f", "half at the end ??"},
        {" \n ", ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[64];
        text_format(text, sizeof(text), "%s", cases[i].from);
        assert_string_equal(text, cases[i].to);
    }
}

static void text_control_knows_c0_del_and_c1(void **state)
{
    (void)state;
    for (int c = 1; c < 256; c++) {
        char one[] = {(char)c, '\0'}, two[] = {'\xc2', (char)c, '\0'};

        assert_int_equal(text_control(one), c < 0x20 || c == 0x7f ? 1 : 0);
        assert_int_equal(text_control(two), c >= 0x80 && c < 0xa0 ? 2 : 0);
    }
    assert_int_equal(text_control(""), 0);
}

static void text_unseen_knows_what_turns_or_ends_a_line(void **state)
{
    (void)state;
    for (unsigned c = 0x80; c < 0x3000; c++) {
        char text[] = {(char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f)), '\0', '\0'};
        if (c >= 0x800) {
            text[0] = (char)(0xe0 | c >> 12);
            text[1] = (char)(0x80 | (c >> 6 & 0x3f));
            text[2] = (char)(0x80 | (c & 0x3f));
        }
        bool unseen = c < 0xa0 || c == 0x61c || c == 0x200e || c == 0x200f ||
                      (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);

        assert_int_equal(text_unseen(text), !unseen ? 0 : c < 0x800 ? 2 : 3);
    }
    assert_int_equal(text_unseen("\x1b"), 1);
    assert_int_equal(text_unseen("\xe2\x80"), 0);
    assert_int_equal(text_unseen("\xd8"), 0);
}

static void text_cut_ends_between_characters(void **state)
{
    static const char euro[] = "a\xe2\x82\xac"
                               "b";

    (void)state;
    assert_int_equal(text_cut(euro, 5, 5), 5);
    assert_int_equal(text_cut(euro, 5, 4), 4);
    assert_int_equal(text_cut(euro, 5, 3), 1);
    assert_int_equal(text_cut(euro, 5, 2), 1);
    assert_int_equal(text_cut(euro, 5, 0), 0);
    /* bytes that are no text do not end at nothing */
    assert_int_equal(text_cut("\x80\x80\x80\x80\x80\x80\x80\x80", 8, 6), 3);
}

static void text_print_leaves_nothing_to_obey(void **state)
{
    static const char from[] =
        "a\x1b]0;x\x07\xc2\x9b\xc2\xa0\0\xe2\x82\xac\x9b\xed\xa0\x80\xf0\x9f";
    char *to = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&to, &bytes);

    (void)state;
    assert_non_null(out);
    text_print_bytes(out, from, sizeof(from) - 1);
    text_print(out, "|\n|");
    assert_int_equal(fclose(out), 0);
    assert_string_equal(to, "a ]0;x  \xc2\xa0 \xe2\x82\xac??????| |");
    free(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_format_cuts_between_characters),
        cmocka_unit_test(text_format_makes_one_valid_line),
        cmocka_unit_test(text_control_knows_c0_del_and_c1),
        cmocka_unit_test(text_unseen_knows_what_turns_or_ends_a_line),
        cmocka_unit_test(text_cut_ends_between_characters),
        cmocka_unit_test(text_print_leaves_nothing_to_obey),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
