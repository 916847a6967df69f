/* Touches, neighbourhoods, and refreshed vectors in one transaction with what they settle. */

#include "store_fixture.h"

#include "store/models.h"
#include "store/touch.h"
#include "store/writing.h"

#include <stdlib.h>

static size_t touches(struct fixture *f, struct store_touch *t, size_t max)
{
    size_t n = 0;

    assert_ok(f, store_read_touches(f->st, 0, max, t, &n, &f->err));
    return n;
}

static void interaction_leaves_one_touch_however_often_it_comes(void **state)
{
    struct fixture *f = *state;
    struct store_touch t[8];
    struct store_backlog b;

    fixture_put(f, "a", 1, 1.0F);
    fixture_interact(f, "u1", "a", 0, 1);
    fixture_interact(f, "u1", "a", 0, 1);
    fixture_delete(f, "a", 2);
    assert_int_equal(touches(f, t, 8), 3);
    assert_true(t[0].item_changed && t[0].rid == 1 && t[0].uid == 0);
    assert_true(!t[1].item_changed && t[1].rid == 1 && t[1].uid == 1);
    assert_true(t[2].item_changed && t[2].rid == 1);
    assert_true(t[0].n < t[1].n && t[1].n < t[2].n && t[0].ts_ms > 0);
    assert_ok(f, store_touch_backlog(f->st, &b, &f->err));
    assert_true(b.n_touches == 3 && b.last_n == t[2].n && b.oldest_ms == t[0].ts_ms);
}

static void drop_touches_never_gives_a_number_twice(void **state)
{
    struct fixture *f = *state;
    struct store_touch t[8];
    bool more = false;

    fixture_put(f, "a", 1, 1.0F);
    fixture_put(f, "b", 2, 1.0F);
    assert_int_equal(touches(f, t, 8), 2);
    int64_t last = t[1].n;
    assert_ok(f, store_drop_touches(f->st, last, 1, &more, &f->err));
    assert_true(more);
    assert_ok(f, store_drop_touches(f->st, last, 2, &more, &f->err));
    assert_false(more);
    const struct store_pair beyond[] = {{7, 0}, {0, 2}};
    assert_ok(f, store_add_touches(f->st, beyond, 2, &f->err));
    assert_int_equal(touches(f, t, 8), 2);
    assert_true(t[0].n > last && t[0].uid == 7 && t[1].rid == 2);
}

static void read_neighbours_gives_each_once_without_deleted_items(void **state)
{
    struct fixture *f = *state;
    struct store_ids ids = {0};
    uint32_t degree = 0;

    fixture_put(f, "a", 1, 1.0F);
    fixture_put(f, "b", 2, 1.0F);
    fixture_put(f, "gone", 3, 1.0F);
    fixture_interact(f, "u1", "b", 0, 1);
    fixture_interact(f, "u1", "a", 1, 1);
    fixture_interact(f, "u1", "b", 2, 1);
    fixture_interact(f, "u1", "gone", 3, 1);
    fixture_interact(f, "u2", "a", 4, 1);
    fixture_delete(f, "gone", 4);
    assert_ok(f, store_read_begin(f->st, &f->err));
    assert_ok(f, store_read_neighbours(f->st, STORE_SIDE_USERS, 1, &ids, &f->err));
    assert_true(ids.n == 2 && ids.ids[0] == 1 && ids.ids[1] == 2);
    assert_ok(f, store_read_neighbours(f->st, STORE_SIDE_ITEMS, 1, &ids, &f->err));
    assert_true(ids.n == 2 && ids.ids[0] == 1 && ids.ids[1] == 2);
    assert_ok(f, store_read_degree(f->st, STORE_SIDE_USERS, 1, &degree, &f->err));
    assert_int_equal(degree, 2);
    assert_ok(f, store_read_degree(f->st, STORE_SIDE_ITEMS, 2, &degree, &f->err));
    assert_int_equal(degree, 1);
    assert_ok(f, store_read_neighbours(f->st, STORE_SIDE_USERS, 99, &ids, &f->err));
    assert_int_equal(ids.n, 0);
    store_read_end(f->st);
    free(ids.ids);
}

static uint32_t degree_in(const struct store_degrees *d, enum store_side side, int64_t id)
{
    return (size_t)id < d->n[side] ? d->of[side][id] : 0;
}

static void check_degrees(struct fixture *f, size_t max_users)
{
    struct store_degrees d = {0};
    char sql[200];
    bool more = true;

    while (more)
        assert_ok(f, store_read_degrees(f->st, max_users, &d, &more, &f->err));
    for (int id = 0; id < 40; id++) {
        (void)snprintf(sql, sizeof sql,
                       "SELECT count(DISTINCT rid) FROM interaction JOIN item USING(rid) "
                       "WHERE uid = %d AND deleted = 0",
                       id);
        assert_int_equal(degree_in(&d, STORE_SIDE_USERS, id), fixture_query(f, sql));
        (void)snprintf(sql, sizeof sql,
                       "SELECT count(DISTINCT uid) FROM interaction JOIN item USING(rid) "
                       "WHERE rid = %d AND deleted = 0",
                       id);
        assert_int_equal(degree_in(&d, STORE_SIDE_ITEMS, id), fixture_query(f, sql));
    }
    store_degrees_done(&d);
}

/* Interactions, the same again, deletions, items anew and retention in a random order. */
static void read_degrees_counts_live_pairs_once(void **state)
{
    struct fixture *f = *state;
    const struct store_retention day = {.interactions_days = 1};
    char user[16], item[16];
    uint32_t x = 1;
    bool more;

    check_degrees(f, 1);
    for (int i = 1; i <= 400; i++) {
        x = x * 1664525 + 1013904223;
        (void)snprintf(user, sizeof user, "u%u", x >> 8 & 15);
        (void)snprintf(item, sizeof item, "v%u", (x >> 12 & 31) % 20);
        if ((x >> 20) % 10 == 0)
            (void)fixture_delete(f, item, i);
        else if ((x >> 20) % 10 == 1)
            (void)fixture_put(f, item, i, 1);
        else
            (void)fixture_interact(f, user, item, i, i);
        if (i % 100)
            continue;
        assert_ok(f, store_retain(f->st, &day, INT64_C(86400) * 1000000 + i / 2, 1000, &more,
                                  &f->err));
        check_degrees(f, 3);
        check_degrees(f, 1000);
    }
}

static void retention_leaves_a_touch_of_each_edge(void **state)
{
    struct fixture *f = *state;
    const struct store_retention day = {.interactions_days = 1};
    struct store_touch t[8];
    bool more = false;

    fixture_interact(f, "u1", "a", 0, 5);
    fixture_interact(f, "u2", "b", 1, 5);
    fixture_interact(f, "u3", "a", 2, 7);
    fixture_spoil(f, "DELETE FROM touch");
    assert_ok(f, store_retain(f->st, &day, INT64_C(86400) * 1000000 + 6, 1, &more, &f->err));
    assert_true(more);
    assert_ok(f, store_retain(f->st, &day, INT64_C(86400) * 1000000 + 6, 9, &more, &f->err));
    assert_int_equal(touches(f, t, 8), 2);
    assert_true(t[0].edge_gone && t[0].uid == 1 && t[0].rid == 1 && !t[0].item_changed);
    assert_true(t[1].edge_gone && t[1].uid == 2 && t[1].rid == 2);
    assert_int_equal(fixture_query(f, "SELECT uid FROM interaction"), 3);
    fixture_interact(f, "u1", "a", 3, 9);
    assert_int_equal(touches(f, t, 8), 3);
    assert_false(t[2].edge_gone);
}

static void read_features_gives_what_is_stored(void **state)
{
    struct fixture *f = *state;
    struct store_features *x = calloc(1, sizeof *x);

    fixture_put(f, "a", 1, 2.5F);
    assert_ok(f, store_read_features(f->st, 1, x, &f->err));
    assert_true(x->vec[MODALITY_VISUAL][0] == 2.5F && x->dim[MODALITY_VISUAL] == 3);
    assert_null(x->vec[MODALITY_ACOUSTIC]);
    assert_string_equal(x->encoder_id[MODALITY_TEXTUAL], "t1");
    store_features_free(x, 1);
}

/* Items a (warm) and b (cold), user 1. */
static struct store_recomputed refresh_of(struct fixture *f, const int64_t *ids,
                                          const float *vec, const uint8_t *warm, size_t n_items)
{
    return (struct store_recomputed){
        .model_id = f->model_id,
        .done_n = 3,
        .snapshot_n = 3,
        .items = {f->model_id, STORE_SIDE_ITEMS, ids, vec, warm, n_items, 2},
        .users = {f->model_id, STORE_SIDE_USERS, ids, vec, NULL, 1, 2}};
}

static void write_recomputed_moves_state_and_seq_and_settles(void **state)
{
    struct fixture *f = *state;
    const int64_t ids[] = {1, 2};
    const float vec[] = {1, 2, 3, 4};
    const uint8_t warm[] = {1, 0};
    struct store_recomputed_result r;

    fixture_put(f, "a", 1, 1.0F);
    fixture_put(f, "b", 2, 2.0F);
    fixture_interact(f, "u1", "a", 0, 1);
    struct store_recomputed refresh = refresh_of(f, ids, vec, warm, 2);
    int64_t seq = fixture_seq(f);
    assert_ok(f, store_write_recomputed(f->st, &refresh, &r, &f->err));
    assert_true(r.n_written == 3 && r.n_unchanged == 0);
    assert_int_equal(fixture_seq(f), seq + 3);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM touch"), 0);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM item WHERE state = 'warm'"), 1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM current_user_embedding"), 1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM current_embedding "
                                      "WHERE state = 'warm' AND item_id = 'a' AND dim = 2"),
                     1);
    assert_ok(f, store_write_recomputed(f->st, &refresh, &r, &f->err));
    assert_true(r.n_written == 0 && r.n_unchanged == 3);
    assert_int_equal(fixture_seq(f), seq + 3);
}

static void write_recomputed_leaves_what_changed_meanwhile(void **state)
{
    struct fixture *f = *state;
    const int64_t ids[] = {1, 2};
    const float vec[] = {1, 2, 3, 4};
    const uint8_t warm[] = {1, 1};
    struct store_recomputed_result r;

    fixture_put(f, "a", 1, 1.0F);
    fixture_put(f, "b", 2, 2.0F);
    fixture_interact(f, "u1", "a", 0, 1);
    fixture_put(f, "a", 3, 9.0F);
    fixture_delete(f, "b", 4);
    struct store_recomputed refresh = refresh_of(f, ids, vec, warm, 2);
    assert_ok(f, store_write_recomputed(f->st, &refresh, &r, &f->err));
    assert_true(r.n_written == 1 && r.n_unchanged == 0);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM touch"), 2);
    assert_int_equal(fixture_query(f, "SELECT dim FROM embedding WHERE rid = 1"), FIXTURE_DIM);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM embedding WHERE rid = 2"), 0);
}

static void write_recomputed_of_a_retired_model_writes_nothing(void **state)
{
    struct fixture *f = *state;
    const int64_t ids[] = {1};
    const float vec[] = {1, 2};
    const uint8_t warm[] = {1};
    struct store_recomputed_result r;

    fixture_put(f, "a", 1, 1.0F);
    struct store_recomputed refresh = refresh_of(f, ids, vec, warm, 1);
    int64_t second = fixture_model(f, "second.safetensors");
    assert_ok(f, store_model_activate(f->st, second, &f->err));
    assert_int_equal(store_write_recomputed(f->st, &refresh, &r, &f->err), ERR_STALE);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM touch"), 1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM user_embedding"), 0);
    int64_t model_id = -1;
    assert_ok(f, store_refresh_model(f->st, &model_id, &f->err));
    assert_int_equal(model_id, 0);
    assert_ok(f, store_set_refresh_model(f->st, second, &f->err));
    assert_ok(f, store_set_refresh_model(f->st, second, &f->err));
    assert_ok(f, store_refresh_model(f->st, &model_id, &f->err));
    assert_int_equal(model_id, second);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(interaction_leaves_one_touch_however_often_it_comes),
        CASE(drop_touches_never_gives_a_number_twice),
        CASE(read_neighbours_gives_each_once_without_deleted_items),
        CASE(read_degrees_counts_live_pairs_once),
        CASE(retention_leaves_a_touch_of_each_edge),
        CASE(read_features_gives_what_is_stored),
        CASE(write_recomputed_moves_state_and_seq_and_settles),
        CASE(write_recomputed_leaves_what_changed_meanwhile),
        CASE(write_recomputed_of_a_retired_model_writes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
