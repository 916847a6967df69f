/* Every size of a model follows from its tensors' shapes; metadata adds what shapes cannot say and
 * must not contradict them. Errors name the file, both tensors and both sizes (EX_DATAERR). The
 * names known here are the ones that model/internal.h lists; any other name outside "mmf." means a
 * different architecture, whose embeddings would be wrong, and is refused. */

#include "fusion/model/content.h"
#include "fusion/model/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

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

static bool is_backbones(const char *name)
{
    for (int k = 0; k < BACKBONE_KINDS; k++) {
        const struct backbone *b = backbone_of((enum backbone_kind)k);

        for (size_t i = 0; i < b->n_tensors; i++)
            if (strcmp(b->tensors[i].name, name) == 0)
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
                                        "user"};
    const char *part;
    int n = layer_number(name, &part);

    if (n > 0)
        return n <= n_layers && is_one_of(part, parts, 5);
    return strncmp(name, "mmf.", 4) == 0 || is_one_of(name, names, 6) || is_backbones(name);
}

static int check_names(struct model *m, struct err *err)
{
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct model_tensor *t = &m->tensors[i];

        if (!name_known(t->name, m->shape.L))
            return model_wrong(
                m, t->name,
                "is no tensor of MetaMMF, or its layer has no M_1 or follows a gap; "
                "is this another architecture?",
                err);
        for (size_t k = 0; k < t->n_elements; k++) {
            if (!isfinite(t->data[k]))
                return model_wrong(m, t->name,
                                   "holds NaN or infinity; train or export it again", err);
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
        status = model_matrix(m, name, name, &M, err);
        if (status != ERR_OK)
            return status;
        if (kind_of_layer(m, n) != s->fusion)
            return model_wrong(m, name,
                               "belongs to a layer of another kind (static, dense, cp) than "
                               "layer_1",
                               err);
        if (n == 1)
            s->width[0] = (int32_t)M->shape[0];
        status = model_expect(m, M, (size_t)s->width[n - 1], M->shape[1],
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
        return model_wrong(m, "mlp_signal",
                           "is there, but no layer uses it; tensors are missing", err);
    }
    status = model_matrix(m, "mlp_signal.0.weight", "layer_1", &w0, err);
    if (status == ERR_OK)
        status = model_matrix(m, "mlp_signal.2.weight", "layer_1", &w2, err);
    if (status != ERR_OK)
        return status;
    b0 = model_tensor(m, "mlp_signal.0.bias");
    b2 = model_tensor(m, "mlp_signal.2.bias");
    if (b0 == NULL || b2 == NULL)
        return model_missing(m, b0 == NULL ? "mlp_signal.0.bias" : "mlp_signal.2.bias",
                             "mlp_signal.0.weight", err);
    if (w2->shape[0] > 4096)
        return model_wrong(m, "mlp_signal", "is too large", err);
    s->S = (int32_t)w2->shape[0];
    status = model_expect(m, w0, w0->shape[0], (size_t)s->F, "layer_1.M_1", err);
    if (status == ERR_OK)
        status = model_expect(m, b0, w0->shape[0], 0, "mlp_signal.0.weight", err);
    if (status == ERR_OK)
        status = model_expect(m, w2, (size_t)s->S, w0->shape[0], "mlp_signal.0.weight", err);
    return status == ERR_OK ? model_expect(m, b2, (size_t)s->S, 0, "mlp_signal.2.weight", err)
                            : status;
}

static int check_dense(const struct model *m, int32_t n, struct err *err)
{
    const struct model_shape *s = &m->shape;
    const struct model_tensor *T = model_tensor(m, "layer_%d.T_1", n);
    char why[64];

    if (model_tensor(m, "layer_%d.A", n) != NULL || model_tensor(m, "layer_%d.C", n) != NULL)
        return model_wrong(m, T->name, "stands beside the CP factors A, B, C; keep one form",
                           err);
    snprintf(why, sizeof(why), "mlp_signal.2.weight with layer_%d.M_1", n);
    return model_expect(m, T, (size_t)s->S, (size_t)s->width[n - 1] * (size_t)s->width[n], why,
                        err);
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
    status = model_matrix(m, name[0], "another part of the layer", &A, err);
    if (status == ERR_OK)
        status = model_matrix(m, name[1], name[0], &B, err);
    if (status == ERR_OK)
        status = model_matrix(m, name[2], name[0], &C, err);
    if (status != ERR_OK)
        return status;
    R = A->shape[1];
    if (R > 65536)
        return model_wrong(m, name[0], "has a rank above 65536", err);
    if (n == 1)
        s->R = (int32_t)R;
    snprintf(why, sizeof(why), "layer_%d.M_1 with layer_1.A", n);
    status = model_expect(m, A, (size_t)s->width[n - 1], (size_t)s->R, why, err);
    if (status == ERR_OK)
        status = model_expect(m, B, R, (size_t)s->width[n], why, err);
    /* With S = 1 both forms are (R, 1): ours then says so in its metadata. */
    collapsed = C->shape[1] == 1 && (S != 1 || model_text(m, "mmf.fusion") == NULL);
    if (n == 1)
        s->cp_collapsed = collapsed;
    if (status != ERR_OK)
        return status;
    if (collapsed != s->cp_collapsed)
        return model_wrong(m, name[2], "has another form than layer_1.C", err);
    snprintf(why, sizeof(why), "%s with mlp_signal.2.weight", name[0]);
    return collapsed ? model_expect(m, C, R * S, 1, why, err)
                     : model_expect(m, C, R, S, why, err);
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

static bool has_sign(const struct model *m, const struct backbone *b)
{
    for (size_t i = 0; i < b->n_signs; i++)
        if (model_tensor(m, "%s", b->signs[i]) != NULL)
            return true;
    return false;
}

/* As metadata says, which tensors must not contradict; without it as they tell, else mf. */
static int derive_kind(struct model *m, struct err *err)
{
    const char *said = model_text(m, "mmf.backbone");
    int kind = said != NULL ? backbone_kind_parse(said) : BACKBONE_MF;

    for (int k = 0; k < BACKBONE_KINDS && said == NULL; k++)
        if (has_sign(m, backbone_of((enum backbone_kind)k)))
            kind = k;
    for (int k = 0; k < BACKBONE_KINDS && kind >= 0; k++) {
        const struct backbone *b = backbone_of((enum backbone_kind)k);

        if (b->n_signs > 0 && has_sign(m, b) != (k == kind))
            kind = -1;
    }
    if (kind < 0)
        return model_wrong(m, "mmf.backbone",
                           "is no backbone, or not the one whose tensors are there", err);
    m->shape.backbone = (enum backbone_kind)kind;
    return ERR_OK;
}

/* The width of the ID half: from item_E, else from what takes the item embedding, else as said. */
static int derive_id_dim(struct model *m, struct err *err)
{
    struct model_shape *s = &m->shape;
    const struct model_tensor *item = model_tensor(m, "item_E");
    const struct backbone *b = backbone_of(s->backbone);
    const char *input =
        b->n_signs > 0 ? b->signs[0] : "user"; /* its columns are the embedding */
    const struct model_tensor *taker = model_tensor(m, "%s", input);
    int32_t said = model_number(m, "mmf.id_dim", MODEL_DIM_MAX);
    size_t features = model_feature_width(s);

    if (said == -2)
        return model_wrong(m, "mmf.id_dim", "is not a width", err);
    if (item != NULL) {
        if (item->n_dims != 2 || item->shape[1] > MODEL_DIM_MAX)
            return model_wrong(m, "item_E", "is not a matrix of usable size", err);
        if (said >= 0 && (size_t)said != item->shape[1])
            return model_wrong(m, "mmf.id_dim", "is not the width of item_E", err);
        s->id_dim = (int32_t)item->shape[1];
    } else if (said >= 0) {
        s->id_dim = said;
    } else if (taker != NULL && taker->n_dims == 2 && taker->shape[1] >= features &&
               taker->shape[1] <= MODEL_DIM_MAX) {
        s->id_dim = (int32_t)(taker->shape[1] - features);
    } else {
        s->id_dim = s->L > 0 ? s->width[s->L] : 0;
    }
    if (features + (size_t)s->id_dim == 0)
        return model_wrong(m, "no tensor",
                           "is a fusion layer, item_E or user; is this a model?", err);
    return ERR_OK;
}

static int derive_backbone(struct model *m, struct err *err)
{
    struct model_shape *s = &m->shape;
    const struct backbone *b = backbone_of(s->backbone);
    const struct model_tensor *user = model_tensor(m, "user");
    size_t E = model_feature_width(s) + (size_t)s->id_dim, B = E;
    int status = b->derive != NULL ? b->derive(m, E, &B, err) : ERR_OK;

    if (status != ERR_OK)
        return status;
    s->B = (int32_t)B;
    if (user == NULL)
        return ERR_OK;
    return model_expect(m, user, user->shape[0], E,
                        "the item embedding (last layer and item_E)", err);
}

static int check_statistics(struct model *m, struct err *err)
{
    const struct model_tensor *mean = model_tensor(m, "mmf.mean");
    const struct model_tensor *std = model_tensor(m, "mmf.std");
    int status;

    if (mean == NULL && std == NULL)
        return ERR_OK;
    if (mean == NULL || std == NULL)
        return model_missing(m, mean == NULL ? "mmf.mean" : "mmf.std", "its partner", err);
    if (m->shape.L == 0 && mean->n_dims == 1 && mean->shape[0] <= MODEL_DIM_MAX)
        m->shape.F = m->shape.width[0] = (int32_t)mean->shape[0];
    status = model_expect(m, mean, (size_t)m->shape.F, 0, "layer_1.M_1", err);
    if (status == ERR_OK)
        status = model_expect(m, std, (size_t)m->shape.F, 0, "mmf.mean", err);
    if (status != ERR_OK)
        return status;
    for (size_t i = 0; i < std->n_elements; i++) {
        if (!(std->data[i] > 0.0f))
            return model_wrong(m, "mmf.std", "has a value that is not above zero", err);
    }
    m->shape.has_statistics = true;
    return ERR_OK;
}

int model_finish(struct model *m, struct err *err)
{
    static int (*const steps[])(struct model *, struct err *) = {
        derive_layers,    check_names,         derive_mlp,    check_layers,
        content_derive,   derive_kind,         derive_id_dim, derive_backbone,
        check_statistics, model_read_metadata, signals_derive};
    int status = ERR_OK;

    m->shape = (struct model_shape){0};
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && status == ERR_OK; i++)
        status = steps[i](m, err);
    return status;
}
