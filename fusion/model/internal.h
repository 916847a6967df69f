#ifndef MMF_FUSION_MODEL_INTERNAL_H
#define MMF_FUSION_MODEL_INTERNAL_H

/* Inside fusion/: a model is a table of named tensors (float32, row-major, as in the file) plus
 * metadata, and a shape derived from both. Everything is kept, so that a model loads, trains on,
 * and saves without losing what this file does not know: names under "mmf." are free for further
 * parts.
 *
 * Building one (seed, trainer): model_new_empty, model_add … model_set …, model_finish (derives and
 * checks the shape, as for a file), model_prepare (packs the weights for fuse_*). Until
 * model_prepare the tensors' data may be changed; afterwards the model is immutable.
 *
 * Tensors, letters as in model.h (out = width[n], in = width[n-1], H hidden units of the MLP,
 * E = width[L] + content_dim + id_dim), as the authors' state_dict holds them:
 *   mlp_signal.0.weight (H, F)  .0.bias (H)     z = ReLU(x W0ᵀ + b0)
 *   mlp_signal.2.weight (S, H)  .2.bias (S)     s = z W2ᵀ + b2
 *   layer_n.M_1 (in, out)                       every kind
 *   layer_n.T_1 (S, in·out)                     dense: T[k, i·out + o]
 *   layer_n.A (in, R)  .B (R, out)  .C (R, S)   CP; C (R·S, 1) is the authors' collapsed form
 *   item_E (items, id_dim)   user (users, E)    identities, by import row
 *   conv1.lin_l.weight (c, E)  .lin_l.bias (c)  .lin_r.weight (c, E); conv2.* (B, c)
 *   mmf.mean (F)  mmf.std (F)                   standardisation
 *   mmf.content (F, content_dim)                content.h; the length is metadata mmf.content_scale
 *   mmf.factors (I, A)  .power (A)  mmf.columns.visual (F_m, K_m) …  .join (K, C)      signals.h
 *   mmf.mapping (F, A)  .bias (A)               mapping.h
 * Metadata: mmf.fusion, mmf.backbone, mmf.modality_dim "2048,128,100", mmf.encoder_id.visual …,
 * mmf.trained, mmf.unit_length, mmf.fused_length (1 without), mmf.hops, mmf.id_dim, mmf.content_scale,
 * mmf.cold_length, mmf.members, mmf.signals, mmf.factors.lambda. */

#include "fusion/file/safetensors.h"
#include "fusion/model/model.h"
#include "fusion/model/signals.h"

#include <stddef.h>

#define MODEL_NAME_BYTES 64
#define MODEL_DIM_MAX    1048576 /* of anything but the number of users and items */

struct model_tensor {
    char *name;
    int n_dims;
    size_t shape[SAFETENSORS_DIMS_MAX];
    size_t n_elements;
    float *data; /* from gemm_alloc */
};

struct model_text {
    char *key, *value;
};

struct fuse_plan;

struct model {
    struct model_shape shape;
    struct signals signals; /* signals.h */
    char *path;             /* for messages: the file, or "seeded model" */
    struct model_tensor *tensors;
    size_t n_tensors, tensors_room;
    struct model_text *texts;
    size_t n_texts, texts_room;
    struct fuse_plan *plan; /* NULL until model_prepare */
};

/* ---- tensors.c ---- */

int model_new_empty(const char *path, struct model **ret_model, struct err *err);
/* A zeroed tensor of one or two dimensions (cols 0 = one); *ret_data is its memory. The name must
 * be new. */
int model_add(struct model *model, const char *name, size_t rows, size_t cols, float **ret_data,
              struct err *err);
int model_add_shape(struct model *model, const char *name, int n_dims, const size_t *shape,
                    float **ret_data, struct err *err);
int model_set(struct model *model, const char *key, const char *value, struct err *err);
/* NULL when there is none. name as printf. */
const struct model_tensor *model_tensor(const struct model *model, const char *name, ...)
    __attribute__((format(printf, 2, 3)));
const char *model_text(const struct model *model, const char *key);
/* A whole number in [0, max] as metadata; -1 when absent; -2 when it is none. */
int32_t model_number(const struct model *model, const char *key, long max);
/* A length above zero as metadata; *length stays when absent. ERR_FATAL EX_DATAERR for what is none. */
int model_length(const struct model *model, const char *key, float *length, struct err *err);

/* Checks of a model's parts; ERR_FATAL EX_DATAERR names the file, the part and what demands it.
 * t must be (rows, cols), or (rows) when cols is 0; `why` names what demands it. */
int model_expect(const struct model *m, const struct model_tensor *t, size_t rows, size_t cols,
                 const char *why, struct err *err);
/* The tensor of that name, two-dimensional with sizes in 1 … MODEL_DIM_MAX. */
int model_matrix(const struct model *m, const char *name, const char *why,
                 const struct model_tensor **ret_t, struct err *err);
/* Always fail: `name` is missing although `why` is there; `name` is `what`. */
int model_missing(const struct model *m, const char *name, const char *why, struct err *err);
int model_wrong(const struct model *m, const char *name, const char *what, struct err *err);

/* ---- metadata.c ---- */

/* Writes the fields of *shape that tensors cannot tell (kinds, modalities, encoders, trained,
 * fused_length, hops, id_dim, content_scale, cold_length, members) as metadata. */
int model_set_shape(struct model *model, const struct model_shape *shape, struct err *err);
/* The same fields from metadata, after those that tensors tell. ERR_FATAL EX_DATAERR for what
 * contradicts them. */
int model_read_metadata(struct model *model, struct err *err);

/* ---- shape.c, fuse_plan.c ---- */

/* Derives model->shape and checks every tensor against it. */
int model_finish(struct model *model, struct err *err);
/* Packs the weights. */
int model_prepare(struct model *model, struct err *err);

#endif
