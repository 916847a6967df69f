/* The thread between an outbox and a publisher, with both ends made up and time that passes only
 * while it waits: what leaves the outbox, what is sent again, what is cut. */

#include "config/clock.h"
#include "config/log.h"
#include "daemon/publish/publish.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define ROWS_MAX 100
#define SENT_MAX 4096
#define N_CUTS   2
#define BAD_ID   1000 /* rows from here on cannot be published */

/* Both ends. The thread changes it; the test reads its two counters meanwhile, the rest after the end. */
struct world {
    struct outbox outbox; /* first */
    struct publisher publisher;
    struct publish *publish;

    int64_t rows[ROWS_MAX]; /* (n_rows), in the outbox */
    size_t n_rows;
    int64_t read[ROWS_MAX];
    size_t n_read;
    bool is_lent;

    int64_t sent[SENT_MAX]; /* (n_sent), in the order of submit; negative = cut */
    int64_t sent_us[SENT_MAX];
    size_t n_sent;
    struct publish_message flight[ROWS_MAX];
    size_t n_flight, batch_max;

    int64_t large_id; /* too large until it is cut large_cuts times */
    unsigned large_cuts;
    bool knows_at_once; /* submit refuses it, not the broker */
    int n_failures;     /* acknowledgements that fail, first of all */
    int n_refused;      /* submits that fail */
    int n_locked;       /* forgets that fail */
    int n_unreadable;   /* reads that fail */
    int n_broken;       /* mends that fail */
    bool is_silent;     /* no acknowledgement ever comes */
    int n_mended, n_closed;
    atomic_size_t n_left; /* rows, for the test to wait for */
    atomic_size_t n_tries;
};

static _Atomic int64_t now_us;

static int64_t fake_mono_us(void)
{
    return atomic_load(&now_us);
}

static int64_t fake_real_us(void)
{
    return 1700000000000000 + atomic_load(&now_us);
}

static struct world *of_outbox(struct outbox *o)
{
    return (struct world *)o;
}

static struct world *of_publisher(struct publisher *pub)
{
    return (struct world *)(void *)((char *)pub - offsetof(struct world, publisher));
}

static int read_rows(struct outbox *o, int64_t after_id, size_t max, size_t *ret_n,
                     struct err *err)
{
    struct world *w = of_outbox(o);
    assert_false(w->is_lent);
    if (w->n_unreadable > 0) {
        w->n_unreadable--;
        return err_retry(err, 0, "disk I/O error");
    }
    w->n_read = 0;
    for (size_t i = 0; i < w->n_rows && w->n_read < max; i++)
        if (w->rows[i] > after_id)
            w->read[w->n_read++] = w->rows[i];
    w->is_lent = true;
    *ret_n = w->n_read;
    return ERR_OK;
}

/* The cut travels as the number of headers. */
static int message(struct outbox *o, size_t i, unsigned cut,
                   struct publish_message *ret_message, struct err *err)
{
    struct world *w = of_outbox(o);
    (void)err;
    assert_true(w->is_lent && i < w->n_read && cut <= N_CUTS);
    *ret_message =
        (struct publish_message){.id = w->read[i], .topic = "topic", .n_headers = cut};
    return w->read[i] >= BAD_ID ? ERR_SKIP : ERR_OK;
}

static void release(struct outbox *o)
{
    struct world *w = of_outbox(o);
    assert_true(w->is_lent);
    w->is_lent = false;
}

static void take_row(struct world *w, int64_t id)
{
    size_t at = 0;
    while (at < w->n_rows && w->rows[at] != id)
        at++;
    assert_true(at < w->n_rows); /* each row is forgotten once */
    memmove(&w->rows[at], &w->rows[at + 1], (w->n_rows - at - 1) * sizeof(w->rows[0]));
    w->n_rows--;
}

static int forget(struct outbox *o, const int64_t *ids, size_t n, struct err *err)
{
    struct world *w = of_outbox(o);
    if (w->n_locked > 0) {
        w->n_locked--;
        return err_retry(err, 0, "disk full");
    }
    for (size_t i = 0; i < n; i++)
        take_row(w, ids[i]);
    atomic_store(&w->n_left, w->n_rows);
    return ERR_OK;
}

static void close_outbox(struct outbox *o)
{
    of_outbox(o)->n_closed++;
}

static bool is_too_large(const struct world *w, const struct publish_message *m)
{
    return m->id == w->large_id && m->n_headers < w->large_cuts;
}

static int submit(struct publisher *pub, const struct publish_message *m, struct err *err)
{
    struct world *w = of_publisher(pub);
    atomic_fetch_add(&w->n_tries, 1);
    if (w->n_refused > 0) {
        w->n_refused--;
        return err_retry(err, 0, "queue full");
    }
    if (w->knows_at_once && is_too_large(w, m))
        return err_skip(err, "", "too large");
    assert_true(w->n_sent < SENT_MAX && w->n_flight < ROWS_MAX);
    w->sent_us[w->n_sent] = fake_mono_us();
    w->sent[w->n_sent++] = m->n_headers > 0 ? -m->id : m->id;
    w->flight[w->n_flight++] = *m;
    if (w->n_flight > w->batch_max)
        w->batch_max = w->n_flight;
    return ERR_OK;
}

/* A broker takes a batch whole or not at all. */
static void poll_all(struct publisher *pub, int timeout_ms)
{
    struct world *w = of_publisher(pub);
    size_t n = w->n_flight;
    bool is_batch_too_large = false;
    atomic_fetch_add(&now_us, timeout_ms * 1000);
    if (w->is_silent || n == 0) {
        usleep(100);
        return;
    }
    for (size_t i = 0; i < n; i++)
        is_batch_too_large |= is_too_large(w, &w->flight[i]);
    w->n_flight = 0;
    for (size_t i = 0; i < n; i++) {
        int status = is_batch_too_large ? ERR_SKIP : w->n_failures-- > 0 ? ERR_RETRY : ERR_OK;
        publish_acked(pub, w->flight[i].id, status, "topic", status == ERR_OK ? "" : "refused");
    }
}

static int mend(struct publisher *pub, struct err *err)
{
    struct world *w = of_publisher(pub);
    w->n_mended++;
    if (w->n_broken-- > 0)
        return err_retry(err, 0, "no producer");
    return ERR_OK;
}

static void close_publisher(struct publisher *pub)
{
    of_publisher(pub)->n_closed++;
}

static const struct outbox_ops outbox_ops = {
    .name = "rows",
    .thread = "rows",
    .n_cuts = N_CUTS,
    .read = read_rows,
    .message = message,
    .release = release,
    .forget = forget,
    .close = close_outbox,
};

static const struct publisher_ops publisher_ops = {
    .submit = submit,
    .poll = poll_all,
    .mend = mend,
    .close = close_publisher,
};

static int make_world(void **state)
{
    static const struct clock_source source = {fake_real_us, fake_mono_us};
    struct world *w = calloc(1, sizeof(*w));
    struct err err = {0};
    assert_non_null(w);
    atomic_store(&now_us, 0);
    clock_inject(&source);
    log_set_level(LOG_LEVEL_ERROR);
    w->outbox.ops = &outbox_ops;
    w->publisher.ops = &publisher_ops;
    assert_int_equal(publish_open(&w->outbox, &w->publisher, &w->publish, &err), ERR_OK);
    *state = w;
    return 0;
}

static int free_world(void **state)
{
    struct world *w = *state;
    if (w->publish != NULL)
        publish_close(w->publish);
    assert_int_equal(w->n_closed, 2);
    free(w);
    clock_inject(NULL);
    return 0;
}

static void fill(struct world *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        w->rows[w->n_rows++] = (int64_t)i + 1;
    atomic_store(&w->n_left, w->n_rows);
}

static void start(struct world *w)
{
    struct err err = {0};
    assert_int_equal(publish_start(w->publish, &err), ERR_OK);
}

/* At most a minute of real time. */
static void wait_until(atomic_size_t *counter, bool (*is_reached)(size_t now, size_t wanted),
                       size_t wanted)
{
    for (int i = 0; i < 600000 && !is_reached(atomic_load(counter), wanted); i++)
        usleep(100);
    assert_true(is_reached(atomic_load(counter), wanted));
}

static bool at_most(size_t now, size_t wanted)
{
    return now <= wanted;
}

static bool at_least(size_t now, size_t wanted)
{
    return now >= wanted;
}

/* Until so many rows are left; then the thread has ended. */
static void run_until_left(struct world *w, size_t n)
{
    start(w);
    wait_until(&w->n_left, at_most, n);
    publish_stop(w->publish);
    assert_int_equal(w->n_rows, n);
    assert_false(w->is_lent);
}

static void acknowledged_rows_leave_in_order(void **state)
{
    struct world *w = *state;
    fill(w, 100);
    run_until_left(w, 0);
    assert_int_equal(w->n_sent, 100);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(w->sent[i], i + 1);
    assert_int_equal(w->batch_max, 64);
    assert_int_equal(publish_count(w->publish), 100);
}

static void refused_rows_are_sent_again(void **state)
{
    struct world *w = *state;
    fill(w, 3);
    w->n_failures = 2; /* rows 1 and 2 */
    run_until_left(w, 0);
    const int64_t wanted[] = {1, 2, 3, 1, 2};
    assert_int_equal(w->n_sent, 5);
    assert_memory_equal(w->sent, wanted, sizeof(wanted));
    assert_int_equal(w->n_mended, 1);
    assert_true(fake_mono_us() >= 1000000); /* the pause */
}

static void pauses_grow_and_the_wait_is_told(void **state)
{
    static const int64_t pauses_s[] = {1, 2, 4, 8, 16, 30, 30};
    struct world *w = *state;
    char text[160];
    fill(w, 1);
    w->n_failures = INT_MAX;
    start(w);
    wait_until(&w->n_tries, at_least, 8);
    publish_describe(w->publish, text, sizeof(text));
    assert_string_equal(text, "rows wait: topic: refused");
    publish_stop(w->publish);
    for (size_t i = 0; i < 7; i++)
        assert_true(w->sent_us[i + 1] - w->sent_us[i] >= pauses_s[i] * 1000000);
    assert_int_equal(w->n_rows, 1);
}

static void a_message_that_cannot_be_submitted_stops_its_batch(void **state)
{
    struct world *w = *state;
    fill(w, 2);
    w->n_refused = 1;
    run_until_left(w, 0);
    const int64_t wanted[] = {1, 2};
    assert_int_equal(w->n_sent, 2);
    assert_memory_equal(w->sent, wanted, sizeof(wanted));
}

static void too_large_is_sent_alone_and_cut(void **state)
{
    struct world *w = *state;
    fill(w, 3);
    w->large_id = 2;
    w->large_cuts = 2;
    run_until_left(w, 0);
    const int64_t wanted[] = {1, 2, 3, 1, 2, -2, -2, 3};
    /* After a refusal the reader begins anew: row 1 is out of the outbox by then. */
    assert_int_equal(w->n_sent, 8);
    assert_memory_equal(w->sent, wanted, sizeof(wanted));
    assert_true(fake_mono_us() < 1000000); /* no pause: the next try is another one */
}

static void too_large_for_the_publisher_is_cut_at_once(void **state)
{
    struct world *w = *state;
    fill(w, 3);
    w->large_id = 2;
    w->large_cuts = 2;
    w->knows_at_once = true;
    run_until_left(w, 0);
    const int64_t wanted[] = {1, -2, 3};
    assert_int_equal(w->n_sent, 3);
    assert_memory_equal(w->sent, wanted, sizeof(wanted));
}

static void too_large_however_cut_is_kept(void **state)
{
    struct world *w = *state;
    fill(w, 3);
    w->large_id = 3;
    w->large_cuts = N_CUTS + 1;
    start(w);
    wait_until(&w->n_tries, at_least, 20);
    publish_stop(w->publish);
    assert_int_equal(w->n_rows, 1);
    assert_int_equal(w->rows[0], 3);
}

static void a_row_that_cannot_be_published_stays_and_is_passed(void **state)
{
    struct world *w = *state;
    w->rows[0] = 1;
    w->rows[1] = BAD_ID;
    w->rows[2] = 2;
    w->n_rows = 3;
    atomic_store(&w->n_left, w->n_rows);
    run_until_left(w, 1);
    assert_int_equal(w->rows[0], BAD_ID);
    assert_int_equal(w->n_sent, 2);
}

static void acknowledged_rows_wait_for_the_disk(void **state)
{
    struct world *w = *state;
    fill(w, 3);
    w->n_locked = 2;
    run_until_left(w, 0);
    assert_int_equal(w->n_sent, 3); /* nothing twice */
}

static void an_outbox_that_cannot_be_read_is_read_again(void **state)
{
    struct world *w = *state;
    fill(w, 3);
    w->n_unreadable = 2;
    run_until_left(w, 0);
    assert_int_equal(w->n_sent, 3);
}

static void a_broken_publisher_is_mended_until_it_works(void **state)
{
    struct world *w = *state;
    fill(w, 2);
    w->n_failures = 1;
    w->n_broken = 3;
    run_until_left(w, 0);
    assert_int_equal(w->n_mended, 4);
}

static void stop_leaves_what_is_not_acknowledged(void **state)
{
    struct world *w = *state;
    fill(w, 5);
    w->is_silent = true;
    start(w);
    wait_until(&w->n_tries, at_least, 5);
    publish_stop(w->publish);
    assert_int_equal(w->n_rows, 5);
    assert_int_equal(publish_count(w->publish), 0);
}

static void never_started_closes(void **state)
{
    struct world *w = *state;
    char text[160] = "x";
    publish_describe(w->publish, text, sizeof(text));
    assert_string_equal(text, "");
    publish_stop(NULL);
    publish_close(NULL);
    publish_close(w->publish);
    w->publish = NULL;
    assert_int_equal(w->n_closed, 2);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, make_world, free_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(acknowledged_rows_leave_in_order),
        CASE(refused_rows_are_sent_again),
        CASE(pauses_grow_and_the_wait_is_told),
        CASE(a_message_that_cannot_be_submitted_stops_its_batch),
        CASE(too_large_is_sent_alone_and_cut),
        CASE(too_large_for_the_publisher_is_cut_at_once),
        CASE(too_large_however_cut_is_kept),
        CASE(a_row_that_cannot_be_published_stays_and_is_passed),
        CASE(acknowledged_rows_wait_for_the_disk),
        CASE(an_outbox_that_cannot_be_read_is_read_again),
        CASE(a_broken_publisher_is_mended_until_it_works),
        CASE(stop_leaves_what_is_not_acknowledged),
        CASE(never_started_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
