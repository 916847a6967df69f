/* Damaged files and missing memory: 500 databases with flipped bytes each open and serve, or name
 * their error; every allocation of the store's own code fails in turn. No crash, no vector other
 * than one that was written. */

#include "store_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define N_VIDEOS  120
#define N_DAMAGED 500

/* ---- allocations of our code (the linker wraps these names in it, not in SQLite) ------------ */

static int64_t alloc_count;
static int64_t alloc_fail_at = -1;

static bool alloc_fails(void)
{
    return alloc_count++ == alloc_fail_at;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t bytes);
void *__real_reallocarray(void *p, size_t n, size_t size);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t bytes);
void *__wrap_reallocarray(void *p, size_t n, size_t size);
char *__wrap_strdup(const char *s);

void *__wrap_malloc(size_t bytes)
{
    return alloc_fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return alloc_fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t bytes)
{
    return alloc_fails() ? NULL : __real_realloc(p, bytes);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
    return alloc_fails() ? NULL : __real_reallocarray(p, n, size);
}

char *__wrap_strdup(const char *s)
{
    return alloc_fails() ? NULL : __real_strdup(s);
}

/* ---- what is done to each store ------------------------------------------------------------- */

static int read_rows(struct store *st, struct err *err)
{
    struct store_item item;
    struct store_embedding e;
    float *vec = NULL;
    int32_t dim = 0;
    char encoder[64];
    int status = store_get_item(st, "v7", &item, err);

    if (status == ERR_OK)
        store_item_done(&item);
    if (status == ERR_OK || status == ERR_NONE)
        status = store_get_embedding(st, "v7", &e, err);
    if (status == ERR_OK)
        store_embedding_done(&e);
    if (status == ERR_OK || status == ERR_NONE)
        status = store_get_feature(st, "v7", MODALITY_VISUAL, &vec, &dim, encoder, err);
    if (status == ERR_OK)
        free(vec);
    return status == ERR_NONE ? ERR_OK : status;
}

/* A vector that comes out is one that went in: v_n begins with n + 1 and ends in 8. */
static int read_matrix(struct store *st, struct err *err)
{
    struct store_matrix m;
    int status = store_read_embeddings(st, &m, err);

    if (status != ERR_OK)
        return status;
    for (size_t i = 0; i < m.n_rows; i++) {
        float first = m.vec[i * FIXTURE_DIM];

        assert_int_equal(m.dim, FIXTURE_DIM);
        assert_true(first >= 1 && first <= 1000 && m.vec[i * FIXTURE_DIM + 3] == 8.0F);
    }
    store_matrix_done(&m);
    return ERR_OK;
}

static int read_lists(struct store *st, struct err *err)
{
    struct store_letter *letters = NULL;
    struct store_letter *outbox = NULL;
    struct store_offset_row *offsets = NULL;
    struct store_count_by *by = NULL;
    struct store_model *models = NULL;
    size_t n = 0;
    int status = store_dead_letters(st, 0, NULL, 100, &letters, &n, err);

    if (status != ERR_OK)
        return status;
    store_letters_free(letters, n);
    status = store_outbox_read(st, 0, 100, &outbox, &n, err);
    if (status != ERR_OK)
        return status;
    store_letters_free(outbox, n);
    status = store_read_offsets(st, &offsets, &n, err);
    if (status != ERR_OK)
        return status;
    store_offsets_free(offsets, n);
    status = store_count_dead_letters(st, &by, &n, err);
    if (status != ERR_OK)
        return status;
    free(by);
    status = store_model_list(st, 100, &models, &n, err);
    if (status != ERR_OK)
        return status;
    for (size_t i = 0; i < n; i++)
        store_model_done(&models[i]);
    free(models);
    return ERR_OK;
}

static int read_all(struct store *st, struct err *err)
{
    struct store_counts c;
    struct store_model m;
    int64_t n = 0;
    int status = store_check_cluster(st, "c1", err);

    if (status == ERR_OK)
        status = store_count(st, &c, err);
    if (status == ERR_OK)
        status = read_rows(st, err);
    if (status == ERR_OK)
        status = read_matrix(st, err);
    if (status == ERR_OK)
        status = read_lists(st, err);
    if (status == ERR_OK) {
        status = store_model_active(st, &m, err);
        if (status == ERR_OK)
            store_model_done(&m);
        else if (status == ERR_NONE)
            status = ERR_OK;
    }
    return status == ERR_OK ? store_check(st, &n, err) : status;
}

/* Whoever it is: the next time as well. */
static int forget(struct fixture *f)
{
    const struct store_pair pair = {1, 1};
    unsigned char hash[DIGEST_BYTES];
    struct store_erased e;
    bool more = true, clean;
    int status = store_put_training(f->st, f->model_id, &pair, 1, &f->err);

    if (status != ERR_OK && status != ERR_RETRY) /* it is there from the last time */
        status = ERR_OK;
    if (status == ERR_OK)
        status = store_forget(f->st, "u", hash, &f->err);
    while (status == ERR_OK && more)
        status = store_erase(f->st, 10, &e, &more, &f->err);
    return status == ERR_OK ? store_wipe(f->st, &clean, &f->err) : status;
}

static int write_all(struct fixture *f)
{
    const struct store_retention keep = {1, 1, 1, NULL};
    const struct store_header header = {"h", "x", 1};
    struct store_dead_letter d = {.pos = {"videos", 3, 5000},
                                  .reason = "media",
                                  .error = "e",
                                  .stage = "x",
                                  .headers = &header,
                                  .n_headers = 1,
                                  .dlq_topic = "dlq"};
    struct fixture_video b;
    struct store_delete del = {{"videos", 3, 5002}, "v9"};
    struct store_interaction x = {.pos = {"c", 0, 9},
                                  .user_id = "u",
                                  .item_id = "v3",
                                  .weight = 1,
                                  .ts_us = 4102444800000000};
    struct store_op ops[4] = {
        {.kind = STORE_OP_VIDEO, .video = fixture_video(f, &b, "v8", 5001, 9)},
        {.kind = STORE_OP_DEAD_LETTER, .dead_letter = &d},
        {.kind = STORE_OP_DELETE, .del = &del},
        {.kind = STORE_OP_INTERACTION, .interaction = &x}};
    struct store_batch_result r;
    struct store_offset offset = {"videos", 3, 6000, 0, 0};
    bool more = false;
    int status = store_write_batch(f->st, ops, 4, &offset, 1, &r, &f->err);

    if (status == ERR_OK)
        status = store_model_activate(f->st, f->model_id, &f->err);
    if (status == ERR_OK)
        status = store_retain(f->st, &keep, 1700000000000000, 10, &more, &f->err);
    return status == ERR_OK ? forget(f) : status;
}

static void fill(struct fixture *f)
{
    char id[16];

    assert_ok(f, store_check_cluster(f->st, "c1", &f->err));
    for (int i = 0; i < N_VIDEOS; i++) {
        (void)snprintf(id, sizeof id, "v%d", i);
        (void)fixture_put(f, id, 10 * i, (float)i + 1);
        (void)fixture_interact(f, "u1", id, i, 1700000000000000);
        if (i % 10 == 0)
            (void)fixture_bury(f, 10 * i + 1, "media", "dlq");
    }
}

/* ---- damaged files -------------------------------------------------------------------------- */

struct bytes {
    unsigned char *data;
    size_t n;
};

static struct bytes slurp(const char *path)
{
    struct stat sb;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &sb), 0);
    struct bytes b = {malloc((size_t)sb.st_size + 1), (size_t)sb.st_size};
    assert_non_null(b.data);
    assert_int_equal(read(fd, b.data, b.n), b.n);
    (void)close(fd);
    return b;
}

static void spill(const char *path, const struct bytes *b)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, b->data, b->n), b->n);
    (void)close(fd);
}

static uint64_t next_random(uint64_t *s) /* splitmix64: the same files in every run */
{
    uint64_t z = *s += 0x9e3779b97f4a7c15U;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

static void flip_bytes(struct bytes *b, uint64_t *s)
{
    size_t n = 1 + next_random(s) % 16;
    size_t span = next_random(s) % 4 == 0 ? 4096 : b->n; /* the first page more often */

    for (size_t i = 0; i < n && b->n; i++)
        b->data[next_random(s) % (span < b->n ? span : b->n)] ^=
            (unsigned char)(1 + next_random(s) % 255);
}

/* 0 = served as if nothing had happened, 1 = named its error. */
static int try_store(struct fixture *f, enum store_mode mode)
{
    f->err.text[0] = '\0';
    f->st = NULL;
    int status = store_open(f->path, mode, &f->st, &f->err);
    if (status == ERR_OK)
        status = read_all(f->st, &f->err);
    if (status == ERR_OK && mode == STORE_WRITE)
        status = write_all(f);
    if (status == ERR_OK && mode == STORE_WRITE)
        status = read_all(f->st, &f->err);
    store_close(f->st);
    f->st = NULL;
    if (status == ERR_OK)
        return 0;
    assert_true(f->err.text[0] != '\0' && f->err.exit_code != 0);
    return 1;
}

static void put_back(struct fixture *f, struct bytes *db, struct bytes *wal)
{
    char name[128];

    spill(f->path, db);
    (void)snprintf(name, sizeof name, "%s-wal", f->path);
    spill(name, wal);
    (void)snprintf(name, sizeof name, "%s-shm", f->path);
    (void)unlink(name);
}

/* The files as a killed writer leaves them: pages in the database and pages in the WAL. */
static void make_files(struct fixture *f, struct bytes *ret_db, struct bytes *ret_wal)
{
    char name[128];

    fill(f);
    fixture_reopen(f); /* moves the WAL into the file */
    (void)fixture_put(f, "v7", 4000, 99);
    (void)fixture_bury(f, 4001, "media", "dlq");
    *ret_db = slurp(f->path);
    (void)snprintf(name, sizeof name, "%s-wal", f->path);
    *ret_wal = slurp(name);
    assert_true(ret_wal->n > 4096);
    store_close(f->st);
    f->st = NULL;
}

static void damaged_files_open_or_name_their_error(void **state)
{
    struct fixture *f = *state;
    struct bytes db;
    struct bytes wal;
    uint64_t seed = 20240229;
    int n_named[2] = {0, 0};

    make_files(f, &db, &wal);
    put_back(f, &db, &wal);
    assert_int_equal(try_store(f, STORE_READ), 0); /* undamaged it serves */
    for (int i = 0; i < N_DAMAGED; i++) {
        bool in_wal = i % 5 == 4;
        struct bytes *victim = in_wal ? &wal : &db;
        struct bytes copy = {malloc(victim->n), victim->n};

        assert_non_null(copy.data);
        memcpy(copy.data, victim->data, victim->n);
        flip_bytes(&copy, &seed);
        put_back(f, in_wal ? &db : &copy, in_wal ? &copy : &wal);
        n_named[in_wal] += try_store(f, i % 3 == 2 ? STORE_READ : STORE_WRITE);
        free(copy.data);
    }
    print_message("%d of 400 damaged databases and %d of 100 damaged WALs named an error, the "
                  "others served; no crash, no false vector\n",
                  n_named[0], n_named[1]);
    assert_true(n_named[0] > 100); /* most damage hits something that is checked */
    free(db.data);
    free(wal.data);
}

static void truncated_files_open_or_name_their_error(void **state)
{
    struct fixture *f = *state;
    struct bytes db;
    struct bytes wal;

    make_files(f, &db, &wal);
    for (size_t n = 0; n < db.n; n += 1777) {
        struct bytes cut = {db.data, n};
        struct bytes none = {wal.data, 0};

        put_back(f, &cut, &none);
        (void)try_store(f, STORE_WRITE);
    }
    free(db.data);
    free(wal.data);
}

/* ---- memory --------------------------------------------------------------------------------- */

static int everything(struct fixture *f)
{
    f->st = NULL;
    int status = store_open(f->path, STORE_WRITE, &f->st, &f->err);
    if (status == ERR_OK)
        status = write_all(f);
    if (status == ERR_OK)
        status = read_all(f->st, &f->err);
    store_close(f->st);
    f->st = NULL;
    return status;
}

static void store_each_own_allocation_fails_is_retry(void **state)
{
    struct fixture *f = *state;
    int64_t n = 0;

    fill(f);
    store_close(f->st);
    for (;; n++) {
        alloc_count = 0;
        alloc_fail_at = n;
        int status = everything(f);
        bool failed = alloc_count > n;
        alloc_fail_at = -1;
        if (!failed)
            break;
        if (status != ERR_RETRY)
            fail_msg("allocation %lld: status %d: %s", (long long)n, status, f->err.text);
        assert_ok(f, everything(f)); /* and nothing is left behind */
    }
    print_message("%lld allocations of the store failed in turn\n", (long long)n);
    assert_true(n > 100);
}

/* Zeroes the root page of a table that an opening does not read; the file's time stays, as with a disk
 * that forgets. */
static void spoil_page(const struct fixture *f)
{
    static const char zeros[4096];
    struct stat s;
    int fd = open(f->path, O_RDWR | O_CLOEXEC);
    off_t page = 0;
    sqlite3 *db;
    sqlite3_stmt *stmt;

    assert_int_equal(sqlite3_open_v2(f->path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(db, "SELECT rootpage FROM sqlite_schema WHERE name = 'feature'", -1,
                           &stmt, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    page = (off_t)sqlite3_column_int64(stmt, 0) - 1;
    (void)sqlite3_finalize(stmt);
    (void)sqlite3_close(db);
    assert_int_equal(fstat(fd, &s), 0);
    assert_true(s.st_size > 40960);
    assert_int_equal(pwrite(fd, zeros, sizeof zeros, page * 4096), (ssize_t)sizeof zeros);
    const struct timespec times[2] = {s.st_atim, s.st_mtim};
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
}

static void close_store(struct fixture *f)
{
    store_close(f->st);
    f->st = NULL;
}

static void open_after_a_good_end_reads_no_page_twice(void **state)
{
    struct fixture *f = *state;

    close_store(f);
    spoil_page(f);
    fixture_open(f); /* not looked for: doctor and verify do */
}

static void open_after_a_crash_checks_all_pages(void **state)
{
    struct fixture *f = *state;
    char lock[128];

    close_store(f);
    spoil_page(f);
    (void)snprintf(lock, sizeof lock, "%s.lock", f->path);
    int fd = open(lock, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write(fd, "4711\n", 5), 5); /* as a writer leaves it that is killed */
    close(fd);
    assert_fatal(f, EX_DATAERR, store_open(f->path, STORE_WRITE, &f->st, &f->err));
    assert_null(f->st);
    /* and a start that failed so is no good end */
    assert_fatal(f, EX_DATAERR, store_open(f->path, STORE_WRITE, &f->st, &f->err));
}

static void open_of_another_file_checks_all_pages(void **state)
{
    struct fixture *f = *state;

    close_store(f);
    spoil_page(f);
    assert_int_equal(utimensat(AT_FDCWD, f->path, NULL, 0), 0);
    assert_fatal(f, EX_DATAERR, store_open(f->path, STORE_WRITE, &f->st, &f->err));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(open_after_a_good_end_reads_no_page_twice,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(open_after_a_crash_checks_all_pages, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(open_of_another_file_checks_all_pages, fixture_setup,
                                        fixture_teardown),
        CASE(damaged_files_open_or_name_their_error),
        CASE(truncated_files_open_or_name_their_error),
        CASE(store_each_own_allocation_fails_is_retry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
