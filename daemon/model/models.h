#ifndef MMF_DAEMON_MODEL_MODELS_H
#define MMF_DAEMON_MODEL_MODELS_H

/* What `metammf model` and `metammf train` do to the models of a store, for whoever owns it: the
 * daemon at the request of its control socket, or the command line with the store's lock. */

#include "daemon/model/candidate.h"

/* One thread of the daemon at a time publishes, activates, or removes the files of old models: a
 * model that is about to be activated would lose its folder. Waits; false = go_on (called a few
 * times a second) said that it is not worth it, and the lock is not held. */
bool models_lock(bool (*go_on)(void *arg), void *arg);
void models_unlock(void);

/* A trainer's folder becomes a model, and the active one when `activate`. */
int models_publish(const struct candidate_target *t, const char *dir, bool activate,
                   int64_t *ret_model_id, struct err *err);
/* A safetensors file (ours, or an authors' state_dict) becomes a model. A file that does not say
 * what its columns are is taken to mean the store's features, when their widths add up to F. */
int models_import(const struct candidate_target *t, const char *path, bool activate,
                  int64_t *ret_model_id, struct err *err);
/* model_id 0 unpins. ERR_FATAL EX_NOINPUT for an unknown model. */
int models_pin(const struct candidate_target *t, int64_t model_id, struct err *err);
/* The model that `rollback` means (store_model_previous). ERR_FATAL EX_NOINPUT: there is none. */
int models_previous(struct store *st, int64_t *ret_model_id, struct err *err);

#endif
