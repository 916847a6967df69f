/* A trainee to and from model files. */

#include "fusion/model/internal.h"
#include "fusion/model/item_graph.h"
#include "fusion/model/similar.h"
#include "fusion/train/trainee.h"

#include <stdio.h>
#include <string.h>

static int put(struct model *model, const char *name, size_t rows, size_t cols,
               const float *from, struct err *err)
{
    float *data;
    int status = model_add(model, name, rows, cols, &data, err);
    if (!status)
        memcpy(data, from, rows * (cols ? cols : 1) * sizeof(*from));
    return status;
}

/* The backbone's own weights. */
static int put_own(const struct trainee *t, struct model *model, struct err *err)
{
    const struct backbone *b = backbone_of(t->o.shape.backbone);
    int status = ERR_OK;
    for (size_t i = 0; !status && i < b->n_tensors; i++)
        status = put(model, b->tensors[i].name, t->own[i].rows, t->own[i].cols,
                     t->w + t->own_at + t->own[i].at, err);
    return status;
}

static int export_into(const struct trainee *t, struct model *model, struct err *err)
{
    size_t F = (size_t)t->o.shape.F, id = (size_t)t->o.shape.id_dim;
    int status = model_set_shape(model, &t->o.shape, err);
    if (!status && t->n_fused)
        status = fusenet_export(&t->net, model, err);
    if (!status)
        status = put(model, "item_E", t->data->n_items, id, t->w + t->item, err);
    if (!status)
        status = put(model, "user", t->data->n_users, t->E, t->w + t->user, err);
    if (!status)
        status = put_own(t, model, err);
    if (!status && t->n_fused)
        status = put(model, "mmf.mean", F, 0, t->mean, err);
    if (!status && t->n_fused)
        status = put(model, "mmf.std", F, 0, t->std_dev, err);
    if (!status && t->knn.nnz)
        status = item_graph_put(model, &t->knn, &t->o.knn, t->o.knn_strength, err);
    const struct similar_items items = {
        .shape = &t->o.shape,
        .knn = &t->o.knn,
        .strength = t->o.knn_strength,
        .n_items = t->data->n_items,
        .mask = t->data->mask,
        .X = t->X,
        .Z = t->work,
        .B = t->D,
    };
    if (!status && t->knn.nnz && t->n_fused)
        status = similar_export(&items, model, err);
    if (!status)
        status = model_finish(model, err);
    return status;
}

int trainee_export(const struct trainee *t, struct model **ret_model, struct err *err)
{
    struct model *model;
    int status = model_new_empty("trained model", &model, err);
    if (status)
        return status;
    status = export_into(t, model, err);
    if (status) {
        model_free(model);
        return status;
    }
    *ret_model = model;
    return ERR_OK;
}

/* Columns of a matrix: n_cols from `first` on, of rows `stride` long. */
struct column_range {
    size_t first, n_cols, stride;
};

/* Columns of the rows of `to` (n, stride) from columns of a tensor, by the map, where both are as
 * wide. */
static void copy_columns(float *to, size_t n, struct column_range here,
                         const struct model_tensor *from, struct column_range there,
                         const uint32_t *map)
{
    if (!from || from->n_dims != 2 || from->shape[1] != there.stride ||
        here.n_cols != there.n_cols)
        return;
    for (size_t i = 0; i < n; i++) {
        size_t row = map ? map[i] : i;
        if (row < from->shape[0])
            memcpy(to + i * here.stride + here.first,
                   from->data + row * there.stride + there.first, here.n_cols * sizeof(*to));
    }
}

static void copy_rows(float *to, size_t n, size_t cols, const struct model_tensor *from,
                      const uint32_t *map)
{
    const struct column_range all = {0, cols, cols};
    copy_columns(to, n, all, from, all, map);
}

/* The fused half and the ID half; an earlier version's model may have content columns between. */
static void copy_users(struct trainee *t, const struct model *from, const uint32_t *map)
{
    const struct model_shape *a = &t->o.shape, *b = model_shape(from);
    const struct model_tensor *user = model_tensor(from, "user");
    float *to = t->w + t->user;
    size_t id = (size_t)a->id_dim, E = model_feature_width(b) + (size_t)b->id_dim;
    size_t n_fused = model_feature_width(b) - (size_t)b->content_dim;
    copy_columns(to, t->data->n_users, (struct column_range){0, t->n_fused, t->E}, user,
                 (struct column_range){0, n_fused, E}, map);
    copy_columns(to, t->data->n_users, (struct column_range){t->E - id, id, t->E}, user,
                 (struct column_range){model_feature_width(b), (size_t)b->id_dim, E}, map);
}

static void copy_own(struct trainee *t, const struct model *from)
{
    const struct backbone *b = backbone_of(t->o.shape.backbone);
    for (size_t i = 0; i < b->n_tensors; i++) {
        const struct model_tensor *tensor = model_tensor(from, "%s", b->tensors[i].name);
        const struct trainee_weights *own = &t->own[i];
        float *w = t->w + t->own_at + own->at;
        if (own->cols)
            copy_rows(w, own->rows, own->cols, tensor, NULL);
        else if (tensor && tensor->n_elements == own->rows)
            memcpy(w, tensor->data, own->rows * sizeof(*w));
    }
}

int trainee_warm_start(struct trainee *t, const struct model *from, const uint32_t *user_map,
                       const uint32_t *item_map, struct err *err)
{
    const struct model_shape *a = &t->o.shape, *b = model_shape(from);
    bool same = a->fusion == b->fusion && a->F == b->F && a->L == b->L && a->S == b->S &&
                a->R == b->R &&
                memcmp(a->width, b->width, ((size_t)a->L + 1) * sizeof(*a->width)) == 0;
    int status = ERR_OK;
    if (t->n_fused && same)
        status = fusenet_import(&t->net, from, err);
    copy_rows(t->w + t->item, t->data->n_items, (size_t)a->id_dim, model_tensor(from, "item_E"),
              item_map);
    copy_users(t, from, user_map);
    copy_own(t, from);
    return status;
}
