#include "daemon/pipeline/fuser.h"

#include "config/log.h"
#include "daemon/base/metrics.h"
#include "daemon/model/feature_row.h"
#include "fusion/model/fuse.h"

#include <stdlib.h>
#include <string.h>

int fuser_set_model(struct fuser *f, const struct active_model *m, struct err *err)
{
    const struct model_shape *shape = model_shape(m->model);
    float *X = calloc(FUSER_ROWS * (size_t)shape->F, sizeof(*X));
    float *E = calloc(FUSER_ROWS * (size_t)shape->D, sizeof(*E));
    if (!X || !E) {
        free(X);
        free(E);
        return err_oom(err, "fusion: blocks");
    }
    fuser_done(f);
    *f = (struct fuser){.model = m->model, .model_id = m->model_id, .X = X, .E = E};
    return ERR_OK;
}

void fuser_done(struct fuser *f)
{
    free(f->X);
    free(f->E);
    *f = (struct fuser){0};
}

static void tell_misfit(struct fuser *f, const struct features *x, int m)
{
    const struct model_shape *shape = model_shape(f->model);
    if (!f->told[m])
        log_warning("model %lld wants %s features of %s (%d), items have %s (%d): counted as "
                    "missing until a model is trained on them",
                    (long long)f->model_id, modality_name((enum modality)m),
                    shape->encoder_id[m], shape->modality_dim[m], x->encoder_id[m], x->dim[m]);
    f->told[m] = true;
}

/* x NULL = the item has none. */
static uint8_t fill_row(struct fuser *f, const struct features *x, float *row /* (F) */)
{
    struct feature_part part[MODALITY_COUNT] = {0};
    unsigned have = x ? x->mask : 0;
    for (int m = 0; m < MODALITY_COUNT; m++)
        if (have & MODALITY_BIT(m))
            part[m] = (struct feature_part){x->vec[m], x->dim[m], x->encoder_id[m]};
    uint8_t mask = feature_row(model_shape(f->model), part, row);
    for (int m = 0; m < MODALITY_COUNT; m++) {
        if (mask & MODALITY_BIT(m))
            continue;
        metrics_missing_modality(m);
        if (have & MODALITY_BIT(m))
            tell_misfit(f, x, m);
    }
    return mask;
}

/* A re-extraction with features that the model was not trained on: its vector would tell less than
 * the one that the item has. */
static bool keeps_vector(const struct fuser *f, const struct item *item, uint8_t mask)
{
    const struct model_shape *shape = model_shape(f->model);
    for (int m = 0; item->ticket && item->features && m < MODALITY_COUNT; m++)
        if ((item->features->mask & ~mask & MODALITY_BIT(m)) && shape->modality_dim[m] > 0)
            return true;
    return false;
}

static int keep_embedding(struct fuser *f, struct item *item, size_t row, struct err *err)
{
    int32_t D = model_shape(f->model)->D;
    const float *e = f->E + row * (size_t)D;
    float *vec = NULL;
    if (f->mask[row] != 0 && !fuse_is_zero(e, D) && !keeps_vector(f, item, f->mask[row])) {
        vec = arena_copy(&item->arena, e, (size_t)D * sizeof(*e));
        if (!vec)
            return err_oom(err, "fusion: copy an embedding");
    }
    item->embedding = vec;
    item->embedding_dim = D;
    item->model_id = f->model_id;
    return ERR_OK;
}

/* At most FUSER_ROWS videos. When the block fails, each row is tried alone: rows are independent,
 * so the one at fault is found and the others give the same bytes. */
static int run_block(struct fuser *f, struct item *const *videos, size_t n, struct err *err)
{
    size_t F = (size_t)model_shape(f->model)->F;
    for (size_t i = 0; i < n; i++)
        f->mask[i] = fill_row(f, videos[i]->features, f->X + i * F);
    int status = fuse_items(f->model, f->X, f->mask, n, f->E, err);
    for (size_t i = 0; status == ERR_OK && i < n; i++)
        status = keep_embedding(f, videos[i], i, err);
    if (status == ERR_OK || status == ERR_RETRY)
        return status;
    if (n == 1) {
        item_kill(videos[0], "fuse", err);
        return ERR_OK;
    }
    status = ERR_OK;
    for (size_t i = 0; status == ERR_OK && i < n; i++)
        status = run_block(f, &videos[i], 1, err);
    return status;
}

bool fuser_wants(const struct fuser *f, const struct item *item)
{
    return f->model_id && (item->kind == ITEM_PUBLISHED || item->kind == ITEM_UPDATED) &&
           item->model_id != f->model_id;
}

int fuser_run(struct fuser *f, struct item *const *items, size_t n, struct err *err)
{
    struct item *videos[FUSER_ROWS];
    size_t n_videos = 0;
    int status = ERR_OK;
    for (size_t i = 0; status == ERR_OK && i < n; i++) {
        if (fuser_wants(f, items[i]))
            videos[n_videos++] = items[i];
        if (n_videos == FUSER_ROWS || (n_videos > 0 && i + 1 == n)) {
            status = run_block(f, videos, n_videos, err);
            n_videos = 0;
        }
    }
    return status;
}
