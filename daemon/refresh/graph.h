#ifndef MMF_DAEMON_REFRESH_GRAPH_H
#define MMF_DAEMON_REFRESH_GRAPH_H

/* The item-item graph of the active model over the store's items: the rows that it was trained with,
 * and one row more for each item that came later and has interactions by now, made when it is first
 * asked for and kept until the item changes. (Before it has any, it keeps the vector that ingest
 * gave it, to the byte.) */

#include "daemon/refresh/world.h"

/* *ret_graph NULL: the model has none. */
int refresh_graph_open(struct refresh_world *w, struct refresh_graph **ret_graph,
                       struct err *err);
float refresh_graph_strength(const struct refresh_graph *g);
/* The row of an item, as neighbourhood.h asks for it. */
int refresh_graph_row(struct refresh_world *w, int64_t node, const int64_t **ret_nodes,
                      const float **ret_values, size_t *ret_n, struct err *err);
void refresh_graph_forget(struct refresh_graph *g, int64_t rid); /* g may be NULL */
void refresh_graph_free(struct refresh_graph *g);                /* takes NULL */

#endif
