#ifndef MMF_DAEMON_SERVICE_STORE_VITALS_H
#define MMF_DAEMON_SERVICE_STORE_VITALS_H

/* What /metrics shows of the store as a file and of its dead letters. Files are looked at with each
 * scrape. Rows are counted by a handle of its own, and no sooner than 100 times what the last
 * count took, so that a store of any size costs a scraper's thread 1 % at most. */

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

struct store_vitals {
    const char *path; /* borrowed */
    _Atomic int64_t n_letters, n_outbox, committed_us;
    _Atomic int64_t due_us; /* monotonic: of the next count */
};

void store_vitals_init(struct store_vitals *v, const char *path);
/* committed_us: the last commit of this process, wall clock, 0 = none yet. */
void store_vitals_print(struct store_vitals *v, int64_t committed_us, FILE *out);

#endif
