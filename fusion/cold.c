#include "fusion/cold.h"

#include "fusion/model_internal.h"

#include <math.h>
#include <stdio.h>
#include <sysexits.h>

#define LENGTH_MAX 1e6F /* of a file: beyond it is no vector that a training makes */

void cold_lengthen(float *y, size_t D, float length, uint32_t n_interactions)
{
    double squares = 0, least = (double)length / sqrt(1 + (double)n_interactions);
    for (size_t j = 0; j < D; j++)
        squares += (double)y[j] * (double)y[j];
    if (squares == 0 || squares >= least * least)
        return;
    double scale = least / sqrt(squares);
    for (size_t j = 0; j < D; j++)
        y[j] = (float)((double)y[j] * scale);
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
