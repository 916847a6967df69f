#ifndef MMF_DAEMON_CLI_REPORT_REPORT_H
#define MMF_DAEMON_CLI_REPORT_REPORT_H

/* `metammf report`: one page about a store, as of now.
 *
 *   report_gather   store → one JSON object (what --json prints)       data.c
 *   report_page     object → a self-contained page                      page.c
 *   report_plot_*   figures → inline SVG                                plot.c
 *
 * The page needs no script and nothing from elsewhere: style and drawings are inside, and its
 * Content-Security-Policy forbids the rest. Each drawing has its numbers in a table beside it.
 * Everything that comes from outside (ids, topics, reasons) goes through report_text. */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct cli;
struct json_t;
struct store;

#define REPORT_MAP_ITEMS        1000   /* on the map of embeddings */
#define REPORT_ABLATED_ITEMS    200    /* for the modalities' contributions */
#define REPORT_MODELS           500    /* of the history */
#define REPORT_LATENCIES        100000 /* of the newest items */
#define REPORT_LATENCY_BINS_MAX 32

/* *ret: {generated_us, version, store, counts, active_model, models, curve, map, contributions,
 * latency, dead_letters, offsets, gaps}; what the store has nothing for is null or empty. */
int report_gather(struct cli *cli, struct store *st, struct json_t **ret, struct err *err);
void report_page(FILE *out, const struct json_t *report);

/* ---- html.c ------------------------------------------------------------------------ */

/* Text as the content or a quoted attribute of an element: & < > " ' escaped, control characters
 * as spaces. */
void report_text(FILE *out, const char *text);
void report_head(FILE *out, const char *title); /* up to <body> */

/* ---- plot.c ------------------------------------------------------------------------ */

struct report_series {
    const char *name;
    const char *style;  /* a class of the style sheet */
    const double *y;    /* (n) NAN = no value */
    const bool *hollow; /* (n) drawn as a ring and left out of the line; NULL = none */
};

struct report_lines {
    const char *id, *title, *about; /* for people who do not see it: about */
    const char *x_label, *y_label;
    const double *x; /* (n) */
    size_t n;
    const struct report_series *series;
    size_t n_series;
    double height;  /* of a drawing 520 wide */
    bool from_zero; /* the y axis begins at 0 */
    bool whole_x;   /* ticks at whole numbers only */
};
void report_plot_lines(FILE *out, const struct report_lines *p);

struct report_bar {
    const char *name, *style, *note; /* note: what stands behind the bar */
    double value;
};
/* Horizontal, from 0 to the largest value or to `full` when that is more. */
void report_plot_bars(FILE *out, const char *id, const char *title, const char *about,
                      const struct report_bar *bars, size_t n, double full);

struct report_bin {
    const char *name; /* under it; "" = none */
    double n;
};
struct report_mark {
    const char *name;
    double at; /* in bins from the left */
};
void report_plot_histogram(FILE *out, const char *id, const char *title, const char *about,
                           const struct report_bin *bins, size_t n_bins,
                           const struct report_mark *marks, size_t n_marks);

struct report_point {
    const char *name;
    double x, y;
    bool cold;
};
void report_plot_map(FILE *out, const char *id, const char *title, const char *about,
                     const struct report_point *points, size_t n);

#endif
