#include "config/modality.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void modality_name_order_is_that_of_every_model_file(void **state)
{
    (void)state;
    assert_string_equal(modality_name((enum modality)0), "visual");
    assert_string_equal(modality_name((enum modality)1), "acoustic");
    assert_string_equal(modality_name((enum modality)2), "textual");
    assert_int_equal(MODALITY_COUNT, 3);
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
        cmocka_unit_test(modality_name_order_is_that_of_every_model_file),
        cmocka_unit_test(modality_masks_cover_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
