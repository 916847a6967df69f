#ifndef MMF_EXTRACT_POOL_NURSERY_H
#define MMF_EXTRACT_POOL_NURSERY_H

/* The daemon's end of the process that forks workers (`metammf-extract --pool`): starts it, hears
 * which encoders it has, asks it for a worker, asks it to collect a dead one. A worker's pid is not reused before
 * nursery_reap, so that prlimit and the CPU clock by pid are safe until then. The process dies
 * when the thread that started it ends (PDEATHSIG), and takes its workers with it. */

#include "config/err.h"
#include "extract/wire/protocol.h"

#include <sys/types.h>

struct nursery {
    const char *path;               /* metammf-extract, the pool's */
    char *const *argv;              /* its arguments, NULL at the end; the pool's */
    struct protocol_control config; /* kind CONFIGURE */
    int64_t start_ms;               /* how long a start may take */
    void (*waiting)(void);          /* called while it is waited for; NULL = nobody listens */
    struct encoder_identity
        encoders[MODALITY_COUNT]; /* as the first one announced; dim 0 before */
    bool changed;                 /* a later one announced others: it was ended */
    pid_t pid;                    /* 0 = none runs */
    int pidfd, sock;              /* -1 */
    bool was_killed;              /* the last one, and not by us */
    unsigned generation;          /* counts the processes started */
    int64_t not_before_us;        /* of the next start, after one that failed */
    struct err start_err;         /* of that */
};

struct nursery_worker {
    pid_t pid;
    int pidfd, sock; /* the caller's to close */
    unsigned generation;
};

void nursery_init(struct nursery *n, const char *path, char *const *argv, int64_t start_ms,
                  void (*waiting)(void), const struct protocol_control *config);
/* Executes the process and waits until its encoders are warm and announced. ERR_FATAL with
 * EX_CONFIG when it cannot be executed or refuses; with EX_OSERR when it is too slow, or for want of
 * memory, descriptors or processes, which may pass; with EX_TEMPFAIL when it has other encoders than
 * the first one. */
int nursery_start(struct nursery *n, struct err *err);
/* Starts the process first when none runs; after a start that failed, not before as much time has
 * passed as that took, lest one that hangs is waited for by each worker's turn. ERR_RETRY; ERR_FATAL
 * with EX_TEMPFAIL when that came back with other encoders. */
int nursery_spawn(struct nursery *n, struct nursery_worker *ret_worker, struct err *err);
/* Wait status of a worker whose pidfd is readable, -1 when nobody knows any more. */
int nursery_reap(struct nursery *n, const struct nursery_worker *worker);
/* Ends the process and waits for it. */
void nursery_stop(struct nursery *n);

#endif
