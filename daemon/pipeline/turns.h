#ifndef MMF_DAEMON_PIPELINE_TURNS_H
#define MMF_DAEMON_PIPELINE_TURNS_H

/* One event of an item at a time. An event takes its item_id's turn; later events of the same
 * item_id wait behind it, in order, until the turn is given back. Not thread-safe: the extract
 * thread's. */

#include "config/err.h"
#include "daemon/event/item.h"

#include <stdbool.h>
#include <stddef.h>

struct turn {
    struct item_list waiting;
    struct turn *next_settled; /* for whoever collects turns to give back */
    char item_id[];
};

struct turns {
    void *tree; /* by item_id; a zeroed struct is an empty table */
    size_t n;
    size_t n_waiting, waiting_bytes; /* the events behind those that have a turn */
};

/* *ret_has_turn: item->turn is set, go on. Otherwise the item is kept here until its turn comes,
 * and is no longer the caller's. ERR_RETRY: no memory, it stays the caller's. */
int turns_take(struct turns *t, struct item *item, bool *ret_has_turn, struct err *err);
/* Returns the next event, which now holds the turn, or NULL: then the turn is gone. */
struct item *turns_give_back(struct turns *t, struct turn *turn);
void turns_done(struct turns *t); /* frees what waits */

#endif
