/* What a training reads from the store and what it publishes. */

#include "store_fixture.h"

#include <stdlib.h>

static void read_dataset_gives_distinct_pairs_and_one_encoder(void **state)
{
    struct fixture *f = *state;
    struct store_dataset d;

    fixture_put(f, "a", 1, 1.0F);
    fixture_put(f, "b", 2, 2.0F);
    fixture_put(f, "gone", 3, 3.0F);
    fixture_delete(f, "gone", 4);
    fixture_interact(f, "u2", "b", 0, 1);
    fixture_interact(f, "u1", "c", 1, 1);
    fixture_interact(f, "u2", "a", 2, 1);
    fixture_interact(f, "u2", "b", 3, 2);
    fixture_interact(f, "u1", "gone", 4, 2);
    fixture_spoil(f, "UPDATE feature SET encoder_id = 'old' WHERE rid = 1 AND "
                     "modality = 'textual'");
    assert_ok(f, store_read_dataset(f->st, &d, &f->err));
    assert_int_equal(d.n_items, 3);
    assert_int_equal(d.n_users, 2);
    assert_string_equal(d.item_id[0], "a");
    assert_string_equal(d.user_id[0], "u2");
    assert_int_equal(d.n_pairs, 3);
    assert_int_equal(d.pair[0][0], 0);
    assert_int_equal(d.pair[0][1], 0);
    assert_int_equal(d.pair[1][1], 1);
    assert_int_equal(d.pair[2][0], 1);
    assert_int_equal(d.pair[2][1], 2);
    assert_int_equal(d.mask[0], MODALITY_BIT(MODALITY_VISUAL));
    assert_int_equal(d.mask[1], MODALITY_BIT(MODALITY_VISUAL) | MODALITY_BIT(MODALITY_TEXTUAL));
    assert_int_equal(d.mask[2], 0);
    assert_int_equal(d.dim[MODALITY_ACOUSTIC], 0);
    assert_int_equal(d.dim[MODALITY_VISUAL], 3);
    assert_true(d.feature[MODALITY_VISUAL][3] == 2.0F);
    assert_true(d.feature[MODALITY_TEXTUAL][0] == 0.0F);
    store_dataset_done(&d);
}

static void read_timed_pairs_gives_the_first_time_of_items_that_are_there(void **state)
{
    struct fixture *f = *state;
    struct store_timed_pair *pairs;
    size_t n;

    fixture_put(f, "a", 1, 1.0F);
    fixture_put(f, "gone", 2, 2.0F);
    fixture_delete(f, "gone", 3);
    fixture_interact(f, "u1", "a", 0, 7);
    fixture_interact(f, "u1", "gone", 1, 1);
    fixture_interact(f, "u2", "a", 2, 9);
    fixture_interact(f, "u1", "a", 3, 5);
    fixture_spoil(f, "UPDATE interaction SET ts_ms = 10 - offset");
    assert_ok(f, store_read_timed_pairs(f->st, &pairs, &n, &f->err));
    assert_int_equal(n, 2);
    assert_int_equal(pairs[0].uid, 1);
    assert_int_equal(pairs[0].rid, 1);
    assert_true(pairs[0].ts_ms == 7.0);
    assert_true(pairs[1].ts_ms == 8.0);
    free(pairs);
}

static void publish_vectors_appear_with_the_flip_only(void **state)
{
    struct fixture *f = *state;
    const int64_t ids[] = {1, 2};
    const float vec[] = {1, 2, 3, 4};
    const uint8_t warm[] = {1, 0};
    struct store_rows rows;

    fixture_put(f, "a", 1, 1.0F);
    fixture_put(f, "b", 2, 2.0F);
    fixture_interact(f, "u1", "a", 0, 1);
    int64_t model_id = fixture_model(f, "second.safetensors");
    struct store_vectors items = {model_id, STORE_SIDE_ITEMS, ids, vec, warm, 2, 2, NULL,
                                  false};
    struct store_vectors users = {model_id, STORE_SIDE_USERS, ids, vec, NULL, 1, 2, NULL,
                                  false};
    assert_ok(f, store_publish_vectors(f->st, &items, &f->err));
    assert_ok(f, store_publish_vectors(f->st, &items, &f->err));
    assert_ok(f, store_publish_vectors(f->st, &users, &f->err));
    assert_int_equal(fixture_query(f, "SELECT dim FROM current_embedding"), FIXTURE_DIM);
    assert_ok(f, store_model_activate(f->st, model_id, &f->err));
    assert_int_equal(fixture_query(f, "SELECT sum(dim) FROM current_embedding"), 4);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM item WHERE state = 'warm'"), 1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM current_user_embedding"), 1);
    assert_ok(f, store_read_vectors(f->st, model_id, STORE_SIDE_ITEMS, &rows, &f->err));
    assert_int_equal(rows.n_rows, 2);
    assert_string_equal(rows.name[1], "b");
    assert_memory_equal(rows.vec, vec, sizeof vec);
    store_rows_done(&rows);
}

static void publish_vectors_zero_row_writes_nothing(void **state)
{
    struct fixture *f = *state;
    const int64_t ids[] = {1, 2};
    const float vec[] = {1, 2, 0, 0};

    fixture_put(f, "a", 1, 1.0F);
    fixture_put(f, "b", 2, 2.0F);
    int64_t model_id = fixture_model(f, "second.safetensors");
    struct store_vectors items = {model_id, STORE_SIDE_ITEMS, ids, vec, NULL, 2, 2, NULL,
                                  false};
    assert_int_equal(store_publish_vectors(f->st, &items, &f->err), ERR_FATAL);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM embedding WHERE model_id = 2"), 0);
}

static void get_training_gives_what_was_put_and_sees_damage(void **state)
{
    struct fixture *f = *state;
    const struct store_pair pairs[] = {{1, 2}, {3, 4}};
    struct store_pair *back = NULL;
    size_t n = 0;

    assert_int_equal(store_get_training(f->st, f->model_id, &back, &n, &f->err), ERR_NONE);
    assert_ok(f, store_put_training(f->st, f->model_id, pairs, 2, &f->err));
    assert_ok(f, store_get_training(f->st, f->model_id, &back, &n, &f->err));
    assert_int_equal(n, 2);
    assert_memory_equal(back, pairs, sizeof pairs);
    free(back);
    fixture_spoil(f, "UPDATE model_training SET pairs = zeroblob(32)");
    assert_int_equal(store_get_training(f->st, f->model_id, &back, &n, &f->err), ERR_FATAL);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(read_dataset_gives_distinct_pairs_and_one_encoder),
        CASE(read_timed_pairs_gives_the_first_time_of_items_that_are_there),
        CASE(publish_vectors_appear_with_the_flip_only),
        CASE(publish_vectors_zero_row_writes_nothing),
        CASE(get_training_gives_what_was_put_and_sees_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
