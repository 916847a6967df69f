/* The refresh thread on a store: vectors follow the interactions and equal a whole forward pass over
 * everything that the store holds; strangers, restarts, flips, failures, deletions. */

#include "refresh_fixture.h"

#include "fusion/math/rng.h"
#include "store/kinds.h"
#include "store/reading.h"
#include "store/writing.h"

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(struct refresh_fixture *f, const char *const *names, size_t n)
{
    struct fixture_whole w;

    fixture_whole(f, &w);
    for (size_t i = 0; i < n; i++) {
        double difference = fixture_difference(f, &w, names[i]);

        if (difference < 0 || difference > 1e-5)
            fail_msg("%s: off by %g", names[i], difference);
    }
    fixture_whole_done(&w);
}

static void check_alone(struct refresh_fixture *f, const char *name)
{
    check(f, &name, 1);
}

static int64_t seq(struct refresh_fixture *f)
{
    return fixture_count(f, "SELECT seq FROM counter");
}

static int64_t is_warm(struct refresh_fixture *f, const char *item)
{
    char sql[160];

    snprintf(sql, sizeof(sql),
             "SELECT e.state = 'warm' AND i.state = 'warm' FROM current_embedding e "
             "JOIN item i USING(item_id) WHERE item_id = '%s'",
             item);
    return fixture_count(f, sql);
}

static const struct {
    enum fusion_kind fusion;
    enum backbone_kind backbone;
} kinds[] = {{FUSION_CP, BACKBONE_LIGHTGCN},
             {FUSION_DENSE, BACKBONE_SAGE},
             {FUSION_NONE, BACKBONE_LIGHTGCN}};

static void interactions_move_vectors_to_the_whole_pass(void **state)
{
    static const char *const touched[] = {"u3", "i7", "u99", "i30", "u4", "i28"};

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct refresh_fixture f;

        fixture_fill(&f);
        fixture_train(&f, kinds[i].fusion, kinds[i].backbone, false, 3);
        assert_int_equal(is_warm(&f, "i7"), 1);
        assert_int_equal(is_warm(&f, "i28"), 0);
        fixture_start(&f);
        fixture_settle(&f);
        int64_t before = seq(&f);
        fixture_news(&f);
        check(&f, touched, sizeof(touched) / sizeof(touched[0]));
        assert_true(seq(&f) > before);
        assert_int_equal(is_warm(&f, "i30"), 1);
        assert_int_equal(is_warm(&f, "i28"), 1);
        assert_int_equal(is_warm(&f, "i29"), 0);
        assert_int_equal(fixture_count(&f, "SELECT count(*) FROM touch"), 0);
        before = seq(&f);
        fixture_interact(&f, "u3", "i7"); /* no new edge */
        fixture_settle(&f);
        fixture_close(&f);
    }
}

/* Factors and content follow under every backbone, under mf as well: of a user with one item more,
 * of one whom nobody knew, of items that came later and that nobody had. */
static void signals_follow_to_the_whole_pass(void **state)
{
    static const struct {
        enum fusion_kind fusion;
        enum backbone_kind backbone;
        bool item_graph;
    } with[] = {{FUSION_CP, BACKBONE_LIGHTGCN, true},
                {FUSION_STATIC, BACKBONE_SAGE, false},
                {FUSION_NONE, BACKBONE_LIGHTGCN, false},
                {FUSION_CP, BACKBONE_MF, false},
                {FUSION_NONE, BACKBONE_MF, false}};
    static const char *const touched[] = {"u3", "i7", "i30", "u4", "i28", "u99"};

    (void)state;
    for (size_t i = 0; i < sizeof(with) / sizeof(with[0]); i++) {
        /* To a backbone that does not propagate a stranger is the mean of what it has. */
        bool compares_stranger = with[i].backbone != BACKBONE_MF;
        struct refresh_fixture f;

        fixture_fill(&f);
        f.signals = true;
        fixture_train(&f, with[i].fusion, with[i].backbone, with[i].item_graph, 3);
        fixture_start(&f);
        fixture_settle(&f);
        fixture_news(&f);
        check(&f, touched, compares_stranger ? 6 : 5);
        assert_int_equal(is_warm(&f, "i30"), 1);
        assert_int_equal(is_warm(&f, "i28"), 1);
        assert_int_equal(is_warm(&f, "i29"), 0);
        assert_int_equal(
            fixture_count(&f,
                          "SELECT count(*) FROM current_user_embedding WHERE user_id = 'u99'"),
            1);
        fixture_close(&f);
    }
}

/* A user with one item has its vector. */
static void check_vectors_equal(struct refresh_fixture *f, const char *user, const char *item)
{
    struct store_embedding e;
    float *vec;
    int32_t dim;

    refresh_ok(f, store_get_embedding(f->st, item, &e, &f->err));
    refresh_ok(f, store_get_user_vector(f->st, user, &vec, &dim, &f->err));
    assert_int_equal(dim, e.dim);
    for (int32_t j = 0; j < dim; j++)
        assert_true(fabsf(vec[j] - e.vec[j]) < 1e-5F);
    store_embedding_done(&e);
    free(vec);
}

static void mf_folds_in_strangers_only(void **state)
{
    static const char *const same[] = {"u3", "i7", "i29"};
    struct refresh_fixture f;

    (void)state;
    fixture_fill(&f);
    fixture_train(&f, FUSION_CP, BACKBONE_MF, false, 3);
    fixture_start(&f);
    fixture_settle(&f);
    int64_t before = seq(&f);
    fixture_interact(&f, "u3", "i9");
    fixture_settle(&f);
    assert_int_equal(seq(&f), before);
    check(&f, same, 3);
    assert_int_equal(
        fixture_count(&f, "SELECT count(*) FROM current_user_embedding WHERE user_id = 'u99'"),
        0);
    fixture_interact(&f, "u99", "i7");
    fixture_settle(&f);
    check_vectors_equal(&f, "u99", "i7");
    fixture_close(&f);
}

/* With the item-item graph an item borrows from what it resembles: its row is the training's, or its
 * own when it came later. */
static void item_graph_goes_on_after_training(void **state)
{
    static const enum backbone_kind backbones[] = {BACKBONE_LIGHTGCN, BACKBONE_SAGE};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct refresh_fixture f;

        fixture_fill(&f);
        fixture_train(&f, FUSION_CP, backbones[i], true, 3);
        fixture_start(&f);
        fixture_items(&f, 30, 2);
        fixture_settle(&f);
        assert_int_equal(is_warm(&f, "i31"), -1); /* the fixture has no ingest to fuse it */
        fixture_pairs(&f, (const uint32_t[][2]){{3, 30}, {3, 7}}, 2);
        fixture_settle(&f);
        check_alone(&f, "i30");
        check_alone(&f, "i7");
        assert_int_equal(is_warm(&f, "i30"), 1);
        fixture_close(&f);
    }
}

/* What came while nobody refreshed: touches are in the store. */
static void restart_catches_up(void **state)
{
    static const char *const touched[] = {"u1", "i2", "u98", "i3"};
    struct refresh_fixture f;
    struct refresh_status status;

    (void)state;
    fixture_fill(&f);
    fixture_train(&f, FUSION_CP, BACKBONE_LIGHTGCN, false, 3);
    fixture_start(&f);
    fixture_settle(&f);
    fixture_stop(&f);
    fixture_interact(&f, "u1", "i2");
    fixture_interact(&f, "u98", "i3");
    assert_int_equal(fixture_count(&f, "SELECT count(*) FROM touch"), 2);
    f.n_failures = 2;
    fixture_start(&f);
    fixture_settle(&f);
    check(&f, touched, 4);
    refresh_status(f.refresh, &status);
    assert_true(status.n_vectors >= 4 && status.n_touches == 0 && status.staleness_s == 0);
    fixture_close(&f);
}

/* Forwards, and back: pairs that the active model was not trained on are refreshed. */
static void flips_need_nothing_else(void **state)
{
    static const char *const touched[] = {"u1", "i29", "u5", "i4"};
    struct refresh_fixture f;

    (void)state;
    fixture_fill(&f);
    fixture_train(&f, FUSION_CP, BACKBONE_LIGHTGCN, false, 3);
    int64_t first = f.model_id;
    fixture_start(&f);
    fixture_interact(&f, "u1", "i29");
    fixture_settle(&f);
    fixture_train(&f, FUSION_CP, BACKBONE_LIGHTGCN, false, 4);
    fixture_settle(&f);
    check(&f, touched, 2);
    fixture_interact(&f, "u5", "i4");
    fixture_items(&f, 7, 1); /* the same features anew: its place in the graph must come back */
    fixture_settle(&f);
    check(&f, touched, 4);
    check(&f, (const char *const[]){"i7"}, 1);
    assert_int_equal(is_warm(&f, "i7"), 1);
    fixture_activate(&f, first);
    fixture_settle(&f);
    check(&f, touched, 4);
    check(&f, (const char *const[]){"i7"}, 1);
    fixture_close(&f);
}

/* Of every model. */
static void rename_names(struct refresh_fixture *f, const char *from, const char *to)
{
    char command[256];

    snprintf(command, sizeof(command),
             "for d in %s/trained-*; do mv \"$d/%s\" \"$d/%s\" || exit 1; done", f->folder,
             from, to);
    assert_int_equal(system(command), 0);
}

/* A model whose files are not there cannot be followed; the one before it goes on with its own
 * widths once it is active again. */
static void model_that_cannot_be_followed_harms_nothing(void **state)
{
    static const char *const touched[] = {"u101", "u450", "i5"};
    struct refresh_fixture f;
    uint32_t pairs[500][2];

    (void)state;
    fixture_fill(&f);
    refresh_ok(&f, settings_set(&f.s, "refresh.interval_ms", "100", &f.err));
    fixture_train(&f, FUSION_CP, BACKBONE_LIGHTGCN, false, 3);
    int64_t first = f.model_id;
    f.width = 2;
    fixture_train(&f, FUSION_CP, BACKBONE_LIGHTGCN, false, 4);
    int64_t second = f.model_id;
    fixture_activate(&f, first);
    fixture_start(&f);
    fixture_settle(&f);
    rename_names(&f, "users.txt", "away");
    fixture_activate(&f, second);
    assert_false(refresh_drain(f.refresh, 500));
    fixture_activate(&f, first);
    rename_names(&f, "away", "users.txt");
    for (uint32_t i = 0; i < 500; i++) {
        pairs[i][0] = 100 + i;
        pairs[i][1] = 5;
    }
    fixture_pairs(&f, pairs, 500);
    fixture_settle(&f);
    check(&f, touched, 3);
    fixture_close(&f);
}

/* The last byte of every model's file; twice is as it was. */
static void flip_last_bytes(struct refresh_fixture *f)
{
    char pattern[128];
    glob_t found;

    snprintf(pattern, sizeof(pattern), "%s/trained-*/model.safetensors", f->folder);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        FILE *file = fopen(found.gl_pathv[i], "r+b");
        assert_non_null(file);
        assert_int_equal(fseek(file, -1, SEEK_END), 0);
        int c = fgetc(file);
        assert_int_equal(fseek(file, -1, SEEK_END), 0);
        assert_int_equal(fputc(c ^ 1, file), c ^ 1);
        assert_int_equal(fclose(file), 0);
    }
    globfree(&found);
}

/* The flip alone, without a look at the files. */
static void set_active(struct refresh_fixture *f, int64_t model_id)
{
    pthread_mutex_lock(&f->lock);
    refresh_ok(f, store_model_activate(f->st, model_id, &f->err));
    pthread_mutex_unlock(&f->lock);
    refresh_wake(f->refresh);
}

/* A file of other bytes is refused once. What waits then waits for another model: it is not computed over and
 * over for the one that is not active any more. Put right and activated again, it is followed. */
static void refused_model_leaves_the_work_undone(void **state)
{
    static const char *const touched[] = {"u101", "u450", "i5"};
    struct refresh_fixture f;
    struct refresh_status before, after;
    uint32_t pairs[500][2];

    (void)state;
    fixture_fill(&f);
    refresh_ok(&f, settings_set(&f.s, "refresh.interval_ms", "100", &f.err));
    refresh_ok(&f, settings_set(&f.s, "store.retry_ms", "100", &f.err));
    fixture_train(&f, FUSION_CP, BACKBONE_LIGHTGCN, false, 3);
    int64_t first = f.model_id;
    fixture_train(&f, FUSION_CP, BACKBONE_LIGHTGCN, false, 4);
    int64_t second = f.model_id;
    fixture_activate(&f, first);
    fixture_start(&f);
    fixture_settle(&f);
    flip_last_bytes(&f);
    set_active(&f, second);
    for (uint32_t i = 0; i < 500; i++) {
        pairs[i][0] = 100 + i;
        pairs[i][1] = 5;
    }
    fixture_pairs(&f, pairs, 500);
    assert_false(refresh_drain(f.refresh, 500));
    refresh_status(f.refresh, &before);
    assert_false(refresh_drain(f.refresh, 500));
    refresh_status(f.refresh, &after);
    assert_int_equal(after.n_edges, before.n_edges);
    assert_int_equal(after.n_touches, 500);
    flip_last_bytes(&f);
    fixture_activate(&f, first);
    fixture_settle(&f);
    fixture_activate(&f, second);
    fixture_settle(&f);
    check(&f, touched, 3);
    fixture_close(&f);
}

/* A deleted item is no neighbour any more, from its users' next refresh on. */
static void deleted_item_leaves_the_graph(void **state)
{
    static const char *const touched[] = {"u3", "i9"};
    struct refresh_fixture f;

    (void)state;
    fixture_fill(&f);
    fixture_train(&f, FUSION_CP, BACKBONE_LIGHTGCN, false, 3);
    fixture_start(&f);
    fixture_pairs(&f, (const uint32_t[][2]){{3, 9}, {3, 8}}, 2);
    fixture_settle(&f);
    check(&f, touched, 2);
    fixture_delete(&f, "i8");
    fixture_interact(&f, "u3", "i9");
    fixture_settle(&f);
    check(&f, touched, 2);
    assert_int_equal(
        fixture_count(&f, "SELECT count(*) FROM current_embedding WHERE item_id = 'i8'"), 0);
    fixture_close(&f);
}

static int64_t has_vector(struct refresh_fixture *f, const char *user)
{
    char sql[160];

    snprintf(sql, sizeof(sql),
             "SELECT count(*) FROM current_user_embedding WHERE user_id = '%s'", user);
    return fixture_count(f, sql);
}

/* A dislike takes the edge away, in memory as in the store; who has no edge left is as if it had never
 * had one. */
static void dislike_turns_an_edge_off(void **state)
{
    static const char *const touched[] = {"u3", "i9", "u4"};
    struct refresh_fixture f;

    (void)state;
    fixture_fill(&f);
    fixture_factors(&f, -1, 1);
    fixture_train(&f, FUSION_CP, BACKBONE_LIGHTGCN, false, 3);
    fixture_start(&f);
    fixture_pairs(&f, (const uint32_t[][2]){{3, 9}, {4, 9}, {99, 7}, {4, 28}}, 4);
    fixture_settle(&f);
    check(&f, touched, 3);
    assert_int_equal(has_vector(&f, "u99"), 1);
    assert_int_equal(is_warm(&f, "i28"), 1);
    fixture_react(&f, "u3", "i9", "dislike", 1);
    fixture_react(&f, "u3", "i9", "dislike", -1); /* whatever the sign: -2 by now */
    fixture_react(&f, "u99", "i7", "dislike", 1);
    fixture_react(&f, "u4", "i28", "dislike", 1);
    fixture_interact(&f, "u4", "i9");
    fixture_settle(&f);
    check(&f, touched, 3);
    assert_int_equal(has_vector(&f, "u99"), 0);
    assert_int_equal(is_warm(&f, "i28"), 0);
    fixture_interact(&f, "u99", "i7");
    fixture_settle(&f);
    assert_int_equal(has_vector(&f, "u99"), 1);
    fixture_close(&f);
}

static void what_counts_for_nothing_moves_nothing(void **state)
{
    struct refresh_fixture f;

    (void)state;
    fixture_fill(&f);
    fixture_factors(&f, -1, 1);
    fixture_train(&f, FUSION_CP, BACKBONE_LIGHTGCN, false, 3);
    fixture_start(&f);
    fixture_settle(&f);
    int64_t before = seq(&f);
    fixture_react(&f, "u3", "i29", "impression", 1);
    fixture_react(&f, "u98", "i29", "watch", 0);
    fixture_react(&f, "u98", "i29", "dislike", 1);
    fixture_settle(&f);
    assert_int_equal(seq(&f), before);
    assert_int_equal(is_warm(&f, "i29"), 0);
    assert_int_equal(has_vector(&f, "u98"), 0);
    assert_int_equal(fixture_count(&f, "SELECT count(*) FROM touch"), 0);
    fixture_close(&f);
}

/* A reload, with the daemon up: vectors follow the new factors without a restart. */
static void other_factors_turn_edges_on_and_off(void **state)
{
    static const char *const touched[] = {"u3", "i28", "u5", "i12"};
    struct refresh_fixture f;

    (void)state;
    fixture_fill(&f);
    fixture_factors(&f, -1, 1);
    fixture_train(&f, FUSION_CP, BACKBONE_LIGHTGCN, false, 3);
    fixture_start(&f);
    fixture_react(&f, "u3", "i28", "impression", 1);
    fixture_react(&f, "u5", "i12", "like", 1);
    fixture_settle(&f);
    assert_int_equal(is_warm(&f, "i28"), 0);
    fixture_factors(&f, -1, 0);
    fixture_settle(&f);
    check(&f, touched + 2, 2);
    const struct store_factor of[] = {{"impression", 0.1}};
    struct store_factors_result result;
    pthread_mutex_lock(&f.lock);
    refresh_ok(&f,
               store_set_factors(f.st, &(struct store_factors){of, 1, 1.0}, &result, &f.err));
    pthread_mutex_unlock(&f.lock);
    assert_int_equal(result.n_pairs, 2);
    refresh_wake(f.refresh);
    fixture_settle(&f);
    check(&f, touched, 4);
    assert_int_equal(is_warm(&f, "i28"), 1);
    fixture_close(&f);
}

/* Known from interactions alone: in no view, whatever touches it, until it is published; then they
 * count. */
static void unpublished_item_has_no_vector(void **state)
{
    struct refresh_fixture f;

    (void)state;
    fixture_fill(&f);
    fixture_interact(&f, "u3", "i40");
    fixture_interact(&f, "u4", "i40");
    fixture_train(&f, FUSION_CP, BACKBONE_LIGHTGCN, false, 3);
    assert_int_equal(is_warm(&f, "i40"), -1);
    fixture_start(&f);
    fixture_interact(&f, "u5", "i40");
    fixture_settle(&f);
    assert_int_equal(is_warm(&f, "i40"), -1);
    assert_int_equal(fixture_count(&f, "SELECT count(*) FROM embedding JOIN item USING(rid) "
                                       "WHERE topic_id IS NULL"),
                     0);
    fixture_items(&f, 40, 1);
    fixture_settle(&f);
    check_alone(&f, "i40");
    assert_int_equal(is_warm(&f, "i40"), 1);
    fixture_close(&f);
}

/* Interactions before an offset go; f->offset goes on with every event. */
static void retain(struct refresh_fixture *f, int64_t offset)
{
    const struct store_retention day = {.interactions_days = 1};
    bool more = true;

    pthread_mutex_lock(&f->lock);
    while (more)
        refresh_ok(f, store_retain(f->st, &day, INT64_C(86400) * 1000000 + offset + 1, 7, &more,
                                   &f->err));
    pthread_mutex_unlock(&f->lock);
    refresh_wake(f->refresh);
}

/* u1 - i1 - u2 - i2: two hops from i1 the degree of i2 counts, whose three other edges go. */
static void check_retention(int64_t cache_bytes)
{
    static const uint32_t pairs[][2] = {{10, 2}, {11, 2}, {12, 2}, {2, 2}, {2, 1}, {1, 1}};
    static const char *const touched[] = {"u1", "i1"};
    struct refresh_fixture f;

    fixture_open(&f);
    f.s.refresh.cache_bytes = cache_bytes;
    f.s.refresh.spread = 0; /* which would make them anew once more */
    fixture_items(&f, 0, 4);
    fixture_pairs(&f, pairs, 6);
    fixture_train(&f, FUSION_CP, BACKBONE_LIGHTGCN, false, 3);
    fixture_start(&f);
    fixture_interact(&f, "u1", "i1");
    fixture_settle(&f);
    check(&f, touched, 2);
    retain(&f, f.offset - 4);
    assert_int_equal(fixture_count(&f, "SELECT count(*) FROM interaction"), 4);
    fixture_interact(&f, "u1", "i1");
    fixture_settle(&f);
    check(&f, touched, 2);
    assert_int_equal(fixture_count(&f, "SELECT count(*) FROM touch"), 0);
    fixture_close(&f);
}

static void edges_that_retention_took_count_no_more(void **state)
{
    (void)state;
    check_retention(1 << 20);
    check_retention(1); /* degrees are kept whatever there is room for */
}

static void random_event(struct refresh_fixture *f, struct rng *rng)
{
    static const char *const reactions[] = {"like", "like", "dislike", "impression"};
    size_t what = rng_next(rng) % 8, n = 3 + rng_next(rng) % (FIXTURE_ITEMS - 3);
    char user[16], item[16];

    snprintf(user, sizeof(user), "u%u", (unsigned)(rng_next(rng) % (FIXTURE_USERS + 5)));
    snprintf(item, sizeof(item), "i%zu", n);
    if (what == 0)
        fixture_delete(f, item);
    else if (what == 1)
        fixture_items(f, n, 1);
    else
        fixture_react(f, user, item, reactions[rng_next(rng) % 4], 1);
    if (what == 7)
        fixture_interact(f, user, item);
}

/* Strangers, the same again, deletions, items anew, retention, in any order: what is touched last
 * equals the whole pass. Items 1 and 2 stay. */
static void random_events_stay_exact(void **state)
{
    static const char *const touched[] = {"u1", "i1", "u21", "i2"};
    static const int64_t cache_bytes[] = {1 << 20, 1};
    struct rng rng;

    (void)state;
    rng_init(&rng, 11);
    for (int c = 0; c < 2; c++) {
        struct refresh_fixture f;
        size_t n_neighbours = 0;

        fixture_fill(&f);
        fixture_factors(&f, -1, 1);
        f.s.refresh.cache_bytes = cache_bytes[c];
        f.s.refresh.spread = 0;
        f.neighbours = true;
        fixture_train(&f, FUSION_CP, BACKBONE_LIGHTGCN, false, 3);
        fixture_start(&f);
        for (int round = 0; round < 3; round++) {
            for (int i = 0; i < 40; i++) {
                random_event(&f, &rng);
                if (i % 20 == 0)
                    fixture_settle(&f);
            }
            retain(&f, f.offset / 4);
            fixture_pairs(&f, (const uint32_t[][2]){{1, 1}, {21, 2}}, 2);
            fixture_settle(&f);
            check(&f, touched, 4);
            n_neighbours += fixture_check_row(&f, "i1") + fixture_check_row(&f, "i2");
        }
        assert_true(n_neighbours > 0);
        fixture_close(&f);
    }
}

/* A neighbourhood beyond refresh.max_edges keeps its vector, and is counted. */
static void too_large_a_neighbourhood_waits_for_training(void **state)
{
    struct refresh_fixture f;
    struct refresh_status status;
    uint32_t pairs[2000][2];

    (void)state;
    fixture_fill(&f);
    for (uint32_t i = 0; i < 2000; i++) {
        pairs[i][0] = 100 + i;
        pairs[i][1] = 5;
    }
    fixture_pairs(&f, pairs, 2000);
    fixture_train(&f, FUSION_NONE, BACKBONE_LIGHTGCN, false, 3);
    refresh_ok(&f, settings_set(&f.s, "refresh.max_edges", "1000", &f.err));
    fixture_start(&f);
    fixture_settle(&f);
    fixture_interact(&f, "u1", "i5");
    fixture_interact(&f, "u1", "i29");
    fixture_settle(&f);
    refresh_status(f.refresh, &status);
    assert_true(status.n_too_big > 0);
    assert_int_equal(fixture_count(&f, "SELECT count(*) FROM touch"), 0);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interactions_move_vectors_to_the_whole_pass),
        cmocka_unit_test(signals_follow_to_the_whole_pass),
        cmocka_unit_test(mf_folds_in_strangers_only),
        cmocka_unit_test(item_graph_goes_on_after_training),
        cmocka_unit_test(restart_catches_up),
        cmocka_unit_test(flips_need_nothing_else),
        cmocka_unit_test(model_that_cannot_be_followed_harms_nothing),
        cmocka_unit_test(refused_model_leaves_the_work_undone),
        cmocka_unit_test(deleted_item_leaves_the_graph),
        cmocka_unit_test(dislike_turns_an_edge_off),
        cmocka_unit_test(what_counts_for_nothing_moves_nothing),
        cmocka_unit_test(other_factors_turn_edges_on_and_off),
        cmocka_unit_test(unpublished_item_has_no_vector),
        cmocka_unit_test(edges_that_retention_took_count_no_more),
        cmocka_unit_test(random_events_stay_exact),
        cmocka_unit_test(too_large_a_neighbourhood_waits_for_training),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
