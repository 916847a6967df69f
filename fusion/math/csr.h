#ifndef MMF_FUSION_MATH_CSR_H
#define MMF_FUSION_MATH_CSR_H

/* Compressed sparse rows: the interactions (users × items), the item-item graph. Columns of a row
 * ascend and are distinct. Plain data; immutable once made, but for the room of graph_new_like. */

#include "config/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct csr {
    uint32_t n_rows, n_cols;
    size_t nnz;
    size_t *start; /* (n_rows + 1) */
    uint32_t *col; /* (nnz) */
    float *value;  /* (nnz), NULL = all 1 */
};

struct csr_pair {
    uint32_t row, col;
};
/* For qsort and bsearch: by row, then by column. */
int csr_pair_order(const void *a, const void *b);

/* Room for nnz entries without values, to be filled by the caller. */
int csr_new(uint32_t n_rows, uint32_t n_cols, size_t nnz, struct csr *ret_csr, struct err *err);
/* From pairs in any order; a pair given twice counts once. ERR_FATAL EX_SOFTWARE for a pair out
 * of range, ERR_RETRY without memory. */
int csr_from_pairs(const struct csr_pair *pairs, size_t n_pairs, uint32_t n_rows,
                   uint32_t n_cols, struct csr *ret_csr, struct err *err);
/* Where in col the entry stands; SIZE_MAX where there is none. */
size_t csr_find(const struct csr *csr, uint32_t row, uint32_t col);
static inline bool csr_has(const struct csr *csr, uint32_t row, uint32_t col)
{
    return csr_find(csr, row, col) != SIZE_MAX;
}
static inline size_t csr_degree(const struct csr *csr, uint32_t row)
{
    return csr->start[row + 1] - csr->start[row];
}
void csr_done(struct csr *csr);

#endif
