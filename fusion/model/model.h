#ifndef MMF_FUSION_MODEL_MODEL_H
#define MMF_FUSION_MODEL_MODEL_H

/* A MetaMMF model: what turns an item's features into its embedding. The file is safetensors;
 * tensors carry the names of the authors' state_dict (mlp_signal.0.weight, layer_1.A, …), ours
 * are under "mmf.". Shapes decide every size. Legend: B items, F = V+A+T input columns,
 * S length of the meta information, R CP rank, widths d_0 = F … d_L, C content columns, D the item
 * embedding: what the backbone makes of [fused d_L ‖ content C ‖ ID], and signals.h puts beside it.
 *
 * A model is immutable once loaded and may be read by any number of threads. */

#include "config/err.h"
#include "fusion/model/shape.h"

#include <stddef.h>
#include <stdint.h>

struct model; /* opaque: owns the mapped tensors and the packed copies */

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
