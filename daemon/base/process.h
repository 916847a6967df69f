#ifndef MMF_DAEMON_BASE_PROCESS_H
#define MMF_DAEMON_BASE_PROCESS_H

/* What the system knows of this process, under the names that Prometheus' client libraries give it:
 * process_resident_memory_bytes, process_open_fds, …. Workers and trainers are processes of their
 * own and are not in it. What cannot be read is NaN. */

#include <stdint.h>
#include <stdio.h>

/* started_us: wall clock. Any thread. */
void process_metrics(FILE *out, int64_t started_us);

#endif
