/* The refresh thread and the rows of neighbours: those of touched items are what a build over the whole
 * graph makes. */

#include "refresh_fixture.h"

#include "store/kinds.h"
#include "store/reading.h"
#include "store/writing.h"

#include <stdio.h>
#include <string.h>

static int64_t neighbour_rows(struct refresh_fixture *f, const char *item)
{
    char sql[200];

    snprintf(
        sql, sizeof(sql),
        "SELECT (SELECT count(*) FROM neighbour JOIN item USING(rid) WHERE item_id = '%s') "
        "+ (SELECT count(*) FROM neighbour_scale JOIN item USING(rid) WHERE item_id = '%s')",
        item, item);
    return fixture_count(f, sql);
}

static int64_t is_neighbour(struct refresh_fixture *f, const char *of, const char *item)
{
    char sql[160];

    snprintf(
        sql, sizeof(sql),
        "SELECT count(*) FROM current_neighbour WHERE item_id = '%s' AND neighbour_id = '%s' "
        "AND weight > 0",
        of, item);
    return fixture_count(f, sql);
}

/* A row is there whether or not vectors move: under mf they do not. */
static void rows_of_touched_items_follow(void **state)
{
    static const enum backbone_kind backbones[] = {BACKBONE_LIGHTGCN, BACKBONE_MF};
    struct refresh_status status;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct refresh_fixture f;

        fixture_fill(&f);
        f.neighbours = true;
        f.s.refresh.spread = 0;
        fixture_train(&f, FUSION_CP, backbones[i], false, 3);
        assert_true(fixture_check_row(&f, "i7") > 0);
        assert_int_equal(fixture_check_row(&f, "i28"), 0);
        fixture_start(&f);
        fixture_settle(&f);
        fixture_news(&f);
        assert_true(fixture_check_row(&f, "i7") > 0);
        assert_true(fixture_check_row(&f, "i30") > 0);
        assert_true(fixture_check_row(&f, "i28") > 0);
        refresh_status(f.refresh, &status);
        assert_int_equal(status.n_rows, 3);
        fixture_items(&f, 7, 1); /* written again: the row is what it was */
        fixture_settle(&f);
        refresh_status(f.refresh, &status);
        assert_int_equal(status.n_rows, 3);
        fixture_close(&f);
    }
}

static void model_without_neighbours_gets_no_rows(void **state)
{
    struct refresh_fixture f;
    struct refresh_status status;

    (void)state;
    fixture_fill(&f);
    fixture_train(&f, FUSION_CP, BACKBONE_LIGHTGCN, false, 3);
    fixture_start(&f);
    fixture_pairs(&f, (const uint32_t[][2]){{3, 7}, {99, 7}}, 2);
    fixture_settle(&f);
    refresh_status(f.refresh, &status);
    assert_true(status.n_vectors > 0);
    assert_int_equal(status.n_rows, 0);
    assert_int_equal(fixture_count(&f, "SELECT (SELECT count(*) FROM neighbour) + "
                                       "(SELECT count(*) FROM neighbour_scale)"),
                     0);
    fixture_close(&f);
}

/* u1 has v1 and meets a new item: who has v1 gets it by v1's row, within the spread. */
static void new_item_appears_at_its_users_items(void **state)
{
    static const enum backbone_kind backbones[] = {BACKBONE_LIGHTGCN, BACKBONE_MF};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct refresh_fixture f;

        fixture_fill(&f);
        f.neighbours = true;
        /* u77 has i28, which nobody else has, and all the items of the others. */
        fixture_pairs(
            &f, (const uint32_t[][2]){{77, 0}, {77, 11}, {77, 16}, {77, 28}, {78, 28}}, 5);
        f.s.refresh.spread = 1;
        fixture_train(&f, FUSION_CP, backbones[i], false, 3);
        fixture_start(&f);
        fixture_settle(&f);
        fixture_items(&f, 30, 1);
        fixture_settle(&f);
        assert_int_equal(is_neighbour(&f, "i28", "i30"), 0);
        fixture_interact(&f, "u77", "i30");
        fixture_settle(&f);
        assert_int_equal(is_neighbour(&f, "i30", "i28"), 1);
        assert_int_equal(is_neighbour(&f, "i28", "i30"), 1); /* fewest interactions first */
        assert_true(fixture_check_row(&f, "i28") > 0);
        fixture_close(&f);
    }
}

/* What came while nobody refreshed, and a write that failed; then a flip, and back. */
static void rows_survive_restarts_and_flips(void **state)
{
    struct refresh_fixture f;

    (void)state;
    fixture_fill(&f);
    f.neighbours = true;
    f.s.refresh.spread = 0;
    fixture_train(&f, FUSION_CP, BACKBONE_LIGHTGCN, false, 3);
    int64_t first = f.model_id;
    fixture_start(&f);
    fixture_settle(&f);
    fixture_stop(&f);
    fixture_pairs(&f, (const uint32_t[][2]){{1, 2}, {5, 3}}, 2);
    f.n_failures = 2;
    fixture_start(&f);
    fixture_settle(&f);
    assert_true(fixture_check_row(&f, "i2") > 0);
    assert_true(fixture_check_row(&f, "i3") > 0);
    fixture_train(&f, FUSION_CP, BACKBONE_MF, false, 4);
    assert_true(fixture_check_row(&f, "i2") > 0);
    fixture_pairs(&f, (const uint32_t[][2]){{5, 28}, {5, 4}}, 2);
    fixture_settle(&f);
    assert_true(fixture_check_row(&f, "i28") > 0);
    fixture_activate(&f, first);
    fixture_settle(&f);
    assert_true(fixture_check_row(&f, "i28") > 0);
    assert_true(fixture_check_row(&f, "i4") > 0);
    fixture_close(&f);
}

static void forget(struct refresh_fixture *f, const char *user)
{
    unsigned char hash[DIGEST_BYTES];
    struct store_erased erased;
    bool more = true;

    pthread_mutex_lock(&f->lock);
    refresh_ok(f, store_forget(f->st, user, hash, &f->err));
    while (more)
        refresh_ok(f, store_erase(f->st, 100, &erased, &more, &f->err));
    pthread_mutex_unlock(&f->lock);
    refresh_wake(f->refresh);
}

/* A user has gone: at the next touch of an item its edge counts no more. Who has no edge left has no
 * row. */
static void rows_forget_users_and_edges(void **state)
{
    struct refresh_fixture f;

    (void)state;
    fixture_fill(&f);
    fixture_factors(&f, -1, 1);
    f.neighbours = true;
    f.s.refresh.spread = 0;
    fixture_pairs(&f, (const uint32_t[][2]){{77, 28}, {77, 7}}, 2);
    fixture_train(&f, FUSION_CP, BACKBONE_LIGHTGCN, false, 3);
    assert_int_equal(neighbour_rows(&f, "i28"), 2);
    assert_int_equal(is_neighbour(&f, "i7", "i28"), 1);
    fixture_start(&f);
    fixture_settle(&f);
    forget(&f, "u77");
    fixture_interact(&f, "u78", "i7");
    fixture_settle(&f);
    assert_true(fixture_check_row(&f, "i7") > 0);
    assert_int_equal(is_neighbour(&f, "i7", "i28"), 0);
    fixture_interact(&f, "u3", "i28");
    fixture_settle(&f);
    assert_true(fixture_check_row(&f, "i28") > 0);
    fixture_react(&f, "u3", "i28", "dislike", 1);
    fixture_react(&f, "u3", "i28", "dislike", 1);
    fixture_settle(&f);
    assert_int_equal(neighbour_rows(&f, "i28"), 0);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_touched_items_follow),
        cmocka_unit_test(model_without_neighbours_gets_no_rows),
        cmocka_unit_test(new_item_appears_at_its_users_items),
        cmocka_unit_test(rows_survive_restarts_and_flips),
        cmocka_unit_test(rows_forget_users_and_edges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
