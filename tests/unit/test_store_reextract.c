/* Features made anew, and which items need it. */

#include "store_fixture.h"

#define CASE(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

struct anew {
    struct store_reextraction x;
    float visual[2], embedding[FIXTURE_DIM];
};

static struct store_batch_result reextract(struct fixture *f, struct anew *b,
                                           const char *item_id, float first)
{
    struct store_op op = {.kind = STORE_OP_REEXTRACTION, .reextraction = &b->x};

    *b = (struct anew){.visual = {first, 3.0F}, .embedding = {first, 1.0F, 2.0F, 3.0F}};
    b->x = (struct store_reextraction){.item_id = item_id,
                                       .flags_json = "{\"n\":1}",
                                       .feature = {{b->visual, 2, "v2"}},
                                       .embedding = {b->embedding, FIXTURE_DIM, NULL},
                                       .model_id = f->model_id};
    return fixture_write(f, &op, 1, -1);
}

static float first_of(struct fixture *f, const char *item_id)
{
    struct store_embedding e;

    assert_ok(f, store_get_embedding(f->st, item_id, &e, &f->err));
    float first = e.vec[0];
    store_embedding_done(&e);
    return first;
}

static void reextraction_replaces_features_and_keeps_the_event(void **state)
{
    struct fixture *f = *state;
    struct anew b;
    struct store_item before, after;
    char encoder[64];
    float *vec;
    int32_t dim;

    fixture_put(f, "a", 1, 0.5F);
    assert_ok(f, store_get_item(f->st, "a", &before, &f->err));
    int64_t seq = fixture_seq(f);
    assert_int_equal(reextract(f, &b, "a", 7.0F).n_reextracted, 1);
    assert_ok(f, store_get_item(f->st, "a", &after, &f->err));
    assert_string_equal(after.flags_json, "{\"n\":1}");
    assert_string_equal(after.title, before.title);
    assert_string_equal(after.topic, before.topic);
    assert_int_equal(after.offset, before.offset);
    assert_true(after.received_ms == before.received_ms);
    assert_true(after.extracted_ms == before.extracted_ms);
    assert_true(after.queryable_ms == before.queryable_ms);
    assert_ok(f, store_get_feature(f->st, "a", MODALITY_VISUAL, &vec, &dim, encoder, &f->err));
    assert_int_equal(dim, 2);
    assert_string_equal(encoder, "v2");
    free(vec);
    assert_int_equal(
        store_get_feature(f->st, "a", MODALITY_TEXTUAL, &vec, &dim, encoder, &f->err),
        ERR_NONE);
    assert_true(first_of(f, "a") == 7.0F);
    assert_int_equal(fixture_seq(f), seq + 1);
    store_item_done(&before);
    store_item_done(&after);
}

static void reextraction_of_the_same_bytes_takes_no_seq(void **state)
{
    struct fixture *f = *state;
    struct anew b;

    fixture_put(f, "a", 1, 0.5F);
    reextract(f, &b, "a", 7.0F);
    int64_t seq = fixture_seq(f);
    reextract(f, &b, "a", 7.0F);
    assert_int_equal(fixture_seq(f), seq);
}

static void reextraction_keeps_a_warm_vector(void **state)
{
    struct fixture *f = *state;
    struct anew b;
    const float warm[FIXTURE_DIM] = {9.0F, 9.0F, 9.0F, 9.0F};
    const uint8_t one = 1;

    fixture_put(f, "a", 1, 0.5F);
    int64_t rid = fixture_query(f, "SELECT rid FROM item WHERE item_id = 'a'");
    struct store_vectors v = {.model_id = f->model_id,
                              .side = STORE_SIDE_ITEMS,
                              .ids = &rid,
                              .vec = warm,
                              .warm = &one,
                              .n = 1,
                              .dim = FIXTURE_DIM};
    assert_ok(f, store_publish_vectors(f->st, &v, &f->err));
    int64_t seq = fixture_seq(f);
    fixture_spoil(f, "DELETE FROM touch");
    reextract(f, &b, "a", 7.0F);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM touch WHERE item_changed = 1"), 1);
    assert_true(first_of(f, "a") == 9.0F);
    assert_int_equal(fixture_seq(f), seq);
}

static void reextraction_keeps_vectors_of_other_models(void **state)
{
    struct fixture *f = *state;
    struct anew b;
    int64_t old_id = f->model_id;

    fixture_put(f, "a", 1, 0.5F);
    f->model_id = fixture_model(f, "second.safetensors");
    assert_ok(f, store_model_activate(f->st, f->model_id, &f->err));
    assert_int_equal(fixture_query(f, "SELECT state = 'no_signal' FROM item"), 1);
    reextract(f, &b, "a", 7.0F); /* a vector under the new model: the item is back */
    assert_true(first_of(f, "a") == 7.0F);
    assert_int_equal(fixture_query(f, "SELECT state = 'cold' FROM item"), 1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM change WHERE op = 'delete'"), 0);
    assert_ok(f, store_model_activate(f->st, old_id, &f->err));
    assert_true(first_of(f, "a") == 0.5F);
}

static void reextraction_without_a_vector_keeps_the_old_one(void **state)
{
    struct fixture *f = *state;
    const float visual[2] = {1.0F, 2.0F};
    struct store_reextraction x = {.item_id = "a", .feature = {{visual, 2, "v2"}}};
    struct store_op op = {.kind = STORE_OP_REEXTRACTION, .reextraction = &x};

    fixture_put(f, "a", 1, 0.5F);
    fixture_spoil(f, "DELETE FROM touch");
    assert_int_equal(fixture_write(f, &op, 1, -1).n_reextracted, 1);
    assert_true(first_of(f, "a") == 0.5F);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM touch"), 0);
}

static void reextraction_of_no_item_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct anew b;

    fixture_put(f, "a", 1, 0.5F);
    fixture_delete(f, "a", 2);
    int64_t seq = fixture_seq(f);
    assert_int_equal(reextract(f, &b, "a", 7.0F).n_stale, 1);
    assert_int_equal(reextract(f, &b, "nobody", 7.0F).n_stale, 1);
    assert_int_equal(reextract(f, &b, NULL, 7.0F).n_stale, 1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM feature"), 0);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM item"), 1);
    assert_int_equal(fixture_seq(f), seq);
}

static void reextraction_that_is_not_finite_is_refused(void **state)
{
    struct fixture *f = *state;
    const float bad[2] = {1.0F, __builtin_inff()};
    struct store_reextraction x = {.item_id = "a", .feature = {{bad, 2, "v2"}}};
    struct store_op op = {.kind = STORE_OP_REEXTRACTION, .reextraction = &x};
    struct store_batch_result r;

    fixture_put(f, "a", 1, 0.5F);
    assert_fatal(f, EX_SOFTWARE, store_write_batch(f->st, &op, 1, NULL, 0, &r, &f->err));
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM feature"), 2);
}

/* ---- stale ------------------------------------------------------------------------------- */

static const char *const encoders[MODALITY_COUNT] = {"v1", "a1", "t1"};

static int64_t count_stale(struct fixture *f)
{
    int64_t n = -1;

    assert_ok(f, store_count_stale(f->st, encoders, &n, &f->err));
    return n;
}

/* The ids in order, joined by spaces. */
static const char *extractable(struct fixture *f, bool stale, int64_t after, size_t max)
{
    static char text[128];
    struct store_ref *refs;
    size_t n;

    text[0] = '\0';
    assert_ok(f, store_list_extractable(f->st, stale ? encoders : NULL, after, max, &refs, &n,
                                        &f->err));
    for (size_t i = 0; i < n; i++) {
        (void)strcat(text, i ? " " : "");
        (void)strcat(text, refs[i].item_id);
    }
    store_refs_free(refs, n);
    return text;
}

static void stale_is_what_another_encoder_made_and_media_can_make_anew(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 5; i++)
        fixture_put(f, (const char *[]){"a", "b", "c", "d", "e"}[i], i + 1, 0.5F);
    assert_int_equal(count_stale(f), 0);
    assert_string_equal(extractable(f, true, 0, 9), "");
    fixture_spoil(f, "UPDATE feature SET encoder_id = 'v0' WHERE modality = 'visual'");
    assert_int_equal(count_stale(f), 5);
    fixture_spoil(
        f, "UPDATE feature SET encoder_id = 't0' WHERE rid = 1 AND modality = 'textual'");
    assert_int_equal(count_stale(f), 5); /* an item counts once */
    fixture_spoil(f, "UPDATE item SET media_uri = NULL WHERE item_id IN ('a', 'b')");
    assert_int_equal(count_stale(f), 4); /* b: nothing to make its picture from */
    fixture_spoil(f, "UPDATE item SET title = NULL, tags = NULL WHERE item_id IN ('a', 'b')");
    assert_int_equal(count_stale(f), 3);
    fixture_delete(f, "c", 9);
    assert_int_equal(count_stale(f), 2);
    assert_string_equal(extractable(f, true, 0, 9), "d e");
    assert_string_equal(extractable(f, true, 0, 1), "d");
    assert_string_equal(extractable(f, true, 4, 9), "e");
}

static void extractable_are_items_with_media_or_text(void **state)
{
    struct fixture *f = *state;

    fixture_put(f, "a", 1, 0.5F);
    fixture_put(f, "b", 2, 0.5F);
    fixture_put(f, "c", 3, 0.5F);
    fixture_interact(f, "u", "clicked", 1, 1);
    fixture_spoil(f, "UPDATE item SET media_uri = NULL, title = NULL, tags = NULL "
                     "WHERE item_id = 'b'");
    fixture_spoil(f, "UPDATE item SET media_uri = NULL WHERE item_id = 'c'");
    assert_string_equal(extractable(f, false, 0, 9), "a c");
    assert_string_equal(extractable(f, false, 1, 9), "c");
}

static void stale_count_reads_an_index_not_the_vectors(void **state)
{
    struct fixture *f = *state;
    sqlite3_stmt *stmt = NULL;
    char sql[4096];
    int n = 0;

    (void)snprintf(sql, sizeof sql, "EXPLAIN QUERY PLAN %s", store_sql[SQL_STALE_COUNT]);
    assert_int_equal(sqlite3_prepare_v2(f->st->db, sql, -1, &stmt, NULL), SQLITE_OK);
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        const char *line = (const char *)sqlite3_column_text(stmt, 3);

        if (strstr(line, " f "))
            n += strstr(line, "COVERING INDEX feature_encoder (modality=?)") != NULL;
    }
    (void)sqlite3_finalize(stmt);
    assert_int_equal(n, 3);
}

/* ---- for reports ------------------------------------------------------------------------- */

static void sample_is_drawn_evenly_and_always_the_same(void **state)
{
    struct fixture *f = *state;
    struct store_ref *refs, *again;
    size_t n, n_again;
    int64_t low = 0;
    char id[8];

    for (int i = 0; i < 60; i++) {
        (void)snprintf(id, sizeof id, "i%02d", i);
        fixture_put(f, id, i + 1, 0.5F);
    }
    assert_ok(f, store_sample(f->st, 20, &refs, &n, &f->err));
    assert_ok(f, store_sample(f->st, 20, &again, &n_again, &f->err));
    assert_int_equal(n, 20);
    assert_int_equal(n_again, 20);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(refs[i].item_id, again[i].item_id);
        low += refs[i].rid <= 30;
    }
    assert_in_range(low, 5, 15);
    store_refs_free(refs, n);
    store_refs_free(again, n_again);
    assert_ok(f, store_sample(f->st, 100, &refs, &n, &f->err));
    assert_int_equal(n, 60);
    store_refs_free(refs, n);
}

static void latencies_and_gaps_are_the_newest(void **state)
{
    struct fixture *f = *state;
    struct store_gap gap = {"videos", 3, 10, 20}, newer = {"videos", 3, 30, 31};
    const struct store_op ops[] = {{.kind = STORE_OP_GAP, .gap = &gap},
                                   {.kind = STORE_OP_GAP, .gap = &newer}};
    struct store_gap_row *rows;
    double *ms;
    size_t n;

    assert_ok(f, store_read_latencies(f->st, 10, &ms, &n, &f->err));
    assert_int_equal(n, 0);
    free(ms);
    fixture_put(f, "a", 1, 0.5F);
    fixture_put(f, "b", 2, 0.5F);
    fixture_spoil(f, "UPDATE item SET received_ms = 1000, queryable_ms = 1000 + 50 * rid");
    assert_ok(f, store_read_latencies(f->st, 1, &ms, &n, &f->err));
    assert_int_equal(n, 1);
    assert_true(ms[0] == 100);
    free(ms);
    fixture_write(f, ops, 2, -1);
    assert_ok(f, store_read_gaps(f->st, 1, &rows, &n, &f->err));
    assert_int_equal(n, 1);
    assert_string_equal(rows[0].topic, "videos");
    assert_int_equal(rows[0].from_offset, 30);
    store_gaps_free(rows, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(reextraction_replaces_features_and_keeps_the_event),
        CASE(reextraction_of_the_same_bytes_takes_no_seq),
        CASE(reextraction_keeps_a_warm_vector),
        CASE(reextraction_keeps_vectors_of_other_models),
        CASE(reextraction_without_a_vector_keeps_the_old_one),
        CASE(reextraction_of_no_item_changes_nothing),
        CASE(reextraction_that_is_not_finite_is_refused),
        CASE(stale_is_what_another_encoder_made_and_media_can_make_anew),
        CASE(extractable_are_items_with_media_or_text),
        CASE(stale_count_reads_an_index_not_the_vectors),
        CASE(sample_is_drawn_evenly_and_always_the_same),
        CASE(latencies_and_gaps_are_the_newest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
