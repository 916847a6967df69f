#ifndef MMF_EXTRACT_WORKER_SANDBOX_H
#define MMF_EXTRACT_WORKER_SANDBOX_H

/* Locks the calling process in, for good. Order: no new privileges, not dumpable; rlimits;
 * Landlock, which denies every path (best effort, by the kernel's ABI); seccomp last, default
 * kill. What is left: read and map what is open, answer on one socket, memory, the clock. The
 * system calls and what each is for stand in sandbox.c; why, in
 * docs/design/extract/111-walls-of-a-worker.md.
 *
 * The process must have one thread. Everything that opens files (time zone, code tables) comes
 * before. */

#include "config/err.h"
#include "extract/wire/protocol.h"

#include <stdbool.h>
#include <stdint.h>

struct sandbox_options {
    int64_t address_space_bytes, cpu_seconds;
    bool require_seccomp; /* otherwise a kernel without it gives PROTOCOL_FILTER_NONE */
    int socket_fd;        /* the only descriptor that may be written to */
};

struct sandbox_report {
    enum protocol_filter filter;
    uint32_t landlock_abi;
};

/* ERR_FATAL: the process must not touch media. */
int sandbox_enter(const struct sandbox_options *options, struct sandbox_report *ret_report,
                  struct err *err);

#endif
