#include "daemon/retrain/child.h"

#include "config/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define TICK_MS    1000
#define LINE_BYTES 1024
#define END_MS     5000 /* for a killed group to be gone */
#define READS_MAX  20   /* of a stream in one turn; more than a pipe holds */

extern char **environ;

/* One of the child's two streams, cut into lines; a longer line comes in pieces. */
struct stream {
    int fd;
    size_t n;
    char text[LINE_BYTES];
};

struct child {
    const struct trainer_options *o;
    pid_t pid;
    int pidfd;
    struct stream out, err;
    char last[LINE_BYTES]; /* line of standard error */
    int64_t started_us, heard_us;
};

const char *trainer_end_name(enum trainer_end end)
{
    static const char *const names[] = {"done", "failed", "crashed", "hung", "late", "stopped"};

    return names[end];
}

/* ---- in the child: async-signal-safe only ------------------------------------------------ */

static bool limit(int resource, int64_t value)
{
    struct rlimit r = {(rlim_t)value, (rlim_t)value};

    return value == 0 || setrlimit((__rlimit_resource_t)resource, &r) == 0;
}

/* PR_SET_PDEATHSIG: a daemon that is killed leaves no trainer. The child dies with the thread that
 * started it. */
static bool confine(const struct trainer_options *o, pid_t parent)
{
    sigset_t none;

    sigemptyset(&none);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent || setpgid(0, 0) != 0 ||
        signal(SIGPIPE, SIG_DFL) == SIG_ERR || sigprocmask(SIG_SETMASK, &none, NULL) != 0)
        return false;
    if (setpriority(PRIO_PROCESS, 0, o->nice) != 0 || !limit(RLIMIT_CPU, o->cpu_seconds))
        return false;
#ifndef MMF_SANITIZE_BUILD /* whose shadow memory is all of the address space */
    if (!limit(RLIMIT_AS, o->memory_bytes))
        return false;
#endif
    return true;
}

static _Noreturn void become(const struct trainer_options *o, char *const *env, pid_t parent,
                             int out, int err)
{
    int null = open("/dev/null", O_RDONLY);

    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
        dup2(err, STDERR_FILENO) < 0 || close_range(STDERR_FILENO + 1, ~0u, 0) != 0 ||
        !confine(o, parent))
        _exit(EX_OSERR);
    execve(o->argv[0], (char *const *)(uintptr_t)o->argv, env);
    _exit(EX_UNAVAILABLE);
}

/* ---- starting it -------------------------------------------------------------------------- */

static bool is_ours(const char *name)
{
    static const char *const ours[] = {"OPENBLAS_NUM_THREADS=", "NOTIFY_SOCKET=", "WATCHDOG_",
                                       "CREDENTIALS_DIRECTORY="};

    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (strncmp(name, ours[i], strlen(ours[i])) == 0)
            return true;
    return false;
}

/* The environment less what is the daemon's alone; NULL = out of memory. threads is kept. */
static char **make_environment(char *threads)
{
    size_t n = 0, n_kept = 0;

    while (environ[n])
        n++;
    char **env = malloc((n + 2) * sizeof(*env));
    for (size_t i = 0; env && i < n; i++)
        if (!is_ours(environ[i]))
            env[n_kept++] = environ[i];
    if (env) {
        env[n_kept++] = threads;
        env[n_kept] = NULL;
    }
    return env;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int start(struct child *c, int ends[2], struct err *err)
{
    char threads[48];
    pid_t parent = getpid();

    (void)snprintf(threads, sizeof(threads), "OPENBLAS_NUM_THREADS=%lld",
                   (long long)c->o->threads);
    char **env = make_environment(threads);
    if (!env)
        return err_oom(err, "trainer: its environment");
    c->pid = fork();
    if (c->pid == 0)
        become(c->o, env, parent, ends[0], ends[1]);
    free(env);
    if (c->pid < 0)
        return err_retry(err, EX_OSERR, "trainer: fork: %s", strerror(errno));
    c->pidfd = pidfd_open(c->pid, 0);
    if (c->pidfd >= 0)
        return ERR_OK;
    int cause = errno;
    kill(c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
    return err_retry(err, EX_OSERR, "trainer: pidfd_open: %s", strerror(cause));
}

static int open_child(struct child *c, struct err *err)
{
    int out[2] = {-1, -1}, errors[2] = {-1, -1};
    int status = ERR_OK;

    if (pipe2(out, O_CLOEXEC | O_NONBLOCK) != 0 || pipe2(errors, O_CLOEXEC | O_NONBLOCK) != 0)
        status = err_retry(err, EX_OSERR, "trainer: pipe: %s", strerror(errno));
    c->out.fd = out[0];
    c->err.fd = errors[0];
    /* The child's ends block: a library that prints does not expect EAGAIN. */
    if (status == ERR_OK &&
        (fcntl(out[1], F_SETFL, 0) != 0 || fcntl(errors[1], F_SETFL, 0) != 0))
        status = err_retry(err, EX_OSERR, "trainer: fcntl: %s", strerror(errno));
    if (status == ERR_OK)
        status = start(c, (int[2]){out[1], errors[1]}, err);
    close_fd(&out[1]);
    close_fd(&errors[1]);
    return status;
}

/* ---- listening to it ---------------------------------------------------------------------- */

static void take_line(struct child *c, struct stream *s)
{
    s->text[s->n] = '\0';
    if (s == &c->err && s->n)
        memcpy(c->last, s->text, s->n + 1);
    if (s->n && c->o->line)
        c->o->line(c->o->arg, s->text);
    s->n = 0;
}

static void take_bytes(struct child *c, struct stream *s, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] == '\n' || bytes[i] == '\r' || s->n == LINE_BYTES - 1)
            take_line(c, s);
        if (bytes[i] != '\n' && bytes[i] != '\r')
            s->text[s->n++] = bytes[i];
    }
}

static void read_stream(struct child *c, struct stream *s)
{
    char bytes[4096];
    ssize_t n;

    for (int i = 0; s->fd >= 0 && (n = read(s->fd, bytes, sizeof(bytes))) != 0; i++) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            break;
        c->heard_us = clock_mono_us();
        take_bytes(c, s, bytes, (size_t)n);
        if (i == READS_MAX)
            return; /* the child prints faster than this: others have their turn */
    }
    take_line(c, s);
    close_fd(&s->fd);
}

/* One turn; true when the child has ended. */
static bool listen_once(struct child *c, int64_t wait_ms, bool *ret_stop)
{
    struct pollfd fds[] = {{.fd = c->pidfd, .events = POLLIN},
                           {.fd = c->out.fd, .events = POLLIN},
                           {.fd = c->err.fd, .events = POLLIN},
                           {.fd = c->o->stop_fd, .events = POLLIN}};

    (void)poll(fds, 4, (int)wait_ms);
    read_stream(c, &c->out);
    read_stream(c, &c->err);
    *ret_stop = (fds[3].revents & POLLIN) != 0;
    if (c->o->tick)
        c->o->tick(c->o->arg);
    return (fds[0].revents & POLLIN) != 0;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Until it ends by itself (TRAINER_DONE here) or has to be ended. */
static enum trainer_end listen_to(struct child *c)
{
    bool stop = false;

    for (;;) {
        int64_t now_us = clock_mono_us();
        int64_t silent_ms = c->o->heartbeat_ms - (now_us - c->heard_us) / 1000;
        int64_t left_ms = c->o->deadline_ms - (now_us - c->started_us) / 1000;

        if (stop)
            return TRAINER_STOPPED;
        if (silent_ms <= 0)
            return TRAINER_HUNG;
        if (left_ms <= 0)
            return TRAINER_LATE;
        if (listen_once(c, least(TICK_MS, least(silent_ms, left_ms)), &stop))
            return TRAINER_DONE;
    }
}

/* ---- its end ------------------------------------------------------------------------------ */

static void end_group(struct child *c)
{
    struct pollfd gone = {.fd = c->pidfd, .events = POLLIN};

    kill(-c->pid, SIGKILL);
    kill(c->pid, SIGKILL); /* when it has not made its group yet */
    while (poll(&gone, 1, END_MS) < 0 && errno == EINTR)
        ;
}

static enum trainer_end judge_status(const struct child *c, int status, struct err *err)
{
    const char *said = c->last[0] ? c->last : "it said nothing";

    if (WIFSIGNALED(status)) {
        (void)err_retry(err, EX_SOFTWARE, "%s: killed by signal %d (%s): %s", c->o->argv[0],
                        WTERMSIG(status), strsignal(WTERMSIG(status)), said);
        return TRAINER_CRASHED;
    }
    if (WEXITSTATUS(status) == 0)
        return TRAINER_DONE;
    (void)err_retry(err, WEXITSTATUS(status), "%s: exit status %d: %s", c->o->argv[0],
                    WEXITSTATUS(status), said);
    return TRAINER_FAILED;
}

static void explain_kill(const struct child *c, enum trainer_end end, struct err *err)
{
    if (end == TRAINER_HUNG)
        (void)err_retry(err, EX_TEMPFAIL, "%s: no progress for %lld ms: killed", c->o->argv[0],
                        (long long)c->o->heartbeat_ms);
    else if (end == TRAINER_LATE)
        (void)err_retry(err, EX_TEMPFAIL, "%s: not done within %lld ms: killed", c->o->argv[0],
                        (long long)c->o->deadline_ms);
    else
        (void)err_retry(err, EX_TEMPFAIL, "%s: stopped", c->o->argv[0]);
}

int trainer_run(const struct trainer_options *o, enum trainer_end *ret_end, struct err *err)
{
    struct child c = {.o = o, .pid = -1, .pidfd = -1, .out.fd = -1, .err.fd = -1};
    int status = open_child(&c, err), code = 0;

    *ret_end = TRAINER_FAILED;
    if (status == ERR_OK) {
        c.started_us = c.heard_us = clock_mono_us();
        *ret_end = listen_to(&c);
        end_group(&c); /* also what it left behind */
        (void)waitpid(c.pid, &code, 0);
        read_stream(&c, &c.out);
        read_stream(&c, &c.err);
        if (*ret_end == TRAINER_DONE)
            *ret_end = judge_status(&c, code, err);
        else
            explain_kill(&c, *ret_end, err);
        status = *ret_end == TRAINER_DONE ? ERR_OK : ERR_RETRY;
    }
    close_fd(&c.out.fd);
    close_fd(&c.err.fd);
    close_fd(&c.pidfd);
    return status;
}
