#ifndef MMF_DAEMON_REFRESH_NEIGHBOURS_H
#define MMF_DAEMON_REFRESH_NEIGHBOURS_H

/* The rows of items' neighbours (fusion/model/neighbours.h) that a pass makes anew, beside its vectors:
 * those of its items, from the same edges, with the ridge of the active model. A row is what a
 * training over all that the store holds would make of it; rows of other items, which this one's
 * edges move a little, are not made. */

#include "daemon/refresh/world.h"
#include "store/models.h"

struct refresh_neighbours {
    struct store_neighbour_row *rows; /* (n), one without neighbours is among them */
    size_t n, rows_room;
    int64_t *rids; /* of all rows, and so the next */
    float *values;
    size_t rids_room, values_room;
    size_t n_too_big; /* left out: more than max_edges */
    size_t n_edges;   /* looked at */
};

/* Of the items among n nodes; none when the model has no such signal. *ret is zeroed at first, later what
 * it held is replaced. Bounds: max_edges for a row, and max_bytes of what is kept in memory of
 * edges, which are forgotten beyond it: a row's own edges come on top. */
int refresh_neighbours_make(struct refresh_world *w, const int64_t *nodes, size_t n,
                            size_t max_edges, size_t max_bytes, struct refresh_neighbours *ret,
                            struct err *err);
void refresh_neighbours_done(struct refresh_neighbours *x);

#endif
