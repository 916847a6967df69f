/* Warm once, fork often: the encoders' tables and FFmpeg's libraries are loaded and relocated
 * in this process, a worker is a copy of it. It has one thread and never touches media.
 * Standard error stays the daemon's here, for what libraries print at the start; a worker has
 * none, so that hostile media writes nothing into the log (a sanitizer build's workers keep it,
 * for their reports). */
#include "extract/worker/zygote.h"

#include "extract/media/extractor.h"
#include "extract/wire/protocol.h"
#include "extract/worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

struct zygote {
    const char *const *encoder; /* (MODALITY_COUNT) names */
    struct protocol_control config;
    struct extractor *extractor;
};

/* ---- in the new worker ---- */

static int open_over(const char *path, int flags, int fd)
{
    int got = open(path, flags);
    if (got < 0)
        return -1;
    if (got == fd)
        return 0;
    int rc = dup2(got, fd);
    close(got);
    return rc < 0 ? -1 : 0;
}

/* sock moves to PROTOCOL_WORKER_FD (which is the control socket's number), statm beside it,
 * nothing else stays. */
static int arrange_fds(int sock)
{
    if (dup2(sock, PROTOCOL_WORKER_FD) < 0 ||
        open_over("/proc/self/statm", O_RDONLY, PROTOCOL_STATM_FD) != 0 ||
        open_over("/dev/null", O_RDONLY, STDIN_FILENO) != 0 ||
        open_over("/dev/null", O_WRONLY, STDOUT_FILENO) != 0)
        return -1;
#ifndef MMF_SANITIZE_BUILD
    if (open_over("/dev/null", O_WRONLY, STDERR_FILENO) != 0)
        return -1;
#endif
    return close_range(PROTOCOL_STATM_FD + 1, ~0u, 0);
}

static _Noreturn void become_worker(const struct zygote *z, pid_t parent, int sock)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
        _exit(EX_OSERR);
    if (arrange_fds(sock) != 0)
        _exit(EX_OSERR);
    worker_run(&z->config, z->extractor);
}

/* ---- in the zygote ---- */

static void refuse(struct protocol_control *answer, const char *what)
{
    answer->kind = PROTOCOL_REFUSED;
    snprintf(answer->text, sizeof(answer->text), "%s: %s", what, strerror(errno));
}

/* fds[0], fds[1]: the daemon's end of the worker's socket, its pidfd. */
static void fork_worker(const struct zygote *z, struct protocol_control *answer, int fds[2])
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        refuse(answer, "socketpair");
        return;
    }
    int buffer = PROTOCOL_REQUEST_BYTES_MAX * 2;
    (void)setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        become_worker(z, parent, pair[1]);
    close(pair[1]);
    if (pid < 0) {
        refuse(answer, "fork");
        close(pair[0]);
        return;
    }
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        refuse(answer, "pidfd_open");
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        close(pair[0]);
        return;
    }
    answer->kind = PROTOCOL_SPAWNED;
    answer->pid = pid;
    fds[0] = pair[0];
    fds[1] = pidfd;
}

/* Only when the pool asks: a pid is not reused while the pool may still set its limits or read
 * its clock. */
static void reap(int32_t pid, struct protocol_control *answer)
{
    int status;
    answer->kind = PROTOCOL_REAPED;
    answer->pid = pid;
    answer->status = waitpid(pid, &status, WNOHANG) == pid ? status : -1;
}

/* A worker that the pool has no descriptors for. Nobody has talked to it, so it ends at once. */
static void discard(int32_t pid, struct protocol_control *answer)
{
    if (pid > 0 && kill(pid, SIGKILL) == 0)
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    answer->kind = PROTOCOL_REAPED;
    answer->pid = pid;
    answer->status = -1;
}

static void configure(struct zygote *z, const struct protocol_control *config,
                      struct protocol_control *answer)
{
    struct extractor_options options;
    struct err err = {0};
    z->config = *config;
    extractor_options_init(&options);
    options.media.bytes_max = config->max_media_bytes;
    for (int m = 0; m < MODALITY_COUNT; m++)
        options.encoder[m] = z->encoder[m];
    if (extractor_new(&options, &z->extractor, &err) == ERR_OK) {
        answer->kind = PROTOCOL_READY;
        answer->n_encoders = MODALITY_COUNT;
        extractor_encoders(z->extractor, answer->encoders);
    } else {
        answer->kind = PROTOCOL_REFUSED;
        answer->status = err.exit_code;
        snprintf(answer->text, sizeof(answer->text), "%.500s", err.text);
    }
}

static int answer_with(const struct protocol_control *answer, const int fds[2])
{
    struct protocol_control copy = *answer;
    struct iovec iov = {.iov_base = &copy, .iov_len = sizeof(copy)};
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    memset(&control, 0, sizeof(control));
    if (fds[0] >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(2 * sizeof(int));
        memcpy(CMSG_DATA(c), fds, 2 * sizeof(int));
    }
    return sendmsg(PROTOCOL_CONTROL_FD, &msg, MSG_NOSIGNAL) == (ssize_t)sizeof(copy) ? 0 : -1;
}

static int serve(struct zygote *z, const struct protocol_control *question)
{
    struct protocol_control answer = {0};
    int fds[2] = {-1, -1};
    if (question->kind == PROTOCOL_CONFIGURE && z->extractor == NULL)
        configure(z, question, &answer);
    else if (question->kind == PROTOCOL_SPAWN && z->extractor != NULL)
        fork_worker(z, &answer, fds);
    else if (question->kind == PROTOCOL_REAP)
        reap(question->pid, &answer);
    else if (question->kind == PROTOCOL_DISCARD)
        discard(question->pid, &answer);
    else
        return -1;
    int rc = answer_with(&answer, fds);
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    return rc;
}

/* The kernel, short of memory, should take a worker and not the daemon; raising one's own score
 * needs no privilege. Best effort. */
static void volunteer_for_oom(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = write(fd, "500", 3);
    (void)n;
    close(fd);
}

/* A creation time in a file makes libavformat ask for the zone, which would open a file. */
static void settle_time_zone(void)
{
    time_t now = time(NULL);
    struct tm tm;
    setenv("TZ", "UTC0", 1);
    tzset();
    localtime_r(&now, &tm);
}

static int compare_bytes(const void *a, const void *b)
{
    return *(const unsigned char *)a - *(const unsigned char *)b;
}

/* The first qsort of over 1 KiB asks the system how much memory there is (sysinfo) and keeps the
 * answer, by which it chooses the algorithm: asked here, where the call is allowed. */
static void settle_qsort(void)
{
    unsigned char bytes[4096];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (unsigned char)(i * 31);
    qsort(bytes, sizeof(bytes), 1, compare_bytes);
}

int zygote_run(const char *const *encoder)
{
    int type = 0;
    socklen_t size = sizeof(type);
    if (getsockopt(PROTOCOL_CONTROL_FD, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
        type != SOCK_SEQPACKET) {
        fprintf(stderr,
                "metammf-extract: --pool is for the daemon, which passes a socket on "
                "descriptor %d\n",
                PROTOCOL_CONTROL_FD);
        return EX_USAGE;
    }
    /* If the daemon died before this line, the socket has ended and recv says so. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 ||
        close_range(PROTOCOL_CONTROL_FD + 1, ~0u, 0) != 0)
        return EX_OSERR;
    settle_time_zone();
    settle_qsort();
    volunteer_for_oom();
    struct zygote z = {.encoder = encoder};
    int status = EX_OK;
    for (;;) {
        struct protocol_control question;
        ssize_t n = recv(PROTOCOL_CONTROL_FD, &question, sizeof(question), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            break;
        if (n != (ssize_t)sizeof(question) || serve(&z, &question) != 0) {
            status = EX_SOFTWARE;
            break;
        }
    }
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    extractor_free(z.extractor);
    return status;
}
