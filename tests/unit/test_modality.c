#include "config/modality.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void modality_parse_every_name_gives_its_modality(void **state)
{
    (void)state;
    for (int m = 0; m < MODALITY_COUNT; m++)
        assert_int_equal(modality_parse(modality_name((enum modality)m)), m);
    assert_int_equal(modality_parse("visual"), 0); /* the order is part of every model file */
    assert_int_equal(modality_parse("acoustic"), 1);
    assert_int_equal(modality_parse("textual"), 2);
}

static void modality_parse_other_names_give_minus_one(void **state)
{
    (void)state;
    assert_int_equal(modality_parse("Visual"), -1);
    assert_int_equal(modality_parse(""), -1);
    assert_int_equal(modality_parse(NULL), -1);
}

static void modality_masks_cover_all(void **state)
{
    (void)state;
    assert_int_equal(MODALITY_BIT(MODALITY_VISUAL) | MODALITY_BIT(MODALITY_ACOUSTIC) |
                         MODALITY_BIT(MODALITY_TEXTUAL),
                     MODALITY_ALL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modality_parse_every_name_gives_its_modality),
        cmocka_unit_test(modality_parse_other_names_give_minus_one),
        cmocka_unit_test(modality_masks_cover_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
