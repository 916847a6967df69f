/* A scripted run in which every write, sync and truncate of SQLite fails in turn, and allocations
 * as well; then the run goes on, and what it leaves must equal a run without faults.
 *
 * After each fault: a step that said ERR_OK is there, a step that did not is there whole or not
 * at all (rows, dead letters and offset agree), and doing it again brings the same end. Half of
 * the runs go on with the same handle, the other half close it and open another. */

#include "store_fixture.h"

#include "store/copy.h"

#include "fault_vfs.h"

#include <sys/stat.h>
#include <time.h>

#define N_BATCHES   8
#define N_STEPS     (N_BATCHES + 8)
#define MAX_RETRIES 4

struct run {
    struct fixture f;
    char snapshot[128];
};

static int step_model(struct fixture *f, const char *file, size_t n_before)
{
    struct store_model *rows = NULL;
    struct store_model m = {.backbone = "mf", .fusion = "cp"};
    size_t n = 0;
    int status = store_model_list(f->st, 10, &rows, &n, &f->err);

    if (status != ERR_OK)
        return status;
    for (size_t i = 0; i < n; i++)
        store_model_done(&rows[i]);
    m.model_id = n > n_before ? rows[0].model_id : 0;
    free(rows);
    (void)snprintf(m.file, sizeof m.file, "%s", file);
    if (m.model_id == 0)
        status = store_model_add(f->st, &m, &f->err);
    if (status == ERR_OK)
        status = store_model_activate(f->st, m.model_id, &f->err);
    if (status == ERR_OK)
        f->model_id = m.model_id;
    return status;
}

/* Two videos, an interaction, a dead letter, now and then a delete: offsets 10 b … 10 b + 4. */
static int step_batch(struct fixture *f, int b)
{
    struct fixture_video video[2];
    char id[3][16];
    int64_t at = 10 * b;
    struct store_interaction x = {.pos = {"videos", 3, at + 2},
                                  .user_id = "u1",
                                  .item_id = "v0",
                                  .kind = "watch",
                                  .weight = 1,
                                  .ts_us = 1700000000000000 + at};
    struct store_dead_letter d = {.pos = {"videos", 3, at + 3},
                                  .reason = "media",
                                  .error = "e",
                                  .stage = "extract",
                                  .value = "v",
                                  .value_bytes = 1,
                                  .ts_us = 5,
                                  .dlq_topic = "dlq"};
    struct store_delete del = {{"videos", 3, at + 4}, id[2]};
    struct store_op ops[5];
    struct store_offset offset = {"videos", 3, at + 10, 0, 0};
    struct store_batch_result r;

    for (int i = 0; i < 3; i++)
        (void)snprintf(id[i], sizeof id[i], "v%d", i < 2 ? 2 * b + i : 2 * b - 3);
    ops[0] = (struct store_op){.kind = STORE_OP_VIDEO,
                               .video = fixture_video(f, &video[0], id[0], at, 1)};
    ops[1] = (struct store_op){.kind = STORE_OP_VIDEO,
                               .video = fixture_video(f, &video[1], id[1], at + 1, 1)};
    ops[2] = (struct store_op){.kind = STORE_OP_INTERACTION, .interaction = &x};
    ops[3] = (struct store_op){.kind = STORE_OP_DEAD_LETTER, .dead_letter = &d};
    ops[4] = (struct store_op){.kind = STORE_OP_DELETE, .del = &del};
    return store_write_batch(f->st, ops, b % 3 == 2 ? 5 : 4, &offset, 1, &r, &f->err);
}

static int step_snapshot(struct run *r)
{
    struct stat sb;
    struct store *copy = NULL;
    int status =
        stat(r->snapshot, &sb) == 0 ? ERR_OK : store_snapshot(r->f.st, r->snapshot, &r->f.err);

    if (status == ERR_OK) /* under its name it is whole */
        status = store_open(r->snapshot, STORE_READ, &copy, &r->f.err);
    store_close(copy);
    return status;
}

/* The same again changes nothing. */
static int step_forget(struct fixture *f)
{
    struct store_forget x = {{"videos", 3, 0}, "u1", 1800000000000000};
    struct store_op op = {.kind = STORE_OP_FORGET, .forget = &x};
    struct store_batch_result r;

    return store_write_batch(f->st, &op, 1, NULL, 0, &r, &f->err);
}

static int step_erase(struct fixture *f)
{
    struct store_erased e;
    bool more = true, clean;
    int status = ERR_OK;

    while (status == ERR_OK && more)
        status = store_erase(f->st, 2, &e, &more, &f->err);
    return status == ERR_OK ? store_wipe(f->st, &clean, &f->err) : status;
}

static int run_step(struct run *r, int step)
{
    const struct store_retention keep = {.interactions_days = 1};
    const int64_t ids[] = {1, 2};
    struct fixture *f = &r->f;
    bool more = false;

    if (step == 0)
        return step_model(f, "first", 0);
    if (step == 1)
        return store_check_cluster(f->st, "c1", &f->err);
    if (step < 2 + N_BATCHES)
        return step_batch(f, step - 2);
    switch (step - 2 - N_BATCHES) {
    case 0:
        return store_outbox_delete(f->st, ids, 2, &f->err);
    case 1:
        return step_snapshot(r);
    case 2:
        return step_model(f, "second", 1);
    case 6:
        return step_forget(f);
    case 7:
        return step_erase(f);
    default: /* half of the interactions are a day old */
        return store_retain(f->st, &keep, 1700000000000000 + 40 + INT64_C(86400000000), 3,
                            &more, &f->err);
    }
}

static int run_open(struct run *r)
{
    struct fixture *f = &r->f;

    if (f->st)
        return ERR_OK;
    int status = store_open(f->path, STORE_WRITE, &f->st, &f->err);
    if (status != ERR_OK)
        return status;
    /* checkpoints within the run, so that they fail as well */
    return store_exec(f->st, "PRAGMA wal_autocheckpoint=12", "pragma", &f->err);
}

/* What a step leaves is whole: the offset says how many batches there are. The first line uses the
 * handle as a caller would, who comes back after an error. */
static void check_balance(struct fixture *f)
{
    struct store_counts c;

    assert_ok(f, store_count(f->st, &c, &f->err));
    int64_t next = fixture_query(f, "SELECT next_offset FROM kafka_offset");
    int64_t n = next < 0 ? 0 : next / 10;

    assert_int_equal(fixture_query(f, "SELECT count(*) FROM item"), 2 * n);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM dead_letter"), n);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM item WHERE deleted"), n / 3);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM embedding e JOIN item i "
                                      "ON i.rid = e.rid WHERE i.deleted = 0"),
                     2 * n - n / 3);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM feature"), 2 * (2 * n - n / 3));
    assert_true(fixture_query(f, "SELECT coalesce(max(seq), 0) FROM embedding") <=
                fixture_seq(f));
    assert_true(fixture_query(f, "SELECT count(*) FROM model WHERE state='active'") ==
                fixture_query(f, "SELECT count(*) FROM active_model"));
}

/* One number for everything that does not depend on the clock. */
static int64_t state_of(struct fixture *f)
{
    int64_t n_blobs = 0;

    assert_ok(f, store_check(f->st, &n_blobs, &f->err));
    assert_int_equal(fixture_query(f, "SELECT integrity_check='ok' FROM "
                                      "pragma_integrity_check"),
                     1);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM pragma_foreign_key_check"), 0);
    return n_blobs * 1000003 + fixture_seq(f) * 10007 +
           fixture_query(f, "SELECT count(*) FROM interaction") * 101 +
           fixture_query(f, "SELECT sum(interactions) FROM forgotten") * 103 +
           fixture_query(f, "SELECT count(*) FROM erasing") * 107 +
           fixture_query(f, "SELECT count(*) FROM user") * 109 +
           fixture_query(f, "SELECT count(*) FROM meta WHERE name = 'wipe_due'") * 113 +
           fixture_query(f, "SELECT count(*) FROM dlq_outbox") * 1009 +
           fixture_query(f, "SELECT sum(rid * gone_seq) FROM item") * 7 +
           fixture_query(f, "SELECT sum(rid * seq) FROM embedding") * 13 +
           fixture_query(f, "SELECT next_offset FROM kafka_offset");
}

static void run_open_again(struct run *r, bool reopen)
{
    fault_arm(NULL);
    if (reopen) {
        store_close(r->f.st);
        r->f.st = NULL;
    }
    int status = run_open(r);
    if (status != ERR_OK)
        fail_msg("opening after the fault: %s", r->f.err.text);
}

/* The whole script with one fault in it; the state at the end. */
static int64_t run_script(const struct fault *fault, bool reopen, bool *ret_tripped)
{
    struct run r = {0};
    bool hit = false;

    /* in memory where there is such a folder: the snapshot's own fsync is real */
    (void)strcpy(r.f.dir, "/dev/shm/mmf-fault-XXXXXX");
    if (!mkdtemp(r.f.dir)) {
        (void)strcpy(r.f.dir, "/tmp/mmf-fault-XXXXXX");
        assert_non_null(mkdtemp(r.f.dir));
    }
    (void)snprintf(r.f.path, sizeof r.f.path, "%s/s.db", r.f.dir);
    (void)snprintf(r.snapshot, sizeof r.snapshot, "%s/snap", r.f.dir);
    fault_arm(fault);
    for (int step = 0; step < N_STEPS; step++) {
        int tries = 0;

        while (run_open(&r) != ERR_OK || run_step(&r, step) != ERR_OK) {
            if (!fault_tripped() && !hit)
                fail_msg("step %d fails without a fault: %s", step, r.f.err.text);
            if (++tries > MAX_RETRIES)
                fail_msg("step %d, point %lld: does not recover: %s", step,
                         (long long)fault->at, r.f.err.text);
            assert_true(r.f.err.text[0] != '\0');
            hit = true;
            run_open_again(&r, reopen);
            check_balance(&r.f);
        }
        hit = hit || fault_tripped();
    }
    *ret_tripped = hit;
    run_open_again(&r, true);
    check_balance(&r.f);
    int64_t state = state_of(&r.f);
    store_close(r.f.st);
    fixture_remove(&r.f);
    return state;
}

static double now_s(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* Points of a run without faults; its end is the reference. */
static int64_t reference(enum fault_kind kind, int64_t *ret_state)
{
    const struct fault none = {.at = -1, .kind = kind};
    bool tripped = false;

    *ret_state = run_script(&none, false, &tripped);
    assert_false(tripped);
    return *ret_state;
}

/* MMF_FAULT_STRIDE=1 takes every point (minutes); the default is a sample, a thinner one under
 * sanitizers, which are several times slower. */
static int64_t stride(void)
{
    const char *text = getenv("MMF_FAULT_STRIDE");
    int64_t n = text ? strtoll(text, NULL, 10) : 0;
#ifdef MMF_SANITIZE_BUILD
    const int64_t usual = 20;
#else
    const int64_t usual = 5;
#endif

    return n > 0 ? n : usual;
}

static int64_t sweep(struct fault fault, int64_t step, bool reopen, int64_t want)
{
    int64_t n = 0;

    for (fault.at %= step;; fault.at += step) {
        bool tripped = false;
        int64_t got = run_script(&fault, reopen, &tripped);

        if (got != want)
            fail_msg("point %lld, code %d, persistent %d, reopen %d: ends in another state",
                     (long long)fault.at, fault.code, fault.persistent, reopen);
        if (!tripped)
            return n;
        n++;
    }
}

static void store_every_io_point_fails_nothing_is_lost(void **state)
{
    static const int codes[] = {SQLITE_IOERR, SQLITE_FULL};
    int64_t want = 0;
    int64_t n = 0;
    double start = now_s();

    (void)state;
    (void)reference(FAULT_IO, &want);
    for (int variant = 0; variant < 8; variant++) {
        struct fault fault = {.kind = FAULT_IO,
                              .persistent = (variant & 1) != 0,
                              .code = codes[(variant & 2) != 0],
                              .at = variant};

        n += sweep(fault, stride(), (variant & 4) != 0, want);
    }
    print_message("%lld write, sync and truncate points failed, 0 violations, %.1f s\n",
                  (long long)n, now_s() - start);
    assert_true(n * stride() >= 5000);
}

static void store_memory_runs_out_nothing_is_lost(void **state)
{
    int64_t want = 0;
    int64_t n = 0;
    double start = now_s();

    (void)state;
    (void)reference(FAULT_MEMORY, &want);
    for (int variant = 0; variant < 4; variant++) {
        struct fault fault = {
            .kind = FAULT_MEMORY, .persistent = (variant & 1) != 0, .at = 20 * variant};

        n += sweep(fault, 20 * stride(), (variant & 2) != 0, want);
    }
    print_message("%lld allocations of SQLite failed in turn, 0 violations, %.1f s\n",
                  (long long)n, now_s() - start);
    assert_true(n * stride() >= 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(store_every_io_point_fails_nothing_is_lost),
        cmocka_unit_test(store_memory_runs_out_nothing_is_lost),
    };

    fault_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
