/* CSR by two counting passes: pairs are placed column by column into a transposed order first,
 * then row by row, so that the columns of each row ascend without a comparison sort. */

#include "fusion/math/csr.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

int csr_pair_order(const void *a, const void *b)
{
    const struct csr_pair *x = a, *y = b;

    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return (x->col > y->col) - (x->col < y->col);
}

int csr_new(uint32_t n_rows, uint32_t n_cols, size_t nnz, struct csr *c, struct err *err)
{
    *c = (struct csr){.n_rows = n_rows, .n_cols = n_cols, .nnz = nnz};
    c->start = calloc((size_t)n_rows + 1, sizeof(*c->start));
    c->col = malloc((nnz ? nnz : 1) * sizeof(*c->col));
    if (c->start && c->col)
        return ERR_OK;
    csr_done(c);
    return err_oom(err, "a sparse matrix");
}

/* counts (n + 1), counts[i + 1] = entries of row i → start of each row. */
static void prefix_sum(size_t *counts, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        counts[i + 1] += counts[i];
}

/* Places each pair's row at its column, in the order of the pairs. */
static void place_by_col(const struct csr_pair *pairs, size_t n_pairs, size_t *next,
                         struct csr_pair *ret_sorted)
{
    for (size_t i = 0; i < n_pairs; i++)
        ret_sorted[next[pairs[i].col]++] = pairs[i];
}

static size_t place_by_row(const struct csr_pair *sorted, size_t n_pairs, struct csr *c,
                           size_t *fill)
{
    size_t nnz = 0;
    for (size_t i = 0; i < n_pairs; i++) {
        uint32_t row = sorted[i].row;
        size_t at = c->start[row] + fill[row];
        if (fill[row] && c->col[at - 1] == sorted[i].col)
            continue;
        c->col[at] = sorted[i].col;
        fill[row]++;
        nnz++;
    }
    return nnz;
}

/* Closes the holes that repeated pairs left. */
static void squeeze(struct csr *c, const size_t *fill, size_t nnz)
{
    size_t to = 0;
    for (uint32_t row = 0; row < c->n_rows; row++) {
        memmove(c->col + to, c->col + c->start[row], fill[row] * sizeof(*c->col));
        c->start[row] = to;
        to += fill[row];
    }
    c->start[c->n_rows] = to;
    c->nnz = nnz;
}

int csr_from_pairs(const struct csr_pair *pairs, size_t n_pairs, uint32_t n_rows,
                   uint32_t n_cols, struct csr *ret_csr, struct err *err)
{
    struct csr c;
    for (size_t i = 0; i < n_pairs; i++)
        if (pairs[i].row >= n_rows || pairs[i].col >= n_cols)
            return err_fatal(err, EX_SOFTWARE, "pair %zu: (%u, %u) is outside (%u, %u)", i,
                             pairs[i].row, pairs[i].col, n_rows, n_cols);
    int status = csr_new(n_rows, n_cols, n_pairs, &c, err);
    if (status)
        return status;
    struct csr_pair *sorted = malloc((n_pairs ? n_pairs : 1) * sizeof(*sorted));
    size_t *next = calloc((size_t)n_cols + 1, sizeof(*next));
    size_t *fill = calloc((size_t)n_rows + 1, sizeof(*fill));
    if (sorted && next && fill) {
        for (size_t i = 0; i < n_pairs; i++) {
            next[pairs[i].col + 1]++;
            c.start[pairs[i].row + 1]++;
        }
        prefix_sum(next, n_cols);
        prefix_sum(c.start, n_rows);
        place_by_col(pairs, n_pairs, next, sorted);
        squeeze(&c, fill, place_by_row(sorted, n_pairs, &c, fill));
        *ret_csr = c;
    } else {
        csr_done(&c);
        status = err_oom(err, "a sparse matrix");
    }
    free(sorted);
    free(next);
    free(fill);
    return status;
}

size_t csr_find(const struct csr *csr, uint32_t row, uint32_t col)
{
    size_t lo = csr->start[row], hi = csr->start[row + 1];
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (csr->col[mid] == col)
            return mid;
        if (csr->col[mid] < col)
            lo = mid + 1;
        else
            hi = mid;
    }
    return SIZE_MAX;
}

void csr_done(struct csr *csr)
{
    free(csr->start);
    free(csr->col);
    free(csr->value);
    *csr = (struct csr){0};
}
