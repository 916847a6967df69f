/* Propagation: one pass over the edges a layer, each row of the result made from beginning to end
 * while it is in registers or L1. LightGCN is evaluated as Horner's rule, P ← X + Â P, on rows
 * that are scaled by D^-½ in between (Q = D^-½ P): the sum over the neighbours then has no factor
 * an edge, the mean of the layers costs no pass of its own, and the last layer can be made for
 * some rows only. */

#include "fusion/math/graph.h"

#include "fusion/math/graph_kernels.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 256, PART_ROWS = 512 };

static int new_degrees(struct graph *g, struct err *err)
{
    g->rsqrt_degree = calloc((size_t)g->n_nodes + 1, sizeof(float));
    g->inv_degree = calloc((size_t)g->n_nodes + 1, sizeof(float));
    g->scale = calloc((size_t)g->n_nodes + 1, sizeof(float));
    return g->rsqrt_degree && g->inv_degree && g->scale ? ERR_OK : err_oom(err, "a graph");
}

static void take_degrees(struct graph *g)
{
    for (uint32_t i = 0; i < g->n_nodes; i++) {
        float degree = (float)csr_degree(&g->adjacency, i);
        g->inv_degree[i] = degree > 0 ? 1 / degree : 0;
        g->rsqrt_degree[i] = degree > 0 ? 1 / __builtin_sqrtf(degree) : 0;
        g->scale[i] = degree > 0 ? g->rsqrt_degree[i] : 1;
    }
}

int graph_new(const struct csr_pair *pairs, size_t n_pairs, uint32_t n_users, uint32_t n_items,
              struct graph *ret_g, struct err *err)
{
    struct graph g = {.n_users = n_users, .n_items = n_items, .n_nodes = n_users + n_items};
    struct csr_pair *both = malloc((n_pairs ? n_pairs : 1) * 2 * sizeof(*both));
    int status = both ? new_degrees(&g, err) : err_oom(err, "a graph");
    for (size_t i = 0; !status && i < n_pairs; i++) {
        both[2 * i] = (struct csr_pair){pairs[i].row, n_users + pairs[i].col};
        both[2 * i + 1] = (struct csr_pair){n_users + pairs[i].col, pairs[i].row};
    }
    if (!status)
        status = csr_from_pairs(both, 2 * n_pairs, g.n_nodes, g.n_nodes, &g.adjacency, err);
    free(both);
    if (status) {
        graph_done(&g);
        return status;
    }
    take_degrees(&g);
    *ret_g = g;
    return ERR_OK;
}

int graph_new_like(const struct graph *g, struct graph *ret_room, struct err *err)
{
    struct graph room = {.n_users = g->n_users, .n_items = g->n_items, .n_nodes = g->n_nodes};
    int status = csr_new(g->adjacency.n_rows, g->adjacency.n_cols, g->adjacency.nnz,
                         &room.adjacency, err);
    if (!status)
        status = new_degrees(&room, err);
    if (status)
        graph_done(&room);
    else
        *ret_room = room;
    return status;
}

static void mark(const struct graph *g, uint32_t from, uint32_t to, struct csr *ret_marked)
{
    size_t at = csr_find(&g->adjacency, from, to);
    if (at != SIZE_MAX)
        ret_marked->col[at] = UINT32_MAX;
}

/* The copy of the columns is all the memory that this needs: 8 MB at MovieLens size. */
void graph_without(const struct graph *g, const uint32_t *users, const uint32_t *items,
                   size_t n, struct graph *room)
{
    const struct csr *all = &g->adjacency;
    struct csr *some = &room->adjacency;
    size_t to = 0;
    memcpy(some->col, all->col, all->nnz * sizeof(*some->col));
    for (size_t k = 0; k < n; k++) {
        mark(g, users[k], g->n_users + items[k], some);
        mark(g, g->n_users + items[k], users[k], some);
    }
    for (uint32_t row = 0; row < all->n_rows; row++) {
        some->start[row] = to;
        for (size_t e = all->start[row]; e < all->start[row + 1]; e++) {
            some->col[to] = some->col[e];
            to += some->col[e] != UINT32_MAX;
        }
    }
    some->start[all->n_rows] = some->nnz = to;
    take_degrees(room);
}

void graph_done(struct graph *g)
{
    csr_done(&g->adjacency);
    free(g->rsqrt_degree);
    free(g->inv_degree);
    free(g->scale);
    *g = (struct graph){0};
}

/* ---- sets of nodes ---- */

int graph_rows_new(uint32_t n_nodes, struct graph_rows *ret_rows, struct err *err)
{
    struct graph_rows rows = {.n_nodes = n_nodes};
    rows.row = malloc(((size_t)n_nodes + 1) * sizeof(*rows.row));
    rows.has = calloc((size_t)n_nodes + 1, 1);
    if (!rows.row || !rows.has) {
        graph_rows_done(&rows);
        return err_oom(err, "a set of nodes");
    }
    *ret_rows = rows;
    return ERR_OK;
}

void graph_rows_clear(struct graph_rows *rows)
{
    memset(rows->has, 0, rows->n_nodes);
    rows->n = 0;
}

void graph_rows_close(struct graph_rows *rows)
{
    rows->n = 0;
    for (uint32_t i = 0; i < rows->n_nodes; i++) {
        rows->row[rows->n] = i;
        rows->n += rows->has[i];
    }
}

void graph_rows_done(struct graph_rows *rows)
{
    free(rows->row);
    free(rows->has);
    *rows = (struct graph_rows){0};
}

/* ---- one row ---- */

void graph_gather_scalar(const uint32_t *col, size_t n_edges, size_t n_ahead, const float *in,
                         const float *X, size_t D, float *acc)
{
    (void)n_ahead;
    for (size_t e = 0; e < n_edges; e++) {
        const float *x = X + (size_t)col[e] * D;
        float s = in ? in[col[e]] : 1;
        for (size_t d = 0; d < D; d++)
            acc[d] += s * x[d];
    }
}

static graph_gather *best_gather(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        return graph_gather_avx2;
#endif
    return graph_gather_scalar;
}

/* Only the edges from `sources`: their columns are collected a chunk at a time, without a branch. */
static void gather_some(const struct graph_sum *s, const uint32_t *col, size_t n_edges,
                        float *acc)
{
    uint32_t some[CHUNK];
    size_t n = 0;
    for (size_t e = 0; e < n_edges; e++) {
        some[n] = col[e];
        n += s->sources->has[col[e]];
        if (n == CHUNK) {
            best_gather()(some, n, 0, s->in, s->Q, s->D, acc);
            n = 0;
        }
    }
    best_gather()(some, n, 0, s->in, s->Q, s->D, acc);
}

void graph_sum_row(const struct graph_sum *s, uint32_t i, float *y)
{
    const struct csr *a = &s->g->adjacency;
    const uint32_t *col = a->col + a->start[i];
    size_t n_edges = csr_degree(a, i), D = s->D;
    memset(y, 0, D * sizeof(*y));
    if (s->sources)
        gather_some(s, col, n_edges, y);
    else
        best_gather()(col, n_edges, a->nnz - a->start[i + 1], s->in, s->Q, D, y);
    float sum = s->scale * (s->sum ? s->sum[i] : 1),
          self = s->scale * (s->self ? s->self[i] : 1);
    if (s->X && (!s->own || s->own->has[i])) {
        const float *x = s->X + (size_t)i * D;
        for (size_t d = 0; d < D; d++)
            y[d] = sum * y[d] + self * x[d];
    } else {
        for (size_t d = 0; d < D; d++)
            y[d] *= sum;
    }
}

struct sum_task {
    const struct graph_sum *s;
    const struct graph_rows *rows;
    float *Y;
};

static void sum_part(void *arg, size_t part)
{
    const struct sum_task *task = arg;
    size_t n = task->rows ? task->rows->n : task->s->g->n_nodes;
    size_t first = part * PART_ROWS, last = n - first < PART_ROWS ? n : first + PART_ROWS;
    for (size_t k = first; k < last; k++) {
        uint32_t i = task->rows ? task->rows->row[k] : (uint32_t)k;
        graph_sum_row(task->s, i, task->Y + (size_t)i * task->s->D);
    }
}

/* Y (N, D), the rows of `rows` only (NULL = all). Y is neither Q nor X. */
static void sum_rows(const struct graph_sum *s, const struct graph_rows *rows,
                     struct team *team, float *Y)
{
    struct sum_task task = {s, rows, Y};
    size_t n = rows ? rows->n : s->g->n_nodes;
    team_run(team, (n + PART_ROWS - 1) / PART_ROWS, sum_part, &task);
}

/* ---- LightGCN ---- */

void graph_lightgcn(const struct graph *g, uint32_t n_layers, const float *X, size_t D,
                    const struct graph_rows *sources, const struct graph_rows *rows,
                    struct team *team, float *Y, float *work)
{
    assert(n_layers > 0);
    const float *Q = X, *in = g->scale;
    float mean = 1 / (float)(n_layers + 1);
    for (uint32_t layer = 1; layer < n_layers; layer++) {
        /* Q ← D^-½ X + D^-1 A Q */
        float *to = (n_layers - layer) % 2 ? work : Y;
        struct graph_sum s = {.g = g,
                              .D = D,
                              .Q = Q,
                              .in = in,
                              .X = X,
                              .own = sources,
                              .self = g->scale,
                              .sum = g->inv_degree,
                              .scale = 1,
                              .sources = layer == 1 ? sources : NULL};
        sum_rows(&s, NULL, team, to);
        Q = to;
        in = NULL;
    }
    struct graph_sum last = {.g = g,
                             .D = D,
                             .Q = Q,
                             .in = in,
                             .X = X,
                             .own = sources,
                             .sum = g->rsqrt_degree,
                             .scale = mean,
                             .sources = n_layers < 2 ? sources : NULL};
    sum_rows(&last, rows, team, Y);
}

/* ---- item-item graph ---- */

void graph_add_weighted(const struct csr *S, float strength, const float *X, size_t D,
                        const struct graph_rows *rows, uint32_t first_node, float *Y)
{
    for (uint32_t row = 0; row < S->n_rows; row++) {
        float *y = Y + (size_t)row * D;
        if (rows && !rows->has[first_node + row])
            continue;
        for (size_t e = S->start[row]; e < S->start[row + 1]; e++) {
            const float *x = X + (size_t)S->col[e] * D;
            float w = strength * S->value[e];
            for (size_t d = 0; d < D; d++)
                y[d] += w * x[d];
        }
    }
}

void graph_add_weighted_backward(const struct csr *S, float strength, const float *dY, size_t D,
                                 const struct graph_rows *rows, uint32_t first_node, float *dX)
{
    for (uint32_t row = 0; row < S->n_rows; row++) {
        const float *dy = dY + (size_t)row * D;
        if (rows && !rows->has[first_node + row])
            continue;
        for (size_t e = S->start[row]; e < S->start[row + 1]; e++) {
            float *dx = dX + (size_t)S->col[e] * D;
            float w = strength * S->value[e];
            for (size_t d = 0; d < D; d++)
                dx[d] += w * dy[d];
        }
    }
}
