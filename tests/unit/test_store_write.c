/* store_write_batch: what one batch leaves behind, twice, out of order, refused. */

#include "store_fixture.h"

#include <math.h>

static void write_batch_new_video_stores_every_part(void **state)
{
    struct fixture *f = *state;
    struct store_batch_result r = fixture_put(f, "v1", 41, 1.0F);
    struct store_item item;

    assert_int_equal(r.n_inserted, 1);
    assert_int_equal(r.n_updated, 0);
    assert_int_equal(r.n_stale, 0);
    assert_true(r.commit_us >= 0);
    assert_ok(f, store_get_item(f->st, "v1", &item, &f->err));
    assert_string_equal(item.item_id, "v1");
    assert_string_equal(item.title, "a title");
    assert_string_equal(item.tags_json, "[\"a\"]");
    assert_null(item.description);
    assert_string_equal(item.state, "cold");
    assert_false(item.deleted);
    assert_string_equal(item.topic, "videos");
    assert_int_equal(item.partition, 3);
    assert_int_equal(item.offset, 41);
    assert_true(fabs(item.received_ms - 1700000000123.456) < 1e-3);
    assert_true(fabs(item.extract_ms - 99.123) < 1e-9);
    assert_true(fabs(item.queryable_ms - (double)r.queryable_us / 1000.0) < 1e-3);
    store_item_done(&item);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM feature"), 2);
    assert_int_equal(fixture_query(f, "SELECT next_offset FROM kafka_offset"), 42);
    assert_int_equal(fixture_query(f, "SELECT length(vec) = 4*dim FROM current_embedding"), 1);
}

static void write_batch_same_batch_twice_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct fixture_video b[2];
    struct store_interaction x = {.pos = {"clicks", 0, 7},
                                  .user_id = "u1",
                                  .item_id = "v9",
                                  .kind = "like",
                                  .weight = 2.0,
                                  .ts_us = 1700000000000000};
    struct store_dead_letter d = {.pos = {"videos", 3, 6},
                                  .reason = "bad_json",
                                  .error = "e",
                                  .stage = "parse",
                                  .dlq_topic = "dlq"};
    struct store_gap g = {"videos", 1, 10, 20};
    struct store_delete del = {{"videos", 3, 8}, "v2"};
    struct store_op ops[] = {
        {.kind = STORE_OP_VIDEO, .video = fixture_video(f, &b[0], "v1", 4, 1)},
        {.kind = STORE_OP_VIDEO, .video = fixture_video(f, &b[1], "v2", 5, 2)},
        {.kind = STORE_OP_DEAD_LETTER, .dead_letter = &d},
        {.kind = STORE_OP_INTERACTION, .interaction = &x},
        {.kind = STORE_OP_GAP, .gap = &g},
        {.kind = STORE_OP_DELETE, .del = &del}};
    struct store_counts before;
    struct store_counts after;

    struct store_batch_result r = fixture_write(f, ops, 6, 9);
    assert_int_equal(r.n_inserted, 2);
    assert_int_equal(r.n_deleted, 1);
    assert_int_equal(r.n_interactions, 1);
    assert_int_equal(r.n_dead_letters, 1);
    assert_ok(f, store_count(f->st, &before, &f->err));
    int64_t queryable = fixture_query(f, "SELECT queryable_ms*1000 FROM item WHERE rid=1");
    r = fixture_write(f, ops, 6, 9);
    assert_int_equal(r.n_inserted + r.n_updated + r.n_deleted + r.n_interactions, 0);
    assert_int_equal(r.n_dead_letters, 0);
    assert_int_equal(r.n_stale, 5);
    assert_ok(f, store_count(f->st, &after, &f->err));
    before.wal_bytes = after.wal_bytes;
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(fixture_query(f, "SELECT queryable_ms*1000 FROM item WHERE rid=1"),
                     queryable);
    assert_int_equal(after.n_items, 2); /* v1 and the interaction's v9 */
    assert_int_equal(after.n_deleted, 1);
    assert_int_equal(after.n_gaps, 1);
    assert_int_equal(after.n_outbox, 1);
    assert_int_equal(after.n_no_features, 1);
}

static void write_batch_newer_event_replaces_item(void **state)
{
    struct fixture *f = *state;
    struct fixture_video b;
    struct store_op op = {.kind = STORE_OP_VIDEO};
    struct store_item item;
    float *vec = NULL;
    int32_t dim = 0;
    char encoder[64];

    (void)fixture_put(f, "v1", 1, 1);
    struct store_video *v = fixture_video(f, &b, "v1", 2, 7);
    v->feature[MODALITY_TEXTUAL].vec = NULL;
    v->title = NULL;
    op.video = v;
    struct store_batch_result r = fixture_write(f, &op, 1, 3);
    assert_int_equal(r.n_updated, 1);
    assert_int_equal(r.n_inserted, 0);
    assert_ok(f, store_get_item(f->st, "v1", &item, &f->err));
    assert_null(item.title);
    assert_int_equal(item.offset, 2);
    store_item_done(&item);
    assert_int_equal(
        store_get_feature(f->st, "v1", MODALITY_TEXTUAL, &vec, &dim, encoder, &f->err),
        ERR_NONE);
    assert_ok(f, store_get_feature(f->st, "v1", MODALITY_VISUAL, &vec, &dim, encoder, &f->err));
    assert_int_equal(dim, 3);
    assert_memory_equal(vec, b.visual, sizeof b.visual);
    assert_string_equal(encoder, "v1");
    free(vec);
}

static void write_batch_older_event_is_stale(void **state)
{
    struct fixture *f = *state;

    (void)fixture_put(f, "v1", 10, 1);
    int64_t seq = fixture_seq(f);
    struct store_batch_result r = fixture_put(f, "v1", 9, 2);
    assert_int_equal(r.n_stale, 1);
    assert_int_equal(r.n_updated, 0);
    assert_int_equal(fixture_seq(f), seq);
    assert_int_equal(fixture_query(f, "SELECT offset FROM item"), 10);
}

static void write_batch_older_publish_after_delete_does_not_resurrect(void **state)
{
    struct fixture *f = *state;

    (void)fixture_put(f, "v1", 1, 1);
    assert_int_equal(fixture_delete(f, "v1", 5).n_deleted, 1);
    assert_int_equal(fixture_put(f, "v1", 4, 2).n_stale, 1);
    assert_int_equal(fixture_query(f, "SELECT deleted FROM item"), 1);
    assert_int_equal(fixture_query(f, "SELECT title IS NULL FROM item"), 1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM embedding"), 0);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM feature"), 0);
    assert_int_equal(fixture_put(f, "v1", 6, 2).n_updated, 1);
    assert_int_equal(fixture_query(f, "SELECT deleted FROM item"), 0);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM change WHERE op = 'delete'"), 0);
}

static void write_batch_delete_of_unknown_item_is_remembered(void **state)
{
    struct fixture *f = *state;
    int64_t seq = fixture_seq(f);

    assert_int_equal(fixture_delete(f, "ghost", 5).n_deleted, 1);
    assert_int_equal(fixture_delete(f, "ghost", 5).n_stale, 1);
    assert_int_equal(fixture_put(f, "ghost", 4, 1).n_stale, 1);
    assert_int_equal(fixture_seq(f), seq);
    assert_int_equal(fixture_query(f, "SELECT deleted FROM item WHERE item_id='ghost'"), 1);
}

static void write_batch_event_of_other_partition_displaces_position(void **state)
{
    struct fixture *f = *state;
    struct fixture_video b;
    struct store_op op = {.kind = STORE_OP_VIDEO};

    (void)fixture_put(f, "v1", 10, 1);
    op.video = fixture_video(f, &b, "v1", 3, 2);
    b.v.pos.topic = "file:ab";
    b.v.pos.partition = 0;
    assert_int_equal(fixture_write(f, &op, 1, -1).n_updated, 1);
    assert_int_equal(fixture_write(f, &op, 1, -1).n_stale, 1);
    assert_int_equal(fixture_put(f, "v1", 10, 9).n_stale, 1);
    assert_int_equal(fixture_put(f, "v1", 11, 9).n_updated, 1);
    assert_int_equal(fixture_write(f, &op, 1, -1).n_stale, 1);
}

static void write_batch_no_signal_has_no_embedding(void **state)
{
    struct fixture *f = *state;
    struct fixture_video b;
    struct store_op op = {.kind = STORE_OP_VIDEO, .video = fixture_video(f, &b, "v1", 1, 1)};
    struct store_embedding e;

    b.v.embedding.vec = NULL;
    memset(b.v.feature, 0, sizeof b.v.feature);
    (void)fixture_write(f, &op, 1, 2);
    assert_int_equal(store_get_embedding(f->st, "v1", &e, &f->err), ERR_NONE);
    assert_int_equal(fixture_query(f, "SELECT state = 'no_signal' FROM item"), 1);
    assert_int_equal(fixture_query(f, "SELECT queryable_ms > 0 FROM item"), 1);
}

static void write_batch_lost_embedding_appears_as_delete(void **state)
{
    struct fixture *f = *state;
    struct fixture_video b;
    struct store_op op = {.kind = STORE_OP_VIDEO};

    (void)fixture_put(f, "v1", 1, 1);
    op.video = fixture_video(f, &b, "v1", 2, 1);
    b.v.embedding.vec = NULL;
    (void)fixture_write(f, &op, 1, 3);
    int64_t gone = fixture_query(f, "SELECT seq FROM change WHERE op='delete'");
    assert_int_equal(gone, fixture_seq(f));
    b.v.pos.offset = 3; /* once more without: a follower must still see it */
    (void)fixture_write(f, &op, 1, 4);
    assert_int_equal(fixture_query(f, "SELECT seq FROM change WHERE op='delete'"), gone);
}

static void write_batch_interaction_with_unknown_item_creates_it(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fixture_interact(f, "u1", "new", 1, 1700000000123456).n_interactions, 1);
    assert_int_equal(fixture_query(f, "SELECT state = 'no_features' FROM item"), 1);
    assert_int_equal(fixture_query(f, "SELECT kind = 'watch' FROM interaction"), 1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM interaction_log WHERE "
                                      "topic='clicks' AND user_id='u1' AND item_id='new'"),
                     1);
    assert_int_equal(fixture_put(f, "new", 1, 1).n_inserted, 1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM item"), 1);
}

static void write_batch_interaction_does_not_revive_deleted_item(void **state)
{
    struct fixture *f = *state;

    (void)fixture_put(f, "v1", 1, 1);
    (void)fixture_delete(f, "v1", 2);
    (void)fixture_interact(f, "u1", "v1", 1, 1);
    assert_int_equal(fixture_query(f, "SELECT deleted FROM item"), 1);
}

static void write_batch_offset_never_moves_backwards(void **state)
{
    struct fixture *f = *state;
    int64_t next = 0;

    (void)fixture_write(f, NULL, 0, 100);
    (void)fixture_write(f, NULL, 0, 50);
    assert_ok(f, store_next_offset(f->st, "videos", 3, &next, &f->err));
    assert_int_equal(next, 100);
    assert_int_equal(store_next_offset(f->st, "videos", 4, &next, &f->err), ERR_NONE);
    assert_int_equal(store_next_offset(f->st, "other", 3, &next, &f->err), ERR_NONE);
}

static void move(struct fixture *f, int64_t next, int64_t record, int64_t digest)
{
    struct store_batch_result r;
    const struct store_offset offset = {"videos", 3, next, record, digest};

    assert_ok(f, store_write_batch(f->st, NULL, 0, &offset, 1, &r, &f->err));
}

static void last_record_stays_until_another(void **state)
{
    struct fixture *f = *state;
    int64_t offset = 0, digest = 0;

    move(f, 10, 0, 0);
    assert_int_equal(store_last_record(f->st, "videos", 3, &offset, &digest, &f->err),
                     ERR_NONE);
    move(f, 20, 19, -7);
    move(f, 30, 0, 0); /* over what is never delivered */
    assert_ok(f, store_last_record(f->st, "videos", 3, &offset, &digest, &f->err));
    assert_int_equal(offset, 19);
    assert_int_equal(digest, -7);
}

/* The new log's offsets are new ones: nothing of the old one is lost, nothing taken for it. */
static void topic_made_anew_begins_again(void **state)
{
    struct fixture *f = *state;
    int64_t next = 0, digest = 0;

    (void)fixture_put(f, "v1", 41, 1);
    (void)fixture_bury(f, 43, "bad_json", NULL);
    move(f, 100, 99, 5);
    assert_ok(f, store_topic_made_anew(f->st, "videos", false, &f->err));
    assert_ok(f, store_topic_made_anew(f->st, "videos", false, &f->err)); /* at each start */
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM data_gap WHERE from_offset = 100 "
                                      "AND to_offset = 100"),
                     1);
    assert_ok(f, store_next_offset(f->st, "videos", 3, &next, &f->err));
    assert_int_equal(next, 100);

    assert_ok(f, store_topic_made_anew(f->st, "videos", true, &f->err));
    assert_ok(f, store_next_offset(f->st, "videos", 3, &next, &f->err));
    assert_int_equal(next, 0);
    assert_int_equal(store_last_record(f->st, "videos", 3, &next, &digest, &f->err), ERR_NONE);
    assert_int_equal(fixture_put(f, "v1", 2, 1).n_updated, 1); /* older by its offset */
    (void)fixture_bury(f, 43, "bad_json", NULL);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dead_letter"), 2);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dead_letter WHERE topic GLOB "
                                      "'videos@20*Z'"),
                     1);
}

static void refuse(struct fixture *f, struct fixture_video *b, const char *word)
{
    struct store_op ops[2];
    struct fixture_video good;
    struct store_batch_result r;
    struct store_offset offset = {"videos", 3, 99, 0, 0};

    ops[0] = (struct store_op){.kind = STORE_OP_VIDEO,
                               .video = fixture_video(f, &good, "good", 1, 1)};
    ops[1] = (struct store_op){.kind = STORE_OP_VIDEO, .video = &b->v};
    assert_fatal(f, EX_SOFTWARE, store_write_batch(f->st, ops, 2, &offset, 1, &r, &f->err));
    if (!strstr(f->err.text, word))
        fail_msg("'%s' does not say '%s'", f->err.text, word);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM item"), 0);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM kafka_offset"), 0);
    (void)fixture_video(f, b, "bad", 2, 1);
}

static void write_batch_unusable_vectors_are_refused(void **state)
{
    struct fixture *f = *state;
    struct fixture_video b;

    (void)fixture_video(f, &b, "bad", 2, 1);
    b.embedding[2] = NAN;
    refuse(f, &b, "not a number");
    b.embedding[0] = -INFINITY;
    refuse(f, &b, "infinite");
    memset(b.embedding, 0, sizeof b.embedding);
    refuse(f, &b, "zero");
    b.v.embedding.dim = 0;
    refuse(f, &b, "dimension 0");
    b.visual[1] = NAN;
    refuse(f, &b, "visual");
    b.v.feature[MODALITY_TEXTUAL].dim = 1 << 20;
    refuse(f, &b, "textual");
    b.v.model_id = 77; /* found by the foreign key, after BEGIN: rolled back */
    refuse(f, &b, "model 77");
    assert_int_equal(fixture_put(f, "v1", 1, 1).n_inserted, 1); /* still usable */
}

static void write_batch_zero_feature_is_stored(void **state)
{
    struct fixture *f = *state;
    struct fixture_video b;
    struct store_op op = {.kind = STORE_OP_VIDEO, .video = fixture_video(f, &b, "v1", 1, 1)};

    memset(b.visual, 0, sizeof b.visual); /* silence and black frames are features */
    assert_int_equal(fixture_write(f, &op, 1, 2).n_inserted, 1);
}

static void write_batch_weight_not_finite_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store_interaction x = {.pos = {"clicks", 0, 1},
                                  .user_id = "u",
                                  .item_id = "v",
                                  .weight = (double)NAN,
                                  .ts_us = 1};
    struct store_op op = {.kind = STORE_OP_INTERACTION, .interaction = &x};
    struct store_batch_result r;

    assert_fatal(f, EX_SOFTWARE, store_write_batch(f->st, &op, 1, NULL, 0, &r, &f->err));
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM user"), 0);
}

static void write_batch_disk_full_changes_nothing_and_recovers(void **state)
{
    struct fixture *f = *state;
    struct fixture_video b;
    struct store_op op = {.kind = STORE_OP_VIDEO, .video = fixture_video(f, &b, "v1", 1, 1)};
    struct store_offset offset = {"videos", 3, 2, 0, 0};
    struct store_batch_result r;
    char *big = calloc(1, 200001);
    char sql[64];

    assert_non_null(big);
    memset(big, 'x', 200000);
    b.v.description = big;
    int64_t pages = fixture_query(f, "PRAGMA page_count");
    (void)snprintf(sql, sizeof sql, "PRAGMA max_page_count=%lld", (long long)pages);
    fixture_spoil(f, sql);
    assert_int_equal(store_write_batch(f->st, &op, 1, &offset, 1, &r, &f->err), ERR_RETRY);
    assert_int_equal(f->err.exit_code, EX_IOERR);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM item"), 0);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM topic"), 0);
    fixture_spoil(f, "PRAGMA max_page_count=1000000");
    assert_int_equal(fixture_write(f, &op, 1, 2).n_inserted, 1);
    assert_int_equal(fixture_query(f, "SELECT length(description) FROM item"), 200000);
    free(big);
}

/* Another try of a dead letter: it goes with what became of it, or says why it failed now; it is not
 * published a second time. */
static void write_batch_other_try_takes_the_letter_along(void **state)
{
    struct fixture *f = *state;
    struct fixture_video b;
    struct store_dead_letter again = {.pos = {"videos", 3, 5},
                                      .reason = "media",
                                      .error = "still broken",
                                      .stage = "extract",
                                      .dlq_topic = "dlq"};

    fixture_bury(f, 5, "bad_json", "dlq");
    int64_t id = fixture_query(f, "SELECT id FROM dead_letter");
    struct store_op failed = {
        .kind = STORE_OP_DEAD_LETTER, .letter_id = id, .dead_letter = &again};
    struct store_batch_result r = fixture_write(f, &failed, 1, -1);
    assert_int_equal(r.n_dead_letters, 1);
    assert_int_equal(
        fixture_query(f, "SELECT count(*) FROM dead_letter WHERE reason = 'media' AND "
                         "error = 'still broken' AND key = x'6b31'"),
        1);
    assert_int_equal(fixture_query(f, "SELECT id FROM dead_letter"), id);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dlq_outbox"), 1);

    struct store_op good = {
        .kind = STORE_OP_VIDEO, .letter_id = id, .video = fixture_video(f, &b, "v1", 5, 1)};
    fixture_write(f, &good, 1, -1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dead_letter"), 0);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM item WHERE item_id = 'v1'"), 1);

    /* purged meanwhile: it is a dead letter as any other */
    fixture_write(f, &failed, 1, -1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dead_letter"), 1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dlq_outbox"), 2);
}

static void write_batch_empty_is_allowed(void **state)
{
    struct fixture *f = *state;
    struct store_batch_result r = fixture_write(f, NULL, 0, -1);

    assert_int_equal(r.n_inserted + r.n_stale, 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(write_batch_new_video_stores_every_part),
        CASE(write_batch_same_batch_twice_changes_nothing),
        CASE(write_batch_newer_event_replaces_item),
        CASE(write_batch_older_event_is_stale),
        CASE(write_batch_older_publish_after_delete_does_not_resurrect),
        CASE(write_batch_delete_of_unknown_item_is_remembered),
        CASE(write_batch_event_of_other_partition_displaces_position),
        CASE(write_batch_no_signal_has_no_embedding),
        CASE(write_batch_lost_embedding_appears_as_delete),
        CASE(write_batch_interaction_with_unknown_item_creates_it),
        CASE(write_batch_interaction_does_not_revive_deleted_item),
        CASE(write_batch_offset_never_moves_backwards),
        CASE(last_record_stays_until_another),
        CASE(topic_made_anew_begins_again),
        CASE(write_batch_unusable_vectors_are_refused),
        CASE(write_batch_zero_feature_is_stored),
        CASE(write_batch_weight_not_finite_is_refused),
        CASE(write_batch_disk_full_changes_nothing_and_recovers),
        CASE(write_batch_empty_is_allowed),
        CASE(write_batch_other_try_takes_the_letter_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
