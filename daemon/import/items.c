#include "config/array.h"
#include "daemon/base/interaction_file.h"
#include "daemon/base/tsv.h"
#include "daemon/import/internal.h"
#include "daemon/model/active_model.h"
#include "fusion/file/npy.h"
#include "fusion/model/fuse.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

#define IDS_BYTES_MAX (INT64_C(256) << 20) /* the ids are held in memory */
#define DIM_MAX       65536
#define VECTOR_FLOATS (IMPORT_ITEMS * (size_t)4096) /* of one modality of one transaction */

struct items {
    char **id; /* (n) */
    size_t n, room;
    struct npy_reader *reader[MODALITY_COUNT];
    size_t dim[MODALITY_COUNT]; /* 0 = the modality is not given */
    char encoder_id[MODALITY_COUNT][64];
    float *rows[MODALITY_COUNT]; /* (block, dim) */
    size_t block;                /* items of a transaction */
    struct active_model model;
    float *X, *E; /* (block, F), (block, D) */
    struct store_video *videos;
    struct store_op *ops; /* (block) */
};

/* ---- the ids --------------------------------------------------------------------------------- */

static int keep_id(struct items *it, const char *id, struct err *err)
{
    char **more = array_reserve(it->id, &it->room, it->n + 1, sizeof *more);

    if (!more)
        return err_oom(err, "import");
    it->id = more;
    it->id[it->n] = strdup(id);
    return it->id[it->n++] ? ERR_OK : err_oom(err, "import");
}

static int read_id(struct import *im, struct items *it, const struct table *t, struct err *err)
{
    const struct table_field *f = &t->field[0];
    const char *fault;

    if (im->result.n_blank)
        return table_fault(t, err,
                           "an empty line stands before this one: row n of each array is id n, "
                           "so remove it");
    if (t->n_fields != 1)
        return table_fault(t, err, "%zu fields where one id is expected", t->n_fields);
    if (t->line == 1 && interaction_file_is_named(f->text, INTERACTION_ITEM)) {
        im->result.n_header++;
        return ERR_OK;
    }
    if ((fault = interaction_file_id_fault(t, f)))
        return table_fault(t, err, "the id \"%.64s\" %s", f->text, fault);
    return keep_id(it, f->text, err);
}

/* Row n of each array is item n: two rows of one id would leave one of them unread. */
static int check_twice(const struct import *im, const struct items *it, struct err *err)
{
    struct tsv_index x;
    int r = tsv_index_new(it->id, it->n, &x, err);

    if (r != ERR_OK)
        return r;
    for (size_t i = 1; r == ERR_OK && i < x.n; i++)
        if (strcmp(x.sorted[i - 1].name, x.sorted[i].name) == 0) {
            int64_t line = im->result.n_header + 1 + x.sorted[i].row;
            int64_t first = im->result.n_header + 1 + x.sorted[i - 1].row;

            r = err_fatal(err, EX_DATAERR,
                          "%s: \"%s\" is on line %" PRId64 " and on line %" PRId64
                          "; give each id one row",
                          im->q->list.name, x.sorted[i].name, first < line ? first : line,
                          first < line ? line : first);
        }
    tsv_index_done(&x);
    return r;
}

static int read_ids(struct import *im, struct items *it, struct err *err)
{
    const struct import_request *q = im->q;
    char separator = q->separator ? q->separator : table_separator(q->list.name);
    struct stat info;
    struct table t;

    if (fstat(q->list.fd, &info) != 0 || info.st_size > IDS_BYTES_MAX)
        return err_fatal(err, EX_DATAERR, "%s: more than %lld MiB of ids: import it in parts",
                         q->list.name, (long long)(IDS_BYTES_MAX >> 20));
    int r = table_open(q->list.fd, q->list.name, separator, &t, err);
    if (r != ERR_OK)
        return r;
    while (r == ERR_OK && (r = table_next(&t, err)) == ERR_OK) {
        if (table_is_blank(&t))
            im->result.n_blank++;
        else
            r = read_id(im, it, &t, err);
        if (r == ERR_OK)
            r = import_tell(im, 0, err);
    }
    table_close(&t);
    if (r == ERR_END)
        r = it->n
                ? check_twice(im, it, err)
                : err_fatal(err, EX_DATAERR, "%s: is empty; write one id a line", q->list.name);
    im->result.n_lines = (int64_t)it->n;
    return r;
}

/* ---- the arrays ------------------------------------------------------------------------------ */

static int check_finite(struct import *im, struct items *it, int m, struct err *err)
{
    size_t dim = it->dim[m];
    int r = ERR_OK;

    for (size_t i = 0; r == ERR_OK && i < it->n; i += it->block) {
        size_t n = it->n - i < it->block ? it->n - i : it->block;

        r = npy_reader_read(it->reader[m], i, n, it->rows[m], err);
        for (size_t k = 0; r == ERR_OK && k < n * dim; k++)
            if (!isfinite(it->rows[m][k]))
                r = err_fatal(err, EX_DATAERR, "%s: row %zu is not finite; mend it",
                              im->q->array[m].name, i + k / dim);
        if (r == ERR_OK)
            r = import_tell(im, 0, err);
    }
    return r;
}

static int open_array(struct import *im, struct items *it, int m, struct err *err)
{
    const struct import_file *file = &im->q->array[m];
    int r = npy_reader_open(file->fd, file->name, &it->reader[m], err);

    if (r != ERR_OK)
        return r;
    size_t n_rows = npy_reader_n_rows(it->reader[m]), dim = npy_reader_n_cols(it->reader[m]);
    if (n_rows != it->n || dim == 0 || dim > DIM_MAX)
        return err_fatal(err, EX_DATAERR,
                         "%s is (%zu, %zu), but %s has %zu ids%s: give each id one row",
                         file->name, n_rows, dim, im->q->list.name, it->n,
                         im->result.n_header ? " below a header line" : "");
    it->dim[m] = dim;
    snprintf(it->encoder_id[m], sizeof it->encoder_id[m], "import:%s:%zu", im->q->encoder, dim);
    if (VECTOR_FLOATS / dim < it->block)
        it->block = VECTOR_FLOATS / dim;
    return ERR_OK;
}

static int open_arrays(struct import *im, struct items *it, struct err *err)
{
    int r = ERR_OK;

    for (int m = 0; r == ERR_OK && m < MODALITY_COUNT; m++)
        if (im->q->array[m].fd >= 0)
            r = open_array(im, it, m, err);
    for (int m = 0; r == ERR_OK && m < MODALITY_COUNT; m++) {
        if (!it->dim[m])
            continue;
        it->rows[m] = calloc(it->block * it->dim[m], sizeof(float));
        r = it->rows[m] ? check_finite(im, it, m, err) : err_oom(err, "import");
    }
    it->videos = calloc(it->block, sizeof *it->videos);
    it->ops = calloc(it->block, sizeof *it->ops);
    return r == ERR_OK && (!it->videos || !it->ops) ? err_oom(err, "import") : r;
}

/* ---- embeddings by the active model ---------------------------------------------------------- */

struct look {
    struct items *it;
    const struct settings *settings;
    struct active_model newer;
};

/* Costs nothing where the model is in memory, as in a daemon. */
static int look_for_model(struct store *st, void *arg, struct err *err)
{
    struct look *look = arg;

    return active_model_newer(&look->it->model, st, look->settings, &look->newer, err);
}

/* The active model, if there is one, in place of what there was. */
static int open_model(struct import *im, struct items *it, struct err *err)
{
    struct look look = {.it = it, .settings = im->q->settings};
    int r = store_work(&im->q->writer, look_for_model, &look, err);

    if (r != ERR_OK)
        return r == ERR_NONE ? ERR_OK : r; /* no model yet: no embeddings */
    active_model_done(&it->model);
    it->model = look.newer;
    free(it->X);
    free(it->E);
    const struct model_shape *shape = model_shape(it->model.model);
    it->X = calloc(it->block * (size_t)shape->F + 1, sizeof *it->X);
    it->E = calloc(it->block * (size_t)shape->D + 1, sizeof *it->E);
    return it->X && it->E ? ERR_OK : err_oom(err, "import");
}

/* A modality of another encoder than the model's counts as missing. */
static uint8_t lay_out_row(const struct items *it, size_t row, float *x)
{
    const struct model_shape *shape = model_shape(it->model.model);
    uint8_t mask = 0;

    for (int m = 0; m < MODALITY_COUNT; m++) {
        size_t dim = (size_t)shape->modality_dim[m];

        if (dim && it->dim[m] == dim && strcmp(it->encoder_id[m], shape->encoder_id[m]) == 0) {
            memcpy(x, it->rows[m] + row * dim, dim * sizeof *x);
            mask |= (uint8_t)MODALITY_BIT(m);
        }
        x += dim;
    }
    return mask;
}

static int embed_block(struct items *it, size_t n, struct err *err)
{
    uint8_t mask[IMPORT_ITEMS];

    if (!it->model.model)
        return ERR_OK;
    const struct model_shape *shape = model_shape(it->model.model);
    size_t F = (size_t)shape->F, D = (size_t)shape->D;
    memset(it->X, 0, n * F * sizeof *it->X);
    for (size_t k = 0; k < n; k++)
        mask[k] = lay_out_row(it, k, it->X + k * F);
    int r = fuse_items(it->model.model, it->X, mask, n, it->E, err);
    for (size_t k = 0; r == ERR_OK && k < n; k++) {
        bool zero = true;

        for (size_t j = 0; zero && j < D; j++)
            zero = it->E[k * D + j] == 0.0F;
        it->videos[k].embedding = (struct store_vector){.vec = NULL};
        if (!zero)
            it->videos[k].embedding = (struct store_vector){it->E + k * D, shape->D, NULL};
        it->videos[k].model_id = it->model.model_id;
    }
    return r;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static int read_block(struct import *im, struct items *it, size_t first, size_t n,
                      struct err *err)
{
    int r = ERR_OK;

    for (int m = 0; r == ERR_OK && m < MODALITY_COUNT; m++)
        if (it->dim[m])
            r = npy_reader_read(it->reader[m], first, n, it->rows[m], err);
    for (size_t k = 0; r == ERR_OK && k < n; k++) {
        struct store_video *v = &it->videos[k];

        *v = (struct store_video){.pos = {im->topic, 0, (int64_t)(first + k)},
                                  .item_id = it->id[first + k],
                                  .received_us = im->now_us};
        for (int m = 0; m < MODALITY_COUNT; m++)
            if (it->dim[m])
                v->feature[m] = (struct store_vector){it->rows[m] + k * it->dim[m],
                                                      (int32_t)it->dim[m], it->encoder_id[m]};
        it->ops[k] = (struct store_op){.kind = STORE_OP_VIDEO, .video = v};
    }
    return r;
}

/* Once more when the model has changed between fusing and writing: whoever activated it has fused
 * what was in the store by then. */
static int write_items(struct import *im, struct items *it, size_t n, struct err *err)
{
    int r;

    do {
        r = embed_block(it, n, err);
        if (r == ERR_OK)
            r = import_write(im, it->ops, n, it->model.model_id, err);
        if (r == ERR_STALE && (r = open_model(im, it, err)) == ERR_OK)
            r = ERR_STALE;
    } while (r == ERR_STALE);
    return r;
}

static int write_all(struct import *im, struct items *it, struct err *err)
{
    int r = open_model(im, it, err);

    im->total = (int64_t)it->n;
    for (size_t i = 0; r == ERR_OK && i < it->n; i += it->block) {
        size_t n = it->n - i < it->block ? it->n - i : it->block;

        r = read_block(im, it, i, n, err);
        if (r == ERR_OK)
            r = write_items(im, it, n, err);
        if (r == ERR_OK && i + n < it->n)
            r = import_tell(im, (int64_t)(i + n), err);
    }
    return r;
}

/* The digests of the ids and of each array with its modality, and the encoder's name. */
static int name_it(struct import *im, struct err *err)
{
    char text[(MODALITY_COUNT + 1) * (DIGEST_HEX_BYTES + 16) + 40], hex[DIGEST_HEX_BYTES];
    int r = import_digest(im, &im->q->list, text, err);

    for (int m = 0; r == ERR_OK && m < MODALITY_COUNT; m++) {
        if (im->q->array[m].fd < 0)
            continue;
        r = import_digest(im, &im->q->array[m], hex, err);
        if (r == ERR_OK)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", hex,
                     modality_name((enum modality)m));
    }
    if (r != ERR_OK)
        return r;
    snprintf(text + strlen(text), sizeof text - strlen(text), "%.32s", im->q->encoder);
    digest_hex(text, strlen(text), hex);
    snprintf(im->topic, sizeof im->topic, "import:%s", hex);
    return ERR_OK;
}

static void items_done(struct items *it)
{
    for (size_t i = 0; i < it->n; i++)
        free(it->id[i]);
    free(it->id);
    for (int m = 0; m < MODALITY_COUNT; m++) {
        npy_reader_free(it->reader[m]);
        free(it->rows[m]);
    }
    active_model_done(&it->model);
    free(it->X);
    free(it->E);
    free(it->videos);
    free(it->ops);
}

int import_items(struct import *im, struct err *err)
{
    struct items it = {.block = IMPORT_ITEMS};
    int r = read_ids(im, &it, err);

    if (r == ERR_OK)
        r = open_arrays(im, &it, err);
    if (r == ERR_OK)
        r = name_it(im, err);
    if (r == ERR_OK)
        r = write_all(im, &it, err);
    items_done(&it);
    return r;
}
