/* One row from edges that are asked for node by node. G_Sj comes from the item's users and their
 * items. The choice needs G_ii of what may be chosen, dear for a popular item: since G_ii ≥ G_ij, an
 * item's score is at most G_ij^¾, so that candidates are tried from the largest G_ij on until no
 * other can enter. G_SS goes through the users of S once: each has a list of the chosen items met so
 * far, and another one of theirs is a pair with each of these. */

#include "fusion/model/neighbours.h"

#include "config/array.h"
#include "fusion/model/neighbourhood_cache.h"
#include "fusion/model/neighbourhood_pass.h"
#include "fusion/model/neighbours_solve.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POWERS = 1024 };

struct candidate_item {
    float g;
    uint32_t at;
};

/* A chosen item in the list of one of its users. */
struct listed {
    uint32_t user, slot, next; /* next: 1 + place in listed, 0 = the last one */
};

struct neighbours {
    struct neighbourhood_cache own, *cache;
    struct neighbours_options o;
    double power[POWERS]; /* of a user with so many items */
    size_t n_edges, max_edges;
    double *sum;    /* by local number: G's row, zero outside `candidates` */
    uint32_t *last; /* by local number: 1 + place in listed, 0 = none */
    size_t sum_room, last_room;
    struct candidate_item *candidates;
    size_t n_candidates, candidates_room;
    struct listed *listed;
    size_t n_listed, listed_room;
    struct neighbours_choice choice;
    size_t stride;
    float *A;        /* (M, stride) */
    double *entries; /* (M) a column of G_SS */
    int64_t *items;  /* (M) the result */
    float *values;   /* (M) */
};

static int new_workspace(const struct neighbours_options *options, struct neighbours **ret_w,
                         struct err *err)
{
    struct neighbours *w = calloc(1, sizeof(*w));
    if (!w)
        return err_oom(err, "neighbours");
    w->o = options ? *options : neighbours_defaults;
    neighbours_check(&w->o);
    size_t M = w->o.n_max;
    for (size_t d = 0; d < POWERS; d++)
        w->power[d] = neighbours_power(d, w->o.user_exponent);
    w->stride = neighbours_stride(M);
    w->A = malloc(M * w->stride * sizeof(*w->A));
    w->entries = malloc(M * sizeof(*w->entries));
    w->items = malloc(M * sizeof(*w->items));
    w->values = malloc(M * sizeof(*w->values));
    int status = neighbours_choice_init(&w->choice, M, err);
    if (status == ERR_OK && !(w->A && w->entries && w->items && w->values))
        status = err_oom(err, "neighbours");
    if (status == ERR_OK)
        *ret_w = w;
    else
        neighbours_free(w);
    return status;
}

int neighbours_new(const struct neighbourhood_source *source,
                   const struct neighbours_options *options, struct neighbours **ret_w,
                   struct err *err)
{
    struct neighbours *w;
    int status = new_workspace(options, &w, err);
    if (status == ERR_OK)
        status = neighbourhood_cache_init(&w->own, source, 0, err);
    if (status != ERR_OK) {
        neighbours_free(w);
        return status;
    }
    w->cache = &w->own;
    *ret_w = w;
    return ERR_OK;
}

int neighbours_new_in(struct neighbourhood *h, const struct neighbours_options *options,
                      struct neighbours **ret_w, struct err *err)
{
    int status = new_workspace(options, ret_w, err);
    if (status == ERR_OK)
        (*ret_w)->cache = &h->cache;
    return status;
}

void neighbours_clear(struct neighbours *w)
{
    neighbourhood_cache_clear(&w->own);
}

void neighbours_free(struct neighbours *w)
{
    if (!w)
        return;
    neighbourhood_cache_done(&w->own);
    free(w->sum);
    free(w->last);
    free(w->candidates);
    free(w->listed);
    neighbours_choice_done(&w->choice);
    free(w->A);
    free(w->entries);
    free(w->items);
    free(w->values);
    free(w);
}

size_t neighbours_edges(const struct neighbours *w)
{
    return w->n_edges;
}

/* ---- edges ----------------------------------------------------------------------------------- */

static bool is_too_big(const struct neighbours *w)
{
    return w->n_edges > w->max_edges;
}

/* Asks for the edges of a node and counts them. They stay where they are until the call ends. */
static int look_at(struct neighbours *w, uint32_t node, const uint32_t **ret_near,
                   uint32_t *ret_degree, struct err *err)
{
    int status = neighbourhood_cache_edges(w->cache, node, err);
    if (status != ERR_OK)
        return status;
    *ret_near = w->cache->nodes[node].near;
    *ret_degree = w->cache->nodes[node].degree;
    w->n_edges += *ret_degree;
    return ERR_OK;
}

static double weight_of(const struct neighbours *w, uint32_t user)
{
    uint32_t degree = w->cache->nodes[user].degree;
    return degree < POWERS ? w->power[degree] : neighbours_power(degree, w->o.user_exponent);
}

/* Room for every node met so far, zero where it is new. */
static int reserve_zeroed(void *array, size_t *room, size_t n, size_t size, struct err *err)
{
    size_t before = *room;
    int status = neighbourhood_reserve(array, room, n, size, err);
    if (status == ERR_OK && *room > before) {
        char *bytes = *(char **)array;
        memset(bytes + before * size, 0, (*room - before) * size);
    }
    return status;
}

/* ---- the choice ------------------------------------------------------------------------------ */

/* All edges of the item's users. */
static int look_around(struct neighbours *w, uint32_t item, struct err *err)
{
    const uint32_t *users, *items;
    uint32_t n_users, n_items;
    int status = look_at(w, item, &users, &n_users, err);
    for (uint32_t t = 0; status == ERR_OK && t < n_users && !is_too_big(w); t++)
        status = look_at(w, users[t], &items, &n_items, err);
    return status;
}

/* Row `item` of G without the diagonal, after look_around. */
static int sum_row(struct neighbours *w, uint32_t item, double *ret_diagonal, struct err *err)
{
    const struct node *nodes = w->cache->nodes;
    double diagonal = 0;
    w->n_candidates = 0;
    int status = reserve_zeroed(&w->sum, &w->sum_room, w->cache->n_nodes, sizeof(*w->sum), err);
    if (status == ERR_OK)
        status = neighbourhood_reserve(&w->candidates, &w->candidates_room, w->n_edges + 1,
                                       sizeof(*w->candidates), err);
    for (uint32_t t = 0; status == ERR_OK && t < nodes[item].degree; t++) {
        const struct node *user = &nodes[nodes[item].near[t]];
        double weight = weight_of(w, nodes[item].near[t]);
        diagonal += weight;
        for (uint32_t e = 0; e < user->degree; e++) {
            uint32_t i = user->near[e];
            if (i != item && w->sum[i] == 0)
                w->candidates[w->n_candidates++].at = i;
            if (i != item)
                w->sum[i] += weight;
        }
    }
    for (size_t c = 0; c < w->n_candidates; c++) {
        w->candidates[c].g = (float)w->sum[w->candidates[c].at];
        w->sum[w->candidates[c].at] = 0;
    }
    *ret_diagonal = diagonal;
    return status;
}

static int order_g(const void *a, const void *b)
{
    const struct candidate_item *x = a, *y = b;
    return (x->g < y->g) - (x->g > y->g);
}

static int offer(struct neighbours *w, const struct candidate_item *one, struct err *err)
{
    const uint32_t *users;
    uint32_t n_users;
    double diagonal = 0;
    int status = look_at(w, one->at, &users, &n_users, err);
    for (uint32_t t = 0; status == ERR_OK && t < n_users && !is_too_big(w); t++) {
        status = neighbourhood_cache_degree(w->cache, users[t], err);
        diagonal += status == ERR_OK ? weight_of(w, users[t]) : 0;
    }
    if (status != ERR_OK || is_too_big(w))
        return status;
    double score = (double)one->g * neighbours_pick(&w->o, diagonal);
    neighbours_choice_offer(
        &w->choice,
        (struct neighbours_chosen){score, w->cache->nodes[one->at].name, one->at, one->g});
    return ERR_OK;
}

static int choose(struct neighbours *w, struct err *err)
{
    int status = ERR_OK;
    w->choice.n = 0;
    qsort(w->candidates, w->n_candidates, sizeof(*w->candidates), order_g);
    for (size_t c = 0; status == ERR_OK && c < w->n_candidates && !is_too_big(w); c++) {
        /* The largest score that this one and all after it can have, and a little more. */
        double most = pow((double)w->candidates[c].g, 1 - w->o.pick_exponent) * (1 + 1e-6);
        if (w->choice.n == w->choice.n_max && most < w->choice.best[0].score)
            break;
        status = offer(w, &w->candidates[c], err);
    }
    neighbours_choice_sort(&w->choice);
    return status;
}

/* ---- the equation ---------------------------------------------------------------------------- */

/* Column a of G_SS down to the diagonal, by the lists of its users. */
static int sum_column(struct neighbours *w, size_t a, struct err *err)
{
    const uint32_t *users;
    uint32_t n_users;
    int status = look_at(w, w->choice.best[a].at, &users, &n_users, err);
    if (status == ERR_OK)
        status = neighbourhood_reserve(&w->listed, &w->listed_room, w->n_listed + n_users + 1,
                                       sizeof(*w->listed), err);
    if (status != ERR_OK)
        return status;
    memset(w->entries, 0, (a + 1) * sizeof(*w->entries));
    for (uint32_t t = 0; t < n_users; t++) {
        double weight = weight_of(w, users[t]);
        w->listed[w->n_listed] = (struct listed){users[t], (uint32_t)a, w->last[users[t]]};
        w->last[users[t]] = (uint32_t)++w->n_listed;
        for (uint32_t at = w->last[users[t]]; at; at = w->listed[at - 1].next)
            w->entries[w->listed[at - 1].slot] += weight;
    }
    for (size_t k = 0; k <= a; k++)
        w->A[k * w->stride + a] = (float)w->entries[k];
    return ERR_OK;
}

static int fill_equation(struct neighbours *w, struct err *err)
{
    const size_t n = w->choice.n;
    w->n_listed = 0;
    int status =
        reserve_zeroed(&w->last, &w->last_room, w->cache->n_nodes, sizeof(*w->last), err);
    for (size_t a = 0; status == ERR_OK && a < n && !is_too_big(w); a++) {
        status = sum_column(w, a, err);
        w->A[a * w->stride + n] = w->choice.best[a].g;
    }
    for (size_t k = 0; k < w->n_listed; k++)
        w->last[w->listed[k].user] = 0;
    return status;
}

int neighbours_row(struct neighbours *w, int64_t item, float ridge, size_t max_edges,
                   struct neighbours_row *ret_row, bool *ret_too_big, struct err *err)
{
    uint32_t at;
    double diagonal = 0;
    w->n_edges = 0;
    w->max_edges = max_edges < UINT32_MAX ? max_edges : UINT32_MAX - 1; /* of struct listed */
    int status = neighbourhood_cache_local(w->cache, item, &at, err);
    if (status == ERR_OK)
        status = look_around(w, at, err);
    if (status == ERR_OK && !is_too_big(w))
        status = sum_row(w, at, &diagonal, err);
    if (status == ERR_OK && !is_too_big(w))
        status = choose(w, err);
    if (status == ERR_OK && !is_too_big(w))
        status = fill_equation(w, err);
    if (status != ERR_OK)
        return status;
    *ret_too_big = is_too_big(w);
    if (*ret_too_big)
        return ERR_OK;
    size_t n_users = ridge > 0 ? w->cache->nodes[at].degree : 0, n = n_users ? w->choice.n : 0;
    double explained = neighbours_solve(n, w->stride, ridge, w->A, w->values);
    float scale =
        n_users ? neighbours_close(&w->o, diagonal, ridge, explained, n_users, n, w->values)
                : 0;
    for (size_t k = 0; k < n; k++)
        w->items[k] = w->choice.best[k].id;
    *ret_row = (struct neighbours_row){w->items, w->values, n, scale};
    return ERR_OK;
}
