#include "fusion/model/signals.h"

#include "config/modality.h"
#include "fusion/model/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBERS = 7, NUMBERS_MIN = 6, KEY_BYTES = 64 };

static const char *const names[NUMBERS] = {"trained",    "factors", "content", "fade",
                                           "neighbours", "ridge",   "mapped"};

static float *number_of(struct signals *s, size_t i)
{
    float *const numbers[NUMBERS] = {&s->trained,    &s->factors, &s->content, &s->fade,
                                     &s->neighbours, &s->ridge,   &s->mapped};

    return numbers[i];
}

static void tensor_name(char name[KEY_BYTES], int m)
{
    snprintf(name, KEY_BYTES, "mmf.columns.%s", modality_name((enum modality)m));
}

/* ---- reading --------------------------------------------------------------------------------- */

const struct signals *signals_of(const struct model *model)
{
    return &model->signals;
}

const float *signals_factors(const struct model *model, size_t *ret_n, size_t *ret_A)
{
    const struct model_tensor *t =
        model->shape.factor_dim > 0 ? model_tensor(model, "mmf.factors") : NULL;

    *ret_n = t != NULL ? t->shape[0] : 0;
    *ret_A = t != NULL ? t->shape[1] : 0;
    return t != NULL ? t->data : NULL;
}

static bool read_lambda(const struct model *m, float *ret)
{
    const char *text = model_text(m, "mmf.factors.lambda");
    char tail;

    return text != NULL && sscanf(text, "%f%c", ret, &tail) == 1;
}

bool signals_fold(const struct model *model, struct fold *ret_fold)
{
    struct fold f = {.d = (uint32_t)model->shape.factor_dim};

    if (f.d == 0 || !read_lambda(model, &f.lambda))
        return false;
    f.power = model_tensor(model, "mmf.factors.power")->data;
    *ret_fold = f;
    return true;
}

void signals_columns(const struct model *model, struct columns *ret)
{
    const struct model_tensor *join = model_tensor(model, "mmf.columns.join");
    struct columns columns = {.K = join->shape[0], .C = join->shape[1], .join = join->data};
    char name[KEY_BYTES];

    memcpy(columns.modality_dim, model->shape.modality_dim, sizeof(columns.modality_dim));
    for (int m = 0; m < MODALITY_COUNT; m++) {
        tensor_name(name, m);
        const struct model_tensor *t = model_tensor(model, "%s", name);

        columns.kept[m] = t != NULL ? t->shape[1] : 0;
        columns.project[m] = t != NULL ? t->data : NULL;
    }
    *ret = columns;
}

void signals_mapping(const struct model *model, struct mapping *ret)
{
    const struct model_tensor *W = model_tensor(model, "mmf.mapping");

    *ret = (struct mapping){.F = W->shape[0],
                            .A = W->shape[1],
                            .weight = W->data,
                            .bias = model_tensor(model, "mmf.mapping.bias")->data};
}

/* ---- what a file says ------------------------------------------------------------------------ */

static int bad_numbers(const struct model *m, struct err *err)
{
    return model_wrong(
        m, "mmf.signals",
        "is not six or seven scales from 0 to 1000000, trained= to ridge= or mapped=", err);
}

/* "trained=1 factors=0 …": these names, in this order, the last of them or not. */
static int read_numbers(struct model *m, const char *text, struct err *err)
{
    struct signals s = {0};

    for (size_t i = 0; i < NUMBERS; i++) {
        float *number = number_of(&s, i);
        const size_t n = strlen(names[i]);
        char *end;

        if (strncmp(text, names[i], n) != 0 || text[n] != '=')
            return bad_numbers(m, err);
        text += n + 1;
        if (*text < '0' || *text > '9') /* no sign, no space, no "inf" */
            return bad_numbers(m, err);
        *number = strtof(text, &end);
        if (!(*number >= 0 && *number <= SIGNALS_SCALE_MAX))
            return bad_numbers(m, err);
        if (*end == '\0' && i + 1 >= NUMBERS_MIN)
            break;
        if (*end != ' ' || i + 1 == NUMBERS)
            return bad_numbers(m, err);
        text = end + 1;
    }
    m->signals = s;
    return ERR_OK;
}

static int derive_factors(struct model *m, struct err *err)
{
    const struct model_tensor *y = model_tensor(m, "mmf.factors");
    const struct model_tensor *power = model_tensor(m, "mmf.factors.power");
    const struct model_tensor *ids = model_tensor(m, "item_E");
    struct fold fold = {0};

    if (y == NULL && power == NULL && model_text(m, "mmf.factors.lambda") == NULL)
        return m->signals.factors > 0
                   ? model_missing(m, "mmf.factors", "their scale in mmf.signals", err)
                   : ERR_OK;
    if (y == NULL || power == NULL || ids == NULL || !read_lambda(m, &fold.lambda))
        return model_wrong(m, "mmf.factors",
                           "go with mmf.factors.power, mmf.factors.lambda and item_E, of which "
                           "one is missing or none",
                           err);
    if (y->n_dims != 2 || y->shape[1] < 1 || y->shape[1] > FOLD_WIDTH_MAX)
        return model_wrong(m, "mmf.factors", "are not a matrix of usable size", err);
    int status = model_expect(m, y, ids->shape[0], y->shape[1], "item_E", err);
    if (status == ERR_OK)
        status = model_expect(m, power, y->shape[1], 0, "mmf.factors", err);
    if (status != ERR_OK)
        return status;
    fold.d = (uint32_t)y->shape[1];
    fold.power = power->data;
    status = fold_check(&fold, err);
    if (status != ERR_OK)
        return err_wrap(err, "model %s", m->path);
    m->shape.factor_dim = (int32_t)fold.d;
    return ERR_OK;
}

/* The modality's K_m; 0 when it has none. */
static int derive_modality(const struct model *m, int modality, size_t *ret_K, struct err *err)
{
    const int32_t F = m->shape.modality_dim[modality];
    const struct model_tensor *t;
    char name[KEY_BYTES];

    tensor_name(name, modality);
    *ret_K = 0;
    if (model_tensor(m, "%s", name) == NULL)
        return ERR_OK;
    int status = model_matrix(m, name, "mmf.columns.join", &t, err);
    if (status == ERR_OK && (F < 1 || t->shape[1] > COLUMNS_KEPT || t->shape[1] > t->shape[0]))
        status = model_wrong(m, name, "has more columns than there can be", err);
    if (status == ERR_OK)
        status = model_expect(m, t, (size_t)F, t->shape[1], "mmf.modality_dim", err);
    if (status == ERR_OK)
        *ret_K = t->shape[1];
    return status;
}

static int derive_columns(struct model *m, struct err *err)
{
    const struct model_tensor *join;
    size_t K = 0, K_m = 0;
    int status = ERR_OK;

    for (int i = 0; i < MODALITY_COUNT && status == ERR_OK; i++) {
        status = derive_modality(m, i, &K_m, err);
        K += K_m;
    }
    if (status != ERR_OK)
        return status;
    if (K == 0 && model_tensor(m, "mmf.columns.join") == NULL)
        return m->signals.content > 0 || m->signals.fade > 0
                   ? model_missing(m, "mmf.columns.join", "its scale in mmf.signals", err)
                   : ERR_OK;
    status = model_matrix(m, "mmf.columns.join", "a modality's columns", &join, err);
    if (status != ERR_OK)
        return status;
    if (join->shape[0] != K || join->shape[1] > K)
        return model_wrong(m, "mmf.columns.join",
                           "is not (K, C), K the columns of all modalities and C at most K",
                           err);
    if (!m->shape.has_statistics)
        return model_missing(m, "mmf.mean", "mmf.columns.join", err);
    m->shape.column_dim = (int32_t)join->shape[1];
    return ERR_OK;
}

static int derive_mapping(struct model *m, struct err *err)
{
    const struct model_tensor *W = model_tensor(m, "mmf.mapping");
    const struct model_tensor *b = model_tensor(m, "mmf.mapping.bias");
    const size_t A = (size_t)m->shape.factor_dim;

    if (W == NULL && b == NULL)
        return m->signals.mapped > 0
                   ? model_missing(m, "mmf.mapping", "its scale in mmf.signals", err)
                   : ERR_OK;
    if (W == NULL || b == NULL || A == 0 || m->shape.column_dim == 0)
        return model_wrong(m, "mmf.mapping",
                           "goes with mmf.mapping.bias, mmf.factors and mmf.columns.join, of "
                           "which one is missing",
                           err);
    int status = model_expect(m, W, (size_t)m->shape.F, A, "mmf.factors", err);
    if (status == ERR_OK)
        status = model_expect(m, b, A, 0, "mmf.factors", err);
    if (status == ERR_OK)
        m->shape.mapped_dim = (int32_t)A;
    return status;
}

int signals_derive(struct model *m, struct err *err)
{
    const char *text = model_text(m, "mmf.signals");
    int status = ERR_OK;

    m->signals = (struct signals){.trained = 1};
    if (text != NULL)
        status = read_numbers(m, text, err);
    if (status == ERR_OK)
        status = derive_factors(m, err);
    if (status == ERR_OK)
        status = derive_columns(m, err);
    if (status == ERR_OK)
        status = derive_mapping(m, err);
    if (status != ERR_OK)
        return status;
    if (text == NULL && model_has_signals(&m->shape))
        return model_wrong(m, "mmf.signals", "is missing, but there are factors or columns",
                           err);
    m->shape.D = m->shape.B + m->shape.factor_dim + m->shape.column_dim;
    return ERR_OK;
}

/* ---- the vectors of a training --------------------------------------------------------------- */

static void scale_to(const float *from, size_t n, float scale, float *to)
{
    for (size_t j = 0; j < n; j++)
        to[j] = scale * from[j];
}

void signals_item(const struct model *model, const struct signals_row *row, float *ret_y)
{
    const struct model_shape *s = &model->shape;
    const size_t B = (size_t)s->B, A = (size_t)s->factor_dim, C = (size_t)s->column_dim;

    scale_to(row->backbone, B, model->signals.trained, ret_y);
    scale_to(row->factors, A, model->signals.factors, ret_y + B);
    for (size_t j = 0; s->mapped_dim > 0 && j < A; j++)
        ret_y[B + j] += signals_mapped(&model->signals, row->n_interactions) * row->mapped[j];
    scale_to(row->content, C, signals_content(&model->signals, row->n_interactions),
             ret_y + B + A);
}

int signals_join(const struct model *model, const struct signals_parts *p, float **ret_vectors,
                 struct err *err)
{
    const struct model_shape *s = &model->shape;
    const size_t B = (size_t)s->B, A = (size_t)s->factor_dim, C = (size_t)s->column_dim;
    const size_t D = (size_t)s->D;
    float *vectors = malloc(((p->n_users + p->n_items) * D + 1) * sizeof(*vectors));

    if (vectors == NULL)
        return err_oom(err, "the vectors to publish");
    for (size_t u = 0; u < p->n_users; u++) {
        float *y = vectors + u * D;

        memcpy(y, p->backbone + u * B, B * sizeof(*y));
        if (A > 0)
            memcpy(y + B, p->factor_users + u * A, A * sizeof(*y));
        if (C > 0)
            memcpy(y + B + A, p->content_users + u * C, C * sizeof(*y));
    }
    for (size_t i = 0; i < p->n_items; i++) {
        const struct signals_row row = {.backbone = p->backbone + (p->n_users + i) * B,
                                        .factors = A > 0 ? p->factor_items + i * A : NULL,
                                        .content = C > 0 ? p->content_items + i * C : NULL,
                                        .mapped =
                                            s->mapped_dim > 0 ? p->mapped_items + i * A : NULL,
                                        .n_interactions = p->n_interactions[i]};

        signals_item(model, &row, vectors + (p->n_users + i) * D);
    }
    *ret_vectors = vectors;
    return ERR_OK;
}
