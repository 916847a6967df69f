/* Neighbours of items and weights of signals: rows in and out, the views, what retention and a deletion
 * leave of them, damage. */

#include "store_fixture.h"

#include <math.h>

/* Rids of four items: 1 a, 2 b, 3 c, and 4, which no event has published. */
static const char *const items[] = {"a", "b", "c"};

static void put_items(struct fixture *f)
{
    for (int i = 0; i < 3; i++)
        (void)fixture_put(f, items[i], i, 1);
    (void)fixture_interact(f, "u", "unpublished", 0, 1);
    assert_int_equal(fixture_query(f, "SELECT rid FROM item WHERE item_id='unpublished'"), 4);
}

static const int64_t of_a[] = {2, 3, 4}, of_b[] = {1};
/* 0.1F has more bits than are kept beside the last one */
static const float values_a[] = {0.1F, -0.25F, 16777215.0F / (1 << 24)}, values_b[] = {-2};
static const struct store_neighbour_row rows[] = {{1, 0.5, of_a, values_a, 3},
                                                  {2, 1.0 / 3, of_b, values_b, 1},
                                                  {3, 4, NULL, NULL, 0},
                                                  {4, 2, of_b, values_b, 1}};

static void put_rows(struct fixture *f, int64_t model_id)
{
    assert_ok(f, store_put_neighbours(f->st, model_id, rows, 4, &f->err));
}

/* The largest value to the bit, the others within 2^-24 of it. */
static void check_row(const struct store_neighbours *x, size_t i,
                      const struct store_neighbour_row *want)
{
    float largest = 0;

    size_t n = x->start[i + 1] - x->start[i];

    assert_int_equal(x->rid[i], want->rid);
    assert_true(x->scale[i] == want->scale);
    assert_int_equal(n, want->n);
    if (n == 0)
        return;
    assert_memory_equal(x->rids + x->start[i], want->rids, n * sizeof(int64_t));
    for (size_t k = 0; k < n; k++)
        largest = fmaxf(largest, fabsf(want->values[k]));
    for (size_t k = 0; k < n; k++) {
        float value = x->values[x->start[i] + k];

        if (fabsf(want->values[k]) == largest)
            assert_true(value == want->values[k]);
        assert_true(fabsf(value - want->values[k]) <= ldexpf(largest, -24));
    }
}

/* What was read is written again as it was: a copy of a copy is the copy. */
static void put_neighbours_of_what_was_read_changes_nothing(void **state)
{
    struct fixture *f = *state;
    const float values[] = {1e-30F, 3.4e38F, -0.1F}, tiny[] = {1e-44F};
    const struct store_neighbour_row odd[] = {
        {1, 1e300, of_a, values, 3}, {2, -1e-300, of_b, tiny, 1}, {4, 1, of_a, values, 2}};
    struct store_neighbours x, y;

    put_items(f);
    assert_ok(f, store_put_neighbours(f->st, f->model_id, odd, 3, &f->err));
    assert_ok(f, store_read_neighbour_all(f->st, f->model_id, &x, &f->err));
    assert_true(x.values[1] == 3.4e38F && x.values[3] == tiny[0]);
    int64_t next = fixture_model(f, "next");
    for (size_t i = 0; i < x.n_rows; i++) {
        const struct store_neighbour_row row = {x.rid[i], x.scale[i], x.rids + x.start[i],
                                                x.values + x.start[i],
                                                x.start[i + 1] - x.start[i]};
        assert_ok(f, store_put_neighbours(f->st, next, &row, 1, &f->err));
    }
    assert_ok(f, store_read_neighbour_all(f->st, next, &y, &f->err));
    assert_int_equal(y.n_rows, 3);
    assert_memory_equal(x.scale, y.scale, 3 * sizeof(double));
    assert_memory_equal(x.values, y.values, x.start[3] * sizeof(float));
    assert_int_equal(fixture_query(f, "SELECT count(DISTINCT list || unit) FROM neighbour"), 3);
    store_neighbours_done(&x);
    store_neighbours_done(&y);
}

static void put_neighbours_come_back(void **state)
{
    struct fixture *f = *state;
    const int64_t ask[] = {4, 9, 1};
    struct store_neighbours x;
    int64_t n = 0;

    put_items(f);
    put_rows(f, f->model_id);
    assert_ok(f, store_read_neighbour_all(f->st, f->model_id, &x, &f->err));
    assert_int_equal(x.n_rows, 4);
    for (size_t i = 0; i < 4; i++)
        check_row(&x, i, &rows[i]);
    store_neighbours_done(&x);
    assert_ok(f, store_read_neighbour_rows(f->st, f->model_id, ask, 3, &x, &f->err));
    assert_int_equal(x.n_rows, 2);
    check_row(&x, 0, &rows[3]);
    check_row(&x, 1, &rows[0]);
    store_neighbours_done(&x);
    assert_ok(f, store_read_neighbour_scales(f->st, f->model_id, &x, &f->err));
    assert_true(x.n_rows == 4 && x.rid[2] == 3 && x.scale[2] == 4 && x.rids == NULL);
    store_neighbours_done(&x);
    assert_ok(f, store_count_neighbours(f->st, f->model_id, &n, &f->err));
    assert_int_equal(n, 4);
    assert_ok(f, store_read_neighbour_all(f->st, f->model_id + 1, &x, &f->err));
    assert_int_equal(x.n_rows, 0);
    store_neighbours_done(&x);
}

static void put_neighbours_replaces_or_leaves_what_is_there(void **state)
{
    struct fixture *f = *state;
    const float other[] = {7};
    const struct store_neighbour_row again[] = {
        {1, 9, of_b + 0, NULL, 0}, {2, 8, of_b, other, 1}, {3, 0, NULL, NULL, 0}};
    struct store_neighbours x;

    put_items(f);
    put_rows(f, f->model_id);
    assert_ok(f, store_put_missing_neighbours(f->st, f->model_id, again, 3, &f->err));
    assert_ok(f, store_read_neighbour_all(f->st, f->model_id, &x, &f->err));
    assert_int_equal(x.n_rows, 4);
    check_row(&x, 1, &rows[1]);
    store_neighbours_done(&x);
    assert_ok(f, store_put_neighbours(f->st, f->model_id, again, 3, &f->err));
    assert_ok(f, store_read_neighbour_all(f->st, f->model_id, &x, &f->err));
    assert_int_equal(x.n_rows, 3); /* row 3 said nothing any more */
    check_row(&x, 0, &again[0]);
    check_row(&x, 1, &again[1]);
    check_row(&x, 2, &rows[3]);
    store_neighbours_done(&x);
}

static void put_neighbours_refuses_faults_and_writes_nothing(void **state)
{
    struct fixture *f = *state;
    const int64_t twice[] = {2, 2}, falls[] = {3, 2}, nought[] = {0};
    const float two[] = {1, 2}, no_number[] = {NAN}, endless[] = {INFINITY};
    const struct store_neighbour_row bad[] = {{1, 1, twice, two, 2},
                                              {1, 1, falls, two, 2},
                                              {1, 1, nought, two, 1},
                                              {1, 1, of_b, values_b, 1},
                                              {2, 1, of_b, no_number, 1},
                                              {2, 1, of_b, endless, 1},
                                              {2, NAN, of_b, values_b, 1},
                                              {0, 1, of_b, values_b, 1},
                                              {2, 1, of_b, values_b, STORE_NEIGHBOURS_MAX + 1}};

    put_items(f);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct store_neighbour_row both[] = {rows[2], bad[i]};
        assert_fatal(f, EX_SOFTWARE,
                     store_put_neighbours(f->st, f->model_id, both, 2, &f->err));
    }
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM neighbour"), 0);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM neighbour_scale"), 0);
}

/* By SQL alone: value times the neighbour's scale. b's scale is a third, c's 4; the one without an event is
 * nobody's neighbour, but has neighbours. */
static void current_neighbour_is_value_times_scale(void **state)
{
    struct fixture *f = *state;

    put_items(f);
    put_rows(f, f->model_id);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM current_neighbour"), 4);
    assert_int_equal(fixture_query(f, "SELECT abs(weight - 0.1/3) < 3e-8 FROM current_neighbour"
                                      " WHERE item_id = 'a' AND neighbour_id = 'b'"),
                     1);
    assert_int_equal(fixture_query(f, "SELECT weight = -0.25 * 4 FROM "
                                      "current_neighbour WHERE item_id = 'a' AND "
                                      "neighbour_id = 'c'"),
                     1);
    assert_int_equal(fixture_query(f, "SELECT weight = -1 FROM current_neighbour WHERE "
                                      "item_id = 'unpublished' AND neighbour_id = 'a'"),
                     1);
    int64_t next = fixture_model(f, "next");
    put_rows(f, next);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM current_neighbour"), 4);
    assert_ok(f, store_model_activate(f->st, next, &f->err));
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM current_neighbour"), 4);
    fixture_spoil(f,
                  "DELETE FROM neighbour WHERE model_id = (SELECT max(model_id) FROM model)");
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM current_neighbour"), 0);
}

static void current_neighbour_of_one_item_is_a_look_up(void **state)
{
    struct fixture *f = *state;
    sqlite3_stmt *stmt = NULL;
    bool found = false;

    assert_int_equal(
        sqlite3_prepare_v2(f->st->db,
                           "EXPLAIN QUERY PLAN SELECT n.neighbour_id, sum(n.weight) "
                           "FROM interaction_log x JOIN current_neighbour n "
                           "ON n.item_id = x.item_id WHERE x.user_id = 'u' GROUP BY 1",
                           -1, &stmt, NULL),
        SQLITE_OK);
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        const char *line = (const char *)sqlite3_column_text(stmt, 3);

        if (strncmp(line, "SCAN", 4) == 0 && !strstr(line, "SCAN a") &&
            !strstr(line, "VIRTUAL TABLE"))
            fail_msg("%s", line);
        found |= strncmp(line, "SEARCH n USING INDEX", 20) == 0;
    }
    (void)sqlite3_finalize(stmt);
    assert_true(found);
}

static void delete_takes_an_item_out_of_all_rows(void **state)
{
    struct fixture *f = *state;
    const int64_t ask[] = {1, 2};
    struct store_neighbours x;

    put_items(f);
    put_rows(f, f->model_id);
    (void)fixture_delete(f, "b", 10);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM current_neighbour WHERE "
                                      "item_id = 'b' OR neighbour_id = 'b'"),
                     0);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM current_neighbour"), 2);
    assert_ok(f, store_read_neighbour_rows(f->st, f->model_id, ask, 2, &x, &f->err));
    assert_true(x.n_rows == 1 && x.rid[0] == 1);
    store_neighbours_done(&x);
    assert_ok(f, store_read_neighbour_all(f->st, f->model_id, &x, &f->err));
    assert_int_equal(x.n_rows, 3);
    store_neighbours_done(&x);
    assert_ok(f, store_put_neighbours(f->st, fixture_model(f, "next"), rows, 4, &f->err));
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM neighbour WHERE rid = 2"), 1);
    (void)fixture_put(f, "b", 11, 1); /* published again: its interactions were never gone */
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM current_neighbour"), 4);
}

static void put_signals_are_those_of_the_active_model(void **state)
{
    struct fixture *f = *state;
    const struct store_signal signals[] = {{"trained", 1.5}, {"neighbours", 0.25}};
    const struct store_signal later = {"neighbours", -0.0625}, bad = {"content", NAN};
    struct store_signal *got = NULL;
    size_t n = 0;

    assert_ok(f, store_put_signals(f->st, f->model_id, signals, 2, &f->err));
    assert_ok(f, store_put_signals(f->st, f->model_id, &later, 1, &f->err));
    assert_fatal(f, EX_SOFTWARE, store_put_signals(f->st, f->model_id, &bad, 1, &f->err));
    assert_ok(f, store_read_signals(f->st, f->model_id, &got, &n, &f->err));
    assert_int_equal(n, 2);
    assert_string_equal(got[0].name, "neighbours");
    assert_true(got[0].weight == -0.0625 && got[1].weight == 1.5);
    free(got);
    assert_int_equal(
        fixture_query(f, "SELECT weight = -0.0625 FROM current_signal WHERE name='neighbours'"),
        1);
    assert_ok(f, store_model_activate(f->st, fixture_model(f, "next"), &f->err));
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM current_signal"), 0);
}

static void retain_takes_rows_of_old_models_and_keeps_their_signals(void **state)
{
    struct fixture *f = *state;
    int64_t removed[STORE_RETAINED] = {0};
    const struct store_retention r = {.model_versions = 1, .removed = removed};
    const struct store_signal signal = {"neighbours", 0.25};
    bool more = true;

    put_items(f);
    for (int m = 0; m < 3; m++) {
        int64_t id = fixture_model(f, "next");
        put_rows(f, id);
        assert_ok(f, store_put_signals(f->st, id, &signal, 1, &f->err));
        assert_ok(f, store_model_activate(f->st, id, &f->err));
    }
    fixture_spoil(f, "DELETE FROM embedding");
    for (int rounds = 0; more; rounds++) {
        assert_true(rounds < 20);
        assert_ok(f, store_retain(f->st, &r, 0, 3, &more, &f->err));
    }
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM neighbour"), 8);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM neighbour_scale"), 8);
    assert_int_equal(fixture_query(f, "SELECT min(model_id) FROM neighbour"), 3);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM signal"), 3);
    assert_int_equal(removed[STORE_RETAINED_VECTORS], 4); /* a row is a list and a scale */
}

static void read_neighbours_finds_damage(void **state)
{
    static const char *const damages[] = {
        "UPDATE neighbour SET list = replace(list, '1', '2') WHERE rid = 2",
        "UPDATE neighbour SET checksum = checksum + 1 WHERE rid = 2",
        "UPDATE neighbour SET list = CAST(list || char(0) || 'x' AS TEXT) WHERE rid = 2"};
    struct fixture *f = *state;
    const int64_t ask[] = {2};
    struct store_neighbours x;
    int64_t n = 0;

    put_items(f);
    put_rows(f, f->model_id);
    assert_ok(f, store_check(f->st, &n, &f->err));
    assert_int_equal(n, 3 * 3 + 4);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        fixture_spoil(f, damages[i]);
        assert_fatal(f, EX_DATAERR,
                     store_read_neighbour_rows(f->st, f->model_id, ask, 1, &x, &f->err));
        assert_non_null(strstr(f->err.text, "table neighbour, row 2"));
        assert_fatal(f, EX_DATAERR, store_read_neighbour_all(f->st, f->model_id, &x, &f->err));
        assert_fatal(f, EX_DATAERR, store_check(f->st, &n, &f->err));
        fixture_spoil(f, "DELETE FROM neighbour");
        put_rows(f, f->model_id);
    }
    fixture_spoil(f, "DELETE FROM neighbour WHERE rid = 2");
    assert_fatal(f, EX_DATAERR,
                 store_read_neighbour_rows(f->st, f->model_id, ask, 1, &x, &f->err));
}

/* Whoever can write to the file can make the checksum fit. */
static void read_neighbours_refuses_what_is_no_list(void **state)
{
    static const char *const texts[] = {"",
                                        "{",
                                        "[]",
                                        "{\"1\":1",
                                        "{\"1\":1}}",
                                        "{\"1\" :1}",
                                        "{\"1\":1,}",
                                        "{\"1\":}",
                                        "{\"1\":nan}",
                                        "{\"1\":16777217}",
                                        "{\"1\":-}",
                                        "{\"-1\":1}",
                                        "{\"0\":1}",
                                        "{\"1\":1,\"1\":1}",
                                        "{\"3\":1,\"1\":1}",
                                        "{\"x\":1}",
                                        "{\"1:1}",
                                        "{\"99999999999999999999\":1}",
                                        "{\"1\":1.5}",
                                        "{,\"1\":1}"};
    struct fixture *f = *state;
    const int64_t ask[] = {2};
    struct store_neighbours x;
    char sql[256];

    put_items(f);
    put_rows(f, f->model_id);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        (void)snprintf(sql, sizeof sql,
                       "UPDATE neighbour SET list = '%s', checksum = %lld WHERE rid = 2",
                       texts[i], (long long)digest_checksum(texts[i], strlen(texts[i])));
        fixture_spoil(f, sql);
        assert_fatal(f, EX_DATAERR,
                     store_read_neighbour_rows(f->st, f->model_id, ask, 1, &x, &f->err));
        assert_non_null(strstr(f->err.text, "no list"));
    }
}

/* A row that would not change is not written; one of a deleted item is left out. */
static void write_recomputed_writes_rows_of_neighbours(void **state)
{
    struct fixture *f = *state;
    const float other[] = {7};
    const struct store_neighbour_row anew[] = {
        rows[0], {2, 8, of_b, other, 1}, {3, 0, NULL, NULL, 0}};
    struct store_recomputed r = {
        .model_id = f->model_id,
        .done_n = 100,
        .items = {.model_id = f->model_id, .dim = FIXTURE_DIM},
        .users = {.model_id = f->model_id, .side = STORE_SIDE_USERS, .dim = FIXTURE_DIM},
        .neighbours = anew,
        .n_neighbours = 3};
    struct store_recomputed_result result;
    struct store_neighbours x;

    put_items(f);
    put_rows(f, f->model_id);
    int64_t before = sqlite3_total_changes64(f->st->db);
    int64_t touches = fixture_query(f, "SELECT count(*) FROM touch");
    assert_ok(f, store_write_recomputed(f->st, &r, &result, &f->err));
    /* two of row 2, two of row 3 */
    assert_int_equal(sqlite3_total_changes64(f->st->db) - before, 4 + touches);
    assert_ok(f, store_read_neighbour_all(f->st, f->model_id, &x, &f->err));
    assert_int_equal(x.n_rows, 3);
    check_row(&x, 0, &rows[0]);
    check_row(&x, 1, &anew[1]);
    store_neighbours_done(&x);
    r.model_id = r.items.model_id = r.users.model_id = fixture_model(f, "next");
    assert_int_equal(store_write_recomputed(f->st, &r, &result, &f->err), ERR_STALE);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM neighbour"), 3);
}

/* A store of the version before has no rows, and gets the views. */
static void open_gives_an_old_store_the_views(void **state)
{
    struct fixture *f = *state;

    put_items(f);
    fixture_go_back(f, 13);
    fixture_reopen(f);
    put_rows(f, f->model_id);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM current_neighbour"), 4);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM current_signal"), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(put_neighbours_come_back),
        CASE(put_neighbours_of_what_was_read_changes_nothing),
        CASE(put_neighbours_replaces_or_leaves_what_is_there),
        CASE(put_neighbours_refuses_faults_and_writes_nothing),
        CASE(current_neighbour_is_value_times_scale),
        CASE(current_neighbour_of_one_item_is_a_look_up),
        CASE(delete_takes_an_item_out_of_all_rows),
        CASE(put_signals_are_those_of_the_active_model),
        CASE(retain_takes_rows_of_old_models_and_keeps_their_signals),
        CASE(read_neighbours_finds_damage),
        CASE(read_neighbours_refuses_what_is_no_list),
        CASE(write_recomputed_writes_rows_of_neighbours),
        CASE(open_gives_an_old_store_the_views),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
