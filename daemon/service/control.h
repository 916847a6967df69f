#ifndef MMF_DAEMON_SERVICE_CONTROL_H
#define MMF_DAEMON_SERVICE_CONTROL_H

/* The control socket: AF_UNIX SOCK_SEQPACKET, one JSON object a packet, at most 64 KiB.
 *
 *   → {"command": "ingest", "media_root": "/srv/media"}   + open files by SCM_RIGHTS, at most 10
 *   ← {"progress": {"done": 40, "total": 120}}            any number of these
 *   ← {"ok": true, "result": {…}}                         or
 *   ← {"ok": false, "error": "…", "exit_code": 65}        sysexits, for the caller to exit with
 *
 * A connection may send one request after the other. Who may connect is the socket's mode,
 * 0660, and its group; each command is logged with the peer's uid, gid and pid.
 *
 * A peer gains no rights over files: what it wants read it opens and hands over, and the daemon reads
 * that descriptor (control_file). What would be opened or written by name, and so with the daemon's
 * rights, is for root and the daemon's own user (control_is_owner).
 *
 * Threads: the owner accepts on its own thread when control_fd is readable; each client, at
 * most 8, gets a thread on which the handlers run, so a slow command holds up nobody else. */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define CONTROL_PACKET_BYTES ((size_t)64 * 1024)
/* Even: CMSG_SPACE rounds up, and the kernel would fill that room too. */
#define CONTROL_FDS_MAX 10

struct json_t;
struct control;

/* One request being served; the handler's thread. */
struct control_call {
    void *ctx;           /* as given to control_open */
    struct json_t *args; /* the request; borrowed */
    const int *fds;      /* (n_fds) the descriptors that came along; borrowed */
    size_t n_fds;
    uid_t uid; /* the peer's */
    int connection;
    struct control *control;
};

struct control_command {
    const char *name;
    /* ERR_OK with *ret_result (a new reference; NULL = null), or an error for the peer. */
    int (*serve)(struct control_call *call, struct json_t **ret_result, struct err *err);
};

/* Takes over a socket file that nobody listens on; ERR_FATAL EX_TEMPFAIL when somebody does.
 * commands ends with a NULL name and is borrowed. */
int control_open(const char *path, const struct control_command *commands, void *ctx,
                 struct control **ret_c, struct err *err);
int control_fd(const struct control *c);
/* Takes every waiting connection. False when one has to wait on for want of descriptors or memory: the
 * socket stays readable, so do not poll it for a while. */
bool control_accept(struct control *c);
/* Sends {"progress": progress} and drops the reference. False when the peer has gone or the
 * daemon is stopping: the handler may give up. */
bool control_progress(struct control_call *call, struct json_t *progress);
/* A string of the request, NULL when absent or of another type. */
const char *control_string(const struct control_call *call, const char *name);
/* The i-th file that came along, borrowed: a regular one that is open for reading, see infile.h. Read
 * it by offset: the peer has it too. `what` is for messages. */
int control_file(const struct control_call *call, size_t i, const char *what, int *ret_fd,
                 struct err *err);
/* Whether the peer is root or the daemon's own user, who could do it without the daemon. */
bool control_is_owner(const struct control_call *call);
/* Hangs up on everybody, waits for the handlers, removes the socket file. Takes NULL. */
void control_close(struct control *c);

#endif
