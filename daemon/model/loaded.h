#ifndef MMF_DAEMON_MODEL_LOADED_H
#define MMF_DAEMON_MODEL_LOADED_H

/* Models in memory, each once in a process: who asks for one that another thread uses gets the same,
 * not a second reading of its file. A model is immutable, so any number may use it. Any thread. */

#include "config/err.h"
#include "fusion/model/model.h"

#include <stdint.h>

/* NULL = nobody has it. Otherwise the caller uses it too, until loaded_release. */
struct model *loaded_find(int64_t model_id, const char *sha256);
/* Takes the model over on ERR_OK; the caller is the first to use it. */
int loaded_add(int64_t model_id, const char *sha256, struct model *model, struct err *err);
/* The last one frees it. NULL is nothing. */
void loaded_release(struct model *model);
/* The same of a model that has just become the active one: it stays for the next who asks, or until
 * another is left. */
void loaded_leave(struct model *model);

#endif
