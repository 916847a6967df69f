#include "daemon/source/spool_folder.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder_path[64];

static const char *in_folder(const char *name)
{
    static char paths[2][256];
    static int turn;
    turn = !turn;
    snprintf(paths[turn], sizeof(paths[turn]), "%s/%s", folder_path, name);
    return paths[turn];
}

static void touch(const char *name)
{
    int fd = open(in_folder(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static bool exists(const char *name)
{
    return access(in_folder(name), F_OK) == 0;
}

static int set_up(void **state)
{
    static struct spool_folder f;
    strcpy(folder_path, "/tmp/mmf-spool-XXXXXX");
    assert_non_null(mkdtemp(folder_path));
    spool_folder_init(&f);
    assert_int_equal(spool_folder_open(&f, folder_path, NULL), ERR_OK);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const names[] = {
        "a.ndjson",         "b.jsonl",       "c.ndjson",        ".hidden.ndjson", "x.tmp",
        "link.ndjson",      "done/a.ndjson", "done/a.ndjson.1", "done/x.1",       "done/x.tmp",
        "done/link.ndjson", "done",          "folder.ndjson"};
    spool_folder_close(*state);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        remove(in_folder(names[i]));
    return remove(folder_path);
}

static void scan_finds_event_files_by_name(void **state)
{
    struct spool_folder *f = *state;
    touch("c.ndjson");
    touch("a.ndjson");
    touch("b.jsonl");
    touch("x.tmp");
    touch(".hidden.ndjson");
    assert_int_equal(symlink("a.ndjson", in_folder("link.ndjson")), 0);
    assert_int_equal(mkdir(in_folder("folder.ndjson"), 0700), 0);
    assert_int_equal(spool_folder_scan(f, NULL), ERR_OK);
    assert_int_equal(spool_folder_scan(f, NULL), ERR_OK); /* again: nothing twice */
    assert_int_equal(spool_folder_n_found(f), 3);
    assert_string_equal(spool_folder_next(f), "a.ndjson");
    assert_string_equal(spool_folder_next(f), "b.jsonl");
    assert_string_equal(spool_folder_next(f), "c.ndjson");
    assert_null(spool_folder_next(f));
    assert_int_equal(spool_folder_scan(f, NULL), ERR_OK);
    assert_null(spool_folder_next(f)); /* known until forgotten */
    spool_folder_forget(f, "b.jsonl");
    assert_int_equal(spool_folder_scan(f, NULL), ERR_OK);
    assert_string_equal(spool_folder_next(f), "b.jsonl");
}

static void put_back_comes_after_the_others(void **state)
{
    struct spool_folder *f = *state;
    touch("a.ndjson");
    touch("b.jsonl");
    assert_int_equal(spool_folder_scan(f, NULL), ERR_OK);
    spool_folder_put_back(f, spool_folder_next(f));
    assert_string_equal(spool_folder_next(f), "b.jsonl");
    assert_string_equal(spool_folder_next(f), "a.ndjson");
    assert_null(spool_folder_next(f));
}

static void events_report_renames_only(void **state)
{
    struct spool_folder *f = *state;
    touch("a.ndjson"); /* written in place: not reported */
    assert_false(spool_folder_read_events(f));
    assert_int_equal(spool_folder_n_found(f), 0);
    touch("x.tmp");
    assert_int_equal(rename(in_folder("x.tmp"), in_folder("b.jsonl")), 0);
    assert_false(spool_folder_read_events(f));
    assert_string_equal(spool_folder_next(f), "b.jsonl");
    assert_null(spool_folder_next(f));
}

/* As the spool does: opened when it was found, finished later. */
static int finish(struct spool_folder *f, const char *name, bool keep)
{
    int fd = open(in_folder(name), O_RDONLY | O_CLOEXEC);
    bool replaced;
    int status = spool_folder_finish(f, name, fd, keep, &replaced, NULL);
    assert_false(replaced);
    if (fd >= 0)
        close(fd);
    return status;
}

static void finish_keeping_never_overwrites(void **state)
{
    struct spool_folder *f = *state;
    for (int i = 0; i < 2; i++) {
        touch("a.ndjson");
        assert_int_equal(finish(f, "a.ndjson", true), ERR_OK);
    }
    assert_false(exists("a.ndjson"));
    assert_true(exists("done/a.ndjson"));
    assert_true(exists("done/a.ndjson.1"));
    assert_int_equal(finish(f, "gone.ndjson", true), ERR_OK);
    assert_false(spool_folder_read_events(f));
    assert_null(spool_folder_next(f)); /* its own renames are no news */
}

static void finish_deletes_and_takes_absence(void **state)
{
    struct spool_folder *f = *state;
    touch("a.ndjson");
    assert_int_equal(finish(f, "a.ndjson", false), ERR_OK);
    assert_false(exists("a.ndjson"));
    assert_int_equal(finish(f, "a.ndjson", false), ERR_OK);
    assert_false(spool_folder_read_events(f));
    assert_null(spool_folder_next(f));
}

static void finish_leaves_what_was_renamed_over_it(void **state)
{
    struct spool_folder *f = *state;
    for (int keep = 0; keep < 2; keep++) {
        touch("a.ndjson");
        int fd = open(in_folder("a.ndjson"), O_RDONLY | O_CLOEXEC);
        touch("x.tmp");
        assert_int_equal(rename(in_folder("x.tmp"), in_folder("a.ndjson")), 0);
        bool replaced;
        assert_int_equal(spool_folder_finish(f, "a.ndjson", fd, keep, &replaced, NULL), ERR_OK);
        assert_true(replaced);
        close(fd);
        assert_false(spool_folder_read_events(f));
        const char *name = spool_folder_next(f);
        assert_non_null(name);
        assert_true(exists(name));
        assert_null(spool_folder_next(f));
        assert_int_equal(finish(f, name, false), ERR_OK);
        assert_false(exists(name));
        spool_folder_forget(f, name);
    }
}

static void open_without_a_folder_is_a_configuration_error(void **state)
{
    (void)state;
    struct spool_folder f;
    struct err err;
    spool_folder_init(&f);
    assert_int_equal(spool_folder_open(&f, "/nowhere/at/all", &err), ERR_FATAL);
    assert_int_equal(err.exit_code, 78);
    spool_folder_close(&f);
}

/* Nobody can date the rename back, so the limit is moved. */
static void retain_deletes_what_was_done_before(void **state)
{
    struct spool_folder *f = *state;
    struct stat st;
    size_t n = 9;
    assert_int_equal(spool_folder_retain(f, INT64_MAX, &n, NULL), ERR_OK); /* no done/ yet */
    assert_int_equal(n, 0);
    assert_int_equal(mkdir(in_folder("done"), 0700), 0);
    touch("a.ndjson"); /* waits to be read */
    touch("done/a.ndjson");
    touch("done/a.ndjson.1");
    touch("done/x.1");
    touch("done/x.tmp");
    assert_int_equal(symlink("../a.ndjson", in_folder("done/link.ndjson")), 0);
    assert_int_equal(stat(in_folder("done/a.ndjson"), &st), 0);
    assert_int_equal(spool_folder_retain(f, (st.st_ctim.tv_sec - 1) * 1000000, &n, NULL),
                     ERR_OK);
    assert_int_equal(n, 0);
    const struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}}; /* the producer's own time */
    assert_int_equal(utimensat(AT_FDCWD, in_folder("done/a.ndjson"), old, 0), 0);
    assert_int_equal(spool_folder_retain(f, (st.st_ctim.tv_sec - 1) * 1000000, &n, NULL),
                     ERR_OK);
    assert_int_equal(n, 0);
    assert_int_equal(spool_folder_retain(f, (st.st_ctim.tv_sec + 60) * 1000000, &n, NULL),
                     ERR_OK);
    assert_int_equal(n, 2);
    assert_false(exists("done/a.ndjson") || exists("done/a.ndjson.1"));
    assert_true(exists("a.ndjson") && exists("done/x.tmp") && exists("done/x.1") &&
                exists("done/link.ndjson"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(scan_finds_event_files_by_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(put_back_comes_after_the_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(events_report_renames_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(finish_keeping_never_overwrites, set_up, tear_down),
        cmocka_unit_test_setup_teardown(finish_deletes_and_takes_absence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(finish_leaves_what_was_renamed_over_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(retain_deletes_what_was_done_before, set_up, tear_down),
        cmocka_unit_test(open_without_a_folder_is_a_configuration_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
