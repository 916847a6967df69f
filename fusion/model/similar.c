#include "fusion/model/similar.h"

#include "fusion/math/rank.h"
#include "fusion/model/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define TWIN  0.9999F /* cosine above which a row may be the item itself */
#define K_MAX 1000

struct similar {
    size_t n, F, B;
    size_t dim[MODALITY_COUNT];
    struct knn_options knn;
    float strength;
    const float *x, *z; /* (n, F), (n, B): the model's */
    const float *item;  /* (n) rows of item_E, NULL in a file from before */
    struct gemm_matrix packed[MODALITY_COUNT];
};

/* ---- the model's side ------------------------------------------------------------------------ */

static int bad(const char *what, struct err *err)
{
    return err_fatal(err, EX_DATAERR, "model: mmf.knn: %s; train it again", what);
}

static int read_options(struct similar *s, const char *text, struct err *err)
{
    char tail;

    if (!text || sscanf(text, "%u %f %f %f %f%c", &s->knn.k, &s->strength, &s->knn.weight[0],
                        &s->knn.weight[1], &s->knn.weight[2], &tail) != 5)
        return bad("not k, strength and three weights", err);
    bool usable = s->knn.k >= 1 && s->knn.k <= K_MAX && isfinite(s->strength);
    for (int m = 0; m < MODALITY_COUNT; m++)
        usable = usable && s->knn.weight[m] > 0 && isfinite(s->knn.weight[m]);
    return usable ? ERR_OK : bad("a number out of range", err);
}

/* Whose rows x is; a file from before does not say. */
static int read_items(struct similar *s, const struct model *model, struct err *err)
{
    const struct model_tensor *item = model_tensor(model, "mmf.knn.item");
    const struct model_tensor *ids = model_tensor(model, "item_E");

    if (item == NULL)
        return ERR_OK;
    if (item->n_elements != s->n || ids == NULL)
        return bad("item is not (n), or there is no item_E", err);
    for (size_t i = 0; i < s->n; i++)
        if (!(item->data[i] >= 0 && item->data[i] < (float)ids->shape[0]))
            return bad("item is no row of item_E", err);
    s->item = item->data;
    return ERR_OK;
}

static int fill(struct similar *s, const struct model *model, const struct model_tensor *x,
                const struct model_tensor *z, struct err *err)
{
    const struct model_shape *shape = &model->shape;
    size_t first = 0;
    int status = read_options(s, model_text(model, "mmf.knn"), err);

    if (status != ERR_OK)
        return status;
    s->F = (size_t)shape->F;
    s->B = (size_t)shape->B;
    if (!shape->has_statistics || x->n_dims != 2 || z->n_dims != 2 || x->shape[1] != s->F ||
        z->shape[1] != s->B || x->shape[0] != z->shape[0])
        return bad("x is not (n, F) and z (n, B)", err);
    s->n = x->shape[0];
    s->x = x->data;
    s->z = z->data;
    status = read_items(s, model, err);
    for (int m = 0; status == ERR_OK && m < MODALITY_COUNT; m++) {
        s->dim[m] = (size_t)shape->modality_dim[m];
        if (s->dim[m] && s->n) /* its columns of x, as the items' side of a ranking */
            status = gemm_new_rows(s->x + first, s->n, s->dim[m], s->F, &s->packed[m], err);
        first += s->dim[m];
    }
    return status;
}

int similar_new(const struct model *model, struct similar **ret_s, struct err *err)
{
    const struct model_tensor *x = model_tensor(model, "mmf.knn.x");
    const struct model_tensor *z = model_tensor(model, "mmf.knn.z");

    *ret_s = NULL;
    if (x == NULL && z == NULL)
        return ERR_OK;
    if (x == NULL || z == NULL)
        return bad("x without z, or z without x", err);
    struct similar *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return err_oom(err, "the item-item graph");
    int status = fill(s, model, x, z, err);
    if (status == ERR_OK)
        *ret_s = s;
    else
        similar_free(s);
    return status;
}

void similar_free(struct similar *s)
{
    if (s == NULL)
        return;
    for (int m = 0; m < MODALITY_COUNT; m++)
        gemm_done(&s->packed[m]);
    free(s);
}

/* ---- rows ------------------------------------------------------------------------------------- */

/* Scratch of one call, for n items. */
struct rows {
    float *unit;  /* (n, F) */
    float *part;  /* (n, F) one modality's columns of it, close together */
    float *sum;   /* (n, B) what is borrowed */
    uint32_t *id; /* (n, k + 1) */
    float *score;
    uint32_t *twin; /* (n) the row that is passed over, in every modality the same */
};

static int rows_new(const struct similar *s, size_t n, struct rows *ret, struct err *err)
{
    const size_t k = (size_t)s->knn.k + 1;

    *ret = (struct rows){.unit = calloc(n * s->F + 1, sizeof(float)),
                         .part = calloc(n * s->F + 1, sizeof(float)),
                         .sum = calloc(n * s->B + 1, sizeof(float)),
                         .id = calloc(n * k, sizeof(uint32_t)),
                         .score = calloc(n * k, sizeof(float)),
                         .twin = calloc(n, sizeof(uint32_t))};
    if (!ret->unit || !ret->part || !ret->sum || !ret->id || !ret->score || !ret->twin)
        return err_oom(err, "items' neighbours");
    for (size_t i = 0; i < n; i++)
        ret->twin[i] = RANK_NONE;
    return ERR_OK;
}

static void rows_done(struct rows *r)
{
    free(r->unit);
    free(r->part);
    free(r->sum);
    free(r->id);
    free(r->score);
    free(r->twin);
}

static void unit_row(const struct similar *s, const float *x, float *ret_unit)
{
    for (int m = 0; m < MODALITY_COUNT; m++) {
        double sum = 0;

        for (size_t j = 0; j < s->dim[m]; j++)
            sum += (double)x[j] * (double)x[j];
        const float scale = sum > 0 ? (float)(1 / sqrt(sum)) : 0;
        for (size_t j = 0; j < s->dim[m]; j++)
            ret_unit[j] = scale * x[j];
        x += s->dim[m];
        ret_unit += s->dim[m];
    }
}

/* Its own features, up to rounding: a training standardises in another order. */
static bool is_twin(const struct similar *s, const float *unit, uint32_t id)
{
    float most = 0;

    for (size_t j = 0; j < s->F; j++)
        most = fmaxf(most, fabsf(unit[j] - s->x[id * s->F + j]));
    return most < 1e-5F;
}

/* One modality's k + 1 nearest of n items: all of them share a pass over the model's rows. It
 * reads every row; at some 10^5 items an index would have to replace it
 * (docs/design/fusion/216-items-without-interactions.md). */
static int rank_rows(const struct similar *s, int m, size_t first, size_t n, struct rows *r,
                     struct err *err)
{
    for (size_t i = 0; i < n; i++)
        memcpy(r->part + i * s->dim[m], r->unit + i * s->F + first,
               s->dim[m] * sizeof(*r->part));
    return rank_topk(&s->packed[m], r->part, n, NULL, 0, s->knn.k + 1, r->id, r->score, err);
}

/* Of what rank_rows found for item i: the neighbours and their values, to the front. */
static uint32_t take_neighbours(const struct similar *s, float share, size_t i, struct rows *r)
{
    const uint32_t k = s->knn.k;
    uint32_t *ids = r->id + i * (k + 1), n = 0;
    float *scores = r->score + i * (k + 1);
    double sum = 0;

    for (uint32_t at = 0; at <= k && n < k; at++) {
        const uint32_t id = ids[at];

        if (id == RANK_NONE || scores[at] <= 0)
            continue;
        if (r->twin[i] == RANK_NONE && scores[at] > TWIN && is_twin(s, r->unit + i * s->F, id))
            r->twin[i] = id;
        if (id == r->twin[i])
            continue;
        ids[n] = id;
        scores[n++] = scores[at];
        sum += (double)scores[n - 1];
    }
    for (uint32_t at = 0; at < n; at++)
        scores[at] = scores[at] * share / (float)sum;
    return n;
}

/* What the weights of an item's modalities sum up to. */
static float weight_of(const struct similar *s, unsigned mask)
{
    float weight = 0;

    for (int m = 0; m < MODALITY_COUNT; m++)
        weight += s->dim[m] && (mask & MODALITY_BIT(m)) ? s->knn.weight[m] : 0;
    return weight;
}

/* Adds item i's n neighbours of one modality to its sum. */
static void borrow(const struct similar *s, size_t i, uint32_t n, struct rows *r)
{
    const uint32_t *ids = r->id + i * (s->knn.k + 1);
    const float *values = r->score + i * (s->knn.k + 1);
    float *sum = r->sum + i * s->B;

    for (uint32_t at = 0; at < n; at++)
        for (size_t j = 0; j < s->B; j++)
            sum[j] += values[at] * s->z[ids[at] * s->B + j];
}

/* Neighbours of one modality into the list, those that are there already by their values. */
static void add_entries(const struct similar *s, const struct rows *r, uint32_t n,
                        uint32_t *items, float *values, size_t *n_items)
{
    for (uint32_t e = 0; e < n; e++) {
        const uint32_t item = (uint32_t)s->item[r->id[e]];
        size_t at = 0;

        while (at < *n_items && items[at] != item)
            at++;
        if (at == *n_items) {
            items[(*n_items)++] = item;
            values[at] = 0;
        }
        values[at] += r->score[e];
    }
}

size_t similar_width(const struct similar *s)
{
    return (size_t)s->knn.k * MODALITY_COUNT;
}

int similar_row(const struct similar *s, const float *x, uint8_t mask, uint32_t *ret_items,
                float *ret_values, size_t *ret_n, struct err *err)
{
    const float weight = weight_of(s, mask);
    size_t first = 0;
    struct rows r;
    int status = rows_new(s, 1, &r, err);

    *ret_n = 0;
    if (status == ERR_OK)
        unit_row(s, x, r.unit);
    for (int m = 0; status == ERR_OK && s->item && m < MODALITY_COUNT; m++) {
        if (s->dim[m] && s->n && (mask & MODALITY_BIT(m))) {
            status = rank_rows(s, m, first, 1, &r, err);
            if (status == ERR_OK)
                add_entries(s, &r, take_neighbours(s, s->knn.weight[m] / weight, 0, &r),
                            ret_items, ret_values, ret_n);
        }
        first += s->dim[m];
    }
    rows_done(&r);
    return status;
}

int similar_add(const struct similar *s, const float *x, size_t ldx, const uint8_t *mask,
                size_t n, float *E, size_t lde, struct err *err)
{
    size_t first = 0;
    struct rows r;
    int status = rows_new(s, n, &r, err);

    for (size_t i = 0; status == ERR_OK && i < n; i++)
        unit_row(s, x + i * ldx, r.unit + i * s->F);
    for (int m = 0; status == ERR_OK && m < MODALITY_COUNT; m++) {
        if (s->dim[m] && s->n)
            status = rank_rows(s, m, first, n, &r, err);
        for (size_t i = 0; status == ERR_OK && s->dim[m] && s->n && i < n; i++)
            if (mask[i] & MODALITY_BIT(m))
                borrow(s, i,
                       take_neighbours(s, s->knn.weight[m] / weight_of(s, mask[i]), i, &r), &r);
        first += s->dim[m];
    }
    for (size_t i = 0; status == ERR_OK && i < n; i++)
        for (size_t j = 0; mask[i] && j < s->B; j++)
            E[i * lde + j] += s->strength * r.sum[i * s->B + j];
    rows_done(&r);
    return status;
}

/* ---- from a training -------------------------------------------------------------------------- */

int similar_export(const struct similar_items *items, struct model *model, struct err *err)
{
    const struct knn_options *o = items->knn;
    size_t F = (size_t)items->shape->F, B = items->B, n = 0, at = 0;
    struct similar s = {.F = F};
    char text[160];
    float *x, *z, *item;

    for (int m = 0; m < MODALITY_COUNT; m++)
        s.dim[m] = (size_t)items->shape->modality_dim[m];
    for (uint32_t i = 0; i < items->n_items; i++)
        n += items->mask[i] != 0;
    snprintf(text, sizeof(text), "%u %.9g %.9g %.9g %.9g", o->k, (double)items->strength,
             (double)o->weight[0], (double)o->weight[1], (double)o->weight[2]);
    int status = model_set(model, "mmf.knn", text, err);
    if (status == ERR_OK)
        status = model_add(model, "mmf.knn.x", n, F, &x, err);
    if (status == ERR_OK)
        status = model_add(model, "mmf.knn.z", n, B, &z, err);
    if (status == ERR_OK)
        status = model_add(model, "mmf.knn.item", n, 0, &item, err);
    for (uint32_t i = 0; status == ERR_OK && i < items->n_items; i++) {
        if (!items->mask[i])
            continue;
        unit_row(&s, items->X + i * F, x + at * F);
        item[at] = (float)i;
        memcpy(z + at++ * B, items->Z + i * B, B * sizeof(*z));
    }
    return status;
}
