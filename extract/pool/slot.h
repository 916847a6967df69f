#ifndef MMF_EXTRACT_POOL_SLOT_H
#define MMF_EXTRACT_POOL_SLOT_H

/* One place in the pool: the worker that holds it, its job, and what is due next. The pool's
 * loop polls slot_events and calls slot_tick; everything about one worker's life is here.
 *
 *   DOWN ──spawn──► STARTING ──hello──► IDLE ◄──reply── BUSY
 *     ▲                 │                 │ ──send────►  │
 *     └──reap── DYING ◄─┴── fault, end of file, deadline, recycling
 *
 * A job stays with its slot: when the worker dies, the slot's next worker gets it once more, unless it
 * was CPU time that ended it, or most of it is spent. After that its text alone goes to a worker: a
 * media that nothing survives still leaves a row with the reason.
 * Fault of a worker → DYING with a cause; the pidfd tells when it is gone (a process in an
 * uninterruptible read outlives SIGKILL; meanwhile the other slots go on); reaping tells how.
 */

#include "extract/pool/nursery.h"
#include "extract/pool/pool.h"
#include "extract/wire/protocol.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum slot_state { SLOT_DOWN, SLOT_STARTING, SLOT_IDLE, SLOT_BUSY, SLOT_DYING };

/* Why a worker is DYING. */
enum slot_cause {
    SLOT_CAUSE_END,      /* its socket closed: its wait status tells */
    SLOT_CAUSE_DEADLINE, /* we killed it */
    SLOT_CAUSE_CPU,      /* it used more CPU time than a job may, and we killed it */
    SLOT_CAUSE_REPLY,    /* it broke the protocol and we killed it */
    SLOT_CAUSE_MEMORY,   /* it said that it has no memory left */
    SLOT_CAUSE_RECYCLE,  /* no fault */
};

struct slot_job {
    bool held;     /* between submit and the result's pick-up */
    bool finished; /* err and features hold the result */
    bool has_text;
    bool lost_media; /* given up: media_err says why, the text alone is tried */
    unsigned n_deaths, n_failed_starts; /* of workers while they held this job */
    uint64_t id;
    uint64_t seq;
    int media_fd; /* a duplicate of the caller's; -1 = text only */
    int64_t submitted_us, finished_us;
    int64_t cpu_us;         /* that its lost workers spent on it */
    unsigned char *request; /* PROTOCOL_REQUEST_BYTES_MAX, the slot's */
    size_t request_bytes;
    struct err err, media_err;
    struct features features;
};

/* What all slots of a pool share. */
struct slot_context {
    struct nursery nursery;
    struct pool_options options;
    struct pool_stats counters; /* the n_ fields that only grow */
    struct err start_err; /* why the last start of a worker failed; clear since one came up */
    unsigned n_failed_starts; /* since one came up */
    uint64_t next_seq;
    unsigned char *message; /* PROTOCOL_REPLY_BYTES_MAX + 1: one incoming message */
    struct protocol_reply reply;
};

struct slot {
    enum slot_state state;
    enum slot_cause cause;        /* DYING */
    struct nursery_worker worker; /* unless DOWN */
    clockid_t cpu_clock;
    uint32_t landlock_abi; /* by its hello; 0 = none */
    bool sandboxed;        /* seccomp is in force, by its hello */
    int64_t due_us; /* DOWN: spawn; STARTING: hello; BUSY: a look at its clocks; DYING: kill */
    int64_t dying_since_us;
    int64_t busy_since_us; /* BUSY */
    int64_t deadline_us;   /* BUSY */
    int64_t cpu_begin_us;  /* BUSY: of its worker, when it got the job */
    bool is_signalled;     /* BUSY: told to end with what there is */
    int64_t n_jobs;        /* done by this worker */
    unsigned n_failures;   /* deaths since the last job done */
    struct err err;        /* why the last start failed */
    bool is_leaving;       /* takes no further job, and its worker ends with the one it has */
    struct slot_job job;
};

int slot_init(struct slot *s, struct err *err);
/* Takes a job: text is copied, media_fd duplicated. The slot holds none and is IDLE. */
int slot_submit(struct slot *s, struct slot_context *c, const struct pool_job *job,
                struct err *err);
/* What to poll for; fd -1 = nothing. */
struct pollfd slot_events(const struct slot *s);
/* Serves what poll saw and what is due. */
void slot_tick(struct slot *s, struct slot_context *c, short revents, int64_t now_us);
/* When slot_tick should be called although nothing arrives; INT64_MAX = never. */
int64_t slot_due_us(const struct slot *s);
/* Moves the finished result out and frees the slot for the next job. */
void slot_take(struct slot *s, struct pool_result *ret_result);
/* Of a slot that is leaving: ends its worker when it has no job left. True when there is no worker any more:
 * slot_done may follow. */
bool slot_leave(struct slot *s, struct slot_context *c, int64_t now_us);
/* Kills the worker without waiting; slot_done then waits for it, at most a second. */
void slot_kill(struct slot *s);
void slot_done(struct slot *s, struct slot_context *c);

#endif
