#include "daemon/model/feature_row.h"

#include "store/touch.h"

#include <stdlib.h>
#include <string.h>

uint8_t feature_row(const struct model_shape *shape,
                    const struct feature_part part[MODALITY_COUNT], float *x)
{
    uint8_t mask = 0;

    memset(x, 0, (size_t)shape->F * sizeof *x);
    for (int m = 0; m < MODALITY_COUNT; m++) {
        if (part[m].vec && part[m].dim == shape->modality_dim[m] &&
            strcmp(part[m].encoder_id, shape->encoder_id[m]) == 0) {
            memcpy(x, part[m].vec, (size_t)part[m].dim * sizeof *x);
            mask |= (uint8_t)MODALITY_BIT(m);
        }
        x += shape->modality_dim[m];
    }
    return mask;
}

uint8_t feature_row_stored(const struct model_shape *shape, const struct store_features *f,
                           float *x)
{
    struct feature_part part[MODALITY_COUNT];

    for (int m = 0; m < MODALITY_COUNT; m++)
        part[m] = (struct feature_part){f->vec[m], f->dim[m], f->encoder_id[m]};
    return feature_row(shape, part, x);
}

int feature_row_read(struct store *st, int64_t rid, const struct model_shape *shape, float *x,
                     uint8_t *ret_mask, struct err *err)
{
    struct store_features f;
    int status = store_read_features(st, rid, &f, err);

    if (status == ERR_OK)
        *ret_mask = feature_row_stored(shape, &f, x);
    for (int m = 0; m < MODALITY_COUNT; m++)
        free(f.vec[m]);
    return status;
}
