#include "daemon/service/control_client.h"

#include "config/account.h"
#include "daemon/service/control.h"

#include <errno.h>
#include <jansson.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

/* Who may: the group of the socket, or of its folder where that is shut. */
static int refused(const char *path, int code, struct err *err)
{
    char folder[PATH_MAX], group[ACCOUNT_BYTES];
    struct stat info;

    (void)snprintf(folder, sizeof(folder), "%s", path);
    if (stat(path, &info) != 0 && stat(dirname(folder), &info) != 0)
        return err_fatal(err, EX_NOPERM, "control socket %s: %s: run as root", path,
                         strerror(code));
    return err_fatal(err, EX_NOPERM,
                     "control socket %s: %s: run as a member of group %s, or as root", path,
                     strerror(code), account_group(info.st_gid, group));
}

int control_connect(const char *path, int *ret_fd, struct err *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd, why;

    if (strlen(path) >= sizeof(addr.sun_path))
        return ERR_NONE;
    memcpy(addr.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_fatal(err, EX_OSERR, "socket: %s", strerror(errno));
    if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0) {
        *ret_fd = fd;
        return ERR_OK;
    }
    why = errno;
    close(fd);
    if (why == EACCES || why == EPERM)
        return refused(path, why, err);
    return ERR_NONE;
}

static int send_request(const struct control_ask *ask, struct err *err)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(CONTROL_FDS_MAX * sizeof(int))];
    } control = {0};
    char *text = ask->request ? json_dumps(ask->request, JSON_COMPACT) : NULL;
    struct iovec iov = {text, text ? strlen(text) : 0};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (!text)
        return err_oom(err, "control: the request");
    if (ask->n_fds > 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(ask->n_fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(ask->n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), ask->fds, ask->n_fds * sizeof(int));
    }
    do
        n = sendmsg(ask->fd, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    free(text);
    if (n < 0 && errno != EPIPE) /* EPIPE: refused; the reason waits to be received */
        return err_fatal(err, EX_TEMPFAIL, "control socket: send: %s", strerror(errno));
    return ERR_OK;
}

static int receive(int fd, char *packet, json_t **ret_message, struct err *err)
{
    ssize_t n;

    do
        n = recv(fd, packet, CONTROL_PACKET_BYTES, 0);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return err_fatal(err, EX_TEMPFAIL,
                         "control socket: the daemon hung up%s%s: is it stopping? See "
                         "metammf status",
                         n < 0 ? ": " : "", n < 0 ? strerror(errno) : "");
    *ret_message = json_loadb(packet, (size_t)n, 0, NULL);
    if (!*ret_message)
        return err_fatal(err, EX_SOFTWARE, "control socket: the reply is not JSON");
    return ERR_OK;
}

static int refusal(const json_t *message, struct err *err)
{
    const char *text = json_string_value(json_object_get(message, "error"));
    json_int_t code = json_integer_value(json_object_get(message, "exit_code"));

    return err_fatal(err, code > 0 && code < 128 ? (int)code : EX_SOFTWARE, "%s",
                     text ? text : "the daemon refused without saying why");
}

static int read_answer(const struct control_ask *ask, char *packet, json_t **ret_result,
                       struct err *err)
{
    for (;;) {
        json_t *message = NULL, *progress;
        int r = receive(ask->fd, packet, &message, err);

        if (r)
            return r;
        progress = json_object_get(message, "progress");
        if (!progress) {
            r = json_is_true(json_object_get(message, "ok")) ? ERR_OK : refusal(message, err);
            if (r == ERR_OK && ret_result)
                *ret_result = json_incref(json_object_get(message, "result"));
            json_decref(message);
            return r;
        }
        if (ask->progress)
            ask->progress(ask->ctx, progress);
        json_decref(message);
    }
}

int control_ask(const struct control_ask *ask, struct json_t **ret_result, struct err *err)
{
    char *packet = malloc(CONTROL_PACKET_BYTES);
    int r = packet ? send_request(ask, err) : err_oom(err, "control: the reply");

    json_decref(ask->request);
    if (r == ERR_OK)
        r = read_answer(ask, packet, ret_result, err);
    free(packet);
    return r;
}

/* By name, should the file have been replaced or its folder be shut to us, or by what the daemon has open:
 * a name need not be text. */
static bool is_store_of(const json_t *status, const char *path)
{
    const char *theirs = json_string_value(json_object_get(status, "store"));
    const json_t *file = json_object_get(status, "store_file");
    char *ra = theirs ? realpath(theirs, NULL) : NULL, *rb = realpath(path, NULL);
    bool same = theirs && strcmp(ra && rb ? ra : theirs, ra && rb ? rb : path) == 0;
    struct stat info;

    free(ra);
    free(rb);
    return same || (stat(path, &info) == 0 &&
                    json_integer_value(json_array_get(file, 0)) == (json_int_t)info.st_dev &&
                    json_integer_value(json_array_get(file, 1)) == (json_int_t)info.st_ino);
}

/* Connects and keeps the connection when the daemon there has our store. ERR_NONE: nobody listens,
 * or a daemon that has another one. */
static int try_socket(const char *path, const char *store_path, int *ret_fd, struct err *err)
{
    struct control_ask ask = {.request = json_pack("{s:s}", "command", "status")};
    json_t *status = NULL;
    int fd = -1, r = control_connect(path, &fd, err);

    if (r) {
        json_decref(ask.request);
        return r;
    }
    ask.fd = fd;
    r = control_ask(&ask, &status, err);
    if (r == ERR_OK && !is_store_of(status, store_path))
        r = ERR_NONE;
    json_decref(status);
    if (r == ERR_OK)
        *ret_fd = fd;
    else
        close(fd);
    return r;
}

int control_find(const struct settings *s, int *ret_fd, struct err *err)
{
    char link[PATH_MAX], target[PATH_MAX];
    ssize_t n;
    int r = ERR_NONE;

    snprintf(link, sizeof(link), "%s.control", s->store.path);
    n = readlink(link, target, sizeof(target) - 1);
    if (n > 0) {
        target[n] = '\0';
        r = try_socket(target, s->store.path, ret_fd, err);
    }
    if (r == ERR_NONE && s->control.socket && s->control.socket[0])
        r = try_socket(s->control.socket, s->store.path, ret_fd, err);
    return r;
}
