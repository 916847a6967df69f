#ifndef MMF_DAEMON_BASE_INTERACTION_FILE_H
#define MMF_DAEMON_BASE_INTERACTION_FILE_H

/* Interactions in a file of one record a line (table.h). Which column is what is said, never guessed:
 *
 *   --columns        "user_id,item_id,-,weight": every column by name, "-" = not read
 *   a header line    a first line that names a user's and an item's column
 *   neither          user, item and, if there is a third column, the time
 *
 * Names, whatever their case, blanks, "_" and "-": user_id, user; item_id, item, video_id, video;
 * kind; weight, rating; ts, timestamp, time. A column of another name is not read, and `unread` says so.
 * A first line that names one of the two only is refused, unless --columns says what it is.
 *
 * A time is a number since 1970: seconds below 1e11, milliseconds below 1e14, microseconds below
 * 1e17; or a text that `parse_time` takes. In a third column that nobody has named a number must be from
 * 1e8 (March 1973) on: what is smaller may be a rating, and is refused. Blanks at the ends of a field that
 * is not quoted are refused, and in a file with tabs a quotation mark at the beginning of one. Empty lines
 * are left out.
 *
 * Errors as table.h; one that the bytes are at fault for says what to do. */

#include "daemon/base/table.h"

enum interaction_column {
    INTERACTION_USER,
    INTERACTION_ITEM,
    INTERACTION_KIND,
    INTERACTION_WEIGHT,
    INTERACTION_TS,
    INTERACTION_COLUMNS
};

struct interaction_file {
    struct table table;
    int at[INTERACTION_COLUMNS]; /* a column's place, -1 = there is none */
    size_t n_columns;            /* that each record has; 0 = two or three */
    char unread[256];  /* names of the header's columns that are not read, "" = none */
    int64_t n_records; /* read so far, header and empty ones too */
    int64_t n_header, n_blank;
    /* Texts that are times, NULL = there are none; may be set after interaction_file_open. */
    bool (*parse_time)(const char *text, int64_t *ret_us);
    const char *columns;
    bool is_begun; /* its first record with data, or its header, has been read */
};

/* columns NULL = none given (EX_USAGE for bad ones); separator 0 = by the name. fd, name and columns
 * are borrowed. */
int interaction_file_open(int fd, const char *name, const char *columns, char separator,
                          struct interaction_file *ret_f, struct err *err);

struct interaction_row {
    const char *user, *item, *kind; /* until the next row; kind NULL = not given */
    double weight;                  /* 1 = not given */
    int64_t ts_us;                  /* INT64_MIN = not given */
    int64_t record; /* its place in the file, from 0, header and empty lines counted */
};
/* ERR_END after the last one. */
int interaction_file_next(struct interaction_file *f, struct interaction_row *ret_row,
                          struct err *err);
/* From the first record again. */
int interaction_file_rewind(struct interaction_file *f, struct err *err);
void interaction_file_close(struct interaction_file *f);

/* The refusals of an id, for files of ids too: what is wrong with a field, NULL = nothing. */
const char *interaction_file_id_fault(const struct table *t, const struct table_field *field);
/* Whether a text names that column. */
bool interaction_file_is_named(const char *text, enum interaction_column column);

#endif
