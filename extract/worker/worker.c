/* A worker's whole life after the fork. What it learns of an item it forgets with the next;
 * what it may do is sandbox.c's. It never writes but by sendmsg on its own socket. A fault of
 * the daemon's message ends it (exit 65): no daemon of this build sends one.
 *
 * The media's digest is checked here because a large file takes long, and other items must not wait
 * for it.
 *
 * Half of extract.cpu_seconds is for one job. The extractor looks at the clock between packets; what
 * does not come back by then (one packet that takes seconds, a header of which each entry costs more
 * than the one before) SIGXCPU interrupts, which the pool sends a little later. Its
 * handler answers with what there is and ends the process: what was interrupted cannot be gone on
 * with, nor given up cleanly.
 *
 * Example: request {seq 7, media, title "cat"} with one descriptor → extractor_run → reply
 * {seq 7, 61 MB, features}. */
#include "extract/worker/worker.h"

#include "config/digest.h"
#include "extract/worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* Static, because memory must not be asked for where the extractor may have used it all. */
static unsigned char inbox[PROTOCOL_REQUEST_BYTES_MAX];
static unsigned char outbox[PROTOCOL_REPLY_BYTES_MAX];
static struct features features;

/* Of the job under way, for the handler. */
static struct extractor *the_extractor;
static volatile uint64_t the_seq;
static volatile sig_atomic_t is_busy; /* a request is not answered yet */

static int64_t media_bytes_max; /* 0 = no limit */

static bool send_message(void *data, size_t n_bytes)
{
    struct iovec iov = {.iov_base = data, .iov_len = n_bytes};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;
    do {
        n = sendmsg(PROTOCOL_WORKER_FD, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)n_bytes;
}

/* One message and at most one descriptor (-1 = none). Its length, 0 at the end. */
static size_t receive(int *ret_fd)
{
    struct iovec iov = {.iov_base = inbox, .iov_len = sizeof(inbox)};
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    ssize_t n;
    do {
        n = recvmsg(PROTOCOL_WORKER_FD, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return 0;
    if ((msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
        _exit(EX_DATAERR);
    *ret_fd = -1;
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (c != NULL && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
    return (size_t)n;
}

/* Resident memory from the second field of statm; 0 when it cannot be read. */
static int64_t rss_bytes(void)
{
    char line[128];
    ssize_t n = pread(PROTOCOL_STATM_FD, line, sizeof(line) - 1, 0);
    if (n <= 0)
        return 0;
    line[n] = 0;
    const char *second = strchr(line, ' ');
    if (second == NULL)
        return 0;
    long pages = strtol(second, NULL, 10);
    return pages > 0 ? (int64_t)pages * sysconf(_SC_PAGESIZE) : 0;
}

/* A pipe or a device could block for ever; a writable file would be a way out. What the extractor
 * will refuse for its size need not be read for its digest. */
static int check_media(int fd, bool *ret_too_big, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_retry(err, EX_IOERR, "media: fstat: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_skip(err, "media", "media: not a regular file; give the path of a file");
    *ret_too_big = media_bytes_max > 0 && st.st_size > media_bytes_max;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) != O_RDONLY)
        return err_fatal(err, EX_SOFTWARE, "media: the descriptor is not read-only");
    return ERR_OK;
}

static int check_digest(int fd, const char *sha256, struct err *err)
{
    char hex[DIGEST_HEX_BYTES];
    int status = digest_fd_hex(fd, hex, err);
    if (status != ERR_OK)
        return err_wrap(err, "media");
    if (strcmp(hex, sha256) != 0)
        return err_skip(err, "media_sha256", "media: its sha256 is %s, the event says %s", hex,
                        sha256);
    return ERR_OK;
}

static void reply(uint64_t seq, int status, bool leaves, struct err *err)
{
    /* Anything else is no outcome of an item. */
    if (status != ERR_OK && status != ERR_RETRY && status != ERR_SKIP)
        _exit(EX_SOFTWARE);
    if (status == ERR_OK && features.flags.reason[0] == 0)
        err_clear(err);
    err->status = (enum err_status)status;
    size_t n = protocol_pack_reply(seq, rss_bytes(), leaves, err, &features, outbox);
    if (!send_message(outbox, n))
        _exit(EX_OSERR);
}

static void serve(struct extractor *extractor, size_t n_bytes, int media_fd)
{
    struct protocol_request request;
    struct err err = {0};
    if (protocol_parse_request(inbox, n_bytes, &request, &err) != ERR_OK ||
        request.has_media != (media_fd >= 0))
        _exit(EX_DATAERR);
    the_seq = request.seq;
    is_busy = 1;
    bool too_big = false;
    int status = media_fd >= 0 ? check_media(media_fd, &too_big, &err) : ERR_OK;
    if (status == ERR_OK && media_fd >= 0 && request.sha256 != NULL && !too_big)
        status = check_digest(media_fd, request.sha256, &err);
    if (status == ERR_OK)
        status = extractor_run(extractor, media_fd, &request.text, &features, &err);
    is_busy = 0; /* SIGXCPU comes too late */
    if (media_fd >= 0)
        close(media_fd);
    reply(request.seq, status, false, &err);
}

/* SIGXCPU. No allocator, no lock, no stream: extractor_finish and the rest of this call none. */
static void finish_early(int signo)
{
    static struct err err;
    (void)signo;
    if (!is_busy)
        return;
    int status = extractor_finish(the_extractor, &features, &err);
    if (status == ERR_NONE) /* its digest alone took so long; the pool keeps the text */
        status = err_skip(&err, "media_budget",
                          "media: half of extract.cpu_seconds was spent before it was opened");
    reply(the_seq, status, true, &err);
    _exit(EX_OK);
}

static void listen_to_the_clock(struct extractor *extractor)
{
    struct sigaction action = {.sa_handler = finish_early, .sa_flags = SA_RESTART};
    the_extractor = extractor;
    sigfillset(&action.sa_mask);
    if (sigaction(SIGXCPU, &action, NULL) != 0)
        _exit(EX_OSERR);
}

static void say_hello(const struct sandbox_report *report)
{
    struct protocol_hello hello = {.filter = report->filter,
                                   .landlock_abi = report->landlock_abi};
    if (!send_message(outbox, protocol_pack_hello(&hello, outbox)))
        _exit(EX_OSERR);
}

_Noreturn void worker_run(const struct protocol_control *config, struct extractor *extractor)
{
    struct sandbox_options options = {.address_space_bytes = config->address_space_bytes,
                                      .cpu_seconds = config->cpu_seconds,
                                      .require_seccomp = config->require_sandbox != 0,
                                      .socket_fd = PROTOCOL_WORKER_FD};
    struct sandbox_report report;
    struct err err = {0};
    media_bytes_max = config->max_media_bytes;
    listen_to_the_clock(extractor);
    if (sandbox_enter(&options, &report, &err) != ERR_OK) {
        send_message(outbox, protocol_pack_refusal(&err, outbox));
        _exit(EX_CONFIG);
    }
    say_hello(&report);
    for (;;) {
        int media_fd = -1;
        size_t n = receive(&media_fd);
        if (n == 0)
            _exit(EX_OK);
        serve(extractor, n, media_fd);
    }
}
