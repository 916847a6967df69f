/* One pass: what it takes, its vectors, and how they get to the store. */

#include "config/clock.h"
#include "daemon/refresh/internal.h"
#include "fusion/model/fuse.h"

#include <stdlib.h>
#include <string.h>

/* ---- what a pass takes --------------------------------------------------------------------------- */

/* false = no room. */
static bool want(struct pass *p, int64_t node, bool changed)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->nodes[i].node != node)
            continue;
        p->nodes[i].changed |= changed;
        return true;
    }
    if (p->n == p->room)
        return false;
    p->nodes[p->n++] = (struct wanted){node, changed};
    return true;
}

/* A prefix of the touches, as long as its nodes have room: a touch is done when both of its nodes
 * are. */
static int take_touches(struct refresh *r, struct err *err)
{
    struct pass *p = &r->pass;
    size_t n = 0;
    int status = store_read_touches(r->reader, 0, REFRESH_WINDOW, r->window, &n, err);

    for (size_t i = 0; status == ERR_OK && i < n; i++) {
        const struct store_touch *t = &r->window[i];

        if (t->edge_gone) {
            p->done_n = t->n;
            continue;
        }
        if (t->uid && !want(p, neighbourhood_user(t->uid), false))
            break;
        if (t->rid && !want(p, neighbourhood_item(t->rid), t->item_changed))
            break;
        p->done_n = t->n;
    }
    p->spreads = true;
    return status;
}

static void take_spread(struct refresh *r)
{
    struct pass *p = &r->pass;

    for (; r->n_spread > 0 && p->n < p->room; r->n_spread--) {
        want(p, r->spread[r->spread_first], false);
        r->spread_first = (r->spread_first + 1) % REFRESH_SPREAD;
    }
}

static int take(struct refresh *r, struct err *err)
{
    const struct settings *s = refresh_settings(r);
    struct store_backlog backlog = {0};
    struct pass *p = &r->pass;
    int64_t room = s->refresh.rate * s->refresh.interval_ms / 1000;

    p->n = p->n_vec = p->n_gone = p->neighbours.n = 0;
    p->done_n = 0;
    p->spreads = false;
    p->room = room < 2 ? 2 : room > REFRESH_BATCH ? REFRESH_BATCH : (size_t)room;
    int status = store_touch_backlog(r->reader, &backlog, err);
    if (status == ERR_OK)
        status = refresh_world_catch_up(r->world, backlog.last_n, err);
    p->snapshot_n = backlog.last_n;
    if (status == ERR_OK && backlog.n_touches)
        return take_touches(r, err);
    take_spread(r);
    return status;
}

/* ---- its vectors ----------------------------------------------------------------------------------- */

/* Without edges a user has no vector, as after a training, and an item the one of its content; a
 * neighbourhood that was too big says nothing. An item's that is zero has nothing to be made of. */
static bool is_gone(const struct pass *p, size_t i, const float *vec, size_t D)
{
    return p->degree[i] == 0 &&
           (!neighbourhood_is_item(p->names[i]) || fuse_is_zero(vec, (int32_t)D));
}

/* Nodes [first, first + n) of names; halved until the neighbourhood is small enough. */
static int make_vectors(struct refresh *r, size_t first, size_t n, struct err *err)
{
    struct pass *p = &r->pass;
    size_t D = (size_t)model_shape(r->world->active.model)->D;
    bool too_big;
    int status = refresh_world_vectors(r->world, p->names + first, n,
                                       (size_t)refresh_settings(r)->refresh.max_edges,
                                       p->vec + first * D, p->degree + first, &too_big, err);

    r->sums.n_edges += neighbourhood_edges(r->world->h);
    if (status != ERR_OK || !too_big)
        return status;
    if (n > 1) {
        status = make_vectors(r, first, n / 2, err);
        return status == ERR_OK ? make_vectors(r, first + n / 2, n - n / 2, err) : status;
    }
    memset(p->vec + first * D, 0, D * sizeof(float));
    p->degree[first] = UINT32_MAX;
    r->sums.n_too_big++;
    return ERR_OK;
}

static int compute(struct refresh *r, struct err *err)
{
    struct pass *p = &r->pass;
    size_t D = (size_t)model_shape(r->world->active.model)->D, kept = 0;

    for (size_t i = 0; i < p->n; i++)
        if (refresh_world_moves(r->world, p->nodes[i].node, p->nodes[i].changed))
            p->names[p->n_vec++] = p->nodes[i].node;
    int status = p->n_vec ? make_vectors(r, 0, p->n_vec, err) : ERR_OK;
    for (size_t i = 0; status == ERR_OK && i < p->n_vec; i++) {
        if (is_gone(p, i, p->vec + i * D, D))
            p->gone[p->n_gone++] = p->names[i];
        if (is_gone(p, i, p->vec + i * D, D) || fuse_is_zero(p->vec + i * D, (int32_t)D))
            continue;
        memmove(p->vec + kept * D, p->vec + i * D, D * sizeof(float));
        p->names[kept] = p->names[i];
        p->degree[kept++] = p->degree[i];
    }
    p->n_vec = kept;
    return status;
}

static bool follows_rows(const struct refresh *r)
{
    return r->world->neighbours != NULL;
}

/* The rows of its items, whether or not their vectors move. Then a touched user's other items come
 * first in the spread, so that it is known which have the fewest interactions. */
static int make_neighbours(struct refresh *r, struct err *err)
{
    const struct settings *s = refresh_settings(r);
    struct pass *p = &r->pass;
    int64_t nodes[REFRESH_BATCH];

    for (size_t i = 0; i < p->n; i++)
        nodes[i] = p->nodes[i].node;
    int status = refresh_neighbours_make(r->world, nodes, p->n, (size_t)s->refresh.max_edges,
                                         (size_t)s->refresh.cache_bytes, &p->neighbours, err);
    r->sums.n_edges += p->neighbours.n_edges;
    r->sums.n_too_big += p->neighbours.n_too_big;
    for (size_t i = 0; status == ERR_OK && follows_rows(r) && i < p->n; i++)
        if (!neighbourhood_is_item(nodes[i]))
            status = refresh_world_look_around(r->world, nodes[i], err);
    return status;
}

/* ---- writing, on the thread of the writing store ------------------------------------------------- */

struct rows {
    struct refresh *r;
    int64_t ids[2][REFRESH_BATCH];
    uint8_t warm[REFRESH_BATCH], edgeless[REFRESH_BATCH];
    int64_t gone[2][REFRESH_BATCH]; /* by enum store_side, and so the next */
    size_t n_gone[2];
    float *vec[2]; /* items, users: (REFRESH_BATCH, D) in one block */
    size_t n[2];
};

static bool known(const struct rows *rows, size_t i)
{
    return refresh_rows_find(&rows->r->world->items, neighbourhood_id(rows->r->pass.names[i]));
}

/* Without propagation and signals an item's interactions are in its identity, or nowhere. */
static void sort_sides(struct rows *rows)
{
    const struct model_shape *shape = model_shape(rows->r->world->active.model);
    bool follows = shape->hops > 0 || model_has_signals(shape);
    const struct pass *p = &rows->r->pass;
    size_t D = (size_t)shape->D;

    for (size_t i = 0; i < p->n_vec; i++) {
        int side = neighbourhood_is_item(p->names[i]) ? 0 : 1;
        size_t at = rows->n[side]++;

        rows->ids[side][at] = neighbourhood_id(p->names[i]);
        memcpy(rows->vec[side] + at * D, p->vec + i * D, D * sizeof(float));
        if (side == 0) {
            rows->warm[at] = p->degree[i] > 0 && (follows || known(rows, i));
            rows->edgeless[at] = p->degree[i] == 0;
        }
    }
    for (size_t i = 0; i < p->n_gone; i++) {
        enum store_side side =
            neighbourhood_is_item(p->gone[i]) ? STORE_SIDE_ITEMS : STORE_SIDE_USERS;

        rows->gone[side][rows->n_gone[side]++] = neighbourhood_id(p->gone[i]);
    }
}

static int write_rows(struct store *st, void *arg, struct err *err)
{
    struct rows *rows = arg;
    struct pass *p = &rows->r->pass;
    int64_t model_id = rows->r->world->active.model_id;
    int32_t D = model_shape(rows->r->world->active.model)->D;
    struct store_recomputed x = {.model_id = model_id,
                                 .done_n = p->done_n,
                                 .snapshot_n = p->snapshot_n,
                                 .items = {.model_id = model_id,
                                           .side = STORE_SIDE_ITEMS,
                                           .ids = rows->ids[0],
                                           .vec = rows->vec[0],
                                           .warm = rows->warm,
                                           .n = rows->n[0],
                                           .dim = D},
                                 .users = {.model_id = model_id,
                                           .side = STORE_SIDE_USERS,
                                           .ids = rows->ids[1],
                                           .vec = rows->vec[1],
                                           .n = rows->n[1],
                                           .dim = D},
                                 .edgeless = rows->edgeless,
                                 .gone = {rows->gone[0], rows->gone[1]},
                                 .n_gone = {rows->n_gone[0], rows->n_gone[1]},
                                 .neighbours = p->neighbours.rows,
                                 .n_neighbours = p->neighbours.n};

    return store_write_recomputed(st, &x, &p->result, err);
}

/* ERR_STALE: another model is active. */
static int write_pass(struct refresh *r, struct err *err)
{
    size_t D = (size_t)model_shape(r->world->active.model)->D;
    struct rows *rows = calloc(1, sizeof(*rows));
    float *vec = rows ? malloc(2 * REFRESH_BATCH * D * sizeof(*vec)) : NULL;
    int status = vec ? ERR_OK : err_oom(err, "refresh: a pass");

    r->pass.result = (struct store_recomputed_result){0};
    if (status == ERR_OK) {
        rows->r = r;
        rows->vec[0] = vec;
        rows->vec[1] = vec + REFRESH_BATCH * D;
        sort_sides(rows);
        status = store_work(&r->o.writer, write_rows, rows, err);
    }
    free(vec);
    free(rows);
    return status;
}

static bool is_in(const struct pass *p, int64_t node)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->nodes[i].node == node)
            return true;
    return false;
}

/* Those that this pass has made are not made again. */
static void spread_from(struct refresh *r, int64_t node)
{
    size_t max = (size_t)refresh_settings(r)->refresh.spread, n_added = 0;
    int64_t near[2 * REFRESH_BATCH];

    max = max > REFRESH_BATCH ? REFRESH_BATCH : max;
    size_t n = neighbourhood_near(r->world->h, node, 2 * max, near);
    for (size_t j = 0; j < n && n_added < max && r->n_spread < REFRESH_SPREAD; j++) {
        if (is_in(&r->pass, near[j]))
            continue;
        r->spread[(r->spread_first + r->n_spread++) % REFRESH_SPREAD] = near[j];
        n_added++;
    }
}

/* The neighbours of what was touched come when nothing else waits. With rows, a touched user's other
 * items come before users and whether or not vectors move: a new item has to appear in their rows. */
static void spread(struct refresh *r)
{
    struct pass *p = &r->pass;
    bool rows = follows_rows(r);

    for (size_t i = 0; p->spreads && rows && i < p->n; i++)
        if (!neighbourhood_is_item(p->nodes[i].node))
            spread_from(r, p->nodes[i].node);
    for (size_t i = 0; p->spreads && i < p->n_vec; i++)
        if (!rows || neighbourhood_is_item(p->names[i]))
            spread_from(r, p->names[i]);
}

/* ---- the pass --------------------------------------------------------------------------- */

static int read_pass(struct refresh *r, struct err *err)
{
    int status = store_read_begin(r->reader, err);

    if (status != ERR_OK)
        return status;
    status = take(r, err);
    if (status == ERR_OK && r->pass.n)
        status = compute(r, err);
    if (status == ERR_OK && r->pass.n)
        status = make_neighbours(r, err);
    store_read_end(r->reader);
    return status;
}

int refresh_run_pass(struct refresh *r, struct err *err)
{
    int64_t start_us = clock_mono_us();
    int status = read_pass(r, err);

    r->sums.seconds += (double)(clock_mono_us() - start_us) / 1e6;
    if (status != ERR_OK || (r->pass.n == 0 && r->pass.done_n == 0))
        return status;
    status = write_pass(r, err);
    if (status == ERR_STALE) /* another model: the next turn loads it, the touches stay */
        return ERR_OK;
    if (status != ERR_OK)
        return status;
    spread(r);
    r->sums.n_passes++;
    r->sums.n_vectors += r->pass.result.n_written;
    r->sums.n_same += r->pass.result.n_unchanged;
    r->sums.n_rows += r->pass.result.n_rows_written;
    refresh_world_trim(r->world, (size_t)refresh_settings(r)->refresh.cache_bytes);
    return ERR_OK;
}
