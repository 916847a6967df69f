/* Opening: who may, what is refused, migrations, and readers in other processes and under other
 * users while the writer runs, after it stopped and after it was killed. */

#include "store_fixture.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { NOBODY = 65534 };

static void open_second_writer_names_the_first(void **state)
{
    struct fixture *f = *state;
    struct store *st = NULL;
    char pid[32];

    (void)snprintf(pid, sizeof pid, "process %ld ", (long)getpid());
    assert_fatal(f, EX_TEMPFAIL, store_open(f->path, STORE_WRITE, &st, &f->err));
    assert_non_null(strstr(f->err.text, pid));
    assert_null(st);
    fixture_reopen(f); /* closing gives the lock back */
}

static void open_second_writer_by_symlink_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store *st = NULL;
    char path[96];

    (void)snprintf(path, sizeof path, "%s/x", f->dir);
    assert_int_equal(symlink("s.db", path), 0);
    assert_fatal(f, EX_TEMPFAIL, store_open(path, STORE_WRITE, &st, &f->err));
}

static void open_reader_without_file_is_no_input(void **state)
{
    struct fixture *f = *state;
    struct store *st = NULL;
    char path[96];

    (void)snprintf(path, sizeof path, "%s/x", f->dir);
    assert_fatal(f, EX_NOINPUT, store_open(path, STORE_READ, &st, &f->err));
    assert_int_equal(access(path, F_OK), -1);
}

/* Nothing is wrong with owner and mode; it is tried again. */
static void open_without_descriptors_is_tried_again(void **state)
{
    struct fixture *f = *state;

    fixture_reopen(f);
    for (int mode = STORE_READ; mode <= STORE_WRITE; mode++) {
        struct rlimit before, none;
        struct store *st = NULL;
        char path[128];

        (void)snprintf(path, sizeof path, "%s%s", f->path, mode == STORE_WRITE ? ".new" : "");
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        none = (struct rlimit){0, before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        int status = store_open(path, (enum store_mode)mode, &st, &f->err);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        if (status != ERR_RETRY || f->err.exit_code != EX_OSERR)
            fail_msg("mode %d: %s", mode, f->err.text);
        assert_non_null(strstr(f->err.text, "Too many open files"));
    }
}

static void open_writer_without_folder_is_a_setting_to_mend(void **state)
{
    struct fixture *f = *state;
    struct store *st = NULL;
    char path[96];

    (void)snprintf(path, sizeof path, "%s/none/s.db", f->dir);
    assert_fatal(f, EX_CONFIG, store_open(path, STORE_WRITE, &st, &f->err));
}

/* What root has left behind: starting again does not mend it. Nothing of it is changed. */
static void open_writer_on_files_of_another_user_is_refused(void **state)
{
    static const char *const suffixes[] = {".lock", "", "-wal", "-shm"};
    struct fixture *f = *state;

    if (geteuid() != 0)
        skip(); /* only root can become another user */
    store_close(f->st);
    f->st = NULL;
    assert_int_equal(chown(f->dir, NOBODY, NOBODY), 0);
    for (size_t of_root = 0; of_root < 4; of_root++) {
        struct store *st = NULL;
        char path[96];
        for (size_t i = 0; i < 4; i++) {
            (void)snprintf(path, sizeof path, "%s%s", f->path, suffixes[i]);
            if (access(path, F_OK) == 0)
                assert_int_equal(chown(path, i == of_root ? 0 : NOBODY, NOBODY), 0);
        }
        (void)snprintf(path, sizeof path, "%s%s", f->path, suffixes[of_root]);
        assert_int_equal(chmod(path, 0644), 0);
        assert_int_equal(seteuid(NOBODY), 0);
        int status = store_open(f->path, STORE_WRITE, &st, &f->err);
        assert_int_equal(seteuid(0), 0);
        assert_fatal(f, EX_NOPERM, status);
        assert_non_null(strstr(f->err.text, path));
    }
}

static void open_newer_schema_is_refused(void **state)
{
    struct fixture *f = *state;

    fixture_spoil(f, "PRAGMA user_version = 999");
    store_close(f->st);
    f->st = NULL;
    assert_fatal(f, EX_CONFIG, store_open(f->path, STORE_WRITE, &f->st, &f->err));
    assert_non_null(strstr(f->err.text, "999"));
    assert_fatal(f, EX_CONFIG, store_open(f->path, STORE_READ, &f->st, &f->err));
}

static void open_foreign_database_is_refused_untouched(void **state)
{
    struct fixture *f = *state;
    struct store *st = NULL;
    sqlite3 *db = NULL;
    struct stat before;
    struct stat after;
    char path[96];

    (void)snprintf(path, sizeof path, "%s/x", f->dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE t(a)", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(stat(path, &before), 0);
    assert_fatal(f, EX_CONFIG, store_open(path, STORE_WRITE, &st, &f->err));
    assert_fatal(f, EX_CONFIG, store_open(path, STORE_READ, &st, &f->err));
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(before.st_size, after.st_size);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim);
}

static void open_file_that_is_no_database_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store *st = NULL;
    char path[96];
    char text[2000];

    (void)snprintf(path, sizeof path, "%s/x", f->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    memset(text, 'a', sizeof text);
    assert_int_equal(write(fd, text, sizeof text), sizeof text);
    (void)close(fd);
    assert_fatal(f, EX_CONFIG, store_open(path, STORE_WRITE, &st, &f->err));
    assert_fatal(f, EX_CONFIG, store_open(path, STORE_READ, &st, &f->err));
}

static void open_sets_the_pragmas(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fixture_query(f, "PRAGMA page_size"), 4096);
    assert_int_equal(fixture_query(f, "PRAGMA synchronous"), 2);
    assert_int_equal(fixture_query(f, "PRAGMA wal_autocheckpoint"), 1000);
    assert_int_equal(fixture_query(f, "PRAGMA journal_size_limit"), 67108864);
    assert_int_equal(fixture_query(f, "PRAGMA foreign_keys"), 1);
    assert_int_equal(fixture_query(f, "PRAGMA trusted_schema"), 0);
    assert_int_equal(fixture_query(f, "PRAGMA cell_size_check"), 1);
    assert_int_equal(fixture_query(f, "PRAGMA busy_timeout"), 5000);
    assert_int_equal(fixture_query(f, "PRAGMA application_id"), STORE_APPLICATION_ID);
    assert_int_equal(fixture_query(f, "PRAGMA user_version"), store_n_migrations);
    assert_int_equal(
        fixture_query(f, "SELECT count(*) FROM pragma_journal_mode WHERE journal_mode='wal'"),
        1);
}

static void open_reader_cannot_write(void **state)
{
    struct fixture *f = *state;
    struct store *st = NULL;

    assert_ok(f, store_open(f->path, STORE_READ, &st, &f->err));
    assert_int_equal(sqlite3_exec(st->db, "DELETE FROM model", NULL, NULL, NULL),
                     SQLITE_READONLY);
    store_close(st);
}

/* ---- migrations ----------------------------------------------------------------------------- */

static const char *const test_migrations[] = {
    "CREATE TABLE a(x) STRICT" /* not valid: a STRICT column has a type */,
    "CREATE TABLE b(x INTEGER) STRICT; INSERT INTO b VALUES(7);",
    "ALTER TABLE b ADD COLUMN y INTEGER; UPDATE b SET y = x + 1;",
    "UPDATE b SET y = 100; INSERT INTO no_such_table VALUES(1);",
};

/* A bare handle on an empty database, as store_migrate sees it. */
static struct store *bare_store(struct fixture *f)
{
    struct store *st = calloc(1, sizeof *st);
    char path[96];

    assert_non_null(st);
    (void)snprintf(path, sizeof path, "%s/x", f->dir);
    *st = (struct store){.mode = STORE_WRITE, .lock_fd = -1, .path = strdup(path)};
    assert_int_equal(sqlite3_open(path, &st->db), SQLITE_OK);
    return st;
}

static void migrate_steps_from_version_to_version(void **state)
{
    struct fixture *f = *state;
    struct store *st = bare_store(f);

    assert_ok(f, store_migrate(st, test_migrations + 1, 1, &f->err));
    assert_int_equal(fixture_query_of(st, "PRAGMA user_version"), 1);
    assert_ok(f, store_migrate(st, test_migrations + 1, 2, &f->err)); /* runs step 2 alone */
    assert_int_equal(fixture_query_of(st, "PRAGMA user_version"), 2);
    assert_int_equal(fixture_query_of(st, "SELECT y FROM b"), 8);
    assert_ok(f, store_migrate(st, test_migrations + 1, 2, &f->err));
    assert_int_equal(fixture_query_of(st, "SELECT count(*) FROM b"), 1);
    assert_fatal(f, EX_CONFIG, store_migrate(st, test_migrations + 1, 1, &f->err));
    store_close(st);
}

static void migrate_failing_step_leaves_the_version_before(void **state)
{
    struct fixture *f = *state;
    struct store *st = bare_store(f);

    assert_int_equal(store_migrate(st, test_migrations, 1, &f->err), ERR_FATAL);
    assert_int_equal(fixture_query_of(st, "PRAGMA application_id"), 0);
    assert_int_equal(store_migrate(st, test_migrations + 1, 3, &f->err), ERR_FATAL);
    assert_non_null(strstr(f->err.text, "version 3"));
    assert_int_equal(fixture_query_of(st, "PRAGMA user_version"), 2);
    assert_int_equal(fixture_query_of(st, "SELECT y FROM b"), 8);
    store_close(st);
}

/* Version 6 wrote other tries and re-extractions under topics of their own. */
static void migrate_gives_other_tries_their_topic_back(void **state)
{
    struct fixture *f = *state;
    struct store *st = bare_store(f);
    static const char *const none[] = {
        "SELECT count(*) FROM topic WHERE name LIKE 'retry:%'",
        "SELECT count(*) FROM kafka_offset WHERE topic <> 'a:b'",
        "SELECT count(*) FROM dead_letter WHERE topic LIKE 'retry:%'",
        "SELECT count(*) FROM dlq_outbox WHERE topic LIKE 'retry:%'",
    };

    assert_ok(f, store_migrate(st, store_migrations, 6, &f->err));
    assert_ok(f,
              store_exec(
                  st,
                  "INSERT INTO topic VALUES(1, 'a:b'), (2, 'retry:12:a:b'), (3, 'retry:7:new');"
                  "INSERT INTO item(rid, item_id, state, topic_id, partition, offset) VALUES"
                  "(1, 'v1', 'cold', 2, 0, 5), (2, 'v2', 'cold', 3, 0, 6), (3, 'v3', 'cold', "
                  "1, 0, 7);"
                  "INSERT INTO item_position VALUES(1, 1, 0, 5), (1, 2, 0, 5), (2, 3, 1, 2);"
                  "INSERT INTO user VALUES(1, 'u');"
                  "INSERT INTO interaction VALUES(1, 0, 8, 1, 1, 'watch', 1, 0),"
                  " (2, 0, 8, 1, 1, 'watch', 1, 0), (2, 0, 9, 1, 2, 'watch', 1, 0);"
                  "INSERT INTO kafka_offset VALUES('a:b', 0, 9, 0), ('retry:12:a:b', 0, 9, 0),"
                  " ('reextract:', 0, 9, 0);"
                  "INSERT INTO dead_letter(topic, partition, offset, reason, error, stage, "
                  "ts_ms, checksum)"
                  " VALUES('retry:3:a:b', 0, 1, 'r', 'e', 's', 0, 0), ('a:b', 0, 1, 'r', 'e', "
                  "'s', 0, 0);"
                  "INSERT INTO dlq_outbox(dlq_topic, topic, partition, offset, reason, error, "
                  "stage, ts_ms,"
                  " checksum) VALUES('d', 'retry:3:a:b', 0, 1, 'r', 'e', 's', 0, 0)",
                  "fill", &f->err));
    assert_ok(f, store_migrate(st, store_migrations, store_n_migrations, &f->err));
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_int_equal(fixture_query_of(st, none[i]), 0);
    assert_int_equal(
        fixture_query_of(st, "SELECT count(*) FROM item i JOIN topic t USING(topic_id) "
                             "WHERE t.name = 'a:b' AND rid IN (1, 3)"),
        2);
    assert_int_equal(
        fixture_query_of(st, "SELECT count(*) FROM item i JOIN topic t USING(topic_id) "
                             "WHERE t.name = 'new' AND rid = 2"),
        1);
    assert_int_equal(fixture_query_of(st, "SELECT count(*) FROM interaction"), 2);
    assert_int_equal(fixture_query_of(st, "SELECT count(*) FROM item_position"), 2);
    assert_int_equal(fixture_query_of(st, "SELECT count(*) FROM dead_letter"), 1);
    store_close(st);
}

/* ---- readers beside the writer -------------------------------------------------------------- */

static void reader_sees_whole_batches_during_writes(void **state)
{
    struct fixture *f = *state;
    struct store *reader = NULL;
    struct store_counts c;
    int64_t next = 0;
    char id[16];

    assert_ok(f, store_open(f->path, STORE_READ, &reader, &f->err));
    for (int i = 0; i < 200; i++) {
        (void)snprintf(id, sizeof id, "v%d", i);
        (void)fixture_put(f, id, i, 1);
        assert_ok(f, store_count(reader, &c, &f->err));
        assert_int_equal(c.n_items, i + 1);
        assert_ok(f, store_next_offset(reader, "videos", 3, &next, &f->err));
        assert_int_equal(next, i + 1);
    }
    store_close(reader);
}

static void reader_in_a_transaction_keeps_its_view(void **state)
{
    struct fixture *f = *state;
    struct store *reader = NULL;
    struct store_counts c;

    (void)fixture_put(f, "v1", 1, 1);
    assert_ok(f, store_open(f->path, STORE_READ, &reader, &f->err));
    assert_ok(f, store_exec(reader, "BEGIN", "begin", &f->err));
    assert_ok(f, store_count(reader, &c, &f->err));
    (void)fixture_put(f, "v2", 2, 1);
    assert_ok(f, store_count(reader, &c, &f->err));
    assert_int_equal(c.n_items, 1);
    assert_ok(f, store_exec(reader, "COMMIT", "commit", &f->err));
    assert_ok(f, store_count(reader, &c, &f->err));
    assert_int_equal(c.n_items, 2);
    store_close(reader);
}

/* Reads as another process and counts the current embeddings, by uid and gid when not 0; -1 when
 * it cannot. Plain SQLite with mode=ro, as a Python reader has it. */
static int count_in_child(const char *path, uid_t uid)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        sqlite3 *db = NULL;
        sqlite3_stmt *stmt = NULL;
        char uri[128];

        if (uid && (setgroups(0, NULL) != 0 || setgid(uid) != 0 || setuid(uid) != 0))
            _exit(250);
        (void)snprintf(uri, sizeof uri, "file:%s?mode=ro", path);
        if (sqlite3_open_v2(uri, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL) !=
            SQLITE_OK)
            _exit(251);
        (void)sqlite3_busy_timeout(db, 2000);
        if (sqlite3_prepare_v2(db, "SELECT count(*) FROM current_embedding", -1, &stmt, NULL) !=
                SQLITE_OK ||
            sqlite3_step(stmt) != SQLITE_ROW) {
            (void)fprintf(stderr, "reader: %s\n", sqlite3_errmsg(db));
            _exit(252);
        }
        _exit(sqlite3_column_int(stmt, 0));
    }
    int wstatus = 0;
    assert_int_equal(waitpid(pid, &wstatus, 0), pid);
    assert_true(WIFEXITED(wstatus));
    return WEXITSTATUS(wstatus) >= 250 ? -1 : WEXITSTATUS(wstatus);
}

/* A writer in a process of its own that puts `n` videos, says so, and waits to be killed. */
static pid_t writer_in_child(const struct fixture *f, int n)
{
    int ready[2];
    char c = 0;

    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct fixture w = *f;
        char id[16];

        fixture_open(&w);
        for (int i = 0; i < n; i++) {
            (void)snprintf(id, sizeof id, "k%d", i);
            (void)fixture_put(&w, id, 1000 + i, 1);
        }
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            (void)pause();
    }
    (void)close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    (void)close(ready[0]);
    return pid;
}

static void kill_writer(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void reader_process_reads_after_stop_and_kill(void **state)
{
    struct fixture *f = *state;

    (void)fixture_put(f, "v1", 1, 1);
    assert_int_equal(count_in_child(f->path, 0), 1);
    store_close(f->st);
    f->st = NULL;
    assert_int_equal(count_in_child(f->path, 0), 1);
    pid_t pid = writer_in_child(f, 3);
    assert_int_equal(count_in_child(f->path, 0), 4);
    kill_writer(pid);
    assert_int_equal(count_in_child(f->path, 0), 4);
    fixture_open(f); /* the lock died with its holder */
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM item"), 4);
}

/* Group read access, as systemd/ sets it up: folder 0750, files 0640, group of the reader. */
static void give_group(const struct fixture *f, gid_t gid)
{
    static const char *const suffix[] = {"", "-wal", "-shm"};
    char name[128];

    assert_int_equal(chown(f->dir, 0, gid), 0);
    assert_int_equal(chmod(f->dir, 0750), 0);
    for (int i = 0; i < 3; i++) {
        struct stat sb;

        (void)snprintf(name, sizeof name, "%s%s", f->path, suffix[i]);
        assert_int_equal(stat(name, &sb), 0);
        assert_int_equal(sb.st_mode & 0777, 0640); /* the umask is 027 */
        assert_int_equal(chown(name, 0, gid), 0);
    }
}

static void reader_of_the_group_reads_up_stopped_and_killed(void **state)
{
    struct fixture *f = *state;
    const uid_t other = 54321;

    if (geteuid() != 0) {
        print_message("skipped: becoming another user takes root\n");
        skip();
    }
    store_close(f->st);
    f->st = NULL;
    fixture_remove(f);
    mode_t mask = umask(027);
    assert_int_equal(mkdir(f->dir, 0750), 0);
    fixture_open(f);
    f->model_id = fixture_model(f, "first");
    assert_ok(f, store_model_activate(f->st, f->model_id, &f->err));
    (void)fixture_put(f, "v1", 1, 1);
    give_group(f, other);
    assert_int_equal(count_in_child(f->path, other), 1); /* up */
    store_close(f->st);
    f->st = NULL;
    give_group(f, other);
    assert_int_equal(count_in_child(f->path, other), 1); /* after a clean stop */
    pid_t pid = writer_in_child(f, 5);
    assert_int_equal(count_in_child(f->path, other), 6);
    kill_writer(pid);
    give_group(f, other);
    assert_int_equal(count_in_child(f->path, other), 6);      /* after a kill */
    assert_int_equal(count_in_child(f->path, other + 1), -1); /* and nobody else */
    (void)umask(mask);
}

/* Goes on where the store says, telling by a byte when the first row is in. */
_Noreturn static void write_for_ever(const struct fixture *f, int tell_fd)
{
    struct fixture w = *f;
    char id[16];
    int64_t next = 0;

    fixture_open(&w);
    if (store_next_offset(w.st, "videos", 3, &next, &w.err) == ERR_NONE)
        next = 0;
    for (;; next++) {
        (void)snprintf(id, sizeof id, "v%lld", (long long)next);
        (void)fixture_put(&w, id, next, 1);
        (void)!write(tell_fd, "", 1);
    }
}

/* kill -9 while a batch is being written: what is there is whole, and the rest comes again. */
static void writer_killed_at_random_loses_nothing(void **state)
{
    struct fixture *f = *state;
    const int n_rounds = 30;

    store_close(f->st);
    f->st = NULL;
    for (int round = 0; round < n_rounds; round++) {
        int fds[2];
        char first;

        assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            write_for_ever(f, fds[1]);
        struct pollfd begun = {.fd = fds[0], .events = POLLIN};
        assert_int_equal(poll(&begun, 1, 60000), 1);
        assert_int_equal(read(fds[0], &first, 1), 1);
        (void)usleep(1300U * (unsigned)round);
        kill_writer(pid);
        close(fds[0]);
        close(fds[1]);
    }
    fixture_open(f);
    int64_t next = fixture_query(f, "SELECT next_offset FROM kafka_offset");
    assert_true(next >= n_rounds);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM item"), next);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM embedding"), next);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM feature"), 2 * next);
    assert_int_equal(fixture_query(f, "SELECT max(seq) FROM embedding"), fixture_seq(f));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(open_second_writer_names_the_first),
        CASE(open_second_writer_by_symlink_is_refused),
        CASE(open_reader_without_file_is_no_input),
        CASE(open_without_descriptors_is_tried_again),
        CASE(open_writer_without_folder_is_a_setting_to_mend),
        CASE(open_writer_on_files_of_another_user_is_refused),
        CASE(open_newer_schema_is_refused),
        CASE(open_foreign_database_is_refused_untouched),
        CASE(open_file_that_is_no_database_is_refused),
        CASE(open_sets_the_pragmas),
        CASE(open_reader_cannot_write),
        CASE(migrate_steps_from_version_to_version),
        CASE(migrate_failing_step_leaves_the_version_before),
        CASE(migrate_gives_other_tries_their_topic_back),
        CASE(reader_sees_whole_batches_during_writes),
        CASE(reader_in_a_transaction_keeps_its_view),
        CASE(reader_process_reads_after_stop_and_kill),
        CASE(reader_of_the_group_reads_up_stopped_and_killed),
        CASE(writer_killed_at_random_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
