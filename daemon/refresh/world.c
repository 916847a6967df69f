#include "daemon/refresh/world.h"

#include "config/array.h"
#include "daemon/model/candidate.h"
#include "daemon/model/feature_row.h"
#include "daemon/refresh/graph.h"
#include "fusion/model/fuse.h"
#include "fusion/model/neighbours.h"
#include "fusion/model/signals.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define DEGREE_UNKNOWN UINT32_MAX
enum { BLOCK = 64, TOUCHES = 512, USERS = 10000 };

/* ---- whose rows ------------------------------------------------------------------------------ */

static int read_rows(struct refresh_world *w, const struct settings *s, struct err *err)
{
    struct refresh_rows_source source = {
        .reader = w->reader, .model = w->active.model, .stopping = w->stopping};
    struct store_model row = {0};
    char dir[PATH_MAX];
    int status = store_model_get(w->reader, w->active.model_id, &row, err);

    if (status != ERR_OK) /* never ERR_NONE: the rows of models stay */
        return status;
    status = candidate_folder(s, &row, dir, err);
    store_model_done(&row);
    if (status != ERR_OK && status != ERR_NONE)
        return status;
    source.dir = status == ERR_OK ? dir : NULL;
    status = refresh_rows_read(&w->items, &source, STORE_SIDE_ITEMS, err);
    return status == ERR_OK ? refresh_rows_read(&w->users, &source, STORE_SIDE_USERS, err)
                            : status;
}

/* ---- what the neighbourhood asks -------------------------------------------------------------- */

static enum store_side side_of(int64_t node)
{
    return neighbourhood_is_item(node) ? STORE_SIDE_ITEMS : STORE_SIDE_USERS;
}

static int reserve_names(struct refresh_world *w, size_t n, struct err *err)
{
    int64_t *names = array_reserve(w->names, &w->names_room, n, sizeof(*names));

    if (!names)
        return err_oom(err, "a neighbourhood");
    w->names = names;
    return ERR_OK;
}

/* NULL = not kept: another backbone, or an id far beyond those that there were. */
static uint32_t *degree_of(struct refresh_world *w, int64_t node)
{
    enum store_side side = side_of(node);
    size_t at = (size_t)neighbourhood_id(node);

    return at < w->degrees.n[side] ? &w->degrees.of[side][at] : NULL;
}

static void keep_degree(struct refresh_world *w, int64_t node, uint32_t degree)
{
    uint32_t *known = degree_of(w, node);

    if (known)
        *known = degree;
}

static bool is_stopping(const struct refresh_world *w)
{
    return w->stopping && atomic_load(w->stopping);
}

/* All in one go when a model is taken over: 0.5 s of CPU for a million interactions. */
static int read_degrees(struct refresh_world *w, struct err *err)
{
    bool more = true;
    int status = ERR_OK;

    while (status == ERR_OK && more && !is_stopping(w))
        status = store_read_degrees(w->reader, USERS, &w->degrees, &more, err);
    return status == ERR_OK && more ? err_retry(err, EX_TEMPFAIL, "degrees: stopped") : status;
}

static void forget_edges(struct refresh_world *w, int64_t node)
{
    neighbourhood_forget(w->h, node);
    keep_degree(w, node, DEGREE_UNKNOWN);
}

static int ask_edges(void *arg, int64_t node, const int64_t **ret_nodes, size_t *ret_n,
                     struct err *err)
{
    struct refresh_world *w = arg;
    int status =
        store_read_neighbours(w->reader, side_of(node), neighbourhood_id(node), &w->ids, err);

    if (status == ERR_OK)
        status = reserve_names(w, w->ids.n + 1, err);
    for (size_t i = 0; status == ERR_OK && i < w->ids.n; i++)
        w->names[i] = neighbourhood_is_item(node) ? neighbourhood_user(w->ids.ids[i])
                                                  : neighbourhood_item(w->ids.ids[i]);
    *ret_nodes = w->names;
    *ret_n = w->ids.n;
    if (status == ERR_OK)
        keep_degree(w, node, (uint32_t)w->ids.n);
    return status;
}

static int ask_degree(void *arg, int64_t node, uint32_t *ret_degree, struct err *err)
{
    struct refresh_world *w = arg;
    const uint32_t *known = degree_of(w, node);

    if (known && *known != DEGREE_UNKNOWN) {
        *ret_degree = *known;
        return ERR_OK;
    }
    int status =
        store_read_degree(w->reader, side_of(node), neighbourhood_id(node), ret_degree, err);
    if (status == ERR_OK)
        keep_degree(w, node, *ret_degree);
    return status;
}

static const float *ask_user(void *arg, int64_t node)
{
    const struct refresh_world *w = arg;

    return refresh_rows_identity(&w->users, neighbourhood_id(node));
}

/* What the features of at most BLOCK items give: for the backbone (n, model_feature_width), and the
 * columns of signals.h (n, model_column_width). */
static int fuse_block(struct refresh_world *w, const int64_t *nodes, size_t n, float *ret_x,
                      float *ret_c, struct err *err)
{
    const struct model_shape *shape = model_shape(w->active.model);
    uint8_t mask[BLOCK] = {0};
    int status = ERR_OK;

    for (size_t i = 0; status == ERR_OK && i < n; i++)
        status = feature_row_read(w->reader, neighbourhood_id(nodes[i]), shape,
                                  w->X + i * (size_t)shape->F, &mask[i], err);
    if (status == ERR_OK)
        status = fuse_features_in(w->fuse, w->X, mask, n, ret_x, err);
    return status == ERR_OK ? fuse_columns_in(w->fuse, w->X, mask, n, ret_c, err) : status;
}

static int ask_similar(void *arg, int64_t node, const int64_t **ret_nodes,
                       const float **ret_values, size_t *ret_n, struct err *err)
{
    return refresh_graph_row(arg, node, ret_nodes, ret_values, ret_n, err);
}

/* What the model keeps of an item: its identity and factors, behind what its features give. */
static void lay_known(const struct refresh_world *w, int64_t node, size_t n_features, float *x)
{
    const struct refresh_row *known = refresh_rows_find(&w->items, neighbourhood_id(node));
    size_t id = (size_t)model_shape(w->active.model)->id_dim, n, A;
    const float *factors = signals_factors(w->active.model, &n, &A);

    if (!known)
        return;
    memcpy(x + n_features, w->items.tensor + known->row * w->items.width, id * sizeof(*x));
    if (factors)
        memcpy(x + n_features + id, factors + known->row * A, A * sizeof(*x));
}

static int ask_items(void *arg, const int64_t *nodes, size_t n, float *ret_x, struct err *err)
{
    struct refresh_world *w = arg;
    const struct model_shape *shape = model_shape(w->active.model);
    size_t d = w->fuse ? model_feature_width(shape) : 0, columns = model_column_width(shape);
    size_t width = d + (size_t)(shape->id_dim + shape->factor_dim) + columns;
    float *features = malloc(BLOCK * (d + columns) * sizeof(*features) + 1);
    float *content = features ? features + BLOCK * d : NULL;
    int status = features ? ERR_OK : err_oom(err, "items' inputs");

    memset(ret_x, 0, n * width * sizeof(*ret_x));
    for (size_t first = 0; status == ERR_OK && first < n; first += BLOCK) {
        size_t n_block = n - first < BLOCK ? n - first : BLOCK;

        if (w->fuse)
            status = fuse_block(w, nodes + first, n_block, features, content, err);
        for (size_t i = 0; status == ERR_OK && i < n_block; i++) {
            float *x = ret_x + (first + i) * width;

            memcpy(x, features + i * d, d * sizeof(*x));
            memcpy(x + width - columns, content + i * columns, columns * sizeof(*x));
            lay_known(w, nodes[first + i], d, x);
        }
    }
    free(features);
    return status;
}

int refresh_world_vectors(struct refresh_world *w, const int64_t *nodes, size_t n,
                          size_t max_edges, float *ret_vec, uint32_t *ret_degree,
                          bool *ret_too_big, struct err *err)
{
    return neighbourhood_vectors(w->h, nodes, n, max_edges, ret_vec, ret_degree, ret_too_big,
                                 err);
}

int refresh_world_look_around(struct refresh_world *w, int64_t node, struct err *err)
{
    return neighbourhood_look_around(w->h, node, err);
}

void refresh_world_trim(struct refresh_world *w, size_t max_bytes)
{
    if (neighbourhood_bytes(w->h) > max_bytes)
        neighbourhood_clear(w->h);
}

/* ---- opening ----------------------------------------------------------------------------------- */

void refresh_world_done(struct refresh_world *w)
{
    if (!w)
        return;
    neighbours_free(w->neighbours);
    neighbourhood_free(w->h);
    refresh_graph_free(w->graph);
    fuse_context_free(w->fuse);
    store_degrees_done(&w->degrees);
    refresh_rows_done(&w->items);
    refresh_rows_done(&w->users);
    free(w->ids.ids);
    free(w->names);
    free(w->X);
    active_model_done(&w->active);
    *w = (struct refresh_world){0};
}

static bool has_neighbours(const struct refresh_world *w)
{
    const struct signals *s = signals_of(w->active.model);

    return s->neighbours > 0 && s->ridge > 0;
}

static int open_parts(struct refresh_world *w, const struct settings *s, struct err *err)
{
    const struct model_shape *shape = model_shape(w->active.model);
    struct neighbourhood_source source = {.arg = w,
                                          .edges = ask_edges,
                                          .degree = ask_degree,
                                          .items = ask_items,
                                          .user = ask_user};
    int status = read_rows(w, s, err);

    w->X = calloc(BLOCK * (size_t)shape->F + 1, sizeof(*w->X));
    if (status == ERR_OK && !w->X)
        status = err_oom(err, "features");
    if (status == ERR_OK && model_has_features(shape))
        status = fuse_context_new(w->active.model, BLOCK, &w->fuse, err);
    if (status == ERR_OK)
        status = refresh_graph_open(w, &w->graph, err);
    if (status == ERR_OK && (backbone_of(shape->backbone)->weighs || has_neighbours(w)))
        status = read_degrees(w, err);
    if (status != ERR_OK)
        return status;
    source.similar = w->graph ? ask_similar : NULL;
    status = neighbourhood_new(w->active.model, &source,
                               w->graph ? refresh_graph_strength(w->graph) : 0, &w->h, err);
    return status == ERR_OK && has_neighbours(w)
               ? neighbours_new_in(w->h, NULL, &w->neighbours, err)
               : status;
}

int refresh_world_open(struct refresh_world *w, struct store *reader, const struct settings *s,
                       struct active_model *model, struct err *err)
{
    struct store_backlog backlog = {0};
    int status = store_touch_backlog(reader, &backlog, err);

    if (status != ERR_OK)
        return status;
    w->reader = reader;
    w->active = *model;
    w->seen_n = backlog.last_n;
    status = open_parts(w, s, err);
    if (status != ERR_OK) {
        w->active = (struct active_model){0};
        refresh_world_done(w);
        return status;
    }
    *model = (struct active_model){0};
    return ERR_OK;
}

bool refresh_world_moves(const struct refresh_world *w, int64_t node, bool changed)
{
    int64_t id = neighbourhood_id(node);

    if (!model_shape(w->active.model)->trained) /* knows nothing of taste */
        return false;
    if (model_shape(w->active.model)->hops > 0 ||
        model_has_signals(model_shape(w->active.model)))
        return true;
    if (neighbourhood_is_item(node))
        return changed && refresh_rows_find(&w->items, id);
    return !refresh_rows_identity(&w->users, id);
}

/* ---- following the touches --------------------------------------------------------------------- */

/* An item that has changed may be gone, or back: its users' edges are others then. Kept ones
 * made a neighbour's vector wrong by 6 % of its largest value. */
static int forget_item(struct refresh_world *w, int64_t rid, struct err *err)
{
    int status = store_read_neighbours(w->reader, STORE_SIDE_ITEMS, rid, &w->ids, err);

    neighbourhood_forget_input(w->h, neighbourhood_item(rid));
    refresh_graph_forget(w->graph, rid);
    for (size_t i = 0; status == ERR_OK && i < w->ids.n; i++)
        forget_edges(w, neighbourhood_user(w->ids.ids[i]));
    return status;
}

int refresh_world_catch_up(struct refresh_world *w, int64_t last_n, struct err *err)
{
    struct store_touch touches[TOUCHES];
    int status = ERR_OK;

    while (status == ERR_OK && w->seen_n < last_n) {
        size_t n = 0;

        status = store_read_touches(w->reader, w->seen_n, TOUCHES, touches, &n, err);
        for (size_t i = 0; status == ERR_OK && i < n; i++) {
            forget_edges(w, neighbourhood_user(touches[i].uid));
            forget_edges(w, neighbourhood_item(touches[i].rid));
            if (touches[i].item_changed)
                status = forget_item(w, touches[i].rid, err);
            w->seen_n = touches[i].n;
        }
        if (status == ERR_OK && n == 0)
            w->seen_n = last_n;
    }
    return status;
}
