/* What may be stored as a vector, and how one is read back. Texts and numbers have no checksum:
 * docs/design/store/305-checksums.md */

#include "store/internal.h"

#include "config/digest.h"

#include <assert.h>
#include <math.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the store's vectors are little-endian float32; this machine needs a conversion here"
#endif

#define VECTOR_MAX_DIM 65536

/* Such a vector is a fault of the caller, which has validated what workers and models give it:
 * hence EX_SOFTWARE, not a dead letter. */
int store_vector_validate(const struct store_vector *v, bool allow_zero, const char *what,
                          const char *id, struct err *err)
{
    bool zero = true;

    if (v->dim <= 0 || v->dim > VECTOR_MAX_DIM)
        return err_fatal(err, EX_SOFTWARE,
                         "store: %s of item %s: dimension %d is outside 1..%d; nothing written",
                         what, id, v->dim, VECTOR_MAX_DIM);
    for (int32_t i = 0; i < v->dim; i++) {
        if (!isfinite(v->vec[i]))
            return err_fatal(err, EX_SOFTWARE,
                             "store: %s of item %s: element %d is %s; nothing written", what,
                             id, i, isnan(v->vec[i]) ? "not a number" : "infinite");
        zero = zero && v->vec[i] == 0.0F;
    }
    if (zero && !allow_zero)
        return err_fatal(err, EX_SOFTWARE,
                         "store: %s of item %s: every element is zero; nothing written", what,
                         id);
    return ERR_OK;
}

int store_vector_verify(const struct query *q, int first, const char *table, int64_t rid,
                        struct err *err)
{
    int64_t dim = query_column_int(q, first);
    const void *data = sqlite3_column_blob(q->stmt, first + 1);
    size_t bytes = (size_t)sqlite3_column_bytes(q->stmt, first + 1);

    if (!data && sqlite3_errcode(q->st->db) == SQLITE_NOMEM)
        return err_oom(err, "read a vector of the store");
    if (dim <= 0 || dim > VECTOR_MAX_DIM || bytes != (size_t)dim * sizeof(float))
        return err_fatal(
            err, EX_DATAERR,
            "store %s: table %s, row %lld: %zu bytes for dimension %lld; restore a "
            "backup, or ingest that item again",
            q->st->path, table, (long long)rid, bytes, (long long)dim);
    if (digest_checksum(data, bytes) != query_column_int(q, first + 2))
        return err_fatal(err, EX_DATAERR,
                         "store %s: table %s, row %lld: the checksum does not fit the vector; "
                         "restore a backup, or ingest that item again",
                         q->st->path, table, (long long)rid);
    return ERR_OK;
}

int store_vector_column(const struct query *q, int first, const char *table, int64_t rid,
                        float **ret_vec, int32_t *ret_dim, struct err *err)
{
    int status = store_vector_verify(q, first, table, rid, err);
    void *data = NULL;
    size_t bytes = 0;

    if (status != ERR_OK)
        return status;
    status = query_column_blob(q, first + 1, &data, &bytes, err);
    if (status != ERR_OK) {
        free(data);
        return status;
    }
    *ret_vec = data;
    *ret_dim = (int32_t)(bytes / sizeof(float));
    return ERR_OK;
}
