/* The options of a training: the settings training.* and the options of `metammf train`. */

#include "config/settings_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include <cmocka.h>

static const struct settings_key *find(const char *name)
{
    const struct settings_key *k = NULL;

    for (size_t i = 0; (k = settings_option(i)) != NULL; i++) {
        if (strcmp(k->option, name) == 0)
            return k;
    }
    fail_msg("--%s is no option", name);
    return NULL;
}

static void assert_refused(const char *name, const char *text, const char *message)
{
    struct settings s = {0};
    struct err err = {0};

    assert_int_equal(settings_option_set(&s, find(name), text, &err), ERR_FATAL);
    if (strstr(err.text, message) == NULL)
        fail_msg("--%s %s gave \"%s\", without \"%s\"", name, text, err.text, message);
}

static void settings_option_every_row_is_an_option_of_training(void **state)
{
    const size_t from = offsetof(struct settings, training.options);
    const struct settings_key *k;
    size_t n = 0;

    (void)state;
    for (; (k = settings_option(n)) != NULL; n++) {
        assert_in_range(k->offset, from, from + sizeof(struct settings_training_options) - 1);
        assert_ptr_equal(find(k->option), k); /* no name is there twice */
        assert_true(k->fallback != NULL || k->left_out != NULL);
    }
    assert_in_range(n, 18, SETTINGS_OPTIONS_MAX);
}

static void settings_option_set_from_text_checks(void **state)
{
    struct settings s = {0};
    const struct settings_training_options *o = &s.training.options;

    (void)state;
    assert_int_equal(settings_option_set(&s, find("epochs"), "7", NULL), ERR_OK);
    assert_int_equal(o->epochs, 7);
    assert_int_equal(settings_option_set(&s, find("fusion"), "static", NULL), ERR_OK);
    assert_int_equal(o->fusion, SETTINGS_FUSION_STATIC);
    assert_int_equal(settings_option_set(&s, find("lr"), "2e-2", NULL), ERR_OK);
    assert_true(o->lr == 0.02);
    assert_int_equal(settings_option_set(&s, find("warm"), "true", NULL), ERR_OK);
    assert_true(o->warm_start);
    assert_refused("epochs", "0", "`--epochs` is 0: must be 1 … 1000000 epochs");
    assert_refused("epochs", "7x", "must be 1 … 1000000 epochs");
    assert_refused("dim", "63", "`--dim`: \"63\" is not even");
    assert_refused("lr", "10.5", "`--lr` is 10.5: must be 0 … 10");
    assert_refused("lr", "nan", "must be 0 … 10");
    assert_refused("lr", "-0.1", "must be 0 … 10");
    assert_refused("id-dropout", "", "is empty: must be 0 … 1");
    assert_refused("backbone", "gcn", "must be mf | sage | lightgcn");
}

static void settings_options_of_the_file_and_of_train_differ_where_data_decides(void **state)
{
    struct settings s;
    struct settings_training_options *o = &s.training.options;

    (void)state;
    assert_int_equal(settings_init(&s), ERR_OK);
    assert_int_equal(o->fusion, SETTINGS_FUSION_CP);
    assert_int_equal(o->item_graph, SETTINGS_ITEM_GRAPH_KNN);
    assert_int_equal(o->threads, 1);
    assert_true(o->warm_start);
    assert_int_equal(o->batch, SETTINGS_CHOOSE);
    assert_int_equal(o->dim, 32);
    o->epochs = 3;
    assert_int_equal(settings_options_reset(&s), ERR_OK);
    assert_int_equal(o->fusion, SETTINGS_CHOOSE);
    assert_int_equal(o->item_graph, SETTINGS_CHOOSE);
    assert_int_equal(o->threads, SETTINGS_CHOOSE);
    assert_false(o->warm_start);
    assert_int_equal(o->batch, SETTINGS_CHOOSE);
    assert_int_equal(o->negatives, SETTINGS_CHOOSE);
    assert_int_equal(o->backbone, SETTINGS_BACKBONE_LIGHTGCN);
    assert_int_equal(o->epochs, 60);
    assert_int_equal(o->seed, 1);
    assert_int_equal(o->members, 1);
    assert_int_equal(o->factors, 64);
    assert_int_equal(o->content, 32);
    assert_int_equal(o->neighbours, SETTINGS_NEIGHBOURS_RIDGE);
    settings_done(&s);
}

static void settings_load_an_option_that_is_no_setting_is_unknown(void **state)
{
    static const char *const keys[] = {"dim", "cold_length_percent", "fused_length_percent"};
    struct settings s = {0};
    struct err err = {0};

    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        char text[64], want[64];
        int n = snprintf(text, sizeof text, "training = { %s = 32; };", keys[i]);

        (void)snprintf(want, sizeof want, "unknown key `training.%s`", keys[i]);
        assert_int_equal(settings_load_text("f", text, (size_t)n, &s, &err), ERR_FATAL);
        assert_int_equal(err.exit_code, EX_CONFIG);
        assert_non_null(strstr(err.text, want));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_option_every_row_is_an_option_of_training),
        cmocka_unit_test(settings_option_set_from_text_checks),
        cmocka_unit_test(settings_options_of_the_file_and_of_train_differ_where_data_decides),
        cmocka_unit_test(settings_load_an_option_that_is_no_setting_is_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
