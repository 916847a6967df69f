#include "fusion/model/model.h"

#include "fusion/model/fuse_plan.h"
#include "fusion/math/gemm.h"
#include "fusion/model/model_internal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define LENGTH_MAX 1e6F /* beyond it is no vector that a training makes */

static const char *const fusion_names[] = {"none", "static", "dense", "cp"};
static const char *const backbone_names[] = {"mf", "sage", "lightgcn"};

const char *fusion_kind_name(enum fusion_kind k)
{
    return fusion_names[k];
}

const char *backbone_kind_name(enum backbone_kind k)
{
    return backbone_names[k];
}

static int parse_word(const char *const *words, int n, const char *word)
{
    for (int i = 0; i < n; i++) {
        if (strcmp(words[i], word) == 0)
            return i;
    }
    return -1;
}

int fusion_kind_parse(const char *name)
{
    return parse_word(fusion_names, 4, name);
}

int backbone_kind_parse(const char *name)
{
    return parse_word(backbone_names, 3, name);
}

int model_new_empty(const char *path, struct model **ret_model, struct err *err)
{
    struct model *model = calloc(1, sizeof(*model));

    if (model == NULL || (model->path = strdup(path)) == NULL) {
        free(model);
        return err_oom(err, "a model");
    }
    *ret_model = model;
    return ERR_OK;
}

/* Room for one more element of `size` bytes. */
static void *grow(void *array, size_t n, size_t *room, size_t size)
{
    size_t more = *room == 0 ? 16 : *room * 2;
    void *grown;

    if (n < *room)
        return array;
    grown = reallocarray(array, more, size);
    if (grown != NULL)
        *room = more;
    return grown;
}

int model_add_shape(struct model *model, const char *name, int n_dims, const size_t *shape,
                    float **ret_data, struct err *err)
{
    struct model_tensor t = {.n_dims = n_dims, .n_elements = 1};
    struct model_tensor *tensors =
        grow(model->tensors, model->n_tensors, &model->tensors_room, sizeof(t));

    if (tensors == NULL)
        return err_oom(err, "a model's tensors");
    model->tensors = tensors;
    if (model_tensor(model, "%s", name) != NULL)
        return err_fatal(err, EX_DATAERR,
                         "%s: tensor %s is there twice, with and without the prefix fus.; "
                         "remove one",
                         model->path, name);
    for (int i = 0; i < n_dims; i++) {
        t.shape[i] = shape[i];
        t.n_elements *= shape[i];
    }
    t.name = strdup(name);
    t.data = gemm_alloc(t.n_elements);
    if (t.name == NULL || t.data == NULL) {
        free(t.name);
        free(t.data);
        return err_oom(err, "a model's tensor");
    }
    tensors[model->n_tensors++] = t;
    *ret_data = t.data;
    return ERR_OK;
}

int model_add(struct model *model, const char *name, size_t rows, size_t cols, float **ret_data,
              struct err *err)
{
    const size_t shape[2] = {rows, cols};

    return model_add_shape(model, name, cols == 0 ? 1 : 2, shape, ret_data, err);
}

int model_set(struct model *model, const char *key, const char *value, struct err *err)
{
    struct model_text text = {.key = strdup(key), .value = strdup(value)};
    struct model_text *texts =
        grow(model->texts, model->n_texts, &model->texts_room, sizeof(text));

    if (texts != NULL)
        model->texts = texts;
    if (texts == NULL || text.key == NULL || text.value == NULL) {
        free(text.key);
        free(text.value);
        return err_oom(err, "a model's metadata");
    }
    for (size_t i = 0; i < model->n_texts; i++) {
        if (strcmp(texts[i].key, key) != 0)
            continue;
        free(text.key);
        free(texts[i].value);
        texts[i].value = text.value;
        return ERR_OK;
    }
    texts[model->n_texts++] = text;
    return ERR_OK;
}

int model_set_shape(struct model *model, const struct model_shape *shape, struct err *err)
{
    const int32_t *m = shape->modality_dim;
    char dims[64], hops[16], id_dim[16], content[32], cold[32], members[16], fused[32], key[64];
    int status;

    snprintf(dims, sizeof(dims), "%d,%d,%d", m[0], m[1], m[2]);
    snprintf(hops, sizeof(hops), "%d", shape->hops);
    snprintf(id_dim, sizeof(id_dim), "%d", shape->id_dim);
    snprintf(content, sizeof(content), "%.9g", (double)shape->content_scale);
    snprintf(cold, sizeof(cold), "%.9g", (double)shape->cold_length);
    snprintf(fused, sizeof(fused), "%.9g", (double)shape->fused_length);
    snprintf(members, sizeof(members), "%d", shape->members);
    const struct safetensors_pair pairs[] = {
        {"mmf.fusion", fusion_kind_name(shape->fusion)},
        {"mmf.backbone", backbone_kind_name(shape->backbone)},
        {"mmf.modality_dim", dims},
        {"mmf.trained", shape->trained ? "true" : "false"},
        {"mmf.unit_length", shape->fused_length > 0 ? "true" : "false"},
        {"mmf.fused_length", shape->fused_length > 0 ? fused : NULL},
        {"mmf.hops", hops},
        {"mmf.id_dim", id_dim},
        {"mmf.content_scale", shape->content_dim ? content : NULL},
        {"mmf.cold_length", shape->cold_length > 0 ? cold : NULL},
        {"mmf.members", shape->members > 1 ? members : NULL},
    };

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (pairs[i].value == NULL)
            continue;
        status = model_set(model, pairs[i].key, pairs[i].value, err);
        if (status != ERR_OK)
            return status;
    }
    for (int i = 0; i < MODALITY_COUNT; i++) {
        snprintf(key, sizeof(key), "mmf.encoder_id.%s", modality_name((enum modality)i));
        status = model_set(model, key, shape->encoder_id[i], err);
        if (status != ERR_OK)
            return status;
    }
    return ERR_OK;
}

const struct model_tensor *model_tensor(const struct model *model, const char *name, ...)
{
    char text[SAFETENSORS_NAME_MAX + 1];
    va_list args;

    va_start(args, name);
    vsnprintf(text, sizeof(text), name, args);
    va_end(args);
    for (size_t i = 0; i < model->n_tensors; i++) {
        if (strcmp(model->tensors[i].name, text) == 0)
            return &model->tensors[i];
    }
    return NULL;
}

const char *model_text(const struct model *model, const char *key)
{
    for (size_t i = 0; i < model->n_texts; i++) {
        if (strcmp(model->texts[i].key, key) == 0)
            return model->texts[i].value;
    }
    return NULL;
}

int32_t model_number(const struct model *m, const char *key, long max)
{
    const char *text = model_text(m, key);
    char *end;
    long value;

    if (text == NULL)
        return -1;
    value = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || value > max)
        return -2;
    return (int32_t)value;
}

int model_length(const struct model *m, const char *key, float *length, struct err *err)
{
    const char *text = model_text(m, key);
    float value;
    char tail;

    if (text == NULL)
        return ERR_OK;
    if (sscanf(text, "%f%c", &value, &tail) != 1 || !(value > 0 && value <= LENGTH_MAX))
        return err_fatal(err, EX_DATAERR, "model %s: %s is not a length", m->path, key);
    *length = value;
    return ERR_OK;
}

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

int model_load(const char *path, struct model **ret_model, struct err *err)
{
    struct safetensors st;
    struct model *model = NULL;
    int status = safetensors_open(path, &st, err);

    if (status != ERR_OK)
        return status;
    status = model_new_empty(path, &model, err);
    if (status == ERR_OK)
        status = load_all(model, &st, err);
    safetensors_close(&st);
    if (status != ERR_OK) {
        model_free(model);
        return status;
    }
    *ret_model = model;
    return ERR_OK;
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
