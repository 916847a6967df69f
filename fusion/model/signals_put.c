/* What a training adds to a model that is being built; signals.c reads it again. */

#include "fusion/model/signals.h"

#include "config/modality.h"
#include "fusion/model/internal.h"

#include <stdio.h>
#include <string.h>

static int put(struct model *model, const char *name, size_t rows, size_t cols,
               const float *from, struct err *err)
{
    float *data;
    int status = model_add(model, name, rows, cols, &data, err);

    if (status == ERR_OK)
        memcpy(data, from, rows * (cols > 0 ? cols : 1) * sizeof(*from));
    return status;
}

static int put_factors(struct model *model, const struct signals_tensors *t, struct err *err)
{
    char lambda[32];

    snprintf(lambda, sizeof(lambda), "%.9g", (double)t->fold->lambda);
    int status = model_set(model, "mmf.factors.lambda", lambda, err);
    if (status == ERR_OK)
        status = put(model, "mmf.factors", t->n_items, t->fold->d, t->factors, err);
    return status == ERR_OK
               ? put(model, "mmf.factors.power", t->fold->d, 0, t->fold->power, err)
               : status;
}

static int put_columns(struct model *model, const struct signals_tensors *t, struct err *err)
{
    const struct columns *c = t->columns;
    size_t F = 0;
    char name[64];
    int status = ERR_OK;

    for (int m = 0; m < MODALITY_COUNT && status == ERR_OK; m++) {
        F += (size_t)c->modality_dim[m];
        snprintf(name, sizeof(name), "mmf.columns.%s", modality_name((enum modality)m));
        if (c->kept[m] > 0)
            status =
                put(model, name, (size_t)c->modality_dim[m], c->kept[m], c->project[m], err);
    }
    if (status == ERR_OK)
        status = put(model, "mmf.columns.join", c->K, c->C, c->join, err);
    if (model->shape.has_statistics || t->mean == NULL || t->std_dev == NULL)
        return status;
    if (status == ERR_OK)
        status = put(model, "mmf.mean", F, 0, t->mean, err);
    return status == ERR_OK ? put(model, "mmf.std", F, 0, t->std_dev, err) : status;
}

static int put_mapping(struct model *model, const struct mapping *m, struct err *err)
{
    int status = put(model, "mmf.mapping", m->F, m->A, m->weight, err);

    return status == ERR_OK ? put(model, "mmf.mapping.bias", m->A, 0, m->bias, err) : status;
}

/* As signals_derive reads them. */
static int put_numbers(struct model *model, const struct signals *s, struct err *err)
{
    char text[256];

    snprintf(text, sizeof(text),
             "trained=%.9g factors=%.9g content=%.9g fade=%.9g neighbours=%.9g ridge=%.9g "
             "mapped=%.9g",
             (double)s->trained, (double)s->factors, (double)s->content, (double)s->fade,
             (double)s->neighbours, (double)s->ridge, (double)s->mapped);
    return model_set(model, "mmf.signals", text, err);
}

int signals_put(struct model *model, const struct signals *signals,
                const struct signals_tensors *tensors, struct err *err)
{
    int status = put_numbers(model, signals, err);

    if (status == ERR_OK && tensors->factors != NULL)
        status = put_factors(model, tensors, err);
    if (status == ERR_OK && tensors->columns != NULL && tensors->columns->C > 0)
        status = put_columns(model, tensors, err);
    if (status == ERR_OK && tensors->mapping != NULL && tensors->mapping->A > 0)
        status = put_mapping(model, tensors->mapping, err);
    return status == ERR_OK ? model_finish(model, err) : status;
}
