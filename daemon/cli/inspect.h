#ifndef MMF_DAEMON_CLI_INSPECT_H
#define MMF_DAEMON_CLI_INSPECT_H

/* Single items as the active model sees them, for explain, verify and report: their stored
 * features laid out as the model's input, fused again, with and without each modality. Reads
 * only; one thread.
 *
 * What a modality contributes is measured by ablation: the item is fused as an item without
 * interactions (fuse_items), then again with the modality masked; `moved` is 1 - cosine of the two
 * vectors, 0 when nothing changes, 1 when they are at right angles or nothing is left. `share` is
 * moved over the sum of the three. Interactions do not enter: what a warm item's neighbours add to
 * its vector is no modality's. */

#include "config/err.h"
#include "config/modality.h"
#include "config/settings.h"
#include "daemon/model/active_model.h"
#include "store/store.h"

#include <stddef.h>
#include <stdint.h>

struct inspect {
    struct store *st;          /* borrowed */
    struct active_model model; /* model.model NULL = the store has none */
    int32_t F, D;
};

/* ERR_OK without a model too: see model.model. */
int inspect_open(struct store *st, const struct settings *s, struct inspect *ret_i,
                 struct err *err);
void inspect_done(struct inspect *i);

struct inspect_item {
    uint8_t stored; /* MODALITY_BITs: there is a feature */
    uint8_t used;   /* whose encoder and dimension are the model's */
    int32_t dim[MODALITY_COUNT];
    char encoder_id[MODALITY_COUNT][64];
    float *vec[MODALITY_COUNT]; /* (dim), NULL = none */
    float *x;                   /* (F), zero where not used; NULL without a model */
};
/* A BLOB whose checksum fails: ERR_FATAL EX_DATAERR. */
int inspect_read(struct inspect *i, const char *item_id, struct inspect_item *ret_item,
                 struct err *err);
void inspect_item_done(struct inspect_item *item);

struct inspect_ablation {
    double moved[MODALITY_COUNT], share[MODALITY_COUNT]; /* 0 where not used */
};
/* ret_E: the whole vector, then one without each modality. Needs a model. */
int inspect_ablate(struct inspect *i, const struct inspect_item *item,
                   float *ret_E /* (1 + MODALITY_COUNT, D) */, struct inspect_ablation *ret_a,
                   struct err *err);

#endif
