#ifndef MMF_DAEMON_BASE_PROGRESS_H
#define MMF_DAEMON_BASE_PROGRESS_H

/* Progress of long work: a bar with rate and time left, redrawn in place on a terminal; a plain
 * line every few seconds elsewhere, so that a log file stays readable. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
    FILE *out; /* NULL = say nothing */
    const char *label;
    int64_t total; /* 0 = unknown */
    bool is_terminal, drawn;
    int64_t started_us, drawn_us; /* monotonic */
};

/* label is borrowed. On a terminal when isatty(out) says so. */
void progress_start(struct progress *p, FILE *out, const char *label, int64_t total);
/* Draws at most ten times a second (terminal) or every 5 s. note: why nothing moves, NULL or ""
 * = it does. */
void progress_update(struct progress *p, int64_t done, const char *note);
/* Draws the last state and ends the line. */
void progress_end(struct progress *p, int64_t done);
/* "ingest [######........] 40/120  33 %  12.0/s  0:07 left" */
void progress_format(const char *label, int64_t done, int64_t total, int64_t elapsed_us,
                     const char *note, char *ret_line, size_t bytes);

#endif
