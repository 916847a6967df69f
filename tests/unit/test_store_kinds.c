/* What interactions count: factors of kinds, strength of pairs, and that every reader means the same
 * pairs. */

#include "store_fixture.h"

#include "store/kinds.h"
#include "store/reading.h"
#include "store/touch.h"

#include <stdlib.h>

static const struct store_factor usual[] = {
    {"watch", 1}, {"like", 1}, {"dislike", -1}, {"skip", -0.5}, {"impression", 0}};

static struct store_factors_result set(struct fixture *f, const struct store_factor *of,
                                       size_t n, double other)
{
    struct store_factors_result r;

    assert_ok(f, store_set_factors(f->st, &(struct store_factors){of, n, other}, &r, &f->err));
    return r;
}

static void react(struct fixture *f, const char *user, const char *item, const char *kind,
                  double weight)
{
    static int64_t offset;
    struct store_interaction x = {.pos = {"clicks", 0, ++offset},
                                  .user_id = user,
                                  .item_id = item,
                                  .kind = kind,
                                  .weight = weight,
                                  .ts_us = offset};
    struct store_op op = {.kind = STORE_OP_INTERACTION, .interaction = &x};

    (void)fixture_write(f, &op, 1, -1);
}

static bool is_edge(struct fixture *f, const char *user, const char *item)
{
    struct store_dataset d;
    bool found = false;

    assert_ok(f, store_read_dataset(f->st, &d, &f->err));
    for (size_t i = 0; i < d.n_pairs; i++)
        found |= strcmp(d.user_id[d.pair[i][0]], user) == 0 &&
                 strcmp(d.item_id[d.pair[i][1]], item) == 0;
    store_dataset_done(&d);
    return found;
}

static void interactions_of_a_pair_add_up(void **state)
{
    struct fixture *f = *state;

    set(f, usual, 5, 1);
    fixture_put(f, "a", 1, 1.0F);
    react(f, "u", "a", "impression", 1);
    assert_false(is_edge(f, "u", "a"));
    react(f, "u", "a", "watch", 1);
    assert_true(is_edge(f, "u", "a"));
    react(f, "u", "a", "skip", 1);
    assert_true(is_edge(f, "u", "a"));
    react(f, "u", "a", "skip", 1); /* 0 */
    assert_false(is_edge(f, "u", "a"));
    react(f, "u", "a", "unheard of", 0.25);
    assert_true(is_edge(f, "u", "a"));
}

/* As sites send them: with weight 1, with -1, and a like taken back with -1. */
static void no_sign_makes_a_like_of_a_dislike(void **state)
{
    struct fixture *f = *state;

    set(f, usual, 5, 1);
    fixture_put(f, "a", 1, 1.0F);
    react(f, "minus", "a", "dislike", -1);
    react(f, "plus", "a", "dislike", 1);
    react(f, "like", "a", "like", -1);
    react(f, "huge", "a", "dislike", -1e6);
    react(f, "none", "a", "watch", 0);
    assert_false(is_edge(f, "minus", "a"));
    assert_false(is_edge(f, "plus", "a"));
    assert_false(is_edge(f, "like", "a"));
    assert_false(is_edge(f, "huge", "a"));
    assert_false(is_edge(f, "none", "a"));
}

/* 0.1 + 0.2 - 0.3 is not 0 to a processor. */
static void tenths_cancel(void **state)
{
    struct fixture *f = *state;

    set(f, usual, 5, 1);
    fixture_put(f, "a", 1, 1.0F);
    react(f, "u", "a", "watch", 0.1);
    react(f, "u", "a", "watch", 0.2);
    react(f, "u", "a", "dislike", 0.3);
    assert_false(is_edge(f, "u", "a"));
}

static void dataset_has_strengths_and_what_counts_against(void **state)
{
    struct fixture *f = *state;
    struct store_dataset d;

    set(f, usual, 5, 1);
    fixture_put(f, "a", 1, 1.0F);
    fixture_put(f, "b", 2, 1.0F);
    react(f, "u", "a", "watch", 0.5);
    react(f, "u", "a", "like", 1);
    react(f, "u", "b", "skip", 1);
    react(f, "v", "a", "watch", 1e6);
    react(f, "v", "b", "impression", 1);
    assert_ok(f, store_read_dataset(f->st, &d, &f->err));
    assert_int_equal(d.n_pairs, 2);
    assert_true(d.strength[0] == 1.5F && d.strength[1] == (float)STORE_STRENGTH_MAX);
    assert_int_equal(d.n_against, 1);
    assert_int_equal(d.against[0][0], 0);
    assert_int_equal(d.against[0][1], 1);
    store_dataset_done(&d);
}

static void check_ids(struct fixture *f, int64_t *ids, size_t n, int64_t a, int64_t b)
{
    (void)f;
    assert_int_equal(n, (a != 0) + (b != 0));
    assert_true(n < 1 || ids[0] == a);
    assert_true(n < 2 || ids[1] == b);
    free(ids);
}

/* Shown only: may be shown again. Liked and disliked: not. */
static void seen_is_what_counts_either_way(void **state)
{
    struct fixture *f = *state;
    int64_t *ids;
    size_t n;

    set(f, usual, 5, 1);
    for (int i = 0; i < 4; i++)
        fixture_put(f, (const char *[]){"a", "b", "c", "d"}[i], i + 1, 1.0F);
    react(f, "u", "a", "impression", 1);
    react(f, "u", "b", "watch", 1);
    react(f, "u", "b", "dislike", 1);
    react(f, "u", "c", "dislike", 1);
    assert_ok(f, store_user_seen(f->st, "u", &ids, &n, &f->err));
    check_ids(f, ids, n, 2, 3);
    assert_ok(f, store_user_against(f->st, "u", &ids, &n, &f->err));
    check_ids(f, ids, n, 3, 0);
    assert_ok(f, store_user_against(f->st, "nobody", &ids, &n, &f->err));
    check_ids(f, ids, n, 0, 0);
}

static void first_time_is_that_of_what_counts(void **state)
{
    struct fixture *f = *state;
    struct store_timed_pair *pairs;
    size_t n;

    set(f, usual, 5, 1);
    fixture_put(f, "a", 1, 1.0F);
    fixture_put(f, "b", 2, 1.0F);
    react(f, "u", "a", "impression", 1);
    react(f, "u", "a", "skip", 1);
    react(f, "u", "a", "watch", 1);
    react(f, "u", "a", "watch", 1);
    react(f, "u", "b", "dislike", 1);
    int64_t third =
        fixture_query(f, "SELECT ts_ms * 1000 FROM interaction ORDER BY offset LIMIT 1 "
                         "OFFSET 2");
    assert_ok(f, store_read_timed_pairs(f->st, &pairs, &n, &f->err));
    assert_int_equal(n, 1);
    assert_int_equal((int64_t)(pairs[0].ts_ms * 1000 + 0.5), third);
    free(pairs);
}

/* ---- all readers agree ---------------------------------------------------------------------- */

static void check_edges(struct fixture *f, enum store_side side, int64_t id, size_t n_edges)
{
    struct store_ids ids = {0};
    uint32_t degree;

    assert_ok(f, store_read_neighbours(f->st, side, id, &ids, &f->err));
    assert_ok(f, store_read_degree(f->st, side, id, &degree, &f->err));
    assert_int_equal(ids.n, n_edges);
    assert_int_equal(degree, n_edges);
    free(ids.ids);
}

enum { USERS = 7, ITEMS = 9 };

static void check_all(struct fixture *f, double strength[USERS][ITEMS])
{
    struct store_dataset d;
    struct store_pair *pairs;
    struct store_timed_pair *timed;
    struct store_degrees degrees = {0};
    struct store_pair_counts counts;
    size_t n_pairs, n_timed, n = 0, n_against = 0, of_item[ITEMS] = {0};
    bool more = true;

    for (int u = 0; u < USERS; u++) {
        size_t of_user = 0;

        for (int i = 0; i < ITEMS; i++) {
            of_user += strength[u][i] > 0;
            of_item[i] += strength[u][i] > 0;
            n_against += strength[u][i] < 0;
        }
        check_edges(f, STORE_SIDE_USERS, u + 1, of_user);
        n += of_user;
    }
    for (int i = 0; i < ITEMS; i++)
        check_edges(f, STORE_SIDE_ITEMS, i + 1, of_item[i]);
    assert_ok(f, store_read_dataset(f->st, &d, &f->err));
    assert_int_equal(d.n_pairs, n);
    assert_int_equal(d.n_against, n_against);
    for (size_t k = 0; k < n; k++)
        assert_true(d.strength[k] == (float)strength[d.pair[k][0]][d.pair[k][1]]);
    store_dataset_done(&d);
    assert_ok(f, store_read_pairs(f->st, &pairs, &n_pairs, &f->err));
    assert_ok(f, store_read_timed_pairs(f->st, &timed, &n_timed, &f->err));
    while (more)
        assert_ok(f, store_read_degrees(f->st, 3, &degrees, &more, &f->err));
    assert_int_equal(n_pairs, n);
    assert_int_equal(n_timed, n);
    for (int i = 0; i < ITEMS; i++)
        assert_int_equal(degrees.of[STORE_SIDE_ITEMS][i + 1], of_item[i]);
    assert_ok(f, store_count_pairs(f->st, 1, &counts, &f->err));
    assert_true(counts.n_edges == (int64_t)n && counts.n_against == (int64_t)n_against);
    assert_false(counts.estimated);
    free(pairs);
    free(timed);
    store_degrees_done(&degrees);
}

static void readers_agree_on_random_interactions(void **state)
{
    struct fixture *f = *state;
    double strength[USERS][ITEMS] = {0};
    char user[8], item[8];
    uint32_t x = 5;

    set(f, usual, 5, 0.25);
    for (int i = 0; i < ITEMS; i++) {
        (void)snprintf(item, sizeof item, "i%d", i);
        fixture_put(f, item, i, 1.0F);
    }
    for (int i = 0; i < USERS; i++) {
        (void)snprintf(user, sizeof user, "u%d", i);
        react(f, user, "i0", "impression", 1);
    }
    for (int round = 0; round < 5; round++) {
        for (int k = 0; k < 60; k++) {
            static const char *const kinds[] = {"watch", "dislike", "skip", "impression",
                                                "new"};
            static const double factors[] = {1, -1, -0.5, 0, 0.25};

            x = x * 1664525 + 1013904223;
            int u = (int)(x >> 8) % USERS, i = (int)(x >> 16 & 255) % ITEMS;
            int kind = (int)(x >> 24) % 5;
            double weight = x >> 30 ? 1 : 0.5;

            (void)snprintf(user, sizeof user, "u%d", u);
            (void)snprintf(item, sizeof item, "i%d", i);
            react(f, user, item, kinds[kind], weight);
            strength[u][i] += factors[kind] * weight;
        }
        check_all(f, strength);
    }
}

/* ---- the factors ------------------------------------------------------------------------------ */

static void the_same_factors_again_change_nothing(void **state)
{
    struct fixture *f = *state;
    bool has = true;

    assert_ok(f, store_has_factors(f->st, &has, &f->err));
    assert_false(has);
    assert_true(set(f, usual, 5, 1).changed);
    assert_ok(f, store_has_factors(f->st, &has, &f->err));
    assert_true(has);
    fixture_put(f, "a", 1, 1.0F);
    react(f, "u", "a", "watch", 1);
    struct store_factors_result r = set(f, usual, 5, 1);
    assert_true(!r.changed && r.n_pairs == 0);
    fixture_reopen(f);
    assert_false(set(f, usual, 5, 1).changed);
}

static void other_factors_touch_what_they_flip(void **state)
{
    struct fixture *f = *state;

    set(f, usual, 5, 1);
    fixture_put(f, "a", 1, 1.0F);
    fixture_put(f, "b", 2, 1.0F);
    react(f, "u", "a", "impression", 1);
    react(f, "u", "b", "watch", 1);
    react(f, "v", "a", "new", 1);
    react(f, "v", "b", "new", 1);
    react(f, "v", "b", "watch", 1);
    fixture_spoil(f, "DELETE FROM touch");
    struct store_factors_result r = set(f, usual, 5, 0.5);
    assert_true(r.changed && r.n_pairs == 0);
    r = set(f, usual, 5, 0);
    assert_true(r.changed && r.n_pairs == 1); /* v and a */
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM touch WHERE uid = 2 AND rid = 1"),
                     1);
    assert_false(is_edge(f, "v", "a"));
    assert_true(is_edge(f, "v", "b"));
    r = set(f, usual, 4, 0.5); /* impression is like any other now */
    assert_int_equal(r.n_pairs, 2);
    assert_true(is_edge(f, "u", "a"));
}

static void kinds_are_counted_whoever_writes(void **state)
{
    struct fixture *f = *state;
    const struct store_retention day = {.interactions_days = 1};
    struct store_kind *kinds;
    double other;
    size_t n;
    bool more;

    set(f, usual, 5, 0.75);
    fixture_put(f, "a", 1, 1.0F);
    react(f, "u", "a", "new", 1);
    react(f, "u", "a", "new", 1);
    react(f, "u", "a", "watch", 1);
    fixture_spoil(f, "UPDATE interaction SET ts_ms = 1e12 WHERE kind = 'new' AND offset = "
                     "(SELECT max(offset) FROM interaction WHERE kind = 'new')");
    assert_ok(f, store_read_kinds(f->st, &kinds, &n, &other, &f->err));
    assert_int_equal(n, 6);
    assert_true(other == 0.75);
    assert_string_equal(kinds[0].kind, "new");
    assert_true(kinds[0].n == 2 && kinds[0].factor == 0.75 && !kinds[0].is_named);
    assert_string_equal(kinds[1].kind, "watch");
    assert_true(kinds[1].n == 1 && kinds[1].factor == 1 && kinds[1].is_named);
    free(kinds);
    assert_ok(f,
              store_retain(f->st, &day, INT64_C(10) * 86400 * 1000000, 1000, &more, &f->err));
    assert_int_equal(fixture_query(f, "SELECT n FROM interaction_kind WHERE kind = 'new'"), 1);
    assert_int_equal(fixture_query(f, "SELECT n FROM interaction_kind WHERE kind = 'watch'"),
                     0);
}

/* What counts for nothing leaves no touch. */
static void impressions_touch_nothing(void **state)
{
    struct fixture *f = *state;

    set(f, usual, 5, 0);
    fixture_put(f, "a", 1, 1.0F);
    fixture_spoil(f, "DELETE FROM touch");
    react(f, "u", "a", "impression", 1);
    react(f, "u", "a", "new", 1);
    react(f, "u", "a", "watch", 0);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM touch"), 0);
    react(f, "u", "a", "dislike", 1);
    react(f, "u", "a", "watch", 1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM touch"), 2);
}

/* From a sample of the users, at a size that is counted in a moment either way. */
static void many_pairs_are_estimated(void **state)
{
    struct fixture *f = *state;
    struct store_pair_counts counts;

    set(f, usual, 5, 1);
    fixture_put(f, "a", 1, 1.0F);
    fixture_spoil(f, "INSERT INTO topic(topic_id, name) VALUES(99, 't')");
    fixture_spoil(
        f, "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 299999)"
           "INSERT INTO user(uid, user_id) SELECT i + 1, 'u' || i FROM n WHERE i < 30000");
    fixture_spoil(
        f, "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 299999)"
           "INSERT INTO item(rid, item_id, state) SELECT i + 2, 'i' || i, 'no_features' "
           "FROM n WHERE i < 10");
    fixture_spoil(
        f, "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 299999)"
           "INSERT INTO interaction SELECT 99, 0, i, i / 10 + 1, i % 10 + 2, "
           "CASE i % 5 WHEN 0 THEN 'dislike' ELSE 'watch' END, 1.0, i FROM n");
    int64_t n = fixture_query(f, "SELECT sum(n) FROM interaction_kind");
    assert_int_equal(n, 300000);
    assert_ok(f, store_count_pairs(f->st, n, &counts, &f->err));
    assert_true(counts.estimated);
    assert_true(labs(counts.n_pairs - 300000) < 3000);
    assert_true(labs(counts.n_edges - 240000) < 3000);
    assert_true(labs(counts.n_against - 60000) < 3000);
}

/* ---- an older store --------------------------------------------------------------------------- */

/* Made by hand what schema 6 had: every pair was an edge, an item that nobody had published had a
 * vector. */
static void an_older_store_is_brought_along(void **state)
{
    struct fixture *f = *state;

    fixture_put(f, "a", 1, 1.0F);
    react(f, "u", "a", "watch", 1);
    react(f, "u", "typo", "dislike", -1);
    fixture_spoil(
        f, "DELETE FROM touch;"
           "INSERT INTO embedding(model_id, rid, dim, checksum, state, seq, updated_ms, vec) "
           "SELECT model_id, 2, dim, checksum, 'warm', seq, updated_ms, vec FROM embedding;"
           "UPDATE item SET state = 'warm' WHERE rid = 2");
    fixture_go_back(f, 9);
    int64_t before = fixture_seq(f);
    fixture_reopen(f);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM current_embedding"), 1);
    assert_int_equal(
        fixture_query(f, "SELECT seq FROM change WHERE item_id = 'typo' AND op = 'delete'"),
        before + 1);
    assert_int_equal(fixture_seq(f), before + 1);
    assert_int_equal(fixture_query(f, "SELECT n FROM interaction_kind WHERE kind = 'dislike'"),
                     1);
    assert_int_equal(set(f, usual, 5, 1).n_pairs, 1); /* u and typo was one */
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM touch WHERE uid = 1 AND rid = 2"),
                     1);
    assert_false(set(f, usual, 5, 1).changed);
}

static void publish_leaves_out_what_nobody_published(void **state)
{
    struct fixture *f = *state;
    const int64_t ids[] = {1, 2};
    const float vec[] = {1, 2, 3, 4};
    const uint8_t warm[] = {1, 1};

    fixture_put(f, "a", 1, 1.0F);
    react(f, "u", "typo", "watch", 1);
    int64_t model_id = fixture_model(f, "second.safetensors");
    struct store_vectors items = {model_id, STORE_SIDE_ITEMS, ids, vec, warm, 2, 2, NULL,
                                  false};
    assert_ok(f, store_publish_vectors(f->st, &items, &f->err));
    assert_ok(f, store_model_activate(f->st, model_id, &f->err));
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM current_embedding"), 1);
    assert_int_equal(
        fixture_query(
            f, "SELECT count(*) FROM item WHERE item_id = 'typo' AND state = 'no_features'"),
        1);
    struct store_recomputed r = {.model_id = model_id, .items = items};
    struct store_recomputed_result result;
    assert_ok(f, store_write_recomputed(f->st, &r, &result, &f->err));
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM embedding WHERE rid = 2"), 0);
    fixture_put(f, "typo", 3, 2.0F); /* somebody uploads it after all */
    assert_true(is_edge(f, "u", "typo"));
    assert_ok(f, store_publish_vectors(f->st, &items, &f->err));
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM current_embedding"), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(interactions_of_a_pair_add_up),
        TEST(no_sign_makes_a_like_of_a_dislike),
        TEST(tenths_cancel),
        TEST(dataset_has_strengths_and_what_counts_against),
        TEST(seen_is_what_counts_either_way),
        TEST(first_time_is_that_of_what_counts),
        TEST(readers_agree_on_random_interactions),
        TEST(the_same_factors_again_change_nothing),
        TEST(other_factors_touch_what_they_flip),
        TEST(kinds_are_counted_whoever_writes),
        TEST(impressions_touch_nothing),
        TEST(many_pairs_are_estimated),
        TEST(an_older_store_is_brought_along),
        TEST(publish_leaves_out_what_nobody_published),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
