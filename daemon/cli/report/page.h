#ifndef MMF_DAEMON_CLI_REPORT_PAGE_H
#define MMF_DAEMON_CLI_REPORT_PAGE_H

/* Between the files of the report's page: html.c (parts), page.c (frame, modalities, latency, losses),
 * models.c (quality, learning curve, history, map). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json_t;

double report_real(const struct json_t *object, const char *name); /* NAN = none */

void report_open(FILE *out, const char *heading, bool wide);
void report_empty(FILE *out, const char *sentence);
/* folded: inside a <details>. columns: the header's cells. */
void report_table_open(FILE *out, bool folded, const char *columns);
void report_table_close(FILE *out, bool folded);
void report_cell(FILE *out, const char *style, const char *text);
/* format: how many decimals, "4", "1" or "0". */
void report_cell_real(FILE *out, const char *format, double v);

void report_print_quality(FILE *out, const struct json_t *report);
void report_print_curve(FILE *out, const struct json_t *report);
void report_print_history(FILE *out, const struct json_t *report);
void report_print_map(FILE *out, const struct json_t *report);

#endif
