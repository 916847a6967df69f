/* Reading: items, vectors, matrix, counts, offsets; checksums; models and seq across flips. */

#include "store_fixture.h"

#include <math.h>

static void get_embedding_returns_what_was_written(void **state)
{
    struct fixture *f = *state;
    struct store_embedding e;
    const float want[FIXTURE_DIM] = {3, 0.5F, -0.25F, 8};

    (void)fixture_put(f, "v1", 1, 3);
    assert_ok(f, store_get_embedding(f->st, "v1", &e, &f->err));
    assert_string_equal(e.item_id, "v1");
    assert_int_equal(e.dim, FIXTURE_DIM);
    assert_memory_equal(e.vec, want, sizeof want);
    assert_string_equal(e.state, "cold");
    assert_int_equal(e.model_id, f->model_id);
    assert_int_equal(e.seq, fixture_seq(f));
    assert_true(e.updated_ms > 1.6e12);
    store_embedding_done(&e);
    assert_int_equal(store_get_embedding(f->st, "v2", &e, &f->err), ERR_NONE);
}

static void get_item_unknown_is_none(void **state)
{
    struct fixture *f = *state;
    struct store_item item;

    assert_int_equal(store_get_item(f->st, "nobody", &item, &f->err), ERR_NONE);
}

static void get_embedding_spoilt_vector_is_named(void **state)
{
    struct fixture *f = *state;
    struct store_embedding e;
    struct store_matrix m;

    (void)fixture_put(f, "v1", 1, 3);
    fixture_spoil(f, "UPDATE embedding SET vec = x'0000803f0000803f0000803f0000803f'");
    assert_fatal(f, EX_DATAERR, store_get_embedding(f->st, "v1", &e, &f->err));
    assert_non_null(strstr(f->err.text, "table embedding, row 1"));
    assert_fatal(f, EX_DATAERR, store_read_embeddings(f->st, &m, &f->err));
}

static void get_feature_spoilt_vector_is_named(void **state)
{
    struct fixture *f = *state;
    float *vec = NULL;
    int32_t dim = 0;
    int64_t n = 0;
    char encoder[64];

    (void)fixture_put(f, "v1", 1, 3);
    fixture_spoil(f, "UPDATE feature SET checksum = checksum + 1");
    assert_fatal(f, EX_DATAERR,
                 store_get_feature(f->st, "v1", MODALITY_VISUAL, &vec, &dim, encoder, &f->err));
    assert_non_null(strstr(f->err.text, "table feature, row 1"));
    assert_fatal(f, EX_DATAERR, store_check(f->st, &n, &f->err));
}

static void read_embeddings_gives_rows_in_order(void **state)
{
    struct fixture *f = *state;
    struct store_matrix m;
    char id[80];

    for (int i = 0; i < 50; i++) {
        (void)snprintf(id, sizeof id, "a-rather-long-identifier-of-a-video-%040d", i);
        (void)fixture_put(f, id, i, (float)i + 1);
    }
    (void)fixture_delete(f,
                         "a-rather-long-identifier-of-a-video-"
                         "0000000000000000000000000000000000000007",
                         100);
    assert_ok(f, store_read_embeddings(f->st, &m, &f->err));
    assert_int_equal(m.n_rows, 49);
    assert_int_equal(m.dim, FIXTURE_DIM);
    assert_int_equal(m.model_id, f->model_id);
    assert_true(m.vec[6 * FIXTURE_DIM] == 7.0F);
    assert_true(m.vec[7 * FIXTURE_DIM] == 9.0F);
    assert_int_equal(atoi(m.item_id[48] + 36), 49);
    store_matrix_done(&m);
}

static void read_embeddings_empty_store_gives_no_rows(void **state)
{
    struct fixture *f = *state;
    struct store_matrix m;

    assert_ok(f, store_read_embeddings(f->st, &m, &f->err));
    assert_int_equal(m.n_rows, 0);
    store_matrix_done(&m);
}

static void read_embeddings_mixed_dimensions_are_refused(void **state)
{
    struct fixture *f = *state;
    struct fixture_video b;
    struct store_op op = {.kind = STORE_OP_VIDEO};
    struct store_matrix m;

    (void)fixture_put(f, "v1", 1, 3);
    op.video = fixture_video(f, &b, "v2", 2, 1);
    b.v.embedding.dim = 2;
    (void)fixture_write(f, &op, 1, 3);
    assert_fatal(f, EX_DATAERR, store_read_embeddings(f->st, &m, &f->err));
}

static void count_counts_each_kind(void **state)
{
    struct fixture *f = *state;
    struct store_counts c;
    struct store_count_by *by = NULL;
    size_t n = 0;

    (void)fixture_put(f, "v1", 1, 1);
    (void)fixture_put(f, "v2", 2, 1);
    (void)fixture_delete(f, "v2", 3);
    (void)fixture_interact(f, "u1", "v3", 1, 1);
    (void)fixture_bury(f, 4, "bad_json", "dlq");
    (void)fixture_bury(f, 5, "media", NULL);
    (void)fixture_bury(f, 6, "bad_json", NULL);
    assert_ok(f, store_count(f->st, &c, &f->err));
    assert_int_equal(c.n_items, 2);
    assert_int_equal(c.n_deleted, 1);
    assert_int_equal(c.n_embeddings, 1);
    assert_int_equal(c.n_no_features, 1);
    assert_int_equal(c.n_users, 1);
    assert_int_equal(c.n_interactions, 1);
    assert_int_equal(c.n_dead_letters, 3);
    assert_int_equal(c.n_outbox, 1);
    assert_int_equal(c.n_models, 1);
    assert_int_equal(c.last_seq, fixture_seq(f));
    assert_true(c.file_bytes > 0 && c.wal_bytes > 0);
    assert_ok(f, store_count_dead_letters(f->st, &by, &n, &f->err));
    assert_int_equal(n, 2);
    assert_string_equal(by[0].name, "bad_json");
    assert_int_equal(by[0].n, 2);
    free(by);
}

static void read_offsets_lists_each_partition(void **state)
{
    struct fixture *f = *state;
    const struct store_offset offsets[] = {
        {"b", 0, 5, 0, 0}, {"a", 1, 7, 0, 0}, {"a", 0, 6, 0, 0}};
    struct store_offset_row *rows = NULL;
    struct store_batch_result r;
    size_t n = 0;

    assert_ok(f, store_write_batch(f->st, NULL, 0, offsets, 3, &r, &f->err));
    assert_ok(f, store_read_offsets(f->st, &rows, &n, &f->err));
    assert_int_equal(n, 3);
    assert_string_equal(rows[0].topic, "a");
    assert_int_equal(rows[1].next_offset, 7);
    assert_true(rows[2].updated_ms > 1.6e12);
    store_offsets_free(rows, n);
}

/* ---- models --------------------------------------------------------------------------------- */

static void model_add_and_get_round_trip(void **state)
{
    struct fixture *f = *state;
    char encoders[] = "{\"visual\":\"v1\"}";
    struct store_model m = {.parent_id = f->model_id,
                            .origin = STORE_MODEL_TRAINED,
                            .created_us = 1700000000123456,
                            .backbone = "sage",
                            .fusion = "dense",
                            .file = "m.safetensors",
                            .sha256 = "ab",
                            .encoder_ids = encoders};
    struct store_model got;

    assert_ok(f, store_model_add(f->st, &m, &f->err));
    assert_string_equal(m.state, "candidate");
    assert_ok(f, store_model_get(f->st, m.model_id, &got, &f->err));
    assert_int_equal(got.parent_id, f->model_id);
    assert_int_equal(got.origin, STORE_MODEL_TRAINED);
    assert_int_equal(got.created_us, 1700000000123456);
    assert_string_equal(got.backbone, "sage");
    assert_string_equal(got.fusion, "dense");
    assert_string_equal(got.file, "m.safetensors");
    assert_string_equal(got.encoder_ids, encoders);
    assert_null(got.metrics);
    store_model_done(&got);
    assert_int_equal(store_model_get(f->st, 999, &got, &f->err), ERR_NONE);
}

static void model_activate_retires_the_old_one(void **state)
{
    struct fixture *f = *state;
    struct store_model m;
    int64_t second = fixture_model(f, "second");

    assert_ok(f, store_model_activate(f->st, second, &f->err));
    assert_ok(f, store_model_active(f->st, &m, &f->err));
    assert_int_equal(m.model_id, second);
    assert_string_equal(m.state, "active");
    store_model_done(&m);
    assert_ok(f, store_model_get(f->st, f->model_id, &m, &f->err));
    assert_string_equal(m.state, "retired");
    store_model_done(&m);
    int64_t seq = fixture_seq(f);
    assert_ok(f, store_model_activate(f->st, second, &f->err));
    assert_int_equal(fixture_seq(f), seq);
    assert_fatal(f, EX_DATAERR, store_model_activate(f->st, 999, &f->err));
    assert_int_equal(fixture_query(f, "SELECT model_id FROM active_model"), second);
}

static void model_active_none_is_none(void **state)
{
    struct fixture *f = *state;
    struct store_model m;

    fixture_spoil(f, "DELETE FROM active_model");
    assert_int_equal(store_model_active(f->st, &m, &f->err), ERR_NONE);
}

static void model_list_is_newest_first(void **state)
{
    struct fixture *f = *state;
    struct store_model *rows = NULL;
    size_t n = 0;
    int64_t second = fixture_model(f, "second");

    assert_ok(f, store_model_list(f->st, 10, &rows, &n, &f->err));
    assert_int_equal(n, 2);
    assert_int_equal(rows[0].model_id, second);
    for (size_t i = 0; i < n; i++)
        store_model_done(&rows[i]);
    free(rows);
}

static void model_set_state_refuses_the_active_one(void **state)
{
    struct fixture *f = *state;
    struct store_model m;
    int64_t second = fixture_model(f, "second");

    assert_ok(f, store_model_set_state(f->st, second, "rejected", "{\"ndcg\":0.1}", &f->err));
    assert_ok(f, store_model_get(f->st, second, &m, &f->err));
    assert_string_equal(m.state, "rejected");
    assert_string_equal(m.metrics, "{\"ndcg\":0.1}");
    store_model_done(&m);
    assert_fatal(f, EX_DATAERR,
                 store_model_set_state(f->st, f->model_id, "rejected", NULL, &f->err));
}

/* Copies the current vectors under another model, as publication does. */
static void copy_vectors(struct fixture *f, int64_t model_id, const char *where)
{
    char *sql = NULL;

    assert_true(asprintf(&sql,
                         "INSERT INTO embedding SELECT %lld, rid, dim, checksum, 'warm', seq, "
                         "updated_ms, vec FROM embedding WHERE model_id = %lld AND %s",
                         (long long)model_id, (long long)f->model_id, where) > 0);
    fixture_spoil(f, sql);
    free(sql);
}

static int64_t changed_since(struct fixture *f, int64_t seq, const char *op)
{
    char sql[160];

    (void)snprintf(sql, sizeof sql,
                   "SELECT count(*) FROM change WHERE seq > %lld AND op = '%s'", (long long)seq,
                   op);
    return fixture_query(f, sql);
}

static void seq_moves_with_each_write_and_delete(void **state)
{
    struct fixture *f = *state;
    int64_t seq = fixture_seq(f);

    (void)fixture_put(f, "v1", 1, 1);
    (void)fixture_put(f, "v2", 2, 1);
    assert_int_equal(fixture_seq(f), seq + 2);
    assert_int_equal(changed_since(f, seq, "upsert"), 2);
    assert_int_equal(changed_since(f, seq + 1, "upsert"), 1);
    (void)fixture_delete(f, "v1", 3);
    assert_int_equal(fixture_seq(f), seq + 3);
    assert_int_equal(changed_since(f, seq + 2, "delete"), 1);
    assert_int_equal(changed_since(f, seq + 3, "delete"), 0);
    assert_int_equal(changed_since(f, seq, "upsert"), 1);
}

static void seq_flip_touches_every_current_row(void **state)
{
    struct fixture *f = *state;

    (void)fixture_put(f, "v1", 1, 1);
    (void)fixture_put(f, "v2", 2, 1);
    (void)fixture_put(f, "v3", 3, 1);
    int64_t second = fixture_model(f, "second");
    copy_vectors(f, second, "rid < 3");
    int64_t seq = fixture_seq(f);
    assert_int_equal(changed_since(f, seq, "upsert"), 0);
    assert_ok(f, store_model_activate(f->st, second, &f->err));
    assert_int_equal(fixture_seq(f), seq + 1);
    assert_int_equal(changed_since(f, seq, "upsert"), 2);
    assert_int_equal(changed_since(f, seq, "delete"), 1); /* v3 has none under the new model */
    assert_int_equal(fixture_query(f, "SELECT min(seq) FROM current_embedding"), seq + 1);
    assert_int_equal(fixture_query(f, "SELECT state='warm' FROM item WHERE item_id='v1'"), 1);
    assert_int_equal(fixture_query(f, "SELECT state='no_signal' FROM item WHERE item_id='v3'"),
                     1);
    assert_ok(f, store_model_activate(f->st, f->model_id, &f->err)); /* back again */
    assert_int_equal(changed_since(f, seq + 1, "upsert"), 3);
    assert_int_equal(changed_since(f, 0, "delete"), 0);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM item WHERE state='cold'"), 3);
}

static void seq_write_after_flip_moves_on(void **state)
{
    struct fixture *f = *state;

    (void)fixture_put(f, "v1", 1, 1);
    int64_t second = fixture_model(f, "second");
    copy_vectors(f, second, "1");
    assert_ok(f, store_model_activate(f->st, second, &f->err));
    int64_t seq = fixture_seq(f);
    f->model_id = second;
    (void)fixture_put(f, "v2", 2, 1);
    assert_int_equal(changed_since(f, seq, "upsert"), 1);
    assert_int_equal(changed_since(f, seq - 1, "upsert"), 2);
}

/* Replacing an item drops its vectors of other models: they describe what it was. */
static void embedding_of_other_model_goes_with_the_old_features(void **state)
{
    struct fixture *f = *state;

    (void)fixture_put(f, "v1", 1, 1);
    copy_vectors(f, fixture_model(f, "second"), "1");
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM embedding"), 2);
    (void)fixture_put(f, "v1", 2, 2);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM embedding"), 1);
}

static void change_since_uses_an_index_in_every_branch(void **state)
{
    struct fixture *f = *state;
    sqlite3_stmt *stmt = NULL;

    assert_int_equal(sqlite3_prepare_v2(f->st->db,
                                        "EXPLAIN QUERY PLAN SELECT * FROM change WHERE seq > 5",
                                        -1, &stmt, NULL),
                     SQLITE_OK);
    while (sqlite3_step(stmt) == SQLITE_ROW) {
        const char *detail = (const char *)sqlite3_column_text(stmt, 3);

        if (strstr(detail, "SCAN") && !strstr(detail, "SCAN a"))
            fail_msg("%s", detail);
    }
    (void)sqlite3_finalize(stmt);
}

static void current_user_embedding_follows_the_active_model(void **state)
{
    struct fixture *f = *state;

    (void)fixture_interact(f, "u1", "v1", 1, 1);
    fixture_spoil(f, "INSERT INTO user_embedding SELECT model_id, 1, 1, 0, 5, 1.0, x'0000803f' "
                     "FROM active_model");
    assert_int_equal(
        fixture_query(f, "SELECT seq FROM current_user_embedding WHERE user_id='u1'"), 5);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(get_embedding_returns_what_was_written),
        CASE(get_item_unknown_is_none),
        CASE(get_embedding_spoilt_vector_is_named),
        CASE(get_feature_spoilt_vector_is_named),
        CASE(read_embeddings_gives_rows_in_order),
        CASE(read_embeddings_empty_store_gives_no_rows),
        CASE(read_embeddings_mixed_dimensions_are_refused),
        CASE(count_counts_each_kind),
        CASE(read_offsets_lists_each_partition),
        CASE(model_add_and_get_round_trip),
        CASE(model_activate_retires_the_old_one),
        CASE(model_active_none_is_none),
        CASE(model_list_is_newest_first),
        CASE(model_set_state_refuses_the_active_one),
        CASE(seq_moves_with_each_write_and_delete),
        CASE(seq_flip_touches_every_current_row),
        CASE(seq_write_after_flip_moves_on),
        CASE(embedding_of_other_model_goes_with_the_old_features),
        CASE(change_since_uses_an_index_in_every_branch),
        CASE(current_user_embedding_follows_the_active_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
