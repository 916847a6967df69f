#ifndef MMF_DAEMON_PIPELINE_OUTCOME_H
#define MMF_DAEMON_PIPELINE_OUTCOME_H

/* What became of an item, told once: to the metrics, and a dead letter to the log. */

#include "config/settings.h"
#include "daemon/event/item.h"

#include <stdint.h>

/* After the commit; queryable_us is the wall clock then. epoch 0: the sink has dropped it. */
void outcome_committed(const struct item *item, const struct settings *s, int64_t queryable_us);

#endif
