#ifndef MMF_DAEMON_PIPELINE_FUSER_H
#define MMF_DAEMON_PIPELINE_FUSER_H

/* From the features of items to their embeddings: lays the modalities out as the model's input
 * columns, runs the forward pass in blocks, and copies each row into its item's arena. A modality
 * whose encoder or dimension is not the model's counts as missing (said once a model). The sink's
 * thread. */

#include "config/err.h"
#include "config/modality.h"
#include "daemon/event/item.h"
#include "daemon/model/active_model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUSER_ROWS 64 /* of one block */

struct fuser {
    const struct model *model;
    int64_t model_id;
    float *X; /* (FUSER_ROWS, F) */
    float *E; /* (FUSER_ROWS, D) */
    uint8_t mask[FUSER_ROWS];
    bool told[MODALITY_COUNT];
};

/* Borrows the model until the next call. A zeroed fuser has none, and wants no item. */
int fuser_set_model(struct fuser *f, const struct active_model *m, struct err *err);
/* Whether the item is a video that the present model has not fused: never, or another model has. */
bool fuser_wants(const struct fuser *f, const struct item *item);
/* Fuses those that it wants among the items; their model_id says so, set last. A re-extraction
 * (item.ticket) one of whose features does not fit the model gets no vector: it keeps the one that
 * it has. One whose result is not finite becomes a dead letter; the others do not depend on it.
 * ERR_RETRY: no memory, call again. */
int fuser_run(struct fuser *f, struct item *const *items, size_t n, struct err *err);
void fuser_done(struct fuser *f);

#endif
