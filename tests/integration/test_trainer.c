/* The child process of a training, with shells that misbehave instead of a trainer. */

#include "daemon/retrain/child.h"

#include "config/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct heard {
    char lines[512];
    unsigned n_ticks;
};

static void hear(void *arg, const char *line)
{
    struct heard *h = arg;
    size_t n = strlen(h->lines);

    (void)snprintf(h->lines + n, sizeof(h->lines) - n, "%s;", line);
}

static void count_tick(void *arg)
{
    ((struct heard *)arg)->n_ticks++;
}

static enum trainer_end run(const char *script, struct trainer_options o, struct heard *h,
                            struct err *err)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    enum trainer_end end;

    *h = (struct heard){0};
    err_clear(err);
    o.argv = argv;
    o.line = hear;
    o.tick = count_tick;
    o.arg = h;
    int status = trainer_run(&o, &end, err);
    assert_int_equal(status, end == TRAINER_DONE ? ERR_OK : ERR_RETRY);
    return end;
}

static const struct trainer_options patient = {
    .threads = 3, .heartbeat_ms = 20000, .deadline_ms = 30000, .stop_fd = -1};

static void run_done_gives_its_lines_and_the_environment(void **state)
{
    struct heard h;
    struct err err;

    (void)state;
    assert_int_equal(setenv("NOTIFY_SOCKET", "/nowhere", 1), 0);
    assert_int_equal(run("echo one; echo $OPENBLAS_NUM_THREADS-$NOTIFY_SOCKET-; printf three",
                         patient, &h, &err),
                     TRAINER_DONE);
    assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
    assert_string_equal(h.lines, "one;3--;three;");
    assert_true(h.n_ticks >= 1);
}

static void run_failed_and_crashed_say_why(void **state)
{
    struct heard h;
    struct err err;

    (void)state;
    assert_int_equal(run("echo first >&2; echo no data >&2; exit 65", patient, &h, &err),
                     TRAINER_FAILED);
    assert_non_null(strstr(err.text, "exit status 65: no data"));
    assert_int_equal(err.exit_code, 65);
    assert_int_equal(run("kill -SEGV $$", patient, &h, &err), TRAINER_CRASHED);
    assert_non_null(strstr(err.text, "signal 11"));
    struct trainer_options absent = patient;
    const char *const argv[] = {"/nonexistent", NULL};
    enum trainer_end end;
    absent.argv = argv;
    assert_int_equal(trainer_run(&absent, &end, &err), ERR_RETRY);
    assert_int_equal(end, TRAINER_FAILED);
}

static void run_hung_and_late_are_killed_with_their_children(void **state)
{
    struct heard h;
    struct err err;
    struct trainer_options o = patient;
    int64_t start_us = clock_mono_us();

    (void)state;
    o.heartbeat_ms = 300;
    assert_int_equal(run("echo alive; sleep 100 & sleep 100", o, &h, &err), TRAINER_HUNG);
    assert_string_equal(h.lines, "alive;");
    assert_non_null(strstr(err.text, "no progress for 300 ms"));
    o = patient;
    o.deadline_ms = 300;
    assert_int_equal(run("while :; do echo x; sleep 0.05; done", o, &h, &err), TRAINER_LATE);
    assert_non_null(strstr(h.lines, "x;x;"));
    assert_true(clock_mono_us() - start_us < 20 * INT64_C(1000000));
}

static void hear_slowly(void *arg, const char *line)
{
    (void)arg;
    (void)line;
    usleep(10);
}

/* A child that prints faster than we listen: deadline, stop and tick have their turn. */
static void run_flood_is_ended_in_time(void **state)
{
    const char *const argv[] = {"/usr/bin/yes", NULL};
    struct trainer_options o = patient;
    int64_t start_us = clock_mono_us();
    enum trainer_end end;
    struct err err;

    (void)state;
    o.argv = argv;
    o.line = hear_slowly;
    o.deadline_ms = 300;
    assert_int_equal(trainer_run(&o, &end, &err), ERR_RETRY);
    assert_int_equal(end, TRAINER_LATE);
    assert_true(clock_mono_us() - start_us < 60 * INT64_C(1000000));
}

static void run_stops_when_asked(void **state)
{
    struct heard h;
    struct err err;
    struct trainer_options o = patient;

    (void)state;
    o.stop_fd = eventfd(1, EFD_CLOEXEC);
    assert_int_equal(run("sleep 100", o, &h, &err), TRAINER_STOPPED);
    close(o.stop_fd);
}

static void run_limits_are_in_force(void **state)
{
    struct heard h;
    struct err err;
    struct trainer_options o = patient;

    (void)state;
    o.nice = 7;
    o.heartbeat_ms = o.deadline_ms = 200000; /* a second of CPU may take long */
    o.cpu_seconds = 1;
    o.memory_bytes = INT64_C(512) * 1024 * 1024;
    assert_int_equal(run("nice; ulimit -v; ulimit -t; ls /proc/self/fd | wc -l", o, &h, &err),
                     TRAINER_DONE);
#ifndef MMF_SANITIZE_BUILD
    assert_string_equal(h.lines, "7;524288;1;4;"); /* 0, 1, 2 and the folder itself */
#endif
    assert_int_equal(run("while :; do :; done", o, &h, &err), TRAINER_CRASHED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(run_done_gives_its_lines_and_the_environment),
        cmocka_unit_test(run_failed_and_crashed_say_why),
        cmocka_unit_test(run_hung_and_late_are_killed_with_their_children),
        cmocka_unit_test(run_flood_is_ended_in_time),
        cmocka_unit_test(run_stops_when_asked),
        cmocka_unit_test(run_limits_are_in_force),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
