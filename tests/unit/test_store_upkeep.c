/* Dead letters, outbox, cluster, retention, snapshot, check. */

#include "config/clock.h"

#include "store_fixture.h"

#include "store/copy.h"

#define DAY_US (INT64_C(86400) * 1000000)

static void dead_letters_keep_the_original_bytes(void **state)
{
    struct fixture *f = *state;
    struct store_letter *rows = NULL;
    size_t n = 0;

    assert_int_equal(fixture_bury(f, 5, "bad_json", NULL).n_dead_letters, 1);
    assert_int_equal(fixture_bury(f, 5, "media", NULL).n_stale, 1);
    assert_ok(f, store_dead_letters(f->st, 0, NULL, 10, &rows, &n, &f->err));
    assert_int_equal(n, 1);
    assert_string_equal(rows[0].reason, "bad_json");
    assert_string_equal(rows[0].error, "it does not parse");
    assert_string_equal(rows[0].stage, "parse");
    assert_null(rows[0].item_id);
    assert_int_equal(rows[0].key_bytes, 2);
    assert_memory_equal(rows[0].key, "k1", 2);
    assert_int_equal(rows[0].value_bytes, 6);
    assert_memory_equal(rows[0].value, "{\0oops", 6);
    assert_int_equal(rows[0].n_headers, 3);
    assert_string_equal(rows[0].headers[0].name, "trace");
    assert_int_equal(rows[0].headers[0].value_bytes, 4);
    assert_memory_equal(rows[0].headers[0].value, "ab\0c", 4);
    assert_non_null(rows[0].headers[1].value);
    assert_int_equal(rows[0].headers[1].value_bytes, 0);
    assert_null(rows[0].headers[2].value);
    store_letters_free(rows, n);
}

static void dead_letters_are_filtered_newest_first(void **state)
{
    struct fixture *f = *state;
    struct store_letter *rows = NULL;
    size_t n = 0;

    (void)fixture_bury(f, 1, "bad_json", NULL);
    (void)fixture_bury(f, 2, "media", NULL);
    (void)fixture_bury(f, 3, "bad_json", NULL);
    assert_ok(f, store_dead_letters(f->st, 0, "bad_json", 10, &rows, &n, &f->err));
    assert_int_equal(n, 2);
    assert_int_equal(rows[0].offset, 3);
    int64_t id = rows[1].id;
    store_letters_free(rows, n);
    assert_ok(f, store_dead_letters(f->st, id, NULL, 10, &rows, &n, &f->err));
    assert_int_equal(n, 1);
    assert_int_equal(rows[0].offset, 1);
    store_letters_free(rows, n);
    assert_ok(f, store_dead_letters(f->st, 0, NULL, 2, &rows, &n, &f->err));
    assert_int_equal(n, 2);
    store_letters_free(rows, n);
    assert_ok(f, store_dead_letters(f->st, 0, "none", 2, &rows, &n, &f->err));
    assert_int_equal(n, 0);
    store_letters_free(rows, n);
}

static void dead_letters_spoilt_bytes_are_named(void **state)
{
    struct fixture *f = *state;
    struct store_letter *rows = NULL;
    size_t n = 0;
    int64_t n_blobs = 0;

    (void)fixture_bury(f, 1, "bad_json", NULL);
    assert_ok(f, store_check(f->st, &n_blobs, &f->err));
    fixture_spoil(f, "UPDATE dead_letter SET headers = substr(headers, 1, 9)");
    assert_fatal(f, EX_DATAERR, store_dead_letters(f->st, 0, NULL, 9, &rows, &n, &f->err));
    assert_fatal(f, EX_DATAERR, store_check(f->st, &n_blobs, &f->err));
}

static void headers_decode_refuses_what_we_did_not_write(void **state)
{
    struct fixture *f = *state;
    const struct store_header in[] = {{"ab", "xyz", 3}, {"", NULL, 0}};
    struct store_header *out = NULL;
    unsigned char copy[64];
    size_t bytes = 0;
    size_t n = 0;

    assert_ok(f, store_headers_encode(f->st, in, 2, &bytes, &f->err));
    memcpy(copy, f->st->scratch, bytes);
    for (size_t cut = 0; cut < bytes; cut++)
        assert_int_equal(store_headers_decode(copy, cut, &out, &n, &f->err), ERR_FATAL);
    for (size_t at = 0; at < 8; at++) { /* counts and lengths that lie */
        unsigned char keep = copy[at];
        copy[at] = 0xfe;
        assert_int_equal(store_headers_decode(copy, bytes, &out, &n, &f->err), ERR_FATAL);
        copy[at] = keep;
    }
    assert_ok(f, store_headers_decode(copy, bytes, &out, &n, &f->err));
    assert_int_equal(n, 2);
    free(out);
}

static void dead_letters_purge_leaves_the_outbox(void **state)
{
    struct fixture *f = *state;
    int64_t n = 0;

    (void)fixture_bury(f, 1, "bad_json", "dlq");
    (void)fixture_bury(f, 2, "media", "dlq");
    (void)fixture_bury(f, 3, "media", NULL);
    (void)fixture_bury(f, 4, "media", NULL);
    assert_ok(f, store_dead_letters_purge(f->st, 0, "media", 1700000000000003, &n, &f->err));
    assert_int_equal(n, 1);
    assert_ok(f, store_dead_letters_purge(f->st, 3, NULL, 0, &n, &f->err));
    assert_int_equal(n, 1);
    assert_ok(f, store_dead_letters_purge(f->st, 3, NULL, 0, &n, &f->err));
    assert_int_equal(n, 0);
    assert_ok(f, store_dead_letters_purge(f->st, 0, NULL, 0, &n, &f->err));
    assert_int_equal(n, 2);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dlq_outbox"), 2);
}

static void outbox_gives_rows_oldest_first_until_deleted(void **state)
{
    struct fixture *f = *state;
    struct store_letter *rows = NULL;
    size_t n = 0;

    for (int i = 1; i <= 3; i++)
        (void)fixture_bury(f, i, "bad_json", "up.dlq");
    assert_ok(f, store_outbox_read(f->st, 0, 2, &rows, &n, &f->err));
    assert_int_equal(n, 2);
    assert_string_equal(rows[0].dlq_topic, "up.dlq");
    assert_string_equal(rows[0].topic, "videos");
    assert_int_equal(rows[0].partition, 3);
    assert_int_equal(rows[0].offset, 1);
    assert_int_equal(rows[0].ts_us, 1700000000000001);
    assert_int_equal(rows[0].n_headers, 3);
    assert_memory_equal(rows[0].value, "{\0oops", 6);
    const int64_t ids[] = {rows[0].id, rows[1].id};
    store_letters_free(rows, n);
    assert_ok(f, store_outbox_delete(f->st, ids, 2, &f->err));
    assert_ok(f, store_outbox_read(f->st, 0, 9, &rows, &n, &f->err));
    assert_int_equal(n, 1);
    assert_int_equal(rows[0].offset, 3);
    int64_t last = rows[0].id;
    store_letters_free(rows, n);
    assert_ok(f, store_outbox_read(f->st, last, 9, &rows, &n, &f->err));
    assert_int_equal(n, 0);
    store_letters_free(rows, n);
}

static void outbox_purge_damaged_takes_what_cannot_be_published(void **state)
{
    struct fixture *f = *state;
    struct store_letter *rows;
    int64_t n_purged = 0;
    size_t n;

    for (int64_t i = 1; i <= 130; i++) /* more than are looked at together */
        (void)fixture_bury(f, i, "bad_json", "dlq");
    assert_ok(f, store_outbox_purge_damaged(f->st, &n_purged, &f->err));
    assert_int_equal(n_purged, 0);
    fixture_spoil(f, "UPDATE dlq_outbox SET value = x'00' WHERE id % 60 = 0");
    assert_ok(f, store_outbox_purge_damaged(f->st, &n_purged, &f->err));
    assert_int_equal(n_purged, 2);
    assert_ok(f, store_outbox_read(f->st, 0, 200, &rows, &n, &f->err));
    assert_int_equal(n, 128);
    for (size_t i = 0; i < n; i++)
        assert_false(rows[i].damaged);
    store_letters_free(rows, n);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dead_letter"), 130);
}

static void outbox_published_letter_delivered_again_stays_out(void **state)
{
    struct fixture *f = *state;
    const int64_t id = 1;

    (void)fixture_bury(f, 1, "bad_json", "dlq");
    assert_ok(f, store_outbox_delete(f->st, &id, 1, &f->err));
    (void)fixture_bury(f, 1, "bad_json", "dlq");
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dlq_outbox"), 0);
}

static void check_cluster_other_cluster_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_ok(f, store_check_cluster(f->st, "abc", &f->err));
    assert_ok(f, store_check_cluster(f->st, "abc", &f->err));
    assert_fatal(f, EX_CONFIG, store_check_cluster(f->st, "xyz", &f->err));
    assert_non_null(strstr(f->err.text, "abc"));
    fixture_reopen(f);
    assert_fatal(f, EX_CONFIG, store_check_cluster(f->st, "xyz", &f->err));
}

static void retain_removes_old_rows_a_bit_at_a_time(void **state)
{
    struct fixture *f = *state;
    const struct store_retention r = {.interactions_days = 10, .dead_letters_days = 5};
    int64_t now_us = 1700000000000000 + 20 * DAY_US;
    bool more = false;
    int rounds = 0;

    for (int i = 0; i < 25; i++)
        (void)fixture_interact(f, "u", "v", i, 1700000000000000 + i * DAY_US);
    for (int i = 0; i < 3; i++)
        (void)fixture_bury(f, i, "media", NULL);
    do {
        assert_ok(f, store_retain(f->st, &r, now_us, 4, &more, &f->err));
        rounds++;
    } while (more && rounds < 100);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM interaction"), 15);
    assert_int_equal(fixture_query(f, "SELECT min(offset) FROM interaction"), 10);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dead_letter"), 0);
    assert_int_equal(rounds, 4);
}

static void retain_zero_keeps_everything(void **state)
{
    struct fixture *f = *state;
    const struct store_retention r = {0};
    bool more = true;

    (void)fixture_interact(f, "u", "v", 1, 1);
    (void)fixture_bury(f, 1, "media", NULL);
    assert_ok(f, store_retain(f->st, &r, INT64_MAX / 2, 100, &more, &f->err));
    assert_false(more);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM interaction"), 1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dead_letter"), 1);
}

static void retain_keeps_vectors_and_pairs_of_the_newest_retired_models(void **state)
{
    struct fixture *f = *state;
    const struct store_retention r = {.model_versions = 2};
    const struct store_pair pairs[] = {{1, 2}, {3, 4}};
    char id[16];
    bool more = true;

    for (int m = 0; m < 5; m++) { /* each model gets three vectors, then is replaced */
        for (int i = 0; i < 3; i++) {
            (void)snprintf(id, sizeof id, "m%dv%d", m, i);
            (void)fixture_put(f, id, 10 * m + i, 1);
        }
        f->model_id = fixture_model(f, "next");
        assert_ok(f, store_put_training(f->st, f->model_id, pairs, 2, &f->err));
        assert_ok(f, store_model_activate(f->st, f->model_id, &f->err));
    }
    int64_t rejected = fixture_model(f, "rejected");
    f->model_id = rejected;
    (void)fixture_put(f, "r", 100, 1);
    assert_ok(f, store_put_training(f->st, rejected, pairs, 2, &f->err));
    assert_ok(f, store_model_set_state(f->st, rejected, "rejected", NULL, &f->err));
    for (int rounds = 0; more; rounds++) {
        assert_true(rounds < 20);
        assert_ok(f, store_retain(f->st, &r, 0, 2, &more, &f->err));
    }
    assert_int_equal(fixture_query(f, "SELECT count(DISTINCT model_id) FROM embedding"), 2);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM embedding"), 6);
    assert_int_equal(fixture_query(f, "SELECT min(model_id) FROM embedding"), 4);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM model_training"), 3);
    assert_int_equal(fixture_query(f, "SELECT sum(model_id) FROM model_training"), 4 + 5 + 6);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM model"), 7);
}

static int64_t wall_us;

static int64_t read_wall(void)
{
    return wall_us;
}

/* The last that was replaced is the one to go back to, whatever the clock said then. */
static void retain_keeps_the_last_retired_model_when_the_clock_goes_back(void **state)
{
    static const struct clock_source clocks = {read_wall, read_wall};
    struct fixture *f = *state;
    const struct store_retention r = {.model_versions = 1};
    const struct store_pair pair = {1, 2};
    int64_t previous = 0;
    bool more = true;

    clock_inject(&clocks);
    for (int m = 0; m < 4; m++) {
        wall_us = 1700000000000000 - m * DAY_US;
        f->model_id = fixture_model(f, "next");
        assert_ok(f, store_put_training(f->st, f->model_id, &pair, 1, &f->err));
        assert_ok(f, store_model_activate(f->st, f->model_id, &f->err));
    }
    clock_inject(NULL);
    while (more)
        assert_ok(f, store_retain(f->st, &r, 0, 100, &more, &f->err));
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM model_training"), 2);
    assert_int_equal(fixture_query(f, "SELECT min(model_id) FROM model_training"),
                     f->model_id - 1);
    assert_ok(f, store_model_previous(f->st, &previous, &f->err));
    assert_int_equal(previous, f->model_id - 1);
}

static void snapshot_is_a_whole_store(void **state)
{
    struct fixture *f = *state;
    struct store *copy = NULL;
    struct store_counts a;
    struct store_counts b;
    int64_t n_blobs = 0;
    char path[96];

    for (int i = 0; i < 20; i++) {
        char id[16];

        (void)snprintf(id, sizeof id, "v%d", i);
        (void)fixture_put(f, id, i, 1);
    }
    (void)snprintf(path, sizeof path, "%s/snap", f->dir);
    assert_ok(f, store_snapshot(f->st, path, &f->err));
    assert_ok(f, store_open(path, STORE_READ, &copy, &f->err));
    assert_ok(f, store_count(f->st, &a, &f->err));
    assert_ok(f, store_count(copy, &b, &f->err));
    assert_int_equal(a.n_embeddings, b.n_embeddings);
    assert_int_equal(a.last_seq, b.last_seq);
    assert_ok(f, store_check(copy, &n_blobs, &f->err));
    assert_int_equal(n_blobs, 60);
    store_close(copy);
    assert_ok(f, store_open(path, STORE_WRITE, &copy, &f->err)); /* and serves as one */
    store_close(copy);
    assert_fatal(f, EX_IOERR, store_snapshot(f->st, path, &f->err));
}

static void snapshot_from_a_reader_works(void **state)
{
    struct fixture *f = *state;
    struct store *reader = NULL;
    char path[96];

    (void)fixture_put(f, "v1", 1, 1);
    (void)snprintf(path, sizeof path, "%s/snap", f->dir);
    assert_ok(f, store_open(f->path, STORE_READ, &reader, &f->err));
    assert_ok(f, store_snapshot(reader, path, &f->err));
    store_close(reader);
}

static void snapshot_into_missing_folder_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    char path[96];

    (void)snprintf(path, sizeof path, "%s/none/snap", f->dir);
    assert_int_equal(store_snapshot(f->st, path, &f->err), ERR_FATAL);
    assert_int_equal(fixture_put(f, "v1", 1, 1).n_inserted, 1);
}

static void check_counts_every_blob(void **state)
{
    struct fixture *f = *state;
    int64_t n_blobs = 0;

    (void)fixture_put(f, "v1", 1, 1);
    (void)fixture_bury(f, 2, "media", "dlq");
    assert_ok(f, store_check(f->st, &n_blobs, &f->err));
    assert_int_equal(n_blobs, 5);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(dead_letters_keep_the_original_bytes),
        CASE(dead_letters_are_filtered_newest_first),
        CASE(dead_letters_spoilt_bytes_are_named),
        CASE(headers_decode_refuses_what_we_did_not_write),
        CASE(dead_letters_purge_leaves_the_outbox),
        CASE(outbox_gives_rows_oldest_first_until_deleted),
        CASE(outbox_purge_damaged_takes_what_cannot_be_published),
        CASE(outbox_published_letter_delivered_again_stays_out),
        CASE(check_cluster_other_cluster_is_refused),
        CASE(retain_removes_old_rows_a_bit_at_a_time),
        CASE(retain_zero_keeps_everything),
        CASE(retain_keeps_vectors_and_pairs_of_the_newest_retired_models),
        CASE(retain_keeps_the_last_retired_model_when_the_clock_goes_back),
        CASE(snapshot_is_a_whole_store),
        CASE(snapshot_from_a_reader_works),
        CASE(snapshot_into_missing_folder_leaves_nothing),
        CASE(check_counts_every_blob),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
