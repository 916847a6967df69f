/* The pool against a worker that misbehaves on command (hostile_worker.c): contained, killed in
 * time, replaced at once, reported by its reason, and nothing left behind. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>
#include <cmocka.h>

#include "hostile_pool.h"

static unsigned n_late_respawns;

/* The daemon's side of the pool sends by this (linked with --wrap=sendmsg). */
static int n_without_memory;
ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    if (n_without_memory == 0)
        return __real_sendmsg(fd, msg, flags);
    n_without_memory--;
    errno = ENOMEM;
    return -1;
}

static void assert_contained(struct pool *pool, const char *title, const char *reason,
                             const char *words)
{
    int64_t recovery_ms;
    run(pool, title);
    if (result.err.status != ERR_SKIP || strcmp(result.err.reason, reason) != 0 ||
        strstr(result.err.text, words) == NULL)
        fail_msg("%s: expected %s (%s), got status %d, %s: %s", title, reason, words,
                 (int)result.err.status, result.err.reason, result.err.text);
    recovery_ms = time_recovery(pool);
    if (recovery_ms > RESPAWN_MS)
        n_late_respawns++;
    run(pool, "ok");
    assert_good();
}

static void pool_submit_good_job_gives_features(void **state)
{
    struct pool_stats stats;
    const struct encoder_identity *e = &pool_encoders(*state)[MODALITY_TEXTUAL];
    run(*state, "ok");
    assert_good();
    assert_int_equal(result.features.dim[MODALITY_TEXTUAL], e->dim);
    assert_string_equal(result.features.encoder_id[MODALITY_TEXTUAL], e->id);
    pool_stats(*state, &stats);
    assert_int_equal(stats.n_workers, 2);
    assert_true(stats.sandboxed);
    assert_int_equal(stats.n_jobs, 1);
}

static void pool_submit_none_idle_asks_to_retry(void **state)
{
    struct pool_job job = {.id = 3, .media_fd = -1};
    struct err err = {0};
    submit(*state, 1, "ok", -1);
    submit(*state, 2, "ok", -1);
    assert_int_equal(pool_n_idle(*state), 0);
    assert_int_equal(pool_submit(*state, &job, &err), ERR_RETRY);
    assert_true(pool_wait(*state, -1, 5000, &result));
    uint64_t first = result.id;
    assert_true(pool_wait(*state, -1, 5000, &result));
    assert_int_equal(first + result.id, 3);
    assert_false(pool_wait(*state, -1, 0, &result));
}

static void pool_wait_readable_wake_fd_returns_false(void **state)
{
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(write(pipe_fds[1], "x", 1), 1);
    int64_t start_us = clock_mono_us();
    assert_false(pool_wait(*state, pipe_fds[0], 20000, &result));
    assert_true(clock_mono_us() - start_us < 5000000);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void pool_submit_item_error_is_passed_on(void **state)
{
    run(*state, "skip");
    assert_int_equal(result.err.status, ERR_SKIP);
    assert_string_equal(result.err.reason, "media_codec");
    run(*state, "io");
    assert_int_equal(result.err.status, ERR_RETRY);
    struct pool_stats stats;
    pool_stats(*state, &stats);
    assert_int_equal(stats.n_died, 0);
}

/* A shortage of the system's is nobody's fault: the worker lives, the job is to be tried again. */
static void pool_submit_without_memory_is_ours(void **state)
{
    struct pool_stats stats;
    for (int i = 0; i < 3; i++) {
        n_without_memory = 1;
        run(*state, "ok");
        assert_int_equal(result.err.status, ERR_RETRY);
        assert_int_equal(result.err.exit_code, EX_OSERR);
    }
    pool_stats(*state, &stats);
    assert_int_equal(stats.n_died, 0);
    run(*state, "ok");
    assert_good();
}

static void pool_submit_directory_or_writable_media_is_refused(void **state)
{
    char path[] = "/tmp/pool-XXXXXX";
    int fd = mkstemp(path);
    int dir_fd = open("/tmp", O_RDONLY | O_DIRECTORY);
    assert_true(fd >= 0 && dir_fd >= 0);
    submit(*state, 1, "ok", dir_fd);
    assert_true(pool_wait(*state, -1, 5000, &result));
    assert_string_equal(result.err.reason, "media");
    submit(*state, 2, "ok", fd);
    assert_true(pool_wait(*state, -1, 5000, &result));
    assert_string_equal(result.media_err.reason, "worker_crash");
    int read_fd = open(path, O_RDONLY);
    assert_true(read_fd >= 0);
    submit(*state, 3, "ok", read_fd);
    close(read_fd); /* the pool has its own */
    assert_true(pool_wait(*state, -1, 5000, &result));
    assert_good();
    close(fd);
    close(dir_fd);
    unlink(path);
}

static void pool_worker_hang_is_killed_at_the_deadline(void **state)
{
    int64_t start_us = clock_mono_us();
    assert_contained(*state, "hang", "worker_deadline", "400 ms");
    int64_t took_ms = (clock_mono_us() - start_us) / 1000;
    assert_in_range(took_ms, 2 * DEADLINE_MS, 2 * (DEADLINE_MS + 1000));
    struct pool_stats stats;
    pool_stats(*state, &stats);
    assert_int_equal(stats.n_killed_deadline, 2);
}

static struct pool *open_with_cpu(int64_t cpu_seconds)
{
    struct pool_options options = default_options();
    options.deadline_ms = 120000; /* CPU, not time, is to end it */
    options.cpu_seconds = cpu_seconds;
    return open_pool(&options);
}

/* A media that a job has; what is in it, a hostile extractor does not ask. */
static int open_media(void)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void run_film(struct pool *pool, const char *title)
{
    int fd = open_media();
    submit(pool, 7, title, fd);
    close(fd);
    await_result(pool);
}

/* ThreadSanitizer gives a signal to its handler when the program next calls something that it knows:
 * in a loop that calls nothing, never. */
static void skip_where_signals_wait(void)
{
#ifdef __SANITIZE_THREAD__
    print_message("skipped: ThreadSanitizer holds signals back\n");
    skip();
#endif
}

/* At half of its limit it answers with what there is, and its place is taken by another. */
static void pool_worker_cpu_loop_ends_with_what_there_is(void **state)
{
    struct pool_stats stats;
    (void)state;
    skip_where_signals_wait();
    struct pool *pool = open_with_cpu(2);
    int leader = fixture_leader();
    for (int i = 0; i < 2; i++) {
        int64_t before_us = fixture_collected_cpu_us(leader);
        run(pool, "spin");
        assert_good();
        assert_true(result.features.flags.degraded);
        assert_int_equal(result.media_err.status, ERR_OK);
        assert_true(time_recovery(pool) >= 0);
        int64_t cpu_us = fixture_collected_cpu_us(leader) - before_us;
        assert_in_range(cpu_us, 900000, 1500000); /* half of it, and what it takes to notice */
    }
    pool_stats(pool, &stats);
    assert_int_equal(stats.n_died + stats.n_killed_deadline, 0);
    assert_int_equal(stats.n_recycled, 2);
    pool_close(pool);
}

/* As one that was taken over would: it is killed, and nobody tries it again. */
static void pool_worker_cpu_loop_that_ignores_the_signal_is_killed_once(void **state)
{
    struct pool_stats stats;
    (void)state;
    struct pool *pool = open_with_cpu(1);
    assert_contained(pool, "stubborn", "worker_cpu", "1 s of CPU");
    assert_null(strstr(result.err.text, "twice"));
    pool_stats(pool, &stats);
    assert_int_equal(stats.n_died, 1);
    pool_close(pool);
}

/* Before anything was opened. */
static void pool_worker_cpu_spent_on_the_digest_leaves_the_text(void **state)
{
    (void)state;
    skip_where_signals_wait();
    struct pool *pool = open_with_cpu(1);
    run_film(pool, "film:digest");
    assert_good();
    assert_string_equal(result.features.flags.reason, "media_budget");
    pool_close(pool);
}

static void assert_text_survives(struct pool *pool, const char *title, const char *reason)
{
    run_film(pool, title);
    assert_good();
    assert_string_equal(result.features.flags.reason, reason);
    assert_true(result.features.flags.degraded);
    assert_int_equal(result.media_err.status, ERR_SKIP);
    assert_string_equal(result.media_err.reason, reason);
}

/* The workers are lost to the media, never the item that has a text. */
static void pool_media_that_costs_its_workers_leaves_the_text(void **state)
{
    struct pool_stats stats;
    assert_text_survives(*state, "film:hang", "worker_deadline");
    assert_text_survives(*state, "film:exit", "worker_crash");
    assert_text_survives(*state, "film:garbage", "worker_reply");
    assert_text_survives(*state, "film:impostor", "worker_reply");
    pool_stats(*state, &stats);
    assert_int_equal(stats.n_died + stats.n_killed_deadline, 8);
    run_film(*state, "garbage"); /* its text costs a worker as well */
    assert_int_equal(result.err.status, ERR_SKIP);
    assert_string_equal(result.err.reason, "worker_reply");
    assert_true(time_recovery(*state) >= 0);
    run(*state, "ok");
    assert_good();
    assert_int_equal(result.media_err.status, ERR_OK);
}

static void pool_media_without_text_that_costs_its_workers_is_lost(void **state)
{
    struct err err = {0};
    int fd = open_media();
    struct pool_job job = {.id = 7, .media_fd = fd, .text = {.lang = "film:exit"}};
    assert_int_equal(pool_submit(*state, &job, &err), ERR_OK);
    close(fd);
    await_result(*state);
    assert_int_equal(result.err.status, ERR_SKIP);
    assert_string_equal(result.err.reason, "worker_crash");
}

static void pool_worker_memory_bomb_is_contained(void **state)
{
#ifdef MMF_SANITIZE_BUILD
    (void)state;
    print_message("skipped: a sanitizer build has no limit of address space\n");
    skip();
#else
    struct pool_options options = default_options();
    (void)state;
    options.deadline_ms = 20000; /* memory, not time, is to end it */
    struct pool *pool = open_pool(&options);
    int64_t before = fixture_rss_bytes();
    assert_contained(pool, "memory", "worker_memory", "address space");
    assert_true(fixture_rss_bytes() - before < (8 << 20));
    pool_close(pool);
#endif
}

static void pool_worker_death_is_reported_by_its_cause(void **state)
{
    assert_contained(*state, "exit", "worker_crash", "exited");
#ifndef MMF_SANITIZE_BUILD /* its runtime turns signals into exits */
    assert_contained(*state, "crash", "worker_crash", "SIGSEGV");
    assert_contained(*state, "abort", "worker_crash", "SIGSYS");
#endif
}

static void pool_worker_broken_reply_is_refused(void **state)
{
    assert_contained(*state, "garbage", "worker_reply", "magic");
    assert_contained(*state, "huge", "worker_reply", "too long");
    assert_contained(*state, "descriptor", "worker_reply", "files");
    assert_contained(*state, "flood", "worker_reply", "early");
    assert_contained(*state, "shut", "worker_reply", "closed its socket");
    assert_contained(*state, "nan", "worker_reply", "finite");
    assert_contained(*state, "dimension", "worker_reply", "length");
    assert_contained(*state, "coverage", "worker_reply", "share");
    assert_contained(*state, "codec", "worker_reply", "letters");
    assert_contained(*state, "duration", "worker_reply", "absurd");
    assert_contained(*state, "impostor", "worker_reply", "pool's");
}

static void pool_worker_forbidden_call_is_killed(void **state)
{
    static const char *const titles[] = {"socket",   "fork",    "execve",     "ptrace",
                                         "kill",     "prlimit", "executable", "sendmsg",
                                         "mprotect", "signal",  "dumpable",   "write"};
    for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++) {
#ifdef MMF_SANITIZE_BUILD /* the sanitizer's filter admits these */
        if (strcmp(titles[i], "mprotect") == 0 || strcmp(titles[i], "signal") == 0 ||
            strcmp(titles[i], "dumpable") == 0 || strcmp(titles[i], "write") == 0)
            continue;
#endif
        assert_contained(*state, titles[i], "worker_crash", "SIGSYS");
    }
}

static void pool_worker_refused_call_gets_an_error(void **state)
{
    static const char *const titles[] = {"open", "stat", "create", "statm"};
    for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++) {
        run(*state, titles[i]);
        assert_good();
    }
    assert_int_equal(access("/tmp/hostile", F_OK), -1);
}

static void pool_worker_crash_once_is_retried_on_a_fresh_worker(void **state)
{
    struct pool_stats stats;
    run(*state, "flaky");
    assert_good();
    pool_stats(*state, &stats);
    assert_int_equal(stats.n_died, 1);
    assert_int_equal(stats.n_spawned, 3);
}

/* Over the contained acts above; two of some thirty may lose their time slice to the
 * machine's other work. */
static void pool_respawns_come_within_100_ms(void **state)
{
    (void)state;
    assert_in_range(n_late_respawns, 0, 2);
}

static void pool_many_crashes_leave_the_pool_whole(void **state)
{
    unsigned n_fds = fixture_n_fds();
    int leader = fixture_leader();
    unsigned n_late = 0;
    for (unsigned i = 0; i < 100; i++) {
        run(*state, i % 2 == 0 ? "exit" : "garbage");
        assert_int_equal(result.err.status, ERR_SKIP);
        n_late += time_recovery(*state) > RESPAWN_MS;
    }
    assert_true(n_late <= 5); /* of 100, on a machine that does other work too */
    assert_int_equal(fixture_n_fds(), n_fds);
    struct fixture_session s = fixture_session(leader);
    assert_int_equal(s.n_alive, 3);
    assert_int_equal(s.n_zombies, 0);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, open_default, close_default)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(pool_submit_good_job_gives_features),
        CASE(pool_submit_none_idle_asks_to_retry),
        CASE(pool_wait_readable_wake_fd_returns_false),
        CASE(pool_submit_item_error_is_passed_on),
        CASE(pool_submit_without_memory_is_ours),
        CASE(pool_submit_directory_or_writable_media_is_refused),
        CASE(pool_worker_hang_is_killed_at_the_deadline),
        cmocka_unit_test(pool_worker_cpu_loop_ends_with_what_there_is),
        cmocka_unit_test(pool_worker_cpu_loop_that_ignores_the_signal_is_killed_once),
        cmocka_unit_test(pool_worker_cpu_spent_on_the_digest_leaves_the_text),
        CASE(pool_media_that_costs_its_workers_leaves_the_text),
        CASE(pool_media_without_text_that_costs_its_workers_is_lost),
        cmocka_unit_test(pool_worker_memory_bomb_is_contained),
        CASE(pool_worker_death_is_reported_by_its_cause),
        CASE(pool_worker_broken_reply_is_refused),
        CASE(pool_worker_forbidden_call_is_killed),
        CASE(pool_worker_refused_call_gets_an_error),
        CASE(pool_worker_crash_once_is_retried_on_a_fresh_worker),
        cmocka_unit_test(pool_respawns_come_within_100_ms),
        CASE(pool_many_crashes_leave_the_pool_whole),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
