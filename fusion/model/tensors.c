/* The table of tensors and metadata, and what is said of a part that does not fit. */

#include "fusion/model/internal.h"

#include "config/array.h"
#include "fusion/math/gemm.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define LENGTH_MAX 1e6F /* beyond it is no vector that a training makes */

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

int model_add_shape(struct model *model, const char *name, int n_dims, const size_t *shape,
                    float **ret_data, struct err *err)
{
    struct model_tensor t = {.n_dims = n_dims, .n_elements = 1};
    struct model_tensor *tensors =
        array_reserve(model->tensors, &model->tensors_room, model->n_tensors + 1, sizeof(t));

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
        array_reserve(model->texts, &model->texts_room, model->n_texts + 1, sizeof(text));

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

/* ---- what does not fit ---- */

static void print_shape(const struct model_tensor *t, char *text, size_t bytes)
{
    size_t used = (size_t)snprintf(text, bytes, "(");

    for (int i = 0; i < t->n_dims && used < bytes; i++)
        used +=
            (size_t)snprintf(text + used, bytes - used, i == 0 ? "%zu" : ", %zu", t->shape[i]);
    if (used < bytes)
        snprintf(text + used, bytes - used, ")");
}

int model_expect(const struct model *m, const struct model_tensor *t, size_t rows, size_t cols,
                 const char *why, struct err *err)
{
    char have[96], want[64];

    if (t->n_dims == (cols == 0 ? 1 : 2) && t->shape[0] == rows &&
        (cols == 0 || t->shape[1] == cols))
        return ERR_OK;
    print_shape(t, have, sizeof(have));
    if (cols == 0)
        snprintf(want, sizeof(want), "(%zu)", rows);
    else
        snprintf(want, sizeof(want), "(%zu, %zu)", rows, cols);
    return err_fatal(
        err, EX_DATAERR,
        "model %s: tensor %s is %s, but %s asks for %s; the tensors are not of one "
        "model",
        m->path, t->name, have, why, want);
}

int model_missing(const struct model *m, const char *name, const char *why, struct err *err)
{
    return err_fatal(err, EX_DATAERR, "model %s: tensor %s is missing, but %s is there",
                     m->path, name, why);
}

int model_wrong(const struct model *m, const char *name, const char *what, struct err *err)
{
    return err_fatal(err, EX_DATAERR, "model %s: %s %s", m->path, name, what);
}

int model_matrix(const struct model *m, const char *name, const char *why,
                 const struct model_tensor **ret_t, struct err *err)
{
    const struct model_tensor *t = model_tensor(m, "%s", name);

    if (t == NULL)
        return model_missing(m, name, why, err);
    if (t->n_dims != 2 || t->shape[0] < 1 || t->shape[1] < 1 || t->shape[1] > MODEL_DIM_MAX ||
        t->shape[0] > MODEL_DIM_MAX)
        return model_wrong(m, name, "is not a matrix of usable size", err);
    *ret_t = t;
    return ERR_OK;
}
