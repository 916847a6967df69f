/* Every size of a model follows from its tensors' shapes; metadata adds what shapes cannot say and
 * must not contradict them. Errors name the file, both tensors and both sizes (EX_DATAERR). The
 * names known here are the ones that model_internal.h lists; any other name outside "mmf." means a
 * different architecture, whose embeddings would be wrong, and is refused. */

#include "fusion/model/cold.h"
#include "fusion/model/content.h"
#include "fusion/model/model_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define DIM_MAX 1048576 /* of anything but the number of users and items */

static void print_shape(const struct model_tensor *t, char *text, size_t bytes)
{
    size_t used = (size_t)snprintf(text, bytes, "(");

    for (int i = 0; i < t->n_dims && used < bytes; i++)
        used +=
            (size_t)snprintf(text + used, bytes - used, i == 0 ? "%zu" : ", %zu", t->shape[i]);
    if (used < bytes)
        snprintf(text + used, bytes - used, ")");
}

/* t must be (rows, cols), or (rows) when cols is 0; `why` names what demands it. */
static int expect(const struct model *m, const struct model_tensor *t, size_t rows, size_t cols,
                  const char *why, struct err *err)
{
    char have[96], want[64];

    if (t->n_dims == (cols == 0 ? 1 : 2) && t->shape[0] == rows &&
        (cols == 0 || t->shape[1] == cols))
        return ERR_OK;
    print_shape(t, have, sizeof(have));
    if (cols == 0)
        snprintf(want, sizeof(want), "(%zu)", rows);
    else
        snprintf(want, sizeof(want), "(%zu, %zu)", rows, cols);
    return err_fatal(
        err, EX_DATAERR,
        "model %s: tensor %s is %s, but %s asks for %s; the tensors are not of one "
        "model",
        m->path, t->name, have, why, want);
}

static int missing(const struct model *m, const char *name, const char *why, struct err *err)
{
    return err_fatal(err, EX_DATAERR, "model %s: tensor %s is missing, but %s is there",
                     m->path, name, why);
}

static int wrong(const struct model *m, const char *name, const char *what, struct err *err)
{
    return err_fatal(err, EX_DATAERR, "model %s: %s %s", m->path, name, what);
}

/* The tensor of that name, two-dimensional with sizes in 1 … DIM_MAX. */
static int matrix(const struct model *m, const char *name, const char *why,
                  const struct model_tensor **ret_t, struct err *err)
{
    const struct model_tensor *t = model_tensor(m, "%s", name);

    if (t == NULL)
        return missing(m, name, why, err);
    if (t->n_dims != 2 || t->shape[0] < 1 || t->shape[1] < 1 || t->shape[1] > DIM_MAX ||
        t->shape[0] > DIM_MAX)
        return wrong(m, name, "is not a matrix of usable size", err);
    *ret_t = t;
    return ERR_OK;
}

/* "layer_3.M_1": 3 and *ret_part = "M_1"; 0 otherwise. */
static int layer_number(const char *name, const char **ret_part)
{
    if (strncmp(name, "layer_", 6) != 0 || name[6] < '1' || name[6] > '9' || name[7] != '.')
        return 0;
    *ret_part = name + 8;
    return name[6] - '0';
}

static bool is_one_of(const char *name, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

static bool name_known(const char *name, int32_t n_layers)
{
    static const char *const parts[] = {"M_1", "T_1", "A", "B", "C"};
    static const char *const names[] = {"mlp_signal.0.weight",
                                        "mlp_signal.0.bias",
                                        "mlp_signal.2.weight",
                                        "mlp_signal.2.bias",
                                        "item_E",
                                        "user",
                                        "conv1.lin_l.weight",
                                        "conv1.lin_l.bias",
                                        "conv1.lin_r.weight",
                                        "conv2.lin_l.weight",
                                        "conv2.lin_l.bias",
                                        "conv2.lin_r.weight"};
    const char *part;
    int n = layer_number(name, &part);

    if (n > 0)
        return n <= n_layers && is_one_of(part, parts, 5);
    return strncmp(name, "mmf.", 4) == 0 || is_one_of(name, names, 12);
}

static int check_names(struct model *m, struct err *err)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct model_tensor *t = &m->tensors[i];

        if (!name_known(t->name, m->shape.L))
            return wrong(m, t->name,
                         "is no tensor of MetaMMF, or its layer has no M_1 or follows a gap; "
                         "is this another architecture?",
                         err);
        for (size_t k = 0; k < t->n_elements; k++) {
            if (!isfinite(t->data[k]))
                return wrong(m, t->name, "holds NaN or infinity; train or export it again",
                             err);
        }
    }
    return ERR_OK;
}

static enum fusion_kind kind_of_layer(const struct model *m, int32_t n)
{
    if (model_tensor(m, "layer_%d.T_1", n) != NULL)
        return FUSION_DENSE;
    if (model_tensor(m, "layer_%d.A", n) != NULL || model_tensor(m, "layer_%d.B", n) != NULL ||
        model_tensor(m, "layer_%d.C", n) != NULL)
        return FUSION_CP;
    return FUSION_STATIC;
}

/* Widths from the M_1, kind from the other parts. */
static int derive_layers(struct model *m, struct err *err)
{
    struct model_shape *s = &m->shape;
    const struct model_tensor *M;
    char name[32];
    int status;

    while (s->L < MODEL_LAYERS_MAX && model_tensor(m, "layer_%d.M_1", s->L + 1) != NULL)
        s->L++;
    s->fusion = s->L == 0 ? FUSION_NONE : kind_of_layer(m, 1);
    for (int32_t n = 1; n <= s->L; n++) {
        snprintf(name, sizeof(name), "layer_%d.M_1", n);
        status = matrix(m, name, name, &M, err);
        if (status != ERR_OK)
            return status;
        if (kind_of_layer(m, n) != s->fusion)
            return wrong(m, name,
                         "belongs to a layer of another kind (static, dense, cp) than "
                         "layer_1",
                         err);
        if (n == 1)
            s->width[0] = (int32_t)M->shape[0];
        status = expect(m, M, (size_t)s->width[n - 1], M->shape[1],
                        n == 1 ? "it" : "the layer before it", err);
        if (status != ERR_OK)
            return status;
        s->width[n] = (int32_t)M->shape[1];
    }
    s->F = s->width[0];
    return ERR_OK;
}

/* The MLP that makes the meta information: F → H → S. */
static int derive_mlp(struct model *m, struct err *err)
{
    struct model_shape *s = &m->shape;
    const struct model_tensor *w0, *w2, *b0, *b2;
    int status;

    if (s->fusion == FUSION_STATIC || s->fusion == FUSION_NONE) {
        if (model_tensor(m, "mlp_signal.0.weight") == NULL &&
            model_tensor(m, "mlp_signal.2.weight") == NULL)
            return ERR_OK;
        return wrong(m, "mlp_signal",
                     "is there, but no layer that uses it; tensors are missing", err);
    }
    status = matrix(m, "mlp_signal.0.weight", "layer_1", &w0, err);
    if (status == ERR_OK)
        status = matrix(m, "mlp_signal.2.weight", "layer_1", &w2, err);
    if (status != ERR_OK)
        return status;
    b0 = model_tensor(m, "mlp_signal.0.bias");
    b2 = model_tensor(m, "mlp_signal.2.bias");
    if (b0 == NULL || b2 == NULL)
        return missing(m, b0 == NULL ? "mlp_signal.0.bias" : "mlp_signal.2.bias",
                       "mlp_signal.0.weight", err);
    if (w2->shape[0] > 4096)
        return wrong(m, "mlp_signal", "is too large", err);
    s->S = (int32_t)w2->shape[0];
    status = expect(m, w0, w0->shape[0], (size_t)s->F, "layer_1.M_1", err);
    if (status == ERR_OK)
        status = expect(m, b0, w0->shape[0], 0, "mlp_signal.0.weight", err);
    if (status == ERR_OK)
        status = expect(m, w2, (size_t)s->S, w0->shape[0], "mlp_signal.0.weight", err);
    return status == ERR_OK ? expect(m, b2, (size_t)s->S, 0, "mlp_signal.2.weight", err)
                            : status;
}

static int check_dense(const struct model *m, int32_t n, struct err *err)
{
    const struct model_shape *s = &m->shape;
    const struct model_tensor *T = model_tensor(m, "layer_%d.T_1", n);
    char why[64];

    if (model_tensor(m, "layer_%d.A", n) != NULL || model_tensor(m, "layer_%d.C", n) != NULL)
        return wrong(m, T->name, "stands beside the CP factors A, B, C; keep one form", err);
    snprintf(why, sizeof(why), "mlp_signal.2.weight with layer_%d.M_1", n);
    return expect(m, T, (size_t)s->S, (size_t)s->width[n - 1] * (size_t)s->width[n], why, err);
}

static int check_cp(struct model *m, int32_t n, struct err *err)
{
    struct model_shape *s = &m->shape;
    const struct model_tensor *A, *B, *C;
    char name[3][32], why[96];
    size_t R, S = (size_t)s->S;
    bool collapsed;
    int status;

    for (int i = 0; i < 3; i++)
        snprintf(name[i], sizeof(name[i]), "layer_%d.%c", n, "ABC"[i]);
    status = matrix(m, name[0], "another part of the layer", &A, err);
    if (status == ERR_OK)
        status = matrix(m, name[1], name[0], &B, err);
    if (status == ERR_OK)
        status = matrix(m, name[2], name[0], &C, err);
    if (status != ERR_OK)
        return status;
    R = A->shape[1];
    if (R > 65536)
        return wrong(m, name[0], "has a rank above 65536", err);
    if (n == 1)
        s->R = (int32_t)R;
    snprintf(why, sizeof(why), "layer_%d.M_1 with layer_1.A", n);
    status = expect(m, A, (size_t)s->width[n - 1], (size_t)s->R, why, err);
    if (status == ERR_OK)
        status = expect(m, B, R, (size_t)s->width[n], why, err);
    /* With S = 1 both forms are (R, 1): ours then says so in its metadata. */
    collapsed = C->shape[1] == 1 && (S != 1 || model_text(m, "mmf.fusion") == NULL);
    if (n == 1)
        s->cp_collapsed = collapsed;
    if (status != ERR_OK)
        return status;
    if (collapsed != s->cp_collapsed)
        return wrong(m, name[2], "has another form than layer_1.C", err);
    snprintf(why, sizeof(why), "%s with mlp_signal.2.weight", name[0]);
    return collapsed ? expect(m, C, R * S, 1, why, err) : expect(m, C, R, S, why, err);
}

static int check_layers(struct model *m, struct err *err)
{
    int status = ERR_OK;

    for (int32_t n = 1; n <= m->shape.L && status == ERR_OK; n++) {
        if (m->shape.fusion == FUSION_DENSE)
            status = check_dense(m, n, err);
        else if (m->shape.fusion == FUSION_CP)
            status = check_cp(m, n, err);
    }
    return status;
}

/* convN: lin_l (mean of the neighbours, with bias), lin_r (the node itself); in → *ret_out. */
static int check_conv(const struct model *m, int n, size_t in, size_t *ret_out, struct err *err)
{
    const struct model_tensor *l, *r, *b;
    char name[3][32];
    int status;

    snprintf(name[0], sizeof(name[0]), "conv%d.lin_l.weight", n);
    snprintf(name[1], sizeof(name[1]), "conv%d.lin_r.weight", n);
    snprintf(name[2], sizeof(name[2]), "conv%d.lin_l.bias", n);
    status = matrix(m, name[1], "another part of the convolutions", &r, err);
    if (status == ERR_OK)
        status = matrix(m, name[0], name[1], &l, err);
    if (status != ERR_OK)
        return status;
    b = model_tensor(m, "%s", name[2]);
    if (b == NULL)
        return missing(m, name[2], name[0], err);
    status = expect(
        m, r, r->shape[0], in,
        n == 1 ? "the item embedding (last layer and item_E)" : "conv1.lin_r.weight", err);
    if (status == ERR_OK)
        status = expect(m, l, r->shape[0], in, name[1], err);
    if (status == ERR_OK)
        status = expect(m, b, r->shape[0], 0, name[1], err);
    *ret_out = r->shape[0];
    return status;
}

/* The width of the ID half: from item_E, else from what takes the item embedding, else as said. */
static int derive_id_dim(struct model *m, struct err *err)
{
    struct model_shape *s = &m->shape;
    const struct model_tensor *item = model_tensor(m, "item_E");
    const struct model_tensor *r = model_tensor(m, "conv1.lin_r.weight");
    const struct model_tensor *user = model_tensor(m, "user");
    int32_t said = model_number(m, "mmf.id_dim", DIM_MAX);
    const struct model_tensor *taker = r != NULL ? r : user;
    size_t features = model_feature_width(s);

    if (said == -2)
        return wrong(m, "mmf.id_dim", "is not a width", err);
    if (item != NULL) {
        if (item->n_dims != 2 || item->shape[1] > DIM_MAX)
            return wrong(m, "item_E", "is not a matrix of usable size", err);
        if (said >= 0 && (size_t)said != item->shape[1])
            return wrong(m, "mmf.id_dim", "is not the width of item_E", err);
        s->id_dim = (int32_t)item->shape[1];
    } else if (said >= 0) {
        s->id_dim = said;
    } else if (taker != NULL && taker->n_dims == 2 && taker->shape[1] >= features &&
               taker->shape[1] <= DIM_MAX) {
        s->id_dim = (int32_t)(taker->shape[1] - features);
    } else {
        s->id_dim = s->L > 0 ? s->width[s->L] : 0;
    }
    if (features + (size_t)s->id_dim == 0)
        return wrong(m, "no tensor", "is a fusion layer, item_E or user; is this a model?",
                     err);
    return ERR_OK;
}

static int derive_backbone(struct model *m, struct err *err)
{
    struct model_shape *s = &m->shape;
    const char *said = model_text(m, "mmf.backbone");
    const struct model_tensor *user = model_tensor(m, "user");
    bool convs = model_tensor(m, "conv1.lin_r.weight") != NULL ||
                 model_tensor(m, "conv2.lin_r.weight") != NULL;
    size_t width = model_feature_width(s) + (size_t)s->id_dim, out = width;
    int kind = said != NULL ? backbone_kind_parse(said) : convs ? BACKBONE_SAGE : BACKBONE_MF;
    int status = ERR_OK;

    if (kind < 0 || (kind == BACKBONE_SAGE) != convs)
        return wrong(m, "mmf.backbone", "does not go with the tensors conv1 and conv2", err);
    s->backbone = (enum backbone_kind)kind;
    s->hops = kind == BACKBONE_SAGE ? 2 : 0;
    if (kind == BACKBONE_LIGHTGCN) {
        s->hops = model_number(m, "mmf.hops", 16);
        if (s->hops == -1)
            s->hops = 3;
        if (s->hops < 1)
            return wrong(m, "mmf.hops", "is not a number from 1 to 16", err);
    }
    if (kind == BACKBONE_SAGE) {
        status = check_conv(m, 1, width, &out, err);
        if (status == ERR_OK)
            status = check_conv(m, 2, out, &out, err);
    }
    if (status != ERR_OK)
        return status;
    s->D = (int32_t)out;
    if (user == NULL)
        return ERR_OK;
    return expect(m, user, user->shape[0], width, "the item embedding (last layer and item_E)",
                  err);
}

static int check_statistics(struct model *m, struct err *err)
{
    const struct model_tensor *mean = model_tensor(m, "mmf.mean");
    const struct model_tensor *std = model_tensor(m, "mmf.std");
    int status;

    if (mean == NULL && std == NULL)
        return ERR_OK;
    if (mean == NULL || std == NULL)
        return missing(m, mean == NULL ? "mmf.mean" : "mmf.std", "its partner", err);
    if (m->shape.L == 0 && mean->n_dims == 1 && mean->shape[0] <= DIM_MAX)
        m->shape.F = m->shape.width[0] = (int32_t)mean->shape[0];
    status = expect(m, mean, (size_t)m->shape.F, 0, "layer_1.M_1", err);
    if (status == ERR_OK)
        status = expect(m, std, (size_t)m->shape.F, 0, "mmf.mean", err);
    if (status != ERR_OK)
        return status;
    for (size_t i = 0; i < std->n_elements; i++) {
        if (!(std->data[i] > 0.0f))
            return wrong(m, "mmf.std", "has a value that is not above zero", err);
    }
    m->shape.has_statistics = true;
    return ERR_OK;
}

/* "true" or "false", `fallback` when absent; -1 for anything else. */
static int text_bool(const struct model *m, const char *key, bool fallback)
{
    const char *text = model_text(m, key);

    if (text == NULL)
        return fallback;
    return strcmp(text, "true") == 0 ? 1 : strcmp(text, "false") == 0 ? 0 : -1;
}

static int read_modalities(struct model *m, struct err *err)
{
    struct model_shape *s = &m->shape;
    const char *dims = model_text(m, "mmf.modality_dim");
    char tail;
    int64_t sum = 0;

    if (dims == NULL)
        return ERR_OK;
    if (strlen(dims) > 32 || strspn(dims, "0123456789,") != strlen(dims) ||
        sscanf(dims, "%7" SCNd32 ",%7" SCNd32 ",%7" SCNd32 "%c", &s->modality_dim[0],
               &s->modality_dim[1], &s->modality_dim[2], &tail) != MODALITY_COUNT)
        return wrong(m, "mmf.modality_dim", "is not three widths", err);
    for (int i = 0; i < MODALITY_COUNT; i++)
        sum += s->modality_dim[i];
    if (s->L == 0 && !s->has_statistics && sum <= DIM_MAX)
        s->F = s->width[0] = (int32_t)sum;
    if (sum != s->F)
        return err_fatal(err, EX_DATAERR,
                         "model %s: mmf.modality_dim %s adds up to %" PRId64
                         ", but layer_1.M_1 takes %d columns",
                         m->path, dims, sum, s->F);
    return ERR_OK;
}

static int read_encoders(struct model *m, struct err *err)
{
    for (int i = 0; i < MODALITY_COUNT; i++) {
        const char *text;
        char key[64];

        snprintf(key, sizeof(key), "mmf.encoder_id.%s", modality_name((enum modality)i));
        text = model_text(m, key);
        if (text == NULL)
            continue;
        if (strlen(text) >= sizeof(m->shape.encoder_id[i]))
            return wrong(m, key, "is above 63 bytes", err);
        memcpy(m->shape.encoder_id[i], text, strlen(text) + 1);
    }
    return ERR_OK;
}

static int read_flags(struct model *m, struct err *err)
{
    const char *fusion = model_text(m, "mmf.fusion");
    int trained = text_bool(m, "mmf.trained", true);
    int unit = text_bool(m, "mmf.unit_length", m->shape.has_statistics);

    if (trained < 0 || unit < 0)
        return wrong(m, trained < 0 ? "mmf.trained" : "mmf.unit_length",
                     "is neither true nor false", err);
    if (fusion != NULL && strcmp(fusion, fusion_kind_name(m->shape.fusion)) != 0)
        return err_fatal(err, EX_DATAERR, "model %s: mmf.fusion says %s, the tensors are %s",
                         m->path, fusion, fusion_kind_name(m->shape.fusion));
    m->shape.trained = trained != 0;
    m->shape.fused_length = unit ? 1 : 0;
    return unit ? model_length(m, "mmf.fused_length", &m->shape.fused_length, err) : ERR_OK;
}

int model_finish(struct model *m, struct err *err)
{
    static int (*const steps[])(struct model *, struct err *) = {
        derive_layers, check_names,          derive_mlp,       check_layers,    content_derive,
        derive_id_dim, derive_backbone,      check_statistics, read_modalities, read_encoders,
        cold_derive,   model_members_derive, read_flags};
    int status = ERR_OK;

    m->shape = (struct model_shape){0};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && status == ERR_OK; i++)
        status = steps[i](m, err);
    return status;
}
