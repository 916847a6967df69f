#include "daemon/cli/demo/demo.h"

#include "config/clock.h"
#include "daemon/base/progress.h"
#include "daemon/service/control_client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define DEMO_START_MS 15000
#define DEMO_STOP_MS  10000

/* In the child: only calls that are safe after fork in a process with threads. */
_Noreturn static void become(char *const argv[], int out, int errors, pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) == 0 && getppid() == parent &&
        (out < 0 || dup2(out, STDOUT_FILENO) >= 0) &&
        (errors < 0 || dup2(errors, STDERR_FILENO) >= 0))
        execv(argv[0], argv);
    _exit(127);
}

static pid_t spawn(char *const argv[], int out, int errors)
{
    pid_t parent = getpid();
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0)
        become(argv, out, errors, parent);
    return pid;
}

/* Everything until the end of the pipe. */
static int read_all(int fd, struct progress *bar, char **ret_out)
{
    char buffer[4096];
    size_t bytes;
    FILE *out = open_memstream(ret_out, &bytes);
    int64_t n_lines = 0;
    ssize_t n;

    if (!out)
        return -1;
    while ((n = read(fd, buffer, sizeof(buffer))) > 0 || (n < 0 && errno == EINTR)) {
        for (ssize_t i = 0; i < n; i++)
            n_lines += buffer[i] == '\n';
        progress_update(bar, n_lines, NULL);
        if (n > 0)
            fwrite(buffer, 1, (size_t)n, out);
    }
    progress_end(bar, n_lines);
    return fclose(out) == 0 && n == 0 ? 0 : -1;
}

int demo_run(char *const argv[], const char *label, int64_t n_lines, char **ret_out,
             struct err *err)
{
    struct progress bar;
    int ends[2], status = -1, r;
    pid_t pid;

    *ret_out = NULL;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_fatal(err, EX_OSERR, "pipe: %s", strerror(errno));
    pid = spawn(argv, ends[1], -1);
    close(ends[1]);
    progress_start(&bar, label ? stderr : NULL, label, n_lines);
    r = pid > 0 ? read_all(ends[0], &bar, ret_out) : -1;
    close(ends[0]);
    if (pid <= 0)
        return err_fatal(err, EX_OSERR, "run %s: %s", argv[0], strerror(errno));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (r == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return ERR_OK;
    free(*ret_out);
    *ret_out = NULL;
    return err_fatal(err, EX_SOFTWARE, "%s %s: exit status %d: see its message above", argv[0],
                     argv[1], WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

bool demo_try(char *const argv[])
{
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC), status = -1;
    pid_t pid = nowhere >= 0 ? spawn(argv, nowhere, nowhere) : -1;

    if (nowhere >= 0)
        close(nowhere);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void nap_ms(int ms)
{
    poll(NULL, 0, ms);
}

/* True when the child has ended; its status then. */
static bool has_ended(struct demo *d, int *ret_status)
{
    if (d->daemon <= 0 || waitpid(d->daemon, ret_status, WNOHANG) != d->daemon)
        return false;
    d->daemon = 0;
    return true;
}

static int wait_answer(struct demo *d, struct err *err)
{
    int64_t until_us = clock_mono_us() + INT64_C(1000) * DEMO_START_MS;
    int fd, status = 0;

    while (clock_mono_us() < until_us) {
        if (control_connect(d->socket, &fd, NULL) == ERR_OK) {
            close(fd);
            return ERR_OK;
        }
        if (has_ended(d, &status))
            return err_fatal(err, EX_SOFTWARE,
                             "metammfd ended at once, exit status %d: its log is %s",
                             WIFEXITED(status) ? WEXITSTATUS(status) : -1, d->log);
        nap_ms(20);
    }
    return err_fatal(err, EX_SOFTWARE, "metammfd does not answer within %d s: its log is %s",
                     DEMO_START_MS / 1000, d->log);
}

int demo_start_daemon(struct demo *d, struct err *err)
{
    char program[PATH_MAX + 16];
    char *const argv[] = {program, (char[]){"--config"}, d->config, NULL};
    int log;

    snprintf(program, sizeof(program), "%s/metammfd", d->bin);
    if (access(program, X_OK) != 0)
        return err_fatal(err, EX_UNAVAILABLE,
                         "%s: %s: metammf and metammfd belong in one folder", program,
                         strerror(errno));
    log = open(d->log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (log < 0)
        return err_fatal(err, EX_CANTCREAT, "%s: %s", d->log, strerror(errno));
    d->daemon = spawn(argv, log, log);
    close(log);
    if (d->daemon <= 0)
        return err_fatal(err, EX_OSERR, "run %s: %s", program, strerror(errno));
    return wait_answer(d, err);
}

int demo_stop_daemon(struct demo *d, int64_t *ret_ms, struct err *err)
{
    int64_t started_us = clock_mono_us();
    int status = 0;

    if (d->daemon <= 0 || kill(d->daemon, SIGTERM) != 0)
        return err_fatal(err, EX_SOFTWARE, "metammfd is gone: its log is %s", d->log);
    while (!has_ended(d, &status)) {
        if (clock_mono_us() - started_us > INT64_C(1000) * DEMO_STOP_MS)
            return err_fatal(err, EX_SOFTWARE, "metammfd does not stop: its log is %s", d->log);
        nap_ms(10);
    }
    *ret_ms = (clock_mono_us() - started_us) / 1000;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_fatal(err, EX_SOFTWARE, "metammfd ended with status %d: its log is %s",
                         WIFEXITED(status) ? WEXITSTATUS(status) : -1, d->log);
    return ERR_OK;
}

void demo_kill_daemon(struct demo *d)
{
    int status;

    if (d->daemon <= 0)
        return;
    kill(d->daemon, SIGKILL);
    while (waitpid(d->daemon, &status, 0) < 0 && errno == EINTR)
        continue;
    d->daemon = 0;
}
