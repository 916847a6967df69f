#ifndef MMF_DAEMON_CLI_DOCTOR_CHECKS_H
#define MMF_DAEMON_CLI_DOCTOR_CHECKS_H

/* The checks of `metammf doctor`: every precondition of the daemon, each with what was found and
 * what to do next. Reads only, and leaves nothing behind. */

#include "config/settings.h"

#include <stdbool.h>
#include <stddef.h>

#define DOCTOR_CHECKS_MAX 128

enum doctor_verdict { DOCTOR_GOOD, DOCTOR_NOTE, DOCTOR_BAD };

struct doctor_check {
    const char *name;
    enum doctor_verdict verdict;
    int exit_code; /* of a bad one, sysexits */
    char detail[600], next[300];
};

struct doctor {
    const struct settings *s;
    bool fast; /* leave out what reads the whole store */
    bool daemon_up;
    struct doctor_check checks[DOCTOR_CHECKS_MAX];
    size_t n_checks;
};

__attribute__((format(printf, 5, 6))) void doctor_add(struct doctor *d, const char *name,
                                                      enum doctor_verdict verdict,
                                                      const char *next, const char *fmt, ...);
void doctor_code(struct doctor *d, int exit_code); /* of the last one added */

/* The checks, in an order in which a bad one explains the later ones. */
void doctor_store(struct doctor *d);  /* site.c */
void doctor_roles(struct doctor *d);  /* roles.c: who may write, read, operate */
void doctor_host(struct doctor *d);   /* host.c: this machine */
void doctor_source(struct doctor *d); /* site.c */

#endif
