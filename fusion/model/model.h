#ifndef MMF_FUSION_MODEL_MODEL_H
#define MMF_FUSION_MODEL_MODEL_H

/* A MetaMMF model: what turns an item's features into its embedding. The file is safetensors;
 * tensors carry the names of the authors' state_dict (mlp_signal.0.weight, layer_1.A, …), ours
 * are under "mmf.". Shapes decide every size. DESIGN legend: B items, F = V+A+T input columns,
 * S length of the meta information, R CP rank, widths d_0 = F … d_L, C content columns, D the item
 * embedding: what the backbone makes of [fused d_L ‖ content C ‖ ID].
 *
 * A model is immutable once loaded and may be read by any number of threads. */

#include "config/err.h"
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

struct model; /* opaque: owns the mapped tensors and the packed copies */

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
    int32_t D;                           /* item embedding after the backbone */
    float cold_length;                   /* cold.h; 0 = vectors as they come */
    int32_t members;     /* trainings side by side (ensemble.h), 1 = no ensemble */
    int32_t hops;        /* layers of propagation (backbone.h) */
    bool trained;        /* false: seeded, never trained */
    bool has_statistics; /* mmf.mean, mmf.std: a model of ours, not the authors' */
    float fused_length;  /* of the fused half, each member's; 0 = as the network gives it */
    bool cp_collapsed;   /* C is stored as the authors' (R·S, 1) */
    char encoder_id[MODALITY_COUNT][64]; /* "" = unknown */
};

/* Columns of an item's input that its features give: [fused ‖ content]. */
static inline size_t model_feature_width(const struct model_shape *s)
{
    return s->L > 0 ? (size_t)(s->width[s->L] + s->content_dim) : 0;
}

/* A seeded untrained model, statistics of mean 0 and deviation 1: a working random projection
 * until the first training. Every entry is Xavier uniform; M_1 in mirrored pairs (seed.c), so that
 * the network starts as a distance-preserving linear map. The backbone is one without tensors of its
 * own. Zero fields of *shape take defaults: fusion none → cp, S 5, R 16, widths 1024, 512, 256, 32,
 * id_dim width[L], hops 3 (lightgcn); F is the sum of modality_dim; there are no content columns. */
int model_seed(const struct model_shape *shape, uint64_t seed, struct model **ret_model,
               struct err *err);
/* ERR_FATAL with EX_DATAERR (65) naming both tensors when shapes do not fit. Hostile input. */
int model_load(const char *path, struct model **ret_model, struct err *err);
/* The same of a file that is in memory; path is for messages. */
int model_load_bytes(const void *file, size_t bytes, const char *path, struct model **ret_model,
                     struct err *err);
/* Writes to a temporary name, fsyncs, renames. */
int model_save(const struct model *model, const char *path, struct err *err);
/* For a file that does not say what its columns are (an authors' checkpoint): the modalities'
 * widths, which must add up to F, and their encoders. Right after model_load, before any other
 * use; nothing of the file changes. */
void model_bind(struct model *model, const int32_t dim[MODALITY_COUNT],
                const char encoder_id[MODALITY_COUNT][64]);
const struct model_shape *model_shape(const struct model *model);
void model_free(struct model *model);

#endif
