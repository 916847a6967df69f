#include "extract/pool/nursery.h"

#include "config/clock.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define ANSWER_MS 5000 /* a fork takes 1 ms */
#define STOP_MS   2000
#define LOOK_MS   500 /* so often waiting() is called */

void nursery_init(struct nursery *n, const char *path, char *const *argv, int64_t start_ms,
                  void (*waiting)(void), const struct protocol_control *config)
{
    *n = (struct nursery){.path = path,
                          .argv = argv,
                          .config = *config,
                          .start_ms = start_ms,
                          .waiting = waiting,
                          .pidfd = -1,
                          .sock = -1};
    n->config.kind = PROTOCOL_CONFIGURE;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static bool wait_readable(const struct nursery *n, int fd, int64_t timeout_ms)
{
    int64_t end_us = clock_mono_us() + timeout_ms * 1000;
    for (;;) {
        int64_t left_ms = (end_us - clock_mono_us()) / 1000;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int got = poll(&p, 1, left_ms < 0 ? 0 : left_ms < LOOK_MS ? (int)left_ms : LOOK_MS);
        if (got > 0)
            return true;
        if (left_ms <= 0 || (got < 0 && errno != EINTR))
            return false;
        if (n->waiting)
            n->waiting();
    }
}

/* Takes at most two descriptors out of a message; the rest the kernel drops. */
static void take_fds(struct msghdr *msg, int fds[2])
{
    fds[0] = fds[1] = -1;
    struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    if (c == NULL || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
        return;
    size_t n_bytes = c->cmsg_len - CMSG_LEN(0);
    memcpy(fds, CMSG_DATA(c), n_bytes < 2 * sizeof(int) ? n_bytes : 2 * sizeof(int));
}

static int receive(struct nursery *n, int64_t timeout_ms, struct protocol_control *ret_answer,
                   int fds[2])
{
    struct iovec iov = {.iov_base = ret_answer, .iov_len = sizeof(*ret_answer)};
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    fds[0] = fds[1] = -1;
    if (!wait_readable(n, n->sock, timeout_ms)) {
        errno = ETIMEDOUT;
        return -1;
    }
    ssize_t got;
    do {
        got = recvmsg(n->sock, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return -1;
    take_fds(&msg, fds);
    if ((size_t)got == sizeof(*ret_answer) && (msg.msg_flags & MSG_TRUNC) == 0)
        return 0;
    close_fd(&fds[0]);
    close_fd(&fds[1]);
    errno = ECONNRESET;
    return -1;
}

static bool is_answer(uint32_t question, uint32_t answer)
{
    switch (question) {
    case PROTOCOL_CONFIGURE:
        return answer == PROTOCOL_READY || answer == PROTOCOL_REFUSED;
    case PROTOCOL_SPAWN:
        return answer == PROTOCOL_SPAWNED || answer == PROTOCOL_REFUSED;
    default:
        return answer == PROTOCOL_REAPED;
    }
}

/* One question, one answer. A process that does not answer, or something else, is ended: its next
 * answers would be one question late. */
static int ask(struct nursery *n, const struct protocol_control *question, int64_t timeout_ms,
               struct protocol_control *ret_answer, int fds[2])
{
    ssize_t sent;
    do {
        sent = send(n->sock, question, sizeof(*question), MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent == (ssize_t)sizeof(*question) && receive(n, timeout_ms, ret_answer, fds) == 0) {
        ret_answer->text[sizeof(ret_answer->text) - 1] = 0;
        if (is_answer(question->kind, ret_answer->kind))
            return 0;
        close_fd(&fds[0]);
        close_fd(&fds[1]);
        errno = EPROTO;
    }
    int cause = errno;
    if (cause == ETIMEDOUT) /* it would not read the end either */
        kill(n->pid, SIGKILL);
    nursery_stop(n);
    errno = cause;
    return -1;
}

/* stdin and stdout from and to nowhere, stderr shared, the control socket, nothing else. */
static int add_actions(posix_spawn_file_actions_t *a, int sock)
{
    int rc = posix_spawn_file_actions_addopen(a, 0, "/dev/null", O_RDONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_addopen(a, 1, "/dev/null", O_WRONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(a, sock, PROTOCOL_CONTROL_FD);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(a, PROTOCOL_CONTROL_FD + 1);
    return rc;
}

/* Default signals, none blocked, a session of its own: a terminal's Ctrl-C is the daemon's
 * affair, which drains before it ends its workers. */
static int set_attributes(posix_spawnattr_t *attr)
{
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    int rc = posix_spawnattr_setsigdefault(attr, &all);
    if (rc == 0)
        rc = posix_spawnattr_setsigmask(attr, &none);
    if (rc == 0)
        rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
                                                POSIX_SPAWN_SETSID);
    return rc;
}

/* Returns an errno value. */
static int execute(const struct nursery *n, int sock, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0)
        return rc;
    rc = posix_spawnattr_init(&attr);
    if (rc != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return rc;
    }
    rc = add_actions(&actions, sock);
    if (rc == 0)
        rc = set_attributes(&attr);
    if (rc == 0)
        rc = posix_spawn(ret_pid, n->path, &actions, &attr, n->argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

static int launch(struct nursery *n, struct err *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return err_fatal(err, EX_OSERR, "worker pool: socketpair: %s", strerror(errno));
    int rc = execute(n, pair[1], &n->pid);
    close(pair[1]);
    if (rc != 0) {
        n->pid = 0;
        close(pair[0]);
        if (err_is_shortage(rc) || rc == EAGAIN)
            return err_fatal(err, EX_OSERR, "worker pool: execute %s: %s", n->path,
                             strerror(rc));
        return err_fatal(err, EX_CONFIG,
                         "worker pool: execute %s: %s; set extract.worker_path to "
                         "metammf-extract",
                         n->path, strerror(rc));
    }
    n->sock = pair[0];
    n->pidfd = pidfd_open(n->pid, 0);
    n->generation++;
    if (n->pidfd >= 0)
        return ERR_OK;
    int cause = errno;
    nursery_stop(n);
    return err_fatal(err, EX_OSERR, "worker pool: pidfd_open: %s", strerror(cause));
}

/* The first announcement stands for the pool's life: rows of one life have one meaning, and other
 * threads may read it. */
static int hear(struct nursery *n, const struct protocol_control *ready, struct err *err)
{
    struct encoder_identity now[MODALITY_COUNT];
    int status = protocol_take_encoders(ready, now, err);
    if (status != ERR_OK)
        return err_wrap(err, "worker pool: %s", n->path);
    for (int m = 0; m < MODALITY_COUNT; m++) {
        const struct encoder_identity *first = &n->encoders[m];
        if (first->dim == 0 || (first->dim == now[m].dim && strcmp(first->id, now[m].id) == 0))
            continue;
        n->changed = true;
        return err_fatal(err, EX_TEMPFAIL,
                         "worker pool: %s: its %s encoder is %s (%u numbers) now, at the start "
                         "it was %s (%u): another start is needed",
                         n->path, modality_name((enum modality)m), now[m].id, now[m].dim,
                         first->id, first->dim);
    }
    if (n->encoders[0].dim == 0)
        memcpy(n->encoders, now, sizeof(now));
    return ERR_OK;
}

static int not_ready(const struct nursery *n, int cause, struct err *err)
{
    if (cause != ETIMEDOUT && n->was_killed)
        return err_fatal(
            err, EX_OSERR,
            "worker pool: %s was killed before it was ready, most likely for want of "
            "memory",
            n->path);
    return err_fatal(err, cause == ETIMEDOUT ? EX_OSERR : EX_CONFIG,
                     "worker pool: %s ended or hung before it was ready (%s); run it with "
                     "--version to see whether it starts",
                     n->path, strerror(cause));
}

int nursery_start(struct nursery *n, struct err *err)
{
    assert(n->pid == 0);
    int status = launch(n, err);
    if (status != ERR_OK)
        return status;
    struct protocol_control answer = {0};
    int fds[2] = {-1, -1};
    if (ask(n, &n->config, n->start_ms, &answer, fds) != 0)
        return not_ready(n, errno, err);
    close_fd(&fds[0]);
    close_fd(&fds[1]);
    if (answer.kind == PROTOCOL_READY)
        status = hear(n, &answer, err);
    else
        status = err_fatal(err, answer.status == EX_OSERR ? EX_OSERR : EX_CONFIG,
                           "worker pool: %s: %s", n->path, answer.text);
    if (status != ERR_OK)
        nursery_stop(n);
    return status;
}

/* The worker is there, its descriptors found no room: without them nobody could ever end it. */
static void discard(struct nursery *n, pid_t pid)
{
    struct protocol_control question = {.kind = PROTOCOL_DISCARD, .pid = pid}, answer = {0};
    int fds[2];
    if (ask(n, &question, ANSWER_MS, &answer, fds) != 0)
        return;
    close_fd(&fds[0]);
    close_fd(&fds[1]);
}

/* The fault is in n->start_err. */
static bool start_again(struct nursery *n)
{
    int64_t start_us = clock_mono_us();
    if (n->changed || start_us < n->not_before_us)
        return false;
    if (nursery_start(n, &n->start_err) == ERR_OK)
        return true;
    int64_t end_us = clock_mono_us();
    n->not_before_us = end_us + (end_us - start_us);
    return false;
}

int nursery_spawn(struct nursery *n, struct nursery_worker *ret_worker, struct err *err)
{
    if (n->pid == 0 && !start_again(n))
        return n->changed ? err_fatal(err, EX_TEMPFAIL, "%s", n->start_err.text)
                          : err_retry(err, EX_OSERR, "%s", n->start_err.text);
    struct protocol_control question = {.kind = PROTOCOL_SPAWN}, answer = {0};
    int fds[2];
    if (ask(n, &question, ANSWER_MS, &answer, fds) != 0)
        return err_retry(err, EX_OSERR, "worker pool: %s does not answer: %s", n->path,
                         strerror(errno));
    if (answer.kind == PROTOCOL_SPAWNED && fds[0] >= 0 && fds[1] >= 0) {
        *ret_worker = (struct nursery_worker){
            .pid = answer.pid, .sock = fds[0], .pidfd = fds[1], .generation = n->generation};
        return ERR_OK;
    }
    close_fd(&fds[0]);
    close_fd(&fds[1]);
    err_retry(err, EX_OSERR, "worker pool: no worker: %s",
              answer.text[0] != 0 ? answer.text : "too many open files here");
    if (answer.kind == PROTOCOL_SPAWNED)
        discard(n, answer.pid);
    return ERR_RETRY;
}

int nursery_reap(struct nursery *n, const struct nursery_worker *worker)
{
    if (n->pid == 0 || n->generation != worker->generation)
        return -1;
    struct protocol_control question = {.kind = PROTOCOL_REAP, .pid = worker->pid},
                            answer = {0};
    int fds[2];
    if (ask(n, &question, ANSWER_MS, &answer, fds) != 0)
        return -1;
    close_fd(&fds[0]);
    close_fd(&fds[1]);
    return answer.kind == PROTOCOL_REAPED && answer.pid == worker->pid ? answer.status : -1;
}

void nursery_stop(struct nursery *n)
{
    close_fd(&n->sock); /* it collects its workers and exits when it reads the end */
    if (n->pid > 0) {
        bool ended = n->pidfd >= 0 && wait_readable(n, n->pidfd, STOP_MS);
        int status = 0;
        if (!ended)
            kill(n->pid, SIGKILL);
        while (waitpid(n->pid, &status, 0) < 0 && errno == EINTR)
            ;
        n->was_killed = ended && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    }
    n->pid = 0;
    close_fd(&n->pidfd);
}
