/* Figures for status and metrics. store_count walks the smallest index of each table: about a
 * second at 10^7 interactions, so it is for a person or a slow timer. */

#include "store/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* 0 when it is not there: the WAL may be absent. */
static int64_t file_bytes(const char *path, const char *suffix)
{
    struct stat sb;
    char name[4096];
    int n = snprintf(name, sizeof name, "%s%s", path, suffix);

    if (n < 0 || (size_t)n >= sizeof name || stat(name, &sb) != 0)
        return 0;
    return sb.st_size;
}

int store_count(struct store *st, struct store_counts *ret_counts, struct err *err)
{
    struct store_counts c = {0};
    int64_t *const fields[] = {
        &c.n_items,  &c.n_deleted,      &c.n_embeddings,   &c.n_no_signal, &c.n_no_features,
        &c.n_users,  &c.n_interactions, &c.n_dead_letters, &c.n_outbox,    &c.n_gaps,
        &c.n_models, &c.last_seq,       &c.n_cold,         &c.n_warm,      &c.n_unpublished};
    struct query q = query_begin(st, SQL_COUNT);
    int status = query_row(&q, "count rows", err);

    if (status != ERR_OK)
        return status;
    for (int i = 0; i < (int)(sizeof fields / sizeof fields[0]); i++)
        *fields[i] = query_column_int(&q, i);
    query_end(&q);
    c.file_bytes = file_bytes(st->path, "");
    c.wal_bytes = file_bytes(st->path, "-wal");
    *ret_counts = c;
    return ERR_OK;
}

int store_count_letters(struct store *st, struct store_letter_counts *ret_counts,
                        struct err *err)
{
    struct query q = query_begin(st, SQL_COUNT_LETTERS);
    int status = query_row(&q, "count dead letters", err);

    if (status != ERR_OK)
        return status;
    *ret_counts = (struct store_letter_counts){.n_letters = query_column_int(&q, 0),
                                               .n_outbox = query_column_int(&q, 1),
                                               .committed_us =
                                                   (int64_t)(query_column_real(&q, 2) * 1000)};
    query_end(&q);
    return ERR_OK;
}

int store_count_dead_letters(struct store *st, struct store_count_by **ret_rows, size_t *ret_n,
                             struct err *err)
{
    struct query q = query_begin(st, SQL_DEAD_LETTER_COUNT);
    struct store_count_by *rows = NULL;
    size_t n = 0;
    int status;

    while ((status = query_step(&q, "count dead letters", err)) == ERR_OK) {
        struct store_count_by *more = store_grow(rows, n, sizeof *rows);

        if (!more) {
            status = err_oom(err, "count dead letters");
            break;
        }
        rows = more;
        query_column_word(&q, 0, rows[n].name, sizeof rows[n].name);
        rows[n++].n = query_column_int(&q, 1);
    }
    query_end(&q);
    if (status != ERR_END) {
        free(rows);
        return status;
    }
    *ret_rows = rows;
    *ret_n = n;
    return ERR_OK;
}

void store_offsets_free(struct store_offset_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(rows[i].topic);
    free(rows);
}

int store_read_offsets(struct store *st, struct store_offset_row **ret_rows, size_t *ret_n,
                       struct err *err)
{
    struct query q = query_begin(st, SQL_OFFSET_LIST);
    struct store_offset_row *rows = NULL;
    size_t n = 0;
    int status;

    while ((status = query_step(&q, "read offsets", err)) == ERR_OK) {
        struct store_offset_row *more = store_grow(rows, n, sizeof *rows);

        if (!more) {
            status = err_oom(err, "read offsets");
            break;
        }
        rows = more;
        rows[n] = (struct store_offset_row){.partition = (int32_t)query_column_int(&q, 1),
                                            .next_offset = query_column_int(&q, 2),
                                            .updated_ms = query_column_real(&q, 3)};
        status = query_column_text(&q, 0, &rows[n++].topic, err);
        if (status != ERR_OK)
            break;
    }
    query_end(&q);
    if (status != ERR_END) {
        store_offsets_free(rows, n);
        return status;
    }
    *ret_rows = rows;
    *ret_n = n;
    return ERR_OK;
}
