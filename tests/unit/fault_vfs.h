#ifndef MMF_TESTS_FAULT_VFS_H
#define MMF_TESTS_FAULT_VFS_H

/* A layer over SQLite's default VFS in which the n-th write, sync or truncate fails, once or from
 * then on; and the same for SQLite's memory. Writes that fail with SQLITE_IOERR leave half of
 * their bytes behind. Syncs are counted but not carried out: the tests kill no power. */

#include <stdbool.h>
#include <stdint.h>

enum fault_kind { FAULT_IO, FAULT_MEMORY };

struct fault {
    enum fault_kind kind;
    int64_t at;      /* number of the point that fails, from 0; -1 = none */
    bool persistent; /* every later one fails as well */
    int code;        /* SQLITE_IOERR or SQLITE_FULL */
};

/* Before SQLite is initialised; makes the layer the default VFS. */
void fault_install(void);
void fault_arm(const struct fault *f); /* NULL = nothing fails; the count starts again */
int64_t fault_points(enum fault_kind kind);
bool fault_tripped(void);

#endif
