/* Copies of the whole store: which store each is, one beside another's log of writes, one in the place
 * of the store. */

#include "store_fixture.h"

#include "store/copy.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { LATER = 9 };

static void name_of(const struct fixture *f, const char *name, char ret_path[96])
{
    (void)snprintf(ret_path, 96, "%s/%s", f->dir, name);
}

static void copy_file(const char *from, const char *to)
{
    static char bytes[1 << 20];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ssize_t n = in >= 0 && out >= 0 ? read(in, bytes, sizeof bytes) : -1;

    assert_in_range(n, 1, sizeof bytes - 1);
    assert_int_equal(write(out, bytes, (size_t)n), n);
    assert_int_equal(close(in), 0);
    assert_int_equal(close(out), 0);
}

static void generation_of(const char *path, char ret[STORE_GENERATION_BYTES])
{
    struct store *st = NULL;
    struct err err = {0};

    if (store_open(path, STORE_READ, &st, &err) != ERR_OK ||
        store_generation(st, ret, &err) != ERR_OK)
        fail_msg("%s", err.text);
    store_close(st);
}

/* ---- which store ---------------------------------------------------------------------------- */

static void generation_stays_and_a_copy_has_its_own(void **state)
{
    struct fixture *f = *state;
    char first[STORE_GENERATION_BYTES], again[STORE_GENERATION_BYTES], copy[96];

    assert_ok(f, store_generation(f->st, first, &f->err));
    assert_int_equal(strspn(first, "0123456789abcdef"), 32);
    fixture_reopen(f);
    assert_ok(f, store_generation(f->st, again, &f->err));
    assert_string_equal(first, again);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM store_generation WHERE "
                                      "since_ms > 1.7e12"),
                     1);
    name_of(f, "snap", copy);
    assert_ok(f, store_snapshot(f->st, copy, &f->err));
    generation_of(copy, again);
    assert_int_equal(strspn(again, "0123456789abcdef"), 32);
    assert_string_not_equal(first, again);
}

/* A snapshot nobody has open leaves nothing beside it. */
static void snapshot_is_one_file(void **state)
{
    static const char *const others[] = {"snap-wal", "snap-shm", "snap-journal", "snap.part"};
    struct fixture *f = *state;
    char path[96];

    name_of(f, "snap", path);
    assert_ok(f, store_snapshot(f->st, path, &f->err));
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        name_of(f, others[i], path);
        assert_int_equal(access(path, F_OK), -1);
    }
}

/* ---- beside another's log -------------------------------------------------------------------- */

/* A writer that is killed: what it wrote last is in the log alone. */
static void die_writing(struct fixture *f)
{
    store_close(f->st);
    f->st = NULL;
    pid_t child = fork();
    if (child == 0) {
        fixture_open(f);
        (void)fixture_put(f, "late", LATER, 1);
        (void)raise(SIGKILL);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how));
}

static void spoil_place(struct fixture *f, bool moves)
{
    char copy[96];

    (void)fixture_put(f, "v1", 1, 1);
    fixture_reopen(f); /* so that the file itself says which it is */
    name_of(f, "snap", copy);
    assert_ok(f, store_snapshot(f->st, copy, &f->err));
    die_writing(f);
    if (moves)
        assert_int_equal(rename(copy, f->path), 0);
    else
        copy_file(copy, f->path); /* the same inode, as cp does */
}

static void assert_named(struct fixture *f)
{
    char text[300];

    (void)snprintf(
        text, sizeof text,
        "another file has been put here, but %s-wal is of the old one: remove %s-wal", f->path,
        f->path);
    assert_non_null(strstr(f->err.text, text));
}

static void open_beside_the_log_of_another(struct fixture *f, bool moves)
{
    char wal[96], shm[96];

    spoil_place(f, moves);
    for (int i = 0; i < 2; i++) { /* and again: nothing has been changed */
        assert_fatal(f, EX_DATAERR, store_open(f->path, STORE_WRITE, &f->st, &f->err));
        assert_named(f);
    }
    name_of(f, "s.db-wal", wal);
    name_of(f, "s.db-shm", shm);
    assert_int_equal(unlink(wal), 0);
    assert_int_equal(unlink(shm), 0);
    fixture_open(f); /* as the text says */
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM item"), 1);
}

static void open_beside_the_log_of_another_is_named(void **state)
{
    open_beside_the_log_of_another(*state, true);
}

static void open_overwritten_beside_the_log_is_named(void **state)
{
    open_beside_the_log_of_another(*state, false);
}

static void open_after_a_kill_keeps_the_log(void **state)
{
    struct fixture *f = *state;

    (void)fixture_put(f, "v1", 1, 1);
    fixture_reopen(f);
    die_writing(f);
    fixture_open(f);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM item"), 2);
}

/* The first writer of a store that an older version wrote, killed before anything is in the file. */
static void open_after_a_kill_while_migrated_keeps_the_log(void **state)
{
    struct fixture *f = *state;

    fixture_go_back(f, 11);
    die_writing(f);
    fixture_open(f);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM item"), 1);
}

/* ---- in the place of the store --------------------------------------------------------------- */

static void put(struct fixture *f, bool *ret_aside)
{
    struct store_place *p = NULL;
    char copy[96], aside[96];

    name_of(f, "snap", copy);
    name_of(f, "x", aside);
    assert_ok(f, store_place_take(f->path, true, &p, &f->err));
    assert_ok(f, store_place_put(p, copy, "2026-01-02", aside, ret_aside, &f->err));
    store_place_give(p);
}

static void place_of_a_store_is_refused_without_force(void **state)
{
    struct fixture *f = *state;
    struct store_place *p = NULL;

    assert_fatal(f, EX_TEMPFAIL, store_place_take(f->path, true, &p, &f->err));
    store_close(f->st);
    f->st = NULL;
    assert_fatal(f, EX_CANTCREAT, store_place_take(f->path, false, &p, &f->err));
    assert_non_null(strstr(f->err.text, "--force"));
    assert_null(p);
}

/* A store that was killed while it wrote is set aside with what its log holds. */
static void place_put_sets_aside_a_whole_store(void **state)
{
    struct fixture *f = *state;
    struct store *old = NULL;
    char copy[96], aside[96], said[32] = "", before[STORE_GENERATION_BYTES],
                              now[STORE_GENERATION_BYTES];
    bool any = false;

    (void)fixture_put(f, "v1", 1, 1);
    name_of(f, "snap", copy);
    assert_ok(f, store_snapshot(f->st, copy, &f->err));
    generation_of(copy, before);
    die_writing(f);
    put(f, &any);
    assert_true(any);
    fixture_open(f);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM item"), 1);
    assert_ok(f, store_generation(f->st, now, &f->err));
    assert_string_not_equal(before, now); /* each restore of one copy is another store */
    assert_ok(f, store_take_restored(f->st, said, sizeof said, &f->err));
    assert_string_equal(said, "2026-01-02");
    assert_ok(f, store_take_restored(f->st, said, sizeof said, &f->err));
    assert_string_equal(said, "");
    name_of(f, "x", aside);
    assert_ok(f, store_open(aside, STORE_WRITE, &old, &f->err));
    assert_int_equal(fixture_query_of(old, "SELECT count(*) FROM item"), 2);
    store_close(old);
}

/* What is in no store's order does not keep a copy from coming into its place. */
/* The name for what was there is taken: it stays where it is. */
static void place_put_that_cannot_set_aside_keeps_the_store(void **state)
{
    struct fixture *f = *state;
    struct store_place *p = NULL;
    char copy[96], aside[96], before[STORE_GENERATION_BYTES], now[STORE_GENERATION_BYTES];
    bool any = false;

    name_of(f, "copy", copy);
    name_of(f, "aside", aside);
    assert_ok(f, store_snapshot(f->st, copy, &f->err));
    assert_ok(f, store_snapshot(f->st, aside, &f->err));
    store_close(f->st);
    f->st = NULL;
    generation_of(f->path, before);
    assert_ok(f, store_place_take(f->path, true, &p, &f->err));
    assert_fatal(f, EX_IOERR, store_place_put(p, copy, "2026-01-02", aside, &any, &f->err));
    store_place_give(p);
    assert_int_equal(unlink(copy), 0); /* as the caller does */
    assert_int_equal(unlink(aside), 0);
    name_of(f, "aside-wal", aside); /* of the reader above, empty */
    (void)unlink(aside);
    name_of(f, "aside-shm", aside);
    (void)unlink(aside);
    generation_of(f->path, now);
    assert_string_equal(now, before);
}

static void place_put_over_a_damaged_store(void **state)
{
    struct fixture *f = *state;
    bool any = false;

    char copy[96];

    spoil_place(f, false);
    name_of(f, "snap", copy);
    assert_int_equal(truncate(f->path, 5000), 0);
    put(f, &any);
    assert_true(any);
    fixture_open(f);
    assert_int_equal(fixture_query(f, "SELECT count(*) FROM item"), 1);
    assert_int_equal(access(copy, F_OK), -1);
}

/* The log that lies there is of a third store: it does not get mixed with the file after all. */
static void place_put_over_a_file_beside_another_log(void **state)
{
    struct fixture *f = *state;
    struct store *old = NULL;
    char aside[96], path[128];
    bool any = false;

    spoil_place(f, false);
    put(f, &any);
    name_of(f, "x", aside);
    assert_ok(f, store_open(aside, STORE_WRITE, &old, &f->err));
    assert_int_equal(fixture_query_of(old, "SELECT count(*) FROM item"), 1);
    store_close(old);
    (void)snprintf(path, sizeof path, "%s-wal.other", aside);
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s-shm.other", aside);
    assert_int_equal(unlink(path), 0);
    fixture_open(f);
}

static void place_put_where_there_was_nothing(void **state)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    struct fixture *f = *state;
    struct store_place *p = NULL;
    char copy[96], aside[96];
    bool any = true;

    name_of(f, "snap", copy);
    name_of(f, "x", aside);
    assert_ok(f, store_snapshot(f->st, copy, &f->err));
    store_close(f->st);
    f->st = NULL;
    for (size_t i = 0; i < 4; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s%s", f->path, suffixes[i]);
        (void)unlink(path);
    }
    assert_ok(f, store_place_take(f->path, false, &p, &f->err));
    assert_ok(f, store_place_put(p, copy, "2026-01-02", aside, &any, &f->err));
    store_place_give(p);
    assert_false(any);
    fixture_open(f);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(generation_stays_and_a_copy_has_its_own),
        CASE(snapshot_is_one_file),
        CASE(open_beside_the_log_of_another_is_named),
        CASE(open_overwritten_beside_the_log_is_named),
        CASE(open_after_a_kill_keeps_the_log),
        CASE(open_after_a_kill_while_migrated_keeps_the_log),
        CASE(place_of_a_store_is_refused_without_force),
        CASE(place_put_sets_aside_a_whole_store),
        CASE(place_put_that_cannot_set_aside_keeps_the_store),
        CASE(place_put_over_a_damaged_store),
        CASE(place_put_over_a_file_beside_another_log),
        CASE(place_put_where_there_was_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
