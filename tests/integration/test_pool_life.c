/* The life of a pool: recycling, a flat memory, replaced processes, what an end leaves behind, and
 * what it refuses to start with. */

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>
#include <cmocka.h>

#include "hostile_pool.h"
#include "tests/unit/no_clone.h"

static void run_many(struct pool *pool, unsigned n_jobs)
{
    unsigned n_sent = 0, n_done = 0;
    while (n_done < n_jobs) {
        while (n_sent < n_jobs && pool_n_idle(pool) > 0)
            submit(pool, n_sent++, "ok", -1);
        if (pool_wait(pool, -1, 1000, &result)) {
            assert_good();
            n_done++;
        }
    }
}

/* Of two workers that have both done a job: a fresh one has touched fewer pages. */
static int64_t warm_rss_bytes(struct pool *pool, int leader)
{
    do {
        time_recovery(pool);
        run_many(pool, 2);
    } while (pool_n_idle(pool) < 2);
    return fixture_session(leader).rss_bytes;
}

static void pool_thousand_jobs_recycle_and_stay_flat(void **state)
{
    struct pool_options options = default_options();
    (void)state;
    options.recycle_jobs = 50;
    struct pool *pool = open_pool(&options);
    int leader = fixture_leader();
    run_many(pool, 100);
    int64_t workers_bytes = warm_rss_bytes(pool, leader);
    unsigned n_fds = fixture_n_fds();
    int64_t own_bytes = fixture_rss_bytes();
    run_many(pool, 1000);
    int64_t later_bytes = warm_rss_bytes(pool, leader);
    struct pool_stats stats;
    pool_stats(pool, &stats);
    assert_in_range(stats.n_recycled, 20, 22);
    assert_int_equal(stats.n_died, 0);
    assert_int_equal(stats.n_workers, 2);
    assert_int_equal(fixture_n_fds(), n_fds);
    assert_true(fixture_rss_bytes() - own_bytes < (1 << 20));
#ifndef MMF_SANITIZE_BUILD /* its quarantine grows */
    assert_true(later_bytes - workers_bytes < (1 << 20));
#else
    (void)(workers_bytes + later_bytes);
#endif
    pool_close(pool);
}

static void pool_worker_over_its_memory_mark_is_recycled(void **state)
{
    struct pool_options options = default_options();
    struct pool_stats stats;
    (void)state;
    options.recycle_rss_bytes = 1;
    struct pool *pool = open_pool(&options);
    run_many(pool, 10);
    pool_stats(pool, &stats);
    assert_int_equal(stats.n_recycled, 10);
    pool_close(pool);
}

static void await_idle(struct pool *pool, unsigned n)
{
    int64_t start_us = clock_mono_us();
    while (pool_n_idle(pool) != n && clock_mono_us() - start_us < 10000000)
        assert_false(pool_wait(pool, -1, 1, &result));
    assert_int_equal(pool_n_idle(pool), n);
}

/* The jobs that are under way when workers become too many are done, with a second worker each. */
static void pool_resize_grows_and_lets_workers_finish(void **state)
{
    struct pool_stats stats;
    unsigned n_fds = fixture_n_fds(), n_done = 0;
    int leader = fixture_leader();
    assert_int_equal(pool_resize(*state, 5, NULL), ERR_OK);
    assert_int_equal(pool_n_wanted(*state), 5);
    await_idle(*state, 5);
    assert_int_equal(fixture_session(leader).n_alive, 6);
    run_many(*state, 20);
    for (unsigned i = 0; i < 5; i++)
        submit(*state, i, "hang", -1);
    assert_int_equal(pool_resize(*state, 1, NULL), ERR_OK);
    assert_int_equal(pool_n_idle(*state), 0);
    while (n_done < 5) {
        if (!pool_wait(*state, -1, 1000, &result))
            continue;
        assert_string_equal(result.err.reason, "worker_deadline");
        n_done++;
    }
    await_idle(*state, 1);
    while (fixture_session(leader).n_alive > 2)
        assert_false(pool_wait(*state, -1, 1, &result));
    assert_false(pool_wait(*state, -1, 1, &result));
    assert_int_equal(fixture_n_fds(), n_fds - 2); /* a socket and a pidfd */
    pool_stats(*state, &stats);
    assert_int_equal(stats.n_workers, 1);
    run_many(*state, 3);
    assert_int_equal(pool_resize(*state, 2, NULL), ERR_OK);
    await_idle(*state, 2);
    assert_int_equal(fixture_n_fds(), n_fds);
}

/* Its processes die with the leader, by the kernel's signal. */
static void await_end_of(int leader)
{
    int64_t start_us = clock_mono_us();
    while (fixture_session(leader).n_alive > 0 && clock_mono_us() - start_us < 2000000)
        assert_int_equal(usleep(1000), 0);
    assert_int_equal(fixture_session(leader).n_alive, 0);
}

static void pool_killed_zygote_is_replaced(void **state)
{
    int leader = fixture_leader();
    assert_int_equal(kill(leader, SIGKILL), 0);
    int64_t start_us = clock_mono_us();
    while (clock_mono_us() - start_us < 10000000 &&
           (fixture_leader() == leader || pool_n_idle(*state) < 2))
        assert_false(pool_wait(*state, -1, 1, &result));
    assert_int_not_equal(fixture_leader(), leader);
    run(*state, "ok");
    assert_good();
    await_end_of(leader);
}

static void pool_close_leaves_no_process_and_no_descriptor(void **state)
{
    unsigned n_fds = fixture_n_fds();
    struct pool_options options = default_options();
    (void)state;
    struct pool *pool = open_pool(&options);
    int leader = fixture_leader();
    assert_int_equal(fixture_session(leader).n_alive, 3);
    submit(pool, 1, "hang", -1);
    submit(pool, 2, "spin", -1);
    pool_close(pool);
    struct fixture_session s = fixture_session(leader);
    assert_int_equal(s.n_alive + s.n_zombies, 0);
    assert_int_equal(fixture_n_fds(), n_fds);
    pool_close(NULL);
}

static void pool_daemon_killed_takes_its_workers_along(void **state)
{
    int pipe_fds[2];
    int leader = -1;
    (void)state;
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t daemon_pid = fork();
    if (daemon_pid == 0) {
        struct pool_options options = default_options();
        struct pool *pool = NULL;
        if (pool_open(&options, &pool, NULL) != ERR_OK)
            _exit(1);
        submit(pool, 1, "hang", -1);
        leader = fixture_leader();
        _exit(write(pipe_fds[1], &leader, sizeof(leader)) == sizeof(leader) ? pause() : 1);
    }
    assert_int_equal(read(pipe_fds[0], &leader, sizeof(leader)), sizeof(leader));
    assert_int_equal(fixture_session(leader).n_alive, 3);
    kill(daemon_pid, SIGKILL);
    waitpid(daemon_pid, NULL, 0);
    await_end_of(leader);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void pool_open_bad_executable_is_a_configuration_error(void **state)
{
    struct pool_options options = default_options();
    struct pool *pool = NULL;
    struct err err = {0};
    (void)state;
    options.worker_path = "/nonexistent/metammf-extract";
    assert_int_equal(pool_open(&options, &pool, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_CONFIG);
    assert_non_null(strstr(err.text, "extract.worker_path"));
    options.worker_path = "/bin/true";
    assert_int_equal(pool_open(&options, &pool, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_CONFIG);
    assert_null(pool);
}

static void pool_open_takes_what_the_worker_announces(void **state)
{
    struct pool_options options = default_options();
    (void)state;
    options.encoder[MODALITY_VISUAL] = "small";
    struct pool *pool = open_pool(&options);
    assert_int_equal(pool_encoders(pool)[MODALITY_VISUAL].dim, 5);
    for (int m = 0; m < MODALITY_COUNT; m++)
        assert_int_equal(pool_encoders(pool)[m].modality, m);
    pool_close(pool);
}

static void pool_open_refuses_an_unsound_announcement(void **state)
{
    static const char *const lies[] = {"letters", "empty", "endless", "none",
                                       "huge",    "twice", "nowhere"};
    (void)state;
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct pool_options options = default_options();
        struct pool *pool = NULL;
        struct err err = {0};
        options.encoder[MODALITY_VISUAL] = lies[i];
        if (pool_open(&options, &pool, &err) != ERR_FATAL || err.exit_code != EX_CONFIG ||
            strstr(err.text, "refused") == NULL || pool != NULL)
            fail_msg("%s: %s", lies[i], err.text);
    }
}

/* Otherwise each answer would be taken for the one to the question after it, for ever. */
static void pool_open_refuses_answers_that_nobody_asked_for(void **state)
{
    struct pool_options options = default_options();
    struct pool *pool = NULL;
    struct err err = {0};
    (void)state;
    options.encoder[MODALITY_VISUAL] = "early";
    assert_int_equal(pool_open(&options, &pool, &err), ERR_FATAL);
    assert_null(pool);
}

/* A package was replaced while the daemon ran: vectors of two encoders never mix in one life, and
 * only another life helps. */
static void pool_other_encoders_after_a_restart_are_refused(void **state)
{
    struct pool_options options = default_options();
    (void)state;
    options.encoder[MODALITY_VISUAL] = "moody";
    struct pool *pool = open_pool(&options);
    assert_int_equal(kill(fixture_leader(), SIGKILL), 0);
    struct err err = {0};
    int64_t start_us = clock_mono_us();
    while (!pool_is_down(pool, &err) && clock_mono_us() - start_us < 10000000)
        assert_false(pool_wait(pool, -1, 100, &result));
    assert_int_equal(err.status, ERR_FATAL);
    assert_int_equal(err.exit_code, EX_TEMPFAIL); /* the unit starts the daemon again */
    assert_non_null(strstr(err.text, "its textual encoder is moody-"));
    for (int i = 0; i < 20;
         i++) /* it is not started again, and the fault stays as it was told */
        assert_false(pool_wait(pool, -1, 10, &result));
    assert_true(pool_is_down(pool, &err));
    assert_non_null(strstr(err.text, "its textual encoder is moody-"));
    assert_int_equal(pool_n_idle(pool), 0);
    pool_close(pool);
}

/* What the kernel may have again tomorrow: the unit starts the daemon again after it, but not after
 * EX_CONFIG. */
static void pool_open_short_of_memory_is_no_configuration_error(void **state)
{
    struct pool_options options = default_options();
    struct pool *pool = NULL;
    struct err err = {0};
    (void)state;
    options.encoder[MODALITY_VISUAL] = "poor";
    assert_int_equal(pool_open(&options, &pool, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_OSERR);
    assert_non_null(strstr(err.text, "memory"));
    options.encoder[MODALITY_VISUAL] = "killed";
    assert_int_equal(pool_open(&options, &pool, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_OSERR);
    assert_non_null(strstr(err.text, "killed"));
}

/* A machine that is too busy for the workers' hellos is no fault of the settings either. */
static void pool_open_too_slow_is_no_configuration_error(void **state)
{
    struct pool_options options = default_options();
    struct pool *pool = NULL;
    struct err err = {0};
    (void)state;
    options.encoder[MODALITY_VISUAL] = "mute";
    options.start_ms = 500;
    assert_int_equal(pool_open(&options, &pool, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_OSERR);
    assert_non_null(strstr(err.text, "workers came up"));
}

static void pool_open_short_of_processes_is_no_configuration_error(void **state)
{
    struct pool_options options = default_options();
    struct pool *pool = NULL;
    struct err err = {0};
    int status;
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        no_clone();
        _exit(pool_open(&options, &pool, &err) == ERR_FATAL ? err.exit_code : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EX_OSERR);
}

/* A kernel without seccomp, for this process and what it starts: both ways to ask are answered
 * as such a kernel would. */
static void hide_seccomp(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_SECCOMP, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(99);
}

/* Exit statuses of the child below: which expectation failed. */
static int open_without_seccomp(void)
{
    struct pool_options options = default_options();
    struct pool_job job = {.id = 1, .media_fd = -1, .text = {.title = "socket"}};
    struct pool *pool = NULL;
    struct pool_stats stats;
    struct err err = {0};
    if (pool_open(&options, &pool, &err) != ERR_FATAL || err.exit_code != EX_CONFIG ||
        strstr(err.text, "extract.require_sandbox") == NULL)
        return 1;
    options.require_sandbox = false;
    if (pool_open(&options, &pool, &err) != ERR_OK)
        return 2;
    pool_stats(pool, &stats);
    if (stats.sandboxed)
        return 3;
    if (pool_submit(pool, &job, &err) != ERR_OK || !pool_wait(pool, -1, 5000, &result) ||
        result.err.status != ERR_OK)
        return 4;
    /* the act that the filter stops: this test can fail */
    return result.features.flags.n_decode_errors == 1 ? 0 : 5;
}

static void pool_open_without_seccomp_refuses_unless_told(void **state)
{
    int status;
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        hide_seccomp();
        _exit(open_without_seccomp());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* As for want of memory: whoever refuses now may start later. */
static int lose_seccomp(void)
{
    struct pool_options options = default_options();
    struct pool *pool = NULL;
    struct err why = {0};
    if (pool_open(&options, &pool, &why) != ERR_OK)
        return 1;
    hide_seccomp();
    if (kill(fixture_leader(), SIGKILL) != 0)
        return 2;
    int64_t start_us = clock_mono_us();
    while (!pool_is_down(pool, &why)) {
        if (clock_mono_us() - start_us > 20000000)
            return 3;
        (void)pool_wait(pool, -1, 100, &result);
    }
    return why.status == ERR_RETRY ? 0 : 4;
}

static void pool_workers_that_refuse_later_are_tried_again(void **state)
{
    int status;
    (void)state;
    pid_t pid = fork();
    if (pid == 0)
        _exit(lose_seccomp());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void copy_file(const char *from, const char *to)
{
    char command[PATH_MAX * 2];
    snprintf(command, sizeof(command), "cp '%s' '%s'", from, to);
    assert_int_equal(system(command), 0);
}

/* A worker that the test may take away. */
struct copy {
    char dir[32], path[64];
};

static struct copy copy_worker(void)
{
    struct copy c = {.dir = "/tmp/pool-XXXXXX"};
    assert_non_null(mkdtemp(c.dir));
    snprintf(c.path, sizeof(c.path), "%s/worker", c.dir);
    copy_file(HOSTILE_WORKER, c.path);
    return c;
}

static void remove_copy(const struct copy *c)
{
    assert_int_equal(unlink(c->path), 0);
    assert_int_equal(rmdir(c->dir), 0);
}

static void pool_worker_that_cannot_start_again_gives_the_job_back(void **state)
{
    struct copy worker = copy_worker();
    struct pool_options options = default_options();
    (void)state;
    options.worker_path = worker.path;
    options.deadline_ms = 20000;
    struct pool *pool = open_pool(&options);
    struct err why = {0};
    submit(pool, 1, "hang", -1);
    assert_false(pool_is_down(pool, &why));
    assert_int_equal(unlink(worker.path), 0);
    assert_int_equal(kill(fixture_leader(), SIGKILL), 0);
    assert_true(pool_wait(pool, -1, 10000, &result));
    assert_int_equal(result.err.status, ERR_RETRY); /* our fault: no dead letter */
    assert_non_null(strstr(result.err.text, worker.path));
    assert_true(pool_is_down(pool, &why));
    assert_non_null(strstr(why.text, worker.path));
    copy_file(HOSTILE_WORKER, worker.path);
    int64_t start_us = clock_mono_us();
    while (pool_n_idle(pool) < 2 && clock_mono_us() - start_us < 20000000)
        assert_false(pool_wait(pool, -1, 100, &result));
    assert_false(pool_is_down(pool, &why));
    pool_close(pool);
    remove_copy(&worker);
}

static unsigned n_waited;

static void count_waiting(void)
{
    n_waited++;
}

/* Each of six would wait start_ms for it, one after the other. Whoever waits hears of it. */
static void pool_process_that_hangs_is_waited_for_once(void **state)
{
    struct copy worker = copy_worker();
    struct pool_options options = default_options();
    (void)state;
    options.worker_path = worker.path;
    options.n_workers = 6;
    options.start_ms = 1200;
    options.waiting = count_waiting;
    struct pool *pool = open_pool(&options);
    n_waited = 0;
    assert_int_equal(unlink(worker.path), 0);
    FILE *script = fopen(worker.path, "w");
    assert_non_null(script);
    fputs("#!/bin/sh\nexec sleep 1000\n", script);
    fclose(script);
    assert_int_equal(chmod(worker.path, 0700), 0);
    assert_int_equal(kill(fixture_leader(), SIGKILL), 0);
    int64_t start_us = clock_mono_us();
    while (pool_n_idle(pool) > 0 || (n_waited < 2 && clock_mono_us() - start_us < 10000000))
        (void)pool_wait(pool, -1, 10, &result); /* all six may be gone before the first try */
    assert_in_range(clock_mono_us() - start_us, 0, 4 * 1000 * 1000);
    assert_true(n_waited >= 2);
    pool_close(pool);
    struct err err = {0}; /* a machine that is short of memory is slow, too */
    assert_int_equal(pool_open(&options, &pool, &err), ERR_FATAL);
    assert_int_equal(err.exit_code, EX_OSERR);
    remove_copy(&worker);
}

/* Takes every descriptor that is free below the limit; how many of them are in fds. */
static unsigned take_free_fds(int *fds, unsigned n, unsigned room)
{
    int fd;
    while (n < room && (fd = dup(STDERR_FILENO)) >= 0)
        fds[n++] = fd;
    return n;
}

/* Without a descriptor for it a new worker is of no use: it must not stay, and not as a zombie. */
static void pool_short_of_descriptors_leaves_no_worker_behind(void **state)
{
    enum { N_FDS = 128, N_ROUNDS = 150 };
    struct pool_options options = default_options();
    struct rlimit before, limit;
    int fds[N_FDS], leader;
    unsigned n_fds = 0;
    (void)state;
    options.n_workers = 1;
    struct pool *pool = open_pool(&options);
    leader = fixture_leader();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = (struct rlimit){N_FDS, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    submit(pool, 1, "exit", -1);
    for (int i = 0; i < N_ROUNDS; i++) {
        n_fds = take_free_fds(fds, n_fds, N_FDS);
        (void)pool_wait(pool, -1, 10, &result);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    while (n_fds > 0)
        close(fds[--n_fds]);
    int64_t start_us = clock_mono_us();
    while (pool_n_idle(pool) < 1 && clock_mono_us() - start_us < 20000000)
        (void)pool_wait(pool, -1, 100, &result);
    assert_int_equal(pool_n_idle(pool), 1);
    struct fixture_session s = fixture_session(leader);
    assert_int_equal(s.n_zombies, 0);
    assert_int_equal(s.n_alive, 2);
    pool_close(pool);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, open_default, close_default)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_thousand_jobs_recycle_and_stay_flat),
        cmocka_unit_test(pool_worker_over_its_memory_mark_is_recycled),
        CASE(pool_resize_grows_and_lets_workers_finish),
        CASE(pool_killed_zygote_is_replaced),
        cmocka_unit_test(pool_close_leaves_no_process_and_no_descriptor),
        cmocka_unit_test(pool_daemon_killed_takes_its_workers_along),
        cmocka_unit_test(pool_open_bad_executable_is_a_configuration_error),
        cmocka_unit_test(pool_open_short_of_memory_is_no_configuration_error),
        cmocka_unit_test(pool_open_too_slow_is_no_configuration_error),
        cmocka_unit_test(pool_open_short_of_processes_is_no_configuration_error),
        cmocka_unit_test(pool_open_takes_what_the_worker_announces),
        cmocka_unit_test(pool_open_refuses_an_unsound_announcement),
        cmocka_unit_test(pool_open_refuses_answers_that_nobody_asked_for),
        cmocka_unit_test(pool_other_encoders_after_a_restart_are_refused),
        cmocka_unit_test(pool_open_without_seccomp_refuses_unless_told),
        cmocka_unit_test(pool_workers_that_refuse_later_are_tried_again),
        cmocka_unit_test(pool_worker_that_cannot_start_again_gives_the_job_back),
        cmocka_unit_test(pool_process_that_hangs_is_waited_for_once),
        cmocka_unit_test(pool_short_of_descriptors_leaves_no_worker_behind),
    };
    return cmocka_run_group_tests_name("pool_life", tests, NULL, NULL);
}
