#ifndef MMF_DAEMON_BASE_TSV_H
#define MMF_DAEMON_BASE_TSV_H

/* Text files of one record a line: ids, and pairs "user TAB item [TAB seconds since 1970]" (a
 * comma instead of the tab in a file named *.csv). Errors are ERR_FATAL with EX_DATAERR and
 * file:line, EX_NOINPUT for a missing file. */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tsv {
    char *text;
    char **line; /* (n) without line ends; a last empty one does not count */
    size_t n;
};
int tsv_read(const char *path, struct tsv *ret_t, struct err *err);
void tsv_done(struct tsv *t);

/* A usable id (ids.h) in valid UTF-8. */
bool tsv_is_id(const char *s);

struct tsv_pair {
    const char *user, *item; /* into the text */
    double seconds;          /* NaN = not given */
};
/* Cuts every line in place; *ret_pairs (t->n) malloc'ed. */
int tsv_cut_pairs(struct tsv *t, const char *path, struct tsv_pair **ret_pairs,
                  struct err *err);

/* Rows by name: names (n) are borrowed. */
struct tsv_index {
    struct tsv_name {
        const char *name;
        uint32_t row;
    } * sorted;
    size_t n;
};
int tsv_index_new(char *const *names, size_t n, struct tsv_index *ret_x, struct err *err);
uint32_t tsv_index_find(const struct tsv_index *x, const char *name); /* UINT32_MAX = none */
void tsv_index_done(struct tsv_index *x);

#endif
