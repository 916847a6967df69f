#include "daemon/base/topk.h"

#include <math.h>
#include <string.h>

static double dot(const float *a, const float *b, size_t dim)
{
    double sum = 0;

    for (size_t i = 0; i < dim; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* Insertion into a short sorted list: rows come in order, so an equal score goes behind. */
static size_t insert(struct topk_row *rows, size_t n, size_t k, struct topk_row row)
{
    size_t at = n;

    if (n == k && row.score <= rows[n - 1].score)
        return n;
    while (at > 0 && rows[at - 1].score < row.score)
        at--;
    size_t n_new = n < k ? n + 1 : k;
    memmove(&rows[at + 1], &rows[at], (n_new - 1 - at) * sizeof(*rows));
    rows[at] = row;
    return n_new;
}

size_t topk_cosine(const float *vec, size_t n_rows, size_t dim, size_t row, size_t k,
                   struct topk_row *ret_rows)
{
    const float *query = vec + row * dim;
    double query_norm = sqrt(dot(query, query, dim));
    size_t n = 0;

    for (size_t i = 0; i < n_rows && k > 0; i++) {
        const float *v = vec + i * dim;

        if (i == row)
            continue;
        double norm = sqrt(dot(v, v, dim));
        double score =
            norm > 0 && query_norm > 0 ? dot(query, v, dim) / (norm * query_norm) : 0;
        n = insert(ret_rows, n, k, (struct topk_row){.row = i, .score = score});
    }
    return n;
}
