#ifndef MMF_DAEMON_BASE_TABLE_H
#define MMF_DAEMON_BASE_TABLE_H

/* Records of a text file whose fields a separator parts, one after the other in constant memory.
 *
 * A tab parts fields as they are. Any other separator makes it CSV by RFC 4180: a field may stand in
 * quotation marks, holds separators and line ends then, and "" for a quotation mark. Lines end in LF
 * or CRLF; a UTF-8 BOM at the start is dropped. What contradicts that is refused with file:line:
 * UTF-16, a zero byte, a quotation mark in the middle of a field or one that is never closed, a record
 * of more than 64 KiB or 64 fields. Hostile input. */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TABLE_FIELDS_MAX   64
#define TABLE_RECORD_BYTES ((size_t)65536)

struct table_field {
    const char *text;
    bool quoted; /* CSV: it stood in quotation marks */
};

struct table {
    struct table_field field[TABLE_FIELDS_MAX]; /* (n_fields) of the record, until the next */
    size_t n_fields;
    int64_t line; /* the record's first, from 1 */
    const char *name;
    char separator;
    /* private */
    int fd;
    char *block, *record;
    size_t at, have, n_record;
    int64_t offset, next_line;
};

/* fd and name (for messages) are borrowed; reads by offset, from the start. table_close in any case
 * once this was ERR_OK. */
int table_open(int fd, const char *name, char separator, struct table *ret_t, struct err *err);
/* ERR_END after the last one. ERR_FATAL EX_DATAERR, ERR_RETRY EX_IOERR. An empty line is one empty
 * field. */
int table_next(struct table *t, struct err *err);
bool table_is_blank(const struct table *t);
/* To the first record again. */
void table_rewind(struct table *t);
void table_close(struct table *t);

/* "FILE:LINE: text", EX_DATAERR. */
int table_fault(const struct table *t, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* What separates the fields of a file of that name: a comma for *.csv, a tab else. */
char table_separator(const char *name);

#endif
