/* Rows out of the store, for the command line and for re-fusing. What a function fills is the
 * caller's, and is filled only on ERR_OK. */

#include "store/internal.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

void store_item_done(struct store_item *item)
{
    free(item->item_id);
    free(item->media_uri);
    free(item->sha256);
    free(item->title);
    free(item->description);
    free(item->lang);
    free(item->tags_json);
    free(item->flags_json);
    free(item->topic);
    *item = (struct store_item){0};
}

static int item_read(const struct query *q, struct store_item *i, struct err *err)
{
    char **const texts[] = {&i->item_id,     &i->media_uri, &i->sha256,    &i->title,
                            &i->description, &i->lang,      &i->tags_json, &i->flags_json};
    int status = ERR_OK;

    *i = (struct store_item){.rid = query_column_int(q, 0),
                             .deleted = query_column_int(q, 10) != 0,
                             .partition = (int32_t)query_column_int(q, 12),
                             .offset = query_column_int(q, 13),
                             .published_ms = query_column_real(q, 14),
                             .received_ms = query_column_real(q, 15),
                             .extracted_ms = query_column_real(q, 16),
                             .queryable_ms = query_column_real(q, 17),
                             .extract_ms = query_column_real(q, 18)};
    query_column_word(q, 9, i->state, sizeof i->state);
    for (int k = 0; status == ERR_OK && k < 8; k++)
        status = query_column_text(q, 1 + k, texts[k], err);
    if (status == ERR_OK)
        status = query_column_text(q, 11, &i->topic, err);
    if (status != ERR_OK)
        store_item_done(i);
    return status;
}

int store_get_item(struct store *st, const char *item_id, struct store_item *ret_item,
                   struct err *err)
{
    struct store_item item;
    struct query q = query_begin(st, SQL_ITEM_GET);

    query_text(&q, item_id);
    int status = query_row(&q, "read an item", err);
    if (status != ERR_OK)
        return status;
    status = item_read(&q, &item, err);
    query_end(&q);
    if (status == ERR_OK)
        *ret_item = item;
    return status;
}

void store_embedding_done(struct store_embedding *e)
{
    free(e->item_id);
    free(e->vec);
    *e = (struct store_embedding){0};
}

static int embedding_read(const struct query *q, struct store_embedding *e, struct err *err)
{
    *e = (struct store_embedding){.model_id = query_column_int(q, 6),
                                  .seq = query_column_int(q, 7),
                                  .updated_ms = query_column_real(q, 8)};
    query_column_word(q, 5, e->state, sizeof e->state);
    int status =
        store_vector_column(q, 0, "embedding", query_column_int(q, 3), &e->vec, &e->dim, err);
    if (status == ERR_OK)
        status = query_column_text(q, 4, &e->item_id, err);
    if (status != ERR_OK)
        store_embedding_done(e);
    return status;
}

int store_get_embedding(struct store *st, const char *item_id, struct store_embedding *ret_e,
                        struct err *err)
{
    struct store_embedding e;
    struct query q = query_begin(st, SQL_EMBEDDING_GET);

    query_text(&q, item_id);
    int status = query_row(&q, "read an embedding", err);
    if (status != ERR_OK)
        return status;
    status = embedding_read(&q, &e, err);
    query_end(&q);
    if (status == ERR_OK)
        *ret_e = e;
    return status;
}

int store_get_feature(struct store *st, const char *item_id, enum modality m, float **ret_vec,
                      int32_t *ret_dim, char ret_encoder_id[64], struct err *err)
{
    struct query q = query_begin(st, SQL_FEATURE_GET);

    query_text(&q, item_id);
    query_text(&q, modality_name(m));
    int status = query_row(&q, "read a feature", err);
    if (status != ERR_OK)
        return status;
    status =
        store_vector_column(&q, 0, "feature", query_column_int(&q, 3), ret_vec, ret_dim, err);
    if (status == ERR_OK)
        query_column_word(&q, 4, ret_encoder_id, 64);
    query_end(&q);
    return status;
}

/* The ids of a matrix lie in one block; while it grows, their places are offsets. */
struct matrix_builder {
    struct store_matrix m;
    size_t *id_at;
    size_t id_bytes, id_cap;
    size_t n_cap;
};

static int matrix_size(struct store *st, struct matrix_builder *b, struct err *err)
{
    struct query q = query_begin(st, SQL_MATRIX_SIZE);
    int status = query_row(&q, "count the embeddings", err);

    if (status == ERR_OK) {
        b->m.model_id = query_column_int(&q, 0);
        b->n_cap = (size_t)query_column_int(&q, 1);
        b->m.dim = (int32_t)query_column_int(&q, 2);
    } else if (status != ERR_NONE) {
        return status;
    }
    query_end(&q);
    if (b->n_cap && (b->m.dim <= 0 || b->m.dim > 65536))
        return err_fatal(err, EX_DATAERR,
                         "store %s: table embedding: dimension %d; restore a "
                         "backup",
                         st->path, b->m.dim);
    return ERR_OK;
}

static int matrix_alloc(struct matrix_builder *b, struct err *err)
{
    size_t n = b->n_cap ? b->n_cap : 1;
    size_t dim = b->m.dim > 0 ? (size_t)b->m.dim : 1;

    b->id_cap = 32 * n;
    b->id_at = calloc(n, sizeof *b->id_at);
    b->m.item_id = calloc(n, sizeof *b->m.item_id);
    b->m.vec = calloc(n, dim * sizeof *b->m.vec);
    b->m.id_block = malloc(b->id_cap);
    if (!b->id_at || !b->m.item_id || !b->m.vec || !b->m.id_block)
        return err_oom(err, "hold the embeddings in memory");
    return ERR_OK;
}

static int matrix_id(struct matrix_builder *b, const struct query *q, struct err *err)
{
    const void *id = sqlite3_column_text(q->stmt, 4);
    size_t bytes = (size_t)sqlite3_column_bytes(q->stmt, 4) + 1;

    if (!id)
        return err_oom(err, "hold the embeddings in memory");
    if (b->id_bytes + bytes > b->id_cap) {
        size_t cap = 2 * b->id_cap + bytes;
        char *p = realloc(b->m.id_block, cap);

        if (!p)
            return err_oom(err, "hold the embeddings in memory");
        b->m.id_block = p;
        b->id_cap = cap;
    }
    memcpy(b->m.id_block + b->id_bytes, id, bytes);
    b->id_at[b->m.n_rows] = b->id_bytes;
    b->id_bytes += bytes;
    return ERR_OK;
}

static int matrix_row(struct matrix_builder *b, const struct query *q, struct err *err)
{
    int64_t rid = query_column_int(q, 3);
    int64_t row_dim = query_column_int(q, 0);
    size_t dim = (size_t)b->m.dim;
    int status = store_vector_verify(q, 0, "embedding", rid, err);

    if (status != ERR_OK)
        return status;
    if (row_dim != b->m.dim || b->m.n_rows == b->n_cap)
        return err_fatal(err, EX_DATAERR,
                         "store %s: table embedding, row %lld of model %lld: dimension %lld, "
                         "the others have %d; restore a backup",
                         q->st->path, (long long)rid, (long long)b->m.model_id,
                         (long long)row_dim, b->m.dim);
    status = matrix_id(b, q, err);
    if (status != ERR_OK)
        return status;
    memcpy(b->m.vec + b->m.n_rows * dim, sqlite3_column_blob(q->stmt, 1), dim * sizeof(float));
    b->m.n_rows++;
    return ERR_OK;
}

static int matrix_rows(struct store *st, struct matrix_builder *b, struct err *err)
{
    struct query q = query_begin(st, SQL_MATRIX_ROWS);
    int status;

    query_int(&q, b->m.model_id);
    while ((status = query_step(&q, "read the embeddings", err)) == ERR_OK) {
        status = matrix_row(b, &q, err);
        if (status != ERR_OK)
            break;
    }
    query_end(&q);
    if (status != ERR_END)
        return status;
    for (size_t i = 0; i < b->m.n_rows; i++)
        b->m.item_id[i] = b->m.id_block + b->id_at[i];
    return ERR_OK;
}

int store_read_embeddings(struct store *st, struct store_matrix *ret_m, struct err *err)
{
    struct matrix_builder b = {0};
    int status = store_read_begin(st, err); /* one model, counted and read */

    if (status != ERR_OK)
        return status;
    status = matrix_size(st, &b, err);
    if (status == ERR_OK)
        status = matrix_alloc(&b, err);
    if (status == ERR_OK)
        status = matrix_rows(st, &b, err);
    store_read_end(st);
    free(b.id_at);
    if (status != ERR_OK) {
        store_matrix_done(&b.m);
        return status;
    }
    *ret_m = b.m;
    return ERR_OK;
}

void store_matrix_done(struct store_matrix *m)
{
    free(m->item_id);
    free(m->id_block);
    free(m->vec);
    *m = (struct store_matrix){0};
}

/* ---- ids and users ------------------------------------------------------------------------ */

int store_find_ids(struct store *st, enum store_side side, char *const *names, size_t n,
                   int64_t *ret_ids, struct err *err)
{
    enum sql_id sql = side == STORE_SIDE_ITEMS ? SQL_ITEM_FIND : SQL_USER_FIND;

    for (size_t i = 0; i < n; i++) {
        struct query q = query_begin(st, sql);

        query_text(&q, names[i]);
        int status = query_row(&q, "find an id", err);
        if (status != ERR_OK && status != ERR_NONE)
            return status;
        ret_ids[i] = status == ERR_OK ? query_column_int(&q, 0) : 0;
        query_end(&q);
    }
    return ERR_OK;
}

int store_get_user_vector(struct store *st, const char *user_id, float **ret_vec,
                          int32_t *ret_dim, struct err *err)
{
    struct query q = query_begin(st, SQL_USER_VECTOR);

    query_text(&q, user_id);
    int status = query_row(&q, "read a user's vector", err);
    if (status == ERR_OK)
        status = store_vector_column(&q, 0, "user_embedding", query_column_int(&q, 3), ret_vec,
                                     ret_dim, err);
    query_end(&q);
    return status;
}

static int items_of_user(struct store *st, enum sql_id sql, const char *user_id,
                         int64_t **ret_rids, size_t *ret_n, struct err *err)
{
    struct query q = query_begin(st, sql);
    int64_t *rids = NULL;
    size_t n = 0;
    int status;

    query_text(&q, user_id);
    while ((status = query_step(&q, "read a user's items", err)) == ERR_OK) {
        int64_t *more = store_grow(rids, n, sizeof *rids);

        if (!more) {
            status = err_oom(err, "a user's items");
            break;
        }
        rids = more;
        rids[n++] = query_column_int(&q, 0);
    }
    query_end(&q);
    if (status != ERR_END) {
        free(rids);
        return status;
    }
    *ret_rids = rids;
    *ret_n = n;
    return ERR_OK;
}

int store_user_seen(struct store *st, const char *user_id, int64_t **ret_rids, size_t *ret_n,
                    struct err *err)
{
    return items_of_user(st, SQL_USER_SEEN, user_id, ret_rids, ret_n, err);
}

int store_user_against(struct store *st, const char *user_id, int64_t **ret_rids, size_t *ret_n,
                       struct err *err)
{
    return items_of_user(st, SQL_USER_AGAINST, user_id, ret_rids, ret_n, err);
}
