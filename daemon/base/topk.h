#ifndef MMF_DAEMON_BASE_TOPK_H
#define MMF_DAEMON_BASE_TOPK_H

/* The k rows of a matrix nearest to one of them by cosine, all held in RAM. */

#include <stddef.h>

struct topk_row {
    size_t row;
    double score; /* cosine, -1 … 1 */
};

/* Best first; equal scores in the order of the rows; `row` itself left out. ret_rows has room
 * for k; returns how many there are. vec (n_rows, dim), no row of it zero. */
size_t topk_cosine(const float *vec, size_t n_rows, size_t dim, size_t row, size_t k,
                   struct topk_row *ret_rows);

#endif
