#ifndef MMF_DAEMON_RETRAIN_CHILD_H
#define MMF_DAEMON_RETRAIN_CHILD_H

/* A child process that may crash, hang or eat memory, and then costs its caller one error: the
 * trainer, and the judge after it. It has its own process group, a nice value, limits of address
 * space and CPU, no descriptor but standard ones, and dies with the thread that started it.
 *
 * Any line that it prints is its heartbeat. A child that is silent for heartbeat_ms, or runs for
 * longer than deadline_ms, is killed with its group. Its lines, of both streams, go to line(); the
 * last one of standard error becomes the error's text. */

#include "config/err.h"

#include <stdbool.h>
#include <stdint.h>

enum trainer_end {
    TRAINER_DONE,   /* exit status 0 */
    TRAINER_FAILED, /* another exit status */
    TRAINER_CRASHED,
    TRAINER_HUNG,
    TRAINER_LATE,
    TRAINER_STOPPED /* asked for by stop_fd */
};

struct trainer_options {
    const char *const *argv; /* argv[0] = the program's path; ends with NULL */
    int nice;
    int64_t threads;
    int64_t memory_bytes, cpu_seconds; /* 0 = no limit of ours */
    int64_t heartbeat_ms, deadline_ms;
    int stop_fd; /* readable = kill it; -1 = none */
    /* Called on the caller's thread with each line, without its end; NULL = nobody listens. */
    void (*line)(void *arg, const char *line);
    void (*tick)(void *arg); /* at least once a second; NULL = none */
    void *arg;
};

/* Starts it, waits for its end. ERR_OK = TRAINER_DONE; otherwise ERR_RETRY with what happened in
 * err, and *ret_end tells which. */
int trainer_run(const struct trainer_options *o, enum trainer_end *ret_end, struct err *err);
/* "done", "failed", "crashed", "hung", "late", "stopped" */
const char *trainer_end_name(enum trainer_end end);

#endif
