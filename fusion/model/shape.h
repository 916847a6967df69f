#ifndef MMF_FUSION_MODEL_SHAPE_H
#define MMF_FUSION_MODEL_SHAPE_H

/* What kind of model it is, and every size of it. Legend in model.h. */

#include "config/modality.h"
#include "fusion/model/backbone.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fusion_kind { FUSION_NONE, FUSION_STATIC, FUSION_DENSE, FUSION_CP };

const char *fusion_kind_name(enum fusion_kind k); /* "none", "static", "dense", "cp" */
int fusion_kind_parse(const char *name);          /* -1 */

#define MODEL_LAYERS_MAX  8
#define MODEL_MEMBERS_MAX 16 /* as training.members in config/ */

enum { MODEL_S = 5, MODEL_R = 16 }; /* when nobody chooses: the paper's */

struct model_shape {
    enum fusion_kind fusion;
    enum backbone_kind backbone;
    int32_t F; /* = sum of modality_dim for a model of ours */
    int32_t modality_dim[MODALITY_COUNT];
    int32_t S, R, L;                     /* meta information, CP rank, layers */
    int32_t width[MODEL_LAYERS_MAX + 1]; /* width[0] = F … width[L] */
    int32_t content_dim;                 /* content columns (content.h), 0 = none */
    float content_scale;                 /* their length */
    int32_t id_dim;                      /* ID half; 0 in model_seed = width[L] */
    int32_t B;                           /* a node's vector after the backbone */
    int32_t factor_dim;                  /* A: factors (signals.h), 0 = none */
    int32_t column_dim;                  /* C: content of signals.h, 0 = none */
    int32_t mapped_dim;                  /* A with a mapping (mapping.h), else 0 */
    int32_t D;                           /* = B + A + C, a vector as published */
    float cold_length;                   /* cold.h; 0 = vectors as they come */
    int32_t members;     /* trainings side by side (ensemble.h), 1 = no ensemble */
    int32_t hops;        /* layers of propagation (backbone.h) */
    bool trained;        /* false: seeded, never trained */
    bool has_statistics; /* mmf.mean, mmf.std: a model of ours, not the authors' */
    float fused_length;  /* of the fused half, each member's; 0 = as the network gives it */
    bool cp_collapsed;   /* C is stored as the authors' (R·S, 1) */
    char encoder_id[MODALITY_COUNT][64]; /* "" = unknown */
};

/* Columns of a backbone's input that an item's features give: [fused ‖ content]. */
static inline size_t model_feature_width(const struct model_shape *s)
{
    return s->L > 0 ? (size_t)(s->width[s->L] + s->content_dim) : 0;
}

/* Whether an item without interactions has a vector by its features (fuse_items). */
static inline bool model_has_features(const struct model_shape *s)
{
    return s->L > 0 || s->column_dim > 0;
}

/* What an item's features say before it is weighed (fuse_columns_in): [c ‖ m]. */
static inline size_t model_column_width(const struct model_shape *s)
{
    return (size_t)(s->column_dim + s->mapped_dim);
}

/* Whether vectors hold more than the backbone's: then an item's, and a user's, change with its
 * interactions under every backbone. */
static inline bool model_has_signals(const struct model_shape *s)
{
    return s->factor_dim > 0 || s->column_dim > 0;
}

#endif
