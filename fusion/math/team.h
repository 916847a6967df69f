#ifndef MMF_FUSION_MATH_TEAM_H
#define MMF_FUSION_MATH_TEAM_H

/* A few threads that share one loop at a time. The loop is cut into parts by its owner, and each
 * part writes memory of its own, so that neither the number of threads nor who took which part
 * changes a bit of the result. The caller works too: a team of one has no thread. */

#include "config/err.h"

#include <stddef.h>

struct team; /* NULL is a team of one */

int team_new(unsigned n_threads, struct team **ret_team, struct err *err);
/* Calls work(arg, part) once for every part in [0, n_parts), in any order; returns when all are
 * done. One call at a time. */
void team_run(struct team *team, size_t n_parts, void (*work)(void *arg, size_t part),
              void *arg);
void team_free(struct team *team);

#endif
