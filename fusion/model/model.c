#include "fusion/model/model.h"

#include "fusion/model/fuse_plan.h"
#include "fusion/model/internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static int load_tensor(struct model *model, const struct safetensors *st,
                       const struct safetensors_tensor *t, struct err *err)
{
    const char *name = strncmp(t->name, "fus.", 4) == 0 ? t->name + 4 : t->name;
    float *data;
    int status = model_add_shape(model, name, t->n_dims, t->shape, &data, err);

    return status == ERR_OK ? safetensors_read(st, t, data, err) : status;
}

static int load_all(struct model *model, const struct safetensors *st, struct err *err)
{
    int status = ERR_OK;

    for (size_t i = 0; i < st->n_tensors && status == ERR_OK; i++)
        status = load_tensor(model, st, &st->tensors[i], err);
    for (size_t i = 0; i < st->n_metadata && status == ERR_OK; i++)
        status = model_set(model, st->metadata[i].key, st->metadata[i].value, err);
    if (status == ERR_OK)
        status = model_finish(model, err);
    if (status == ERR_OK)
        status = model_prepare(model, err);
    return status;
}

/* Closes st. */
static int load(struct safetensors *st, const char *path, struct model **ret_model,
                struct err *err)
{
    struct model *model = NULL;
    int status = model_new_empty(path, &model, err);

    if (status == ERR_OK)
        status = load_all(model, st, err);
    safetensors_close(st);
    if (status != ERR_OK) {
        model_free(model);
        return status;
    }
    *ret_model = model;
    return ERR_OK;
}

int model_load(const char *path, struct model **ret_model, struct err *err)
{
    struct safetensors st;
    int status = safetensors_open(path, &st, err);

    return status == ERR_OK ? load(&st, path, ret_model, err) : status;
}

int model_load_bytes(const void *file, size_t bytes, const char *path, struct model **ret_model,
                     struct err *err)
{
    struct safetensors st;
    int status = safetensors_open_bytes(file, bytes, path, &st, err);

    return status == ERR_OK ? load(&st, path, ret_model, err) : status;
}

int model_save(const struct model *model, const char *path, struct err *err)
{
    struct safetensors_source *sources = calloc(model->n_tensors + 1, sizeof(*sources));
    struct safetensors_pair *pairs = calloc(model->n_texts + 1, sizeof(*pairs));
    int status = ERR_OK;

    if (sources == NULL || pairs == NULL)
        status = err_oom(err, "saving a model");
    for (size_t i = 0; i < model->n_tensors && status == ERR_OK; i++) {
        const struct model_tensor *t = &model->tensors[i];

        sources[i] =
            (struct safetensors_source){.name = t->name, .n_dims = t->n_dims, .data = t->data};
        memcpy(sources[i].shape, t->shape, sizeof(t->shape));
    }
    for (size_t i = 0; i < model->n_texts && status == ERR_OK; i++)
        pairs[i] = (struct safetensors_pair){model->texts[i].key, model->texts[i].value};
    if (status == ERR_OK)
        status = safetensors_write(path, sources, model->n_tensors, pairs, model->n_texts, err);
    free(sources);
    free(pairs);
    return status;
}

void model_bind(struct model *model, const int32_t dim[MODALITY_COUNT],
                const char encoder_id[MODALITY_COUNT][64])
{
    assert(dim[0] + dim[1] + dim[2] == model->shape.F);
    memcpy(model->shape.modality_dim, dim, sizeof(model->shape.modality_dim));
    memcpy(model->shape.encoder_id, encoder_id, sizeof(model->shape.encoder_id));
}

const struct model_shape *model_shape(const struct model *model)
{
    return &model->shape;
}

void model_free(struct model *model)
{
    if (model == NULL)
        return;
    for (size_t i = 0; i < model->n_tensors; i++) {
        free(model->tensors[i].name);
        free(model->tensors[i].data);
    }
    for (size_t i = 0; i < model->n_texts; i++) {
        free(model->texts[i].key);
        free(model->texts[i].value);
    }
    fuse_plan_free(model->plan);
    free(model->tensors);
    free(model->texts);
    free(model->path);
    free(model);
}
