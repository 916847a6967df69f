#ifndef MMF_DAEMON_REFRESH_WORLD_H
#define MMF_DAEMON_REFRESH_WORLD_H

/* The active model as the refresh thread sees it: whose rows its tensors are (rows.h), its item-item
 * graph (graph.h), and the neighbourhood that asks the store for edges and features. One thread; the reader is borrowed.
 *
 * lightgcn weighs an edge by the degrees of both ends, and neighbours go by those of users, so that a pass needs those of hundreds of
 * nodes all over the store, a page each. They are read once, four bytes a node, and forgotten by the
 * touches that change them. */

#include "config/err.h"
#include "config/settings.h"
#include "daemon/model/active_model.h"
#include "daemon/refresh/rows.h"
#include "fusion/model/neighbourhood.h"
#include "store/touch.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fuse_context;
struct neighbours;
struct refresh_graph;

struct refresh_world {
    struct store *reader;
    struct active_model active;
    struct refresh_rows items, users; /* of item_E and user */
    struct fuse_context *fuse;        /* NULL without fusion and content columns */
    struct refresh_graph *graph;      /* the item-item graph; NULL = the model has none */
    struct neighbourhood *h;
    struct neighbours *neighbours; /* of items, by what h knows; NULL = the model has none */
    struct store_degrees
        degrees; /* under lightgcn and with neighbours; DEGREE_UNKNOWN = to be asked for */
    const atomic_bool *stopping; /* reading whose rows they are gives up; NULL = never */
    int64_t seen_n;              /* touches up to it are known to the neighbourhood */
    struct store_ids ids;
    int64_t *names; /* (names_room) */
    size_t names_room;
    float *X; /* (64, F) */
};

/* Takes the model over, on success only. w->stopping is set or NULL, the rest zeroed. */
int refresh_world_open(struct refresh_world *w, struct store *reader, const struct settings *s,
                       struct active_model *model, struct err *err);
void refresh_world_done(struct refresh_world *w); /* takes NULL; zeroed is fine */

/* Whether edges, or being known, can make a node's vector another one than fuse_items makes. A model
 * that was never trained says nothing of taste: nobody gets a vector by it. */
bool refresh_world_moves(const struct refresh_world *w, int64_t node, bool changed);
/* neighbourhood_vectors of the world. */
int refresh_world_vectors(struct refresh_world *w, const int64_t *nodes, size_t n,
                          size_t max_edges, float *ret_vec, uint32_t *ret_degree,
                          bool *ret_too_big, struct err *err);
/* The edges of a node and the degrees of who is there, for neighbourhood_near. */
int refresh_world_look_around(struct refresh_world *w, int64_t node, struct err *err);
/* Gives what is in memory of edges and inputs back once there is more than max_bytes. */
void refresh_world_trim(struct refresh_world *w, size_t max_bytes);
/* Inside a read transaction: forgets what touches after seen_n have changed. */
int refresh_world_catch_up(struct refresh_world *w, int64_t last_n, struct err *err);

#endif
