#include "fusion/cold.h"

#include "fusion/model_internal.h"

#include <math.h>
#include <stdio.h>
#include <sysexits.h>

#define LENGTH_MAX 1e6F /* of a file: beyond it is no vector that a training makes */

static double norm(const float *y, size_t D)
{
    double squares = 0;
    for (size_t j = 0; j < D; j++)
        squares += (double)y[j] * (double)y[j];
    return sqrt(squares);
}

void cold_lengthen(float *y, size_t D, float length, uint32_t n_interactions)
{
    double own = norm(y, D), least = (double)length / sqrt(1 + (double)n_interactions);
    if (own == 0 || own >= least)
        return;
    for (size_t j = 0; j < D; j++)
        y[j] = (float)((double)y[j] * (least / own));
}

float cold_mean_length(const struct cold_items *items)
{
    double sum = 0;
    size_t n_warm = 0;
    for (size_t i = 0; i < items->n; i++) {
        if (items->n_interactions[i] == 0)
            continue;
        sum += norm(items->Y + i * items->D, items->D);
        n_warm++;
    }
    return n_warm ? (float)(sum / (double)n_warm) : 0;
}

void cold_lengthen_items(const struct cold_items *items, float length)
{
    for (size_t i = 0; i < items->n; i++)
        if (items->n_interactions[i] > 0 || items->mask[i])
            cold_lengthen(items->Y + i * items->D, items->D, length, items->n_interactions[i]);
}

int cold_derive(struct model *m, struct err *err)
{
    const char *text = model_text(m, "mmf.cold_length");
    float *length = &m->shape.cold_length;
    char tail;

    if (text == NULL)
        return ERR_OK;
    if (sscanf(text, "%f%c", length, &tail) == 1 && *length > 0 && *length <= LENGTH_MAX)
        return ERR_OK;
    return err_fatal(err, EX_DATAERR, "model %s: mmf.cold_length is not a length", m->path);
}
