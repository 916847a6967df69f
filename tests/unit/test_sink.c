/* The sink's thread with a store and a model of the test's own (defined here, so that the linker
 * takes these): writes fail when the test says so. */

#include "daemon/base/metrics.h"
#include "daemon/pipeline/erasure.h"
#include "daemon/pipeline/fuser.h"
#include "daemon/pipeline/retention.h"
#include "daemon/pipeline/sink.h"
#include "fusion/model/fuse.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <cmocka.h>

enum { WAIT_MS = 60000, D = 2 };

/* ---- the store of the test ------------------------------------------------------------------- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int n_calls, n_written, n_letters, n_settled;
    int n_pass;          /* so many writes work first, */
    int n_fail;          /* then so many fail with this: */
    struct err failure;  /* ERR_RETRY or ERR_FATAL */
    const char *refused; /* a row of this item is refused, as a row, for ever */
    char order[4096];    /* item ids as written, "a b !c " (! = dead letter) */
    int64_t next_offset;
    int64_t active_model, oldest_model; /* that a vector was written of */
    int n_fuse_fail, n_load_fail;       /* so many times there is no memory for it */
    uint64_t counted; /* stored items in the metrics when the ledger had let go */
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static int refuse(const struct store_op *ops, size_t n_ops, struct err *err)
{
    for (size_t i = 0; i < n_ops; i++)
        if (ops[i].kind == STORE_OP_VIDEO && fake.refused &&
            strcmp(ops[i].video->item_id, fake.refused) == 0)
            return err_fatal(err, EX_SOFTWARE, "constraint failed");
    return ERR_OK;
}

static void note(const struct store_op *op)
{
    bool dead = op->kind == STORE_OP_DEAD_LETTER;
    size_t used = strlen(fake.order);
    snprintf(fake.order + used, sizeof(fake.order) - used, "%s%s ", dead ? "!" : "",
             dead ? op->dead_letter->item_id : op->video->item_id);
    fake.n_letters += dead;
    if (!dead && op->video->model_id < fake.oldest_model)
        fake.oldest_model = op->video->model_id;
    fake.n_written++;
}

int store_write_batch(struct store *st, const struct store_op *ops, size_t n_ops,
                      const struct store_offset *offsets, size_t n_offsets,
                      struct store_batch_result *ret_result, struct err *err)
{
    (void)st;
    pthread_mutex_lock(&fake.lock);
    fake.n_calls++;
    int status = ERR_OK;
    if (fake.n_pass > 0) {
        fake.n_pass--;
    } else if (fake.n_fail > 0) {
        fake.n_fail--;
        *err = fake.failure;
        status = err->status;
    }
    if (status == ERR_OK)
        status = refuse(ops, n_ops, err);
    if (status == ERR_OK) {
        for (size_t i = 0; i < n_ops; i++)
            note(&ops[i]);
        for (size_t i = 0; i < n_offsets; i++)
            fake.next_offset = offsets[i].next_offset;
        *ret_result = (struct store_batch_result){.queryable_us = 1};
    }
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
    return status;
}

/* Nothing grows old here. */
void retention_run(struct retention *r, struct store *st, const struct settings *s)
{
    (void)r;
    (void)st;
    (void)s;
}

void retention_end(struct retention *r)
{
    (void)r;
}

/* Nobody is forgotten here. */
bool erasure_run(struct erasure *e, struct store *st)
{
    (void)e;
    (void)st;
    return false;
}

/* ---- the model of the test ------------------------------------------------------------------- */

const struct model_shape *model_shape(const struct model *model)
{
    (void)model;
    static const struct model_shape shape = {
        .F = 3, .modality_dim = {1, 1, 1}, .D = D, .encoder_id = {"v", "a", "t"}};
    return &shape;
}

int active_model_newer(struct active_model *m, struct store *st, const struct settings *s,
                       struct active_model *ret_m, struct err *err)
{
    (void)st;
    (void)s;
    if (!fake.active_model || fake.active_model == m->model_id)
        return ERR_NONE;
    if (fake.n_load_fail > 0) {
        fake.n_load_fail--;
        return err_oom(err, "a model");
    }
    *ret_m = (struct active_model){.model_id = fake.active_model};
    return ERR_OK;
}

void active_model_done(struct active_model *m)
{
    *m = (struct active_model){0};
}

/* e = (x_visual, x_textual); a NaN is an error, as in the real one. */
int fuse_items(const struct model *model, const float *X, const uint8_t *mask, size_t B,
               float *ret_E, struct err *err)
{
    (void)model;
    (void)mask;
    if (fake.n_fuse_fail > 0) {
        fake.n_fuse_fail--;
        return err_oom(err, "fusion");
    }
    for (size_t i = 0; i < B; i++) {
        ret_E[D * i] = X[3 * i];
        ret_E[D * i + 1] = X[3 * i + 2];
        if (X[3 * i] != X[3 * i])
            return err_fatal(err, EX_SOFTWARE, "not finite");
    }
    return ERR_OK;
}

/* ---- what every case has --------------------------------------------------------------------- */

struct bench {
    struct settings s;
    struct queue *done;
    struct ledger *ledger;
    struct sink *k;
    struct store_writer writer;
    uint32_t epoch;
    int64_t offset;
    bool failed;
};

static void on_settled(void *arg, const struct item *item)
{
    (void)arg;
    (void)item;
    pthread_mutex_lock(&fake.lock);
    fake.n_settled++;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
}

static void on_committed(void *arg, const struct ledger_next *next, size_t n)
{
    (void)arg;
    (void)next;
    (void)n;
    fake.counted = metrics_items(METRICS_STORED);
}

static void on_failed(void *arg, const struct err *err)
{
    struct bench *b = arg;
    (void)err;
    pthread_mutex_lock(&fake.lock);
    b->failed = true;
    pthread_cond_broadcast(&fake.changed);
    pthread_mutex_unlock(&fake.lock);
}

static int set_up(void **state)
{
    static struct bench b;
    struct queue_limits limits = {
        .items = 100, .bytes = 1 << 24, .high_percent = 90, .low_percent = 30};
    b = (struct bench){0};
    fake.n_calls = fake.n_written = fake.n_letters = fake.n_settled = fake.n_fail = 0;
    fake.refused = NULL;
    fake.active_model = 0;
    fake.oldest_model = INT64_MAX;
    fake.n_pass = fake.n_fuse_fail = fake.n_load_fail = 0;
    fake.order[0] = '\0';
    fake.next_offset = -1;
    b.s.store.batch_rows = 100;
    b.s.store.batch_ms = 20;
    b.s.store.batch_bytes = 1 << 21;
    b.s.store.retry_ms = 10;
    assert_int_equal(queue_open(&limits, &b.done, NULL), ERR_OK);
    b.ledger = ledger_new();
    ledger_assign(b.ledger, "t", 0, 0, &b.epoch, NULL);
    *state = &b;
    return 0;
}

static void start_with(struct bench *b, int64_t model_id, const char *lost)
{
    struct active_model model = {.model_id = model_id};
    struct sink_options o = {.done = b->done,
                             .ledger = b->ledger,
                             .settings = &b->s,
                             .settled = on_settled,
                             .committed = on_committed,
                             .failed = on_failed,
                             .arg = b,
                             .lost = lost};
    assert_int_equal(sink_open(&o, &model, &b->k, NULL), ERR_OK);
    b->writer = sink_writer(b->k);
}

static void start(struct bench *b)
{
    start_with(b, 7, "");
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    sink_stop(b->k);
    sink_close(b->k);
    queue_close(b->done);
    ledger_free(b->ledger);
    return 0;
}

static struct item *push(struct bench *b, const char *item_id, float x)
{
    struct item *item = item_new();
    assert_non_null(item);
    item->topic = "t";
    item->offset = b->offset++;
    item->item_id = item_id;
    item->features = arena_alloc(&item->arena, sizeof(*item->features));
    item->features->mask = MODALITY_BIT(MODALITY_VISUAL);
    item->features->dim[MODALITY_VISUAL] = 1;
    item->features->vec[MODALITY_VISUAL][0] = x;
    strcpy(item->features->encoder_id[MODALITY_VISUAL], "v");
    assert_true(ledger_begin(b->ledger, "t", 0, item->offset, &item->epoch));
    queue_push(b->done, item);
    return item;
}

static void wait_for(const int *count, int n)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MS / 1000;
    pthread_mutex_lock(&fake.lock);
    while (*count < n)
        if (pthread_cond_timedwait(&fake.changed, &fake.lock, &until) != 0)
            fail_msg("%d of %d after %d ms", *count, n, WAIT_MS);
    pthread_mutex_unlock(&fake.lock);
}

/* ---- cases ------------------------------------------------------------------------------------ */

static void items_are_written_in_one_batch_and_in_order(void **state)
{
    struct bench *b = *state;
    push(b, "a", 1.0f);
    push(b, "b", 1.0f);
    push(b, "c", 1.0f);
    start(b);
    wait_for(&fake.n_settled, 3);
    assert_string_equal(fake.order, "a b c ");
    assert_int_equal(fake.n_calls, 1);
    assert_int_equal(fake.next_offset, 3);
    assert_int_equal(ledger_in_flight(b->ledger), 0);
}

/* `metammf dlq retry` said 0 dead letters of 2 on a busy machine: it looks when nothing is in
 * flight any more. */
static void items_are_counted_before_the_ledger_lets_go(void **state)
{
    struct bench *b = *state;
    uint64_t before = metrics_items(METRICS_STORED);
    push(b, "a", 1.0f);
    push(b, "b", 1.0f);
    start(b);
    wait_for(&fake.n_settled, 2);
    assert_int_equal(fake.counted - before, 2);
}

static void batch_waits_for_what_is_in_flight_but_not_for_ever(void **state)
{
    struct bench *b = *state;
    uint32_t epoch;
    push(b, "a", 1.0f);
    assert_true(ledger_begin(b->ledger, "t", 0, b->offset++, &epoch)); /* never comes */
    push(b, "b", 1.0f);
    start(b);
    wait_for(&fake.n_settled, 2);
    assert_int_equal(fake.next_offset, 1); /* the prefix only */
}

static void full_disk_keeps_the_batch_and_answers_requests(void **state)
{
    struct bench *b = *state;
    fake.n_fail = 5;
    err_retry(&fake.failure, EX_IOERR, "disk full");
    push(b, "a", 1.0f);
    start(b);
    wait_for(&fake.n_calls, 2);
    struct sink_status status;
    sink_status(b->k, &status);
    assert_memory_equal(status.wait, "disk full", 9);
    assert_true(status.failing_since_us > 0);
    assert_int_equal(status.committed_us, 0);
    wait_for(&fake.n_settled, 1);
    assert_int_equal(fake.n_calls, 6);
    assert_string_equal(fake.order, "a ");
    while (sink_status(b->k, &status), status.wait[0])
        poll(NULL, 0, 1);
    assert_int_equal(status.failing_since_us, 0);
    assert_true(status.committed_us > 0);
}

static int request(struct store *st, void *arg, struct err *err)
{
    (void)st;
    (*(int *)arg)++;
    return err_skip(err, "word", "sentence");
}

static void request_during_a_full_disk_runs(void **state)
{
    struct bench *b = *state;
    struct err err;
    int n = 0;
    fake.n_fail = 1000000;
    err_retry(&fake.failure, EX_IOERR, "disk full");
    push(b, "a", 1.0f);
    start(b);
    wait_for(&fake.n_calls, 1);
    assert_int_equal(store_work(&b->writer, request, &n, &err), ERR_SKIP);
    assert_int_equal(n, 1);
    assert_string_equal(err.text, "sentence");
}

static int flip(struct store *st, void *arg, struct err *err)
{
    (void)st;
    (void)err;
    pthread_mutex_lock(&fake.lock);
    fake.active_model = 8;
    fake.n_fail = 0;
    fake.n_fuse_fail = *(const int *)arg;
    pthread_mutex_unlock(&fake.lock);
    return ERR_OK;
}

static void check_flip(struct bench *b, int n_fuse_fail)
{
    fake.n_fail = 1000000;
    err_retry(&fake.failure, EX_IOERR, "disk full");
    push(b, "a", 1.0f);
    push(b, "b", 1.0f);
    start(b);
    wait_for(&fake.n_calls, 1);
    assert_int_equal(store_work(&b->writer, flip, &n_fuse_fail, NULL), ERR_OK);
    wait_for(&fake.n_settled, 2);
    assert_string_equal(fake.order, "a b ");
    assert_int_equal(fake.oldest_model, 8);
}

static void flip_while_a_batch_waits_fuses_it_again(void **state)
{
    check_flip(*state, 0);
}

/* No memory at once to load the new model, then to fuse again. */
static void flip_without_memory_fuses_it_again(void **state)
{
    fake.n_load_fail = 2;
    check_flip(*state, 1);
}

/* A refused row has the batch halved; the flip meets the first half, and the second knows of it. */
static void flip_while_half_a_batch_waits_fuses_both_again(void **state)
{
    struct bench *b = *state;
    static const char *const ids[] = {"a", "b", "c", "d"};
    int n_fuse_fail = 0;
    fake.refused = "d";
    fake.n_pass = 1; /* the whole batch: refused */
    fake.n_fail = 1000000;
    err_retry(&fake.failure, EX_IOERR, "disk full");
    for (size_t i = 0; i < 4; i++)
        push(b, ids[i], 1.0f);
    start(b);
    wait_for(&fake.n_calls, 2);
    assert_int_equal(store_work(&b->writer, flip, &n_fuse_fail, NULL), ERR_OK);
    wait_for(&fake.n_settled, 4);
    assert_string_equal(fake.order, "a b c !d ");
    assert_int_equal(fake.oldest_model, 8);
}

/* What comes is written without a vector; as soon as there is a model, with one. */
static void lost_model_keeps_items_without_vectors(void **state)
{
    struct bench *b = *state;
    struct sink_status status;
    int n_fuse_fail = 0;
    push(b, "a", 1.0f);
    start_with(b, 0, "its file is gone");
    wait_for(&fake.n_settled, 1);
    assert_int_equal(fake.oldest_model, 0);
    sink_status(b->k, &status);
    assert_string_equal(status.lost, "its file is gone");
    assert_int_equal(status.model_id, 0);
    assert_int_equal(store_work(&b->writer, flip, &n_fuse_fail, NULL), ERR_OK);
    fake.oldest_model = INT64_MAX; /* the sink has nothing to write */
    push(b, "b", 1.0f);
    wait_for(&fake.n_settled, 2);
    assert_int_equal(fake.oldest_model, 8);
    sink_status(b->k, &status);
    assert_string_equal(status.lost, "");
    assert_int_equal(status.model_id, 8);
}

static void refused_row_becomes_a_dead_letter_alone(void **state)
{
    struct bench *b = *state;
    fake.refused = "c";
    static const char *const ids[] = {"a", "b", "c", "d", "e", "f", "g"};
    for (size_t i = 0; i < 7; i++)
        push(b, ids[i], 1.0f);
    start(b);
    wait_for(&fake.n_settled, 7);
    assert_string_equal(fake.order, "a b !c d e f g ");
    assert_int_equal(fake.next_offset, 7);
    assert_false(b->failed);
}

static void row_that_cannot_be_fused_becomes_a_dead_letter_alone(void **state)
{
    struct bench *b = *state;
    push(b, "a", 1.0f);
    push(b, "b", (float)(0.0 / 0.0));
    push(b, "c", 1.0f);
    start(b);
    wait_for(&fake.n_settled, 3);
    assert_string_equal(fake.order, "a !b c ");
}

static void fatal_error_stops_the_sink(void **state)
{
    struct bench *b = *state;
    int n = 0;
    fake.n_fail = 1000000;
    err_fatal(&fake.failure, EX_DATAERR, "corrupt");
    push(b, "a", 1.0f);
    start(b);
    wait_for(&fake.n_calls, 1);
    while (store_work(&b->writer, request, &n, NULL) != ERR_FATAL)
        poll(NULL, 0, 1);
    assert_true(b->failed);
    assert_int_equal(fake.n_settled, 0);
    assert_int_equal(ledger_in_flight(b->ledger), 1); /* its offset is not stored */
}

static void stale_items_are_dropped(void **state)
{
    struct bench *b = *state;
    push(b, "old", 1.0f);
    ledger_assign(b->ledger, "t", 0, 5, &b->epoch, NULL);
    b->offset = 5;
    push(b, "new", 1.0f);
    start(b);
    wait_for(&fake.n_settled, 2);
    assert_string_equal(fake.order, "new ");
    assert_int_equal(fake.next_offset, 6);
}

static void embedding_is_what_the_model_made(void **state)
{
    struct bench *b = *state;
    struct fuser f = {0};
    struct active_model model = {.model_id = 7};
    struct item *good = push(b, "a", 3.0f), *none = push(b, "b", 1.0f);
    none->features->dim[MODALITY_VISUAL] = 2; /* of another encoder: counts as missing */
    assert_int_equal(fuser_set_model(&f, &model, NULL), ERR_OK);
    struct item *items[] = {good, none};
    assert_int_equal(fuser_run(&f, items, 2, NULL), ERR_OK);
    assert_int_equal(good->embedding_dim, D);
    assert_true(good->embedding[0] == 3.0f && good->embedding[1] == 0.0f);
    assert_int_equal(good->model_id, 7);
    assert_null(none->embedding);
    fuser_done(&f);
    start(b);
    wait_for(&fake.n_settled, 2);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(items_are_written_in_one_batch_and_in_order),
        CASE(items_are_counted_before_the_ledger_lets_go),
        CASE(batch_waits_for_what_is_in_flight_but_not_for_ever),
        CASE(full_disk_keeps_the_batch_and_answers_requests),
        CASE(request_during_a_full_disk_runs),
        CASE(flip_while_a_batch_waits_fuses_it_again),
        CASE(flip_without_memory_fuses_it_again),
        CASE(flip_while_half_a_batch_waits_fuses_both_again),
        CASE(lost_model_keeps_items_without_vectors),
        CASE(refused_row_becomes_a_dead_letter_alone),
        CASE(row_that_cannot_be_fused_becomes_a_dead_letter_alone),
        CASE(fatal_error_stops_the_sink),
        CASE(stale_items_are_dropped),
        CASE(embedding_is_what_the_model_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
