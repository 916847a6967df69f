/* How many trainings lie side by side in a model. */

#include "fusion/model/model_internal.h"

#include <sysexits.h>

int model_members_derive(struct model *m, struct err *err)
{
    const int32_t n = model_number(m, "mmf.members", MODEL_MEMBERS_MAX);
    struct model_shape *s = &m->shape;

    s->members = 1;
    if (n == -1 || n == 1)
        return ERR_OK;
    bool fits = n > 1 && s->content_dim == 0;
    for (int32_t l = 1; fits && l <= s->L; l++)
        fits = s->width[l] % n == 0;
    if (!fits || s->id_dim % n || s->S % n || s->R % n || s->D % n)
        return err_fatal(err, EX_DATAERR,
                         "model %s: mmf.members %s is no number of parts, at most %d, that the "
                         "widths are made of",
                         m->path, model_text(m, "mmf.members"), MODEL_MEMBERS_MAX);
    s->members = n;
    return ERR_OK;
}
