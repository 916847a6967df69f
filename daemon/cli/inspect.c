#include "daemon/cli/inspect.h"

#include "daemon/model/feature_row.h"
#include "fusion/model/fuse.h"
#include "store/reading.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int inspect_open(struct store *st, const struct settings *s, struct inspect *ret_i,
                 struct err *err)
{
    struct active_model none = {0};
    struct inspect i = {.st = st};
    int r = active_model_newer(&none, st, s, &i.model, err);

    if (r != ERR_OK && r != ERR_NONE)
        return r;
    if (r == ERR_OK) {
        i.F = model_shape(i.model.model)->F;
        i.D = model_shape(i.model.model)->D;
    }
    *ret_i = i;
    return ERR_OK;
}

void inspect_done(struct inspect *i)
{
    active_model_done(&i->model);
}

/* ---- one item ---------------------------------------------------------------------------- */

void inspect_item_done(struct inspect_item *item)
{
    for (int m = 0; m < MODALITY_COUNT; m++)
        free(item->vec[m]);
    free(item->x);
    *item = (struct inspect_item){0};
}

static int lay_out(const struct inspect *i, struct inspect_item *item, struct err *err)
{
    struct feature_part part[MODALITY_COUNT];

    if (!i->model.model)
        return ERR_OK;
    item->x = calloc((size_t)i->F + 1, sizeof(*item->x));
    if (!item->x)
        return err_oom(err, "an item's features");
    for (int m = 0; m < MODALITY_COUNT; m++)
        part[m] = (struct feature_part){item->vec[m], item->dim[m], item->encoder_id[m]};
    item->used = feature_row(model_shape(i->model.model), part, item->x);
    return ERR_OK;
}

int inspect_read(struct inspect *i, const char *item_id, struct inspect_item *ret_item,
                 struct err *err)
{
    struct inspect_item item = {0};
    int r = ERR_OK;

    for (int m = 0; r == ERR_OK && m < MODALITY_COUNT; m++) {
        r = store_get_feature(i->st, item_id, (enum modality)m, &item.vec[m], &item.dim[m],
                              item.encoder_id[m], err);
        if (r == ERR_OK)
            item.stored |= (uint8_t)MODALITY_BIT(m);
        else if (r == ERR_NONE)
            r = ERR_OK;
    }
    if (r == ERR_OK)
        r = lay_out(i, &item, err);
    if (r != ERR_OK)
        inspect_item_done(&item);
    else
        *ret_item = item;
    return r;
}

/* ---- ablation ---------------------------------------------------------------------------- */

static double cosine(const float *a, const float *b, size_t n)
{
    double ab = 0, aa = 0, bb = 0;

    for (size_t k = 0; k < n; k++) {
        ab += (double)a[k] * (double)b[k];
        aa += (double)a[k] * (double)a[k];
        bb += (double)b[k] * (double)b[k];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

static void measure(const struct inspect_item *item, const float *E, size_t D,
                    struct inspect_ablation *ret_a)
{
    struct inspect_ablation a = {0};
    double sum = 0;

    for (int m = 0; m < MODALITY_COUNT; m++) {
        double moved = 1 - cosine(E, E + (size_t)(1 + m) * D, D);

        if (item->used & MODALITY_BIT(m))
            a.moved[m] = moved > 0 ? moved : 0;
        sum += a.moved[m];
    }
    for (int m = 0; m < MODALITY_COUNT && sum > 0; m++)
        a.share[m] = a.moved[m] / sum;
    *ret_a = a;
}

int inspect_ablate(struct inspect *i, const struct inspect_item *item, float *ret_E,
                   struct inspect_ablation *ret_a, struct err *err)
{
    enum { ROWS = 1 + MODALITY_COUNT };
    size_t F = (size_t)i->F;
    uint8_t mask[ROWS] = {item->used};
    float *X = malloc((ROWS * F + 1) * sizeof(*X));
    int r;

    if (!X)
        return err_oom(err, "an item's features");
    for (size_t row = 0; row < ROWS; row++) {
        memcpy(X + row * F, item->x, F * sizeof(*X));
        if (row > 0) /* a masked modality's columns do not count */
            mask[row] = (uint8_t)(item->used & ~MODALITY_BIT(row - 1));
    }
    r = fuse_items(i->model.model, X, mask, ROWS, ret_E, err);
    free(X);
    if (r == ERR_OK)
        measure(item, ret_E, (size_t)i->D, ret_a);
    return r;
}
