/* Several readers of event files: a spool whose files are overwritten, an ingest of bytes that
 * somebody else reads. */

#include "pipeline_fixture.h"

#include "daemon/source/event_file.h"
#include "daemon/source/ingest.h"
#include "daemon/source/spool.h"
#include "store/reading.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 60000 };

static int64_t embeddings_in(struct store *st)
{
    struct store_counts counts;
    assert_int_equal(store_count(st, &counts, NULL), ERR_OK);
    return counts.n_embeddings;
}

static void publish_some(struct text *t, const char *name, int n)
{
    text_begin(t);
    for (int i = 0; i < n; i++)
        fprintf(t->out,
                "{\"item_id\": \"%s%d\", \"media_uri\": \"file://%s/media/clip%d.mp4\"}\n",
                name, i, fixture.folder, i % FIXTURE_CLIPS);
    text_end(t);
}

static void rename_into_spool(const char *from, const char *to)
{
    assert_int_equal(rename(fixture_path(&fixture, from), fixture_path(&fixture, to)), 0);
}

static struct source *start_spool(struct pipeline *p)
{
    struct err err;
    struct source *src;
    assert_int_equal(spool_open(&fixture.settings, p, &src, &err), ERR_OK);
    pipeline_attach(p, src);
    assert_int_equal(src->ops->start(src, &err), ERR_OK);
    return src;
}

static void wait_in_flight(struct pipeline *p)
{
    for (int waited_ms = 0; ledger_in_flight(pipeline_ledger(p)) == 0; waited_ms++) {
        if (waited_ms > WAIT_MS)
            fail_msg("nothing is in flight");
        poll(NULL, 0, 1);
    }
}

static void spool_ingests_what_is_renamed_into_it(void **state)
{
    (void)state;
    struct text t, late;
    publish_some(&t, "v", 5);
    publish_some(&late, "late", 1);
    fixture_use_store(&fixture, "spooled");
    fixture_write(&fixture, "spool/early.ndjson", t.bytes);
    fixture_write(&fixture, "spool/same.jsonl", t.bytes);
    struct pipeline *p = fixture_start(&fixture);
    struct source *src = start_spool(p);
    fixture_wait_gone(fixture_path(&fixture, "spool/early.ndjson"));
    fixture_wait_gone(fixture_path(&fixture, "spool/same.jsonl"));
    fixture_write(&fixture, "spool/late.tmp", late.bytes);
    rename_into_spool("spool/late.tmp", "spool/late.ndjson");
    fixture_wait_gone(fixture_path(&fixture, "spool/late.ndjson"));
    fixture_stop_source(p, src);
    pipeline_close(p);
    struct store *st = fixture_reader(&fixture);
    assert_int_equal(embeddings_in(st), 6);
    store_close(st);
    free(t.bytes);
    free(late.bytes);
}

static void spool_reads_a_file_renamed_over_one_in_flight(void **state)
{
    (void)state;
    struct text first, second;
    publish_some(&first, "first", 8);
    publish_some(&second, "second", 2);
    fixture_use_store(&fixture, "renamed_over");
    fixture_write(&fixture, "spool/1.tmp", first.bytes);
    fixture_write(&fixture, "spool/2.tmp", second.bytes);
    struct pipeline *p = fixture_start(&fixture);
    struct source *src = start_spool(p);
    rename_into_spool("spool/1.tmp", "spool/x.ndjson");
    wait_in_flight(p);
    rename_into_spool("spool/2.tmp", "spool/x.ndjson");
    struct store *st = fixture_reader(&fixture);
    for (int waited_ms = 0; embeddings_in(st) < 10 && waited_ms < WAIT_MS; waited_ms += 20)
        poll(NULL, 0, 20);
    assert_int_equal(embeddings_in(st), 10);
    store_close(st);
    fixture_wait_gone(fixture_path(&fixture, "spool/x.ndjson"));
    fixture_stop_source(p, src);
    pipeline_close(p);
    free(first.bytes);
    free(second.bytes);
}

struct second_reader {
    struct pipeline *p;
    struct event_file *file;
    int n_asked, status;
};

/* Somebody else begins with the same bytes while the ingest waits for its last events. */
static bool begin_second(void *ctx, const struct ingest_progress *now)
{
    struct second_reader *second = ctx;
    struct err err;
    (void)now;
    if (second->n_asked++ == 0)
        second->status = event_file_begin(second->file, second->p, &err);
    return true;
}

static void ingest_and_check(struct pipeline *p, const char *path, struct ingest_watch *watch,
                             int n)
{
    struct err err;
    struct ingest_result result;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    if (ingest_file(p, fixture.settings.store.path, fd, NULL, watch, &result, &err) != ERR_OK)
        fail_msg("%s", err.text);
    close(fd);
    assert_int_equal(result.n_events, n);
    assert_int_equal(result.n_already + result.n_stored, n);
    struct store *st = fixture_reader(&fixture);
    assert_int_equal(embeddings_in(st), n);
    store_close(st);
}

static void ingest_is_over_only_when_all_is_stored(void **state)
{
    (void)state;
    struct text t;
    struct err err;
    publish_some(&t, "v", 20);
    fixture_use_store(&fixture, "read_twice");
    fixture_write(&fixture, "twice.ndjson", t.bytes);
    const char *path = fixture_path(&fixture, "twice.ndjson");
    struct second_reader second = {.p = fixture_start(&fixture)};
    struct ingest_watch watch = {.progress = begin_second, .ctx = &second};
    assert_int_equal(event_file_open(AT_FDCWD, path, &second.file, &err), ERR_OK);
    ingest_and_check(second.p, path, &watch, 20);
    assert_true(second.n_asked > 0);
    assert_int_equal(second.status, ERR_BUSY); /* not while somebody else reads them */
    event_file_close(second.file, second.p);
    pipeline_close(second.p);
    free(t.bytes);
}

/* The other way round: lets go of the file when the ingest has waited for it. */
static bool end_second(void *ctx, const struct ingest_progress *now)
{
    struct second_reader *second = ctx;
    (void)now;
    if (second->n_asked++ == 0) {
        event_file_close(second->file, second->p);
        second->file = NULL;
    }
    return true;
}

static void ingest_waits_for_another_reader_of_the_bytes(void **state)
{
    (void)state;
    struct text t;
    struct err err;
    publish_some(&t, "v", 4);
    fixture_use_store(&fixture, "read_before");
    fixture_write(&fixture, "before.ndjson", t.bytes);
    const char *path = fixture_path(&fixture, "before.ndjson");
    struct second_reader second = {.p = fixture_start(&fixture)};
    struct ingest_watch watch = {.progress = end_second, .ctx = &second};
    assert_int_equal(event_file_open(AT_FDCWD, path, &second.file, &err), ERR_OK);
    assert_int_equal(event_file_begin(second.file, second.p, &err), ERR_OK);
    assert_int_equal(event_file_submit(second.file, second.p, NULL, &err), ERR_OK);
    ingest_and_check(second.p, path, &watch, 4);
    assert_null(second.file);
    pipeline_close(second.p);
    free(t.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spool_ingests_what_is_renamed_into_it),
        cmocka_unit_test(spool_reads_a_file_renamed_over_one_in_flight),
        cmocka_unit_test(ingest_is_over_only_when_all_is_stored),
        cmocka_unit_test(ingest_waits_for_another_reader_of_the_bytes),
    };
    return cmocka_run_group_tests(tests, fixture_set_up, fixture_tear_down);
}
