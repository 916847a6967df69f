#include "daemon/base/table.h"

#include "config/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)1 << 16)

enum { END = -1, FAILED = -2 };

char table_separator(const char *name)
{
    size_t n = strlen(name);

    return n >= 4 && strcasecmp(name + n - 4, ".csv") == 0 ? ',' : '\t';
}

int table_fault(const struct table *t, struct err *err, const char *fmt, ...)
{
    char text[ERR_TEXT_BYTES];
    va_list ap;

    va_start(ap, fmt);
    text_vformat(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_fatal(err, EX_DATAERR, "%s:%" PRId64 ": %s", t->name, t->line, text);
}

int table_open(int fd, const char *name, char separator, struct table *ret_t, struct err *err)
{
    struct table t = {.fd = fd, .name = name, .separator = separator};

    t.block = malloc(BLOCK_BYTES);
    t.record = malloc(TABLE_RECORD_BYTES + 1);
    if (!t.block || !t.record) {
        table_close(&t);
        return err_oom(err, name);
    }
    table_rewind(&t);
    *ret_t = t;
    return ERR_OK;
}

void table_close(struct table *t)
{
    free(t->block);
    free(t->record);
    t->block = t->record = NULL;
}

void table_rewind(struct table *t)
{
    t->at = t->have = t->n_fields = 0;
    t->offset = 0;
    t->line = t->next_line = 1;
}

bool table_is_blank(const struct table *t)
{
    return t->n_fields == 1 && !t->field[0].text[0] && !t->field[0].quoted;
}

/* ---- bytes ---------------------------------------------------------------------------------- */

/* The next block; 0 = the file has ended, < 0 = it cannot be read. */
static ssize_t fill(struct table *t)
{
    ssize_t n;

    do
        n = pread(t->fd, t->block, BLOCK_BYTES, t->offset);
    while (n < 0 && errno == EINTR);
    t->at = 0;
    t->have = n > 0 ? (size_t)n : 0;
    t->offset += n > 0 ? n : 0;
    return n;
}

static int peek(struct table *t)
{
    if (t->at == t->have) {
        ssize_t n = fill(t);

        if (n <= 0)
            return n < 0 ? FAILED : END;
    }
    return (unsigned char)t->block[t->at];
}

static int take(struct table *t)
{
    int c = peek(t);

    if (c >= 0)
        t->at++;
    return c;
}

/* Drops the BOM of UTF-8; refuses those of UTF-16. */
static int read_bom(struct table *t, struct err *err)
{
    int c = peek(t);
    const unsigned char *b = (const unsigned char *)t->block;

    if (c == FAILED)
        return err_retry(err, EX_IOERR, "read %s: %s", t->name, strerror(errno));
    if (t->have >= 3 && memcmp(b, "\xef\xbb\xbf", 3) == 0)
        t->at = 3;
    if (t->have >= 2 && ((b[0] == 0xff && b[1] == 0xfe) || (b[0] == 0xfe && b[1] == 0xff)))
        return table_fault(t, err, "this is UTF-16: save the file as UTF-8");
    return ERR_OK;
}

/* ---- one record ----------------------------------------------------------------------------- */

static int add(struct table *t, int c, struct err *err)
{
    if (t->n_record == TABLE_RECORD_BYTES)
        return table_fault(
            t, err,
            "more than %zu bytes in one record: is a quotation mark never closed, "
            "or is this another kind of file?",
            TABLE_RECORD_BYTES);
    t->record[t->n_record++] = (char)c;
    return ERR_OK;
}

static int begin_field(struct table *t, bool quoted, struct err *err)
{
    if (t->n_fields == TABLE_FIELDS_MAX)
        return table_fault(t, err, "more than %d fields", TABLE_FIELDS_MAX);
    t->field[t->n_fields++] = (struct table_field){t->record + t->n_record, quoted};
    return ERR_OK;
}

/* What ends a field: *ret_c is the separator, '\n' or END; else that it does not. */
static bool is_field_end(struct table *t, int c, int *ret_c)
{
    if (c == '\r' && (peek(t) == '\n' || peek(t) == END))
        c = peek(t) == '\n' ? take(t) : END;
    *ret_c = c;
    return c == t->separator || c == '\n' || c == END;
}

static int check_byte(const struct table *t, int c, struct err *err)
{
    if (c == FAILED)
        return err_retry(err, EX_IOERR, "read %s: %s", t->name, strerror(errno));
    if (c == 0)
        return table_fault(t, err, "holds a zero byte: write text in UTF-8");
    return ERR_OK;
}

/* After the opening quotation mark; *ret_c is what ended the field. */
static int read_quoted(struct table *t, int *ret_c, struct err *err)
{
    for (;;) {
        int c = take(t), r = check_byte(t, c, err);

        if (r == ERR_OK && c == END)
            r = table_fault(t, err, "a quotation mark is never closed");
        if (r != ERR_OK)
            return r;
        t->next_line += c == '\n';
        if (c != '"') {
            r = add(t, c, err);
        } else if (peek(t) == '"') {
            r = add(t, take(t), err);
        } else {
            c = take(t);
            r = check_byte(t, c, err);
            if (r == ERR_OK && is_field_end(t, c, ret_c))
                return ERR_OK;
            if (r == ERR_OK)
                r = table_fault(t, err,
                                "text after a closing quotation mark: double the quotation "
                                "marks inside a quoted field");
        }
        if (r != ERR_OK)
            return r;
    }
}

static int read_plain(struct table *t, int c, int *ret_c, struct err *err)
{
    for (;; c = take(t)) {
        int r = check_byte(t, c, err);

        if (r != ERR_OK || is_field_end(t, c, ret_c))
            return r;
        if (c == '"' && t->separator != '\t')
            r = table_fault(t, err,
                            "a quotation mark inside a field: put the field in quotation marks "
                            "and double those inside");
        if (r == ERR_OK)
            r = add(t, c, err);
        if (r != ERR_OK)
            return r;
    }
}

/* *ret_c: what ended it. */
static int read_field(struct table *t, int *ret_c, struct err *err)
{
    int c = take(t);
    bool quoted = c == '"' && t->separator != '\t';
    int r = begin_field(t, quoted, err);

    if (r == ERR_OK)
        r = quoted ? read_quoted(t, ret_c, err) : read_plain(t, c, ret_c, err);
    return r == ERR_OK ? add(t, '\0', err) : r;
}

int table_next(struct table *t, struct err *err)
{
    int c = 0, r = t->offset == 0 ? read_bom(t, err) : ERR_OK;

    if (r != ERR_OK)
        return r;
    t->line = t->next_line;
    t->n_fields = t->n_record = 0;
    if (peek(t) == END)
        return ERR_END;
    do
        r = read_field(t, &c, err);
    while (r == ERR_OK && c == t->separator);
    t->next_line += c == '\n';
    return r;
}
