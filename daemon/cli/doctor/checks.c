#include "daemon/cli/doctor/checks.h"

#include "config/text.h"

#include <stdarg.h>
#include <sysexits.h>

void doctor_add(struct doctor *d, const char *name, enum doctor_verdict verdict,
                const char *next, const char *fmt, ...)
{
    struct doctor_check *c = &d->checks[d->n_checks];
    va_list args;

    if (d->n_checks == DOCTOR_CHECKS_MAX)
        return;
    d->n_checks++;
    *c = (struct doctor_check){.name = name, .verdict = verdict};
    c->exit_code = verdict == DOCTOR_BAD ? EX_CONFIG : 0;
    va_start(args, fmt);
    text_vformat(c->detail, sizeof(c->detail), fmt, args);
    va_end(args);
    text_format(c->next, sizeof(c->next), "%s", next);
}

void doctor_code(struct doctor *d, int exit_code)
{
    d->checks[d->n_checks - 1].exit_code = exit_code;
}
