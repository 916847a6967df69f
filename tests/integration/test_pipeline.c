/* The daemon's pipeline in this process, from an event file to rows, over clips that the clip
 * maker makes. */

#include "pipeline_fixture.h"

#include "config/digest.h"
#include "store/reading.h"

#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 60000, N_VIDEOS = 9 };

/* ---- event files ---------------------------------------------------------------------------- */

static void publish(struct text *t, const char *id, unsigned clip, const char *title)
{
    fprintf(t->out,
            "{\"item_id\": \"%s\", \"media_uri\": \"file://%s/media/clip%u.mp4\", \"title\": "
            "\"%s\"}\n",
            id, fixture.folder, clip % FIXTURE_CLIPS, title);
}

static void publish_videos(struct text *t)
{
    for (unsigned i = 0; i < N_VIDEOS; i++) {
        char id[16], title[32];
        snprintf(id, sizeof(id), "v%u", i);
        snprintf(title, sizeof(title), "clip number %u #tag%u", i, i);
        publish(t, id, i, title);
    }
}

/* ---- looking into the store ----------------------------------------------------------------- */

static struct store_counts counts_of(struct store *st)
{
    struct store_counts counts;
    assert_int_equal(store_count(st, &counts, NULL), ERR_OK);
    return counts;
}

static struct store_embedding embedding_of(struct store *st, const char *id)
{
    struct err err;
    struct store_embedding e;
    int status = store_get_embedding(st, id, &e, &err);
    if (status != ERR_OK)
        fail_msg("%s: no embedding (%d)", id, status);
    return e;
}

static void check_embedding(struct store *st, const char *id)
{
    struct store_embedding e = embedding_of(st, id);
    double norm = 0.0;
    for (int32_t i = 0; i < e.dim; i++) {
        assert_true(isfinite(e.vec[i]));
        norm += (double)e.vec[i] * (double)e.vec[i];
    }
    assert_true(e.dim == 64 && norm > 0.0);
    assert_string_equal(e.state, "cold");
    store_embedding_done(&e);
}

static void check_same_embedding(struct store *a, struct store *b, const char *id)
{
    struct store_embedding x = embedding_of(a, id), y = embedding_of(b, id);
    assert_int_equal(x.dim, y.dim);
    assert_memory_equal(x.vec, y.vec, (size_t)x.dim * sizeof(float));
    store_embedding_done(&x);
    store_embedding_done(&y);
}

static struct store_item item_of(struct store *st, const char *id)
{
    struct store_item item;
    assert_int_equal(store_get_item(st, id, &item, NULL), ERR_OK);
    return item;
}

static int64_t only_offset(struct store *st)
{
    struct store_offset_row *rows;
    size_t n;
    assert_int_equal(store_read_offsets(st, &rows, &n, NULL), ERR_OK);
    assert_int_equal(n, 1);
    assert_memory_equal(rows[0].topic, "file:", 5);
    int64_t next_offset = rows[0].next_offset;
    store_offsets_free(rows, n);
    return next_offset;
}

/* ---- cases ---------------------------------------------------------------------------------- */

/* Each line is one of: a row, an interaction, a delete, a dead letter. */
static const char mixed_tail[] =
    "{\"item_id\": \"text only\", \"title\": \"no media at all\"}\n"
    "{\"item_id\": \"nothing\", \"lang\": \"en\"}\n"
    "\n"
    "{\"user_id\": \"u1\", \"item_id\": \"v1\"}\n"
    "{\"user_id\": \"u1\", \"item_id\": \"never seen\"}\n"
    "{\"type\": \"video.deleted\", \"item_id\": \"v8\"}\n";

static const struct {
    const char *line, *reason;
} poison[] = {
    {"{\"item_id\": \"x\"", "bad_json"},
    {"{\"item_id\": 5}", "bad_schema"},
    {"not json \xff at all", "bad_json"},
    {"{\"item_id\": \"x\", \"media_uri\": \"http://example.org/x.mp4\"}", "scheme"},
    {"{\"item_id\": \"x\", \"media_uri\": \"file:///etc/passwd\"}", "media_path"},
};
enum { N_POISON = sizeof(poison) / sizeof(poison[0]) };

static void check_poison(struct store *st)
{
    struct store_letter *rows;
    size_t n;
    assert_int_equal(store_dead_letters(st, 0, NULL, 100, &rows, &n, NULL), ERR_OK);
    assert_int_equal(n, N_POISON);
    for (size_t i = 0; i < n; i++) {
        size_t found = 0;
        while (found < N_POISON &&
               (rows[i].value_bytes != strlen(poison[found].line) ||
                memcmp(rows[i].value, poison[found].line, rows[i].value_bytes) != 0))
            found++;
        assert_true(found < N_POISON); /* the original bytes */
        assert_string_equal(rows[i].reason, poison[found].reason);
    }
    store_letters_free(rows, n);
}

static const char *mixed_file(struct text *t)
{
    text_begin(t);
    publish_videos(t);
    fputs(mixed_tail, t->out);
    for (size_t i = 0; i < N_POISON; i++)
        fprintf(t->out, "%s\n", poison[i].line);
    return text_end(t);
}

static void check_mixed(struct store *st)
{
    struct store_counts counts = counts_of(st);
    assert_int_equal(counts.n_embeddings, N_VIDEOS - 1 + 1); /* v8 deleted, "text only" */
    assert_int_equal(counts.n_no_signal, 1);
    assert_int_equal(counts.n_interactions, 2);
    assert_int_equal(counts.n_dead_letters, N_POISON);
    assert_int_equal(only_offset(st), N_VIDEOS + 6 + N_POISON);
    check_poison(st);
    for (unsigned i = 0; i < N_VIDEOS - 1; i++) {
        char id[16];
        snprintf(id, sizeof(id), "v%u", i);
        check_embedding(st, id);
    }
}

static void mixed_file_balances_and_twice_changes_nothing(void **state)
{
    (void)state;
    struct text t;
    fixture_use_store(&fixture, "mixed");
    fixture_ingest(&fixture, "mixed.ndjson", mixed_file(&t));
    struct store *st = fixture_reader(&fixture);
    check_mixed(st);
    int64_t seq = counts_of(st).last_seq;
    store_close(st);

    fixture_ingest(&fixture, "other name.ndjson", t.bytes);
    st = fixture_reader(&fixture);
    check_mixed(st);
    assert_int_equal(counts_of(st).last_seq, seq);
    store_close(st);
    free(t.bytes);
}

static int count_rows(struct store *st, void *arg, struct err *err)
{
    struct store_counts counts;
    int status = store_count(st, &counts, err);
    *(int64_t *)arg = counts.n_embeddings;
    return status;
}

static int64_t rows_now(struct pipeline *p)
{
    int64_t n = 0;
    assert_int_equal(pipeline_write(p, count_rows, &n, NULL), ERR_OK);
    return n;
}

static double besides_extraction_ms(struct store *st, const char *id)
{
    struct store_item item = item_of(st, id);
    assert_true(item.received_ms > 1e12);
    assert_true(item.extract_ms > 0.0);
    assert_true(item.received_ms + item.extract_ms <= item.extracted_ms + 0.001);
    assert_true(item.extracted_ms <= item.queryable_ms);
    assert_non_null(strstr(item.flags_json, "\"n_frames\":"));
    double ms = item.queryable_ms - item.received_ms - item.extract_ms;
    store_item_done(&item);
    return ms;
}

static int compare_doubles(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* One upload at a time, as at a queue depth of 1. */
static void one_upload_is_queryable_20_ms_after_its_extraction(void **state)
{
    (void)state;
#ifndef MMF_SANITIZE_BUILD
    enum { N = 200 };
#else
    enum { N = 21 };
#endif
    struct err err;
    fixture_use_store(&fixture, "trail");
    struct pipeline *p = fixture_start(&fixture);
    for (unsigned i = 0; i < N; i++) {
        struct text t;
        char id[16];
        text_begin(&t);
        snprintf(id, sizeof(id), "v%u", i);
        publish(&t, id, i, "title");
        fixture_write(&fixture, "trail.ndjson", text_end(&t));
        struct source *src = fixture_feed(p, fixture_path(&fixture, "trail.ndjson"), NULL);
        while (rows_now(p) <= (int64_t)i)
            poll(NULL, 0, 1);
        assert_int_equal(pipeline_drain(p, WAIT_MS, &err), ERR_OK);
        fixture_stop_source(p, src);
        free(t.bytes);
    }
    pipeline_close(p);

    double ms[N];
    struct store *st = fixture_reader(&fixture);
    for (unsigned i = 0; i < N; i++) {
        char id[16];
        snprintf(id, sizeof(id), "v%u", i);
        ms[i] = besides_extraction_ms(st, id);
    }
    store_close(st);
    qsort(ms, N, sizeof(ms[0]), compare_doubles);
    print_message("upload to queryable besides extraction: median %.2f ms, maximum %.2f ms\n",
                  ms[N / 2], ms[N - 1]);
#ifndef MMF_SANITIZE_BUILD
    assert_true(ms[N / 2] <= 20.0);
#endif
}

/* The pipeline is closed in the middle of the file, without a drain, several times. */
static void stopped_in_the_middle_goes_on(void **state)
{
    (void)state;
    struct text t;
    const char *text = mixed_file(&t);
    fixture_use_store(&fixture, "stopped");
    fixture_write(&fixture, "stopped.ndjson", text);
    for (int64_t until = 1; until < N_VIDEOS - 2; until += 2) {
        struct pipeline *p = fixture_start(&fixture);
        struct source *src = fixture_feed(p, fixture_path(&fixture, "stopped.ndjson"), NULL);
        while (rows_now(p) < until)
            poll(NULL, 0, 1);
        fixture_stop_source(p, src);
        pipeline_close(p);
    }
    fixture_ingest(&fixture, "stopped.ndjson", text);
    struct store *st = fixture_reader(&fixture);
    check_mixed(st);
    store_close(st);
    free(t.bytes);
}

static void embedding_does_not_depend_on_company(void **state)
{
    (void)state;
    struct text t;
    fixture_use_store(&fixture, "company");
    fixture_ingest(&fixture, "company.ndjson", mixed_file(&t));
    struct store *company = fixture_reader(&fixture);
    free(t.bytes);

    text_begin(&t);
    publish(&t, "v4", 4, "clip number 4 #tag4");
    fixture_use_store(&fixture, "alone");
    fixture_ingest(&fixture, "alone.ndjson", text_end(&t));
    struct store *alone = fixture_reader(&fixture);
    check_same_embedding(company, alone, "v4");
    free(t.bytes);
    store_close(company);
    store_close(alone);
}

static void check_same_feature(struct store *a, struct store *b, enum modality m, bool same)
{
    float *x, *y;
    int32_t dim_x, dim_y;
    char id[64];
    assert_int_equal(store_get_feature(a, "v", m, &x, &dim_x, id, NULL), ERR_OK);
    assert_int_equal(store_get_feature(b, "v", m, &y, &dim_y, id, NULL), ERR_OK);
    assert_int_equal(dim_x, dim_y);
    assert_int_equal(memcmp(x, y, (size_t)dim_x * sizeof(float)) == 0, same);
    free(x);
    free(y);
}

static void update_replaces_what_it_names(void **state)
{
    (void)state;
    struct text t;
    text_begin(&t);
    publish(&t, "v", 0, "first title");
    fixture_use_store(&fixture, "published");
    fixture_ingest(&fixture, "published.ndjson", text_end(&t));
    struct store *before = fixture_reader(&fixture);

    fixture_use_store(&fixture, "updated");
    char *both;
    assert_true(asprintf(&both,
                         "%s{\"type\": \"video.updated\", \"item_id\": \"v\", \"title\": "
                         "\"second\", \"tags\": [\"new\"]}\n",
                         t.bytes) > 0);
    fixture_ingest(&fixture, "updated.ndjson", both);
    struct store *after = fixture_reader(&fixture);
    struct store_item item = item_of(after, "v"), old = item_of(before, "v");
    assert_string_equal(item.title, "second");
    assert_string_equal(item.tags_json, "[\"new\"]");
    assert_string_equal(item.media_uri, old.media_uri);
    assert_string_equal(item.flags_json, old.flags_json);
    assert_int_equal(item.offset, 1);
    check_same_feature(before, after, MODALITY_VISUAL, true);
    check_same_feature(before, after, MODALITY_ACOUSTIC, true);
    check_same_feature(before, after, MODALITY_TEXTUAL, false);
    store_item_done(&item);
    store_item_done(&old);
    store_close(before);
    store_close(after);
    free(t.bytes);
    free(both);
}

static void update_of_the_media_extracts_again(void **state)
{
    (void)state;
    struct text t;
    text_begin(&t);
    publish(&t, "v", 0, "title");
    fprintf(t.out,
            "{\"type\": \"video.updated\", \"item_id\": \"v\", \"media_uri\": "
            "\"file://%s/media/clip1.mp4\"}\n",
            fixture.folder);
    fixture_use_store(&fixture, "moved");
    fixture_ingest(&fixture, "moved.ndjson", text_end(&t));
    free(t.bytes);
    struct store *moved = fixture_reader(&fixture);
    text_begin(&t);
    publish(&t, "v", 1, "title");
    fixture_use_store(&fixture, "direct");
    fixture_ingest(&fixture, "direct.ndjson", text_end(&t));
    struct store *direct = fixture_reader(&fixture);
    check_same_embedding(moved, direct, "v");
    store_close(moved);
    store_close(direct);
    free(t.bytes);
}

static void delete_and_publish_again(void **state)
{
    (void)state;
    struct text t;
    text_begin(&t);
    publish(&t, "gone", 0, "title");
    publish(&t, "back", 1, "title");
    fputs("{\"type\": \"video.deleted\", \"item_id\": \"gone\"}\n"
          "{\"type\": \"video.deleted\", \"item_id\": \"back\"}\n",
          t.out);
    publish(&t, "back", 2, "again");
    fixture_use_store(&fixture, "deleted");
    fixture_ingest(&fixture, "deleted.ndjson", text_end(&t));
    struct store *st = fixture_reader(&fixture);
    struct store_embedding e;
    assert_int_equal(store_get_embedding(st, "gone", &e, NULL), ERR_NONE);
    check_embedding(st, "back");
    struct store_item item = item_of(st, "back");
    assert_false(item.deleted);
    assert_string_equal(item.title, "again");
    store_item_done(&item);
    store_close(st);
    free(t.bytes);
}

/* Many events of few items: the last one of each is what remains, and each update saw the row of
 * the one before it. */
static void events_of_an_item_keep_their_order(void **state)
{
    (void)state;
    enum { ROUNDS = 20, ITEMS = 4 };
    struct text t;
    text_begin(&t);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < ITEMS; i++)
            fprintf(t.out,
                    "{\"type\": \"video.updated\", \"item_id\": \"v%d\", \"%s\": \"%d\"}\n", i,
                    round % 2 ? "title" : "description", round);
    fixture_use_store(&fixture, "order");
    fixture_ingest(&fixture, "order.ndjson", text_end(&t));
    struct store *st = fixture_reader(&fixture);
    for (int i = 0; i < ITEMS; i++) {
        char id[16];
        snprintf(id, sizeof(id), "v%d", i);
        struct store_item item = item_of(st, id);
        assert_string_equal(item.title, "19");
        assert_string_equal(item.description, "18");
        store_item_done(&item);
    }
    store_close(st);
    free(t.bytes);
}

static void media_of_another_digest_is_a_dead_letter(void **state)
{
    (void)state;
    char hex[DIGEST_HEX_BYTES];
    struct text t;
    int fd = open(fixture_path(&fixture, "media/clip0.mp4"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(digest_fd_hex(fd, hex, NULL), ERR_OK);
    close(fd);
    text_begin(&t);
    for (int i = 0; i < 2; i++)
        fprintf(t.out,
                "{\"item_id\": \"v%d\", \"media_uri\": \"file://%s/media/clip%d.mp4\", "
                "\"sha256\": \"%s\"}\n",
                i, fixture.folder, i, hex);
    fixture_use_store(&fixture, "digest");
    fixture_ingest(&fixture, "digest.ndjson", text_end(&t));
    struct store *st = fixture_reader(&fixture);
    struct store_letter *rows;
    size_t n;
    check_embedding(st, "v0");
    assert_int_equal(store_dead_letters(st, 0, "media_sha256", 9, &rows, &n, NULL), ERR_OK);
    assert_int_equal(n, 1);
    store_letters_free(rows, n);
    store_close(st);
    free(t.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mixed_file_balances_and_twice_changes_nothing),
        cmocka_unit_test(one_upload_is_queryable_20_ms_after_its_extraction),
        cmocka_unit_test(stopped_in_the_middle_goes_on),
        cmocka_unit_test(embedding_does_not_depend_on_company),
        cmocka_unit_test(update_replaces_what_it_names),
        cmocka_unit_test(update_of_the_media_extracts_again),
        cmocka_unit_test(delete_and_publish_again),
        cmocka_unit_test(events_of_an_item_keep_their_order),
        cmocka_unit_test(media_of_another_digest_is_a_dead_letter),
    };
    return cmocka_run_group_tests(tests, fixture_set_up, fixture_tear_down);
}
