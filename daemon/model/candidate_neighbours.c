/* A candidate's neighbours: their file, and their rows in the store; and what its signals count. */
#include "daemon/model/candidate_internal.h"

#include "fusion/file/outfile.h"
#include "store/reading.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* ROWS: a transaction; some milliseconds of the writer's time with 100 neighbours each. */
enum { ROWS = 128 };
/* Of a value, a scale and a weight: their product is finite, and so are sums of it. */
#define NUMBER_MAX 1e9F

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the file `neighbours` is little-endian; this machine needs a conversion here"
#endif
_Static_assert(sizeof(size_t) == sizeof(uint64_t), "start is read as it lies in the file");

/* ---- the file ------------------------------------------------------------------------------ */

struct head {
    char magic[4];
    uint32_t n_items;
    uint64_t nnz;
};
_Static_assert(sizeof(struct head) == 16, "no padding");
static const char magic[4] = {'m', 'm', 'f', 'n'};

int candidate_write_neighbours(const char *path, const struct candidate *c, struct err *err)
{
    const struct csr *x = &c->neighbours;
    struct head head = {.n_items = x->n_rows, .nnz = x->nnz};
    struct outfile out;

    if (!x->start)
        return unlink(path) == 0 || errno == ENOENT
                   ? ERR_OK
                   : err_retry(err, EX_IOERR, "%s: remove: %s", path, strerror(errno));
    assert(x->n_rows == c->n_items && x->n_cols == c->n_items && x->value);
    memcpy(head.magic, magic, sizeof magic);
    const struct {
        const void *data;
        size_t bytes;
    } parts[] = {{&head, sizeof head},
                 {x->start, ((size_t)x->n_rows + 1) * sizeof *x->start},
                 {c->neighbour_scale, x->n_rows * sizeof *c->neighbour_scale},
                 {x->value, x->nnz * sizeof *x->value},
                 {x->col, x->nnz * sizeof *x->col}};
    int r = outfile_open(path, &out, err);
    for (size_t i = 0; r == ERR_OK && i < sizeof parts / sizeof parts[0]; i++)
        r = outfile_write(&out, parts[i].data, parts[i].bytes, err);
    if (r == ERR_OK)
        return outfile_commit(&out, err);
    outfile_abort(&out);
    return r;
}

static bool is_number(float x, float from)
{
    return isfinite(x) && x >= from && x <= NUMBER_MAX;
}

static const char *check_row(const struct csr *x, uint32_t row)
{
    size_t from = x->start[row], to = x->start[row + 1];

    if (to < from || to > x->nnz || to - from > STORE_NEIGHBOURS_MAX)
        return "has rows that do not follow one another, or are too long";
    for (size_t i = from; i < to; i++) {
        if (x->col[i] >= x->n_cols || x->col[i] == row ||
            (i > from && x->col[i] <= x->col[i - 1]))
            return "has a row that does not ascend, or with itself or nobody as neighbour";
        if (!is_number(x->value[i], -NUMBER_MAX))
            return "holds a value that is no number, or too large";
    }
    return NULL;
}

const char *candidate_cut_neighbours(struct candidate *c, char *data, size_t bytes)
{
    struct csr *x = &c->neighbours;
    struct head head;
    const char *wrong = NULL;

    c->neighbour_block = data;
    if (bytes < sizeof head)
        return "is cut short";
    memcpy(&head, data, sizeof head);
    size_t fixed = sizeof head + (c->n_items + 1) * sizeof *x->start +
                   c->n_items * sizeof *c->neighbour_scale;
    size_t each = sizeof *x->value + sizeof *x->col;
    if (memcmp(head.magic, magic, sizeof magic) != 0 || head.n_items != c->n_items)
        return "is no list of neighbours of these items";
    if (bytes < fixed || (bytes - fixed) % each || (bytes - fixed) / each != head.nnz)
        return "does not have the size that it names";
    x->n_rows = x->n_cols = head.n_items;
    x->nnz = head.nnz;
    x->start = (size_t *)(void *)(data + sizeof head);
    c->neighbour_scale = (float *)(void *)(x->start + x->n_rows + 1);
    x->value = c->neighbour_scale + x->n_rows;
    x->col = (uint32_t *)(void *)(x->value + x->nnz);
    if (x->start[0] != 0 || x->start[x->n_rows] != x->nnz)
        return "has rows that do not follow one another, or are too long";
    for (uint32_t row = 0; !wrong && row < x->n_rows; row++)
        wrong = is_number(c->neighbour_scale[row], 0)
                    ? check_row(x, row)
                    : "holds a scale that is no number, below 0 or too large";
    return wrong;
}

/* ---- what the signals count ---------------------------------------------------------------- */

/* Of a signal, what stands before its part of a score: its scale, else its weight. */
static const json_t *counts(const json_t *signal)
{
    const json_t *scale = json_object_get(signal, "scale");

    return scale ? scale : json_object_get(signal, "weight");
}

static bool is_weight(const json_t *x)
{
    return json_is_number(x) && fabs(json_number_value(x)) <= (double)NUMBER_MAX;
}

const char *candidate_check_signals(const struct json_t *metrics)
{
    json_t *signals = json_object_get(metrics, "signals"), *signal;
    const char *name;

    if (!signals)
        return NULL;
    if (!json_is_object(signals))
        return "signals is not an object";
    json_object_foreach(signals, name, signal)
    {
        const json_t *fade = json_object_get(signal, "fade");

        if (!name[0] || strlen(name) >= sizeof((struct store_signal *)0)->name)
            return "a signal has no name, or a long one";
        if (!is_weight(counts(signal)) || (fade && !is_weight(fade)))
            return "what a signal counts is no number";
    }
    return NULL;
}

float candidate_neighbour_weight(const struct json_t *metrics)
{
    const json_t *signal = json_object_get(json_object_get(metrics, "signals"), "neighbours");
    const json_t *scale = json_object_get(signal, "scale");

    return is_weight(scale) ? (float)json_number_value(scale) : 0.0F;
}

static void add_signal(struct store_signal *signals, size_t *n, const char *name,
                       const json_t *x)
{
    struct store_signal *s = &signals[*n];

    if (!is_weight(x))
        return;
    s->weight = json_number_value(x);
    (void)strncat(s->name, name, sizeof s->name - 1);
    ++*n;
}

int candidate_signals(const struct json_t *metrics, struct store_signal **ret_signals,
                      size_t *ret_n, struct err *err)
{
    json_t *all = json_object_get(metrics, "signals"), *signal;
    struct store_signal *signals = calloc(2 * json_object_size(all) + 1, sizeof *signals);
    const char *name;
    size_t n = 0;

    if (!signals)
        return err_oom(err, "the weights of signals");
    json_object_foreach(all, name, signal)
    {
        add_signal(signals, &n, name, counts(signal));
        if (json_object_get(signal, "fade"))
            add_signal(signals, &n, "fade", json_object_get(signal, "fade"));
    }
    *ret_signals = signals;
    *ret_n = n;
    return ERR_OK;
}

/* ---- rows of the store --------------------------------------------------------------------- */

static bool says_something(const struct candidate *c, uint32_t row)
{
    return csr_degree(&c->neighbours, row) > 0 || c->neighbour_scale[row] != 0;
}

size_t candidate_count_neighbours(const struct candidate *c)
{
    size_t n = 0;

    for (uint32_t row = 0; c->neighbours.start && row < c->neighbours.n_rows; row++)
        n += says_something(c, row);
    return n;
}

size_t candidate_n_rows(const struct candidate *c)
{
    return c->n_items + c->n_users + (c->neighbours.start ? c->n_items : 0);
}

/* One block, made by the caller's thread and written by that of the store. */
struct block {
    const struct candidate_publication *p;
    struct store_neighbour_row rows[ROWS];
    size_t n;
    struct entry {
        int64_t rid;
        float value;
    } * entries;
    int64_t *rids; /* of all rows, one after the other */
    float *values;
    size_t used;
};

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;

    return (x->rid > y->rid) - (x->rid < y->rid);
}

/* In the order of the store's rids, which need not be that of the candidate's rows. */
static void add_row(struct block *b, const struct candidate *c, const int64_t *rid,
                    uint32_t row)
{
    const struct csr *x = &c->neighbours;
    struct store_neighbour_row *to = &b->rows[b->n];
    size_t n = 0, kept = 0;

    if (!rid[row] || !says_something(c, row))
        return;
    for (size_t i = x->start[row]; i < x->start[row + 1]; i++)
        if (rid[x->col[i]] && rid[x->col[i]] != rid[row])
            b->entries[n++] = (struct entry){rid[x->col[i]], x->value[i]};
    if (n)
        qsort(b->entries, n, sizeof *b->entries, compare_entries);
    int64_t *rids = b->rids + b->used;
    float *values = b->values + b->used;
    for (size_t i = 0; i < n; i++) {
        if (kept && rids[kept - 1] == b->entries[i].rid) /* items.txt names an item twice */
            continue;
        rids[kept] = b->entries[i].rid;
        values[kept++] = b->entries[i].value;
    }
    *to = (struct store_neighbour_row){rid[row], (double)c->neighbour_scale[row], rids, values,
                                       kept};
    b->used += kept;
    b->n++;
}

static int write_rows(struct store *st, void *arg, struct err *err)
{
    const struct block *b = arg;

    return b->p->only_missing
               ? store_put_missing_neighbours(st, b->p->model_id, b->rows, b->n, err)
               : store_put_neighbours(st, b->p->model_id, b->rows, b->n, err);
}

/* Rows from `first` on. */
static int put_block(const struct candidate *c, const struct candidate_target *t,
                     const struct candidate_publication *p, const int64_t *rid, size_t first,
                     struct err *err)
{
    const struct csr *x = &c->neighbours;
    size_t last = c->n_items - first < ROWS ? c->n_items : first + ROWS;
    size_t n = x->start[last] - x->start[first];
    struct block b = {.p = p};

    b.entries = malloc((n + 1) * sizeof *b.entries);
    b.rids = malloc((n + 1) * sizeof *b.rids);
    b.values = malloc((n + 1) * sizeof *b.values);
    int r = b.entries && b.rids && b.values ? ERR_OK : err_oom(err, "a block of neighbours");
    for (size_t row = first; r == ERR_OK && row < last; row++)
        add_row(&b, c, rid, (uint32_t)row);
    if (r == ERR_OK && b.n)
        r = store_work(&t->writer, write_rows, &b, err);
    free(b.entries);
    free(b.rids);
    free(b.values);
    return r;
}

int candidate_put_neighbours(const struct candidate *c, const struct candidate_target *t,
                             struct candidate_publication *p, struct err *err)
{
    if (!c->neighbours.start)
        return ERR_OK;
    int64_t *rid = calloc(c->n_items + 1, sizeof *rid);
    int r = rid ? store_find_ids(t->reader, STORE_SIDE_ITEMS, c->item_id, c->n_items, rid, err)
                : err_oom(err, "a model's neighbours");

    for (size_t i = 0; r == ERR_OK && i < c->n_items; i += ROWS) {
        r = put_block(c, t, p, rid, i, err);
        p->done += c->n_items - i < ROWS ? c->n_items - i : ROWS;
        if (r == ERR_OK && t->progress && !t->progress(t->ctx, p->done, candidate_n_rows(c)))
            r = err_retry(err, EX_TEMPFAIL, "publication of a model: interrupted");
    }
    free(rid);
    return r;
}
