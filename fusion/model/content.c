#include "fusion/model/content.h"

#include "fusion/model/internal.h"

#include <math.h>
#include <stdio.h>
#include <sysexits.h>

void content_scale(float *c, size_t C, float scale)
{
    double sum = 0;
    for (size_t j = 0; j < C; j++)
        sum += (double)c[j] * (double)c[j];
    for (size_t j = 0; j < C && sum > 0; j++)
        c[j] = (float)((double)c[j] * (double)scale / sqrt(sum));
}

static int bad(const struct model *m, const char *what, struct err *err)
{
    return err_fatal(err, EX_DATAERR, "model %s: %s; train it again", m->path, what);
}

int content_derive(struct model *m, struct err *err)
{
    struct model_shape *s = &m->shape;
    const struct model_tensor *P = model_tensor(m, "mmf.content");
    const char *scale = model_text(m, "mmf.content_scale");
    char tail;
    if (!P && !scale)
        return ERR_OK;
    if (!P || !scale || s->L == 0 || !model_tensor(m, "mmf.mean"))
        return bad(m,
                   "one of mmf.content, mmf.content_scale, mmf.mean and layer_1.M_1 is missing",
                   err);
    if (P->n_dims != 2 || P->shape[0] != (size_t)s->F || P->shape[1] < 1 ||
        P->shape[1] > P->shape[0])
        return bad(m, "tensor mmf.content is not (F, C), F as layer_1.M_1 has it", err);
    if (sscanf(scale, "%f%c", &s->content_scale, &tail) != 1 || !isfinite(s->content_scale) ||
        s->content_scale <= 0)
        return bad(m, "mmf.content_scale is not a length", err);
    s->content_dim = (int32_t)P->shape[1];
    return ERR_OK;
}
