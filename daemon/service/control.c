#include "daemon/service/control.h"

#include "config/infile.h"
#include "config/log.h"
#include "daemon/base/json_memory.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#define CONTROL_CLIENTS 8
#define CONTROL_BACKLOG 64 /* connections that wait to be accepted or refused */
#define CONTROL_IDLE_S  60 /* a client that says nothing for so long is dropped */

enum client_state { CLIENT_FREE, CLIENT_RUNNING, CLIENT_ENDED };

struct client {
    struct control *control;
    pthread_t thread;
    int fd;
    _Atomic int state; /* enum client_state; the thread sets CLIENT_ENDED last */
    struct ucred peer;
    char packet[CONTROL_PACKET_BYTES + 1];
};

struct control {
    int fd;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    const struct control_command *commands;
    void *ctx;
    atomic_bool stopping;
    struct client clients[CONTROL_CLIENTS];
};

static bool send_json(int fd, json_t *message)
{
    char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
    bool sent = false;

    json_decref(message);
    if (text)
        sent = send(fd, text, strlen(text), MSG_NOSIGNAL) >= 0;
    free(text);
    return sent;
}

bool control_progress(struct control_call *call, struct json_t *progress)
{
    return send_json(call->connection, json_pack("{s:o}", "progress", progress)) &&
           !atomic_load(&call->control->stopping);
}

const char *control_string(const struct control_call *call, const char *name)
{
    return json_string_value(json_object_get(call->args, name));
}

int control_file(const struct control_call *call, size_t i, const char *what, int *ret_fd,
                 struct err *err)
{
    int64_t bytes;
    int r = i < call->n_fds ? infile_check(call->fds[i], what, &bytes, err)
                            : err_fatal(err, EX_USAGE,
                                        "%s: its open file must come with the request", what);

    if (r == ERR_OK)
        *ret_fd = call->fds[i];
    return r == ERR_OK ? ERR_OK : err_wrap(err, "control");
}

bool control_is_owner(const struct control_call *call)
{
    return call->uid == 0 || call->uid == geteuid();
}

/* The descriptors that came with a packet. */
struct handed {
    int fds[CONTROL_FDS_MAX];
    size_t n;
    bool is_cut; /* the kernel has dropped some */
};

static void handed_close(struct handed *h)
{
    for (size_t i = 0; i < h->n; i++)
        close(h->fds[i]);
    h->n = 0;
}

static void take_rights(struct msghdr *msg, struct handed *ret_handed)
{
    const struct cmsghdr *c = CMSG_FIRSTHDR(msg);

    ret_handed->n = 0;
    if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
        return;
    ret_handed->n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(ret_handed->fds, CMSG_DATA(c), ret_handed->n * sizeof(int));
}

/* One packet and what comes with it, which is to be closed whatever the answer: > 0 bytes, 0 = the peer
 * has gone. */
static ssize_t receive(struct client *cl, struct handed *ret_handed)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(CONTROL_FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {cl->packet, CONTROL_PACKET_BYTES};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)}; /* the kernel drops more */
    ssize_t n;

    ret_handed->n = 0;
    do
        n = recvmsg(cl->fd, &msg, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return 0;
    take_rights(&msg, ret_handed);
    ret_handed->is_cut = (msg.msg_flags & MSG_CTRUNC) != 0;
    if (msg.msg_flags & MSG_TRUNC) /* an over-long packet reads as bad JSON */
        n = 1;
    cl->packet[n] = '\0';
    return n;
}

static const struct control_command *find(const struct control *c, const char *name)
{
    for (const struct control_command *cmd = c->commands; cmd->name; cmd++)
        if (strcmp(cmd->name, name) == 0)
            return cmd;
    return NULL;
}

/* What a monitor asks every second is no news. */
static bool reads_only(const char *name)
{
    return strcmp(name, "status") == 0 || strcmp(name, "metrics") == 0 ||
           strcmp(name, "settings") == 0;
}

static int serve(struct client *cl, json_t *request, const struct handed *handed,
                 json_t **ret_result, struct err *err)
{
    struct control *c = cl->control;
    const char *name = json_string_value(json_object_get(request, "command"));
    const struct control_command *cmd = name ? find(c, name) : NULL;
    struct control_call call = {.ctx = c->ctx,
                                .args = request,
                                .fds = handed->fds,
                                .n_fds = handed->n,
                                .uid = cl->peer.uid,
                                .connection = cl->fd,
                                .control = c};

    if (handed->is_cut && handed->n < CONTROL_FDS_MAX)
        return err_retry(
            err, EX_TEMPFAIL,
            "control: the daemon has no descriptors left for the files: try again");
    if (!request || handed->is_cut)
        return err_fatal(err, EX_USAGE,
                         "control: a packet is not one JSON object of at most %zu bytes and %d "
                         "files",
                         CONTROL_PACKET_BYTES, CONTROL_FDS_MAX);
    if (!cmd)
        return err_fatal(err, EX_USAGE, "control: unknown command \"%.40s\"", name ? name : "");
    log_write(reads_only(name) ? LOG_LEVEL_DEBUG : LOG_LEVEL_NOTICE, NULL, 0,
              "control: %s, from uid %u gid %u pid %d", name, cl->peer.uid, cl->peer.gid,
              cl->peer.pid);
    return cmd->serve(&call, ret_result, err);
}

static bool answer(struct client *cl, const struct handed *handed)
{
    unsigned long n_failures = json_memory_failures();
    json_t *request = json_loads(cl->packet, JSON_REJECT_DUPLICATES, NULL);
    json_t *result = NULL;
    struct err err;
    bool sent;

    err_clear(&err);
    int r = serve(cl, request, handed, &result, &err);
    if (r == ERR_OK && json_memory_failures() != n_failures) { /* a field may be missing */
        json_decref(result);
        r = err_oom(&err, "control: answer");
    }
    if (r == ERR_OK)
        sent = send_json(cl->fd, json_pack("{s:b, s:o*}", "ok", 1, "result", result));
    else
        sent = send_json(cl->fd, json_pack("{s:b, s:s, s:i}", "ok", 0, "error", err.text,
                                           "exit_code", err.exit_code));
    json_decref(request);
    return sent;
}

static void *client_main(void *arg)
{
    struct client *cl = arg;
    struct handed handed;
    bool go_on = true;

    while (go_on && !atomic_load(&cl->control->stopping)) {
        go_on = receive(cl, &handed) > 0 && answer(cl, &handed);
        handed_close(&handed);
    }
    shutdown(cl->fd, SHUT_RDWR); /* closed by whoever joins this thread */
    atomic_store(&cl->state, CLIENT_ENDED);
    return NULL;
}

static void client_join(struct client *cl)
{
    pthread_join(cl->thread, NULL);
    close(cl->fd);
    atomic_store(&cl->state, CLIENT_FREE);
}

/* Gives back what the clients that have ended hold: before a new one, which may need it. */
static void join_ended(struct control *c)
{
    for (size_t i = 0; i < CONTROL_CLIENTS; i++)
        if (atomic_load(&c->clients[i].state) == CLIENT_ENDED)
            client_join(&c->clients[i]);
}

static struct client *client_slot(struct control *c)
{
    join_ended(c);
    for (size_t i = 0; i < CONTROL_CLIENTS; i++)
        if (atomic_load(&c->clients[i].state) == CLIENT_FREE)
            return &c->clients[i];
    return NULL;
}

static int client_start(struct client *cl, struct control *c, int fd)
{
    struct timeval idle = {.tv_sec = CONTROL_IDLE_S};
    socklen_t n = sizeof(cl->peer);
    int r;

    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof(idle)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &idle, sizeof(idle)) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cl->peer, &n) != 0)
        return errno;
    cl->control = c;
    cl->fd = fd;
    atomic_store(&cl->state, CLIENT_RUNNING);
    r = pthread_create(&cl->thread, NULL, client_main, cl);
    if (r != 0)
        atomic_store(&cl->state, CLIENT_FREE);
    return r;
}

/* A socket that is closed with unread packets resets the peer before it has read our answer:
 * stop taking packets, throw away what is there, then say why and close. */
static void refuse(int fd, const char *why)
{
    char packet[16];

    shutdown(fd, SHUT_RD);
    while (recv(fd, packet, sizeof(packet), MSG_DONTWAIT) > 0)
        continue;
    send_json(fd,
              json_pack("{s:b, s:s, s:i}", "ok", 0, "error", why, "exit_code", EX_TEMPFAIL));
    close(fd);
}

bool control_accept(struct control *c)
{
    int fd;

    join_ended(c);
    while ((fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        struct client *cl = client_slot(c);
        int r = cl ? client_start(cl, c, fd) : 0;

        if (cl && r == 0)
            continue;
        refuse(fd, cl ? "control: no thread for this connection: try again"
                      : "control: too many connections: try again");
    }
    return !err_is_shortage(errno);
}

/* True when a process answers at the address. */
static bool is_alive(const struct sockaddr_un *addr)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    bool alive = fd >= 0 && connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0;

    if (fd >= 0)
        close(fd);
    return alive;
}

/* Mode 0660 from the first moment, without chmod, which the unit refuses; its folder's group when that is
 * setgid, without chown, for which PrivateUsers= has no other group. A process for it, because the
 * mask is the whole process's and other threads make files meanwhile. 0 or an errno. */
static int bind_for_group(int fd, const struct sockaddr_un *addr)
{
    pid_t pid = fork();
    int status = 0;

    if (pid < 0)
        return errno;
    if (pid == 0) {
        umask(0117);
        _exit(bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 ? 0 : errno);
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

static int listen_at(struct control *c, struct err *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    memcpy(addr.sun_path, c->path, sizeof(addr.sun_path));
    if (is_alive(&addr))
        return err_fatal(err, EX_TEMPFAIL,
                         "control socket %s: another metammfd listens there: stop it, or set "
                         "another control.socket",
                         c->path);
    if (unlink(c->path) != 0 && errno != ENOENT)
        return err_fatal(err, err_exit_code(errno, EX_OSERR),
                         "control socket %s: remove the old one: %s: set another "
                         "control.socket, or remove what is there",
                         c->path, strerror(errno));
    c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        return err_fatal(err, EX_OSERR, "control socket: %s", strerror(errno));
    int code = bind_for_group(c->fd, &addr);
    if (code == 0 && listen(c->fd, CONTROL_BACKLOG) != 0)
        code = errno;
    if (code != 0)
        return err_fatal(err, err_exit_code(code, EX_OSERR),
                         "control socket %s: %s: its folder must be there, and uid %u must be "
                         "able to write to it; systemd-tmpfiles --create makes /run/metammfd",
                         c->path, strerror(code), (unsigned)geteuid());
    return ERR_OK;
}

int control_open(const char *path, const struct control_command *commands, void *ctx,
                 struct control **ret_c, struct err *err)
{
    struct control *c;
    int r;

    if (strlen(path) >= sizeof(c->path))
        return err_fatal(err, EX_CONFIG, "control.socket %s: longer than %zu bytes", path,
                         sizeof(c->path) - 1);
    c = calloc(1, sizeof(*c));
    if (!c)
        return err_oom(err, "control socket");
    snprintf(c->path, sizeof(c->path), "%s", path);
    c->fd = -1;
    c->commands = commands;
    c->ctx = ctx;
    r = listen_at(c, err);
    if (r) {
        if (c->fd >= 0)
            close(c->fd);
        free(c);
        return r;
    }
    *ret_c = c;
    return ERR_OK;
}

int control_fd(const struct control *c)
{
    return c->fd;
}

void control_close(struct control *c)
{
    if (!c)
        return;
    atomic_store(&c->stopping, true);
    for (size_t i = 0; i < CONTROL_CLIENTS; i++) {
        if (atomic_load(&c->clients[i].state) == CLIENT_FREE)
            continue;
        shutdown(c->clients[i].fd, SHUT_RDWR);
        client_join(&c->clients[i]);
    }
    close(c->fd);
    unlink(c->path);
    free(c);
}
