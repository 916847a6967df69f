/* What a report shows of many rows: a sample of them, how long they took, what was lost. */

#include "store/internal.h"

#include <stdlib.h>

int store_sample(struct store *st, size_t max, struct store_ref **ret_refs, size_t *ret_n,
                 struct err *err)
{
    struct query q = query_begin(st, SQL_SAMPLE);

    query_int(&q, (int64_t)max);
    return query_refs(&q, max, "draw items", ret_refs, ret_n, err);
}

int store_read_latencies(struct store *st, size_t max, double **ret_ms, size_t *ret_n,
                         struct err *err)
{
    struct query q = query_begin(st, SQL_LATENCIES);
    double *ms = NULL;
    size_t n = 0;
    int status;

    query_int(&q, (int64_t)max);
    while ((status = query_step(&q, "read the items' times", err)) == ERR_OK) {
        double *more = store_grow(ms, n, sizeof *ms);

        if (!more) {
            status = err_oom(err, "the items' times");
            break;
        }
        ms = more;
        ms[n++] = query_column_real(&q, 0);
    }
    query_end(&q);
    if (status != ERR_END) {
        free(ms);
        return status;
    }
    *ret_ms = ms;
    *ret_n = n;
    return ERR_OK;
}

void store_gaps_free(struct store_gap_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(rows[i].topic);
    free(rows);
}

int store_read_gaps(struct store *st, size_t max, struct store_gap_row **ret_rows,
                    size_t *ret_n, struct err *err)
{
    struct store_gap_row *rows = calloc(max + 1, sizeof *rows);
    struct query q = query_begin(st, SQL_GAP_LIST);
    size_t n = 0;
    int status = rows ? ERR_OK : err_oom(err, "gaps");

    query_int(&q, (int64_t)max);
    while (status == ERR_OK && (status = query_step(&q, "read gaps", err)) == ERR_OK) {
        rows[n] = (struct store_gap_row){.partition = (int32_t)query_column_int(&q, 1),
                                         .from_offset = query_column_int(&q, 2),
                                         .to_offset = query_column_int(&q, 3),
                                         .ts_ms = query_column_real(&q, 4)};
        status = query_column_text(&q, 0, &rows[n++].topic, err);
    }
    query_end(&q);
    if (status != ERR_END) {
        store_gaps_free(rows, n);
        return status;
    }
    *ret_rows = rows;
    *ret_n = n;
    return ERR_OK;
}
