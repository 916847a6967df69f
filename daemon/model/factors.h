#ifndef MMF_DAEMON_MODEL_FACTORS_H
#define MMF_DAEMON_MODEL_FACTORS_H

/* From the settings interactions.kinds and interactions.default into the store (store/kinds.h). */

#include "config/err.h"
#include "config/settings.h"
#include "store/kinds.h"

/* By whoever has the store open for writing. Settings that come from no file, as of a command that
 * was told a store and nothing else, leave those alone that are there. A change is logged. */
int factors_apply(struct store *st, const struct settings *s, struct err *err);
/* Whether the settings have a factor for this very kind. */
bool factors_has(const struct settings *s, const char *kind);

#endif
