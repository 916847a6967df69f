#include "daemon/media/fetch.h"

#include "config/clock.h"
#include "slow_media.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 60000, N_ANSWERS = 200 };

struct bench {
    char folder[64];
    const char *roots[1];
    unsigned n_fds;
    struct fetch *f;
};

static unsigned count_entries(const char *folder)
{
    unsigned n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void make_file(const struct bench *b, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", b->folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
}

static int set_up(void **state)
{
    static struct bench b;
    b = (struct bench){0};
    slow_media_reset();
    strcpy(b.folder, "/tmp/mmf-fetch-XXXXXX");
    assert_non_null(mkdtemp(b.folder));
    b.roots[0] = b.folder;
    make_file(&b, "quick.mp4");
    make_file(&b, "slow.mp4");
    b.n_fds = count_entries("/proc/self/fd");
    assert_int_equal(fetch_open(&b.f, NULL), ERR_OK);
    *state = &b;
    return 0;
}

/* Threads that are left behind end at last, and leave no descriptor. */
static int tear_down(void **state)
{
    struct bench *b = *state;
    char path[128];
    fetch_close(b->f);
    slow_media_release();
    slow_media_wait(0);
    for (int ms = 0; count_entries("/proc/self/fd") != b->n_fds && ms < WAIT_MS; ms++)
        poll(NULL, 0, 1);
    assert_int_equal(count_entries("/proc/self/fd"), b->n_fds);
    snprintf(path, sizeof(path), "%s/quick.mp4", b->folder);
    remove(path);
    snprintf(path, sizeof(path), "%s/slow.mp4", b->folder);
    remove(path);
    return rmdir(b->folder);
}

static void submit(struct bench *b, uint64_t id, const char *name)
{
    char uri[128];
    const char *paths[1] = {b->roots[0]};
    struct media_roots roots = {.paths = paths, .n = 1};
    snprintf(uri, sizeof(uri), "%s%s%s", name[0] ? b->folder : "s3://bucket/key",
             name[0] ? "/" : "", name);
    assert_int_equal(fetch_submit(b->f, id, &roots, uri, NULL), ERR_OK);
    memset(uri, 'x', sizeof(uri)); /* it has copies */
    paths[0] = NULL;
}

static struct fetch_result take(struct bench *b)
{
    struct fetch_result result;
    struct pollfd p = {.fd = fetch_fd(b->f), .events = POLLIN};
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    assert_true(fetch_take(b->f, &result));
    return result;
}

static void media_becomes_a_descriptor(void **state)
{
    struct bench *b = *state;
    struct fetch_result result;
    assert_false(fetch_take(b->f, &result));
    for (uint64_t i = 0; i < N_ANSWERS; i++) {
        submit(b, i, "quick.mp4");
        assert_int_equal(fetch_n_idle(b->f), FETCH_THREADS - 1);
        result = take(b);
        assert_int_equal(result.id, i);
        assert_int_equal(result.err.status, ERR_OK);
        assert_int_equal(fcntl(result.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        close(result.fd);
    }
    assert_int_equal(fetch_n_idle(b->f), FETCH_THREADS);
    struct pollfd p = {.fd = fetch_fd(b->f), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0);
}

static void faults_are_those_of_media_open(void **state)
{
    struct bench *b = *state;
    submit(b, 1, "none.mp4");
    struct fetch_result result = take(b);
    assert_int_equal(result.err.status, ERR_SKIP);
    assert_string_equal(result.err.reason, "media_missing");
    assert_int_equal(result.fd, -1);
    submit(b, 2, "");
    result = take(b);
    assert_string_equal(result.err.reason, "scheme");
    assert_int_equal(result.fd, -1);
}

static void others_pass_all_but_one_that_hang(void **state)
{
    struct bench *b = *state;
    for (uint64_t i = 1; i < FETCH_THREADS; i++)
        submit(b, 1000 + i, "slow.mp4");
    slow_media_wait(FETCH_THREADS - 1);
    for (uint64_t i = 0; i < N_ANSWERS; i++) {
        assert_int_equal(fetch_n_idle(b->f), 1);
        submit(b, i, "quick.mp4");
        struct fetch_result result = take(b);
        assert_int_equal(result.id, i);
        close(result.fd);
    }
    assert_false(slow_media_gave_up());
    slow_media_release();
    for (int i = 1; i < FETCH_THREADS; i++) {
        struct fetch_result result = take(b);
        assert_true(result.id > 1000 && result.err.status == ERR_OK);
        close(result.fd);
    }
}

static void close_leaves_what_hangs_behind(void **state)
{
    struct bench *b = *state;
    submit(b, 1, "slow.mp4");
    submit(b, 2, "slow.mp4");
    submit(b, 3, "quick.mp4"); /* nobody takes it */
    slow_media_wait(2);
    int64_t start_us = clock_mono_us();
    assert_int_equal(fetch_close(b->f), 2);
    assert_true(clock_mono_us() - start_us < (FETCH_CLOSE_MS + 2000) * INT64_C(1000));
    assert_false(slow_media_gave_up());
    b->f = NULL;
}

static void close_at_once_takes_no_time(void **state)
{
    struct bench *b = *state;
    submit(b, 3, "quick.mp4");
    int64_t start_us = clock_mono_us();
    assert_int_equal(fetch_close(b->f), 0);
    assert_true(clock_mono_us() - start_us < FETCH_CLOSE_MS * INT64_C(1000));
    b->f = NULL;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(media_becomes_a_descriptor),        CASE(faults_are_those_of_media_open),
        CASE(others_pass_all_but_one_that_hang), CASE(close_leaves_what_hangs_behind),
        CASE(close_at_once_takes_no_time),
    };
    return cmocka_run_group_tests_name("fetch", tests, NULL, NULL);
}
