#include "fusion/model/cold.h"

#include "fusion/model/internal.h"

#include <math.h>

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
    return model_length(m, "mmf.cold_length", &m->shape.cold_length, err);
}
