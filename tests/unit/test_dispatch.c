/* The extract thread with a pool and a store of the test's own: jobs are answered when the test
 * says so. */

#include "dispatch_fixture.h"
#include "slow_media.h"

#include "config/clock.h"
#include "daemon/base/health.h"
#include "daemon/media/fetch.h"
#include "daemon/pipeline/dispatch.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { QUIET_MS = 60 };

/* ---- what every case has --------------------------------------------------------------------- */

struct bench {
    struct settings s;
    struct queue *work, *done;
    struct ledger *ledger;
    struct dispatch *d;
    uint32_t epoch;
    int64_t offset;
    char folder[64];
    char *roots[1];
};

/* The monotonic clock, moved forward by the test. */
static _Atomic int64_t forward_us;

static int64_t moved_mono_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000 + forward_us;
}

static int64_t same_real_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static const struct clock_source moved = {same_real_us, moved_mono_us};

/* Until health waits for this, "" = for nothing. */
static void wait_for_health(const char *what)
{
    char waits[256] = "?";
    for (int ms = 0; ms < 10000; ms += 10) {
        health_waits(waits, sizeof(waits));
        if (strcmp(waits, what) == 0)
            return;
        poll(NULL, 0, 10);
    }
    fail_msg("health waits for \"%s\", not for \"%s\"", waits, what);
}

static void on_failed(void *arg, const struct err *err)
{
    (void)arg;
    fail_msg("%s", err->text);
}

static int set_up(void **state)
{
    static struct bench b;
    b = (struct bench){0};
    memset(&stored, 0, sizeof(stored));
    fake.n_busy = fake.n_answers = fake.n_submitted = 0;
    fake.n_fail_retry = 0;
    fake.fails_by_memory = fake.down = false;
    slow_media_reset();
    fake.answer_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    strcpy(b.folder, "/tmp/mmf-dispatch-XXXXXX");
    assert_non_null(mkdtemp(b.folder));
    b.roots[0] = b.folder;
    b.s.media.roots = (struct settings_strings){b.roots, 1};
    b.s.queue.items = 400;
    b.s.queue.bytes = 1 << 24;
    struct queue_limits limits = {
        .items = 100, .bytes = 1 << 24, .high_percent = 90, .low_percent = 30};
    assert_int_equal(queue_open(&limits, &b.work, NULL), ERR_OK);
    assert_int_equal(queue_open(&limits, &b.done, NULL), ERR_OK);
    b.ledger = ledger_new();
    ledger_assign(b.ledger, "t", 0, 0, &b.epoch, NULL);
    struct dispatch_options o = {.rules = &event_rules_plain,
                                 .work = b.work,
                                 .done = b.done,
                                 .ledger = b.ledger,
                                 .settings = &b.s,
                                 .failed = on_failed};
    assert_int_equal(dispatch_open(&o, &b.d, NULL), ERR_OK);
    *state = &b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    dispatch_close(b->d);
    queue_close(b->work);
    queue_close(b->done);
    ledger_free(b->ledger);
    close(fake.answer_fd);
    return rmdir(b->folder);
}

static struct item *push(struct bench *b, enum item_kind kind, const char *item_id,
                         const char *title)
{
    struct item *item = item_new();
    assert_non_null(item);
    item->topic = "t";
    item->offset = b->offset++;
    item->kind = kind;
    item->item_id = item_id;
    item->title = title;
    item->named = ITEM_FIELD_TITLE;
    assert_true(ledger_begin(b->ledger, "t", 0, item->offset, &item->epoch));
    queue_push(b->work, item);
    return item;
}

static struct item *pop(struct bench *b)
{
    struct item *item = queue_pop(b->done, FAKE_WAIT_MS);
    assert_non_null(item);
    return item;
}

static void settle(struct bench *b, struct item *item)
{
    dispatch_settled(b->d, item);
    item_free(item);
}

static void nothing_comes(struct bench *b)
{
    assert_null(queue_pop(b->done, QUIET_MS));
}

/* ---- cases ------------------------------------------------------------------------------------ */

static void what_needs_no_extraction_passes(void **state)
{
    struct bench *b = *state;
    static const enum item_kind kinds[] = {ITEM_INTERACTION,  ITEM_DEAD, ITEM_DELETED,
                                           ITEM_USER_DELETED, ITEM_GAP,  ITEM_PUBLISHED};
    for (size_t i = 0; i < 6; i++)
        push(b, kinds[i], kinds[i] == ITEM_USER_DELETED ? NULL : "v", NULL);
    for (size_t i = 0; i < 5; i++) {
        struct item *item = pop(b);
        assert_int_equal(item->kind, kinds[i]);
        assert_null(item->features);
        settle(b, item);
    }
    settle(b, pop(b)); /* the publish, after the delete of the same item was settled */
    assert_int_equal(fake.n_submitted, 0);
}

static void events_of_one_item_wait_for_the_settlement(void **state)
{
    struct bench *b = *state;
    push(b, ITEM_PUBLISHED, "v", "first");
    push(b, ITEM_UPDATED, "v", "second");
    push(b, ITEM_PUBLISHED, "w", "other");
    answer("first", NULL);
    struct item *first = pop(b);
    assert_string_equal(first->title, "first");
    assert_non_null(first->features);
    answer("other", NULL);
    struct item *other = pop(b);
    assert_string_equal(other->item_id, "w");
    nothing_comes(b);
    assert_int_equal(fake.n_submitted, 2); /* the second has not even begun */
    settle(b, first);
    answer("second", NULL);
    settle(b, pop(b));
    settle(b, other);
}

/* More events of one item than may be held at once. */
static void a_hot_item_does_not_hold_back_others(void **state)
{
    struct bench *b = *state;
    enum { N_HOT = DISPATCH_HELD_MAX + 44 };
    for (int i = 0; i < N_HOT; i++)
        push(b, ITEM_PUBLISHED, "hot", i == 0 ? "first" : "hot");
    push(b, ITEM_PUBLISHED, "cool", "cool");
    answer("cool", NULL);
    settle(b, pop(b));
    answer("first", NULL);
    for (int i = 1; i < N_HOT; i++) {
        struct item *item = pop(b);
        assert_int_equal(item->offset, i - 1); /* in their order */
        settle(b, item);
        answer("hot", NULL);
    }
    settle(b, pop(b));
}

/* So many that those who wait would fill the queue once more: the rest stays in it. */
static void what_waits_for_its_turn_is_bounded(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 500; i++)
        push(b, ITEM_PUBLISHED, "hot", "hot");
    answer("hot", NULL);
    struct item *first = pop(b);
    while (queue_length(b->work) > 500 - 1 - 400)
        poll(NULL, 0, 1);
    poll(NULL, 0, QUIET_MS);
    assert_int_equal(queue_length(b->work), 500 - 1 - 400);
    settle(b, first);
}

static void memory_that_is_out_makes_no_dead_letter(void **state)
{
    struct bench *b = *state;
    fake.n_fail_retry = DISPATCH_RETRIES + 1;
    fake.fails_by_memory = true;
    push(b, ITEM_PUBLISHED, "v", "title");
    answer("title", NULL);
    struct item *item = pop(b);
    assert_int_equal(item->kind, ITEM_PUBLISHED);
    assert_int_equal(fake.n_submitted, DISPATCH_RETRIES + 2);
    settle(b, item);
}

static int n_parse_fails;

int __real_event_parse(const struct event_rules *rules, struct item *item, struct err *err);
int __wrap_event_parse(const struct event_rules *rules, struct item *item, struct err *err);

int __wrap_event_parse(const struct event_rules *rules, struct item *item, struct err *err)
{
    if (n_parse_fails > 0) {
        n_parse_fails--;
        return err_oom(err, "the test");
    }
    return __real_event_parse(rules, item, err);
}

/* As the source hands it over when there was no memory to parse it. */
static void a_raw_event_is_parsed_again_before_later_ones(void **state)
{
    struct bench *b = *state;
    static const char value[] = "{\"user_id\": \"u\", \"item_id\": \"v\"}";
    n_parse_fails = 2;
    struct item *raw = item_new();
    raw->is_raw = true;
    raw->topic = "t";
    raw->value = value;
    raw->value_bytes = strlen(value);
    raw->offset = b->offset++;
    assert_true(ledger_begin(b->ledger, "t", 0, raw->offset, &raw->epoch));
    queue_push(b->work, raw);
    push(b, ITEM_DELETED, "v", NULL);
    struct item *item = pop(b);
    assert_int_equal(item->kind, ITEM_INTERACTION);
    assert_string_equal(item->user_id, "u");
    assert_int_equal(n_parse_fails, 0);
    settle(b, item);
    settle(b, pop(b));
}

static void update_of_text_keeps_stored_features(void **state)
{
    struct bench *b = *state;
    stored.item_id = "v";
    stored.media_uri = "file:///nowhere/v.mp4";
    stored.title = "old";
    stored.encoder_id[MODALITY_VISUAL] = "enc:0";
    push(b, ITEM_UPDATED, "v", "new");
    answer("new", NULL);
    struct item *item = pop(b);
    assert_int_equal(item->kind, ITEM_UPDATED);
    assert_string_equal(item->media_uri, stored.media_uri);
    assert_int_equal(item->event_us, 1234500);
    assert_int_equal(item->features->mask,
                     MODALITY_BIT(MODALITY_VISUAL) | MODALITY_BIT(MODALITY_TEXTUAL));
    assert_true(item->features->vec[MODALITY_VISUAL][0] == 1.0f);
    assert_true(item->features->vec[MODALITY_TEXTUAL][0] == 5.0f);
    settle(b, item);
}

static size_t bytes_after_tries(struct bench *b, int n_fail)
{
    fake.n_fail_retry = n_fail;
    fake.fails_by_memory = true;
    push(b, ITEM_UPDATED, "v", "new");
    answer("new", NULL);
    struct item *item = pop(b);
    size_t bytes = item_bytes(item);
    settle(b, item);
    return bytes;
}

/* A want of descriptors that lasts must not become one of memory. */
static void an_update_that_is_tried_again_takes_no_more_memory(void **state)
{
    struct bench *b = *state;
    stored.item_id = "v";
    stored.media_uri = "file:///nowhere/v.mp4";
    stored.encoder_id[MODALITY_VISUAL] = "enc:0";
    size_t once = bytes_after_tries(b, 0);
    assert_int_equal(bytes_after_tries(b, 3), once);
}

/* Nor a store that cannot be read for a while. */
static void an_update_whose_row_is_read_again_takes_no_more_memory(void **state)
{
    struct bench *b = *state;
    stored.item_id = "v";
    stored.media_uri = "file:///nowhere/v.mp4";
    stored.encoder_id[MODALITY_VISUAL] = "enc:0";
    size_t once = bytes_after_tries(b, 0);
    stored.n_fail = 3;
    assert_int_equal(bytes_after_tries(b, 0), once);
    assert_int_equal(stored.n_fail, 0);
}

static void update_after_another_encoder_opens_the_media(void **state)
{
    struct bench *b = *state;
    stored.item_id = "v";
    stored.media_uri = "file:///nowhere/v.mp4"; /* outside the root: a dead letter */
    stored.encoder_id[MODALITY_VISUAL] = "enc:older";
    push(b, ITEM_UPDATED, "v", "new");
    struct item *item = pop(b);
    assert_int_equal(item->kind, ITEM_DEAD);
    assert_string_equal(item->err.reason, "media_path");
    assert_string_equal(item->stage, "extract");
    settle(b, item);
}

/* A publish with media in the bench's folder; the file is not made. */
static void push_media(struct bench *b, const char *item_id, const char *file,
                       const char *title)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", b->folder, file);
    struct item *item = item_new();
    assert_non_null(item);
    item->topic = "t";
    item->item_id = item_id;
    item->media_uri = arena_strdup(&item->arena, path);
    item->title = title;
    item->offset = b->offset++;
    assert_true(ledger_begin(b->ledger, "t", 0, item->offset, &item->epoch));
    queue_push(b->work, item);
}

static void make_file(const struct bench *b, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", b->folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
}

static void remove_file(const struct bench *b, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", b->folder, name);
    assert_int_equal(remove(path), 0);
}

static void media_that_fails_becomes_a_dead_letter(void **state)
{
    struct bench *b = *state;
    push_media(b, "v", "none.mp4", NULL);
    struct item *item = pop(b);
    assert_int_equal(item->kind, ITEM_DEAD);
    assert_string_equal(item->err.reason, "media_missing");
    settle(b, item);
}

/* Another item passes meanwhile: a large file takes long. */
static void the_digest_of_media_is_the_workers_work(void **state)
{
    struct bench *b = *state;
    char uri[128];
    snprintf(uri, sizeof(uri), "%s/v.mp4", b->folder);
    make_file(b, "v.mp4");
    struct item *item = item_new();
    item->topic = "t";
    item->item_id = "v";
    item->media_uri = uri;
    item->sha256 = "00";
    item->title = "digest";
    item->offset = b->offset++;
    assert_true(ledger_begin(b->ledger, "t", 0, item->offset, &item->epoch));
    queue_push(b->work, item);
    push(b, ITEM_PUBLISHED, "w", "other");
    answer("other", NULL);
    settle(b, pop(b));
    answer("digest", NULL);
    settle(b, pop(b));
    assert_int_equal(fake.n_submitted, 2);
    remove(uri);
}

static void media_that_hangs_holds_back_its_own_item_only(void **state)
{
    struct bench *b = *state;
    make_file(b, "slow.mp4");
    make_file(b, "quick.mp4");
    push_media(b, "v", "slow.mp4", "slow");
    push(b, ITEM_PUBLISHED, "v", "after slow");
    push_media(b, "w", "quick.mp4", "quick");
    push(b, ITEM_PUBLISHED, "x", "text");
    push_media(b, "y", "none.mp4", NULL);
    slow_media_wait(1);
    answer("quick", NULL);
    answer("text", NULL);
    for (int i = 0; i < 3; i++) {
        struct item *item = pop(b);
        assert_string_not_equal(item->item_id, "v");
        settle(b, item);
    }
    nothing_comes(b);
    assert_false(slow_media_gave_up()); /* else it had to open before anything could pass */
    slow_media_release();
    answer("slow", NULL);
    settle(b, pop(b));
    answer("after slow", NULL);
    settle(b, pop(b));
    remove_file(b, "slow.mp4");
    remove_file(b, "quick.mp4");
}

static void close_does_not_wait_for_media_that_hangs(void **state)
{
    struct bench *b = *state;
    make_file(b, "slow.mp4");
    push_media(b, "v", "slow.mp4", "slow");
    push_media(b, "w", "slow.mp4", "slow");
    slow_media_wait(2);
    dispatch_close(b->d);
    assert_false(slow_media_gave_up());
    b->d = NULL;
    slow_media_release();
    slow_media_wait(0);
    remove_file(b, "slow.mp4");
}

static void no_worker_is_told(void **state)
{
    (void)state;
    wait_for_health("");
    pthread_mutex_lock(&fake.lock);
    fake.down = true;
    pthread_mutex_unlock(&fake.lock);
    wait_for_health("no worker can be started");
    pthread_mutex_lock(&fake.lock);
    fake.down = false;
    pthread_mutex_unlock(&fake.lock);
    wait_for_health("");
}

/* Not before the last thread that fetches is lost, for until then other items go on. */
static void media_that_stops_everything_is_told(void **state)
{
    struct bench *b = *state;
    static char ids[FETCH_THREADS][8];
    make_file(b, "slow.mp4");
    for (int i = 0; i < FETCH_THREADS; i++) {
        snprintf(ids[i], sizeof(ids[i]), "v%d", i);
        if (i == FETCH_THREADS - 1) {
            forward_us += INT64_C(31000000);
            poll(NULL, 0, 1200); /* a tick */
            wait_for_health("");
        }
        push_media(b, ids[i], "slow.mp4", "slow");
        slow_media_wait((unsigned)i + 1);
    }
    forward_us += INT64_C(31000000);
    wait_for_health("media does not open");
    assert_false(slow_media_gave_up());
    slow_media_release();
    wait_for_health("");
    for (int i = 0; i < FETCH_THREADS; i++) {
        answer("slow", NULL);
        settle(b, pop(b));
    }
    remove_file(b, "slow.mp4");
}

static void transient_faults_are_tried_again(void **state)
{
    struct bench *b = *state;
    fake.n_fail_retry = 2;
    push(b, ITEM_PUBLISHED, "v", "title");
    answer("title", NULL); /* the third try */
    struct item *item = pop(b);
    assert_int_equal(fake.n_submitted, 3);
    assert_int_equal(item->kind, ITEM_PUBLISHED);
    settle(b, item);
}

static void a_job_that_is_refused_becomes_a_dead_letter(void **state)
{
    struct bench *b = *state;
    struct err err;
    err_skip(&err, "media", "no stream");
    push(b, ITEM_PUBLISHED, "v", "title");
    answer("title", &err);
    struct item *item = pop(b);
    assert_int_equal(item->kind, ITEM_DEAD);
    assert_string_equal(item->err.reason, "media");
    settle(b, item);
}

static void stale_items_pass_without_extraction(void **state)
{
    struct bench *b = *state;
    struct item *item = item_new();
    item->topic = "t";
    item->item_id = "v";
    item->title = "title";
    item->epoch = b->epoch + 1000;
    queue_push(b->work, item);
    settle(b, pop(b));
    assert_int_equal(fake.n_submitted, 0);
}

static void a_full_done_queue_stops_the_intake(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 200; i++)
        push(b, ITEM_INTERACTION, "v", NULL);
    while (queue_length(b->done) < 90)
        poll(NULL, 0, 1);
    poll(NULL, 0, QUIET_MS);
    assert_true(queue_length(b->done) < 200);
    assert_true(queue_length(b->work) > 0);
    for (int i = 0; i < 200; i++)
        settle(b, pop(b));
}

static void close_frees_what_is_held(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < 10; i++)
        push(b, ITEM_PUBLISHED, i < 5 ? "v" : "w", "title");
    while (queue_length(b->work) > 0)
        poll(NULL, 0, 1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_needs_no_extraction_passes),
        CASE(events_of_one_item_wait_for_the_settlement),
        CASE(a_hot_item_does_not_hold_back_others),
        CASE(what_waits_for_its_turn_is_bounded),
        CASE(memory_that_is_out_makes_no_dead_letter),
        CASE(a_raw_event_is_parsed_again_before_later_ones),
        CASE(update_of_text_keeps_stored_features),
        CASE(an_update_that_is_tried_again_takes_no_more_memory),
        CASE(an_update_whose_row_is_read_again_takes_no_more_memory),
        CASE(update_after_another_encoder_opens_the_media),
        CASE(media_that_fails_becomes_a_dead_letter),
        CASE(the_digest_of_media_is_the_workers_work),
        CASE(media_that_hangs_holds_back_its_own_item_only),
        CASE(close_does_not_wait_for_media_that_hangs),
        CASE(no_worker_is_told),
        CASE(media_that_stops_everything_is_told),
        CASE(transient_faults_are_tried_again),
        CASE(a_job_that_is_refused_becomes_a_dead_letter),
        CASE(stale_items_pass_without_extraction),
        CASE(a_full_done_queue_stops_the_intake),
        CASE(close_frees_what_is_held),
    };
    clock_inject(&moved);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
