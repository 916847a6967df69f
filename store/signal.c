/* What a model says beside its vectors: neighbours of items, and the weights of its signals.
 *
 * A row of neighbours is JSON text, {"12":16777215,"40":-20}: rids and whole numbers, which a reader in SQL takes apart
 * by json_each without any extension. A value is such a number times the row's unit, a power of two by which
 * the largest has 24 bits: it comes back as it was, the others within 2^-25 of it, and what was read is
 * stored again to the bit. Two rows of 100 fit a page so, and nine digits each would not. The scales
 * of all items are asked for at once, so they stand in a table of their own
 * (docs/design/store/326-neighbours.md). */

#include "store/internal.h"

#include "config/array.h"
#include "config/digest.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* comma, quotes, colon and sign; 19 digits and 8 */
enum { PAIR_BYTES_MAX = 36, ENDS_BYTES = 3, BITS = 24 };

/* ---- writing ------------------------------------------------------------------------------- */

static int invalid(const struct store_neighbour_row *row, const char *what, struct err *err)
{
    return err_fatal(err, EX_SOFTWARE, "store: neighbours of row %lld: %s; nothing written",
                     (long long)row->rid, what);
}

int store_neighbours_validate(const struct store_neighbour_row *rows, size_t n, struct err *err)
{
    for (const struct store_neighbour_row *row = rows; row < rows + n; row++) {
        if (row->rid <= 0 || !isfinite(row->scale))
            return invalid(row, "no such row, or a scale that is not finite", err);
        if (row->n > STORE_NEIGHBOURS_MAX)
            return invalid(row, "too many", err);
        for (size_t i = 0; i < row->n; i++) {
            if (row->rids[i] <= (i ? row->rids[i - 1] : 0) || row->rids[i] == row->rid)
                return invalid(row, "they do not ascend, or the item is its own", err);
            if (!isfinite(row->values[i]))
                return invalid(row, "a value is not finite", err);
        }
    }
    return ERR_OK;
}

static int exponent_of(const struct store_neighbour_row *row)
{
    float largest = 0;
    int e = 0;

    for (size_t i = 0; i < row->n; i++)
        largest = fmaxf(largest, fabsf(row->values[i]));
    (void)frexpf(largest, &e);
    return e - BITS;
}

/* Into *text, which grows: values in units of 2^e. */
static int encode(const struct store_neighbour_row *row, int e, char **text, size_t *room,
                  struct err *err)
{
    char *p = array_reserve(*text, room, row->n * PAIR_BYTES_MAX + ENDS_BYTES, 1);

    if (!p)
        return err_oom(err, "an item's neighbours");
    *text = p;
    *p++ = '{';
    for (size_t i = 0; i < row->n; i++) {
        int bytes = snprintf(p, PAIR_BYTES_MAX, "%s\"%lld\":%ld", i ? "," : "",
                             (long long)row->rids[i], lrint(ldexp((double)row->values[i], -e)));

        assert(bytes > 0 && bytes < PAIR_BYTES_MAX);
        p += bytes;
    }
    p[0] = '}';
    p[1] = '\0';
    return ERR_OK;
}

static int put_list(struct store *st, int64_t model_id, const struct store_neighbour_row *row,
                    int e, const char *text, bool only_missing, bool *ret_changed,
                    struct err *err)
{
    struct query q = query_begin(st, SQL_NEIGHBOUR_PUT);

    query_int(&q, model_id);
    query_int(&q, row->rid);
    query_int(&q, digest_checksum(text, strlen(text)));
    query_text(&q, text);
    query_int(&q, only_missing);
    query_real(&q, ldexp(1, e));
    int status = query_run(&q, "write an item's neighbours", err);
    if (status != ERR_OK)
        return status;
    *ret_changed = store_changes(st) > 0;
    q = query_begin(st, SQL_NEIGHBOUR_SCALE_PUT);
    query_int(&q, model_id);
    query_int(&q, row->rid);
    query_real(&q, row->scale);
    query_int(&q, only_missing);
    status = query_run(&q, "write an item's scale", err);
    *ret_changed |= status == ERR_OK && store_changes(st) > 0;
    return status;
}

static int take_away(struct store *st, int64_t model_id, int64_t rid, bool *ret_changed,
                     struct err *err)
{
    static const enum sql_id sql[] = {SQL_NEIGHBOUR_GONE, SQL_NEIGHBOUR_SCALE_GONE};
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < sizeof sql / sizeof sql[0]; i++) {
        struct query q = query_begin(st, sql[i]);

        query_int(&q, model_id);
        query_int(&q, rid);
        status = query_run(&q, "remove an item's neighbours", err);
        *ret_changed |= status == ERR_OK && store_changes(st) > 0;
    }
    return status;
}

int store_write_neighbours(struct store *st, int64_t model_id,
                           const struct store_neighbour_row *rows, size_t n, bool only_missing,
                           uint32_t *n_changed, struct err *err)
{
    char *text = NULL;
    size_t room = 0;
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < n; i++) {
        bool changed = false, empty = rows[i].n == 0 && rows[i].scale == 0.0;

        if (empty && !only_missing)
            status = take_away(st, model_id, rows[i].rid, &changed, err);
        if (!empty) {
            int e = exponent_of(&rows[i]);

            status = encode(&rows[i], e, &text, &room, err);
            if (status == ERR_OK)
                status = put_list(st, model_id, &rows[i], e, text, only_missing, &changed, err);
        }
        if (n_changed)
            *n_changed += changed;
    }
    free(text);
    return status;
}

static int put_neighbours(struct store *st, int64_t model_id,
                          const struct store_neighbour_row *rows, size_t n, bool only_missing,
                          struct err *err)
{
    assert(st->mode == STORE_WRITE);
    int status = store_neighbours_validate(rows, n, err);

    if (status == ERR_OK)
        status = store_begin(st, err);
    if (status != ERR_OK)
        return status;
    return store_finish(
        st, store_write_neighbours(st, model_id, rows, n, only_missing, NULL, err), err);
}

int store_put_neighbours(struct store *st, int64_t model_id,
                         const struct store_neighbour_row *rows, size_t n, struct err *err)
{
    return put_neighbours(st, model_id, rows, n, false, err);
}

int store_put_missing_neighbours(struct store *st, int64_t model_id,
                                 const struct store_neighbour_row *rows, size_t n,
                                 struct err *err)
{
    return put_neighbours(st, model_id, rows, n, true, err);
}

/* ---- reading ------------------------------------------------------------------------------- */

void store_neighbours_done(struct store_neighbours *x)
{
    free(x->rid);
    free(x->scale);
    free(x->start);
    free(x->rids);
    free(x->values);
    *x = (struct store_neighbours){0};
}

/* Room for each array of what is being read. */
struct reading {
    struct store_neighbours x;
    size_t rid_room, scale_room, start_room, rids_room, values_room, n_pairs;
};

static int add_row(struct reading *r, int64_t rid, double scale, struct err *err)
{
    struct store_neighbours *x = &r->x;
    size_t n = x->n_rows;
    int64_t *rids = array_reserve(x->rid, &r->rid_room, n + 1, sizeof *rids);
    x->rid = rids ? rids : x->rid;
    double *scales = array_reserve(x->scale, &r->scale_room, n + 1, sizeof *scales);
    x->scale = scales ? scales : x->scale;
    size_t *start = array_reserve(x->start, &r->start_room, n + 2, sizeof *start);
    x->start = start ? start : x->start;

    if (!rids || !scales || !start)
        return err_oom(err, "a model's neighbours");
    x->rid[n] = rid;
    x->scale[n] = scale;
    x->start[n] = x->start[n + 1] = r->n_pairs;
    x->n_rows++;
    return ERR_OK;
}

static int more_room(struct reading *r, struct err *err)
{
    struct store_neighbours *x = &r->x;
    int64_t *rids = array_reserve(x->rids, &r->rids_room, r->n_pairs + 1, sizeof *rids);
    x->rids = rids ? rids : x->rids;
    float *values = array_reserve(x->values, &r->values_room, r->n_pairs + 1, sizeof *values);
    x->values = values ? values : x->values;

    return rids && values ? ERR_OK : err_oom(err, "a model's neighbours");
}

static int add_pair(struct reading *r, int64_t rid, float value, struct err *err)
{
    struct store_neighbours *x = &r->x;
    bool fits = r->n_pairs < r->rids_room && r->n_pairs < r->values_room;
    int status = fits ? ERR_OK : more_room(r, err);

    if (status != ERR_OK)
        return status;
    x->rids[r->n_pairs] = rid;
    x->values[r->n_pairs++] = value;
    x->start[x->n_rows] = r->n_pairs;
    return ERR_OK;
}

/* One "12":34 at *at, which moves on; the rid is above `after`. */
static bool cut_pair(const char **at, int64_t after, double unit, int64_t *ret_rid,
                     float *ret_value)
{
    const char *p = *at;
    char *end;

    if (p[0] != '"' || !isdigit((unsigned char)p[1]))
        return false;
    errno = 0;
    *ret_rid = strtoll(p + 1, &end, 10);
    if (errno || *ret_rid <= after || end[0] != '"' || end[1] != ':')
        return false;
    p = end + 2;
    if (!isdigit((unsigned char)p[p[0] == '-']))
        return false;
    long n = strtol(p, &end, 10);
    *at = end;
    *ret_value = (float)((double)n * unit);
    return labs(n) <= 1L << BITS && isfinite(*ret_value);
}

static bool cut_list(struct reading *r, const char *text, double unit, int *ret_status,
                     struct err *err)
{
    int64_t rid = 0;
    float value;
    const char *at = text + 1;

    if (text[0] != '{')
        return false;
    while (*ret_status == ERR_OK && *at != '}') {
        if (!cut_pair(&at, rid, unit, &rid, &value))
            return false;
        *ret_status = add_pair(r, rid, value, err);
        if (*at == ',' && at[1] == '"')
            at++;
        else if (*at != '}')
            return false;
    }
    return *ret_status != ERR_OK || at[1] == '\0';
}

static int damaged(const struct query *q, int64_t rid, const char *what, struct err *err)
{
    return err_fatal(err, EX_DATAERR,
                     "store %s: table neighbour, row %lld: %s; restore a backup, or activate "
                     "another model and train again",
                     q->st->path, (long long)rid, what);
}

int store_neighbours_verify(const struct query *q, int64_t rid, const char **ret_text,
                            struct err *err)
{
    const char *text = (const char *)sqlite3_column_text(q->stmt, 0);
    size_t bytes = (size_t)sqlite3_column_bytes(q->stmt, 0);

    if (!text)
        return sqlite3_column_type(q->stmt, 0) == SQLITE_NULL
                   ? damaged(q, rid, "is not there, only its scale", err)
                   : err_oom(err, "read an item's neighbours");
    if (strlen(text) != bytes || digest_checksum(text, bytes) != query_column_int(q, 1))
        return damaged(q, rid, "the checksum does not fit the list", err);
    *ret_text = text;
    return ERR_OK;
}

/* The row that the query stands at: list, checksum, rid, scale, unit. */
static int read_row(const struct query *q, struct reading *r, struct err *err)
{
    int64_t rid = query_column_int(q, 2);
    const char *text = NULL;
    int status = store_neighbours_verify(q, rid, &text, err);

    if (status == ERR_OK)
        status = add_row(r, rid, query_column_real(q, 3), err);
    if (status != ERR_OK)
        return status;
    bool sound = cut_list(r, text, query_column_real(q, 4), &status, err);
    return sound ? status : damaged(q, rid, "is no list of neighbours", err);
}

static int end_reading(struct reading *r, int status, struct store_neighbours *ret)
{
    if (status == ERR_END || status == ERR_NONE)
        status = ERR_OK;
    if (status == ERR_OK)
        *ret = r->x;
    else
        store_neighbours_done(&r->x);
    return status;
}

int store_read_neighbour_rows(struct store *st, int64_t model_id, const int64_t *rids, size_t n,
                              struct store_neighbours *ret, struct err *err)
{
    struct reading r = {0};
    int status = ERR_OK;

    for (size_t i = 0; i < n && (status == ERR_OK || status == ERR_NONE); i++) {
        struct query q = query_begin(st, SQL_NEIGHBOUR_OF);

        query_int(&q, model_id);
        query_int(&q, rids[i]);
        status = query_row(&q, "read an item's neighbours", err);
        if (status != ERR_OK)
            continue;
        status = read_row(&q, &r, err);
        query_end(&q);
    }
    return end_reading(&r, status, ret);
}

int store_read_neighbour_all(struct store *st, int64_t model_id, struct store_neighbours *ret,
                             struct err *err)
{
    struct query q = query_begin(st, SQL_NEIGHBOUR_ALL);
    struct reading r = {0};
    int status;

    query_int(&q, model_id);
    while ((status = query_step(&q, "read a model's neighbours", err)) == ERR_OK)
        if ((status = read_row(&q, &r, err)) != ERR_OK)
            break;
    query_end(&q);
    return end_reading(&r, status, ret);
}

int store_read_neighbour_scales(struct store *st, int64_t model_id,
                                struct store_neighbours *ret, struct err *err)
{
    struct query q = query_begin(st, SQL_NEIGHBOUR_SCALES);
    struct reading r = {0};
    int status;

    query_int(&q, model_id);
    while ((status = query_step(&q, "read the scales of a model's items", err)) == ERR_OK)
        if ((status = add_row(&r, query_column_int(&q, 0), query_column_real(&q, 1), err)) !=
            ERR_OK)
            break;
    query_end(&q);
    return end_reading(&r, status, ret);
}

int store_count_neighbours(struct store *st, int64_t model_id, int64_t *ret_n, struct err *err)
{
    struct query q = query_begin(st, SQL_NEIGHBOUR_COUNT);

    query_int(&q, model_id);
    int status = query_row(&q, "count a model's neighbours", err);
    if (status != ERR_OK)
        return status;
    *ret_n = query_column_int(&q, 0);
    query_end(&q);
    return ERR_OK;
}

/* ---- weights of signals -------------------------------------------------------------------- */

static int put_signals(struct store *st, int64_t model_id, const struct store_signal *signals,
                       size_t n, struct err *err)
{
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < n; i++) {
        struct query q = query_begin(st, SQL_SIGNAL_PUT);

        query_int(&q, model_id);
        query_text(&q, signals[i].name);
        query_real(&q, signals[i].weight);
        status = query_run(&q, "write the weight of a signal", err);
    }
    return status;
}

int store_put_signals(struct store *st, int64_t model_id, const struct store_signal *signals,
                      size_t n, struct err *err)
{
    assert(st->mode == STORE_WRITE);
    for (size_t i = 0; i < n; i++)
        if (!isfinite(signals[i].weight) || !signals[i].name[0])
            return err_fatal(err, EX_SOFTWARE,
                             "store: signal %s of model %lld: its weight is not finite, or it "
                             "has no name; nothing written",
                             signals[i].name, (long long)model_id);
    int status = store_begin(st, err);
    if (status != ERR_OK)
        return status;
    return store_finish(st, put_signals(st, model_id, signals, n, err), err);
}

int store_read_signals(struct store *st, int64_t model_id, struct store_signal **ret_signals,
                       size_t *ret_n, struct err *err)
{
    struct query q = query_begin(st, SQL_SIGNAL_LIST);
    struct store_signal *signals = NULL;
    size_t n = 0;
    int status;

    query_int(&q, model_id);
    while ((status = query_step(&q, "read the weights of signals", err)) == ERR_OK) {
        struct store_signal *more = store_grow(signals, n, sizeof *signals);

        if (!more) {
            status = err_oom(err, "the weights of signals");
            break;
        }
        signals = more;
        query_column_word(&q, 0, signals[n].name, sizeof signals[n].name);
        signals[n++].weight = query_column_real(&q, 1);
    }
    query_end(&q);
    if (status != ERR_END) {
        free(signals);
        return status;
    }
    *ret_signals = signals;
    *ret_n = n;
    return ERR_OK;
}
