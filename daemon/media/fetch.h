#ifndef MMF_DAEMON_MEDIA_FETCH_H
#define MMF_DAEMON_MEDIA_FETCH_H

/* Opens media on threads of its own, so that a medium that takes seconds, or never answers, holds
 * back nothing but itself.
 *
 *   fetch_submit ─► one of FETCH_THREADS: media_open ─► fetch_fd is readable ─► fetch_take
 *
 * There is no queue: a request is for a thread that is idle, and the caller keeps what waits.
 * Results come in the order in which they are done.
 *
 * Nothing bounds the time of one request but its scheme: where a network file system hangs, the
 * thread hangs in the kernel, and cannot be ended before the kernel lets go. A request therefore
 * owns copies of all that its thread reads, and fetch_close leaves such a thread behind: it closes
 * what it may still open and frees its part when it comes back, or ends with the process.
 *
 * Thread: one, the caller's, for all calls. */

#include "config/err.h"
#include "daemon/media/media_open.h"

#include <stdbool.h>
#include <stdint.h>

/* A fetch over a network is to take about a second, and two cores describe up to 16 clips a second
 * (720p, 15 s). A thread that waits costs its stack's first pages. */
#define FETCH_THREADS 16
/* fetch_close waits for so long; a file that is at hand is opened in microseconds. */
#define FETCH_CLOSE_MS 1000

struct fetch;

struct fetch_result {
    uint64_t id;
    int fd;         /* O_RDONLY | O_CLOEXEC, the caller's to close; -1 unless err is ERR_OK */
    struct err err; /* as of media_open */
};

/* Starts the threads. ERR_RETRY with EX_OSERR. */
int fetch_open(struct fetch **ret_f, struct err *err);
/* Requests that may be submitted now. */
unsigned fetch_n_idle(const struct fetch *f);
/* A thread is idle. id is the caller's, returned in the result; roots and uri are copied. ERR_RETRY
 * with EX_OSERR when memory is out. */
int fetch_submit(struct fetch *f, uint64_t id, const struct media_roots *roots, const char *uri,
                 struct err *err);
/* Readable while there is a result. */
int fetch_fd(const struct fetch *f);
/* False when there is none. */
bool fetch_take(struct fetch *f, struct fetch_result *ret_result);
/* Closes what was not taken. Returns how many threads hang and were left behind. Takes NULL. */
unsigned fetch_close(struct fetch *f);

#endif
