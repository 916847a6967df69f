/* Metrics over the lists of rank.c: users go through in blocks, so that memory stays flat. The
 * slice cold_only ranks a second, smaller matrix that holds the cold items alone. */

#include "fusion/train/evaluate.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_USERS = 1024, PART_USERS = 96 };

const char *evaluate_slice_name(enum evaluate_slice slice)
{
    static const char *const names[EVALUATE_SLICES] = {"overall", "warm", "cold", "cold_only"};
    return names[slice];
}

/* One ranking of the test users: which items compete, which test pairs count. */
struct contest {
    const struct evaluate_task *task;
    struct gemm_matrix packed;
    uint32_t *item_of;       /* (competitors) row in the task; NULL = all items, same rows */
    struct csr seen;         /* the mask in the competitors' numbering; only with item_of */
    struct rank_extra extra; /* likewise, rows and scale being extra_rows and extra_scale */
    struct csr extra_rows;
    float *extra_scale;
    uint32_t k;
    uint32_t *lists; /* (BLOCK_USERS, k) */
    uint8_t *is_hit; /* (k) of one user */
};

static bool is_cold(const struct evaluate_task *t, uint32_t item)
{
    return item == EVALUATE_UNKNOWN || !t->item_warm[item];
}

static bool in_slice(const struct evaluate_task *t, enum evaluate_slice slice, uint32_t item)
{
    if (slice == EVALUATE_OVERALL)
        return true;
    return is_cold(t, item) == (slice != EVALUATE_WARM);
}

/* Adds one user's list to a slice. ideal[k] = IDCG of k hits. */
static void score_user(const struct contest *c, enum evaluate_slice slice, uint32_t user,
                       const uint32_t *list, const double *ideal, struct evaluate_result *r)
{
    const struct evaluate_task *t = c->task;
    const uint32_t *test = t->test_item + t->test_start[user];
    size_t n_test = t->test_start[user + 1] - t->test_start[user], n_relevant = 0;
    memset(c->is_hit, 0, c->k);
    for (size_t i = 0; i < n_test; i++) {
        if (!in_slice(t, slice, test[i]))
            continue;
        n_relevant++;
        for (uint32_t at = 0; at < c->k && list[at] != RANK_NONE; at++)
            if ((c->item_of ? c->item_of[list[at]] : list[at]) == test[i])
                c->is_hit[at] = 1;
    }
    if (!n_relevant)
        return;
    r->n_users[slice]++;
    r->n_pairs[slice] += n_relevant;
    for (uint32_t cut = 0; cut < t->n_cuts; cut++) {
        struct evaluate_figures *f = &r->at[slice][cut];
        uint32_t k = t->cuts[cut];
        double hits = 0, dcg = 0;
        for (uint32_t at = 0; at < k; at++)
            if (c->is_hit[at]) {
                hits++;
                dcg += 1 / log2(at + 2.0);
            }
        f->precision += hits / k;
        f->recall += hits / (double)n_relevant;
        f->hr += hits;
        f->ndcg += dcg / ideal[n_relevant < k ? n_relevant : k];
    }
}

/* A part of a block of users: threads rank, one thread adds up, in the order of the users. */
struct ranking_task {
    struct contest *c;
    const struct csr *mask;
    uint32_t first, n;
    int status[(BLOCK_USERS + PART_USERS - 1) / PART_USERS];
    struct err err[(BLOCK_USERS + PART_USERS - 1) / PART_USERS];
};

static void rank_part(void *arg, size_t part)
{
    struct ranking_task *r = arg;
    const struct evaluate_task *t = r->c->task;
    uint32_t at = (uint32_t)part * PART_USERS, user = r->first + at;
    uint32_t n = r->n - at < PART_USERS ? r->n - at : PART_USERS;
    r->status[part] = rank_topk(&r->c->packed, t->users + (size_t)user * t->D, n, r->mask, user,
                                r->c->item_of && t->extra ? &r->c->extra : t->extra, r->c->k,
                                r->c->lists + (size_t)at * r->c->k, NULL, &r->err[part]);
}

static int rank_block(struct contest *c, const struct csr *mask, uint32_t first, uint32_t n,
                      struct err *err)
{
    struct ranking_task r = {.c = c, .mask = mask, .first = first, .n = n};
    size_t n_parts = (n + PART_USERS - 1) / PART_USERS;
    team_run(c->task->team, n_parts, rank_part, &r);
    for (size_t part = 0; part < n_parts; part++)
        if (r.status[part]) {
            if (err)
                *err = r.err[part];
            return r.status[part];
        }
    return ERR_OK;
}

/* Ranks every test user and adds the lists to the slices [first, last]. */
static int run_contest(struct contest *c, enum evaluate_slice first, enum evaluate_slice last,
                       const double *ideal, struct evaluate_result *r, struct err *err)
{
    const struct evaluate_task *t = c->task;
    const struct csr *mask = c->item_of ? &c->seen : t->seen;
    for (uint32_t u = 0; u < t->n_users; u += BLOCK_USERS) {
        uint32_t n = t->n_users - u < BLOCK_USERS ? t->n_users - u : BLOCK_USERS;
        int status = rank_block(c, mask && mask->start ? mask : NULL, u, n, err);
        if (status)
            return status;
        for (uint32_t i = 0; i < n; i++)
            for (int slice = (int)first; slice <= (int)last; slice++)
                score_user(c, (enum evaluate_slice)slice, u + i, c->lists + (size_t)i * c->k,
                           ideal, r);
    }
    return ERR_OK;
}

static void contest_done(struct contest *c)
{
    gemm_done(&c->packed);
    csr_done(&c->seen);
    csr_done(&c->extra_rows);
    free(c->extra_scale);
    free(c->item_of);
    free(c->lists);
    free(c->is_hit);
}

static int contest_init(struct contest *c, const struct evaluate_task *t, const float *items,
                        size_t n_items, struct err *err)
{
    *c = (struct contest){.task = t, .k = t->cuts[t->n_cuts - 1]};
    c->lists = malloc((size_t)BLOCK_USERS * c->k * sizeof(*c->lists));
    c->is_hit = malloc(c->k);
    if (!c->lists || !c->is_hit) {
        contest_done(c);
        return err_oom(err, "an evaluation");
    }
    int status = rank_pack(items, n_items, t->D, &c->packed, err);
    if (status)
        contest_done(c);
    return status;
}

/* The mask in the numbering of the cold items alone. */
static int renumber_seen(struct contest *c, const uint32_t *cold_of, uint32_t n_cold,
                         struct err *err)
{
    const struct evaluate_task *t = c->task;
    size_t n = 0, nnz = t->seen ? t->seen->nnz : 0;
    struct csr_pair *pairs = malloc((nnz ? nnz : 1) * sizeof(*pairs));
    if (!pairs)
        return err_oom(err, "an evaluation");
    for (uint32_t u = 0; nnz && u < t->n_users; u++)
        for (size_t e = t->seen->start[u]; e < t->seen->start[u + 1]; e++)
            if (cold_of[t->seen->col[e]] != RANK_NONE)
                pairs[n++] = (struct csr_pair){u, cold_of[t->seen->col[e]]};
    int status = csr_from_pairs(pairs, n, t->n_users, n_cold, &c->seen, err);
    free(pairs);
    return status;
}

/* The rows of the extra part, of which the cold items' columns remain. */
static int renumber_extra(struct contest *c, const uint32_t *cold_of, uint32_t n_cold,
                          struct err *err)
{
    const struct rank_extra *extra = c->task->extra;
    const struct csr *rows = extra ? extra->rows : NULL;
    size_t n = 0;
    if (!rows)
        return ERR_OK;
    c->extra = *extra;
    if (!rows->start)
        return ERR_OK;
    for (size_t e = 0; e < rows->nnz; e++)
        n += cold_of[rows->col[e]] != RANK_NONE;
    int status = csr_new(rows->n_rows, n_cold, n, &c->extra_rows, err);
    if (status)
        return status;
    struct csr *to = &c->extra_rows;
    to->value = malloc((n + 1) * sizeof(*to->value));
    c->extra_scale = malloc(((size_t)n_cold + 1) * sizeof(*c->extra_scale));
    if (!to->value || !c->extra_scale)
        return err_oom(err, "an evaluation");
    n = 0;
    for (uint32_t j = 0; j < rows->n_rows; j++) {
        to->start[j] = n;
        for (size_t e = rows->start[j]; e < rows->start[j + 1]; e++)
            if (cold_of[rows->col[e]] != RANK_NONE) {
                to->col[n] = cold_of[rows->col[e]];
                to->value[n++] = rows->value ? rows->value[e] : 1;
            }
    }
    to->start[rows->n_rows] = n;
    for (uint32_t i = 0; i < n_cold; i++)
        c->extra_scale[i] = extra->scale ? extra->scale[c->item_of[i]] : 1;
    c->extra = (struct rank_extra){extra->history, to, c->extra_scale, extra->weight};
    return ERR_OK;
}

static int run_cold_only(const struct evaluate_task *t, const double *ideal,
                         struct evaluate_result *r, struct err *err)
{
    uint32_t n_cold = 0;
    uint32_t *item_of = malloc(t->n_items * sizeof(*item_of) + 1);
    uint32_t *cold_of = malloc(t->n_items * sizeof(*cold_of) + 1);
    float *items = malloc((size_t)t->n_items * t->D * sizeof(*items) + 1);
    int status = ERR_OK;
    if (!item_of || !cold_of || !items)
        status = err_oom(err, "an evaluation");
    for (uint32_t i = 0; !status && i < t->n_items; i++) {
        cold_of[i] = t->item_warm[i] ? RANK_NONE : n_cold;
        if (t->item_warm[i])
            continue;
        memcpy(items + (size_t)n_cold * t->D, t->items + (size_t)i * t->D,
               t->D * sizeof(*items));
        item_of[n_cold++] = i;
    }
    struct contest c;
    if (!status && n_cold && !(status = contest_init(&c, t, items, n_cold, err))) {
        c.item_of = item_of;
        item_of = NULL;
        status = renumber_seen(&c, cold_of, n_cold, err);
        if (!status)
            status = renumber_extra(&c, cold_of, n_cold, err);
        if (!status)
            status = run_contest(&c, EVALUATE_COLD_ONLY, EVALUATE_COLD_ONLY, ideal, r, err);
        contest_done(&c);
    }
    free(item_of);
    free(cold_of);
    free(items);
    return status;
}

static void take_means(struct evaluate_result *r)
{
    for (int slice = 0; slice < EVALUATE_SLICES; slice++)
        for (uint32_t cut = 0; cut < r->n_cuts && r->n_users[slice]; cut++) {
            struct evaluate_figures *f = &r->at[slice][cut];
            double users = (double)r->n_users[slice];
            f->precision /= users;
            f->recall /= users;
            f->ndcg /= users;
            f->hr /= (double)r->n_pairs[slice];
        }
}

int evaluate_run(const struct evaluate_task *task, struct evaluate_result *ret_result,
                 struct err *err)
{
    assert(task->n_cuts > 0 && task->n_cuts <= EVALUATE_CUTS_MAX);
    assert(task->cuts[task->n_cuts - 1] <= EVALUATE_K_MAX);
    double ideal[EVALUATE_K_MAX + 1] = {0};
    for (int k = 1; k <= EVALUATE_K_MAX; k++)
        ideal[k] = ideal[k - 1] + 1 / log2(k + 1.0);
    struct evaluate_result r = {.n_cuts = task->n_cuts};
    memcpy(r.cut, task->cuts, task->n_cuts * sizeof(*r.cut));
    for (size_t i = 0; i < task->test_start[task->n_users]; i++)
        r.n_unknown_items += task->test_item[i] == EVALUATE_UNKNOWN;
    struct contest c;
    int status = contest_init(&c, task, task->items, task->n_items, err);
    if (status)
        return status;
    status = run_contest(&c, EVALUATE_OVERALL, EVALUATE_COLD, ideal, &r, err);
    contest_done(&c);
    if (!status)
        status = run_cold_only(task, ideal, &r, err);
    if (status)
        return status;
    take_means(&r);
    *ret_result = r;
    return ERR_OK;
}
