#ifndef MMF_DAEMON_BASE_SERIES_H
#define MMF_DAEMON_BASE_SERIES_H

/* Prometheus' text format 0.0.4, as metrics.c and vitals.c write it, read back: what top shows.
 *
 * Example: of "metammf_items_total{result=\"stored\"} 12" the name is metammf_items_total, the
 * labels result="stored". */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>

struct series_line {
    char *name, *labels; /* labels without braces, "" = none */
    double value;
};

struct series {
    char *text; /* what the lines point into */
    struct series_line *lines;
    size_t n;
};

/* ERR_FATAL EX_DATAERR for a line that is none. */
int series_parse(const char *text, struct series *ret_s, struct err *err);
void series_done(struct series *s);

/* The sum of the lines with this name and, unless NULL, exactly these labels; 0 without one. */
double series_sum(const struct series *s, const char *name, const char *labels);
/* Copies the value of a label out of a line; false when it has none of that name. */
bool series_label(const struct series_line *line, const char *label, char *ret_value,
                  size_t bytes);
/* A quantile of what a histogram has counted since `before` (a zeroed struct = since the start),
 * linear within a bucket; the highest bound for what lies above it; -1 when nothing was counted.
 * labels as "stage=\"extract\"", "" = none. *ret_n is how many were counted. */
double series_quantile(const struct series *now, const struct series *before, const char *name,
                       const char *labels, double q, double *ret_n);

#endif
