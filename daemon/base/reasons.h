#ifndef MMF_DAEMON_BASE_REASONS_H
#define MMF_DAEMON_BASE_REASONS_H

/* Why an event became a dead letter, or its row is of the text alone: every reason that err_skip gives, with a sentence for the operator.
 * metammfd(8), the help of metammf dlq and the completion are made of this table; unit.daemon_page compares it
 * with the code. */

#include <stdbool.h>
#include <stddef.h>

struct reason {
    const char *name, *what;
    bool
        of_media; /* found, but nothing came of it: with a text it is a row of that, flags.reason */
};

extern const struct reason reasons[];
extern const size_t n_reasons;

const char *reason_what(const char *name); /* "" = no such reason */

#endif
