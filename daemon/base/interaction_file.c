#include "daemon/base/interaction_file.h"

#include "config/text.h"
#include "daemon/base/ids.h"
#include "daemon/base/tsv.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define KIND_BYTES_MAX  64
#define WEIGHT_MAX      1e6
#define TIME_UNSAID_MIN 1e8 /* seconds; a smaller number may be a rating or a duration */

static const struct name {
    const char *name; /* small letters and digits only */
    enum interaction_column column;
} names[] = {
    {"userid", INTERACTION_USER},   {"user", INTERACTION_USER},
    {"itemid", INTERACTION_ITEM},   {"item", INTERACTION_ITEM},
    {"videoid", INTERACTION_ITEM},  {"video", INTERACTION_ITEM},
    {"kind", INTERACTION_KIND},     {"weight", INTERACTION_WEIGHT},
    {"rating", INTERACTION_WEIGHT}, {"ts", INTERACTION_TS},
    {"timestamp", INTERACTION_TS},  {"time", INTERACTION_TS},
};

#define KNOWN "user_id, item_id, kind, weight, ts"

/* ---- which column is what -------------------------------------------------------------------- */

/* INTERACTION_COLUMNS for a name of none. */
static enum interaction_column column_named(const char *text)
{
    char plain[16];
    size_t n = 0;

    for (const char *c = text; *c; c++) {
        if (*c == '_' || *c == '-' || *c == ' ')
            continue;
        if (n == sizeof plain - 1)
            return INTERACTION_COLUMNS;
        plain[n++] = (char)tolower((unsigned char)*c);
    }
    plain[n] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(plain, names[i].name) == 0)
            return names[i].column;
    return INTERACTION_COLUMNS;
}

bool interaction_file_is_named(const char *text, enum interaction_column column)
{
    return column_named(text) == column;
}

/* *ret_twice: the place of that name is taken already. */
static void place(struct interaction_file *f, enum interaction_column column, size_t at,
                  bool *ret_twice)
{
    if (f->at[column] >= 0)
        *ret_twice = true;
    else
        f->at[column] = (int)at;
}

static int bad_columns(struct err *err, const char *what)
{
    return err_fatal(
        err, EX_USAGE,
        "--columns: %s: name every column of the file once, in its order, of " KNOWN
        "; \"-\" for one that is not to be read",
        what);
}

static int read_option(struct interaction_file *f, const char *columns, struct err *err)
{
    const char *at = columns;
    bool twice = false;

    for (;;) {
        size_t n = strcspn(at, ",");
        char name[32];

        if (f->n_columns == TABLE_FIELDS_MAX)
            return bad_columns(err, "too many");
        snprintf(name, sizeof name, "%.*s", (int)(n < 31 ? n : 31), at);
        enum interaction_column c = column_named(name);
        if (c == INTERACTION_COLUMNS && strcmp(name, "-") != 0)
            return bad_columns(err, name[0] ? name : "an empty name");
        if (c != INTERACTION_COLUMNS)
            place(f, c, f->n_columns, &twice);
        f->n_columns++;
        if (!at[n])
            break;
        at += n + 1;
    }
    if (twice)
        return bad_columns(err, "one name twice");
    return f->at[INTERACTION_USER] >= 0 && f->at[INTERACTION_ITEM] >= 0
               ? ERR_OK
               : bad_columns(err, "no user_id or no item_id");
}

/* Whether the record names columns of users and of items. */
static void look_for_names(const struct table *t, bool *ret_user, bool *ret_item)
{
    *ret_user = *ret_item = false;
    for (size_t i = 0; i < t->n_fields; i++) {
        *ret_user |= column_named(t->field[i].text) == INTERACTION_USER;
        *ret_item |= column_named(t->field[i].text) == INTERACTION_ITEM;
    }
}

static void note_unread(struct interaction_file *f, const char *name)
{
    size_t n = strlen(f->unread);

    text_format(f->unread + n, sizeof f->unread - n, "%s%s", n ? ", " : "", name);
}

static int read_header(struct interaction_file *f, struct err *err)
{
    const struct table *t = &f->table;
    bool twice = false;

    f->n_columns = t->n_fields;
    for (size_t i = 0; i < t->n_fields; i++) {
        enum interaction_column c = column_named(t->field[i].text);

        if (c != INTERACTION_COLUMNS)
            place(f, c, i, &twice);
        else
            note_unread(f, t->field[i].text);
    }
    if (twice)
        return table_fault(t, err,
                           "this header names one column twice: say with --columns which is "
                           "which, e.g. --columns user_id,item_id,-");
    return ERR_OK;
}

/* The first record: a header, half a header, or data; *ret_header whether it is to be left out. */
static int first_record(struct interaction_file *f, bool *ret_header, struct err *err)
{
    bool user, item;

    look_for_names(&f->table, &user, &item);
    *ret_header = user && item;
    if (f->n_columns)
        return ERR_OK; /* --columns */
    if (user && item)
        return read_header(f, err);
    if (user || item)
        return table_fault(&f->table, err,
                           "this looks like a header that names no %s: call the column %s, or "
                           "name every column with --columns, e.g. --columns user_id,item_id",
                           user ? "item" : "user", user ? "item_id" : "user_id");
    f->at[INTERACTION_USER] = 0;
    f->at[INTERACTION_ITEM] = 1;
    f->at[INTERACTION_TS] = 2;
    return ERR_OK;
}

/* ---- one row --------------------------------------------------------------------------------- */

/* A space, a tab, or a no-break space, as office programs write. */
static bool has_blank_ends(const char *s)
{
    static const char no_break[] = "\xc2\xa0";
    size_t n = strlen(s);

    if (n == 0)
        return false;
    return strchr(" \t", s[0]) || strchr(" \t", s[n - 1]) || strncmp(s, no_break, 2) == 0 ||
           (n >= 2 && strcmp(s + n - 2, no_break) == 0);
}

/* What is wrong with the bytes of a field, whatever it is for. */
static const char *field_fault(const struct table *t, const struct table_field *field)
{
    if (!field->quoted && has_blank_ends(field->text))
        return "begins or ends with a blank: remove it";
    if (t->separator == '\t' && field->text[0] == '"')
        return "begins with a quotation mark, which means nothing in a file of tabs: remove "
               "the quotation marks, or name the file .csv or say --separator comma if that is "
               "what it is";
    return NULL;
}

const char *interaction_file_id_fault(const struct table *t, const struct table_field *field)
{
    const char *fault = field_fault(t, field);

    if (fault)
        return fault;
    if (!field->text[0])
        return "is empty";
    return tsv_is_id(field->text)
               ? NULL
               : "is not an id in UTF-8 of 1 to 256 bytes without control characters";
}

static const char *separator_name(char separator)
{
    return separator == '\t' ? "tabs" : separator == ',' ? "commas" : "semicolons";
}

static int check_count(const struct interaction_file *f, struct err *err)
{
    const struct table *t = &f->table;

    if (f->n_columns && t->n_fields != f->n_columns)
        return table_fault(t, err, "%zu fields parted by %s where %zu columns are named",
                           t->n_fields, separator_name(t->separator), f->n_columns);
    if (!f->n_columns && t->n_fields < 2)
        return table_fault(
            t, err,
            "expected a user and an item, parted by %s: is the separator another? "
            "See --separator",
            separator_name(t->separator));
    if (!f->n_columns && t->n_fields > 3)
        return table_fault(t, err,
                           "%zu columns and no header: name them, e.g. --columns "
                           "user_id,item_id,weight,ts",
                           t->n_fields);
    return ERR_OK;
}

static const struct table_field *field_of(const struct interaction_file *f,
                                          enum interaction_column column)
{
    int at = f->at[column];

    return at >= 0 && (size_t)at < f->table.n_fields ? &f->table.field[at] : NULL;
}

static int read_id(const struct interaction_file *f, enum interaction_column column,
                   const char **ret_id, struct err *err)
{
    const struct table_field *field = field_of(f, column);
    const char *fault = interaction_file_id_fault(&f->table, field);

    if (fault)
        return table_fault(&f->table, err, "the %s \"%.64s\" %s",
                           column == INTERACTION_USER ? "user" : "item", field->text, fault);
    *ret_id = field->text;
    return ERR_OK;
}

/* Digits with a sign, a point, an exponent: neither "nan" nor "0x1f". */
static bool is_number(const char *text, double *ret_number)
{
    char *end;

    if (!text[0] || strspn(text, "0123456789.+-eE") != strlen(text))
        return false;
    *ret_number = strtod(text, &end);
    return *end == '\0' && end != text && isfinite(*ret_number);
}

static int read_kind(const struct interaction_file *f, const char **ret_kind, struct err *err)
{
    const struct table_field *field = field_of(f, INTERACTION_KIND);

    *ret_kind = NULL;
    if (!field || !field->text[0])
        return ERR_OK;
    if (!id_is_word(field->text) || strlen(field->text) > KIND_BYTES_MAX)
        return table_fault(&f->table, err,
                           "the kind \"%.64s\" is not a word of letters, digits, \"-\", \"_\" "
                           "and \".\" of 1 to %d bytes, such as \"watch\"",
                           field->text, KIND_BYTES_MAX);
    *ret_kind = field->text;
    return ERR_OK;
}

static int read_weight(const struct interaction_file *f, double *ret_weight, struct err *err)
{
    const struct table_field *field = field_of(f, INTERACTION_WEIGHT);

    *ret_weight = 1;
    if (!field || !field->text[0])
        return ERR_OK;
    if (!is_number(field->text, ret_weight) || fabs(*ret_weight) > WEIGHT_MAX)
        return table_fault(&f->table, err,
                           "the weight \"%.64s\" is not a number from -1e6 to 1e6",
                           field->text);
    return ERR_OK;
}

static int read_time(const struct interaction_file *f, int64_t *ret_us, struct err *err)
{
    const struct table_field *field = field_of(f, INTERACTION_TS);
    double x = 0;

    *ret_us = INT64_MIN;
    if (!field || !field->text[0])
        return ERR_OK;
    bool number = is_number(field->text, &x);
    if (!number && f->parse_time && f->parse_time(field->text, ret_us))
        return ERR_OK;
    if (!f->n_columns && (!number || x < TIME_UNSAID_MIN || x >= 1e17))
        return table_fault(
            &f->table, err,
            "the third column has no name, and \"%.64s\" is not a time since "
            "1970: name the columns, e.g. --columns user_id,item_id,weight, or by "
            "a header line",
            field->text);
    if (!number || x < 0 || x >= 1e17)
        return table_fault(&f->table, err,
                           "the time \"%.64s\" is neither a number of seconds, milliseconds or "
                           "microseconds since 1970 nor like 2026-01-02T03:04:05Z",
                           field->text);
    *ret_us = (int64_t)(x < 1e11 ? x * 1e6 : x < 1e14 ? x * 1e3 : x);
    return ERR_OK;
}

static int read_row(struct interaction_file *f, struct interaction_row *row, struct err *err)
{
    int r = check_count(f, err);

    if (r == ERR_OK)
        r = read_id(f, INTERACTION_USER, &row->user, err);
    if (r == ERR_OK)
        r = read_id(f, INTERACTION_ITEM, &row->item, err);
    if (r == ERR_OK)
        r = read_kind(f, &row->kind, err);
    if (r == ERR_OK)
        r = read_weight(f, &row->weight, err);
    return r == ERR_OK ? read_time(f, &row->ts_us, err) : r;
}

/* ---- the file -------------------------------------------------------------------------------- */

int interaction_file_open(int fd, const char *name, const char *columns, char separator,
                          struct interaction_file *ret_f, struct err *err)
{
    struct interaction_file f = {.columns = columns};
    int r = interaction_file_rewind(&f, err);

    if (r == ERR_OK)
        r = table_open(fd, name, separator ? separator : table_separator(name), &f.table, err);
    if (r == ERR_OK)
        *ret_f = f;
    return r;
}

int interaction_file_rewind(struct interaction_file *f, struct err *err)
{
    table_rewind(&f->table);
    f->n_records = f->n_header = f->n_blank = 0;
    f->n_columns = 0;
    f->unread[0] = '\0';
    f->is_begun = false;
    for (int c = 0; c < INTERACTION_COLUMNS; c++)
        f->at[c] = -1;
    return f->columns ? read_option(f, f->columns, err) : ERR_OK;
}

/* The next record with data. */
static int next_record(struct interaction_file *f, struct err *err)
{
    for (;;) {
        bool header = false;
        int r = table_next(&f->table, err);

        if (r != ERR_OK)
            return r;
        f->n_records++;
        if (table_is_blank(&f->table)) {
            f->n_blank++;
            continue;
        }
        if (!f->is_begun)
            r = first_record(f, &header, err);
        f->is_begun = true;
        if (r != ERR_OK || !header)
            return r;
        f->n_header++;
    }
}

int interaction_file_next(struct interaction_file *f, struct interaction_row *ret_row,
                          struct err *err)
{
    struct interaction_row row;
    int r = next_record(f, err);

    if (r != ERR_OK)
        return r;
    row.record = f->n_records - 1;
    r = read_row(f, &row, err);
    if (r == ERR_OK)
        *ret_row = row;
    return r;
}

void interaction_file_close(struct interaction_file *f)
{
    table_close(&f->table);
}
