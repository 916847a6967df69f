#ifndef MMF_DAEMON_MODEL_ACTIVE_MODEL_H
#define MMF_DAEMON_MODEL_ACTIVE_MODEL_H

/* The model that new items are fused with: the store's active one, made of the very bytes whose
 * SHA-256 was checked. Threads that follow the same model share it (loaded.h). A store without a model gets a seeded untrained one: a working random
 * projection of the right shape until the first training. */

#include "config/err.h"
#include "config/settings.h"
#include "extract/wire/features.h"
#include "fusion/model/model.h"
#include "store/models.h"

#include <stdbool.h>
#include <stdint.h>

struct active_model {
    int64_t model_id;    /* 0 = none loaded */
    struct model *model; /* shared; active_model_done */
    int64_t active_id;   /* in the store, when it was last asked for a newer one */
    int64_t refused_id;  /* that one, when its file was not accepted; 0 = it was */
};

/* Loads the active model, after seeding one for these encoders (MODALITY_COUNT, by modality) where
 * the store has none. A seeded one whose file is missing or damaged is written again: the same bytes.
 * ERR_OK with ret_m->model NULL: the file of another one is; refused_id is its id, and err says why. */
int active_model_open(struct store *st, const struct settings *s,
                      const struct encoder_identity *encoders, struct active_model *ret_m,
                      struct err *err);
/* Loads the store's active model when it is another one than m. ERR_NONE: it is not, the store
 * has none, or it has been refused before (m remembers): an error is told once. One that was refused
 * is taken when somebody else has loaded it since (loaded.h). */
int active_model_newer(struct active_model *m, struct store *st, const struct settings *s,
                       struct active_model *ret_m, struct err *err);
/* ERR_FATAL EX_NOINPUT for a model of which a row alone is left: the gate refused it. */
int active_model_has_file(const struct store_model *row, struct err *err);
/* The model of a row of the store, the caller's own. */
int active_model_load(const struct store_model *row, const struct settings *s,
                      struct model **ret_model, struct err *err);
/* Its file is missing or damaged for good, as against one that cannot be read for now. */
bool active_model_is_lost(const struct store_model *row, const struct settings *s);
void active_model_done(struct active_model *m);

#endif
