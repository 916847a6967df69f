/* What tensors cannot tell of a shape: written and read. */

#include "fusion/model/cold.h"
#include "fusion/model/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

static const char *const fusion_names[] = {"none", "static", "dense", "cp"};

const char *fusion_kind_name(enum fusion_kind k)
{
    return fusion_names[k];
}

int fusion_kind_parse(const char *name)
{
    for (int k = FUSION_NONE; k <= FUSION_CP; k++)
        if (strcmp(fusion_names[k], name) == 0)
            return k;
    return -1;
}

int model_set_shape(struct model *model, const struct model_shape *shape, struct err *err)
{
    const int32_t *m = shape->modality_dim;
    char dims[64], hops[16], id_dim[16], content[32], cold[32], members[16], fused[32], key[64];
    int status;

    snprintf(dims, sizeof(dims), "%d,%d,%d", m[0], m[1], m[2]);
    snprintf(hops, sizeof(hops), "%d", shape->hops);
    snprintf(id_dim, sizeof(id_dim), "%d", shape->id_dim);
    snprintf(content, sizeof(content), "%.9g", (double)shape->content_scale);
    snprintf(cold, sizeof(cold), "%.9g", (double)shape->cold_length);
    snprintf(fused, sizeof(fused), "%.9g", (double)shape->fused_length);
    snprintf(members, sizeof(members), "%d", shape->members);
    const struct safetensors_pair pairs[] = {
        {"mmf.fusion", fusion_kind_name(shape->fusion)},
        {"mmf.backbone", backbone_kind_name(shape->backbone)},
        {"mmf.modality_dim", dims},
        {"mmf.trained", shape->trained ? "true" : "false"},
        {"mmf.unit_length", shape->fused_length > 0 ? "true" : "false"},
        {"mmf.fused_length", shape->fused_length > 0 ? fused : NULL},
        {"mmf.hops", hops},
        {"mmf.id_dim", id_dim},
        {"mmf.content_scale", shape->content_dim ? content : NULL},
        {"mmf.cold_length", shape->cold_length > 0 ? cold : NULL},
        {"mmf.members", shape->members > 1 ? members : NULL},
    };

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (pairs[i].value == NULL)
            continue;
        status = model_set(model, pairs[i].key, pairs[i].value, err);
        if (status != ERR_OK)
            return status;
    }
    for (int i = 0; i < MODALITY_COUNT; i++) {
        snprintf(key, sizeof(key), "mmf.encoder_id.%s", modality_name((enum modality)i));
        status = model_set(model, key, shape->encoder_id[i], err);
        if (status != ERR_OK)
            return status;
    }
    return ERR_OK;
}

/* ---- reading ---- */

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
        return model_wrong(m, "mmf.modality_dim", "is not three widths", err);
    for (int i = 0; i < MODALITY_COUNT; i++)
        sum += s->modality_dim[i];
    if (s->L == 0 && !s->has_statistics && sum <= MODEL_DIM_MAX)
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
            return model_wrong(m, key, "is above 63 bytes", err);
        memcpy(m->shape.encoder_id[i], text, strlen(text) + 1);
    }
    return ERR_OK;
}

/* How many trainings lie side by side in it. */
static int read_members(struct model *m, struct err *err)
{
    const int32_t n = model_number(m, "mmf.members", MODEL_MEMBERS_MAX);
    struct model_shape *s = &m->shape;

    s->members = 1;
    if (n == -1 || n == 1)
        return ERR_OK;
    bool fits = n > 1 && s->content_dim == 0;
    for (int32_t l = 1; fits && l <= s->L; l++)
        fits = s->width[l] % n == 0;
    if (!fits || s->id_dim % n || s->S % n || s->R % n || s->B % n)
        return err_fatal(err, EX_DATAERR,
                         "model %s: mmf.members %s: the widths are not made of so many parts "
                         "(2 to %d)",
                         m->path, model_text(m, "mmf.members"), MODEL_MEMBERS_MAX);
    s->members = n;
    return ERR_OK;
}

static int read_flags(struct model *m, struct err *err)
{
    const char *fusion = model_text(m, "mmf.fusion");
    int trained = text_bool(m, "mmf.trained", true);
    int unit = text_bool(m, "mmf.unit_length", m->shape.has_statistics);

    if (trained < 0 || unit < 0)
        return model_wrong(m, trained < 0 ? "mmf.trained" : "mmf.unit_length",
                           "is neither true nor false", err);
    if (fusion != NULL && strcmp(fusion, fusion_kind_name(m->shape.fusion)) != 0)
        return err_fatal(err, EX_DATAERR, "model %s: mmf.fusion says %s, the tensors are %s",
                         m->path, fusion, fusion_kind_name(m->shape.fusion));
    m->shape.trained = trained != 0;
    m->shape.fused_length = unit ? 1 : 0;
    return unit ? model_length(m, "mmf.fused_length", &m->shape.fused_length, err) : ERR_OK;
}

int model_read_metadata(struct model *m, struct err *err)
{
    int status = read_modalities(m, err);

    if (status == ERR_OK)
        status = read_encoders(m, err);
    if (status == ERR_OK)
        status = cold_derive(m, err);
    if (status == ERR_OK)
        status = read_members(m, err);
    return status == ERR_OK ? read_flags(m, err) : status;
}
