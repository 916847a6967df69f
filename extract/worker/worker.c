/* A worker's whole life after the fork. What it learns of an item it forgets with the next;
 * what it may do is sandbox.c's. It never writes but by sendmsg on its own socket. A fault of
 * the daemon's message ends it (exit 65): no daemon of this build sends one.
 *
 * The media's digest is checked here because a large file takes long, and other items must not wait
 * for it. Example: request {seq 7, media, title "cat"} with one descriptor → extractor_run → reply
 * {seq 7, 61 MB, features}. */
#include "extract/worker/worker.h"

#include "config/digest.h"
#include "extract/worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
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

/* A pipe or a device could block for ever; a writable file would be a way out. */
static int check_media(int fd, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_retry(err, EX_IOERR, "media: fstat: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_skip(err, "media", "media: not a regular file; give the path of a file");
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

static void serve(struct extractor *extractor, size_t n_bytes, int media_fd)
{
    struct protocol_request request;
    struct err err = {0};
    if (protocol_parse_request(inbox, n_bytes, &request, &err) != ERR_OK ||
        request.has_media != (media_fd >= 0))
        _exit(EX_DATAERR);
    int status = media_fd >= 0 ? check_media(media_fd, &err) : ERR_OK;
    if (status == ERR_OK && media_fd >= 0 && request.sha256 != NULL)
        status = check_digest(media_fd, request.sha256, &err);
    if (status == ERR_OK)
        status = extractor_run(extractor, media_fd, &request.text, &features, &err);
    /* Anything else is no outcome of an item. */
    if (status != ERR_OK && status != ERR_RETRY && status != ERR_SKIP)
        _exit(EX_SOFTWARE);
    if (status == ERR_OK)
        err_clear(&err);
    if (media_fd >= 0)
        close(media_fd);
    size_t n = protocol_pack_reply(request.seq, rss_bytes(), &err, &features, outbox);
    if (!send_message(outbox, n))
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
