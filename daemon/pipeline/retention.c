#include "daemon/pipeline/retention.h"

#include "config/clock.h"
#include "config/log.h"
#include "store/writing.h"

enum { ROWS = 500, EVERY_MS = 60000 };

void retention_run(struct retention *r, struct store *st, const struct settings *s)
{
    if (clock_mono_us() < r->due_us)
        return;
    struct store_retention keep = {s->store.keep_interactions_days,
                                   s->store.keep_dead_letters_days,
                                   s->store.keep_model_versions};
    struct err err;
    bool more = false;
    if (store_retain(st, &keep, clock_real_us(), ROWS, &more, &err) != ERR_OK)
        log_warning("retention: %s", err.text);
    r->due_us = clock_mono_us() + (more ? 0 : (int64_t)EVERY_MS * 1000);
}
