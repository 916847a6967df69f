#include "fusion/train/calibrate_pass.h"

#include "fusion/math/clones.h"
#include "fusion/train/evaluate.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Users of a block and items of a chunk: the scores of four signals stay in L2. */
enum { BLOCK_USERS = 96, BLOCK_USERS_MIN = 8, CHUNK = 512 };
/* Floats of the neighbours' rows of a block, whole over the items. */
#define BLOCK_FLOATS ((size_t)1 << 24)
#define MISS         UINT32_MAX

/* ---- making it ---------------------------------------------------------------------------------- */

struct ranked_item {
    uint32_t n, item;
};

static int item_order(const void *a, const void *b)
{
    const struct ranked_item *x = a, *y = b;
    if (x->n != y->n)
        return x->n > y->n ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

static int order_items(struct calibrate_pass *p, struct err *err)
{
    const struct calibrate_task *t = p->task;
    const uint32_t I = t->n_items;
    struct ranked_item *ranked = malloc(I * sizeof(*ranked));
    p->item_at = malloc(I * sizeof(*p->item_at));
    p->place_of = malloc(I * sizeof(*p->place_of));
    p->fade = malloc(I * sizeof(*p->fade));
    if (!ranked || !p->item_at || !p->place_of || !p->fade) {
        free(ranked);
        return err_oom(err, "a calibration");
    }
    for (uint32_t i = 0; i < I; i++)
        ranked[i] = (struct ranked_item){t->n_interactions[i], i};
    qsort(ranked, I, sizeof(*ranked), item_order);
    for (uint32_t at = 0; at < I; at++) {
        p->item_at[at] = ranked[at].item;
        p->place_of[ranked[at].item] = at;
        p->fade[at] = (float)(1 / (1 + (double)ranked[at].n));
    }
    free(ranked);
    return ERR_OK;
}

static int pack_items(struct calibrate_pass *p, struct err *err)
{
    const struct calibrate_task *t = p->task;
    for (int k = 0; k < CALIBRATE_LINEAR; k++) {
        const size_t D = t->linear[k].D;
        p->has[k] = D > 0;
        if (!D)
            continue;
        int status = gemm_new(D, t->n_items, NULL, &p->items[k], err);
        if (status)
            return status;
        for (uint32_t at = 0; at < t->n_items; at++)
            gemm_pack(&p->items[k], at, t->linear[k].items + p->item_at[at] * D, 1, 1, 1);
    }
    p->has[CALIBRATE_NEIGHBOURS] = t->history && t->rows && t->rows->nnz;
    return ERR_OK;
}

static int copy_seen(struct calibrate_pass *p, struct err *err)
{
    const struct csr *seen = p->task->seen;
    if (!seen || !seen->nnz)
        return ERR_OK;
    size_t n = 0;
    for (uint32_t u = 0; u < p->n_users; u++)
        n += csr_degree(seen, p->user[u]);
    struct csr_pair *pairs = malloc((n ? n : 1) * sizeof(*pairs));
    if (!pairs)
        return err_oom(err, "a calibration");
    n = 0;
    for (uint32_t u = 0; u < p->n_users; u++)
        for (size_t e = seen->start[p->user[u]]; e < seen->start[p->user[u] + 1]; e++)
            pairs[n++] = (struct csr_pair){u, p->place_of[seen->col[e]]};
    int status = csr_from_pairs(pairs, n, p->n_users, p->task->n_items, &p->seen, err);
    free(pairs);
    return status;
}

static int copy_tests(struct calibrate_pass *p, struct err *err)
{
    const struct calibrate_task *t = p->task;
    size_t n = 0;
    for (uint32_t u = 0; u < p->n_users; u++)
        n += t->test_start[p->user[u] + 1] - t->test_start[p->user[u]];
    p->start = malloc((p->n_users + (size_t)1) * sizeof(*p->start));
    p->place = malloc((n ? n : 1) * sizeof(*p->place));
    p->cold = malloc(n ? n : 1);
    p->score = calloc(n ? n : 1, CALIBRATE_SIGNALS * sizeof(*p->score));
    if (!p->start || !p->place || !p->cold || !p->score)
        return err_oom(err, "a calibration");
    n = 0;
    for (uint32_t u = 0; u < p->n_users; u++) {
        size_t usable = p->n_usable;
        p->start[u] = n;
        for (size_t e = t->test_start[p->user[u]]; e < t->test_start[p->user[u] + 1]; e++) {
            const uint32_t item = t->test_item[e];
            const bool known = item != EVALUATE_UNKNOWN;
            p->cold[n] = !known || !t->n_interactions[item];
            p->place[n] = known ? p->place_of[item] : MISS;
            if (known && p->seen.start && csr_has(&p->seen, u, p->place[n]))
                p->place[n] = MISS;
            p->n_usable += p->place[n] != MISS;
            n++;
        }
        p->n_users_usable += p->n_usable > usable;
    }
    p->start[p->n_users] = n;
    return ERR_OK;
}

/* ---- the scores of a block ---------------------------------------------------------------------- */

/* What a thread needs for a block of users. */
struct bench {
    const struct calibrate_pass *p;
    float *scratch;                /* GEMM_SCRATCH */
    float *x;                      /* (block, D) the vectors of the users in play */
    float *part[CALIBRATE_LINEAR]; /* (block, CHUNK) */
    float *neighbours;             /* (block, I) by place; NULL = absent */
    float *mixed;                  /* (CHUNK) */
    float *content, *mapped;       /* (S, CHUNK) what they count for in each setting */
    const float *zeros;            /* (CHUNK) the row of an absent signal, inside `mixed` */
};

static void bench_done(struct bench *b)
{
    free(b->scratch);
    free(b->x);
    for (int k = 0; k < CALIBRATE_LINEAR; k++)
        free(b->part[k]);
    free(b->neighbours);
    free(b->mixed);
    free(b->content);
    free(b->mapped);
}

static int bench_init(struct bench *b, const struct calibrate_pass *p, size_t n_settings,
                      struct err *err)
{
    *b = (struct bench){.p = p};
    size_t D = 1;
    bool ok = true;
    for (int k = 0; k < CALIBRATE_LINEAR; k++) {
        if (!p->has[k])
            continue;
        D = D > p->items[k].K ? D : p->items[k].K;
        ok = (b->part[k] = gemm_alloc((size_t)p->block * CHUNK)) && ok;
    }
    b->scratch = gemm_alloc(GEMM_SCRATCH);
    b->x = gemm_alloc(p->block * D);
    b->mixed = gemm_alloc((size_t)2 * CHUNK);
    b->content = gemm_alloc((n_settings ? n_settings : 1) * CHUNK);
    b->mapped = gemm_alloc((n_settings ? n_settings : 1) * CHUNK);
    if (p->has[CALIBRATE_NEIGHBOURS])
        ok = (b->neighbours = gemm_alloc((size_t)p->block * p->task->n_items)) && ok;
    if (!ok || !b->scratch || !b->x || !b->mixed || !b->content || !b->mapped) {
        bench_done(b);
        return err_oom(err, "a calibration");
    }
    b->zeros = b->mixed + CHUNK;
    return ERR_OK;
}

/* Σ_{j∈R_u} rows_ji · scale_i for all i, by place. */
static void neighbour_row(const struct calibrate_pass *p, uint32_t user, float *ret /* (I) */)
{
    const struct calibrate_task *t = p->task;
    memset(ret, 0, t->n_items * sizeof(*ret));
    for (size_t h = t->history->start[user]; h < t->history->start[user + 1]; h++) {
        const uint32_t j = t->history->col[h];
        for (size_t e = t->rows->start[j]; e < t->rows->start[j + 1]; e++)
            ret[p->place_of[t->rows->col[e]]] += t->rows->value ? t->rows->value[e] : 1;
    }
    for (uint32_t at = 0; t->scale && at < t->n_items; at++)
        ret[at] *= t->scale[p->item_at[at]];
}

/* The linear signals' scores of n users (rows of the task) with the items of a chunk. */
static void chunk_scores(struct bench *b, const uint32_t *user, size_t n, uint32_t first)
{
    const struct calibrate_pass *p = b->p;
    for (int k = 0; k < CALIBRATE_LINEAR; k++) {
        if (!p->has[k])
            continue;
        const size_t D = p->items[k].K, width = p->items[k].kernel->width;
        struct gemm_matrix W = p->items[k]; /* the chunk's panels alone */
        size_t left = W.N - first;
        W.N = left < CHUNK ? left : CHUNK;
        W.n_panels = (W.N + width - 1) / width;
        W.panels += first / width * W.K * width;
        for (size_t i = 0; i < n; i++)
            memcpy(b->x + i * D, p->task->linear[k].users + user[i] * D, D * sizeof(*b->x));
        gemm_run(&W, b->x, D, n, b->part[k], CHUNK, false, b->scratch);
    }
}

/* One chain of fused multiply-adds, which is what gemm.h makes of the same element. */
static float dot(const float *x, const float *y, size_t D)
{
    float s = 0;
    for (size_t d = 0; d < D; d++)
        s = fmaf(x[d], y[d], s);
    return s;
}

/* ---- blocks in parallel ------------------------------------------------------------------------- */

/* A loop over blocks of users: what it does to a block, and what came of it. */
struct job {
    const struct calibrate_pass *p;
    const uint32_t *user; /* (n_users) rows of the task */
    uint32_t n_users;
    size_t n_settings;
    const struct calibrate_weights *settings;
    void (*block)(struct job *job, struct bench *b, uint32_t first, uint32_t n);
    float *out;                        /* deviations, scores of the test pairs */
    struct calibrate_outcome *outcome; /* (S, U) */
    int *status;                       /* of each block */
};

static void job_part(void *arg, size_t part)
{
    struct job *job = arg;
    const uint32_t first = (uint32_t)part * job->p->block, left = job->n_users - first;
    struct bench b;
    job->status[part] = bench_init(&b, job->p, job->n_settings, NULL);
    if (job->status[part])
        return;
    job->block(job, &b, first, left < job->p->block ? left : job->p->block);
    bench_done(&b);
}

/* A block fails for want of memory only. */
static int job_run(struct job *job, struct err *err)
{
    const size_t n_parts = (job->n_users + job->p->block - 1) / job->p->block;
    job->status = malloc((n_parts ? n_parts : 1) * sizeof(*job->status));
    if (!job->status)
        return err_oom(err, "a calibration");
    team_run(job->p->task->team, n_parts, job_part, job);
    int status = ERR_OK;
    for (size_t part = 0; part < n_parts && !status; part++)
        status = job->status[part];
    free(job->status);
    return status ? err_oom(err, "a calibration") : ERR_OK;
}

static void score_tests(struct job *job, struct bench *b, uint32_t first, uint32_t n)
{
    const struct calibrate_pass *p = job->p;
    const struct calibrate_task *t = p->task;
    for (uint32_t u = first; u < first + n; u++) {
        if (b->neighbours)
            neighbour_row(p, p->user[u], b->neighbours);
        for (size_t i = p->start[u]; i < p->start[u + 1]; i++) {
            if (p->place[i] == MISS)
                continue;
            float *score = job->out + i * CALIBRATE_SIGNALS;
            for (int k = 0; k < CALIBRATE_LINEAR; k++) {
                const struct calibrate_vectors *v = &t->linear[k];
                score[k] = dot(v->users + (size_t)p->user[u] * v->D,
                               v->items + (size_t)p->item_at[p->place[i]] * v->D, v->D);
            }
            if (b->neighbours)
                score[CALIBRATE_NEIGHBOURS] = b->neighbours[p->place[i]];
        }
    }
}

int calibrate_pass_open(const struct calibrate_task *task, uint32_t *user, uint32_t n_users,
                        struct calibrate_pass *ret_pass, struct err *err)
{
    struct calibrate_pass p = {.task = task, .user = user, .n_users = n_users};
    size_t block = BLOCK_FLOATS / task->n_items;
    p.block = block > BLOCK_USERS ? BLOCK_USERS : (uint32_t)block;
    p.block = p.block < BLOCK_USERS_MIN ? BLOCK_USERS_MIN : p.block;
    int status = order_items(&p, err);
    if (!status)
        status = pack_items(&p, err);
    if (!status)
        status = copy_seen(&p, err);
    if (!status)
        status = copy_tests(&p, err);
    struct job job = {
        .p = &p, .user = user, .n_users = n_users, .block = score_tests, .out = p.score};
    if (!status)
        status = job_run(&job, err);
    if (status)
        calibrate_pass_close(&p);
    else
        *ret_pass = p;
    return status;
}

void calibrate_pass_close(struct calibrate_pass *p)
{
    free(p->user);
    free(p->item_at);
    free(p->place_of);
    free(p->fade);
    for (int k = 0; k < CALIBRATE_LINEAR; k++)
        gemm_done(&p->items[k]);
    csr_done(&p->seen);
    free(p->start);
    free(p->place);
    free(p->cold);
    free(p->score);
    *p = (struct calibrate_pass){0};
}

/* ---- deviations --------------------------------------------------------------------------------- */

static void add_moments(const float *s, size_t n, double *sum /* (2) */)
{
    for (size_t i = 0; i < n; i++) {
        sum[0] += (double)s[i];
        sum[1] += (double)s[i] * (double)s[i];
    }
}

static void deviations_block(struct job *job, struct bench *b, uint32_t first, uint32_t n)
{
    const struct calibrate_pass *p = job->p;
    const uint32_t I = p->task->n_items;
    double sums[BLOCK_USERS][CALIBRATE_SIGNALS][2] = {0};
    for (uint32_t at = 0; at < I; at += CHUNK) {
        chunk_scores(b, job->user + first, n, at);
        for (int k = 0; k < CALIBRATE_LINEAR; k++)
            for (uint32_t u = 0; p->has[k] && u < n; u++)
                add_moments(b->part[k] + (size_t)u * CHUNK, I - at < CHUNK ? I - at : CHUNK,
                            sums[u][k]);
    }
    for (uint32_t u = 0; u < n; u++) {
        if (b->neighbours) {
            neighbour_row(p, job->user[first + u], b->neighbours);
            add_moments(b->neighbours, I, sums[u][CALIBRATE_NEIGHBOURS]);
        }
        for (int k = 0; k < CALIBRATE_SIGNALS; k++) {
            const double mean = sums[u][k][0] / I;
            const double variance = sums[u][k][1] / I - mean * mean;
            /* Below the rounding of the sums a row is constant. */
            const bool varies = variance > 1e-12 * mean * mean;
            job->out[(size_t)(first + u) * CALIBRATE_SIGNALS + (size_t)k] =
                varies ? (float)sqrt(variance) : 0;
        }
    }
}

int calibrate_pass_deviations(const struct calibrate_pass *pass, const uint32_t *user,
                              uint32_t n_users, float *ret_deviation, struct err *err)
{
    struct job job = {.p = pass,
                      .user = user,
                      .n_users = n_users,
                      .block = deviations_block,
                      .out = ret_deviation};
    return job_run(&job, err);
}

/* ---- ranks -------------------------------------------------------------------------------------- */

/* The score of a setting: the same expression for a test item and for those beside it. */
static inline float mix(const struct calibrate_weights *w, float content, float mapped, float t,
                        float f, float c, float m, float n)
{
    return (((w->trained * t + w->factors * f) + content * c) + mapped * m) + w->neighbours * n;
}

/* of: what each signal says of the items. */
CLONES static void mix_chunk(const struct calibrate_weights *w, const float *content,
                             const float *mapped, const float *const of[CALIBRATE_SIGNALS],
                             size_t n_items, float *restrict ret)
{
    const struct calibrate_weights own = *w;
    const float *t = of[CALIBRATE_TRAINED], *f = of[CALIBRATE_FACTORS];
    const float *c = of[CALIBRATE_CONTENT], *m = of[CALIBRATE_MAPPED];
    const float *n = of[CALIBRATE_NEIGHBOURS];
    for (size_t i = 0; i < n_items; i++)
        ret[i] = mix(&own, content[i], mapped[i], t[i], f[i], c[i], m[i], n[i]);
}

CLONES static uint32_t count_above(const float *score, const uint32_t *item, size_t n,
                                   float limit, uint32_t limit_item)
{
    int32_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += (score[i] > limit) |
                 ((score[i] == limit) & ((int32_t)item[i] < (int32_t)limit_item));
    return (uint32_t)count;
}

/* The test pairs of a block and its users in play. */
struct contest {
    struct bench *b;
    const struct job *job;
    uint32_t first; /* user of the block */
    size_t first_pair;
    float *limit;    /* (pairs, S) scores of the test items */
    uint32_t *above; /* (pairs, S) items above them so far */
    uint32_t slot[BLOCK_USERS],
        row[BLOCK_USERS]; /* of the users in play: in the block, in the task */
    uint32_t n_alive;
    size_t cursor[BLOCK_USERS]; /* of each user's row in `seen` */
};

static bool is_alive(const struct contest *c, uint32_t slot)
{
    const struct calibrate_pass *p = c->job->p;
    const size_t S = c->job->n_settings;
    for (size_t i = p->start[c->first + slot]; i < p->start[c->first + slot + 1]; i++)
        for (size_t s = 0; p->place[i] != MISS && s < S; s++)
            if (c->above[(i - c->first_pair) * S + s] < CALIBRATE_K)
                return true;
    return false;
}

static void keep_alive(struct contest *c)
{
    uint32_t n = 0;
    for (uint32_t a = 0; a < c->n_alive; a++)
        if (is_alive(c, c->slot[a])) {
            c->slot[n] = c->slot[a];
            c->row[n++] = c->row[a];
        }
    c->n_alive = n;
}

/* The places of the chunk that the user's mask holds: those from *ret_mask on. */
static size_t masked(struct contest *c, uint32_t slot, uint32_t end, const uint32_t **ret_mask)
{
    const struct csr *seen = &c->job->p->seen;
    *ret_mask = NULL;
    if (!seen->start)
        return 0;
    const size_t from = c->cursor[slot], last = seen->start[c->first + slot + 1];
    size_t to = from;
    while (to < last && seen->col[to] < end)
        to++;
    c->cursor[slot] = to;
    *ret_mask = seen->col + from;
    return to - from;
}

/* One user in play against n items from `at` on. */
static void count_user(struct contest *c, uint32_t a, uint32_t at, uint32_t n)
{
    const struct calibrate_pass *p = c->job->p;
    const size_t S = c->job->n_settings;
    const uint32_t slot = c->slot[a];
    const size_t from = p->start[c->first + slot], to = p->start[c->first + slot + 1];
    struct bench *b = c->b;
    const float *part[CALIBRATE_SIGNALS];
    for (int k = 0; k < CALIBRATE_LINEAR; k++)
        part[k] = p->has[k] ? b->part[k] + (size_t)a * CHUNK : b->zeros;
    part[CALIBRATE_NEIGHBOURS] =
        b->neighbours ? b->neighbours + (size_t)slot * p->task->n_items + at : b->zeros;
    const uint32_t *mask;
    const size_t n_masked = masked(c, slot, at + n, &mask);
    for (size_t s = 0; s < S; s++) {
        bool is_mixed = false;
        for (size_t i = from; i < to; i++) {
            uint32_t *above = &c->above[(i - c->first_pair) * S + s];
            if (p->place[i] == MISS || *above >= CALIBRATE_K)
                continue;
            if (!is_mixed) {
                mix_chunk(&c->job->settings[s], b->content + s * CHUNK, b->mapped + s * CHUNK,
                          part, n, b->mixed);
                for (size_t m = 0; m < n_masked; m++)
                    b->mixed[mask[m] - at] = -INFINITY;
                is_mixed = true;
            }
            *above +=
                count_above(b->mixed, p->item_at + at, n, c->limit[(i - c->first_pair) * S + s],
                            p->item_at[p->place[i]]);
        }
    }
}

static void contest_run(struct contest *c)
{
    const struct job *job = c->job;
    const struct calibrate_pass *p = job->p;
    const uint32_t I = p->task->n_items;
    keep_alive(c);
    for (uint32_t a = 0; a < c->n_alive && c->b->neighbours; a++)
        neighbour_row(p, c->row[a], c->b->neighbours + (size_t)c->slot[a] * I);
    for (uint32_t at = 0; at < I && c->n_alive; at += CHUNK) {
        const uint32_t n = I - at < CHUNK ? I - at : CHUNK;
        for (size_t s = 0; s < job->n_settings; s++)
            for (uint32_t i = 0; i < n; i++) {
                c->b->content[s * CHUNK + i] =
                    job->settings[s].content + job->settings[s].fade * p->fade[at + i];
                c->b->mapped[s * CHUNK + i] = job->settings[s].mapped * p->fade[at + i];
            }
        chunk_scores(c->b, c->row, c->n_alive, at);
        for (uint32_t a = 0; a < c->n_alive; a++)
            count_user(c, a, at, n);
        keep_alive(c);
    }
}

/* A user's figures in a setting from the numbers of items above its test items. */
static struct calibrate_outcome outcome_of(const struct contest *c, uint32_t slot, size_t s)
{
    const struct calibrate_pass *p = c->job->p;
    const size_t from = p->start[c->first + slot], to = p->start[c->first + slot + 1];
    struct calibrate_outcome o = {0};
    double ideal = 0, n_cold = 0;
    for (size_t i = 0; i < to - from && i < CALIBRATE_K; i++)
        ideal += 1 / log2((double)i + 2);
    for (size_t i = from; i < to; i++) {
        const uint32_t above = c->above[(i - c->first_pair) * c->job->n_settings + s];
        n_cold += p->cold[i];
        if (p->place[i] == MISS || above >= CALIBRATE_K)
            continue;
        o.ndcg += 1 / log2((double)above + 2);
        o.recall++;
        o.recall_cold += p->cold[i];
    }
    o.ndcg /= ideal;
    o.recall /= (double)(to - from);
    o.recall_cold = n_cold > 0 ? o.recall_cold / n_cold : 0;
    return o;
}

static void rank_block(struct job *job, struct bench *b, uint32_t first, uint32_t n)
{
    const struct calibrate_pass *p = job->p;
    const size_t S = job->n_settings, first_pair = p->start[first];
    const size_t n_pairs = p->start[first + n] - first_pair;
    struct contest c = {
        .b = b, .job = job, .first = first, .first_pair = first_pair, .n_alive = n};
    c.limit = malloc((n_pairs * S + 1) * sizeof(*c.limit));
    c.above = calloc(n_pairs * S + 1, sizeof(*c.above));
    if (!c.limit || !c.above) {
        job->status[first / p->block] = err_oom(NULL, "a calibration");
        goto out;
    }
    for (size_t i = 0; i < n_pairs; i++) {
        const float *score = p->score + (first_pair + i) * CALIBRATE_SIGNALS;
        const float fade =
            p->place[first_pair + i] == MISS ? 0 : p->fade[p->place[first_pair + i]];
        for (size_t s = 0; s < S; s++) {
            const struct calibrate_weights *w = &job->settings[s];
            c.limit[i * S + s] =
                mix(w, w->content + w->fade * fade, w->mapped * fade, score[CALIBRATE_TRAINED],
                    score[CALIBRATE_FACTORS], score[CALIBRATE_CONTENT], score[CALIBRATE_MAPPED],
                    score[CALIBRATE_NEIGHBOURS]);
        }
    }
    for (uint32_t slot = 0; slot < n; slot++) {
        c.slot[slot] = slot;
        c.row[slot] = p->user[first + slot];
        c.cursor[slot] = p->seen.start ? p->seen.start[first + slot] : 0;
    }
    contest_run(&c);
    for (uint32_t slot = 0; slot < n; slot++)
        for (size_t s = 0; s < S; s++)
            job->outcome[s * p->n_users + first + slot] = outcome_of(&c, slot, s);
out:
    free(c.limit);
    free(c.above);
}

int calibrate_pass_run(const struct calibrate_pass *pass,
                       const struct calibrate_weights *settings, size_t n_settings,
                       struct calibrate_outcome *ret_outcome, struct err *err)
{
    assert(n_settings <= CALIBRATE_PASS_SETTINGS);
    struct job job = {.p = pass,
                      .user = pass->user,
                      .n_users = pass->n_users,
                      .n_settings = n_settings,
                      .settings = settings,
                      .block = rank_block,
                      .outcome = ret_outcome};
    return n_settings ? job_run(&job, err) : ERR_OK;
}
