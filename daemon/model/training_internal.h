#ifndef MMF_DAEMON_MODEL_TRAINING_INTERNAL_H
#define MMF_DAEMON_MODEL_TRAINING_INTERNAL_H

/* Between training.c and training_start.c: the model that a warm training starts from. */

#include "daemon/model/candidate.h"
#include "daemon/model/training.h"

struct training_start {
    struct store_model row; /* the active model; model_id 0 = none */
    struct model *model;    /* with --warm, what to start from */
    struct candidate files; /* its folder: whose rows it holds */
    uint32_t *user_map, *item_map;
    struct model *member; /* of it, that the training under way starts from */
};

int training_start_find(struct store *reader, const struct settings *settings,
                        const struct training_request *r, const struct training_data *t,
                        struct training_start *ret_s, struct err *err);
/* For a training of that number, from 0; *ret_warms false = from nothing. ret_warm lives until the
 * next call. */
int training_start_member(struct training_start *s, uint32_t member, bool *ret_warms,
                          struct train_warm *ret_warm, struct err *err);
void training_start_done(struct training_start *s);

#endif
