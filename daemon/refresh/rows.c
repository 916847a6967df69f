#include "daemon/refresh/rows.h"

#include "daemon/base/paths.h"
#include "fusion/model/neighbourhood.h"
#include "store/reading.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { NAMES = 256 };

static int by_id(const void *a, const void *b)
{
    const struct refresh_row *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

const struct refresh_row *refresh_rows_find(const struct refresh_rows *rows, int64_t id)
{
    const struct refresh_row key = {.id = id};

    return rows->n ? bsearch(&key, rows->rows, rows->n, sizeof(key), by_id) : NULL;
}

const float *refresh_rows_identity(const struct refresh_rows *rows, int64_t id)
{
    const struct refresh_row *found = refresh_rows_find(rows, id);

    return found ? rows->tensor + (size_t)found->row * rows->width : NULL;
}

/* Names of NAMES rows at a time → ids; one that the store does not know is left out. */
static int add_names(struct refresh_rows *rows, struct store *reader, enum store_side side,
                     char **names, size_t n, size_t first_row, struct err *err)
{
    int64_t ids[NAMES];
    int status = store_find_ids(reader, side, names, n, ids, err);

    for (size_t i = 0; status == ERR_OK && i < n; i++)
        if (ids[i])
            rows->rows[rows->n++] = (struct refresh_row){ids[i], (uint32_t)(first_row + i)};
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    return status;
}

static bool is_stopping(const struct refresh_rows_source *source)
{
    return source->stopping && atomic_load(source->stopping);
}

static int read_names(struct refresh_rows *rows, FILE *in,
                      const struct refresh_rows_source *source, enum store_side side,
                      struct err *err)
{
    char *names[NAMES], *line = NULL;
    size_t n = 0, row = 0, room = 0;
    ssize_t bytes;
    int status = ERR_OK;

    while (status == ERR_OK && !is_stopping(source) && row + n < rows->n_tensor &&
           (bytes = getline(&line, &room, in)) > 0) {
        line[bytes - 1] = line[bytes - 1] == '\n' ? '\0' : line[bytes - 1];
        names[n] = strdup(line);
        if (!names[n]) {
            status = err_oom(err, "a model's rows");
            break;
        }
        if (++n < NAMES)
            continue;
        status = add_names(rows, source->reader, side, names, n, row, err);
        row += n;
        n = 0;
    }
    free(line);
    int last =
        add_names(rows, source->reader, side, names, n, row, status == ERR_OK ? err : NULL);
    status = status == ERR_OK ? last : status;
    if (status == ERR_OK && is_stopping(source))
        return err_retry(err, EX_TEMPFAIL, "a model's rows: stopped");
    if (status == ERR_OK && row + n != rows->n_tensor)
        status = err_fatal(err, EX_DATAERR, "a model's rows: %zu ids for %zu rows", row + n,
                           rows->n_tensor);
    qsort(rows->rows, rows->n, sizeof(*rows->rows), by_id);
    return status;
}

int refresh_rows_read(struct refresh_rows *rows, const struct refresh_rows_source *source,
                      enum store_side side, struct err *err)
{
    bool is_item = side == STORE_SIDE_ITEMS;
    char path[PATH_MAX];

    rows->tensor =
        neighbourhood_identities(source->model, is_item, &rows->n_tensor, &rows->width);
    if (!source->dir || !rows->tensor)
        return ERR_OK;
    rows->rows = calloc(rows->n_tensor + 1, sizeof(*rows->rows));
    if (!rows->rows)
        return err_oom(err, "a model's rows");
    int status = paths_join(source->dir, is_item ? "items.txt" : "users.txt", path, err);
    if (status != ERR_OK)
        return status;
    FILE *in = fopen(path, "re");
    if (!in)
        return err_fatal(err, EX_NOINPUT, "%s: %s", path, strerror(errno));
    status = read_names(rows, in, source, side, err);
    (void)fclose(in);
    return status == ERR_OK ? ERR_OK : err_wrap(err, "%s", path);
}

void refresh_rows_done(struct refresh_rows *rows)
{
    free(rows->rows);
    *rows = (struct refresh_rows){0};
}
